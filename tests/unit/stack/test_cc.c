/* SPDX-License-Identifier: BSD-2-Clause */
/* Congestion control: what both algorithms share, Reno, and any input at all. */
#include <string.h>

#include "flow.h"

START_TEST(test_cc_initial_window_is_ten_segments)
{
	struct blk_cc cc;

	ck_assert_uint_eq(cc_initial_window(1460), 14600);
	ck_assert_uint_eq(cc_initial_window(536), 5360);
	ck_assert_uint_eq(cc_initial_window(9000), 18000);
	memset(&cc, 0xff, sizeof(cc));
	cc_init(&cc, (uint8_t)_i, 536);
	ck_assert_uint_eq(cc.cwnd, 5360);
	ck_assert_uint_eq(cc.ssthresh, UINT32_MAX);
	ck_assert_int_eq(cc.algorithm, _i);
	ck_assert_uint_eq(cc.recover | cc.dupacks | cc.backoff | cc.phase, 0);
}
END_TEST

START_TEST(test_cc_algorithms_have_names)
{
	ck_assert_str_eq(cc_name(CC_CUBIC), "cubic");
	ck_assert_str_eq(cc_name(CC_RENO), "reno");
	ck_assert_ptr_null(cc_name(CC_ALGORITHMS));
	ck_assert_ptr_null(cc_name(UINT8_MAX));
}
END_TEST

START_TEST(test_cc_slow_start_doubles_each_round)
{
	struct flow f;

	flow_init(&f, (uint8_t)_i, 100 * MS);
	for (uint32_t w = 10; w < 5000; w *= 2) {
		ck_assert_uint_eq(f.cc.cwnd, w * MSS);
		flow_round(&f);
	}
}
END_TEST

START_TEST(test_cc_slow_start_grows_by_a_bound_per_ack)
{
	struct flow f;
	uint32_t before;

	/* RFC 9406: L = 8 in the first slow start. */
	flow_init(&f, (uint8_t)_i, 100 * MS);
	flow_ack(&f, 100 * MSS);
	ck_assert_uint_eq(f.cc.cwnd, 18 * MSS);
	/* RFC 3465: 1 while what was sent before a time-out is about, else 2. */
	f.cc.cwnd = 200 * MSS;
	cc_congestion(&f.cc, CC_EV_TIMEOUT, MSS, f.cc.cwnd, f.now_us, false);
	f.cc.phase = CC_LOSS;
	flow_ack(&f, 100 * MSS);
	ck_assert_uint_eq(f.cc.cwnd, 2 * MSS);
	f.cc.phase = CC_OPEN;
	before = f.cc.cwnd;
	flow_ack(&f, 100 * MSS);
	ck_assert_uint_eq(f.cc.cwnd, before + 2 * MSS);
	flow_ack(&f, 10);
	ck_assert_uint_eq(f.cc.cwnd, before + 2 * MSS + 10);
}
END_TEST

START_TEST(test_cc_slow_start_ends_at_ssthresh)
{
	struct flow f;

	flow_init(&f, (uint8_t)_i, 100 * MS);
	f.cc.ssthresh = f.cc.cwnd + 100;
	flow_ack(&f, MSS);
	ck_assert_uint_ge(f.cc.cwnd, f.cc.ssthresh);
	ck_assert_uint_lt(f.cc.cwnd, f.cc.ssthresh + MSS / 4);
}
END_TEST

START_TEST(test_cc_app_limited_flow_grows_nothing)
{
	struct flow f;

	for (int avoid = 0; avoid < 2; avoid++) {
		flow_init(&f, (uint8_t)_i, 100 * MS);
		if (avoid)
			flow_avoid(&f, (uint8_t)_i, 100 * MS, 100);
		flow_round(&f);
		struct blk_cc before = f.cc;

		f.app_limited = true;
		for (int i = 0; i < 1000; i++)
			flow_round(&f);
		ck_assert_uint_eq(f.cc.cwnd, before.cwnd);
		ck_assert_uint_eq(f.cc.ssthresh, before.ssthresh);
		f.app_limited = false;
		flow_round(&f);
		ck_assert_uint_gt(f.cc.cwnd, before.cwnd);
	}
}
END_TEST

