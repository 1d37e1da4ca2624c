/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sender's state machine: what becomes of cwnd, and what is sent again.
 * The picture of its phases stands in recovery.h.
 *
 *	OPEN      cc_acked() grows the window
 *	CWR       a CE mark came back: PRR brings cwnd down, nothing is lost
 *	RECOVERY  something is lost: the same, and it is sent again
 *	LOSS      a time-out: all is lost, slow start; F-RTO looks whether it was
 *
 * What is lost is marked in the list of segments; output.c sends it again as
 * cwnd allows, before new data. What is in flight is sents_pipe(); without
 * SACK each duplicate ACK stands for a segment that arrived (recovery_pipe()),
 * which also gives limited transmit (RFC 3042).
 *
 * Time-outs and probes are rexmit.c's.
 */
#include "stack/recovery.h"

#include "base/bytes.h"
#include "stack/cc.h"
#include "stack/pmtu.h"
#include "stack/sack.h"

static bool recovery_sack(const struct conn *c)
{
	return c->r->flags & REC_SACK;
}

static struct sents *recovery_sents(const struct conn *c)
{
	return &c->st->sh->sents;
}

/* --- what an ACK tells */

void recovery_begin(struct conn *c, const struct seg *seg, bool dupack,
		    struct ack_news *ret_news)
{
	*ret_news = (struct ack_news){
		.seg = seg,
		.prior_fack = c->b->loss.fack,
		.dupack = dupack,
	};
	/* Also when nothing is in flight: a D-SACK comes late by its nature. */
	sack_take(c, ret_news);
}

void recovery_delivered(struct conn *c, const struct sent *s,
			struct ack_news *news)
{
	news->delivered_bytes += sent_len(s);
	rack_delivered(c, s, news);
	pmtu_delivered(c, s);
	if (s->flags & SENT_AGAIN) {
		news->rexmit_acked = true;
		return;
	}
	if (!news->first_us || s->xmit_us < news->first_us)
		news->first_us = s->xmit_us;
	news->last_us = max_u64(news->last_us, s->xmit_us);
	if (seq_leq(s->end, c->b->cc.recover))
		news->original = true;
}

/* The ACK ends within the first segment. */
static void recovery_trim(struct conn *c, struct ack_news *news)
{
	struct sents *ss = recovery_sents(c);
	struct blk *b = c->b;
	uint32_t i = b->sent.head;
	const struct sent *s = &ss->items[i];
	bool whole = sent_len(s) <= conn_mss(c);

	if (!(s->flags & SENT_SACKED))
		news->delivered_bytes += b->snd_una - s->seq;
	sents_trim(ss, b, b->snd_una);
	/* It could not be split (output_again): its rest was not sent again. */
	if (s->flags & SENT_REXMIT && !whole)
		sents_lost(ss, b, i);
}

void recovery_advanced(struct conn *c, uint32_t acked_bytes,
		       struct ack_news *news)
{
	struct sents *ss = recovery_sents(c);
	struct blk *b = c->b;

	news->acked_bytes = acked_bytes;
	while (b->sent.head != NIL) {
		struct sent *s = &ss->items[b->sent.head];

		if (seq_lt(b->snd_una, s->end))
			break;
		if (!(s->flags & SENT_SACKED))
			recovery_delivered(c, s, news);
		sents_pop(ss, b);
	}
	if (b->sent.head != NIL &&
	    seq_lt(ss->items[b->sent.head].seq, b->snd_una))
		recovery_trim(c, news);
	/* RFC 5682: without SACK, what was received before hides here. */
	if (!recovery_sack(c) && news->rexmit_acked)
		news->original = false;
	b->progress_at = c->now_us;
	b->flags &= ~(uint32_t)BLK_REOPENED;
	b->rexmits = 0;
	b->rexmit_at = 0;
	if (!(b->loss.flags & LOSS_REO_TIMER))
		b->probe_at = 0;
}

/* RFC 6298 (5.7), Karn: a backed-off RTO holds until there is a sample. */
static void recovery_sample(struct conn *c, uint32_t rtt_us)
{
	rtt_sample(c, rtt_us);
	c->b->cc.backoff = 0;
}

