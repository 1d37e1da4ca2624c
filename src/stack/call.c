/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The application's side: what frames from a backend become (figures 6c to
 * 6g). Each call changes state and marks the connection; the flush sends.
 */
#include <assert.h>
#include <errno.h>

#include "base/bytes.h"
#include "stack/conn.h"

void listen_refuse(struct conn *c, enum stack_counter why)
{
	struct respond what = { .flags = TH_RST | TH_ACK,
				.ack = c->r->irs + 1 };
	struct stack_group_stats *stats = conn_stats(c);
	struct tuple tuple;

	stack_count(c->st, why);
	counter_add(&stats->refused, 1);
	shard_rec_tuple(c->st->sh, c->ri, &tuple);
	respond_send(c->st, &tuple, &what);
	conn_end(c, true);
}

int stack_accept(struct stack *st, uint32_t ri, uint64_t now_us)
{
	struct conn c;

	conn_view(st, ri, now_us, &c);
	if (c.r->state != TCP_SYN_HELD)
		return -EINVAL;
	listen_accept(&c);
	return 0;
}

int stack_refuse(struct stack *st, uint32_t ri, uint64_t now_us)
{
	struct conn c;

	conn_view(st, ri, now_us, &c);
	if (c.r->state != TCP_SYN_HELD)
		return -EINVAL;
	c.r->flags |= REC_ORPHAN;
	listen_refuse(&c, SC_conn_refused);
	return 0;
}

/* Neighbours in the queue are often neighbours in memory. */
static void call_show(uint8_t *at, uint32_t len, struct iovec *iov, int *n)
{
	struct iovec *last = &iov[*n - 1];

	if (*n && (uint8_t *)last->iov_base + last->iov_len == at)
		last->iov_len += len;
	else
		iov[(*n)++] = (struct iovec){ .iov_base = at, .iov_len = len };
}

/* Of struct rx_holder. Where there are more chunks, some are not remembered. */
#define CALL_PEEKED_MASK 0xffffffu

/*
 * A chunk of the block's that begins at or before rcv_dlv, near it: where
 * stack_peek() ended the last time, as bulk may wait in thousands of them for
 * the application's word. It may be another's by now.
 */
static uint32_t call_peek_from(const struct stack *st, uint32_t bi,
			       const struct blk *b)
{
	const struct chunk *desc = st->sh->rx.desc;
	uint32_t i = st->rx_holders[bi].peeked;

	/* One that is not in use may read as zeros: block 0's (chunks_trim()). */
	return b->rx_head != NIL && bitmap_test(&st->sh->rx.map, i) &&
			       desc[i].owner == bi &&
			       seq_leq(desc[i].seq, b->rcv_dlv) &&
			       seq_geq(desc[i].seq, desc[b->rx_head].seq)
		       ? i
		       : b->rx_head;
}

uint32_t stack_peek(struct stack *st, uint32_t ri, uint32_t max_bytes,
		    struct iovec *iov, int *iovcnt, uint64_t *ret_offset,
		    bool *ret_redelivered)
{
	const struct rec *r = &st->sh->recs[ri];
	const struct chunks *rx = &st->sh->rx;
	const struct chunk *desc = rx->desc;
	const struct blk *b;
	uint32_t i, skip, last = 0, done = 0;
	int n = 0, max = *iovcnt;

	*iovcnt = 0;
	if (r->block == NIL)
		return 0;
	b = &st->sh->blks[r->block];
	*ret_offset = r->rcv_off + (b->rcv_dlv - b->rcv_app);
	*ret_redelivered = seq_lt(b->rcv_dlv, b->rcv_redlv);
	i = call_peek_from(st, r->block, b);
	while (i != NIL && seq_leq(desc[i].seq + desc[i].len, b->rcv_dlv))
		i = desc[i].next;
	skip = i == NIL ? 0 : b->rcv_dlv - desc[i].seq;
	for (; i != NIL && done < max_bytes && n < max; i = desc[i].next) {
		uint32_t piece = min_u32(desc[i].len - skip, max_bytes - done);

		call_show(chunk_data(rx, i) + skip, piece, iov, &n);
		last = i;
		done += piece;
		skip = 0;
	}
	st->rx_holders[r->block].peeked = last & CALL_PEEKED_MASK;
	*iovcnt = n;
	return done;
}

uint32_t stack_delivered(struct stack *st, uint32_t ri, uint32_t n,
			 uint64_t now_us)
{
	struct conn c;
	uint32_t due;

	conn_view(st, ri, now_us, &c);
	assert(c.b);
	due = c.b->rcv_nxt - conn_fin_rcvd(&c) - c.b->rcv_dlv;
	assert(n <= due);
	c.b->rcv_dlv += n;
	c.b->rcv_redlv = seq_max(c.b->rcv_redlv, c.b->rcv_dlv);
	ack_delivered(&c);
	conn_mark(&c, 0);
	return due - n;
}

