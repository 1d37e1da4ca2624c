/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RACK-TLP, RFC 8985: loss detection by time of transmission, tail loss probes.
 *
 * RACK: once a segment is known to be delivered, whatever was sent before it,
 * by more than a reordering window, is lost. It needs SACK; without, recovery.c
 * counts duplicate ACKs.
 *
 * TLP: when the last segments of a flight draw no ACK, one more segment (or the
 * last again) goes out after about two round trips, so that a SACK comes back
 * and RACK can do its work, before the RTO would.
 *
 * Names are the RFC's. All times are microseconds; segments that left in one
 * batch have the same time and are told apart by sequence number.
 */
#include "base/bytes.h"
#include "stack/cc.h"
#include "stack/recovery.h"

/* How long RFC 8985 7.2 lets a client delay its ACK of a lone segment. */
#define RACK_MAX_ACK_DELAY_US (200 * USEC_PER_MSEC)
#define RACK_REO_PERSIST 16u /* recoveries; section 6.2 step 4 */

/* RFC 8985 5.1: RACK_sent_after. */
static bool rack_sent_after(uint64_t xmit1, uint32_t end1, uint64_t xmit2,
			    uint32_t end2)
{
	return xmit1 > xmit2 || (xmit1 == xmit2 && seq_gt(end1, end2));
}

/* Step 2: was it the retransmission that arrived? Else its time means nothing. */
static bool rack_ambiguous(const struct conn *c, const struct sent *s,
			   const struct ack_news *news)
{
	const struct seg_opts *opts = &news->seg->opts;
	uint64_t age_us = c->now_us - s->xmit_us;

	if (!(s->flags & SENT_AGAIN))
		return false;
	if (c->r->flags & REC_TS && opts->has_ts &&
	    seq_lt(opts->tsecr, conn_ts_at(c, s->xmit_us)))
		return true;
	return age_us < c->b->rtt.min_us;
}

void rack_delivered(struct conn *c, const struct sent *s,
		    const struct ack_news *news)
{
	struct blk_loss *l = &c->b->loss;

	/* Step 3: below what was delivered before, and sent once. */
	if (seq_lt(s->end, news->prior_fack) && !(s->flags & SENT_AGAIN) &&
	    !(l->flags & LOSS_REORDERING)) {
		l->flags |= LOSS_REORDERING;
		stack_count(c->st, SC_reordering_seen);
	}
	l->fack = seq_max(l->fack, s->end);
	if (rack_ambiguous(c, s, news))
		return;
	if (l->rack_xmit_us &&
	    !rack_sent_after(s->xmit_us, s->end, l->rack_xmit_us, l->rack_end))
		return;
	l->rack_xmit_us = s->xmit_us;
	l->rack_end = s->end;
	l->rack_rtt_us = (uint32_t)min_u64(c->now_us - s->xmit_us, UINT32_MAX);
}

/* Step 4: RACK_update_reo_wnd. */
static uint64_t rack_reo_wnd(const struct conn *c)
{
	const struct blk *b = c->b;
	uint64_t wnd =
		(uint64_t)b->rtt.min_us / 4 * max_u32(b->loss.reo_mult, 1);

	if (!(b->loss.flags & LOSS_REORDERING) &&
	    (b->cc.phase == CC_RECOVERY || b->cc.phase == CC_LOSS ||
	     b->sent.sacked_segs >= RECOVERY_DUPTHRESH))
		return 0;
	return min_u64(wnd, b->rtt.srtt_us);
}

/* How long until it is late; 0: it is. Only for what was sent before RACK's. */
static uint64_t rack_remaining(const struct conn *c, const struct sent *s)
{
	uint64_t late = s->xmit_us + c->b->loss.rack_rtt_us + rack_reo_wnd(c);

	return late > c->now_us ? late - c->now_us : 0;
}

bool rack_is_late(const struct conn *c, const struct sent *s)
{
	return c->b->loss.rack_xmit_us && !rack_remaining(c, s);
}

/* Step 5: RACK_detect_loss. */
bool rack_detect(struct conn *c)
{
	struct sents *ss = &c->st->sh->sents;
	struct blk *b = c->b;
	struct blk_loss *l = &b->loss;
	uint64_t timeout_us = 0;
	bool any = false;
	uint32_t i, later;

	if (l->flags & LOSS_REO_TIMER) {
		l->flags &= (uint8_t)~LOSS_REO_TIMER;
		b->probe_at = 0;
	}
	if (!l->rack_xmit_us)
		return false;
	for (i = b->sent.oldest; i != NIL; i = later) {
		const struct sent *s = &ss->items[i];
		uint64_t left;

		later = s->later;
		if (s->xmit_us > l->rack_xmit_us)
			break;
		if (!rack_sent_after(l->rack_xmit_us, l->rack_end, s->xmit_us,
				     s->end))
			continue;
		left = rack_remaining(c, s);
		if (left) {
			timeout_us = max_u64(timeout_us, left);
			continue;
		}
		if (s->flags & SENT_REXMIT)
			stack_count(c->st, SC_rexmits_lost);
		sents_lost(ss, b, i);
		any = true;
	}
	if (timeout_us) {
		l->flags |= LOSS_REO_TIMER;
		b->probe_at = c->now_us + timeout_us;
	}
	return any;
}

