/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reply - from a backend's frames to calls of the stack.
 *
 * Theory of operation
 *
 *	reply_frame() --> about the stream: CREDIT, PING, PONG, ERROR
 *	              '-> about a connection: reply_conn() --> one handler per type
 *
 * Everything in a frame is the backend's word and is checked before it is
 * used. What can't come from a sane backend (a number that is no record, a
 * frame for another group, more payload than granted) ends the stream; what can
 * come from a race (the connection has gone, another stream has it) is
 * answered with RESET or ERROR and harms nothing.
 *
 * All streams of a group are trusted with all its connections: any of them may
 * push data or close. Acknowledging is the right of the one that has the
 * connection (rec.slot), and so is everything with FRAME_F_AT, whose sender
 * claims to know how the connection stands. A connection whose stream is lost
 * belongs to the backend that had it, when that speaks of it: that is how one
 * that reconnects goes on ("Resumption" in frame.h); likewise among the streams
 * of one backend. Where nobody remembers who had it, the first one that speaks
 * of it takes it.
 *
 * Invariants
 *  I1  no assert in here depends on a field of a frame.
 *  I2  an -EINVAL of stack_reply() has changed nothing, and the frame's
 *      payload is thrown away whole.
 *  I3  an acknowledgement is taken once all of its frame's payload was: until
 *      then the request would come again, should the backend be lost.
 */
#include "daemon/reply.h"

#include <errno.h>

#include "base/log.h"
#include "base/seq.h"
#include "base/units.h"
#include "daemon/backend.h"
#include "daemon/bstream.h"
#include "daemon/deliver.h"

/* A frame about a connection that is there. */
struct reply {
	struct bstream *s;
	struct group *g;
	struct groups *gs;
	const struct frame *f;
	const uint8_t *payload;
	struct rec *rec;
	uint32_t ri;
};

static int reply_fatal(struct bstream *s, enum worker_counter which, int err,
		       const char *what)
{
	groups_count(s->group->gs, which);
	bstream_refuse(s, err, "%s", what);
	return err;
}

/* "That connection is gone", to this stream. */
static int reply_gone(struct bstream *s, const struct frame *f, int err)
{
	struct frame out = {
		.type = FRAME_RESET,
		.group = s->group->id,
		.conn = f->conn,
		.aux = (uint32_t)-err,
	};

	bstream_send(s, &out, NULL, 0);
	return 0;
}

static int reply_ignore(const struct reply *r, enum worker_counter which,
			int err, const char *what)
{
	groups_count(r->gs, which);
	bstream_error(r->s, err, r->f->conn, what);
	return 0;
}

/*
 * Is it this stream's connection? It takes over what another stream of its
 * backend has or had last: since then nobody else served it. Owner 0: nobody
 * remembers.
 */
static bool reply_owns(const struct reply *r)
{
	const struct group_slot *slot = &r->g->slots[r->rec->slot];

	if (slot->stream == r->s) {
		/* Bound to it but not yet told: it knows from before. */
		if (r->f->flags & FRAME_F_AT && !(r->rec->flags & REC_TOLD)) {
			r->rec->flags |= REC_TOLD;
			deliver_forget_granted(groups_blk(r->gs, r->rec));
		}
		return true;
	}
	if (slot->owner != r->s->backend->owner &&
	    (slot->stream || slot->owner))
		return false;
	deliver_rebind(r->g, r->ri, r->s);
	return true;
}

/* Another backend has it. */
static int reply_not_owner(const struct reply *r)
{
	groups_count(r->gs, WC_frame_not_owner);
	return reply_gone(r->s, r->f, -ESTALE);
}

/* After what may have acknowledged: count the request as done. */
static void reply_settle(const struct reply *r)
{
	struct blk *blk = groups_blk(r->gs, r->rec);
	struct stack_conn_info info;

	if (!blk)
		return;
	if (!seq_gt(blk->rcv_dlv, blk->rcv_app))
		deliver_inflight_end(r->g, r->rec, blk);
	if (!blk->app_list)
		return;
	/* A returning backend acknowledged what waited to be told again. */
	stack_conn_info(r->gs->st, r->ri, r->gs->now_us, &info);
	if (info.rcv_undelivered == 0)
		deliver_conn(r->g, r->ri, true);
}

