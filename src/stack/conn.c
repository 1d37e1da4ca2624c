/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a connection's state.
 *
 *	record alone --conn_activate--> record + block --conn_rest--> record
 *
 * What a block begins with comes from the record alone, and conn_rest() lets
 * go of it only when the record says all: an idle connection costs 64 bytes.
 *
 * Invariants:
 *  I1  blk.snd_una == iss + 1 + snd_off (+ 1 when our FIN is acknowledged) in
 *      every state after SYN_RECEIVED;
 *  I2  blk.rcv_app == irs + 1 + rcv_off;
 *  I3  a block on the ready or the dirty list is never freed.
 */
#include "stack/conn.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "stack/cc.h"

static void conn_restore(struct conn *c)
{
	struct blk *b = c->b;
	struct rec *r = c->r;
	uint32_t snd = r->iss + 1 + (uint32_t)r->snd_off +
		       !!(r->flags & REC_FIN_ACKED);
	uint32_t rcv = r->irs + 1 + (uint32_t)r->rcv_off;
	struct tuple tuple;

	shard_rec_tuple(c->st->sh, c->ri, &tuple);
	b->ts_off = isn_ts_offset(c->st, &tuple);
	b->snd_una = b->snd_nxt = b->loss.fack = snd;
	b->snd_end = r->iss + 1 + (uint32_t)r->snd_off;
	b->snd_wnd = (uint32_t)r->snd_wnd << conn_snd_shift(c);
	b->max_wnd = b->snd_wnd;
	b->rcv_app = b->rcv_dlv = b->rcv_redlv = rcv;
	b->rcv_nxt = b->rcv_ack = b->rcv_acked =
		rcv + !!(r->flags & REC_FIN_RCVD);
	b->rcv_adv = b->rcv_nxt + r->rcv_adv_units * REC_ADV_UNIT;
	b->snd_wl1 = b->rcv_nxt;
	b->snd_wl2 = snd;
	b->rcv_mss = TCP_MSS_DEFAULT4;
	/* what was promised stays so: it was worth it once */
	b->rcv_space_units = (uint16_t)max_u32(
		min_u32(c->st->limits.rcv_window_max, 65536) / REC_ADV_UNIT,
		r->rcv_adv_units);
	b->progress_at = c->now_us;
	cc_init(&b->cc, c->g->congestion, conn_mss(c));
	b->cc.recover = snd - 1;
	rtt_init(c);
	if (r->flags & REC_FIN_ACKED)
		b->flags |= BLK_FIN_QUEUED;
	if (r->more & REC_CWR_DUE)
		b->flags |= BLK_CWR_DUE;
}

bool conn_activate(struct conn *c)
{
	uint32_t bi;

	if (c->b)
		return true;
	bi = shard_blk_new(c->st->sh, c->ri);
	if (bi == NIL) {
		stack_count(c->st, SC_drop_no_block);
		return false;
	}
	c->b = &c->st->sh->blks[bi];
	conn_restore(c);
	shard_blk_link(c->st->sh, bi);
	return true;
}

/* Does the record say all there is to say? */
static bool conn_is_quiet(const struct conn *c)
{
	const struct blk *b = c->b;

	if (b->rx_head != NIL || b->ooo_head != NIL ||
	    b->rcv_acked != b->rcv_nxt)
		return false;
	if (b->snd_una != b->snd_end + !!(b->flags & BLK_FIN_QUEUED))
		return false;
	if (b->flags & (BLK_READY | BLK_DIRTY | BLK_PROBING | BLK_WINDOW_HELD |
			BLK_FIN_SEEN) ||
	    b->app_list)
		return false;
	if (b->rcv_adv - b->rcv_nxt > UINT8_MAX * REC_ADV_UNIT)
		return false;
	switch (c->r->state) {
	case TCP_ESTABLISHED:
	case TCP_CLOSE_WAIT:
	case TCP_TIME_WAIT:
		return true;
	case TCP_FIN_WAIT_2:
		return !(c->r->flags & REC_ORPHAN);
	default:
		return false;
	}
}

/*
 * Until when a quiet block stays for what the record can't hold. RFC 5681 4.1: a
 * window holds until idle for an RTO. RFC 5961 section 7: so does the limit of
 * answers to what may be forged. But TIME-WAIT is a bare record.
 */
