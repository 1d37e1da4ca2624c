/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bstream - one framed stream to a backend.
 *
 * Theory of operation
 *
 *	socket --read--> in --bstream_process()--> hello.c (until it is up)
 *	                                       '-> reply.c
 *	deliver.c, reply.c --bstream_send()--> out --flush once a turn--> socket
 *	                                 '-- a large frame, while out is empty --^
 *
 * A turn reads until a read does not fill the buffer, or BSTREAM_READ_BYTES, and
 * handles all frames of each read. What it gives rise to leaves at its end: the
 * more a turn has, the fewer packets and wake-ups. Reading stops
 * (stalls) in two cases: a REPLY that the stack could not take whole is held
 * until the client has acknowledged something, and a queue without room for
 * answers must be written first. So a backend that doesn't read what it
 * provokes stops being read, and nothing grows.
 *
 * `out` has three marks: DATA stops at the first, frames about connections
 * (RESET, CREDIT, OPEN, EOF) at the second, and what lies between the second
 * and the end is for answers to frames that were read.
 *
 * Invariants
 *  I1  a stream is freed by the reaper (groups.c) alone; until then `failed`
 *      makes all else do nothing.
 *  I2  ev_read is pending if and only if the stream is not stalled and not
 *      connecting.
 *  I3  bytes leave in the order of bstream_send(): past `out` only while it is
 *      empty.
 *  I4  `held_payload` lies in `in`, which is not touched while it is held.
 */
#include "daemon/bstream.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/units.h"
#include "daemon/backend.h"
#include "daemon/hello.h"
#include "daemon/loss.h"
#include "daemon/reply.h"

#define BSTREAM_PING_US (5 * USEC_PER_SEC)
/* The most that answers to one frame can take. */
#define BSTREAM_ANSWER_BYTES 2048u
#define BSTREAM_ERROR_TEXT_MAX 200
/* What one turn reads of a stream that has more than a buffer's worth. */
#define BSTREAM_READ_BYTES (512u * 1024u)
/* Frames with so much payload are not copied into the queue if they need not be:
 * what a system call of its own costs is less. */
#define BSTREAM_DIRECT_BYTES (16u * 1024u)
/* DATA frames of less than this wait for a queue with more room. */
#define BSTREAM_DATA_MIN 4096u

static void bstream_on_read(evutil_socket_t fd, short what, void *arg);
static void bstream_on_write(evutil_socket_t fd, short what, void *arg);

struct bstream *bstream_new(struct backend *backend, int fd,
			    enum bstream_state state)
{
	struct groups *gs = backend->group->gs;
	struct bstream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct bstream){
		.group = backend->group,
		.backend = backend,
		.fd = fd,
		.state = state,
		.max_payload = FRAME_PAYLOAD_MAX,
		.rx_credit_bytes = STREAM_CREDIT_BYTES,
		.heard_us = gs->now_us,
		.waiting = { NIL, NIL, 0 },
		.turn = { NIL, NIL, 0 },
	};
	frame_reader_init(&s->in, FRAME_SIDE_XTCPD, FRAME_PAYLOAD_MAX);
	frame_queue_init(&s->out, STREAM_OUT_MAX_BYTES);
	s->ev_read = event_new(gs->base, fd, EV_READ | EV_PERSIST,
			       bstream_on_read, s);
	s->ev_write = event_new(gs->base, fd, EV_WRITE, bstream_on_write, s);
	if (!s->ev_read || !s->ev_write ||
	    event_add(state == BSTREAM_CONNECTING ? s->ev_write : s->ev_read,
		      NULL) < 0)
		goto fail;
	s->next = backend->streams;
	backend->streams = s;
	backend->n_streams++;
	return s;
fail:
	if (s->ev_read)
		event_free(s->ev_read);
	if (s->ev_write)
		event_free(s->ev_write);
	free(s);
	return NULL;
}