/*
 * FRAME_F_AT: how much of the payload was taken before ("Resumption").
 * Returns that, or -EILSEQ: bytes are missing in between.
 */
static int64_t reply_skip(const struct reply *r)
{
	uint32_t next;
	int32_t ahead;

	if (!(r->f->flags & FRAME_F_AT))
		return 0;
	next = (uint32_t)stack_reply_end(r->gs->st, r->ri);
	ahead = (int32_t)(next - r->f->aux);
	if (ahead < 0)
		return r->f->length > 0 ? -EILSEQ : 0;
	return min_u32((uint32_t)ahead, r->f->length);
}

/*
 * The empty REPLY with FRAME_F_AT, which says how far its sender is with both
 * streams: behind us, another process has served the connection meanwhile, and
 * nobody remembers it (xtcpd was restarted).
 */
static bool reply_is_outdated(const struct reply *r)
{
	uint32_t next;

	if (!(r->f->flags & FRAME_F_AT) || r->f->length > 0 || r->f->ackd > 0)
		return false;
	next = (uint32_t)stack_reply_end(r->gs->st, r->ri);
	return r->f->offset < r->rec->rcv_off ||
	       (int32_t)(r->f->aux - next) < 0;
}

/* Whoever gets the connection next, this stream too, is introduced to it. */
static int reply_disown(const struct reply *r)
{
	struct blk *blk = groups_blk(r->gs, r->rec);

	r->rec->flags &= (uint16_t)~REC_TOLD;
	reply_not_owner(r);
	if (!blk || !seq_gt(blk->rcv_dlv, blk->rcv_app))
		return 0;
	deliver_inflight_end(r->g, r->rec, blk);
	stack_undeliver(r->gs->st, r->ri);
	if (!blk->app_list)
		deliver_conn(r->g, r->ri, false);
	return 0;
}

static void reply_end(const struct reply *r, int err, bool tell_sender)
{
	deliver_tell_reset(r->g, r->ri, err, r->s);
	if (tell_sender)
		reply_gone(r->s, r->f, -err);
	deliver_end(r->g, r->ri);
}

/* The limit that the backend knows, before an ACK of the client raises it. */
static void reply_note_limit(const struct reply *r)
{
	struct blk *blk = groups_blk(r->gs, r->rec);
	uint64_t limit;

	if (!blk || blk->app_granted_lo || blk->app_granted_hi)
		return;
	limit = frame_send_limit(r->rec->snd_off, CONN_HALF_BYTES);
	blk->app_granted_hi = (uint32_t)(limit >> 32);
	blk->app_granted_lo = (uint32_t)limit;
}

/* Bytes of the client's were acknowledged that were not before. */
static void reply_acknowledged(const struct reply *r)
{
	struct blk *blk = groups_blk(r->gs, r->rec);

	backend_is_useful(r->s->backend);
	if (blk)
		latency_end(r->g, r->rec, blk, r->s->backend);
}

/* Payload from done on, with the acknowledgement; done: bytes of it taken. */
static int reply_data(const struct reply *r, uint32_t done)
{
	uint32_t len = r->f->length - done;
	uint64_t acked = r->rec->rcv_off;
	int64_t n = stack_reply(r->gs->st, r->ri, r->f->offset, r->f->ackd,
				r->payload + done, len, r->gs->now_us);

	if (n == -EINVAL)
		return reply_ignore(r, WC_frame_ackd_beyond, -EINVAL,
				    "ackd is beyond what was delivered");
	if (r->rec->rcv_off != acked)
		reply_acknowledged(r);
	if (n < 0) {
		reply_settle(r);
		return reply_ignore(r, WC_frame_bad_state, (int)n,
				    "the connection takes no more data");
	}
	reply_note_limit(r);
	reply_settle(r);
	if ((uint32_t)n == len)
		return 0;
	r->s->held = *r->f;
	r->s->held_payload = r->payload;
	r->s->held_taken_bytes = done + (uint32_t)n;
	return -EAGAIN;
}

