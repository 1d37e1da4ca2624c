/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * deliver - from the stack's events to frames on a stream.
 *
 * Theory of operation
 *
 *	stack event --> dues of the block --> deliver_conn() --> frames
 *	                     ^                     |
 *	                     '---- waiting list <--' no stream, or a full one
 *
 * An event turns into dues (APP_*_DUE; undelivered bytes are a due by
 * themselves), and deliver_conn() tells a stream all that is due, in order:
 * OPEN, DATA, EOF. What can't be told now leaves the connection on a waiting
 * list: the group's when no stream has room, the stream's own when the
 * connection is bound to one that is full. A list is served in order when room
 * comes (group.room). A bound connection's list is found through rec.slot,
 * which therefore doesn't change while it waits there.
 *
 * A RESET waits like everything else: the stack keeps the record (GONE) until
 * stack_forget(), so nothing is lost on a full stream and nothing grows.
 *
 * A group whose backends are plain streams differs in deliver_dues() alone: what
 * is due goes to plain_dues(), and who has to wait is on the group's list.
 *
 * Invariants
 *  I1  a connection is on at most one list, and blk.app_list says on which;
 *      the stack gives no such block back.
 *  I2  APP_INFLIGHT is set only while a live stream has bytes of the
 *      connection that are not acknowledged, and is counted there once.
 *  I3  REC_TOLD with a slot whose stream lives: that stream knows of the
 *      connection. With a dead slot it says nothing.
 *  I4  a DATA frame is appended whole and within the stream's credit.
 */
#include "daemon/deliver.h"

#include <errno.h>
#include <string.h>

#include "base/seq.h"
#include "daemon/balance.h"
#include "daemon/bstream.h"
#include "daemon/plain.h"

/* Pieces of payload per DATA frame; a chunk each, or several neighbours. */
#define DELIVER_IOV BSTREAM_IOV_MAX

/* One connection while it is being told of. */
struct delivery {
	struct group *g;
	struct rec *rec;
	struct blk *blk;
	struct bstream *wait_on; /* after -EAGAIN: NULL for any */
	bool turn; /* ... for max-inflight */
	uint32_t left; /* bytes that are not delivered yet */
	uint32_t ri;
};

static struct rec *list_rec(const struct group *g, uint32_t ri)
{
	return &g->gs->st->sh->recs[ri];
}

static struct blk *list_blk(const struct group *g, uint32_t ri)
{
	return groups_blk(g->gs, list_rec(g, ri));
}

static void list_insert(struct group *g, struct conn_list *list, uint32_t ri,
			bool at_head)
{
	struct blk *blk = list_blk(g, ri);

	blk->app_prev = at_head ? NIL : list->tail;
	blk->app_next = at_head ? list->head : NIL;
	if (blk->app_prev != NIL)
		list_blk(g, blk->app_prev)->app_next = ri;
	else
		list->head = ri;
	if (blk->app_next != NIL)
		list_blk(g, blk->app_next)->app_prev = ri;
	else
		list->tail = ri;
	list->n++;
}

static void list_remove(struct group *g, struct conn_list *list,
			const struct blk *blk)
{
	if (blk->app_prev != NIL)
		list_blk(g, blk->app_prev)->app_next = blk->app_next;
	else
		list->head = blk->app_next;
	if (blk->app_next != NIL)
		list_blk(g, blk->app_next)->app_prev = blk->app_prev;
	else
		list->tail = blk->app_prev;
	list->n--;
}

void deliver_unlist(struct group *g, const struct rec *rec, struct blk *blk)
{
	struct bstream *s;

	switch (blk->app_list) {
	case APP_LIST_GROUP:
		list_remove(g, &g->waiting, blk);
		break;
	case APP_LIST_STREAM:
		s = g->slots[rec->slot].stream;
		assert(s); /* I1: a lost stream empties its list first */
		list_remove(g, &s->waiting, blk);
		break;
	case APP_LIST_TURN:
		s = g->slots[rec->slot].stream;
		assert(s);
		list_remove(g, &s->turn, blk);
		break;
	default:
		break;
	}
	blk->app_list = APP_LIST_NONE;
}