/* Leave the group's slots: nobody finds the stream by a record any more. */
static void bstream_leave(struct bstream *s)
{
	struct group *g = s->group;

	if (s->slot == 0)
		return;
	g->slots[s->slot].stream = NULL;
	for (uint32_t i = 0; i < g->n_live; i++) {
		if (g->live[i] == s) {
			g->live[i] = g->live[--g->n_live];
			break;
		}
	}
	s->backend->n_up--;
	if (!g->closing)
		loss_stream(g, s);
}

static void bstream_unlink(struct bstream **list, struct bstream *s,
			   size_t next_at)
{
	while (*list) {
		struct bstream **next =
			(struct bstream **)(void *)((char *)*list + next_at);

		if (*list == s) {
			*list = *next;
			return;
		}
		list = next;
	}
}

void bstream_free(struct bstream *s)
{
	struct groups *gs = s->group->gs;
	struct backend *b = s->backend;

	bstream_unlink(&gs->dirty, s, offsetof(struct bstream, dirty_next));
	bstream_unlink(&gs->stalled, s, offsetof(struct bstream, stalled_next));
	bstream_unlink(&gs->failed, s, offsetof(struct bstream, failed_next));
	bstream_unlink(&b->streams, s, offsetof(struct bstream, next));
	b->n_streams--;
	bstream_leave(s);
	if (s->group->stream_count && b->attached)
		atomic_fetch_sub(s->group->stream_count, 1);
	event_free(s->ev_read);
	event_free(s->ev_write);
	close(s->fd);
	frame_reader_fini(&s->in);
	frame_queue_fini(&s->out);
	backend_stream_gone(b, s, s->state == BSTREAM_UP,
			    s->failed ? s->failed : -ESHUTDOWN);
	free(s);
}

void bstream_fail(struct bstream *s, int err)
{
	struct groups *gs = s->group->gs;

	if (s->failed)
		return;
	s->failed = err;
	s->failed_next = gs->failed;
	gs->failed = s;
	event_del(s->ev_read);
	event_del(s->ev_write);
}

static void bstream_error_frame(struct bstream *s, int err, uint64_t conn,
				const char *text, uint8_t flags)
{
	struct frame f = {
		.type = FRAME_ERROR,
		.flags = flags,
		.group = s->slot ? s->group->id : 0,
		.conn = conn,
		.aux = (uint32_t)-err,
	};
	struct iovec iov = { (void *)(uintptr_t)text,
			     strnlen(text, BSTREAM_ERROR_TEXT_MAX) };

	bstream_send(s, &f, &iov, 1);
}

void bstream_error(struct bstream *s, int err, uint64_t conn, const char *text)
{
	bstream_error_frame(s, err, conn, text, 0);
}

void bstream_refuse(struct bstream *s, int err, const char *fmt, ...)
{
	static _Thread_local struct log_ratelimit limit =
		LOG_RATELIMIT(USEC_PER_SEC, 10);
	struct groups *gs = s->group->gs;
	char text[BSTREAM_ERROR_TEXT_MAX + 1];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (log_ratelimit_ok(&limit, gs->now_us))
		backend_warn(s->backend, "stream closed: %s", text);
	bstream_error_frame(s, err, 0, text, FRAME_F_FATAL);
	bstream_fail(s, err);
	bstream_flush(s);
}

uint32_t bstream_data_max(const struct bstream *s)
{
	size_t held = frame_queue_held(&s->out);
	uint64_t max = min_u64(s->max_payload, s->tx_credit_bytes);

	if (s->failed || s->deaf ||
	    held + FRAME_HEADER_BYTES + BSTREAM_DATA_MIN >
		    STREAM_OUT_DATA_BYTES)
		return 0;
	return (uint32_t)min_u64(max, STREAM_OUT_DATA_BYTES - held -
					      FRAME_HEADER_BYTES);
}

bool bstream_control_room(const struct bstream *s)
{
	return !s->failed && !s->deaf &&
	       frame_queue_held(&s->out) + BSTREAM_ANSWER_BYTES <=
		       STREAM_OUT_CONTROL_BYTES;
}

/* The socket has taken something. */
static void bstream_moved(struct bstream *s)
{
	if (!s->ping_out)
		s->ping_us = 0; /* it moves: ask in earnest */
}