static int reply_on_reply(const struct reply *r)
{
	int64_t skip;

	if (r->rec->state == TCP_SYN_HELD)
		return reply_ignore(r, WC_frame_bad_state, -ENOTCONN,
				    "the connection was not accepted yet");
	if ((r->f->ackd > 0 || r->f->length == 0) && !reply_owns(r))
		return reply_not_owner(r);
	if (reply_is_outdated(r))
		return reply_disown(r);
	if (r->f->flags & FRAME_F_SHORT)
		deliver_grant(r->g, r->ri, r->s);
	r->s->progress_us = r->gs->now_us;
	skip = reply_skip(r);
	if (skip < 0) {
		groups_count(r->gs, WC_frame_bad_state);
		reply_end(r, EILSEQ, true);
		stack_abort(r->gs->st, r->ri, r->gs->now_us);
		return 0;
	}
	r->s->backend->stats.messages_out += r->f->length > 0;
	return reply_data(r, (uint32_t)skip);
}

static int reply_on_accept(const struct reply *r)
{
	if (stack_accept(r->gs->st, r->ri, r->gs->now_us) < 0)
		return reply_ignore(r, WC_frame_bad_state, -EINVAL,
				    "the connection waits for no ACCEPT");
	return 0;
}

static int reply_on_reject(const struct reply *r)
{
	if (r->rec->state != TCP_SYN_HELD)
		return reply_ignore(r, WC_frame_bad_state, -EINVAL,
				    "the connection waits for no REJECT");
	reply_end(r, ECONNREFUSED, false);
	stack_refuse(r->gs->st, r->ri, r->gs->now_us);
	return 0;
}

static int reply_on_fin(const struct reply *r)
{
	if (r->rec->state == TCP_SYN_HELD)
		return reply_ignore(r, WC_frame_bad_state, -ENOTCONN,
				    "the connection was not accepted yet");
	stack_shutdown(r->gs->st, r->ri, r->gs->now_us);
	return 0;
}

static int reply_on_close(const struct reply *r)
{
	if (r->rec->state == TCP_SYN_HELD)
		return reply_on_reject(r);
	reply_end(r, ECONNABORTED, false);
	stack_close(r->gs->st, r->ri, r->gs->now_us);
	return 0;
}

static int reply_on_abort(const struct reply *r)
{
	if (r->rec->state == TCP_SYN_HELD)
		return reply_on_reject(r);
	reply_end(r, ECONNABORTED, false);
	stack_abort(r->gs->st, r->ri, r->gs->now_us);
	return 0;
}

/*
 * Find the frame's connection. Returns 1, 0 when the frame is answered
 * already, or a negative errno when it ended the stream.
 */
static int reply_find(struct reply *r)
{
	uint64_t conn = r->f->conn;

	r->ri = frame_conn_rec(conn);
	if (frame_conn_worker(conn) != r->gs->worker ||
	    r->ri >= r->gs->st->sh->n_recs || frame_conn_generation(conn) == 0)
		return reply_fatal(
			r->s, WC_frame_bad_conn, -EBADF,
			"a connection id that this worker never gave");
	r->rec = stack_lookup(r->gs->st, r->ri, frame_conn_generation(conn));
	if (r->rec && r->rec->group != r->g->id)
		return reply_fatal(r->s, WC_frame_bad_conn, -EBADF,
				   "a connection id of another group");
	if (r->rec && r->rec->state == TCP_GONE &&
	    !(r->rec->flags & REC_ORPHAN) && group_told(r->g, r->rec) == r->s)
		return 0; /* its RESET is on the way */
	if (!r->rec || r->rec->state == TCP_GONE ||
	    r->rec->flags & REC_ORPHAN) {
		groups_count(r->gs, WC_frame_stale_conn);
		return reply_gone(r->s, r->f, -ECONNRESET);
	}
	return 1;
}

static int reply_conn(struct reply *r)
{
	int rc = reply_find(r);

	if (rc <= 0)
		return rc;
	if (r->f->flags & FRAME_F_AT && !reply_owns(r))
		return reply_not_owner(r);
	switch (r->f->type) {
	case FRAME_REPLY:
		return reply_on_reply(r);
	case FRAME_ACCEPT:
		return reply_on_accept(r);
	case FRAME_REJECT:
		return reply_on_reject(r);
	case FRAME_CLOSE:
		return reply_on_close(r);
	case FRAME_FIN:
		return reply_on_fin(r);
	case FRAME_ABORT:
		return reply_on_abort(r);
	default:
		return reply_fatal(
			r->s, WC_frame_unknown_type, -EPROTO,
			"a frame of this type is not for a connection");
	}
}