START_TEST(test_cc_loss_and_ecn_leave_the_window_to_recovery)
{
	struct flow f;

	for (int ev = CC_EV_LOSS; ev <= CC_EV_ECN; ev++) {
		flow_init(&f, (uint8_t)_i, 100 * MS);
		f.cc.cwnd = 100 * MSS;
		cc_congestion(&f.cc, (enum cc_event)ev, MSS, 90 * MSS, f.now_us,
			      false);
		ck_assert_uint_eq(f.cc.cwnd, 100 * MSS);
		ck_assert_uint_eq(f.cc.ssthresh,
				  (_i == CC_RENO ? 45 : 63) * MSS);
	}
}
END_TEST

START_TEST(test_cc_ssthresh_is_at_least_two_segments)
{
	struct flow f;

	for (int ev = CC_EV_LOSS; ev <= CC_EV_TIMEOUT; ev++) {
		flow_init(&f, (uint8_t)_i, 100 * MS);
		cc_congestion(&f.cc, (enum cc_event)ev, MSS, MSS, f.now_us,
			      false);
		ck_assert_uint_eq(f.cc.ssthresh, 2 * MSS);
		ck_assert_uint_ge(f.cc.cwnd, MSS);
	}
}
END_TEST

START_TEST(test_cc_timeout_begins_with_one_segment)
{
	struct flow f;
	uint32_t ssthresh;

	flow_init(&f, (uint8_t)_i, 100 * MS);
	f.cc.cwnd = 100 * MSS;
	cc_congestion(&f.cc, CC_EV_TIMEOUT, MSS, 100 * MSS, f.now_us, false);
	ssthresh = (_i == CC_RENO ? 50 : 70) * MSS;
	ck_assert_uint_eq(f.cc.cwnd, MSS);
	ck_assert_uint_eq(f.cc.ssthresh, ssthresh);
	/* RFC 5681 3.1: once for a series. */
	flow_ack(&f, MSS);
	cc_congestion(&f.cc, CC_EV_TIMEOUT, MSS, 2 * MSS, f.now_us, true);
	ck_assert_uint_eq(f.cc.cwnd, MSS);
	ck_assert_uint_eq(f.cc.ssthresh, ssthresh);
	cc_undo(&f.cc);
	ck_assert_uint_eq(f.cc.cwnd, 100 * MSS);
	ck_assert_uint_eq(f.cc.ssthresh, UINT32_MAX);
}
END_TEST

START_TEST(test_cc_undo_is_as_if_nothing_had_been)
{
	struct flow f, twin;

	for (int ev = CC_EV_LOSS; ev <= CC_EV_TIMEOUT; ev++) {
		flow_avoid(&f, (uint8_t)_i, 50 * MS, 1000);
		for (int i = 0; i < 30; i++)
			flow_round(&f);
		twin = f;
		cc_congestion(&f.cc, (enum cc_event)ev, MSS, f.cc.cwnd,
			      f.now_us, false);
		f.cc.cwnd = min_u32(f.cc.cwnd, f.cc.ssthresh);
		for (int i = 0; i < 3; i++)
			flow_ack(&f, MSS);
		ck_assert_uint_lt(f.cc.cwnd, twin.cc.cwnd);
		cc_undo(&f.cc);
		ck_assert_uint_eq(f.cc.cwnd, twin.cc.cwnd);
		ck_assert_uint_eq(f.cc.ssthresh, twin.cc.ssthresh);
		for (int i = 0; i < 200; i++) {
			flow_round(&f);
			flow_round(&twin);
		}
		ck_within("window", (double)f.cc.cwnd, (double)twin.cc.cwnd,
			  0.005);
	}
}
END_TEST

