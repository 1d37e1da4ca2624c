/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plain_link - one connection to a backend of protocol "stream".
 *
 * Theory of operation
 *
 *	stack --plain_link_push()--> socket      until it takes no more: ev_write
 *	      <--plain_link_pull()--             as much as the client's share of the
 *	                                         transmit buffer has room for
 *
 * There is no buffer in between. What the socket takes is acknowledged to the
 * stack as processed, and with that to the client; what it doesn't take stays in
 * the receive pool. Reading asks first how much the stack would take; when that is
 * nothing the link is stalled, until the client has acknowledged something. Then
 * the bytes wait in the kernel, and the backend with them.
 *
 *	CONNECTING --> UP --> (freed: both sides have closed, or it was quiet)
 *	     |          '--> ENDING --> (freed: the client has all, and is reset)
 *	     '--> another backend
 *
 * Ends are passed on as what they are: a FIN after all bytes before it, and a RST
 * or a failure as a RST. Of a link that breaks, what can still be read goes to
 * the client first: a server that refuses a request may say why.
 *
 * Each event of a socket is a turn (groups.c); a turn reads once per link.
 *
 * Invariants
 *  I1  ev_read is pending if and only if the link is UP, not stalled, and the
 *      backend has not sent its end.
 *  I2  nothing is read while something is held.
 *  I3  PLAIN_PASSED is in the record before a byte of either stream has passed.
 */
#include "daemon/plain_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/backend.h"
#include "daemon/plain.h"
#include "daemon/socket.h"

/* Pieces of a write; a chunk each. */
#define PLAIN_IOV 128
#define PLAIN_READ_BYTES 65536u
/* Reading begins again when the client may be sent so much. */
#define PLAIN_RESUME_BYTES 16384u

static void plain_on_read(evutil_socket_t fd, short what, void *arg);
static void plain_on_write(evutil_socket_t fd, short what, void *arg);
static void plain_link_ruin(struct plain_link *l);

/* --- ends -------------------------------------------------------------- */

/* Its connection, which is over, goes with it. */
static void plain_link_abort(struct plain_link *l)
{
	struct groups *gs = l->group->gs;
	uint32_t ri = l->ri;

	plain_link_free(l, true);
	stack_abort(gs->st, ri, gs->now_us);
}

/* Both sides have closed. */
static void plain_link_finish(struct plain_link *l)
{
	struct groups *gs = l->group->gs;
	uint32_t ri = l->ri;

	plain_link_free(l, false);
	stack_close(gs->st, ri, gs->now_us);
}

/* --- connecting --------------------------------------------------------- */

/* Is it this host that lacks something, and not the backend? */
static int plain_connect_error(int err)
{
	switch (err) {
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
	case EADDRNOTAVAIL: /* no port left */
	case EAGAIN: /* a Unix socket's backlog is full */
		return -EAGAIN;
	default:
		return -err;
	}
}

static int plain_link_events(struct plain_link *l)
{
	struct event_base *base = l->group->gs->base;

	l->ev_read =
		event_new(base, l->fd, EV_READ | EV_PERSIST, plain_on_read, l);
	l->ev_write = event_new(base, l->fd, EV_WRITE, plain_on_write, l);
	return l->ev_read && l->ev_write ? 0 : -EAGAIN;
}

