/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Time: when nothing comes back, or not soon enough.
 *
 *	rexmit_at  the RTO (RFC 6298) while something is in flight, or the
 *		   persist timer (BLK_PERSIST, RFC 9293 3.8.6.1) while something
 *		   waits for a window
 *	probe_at   the end of RACK's reordering window (LOSS_REO_TIMER), or a tail
 *		   loss probe (RFC 8985)
 *
 * rexmit_arm() keeps both right at the end of each flush. A client that
 * acknowledges nothing for user-timeout is given up (5d, 6h).
 *
 * Departs from RFC 5681 section 3.1: a time-out in the midst of a recovery does
 * not lower ssthresh again, as it was lowered for the same window.
 */
#include "base/bytes.h"
#include "stack/cc.h"
#include "stack/pmtu.h"
#include "stack/recovery.h"

static uint64_t rexmit_backed_off(const struct conn *c)
{
	uint64_t rto = (uint64_t)c->b->rtt.rto_us
		       << min_u32(c->b->cc.backoff, 10);

	return c->now_us + min_u64(rto, TCP_RTO_MAX_US);
}

/* Is the client down (6h)? Then the connection is over. */
static bool rexmit_given_up(struct conn *c)
{
	if (c->now_us - c->b->progress_at < c->g->user_timeout_us)
		return false;
	conn_abort(c, SC_conn_timed_out, true);
	return true;
}

/*
 * A first segment that is SACKed, and no ACK for it, tells of a client that
 * dropped what it had reported (RFC 2018 section 8): no SACK counts any more.
 * Returns whether that is so.
 */
static bool rexmit_disbelieve(struct conn *c)
{
	struct sents *ss = &c->st->sh->sents;
	struct blk *b = c->b;

	if (b->sent.head == NIL ||
	    !(ss->items[b->sent.head].flags & SENT_SACKED))
		return false;
	stack_count(c->st, SC_sack_reneged);
	sents_unsack(ss, b);
	return true;
}

/* RFC 8985 6.3: the first segment, and what RACK's clock says; without SACK all. */
static void rexmit_lose_all(struct conn *c)
{
	struct sents *ss = &c->st->sh->sents;
	struct blk *b = c->b;
	bool all = rexmit_disbelieve(c) || !(c->r->flags & REC_SACK) ||
		   !b->loss.rack_xmit_us;

	for (uint32_t i = b->sent.head; i != NIL; i = ss->items[i].next) {
		if (all || i == b->sent.head || rack_is_late(c, &ss->items[i]))
			sents_lost(ss, b, i);
	}
}

/* What little the window takes, at least a byte: it makes the client speak. */
static void rexmit_window_probe(struct conn *c)
{
	struct blk *b = c->b;

	stack_count(c->st, SC_zero_window_probes);
	if (b->cc.backoff < UINT8_MAX)
		b->cc.backoff++;
	rexmit_disbelieve(c);
	if (b->sent.head != NIL)
		output_again(c, b->sent.head);
	else
		output_probe(c, max_u32(b->snd_wnd, 1));
	b->rexmit_at = rexmit_backed_off(c);
}

static void rexmit_timeout(struct conn *c)
{
	struct blk *b = c->b;
	bool again = b->rexmits || b->cc.phase == CC_RECOVERY;

	stack_count(c->st, SC_rto_fired);
	if (!again)
		undo_begin(c);
	/* RFC 5682 step 1: not when this window was sent again before. */
	b->loss.frto =
		b->cc.phase == CC_OPEN || b->cc.phase == CC_CWR || b->rexmits
			? FRTO_FIRST
			: FRTO_OFF;
	cc_congestion(&b->cc, CC_EV_TIMEOUT, conn_mss(c),
		      b->snd_nxt - b->snd_una, c->now_us, again);
	b->cc.phase = CC_LOSS;
	b->cc.recover = b->snd_nxt;
	b->cc.dupacks = 0;
	b->loss.flags &= (uint8_t) ~(LOSS_TLP | LOSS_REO_TIMER);
	b->probe_at = 0;
	b->flags |= BLK_CWR_DUE;
	rexmit_lose_all(c);
	if (b->cc.backoff < UINT8_MAX)
		b->cc.backoff++;
	if (b->rexmits < UINT8_MAX)
		b->rexmits++;
	b->rexmit_at = rexmit_backed_off(c);
	pmtu_timeout(c);
	/* The first goes whatever cwnd says of the others. */
	output_again(c, b->sent.head);
	conn_mark(c, 0);
}