START_TEST(test_cc_undo_is_once_and_never_lowers_the_window)
{
	struct flow f;
	struct blk_cc before;

	flow_init(&f, (uint8_t)_i, 50 * MS);
	before = f.cc;
	cc_undo(&f.cc);
	ck_assert_mem_eq(&f.cc, &before, sizeof(before));
	f.cc.cwnd = 100 * MSS;
	flow_loss(&f);
	f.cc.cwnd = 120 * MSS;
	cc_undo(&f.cc);
	ck_assert_uint_eq(f.cc.cwnd, 120 * MSS);
	ck_assert_uint_eq(f.cc.ssthresh, UINT32_MAX);
	f.cc.cwnd = 10 * MSS;
	f.cc.ssthresh = 5 * MSS;
	cc_undo(&f.cc);
	ck_assert_uint_eq(f.cc.cwnd, 10 * MSS);
	ck_assert_uint_eq(f.cc.ssthresh, 5 * MSS);
}
END_TEST

START_TEST(test_cc_idle_window_is_at_most_the_initial_one)
{
	struct flow f;
	uint32_t ssthresh;

	flow_avoid(&f, (uint8_t)_i, 50 * MS, 100);
	flow_round(&f);
	ssthresh = f.cc.ssthresh;
	cc_idle(&f.cc, MSS);
	ck_assert_uint_eq(f.cc.cwnd, 10 * MSS);
	ck_assert_uint_eq(f.cc.ssthresh, ssthresh);
	f.now_us += 3600 * USEC_PER_SEC;
	flow_round(&f);
	ck_assert_uint_eq(f.cc.cwnd, 20 * MSS);
	/* And what happened before is no more to be undone. */
	cc_undo(&f.cc);
	ck_assert_uint_eq(f.cc.cwnd, 20 * MSS);
	f.cc.cwnd = 3 * MSS;
	cc_idle(&f.cc, MSS);
	ck_assert_uint_eq(f.cc.cwnd, 3 * MSS);
}
END_TEST

START_TEST(test_reno_grows_a_segment_per_window)
{
	static const uint32_t per[] = { 100, MSS / 2, MSS, 2 * MSS, 10 * MSS };
	struct flow f;

	for (size_t i = 0; i < ARRAY_SIZE(per); i++) {
		flow_avoid(&f, CC_RENO, 100 * MS, 40);
		ck_assert_uint_eq(f.cc.cwnd, 20 * MSS);
		for (uint32_t round = 0; round < 10; round++)
			flow_round_of(&f, per[i]);
		/* What the growth in a round adds is acknowledged in the next. */
		ck_assert_uint_ge(f.cc.cwnd, 29 * MSS);
		ck_assert_uint_le(f.cc.cwnd, 30 * MSS);
	}
	flow_avoid(&f, CC_RENO, 100 * MS, 40);
	for (int i = 0; i < 19; i++)
		flow_ack(&f, MSS);
	ck_assert_uint_eq(f.cc.cwnd, 20 * MSS);
	flow_ack(&f, MSS);
	ck_assert_uint_eq(f.cc.cwnd, 21 * MSS);
	flow_ack(&f, UINT32_MAX);
	ck_assert_uint_eq(f.cc.cwnd, 22 * MSS);
	/* What is more than a window by then counts for the next. */
	flow_avoid(&f, CC_RENO, 100 * MS, 40);
	flow_ack(&f, 19 * MSS);
	flow_ack(&f, 20 * MSS);
	ck_assert_uint_eq(f.cc.cwnd, 21 * MSS);
	flow_ack(&f, 2 * MSS);
	ck_assert_uint_eq(f.cc.cwnd, 22 * MSS);
}
END_TEST

/* A number of a random magnitude below 2^bits. */
static uint64_t any(uint64_t *seed, unsigned int bits)
{
	return next_random(seed) &
	       ((UINT64_C(1) << next_random(seed) % bits) |
		((UINT64_C(1) << next_random(seed) % bits) - 1));
}