/* Returns how much of the frame, header included, the socket took. */
static size_t bstream_send_direct(struct bstream *s, const struct frame *f,
				  const struct iovec *iov, int n,
				  size_t payload)
{
	uint8_t wire[FRAME_HEADER_BYTES];
	struct iovec out[2 + BSTREAM_IOV_MAX];
	struct msghdr msg = { .msg_iov = out, .msg_iovlen = 1 + (size_t)n };
	struct frame header = *f;
	ssize_t done;

	assert(n <= 1 + BSTREAM_IOV_MAX);
	header.length = (uint32_t)payload;
	frame_encode(&header, wire);
	out[0] = (struct iovec){ wire, sizeof(wire) };
	memcpy(out + 1, iov, (size_t)n * sizeof(*iov));
	do
		done = sendmsg(s->fd, &msg, MSG_NOSIGNAL);
	while (done < 0 && errno == EINTR);
	/* An error comes again when what is queued is written. */
	if (done <= 0)
		return 0;
	bstream_moved(s);
	return (size_t)done;
}

/* Returns whether something is left for bstream_flush(). */
static bool bstream_queue(struct bstream *s, const struct frame *f,
			  const struct iovec *iov, int n, size_t payload)
{
	size_t done = 0;
	int err;

	if (payload >= BSTREAM_DIRECT_BYTES &&
	    frame_queue_pending(&s->out) == 0)
		done = bstream_send_direct(s, f, iov, n, payload);
	if (done == FRAME_HEADER_BYTES + payload)
		return false;
	err = frame_queue_appendv(&s->out, f, iov, (size_t)n);
	if (err < 0) {
		bstream_fail(s, err);
		return false;
	}
	frame_queue_consume(&s->out, done);
	return true;
}

void bstream_send(struct bstream *s, const struct frame *f,
		  const struct iovec *iov, int n)
{
	struct groups *gs = s->group->gs;
	size_t payload = 0;
	bool queued;

	if (s->failed || s->deaf)
		return;
	for (int i = 0; i < n; i++)
		payload += iov[i].iov_len;
	queued = bstream_queue(s, f, iov, n, payload);
	if (s->failed)
		return;
	if (f->type == FRAME_DATA) {
		assert(payload <= s->tx_credit_bytes); /* deliver.c, I4 */
		s->tx_credit_bytes -= payload;
		s->backend->stats.messages_in++;
		s->backend->stats.bytes_in += payload;
	}
	groups_count(gs, WC_frames_out);
	if (queued && !s->dirty) {
		s->dirty = true;
		s->dirty_next = gs->dirty;
		gs->dirty = s;
	}
}

/* Writing came to a halt. */
static void bstream_flush_stopped(struct bstream *s, int err)
{
	if (err == EAGAIN || err == EWOULDBLOCK) {
		if (!s->failed)
			event_add(s->ev_write, NULL);
	} else if ((err == EPIPE || err == ECONNRESET) && !s->failed &&
		   s->state == BSTREAM_UP) {
		/* Its last words may be unread: reading brings the end. */
		s->deaf = true;
		frame_queue_consume(&s->out, frame_queue_pending(&s->out));
	} else {
		bstream_fail(s, -err);
	}
}

void bstream_flush(struct bstream *s)
{
	struct iovec iov[2];
	struct msghdr msg = { .msg_iov = iov };
	ssize_t n;

	while (frame_queue_pending(&s->out) > 0) {
		msg.msg_iovlen = (size_t)frame_queue_iov(&s->out, iov);
		n = sendmsg(s->fd, &msg, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			bstream_flush_stopped(s, errno);
			return;
		}
		frame_queue_consume(&s->out, (size_t)n);
		bstream_moved(s);
		if (!s->failed && (s->waiting.n > 0 || s->turn.n > 0 ||
				   s->group->waiting.n > 0))
			group_has_room(s->group);
	}
}

