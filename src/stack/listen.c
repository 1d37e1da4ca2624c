/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Passive open: RFC 9293 section 3.10.7.2, to which group a connection goes,
 * and what keeps a flood of SYNs from taking all there is.
 *
 *	SYN --listen_pick--> group --listen_judge--+--> record and block, SYN-ACK
 *	                                           +--> SYN-ACK with a cookie
 *	                                           +--> nothing
 *	                                           '--> RST
 *	ACK for no connection --a cookie of ours?--> record and block, at once
 *
 * A SYN says nothing about where it comes from, so none is refused for what
 * other SYNs with its source address did: in excess of a half-open limit it is
 * answered with a cookie, which costs nothing to keep (RFC 4987 3.6), and so it
 * is when a group with max-connections has little room left. Only open
 * connections, whose clients have proved their addresses, count towards
 * max-per-source. Where the application accepts there must be a record to show
 * it: no cookies, and what is in excess is dropped.
 *
 * When records have run out, connections in TIME-WAIT are ended for new ones.
 *
 * A cookie's ACK may be lost; the client's first segment of text then is as
 * good. If that is lost too, its second one, which doesn't tell the client's
 * ISN, gets a RST.
 */
#include "base/bytes.h"
#include "stack/conn.h"
#include "stack/cookie.h"
#include "stack/options.h"

/* Records that are looked at for one in TIME-WAIT, for each new connection. */
#define LISTEN_LOOK_RECS 256u
/* Fewer open handshakes are no flood. */
#define LISTEN_FLOOD_MIN 128u

static bool listen_has_room(const struct stack_group *g)
{
	if (!g->max_connections || !g->shared_count)
		return true;
	return atomic_load_explicit(g->shared_count, memory_order_relaxed) <
	       g->max_connections;
}

/*
 * So little room in a group that it is kept for who completes the handshake:
 * SYNs may be forged. Open handshakes get about half of what is left, and none
 * the last place of a worker.
 */
static bool listen_has_little_room(const struct stack *st,
				   const struct stack_group *g)
{
	uint64_t half_open = counter_get(&st->group_stats[g->id]->half_open);
	uint32_t count, left;

	if (!g->max_connections || !g->shared_count)
		return false;
	count = atomic_load_explicit(g->shared_count, memory_order_relaxed);
	left = count < g->max_connections ? g->max_connections - count : 0;
	return left <= st->workers || half_open * st->workers >= left / 2;
}

static bool listen_serves(const struct stack_group *g,
			  const struct tuple *tuple)
{
	return !g->draining && (g->vip_mask >> tuple->vip & 1);
}

/*
 * Among the groups of the port (sorted by priority): the first priority in
 * which any has room, and there in turn. *ret_full: there are groups, but none
 * has room. cookie: only those that take connections by cookies.
 */
