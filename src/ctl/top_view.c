/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * top_view - from two samples to rates.
 *
 * Theory of operation
 *
 * Samples stay the JSON that they came as. A row of the later one is compared
 * with the row of the same name in the earlier one; a row that is new has all
 * that it counted for its rate. Counters that fell (a group that was removed
 * and came again) count as if they had begun at 0.
 *
 * Which process it is tells the uptime: when it is less than the time between
 * the samples, xtcpd began in between, and the rates are those since then.
 */
#include "ctl/top_view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/histogram.h"
#include "base/units.h"
#include "ctl/json.h"
#include "proto/control.h"

static const char *const top_commands[TOP_PARTS] = {
	[TOP_INFO] = "show info",	[TOP_MEMORY] = "show memory",
	[TOP_POOLS] = "show pools",	[TOP_GROUPS] = "show groups",
	[TOP_WORKERS] = "show workers", [TOP_BACKENDS] = "show backends",
};

static const char *const top_sorts[TOP_SORTS] = {
	[TOP_BY_NAME] = "name",		[TOP_BY_CONNECTIONS] = "connections",
	[TOP_BY_MESSAGES] = "messages", [TOP_BY_BYTES] = "bytes",
	[TOP_BY_LATENCY] = "latency",	[TOP_BY_WAITING] = "waiting",
};

const char *top_sort_name(uint32_t i)
{
	return i < TOP_SORTS ? top_sorts[i] : NULL;
}

int top_sort_find(const char *name, enum top_sort *ret_sort)
{
	for (uint32_t i = 0; i < TOP_SORTS; i++) {
		if (strcmp(name, top_sorts[i]) != 0)
			continue;
		*ret_sort = (enum top_sort)i;
		return 0;
	}
	return -EINVAL;
}

/* --- samples ----------------------------------------------------------- */