static void bstream_stall(struct bstream *s, enum bstream_stall why)
{
	struct groups *gs = s->group->gs;

	if (s->stall == BSTREAM_FLOWS) {
		event_del(s->ev_read);
		s->stalled_next = gs->stalled;
		gs->stalled = s;
		groups_count(gs, why == BSTREAM_STALLED_TX
					 ? WC_stream_stalled_tx
					 : WC_stream_stalled_out);
	}
	s->stall = why;
}

static void bstream_unstall(struct bstream *s)
{
	if (s->stall == BSTREAM_FLOWS)
		return;
	bstream_unlink(&s->group->gs->stalled, s,
		       offsetof(struct bstream, stalled_next));
	s->stall = BSTREAM_FLOWS;
	if (event_add(s->ev_read, NULL) < 0)
		bstream_fail(s, -ENOMEM);
}

static void bstream_bad_frame(struct bstream *s, const struct frame *f, int err)
{
	struct groups *gs = s->group->gs;

	if (err == -EMSGSIZE) {
		groups_count(gs, WC_frame_bad_length);
		bstream_refuse(s, err, "%s frame with %u bytes of payload",
			       frame_type_name(f->type), f->length);
	} else {
		groups_count(gs, WC_frame_unknown_type);
		bstream_refuse(s, err, "frame type %u is not for xtcpd",
			       f->type);
	}
}

/* One frame, or the one that was held. -EAGAIN: it is held (again). */
static int bstream_frame(struct bstream *s)
{
	struct frame f;
	const uint8_t *payload;
	int rc;

	if (s->held_payload)
		return reply_held(s);
	rc = frame_reader_next(&s->in, &f, &payload);
	if (rc == 0)
		return -ENOMSG;
	if (rc < 0) {
		bstream_bad_frame(s, &f, rc);
		return rc;
	}
	groups_count(s->group->gs, WC_frames_in);
	return s->state == BSTREAM_UP ? reply_frame(s, &f, payload)
				      : hello_frame(s, &f, payload);
}

void bstream_process(struct bstream *s)
{
	while (!s->failed) {
		int err;

		if (frame_queue_room(&s->out) < BSTREAM_ANSWER_BYTES) {
			bstream_stall(s, BSTREAM_STALLED_OUT);
			return;
		}
		err = bstream_frame(s);
		if (err == -EAGAIN) {
			bstream_stall(s, BSTREAM_STALLED_TX);
			return;
		}
		if (err == -ENOMSG) {
			bstream_unstall(s);
			return;
		}
		/* A frame, not a byte: who dribbles is not alive. */
		s->heard_us = s->group->gs->now_us;
		s->ping_us = 0;
	}
}

/* Returns whether the buffer was filled: there may be more. */
static bool bstream_read_once(struct bstream *s, size_t *ret_bytes)
{
	size_t room;
	void *space = frame_reader_space(&s->in, &room);
	ssize_t n;

	if (!space) {
		bstream_fail(s, -ENOMEM);
		return false;
	}
	n = read(s->fd, space, room);
	if (n > 0) {
		frame_reader_commit(&s->in, (size_t)n);
		bstream_process(s);
	} else if (n == 0) {
		bstream_fail(s, -ECONNRESET);
	} else if (errno != EAGAIN && errno != EINTR) {
		bstream_fail(s, -errno);
	}
	*ret_bytes = n > 0 ? (size_t)n : 0;
	return *ret_bytes == room;
}

static void bstream_read(struct bstream *s)
{
	size_t budget = BSTREAM_READ_BYTES, n;

	while (bstream_read_once(s, &n) && n < budget && !s->failed &&
	       s->stall == BSTREAM_FLOWS)
		budget -= n;
}

void bstream_feed(struct bstream *s, const void *bytes, size_t n)
{
	int err = frame_reader_feed(&s->in, bytes, n);

	if (err < 0)
		bstream_fail(s, err);
	else
		bstream_process(s);
}

static void bstream_on_read(evutil_socket_t fd, short what, void *arg)
{
	struct bstream *s = arg;
	struct groups *gs = s->group->gs;

	(void)fd;
	(void)what;
	gs->now_us = gs->ops.clock(gs->ops.ctx);
	bstream_read(s);
	gs->ops.turn_end(gs->ops.ctx);
}

