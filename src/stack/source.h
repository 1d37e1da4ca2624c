/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * source - how many connections come from one address.
 *
 * A source is an IPv4 address, or the first 64 bits of an IPv6 address: what
 * one subscriber has. Counts are kept in a table of fixed size: each source
 * adds to one cell in each row, where a keyed hash says, and its count is the
 * least of its cells. So a count is never too low, and too high only when all
 * its cells are shared; whoever doesn't know the key can't bring that about,
 * and no number of sources makes it slower.
 */
#ifndef XTCP_STACK_SOURCE_H
#define XTCP_STACK_SOURCE_H

#include <stdint.h>

#include "arena/shard.h"

#define SOURCE_ROWS 4u
/* Cells per row of the count of half-open connections, and of all others at
 * least (else a fourth of the records). */
#define SOURCE_HALF_OPEN_WIDTH 8192u
#define SOURCE_OPEN_WIDTH_MIN 1024u

struct source_table {
	uint32_t width; /* cells per row; 0: no table */
	uint32_t *cells; /* SOURCE_ROWS * width of them */
};

/* A source's place in the tables; group: 0 for all of them. */
uint64_t source_hash(const struct arena_header *header,
		     const struct tuple *tuple, uint16_t group);

/* Without a table these do nothing, and the count is 0. */
void source_add(struct source_table *t, uint64_t hash);
void source_sub(struct source_table *t, uint64_t hash);
uint32_t source_count(const struct source_table *t, uint64_t hash);

#endif
