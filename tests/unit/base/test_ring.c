/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/ring.h"
#include "unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

START_TEST(test_ring_refuses_bad_sizes)
{
	struct spsc r;

	ck_assert_int_eq(spsc_init(&r, 0, 8), -EINVAL);
	ck_assert_int_eq(spsc_init(&r, 3, 8), -EINVAL);
	ck_assert_int_eq(spsc_init(&r, 4, 0), -EINVAL);
	ck_assert_int_eq(spsc_init(&r, 4, UINT32_MAX), -EINVAL);
	spsc_fini(&r);
	spsc_fini(&r);
}
END_TEST

START_TEST(test_ring_is_first_in_first_out_and_bounded)
{
	struct spsc r;
	uint32_t *slot;

	ck_assert_int_eq(spsc_init(&r, 4, sizeof(*slot)), 0);
	ck_assert_ptr_null(spsc_peek(&r));
	for (uint32_t i = 0; i < 4; i++) {
		slot = spsc_reserve(&r);
		ck_assert_ptr_nonnull(slot);
		*slot = i;
		spsc_commit(&r);
	}
	ck_assert_ptr_null(spsc_reserve(&r));
	ck_assert_uint_eq(spsc_count(&r), 4);
	for (uint32_t i = 0; i < 4; i++) {
		slot = spsc_peek(&r);
		ck_assert_ptr_nonnull(slot);
		ck_assert_uint_eq(*slot, i);
		spsc_release(&r);
		ck_assert_ptr_nonnull(spsc_reserve(&r));
	}
	ck_assert_ptr_null(spsc_peek(&r));
	ck_assert_uint_eq(spsc_count(&r), 0);
	spsc_fini(&r);
}
END_TEST

START_TEST(test_ring_reserve_without_commit_hands_nothing_over)
{
	struct spsc r;
	void *first;

	ck_assert_int_eq(spsc_init(&r, 2, 16), 0);
	first = spsc_reserve(&r);
	ck_assert_ptr_eq(spsc_reserve(&r), first);
	ck_assert_ptr_null(spsc_peek(&r));
	spsc_commit(&r);
	ck_assert_ptr_eq(spsc_peek(&r), first);
	ck_assert_ptr_eq(spsc_peek(&r), first);
	spsc_fini(&r);
}
END_TEST

START_TEST(test_ring_counters_may_wrap)
{
	struct spsc r;

	ck_assert_int_eq(spsc_init(&r, 4, 8), 0);
	r.head = r.tail = UINT32_MAX - 1;
	r.head_seen = r.tail_seen = UINT32_MAX - 1;
	for (uint64_t i = 0; i < 4; i++) {
		uint64_t *slot = spsc_reserve(&r);

		ck_assert_ptr_nonnull(slot);
		*slot = i;
		spsc_commit(&r);
	}
	ck_assert_ptr_null(spsc_reserve(&r));
	for (uint64_t i = 0; i < 4; i++) {
		ck_assert_uint_eq(*(uint64_t *)spsc_peek(&r), i);
		spsc_release(&r);
	}
	ck_assert_ptr_null(spsc_peek(&r));
	spsc_fini(&r);
}
END_TEST

START_TEST(test_ring_slots_of_a_line_are_aligned_to_it)
{
	struct spsc r;
	char *a, *b;

	ck_assert_int_eq(spsc_init(&r, 2, 128), 0);
	a = spsc_reserve(&r);
	spsc_commit(&r);
	b = spsc_reserve(&r);
	ck_assert_uint_eq((uintptr_t)a % CACHE_LINE_BYTES, 0);
	ck_assert_int_eq(b - a, 128);
	spsc_fini(&r);
}
END_TEST

enum { THREADED_MESSAGES = 200000 };

struct message {
	uint64_t number;
	uint64_t check;
};

static void *produce(void *arg)
{
	struct spsc *r = arg;

	for (uint64_t i = 0; i < THREADED_MESSAGES;) {
		struct message *m = spsc_reserve(r);

		if (!m) {
			sched_yield();
			continue;
		}
		m->number = i;
		m->check = ~i;
		spsc_commit(r);
		i++;
	}
	return NULL;
}

START_TEST(test_ring_two_threads_lose_and_tear_nothing)
{
	struct spsc r;
	pthread_t producer;
	uint64_t bad = 0;

	ck_assert_int_eq(spsc_init(&r, 64, sizeof(struct message)), 0);
	ck_assert_int_eq(pthread_create(&producer, NULL, produce, &r), 0);
	for (uint64_t i = 0; i < THREADED_MESSAGES;) {
		const struct message *m = spsc_peek(&r);

		if (!m) {
			sched_yield();
			continue;
		}
		bad += m->number != i || m->check != ~i;
		spsc_release(&r);
		i++;
	}
	ck_assert_int_eq(pthread_join(producer, NULL), 0);
	ck_assert_uint_eq(bad, 0);
	ck_assert_ptr_null(spsc_peek(&r));
	spsc_fini(&r);
}
END_TEST

UNIT_MAIN("base/ring",
	  UNIT_TESTS(test_ring_refuses_bad_sizes,
		     test_ring_is_first_in_first_out_and_bounded,
		     test_ring_reserve_without_commit_hands_nothing_over,
		     test_ring_counters_may_wrap,
		     test_ring_slots_of_a_line_are_aligned_to_it,
		     test_ring_two_threads_lose_and_tear_nothing))