int plain_link_connect(struct plain_link *l, struct backend *b)
{
	int err = 0;

	plain_link_hang_up(l, false);
	l->fd = socket(b->sa.ss_family,
		       SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return plain_connect_error(errno);
	if (l->fd > l->group->gs->links.fd_max) {
		plain_link_hang_up(l, false);
		return -EAGAIN;
	}
	if (b->sa.ss_family != AF_UNIX)
		socket_no_delay(l->fd);
	l->state = PLAIN_UP;
	if (connect(l->fd, (const struct sockaddr *)&b->sa, b->sa_len) < 0) {
		err = errno == EINPROGRESS ? 0 : plain_connect_error(errno);
		l->state = PLAIN_CONNECTING;
	}
	if (!err)
		err = plain_link_events(l);
	if (!err && l->state == PLAIN_CONNECTING &&
	    event_add(l->ev_write, NULL) < 0)
		err = -EAGAIN;
	if (err) {
		plain_link_hang_up(l, false);
		return err;
	}
	plain_link_leave(l);
	plain_link_join(l, b);
	return 0;
}

/* The PROXY header, as the backend wants it. */
static void plain_link_introduce(struct plain_link *l)
{
	const struct stack *st = l->group->gs->st;
	const struct arena_vip *vip;
	struct plain_ends ends;
	struct tuple tuple;

	shard_rec_tuple(st->sh, l->ri, &tuple);
	vip = &st->header->vips[tuple.vip];
	ends = (struct plain_ends){
		.client.family = tuple.v6 ? 6 : 4,
		.vip.family = tuple.v6 ? 6 : 4,
		.client_port = tuple.remote_port,
		.vip_port = tuple.local_port,
	};
	memcpy(ends.client.bytes, tuple.remote, sizeof(ends.client.bytes));
	memcpy(ends.vip.bytes, vip->bytes, sizeof(ends.vip.bytes));
	l->header_sent = 0;
	l->header_bytes = (uint8_t)plain_proxy_write(l->backend->plain.proxy,
						     &ends, l->header);
}

void plain_link_up(struct plain_link *l)
{
	struct groups *gs = l->group->gs;
	struct rec *rec = plain_link_rec(l);
	struct backend *b = l->backend;

	groups_count(gs, WC_plain_connects);
	b->stats.connects++;
	b->plain.reached = true;
	backend_is_useful(b);
	b->retry_at_us = 0;
	if (rec->rcv_off || rec->snd_off)
		groups_count(gs, WC_plain_reopened);
	rec->slot = b->plain.number;
	plain_link_introduce(l);
	if (rec->state == TCP_SYN_HELD)
		(void)stack_accept(gs->st, l->ri, gs->now_us);
	if (event_add(l->ev_read, NULL) < 0) {
		plain_link_ruin(l);
		return;
	}
	plain_link_push(l);
}

static void plain_link_connected(struct plain_link *l)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err) {
		plain_link_break(l, -err);
		return;
	}
	l->state = PLAIN_UP;
	plain_link_up(l);
}

/* --- to the backend ----------------------------------------------------- */

static void plain_link_passes(struct plain_link *l)
{
	plain_link_rec(l)->slot |= PLAIN_PASSED;
}

/* The socket has taken n bytes from position offset on. */
static void plain_link_gave(struct plain_link *l, uint64_t offset, uint32_t n)
{
	struct groups *gs = l->group->gs;

	const struct rec *rec = plain_link_rec(l);
	uint64_t since_us = latency_take_us(l->group, rec, groups_blk(gs, rec));

	l->backend->stats.bytes_in += n;
	if (!l->busy)
		l->asked_us = since_us;
	plain_link_set_busy(l, true);
	plain_link_moved(l);
	stack_delivered(gs->st, l->ri, n, gs->now_us);
	(void)stack_reply(gs->st, l->ri, offset, n, NULL, 0, gs->now_us);
}

/* All is written: is that the client's last byte? May end. */
static void plain_link_pass_end(struct plain_link *l)
{
	if (!(plain_link_rec(l)->flags & REC_FIN_RCVD))
		return;
	plain_link_passes(l);
	l->eof_out = true;
	(void)shutdown(l->fd, SHUT_WR);
	if (l->eof_in)
		plain_link_finish(l);
}

/*
 * One write of the header's rest and what there is. Returns whether there may be
 * more to write now. May end, and then returns false.
 */
static bool plain_link_write(struct plain_link *l)
{
	struct stack *st = l->group->gs->st;
	struct iovec iov[1 + PLAIN_IOV];
	size_t header = l->header_bytes - l->header_sent, sent;
	struct msghdr msg = { .msg_iov = iov + (header ? 0 : 1) };
	bool redelivered;
	uint64_t offset;
	uint32_t bytes;
	int n = PLAIN_IOV;
	ssize_t rc;

	bytes = stack_peek(st, l->ri, UINT32_MAX, iov + 1, &n, &offset,
			   &redelivered);
	if (!header && !bytes) {
		plain_link_pass_end(l);
		return false;
	}
	iov[0] = (struct iovec){ l->header + l->header_sent, header };
	msg.msg_iovlen = (size_t)n + (header ? 1 : 0);
	if (bytes)
		plain_link_passes(l);
	rc = sendmsg(l->fd, &msg, MSG_NOSIGNAL);
	if (rc < 0 && errno != EAGAIN && errno != EINTR) {
		plain_link_break(l, -errno);
		return false;
	}
	sent = rc < 0 ? 0 : (size_t)rc;
	l->header_sent =
		(uint8_t)(l->header_sent + (sent < header ? sent : header));
	if (sent > header)
		plain_link_gave(l, offset, (uint32_t)(sent - header));
	if (sent < header + bytes && event_add(l->ev_write, NULL) < 0) {
		plain_link_ruin(l);
		return false;
	}
	return sent == header + bytes;
}

