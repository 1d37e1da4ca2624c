/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Passive open: RFC 9293 section 3.10.7.2, and to which group a connection
 * goes.
 */
#include "base/bytes.h"
#include "stack/conn.h"
#include "stack/options.h"

static bool listen_has_room(const struct stack_group *g)
{
	if (!g->max_connections || !g->shared_count)
		return true;
	return atomic_load_explicit(g->shared_count, memory_order_relaxed) <
	       g->max_connections;
}

static bool listen_serves(const struct stack_group *g,
			  const struct tuple *tuple)
{
	return !g->draining && (g->vip_mask >> tuple->vip & 1);
}

/*
 * Among the groups of the port (sorted by priority): the first priority in
 * which any has room, and there in turn. *ret_full: there are groups, but none
 * has room.
 */
static struct stack_group *
listen_pick(struct stack *st, const struct tuple *tuple, bool *ret_full)
{
	struct stack_group *pick = NULL;
	uint32_t candidates = 0, turn = st->turn++;

	*ret_full = false;
	for (uint16_t id = st->port_group[tuple->local_port]; id;
	     id = st->group_next[id]) {
		struct stack_group *g = st->groups[id];

		if (!listen_serves(g, tuple))
			continue;
		*ret_full = true;
		if (!listen_has_room(g))
			continue;
		if (pick && g->priority < pick->priority)
			break;
		/* The n-th candidate replaces the choice when the turn is its. */
		candidates++;
		if (!pick || turn % candidates == 0)
			pick = g;
	}
	return pick;
}

/* Our window scale: enough for the largest window we may ever offer. */
static uint8_t listen_shift(const struct stack *st)
{
	uint8_t shift = 0;

	while (st->limits.rcv_window_max >> shift > UINT16_MAX)
		shift++;
	return shift;
}

/* What the SYN's options ask for, and what we make of it. */
static void listen_options(struct stack *st, struct rec *r,
			   const struct seg *seg)
{
	const struct seg_opts *opts = &seg->opts;
	bool v6 = seg->tuple.v6;
	uint32_t ours = st->limits.mtu - (v6 ? 60u : 40u);
	uint32_t theirs = opts->has_mss ? opts->mss
			  : v6		? TCP_MSS_DEFAULT6
					: TCP_MSS_DEFAULT4;

	r->mss = (uint16_t)clamp_u64(theirs, TCP_MSS_MIN, ours);
	if (opts->has_wscale) {
		r->flags |= REC_WSCALE;
		r->wscale = (uint8_t)(opts->wscale | listen_shift(st) << 4);
	}
	if (opts->has_ts) {
		r->flags |= REC_TS;
		r->ts_recent = opts->tsval;
	}
	if (opts->sack_ok)
		r->flags |= REC_SACK;
	/* RFC 3168 6.1.1: an ECN-setup SYN has both. */
	if (st->groups[r->group]->ecn &&
	    (seg->flags & (TH_ECE | TH_CWR)) == (TH_ECE | TH_CWR))
		r->flags |= REC_ECN;
}

static void listen_count(struct conn *c)
{
	struct stack_group_stats *stats = conn_stats(c);

	c->r->flags |= REC_HALF_OPEN;
	c->st->half_open++;
	counter_add(&stats->half_open, 1);
	counter_add(&stats->connections, 1);
	if (c->g->shared_count)
		atomic_fetch_add_explicit(c->g->shared_count, 1,
					  memory_order_relaxed);
}

static void listen_open(struct stack *st, const struct stack_group *g,
			const struct seg *seg, uint64_t now_us)
{
	uint32_t ri = shard_rec_new(st->sh, &seg->tuple, seg->hash);
	struct conn c;
	struct rec *r;

	if (ri == NIL) {
		stack_count(st, SC_drop_no_record);
		return;
	}
	r = &st->sh->recs[ri];
	r->group = g->id;
	r->irs = seg->seq;
	r->iss = isn_make(st, &seg->tuple, now_us);
	r->last_active = (uint32_t)(now_us / (REC_TICK_MS * USEC_PER_MSEC));
	listen_options(st, r, seg);
	conn_view(st, ri, now_us, &c);
	if (!conn_activate(&c)) {
		shard_rec_free(st->sh, ri);
		return;
	}
	if (g->accept != STACK_ACCEPT_APPLICATION) {
		listen_accept(&c);
		listen_count(&c);
		return;
	}
	/* Figure 6c: the application decides. */
	conn_set_state(&c, TCP_SYN_HELD);
	listen_count(&c);
	c.b->life_at = now_us + g->accept_timeout_us;
	conn_event(&c, STACK_EV_OPEN);
	conn_arm(&c);
}

/* To SYN_RECEIVED: the SYN-ACK goes out with the flush. */
void listen_accept(struct conn *c)
{
	struct blk *b = c->b;

	conn_set_state(c, TCP_SYN_RECEIVED);
	b->snd_una = c->r->iss;
	b->snd_nxt = c->r->iss + 1;
	b->snd_end = c->r->iss + 1;
	b->life_at = c->now_us + TCP_HANDSHAKE_US;
	b->rexmit_at = c->now_us + TCP_RTO_INIT_US;
	b->rtt.timed_at_us = c->now_us;
	b->events = 0;
	conn_mark(c, BLK_SYNACK_NOW);
	conn_arm(c);
}

void listen_input(struct stack *st, const struct seg *seg, uint64_t now_us)
{
	struct stack_group *g;
	bool full;

	if ((seg->flags & (TH_SYN | TH_ACK | TH_RST)) != TH_SYN) {
		/* CLOSED and LISTEN: 3.10.7.1, 3.10.7.2 first to third. */
		if (!(seg->flags & TH_RST))
			stack_count(st, SC_drop_no_conn);
		respond_reset(st, seg);
		return;
	}
	g = listen_pick(st, &seg->tuple, &full);
	if (!g) {
		stack_count(st,
			    full ? SC_drop_group_full : SC_drop_closed_port);
		if (full)
			stack_count(st, SC_conn_refused);
		respond_reset(st, seg);
		return;
	}
	if (st->half_open >= st->limits.half_open_max) {
		stack_count(st, SC_drop_half_open);
		return;
	}
	listen_open(st, g, seg, now_us);
}