static void bstream_on_write(evutil_socket_t fd, short what, void *arg)
{
	struct bstream *s = arg;
	struct groups *gs = s->group->gs;

	(void)fd;
	(void)what;
	gs->now_us = gs->ops.clock(gs->ops.ctx);
	if (s->state == BSTREAM_CONNECTING)
		backend_connected(s);
	else
		bstream_flush(s);
	gs->ops.turn_end(gs->ops.ctx);
}

void bstream_grant(struct bstream *s, uint32_t bytes)
{
	struct frame f = { .type = FRAME_CREDIT };

	s->rx_ungranted_bytes += bytes;
	if (s->rx_ungranted_bytes < STREAM_CREDIT_BYTES / 4)
		return;
	f.group = s->group->id;
	f.aux = s->rx_ungranted_bytes;
	s->rx_credit_bytes += s->rx_ungranted_bytes;
	s->rx_ungranted_bytes = 0;
	bstream_send(s, &f, NULL, 0);
}

/*
 * The rule for a backend that reads, answers PINGs, and replies to nothing:
 * with requests in hand and not one REPLY within backend-timeout it is lost.
 * Not when it is we who don't read it, or when all that it has in hand waits
 * for clients to take the replies before. Likewise one that resumes for ever.
 * Returns whether it was given up.
 */
static bool bstream_tick_stuck(struct bstream *s)
{
	struct groups *gs = s->group->gs;
	uint64_t limit_us = s->group->backend_timeout_us;

	if (s->stall != BSTREAM_FLOWS) {
		s->progress_us = gs->now_us;
		s->resume_by_us = gs->now_us + BSTREAM_SILENT_US;
	}
	if (s->resuming && gs->now_us >= s->resume_by_us) {
		groups_count(gs, WC_backend_silent);
		bstream_refuse(s, -ETIMEDOUT, "its resumption does not end");
		return true;
	}
	if (!limit_us || !s->inflight || gs->now_us - s->progress_us < limit_us)
		return false;
	if (!loss_is_backends_turn(s->group, s)) {
		s->progress_us = gs->now_us;
		return false;
	}
	groups_count(gs, WC_backend_stuck);
	bstream_refuse(s, -ETIMEDOUT,
		       "%u connections have requests, no REPLY for %u ms",
		       s->inflight, (unsigned)(limit_us / USEC_PER_MSEC));
	return true;
}

static void bstream_tick_up(struct bstream *s)
{
	struct groups *gs = s->group->gs;
	struct frame f = { .type = FRAME_PING,
			   .group = s->group->id,
			   .offset = gs->now_us };

	/* One in use keeps its buffer: no allocation for each burst. */
	if (s->out.tail == s->out_seen)
		frame_queue_trim(&s->out);
	s->out_seen = s->out.tail;
	if (s->stall != BSTREAM_FLOWS)
		s->ping_us = 0; /* it is we who don't listen */
	else if (s->ping_us && gs->now_us - s->ping_us >= BSTREAM_SILENT_US) {
		groups_count(gs, WC_backend_silent);
		bstream_refuse(s, -ETIMEDOUT, "no answer to PING for %u s",
			       (unsigned)(BSTREAM_SILENT_US / USEC_PER_SEC));
	} else if (!s->ping_us && gs->now_us - s->heard_us >= BSTREAM_PING_US) {
		/* Without room: what is queued has to move within the time. */
		s->ping_us = gs->now_us;
		s->ping_out = bstream_control_room(s);
		if (s->ping_out)
			bstream_send(s, &f, NULL, 0);
	}
}

void bstream_tick(struct bstream *s)
{
	if (s->failed)
		return;
	if (s->state == BSTREAM_UP) {
		if (!bstream_tick_stuck(s))
			bstream_tick_up(s);
	} else if (s->group->gs->now_us >= s->deadline_us)
		bstream_refuse(s, -ETIMEDOUT, "no %s in time",
			       s->state == BSTREAM_CONNECTING
				       ? "connection"
				       : "answer to HELLO");
}
