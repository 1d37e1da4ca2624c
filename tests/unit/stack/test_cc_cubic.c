/* SPDX-License-Identifier: BSD-2-Clause */
/* Cubic, compared with the formulas of RFC 9438 in double. */
#include "flow.h"

static double w_cubic(double t_s, double k_s, double w_max)
{
	return 0.4 * pow(t_s - k_s, 3) + w_max;
}

START_TEST(test_cubic_cube_root_is_exact)
{
	static const uint64_t n[] = { 1,    2,	   3,	    10,	     215,
				      1000, 65535, 1 << 20, 2642244, 2642245 };

	ck_assert_uint_eq(cc_cube_root(0), 0);
	ck_assert_uint_eq(cc_cube_root(UINT64_MAX), 2642245);
	for (size_t i = 0; i < ARRAY_SIZE(n); i++) {
		uint64_t cube = n[i] * n[i] * n[i];

		ck_assert_uint_eq(cc_cube_root(cube), n[i]);
		ck_assert_uint_eq(cc_cube_root(cube - 1), n[i] - 1);
		ck_assert_uint_eq(cc_cube_root(cube + 1), n[i] + (cube == 0));
	}
	for (uint64_t v = 1; v < 30000; v++) {
		uint64_t r = cc_cube_root(v);

		ck_assert(r * r * r <= v && (r + 1) * (r + 1) * (r + 1) > v);
	}
}
END_TEST

/* Figure 1 and 2, over three times K, for windows and RTTs where it rules. */
START_TEST(test_cubic_window_follows_the_formula)
{
	static const struct {
		uint32_t segs, rtt_ms;
	} paths[] = { { 200, 200 }, { 1000, 100 }, { 1000, 400 },
		      { 5000, 50 }, { 5000, 150 }, { 20000, 100 } };
	double k = cbrt(paths[_i].segs * 0.3 / 0.4);
	struct flow f;
	uint64_t began;

	flow_avoid(&f, CC_CUBIC, paths[_i].rtt_ms * (uint32_t)MS,
		   paths[_i].segs);
	flow_ack(&f, MSS);
	ck_within("K", f.cc.epoch.k_ms / 1000.0, k, 0.001);
	began = f.now_us;
	for (double t = 0; t < 3 * k;) {
		flow_round(&f);
		t = (double)(f.now_us - began) / USEC_PER_SEC;
		ck_within("W_cubic(t)", f.cc.cwnd / (double)MSS,
			  w_cubic(t, k, paths[_i].segs), 0.01);
	}
	ck_assert_uint_gt(f.cc.cwnd, paths[_i].segs * MSS * 2);
}
END_TEST

/* RFC 9438 4.2 to 4.7 per ACK, in double and segments. */
struct model {
	double cwnd, w_max, prior, w_est, k, began;
	bool in_epoch;
};

static void model_loss(struct model *m)
{
	m->w_max = m->cwnd < m->w_max ? m->cwnd * 0.85 : m->cwnd;
	m->prior = m->cwnd;
	m->cwnd = fmax(m->cwnd * 0.7, 2);
	m->in_epoch = false;
}

static void model_ack(struct model *m, double now, double rtt)
{
	double alpha, t, target;

	if (!m->in_epoch) {
		m->in_epoch = true;
		m->began = now;
		m->w_est = m->cwnd;
		m->w_max = fmax(m->w_max, m->cwnd);
		m->k = cbrt((m->w_max - m->cwnd) / 0.4);
	}
	alpha = m->w_est >= m->prior ? 1 : 3 * 0.3 / 1.7;
	m->w_est += alpha / m->cwnd;
	t = now - m->began;
	if (w_cubic(t, m->k, m->w_max) < m->w_est) {
		m->cwnd = fmax(m->cwnd, m->w_est);
		return;
	}
	target = w_cubic(t + rtt, m->k, m->w_max);
	target = fmin(fmax(target, m->cwnd), 1.5 * m->cwnd);
	m->cwnd += (target - m->cwnd) / m->cwnd;
}

