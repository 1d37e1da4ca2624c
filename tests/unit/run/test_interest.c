/* SPDX-License-Identifier: BSD-2-Clause */
/* What epoll_ctl(2) and epoll_wait(2) promise, without any system call. */
#include "run/interest.h"

#include <errno.h>
#include <string.h>

#include "unit/unit.h"

/* A source whose state the test sets. */
struct thing {
	struct interest_source source;
	uint32_t now;
};

static struct thing a, b;
static struct interest_set set, other;
static struct epoll_event ev[8];
static int told; /* calls of on_ready */

static uint32_t now(struct interest_source *source)
{
	return ((struct thing *)(void *)source)->now;
}

static void on_ready(struct interest_set *s)
{
	(void)s;
	told++;
}

static void setup(void)
{
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memset(&set, 0, sizeof(set));
	memset(&other, 0, sizeof(other));
	set.on_ready = on_ready;
	told = 0;
}

static void teardown(void)
{
	interest_drop_set(&set);
	interest_drop_set(&other);
	ck_assert_ptr_null(a.source.first);
	ck_assert_ptr_null(b.source.first);
}

static int add(struct thing *t, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.u64 = (uint64_t)fd };

	return interest_add(&set, &t->source, fd, &e, now);
}

static int mod(struct thing *t, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.u64 = (uint64_t)fd };

	return interest_mod(&set, &t->source, fd, &e, now);
}

static int collect(void)
{
	return interest_collect(&set, ev, 8, now);
}

static void change(struct thing *t, uint32_t to)
{
	t->now = to;
	interest_changed(&t->source);
}

START_TEST(test_level_triggered_is_told_while_it_is_true)
{
	ck_assert_int_eq(add(&a, 5, EPOLLIN), 0);
	ck_assert_int_eq(collect(), 0);
	change(&a, EPOLLIN | EPOLLOUT);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(collect(), 1);
		ck_assert_uint_eq(ev[0].events, EPOLLIN);
		ck_assert_uint_eq(ev[0].data.u64, 5);
	}
	a.now = EPOLLOUT; /* read: nobody tells that */
	ck_assert_int_eq(collect(), 0);
	ck_assert_ptr_null(set.ready_head);
}
END_TEST

START_TEST(test_edge_triggered_is_told_once_per_change)
{
	ck_assert_int_eq(add(&a, 5, EPOLLIN | EPOLLOUT | EPOLLET), 0);
	change(&a, EPOLLIN | EPOLLOUT);
	ck_assert_int_eq(collect(), 1);
	ck_assert_uint_eq(ev[0].events, EPOLLIN | EPOLLOUT);
	ck_assert_int_eq(collect(), 0);
	change(&a, EPOLLIN | EPOLLOUT);
	ck_assert_int_eq(collect(), 1);
}
END_TEST

START_TEST(test_oneshot_is_silent_until_it_is_modified)
{
	ck_assert_int_eq(add(&a, 5, EPOLLIN | EPOLLONESHOT), 0);
	change(&a, EPOLLIN);
	ck_assert_int_eq(collect(), 1);
	change(&a, EPOLLIN);
	ck_assert_int_eq(collect(), 0);
	ck_assert_int_eq(mod(&a, 5, EPOLLIN | EPOLLONESHOT), 0);
	ck_assert_int_eq(collect(), 1);
	ck_assert_int_eq(collect(), 0);
}
END_TEST

START_TEST(test_registering_looks_at_once)
{
	a.now = EPOLLIN;
	ck_assert_int_eq(add(&a, 5, EPOLLIN | EPOLLET), 0);
	ck_assert_int_eq(collect(), 1);
	ck_assert_int_eq(collect(), 0);
	ck_assert_int_eq(mod(&a, 5, EPOLLIN | EPOLLET), 0);
	ck_assert_int_eq(collect(), 1);
	/* What is no longer asked for isn't told, though it was queued. */
	change(&a, EPOLLIN);
	ck_assert_int_eq(mod(&a, 5, EPOLLOUT), 0);
	ck_assert_int_eq(collect(), 0);
}
END_TEST

START_TEST(test_errors_are_always_meant)
{
	ck_assert_int_eq(add(&a, 5, 0), 0);
	change(&a, EPOLLIN | EPOLLOUT);
	ck_assert_int_eq(collect(), 0);
	change(&a, EPOLLIN | EPOLLERR | EPOLLHUP);
	ck_assert_int_eq(collect(), 1);
	ck_assert_uint_eq(ev[0].events, EPOLLERR | EPOLLHUP);
}
END_TEST