/* Step 4 again: a D-SACK widens the window, once per round. */
void rack_dsack(struct conn *c)
{
	struct blk_loss *l = &c->b->loss;

	if (l->flags & LOSS_DSACK_ROUND &&
	    seq_lt(c->b->snd_una, l->dsack_round))
		return;
	l->flags |= LOSS_DSACK_ROUND;
	l->dsack_round = c->b->snd_nxt;
	if (!l->reo_mult)
		l->reo_mult = 1;
	if (l->reo_mult < UINT8_MAX)
		l->reo_mult++;
	l->reo_persist = RACK_REO_PERSIST;
}

void rack_recovered(struct conn *c)
{
	struct blk_loss *l = &c->b->loss;

	if (!l->reo_persist)
		return;
	if (!--l->reo_persist)
		l->reo_mult = 1;
}

bool rack_tlp_allowed(const struct conn *c)
{
	const struct blk *b = c->b;

	return c->r->flags & REC_SACK && b->cc.phase == CC_OPEN &&
	       !(b->loss.flags & LOSS_TLP) && !b->sent.sacked_bytes &&
	       b->sent.head != NIL;
}

uint64_t rack_tlp_at(const struct conn *c)
{
	const struct blk *b = c->b;
	uint64_t pto;

	if (!rack_tlp_allowed(c))
		return 0;
	if (b->rtt.srtt_us)
		pto = 2 * (uint64_t)b->rtt.srtt_us + 2 * USEC_PER_MSEC;
	else
		pto = USEC_PER_SEC;
	if (b->sent.n == 1)
		pto += RACK_MAX_ACK_DELAY_US;
	/* Instead of the RTO, when that would be earlier; it starts anew then. */
	return min_u64(c->now_us + pto, b->rexmit_at);
}

void rack_tlp_send(struct conn *c)
{
	struct blk *b = c->b;
	uint32_t mss = conn_mss(c), end = b->snd_una + b->snd_wnd;
	uint32_t queued =
		seq_lt(b->snd_nxt, b->snd_end) ? b->snd_end - b->snd_nxt : 0;
	uint32_t len = min_u32(queued, mss);

	stack_count(c->st, SC_tlp_probes);
	b->loss.flags |= LOSS_TLP;
	if (len && seq_leq(b->snd_nxt + len, end)) {
		b->loss.flags &= (uint8_t)~LOSS_TLP_REXMIT;
		output_probe(c, len);
	} else {
		b->loss.flags |= LOSS_TLP_REXMIT;
		output_again(c, b->sent.tail);
	}
	b->loss.tlp_end = b->snd_nxt;
	/* RFC 8985 7.3: the RTO runs anew. */
	b->rexmit_at = 0;
}

bool rack_tlp_twice(const struct conn *c, const struct ack_news *news)
{
	const struct blk_loss *l = &c->b->loss;

	return l->flags & LOSS_TLP && l->flags & LOSS_TLP_REXMIT &&
	       news->dsack_start != news->dsack_end &&
	       news->dsack_end == l->tlp_end;
}

bool rack_tlp_acked(struct conn *c, const struct ack_news *news)
{
	struct blk_loss *l = &c->b->loss;
	const struct seg *seg = news->seg;

	if (seq_lt(seg->ack, l->tlp_end))
		return false;
	if (!(l->flags & LOSS_TLP_REXMIT)) {
		l->flags &= (uint8_t)~LOSS_TLP; /* new data, and it arrived */
	} else if (rack_tlp_twice(c, news)) {
		l->flags &= (uint8_t)~LOSS_TLP; /* both arrived */
	} else if (seq_gt(seg->ack, l->tlp_end)) {
		l->flags &= (uint8_t)~LOSS_TLP;
		return true; /* the probe took the place of what was lost */
	} else if (!news->acked_bytes && !seg->opts.n_sacks && !seg->len) {
		l->flags &= (uint8_t)~LOSS_TLP; /* a duplicate: both arrived */
	}
	return false;
}
