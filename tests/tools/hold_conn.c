/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One connection of holdc.
 *
 *	CLOSED -> CONNECTING -> IDLE <-> BUSY
 *	   ^                     |        |
 *	   |                     v        v
 *	   +----- a churn's <- ENDING: last request, FIN; last byte, their FIN
 *
 * What it sends is one stream, byte i of which is a function of the seed, the
 * connection, its life and i; the reply to bytes [a, b) is the same bytes. So
 * a byte that is lost, repeated, or another connection's is one that differs.
 * Sizes and times are functions of the same, so a seed repeats what is sent.
 */
#include "tools/hold.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tools/pattern.h"

#define HOLD_BUFFER_BYTES (128u * 1024u)
/* Requests of a connection that churns, 1 to this. */
#define HOLD_CHURN_REQUESTS 4u
/* Reads of one connection in a turn, so that none starves the others. */
#define HOLD_READS 4
/* A bulk connection's pause is this much shorter than that of the others. */
#define HOLD_BULK_HASTE 16u
/* Last requests at a time, for each handshake at a time. */
#define HOLD_LAST 4u

enum hold_draw { DRAW_SIZE, DRAW_THINK, DRAW_LIFE, DRAW_KIND };

static uint8_t hold_buffer[HOLD_BUFFER_BYTES];

static uint64_t hold_draw(const struct hold_conn *c, enum hold_draw what)
{
	return pattern_word(~c->key, (uint64_t)c->requests << 8 | what);
}

/* In a range, each doubling as likely as the next. */
static uint64_t hold_in_range(struct hold_range range, uint64_t random)
{
	uint64_t low = range.min ? range.min : 1, octaves = 0, span;

	while (low << octaves < range.max)
		octaves++;
	if (octaves == 0)
		return range.max;
	low <<= (random >> 32) % octaves;
	span = low * 2 < range.max ? low : range.max - low;
	return low + (uint32_t)random % (span + 1);
}

static void hold_conn_state(struct hold *h, struct hold_conn *c,
			    enum hold_state to)
{
	h->by_state[c->state]--;
	h->by_state[to]++;
	c->state = (uint8_t)to;
}

/* The beginning of a life. */
static void hold_conn_new_life(struct hold *h, struct hold_conn *c)
{
	uint64_t r;

	c->fd = -1;
	c->writing = c->shut = false;
	c->requests = 0;
	c->allowed = c->sent = c->received = 0;
	c->key = pattern_word(h->opt.seed, (uint64_t)c->life << 32 | c->number);
	r = hold_draw(c, DRAW_LIFE);
	c->requests_max = c->kind == HOLD_CHURN
				  ? 1 + (uint32_t)r % HOLD_CHURN_REQUESTS
				  : 0;
	c->by_close = c->kind == HOLD_CHURN && r >> 63;
}

void hold_conn_init(struct hold *h, uint32_t number)
{
	struct hold_conn *c = &h->conns[number];
	uint32_t kinds = h->opt.bulk + h->opt.churn;

	*c = (struct hold_conn){ .number = number };
	/* spread over them all, so over the addresses, too */
	if ((uint64_t)(number + 1) * kinds / h->opt.connections !=
	    (uint64_t)number * kinds / h->opt.connections)
		c->kind =
			(uint64_t)number * kinds / h->opt.connections % kinds <
					h->opt.bulk
				? HOLD_BULK
				: HOLD_CHURN;
	h->by_state[HOLD_CLOSED]++;
	hold_conn_new_life(h, c);
}

