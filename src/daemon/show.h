/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * show - the results of xtcpctl's "show" commands as JSON (xtcpctl(1)).
 */
#ifndef XTCP_DAEMON_SHOW_H
#define XTCP_DAEMON_SHOW_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/snapshot.h"
#include "daemon/totals.h"

/* A counter that the main thread keeps itself. */
struct show_counter {
	const char *name;
	uint64_t value;
};

/* All that a result is made of; borrowed. */
struct show_input {
	const struct workers_view *view;
	struct snapshot *const *snaps;
	uint32_t n_workers;
	const struct totals *totals;
	const struct show_counter *own_counters; /* for show_counters */
	size_t n_own_counters;
};

/* Each returns a new object, or NULL without memory. */
struct json_object *show_info(const struct show_input *in);
struct json_object *show_pools(const struct show_input *in);
struct json_object *show_groups(const struct show_input *in);
struct json_object *show_backends(const struct show_input *in);
struct json_object *show_workers(const struct show_input *in);
struct json_object *show_memory(const struct show_input *in);
struct json_object *show_counters(const struct show_input *in);

/* A connection: in a line of the list, or all that is known of it. */
struct json_object *show_conn(const struct conf *conf,
			      const struct snapshot_conn *conn, bool all);

#endif