void stack_undeliver(struct stack *st, uint32_t ri)
{
	struct conn c;

	conn_view(st, ri, 0, &c);
	if (c.b)
		c.b->rcv_dlv = c.b->rcv_app;
}

/*
 * The application's word: how many bytes more it has processed than it said
 * before, or -EINVAL: beyond what it was given.
 */
static int64_t call_taken(const struct conn *c, uint64_t offset, uint32_t ackd)
{
	/* What was taken back since (stack_undeliver) counts, see frame.h. */
	uint32_t given = c->b ? seq_max(c->b->rcv_dlv, c->b->rcv_redlv) : 0;
	uint64_t delivered = c->r->rcv_off + (c->b ? given - c->b->rcv_app : 0);

	if (offset > delivered || ackd > delivered - offset)
		return -EINVAL;
	if (offset + ackd <= c->r->rcv_off)
		return 0;
	return (int64_t)(offset + ackd - c->r->rcv_off);
}

/* From here on it counts: taken bytes of the client's, queued ones for it. */
static void call_commit(struct conn *c, uint32_t taken, uint32_t queued)
{
	struct blk *b = c->b;
	uint32_t before;

	if (!b || !(taken | queued))
		return;
	before = b->rcv_app;
	blk_commit(b, before + taken, b->snd_end + queued);
	if (taken) {
		rx_consumed(c, before);
		ack_application(c);
	}
	conn_mark(c, 0);
}

/* May the application still send? RFC 9293 3.10.2. */
static bool call_may_send(const struct conn *c)
{
	if (c->b && c->b->flags & BLK_FIN_QUEUED)
		return false;
	/* In SYN-RECEIVED it is queued until the handshake is done. */
	return c->r->state == TCP_SYN_RECEIVED ||
	       c->r->state == TCP_ESTABLISHED || c->r->state == TCP_CLOSE_WAIT;
}

int64_t stack_reply(struct stack *st, uint32_t ri, uint64_t offset,
		    uint32_t ackd, const void *data, uint32_t len,
		    uint64_t now_us)
{
	struct stack_group_stats *stats;
	uint32_t n = 0;
	struct conn c;
	int64_t taken;
	bool may_send;

	conn_view(st, ri, now_us, &c);
	taken = call_taken(&c, offset, ackd);
	if (taken < 0)
		return -EINVAL;
	may_send = len && call_may_send(&c);
	if (may_send && conn_activate(&c))
		n = tx_stage(&c, data, len);
	/* A part of a reply acknowledges nothing: see stack_reply(). */
	call_commit(&c, may_send && n < len ? 0 : (uint32_t)taken, n);
	if (!len)
		return 0;
	if (!may_send)
		return -EPIPE;
	if (!c.b)
		return 0;
	stats = conn_stats(&c);
	if (n == len) {
		stack_count(st, SC_msgs_out);
		counter_add(&stats->msgs_out, 1);
	}
	counter_add(&stats->bytes_out, n);
	return n;
}

uint32_t stack_reply_room(const struct stack *st)
{
	return tx_share(st, 0);
}

uint32_t stack_reply_room_of(const struct stack *st, uint32_t ri)
{
	const struct rec *r = &st->sh->recs[ri];
	const struct blk *b = r->block == NIL ? NULL : &st->sh->blks[r->block];
	uint32_t queued = b ? b->snd_end - b->snd_una : 0;
	uint32_t share = tx_share(st, queued);

	return share > queued ? share - queued : 0;
}

/* Our FIN follows what is queued: RFC 9293 3.10.4. */
static void call_fin(struct conn *c)
{
	uint8_t state = c->r->state;

	/* In SYN-RECEIVED, FIN-WAIT-1 follows once established. */
	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT &&
	    state != TCP_SYN_RECEIVED)
		return;
	if (!conn_activate(c) || c->b->flags & BLK_FIN_QUEUED)
		return;
	ARENA_COMMIT(c->b->flags, c->b->flags | BLK_FIN_QUEUED);
	if (state == TCP_ESTABLISHED)
		conn_set_state(c, TCP_FIN_WAIT_1);
	else if (state == TCP_CLOSE_WAIT)
		conn_set_state(c, TCP_LAST_ACK);
	conn_mark(c, 0);
}

void stack_shutdown(struct stack *st, uint32_t ri, uint64_t now_us)
{
	struct conn c;

	conn_view(st, ri, now_us, &c);
	call_fin(&c);
}