/* RFC 6298 (2.2), (2.3), Karn; RFC 7323 4 for what was sent more than once. */
static uint32_t recovery_rtt(struct conn *c, const struct ack_news *news)
{
	const struct seg_opts *opts = &news->seg->opts;
	uint32_t ms;

	if (news->first_us && !news->rexmit_acked) {
		recovery_sample(c, (uint32_t)min_u64(c->now_us - news->first_us,
						     UINT32_MAX));
	} else if (news->acked_bytes && opts->has_ts && c->r->flags & REC_TS &&
		   opts->tsecr) {
		ms = conn_ts_now(c) - opts->tsecr;
		if (ms < 600000)
			recovery_sample(c, ms * 1000 + 500);
	}
	return news->last_us ? (uint32_t)min_u64(c->now_us - news->last_us,
						 UINT32_MAX)
			     : 0;
}

/*
 * Without SACK (RFC 5681 section 3.2, RFC 6582): a duplicate ACK says that one
 * segment has left; an ACK of new data takes those back that it covers.
 */
static void recovery_count_dupacks(struct conn *c, struct ack_news *news)
{
	struct blk *b = c->b;
	uint32_t mss = conn_mss(c), before = b->cc.dupacks, segs;

	if (news->dupack)
		stack_count(c->st, SC_dup_acks_in);
	if (recovery_sack(c))
		return;
	/* After a time-out all is lost already: what arrives is none of pipe. */
	if (news->dupack && b->cc.phase == CC_LOSS &&
	    seq_leq(b->snd_nxt, b->cc.recover))
		return;
	/* RFC 3042: two, also where the third begins no recovery (RFC 6582). */
	if (news->dupack && b->cc.phase == CC_OPEN &&
	    seq_leq(b->snd_una, b->cc.recover) &&
	    before >= RECOVERY_DUPTHRESH - 1)
		return;
	if (news->dupack) {
		if (b->cc.dupacks < UINT16_MAX)
			b->cc.dupacks++;
		news->delivered_bytes = mss;
	} else if (news->acked_bytes) {
		segs = (news->acked_bytes + mss - 1) / mss;
		b->cc.dupacks = (uint16_t)(before - min_u32(before, segs - 1));
		if (b->cc.phase == CC_OPEN || b->cc.phase == CC_CWR)
			b->cc.dupacks = 0;
		news->delivered_bytes -= min_u32(
			news->delivered_bytes, (before - b->cc.dupacks) * mss);
	}
}

/* Is something lost that was not so before? */
static bool recovery_detect(struct conn *c, const struct ack_news *news)
{
	struct sents *ss = recovery_sents(c);
	struct blk *b = c->b;
	uint32_t head = b->sent.head;

	if (head == NIL)
		return false;
	if (recovery_sack(c))
		return rack_detect(c);
	if (b->cc.phase == CC_LOSS || ss->items[head].flags & SENT_LOST)
		return false;
	/* RFC 6582 3.2 step 3 (a partial ACK), step 2 (the third duplicate). */
	if (b->cc.phase == CC_RECOVERY ? !news->acked_bytes
				       : b->cc.dupacks < RECOVERY_DUPTHRESH)
		return false;
	if (b->cc.phase == CC_OPEN && seq_leq(b->snd_una, b->cc.recover))
		return false;
	if (sent_len(&ss->items[head]) > conn_mss(c))
		sents_split(ss, b, head, b->snd_una + conn_mss(c));
	sents_lost(ss, b, head);
	return true;
}

/* --- phases */

/* RFC 9937 section 6: for each ACK from the start to the end of a reduction. */
static void recovery_prr(struct conn *c, const struct ack_news *news, bool lost)
{
	struct blk *b = c->b;
	struct blk_loss *l = &b->loss;
	uint32_t pipe = recovery_pipe(c), mss = conn_mss(c);
	int64_t n;

	l->prr_delivered += news->delivered_bytes;
	if (pipe > b->cc.ssthresh) {
		n = (int64_t)(((uint64_t)l->prr_delivered * b->cc.ssthresh +
			       l->recover_fs - 1) /
			      l->recover_fs) -
		    l->prr_out;
	} else {
		n = max_i64((int64_t)l->prr_delivered - l->prr_out,
			    news->delivered_bytes);
		if (news->acked_bytes && !lost)
			n += mss;
		n = min_i64(n, b->cc.ssthresh - pipe);
	}
	/*
	 * The first retransmission always goes, so does what a partial ACK asks
	 * for (RFC 6582 3.2 step 3); and nothing may stand still.
	 */
	if (!l->prr_out || !pipe || (lost && !recovery_sack(c)))
		n = max_i64(n, mss);
	b->cc.cwnd = max_u32(pipe + (uint32_t)max_i64(n, 0), mss);
}

