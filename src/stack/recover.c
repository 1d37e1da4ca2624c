/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The connections of a process that died, or that ended for an upgrade.
 *
 * Theory of operation
 *
 * shard_rebuild() has made records and blocks whole again (arena/recover.h);
 * what is left is TCP's:
 *
 *	the state	follows the FINs that were committed: recover_state()
 *	half done	is undone: a close or abort of the application's that had
 *			not yet queued a FIN (the application repeats it, see
 *			proto/frame.h), a handshake that lost its block
 *	in flight	counts as lost and goes out again from the first byte that
 *			the client did not acknowledge, in slow start: nobody
 *			knows what became of it, nor of the path
 *	beyond gaps	is given up: the client sends it again (RFC 2018 8)
 *	undelivered	is what the application did not acknowledge: it is
 *			delivered again, flagged where it may have seen it
 *	deadlines	are kept where they bound something (handshake, FIN-WAIT-2,
 *			ack-deadline), and set anew where they retransmit
 *	counts		of groups, pools, sources
 *
 * No kill leaves a record that contradicts its state (recover_fits()): that is
 * torn, as is what shard_rebuild() found to be. A field of which nothing can be
 * said but that it is too large (a deadline, a window, a time) is brought
 * within its bounds: it would do harm for as long as the connection lives.
 *
 * A connection whose group is not there any more, and a torn record, are
 * answered with a RST and dropped. A SYN-RECEIVED without its block is dropped
 * without: the client goes by a cookie, or sends again.
 */
#include "arena/recover.h"

#include "base/bytes.h"
#include "base/units.h"
#include "stack/cc.h"
#include "stack/cookie.h"
#include "stack/recovery.h"

/*
 * A client that got a cookie is connected, and the segment that shows it may be
 * lost while nobody reads, or behind the next one: that is no reason for a RST.
 * It comes again within an RTO or two.
 */
#define RECOVER_QUIET_US (3 * USEC_PER_SEC)

/* What is of the moment: lists, and what the next flush was to do. */
#define RECOVER_FLAGS_OLD                                              \
	((uint32_t)(BLK_READY | BLK_DIRTY | BLK_ACK_NOW | BLK_RESEND | \
		    BLK_CWND_LIMITED | BLK_SACK_DUE | BLK_SYNACK_NOW | \
		    BLK_LINGER | BLK_PERSIST | BLK_PROBING | BLK_FIN_SEEN))

/* The client is told: it has a connection that we have not. */
static void recover_reset(struct stack *st, uint32_t ri)
{
	const struct rec *r = &st->sh->recs[ri];
	struct respond what = {
		.flags = TH_RST | TH_ACK,
		.seq = r->iss + 1 + (uint32_t)r->snd_off +
		       !!(r->flags & REC_FIN_ACKED),
		.ack = r->irs + 1 + (uint32_t)r->rcv_off +
		       !!(r->flags & REC_FIN_RCVD),
	};
	bool v6 = r->flags & REC_V6;
	struct tuple tuple;

	stack_count(st, SC_lost_in_recovery);
	if (r->vip >= ARENA_VIPS_MAX ||
	    st->header->vips[r->vip].family != (v6 ? 6 : 4))
		return;
	shard_rec_tuple(st->sh, ri, &tuple);
	respond_send(st, &tuple, &what);
	stack_count(st, SC_conn_reset_out);
}

static void recover_on_torn(void *ctx, uint32_t ri)
{
	struct stack *st = ctx;

	stack_count(st, SC_recover_torn);
	recover_reset(st, ri);
}

static void recover_drop(struct stack *st, uint32_t ri)
{
	if (st->sh->recs[ri].block != NIL)
		shard_blk_free(st->sh, ri);
	shard_rec_free(st->sh, ri);
}

