/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metrics - the HTTP side: one GET per connection, and no more of HTTP than
 * that takes (RFC 9112).
 *
 * Theory of operation
 *
 *	accept ─> READING ─> ASKING ─> WRITING ─> ENDING ─> closed
 *	          headers    workers    answer     our FIN is out: what the
 *	                                           client still sends is dropped
 *
 * A scrape asks the workers and is answered when they have. While a worker is
 * silent the answer is 503, not a page without its part: counters that fall
 * look like a restart, and rates computed from them jump.
 *
 * What clients can make us hold is bounded, descriptors too, so that the
 * control socket finds some: METRICS_CLIENTS_MAX of them, METRICS_HEADER_BYTES
 * of each, METRICS_ASKS_MAX scrapes under way. Each step has METRICS_TIMEOUT_S,
 * however many bytes come in it. When one more comes, it takes the place of
 * the one whose request has been missing the longest: who trickles headers
 * keeps nobody out.
 *
 * I1: an ask and its client name each other, until one of them ends.
 */
#include "daemon/metrics.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "daemon/listener.h"

#define METRICS_ASKS_MAX 16
#define METRICS_HEADER_BYTES 8192u
#define METRICS_TIMEOUT_S 10
#define METRICS_BACKLOG 16

#define METRICS_TEXT "text/plain; charset=utf-8"
#define METRICS_PAGE "text/plain; version=0.0.4; charset=utf-8"

enum metrics_state {
	METRICS_READING,
	METRICS_ASKING,
	METRICS_WRITING,
	METRICS_ENDING
};

struct metrics_client {
	struct metrics *metrics;
	struct metrics_client *next; /* the one before it came later */
	struct bufferevent *bev;
	struct event *timer;
	enum metrics_state state;
	struct metrics_ask *ask; /* while ASKING */
};

/* A scrape under way. */
struct metrics_ask {
	struct metrics *metrics; /* NULL: closed meanwhile */
	struct metrics_ask *next;
	struct metrics_client *client; /* NULL: gone */
};

struct metrics {
	const struct workers_view *view;
	struct event_base *base;
	struct listener *listener;
	struct metrics_client *clients;
	uint32_t n_clients;
	struct metrics_ask *asks;
	uint32_t n_asks;
	uint16_t port;
};

static void metrics_client_free(struct metrics_client *client)
{
	struct metrics_client **at = &client->metrics->clients;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	client->metrics->n_clients--;
	if (client->ask)
		client->ask->client = NULL;
	event_free(client->timer);
	bufferevent_free(client->bev);
	free(client);
}

static void metrics_client_step(struct metrics_client *client,
				enum metrics_state state)
{
	const struct timeval tv = { METRICS_TIMEOUT_S, 0 };

	client->state = state;
	evtimer_add(client->timer, &tv);
}

/* The answer, with body (or NULL), which is emptied. */
static void metrics_answer(struct metrics_client *client, const char *status,
			   const char *type, struct evbuffer *body)
{
	struct evbuffer *out = bufferevent_get_output(client->bev);

	metrics_client_step(client, METRICS_WRITING);
	evbuffer_add_printf(
		out,
		"HTTP/1.1 %s\r\nContent-Type: %s\r\n"
		"Content-Length: %zu\r\n%sConnection: close\r\n\r\n",
		status, type, body ? evbuffer_get_length(body) : 0,
		strncmp(status, "405", 3) ? "" : "Allow: GET\r\n");
	if (body)
		evbuffer_add_buffer(out, body);
}

static void metrics_fail(struct metrics_client *client, const char *status,
			 const char *text)
{
	struct evbuffer *body = evbuffer_new();

	if (body)
		evbuffer_add_printf(body, "%s\n", text);
	metrics_answer(client, status, METRICS_TEXT, body);
	if (body)
		evbuffer_free(body);
}

static void metrics_unavailable(struct metrics_client *client, const char *text)
{
	metrics_fail(client, "503 Service Unavailable", text);
}

static void metrics_send_page(struct metrics_client *client,
			      const struct totals *totals)
{
	struct evbuffer *body = evbuffer_new();

	if (!body || metrics_print(body, client->metrics->view, totals) < 0)
		metrics_unavailable(client, "out of memory");
	else
		metrics_answer(client, "200 OK", METRICS_PAGE, body);
	if (body)
		evbuffer_free(body);
}

static void metrics_unlink_ask(struct metrics_ask *ask)
{
	struct metrics_ask **at = &ask->metrics->asks;

	while (*at != ask)
		at = &(*at)->next;
	*at = ask->next;
	ask->metrics->n_asks--;
	if (ask->client)
		ask->client->ask = NULL;
}

static void metrics_on_snapshot(void *arg, struct snapshot *const *snaps,
				uint32_t n)
{
	struct metrics_ask *ask = arg;
	struct metrics_client *client = ask->client;
	struct totals totals;

	if (ask->metrics)
		metrics_unlink_ask(ask);
	free(ask);
	if (!client)
		return;
	if (totals_init(&totals, snaps, n) < 0) {
		metrics_unavailable(client, "out of memory");
		return;
	}
	if (totals.silent > 0)
		metrics_unavailable(client, "a worker did not answer in time");
	else
		metrics_send_page(client, &totals);
	totals_fini(&totals);
}