void deliver_inflight_end(struct group *g, const struct rec *rec,
			  struct blk *blk)
{
	struct bstream *s = g->slots[rec->slot].stream;

	if (!(blk->app_flags & APP_INFLIGHT))
		return;
	blk->app_flags &= (uint8_t)~APP_INFLIGHT;
	assert(s && s->inflight > 0); /* I2 */
	s->inflight--;
	s->backend->inflight--;
	if (s->backend->max_inflight)
		group_has_room(g);
}

static void deliver_inflight_begin(struct blk *blk, struct bstream *s)
{
	if (blk->app_flags & APP_INFLIGHT)
		return;
	blk->app_flags |= APP_INFLIGHT;
	if (s->inflight++ == 0)
		s->progress_us = s->group->gs->now_us;
	s->backend->inflight++;
}

void deliver_forget_granted(struct blk *blk)
{
	if (blk)
		blk->app_granted_hi = blk->app_granted_lo = 0;
}

void deliver_rebind(struct group *g, uint32_t ri, struct bstream *s)
{
	struct rec *rec = list_rec(g, ri);
	struct blk *blk = groups_blk(g->gs, rec);
	bool listed = blk && blk->app_list >= APP_LIST_STREAM;

	if (listed)
		deliver_unlist(g, rec, blk);
	if (blk)
		deliver_inflight_end(g, rec, blk);
	rec->slot = s->slot;
	rec->flags |= REC_TOLD;
	deliver_forget_granted(blk);
	g->slots[s->slot].used = true;
	if (blk && seq_gt(blk->rcv_dlv, blk->rcv_app))
		deliver_inflight_begin(blk, s);
	if (listed) {
		blk->app_list = APP_LIST_STREAM;
		list_insert(g, &s->waiting, ri, false);
		group_has_room(g);
	}
}

/* Bind the connection to a stream, which need not have heard of it. */
static void deliver_bind(struct delivery *d, const struct bstream *s)
{
	if (d->rec->slot == s->slot)
		return;
	deliver_inflight_end(d->g, d->rec, d->blk);
	d->rec->flags &= (uint16_t)~REC_TOLD;
	d->rec->slot = s->slot;
	d->g->slots[s->slot].used = true;
}

/* A frame about the connection, with its address when the stream needs it. */
static void deliver_fill(const struct group *g, uint32_t ri, struct frame *f,
			 struct frame_addr *addr)
{
	struct stack *st = g->gs->st;
	const struct arena_vip *vip;
	struct stack_conn_info info;
	struct tuple tuple;

	f->group = g->id;
	f->conn = groups_conn_id(g->gs, ri);
	if (!(f->flags & FRAME_F_FIRST))
		return;
	shard_rec_tuple(st->sh, ri, &tuple);
	stack_conn_info(st, ri, g->gs->now_us, &info);
	f->aux = info.snd_queued;
	vip = &st->header->vips[tuple.vip];
	*addr = (struct frame_addr){
		.family = tuple.v6 ? 6 : 4,
		.remote_port = be16_put(tuple.remote_port),
		.local_port = be16_put(tuple.local_port),
		.send_offset = be64_put(info.snd_acked),
	};
	memcpy(addr->remote, tuple.remote, sizeof(addr->remote));
	memcpy(addr->local, vip->bytes, tuple.v6 ? 16 : 4);
}

/* The stream knows of it now; it counts credit from the position it was told. */
static void deliver_told(struct group *g, struct rec *rec,
			 const struct frame_addr *addr)
{
	struct blk *blk = groups_blk(g->gs, rec);
	uint64_t limit =
		frame_send_limit(be64_get(addr->send_offset), CONN_HALF_BYTES);

	rec->flags |= REC_TOLD;
	if (blk) {
		blk->app_granted_hi = (uint32_t)(limit >> 32);
		blk->app_granted_lo = (uint32_t)limit;
	}
}

static int deliver_wait(struct delivery *d, struct bstream *s)
{
	d->wait_on = s;
	return -EAGAIN;
}