void plain_link_push(struct plain_link *l)
{
	if (l->state != PLAIN_UP || l->eof_out)
		return;
	while (plain_link_write(l))
		;
}

/* --- from the backend --------------------------------------------------- */

/*
 * What may be read: as far ahead of the client as frames may be (deliver.c), and
 * within its share of the transmit buffer.
 */
static uint32_t plain_link_room(const struct plain_link *l)
{
	struct groups *gs = l->group->gs;
	struct stack_conn_info info;
	uint64_t ahead;

	stack_conn_info(gs->st, l->ri, gs->now_us, &info);
	ahead = max_u64(2 * CONN_HALF_BYTES, 2 * (uint64_t)info.cwnd);
	if (ahead <= info.snd_queued)
		return 0;
	return (uint32_t)min_u64(ahead - info.snd_queued,
				 stack_reply_room_of(gs->st, l->ri));
}

static void plain_link_stall(struct plain_link *l)
{
	plain_link_set_stalled(l, true);
	if (l->ev_read)
		event_del(l->ev_read);
}

/* Give bytes to the stack. Returns how many it took; -EPIPE: none, ever. */
static int64_t plain_link_give(struct plain_link *l, const uint8_t *bytes,
			       uint32_t n)
{
	struct groups *gs = l->group->gs;

	return stack_reply(gs->st, l->ri, 0, 0, bytes, n, gs->now_us);
}

/*
 * n bytes came from the backend. What the stack doesn't take, though it was
 * asked, is held. May end, and then returns false.
 */
static bool plain_link_got(struct plain_link *l, const uint8_t *bytes,
			   uint32_t n)
{
	int64_t taken;

	plain_link_passes(l);
	l->backend->stats.bytes_out += n;
	if (l->busy)
		latency_record(l->group, l->backend, l->asked_us);
	plain_link_set_busy(l, false);
	plain_link_moved(l);
	taken = plain_link_give(l, bytes, n);
	if (taken == n)
		return true;
	if (taken >= 0)
		l->held = malloc(n - (uint32_t)taken);
	if (taken < 0 || !l->held) {
		plain_link_abort(l);
		return false;
	}
	l->held_bytes = n - (uint32_t)taken;
	l->held_done = 0;
	memcpy(l->held, bytes + taken, l->held_bytes);
	plain_link_stall(l);
	return true;
}

/* The backend's last byte was read. May end. */
static void plain_link_got_end(struct plain_link *l)
{
	struct groups *gs = l->group->gs;

	plain_link_passes(l);
	plain_link_moved(l);
	plain_link_set_busy(l, false);
	l->eof_in = true;
	event_del(l->ev_read);
	if (l->eof_out)
		plain_link_finish(l);
	else
		stack_shutdown(gs->st, l->ri, gs->now_us);
}

/*
 * Read once. Returns what recv(2) did, with a negative errno; -ENOBUFS: there is
 * no room; -ECANCELED: the link has ended.
 */
static ssize_t plain_link_read(struct plain_link *l)
{
	static _Thread_local uint8_t buf[PLAIN_READ_BYTES];
	uint32_t room = plain_link_room(l);
	ssize_t n;

	if (l->held || !room)
		return -ENOBUFS;
	do
		n = recv(l->fd, buf, min_u32(room, sizeof(buf)), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n > 0 && !plain_link_got(l, buf, (uint32_t)n))
		return -ECANCELED;
	return n;
}

/* The socket is readable. May end. */
static void plain_link_pull(struct plain_link *l)
{
	ssize_t n = plain_link_read(l);

	if (n == 0)
		plain_link_got_end(l);
	else if (n == -ENOBUFS)
		plain_link_stall(l);
	else if (n < 0 && n != -EAGAIN && n != -ECANCELED)
		plain_link_break(l, (int)n);
}

/* What is held goes first. May end, and then returns false. */
static bool plain_link_give_held(struct plain_link *l)
{
	int64_t taken;

	if (!l->held)
		return true;
	taken = plain_link_give(l, l->held + l->held_done,
				l->held_bytes - l->held_done);
	if (taken < 0) {
		plain_link_abort(l);
		return false;
	}
	l->held_done += (uint32_t)taken;
	if (l->held_done == l->held_bytes) {
		free(l->held);
		l->held = NULL;
	}
	return true;
}