/* The next state by what was committed, or the same. */
static uint8_t recover_state_step(const struct rec *r, bool fin_queued)
{
	bool rcvd = r->flags & REC_FIN_RCVD, acked = r->flags & REC_FIN_ACKED;

	switch (r->state) {
	case TCP_ESTABLISHED:
		return rcvd	    ? TCP_CLOSE_WAIT
		       : fin_queued ? TCP_FIN_WAIT_1
				    : TCP_ESTABLISHED;
	case TCP_CLOSE_WAIT:
		return fin_queued ? TCP_LAST_ACK : TCP_CLOSE_WAIT;
	case TCP_FIN_WAIT_1:
		return acked  ? TCP_FIN_WAIT_2
		       : rcvd ? TCP_CLOSING
			      : TCP_FIN_WAIT_1;
	case TCP_FIN_WAIT_2:
		return rcvd ? TCP_TIME_WAIT : TCP_FIN_WAIT_2;
	case TCP_CLOSING:
		return acked ? TCP_TIME_WAIT : TCP_CLOSING;
	default:
		return r->state;
	}
}

/* The state follows the FINs. */
static void recover_state(struct rec *r, const struct blk *b)
{
	bool fin_queued = b && b->flags & BLK_FIN_QUEUED;
	uint8_t to;

	while ((to = recover_state_step(r, fin_queued)) != r->state)
		r->state = to;
}

/* The flags follow the state. */
static void recover_flags(struct conn *c)
{
	bool fin_queued = c->b && c->b->flags & BLK_FIN_QUEUED;

	c->r->flags &= (uint16_t)~REC_HALF_OPEN;
	if (c->r->state == TCP_SYN_HELD || c->r->state == TCP_SYN_RECEIVED)
		c->r->flags |= REC_HALF_OPEN;
	/* Closed or aborted, but that did not come to anything yet. */
	if ((c->r->state == TCP_ESTABLISHED || c->r->state == TCP_CLOSE_WAIT ||
	     c->r->flags & REC_HALF_OPEN) &&
	    !fin_queued)
		c->r->flags &= (uint16_t)~REC_ORPHAN;
}

/* States that are nothing without a block; the others rest without. */
static bool recover_needs_block(uint8_t state)
{
	return state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT &&
	       state != TCP_FIN_WAIT_2 && state != TCP_TIME_WAIT;
}

/* Which FINs there must be in a state, and which there must not be. */
enum recover_fin {
	FIN_RCVD = 1 << 0,
	FIN_QUEUED = 1 << 1,
	FIN_ACKED = 1 << 2,
};

static const struct {
	uint8_t with, without;
} recover_fins[TCP_STATES] = {
	[TCP_SYN_HELD] = { 0, FIN_RCVD | FIN_QUEUED | FIN_ACKED },
	/* Closed before the handshake is done. */
	[TCP_SYN_RECEIVED] = { 0, FIN_RCVD | FIN_ACKED },
	[TCP_ESTABLISHED] = { 0, FIN_RCVD | FIN_QUEUED | FIN_ACKED },
	[TCP_FIN_WAIT_1] = { FIN_QUEUED, FIN_RCVD | FIN_ACKED },
	[TCP_FIN_WAIT_2] = { FIN_QUEUED | FIN_ACKED, FIN_RCVD },
	[TCP_CLOSE_WAIT] = { FIN_RCVD, FIN_QUEUED | FIN_ACKED },
	[TCP_CLOSING] = { FIN_RCVD | FIN_QUEUED, FIN_ACKED },
	/* Acknowledged: the client waits for our last ACK. */
	[TCP_LAST_ACK] = { FIN_RCVD | FIN_QUEUED, 0 },
	[TCP_TIME_WAIT] = { FIN_RCVD | FIN_QUEUED | FIN_ACKED, 0 },
};

/*
 * A handshake has no bytes of the client's, and none that it acknowledged; one
 * that the application holds has none for it either.
 */
static bool recover_half_open_fits(const struct rec *r, const struct blk *b)
{
	if (r->state == TCP_SYN_HELD && b->tx_head != NIL)
		return false;
	return !r->rcv_off && !r->snd_off && b->rcv_app == r->irs + 1 &&
	       b->rx_head == NIL;
}

/*
 * Does the rest agree with the state, once that has followed the FINs?
 * shard_rebuild() knows of neither.
 */