static void hold_conn_close(struct hold_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

uint16_t hold_conn_port(const struct hold_conn *c)
{
	struct sockaddr_in6 sa = { 0 };
	socklen_t len = sizeof(sa);

	if (c->fd < 0 || getsockname(c->fd, (struct sockaddr *)&sa, &len) < 0)
		return 0;
	return ntohs(sa.sin6_port); /* at the same place in both families */
}

static void hold_conn_fail(struct hold *h, struct hold_conn *c,
			   enum hold_failure what, int err)
{
	struct hold_incident incident = {
		.what = what,
		.state = c->state,
		.err = err,
		.conn = c->number,
		.life = c->life,
		.port = hold_conn_port(c),
		.at_us = h->now_us - h->stats.all.began_us,
		.sent = c->sent,
		.received = c->received,
		.waited_us = hold_conn_waits(c) ? h->now_us - c->began_us : 0,
	};

	hold_stats_fail(&h->stats, &incident);
	hold_conn_close(c);
	hold_conn_state(h, c, HOLD_FAILED);
}

static void hold_conn_errno(struct hold *h, struct hold_conn *c, int err)
{
	enum hold_failure what = HOLD_ERROR;

	if (c->state == HOLD_CONNECTING)
		what = HOLD_REFUSED;
	else if (err == ECONNRESET || err == EPIPE)
		what = HOLD_RESET;
	hold_conn_fail(h, c, what, err);
}

/* It came to its end, in order. */
static void hold_conn_over(struct hold *h, struct hold_conn *c)
{
	h->stats.all.ended++;
	h->stats.mark.ended++;
	hold_conn_close(c);
	if (h->finishing) {
		hold_conn_state(h, c, HOLD_DONE);
		return;
	}
	hold_conn_state(h, c, HOLD_CLOSED);
	c->life++;
	hold_conn_new_life(h, c);
	c->due_us = h->now_us +
		    hold_in_range(h->opt.think_us, hold_draw(c, DRAW_THINK));
}

static void hold_conn_watch(struct hold *h, struct hold_conn *c, bool writing)
{
	struct epoll_event ev = {
		.events = EPOLLIN | (writing ? (uint32_t)EPOLLOUT : 0u),
		.data.ptr = c,
	};

	if (c->writing == writing)
		return;
	c->writing = writing;
	if (epoll_ctl(h->epfd, EPOLL_CTL_MOD, c->fd, &ev) < 0)
		hold_conn_fail(h, c, HOLD_ERROR, errno);
}

/* --- sending */

/* Send what is allowed, and after the last byte the FIN that ends a life. */
static void hold_conn_send(struct hold *h, struct hold_conn *c)
{
	while (c->sent < c->allowed) {
		uint64_t left = c->allowed - c->sent;
		size_t n = left < HOLD_BUFFER_BYTES ? (size_t)left
						    : HOLD_BUFFER_BYTES;
		ssize_t done;

		pattern_fill(c->key, c->sent, hold_buffer, n);
		done = send(c->fd, hold_buffer, n, MSG_NOSIGNAL);
		if (done < 0 && (errno == EAGAIN || errno == EINTR)) {
			hold_conn_watch(h, c, true);
			return;
		}
		if (done < 0) {
			hold_conn_errno(h, c, errno);
			return;
		}
		c->sent += (uint64_t)done;
		h->stats.all.bytes_out += (uint64_t)done;
		h->stats.mark.bytes_out += (uint64_t)done;
	}
	if (c->state == HOLD_ENDING && !c->by_close && !c->shut) {
		c->shut = true;
		shutdown(c->fd, SHUT_WR);
	}
	hold_conn_watch(h, c, false);
}

static void hold_conn_request(struct hold *h, struct hold_conn *c)
{
	bool last;

	c->allowed +=
		c->kind == HOLD_BULK
			? h->opt.bulk_bytes
			: hold_in_range(h->opt.size, hold_draw(c, DRAW_SIZE));
	c->requests++;
	last = h->finishing || c->requests == c->requests_max;
	if (h->finishing)
		c->by_close = false;
	c->began_us = h->now_us;
	hold_conn_state(h, c, last ? HOLD_ENDING : HOLD_BUSY);
	hold_conn_send(h, c);
}

/* The next request is due; at once when everything is to end. */
static void hold_conn_rest(struct hold *h, struct hold_conn *c)
{
	uint64_t us = hold_in_range(h->opt.think_us, hold_draw(c, DRAW_THINK));

	if (c->kind == HOLD_BULK)
		us /= HOLD_BULK_HASTE;
	c->due_us = h->now_us + us;
	hold_conn_state(h, c, HOLD_IDLE);
}

/* --- receiving */

static void hold_conn_replied(struct hold *h, struct hold_conn *c)
{
	h->stats.all.requests++;
	h->stats.mark.requests++;
	hold_stats_pause(&h->stats, h->now_us - c->began_us);
	if (c->state == HOLD_BUSY)
		hold_conn_rest(h, c);
	else if (c->by_close)
		hold_conn_over(h, c);
}

static void hold_conn_took(struct hold *h, struct hold_conn *c, size_t n)
{
	uint64_t wrong;

	h->stats.all.bytes_in += n;
	h->stats.mark.bytes_in += n;
	if (n > c->sent - c->received) {
		h->stats.wrong_bytes += n - (c->sent - c->received);
		hold_conn_fail(h, c, HOLD_SURPLUS, 0);
		return;
	}
	wrong = pattern_mismatches(c->key, c->received, hold_buffer, n);
	if (wrong) {
		h->stats.wrong_bytes += wrong;
		hold_conn_fail(h, c, HOLD_CORRUPT, 0);
		return;
	}
	c->received += n;
	if (c->received == c->allowed)
		hold_conn_replied(h, c);
}

/* Returns whether there may be more. */
static bool hold_conn_read(struct hold *h, struct hold_conn *c)
{
	ssize_t n = recv(c->fd, hold_buffer, sizeof(hold_buffer), 0);

	if (n > 0) {
		hold_conn_took(h, c, (size_t)n);
		return c->fd >= 0 && n == sizeof(hold_buffer);
	}
	if (n == 0) {
		if (c->shut && c->received == c->allowed)
			hold_conn_over(h, c);
		else
			hold_conn_fail(h, c, HOLD_EOF, 0);
	} else if (errno != EAGAIN && errno != EINTR) {
		hold_conn_errno(h, c, errno);
	}
	return false;
}

/* --- opening */

static void hold_conn_connected(struct hold *h, struct hold_conn *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err) {
		hold_conn_errno(h, c, err);
		return;
	}
	h->first_opened += c->life == 0;
	h->stats.all.opened++;
	h->stats.mark.opened++;
	hold_stats_connect(&h->stats, h->now_us - c->began_us);
	hold_conn_rest(h, c);
	hold_conn_watch(h, c, false);
}

