/* SPDX-License-Identifier: BSD-2-Clause */
/* HyStart++, RFC 9406: each test with both algorithms. */
#include "flow.h"

START_TEST(test_hystart_flat_rtt_is_slow_start_to_the_end)
{
	uint64_t seed = 9406;
	struct flow f;

	flow_init(&f, (uint8_t)_i, 0);
	for (uint32_t w = 10; w < 20000; w *= 2) {
		uint64_t end = f.now_us + 104 * MS;

		for (uint32_t i = 0; i < w; i++) {
			/* Jitter of 4 ms, without a trend. */
			f.rtt_us = (uint32_t)(100 * MS +
					      next_random(&seed) % (4 * MS));
			flow_ack(&f, MSS);
		}
		f.now_us = end;
		ck_assert_uint_eq(f.cc.cwnd, 2 * w * MSS);
		ck_assert_uint_eq(f.cc.ssthresh, UINT32_MAX);
	}
}
END_TEST

/* Two rounds at the base, then one above it. */
static void hystart_rise(struct flow *f, uint8_t algorithm, uint32_t base_us,
			 uint32_t rise_us)
{
	flow_init(f, algorithm, base_us);
	flow_round(f);
	flow_round(f);
	f->rtt_us = base_us + rise_us;
	flow_round(f);
}

START_TEST(test_hystart_threshold_is_an_eighth_within_bounds)
{
	static const uint32_t cases[][2] = { { 100 * MS, 12500 },
					     { 10 * MS, 4 * MS },
					     { 32 * MS, 4 * MS },
					     { 500 * MS, 16 * MS },
					     { 1, 4 * MS } };
	struct flow f;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		hystart_rise(&f, (uint8_t)_i, cases[i][0], cases[i][1] - 1);
		ck_assert(!(f.cc.flags & CC_HY_CSS));
		ck_assert_uint_eq(f.cc.cwnd, 80 * MSS);
		hystart_rise(&f, (uint8_t)_i, cases[i][0], cases[i][1]);
		ck_assert(f.cc.flags & CC_HY_CSS);
		ck_assert_uint_lt(f.cc.cwnd, 60 * MSS);
	}
}
END_TEST

/* Conservative slow start to its end. Returns how many rounds it took. */
static uint32_t hystart_css_rounds(struct flow *f)
{
	uint32_t n = 0;

	ck_assert(f->cc.flags & CC_HY_CSS);
	while (f->cc.ssthresh == UINT32_MAX && n < 10) {
		uint32_t end = f->cc.hy_window_end;

		flow_ack(f, MSS);
		if (f->cc.hy_window_end != end || f->cc.ssthresh != UINT32_MAX)
			n++;
	}
	return n;
}

START_TEST(test_hystart_rising_rtt_ends_slow_start_in_five_rounds)
{
	struct flow f;
	uint32_t before;

	hystart_rise(&f, (uint8_t)_i, 100 * MS, 20 * MS);
	ck_assert_uint_eq(hystart_css_rounds(&f), 5);
	ck_assert_uint_eq(f.cc.cwnd, f.cc.ssthresh);
	before = f.cc.cwnd;
	flow_round(&f);
	ck_assert_uint_ge(f.cc.cwnd, before);
	ck_assert_uint_le(f.cc.cwnd, before + 2 * MSS);
}
END_TEST

START_TEST(test_hystart_conservative_slow_start_grows_a_quarter)
{
	struct flow f;
	uint32_t before;

	hystart_rise(&f, (uint8_t)_i, 100 * MS, 20 * MS);
	for (int i = 0; i < 3; i++) {
		before = f.cc.cwnd;
		flow_round(&f);
		ck_assert_uint_eq(f.cc.ssthresh, UINT32_MAX);
		ck_within("cwnd", (double)f.cc.cwnd, before * 1.25, 0.001);
	}
}
END_TEST