static void recovery_reduce(struct conn *c, const struct ack_news *news,
			    uint8_t phase)
{
	struct blk *b = c->b;
	uint32_t flight = b->snd_nxt - b->snd_una;

	if (b->cc.phase != CC_CWR)
		cc_congestion(&b->cc, phase == CC_CWR ? CC_EV_ECN : CC_EV_LOSS,
			      conn_mss(c), flight, c->now_us, false);
	b->cc.phase = phase;
	b->cc.recover = b->snd_nxt;
	b->loss.prr_delivered = 0;
	b->loss.prr_out = 0;
	b->loss.recover_fs = max_u32(
		flight - b->sent.sacked_bytes + news->delivered_bytes, 1);
	b->flags |= BLK_CWR_DUE;
}

static void recovery_enter(struct conn *c, const struct ack_news *news)
{
	stack_count(c->st, SC_fast_retransmits);
	/* The window was reduced for a mark already: that stays. */
	if (c->b->cc.phase == CC_CWR)
		c->b->loss.flags &= (uint8_t)~LOSS_UNDO;
	else
		undo_begin(c);
	recovery_reduce(c, news, CC_RECOVERY);
	c->b->loss.flags &= (uint8_t)~LOSS_TLP;
	recovery_prr(c, news, true);
}

/* The reduction is over: RFC 9937 section 6, RFC 6582 3.2 step 3. */
static void recovery_leave(struct conn *c)
{
	struct blk *b = c->b;

	if (b->cc.phase != CC_LOSS)
		b->cc.cwnd = max_u32(b->cc.ssthresh, conn_mss(c));
	if (b->cc.phase != CC_CWR)
		rack_recovered(c);
	b->cc.phase = CC_OPEN;
	b->cc.dupacks = 0;
	b->loss.frto = FRTO_OFF;
}

/*
 * Until something that was sent after the mark came back is acknowledged, the
 * client repeats its echo: it has not seen our CWR.
 */
static bool recovery_is_over(const struct blk *b)
{
	if (b->cc.phase == CC_OPEN)
		return false;
	if (b->cc.phase == CC_CWR)
		return seq_gt(b->snd_una, b->cc.recover);
	return seq_geq(b->snd_una, b->cc.recover);
}

/* RFC 5682 section 3.1, once something is acknowledged after a time-out. */
static void recovery_frto(struct conn *c, const struct ack_news *news)
{
	struct blk *b = c->b;

	switch (b->loss.frto) {
	case FRTO_FIRST:
		/* Step 2b: the ACK moves on. New data tells which it is. */
		if (news->acked_bytes && seq_lt(b->snd_nxt, b->snd_end) &&
		    seq_lt(b->snd_nxt, b->snd_una + b->snd_wnd)) {
			b->loss.frto = FRTO_SECOND;
			b->cc.recover = b->snd_nxt;
			return;
		}
		if (news->acked_bytes || news->dupack || news->delivered_bytes)
			b->loss.frto = FRTO_OFF;
		break;
	case FRTO_SECOND:
		/* Step 3a: what came was not from before: it was lost. */
		if (news->dupack || news->delivered_bytes)
			b->loss.frto = FRTO_OFF;
		break;
	default:
		break;
	}
}

/* The window grows, as far as it was used (RFC 9438 5.8, RFC 7661). */
static void recovery_grow(struct conn *c, const struct ack_news *news,
			  uint32_t rtt_us)
{
	struct blk *b = c->b;
	uint32_t flight = b->snd_nxt - b->snd_una + news->acked_bytes;
	struct cc_ack ack = {
		.now_us = c->now_us,
		.mss = conn_mss(c),
		.acked_bytes = news->acked_bytes,
		.rtt_us = rtt_us,
		.srtt_us = b->rtt.srtt_us,
		.snd_una = b->snd_una,
		.snd_nxt = b->snd_nxt,
		.limited = b->flags & BLK_CWND_LIMITED ||
			   (b->cc.cwnd < b->cc.ssthresh &&
			    flight >= b->cc.cwnd / 2),
	};

	if (!news->acked_bytes)
		return;
	/* recover stays near: 2^31 bytes behind it would look ahead. */
	if (b->cc.phase == CC_OPEN && seq_gt(b->snd_una, b->cc.recover))
		b->cc.recover = b->snd_una - 1;
	cc_acked(&b->cc, &ack);
}