static void deliver_simple(struct group *g, uint32_t ri, struct bstream *s,
			   uint8_t type, uint64_t offset, uint32_t aux)
{
	struct frame f = { .type = type, .offset = offset, .aux = aux };

	deliver_fill(g, ri, &f, NULL);
	bstream_send(s, &f, NULL, 0);
}

/* The connection is gone: the last frame about it. */
static int deliver_reset(struct delivery *d)
{
	struct bstream *s = group_told(d->g, d->rec);

	if (s && !s->failed) {
		if (!bstream_control_room(s))
			return deliver_wait(d, s);
		deliver_simple(d->g, d->ri, s, FRAME_RESET, 0, ECONNRESET);
	} else if (!(d->rec->flags & REC_TOLD)) {
		groups_count(d->g->gs, WC_conn_not_told);
	}
	deliver_inflight_end(d->g, d->rec, d->blk);
	stack_forget(d->g->gs->st, d->ri);
	return 0;
}

static int deliver_open(struct delivery *d)
{
	struct frame f = { .type = FRAME_OPEN, .flags = FRAME_F_FIRST };
	struct bstream *s = balance_route(d->g, d->rec, d->blk);
	struct frame_addr addr;
	struct iovec iov = { &addr, sizeof(addr) };
	struct stack_conn_info info;

	if (!s)
		return deliver_wait(d, NULL);
	deliver_bind(d, s);
	if (!bstream_control_room(s))
		return deliver_wait(d, s);
	if (d->rec->state == TCP_SYN_HELD)
		f.flags |= FRAME_F_WAITS;
	stack_conn_info(d->g->gs->st, d->ri, d->g->gs->now_us, &info);
	f.offset = info.rcv_acked;
	deliver_fill(d->g, d->ri, &f, &addr);
	bstream_send(s, &f, &iov, 1);
	deliver_told(d->g, d->rec, &addr);
	d->blk->app_flags &= (uint8_t)~APP_OPEN_DUE;
	return 0;
}

/* Shorten what stack_peek() showed to max bytes. Returns the bytes. */
static uint32_t deliver_trim(struct iovec *iov, int *n, uint32_t bytes,
			     uint32_t max)
{
	uint32_t sum = 0;

	if (bytes <= max)
		return bytes;
	for (int i = 0; i < *n; i++) {
		if (iov[i].iov_len >= max - sum) {
			iov[i].iov_len = max - sum;
			*n = i + 1;
			break;
		}
		sum += (uint32_t)iov[i].iov_len;
	}
	return max;
}

/*
 * One DATA frame on s, of at most max bytes. Returns whether there was room. The
 * bytes count as delivered before the frame can leave (arena/recover.h).
 */
static bool deliver_data_frame(struct delivery *d, struct bstream *s,
			       struct frame *f, struct iovec *iov, int n,
			       uint32_t bytes, uint32_t max)
{
	struct frame_addr addr;
	struct iovec *from = iov + 1;

	if (group_told(d->g, d->rec) != s) {
		f->flags |= FRAME_F_FIRST;
		max = max > sizeof(addr) ? max - (uint32_t)sizeof(addr) : 0;
		iov[0] = (struct iovec){ &addr, sizeof(addr) };
		from = iov;
	}
	if (max == 0)
		return false;
	bytes = deliver_trim(iov + 1, &n, bytes, max);
	deliver_fill(d->g, d->ri, f, &addr);
	deliver_inflight_begin(d->blk, s);
	d->left = stack_delivered(d->g->gs->st, d->ri, bytes, d->g->gs->now_us);
	bstream_send(s, f, from, from == iov ? n + 1 : n);
	if (f->flags & FRAME_F_FIRST)
		deliver_told(d->g, d->rec, &addr);
	if (f->flags & FRAME_F_REDELIVERED) {
		groups_count(d->g->gs, WC_redelivered);
		s->backend->stats.redelivered++;
	}
	return true;
}