/* The application takes nothing more: only the record has to wait. */
static void call_leave_time_wait(struct conn *c)
{
	if (c->b)
		conn_mark(c, 0);
}

void stack_close(struct stack *st, uint32_t ri, uint64_t now_us)
{
	struct conn c;

	conn_view(st, ri, now_us, &c);
	c.r->flags |= REC_ORPHAN;
	switch (c.r->state) {
	case TCP_SYN_HELD:
		listen_refuse(&c, SC_conn_refused);
		return;
	case TCP_GONE:
		conn_reap(st, ri);
		return;
	default:
		break;
	}
	if (c.b && (c.b->rx_head != NIL || c.b->ooo_head != NIL)) {
		conn_abort(&c, SC_drop_after_close, false);
		return;
	}
	if (c.r->state == TCP_TIME_WAIT) {
		call_leave_time_wait(&c);
		return;
	}
	call_fin(&c);
	if (c.r->state == TCP_FIN_WAIT_2 && conn_activate(&c)) {
		/* life_at is no longer the keepalive timer. */
		c.b->flags &= ~(uint32_t)BLK_PROBING;
		c.b->life_at = now_us + TCP_FIN_WAIT_2_US;
		conn_mark(&c, 0);
	}
}

void stack_abort(struct stack *st, uint32_t ri, uint64_t now_us)
{
	struct conn c;

	conn_view(st, ri, now_us, &c);
	c.r->flags |= REC_ORPHAN;
	switch (c.r->state) {
	case TCP_GONE:
		conn_reap(st, ri);
		return;
	case TCP_SYN_HELD:
		listen_refuse(&c, SC_conn_refused);
		return;
	case TCP_TIME_WAIT:
		if (!c.b || c.b->rx_head == NIL) {
			call_leave_time_wait(&c);
			return;
		}
		/* The client waits for the end of what is held. */
		respond_conn_reset(&c);
		conn_end(&c, false);
		return;
	default:
		respond_conn_reset(&c);
		conn_end(&c, false);
	}
}

void stack_forget(struct stack *st, uint32_t ri)
{
	st->sh->recs[ri].flags |= REC_ORPHAN;
	conn_reap(st, ri);
}

/* Bytes that the application sent and the client has not acknowledged. */
static uint32_t call_queued(const struct rec *r, const struct blk *b)
{
	uint32_t from = b->snd_una;

	if (r->state == TCP_SYN_HELD || r->state == TCP_GONE)
		return 0;
	if (r->state == TCP_SYN_RECEIVED)
		from = r->iss + 1;
	return seq_lt(from, b->snd_end) ? b->snd_end - from : 0;
}

uint64_t stack_reply_end(const struct stack *st, uint32_t ri)
{
	const struct rec *r = &st->sh->recs[ri];

	return r->snd_off +
	       (r->block == NIL ? 0 : call_queued(r, &st->sh->blks[r->block]));
}

void stack_conn_info(const struct stack *st, uint32_t ri, uint64_t now_us,
		     struct stack_conn_info *ret_info)
{
	const struct rec *r = &st->sh->recs[ri];
	const struct blk *b = r->block == NIL ? NULL : &st->sh->blks[r->block];
	uint32_t tick = conn_tick(now_us);

	*ret_info = (struct stack_conn_info){
		.rcv_acked = r->rcv_off,
		.snd_acked = r->snd_off,
		.snd_wnd = (uint32_t)r->snd_wnd << (r->wscale & 0xf),
		.rcv_wnd = r->rcv_adv_units * REC_ADV_UNIT,
		.mss = r->mss - (r->flags & REC_TS ? 12u : 0u),
		.srtt_us = rtt_unpack(r->srtt),
		.rttvar_us = rtt_unpack(r->rttvar),
		.idle_ms = (tick - r->last_active) * REC_TICK_MS,
		.eof = r->flags & REC_FIN_RCVD,
		.state = r->state,
	};
	if (!b)
		return;
	ret_info->active = true;
	ret_info->rcv_held =
		b->rcv_nxt - b->rcv_app - !!(r->flags & REC_FIN_RCVD);
	ret_info->rcv_undelivered =
		b->rcv_nxt - b->rcv_dlv - !!(r->flags & REC_FIN_RCVD);
	ret_info->snd_queued = call_queued(r, b);
	ret_info->snd_wnd = b->snd_wnd;
	ret_info->rcv_wnd = b->rcv_adv - b->rcv_nxt;
	ret_info->cwnd = b->cc.cwnd;
	ret_info->ssthresh = b->cc.ssthresh;
	ret_info->srtt_us = b->rtt.srtt_us;
	ret_info->rttvar_us = b->rtt.rttvar_us;
	ret_info->rto_us = b->rtt.rto_us;
	ret_info->retransmits = b->rexmits;
}