void plain_link_resume(struct plain_link *l)
{
	struct groups *gs = l->group->gs;
	struct stack_conn_info info;

	if (plain_link_rec(l)->state == TCP_GONE)
		return; /* its end is being told */
	if (!plain_link_give_held(l))
		return;
	stack_conn_info(gs->st, l->ri, gs->now_us, &info);
	if (l->state == PLAIN_ENDING) {
		if (info.snd_queued == 0 && !l->held)
			plain_link_abort(l);
		return;
	}
	if (!l->stalled || l->held ||
	    (plain_link_room(l) < PLAIN_RESUME_BYTES && info.snd_queued > 0))
		return;
	plain_link_set_stalled(l, false);
	if (!l->eof_in && event_add(l->ev_read, NULL) < 0)
		plain_link_ruin(l);
}

/* --- breaking, being quiet ---------------------------------------------- */

/* It is over: the client hears it as a RST, after what came before. */
static void plain_link_ruin(struct plain_link *l)
{
	struct groups *gs = l->group->gs;

	groups_count(gs, WC_plain_broken);
	plain_link_hang_up(l, true);
	plain_link_set_busy(l, false);
	plain_link_set_stalled(l, false);
	l->state = PLAIN_ENDING;
	plain_link_resume(l);
}

void plain_link_break(struct plain_link *l, int err)
{
	ssize_t n;

	if (plain_link_rec(l)->state == TCP_GONE)
		return;
	if (!(plain_link_rec(l)->slot & PLAIN_PASSED) ||
	    l->state == PLAIN_CONNECTING) {
		plain_redial(l, err);
		return;
	}
	do
		n = l->eof_in ? 0 : plain_link_read(l);
	while (n > 0);
	if (n != -ECANCELED)
		plain_link_ruin(l);
}

bool plain_link_is_quiet(const struct plain_link *l)
{
	const struct groups *gs = l->group->gs;
	struct stack_conn_info info;

	/* The client's end was passed on: the backend will answer. */
	if (l->state != PLAIN_UP || l->busy || l->held || l->eof_out ||
	    l->header_sent < l->header_bytes)
		return false;
	stack_conn_info(gs->st, l->ri, gs->now_us, &info);
	return info.state != TCP_GONE && info.rcv_held == 0 &&
	       info.snd_queued == 0;
}

void plain_link_close_idle(struct plain_link *l)
{
	struct groups *gs = l->group->gs;
	ssize_t n = l->eof_in ? 0 : plain_link_read(l);

	if (n == -EAGAIN) {
		groups_count(gs, WC_plain_idle_closed);
		plain_link_free(l, false);
	} else if (n == 0 && l->eof_in) {
		/* The backend has closed long ago, the client doesn't. */
		plain_link_finish(l);
	} else if (n == 0) {
		plain_link_got_end(l);
	} else if (n < 0 && n != -ENOBUFS && n != -ECANCELED) {
		plain_link_break(l, (int)n);
	}
}

/* --- events ------------------------------------------------------------- */

/*
 * Is its connection over? If the stack has yet to say so, the link stays until
 * then, which is this turn.
 */
static bool plain_link_is_over(struct plain_link *l)
{
	if (!plain_link_is_stale(l))
		return plain_link_rec(l)->state == TCP_GONE;
	plain_link_free(l, true);
	return true;
}

static void plain_on_read(evutil_socket_t fd, short what, void *arg)
{
	struct plain_link *l = arg;
	struct groups *gs = l->group->gs;

	(void)fd;
	(void)what;
	gs->now_us = gs->ops.clock(gs->ops.ctx);
	if (!plain_link_is_over(l))
		plain_link_pull(l);
	gs->ops.turn_end(gs->ops.ctx);
}

static void plain_on_write(evutil_socket_t fd, short what, void *arg)
{
	struct plain_link *l = arg;
	struct groups *gs = l->group->gs;

	(void)fd;
	(void)what;
	gs->now_us = gs->ops.clock(gs->ops.ctx);
	if (!plain_link_is_over(l)) {
		if (l->state == PLAIN_CONNECTING)
			plain_link_connected(l);
		else
			plain_link_push(l);
	}
	gs->ops.turn_end(gs->ops.ctx);
}
