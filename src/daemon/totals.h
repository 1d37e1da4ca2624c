/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * totals - the workers' snapshots, added up.
 *
 * What control and metrics show. Everything is per worker in the snapshots:
 * here each group, pool and backend stands once.
 */
#ifndef XTCP_DAEMON_TOTALS_H
#define XTCP_DAEMON_TOTALS_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/snapshot.h"

struct totals_pool {
	uint64_t used_bytes, limit_bytes; /* limit 0: there is no such pool */
	uint32_t throttled; /* workers in which it is */
};

struct totals {
	uint32_t answered, silent; /* workers */
	uint64_t established, active, half_open, time_wait;
	struct snapshot_memory memory;
	uint64_t *counters;
	uint32_t n_counters;
	struct snapshot_group *groups; /* by id, ascending */
	uint32_t n_groups;
	struct histogram *latency; /* theirs, when the snapshots have it */
	struct totals_pool *pools; /* by index */
	uint32_t n_pools;
	/* by group; the address is "" for one that dialled in */
	struct snapshot_backend *backends;
	uint32_t n_backends;
};

/* Adds up n_workers snapshots, NULL for a silent one. Returns 0 or -ENOMEM. */
int totals_init(struct totals *t, struct snapshot *const *snaps,
		uint32_t n_workers);
void totals_fini(struct totals *t);

/* A counter by name; 0 for one that there is not. */
uint64_t totals_counter(const struct totals *t, const char *name);

/* Sum of the counter over one snapshot; the same. */
uint64_t totals_counter_of(const struct snapshot *snap, const char *name);

/*
 * The name of a group or pool: as configured, or for what an application
 * brought itself "#" and its number, in text.
 */
#define TOTALS_NAME_BYTES CONF_NAME_MAX
const char *totals_group_name(const struct conf *conf, uint16_t id,
			      char text[TOTALS_NAME_BYTES]);
const char *totals_pool_name(const struct conf *conf, uint32_t index,
			     char text[TOTALS_NAME_BYTES]);

/* Resident bytes of this process, the arena's included; 0: not known. */
uint64_t totals_process_resident_bytes(void);

#endif