static uint64_t conn_linger_until(const struct conn *c)
{
	const struct blk *b = c->b;
	uint64_t until = c->now_us;

	if (c->r->state == TCP_TIME_WAIT)
		return until;
	if (c->r->state != TCP_ESTABLISHED && c->r->state != TCP_CLOSE_WAIT)
		return c->now_us + respond_limit_left_us(c);
	if (b->cc.cwnd != cc_initial_window(conn_mss(c)) ||
	    b->cc.ssthresh != UINT32_MAX)
		until = max_u64(b->sent_at, b->progress_at) + b->rtt.rto_us;
	/* A client that sends bulk: what its window has come to. */
	if (b->rcv_turn_ms)
		until = max_u64(until, (uint64_t)c->r->last_active *
						       REC_TICK_MS *
						       USEC_PER_MSEC +
					       b->rtt.rto_us);
	return max_u64(until, c->now_us + respond_limit_left_us(c));
}

void conn_rest(struct conn *c)
{
	struct blk *b = c->b;
	struct rec *r = c->r;
	uint64_t until;

	if (!b || !conn_is_quiet(c))
		return;
	until = conn_linger_until(c);
	if (until > c->now_us) {
		b->flags |= BLK_LINGER;
		b->life_at = until;
		return;
	}
	r->snd_wnd =
		(uint16_t)min_u32(b->snd_wnd >> conn_snd_shift(c), UINT16_MAX);
	r->more = b->flags & BLK_CWR_DUE ? REC_CWR_DUE : 0;
	r->srtt = rtt_pack(b->rtt.srtt_us);
	r->rttvar = rtt_pack(b->rtt.rttvar_us);
	r->rcv_adv_units =
		((b->rcv_adv - b->rcv_nxt + REC_ADV_UNIT - 1) / REC_ADV_UNIT) &
		0xff;
	shard_blk_free(c->st->sh, c->ri);
	c->b = NULL;
}

static void conn_gauge(struct stack *st, uint8_t state, int by)
{
	if (state == TCP_TIME_WAIT)
		st->time_wait += (uint32_t)by;
	else if (tcp_state_open(state))
		st->established += (uint32_t)by;
}

/* Sources are counted for half-open connections, and for open ones. */
static void conn_count_source(struct conn *c, uint8_t from, uint8_t to)
{
	struct stack *st = c->st;
	bool was = tcp_state_open(from), is = tcp_state_open(to);
	struct tuple tuple;

	if (!(c->r->flags & REC_HALF_OPEN) &&
	    (was == is || !st->conn_sources.width))
		return;
	shard_rec_tuple(st->sh, c->ri, &tuple);
	if (c->r->flags & REC_HALF_OPEN)
		source_sub(&st->half_open_sources,
			   source_hash(st->header, &tuple, 0));
	if (is && !was)
		source_add(&st->conn_sources,
			   source_hash(st->header, &tuple, c->r->group));
	else if (was && !is)
		source_sub(&st->conn_sources,
			   source_hash(st->header, &tuple, c->r->group));
}

void conn_set_state(struct conn *c, uint8_t to)
{
	struct stack *st = c->st;
	uint8_t from = c->r->state;
	struct stack_group_stats *stats = conn_stats(c);

	assert(tcp_state_legal(from, to));
	conn_gauge(st, from, -1);
	conn_gauge(st, to, 1);
	ARENA_COMMIT(c->r->state, to);
	if (to != TCP_SYN_RECEIVED)
		conn_count_source(c, from, to);
	if (c->r->flags & REC_HALF_OPEN && to != TCP_SYN_RECEIVED) {
		c->r->flags &= (uint16_t)~REC_HALF_OPEN;
		st->half_open--;
		counter_sub(&stats->half_open, 1);
	}
	if (to == TCP_ESTABLISHED && from == TCP_SYN_RECEIVED) {
		stack_count(st, SC_conn_accepted);
		counter_add(&stats->accepted, 1);
	}
	if (st->ops.trace)
		st->ops.trace(st->ops.ctx, c->ri, from, to);
}

void conn_count_found(struct conn *c)
{
	struct stack_group_stats *stats = conn_stats(c);
	struct tuple tuple;

	conn_gauge(c->st, c->r->state, 1);
	counter_add(&stats->connections, 1);
	if (c->g->shared_count)
		atomic_fetch_add_explicit(c->g->shared_count, 1,
					  memory_order_relaxed);
	shard_rec_tuple(c->st->sh, c->ri, &tuple);
	if (tcp_state_open(c->r->state) && c->st->conn_sources.width)
		source_add(&c->st->conn_sources,
			   source_hash(c->st->header, &tuple, c->r->group));
	if (!(c->r->flags & REC_HALF_OPEN))
		return;
	source_add(&c->st->half_open_sources,
		   source_hash(c->st->header, &tuple, 0));
	c->st->half_open++;
	counter_add(&stats->half_open, 1);
}

