/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CUBIC: RFC 9438, in integers.
 *
 * In congestion avoidance the window follows a cubic function of the time
 * since the epoch began, flat around W_max, the window of the last loss:
 *
 *	W_cubic(t) = C * (t - K)^3 + W_max       C = 0.4 segments/s^3
 *
 *	cwnd |                        .
 *	     |                       .
 *	W_max|- - - - - ..--+--..- -       K: when it is back at W_max
 *	     |      . '     |
 *	     |    .         |
 *	     |___.__________|___________ t
 *	      began         K
 *
 * but not slower than Reno would grow (W_est, section 4.3).
 *
 * Invariants:
 *  I1  an epoch begins with the first ACK of congestion avoidance after a
 *      congestion event, an idle spell, or slow start: until then began_us
 *      is 0;
 *  I2  t does not count time in which the application, not the window,
 *      limited the flow (section 5.8): such time moves began_us forward;
 *  I3  in an epoch cwnd never shrinks.
 *
 * Limits. Windows are bytes, t and K milliseconds, at most CUBIC_MS_MAX: beyond
 * that any term is past any window. Products stay within 64 bits for windows
 * up to CC_CWND_MAX and segments up to 65535 bytes. Fractions of a byte are
 * carried in acked_bytes and est_acked_bytes.
 */
#include "base/bytes.h"
#include "base/units.h"
#include "stack/cc_ops.h"

/* C = 2/5 (section 5), beta = 7/10 (section 4.6). */
#define CUBIC_C_NUM 2u
#define CUBIC_C_DEN 5u
#define CUBIC_BETA_NUM 7u
#define CUBIC_BETA_DEN 10u
/* alpha = 3 * (1 - beta) / (1 + beta) (section 4.3). */
#define CUBIC_ALPHA_NUM 9u
#define CUBIC_ALPHA_DEN 17u
/* (1 + beta) / 2 (section 4.7). */
#define CUBIC_FAST_NUM 17u
#define CUBIC_FAST_DEN 20u

#define CUBIC_MS_MAX UINT64_C(1000000)

uint32_t cc_cube_root(uint64_t v)
{
	uint64_t root = 0;

	/* 2^22 is past the cube root of 2^64. */
	for (uint64_t bit = UINT64_C(1) << 21; bit; bit >>= 1) {
		uint64_t r = root | bit;

		if (r * r <= v / r)
			root = r;
	}
	return (uint32_t)root;
}

/* C * |t - K|^3 in bytes. */
static uint64_t cubic_term(uint64_t ms, uint32_t mss)
{
	uint64_t d = min_u64(ms, CUBIC_MS_MAX);

	/* At most 10^14 * 131070, which is under 2^64. */
	return d * d * d / 10000 * mss * CUBIC_C_NUM / CUBIC_C_DEN / 100000;
}

/* Figure 1: the window at t, bytes. */
static uint64_t cubic_window(const struct blk_cc_epoch *e, uint64_t t_us,
			     uint32_t mss)
{
	uint64_t t_ms = t_us / USEC_PER_MSEC, term;

	if (t_ms >= e->k_ms)
		return e->w_max + cubic_term(t_ms - e->k_ms, mss);
	term = cubic_term(e->k_ms - t_ms, mss);
	return e->w_max - min_u64(e->w_max, term);
}

/* Figure 2: K, of the distance to W_max. */
static uint32_t cubic_k_ms(uint32_t distance_bytes, uint32_t mss)
{
	/* (1000 ms)^3 / C per segment; under 2^30 * 2.5 * 10^9. */
	uint64_t cube = distance_bytes *
			(UINT64_C(1000000000) * CUBIC_C_DEN / CUBIC_C_NUM);

	return (uint32_t)min_u64(cc_cube_root(cube / mss), CUBIC_MS_MAX);
}

/*
 * Where W_max is not known or already behind, the epoch begins at the plateau:
 * after a time-out (section 4.8) and when HyStart++ ended slow start (4.10).
 */
