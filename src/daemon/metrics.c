/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metrics - the HTTP side, with libevent's server.
 *
 * A scrape asks the workers and is answered when they have. While a worker is
 * silent the answer is 503, not a page without its part: counters that fall
 * look like a restart, and rates computed from them jump.
 *
 * What clients may make us hold is bounded: METRICS_ASKS_MAX scrapes under
 * way, header and body limits, METRICS_TIMEOUT_S for slow or idle ones.
 */
#include "daemon/metrics.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/clock.h"

#define METRICS_ASKS_MAX 16
#define METRICS_HEADER_BYTES_MAX 8192
#define METRICS_BODY_BYTES_MAX 1024
#define METRICS_TIMEOUT_S 10
#define METRICS_REST_S 1
#define METRICS_BACKLOG 16

/* A scrape under way. */
struct metrics_ask {
	struct metrics *metrics; /* NULL: closed meanwhile */
	struct metrics_ask *next;
	struct evhttp_request *req;
};

struct metrics {
	const struct workers_view *view;
	struct evhttp *http;
	struct metrics_ask *asks;
	uint32_t n_asks;
	uint16_t port;
};

static void metrics_fail(struct evhttp_request *req, int status,
			 const char *text)
{
	struct evbuffer *out = evbuffer_new();

	if (out)
		evbuffer_add_printf(out, "%s\n", text);
	evhttp_add_header(evhttp_request_get_output_headers(req),
			  "Content-Type", "text/plain; charset=utf-8");
	evhttp_send_reply(req, status, NULL, out);
	if (out)
		evbuffer_free(out);
}

static void metrics_send_page(struct metrics *m, struct evhttp_request *req,
			      const struct totals *totals)
{
	struct evbuffer *out = evbuffer_new();

	if (!out || metrics_print(out, m->view, totals) < 0) {
		metrics_fail(req, 503, "out of memory");
	} else {
		evhttp_add_header(evhttp_request_get_output_headers(req),
				  "Content-Type",
				  "text/plain; version=0.0.4; charset=utf-8");
		evhttp_send_reply(req, HTTP_OK, NULL, out);
	}
	if (out)
		evbuffer_free(out);
}

static void metrics_unlink_ask(struct metrics_ask *ask)
{
	struct metrics_ask **at = &ask->metrics->asks;

	while (*at != ask)
		at = &(*at)->next;
	*at = ask->next;
	ask->metrics->n_asks--;
}

static void metrics_on_snapshot(void *arg, struct snapshot *const *snaps,
				uint32_t n)
{
	struct metrics_ask *ask = arg;
	struct totals totals;

	if (!ask->metrics) {
		free(ask);
		return;
	}
	metrics_unlink_ask(ask);
	if (totals_init(&totals, snaps, n) < 0) {
		metrics_fail(ask->req, 503, "out of memory");
	} else if (totals.silent > 0) {
		metrics_fail(ask->req, 503, "a worker did not answer in time");
		totals_fini(&totals);
	} else {
		metrics_send_page(ask->metrics, ask->req, &totals);
		totals_fini(&totals);
	}
	free(ask);
}

static void metrics_ask(struct metrics *m, struct evhttp_request *req)
{
	const struct snapshot_query query = { 0 };
	struct metrics_ask *ask = calloc(1, sizeof(*ask));

	if (!ask) {
		metrics_fail(req, 503, "out of memory");
		return;
	}
	ask->metrics = m;
	ask->req = req;
	ask->next = m->asks;
	m->asks = ask;
	m->n_asks++;
	if (m->view->snapshot(m->view->self, &query, metrics_on_snapshot, ask) <
	    0) {
		metrics_unlink_ask(ask);
		free(ask);
		metrics_fail(req, 503, "the workers cannot be asked");
	}
}

static void metrics_on_request(struct evhttp_request *req, void *arg)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	struct metrics *m = arg;

	if (!path || strcmp(path, "/metrics") != 0) {
		metrics_fail(req, HTTP_NOTFOUND, "there is only /metrics");
	} else if (evhttp_request_get_command(req) != EVHTTP_REQ_GET) {
		evhttp_add_header(evhttp_request_get_output_headers(req),
				  "Allow", "GET");
		metrics_fail(req, HTTP_BADMETHOD, "only GET");
	} else if (m->n_asks == METRICS_ASKS_MAX) {
		metrics_fail(req, HTTP_SERVUNAVAIL, "too many at once");
	} else {
		metrics_ask(m, req);
	}
}

