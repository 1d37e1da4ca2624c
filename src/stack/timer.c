/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Time: the wheel for active blocks, the clock hand for records.
 *
 * Each tick the hand sweeps a slice: at least SWEEP_MIN records and as many as
 * it takes to come round in SWEEP_ROUND_US. It alone knows idle time-out,
 * keepalive of idle connections, and the end of TIME-WAIT, so these cost an
 * idle connection nothing (I3).
 */
#include "base/bytes.h"
#include "stack/frag.h"
#include "stack/pmtu.h"
#include "stack/recovery.h"

/* So long nothing came of a client whose text beyond a gap is held. */
#define SWEEP_GAP_US (10 * USEC_PER_SEC)
#define SWEEP_TICK_US (10 * USEC_PER_MSEC)
#define SWEEP_TICK_FEW_US (50 * USEC_PER_MSEC) /* when one slice is all */
#define SWEEP_ROUND_US (4 * USEC_PER_SEC)
#define SWEEP_MIN 4096u

static uint64_t timer_idle_us(const struct conn *c)
{
	uint32_t tick = conn_tick(c->now_us);

	return (uint64_t)(tick - c->r->last_active) * REC_TICK_MS *
	       USEC_PER_MSEC;
}

static uint64_t timer_probe_interval(const struct conn *c)
{
	return clamp_u64(c->g->keepalive_us / 3, 100 * USEC_PER_MSEC,
			 75 * USEC_PER_SEC);
}

/* RFC 9293 3.8.4: a segment from before the window makes the client answer. */
static void timer_keepalive_probe(struct conn *c)
{
	struct respond what = { .flags = TH_ACK };
	struct tuple tuple;

	stack_count(c->st, SC_keepalive_probes);
	c->b->probes++;
	c->b->flags |= BLK_PROBING;
	c->b->life_at = c->now_us + timer_probe_interval(c);
	what.seq = c->b->snd_una - 1;
	what.wnd = ack_window(c);
	what.ack = c->b->rcv_acked;
	respond_opts(c, 0, &what.opts);
	shard_rec_tuple(c->st->sh, c->ri, &tuple);
	respond_send(c->st, &tuple, &what);
	conn_arm(c);
}

/* life_at has come. */
static void timer_life(struct conn *c)
{
	struct blk *b = c->b;

	b->life_at = 0;
	switch (c->r->state) {
	case TCP_SYN_HELD:
		stack_count(c->st, SC_conn_refused);
		listen_refuse(c, SC_conn_accept_expired);
		return;
	case TCP_SYN_RECEIVED:
		stack_count(c->st, SC_conn_handshake_expired);
		conn_end(c, true);
		return;
	case TCP_FIN_WAIT_2:
		if (!(c->r->flags & REC_ORPHAN))
			break;
		conn_end(c, false);
		return;
	default:
		break;
	}
	if (b->flags & BLK_PROBING) {
		if (b->probes >= TCP_KEEPALIVE_PROBES)
			conn_abort(c, SC_conn_keepalive_dead, true);
		else
			timer_keepalive_probe(c);
	} else if (b->flags & BLK_LINGER) {
		b->flags &= ~(uint32_t)BLK_LINGER;
		conn_rest(c);
	}
}

static bool timer_due(uint64_t at, uint64_t now_us)
{
	return at && at <= now_us;
}

/* Each deadline that has come; any of them may end the connection. */
void timer_fire(struct conn *c)
{
	uint32_t generation = c->r->generation;
	struct stack *st = c->st;

	if (timer_due(c->b->ack_at, c->now_us))
		ack_timer(c);
	if (timer_due(c->b->hold_at, c->now_us))
		ack_deadline(c);
	if (timer_due(c->b->probe_at, c->now_us))
		rexmit_probe_timer(c);
	if (timer_due(c->b->rexmit_at, c->now_us))
		rexmit_timer(c);
	if (!stack_lookup(st, c->ri, generation) || c->r->state == TCP_GONE ||
	    !c->b)
		return;
	if (timer_due(c->b->life_at, c->now_us))
		timer_life(c);
	if (!stack_lookup(st, c->ri, generation) || c->r->state == TCP_GONE ||
	    c->r->block == NIL)
		return;
	conn_arm(c);
}

/* Nothing of ours is in flight, whose own timer would find out the same. */
static bool sweep_may_probe(const struct conn *c)
{
	return !c->b || (c->b->snd_una == c->b->snd_nxt && !c->b->life_at);
}

/*
 * A client that left a gap and fell silent must not keep the pool throttled for
 * others. One that lives sends again what it has not acknowledged (RFC 2018 8).
 */
static void sweep_beyond_gap(struct conn *c, uint64_t idle)
{
	if (c->b && c->b->ooo_chunks && c->st->pools[c->g->pool].throttled &&
	    idle >= SWEEP_GAP_US)
		rx_prune(c);
}

static void sweep_established(struct conn *c)
{
	uint64_t idle = timer_idle_us(c);

	sweep_beyond_gap(c, idle);
	pmtu_age(c);
	if (c->g->idle_timeout_us && idle >= c->g->idle_timeout_us)
		conn_abort(c, SC_conn_idle_closed, true);
	else if (c->g->keepalive_us && idle >= c->g->keepalive_us &&
		 sweep_may_probe(c) && conn_activate(c))
		timer_keepalive_probe(c);
}

static void sweep_record(struct stack *st, uint32_t ri, uint64_t now_us)
{
	struct conn c;

	conn_view(st, ri, now_us, &c);
	if (tx_is_stuck(&c)) {
		conn_abort(&c, SC_conn_slow_reset, true);
		return;
	}
	switch (c.r->state) {
	case TCP_ESTABLISHED:
	case TCP_CLOSE_WAIT:
	case TCP_FIN_WAIT_2:
	case TCP_LAST_ACK:
		sweep_established(&c);
		break;
	case TCP_TIME_WAIT:
		/* With a block: the application has yet to take what is held. */
		if (!c.b && timer_idle_us(&c) >= TCP_TIME_WAIT_US)
			conn_end(&c, true);
		break;
	default:
		break;
	}
}

static void timer_sweep(struct stack *st, uint64_t now_us)
{
	struct shard *sh = st->sh;
	uint32_t high = bitmap_highwater(&sh->rec_map);
	uint32_t slice = max_u32(
		SWEEP_MIN, (uint32_t)(high / (SWEEP_ROUND_US / SWEEP_TICK_US)));
	uint32_t ri = sh->hand, end;

	if (ri >= high)
		ri = 0;
	end = min_u32(high, ri + slice);
	for (ri = bitmap_next_used(&sh->rec_map, ri); ri < end;
	     ri = bitmap_next_used(&sh->rec_map, ri + 1))
		sweep_record(st, ri, now_us);
	sh->hand = end;
	shard_trim(sh, now_us);
}

void stack_tick(struct stack *st, uint64_t now_us)
{
	uint32_t bi;

	st->now_us = now_us;
	while ((bi = wheel_expire(&st->sh->wheel, now_us)) != NIL) {
		struct conn c;

		conn_view(st, st->sh->blks[bi].rec, now_us, &c);
		timer_fire(&c);
	}
	if (now_us >= st->sweep_at_us) {
		bool few = bitmap_highwater(&st->sh->rec_map) <= SWEEP_MIN;

		frag_expire(st);
		st->sweep_at_us =
			now_us + (few ? SWEEP_TICK_FEW_US : SWEEP_TICK_US);
		timer_sweep(st, now_us);
	}
}

uint64_t stack_next_us(const struct stack *st)
{
	return min_u64(wheel_next_us(&st->sh->wheel), st->sweep_at_us);
}