static void recovery_step(struct conn *c, const struct ack_news *news,
			  bool lost, uint32_t rtt_us)
{
	struct blk *b = c->b;

	if (recovery_is_over(b)) {
		/* Most of what this ACK covers arrived long ago: no growth. */
		bool reduced = b->cc.phase != CC_LOSS;

		recovery_leave(c);
		if (reduced && !lost)
			return;
	}
	switch (b->cc.phase) {
	case CC_OPEN:
		if (lost)
			recovery_enter(c, news);
		else
			recovery_grow(c, news, rtt_us);
		break;
	case CC_CWR:
		if (lost)
			recovery_enter(c, news);
		else
			recovery_prr(c, news, lost);
		break;
	case CC_RECOVERY:
		if (news->delivered_bytes || lost)
			recovery_prr(c, news, lost);
		break;
	case CC_LOSS:
		recovery_frto(c, news);
		recovery_grow(c, news, rtt_us);
		break;
	default:
		break;
	}
}

/* A reduction at one stroke: what was in flight is acknowledged by now. */
static void recovery_cut(struct conn *c, const struct ack_news *news,
			 enum cc_event why)
{
	struct blk *b = c->b;

	cc_congestion(&b->cc, why, conn_mss(c),
		      b->snd_nxt - b->snd_una + news->acked_bytes, c->now_us,
		      false);
	b->cc.cwnd = min_u32(b->cc.cwnd, b->cc.ssthresh);
	b->loss.flags &= (uint8_t)~LOSS_UNDO;
	b->flags |= BLK_CWR_DUE;
}

/*
 * RFC 3168 6.1.2: the client saw a mark. Once per window: until CWR is sent the
 * echo says nothing new, and in a reduction that is for the same flight.
 */
static void recovery_echoed(struct conn *c, const struct ack_news *news)
{
	struct blk *b = c->b;

	if (!(news->seg->flags & TH_ECE) || !(c->r->flags & REC_ECN) ||
	    b->cc.phase != CC_OPEN || b->flags & BLK_CWR_DUE ||
	    seq_lt(news->seg->ack, b->snd_una))
		return;
	stack_count(c->st, SC_ecn_echoed);
	if (b->sent.head == NIL) {
		recovery_cut(c, news, CC_EV_ECN);
		return;
	}
	b->loss.flags &= (uint8_t)~LOSS_UNDO;
	recovery_reduce(c, news, CC_CWR);
}

void recovery_end(struct conn *c, struct ack_news *news)
{
	struct blk *b = c->b;
	uint32_t rtt_us = recovery_rtt(c, news);
	bool lost;

	recovery_count_dupacks(c, news);
	if (news->dsack_start != news->dsack_end && !rack_tlp_twice(c, news))
		rack_dsack(c);
	if (b->loss.flags & LOSS_UNDO)
		undo_try(c, news);
	if (b->loss.flags & LOSS_TLP && rack_tlp_acked(c, news) &&
	    b->cc.phase == CC_OPEN) {
		/* One segment was lost and is repaired: RFC 8985 7.4.2. */
		recovery_cut(c, news, CC_EV_LOSS);
	}
	lost = recovery_detect(c, news);
	recovery_step(c, news, lost, rtt_us);
	recovery_echoed(c, news);
	/* RFC 8985 7.2: a tail loss probe is for a flight without any news. */
	if (!(b->loss.flags & LOSS_REO_TIMER) &&
	    (b->sent.sacked_bytes || b->cc.phase != CC_OPEN))
		b->probe_at = 0;
}

void recovery_late(struct conn *c)
{
	struct ack_news none = { 0 };
	struct blk *b = c->b;

	if (!rack_detect(c))
		return;
	if (b->cc.phase == CC_OPEN || b->cc.phase == CC_CWR)
		recovery_enter(c, &none);
	else if (b->cc.phase == CC_RECOVERY)
		recovery_prr(c, &none, true);
}

void recovery_mtu_changed(struct conn *c)
{
	struct sents *ss = recovery_sents(c);
	struct blk *b = c->b;
	uint32_t mss = conn_mss(c);

	for (uint32_t i = b->sent.head; i != NIL; i = ss->items[i].next) {
		if (sent_len(&ss->items[i]) > mss)
			sents_lost(ss, b, i);
	}
	b->rexmit_at = 0;
	conn_mark(c, 0);
}
