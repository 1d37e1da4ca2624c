/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/bytes.h"
#include "tools/swarm_pace.h"
#include "unit/unit.h"

#define START_NS UINT64_C(123456789012345)

static const uint32_t rates[] = { 1, 3, 7, 1000, 30000, 333333, 10000000 };

START_TEST(test_pace_has_its_rate_without_drift)
{
	uint32_t rate = rates[_i];
	struct swarm_pace p;
	uint64_t at_ns, last_ns = 0;

	swarm_pace_start(&p, rate, START_NS);
	for (uint32_t i = 0; i <= rate && i < 100000; i++) {
		at_ns = swarm_pace_next_ns(&p);
		ck_assert_uint_ge(at_ns, last_ns);
		ck_assert_uint_eq(at_ns, START_NS + i * NSEC_PER_SEC / rate);
		last_ns = at_ns;
		p.n++;
	}
	/* a day later it is still on the second */
	p.n = UINT64_C(86400) * rate;
	ck_assert_uint_eq(swarm_pace_next_ns(&p),
			  START_NS + 86400 * NSEC_PER_SEC);
}
END_TEST

START_TEST(test_pace_gives_what_is_due_and_no_more)
{
	struct swarm_pace p;
	uint64_t sched_ns, n = 0;

	swarm_pace_start(&p, 1000, START_NS);
	ck_assert(!swarm_pace_take(&p, START_NS - 1, &sched_ns));
	while (swarm_pace_take(&p, START_NS + NSEC_PER_SEC / 2, &sched_ns))
		n++;
	ck_assert_uint_eq(n, 501);
	ck_assert_uint_eq(sched_ns, START_NS + NSEC_PER_SEC / 2);
}
END_TEST

START_TEST(test_pace_late_events_keep_their_time)
{
	struct swarm_pace p;
	uint64_t sched_ns;

	swarm_pace_start(&p, 10, START_NS);
	for (uint64_t i = 0; i < 10; i++) {
		ck_assert(swarm_pace_take(&p, START_NS + 60 * NSEC_PER_SEC,
					  &sched_ns));
		ck_assert_uint_eq(sched_ns, START_NS + i * NSEC_PER_SEC / 10);
	}
}
END_TEST

START_TEST(test_pace_rate_0_is_never_due)
{
	struct swarm_pace p;
	uint64_t sched_ns;

	swarm_pace_start(&p, 0, START_NS);
	ck_assert_uint_eq(swarm_pace_next_ns(&p), UINT64_MAX);
	ck_assert(!swarm_pace_take(&p, UINT64_MAX - 1, &sched_ns));
	ck_assert_uint_eq(swarm_pace_skip(&p, UINT64_MAX - 1, 0), 0);
}
END_TEST

START_TEST(test_pace_skip_forgets_what_is_too_late)
{
	struct swarm_pace p;
	uint64_t sched_ns, n = 0, now_ns = START_NS + 10 * NSEC_PER_SEC;

	swarm_pace_start(&p, 100000, START_NS);
	ck_assert_uint_eq(swarm_pace_skip(&p, START_NS, NSEC_PER_MSEC), 0);
	ck_assert_uint_eq(swarm_pace_skip(&p, now_ns, 2 * NSEC_PER_MSEC),
			  1000000 - 200);
	while (swarm_pace_take(&p, now_ns, &sched_ns))
		n++;
	ck_assert_uint_eq(n, 201);
	ck_assert_uint_eq(swarm_pace_skip(&p, now_ns, 2 * NSEC_PER_MSEC), 0);
}
END_TEST

START_TEST(test_pace_left_is_what_can_be_taken)
{
	uint32_t rate = rates[_i];

	for (uint64_t ns = 0; ns < NSEC_PER_SEC / 100; ns += 333331) {
		struct swarm_pace p;
		uint64_t sched_ns, left, n = 0;

		swarm_pace_start(&p, rate, START_NS);
		left = swarm_pace_left(&p, START_NS + ns);
		while (ns > 0 &&
		       swarm_pace_take(&p, START_NS + ns - 1, &sched_ns))
			n++;
		ck_assert_uint_eq(left, n);
		ck_assert_uint_eq(swarm_pace_left(&p, START_NS + ns), 0);
	}
}
END_TEST

UNIT_MAIN("tools/swarm_pace",
	  UNIT_LOOP("rates", ARRAY_SIZE(rates), NULL, NULL,
		    test_pace_has_its_rate_without_drift,
		    test_pace_left_is_what_can_be_taken),
	  UNIT_TESTS(test_pace_gives_what_is_due_and_no_more,
		     test_pace_late_events_keep_their_time,
		     test_pace_rate_0_is_never_due,
		     test_pace_skip_forgets_what_is_too_late))