START_TEST(test_descriptors_are_registered_once)
{
	ck_assert_int_eq(add(&a, 5, EPOLLIN), 0);
	ck_assert_int_eq(add(&a, 5, EPOLLIN), -EEXIST);
	ck_assert_int_eq(add(&a, 6, EPOLLIN), 0); /* a duplicate */
	ck_assert_int_eq(mod(&a, 7, EPOLLIN), -ENOENT);
	ck_assert_int_eq(mod(&b, 5, EPOLLIN), -ENOENT);
	ck_assert_int_eq(interest_del(&set, &a.source, 7), -ENOENT);
	change(&a, EPOLLIN);
	ck_assert_int_eq(collect(), 2);
	ck_assert_int_eq(interest_del(&set, &a.source, 5), 0);
	ck_assert_int_eq(collect(), 1);
	ck_assert_uint_eq(ev[0].data.u64, 6);
	ck_assert_uint_eq(set.n, 1);
}
END_TEST

START_TEST(test_sets_do_not_share_what_is_ready)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 9 };

	ck_assert_int_eq(add(&a, 5, EPOLLIN), 0);
	ck_assert_int_eq(interest_add(&other, &a.source, 5, &e, now), 0);
	change(&a, EPOLLIN);
	ck_assert_int_eq(collect(), 1);
	ck_assert_int_eq(interest_collect(&other, ev, 8, now), 1);
	ck_assert_uint_eq(ev[0].data.u64, 9);
	interest_drop_set(&other);
	ck_assert_int_eq(collect(), 1);
}
END_TEST

START_TEST(test_exclusive_goes_with_few_flags)
{
	ck_assert_int_eq(add(&a, 5, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT),
			 -EINVAL);
	ck_assert_int_eq(add(&a, 5, EPOLLIN | EPOLLEXCLUSIVE | EPOLLET), 0);
	ck_assert_int_eq(mod(&a, 5, EPOLLIN), -EINVAL);
	ck_assert_int_eq(add(&b, 6, EPOLLIN), 0);
	ck_assert_int_eq(mod(&b, 6, EPOLLIN | EPOLLEXCLUSIVE), -EINVAL);
}
END_TEST

START_TEST(test_events_beyond_the_array_come_next_in_turn)
{
	ck_assert_int_eq(add(&a, 5, EPOLLIN), 0);
	ck_assert_int_eq(add(&b, 6, EPOLLIN), 0);
	change(&a, EPOLLIN);
	change(&b, EPOLLIN);
	for (uint64_t i = 0; i < 6; i++) {
		ck_assert_int_eq(interest_collect(&set, ev, 1, now), 1);
		ck_assert_uint_eq(ev[0].data.u64, 5 + i % 2);
	}
	ck_assert_int_eq(interest_collect(&set, ev, 0, now), 0);
	ck_assert_int_eq(collect(), 2);
}
END_TEST

START_TEST(test_the_set_is_told_when_it_becomes_ready)
{
	ck_assert_int_eq(add(&a, 5, EPOLLIN), 0);
	ck_assert_int_eq(add(&b, 6, EPOLLIN), 0);
	change(&a, EPOLLIN);
	change(&b, EPOLLIN);
	ck_assert_int_eq(told, 1);
	a.now = b.now = 0;
	ck_assert_int_eq(collect(), 0);
	change(&b, EPOLLIN);
	ck_assert_int_eq(told, 2);
}
END_TEST

START_TEST(test_a_source_that_goes_is_in_no_set)
{
	struct epoll_event e = { .events = EPOLLIN };

	ck_assert_int_eq(add(&a, 5, EPOLLIN), 0);
	ck_assert_int_eq(add(&b, 6, EPOLLIN), 0);
	ck_assert_int_eq(interest_add(&other, &a.source, 5, &e, now), 0);
	change(&a, EPOLLIN);
	change(&b, EPOLLIN);
	interest_drop_source(&a.source);
	ck_assert_int_eq(collect(), 1);
	ck_assert_uint_eq(ev[0].data.u64, 6);
	ck_assert_int_eq(interest_collect(&other, ev, 8, now), 0);
	ck_assert_uint_eq(other.n, 0);
}
END_TEST

UNIT_MAIN("run/interest",
	  UNIT_CASE("interest", setup, teardown,
		    test_level_triggered_is_told_while_it_is_true,
		    test_edge_triggered_is_told_once_per_change,
		    test_oneshot_is_silent_until_it_is_modified,
		    test_registering_looks_at_once,
		    test_errors_are_always_meant,
		    test_descriptors_are_registered_once,
		    test_sets_do_not_share_what_is_ready,
		    test_exclusive_goes_with_few_flags,
		    test_events_beyond_the_array_come_next_in_turn,
		    test_the_set_is_told_when_it_becomes_ready,
		    test_a_source_that_goes_is_in_no_set))
