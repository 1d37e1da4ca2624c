/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * budget - the most memory that the daemon may take, by part.
 *
 * A bound for the worst: every record in use and active, every pool, buffer
 * and queue full, every client of every socket at its limits. `show memory`
 * prints it beside what is used; doc/architecture.md section 10 has the
 * numbers, and tests/net/test_overload.py holds the daemon to them.
 */
#ifndef XTCP_DAEMON_BUDGET_H
#define XTCP_DAEMON_BUDGET_H

#include <stdint.h>

#include "arena/layout.h"
#include "daemon/conf.h"

/* Bytes. */
struct budget {
	uint64_t records; /* with IPv6 addresses */
	uint64_t blocks;
	uint64_t receive_pools;
	uint64_t transmit_buffer;
	uint64_t tables; /* what is derived from the arena, and counts by source */
	uint64_t workers; /* batches, reassembly, handover, captures, groups */
	uint64_t streams; /* queues to and from backends */
	uint64_t control; /* control, attach and metrics sockets */
	uint64_t program; /* code, libraries, stacks, what the heap wastes */
};

/* How much there is of what comes and goes. */
struct budget_scale {
	uint64_t pool_bytes; /* all pools, those of applications' own too */
	uint32_t groups, streams; /* streams of all workers */
	uint32_t links; /* connections to backends of protocol stream, likewise */
};

/* The header is that of the arena in use; conf is the one in force. */
void budget_make(struct budget *ret_budget, const struct arena_header *header,
		 const struct conf *conf, const struct budget_scale *scale);

uint64_t budget_total(const struct budget *budget);

#endif
