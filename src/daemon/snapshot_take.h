/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * snapshot_take - a worker's answer to a snapshot_query.
 */
#ifndef XTCP_DAEMON_SNAPSHOT_TAKE_H
#define XTCP_DAEMON_SNAPSHOT_TAKE_H

#include "daemon/groups.h"
#include "daemon/snapshot.h"

/*
 * On the worker's thread, between two turns. Returns a new snapshot
 * (snapshot_free()), or NULL without memory.
 */
struct snapshot *snapshot_take(const struct groups *gs,
			       const struct snapshot_query *query);

#endif