START_TEST(test_hystart_spurious_rise_resumes_slow_start)
{
	struct flow f;
	uint32_t before;

	hystart_rise(&f, (uint8_t)_i, 100 * MS, 20 * MS);
	flow_round(&f);
	ck_assert(f.cc.flags & CC_HY_CSS);
	f.rtt_us = 100 * MS;
	flow_round(&f);
	flow_round(&f);
	ck_assert(!(f.cc.flags & CC_HY_CSS));
	for (int i = 0; i < 6; i++) {
		before = f.cc.cwnd;
		flow_round(&f);
		ck_assert_uint_eq(f.cc.cwnd, 2 * before);
	}
	/* And leaves it again when there is a reason to. */
	f.rtt_us = 130 * MS;
	for (uint32_t i = 0; i < 4000 && !(f.cc.flags & CC_HY_CSS); i++)
		flow_ack(&f, MSS);
	ck_assert_uint_eq(hystart_css_rounds(&f), 5);
}
END_TEST

START_TEST(test_hystart_needs_eight_samples)
{
	struct flow f;

	/* ACKs of two segments: five samples of the first window. */
	flow_init(&f, (uint8_t)_i, 100 * MS);
	do
		flow_ack(&f, 2 * MSS);
	while (f.cc.hy_samples);
	f.rtt_us = 200 * MS;
	for (int i = 0; i < 7; i++)
		flow_ack(&f, MSS);
	ck_assert(!(f.cc.flags & CC_HY_CSS));
	flow_ack(&f, MSS);
	ck_assert(f.cc.flags & CC_HY_CSS);
}
END_TEST

START_TEST(test_hystart_is_for_the_first_slow_start_only)
{
	struct flow f;

	flow_init(&f, (uint8_t)_i, 100 * MS);
	f.cc.cwnd = 10000 * MSS;
	cc_congestion(&f.cc, CC_EV_TIMEOUT, MSS, 10000 * MSS, f.now_us, false);
	for (uint32_t w = 1; w < 4096; w *= 2) {
		ck_assert_uint_eq(f.cc.cwnd, w * MSS);
		flow_round(&f);
		f.rtt_us += 20 * MS;
	}
}
END_TEST

START_TEST(test_hystart_ends_with_congestion_and_begins_anew_with_undo)
{
	struct flow f;

	hystart_rise(&f, (uint8_t)_i, 100 * MS, 20 * MS);
	flow_loss(&f);
	ck_assert(!(f.cc.flags & CC_HY_CSS));
	cc_undo(&f.cc);
	ck_assert_uint_eq(f.cc.ssthresh, UINT32_MAX);
	for (uint32_t i = 0; i < 5; i++) {
		uint32_t before = f.cc.cwnd;

		flow_round(&f);
		ck_assert_uint_eq(f.cc.cwnd, 2 * before);
	}
	f.rtt_us += 20 * MS;
	flow_round(&f);
	ck_assert(f.cc.flags & CC_HY_CSS);
}
END_TEST

START_TEST(test_hystart_of_an_app_limited_flow_decides_nothing)
{
	struct flow f;

	flow_init(&f, (uint8_t)_i, 100 * MS);
	f.app_limited = true;
	for (int i = 0; i < 20; i++) {
		flow_round(&f);
		f.rtt_us += 20 * MS;
	}
	ck_assert(!(f.cc.flags & CC_HY_CSS));
	ck_assert_uint_eq(f.cc.ssthresh, UINT32_MAX);
	/* In conservative slow start it does not count rounds. */
	hystart_rise(&f, (uint8_t)_i, 100 * MS, 20 * MS);
	f.app_limited = true;
	for (int i = 0; i < 20; i++)
		flow_round(&f);
	ck_assert(f.cc.flags & CC_HY_CSS);
	ck_assert_uint_eq(f.cc.ssthresh, UINT32_MAX);
}
END_TEST

UNIT_MAIN("stack/cc_hystart",
	  UNIT_LOOP("both", CC_ALGORITHMS, NULL, NULL,
		    test_hystart_flat_rtt_is_slow_start_to_the_end,
		    test_hystart_threshold_is_an_eighth_within_bounds,
		    test_hystart_rising_rtt_ends_slow_start_in_five_rounds,
		    test_hystart_conservative_slow_start_grows_a_quarter,
		    test_hystart_spurious_rise_resumes_slow_start,
		    test_hystart_needs_eight_samples,
		    test_hystart_is_for_the_first_slow_start_only,
		    test_hystart_ends_with_congestion_and_begins_anew_with_undo,
		    test_hystart_of_an_app_limited_flow_decides_nothing))