static int deliver_data(struct delivery *d)
{
	struct stack *st = d->g->gs->st;
	struct iovec iov[1 + DELIVER_IOV];

	do {
		struct frame f = { .type = FRAME_DATA };
		int n = DELIVER_IOV;
		bool redelivered = false;
		uint32_t bytes =
			stack_peek(st, d->ri, FRAME_PAYLOAD_MAX, iov + 1, &n,
				   &f.offset, &redelivered);
		struct bstream *s;
		uint32_t max;

		if (bytes == 0)
			return 0;
		s = balance_route(d->g, d->rec, d->blk);
		if (!s)
			return deliver_wait(d, NULL);
		deliver_bind(d, s);
		max = bstream_data_max(s);
		if (!max || (!(d->blk->app_flags & APP_INFLIGHT) &&
			     !balance_takes_more(s))) {
			d->turn = max > 0;
			return deliver_wait(d, s);
		}
		if (redelivered)
			f.flags |= FRAME_F_REDELIVERED;
		if (!deliver_data_frame(d, s, &f, iov, n, bytes, max))
			return deliver_wait(d, s);
	} while (d->left);
	return 0;
}

/* EOF on s, which may have to be told whose. */
static void deliver_eof_frame(struct group *g, uint32_t ri, struct bstream *s,
			      uint8_t flags)
{
	struct rec *rec = list_rec(g, ri);
	struct frame f = { .type = FRAME_EOF, .flags = flags };
	struct frame_addr addr;
	struct iovec iov = { &addr, sizeof(addr) };
	struct stack_conn_info info;

	stack_conn_info(g->gs->st, ri, g->gs->now_us, &info);
	f.offset = info.rcv_acked + info.rcv_held;
	if (group_told(g, rec) != s)
		f.flags |= FRAME_F_FIRST;
	deliver_fill(g, ri, &f, &addr);
	bstream_send(s, &f, &iov, f.flags & FRAME_F_FIRST ? 1 : 0);
	if (f.flags & FRAME_F_FIRST)
		deliver_told(g, rec, &addr);
}

static int deliver_eof(struct delivery *d)
{
	struct bstream *s = group_told(d->g, d->rec);
	struct stack_conn_info info;

	stack_conn_info(d->g->gs->st, d->ri, d->g->gs->now_us, &info);
	if (!(d->rec->flags & REC_TOLD) && d->rec->slot == 0 &&
	    info.rcv_acked == 0 && info.rcv_held == 0) {
		/* Nobody ever heard of it, and there is nothing to hear. */
		groups_count(d->g->gs, WC_conn_not_told);
		d->blk->app_flags = 0;
		stack_close(d->g->gs->st, d->ri, d->g->gs->now_us);
		return 0;
	}
	if (!s)
		s = balance_route(d->g, d->rec, d->blk);
	if (!s)
		return deliver_wait(d, NULL);
	deliver_bind(d, s);
	if (!bstream_control_room(s))
		return deliver_wait(d, s);
	deliver_eof_frame(
		d->g, d->ri, s,
		d->blk->app_flags & APP_EOF_AGAIN ? FRAME_F_REDELIVERED : 0);
	d->blk->app_flags &= (uint8_t) ~(APP_EOF_DUE | APP_EOF_AGAIN);
	return 0;
}

int deliver_eof_again(struct group *g, uint32_t ri)
{
	struct rec *rec = list_rec(g, ri);
	struct bstream *s = balance_route(g, rec, NULL);

	if (!s || !bstream_control_room(s))
		return -EAGAIN;
	rec->flags &= (uint16_t)~REC_TOLD;
	rec->slot = s->slot;
	g->slots[s->slot].used = true;
	deliver_eof_frame(g, ri, s, FRAME_F_REDELIVERED);
	groups_count(g->gs, WC_eof_redelivered);
	return 0;
}

static uint64_t deliver_granted(const struct blk *blk)
{
	return (uint64_t)blk->app_granted_hi << 32 | blk->app_granted_lo;
}

static void deliver_note_granted(struct blk *blk, uint64_t limit)
{
	blk->app_granted_hi = (uint32_t)(limit >> 32);
	blk->app_granted_lo = (uint32_t)limit;
}