static void metrics_ask(struct metrics *m, struct metrics_client *client)
{
	const struct snapshot_query query = { .latency = true };
	struct metrics_ask *ask = calloc(1, sizeof(*ask));

	if (!ask) {
		metrics_unavailable(client, "out of memory");
		return;
	}
	*ask = (struct metrics_ask){ m, m->asks, client };
	m->asks = ask;
	m->n_asks++;
	client->ask = ask;
	metrics_client_step(client, METRICS_ASKING);
	if (m->view->snapshot(m->view->self, &query, metrics_on_snapshot, ask) <
	    0) {
		metrics_unlink_ask(ask);
		free(ask);
		metrics_unavailable(client, "the workers cannot be asked");
	}
}

/* "METHOD TARGET HTTP/1.x", the request line. */
static void metrics_request(struct metrics_client *client, char *line)
{
	char *save = NULL;
	const char *method = strtok_r(line, " \r", &save);
	char *target = strtok_r(NULL, " \r", &save);
	const char *version = strtok_r(NULL, " \r", &save);

	if (!method || !target || !version || strncmp(version, "HTTP/1.", 7)) {
		metrics_fail(client, "400 Bad Request",
			     "a request is like GET /metrics HTTP/1.1");
		return;
	}
	target[strcspn(target, "?")] = '\0';
	if (strcmp(target, "/metrics") != 0)
		metrics_fail(client, "404 Not Found", "there is only /metrics");
	else if (strcmp(method, "GET") != 0)
		metrics_fail(client, "405 Method Not Allowed", "only GET");
	else if (client->metrics->n_asks == METRICS_ASKS_MAX)
		metrics_unavailable(client, "too many at once");
	else
		metrics_ask(client->metrics, client);
}

/* Bytes of the headers with the empty line that ends them; 0: not there yet. */
static size_t metrics_header_bytes(struct evbuffer *in)
{
	struct evbuffer_ptr at = evbuffer_search(in, "\r\n\r\n", 4, NULL);

	if (at.pos >= 0)
		return (size_t)at.pos + 4;
	at = evbuffer_search(in, "\n\n", 2, NULL);
	return at.pos >= 0 ? (size_t)at.pos + 2 : 0;
}

static void metrics_on_input(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct metrics_client *client = arg;
	size_t bytes, len = evbuffer_get_length(in);
	char *line;

	if (client->state != METRICS_READING) {
		evbuffer_drain(in, len);
		return;
	}
	bytes = metrics_header_bytes(in);
	if (bytes == 0 && len < METRICS_HEADER_BYTES)
		return;
	line = bytes && bytes <= METRICS_HEADER_BYTES
		       ? evbuffer_readln(in, NULL, EVBUFFER_EOL_LF)
		       : NULL;
	evbuffer_drain(in, evbuffer_get_length(in));
	if (line)
		metrics_request(client, line);
	else
		metrics_fail(client, "431 Request Header Fields Too Large",
			     "too much of a request");
	free(line);
}

/* All is written: our FIN, and theirs is waited for, lest a RST overtakes it. */
static void metrics_on_output(struct bufferevent *bev, void *arg)
{
	struct metrics_client *client = arg;

	if (client->state != METRICS_WRITING)
		return;
	metrics_client_step(client, METRICS_ENDING);
	shutdown(bufferevent_getfd(bev), SHUT_WR);
}

/* A client that sends all it has and its FIN still gets its answer. */
static void metrics_on_event(struct bufferevent *bev, short what, void *arg)
{
	struct metrics_client *client = arg;

	if (what & BEV_EVENT_EOF && (client->state == METRICS_ASKING ||
				     client->state == METRICS_WRITING)) {
		bufferevent_disable(bev, EV_READ);
		return;
	}
	metrics_client_free(client);
}

static void metrics_on_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	metrics_client_free(arg);
}

/* Room for one more: whose request has been missing the longest goes. */
static bool metrics_make_room(struct metrics *m)
{
	struct metrics_client *oldest = NULL;

	if (m->n_clients < METRICS_CLIENTS_MAX)
		return true;
	for (struct metrics_client *c = m->clients; c; c = c->next)
		if (c->state == METRICS_READING || c->state == METRICS_ENDING)
			oldest = c;
	if (!oldest)
		return false;
	metrics_client_free(oldest);
	return true;
}

static void metrics_on_accept(void *arg, int fd)
{
	struct metrics *m = arg;
	struct metrics_client *client;

	client = metrics_make_room(m) ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		close(fd);
		return;
	}
	client->metrics = m;
	client->bev =
		bufferevent_socket_new(m->base, fd, BEV_OPT_CLOSE_ON_FREE);
	client->timer = evtimer_new(m->base, metrics_on_timeout, client);
	if (!client->bev || !client->timer) {
		if (client->bev)
			bufferevent_free(client->bev);
		else
			close(fd);
		if (client->timer)
			event_free(client->timer);
		free(client);
		return;
	}
	client->next = m->clients;
	m->clients = client;
	m->n_clients++;
	bufferevent_setcb(client->bev, metrics_on_input, metrics_on_output,
			  metrics_on_event, client);
	metrics_client_step(client, METRICS_READING);
	bufferevent_enable(client->bev, EV_READ | EV_WRITE);
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

int metrics_open(struct metrics **ret_metrics, struct event_base *base,
		 const struct sockaddr_storage *addr,
		 const struct workers_view *view)
{
	struct metrics *m = calloc(1, sizeof(*m));
	int fd, err;

	if (!m)
		return -ENOMEM;
	m->view = view;
	m->base = base;
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
	err = listener_new(&m->listener, base, fd, "metrics", metrics_on_accept,
			   m);
	if (err < 0) {
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
	while (m->clients)
		metrics_client_free(m->clients);
	for (struct metrics_ask *ask = m->asks; ask; ask = ask->next)
		ask->metrics = NULL;
	listener_free(m->listener);
	free(m);
}
