/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Retransmission: time-outs (RFC 6298), fast retransmit and NewReno (RFC 5681,
 * 6582), zero-window probes (RFC 9293 3.8.6.1).
 *
 * One timer, rexmit_at: the RTO while something is in flight, the persist
 * timer (BLK_PERSIST) while something waits for a window. Upon an RTO snd_nxt
 * goes back to snd_una and everything from there is sent again as the window
 * opens. Given up as down after user-timeout without progress (5d, 6h).
 */
#include "base/bytes.h"
#include "stack/cc.h"
#include "stack/conn.h"

static uint64_t recovery_backed_off(const struct conn *c)
{
	uint64_t rto = (uint64_t)c->b->rtt.rto_us
		       << min_u32(c->b->cc.backoff, 10);

	return c->now_us + min_u64(rto, TCP_RTO_MAX_US);
}

static void recovery_rtt(struct conn *c, const struct seg *seg)
{
	struct blk *b = c->b;

	if (b->rtt.timed_at_us && seq_geq(b->snd_una, b->rtt.timed_seq)) {
		rtt_sample(c, (uint32_t)min_u64(c->now_us - b->rtt.timed_at_us,
						UINT32_MAX));
		b->rtt.timed_at_us = 0;
	} else if (b->rexmits && seg->opts.has_ts && c->r->flags & REC_TS &&
		   seg->opts.tsecr) {
		/* RFC 7323 4: with timestamps a retransmission can be measured. */
		uint32_t ms = conn_ts_now(c) - seg->opts.tsecr;

		if (ms < 600000)
			rtt_sample(c, ms * 1000 + 500);
	}
}

/* RFC 6582 section 3.2 steps 3 and 4: an ACK of new data in fast recovery. */
static void recovery_partial(struct conn *c, uint32_t acked_bytes)
{
	struct blk *b = c->b;
	uint32_t mss = conn_mss(c), flight = b->snd_max - b->snd_una;

	if (seq_geq(b->snd_una, b->cc.recover)) {
		b->cc.cwnd =
			min_u32(b->cc.ssthresh, max_u32(flight, mss) + mss);
		b->cc.phase = CC_OPEN;
		b->cc.dupacks = 0;
		return;
	}
	output_resend_head(c);
	b->cc.cwnd -= min_u32(acked_bytes, b->cc.cwnd - mss);
	if (acked_bytes >= mss)
		b->cc.cwnd += mss;
}

void recovery_acked(struct conn *c, uint32_t acked_bytes, const struct seg *seg)
{
	struct blk *b = c->b;
	uint32_t flight_before = b->snd_max - b->snd_una + acked_bytes;

	recovery_rtt(c, seg);
	b->progress_at = c->now_us;
	b->flags &= ~(uint32_t)BLK_REOPENED;
	b->cc.backoff = 0;
	b->rexmits = 0;
	b->rexmit_at = 0;
	if (b->cc.phase == CC_RECOVERY) {
		recovery_partial(c, acked_bytes);
		return;
	}
	b->cc.dupacks = 0;
	/* recover stays near: 2^31 bytes behind it would look ahead. */
	if (b->cc.phase == CC_OPEN && seq_gt(b->snd_una, b->cc.recover))
		b->cc.recover = b->snd_una - 1;
	if (b->cc.phase == CC_LOSS && seq_geq(b->snd_una, b->cc.recover))
		b->cc.phase = CC_OPEN;
	/* An application that does not fill the window says nothing about it. */
	cc_acked(&b->cc, &(struct cc_ack){
				 .now_us = c->now_us,
				 .mss = conn_mss(c),
				 .acked_bytes = acked_bytes,
				 .srtt_us = b->rtt.srtt_us,
				 .snd_una = b->snd_una,
				 .snd_nxt = b->snd_max,
				 .limited = flight_before >= b->cc.cwnd / 2,
			 });
}

