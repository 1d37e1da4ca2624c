/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What all algorithms of congestion control share: the initial window, slow
 * start with HyStart++, time-outs, undo.
 *
 *	        cwnd >= ssthresh
 *	slow start ----------------------> congestion avoidance (cc_ops.avoid)
 *	  |    ^                                     ^
 *	  |    | RTT fell again                      | 5 rounds: ssthresh = cwnd
 *	  |    |                                     |
 *	  +--> conservative slow start --------------+
 *	RTT rose
 *
 * The lower part is HyStart++, RFC 9406; it is for the first slow start, which
 * knows no threshold (section 4.3: ssthresh is still at its initial value). Any
 * congestion event ends either. Rounds are measured also while the application
 * limits the flow, so that what is compared is recent, but then decide nothing.
 *
 * Invariant:
 *  I1  mss <= cwnd <= CC_CWND_MAX and ssthresh >= 2 * mss after each call.
 */
#include "stack/cc.h"

#include <assert.h>

#include "base/bytes.h"
#include "base/seq.h"
#include "base/units.h"
#include "stack/cc_ops.h"

/* RFC 9406 section 4.3. */
#define HY_MIN_RTT_THRESH_US (4 * USEC_PER_MSEC)
#define HY_MAX_RTT_THRESH_US (16 * USEC_PER_MSEC)
#define HY_MIN_RTT_DIVISOR 8u
#define HY_N_RTT_SAMPLE 8u
#define HY_CSS_GROWTH_DIVISOR 4u
#define HY_CSS_ROUNDS 5u
#define HY_L_SEGS 8u /* what one ACK can grow cwnd by; we don't pace */

/* RFC 3465 section 2.2; and 2.3: in CC_LOSS ACKs may cover what was sent before. */
#define CC_L_SEGS 2u
#define CC_L_LOSS_SEGS 1u

static const struct cc_ops *const cc_algorithms[CC_ALGORITHMS] = {
	[CC_CUBIC] = &cc_cubic,
	[CC_RENO] = &cc_reno,
};

static const struct cc_ops *cc_ops_of(const struct blk_cc *cc)
{
	assert(cc->algorithm < CC_ALGORITHMS);
	return cc_algorithms[cc->algorithm];
}

const char *cc_name(uint8_t algorithm)
{
	return algorithm < CC_ALGORITHMS ? cc_algorithms[algorithm]->name
					 : NULL;
}

uint32_t cc_initial_window(uint32_t mss)
{
	return min_u32(10 * mss, max_u32(2 * mss, 14600));
}

void cc_init(struct blk_cc *cc, uint8_t algorithm, uint32_t mss)
{
	assert(algorithm < CC_ALGORITHMS);
	*cc = (struct blk_cc){
		.cwnd = cc_initial_window(mss),
		.ssthresh = UINT32_MAX,
		.phase = CC_OPEN,
		.algorithm = algorithm,
	};
}

static void hystart_reset(struct blk_cc *cc)
{
	cc->flags &= (uint8_t) ~(CC_HY_ROUND | CC_HY_CSS);
	cc->hy_last_min_us = cc->hy_min_us = 0;
}

static void hystart_round(struct blk_cc *cc, uint32_t snd_nxt)
{
	cc->flags |= CC_HY_ROUND;
	cc->hy_window_end = snd_nxt;
	cc->hy_last_min_us = cc->hy_min_us;
	cc->hy_min_us = 0;
	cc->hy_samples = 0;
}

/* RFC 9406 section 4.2: did the RTT rise since the last round? */
static bool hystart_rose(const struct blk_cc *cc)
{
	uint64_t threshold =
		clamp_u64(cc->hy_last_min_us / HY_MIN_RTT_DIVISOR,
			  HY_MIN_RTT_THRESH_US, HY_MAX_RTT_THRESH_US);

	return cc->hy_last_min_us && cc->hy_samples >= HY_N_RTT_SAMPLE &&
	       cc->hy_min_us >= cc->hy_last_min_us + threshold;
}

/* Did it fall again? Then it was jitter that rose. */
static bool hystart_fell(const struct blk_cc *cc)
{
	return cc->hy_samples >= HY_N_RTT_SAMPLE &&
	       cc->hy_min_us < cc->hy_css_base_us;
}

static void hystart_sample(struct blk_cc *cc, const struct cc_ack *ack)
{
	if (!(cc->flags & CC_HY_ROUND))
		hystart_round(cc, ack->snd_nxt);
	if (!ack->rtt_us)
		return;
	if (!cc->hy_min_us || ack->rtt_us < cc->hy_min_us)
		cc->hy_min_us = ack->rtt_us;
	if (cc->hy_samples < UINT8_MAX)
		cc->hy_samples++;
}