static bool recover_fits(const struct rec *r, const struct blk *b)
{
	uint8_t fins = (r->flags & REC_FIN_RCVD ? FIN_RCVD : 0) |
		       (r->flags & REC_FIN_ACKED ? FIN_ACKED | FIN_QUEUED : 0) |
		       (b && b->flags & BLK_FIN_QUEUED ? FIN_QUEUED : 0);

	/* What has ended is GONE since before. */
	if (r->mss < TCP_MSS_MIN || r->more & REC_ENDED ||
	    (!b && recover_needs_block(r->state)))
		return false;
	if ((fins & recover_fins[r->state].with) !=
		    recover_fins[r->state].with ||
	    fins & recover_fins[r->state].without)
		return false;
	return !(r->state == TCP_SYN_HELD || r->state == TCP_SYN_RECEIVED) ||
	       recover_half_open_fits(r, b);
}

static void recover_pool(struct conn *c)
{
	struct chunks *rx = &c->st->sh->rx;
	struct blk *b = c->b;
	uint32_t n = 0, ooo = b->ooo_head;

	b->ooo_head = NIL;
	b->ooo_chunks = 0;
	chunks_free_list(rx, ooo);
	for (uint32_t i = b->rx_head; i != NIL; i = rx->desc[i].next)
		n++;
	c->st->pools[c->g->pool].used_chunks += n;
}

/* The device may have a smaller MTU than it had; nobody was active later. */
static void recover_rec(struct conn *c)
{
	uint32_t headers = c->r->flags & REC_V6 ? 60 : 40;
	uint32_t tick = conn_tick(c->now_us);

	c->r->mss = (uint16_t)min_u32(c->r->mss, c->st->limits.mtu - headers);
	c->r->last_active = min_u32(c->r->last_active, tick);
}

/* Windows are what a client can say, and what we may offer. */
static void recover_windows(struct conn *c)
{
	uint32_t theirs = (uint32_t)UINT16_MAX << conn_snd_shift(c);
	uint32_t ours = c->st->limits.rcv_window_max;
	struct blk *b = c->b;

	b->snd_wnd = min_u32(b->snd_wnd, theirs);
	b->max_wnd = (uint32_t)clamp_u64(b->max_wnd, b->snd_wnd, theirs);
	b->rcv_space_units =
		(uint16_t)clamp_u64(b->rcv_space_units,
				    min_u32(ours, 65536) / REC_ADV_UNIT,
				    UINT8_MAX);
}

/* Nobody knows what became of the flight: slow start, as after an RTO. */
static void recover_flight(struct conn *c)
{
	struct blk *b = c->b;

	b->sack = (struct blk_sack){ 0 };
	b->loss = (struct blk_loss){ .fack = b->snd_una };
	b->pmtu = (struct blk_pmtu){ 0 };
	cc_init(&b->cc, c->g->congestion, conn_mss(c));
	b->cc.recover = b->snd_una == b->snd_nxt ? b->snd_una - 1 : b->snd_nxt;
	if (b->snd_una != b->snd_nxt)
		b->cc.phase = CC_LOSS;
	if (b->rtt.rto_us < TCP_RTO_MIN_US || b->rtt.rto_us > TCP_RTO_MAX_US ||
	    b->rtt.srtt_us > TCP_RTO_MAX_US || b->rtt.min_us > TCP_RTO_MAX_US)
		rtt_init(c);
	b->rtt.timed_at_us = 0;
	b->rexmits = b->probes = 0;
	b->rexmit_at = b->probe_at = b->sent_at = 0;
	b->progress_at = c->now_us;
}

/* A deadline that was set stays, but none is further away than it would be now. */
static uint64_t recover_deadline(const struct conn *c, uint64_t at,
				 uint64_t within_us)
{
	uint64_t latest = c->now_us + within_us;

	return at ? min_u64(at, latest) : latest;
}

static void recover_handshake(struct conn *c)
{
	struct blk *b = c->b;
	bool held = c->r->state == TCP_SYN_HELD;

	b->life_at = recover_deadline(c, b->life_at,
				      held ? c->g->accept_timeout_us
					   : TCP_HANDSHAKE_US);
	/* There is nothing to acknowledge, and nothing under way. */
	b->ack_at = b->hold_at = 0;
	sents_free(&c->st->sh->sents, b);
	if (held) {
		conn_event(c, STACK_EV_OPEN);
		return;
	}
	b->snd_una = c->r->iss;
	b->snd_nxt = c->r->iss + 1;
	b->rexmit_at = c->now_us + TCP_RTO_INIT_US;
	/* The client has it perhaps, perhaps not. */
	conn_mark(c, BLK_SYNACK_NOW);
}