static void hold_conn_open(struct hold *h, struct hold_conn *c)
{
	const struct sockaddr_storage *sa = &h->opt.sa[c->number % h->opt.n_sa];
	socklen_t len = sa->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
						  : sizeof(struct sockaddr_in);
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT, .data.ptr = c };
	int on = 1;

	hold_conn_state(h, c, HOLD_CONNECTING);
	c->began_us = h->now_us;
	c->writing = true;
	c->fd = socket(sa->ss_family,
		       SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) {
		hold_conn_fail(h, c, HOLD_ERROR, errno);
		return;
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if ((connect(c->fd, (const struct sockaddr *)sa, len) < 0 &&
	     errno != EINPROGRESS) ||
	    epoll_ctl(h->epfd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		hold_conn_errno(h, c, errno);
}

/* --- what drives it */

/* The last requests come in turn: they are no test of endurance. */
static bool hold_conn_is_due(const struct hold *h, const struct hold_conn *c)
{
	if (h->finishing)
		return h->by_state[HOLD_ENDING] < h->opt.opening * HOLD_LAST;
	return c->due_us <= h->now_us;
}

void hold_conn_tick(struct hold *h, struct hold_conn *c)
{
	if (c->state == HOLD_CLOSED) {
		if (h->finishing)
			hold_conn_state(h, c, HOLD_DONE);
		else if (c->due_us <= h->now_us &&
			 h->by_state[HOLD_CONNECTING] < h->opt.opening)
			hold_conn_open(h, c);
	} else if (c->state == HOLD_IDLE && hold_conn_is_due(h, c)) {
		hold_conn_request(h, c);
	}
}

void hold_conn_event(struct hold *h, struct hold_conn *c, uint32_t events)
{
	if (c->fd < 0)
		return;
	if (c->state == HOLD_CONNECTING) {
		hold_conn_connected(h, c);
		return;
	}
	if (events & EPOLLOUT)
		hold_conn_send(h, c);
	for (int i = 0;
	     i < HOLD_READS && c->fd >= 0 && events & ~(uint32_t)EPOLLOUT; i++)
		if (!hold_conn_read(h, c))
			break;
}

void hold_conn_expire(struct hold *h, struct hold_conn *c)
{
	if (c->state != HOLD_DONE && c->state != HOLD_FAILED)
		hold_conn_fail(h, c, HOLD_TIMEOUT, ETIMEDOUT);
}
