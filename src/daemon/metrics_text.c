/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metrics_text - the page itself.
 *
 * A metric is a "# HELP" line, a "# TYPE" line, and a line for each set of
 * labels. Names and help of the counters come from their table; what stands
 * per group, pool or backend from the tables below: a column each.
 */
#include "daemon/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/bytes.h"
#include "base/units.h"

struct metrics_page {
	struct evbuffer *out;
	const struct workers_view *view;
	const struct conf *conf;
	const struct totals *t;
	bool failed; /* out of memory */
};

__attribute__((format(printf, 2, 3))) static void
metrics_add(struct metrics_page *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (evbuffer_add_vprintf(p->out, fmt, ap) < 0)
		p->failed = true;
	va_end(ap);
}

static void metrics_head(struct metrics_page *p, const char *name,
			 const char *type, const char *help)
{
	metrics_add(p, "# HELP xtcpd_%s %s\n# TYPE xtcpd_%s %s\n", name, help,
		    name, type);
}

static void metrics_gauge(struct metrics_page *p, const char *name,
			  const char *help, uint64_t value)
{
	metrics_head(p, name, "gauge", help);
	metrics_add(p, "xtcpd_%s %" PRIu64 "\n", name, value);
}

/* A label's value: backslash, quote and newline are escaped. */
static void metrics_label(struct metrics_page *p, const char *name,
			  const char *value)
{
	metrics_add(p, "%s=\"", name);
	for (; *value != '\0'; value++) {
		if (*value == '\\' || *value == '"')
			metrics_add(p, "\\%c", *value);
		else if (*value == '\n')
			metrics_add(p, "\\n");
		else
			metrics_add(p, "%c", *value);
	}
	metrics_add(p, "\"");
}

static void metrics_counters(struct metrics_page *p)
{
	for (uint32_t i = 0; i < p->t->n_counters && counter_name(i); i++) {
		metrics_head(p, counter_name(i), "counter", counter_help(i));
		metrics_add(p, "xtcpd_%s %" PRIu64 "\n", counter_name(i),
			    p->t->counters[i]);
	}
}

static void metrics_connections(struct metrics_page *p)
{
	const struct {
		const char *state;
		uint64_t value;
	} rows[] = {
		{ "established", p->t->established },
		{ "half_open", p->t->half_open },
		{ "time_wait", p->t->time_wait },
	};

	metrics_head(p, "connections", "gauge", "connections by state");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		metrics_add(p, "xtcpd_connections{state=\"%s\"} %" PRIu64 "\n",
			    rows[i].state, rows[i].value);
	metrics_gauge(p, "active", "connections with an active block",
		      p->t->active);
}

static void metrics_memory(struct metrics_page *p)
{
	const struct snapshot_memory *m = &p->t->memory;

	metrics_gauge(p, "arena_resident_bytes", "resident bytes of the arena",
		      p->view->arena_resident_bytes(p->view->self));
	metrics_gauge(p, "process_resident_bytes",
		      "resident bytes of xtcpd, with the arena",
		      totals_process_resident_bytes());
	metrics_gauge(p, "records", "connection records in use", m->records);
	metrics_gauge(p, "active_blocks", "active blocks in use",
		      m->active_blocks);
	metrics_gauge(p, "receive_pool_bytes", "bytes held in receive pools",
		      m->receive_pool_bytes);
	metrics_gauge(p, "transmit_buffer_bytes",
		      "bytes held in the transmit buffer",
		      m->transmit_buffer_bytes);
	metrics_gauge(p, "device_dropped",
		      "packets for us that the device had no room for",
		      p->view->device_dropped(p->view->self));
	metrics_gauge(p, "uptime_seconds", "seconds since start",
		      p->view->uptime_ms(p->view->self) / MSEC_PER_SEC);
	metrics_gauge(p, "workers", "worker threads",
		      p->t->answered + p->t->silent);
}

/* --- by group, pool and backend ---------------------------------------- */

struct metrics_column {
	const char *name, *type, *help;
	size_t offset; /* of a uint64_t or, if narrow, a uint32_t */
	bool narrow;
};

#define GROUP(field, type, help)                                      \
	{                                                             \
		"group_" #field, type, help,                          \
			offsetof(struct snapshot_group, field), false \
	}
#define POOL(field, help)                                          \
	{                                                          \
		"pool_" #field, "gauge", help,                     \
			offsetof(struct totals_pool, field), false \
	}
#define BACKEND(field, type, help)                                          \
	{                                                                   \
		"backend_" #field, type, help,                              \
			offsetof(struct snapshot_backend, field),           \
			sizeof(((struct snapshot_backend *)NULL)->field) == \
				sizeof(uint32_t)                            \
	}

static const struct metrics_column group_columns[] = {
	GROUP(connections, "gauge", "connections of the group"),
	GROUP(half_open, "gauge", "half-open connections of the group"),
	GROUP(waiting, "gauge", "connections whose data waits for a backend"),
	GROUP(accepted, "counter", "connections established"),
	GROUP(refused, "counter", "connection requests refused"),
	GROUP(messages_in, "counter", "segments that brought new payload"),
	GROUP(messages_out, "counter", "replies and pushes taken"),
	GROUP(bytes_in, "counter", "payload bytes received"),
	GROUP(bytes_out, "counter", "payload bytes sent"),
};

static const struct metrics_column pool_columns[] = {
	POOL(used_bytes, "bytes held in the pool"),
	POOL(limit_bytes, "bytes that the pool may hold"),
};