static int deliver_credit_frame(struct delivery *d, uint64_t limit)
{
	struct bstream *s = group_told(d->g, d->rec);

	d->blk->app_flags &= (uint8_t)~APP_CREDIT_DUE;
	if (!s || s->failed)
		return 0; /* the next one learns the position with FIRST */
	if (!bstream_control_room(s)) {
		d->blk->app_flags |= APP_CREDIT_DUE;
		return deliver_wait(d, s);
	}
	deliver_simple(d->g, d->ri, s, FRAME_CREDIT, limit, 0);
	deliver_note_granted(d->blk, limit);
	groups_count(d->g->gs, WC_credit_sent);
	return 0;
}

/* Reply bytes that the backend may still send, of what it was granted. */
static uint64_t deliver_unused(const struct rec *rec, const struct blk *blk)
{
	uint32_t queued = seq_lt(blk->snd_una, blk->snd_end)
				  ? blk->snd_end - blk->snd_una
				  : 0;
	uint64_t used = rec->snd_off + queued, granted = deliver_granted(blk);

	return granted > used ? granted - used : 0;
}

/*
 * The limit of frame.h, or more for bulk: twice the congestion window ahead,
 * so that the client never waits for the backend, within what the stack
 * queues for one connection as its buffer is filled now. Since each CREDIT
 * wakes the backend, half of that is used before it is told of more; the ACK of
 * what it sends by then comes here again. blk may be NULL.
 */
static uint64_t deliver_limit(const struct group *g, const struct rec *rec,
			      const struct blk *blk)
{
	uint64_t limit = frame_send_limit(rec->snd_off, CONN_HALF_BYTES);
	uint64_t ahead = blk ? 2 * (uint64_t)blk->cc.cwnd : 0, end;

	if (rec->snd_off + ahead < limit + CONN_HALF_BYTES)
		return limit;
	ahead = min_u64(ahead, stack_reply_room(g->gs->st));
	if (deliver_granted(blk) >= limit &&
	    deliver_unused(rec, blk) >= ahead / 2)
		return limit;
	end = rec->snd_off + ahead;
	return max_u64(limit, end - end % CONN_HALF_BYTES);
}

static int deliver_credit_due(struct delivery *d)
{
	uint64_t limit = deliver_limit(d->g, d->rec, d->blk);

	if (limit > deliver_granted(d->blk))
		return deliver_credit_frame(d, limit);
	d->blk->app_flags &= (uint8_t)~APP_CREDIT_DUE;
	return 0;
}

void deliver_grant(struct group *g, uint32_t ri, struct bstream *s)
{
	const struct rec *rec = list_rec(g, ri);
	struct blk *blk = groups_blk(g->gs, rec);
	uint64_t limit = deliver_limit(g, rec, blk);

	if (blk) {
		limit = max_u64(limit, deliver_granted(blk));
		deliver_note_granted(blk, limit);
	}
	deliver_simple(g, ri, s, FRAME_CREDIT, limit, 0);
	groups_count(g->gs, WC_credit_sent);
}

/* All that is due, in order. -EAGAIN: something is left, see wait_on. */
static int deliver_dues(struct delivery *d)
{
	int err = 0;

	if (d->g->protocol == CONF_PROTOCOL_STREAM)
		return plain_dues(d->g, d->ri);
	if (d->blk->app_flags & APP_RESET_DUE)
		return deliver_reset(d);
	if (d->blk->app_flags & APP_CREDIT_DUE)
		err = deliver_credit_due(d);
	if (!err && d->blk->app_flags & APP_OPEN_DUE)
		err = deliver_open(d);
	if (err || d->rec->state == TCP_SYN_HELD)
		return err;
	err = deliver_data(d);
	if (!err && d->blk->app_flags & APP_EOF_DUE)
		err = deliver_eof(d);
	return err;
}

void deliver_release(struct group *g, uint32_t ri)
{
	const struct rec *rec = list_rec(g, ri);

	if (rec->state > TCP_SYN_RECEIVED && rec->state < TCP_GONE &&
	    rec->block != NIL)
		stack_delivered(g->gs->st, ri, 0, g->gs->now_us);
}