static void cubic_begin(struct blk_cc *cc, const struct cc_ack *ack)
{
	struct blk_cc_epoch *e = &cc->epoch;

	e->began_us = max_u64(ack->now_us, 1);
	e->w_est = cc->cwnd;
	e->w_max = max_u32(e->w_max, cc->cwnd);
	e->k_ms = cubic_k_ms(e->w_max - cc->cwnd, ack->mss);
	cc->acked_bytes = 0;
	cc->est_acked_bytes = 0;
}

/*
 * Adds @bytes to those in @acked, of which the share num / den (at most 1) in
 * whole bytes is returned. What was not used for it stays in @acked for the
 * next time; a window's worth at most, so that no ACK counts for more.
 */
static uint32_t cubic_share(uint32_t *acked, uint32_t bytes, uint32_t window,
			    uint64_t num, uint64_t den)
{
	uint64_t have = min_u64((uint64_t)*acked + bytes, window);
	uint64_t whole = have * num / den;

	if (whole)
		have -= (whole * den + num - 1) / num;
	*acked = (uint32_t)have;
	return (uint32_t)whole;
}

/*
 * Figure 4: W_est. alpha makes its mean that of Reno as long as it stays below
 * the window of the last event; then it grows like Reno itself.
 */
static void cubic_estimate(struct blk_cc *cc, const struct cc_ack *ack,
			   uint32_t acked_bytes)
{
	struct blk_cc_epoch *e = &cc->epoch;
	bool slower = e->w_est < e->cwnd_prior;
	uint64_t num = (uint64_t)ack->mss * (slower ? CUBIC_ALPHA_NUM : 1);
	uint64_t den = (uint64_t)cc->cwnd * (slower ? CUBIC_ALPHA_DEN : 1);

	e->w_est += cubic_share(&cc->est_acked_bytes, acked_bytes, cc->cwnd,
				num, den);
	e->w_est = min_u32(e->w_est, CC_CWND_MAX);
}

static void cubic_avoid(struct blk_cc *cc, const struct cc_ack *ack,
			uint32_t acked_bytes)
{
	struct blk_cc_epoch *e = &cc->epoch;
	uint64_t t_us, target;

	if (!e->began_us)
		cubic_begin(cc, ack);
	t_us = ack->now_us > e->began_us ? ack->now_us - e->began_us : 0;
	t_us = min_u64(t_us, UINT64_MAX / 2);
	cubic_estimate(cc, ack, acked_bytes);
	if (cubic_window(e, t_us, ack->mss) < e->w_est) {
		cc->acked_bytes = 0;
		cc->cwnd = max_u32(cc->cwnd, e->w_est);
		return;
	}
	/* Section 4.2: towards what the function says for the next RTT. */
	target = clamp_u64(cubic_window(e, t_us + ack->srtt_us, ack->mss),
			   cc->cwnd, cc->cwnd + cc->cwnd / 2);
	cc->cwnd += cubic_share(&cc->acked_bytes, acked_bytes, cc->cwnd,
				target - cc->cwnd, cc->cwnd);
}

/* Section 4.6 to 4.8. */
static uint32_t cubic_reduce(struct blk_cc *cc, enum cc_event ev,
			     uint32_t flight_bytes)
{
	struct blk_cc_epoch *e = &cc->epoch;

	e->began_us = 0;
	/* Fast convergence: a lower peak than the last makes room for others. */
	if (ev == CC_EV_TIMEOUT)
		e->w_max = 0;
	else if (cc->cwnd < e->w_max)
		e->w_max = (uint32_t)((uint64_t)cc->cwnd * CUBIC_FAST_NUM /
				      CUBIC_FAST_DEN);
	else
		e->w_max = cc->cwnd;
	return (uint32_t)((uint64_t)flight_bytes * CUBIC_BETA_NUM /
			  CUBIC_BETA_DEN);
}

/* Section 5.8, I2. */
static void cubic_pause(struct blk_cc *cc, uint64_t pause_us)
{
	struct blk_cc_epoch *e = &cc->epoch;

	if (e->began_us)
		e->began_us += min_u64(pause_us, UINT64_MAX - e->began_us);
}

const struct cc_ops cc_cubic = {
	.name = "cubic",
	.avoid = cubic_avoid,
	.reduce = cubic_reduce,
	.pause = cubic_pause,
};