static const struct metrics_column backend_columns[] = {
	BACKEND(streams_up, "gauge", "streams that are up"),
	BACKEND(streams_wanted, "gauge", "streams that should be up"),
	BACKEND(inflight, "gauge", "connections with unacknowledged requests"),
	BACKEND(messages_in, "counter", "frames of data to the backend"),
	BACKEND(messages_out, "counter", "replies from the backend"),
	BACKEND(bytes_in, "counter", "payload bytes to the backend"),
	BACKEND(bytes_out, "counter", "payload bytes from the backend"),
	BACKEND(redelivered, "counter", "frames with bytes delivered before"),
	BACKEND(reconnects, "counter", "streams set up again"),
	BACKEND(opened, "counter", "connections to the backend made"),
	BACKEND(failures, "counter", "attempts to connect that failed"),
	BACKEND(requests, "counter", "requests that were timed"),
	BACKEND(request_us, "counter", "microseconds that these took in all"),
};

static void metrics_value(struct metrics_page *p,
			  const struct metrics_column *c, const void *row)
{
	const char *at = (const char *)row + c->offset;
	uint32_t narrow;
	uint64_t value;

	if (c->narrow) {
		memcpy(&narrow, at, sizeof(narrow));
		value = narrow;
	} else {
		memcpy(&value, at, sizeof(value));
	}
	metrics_add(p, "} %" PRIu64 "\n", value);
}

static void metrics_groups(struct metrics_page *p,
			   const struct metrics_column *c)
{
	char text[TOTALS_NAME_BYTES];

	for (uint32_t i = 0; i < p->t->n_groups; i++) {
		metrics_add(p, "xtcpd_%s{", c->name);
		metrics_label(p, "group",
			      totals_group_name(p->conf, p->t->groups[i].id,
						text));
		metrics_value(p, c, &p->t->groups[i]);
	}
}

static void metrics_pools(struct metrics_page *p,
			  const struct metrics_column *c)
{
	char text[TOTALS_NAME_BYTES];

	for (uint32_t i = 0; i < p->t->n_pools; i++) {
		if (p->t->pools[i].limit_bytes == 0)
			continue;
		metrics_add(p, "xtcpd_%s{", c->name);
		metrics_label(p, "pool", totals_pool_name(p->conf, i, text));
		metrics_value(p, c, &p->t->pools[i]);
	}
}

static void metrics_backends(struct metrics_page *p,
			     const struct metrics_column *c)
{
	char text[TOTALS_NAME_BYTES];

	for (uint32_t i = 0; i < p->t->n_backends; i++) {
		metrics_add(p, "xtcpd_%s{", c->name);
		metrics_label(p, "group",
			      totals_group_name(p->conf,
						p->t->backends[i].group, text));
		metrics_add(p, ",");
		metrics_label(p, "backend", p->t->backends[i].name);
		metrics_value(p, c, &p->t->backends[i]);
	}
}

/* Bounds are powers of two: 2^from to 2^to microseconds, 16 us to 67 s. */
#define METRICS_LE_BITS_MIN 4u
#define METRICS_LE_BITS_MAX 26u

static void metrics_latency_of(struct metrics_page *p,
			       const struct snapshot_group *g)
{
	const struct histogram *h = g->latency;
	uint64_t count = histogram_count(h);
	char text[TOTALS_NAME_BYTES];
	const char *name = totals_group_name(p->conf, g->id, text);

	for (uint32_t bits = METRICS_LE_BITS_MIN; bits <= METRICS_LE_BITS_MAX;
	     bits++) {
		metrics_add(p, "xtcpd_request_seconds_bucket{");
		metrics_label(p, "group", name);
		metrics_add(p, ",le=\"%.6f\"} %" PRIu64 "\n",
			    (double)(UINT64_C(1) << bits) / USEC_PER_SEC,
			    histogram_below(h, bits));
	}
	metrics_add(p, "xtcpd_request_seconds_bucket{");
	metrics_label(p, "group", name);
	metrics_add(p, ",le=\"+Inf\"} %" PRIu64 "\n", count);
	metrics_add(p, "xtcpd_request_seconds_sum{");
	metrics_label(p, "group", name);
	metrics_add(p, "} %" PRIu64 ".%06" PRIu64 "\n", h->sum / USEC_PER_SEC,
		    h->sum % USEC_PER_SEC);
	metrics_add(p, "xtcpd_request_seconds_count{");
	metrics_label(p, "group", name);
	metrics_add(p, "} %" PRIu64 "\n", count);
}

static void metrics_latency(struct metrics_page *p)
{
	metrics_head(p, "request_seconds", "histogram",
		     "from a request's first bytes to the application's "
		     "acknowledgement");
	for (uint32_t i = 0; i < p->t->n_groups; i++)
		if (p->t->groups[i].latency)
			metrics_latency_of(p, &p->t->groups[i]);
}

static void metrics_columns(struct metrics_page *p,
			    const struct metrics_column *columns, size_t n,
			    void (*rows)(struct metrics_page *p,
					 const struct metrics_column *c))
{
	for (size_t i = 0; i < n; i++) {
		metrics_head(p, columns[i].name, columns[i].type,
			     columns[i].help);
		rows(p, &columns[i]);
	}
}

int metrics_print(struct evbuffer *out, const struct workers_view *view,
		  const struct totals *totals)
{
	struct metrics_page page = {
		.out = out,
		.view = view,
		.conf = view->conf(view->self),
		.t = totals,
	};

	metrics_counters(&page);
	metrics_connections(&page);
	metrics_memory(&page);
	metrics_columns(&page, group_columns, ARRAY_SIZE(group_columns),
			metrics_groups);
	metrics_latency(&page);
	metrics_columns(&page, pool_columns, ARRAY_SIZE(pool_columns),
			metrics_pools);
	metrics_columns(&page, backend_columns, ARRAY_SIZE(backend_columns),
			metrics_backends);
	return page.failed ? -ENOMEM : 0;
}