bool deliver_conn(struct group *g, uint32_t ri, bool at_head)
{
	struct delivery d = { .g = g, .rec = list_rec(g, ri), .ri = ri };

	d.blk = groups_blk(g->gs, d.rec);
	deliver_unlist(g, d.rec, d.blk);
	if (balance_is_orphan(g, d.rec)) {
		deliver_abort(g, ri);
		return true;
	}
	if (deliver_dues(&d) == 0) {
		if (at_head)
			deliver_release(g, ri);
		return true;
	}
	if (!at_head)
		groups_count(g->gs, WC_conn_waited);
	d.blk->app_list = !d.wait_on ? APP_LIST_GROUP
			  : d.turn   ? APP_LIST_TURN
				     : APP_LIST_STREAM;
	list_insert(g,
		    !d.wait_on ? &g->waiting
		    : d.turn   ? &d.wait_on->turn
			       : &d.wait_on->waiting,
		    ri, at_head);
	return false;
}

void deliver_list(struct group *g, struct conn_list *list)
{
	/* Each connection once at most: the list may fill again behind us. */
	for (uint32_t n = list->n; n > 0 && list->head != NIL; n--) {
		uint32_t ri = list->head;

		if (!deliver_conn(g, ri, true) && list->head == ri)
			return;
	}
}

/* After an acknowledgement by the client: CREDIT when frame.h says so. */
static void deliver_acked(struct group *g, uint32_t ri, struct rec *rec,
			  struct blk *blk)
{
	struct delivery d = { .g = g, .rec = rec, .blk = blk, .ri = ri };

	if (g->protocol == CONF_PROTOCOL_STREAM) {
		plain_acked(g, ri);
		return;
	}
	if (deliver_limit(g, rec, blk) <= deliver_granted(blk) ||
	    deliver_credit_due(&d) == 0 || blk->app_list)
		return;
	blk->app_list = APP_LIST_STREAM;
	list_insert(g, &d.wait_on->waiting, ri, false);
}

void deliver_end(struct group *g, uint32_t ri)
{
	struct rec *rec = list_rec(g, ri);
	struct blk *blk = groups_blk(g->gs, rec);

	if (g->protocol == CONF_PROTOCOL_STREAM)
		plain_end(g, ri);
	if (!blk)
		return;
	deliver_unlist(g, rec, blk);
	deliver_inflight_end(g, rec, blk);
	blk->app_flags = 0;
}

void deliver_abort(struct group *g, uint32_t ri)
{
	groups_count(g->gs, WC_loss_reset);
	deliver_end(g, ri);
	stack_abort(g->gs->st, ri, g->gs->now_us);
}

void deliver_tell_reset(struct group *g, uint32_t ri, int err,
			const struct bstream *except)
{
	struct bstream *s = group_told(g, list_rec(g, ri));

	if (s && s != except && !s->failed && bstream_control_room(s))
		deliver_simple(g, ri, s, FRAME_RESET, 0, (uint32_t)err);
}

void deliver_event(struct groups *gs, uint32_t ri, uint16_t events)
{
	struct rec *rec = &gs->st->sh->recs[ri];
	struct group *g = gs->by_id[rec->group];
	struct blk *blk = groups_blk(gs, rec);

	if (!g || !blk) {
		/* The group was removed: nobody is there to tell. */
		if (events & STACK_EV_RESET)
			stack_forget(gs->st, ri);
		return;
	}
	if (events & STACK_EV_ACKED)
		gs->acked = true;
	if (events & STACK_EV_DATA)
		latency_begin(g, rec, blk);
	if (events & STACK_EV_RESET)
		blk->app_flags = (uint8_t)((blk->app_flags & APP_INFLIGHT) |
					   APP_RESET_DUE);
	else if (events & STACK_EV_ACKED)
		deliver_acked(g, ri, rec, blk);
	if (events & STACK_EV_OPEN)
		blk->app_flags |= APP_OPEN_DUE;
	if (events & STACK_EV_EOF)
		blk->app_flags |= APP_EOF_DUE;
	if (!(events &
	      (STACK_EV_OPEN | STACK_EV_DATA | STACK_EV_EOF | STACK_EV_RESET)))
		return;
	if (!blk->app_list || events & STACK_EV_RESET)
		deliver_conn(g, ri, false);
}