/* Losses at random times: each epoch begins where the last one ended. */
START_TEST(test_cubic_many_epochs_follow_the_model)
{
	uint64_t seed = 0x9438 + (uint64_t)_i * 7919;
	struct model m = { .cwnd = 20 + (double)(next_random(&seed) % 500) };
	uint32_t rtt_us = (uint32_t)(5 + next_random(&seed) % 200) * 1000;
	struct flow f;

	flow_init(&f, CC_CUBIC, rtt_us);
	f.cc.cwnd = (uint32_t)m.cwnd * MSS;
	for (int epoch = 0; epoch < 50; epoch++) {
		uint64_t until = f.now_us + next_random(&seed) % 15000000;

		/* Both start alike: fast convergence is a matter of a byte. */
		m.cwnd = f.cc.cwnd / (double)MSS;
		flow_loss(&f);
		model_loss(&m);
		while (f.now_us < until) {
			f.now_us += f.rtt_us / max_u32(f.cc.cwnd / MSS, 1);
			flow_ack(&f, MSS);
			model_ack(&m, (double)f.now_us / USEC_PER_SEC,
				  (double)f.rtt_us / USEC_PER_SEC);
		}
		ck_within("cwnd", f.cc.cwnd / (double)MSS, m.cwnd, 0.01);
	}
}
END_TEST

START_TEST(test_cubic_grows_like_reno_on_short_paths)
{
	struct flow f;

	/* 4.3: alpha below the window of the loss, a segment per round above. */
	flow_avoid(&f, CC_CUBIC, 10 * MS, 50);
	for (int i = 0; i < 20; i++)
		flow_round(&f);
	ck_within("below", f.cc.cwnd / (double)MSS, 35 + 20 * 9.0 / 17, 0.01);
	for (int i = 0; i < 10; i++)
		flow_round(&f);
	ck_within("above", f.cc.cwnd / (double)MSS, 50 + (30 - 15 * 17 / 9.0),
		  0.01);
	ck_assert_uint_gt(f.cc.cwnd, 50 * MSS);
}
END_TEST

START_TEST(test_cubic_fast_convergence_lowers_the_plateau)
{
	struct flow f;

	flow_avoid(&f, CC_CUBIC, 100 * MS, 1000);
	ck_assert_uint_eq(f.cc.epoch.w_max, 1000 * MSS);
	flow_round(&f);
	f.cc.cwnd = 800 * MSS;
	flow_loss(&f);
	ck_assert_uint_eq(f.cc.epoch.w_max, 680 * MSS);
	f.cc.cwnd = 700 * MSS;
	flow_loss(&f);
	ck_assert_uint_eq(f.cc.epoch.w_max, 700 * MSS);
}
END_TEST

START_TEST(test_cubic_time_of_an_app_limited_flow_does_not_count)
{
	struct flow f, twin;

	flow_avoid(&f, CC_CUBIC, 100 * MS, 1000);
	for (int i = 0; i < 20; i++)
		flow_round(&f);
	twin = f;
	f.app_limited = true;
	for (int i = 0; i < 600; i++) {
		f.now_us += 100 * MS;
		flow_ack(&f, MSS);
	}
	f.app_limited = false;
	for (int i = 0; i < 100; i++) {
		flow_round(&f);
		flow_round(&twin);
		ck_within("cwnd", (double)f.cc.cwnd, (double)twin.cc.cwnd,
			  0.001);
	}
}
END_TEST

START_TEST(test_cubic_time_without_flight_does_not_count)
{
	struct flow f, twin;

	flow_avoid(&f, CC_CUBIC, 100 * MS, 1000);
	for (int i = 0; i < 20; i++)
		flow_round(&f);
	twin = f;
	f.now_us += 86400 * USEC_PER_SEC;
	cc_resumed(&f.cc, 86400 * USEC_PER_SEC);
	/* Nor twice, when the first ACK after it is of little. */
	f.app_limited = twin.app_limited = true;
	flow_ack(&f, MSS);
	flow_ack(&twin, MSS);
	f.app_limited = twin.app_limited = false;
	for (int i = 0; i < 100; i++) {
		flow_round(&f);
		flow_round(&twin);
		ck_assert_uint_eq(f.cc.cwnd, twin.cc.cwnd);
	}
}
END_TEST

START_TEST(test_cubic_after_a_timeout_begins_at_its_plateau)
{
	struct flow f;
	uint64_t began;
	double start;

	flow_avoid(&f, CC_CUBIC, 100 * MS, 1000);
	flow_round(&f);
	cc_congestion(&f.cc, CC_EV_TIMEOUT, MSS, 700 * MSS, f.now_us, false);
	while (f.cc.cwnd < f.cc.ssthresh)
		flow_ack(&f, MSS);
	ck_assert_uint_eq(f.cc.cwnd, 490 * MSS);
	flow_ack(&f, MSS);
	began = f.now_us;
	start = f.cc.cwnd / (double)MSS;
	ck_assert_uint_eq(f.cc.epoch.k_ms, 0);
	for (int i = 0; i < 300; i++) {
		double t;

		flow_round(&f);
		t = (double)(f.now_us - began) / USEC_PER_SEC;
		/* 4.8: K = 0, W_max where it began; or as Reno, if faster. */
		ck_within("cwnd", f.cc.cwnd / (double)MSS,
			  fmax(w_cubic(t, 0, start),
			       start + (i + 1) * 9.0 / 17),
			  0.01);
	}
}
END_TEST