static void hystart_acked(struct blk_cc *cc, const struct cc_ack *ack)
{
	bool ended;

	hystart_sample(cc, ack);
	ended = seq_geq(ack->snd_una, cc->hy_window_end);
	if (ack->limited && !(cc->flags & CC_HY_CSS) && hystart_rose(cc)) {
		cc->flags |= CC_HY_CSS;
		cc->hy_css_rounds = 0;
		cc->hy_css_base_us = cc->hy_min_us;
	} else if (ack->limited && cc->flags & CC_HY_CSS && hystart_fell(cc)) {
		cc->flags &= (uint8_t)~CC_HY_CSS;
	}
	/* The round in which it rose counts, too. */
	if (ended && ack->limited && cc->flags & CC_HY_CSS &&
	    ++cc->hy_css_rounds >= HY_CSS_ROUNDS) {
		cc->ssthresh = cc->epoch.cwnd_prior = cc->cwnd;
		hystart_reset(cc);
		return;
	}
	if (ended)
		hystart_round(cc, ack->snd_nxt);
}

/* RFC 5681 (2). Returns the bytes that are left to congestion avoidance. */
static uint32_t cc_slow_start(struct blk_cc *cc, const struct cc_ack *ack)
{
	bool first = cc->ssthresh == UINT32_MAX;
	uint32_t segs = cc->phase == CC_LOSS ? CC_L_LOSS_SEGS
			: first		     ? HY_L_SEGS
					     : CC_L_SEGS;
	uint32_t grow = min_u32(ack->acked_bytes, segs * ack->mss);

	if (first && cc->flags & CC_HY_CSS)
		grow /= HY_CSS_GROWTH_DIVISOR;
	if (grow <= cc->ssthresh - cc->cwnd) {
		cc->cwnd += grow;
		return 0;
	}
	grow -= cc->ssthresh - cc->cwnd;
	cc->cwnd = cc->ssthresh;
	return grow;
}

void cc_acked(struct blk_cc *cc, const struct cc_ack *ack)
{
	const struct cc_ops *ops = cc_ops_of(cc);
	uint32_t left = ack->acked_bytes;
	uint64_t since_us = ack->now_us > cc->acked_at_us
				    ? ack->now_us - cc->acked_at_us
				    : 0;

	cc->acked_at_us = ack->now_us;
	if (!ack->limited && ops->pause)
		ops->pause(cc, since_us);
	/* cwnd grows first: an ACK grows it as the phase before it says. */
	if (ack->limited && cc->cwnd < cc->ssthresh)
		left = cc_slow_start(cc, ack);
	if (ack->limited && left)
		ops->avoid(cc, ack, left);
	cc->cwnd = (uint32_t)clamp_u64(cc->cwnd, ack->mss, CC_CWND_MAX);
	if (cc->ssthresh == UINT32_MAX)
		hystart_acked(cc, ack);
}

void cc_congestion(struct blk_cc *cc, enum cc_event ev, uint32_t mss,
		   uint32_t flight_bytes, uint64_t now_us, bool again)
{
	struct blk_cc_epoch prior = cc->epoch;
	uint32_t ssthresh = cc_ops_of(cc)->reduce(cc, ev, flight_bytes);

	(void)now_us;
	hystart_reset(cc);
	if (!again) {
		cc->prior = prior;
		cc->prior_ssthresh = cc->ssthresh;
		cc->flags |= CC_CAN_UNDO;
		cc->ssthresh = min_u32(max_u32(ssthresh, 2 * mss), CC_CWND_MAX);
		cc->epoch.cwnd_prior = cc->cwnd;
	}
	cc->acked_bytes = 0;
	if (ev == CC_EV_TIMEOUT)
		cc->cwnd = mss;
}

void cc_undo(struct blk_cc *cc)
{
	if (!(cc->flags & CC_CAN_UNDO))
		return;
	cc->flags &= (uint8_t)~CC_CAN_UNDO;
	/* Since the event, cwnd_prior is the window that was lost by it. */
	cc->cwnd = max_u32(cc->cwnd, cc->epoch.cwnd_prior);
	cc->ssthresh = cc->prior_ssthresh;
	cc->epoch = cc->prior;
	cc->acked_bytes = 0;
	cc->est_acked_bytes = 0;
}

void cc_idle(struct blk_cc *cc, uint32_t mss)
{
	cc->flags &= (uint8_t)~CC_CAN_UNDO;
	cc->cwnd = (uint32_t)clamp_u64(cc->cwnd, mss, cc_initial_window(mss));
	cc->epoch.began_us = 0;
	cc->acked_bytes = 0;
	hystart_reset(cc);
}

void cc_resumed(struct blk_cc *cc, uint64_t idle_us)
{
	const struct cc_ops *ops = cc_ops_of(cc);

	if (ops->pause)
		ops->pause(cc, idle_us);
	cc->acked_at_us += min_u64(idle_us, UINT64_MAX - cc->acked_at_us);
}