static uint64_t top_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC +
	       (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

static int top_sample_part(struct top_sample *s, struct client *c,
			   enum top_part which, char *why, size_t size)
{
	struct json_object *reply, *result = NULL;
	const char *error = NULL;
	int rc = client_call(c, top_commands[which], NULL, &reply);

	if (rc < 0)
		return rc;
	rc = control_reply_parse(reply, &result, &error);
	if (rc == 0)
		s->part[which] = json_object_get(result);
	else if (rc == -EREMOTEIO)
		snprintf(why, size, "%s", error);
	json_object_put(reply);
	return rc;
}

int top_sample_take(struct top_sample *s, struct client *c, char *why,
		    size_t size)
{
	int rc = 0;

	*s = (struct top_sample){ .at_us = top_now_us() };
	for (uint32_t i = 0; i < TOP_PARTS && rc == 0; i++)
		rc = top_sample_part(s, c, (enum top_part)i, why, size);
	if (rc < 0)
		top_sample_free(s);
	return rc;
}

void top_sample_free(struct top_sample *s)
{
	for (uint32_t i = 0; i < TOP_PARTS; i++)
		json_object_put(s->part[i]);
	*s = (struct top_sample){ 0 };
}

/* --- rates ------------------------------------------------------------- */

/* A row now and before (NULL: it was not there), and the time between. */
struct top_pair {
	struct json_object *now, *before;
	double seconds;
};

static uint64_t top_grown(const struct top_pair *p, const char *path)
{
	uint64_t now = json_number_at(p->now, path),
		 before = json_number_at(p->before, path);

	return now >= before ? now - before : now;
}

static double top_rate(const struct top_pair *p, const char *path)
{
	return (double)top_grown(p, path) / p->seconds;
}

static struct top_flow top_flow(const struct top_pair *p, const char *in,
				const char *out)
{
	return (struct top_flow){ top_rate(p, in), top_rate(p, out) };
}

/* Of another's words only what a terminal can print. */
static void top_name(char *name, size_t size, const char *text)
{
	snprintf(name, size, "%s", text);
	for (; *name != '\0'; name++)
		if ((unsigned char)*name < 0x20 || (unsigned char)*name >= 0x7f)
			*name = '?';
}

/* Adds the buckets [[bound, n], ...] to h; or takes them off. */
static void top_buckets(struct histogram *h, struct json_object *row, bool off)
{
	struct json_object *list = json_at(row, "latency.buckets");

	for (size_t i = 0; i < json_length(list); i++) {
		struct json_object *one = json_object_array_get_idx(list, i);
		int64_t bound, n;
		uint64_t *count;

		if (json_length(one) != 2)
			continue;
		bound = json_object_get_int64(
			json_object_array_get_idx(one, 0));
		n = json_object_get_int64(json_object_array_get_idx(one, 1));
		if (bound < 0 || n < 0)
			continue;
		count = &h->counts[histogram_bucket((uint64_t)bound)];
		if (!off)
			*count += (uint64_t)n;
		else
			*count -= min_u64(*count, (uint64_t)n);
	}
}

static void top_group(const struct top_pair *p, void *row)
{
	struct histogram h = { 0 };
	struct top_group *g = row;

	*g = (struct top_group){
		.connections = json_number_at(p->now, "connections"),
		.half_open = json_number_at(p->now, "half_open"),
		.waiting = json_number_at(p->now, "waiting"),
		.messages = top_flow(p, "messages.in", "messages.out"),
		.bytes = top_flow(p, "bytes.in", "bytes.out"),
	};
	top_name(g->name, sizeof(g->name), json_text_at(p->now, "name"));
	top_buckets(&h, p->now, false);
	/* fewer than before: the group began anew, and all of it counts */
	if (json_number_at(p->now, "latency.requests") >=
	    json_number_at(p->before, "latency.requests"))
		top_buckets(&h, p->before, true);
	g->requests = histogram_count(&h);
	g->p50_us = histogram_quantile(&h, 500);
	g->p99_us = histogram_quantile(&h, 990);
}

static void top_backend(const struct top_pair *p, void *row)
{
	struct top_backend *b = row;

	*b = (struct top_backend){
		.streams = json_number_at(p->now, "streams_up"),
		.inflight = json_number_at(p->now, "inflight"),
		.messages = top_flow(p, "messages.in", "messages.out"),
		.requests = top_grown(p, "requests"),
	};
	if (b->requests)
		b->mean_us = top_grown(p, "request_us") / b->requests;
	top_name(b->name, sizeof(b->name), json_text_at(p->now, "name"));
	top_name(b->group, sizeof(b->group), json_text_at(p->now, "group"));
	top_name(b->state, sizeof(b->state), json_text_at(p->now, "state"));
}

static void top_pool(const struct top_pair *p, void *row)
{
	struct top_pool *pool = row;

	*pool = (struct top_pool){
		.used_bytes = json_number_at(p->now, "used_bytes"),
		.limit_bytes = json_number_at(p->now, "limit_bytes"),
		.throttled = json_number_at(p->now, "throttled_workers"),
	};
	top_name(pool->name, sizeof(pool->name), json_text_at(p->now, "name"));
}

static void top_worker(const struct top_pair *p, void *row)
{
	struct top_worker *w = row;

	*w = (struct top_worker){
		.number = json_number_at(p->now, "worker"),
		.established =
			json_number_at(p->now, "connections.established"),
		.active = json_number_at(p->now, "connections.active"),
		.answered =
			json_object_get_boolean(json_at(p->now, "answered")),
		.packets = top_flow(p, "packets.in", "packets.out"),
		.busy = top_rate(p, "cpu_us") / (double)USEC_PER_SEC,
	};
	/* its answer and ours are not of the same moment */
	if (w->busy > 1)
		w->busy = 1;
}

/* --- the view ---------------------------------------------------------- */

/* The row that `now` was before: the backends of two groups may share a name. */
static struct json_object *top_row_before(struct json_object *list,
					  struct json_object *now)
{
	static const char *const keys[] = { "name", "group", "worker" };

	for (size_t i = 0; i < json_length(list); i++) {
		struct json_object *one = json_object_array_get_idx(list, i);
		bool same = true;

		for (size_t k = 0; k < ARRAY_SIZE(keys) && same; k++) {
			struct json_object *a = json_at(now, keys[k]),
					   *b = json_at(one, keys[k]);

			same = !a == !b && (!a || json_object_equal(a, b));
		}
		if (same)
			return one;
	}
	return NULL;
}

/* One row of `bytes` per element; NULL without memory. */
static void *top_rows(const struct top_sample *before,
		      const struct top_sample *now, enum top_part part,
		      double seconds, size_t bytes,
		      void (*make)(const struct top_pair *p, void *row),
		      size_t *ret_n)
{
	struct json_object *list = now->part[part];
	size_t n = json_length(list);
	char *rows = calloc(n + 1, bytes);

	*ret_n = rows ? n : 0;
	for (size_t i = 0; i < *ret_n; i++) {
		struct top_pair p = {
			.now = json_object_array_get_idx(list, i),
			.seconds = seconds,
		};

		p.before = top_row_before(before->part[part], p.now);
		make(&p, rows + i * bytes);
	}
	return rows;
}

static void top_view_totals(struct top_view *v, const struct top_pair *info,
			    struct json_object *memory)
{
	top_name(v->version, sizeof(v->version),
		 json_text_at(info->now, "version"));
	v->established = json_number_at(info->now, "connections.established");
	v->active = json_number_at(info->now, "connections.active");
	v->half_open = json_number_at(info->now, "connections.half_open");
	v->time_wait = json_number_at(info->now, "connections.time_wait");
	v->workers_silent = json_number_at(info->now, "workers.silent");
	v->accepted = top_rate(info, "accepted");
	v->refused = top_rate(info, "refused");
	v->messages = top_flow(info, "messages.in", "messages.out");
	v->bytes = top_flow(info, "bytes.in", "bytes.out");
	v->segments = top_flow(info, "segments.in", "segments.out");
	v->retransmitted = top_rate(info, "segments.retransmitted");
	v->device_dropped = top_rate(info, "device_dropped");
	v->process_bytes = json_number_at(memory, "process_resident_bytes");
	v->transmit_bytes = json_number_at(memory, "transmit_buffer_bytes");
}

static int top_order(double a, double b)
{
	return a < b ? 1 : a > b ? -1 : 0;
}

static double top_group_value(const struct top_group *g, enum top_sort sort)
{
	switch (sort) {
	case TOP_BY_CONNECTIONS:
		return (double)g->connections;
	case TOP_BY_MESSAGES:
		return g->messages.in + g->messages.out;
	case TOP_BY_BYTES:
		return g->bytes.in + g->bytes.out;
	case TOP_BY_LATENCY:
		return (double)g->p99_us;
	case TOP_BY_WAITING:
		return (double)g->waiting;
	default:
		return 0;
	}
}

struct top_order {
	enum top_sort sort;
	bool reverse;
};

static int top_group_order(const void *x, const void *y, void *arg)
{
	const struct top_order *order = arg;
	const struct top_group *a = x, *b = y;
	int cmp = top_order(top_group_value(a, order->sort),
			    top_group_value(b, order->sort));

	if (cmp == 0)
		cmp = strcmp(a->name, b->name);
	return order->reverse ? -cmp : cmp;
}

/* The slowest first; of those that answered nothing, who has most to do. */
static int top_backend_order(const void *x, const void *y)
{
	const struct top_backend *a = x, *b = y;
	int cmp = top_order((double)a->mean_us, (double)b->mean_us);

	if (cmp == 0)
		cmp = top_order((double)a->inflight, (double)b->inflight);
	if (cmp == 0)
		cmp = strcmp(a->group, b->group);
	return cmp ? cmp : strcmp(a->name, b->name);
}

void top_view_sort(struct top_view *view, enum top_sort sort, bool reverse)
{
	qsort_r(view->groups, view->n_groups, sizeof(*view->groups),
		top_group_order, &(struct top_order){ sort, reverse });
}

int top_view_make(struct top_view *view, const struct top_sample *before,
		  const struct top_sample *now, enum top_sort sort,
		  bool reverse)
{
	static const struct top_sample nothing = { 0 };
	struct json_object *info = now->part[TOP_INFO];
	uint64_t uptime_ms = json_number_at(info, "uptime_ms");
	uint64_t apart_us = now->at_us - before->at_us;
	struct top_view *v = view;
	struct top_pair p = { .now = info };

	*v = (struct top_view){ .uptime_ms = uptime_ms };
	if (!before->part[TOP_INFO] || uptime_ms * USEC_PER_MSEC < apart_us) {
		before = &nothing;
		apart_us = uptime_ms * USEC_PER_MSEC;
		v->since_start = true;
	}
	v->seconds = (double)max_u64(apart_us, 1) / (double)USEC_PER_SEC;
	p.before = before->part[TOP_INFO];
	p.seconds = v->seconds;
	top_view_totals(v, &p, now->part[TOP_MEMORY]);
	v->groups = top_rows(before, now, TOP_GROUPS, v->seconds,
			     sizeof(*v->groups), top_group, &v->n_groups);
	v->backends =
		top_rows(before, now, TOP_BACKENDS, v->seconds,
			 sizeof(*v->backends), top_backend, &v->n_backends);
	v->pools = top_rows(before, now, TOP_POOLS, v->seconds,
			    sizeof(*v->pools), top_pool, &v->n_pools);
	v->workers = top_rows(before, now, TOP_WORKERS, v->seconds,
			      sizeof(*v->workers), top_worker, &v->n_workers);
	if (!v->groups || !v->backends || !v->pools || !v->workers) {
		top_view_free(v);
		return -ENOMEM;
	}
	top_view_sort(v, sort, reverse);
	qsort(v->backends, v->n_backends, sizeof(*v->backends),
	      top_backend_order);
	return 0;
}

void top_view_free(struct top_view *view)
{
	free(view->groups);
	free(view->backends);
	free(view->pools);
	free(view->workers);
	*view = (struct top_view){ 0 };
}