/* Returns a listening descriptor or a negative errno; the port in ret_port. */
static int metrics_listen(const struct sockaddr_storage *addr,
			  uint16_t *ret_port)
{
	socklen_t len = addr->ss_family == AF_INET
				? sizeof(struct sockaddr_in)
				: sizeof(struct sockaddr_in6);
	int fd = socket(addr->ss_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_storage got = { 0 };
	socklen_t got_len = sizeof(got);
	struct sockaddr_in6 in6;
	struct sockaddr_in in;
	int one = 1, err;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (const struct sockaddr *)addr, len) < 0 ||
	    listen(fd, METRICS_BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&got, &got_len) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	memcpy(&in, &got, sizeof(in));
	memcpy(&in6, &got, sizeof(in6));
	*ret_port =
		ntohs(got.ss_family == AF_INET ? in.sin_port : in6.sin6_port);
	return fd;
}

static void metrics_on_rested(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	evconnlistener_enable(arg);
}

/*
 * accept() failed: no descriptors left. The connection stays in the queue and
 * the socket readable, so accepting rests for a second instead of spinning.
 * (arg is evhttp's own. Nothing runs on the loop after metrics_close(), so the
 * listener outlives the timer.)
 */
static void metrics_on_accept_error(struct evconnlistener *listener, void *arg)
{
	static struct log_ratelimit limit = LOG_RATELIMIT(10 * USEC_PER_SEC, 1);
	const struct timeval tv = { METRICS_REST_S, 0 };
	int err = errno;

	(void)arg;
	if (event_base_once(evconnlistener_get_base(listener), -1, EV_TIMEOUT,
			    metrics_on_rested, listener, &tv) == 0)
		evconnlistener_disable(listener);
	if (log_ratelimit_ok(&limit, clock_now_us()))
		log_warn("metrics: accept: %s: nobody gets in for a while",
			 strerror(err));
}

static int metrics_serve(struct metrics *m, struct event_base *base, int fd)
{
	struct evhttp_bound_socket *bound;

	m->http = evhttp_new(base);
	if (!m->http)
		return -ENOMEM;
	evhttp_set_max_headers_size(m->http, METRICS_HEADER_BYTES_MAX);
	evhttp_set_max_body_size(m->http, METRICS_BODY_BYTES_MAX);
	evhttp_set_timeout(m->http, METRICS_TIMEOUT_S);
	/* all that it knows: we answer 405 ourselves */
	evhttp_set_allowed_methods(m->http, UINT16_MAX);
	evhttp_set_gencb(m->http, metrics_on_request, m);
	bound = evhttp_accept_socket_with_handle(m->http, fd);
	if (!bound)
		return -ENOMEM;
	evconnlistener_set_error_cb(evhttp_bound_socket_get_listener(bound),
				    metrics_on_accept_error);
	return 0;
}

int metrics_open(struct metrics **ret_metrics, struct event_base *base,
		 const struct sockaddr_storage *addr,
		 const struct workers_view *view)
{
	struct metrics *m = calloc(1, sizeof(*m));
	int fd, err;

	if (!m)
		return -ENOMEM;
	m->view = view;
	fd = metrics_listen(addr, &m->port);
	if (fd < 0) {
		log_error(
			"metrics: %s: %s", strerror(-fd),
			fd == -EADDRINUSE
				? "choose another port for \"listen\" in the configuration"
				: "see \"listen\" in the section metrics");
		free(m);
		return fd;
	}
	err = metrics_serve(m, base, fd);
	if (err < 0) {
		close(fd);
		metrics_close(m);
		return err;
	}
	*ret_metrics = m;
	return 0;
}

uint16_t metrics_port(const struct metrics *m)
{
	return m->port;
}

void metrics_close(struct metrics *m)
{
	if (!m)
		return;
	/* evhttp_free() frees their requests */
	for (struct metrics_ask *ask = m->asks; ask; ask = ask->next)
		ask->metrics = NULL;
	if (m->http)
		evhttp_free(m->http);
	free(m);
}
