/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "arena/wheel.h"

#define N 1000u

static struct blk *blks;
static struct wheel wheel;
static uint64_t now;

static void up(void)
{
	blks = calloc(N, sizeof(*blks));
	now = 123456789;
	wheel_init(&wheel, blks, now);
}

static void down(void)
{
	free(blks);
}

START_TEST(test_never_early_and_at_most_one_tick_late)
{
	static const uint64_t after[] = { 1,	       1024,	   5000,
					  65536,       66000,	   4194304,
					  5000000,     270000000,  900000000,
					  16000000000, 20000000000 };
	uint64_t want = now + after[_i];

	wheel_set(&wheel, 3, want);
	while (wheel_expire(&wheel, now) == NIL) {
		uint64_t next = wheel_next_us(&wheel);

		ck_assert_uint_le(next, want + 2048);
		now = next > now ? next : now + 1;
	}
	ck_assert_uint_ge(now, want);
	ck_assert_uint_le(now, want + 2048);
	ck_assert_uint_eq(wheel_next_us(&wheel), UINT64_MAX);
}
END_TEST

START_TEST(test_moved_and_cleared_entries)
{
	wheel_set(&wheel, 1, now + 1000000);
	wheel_set(&wheel, 2, now + 1000000);
	wheel_set(&wheel, 1, now + 5000);
	wheel_clear(&wheel, 2);
	wheel_clear(&wheel, 2);
	ck_assert_uint_eq(wheel.entries, 1);
	ck_assert_uint_eq(wheel_expire(&wheel, now + 10000), 1);
	ck_assert_uint_eq(wheel_expire(&wheel, now + 2000000), NIL);
}
END_TEST

/* Four stops on the way down, and no more: the clock may have stood for weeks. */
START_TEST(test_far_entries_wake_nobody_on_the_way)
{
	uint32_t wakes = 0;

	wheel_set(&wheel, 5, now + UINT64_C(3600000000));
	while (wheel_expire(&wheel, now) == NIL) {
		ck_assert_uint_gt(wheel_next_us(&wheel), now);
		now = wheel_next_us(&wheel);
		wakes++;
	}
	ck_assert_uint_le(wakes, 4);
}
END_TEST

/* Against a plain list, with a random mix, over hours of clock. */
START_TEST(test_same_as_a_list)
{
	static uint64_t due[N];
	uint32_t fired = 0, late;

	memset(due, 0, sizeof(due));
	srand(7);
	for (int i = 0; i < 60000; i++) {
		uint32_t b = (uint32_t)rand() % N, got;

		switch (rand() % 4) {
		case 0:
		case 1:
			due[b] = now + 1 +
				 (uint64_t)rand() % (1u << rand() % 31);
			wheel_set(&wheel, b, due[b]);
			break;
		case 2:
			due[b] = 0;
			wheel_clear(&wheel, b);
			break;
		default:
			now += (uint64_t)rand() % (1u << rand() % 24);
			while ((got = wheel_expire(&wheel, now)) != NIL) {
				ck_assert_uint_ne(due[got], 0);
				ck_assert_uint_le(due[got], now);
				due[got] = 0;
				fired++;
			}
			late = 0;
			for (uint32_t k = 0; k < N; k++)
				late += due[k] && due[k] + 2048 <= now;
			ck_assert_uint_eq(late, 0);
		}
	}
	ck_assert_uint_gt(fired, 1000);
}
END_TEST

UNIT_MAIN("arena/wheel",
	  UNIT_LOOP("one", 11, up, down,
		    test_never_early_and_at_most_one_tick_late),
	  UNIT_CASE("many", up, down, test_moved_and_cleared_entries,
		    test_far_entries_wake_nobody_on_the_way,
		    test_same_as_a_list))