START_TEST(test_cubic_grows_by_half_a_window_per_round_at_most)
{
	struct flow f;
	uint32_t before;

	/* 4.2: far behind the function, by times whose cubes end in zeroes. */
	for (unsigned int bit = 16; bit < 54; bit++) {
		flow_avoid(&f, CC_CUBIC, 100 * MS, 100);
		flow_ack(&f, MSS);
		f.now_us = f.cc.epoch.began_us +
			   (f.cc.epoch.k_ms + (UINT64_C(1) << bit)) * MS;
		if (bit == 53)
			f.now_us = UINT64_MAX;
		before = f.cc.cwnd;
		for (uint32_t i = 0; i < before / MSS; i++)
			flow_ack(&f, MSS);
		ck_assert_uint_gt(f.cc.cwnd, before + before / 3);
		ck_assert_uint_le(f.cc.cwnd, before + before / 2 + MSS);
	}
}
END_TEST

/* A bottleneck of so many segments per second, with a queue. */
static void bottleneck(struct flow *f, uint32_t base_us, uint32_t segs_per_s,
		       uint32_t queue_segs, uint32_t rounds, uint32_t *ret_peak,
		       uint32_t *ret_trough, uint32_t *ret_losses)
{
	uint32_t bdp =
		(uint32_t)((uint64_t)segs_per_s * base_us / USEC_PER_SEC);

	*ret_peak = *ret_losses = 0;
	*ret_trough = UINT32_MAX;
	for (uint32_t i = 0; i < rounds; i++) {
		uint32_t segs = f->cc.cwnd / MSS;
		uint32_t queued = segs > bdp ? segs - bdp : 0;

		f->rtt_us = base_us +
			    (uint32_t)(queued * USEC_PER_SEC / segs_per_s);
		flow_round(f);
		if (queued <= queue_segs)
			continue;
		*ret_peak = max_u32(*ret_peak, f->cc.cwnd / MSS);
		flow_loss(f);
		*ret_trough = min_u32(*ret_trough, f->cc.cwnd / MSS);
		(*ret_losses)++;
	}
}

START_TEST(test_cubic_finds_the_bottleneck_and_stays_near)
{
	uint32_t peak, trough, losses;
	struct flow f;

	/* 120 Mbit/s, 50 ms: 500 segments, and as many in the queue. */
	flow_init(&f, CC_CUBIC, 50 * MS);
	bottleneck(&f, 50 * MS, 10000, 500, 400, &peak, &trough, &losses);
	bottleneck(&f, 50 * MS, 10000, 500, 3000, &peak, &trough, &losses);
	ck_assert_uint_ge(peak, 1000);
	ck_assert_uint_le(peak, 1100);
	ck_assert_uint_ge(trough, 650);
	ck_assert_uint_ge(losses, 5);
	ck_assert_uint_le(losses, 60);
	/* Thrice the rate: it goes back to W_max, and then beyond. */
	bottleneck(&f, 50 * MS, 30000, 1500, 1000, &peak, &trough, &losses);
	ck_assert_uint_ge(losses, 1);
	ck_assert_uint_ge(peak, 3000);
	ck_assert_uint_le(peak, 3600);
	/* A tenth: down in a few losses. */
	bottleneck(&f, 50 * MS, 3000, 150, 300, &peak, &trough, &losses);
	ck_assert_uint_le(f.cc.cwnd / MSS, 330);
}
END_TEST

UNIT_MAIN("stack/cc_cubic",
	  UNIT_TESTS(test_cubic_cube_root_is_exact,
		     test_cubic_grows_like_reno_on_short_paths,
		     test_cubic_fast_convergence_lowers_the_plateau,
		     test_cubic_time_of_an_app_limited_flow_does_not_count,
		     test_cubic_time_without_flight_does_not_count,
		     test_cubic_after_a_timeout_begins_at_its_plateau,
		     test_cubic_grows_by_half_a_window_per_round_at_most,
		     test_cubic_finds_the_bottleneck_and_stays_near),
	  UNIT_LOOP("formula", 6, NULL, NULL,
		    test_cubic_window_follows_the_formula),
	  UNIT_LOOP("model", 8, NULL, NULL,
		    test_cubic_many_epochs_follow_the_model))