void conn_ready_blk(struct stack *st, uint32_t bi)
{
	struct blk *b = &st->sh->blks[bi];

	b->flags |= BLK_READY;
	b->ready_next = NIL;
	if (st->ready_tail != NIL)
		st->sh->blks[st->ready_tail].ready_next = bi;
	else
		st->ready_head = bi;
	st->ready_tail = bi;
}

void conn_mark_blk(struct stack *st, uint32_t bi)
{
	struct blk *b = &st->sh->blks[bi];

	b->flags |= BLK_DIRTY;
	b->dirty_next = NIL;
	if (st->dirty_tail != NIL)
		st->sh->blks[st->dirty_tail].dirty_next = bi;
	else
		st->dirty_head = bi;
	st->dirty_tail = bi;
}

/* Of two deadlines; 0 is none, and so later than any. */
static uint64_t conn_earlier(uint64_t a, uint64_t b)
{
	return min_u64(a - 1, b - 1) + 1;
}

void conn_arm(struct conn *c)
{
	struct blk *b = c->b;
	uint64_t at = conn_earlier(conn_earlier(b->rexmit_at, b->life_at),
				   conn_earlier(b->ack_at, b->hold_at));

	at = conn_earlier(at, b->probe_at);
	/*
	 * An entry that is too early, or for nothing by now, only wakes us for
	 * nothing; moving it with each segment would cost more.
	 */
	if (at && (!b->wheel.expires_us || b->wheel.expires_us > at))
		wheel_set(&c->st->sh->wheel, c->r->block, at);
}

/* Give the record back, with its block. */
static void conn_free(struct stack *st, uint32_t ri)
{
	struct rec *r = &st->sh->recs[ri];
	struct stack_group *g = st->groups[r->group];

	if (r->block != NIL)
		shard_blk_free(st->sh, ri);
	counter_sub(&st->group_stats[r->group]->connections, 1);
	if (g->shared_count)
		atomic_fetch_sub_explicit(g->shared_count, 1,
					  memory_order_relaxed);
	shard_rec_free(st->sh, ri);
}

/* Chunks go at once, and with them the pool's use. */
static void conn_drop_data(struct conn *c)
{
	struct stack_pool *pool = &c->st->pools[c->g->pool];
	struct blk *b = c->b;
	uint32_t rx = b->rx_head, tx = b->tx_head;

	c->r->more |= REC_ENDED;
	arena_order();
	b->rx_head = b->rx_tail = b->tx_head = b->tx_tail = b->tx_cur = NIL;
	arena_order();
	pool->used_chunks -= chunks_free_list(&c->st->sh->rx, rx);
	chunks_free_list(&c->st->sh->tx, tx);
	rx_drop_ooo(c);
	sents_free(&c->st->sh->sents, b);
	b->rexmit_at = b->ack_at = b->hold_at = b->life_at = b->probe_at = 0;
	wheel_clear(&c->st->sh->wheel, c->r->block);
	rx_pool_changed(c->st, pool);
}

void conn_end(struct conn *c, bool tell)
{
	bool known = c->r->flags & REC_TOLD ||
		     (c->b && (c->b->app_list || c->b->events));
	/* The daemon has it in a list, or in hand: it must let go of it. */
	bool busy = c->b && (c->b->app_list || c->b->app_flags);

	conn_set_state(c, TCP_GONE);
	if (c->b)
		conn_drop_data(c);
	if (((tell && known) || busy) && !(c->r->flags & REC_ORPHAN) &&
	    (c->b || conn_activate(c))) {
		c->b->events = 0;
		conn_event(c, STACK_EV_RESET);
		return;
	}
	c->r->flags |= REC_ORPHAN;
	conn_reap(c->st, c->ri);
}

void conn_abort(struct conn *c, enum stack_counter why, bool tell)
{
	stack_count(c->st, why);
	if (c->r->state != TCP_SYN_HELD && c->r->state != TCP_TIME_WAIT)
		respond_conn_reset(c);
	conn_end(c, tell);
}

void conn_reap(struct stack *st, uint32_t ri)
{
	struct conn c;

	conn_view(st, ri, 0, &c);
	if (c.r->state != TCP_GONE || !(c.r->flags & REC_ORPHAN))
		return;
	if (c.b && c.b->flags & (BLK_READY | BLK_DIRTY))
		return;
	conn_set_state(&c, TCP_FREE);
	conn_free(st, ri);
}
