/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * frag - reassembly of IP fragments (RFC 791, 815, 8200 section 4.5).
 *
 * One table per stack, of limits.frag_datagrams slots with room for
 * limits.packet_max bytes each; nothing grows after the start.
 */
#ifndef XTCP_STACK_FRAG_H
#define XTCP_STACK_FRAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/units.h"
#include "stack/stack.h"

/* RFC 8200 section 5: every host takes a datagram of this size. */
#define FRAG_PACKET_MIN 1500u

/*
 * From the first fragment that came. RFC 1122 3.3.2 says 60 to 120 s and RFC
 * 8200 60 s; but after a second or two TCP has sent the segment again, and a
 * short time is what keeps the 16-bit numbers of IPv4 from meeting themselves
 * (RFC 4963), and an attacker from keeping slots.
 */
#define FRAG_TIMEOUT_US (30 * USEC_PER_SEC)

struct frag_table;

/* A fragment, as its IP headers say. All borrowed. */
struct frag_piece {
	const uint8_t *src, *dst;
	uint8_t addr_len; /* 4 or 16 */
	uint8_t proto; /* behind the IP header (4), the Fragment header (6) */
	uint8_t tos; /* or traffic class */
	bool more; /* fragments follow */
	uint32_t id;
	uint32_t off; /* bytes, a multiple of 8 */
	const uint8_t *bytes;
	uint32_t len;
	/* SC_COUNT, or what is wrong with it as a first fragment. */
	enum stack_counter verdict;
};

/* Memory of a table, bytes: zeroed, for frag_table_init(). */
size_t frag_table_bytes(const struct stack_limits *limits);
void frag_table_init(struct frag_table *ft, const struct stack_limits *limits);

/*
 * Take a fragment in. Returns SC_COUNT when it completes its datagram:
 * *ret_packet is the packet that was sent, with an IP header without options
 * or extension headers before the transport's, valid until frag_turn_end().
 * Else what became of the fragment: SC_frags_kept, or why it is dropped.
 */
enum stack_counter frag_input(struct stack *st, const struct frag_piece *piece,
			      const uint8_t **ret_packet, uint32_t *ret_len);

/* Give up what is too old. */
void frag_expire(struct stack *st);

/* The packets that frag_input() returned are done with. */
void frag_turn_end(struct frag_table *ft);

/* Slots that are not free, for tests. */
uint32_t frag_used(const struct frag_table *ft);

#endif