void recovery_dupack(struct conn *c)
{
	struct blk *b = c->b;
	uint32_t mss = conn_mss(c);

	stack_count(c->st, SC_dup_acks_in);
	if (b->cc.dupacks < UINT16_MAX)
		b->cc.dupacks++;
	if (b->cc.phase == CC_RECOVERY) {
		b->cc.cwnd += mss;
		conn_mark(c, 0);
	} else if (b->cc.dupacks == 3 && seq_gt(b->snd_una, b->cc.recover)) {
		stack_count(c->st, SC_fast_retransmits);
		b->cc.recover = b->snd_max;
		cc_congestion(&b->cc, CC_EV_LOSS, mss, b->snd_max - b->snd_una,
			      c->now_us, false);
		b->cc.cwnd = b->cc.ssthresh + 3 * mss;
		b->cc.phase = CC_RECOVERY;
		output_resend_head(c);
		b->rexmit_at = recovery_backed_off(c);
	}
}

/* Is the client down (6h)? Then the connection is over. */
static bool recovery_given_up(struct conn *c)
{
	if (c->now_us - c->b->progress_at < c->g->user_timeout_us)
		return false;
	conn_abort(c, SC_conn_timed_out, true);
	return true;
}

static void recovery_probe(struct conn *c)
{
	struct blk *b = c->b;
	uint32_t seq = b->snd_una;

	stack_count(c->st, SC_zero_window_probes);
	if (b->cc.backoff < UINT8_MAX)
		b->cc.backoff++;
	b->snd_nxt = seq;
	b->tx_cur = NIL;
	/* What little the window takes, at least a byte: it makes the client speak. */
	if (b->snd_end != seq) {
		uint32_t len = min_u32(b->snd_end - seq, conn_mss(c));

		b->snd_max = seq_max(
			b->snd_max, seq + min_u32(len, max_u32(b->snd_wnd, 1)));
	} else {
		b->snd_max = seq + 1;
	}
	output_resend_head(c);
	b->rexmit_at = recovery_backed_off(c);
}

static void recovery_timeout(struct conn *c)
{
	struct blk *b = c->b;

	stack_count(c->st, SC_rto_fired);
	cc_congestion(&b->cc, CC_EV_TIMEOUT, conn_mss(c),
		      b->snd_max - b->snd_una, c->now_us, b->rexmits > 0);
	b->cc.phase = CC_LOSS;
	b->cc.recover = b->snd_max;
	b->cc.dupacks = 0;
	if (b->cc.backoff < UINT8_MAX)
		b->cc.backoff++;
	if (b->rexmits < UINT8_MAX)
		b->rexmits++;
	b->rtt.timed_at_us = 0;
	b->snd_nxt = b->snd_una;
	b->tx_cur = NIL;
	b->rexmit_at = recovery_backed_off(c);
	conn_mark(c, 0);
}

void recovery_timer(struct conn *c)
{
	struct blk *b = c->b;

	b->rexmit_at = 0;
	if (c->r->state == TCP_SYN_RECEIVED) {
		if (b->cc.backoff < UINT8_MAX)
			b->cc.backoff++;
		b->rexmits++;
		b->rtt.timed_at_us = 0;
		b->rexmit_at = recovery_backed_off(c);
		conn_mark(c, BLK_SYNACK_NOW);
		return;
	}
	if (recovery_given_up(c))
		return;
	if (b->flags & BLK_PERSIST)
		recovery_probe(c);
	else
		recovery_timeout(c);
}

void recovery_arm(struct conn *c)
{
	struct blk *b = c->b;
	uint32_t end = b->snd_end + !!(b->flags & BLK_FIN_QUEUED);
	bool waiting = b->snd_una != end;
	bool in_flight = b->snd_una != b->snd_max;

	if (!waiting) {
		b->flags &= ~(uint32_t)BLK_PERSIST;
		b->rexmit_at = 0;
	} else if (in_flight && (b->snd_wnd || b->snd_una == b->snd_end)) {
		b->flags &= ~(uint32_t)BLK_PERSIST;
		if (!b->rexmit_at)
			b->rexmit_at = recovery_backed_off(c);
	} else if (!(b->flags & BLK_PERSIST) || !b->rexmit_at) {
		if (!(b->flags & BLK_PERSIST) && !in_flight)
			b->progress_at = c->now_us;
		b->flags |= BLK_PERSIST;
		b->rexmit_at = recovery_backed_off(c);
	}
}