void rexmit_timer(struct conn *c)
{
	struct blk *b = c->b;

	b->rexmit_at = 0;
	if (c->r->state == TCP_SYN_RECEIVED) {
		if (b->cc.backoff < UINT8_MAX)
			b->cc.backoff++;
		b->rexmits++;
		b->rtt.timed_at_us = 0;
		b->rexmit_at = rexmit_backed_off(c);
		conn_mark(c, BLK_SYNACK_NOW);
		return;
	}
	if (rexmit_given_up(c))
		return;
	if (b->flags & BLK_PERSIST)
		rexmit_window_probe(c);
	else
		rexmit_timeout(c);
}

void rexmit_probe_timer(struct conn *c)
{
	struct blk *b = c->b;
	bool reordering = b->loss.flags & LOSS_REO_TIMER;

	b->probe_at = 0;
	if (b->sent.head == NIL)
		return;
	if (reordering)
		recovery_late(c);
	else if (rack_tlp_allowed(c))
		rack_tlp_send(c);
	conn_mark(c, 0);
}

static void rexmit_arm_probe(struct conn *c)
{
	struct blk *b = c->b;

	if (b->loss.flags & LOSS_REO_TIMER)
		return;
	if (!b->probe_at || !rack_tlp_allowed(c))
		b->probe_at = rack_tlp_at(c);
}

void rexmit_arm(struct conn *c)
{
	struct blk *b = c->b;
	uint32_t end = b->snd_end + !!(b->flags & BLK_FIN_QUEUED);
	bool waiting = b->snd_una != end;
	bool in_flight = b->snd_una != b->snd_nxt;

	if (!waiting) {
		b->flags &= ~(uint32_t)BLK_PERSIST;
		b->loss.flags &= (uint8_t)~LOSS_REO_TIMER;
		b->rexmit_at = b->probe_at = 0;
	} else if (in_flight && (b->snd_wnd || b->snd_una == b->snd_end)) {
		if (b->flags & BLK_PERSIST)
			b->rexmit_at = 0;
		b->flags &= ~(uint32_t)BLK_PERSIST;
		if (!b->rexmit_at)
			b->rexmit_at = rexmit_backed_off(c);
		rexmit_arm_probe(c);
	} else if (!(b->flags & BLK_PERSIST) || !b->rexmit_at) {
		if (!(b->flags & BLK_PERSIST) && !in_flight)
			b->progress_at = c->now_us;
		b->flags |= BLK_PERSIST;
		b->loss.flags &= (uint8_t)~LOSS_REO_TIMER;
		b->probe_at = 0;
		b->rexmit_at = rexmit_backed_off(c);
	}
	/* A window that opens and closes begins the time-out anew, not this. */
	if (b->flags & BLK_REOPENED && b->rexmit_at)
		b->rexmit_at = min_u64(b->rexmit_at,
				       b->progress_at + c->g->user_timeout_us);
}

/* The probe, and what else met a closed window, was dropped there. */
void rexmit_reopened(struct conn *c)
{
	struct sents *ss = &c->st->sh->sents;
	struct blk *b = c->b;

	for (uint32_t i = b->sent.head; i != NIL; i = ss->items[i].next)
		sents_lost(ss, b, i);
	b->cc.backoff = 0;
	b->rexmit_at = 0;
}
