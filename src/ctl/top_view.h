/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * top_view - what happened between two looks at xtcpd.
 *
 * A sample is what xtcpd answered; a view is made of two of them: rates per
 * second, latency of what was timed in between, and levels as they are. When
 * there is none before, or it is of another process, the rates are those since
 * xtcpd began.
 */
#ifndef XTCP_CTL_TOP_VIEW_H
#define XTCP_CTL_TOP_VIEW_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctl/client.h"

#define TOP_NAME_BYTES 64

/* Results of "show", by TOP_INFO and so on; each NULL or owned. */
enum top_part {
	TOP_INFO,
	TOP_MEMORY,
	TOP_POOLS,
	TOP_GROUPS,
	TOP_WORKERS,
	TOP_BACKENDS,
	TOP_PARTS
};

struct top_sample {
	uint64_t at_us; /* monotonic */
	struct json_object *part[TOP_PARTS];
};

struct top_flow {
	double in, out; /* per second */
};

/* Rows: the name first, if they have one. */
struct top_group {
	char name[TOP_NAME_BYTES];
	uint64_t connections, half_open, waiting;
	struct top_flow messages, bytes;
	uint64_t requests; /* timed; 0: there is no latency to show */
	uint64_t p50_us, p99_us;
};

struct top_backend {
	char name[TOP_NAME_BYTES], group[TOP_NAME_BYTES], state[16];
	uint64_t streams, inflight;
	struct top_flow messages;
	uint64_t requests, mean_us;
};

struct top_pool {
	char name[TOP_NAME_BYTES];
	uint64_t used_bytes, limit_bytes, throttled;
};

struct top_worker {
	uint64_t number, established, active;
	bool answered;
	double busy; /* of its thread's time, 0 to 1 */
	struct top_flow packets;
};

struct top_view {
	char version[TOP_NAME_BYTES];
	double seconds; /* that the rates are of */
	bool since_start;
	uint64_t uptime_ms;
	uint64_t established, active, half_open, time_wait;
	uint64_t process_bytes, transmit_bytes;
	uint64_t workers_silent;
	double accepted, refused, retransmitted, device_dropped;
	struct top_flow messages, bytes, segments;
	struct top_group *groups;
	struct top_backend *backends;
	struct top_pool *pools;
	struct top_worker *workers;
	size_t n_groups, n_backends, n_pools, n_workers;
};

/* How groups are sorted. */
enum top_sort {
	TOP_BY_NAME,
	TOP_BY_CONNECTIONS,
	TOP_BY_MESSAGES,
	TOP_BY_BYTES,
	TOP_BY_LATENCY,
	TOP_BY_WAITING,
	TOP_SORTS
};

/* "messages"; NULL past the last. */
const char *top_sort_name(uint32_t i);

/* Returns 0 or -EINVAL. */
int top_sort_find(const char *name, enum top_sort *ret_sort);

/*
 * Asks for all parts. Returns 0; a negative errno of client_call(); -EREMOTEIO:
 * xtcpd refused, and what it says is in why.
 */
int top_sample_take(struct top_sample *s, struct client *c, char *why,
		    size_t size);
void top_sample_free(struct top_sample *s);

/*
 * before may be empty (all zero). Groups are sorted as asked, the largest
 * first (names: ascending) or, with reverse, the other way; backends by how
 * long they take. Returns 0 or -ENOMEM.
 */
int top_view_make(struct top_view *view, const struct top_sample *before,
		  const struct top_sample *now, enum top_sort sort,
		  bool reverse);

/* Sorts the groups anew. */
void top_view_sort(struct top_view *view, enum top_sort sort, bool reverse);

void top_view_free(struct top_view *view);

#endif