static void any_ack(struct flow *f, uint64_t *seed)
{
	struct cc_ack ack = {
		.now_us = f->now_us,
		.mss = f->mss,
		.acked_bytes = 1 + (uint32_t)any(seed, 31),
		.rtt_us = (uint32_t)any(seed, 32),
		.srtt_us = (uint32_t)any(seed, 32),
		.snd_una = (uint32_t)any(seed, 32),
		.snd_nxt = (uint32_t)any(seed, 32),
		.limited = next_random(seed) % 8 != 0,
	};
	uint32_t before = f->cc.cwnd;

	cc_acked(&f->cc, &ack);
	ck_assert_uint_ge(f->cc.cwnd, min_u32(before, CC_CWND_MAX));
	ck_assert_uint_le(f->cc.cwnd, max_u64(before + before / 2 + 8 * f->mss,
					      2 * f->mss));
	if (!ack.limited)
		ck_assert_uint_eq(f->cc.cwnd, before);
}

static void any_event(struct flow *f, uint64_t *seed)
{
	enum cc_event ev = (enum cc_event)(next_random(seed) % 3);
	bool again = ev == CC_EV_TIMEOUT && next_random(seed) % 2 &&
		     f->cc.ssthresh != UINT32_MAX;

	cc_congestion(&f->cc, ev, f->mss, (uint32_t)any(seed, 32), f->now_us,
		      again);
	if (ev != CC_EV_TIMEOUT && next_random(seed) % 4)
		f->cc.cwnd = min_u32(f->cc.cwnd, f->cc.ssthresh);
	f->cc.phase = ev == CC_EV_TIMEOUT ? CC_LOSS : CC_OPEN;
}

START_TEST(test_cc_any_input_keeps_the_bounds)
{
	uint64_t seed = 1 + (uint64_t)_i * 104729;
	struct flow f;

	flow_init(&f, _i % 2 ? CC_RENO : CC_CUBIC, 0);
	f.mss = 1 + (uint32_t)(any(&seed, 16) & 0xffff) % 65535;
	f.now_us = any(&seed, 40);
	cc_init(&f.cc, f.cc.algorithm, f.mss);
	for (int i = 0; i < 20000; i++) {
		switch (next_random(&seed) % 64) {
		case 0:
			any_event(&f, &seed);
			break;
		case 1:
			cc_undo(&f.cc);
			break;
		case 2:
			if (next_random(&seed) % 8 == 0)
				cc_idle(&f.cc, f.mss);
			break;
		case 3:
			cc_resumed(&f.cc, any(&seed, 63));
			break;
		default:
			f.now_us += any(&seed, 39); /* up to six days */
			any_ack(&f, &seed);
		}
		ck_assert_uint_ge(f.cc.cwnd, f.mss);
		ck_assert_uint_le(f.cc.cwnd, CC_CWND_MAX);
		ck_assert_uint_ge(f.cc.ssthresh, 2 * f.mss);
		ck_assert_uint_le(f.cc.epoch.w_max, CC_CWND_MAX);
		ck_assert_uint_le(f.cc.epoch.w_est, CC_CWND_MAX);
	}
}
END_TEST

UNIT_MAIN("stack/cc",
	  UNIT_LOOP("both", CC_ALGORITHMS, NULL, NULL,
		    test_cc_initial_window_is_ten_segments,
		    test_cc_slow_start_doubles_each_round,
		    test_cc_slow_start_grows_by_a_bound_per_ack,
		    test_cc_slow_start_ends_at_ssthresh,
		    test_cc_app_limited_flow_grows_nothing,
		    test_cc_loss_and_ecn_leave_the_window_to_recovery,
		    test_cc_ssthresh_is_at_least_two_segments,
		    test_cc_timeout_begins_with_one_segment,
		    test_cc_undo_is_as_if_nothing_had_been,
		    test_cc_undo_is_once_and_never_lowers_the_window,
		    test_cc_idle_window_is_at_most_the_initial_one),
	  UNIT_TESTS(test_cc_algorithms_have_names,
		     test_reno_grows_a_segment_per_window),
	  UNIT_LOOP("any", 16, NULL, NULL, test_cc_any_input_keeps_the_bounds))
