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
		.seq = r->iss + 1 + (uint32_t)r->snd_off,
		.ack = r->irs + 1 + (uint32_t)r->rcv_off,
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

static void recover_state(struct conn *c)
{
	bool fin_queued = c->b && c->b->flags & BLK_FIN_QUEUED;
	uint8_t to;

	while ((to = recover_state_step(c->r, fin_queued)) != c->r->state)
		c->r->state = to;
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
	if (b->rtt.rto_us < TCP_RTO_MIN_US || b->rtt.rto_us > TCP_RTO_MAX_US)
		rtt_init(c);
	b->rtt.timed_at_us = 0;
	b->rexmits = b->probes = 0;
	b->rexmit_at = b->probe_at = b->sent_at = 0;
	b->progress_at = c->now_us;
	b->max_wnd = max_u32(b->max_wnd, b->snd_wnd);
}

static void recover_handshake(struct conn *c)
{
	struct blk *b = c->b;
	bool held = c->r->state == TCP_SYN_HELD;

	if (!b->life_at)
		b->life_at = c->now_us + (held ? c->g->accept_timeout_us
					       : TCP_HANDSHAKE_US);
	if (held) {
		conn_event(c, STACK_EV_OPEN);
		return;
	}
	sents_free(&c->st->sh->sents, b);
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

	if (c->r->flags & REC_FIN_ACKED)
		b->flags |= BLK_FIN_QUEUED;
	if (c->r->state != TCP_FIN_WAIT_2 || !orphan)
		b->life_at = 0;
	else if (!b->life_at)
		b->life_at = c->now_us + TCP_FIN_WAIT_2_US;
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
	struct conn c;

	if (r->state == TCP_GONE ||
	    (r->state == TCP_SYN_RECEIVED && r->block == NIL)) {
		recover_drop(st, ri);
		return false;
	}
	if (r->state >= TCP_STATES ||
	    (r->block == NIL && recover_needs_block(r->state))) {
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
	recover_state(&c);
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
