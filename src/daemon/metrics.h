/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metrics - GET /metrics in Prometheus' text format (version 0.0.4).
 *
 * Every counter as xtcpd_NAME, gauges of connections and memory, and groups,
 * pools and backends by labels; xtcpd(8) lists them.
 */
#ifndef XTCP_DAEMON_METRICS_H
#define XTCP_DAEMON_METRICS_H

#include <event2/buffer.h>
#include <event2/event.h>
#include <sys/socket.h>

#include "daemon/snapshot.h"
#include "daemon/totals.h"

/* Clients at once; who is slowest makes room for one more. */
#define METRICS_CLIENTS_MAX 32u

struct metrics;

/*
 * Serves on the address (struct sockaddr_in or _in6), driven by base; view
 * answers. Both are borrowed until metrics_close().
 * Returns 0, or a negative errno after logging what failed and what to do.
 */
int metrics_open(struct metrics **ret_metrics, struct event_base *base,
		 const struct sockaddr_storage *addr,
		 const struct workers_view *view);

/* The port in host byte order, for one that was asked for as 0 (tests). */
uint16_t metrics_port(const struct metrics *m);

/* The view may still call back afterwards. Accepts NULL. */
void metrics_close(struct metrics *m);

/* metrics_text.c: all metrics. Returns 0 or -ENOMEM. */
int metrics_print(struct evbuffer *out, const struct workers_view *view,
		  const struct totals *totals);

#endif