static void recover_open(struct conn *c)
{
	struct blk *b = c->b;
	bool orphan = c->r->flags & REC_ORPHAN;
	uint32_t una = c->r->iss + 1 + (uint32_t)c->r->snd_off +
		       !!(c->r->flags & REC_FIN_ACKED);

	/* It was taken for a handshake's. */
	if (b->snd_una != una) {
		b->snd_una = una;
		sents_restore(&c->st->sh->sents, b, c->r->block);
	}
	if (c->r->flags & REC_FIN_ACKED)
		b->flags |= BLK_FIN_QUEUED;
	if (c->r->state != TCP_FIN_WAIT_2 || !orphan)
		b->life_at = 0;
	else
		b->life_at = recover_deadline(c, b->life_at, TCP_FIN_WAIT_2_US);
	if (b->hold_at)
		b->hold_at =
			recover_deadline(c, b->hold_at, c->g->ack_deadline_us);
	if (c->g->announce && !(c->r->flags & REC_TOLD))
		conn_event(c, STACK_EV_OPEN);
	if (b->rcv_dlv != b->rcv_nxt - conn_fin_rcvd(c))
		conn_event(c, STACK_EV_DATA);
	if (conn_fin_rcvd(c))
		conn_event(c, STACK_EV_EOF);
	ack_recover(c);
}

static void recover_block(struct conn *c)
{
	struct blk *b = c->b;

	b->flags &= ~RECOVER_FLAGS_OLD;
	b->events = 0;
	b->ready_next = b->dirty_next = NIL;
	recover_pool(c);
	recover_windows(c);
	recover_flight(c);
	/* Its streams are gone, and what they were given with them. */
	b->rcv_dlv = b->rcv_app;
	if (c->r->flags & REC_HALF_OPEN)
		recover_handshake(c);
	else
		recover_open(c);
	conn_mark(c, 0);
	wheel_clear(&c->st->sh->wheel, c->r->block);
	conn_arm(c);
}

/* Answers whether the connection is taken over. */
static bool recover_conn(struct stack *st, uint32_t ri, uint64_t now_us)
{
	struct rec *r = &st->sh->recs[ri];
	const struct blk *b = r->block == NIL ? NULL : &st->sh->blks[r->block];
	struct conn c;

	if (r->state == TCP_GONE ||
	    (r->state == TCP_SYN_RECEIVED && r->block == NIL)) {
		recover_drop(st, ri);
		return false;
	}
	if (r->state < TCP_STATES)
		recover_state(r, b);
	if (r->state >= TCP_STATES || !recover_fits(r, b)) {
		recover_on_torn(st, ri);
		recover_drop(st, ri);
		return false;
	}
	if (!st->groups[r->group]) {
		recover_reset(st, ri);
		recover_drop(st, ri);
		return false;
	}
	conn_view(st, ri, now_us, &c);
	recover_flags(&c);
	recover_rec(&c);
	/* Closed by the application, but its time was not set yet. */
	if (r->state == TCP_FIN_WAIT_2 && r->flags & REC_ORPHAN)
		(void)conn_activate(&c);
	if (c.b)
		recover_block(&c);
	conn_count_found(&c);
	return true;
}

uint32_t stack_recover(struct stack *st, uint64_t now_us)
{
	struct shard *sh = st->sh;
	uint32_t taken = 0;

	st->now_us = now_us;
	/* Those of the process before may come back, also to an empty arena. */
	if (st->limits.syn_cookies != STACK_COOKIES_NEVER)
		st->cookies_until_us = now_us + COOKIE_LIFE_US;
	if (sh->state->began)
		st->quiet_until_us = now_us + RECOVER_QUIET_US;
	sh->state->began = 1;
	if (!shard_rebuild(sh, now_us, recover_on_torn, st))
		return 0;
	for (uint32_t ri = bitmap_next_used(&sh->rec_map, 0); ri != BITMAP_NONE;
	     ri = bitmap_next_used(&sh->rec_map, ri + 1))
		taken += recover_conn(st, ri, now_us);
	for (uint32_t i = 0; i < STACK_POOLS_MAX; i++)
		rx_pool_changed(st, &st->pools[i]);
	stack_count_n(st, SC_recovered_connections, taken);
	return taken;
}