static struct stack_group *listen_pick(struct stack *st,
				       const struct tuple *tuple, bool cookie,
				       bool *ret_full)
{
	struct stack_group *pick = NULL;
	uint32_t candidates = 0, turn = st->turn++;

	*ret_full = false;
	for (uint16_t id = st->port_group[tuple->local_port]; id;
	     id = st->group_next[id]) {
		struct stack_group *g = st->groups[id];

		if (!listen_serves(g, tuple) ||
		    (cookie && g->accept != STACK_ACCEPT_AUTO))
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
	c->r->flags |= REC_HALF_OPEN;
	conn_count_found(c);
}

/* Connections that this worker may have. */
static uint32_t listen_recs_max(const struct stack *st)
{
	uint32_t max = st->limits.recs_max;

	return max ? min_u32(max, st->sh->n_recs) : st->sh->n_recs;
}

static bool listen_has_record(const struct stack *st)
{
	return bitmap_used_count(&st->sh->rec_map) < listen_recs_max(st);
}

/*
 * RFC 9293 keeps TIME-WAIT against old duplicates; what is left of a connection
 * is worth less than a new one. Looks at some records, on from where it looked
 * before.
 */
static bool listen_end_time_wait(struct stack *st, uint64_t now_us)
{
	struct shard *sh = st->sh;
	struct conn c;

	for (uint32_t n = 0; st->time_wait && n < LISTEN_LOOK_RECS; n++) {
		uint32_t ri = st->time_wait_hand++ % sh->n_recs;
		const struct rec *r = &sh->recs[ri];

		if (r->state != TCP_TIME_WAIT || r->block != NIL ||
		    !(r->flags & REC_ORPHAN))
			continue;
		conn_view(st, ri, now_us, &c);
		stack_count(st, SC_time_wait_evicted);
		conn_end(&c, false);
		return true;
	}
	return false;
}

/* A record for the segment's tuple. False (counted) without. */
static bool listen_new(struct stack *st, const struct stack_group *g,
		       const struct seg *seg, uint64_t now_us,
		       struct conn *ret_conn)
{
	uint32_t ri = NIL;
	struct rec *r;

	/* When the limit was lowered, one that ends may not be enough. */
	if (listen_has_record(st) ||
	    (listen_end_time_wait(st, now_us) && listen_has_record(st)))
		ri = shard_rec_new(st->sh, &seg->tuple, seg->hash);
	if (ri == NIL) {
		stack_count(st, SC_drop_no_record);
		return false;
	}
	r = &st->sh->recs[ri];
	r->group = g->id & 0xfffu;
	r->last_active = conn_tick(now_us);
	conn_view(st, ri, now_us, ret_conn);
	return true;
}

/* The block comes last: what it begins with is read from the record. */
static bool listen_activate(struct conn *c)
{
	if (conn_activate(c))
		return true;
	shard_rec_free(c->st->sh, c->ri);
	return false;
}

/* SYN_RECEIVED, as RFC 9293 3.10.7.2 leaves it. */
static void listen_received(struct conn *c)
{
	struct blk *b = c->b;

	b->snd_una = c->r->iss;
	b->snd_nxt = c->r->iss + 1;
	b->snd_end = c->r->iss + 1;
	b->events = 0;
	conn_set_state(c, TCP_SYN_RECEIVED);
}

/* To SYN_RECEIVED: the SYN-ACK goes out with the flush. */
void listen_accept(struct conn *c)
{
	struct blk *b = c->b;

	listen_received(c);
	b->life_at = c->now_us + TCP_HANDSHAKE_US;
	b->rexmit_at = c->now_us + TCP_RTO_INIT_US;
	b->rtt.timed_at_us = c->now_us;
	conn_mark(c, BLK_SYNACK_NOW);
	conn_arm(c);
}

static void listen_open(struct stack *st, const struct stack_group *g,
			const struct seg *seg, uint32_t iss, uint64_t now_us)
{
	struct conn c;

	if (!listen_new(st, g, seg, now_us, &c))
		return;
	c.r->irs = seg->seq;
	c.r->iss = iss;
	listen_options(st, c.r, seg);
	if (!listen_activate(&c))
		return;
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

/*
 * The window of a cookie's SYN-ACK, bytes: what the configuration alone says,
 * so that it is known when the cookie comes back.
 */
static uint32_t listen_cookie_window(const struct stack *st,
				     const struct stack_group *g)
{
	uint64_t pool = (uint64_t)st->pools[g->pool].limit_chunks * CHUNK_BYTES;

	return (uint32_t)min_u64(min_u32(st->limits.rcv_window_max, UINT16_MAX),
				 pool);
}

static void listen_send_cookie(struct stack *st, const struct stack_group *g,
			       const struct seg *seg, uint64_t now_us)
{
	struct respond what = { .flags = TH_SYN | TH_ACK };
	const struct tuple *tuple = &seg->tuple;
	struct rec r = { .group = g->id & 0xfffu };

	listen_options(st, &r, seg);
	what.seq = cookie_make(st, tuple, seg->seq, r.mss, now_us);
	what.ack = seg->seq + 1;
	what.wnd = (uint16_t)listen_cookie_window(st, g);
	what.opts.has_mss = true;
	what.opts.mss = (uint16_t)(st->limits.mtu - (tuple->v6 ? 60u : 40u));
	if (r.flags & REC_TS) {
		uint32_t ts_now = (uint32_t)(now_us / USEC_PER_MSEC) +
				  isn_ts_offset(st, tuple);

		what.opts.has_ts = true;
		what.opts.tsval = cookie_ts_pack(&r, ts_now);
		what.opts.tsecr = r.ts_recent;
		what.opts.has_wscale = r.flags & REC_WSCALE;
		what.opts.wscale = r.wscale >> 4;
		what.opts.sack_ok = r.flags & REC_SACK;
		if (r.flags & REC_ECN)
			what.flags |= TH_ECE;
	}
	respond_send(st, tuple, &what);
	stack_count(st, SC_cookies_sent);
	st->cookies_until_us = now_us + COOKIE_LIFE_US;
}

/* What a cookie and its ACK say of the connection. */
static void listen_from_cookie(struct conn *c, const struct seg *seg,
			       uint16_t mss)
{
	struct stack *st = c->st;
	struct rec *r = c->r;
	uint32_t ours = st->limits.mtu - (seg->tuple.v6 ? 60u : 40u);

	r->irs = seg->seq - 1;
	r->iss = seg->ack - 1;
	r->mss = (uint16_t)min_u32(mss, ours);
	r->flags &= (uint16_t) ~(REC_TS | REC_WSCALE | REC_SACK | REC_ECN);
	r->wscale = 0;
	if (seg->opts.has_ts) {
		r->flags |= REC_TS;
		r->ts_recent = seg->opts.tsval;
		cookie_ts_unpack(r, seg->opts.tsecr, listen_shift(st));
	}
	if (!c->g->ecn)
		r->flags &= (uint16_t)~REC_ECN;
}

static bool listen_may_be_cookie(const struct stack *st, const struct seg *seg,
				 uint64_t now_us)
{
	return now_us < st->cookies_until_us &&
	       (seg->flags & (TH_SYN | TH_ACK | TH_RST)) == TH_ACK;
}

static uint16_t listen_check_cookie(const struct stack *st,
				    const struct seg *seg, uint64_t now_us)
{
	return cookie_check(st, &seg->tuple, seg->seq - 1, seg->ack - 1,
			    now_us);
}

static bool listen_source_full(const struct stack *st,
			       const struct stack_group *g,
			       const struct tuple *tuple, uint32_t more)
{
	return g->max_per_source &&
	       source_count(&st->conn_sources,
			    source_hash(st->header, tuple, g->id)) +
			       more >=
		       g->max_per_source;
}

/* The group that a connection may go to, or NULL (counted). */
static struct stack_group *listen_group(struct stack *st,
					const struct tuple *tuple, bool cookie)
{
	bool full;
	struct stack_group *g = listen_pick(st, tuple, cookie, &full);

	if (!g) {
		stack_count(st,
			    full ? SC_drop_group_full : SC_drop_closed_port);
	} else if (listen_source_full(st, g, tuple, 0)) {
		stack_count(st, SC_drop_source_full);
		full = true;
		g = NULL;
	}
	if (!g && full)
		stack_count(st, SC_conn_refused);
	return g;
}

/*
 * RFC 4987 3.6: does an ACK for no connection bring back a cookie? Then it
 * makes one, as if its SYN had, and is its first segment. Returns false when it
 * is to be answered with a RST.
 */
static bool listen_cookie(struct stack *st, const struct seg *seg,
			  uint64_t now_us)
{
	struct stack_group *g;
	struct conn c;
	uint16_t mss;

	if (!listen_may_be_cookie(st, seg, now_us))
		return false;
	mss = listen_check_cookie(st, seg, now_us);
	if (!mss) {
		stack_count(st, SC_cookies_failed);
		return false;
	}
	g = listen_group(st, &seg->tuple, true);
	if (!g || !listen_new(st, g, seg, now_us, &c))
		return false;
	listen_from_cookie(&c, seg, mss);
	/* Without a block: the client sends again, and the cookie is still good. */
	if (!listen_activate(&c))
		return true;
	listen_received(&c);
	listen_count(&c);
	c.b->rcv_adv = seg->seq + listen_cookie_window(st, g);
	stack_count(st, SC_cookies_accepted);
	input_conn(&c, seg);
	return true;
}

bool listen_adopt(struct conn *c, const struct seg *seg)
{
	uint32_t bi = c->r->block;
	uint16_t mss;

	if (c->g->accept != STACK_ACCEPT_AUTO ||
	    !listen_may_be_cookie(c->st, seg, c->now_us) ||
	    seg->seq != c->r->irs + 1)
		return false;
	mss = listen_check_cookie(c->st, seg, c->now_us);
	if (!mss)
		return false;
	/* Who finds it without its block forgets it: the cookie is still good. */
	ARENA_COMMIT(c->r->block, NIL);
	listen_from_cookie(c, seg, mss);
	c->b->snd_una = c->r->iss;
	c->b->snd_nxt = c->b->snd_end = c->r->iss + 1;
	c->b->rcv_adv = seq_max(c->b->rcv_adv,
				seg->seq + listen_cookie_window(c->st, c->g));
	c->b->rtt.timed_at_us = 0;
	shard_blk_link(c->st->sh, bi);
	stack_count(c->st, SC_cookies_accepted);
	return true;
}

/*
 * So few records, with those that TIME-WAIT has to give, that they are kept
 * for who completes the handshake: the last ones, and half of what is left when
 * very many handshakes are open.
 */
static bool listen_few_records(const struct stack *st)
{
	uint32_t max = listen_recs_max(st);
	uint32_t used = bitmap_used_count(&st->sh->rec_map);
	uint32_t left = used < max ? max - used : 0;

	if (left && st->half_open >= max_u32(left / 2, LISTEN_FLOOD_MIN))
		return true;
	return left <= max / 64 && (left || st->time_wait);
}

/* Too much of what is half-open, and what that is counted as. */
static bool listen_excess(const struct stack *st, const struct stack_group *g,
			  const struct tuple *tuple,
			  enum stack_counter *ret_drop)
{
	const struct stack_limits *limits = &st->limits;
	uint32_t source = source_count(&st->half_open_sources,
				       source_hash(st->header, tuple, 0));

	*ret_drop = SC_drop_half_open;
	if (st->half_open >= limits->half_open_max)
		return true;
	*ret_drop = SC_drop_source_half_open;
	return (limits->half_open_per_source &&
		source >= limits->half_open_per_source) ||
	       listen_source_full(st, g, tuple, source);
}

static void listen_syn(struct stack *st, const struct seg *seg, uint64_t now_us)
{
	const struct stack_limits *limits = &st->limits;
	struct stack_group *g = listen_group(st, &seg->tuple, false);
	enum stack_counter drop;
	bool cookies, excess;

	if (!g) {
		respond_reset(st, seg);
		return;
	}
	cookies = g->accept == STACK_ACCEPT_AUTO &&
		  limits->syn_cookies != STACK_COOKIES_NEVER;
	excess = listen_excess(st, g, &seg->tuple, &drop);
	if (excess && !cookies)
		stack_count(st, drop);
	else if (cookies &&
		 (excess || limits->syn_cookies == STACK_COOKIES_ALWAYS ||
		  st->half_open >= limits->half_open_cookies ||
		  listen_few_records(st) || listen_has_little_room(st, g)))
		listen_send_cookie(st, g, seg, now_us);
	else
		listen_open(st, g, seg, isn_make(st, &seg->tuple, now_us),
			    now_us);
}

void listen_input(struct stack *st, const struct seg *seg, uint64_t now_us)
{
	if ((seg->flags & (TH_SYN | TH_ACK | TH_RST)) == TH_SYN) {
		listen_syn(st, seg, now_us);
		return;
	}
	/* CLOSED and LISTEN: 3.10.7.1, 3.10.7.2 first to third. */
	if (seg->flags & TH_RST || listen_cookie(st, seg, now_us))
		return;
	if (now_us < st->quiet_until_us) {
		stack_count(st, SC_drop_quiet);
		return;
	}
	stack_count(st, SC_drop_no_conn);
	respond_reset(st, seg);
}

bool listen_is_newer(const struct conn *c, const struct seg *seg)
{
	const struct rec *r = c->r;
	uint32_t rcv_nxt = r->irs + 1 + (uint32_t)r->rcv_off + conn_fin_rcvd(c);

	if (!seg->opts.has_ts)
		return seq_geq(seg->seq, rcv_nxt);
	/* Old duplicates have no timestamp: the new connection drops them. */
	if (!(r->flags & REC_TS))
		return true;
	return seq_gt(seg->opts.tsval, r->ts_recent) ||
	       (seg->opts.tsval == r->ts_recent && seq_geq(seg->seq, rcv_nxt));
}

/*
 * RFC 6191: the new ISN lies above all that the old connection sent. So no
 * cookie; the old record makes room for the new one.
 */
void listen_reuse(struct conn *c, const struct seg *seg)
{
	uint32_t snd_nxt = c->r->iss + 1 + (uint32_t)c->r->snd_off + 1;
	struct stack *st = c->st;
	uint64_t now_us = c->now_us;
	struct stack_group *g;

	conn_end(c, false);
	g = listen_group(st, &seg->tuple, false);
	if (g)
		listen_open(st, g, seg,
			    seq_max(isn_make(st, &seg->tuple, now_us),
				    snd_nxt + 1),
			    now_us);
	else
		respond_reset(st, seg);
}