static int reply_on_error(struct bstream *s, const struct frame *f,
			  const uint8_t *payload)
{
	static _Thread_local struct log_ratelimit limit =
		LOG_RATELIMIT(USEC_PER_SEC, 10);

	groups_count(s->group->gs, WC_frame_error_in);
	if (log_ratelimit_ok(&limit, s->group->gs->now_us))
		backend_warn(s->backend, "it says: error %u: %.*s", f->aux,
			     (int)min_u32(f->length, 200),
			     (const char *)payload);
	if (!(f->flags & FRAME_F_FATAL))
		return 0;
	bstream_fail(s, -ECONNABORTED);
	return -ECONNABORTED;
}

/* All frames before it have taken effect: they are handled in order. */
static void reply_on_ping(struct bstream *s, const struct frame *f)
{
	struct frame pong = { .type = FRAME_PONG,
			      .group = s->group->id,
			      .offset = f->offset };

	if (f->flags & FRAME_F_RESUMED && s->resuming) {
		s->resuming = false;
		group_has_room(s->group);
	}
	bstream_send(s, &pong, NULL, 0);
}

/* Frames about the stream itself. Returns -ENOENT for one that is none. */
static int reply_stream(struct bstream *s, const struct frame *f,
			const uint8_t *payload)
{
	switch (f->type) {
	case FRAME_CREDIT:
		if (f->conn != 0)
			return reply_fatal(
				s, WC_frame_bad_conn, -EBADF,
				"CREDIT for a connection is not for xtcpd");
		s->tx_credit_bytes =
			min_u64(s->tx_credit_bytes + f->aux, UINT64_C(1) << 40);
		group_has_room(s->group);
		return 0;
	case FRAME_PING:
		reply_on_ping(s, f);
		return 0;
	case FRAME_PONG:
		s->ping_us = 0;
		return 0;
	case FRAME_DRAIN:
		if (f->conn != 0)
			return reply_fatal(s, WC_frame_bad_conn, -EBADF,
					   "DRAIN for a connection");
		s->retires = f->aux != 1;
		group_has_room(s->group);
		return 0;
	case FRAME_ERROR:
		return reply_on_error(s, f, payload);
	case FRAME_HELLO:
	case FRAME_ATTACH:
	case FRAME_ATTACHED:
		return reply_fatal(s, WC_frame_bad_hello, -EPROTO,
				   "the stream is attached already");
	default:
		return -ENOENT;
	}
}

int reply_frame(struct bstream *s, const struct frame *f,
		const uint8_t *payload)
{
	struct reply r = {
		.s = s,
		.g = s->group,
		.gs = s->group->gs,
		.f = f,
		.payload = payload,
	};
	int rc;

	if (f->group != s->group->id && (f->group != 0 || f->conn != 0))
		return reply_fatal(s, WC_frame_bad_group, -EBADF,
				   "a frame for another group");
	rc = reply_stream(s, f, payload);
	if (rc != -ENOENT)
		return rc;
	if (f->length > s->rx_credit_bytes)
		return reply_fatal(s, WC_frame_over_credit, -EMSGSIZE,
				   "more payload than was granted");
	s->rx_credit_bytes -= f->length;
	s->backend->stats.bytes_out += f->length;
	rc = reply_conn(&r);
	if (rc == 0)
		bstream_grant(s, f->length);
	return rc;
}

int reply_held(struct bstream *s)
{
	struct frame f = s->held;
	struct reply r = {
		.s = s,
		.g = s->group,
		.gs = s->group->gs,
		.f = &f,
		.payload = s->held_payload,
	};
	uint32_t done = s->held_taken_bytes;
	int rc;

	s->held_payload = NULL;
	rc = reply_find(&r);
	if (rc > 0)
		rc = reply_data(&r, done);
	if (rc == 0)
		bstream_grant(s, f.length);
	return rc;
}
