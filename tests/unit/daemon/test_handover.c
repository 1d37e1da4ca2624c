/* SPDX-License-Identifier: BSD-2-Clause */
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "../unit.h"
#include "daemon/handover.h"

#define PACKETS 20000

static struct handover *ho;

static void up(void)
{
	ck_assert_int_eq(handover_new(&ho, 2, 100), 0);
}

static void down(void)
{
	handover_free(ho);
}

static bool woken(uint32_t to)
{
	struct pollfd pfd = { .fd = handover_fd(ho, to), .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

START_TEST(test_packet_arrives_whole)
{
	struct handover_packet *packet;

	ck_assert(handover_put(ho, 0, 1, "hello", 5));
	ck_assert_ptr_null(handover_peek(ho, 1, 0));
	packet = handover_peek(ho, 0, 1);
	ck_assert_ptr_nonnull(packet);
	ck_assert_uint_eq(packet->len, 5);
	ck_assert_int_eq(memcmp(packet->bytes, "hello", 5), 0);
	handover_release(ho, 0, 1);
	ck_assert_ptr_null(handover_peek(ho, 0, 1));
}
END_TEST

START_TEST(test_full_ring_refuses)
{
	for (uint32_t i = 0; i < HANDOVER_SLOTS; i++)
		ck_assert(handover_put(ho, 0, 1, "x", 1));
	ck_assert(!handover_put(ho, 0, 1, "x", 1));
}
END_TEST

START_TEST(test_only_a_sleeper_is_woken)
{
	ck_assert(!handover_wake(ho, 1));
	ck_assert(handover_sleep(ho, 1));
	ck_assert(handover_wake(ho, 1));
	ck_assert(woken(1));
	ck_assert(!handover_wake(ho, 1)); /* once is enough */
	handover_clear(ho, 1);
	ck_assert(!woken(1));
	handover_clear(ho, 1);
}
END_TEST

START_TEST(test_nobody_sleeps_on_a_packet)
{
	ck_assert(handover_put(ho, 0, 1, "x", 1));
	ck_assert(!handover_sleep(ho, 1));
	ck_assert(!handover_wake(ho, 1));
}
END_TEST

static void *producer(void *arg)
{
	for (uint32_t i = 0; i < PACKETS;) {
		if (!handover_put(ho, 0, 1, &i, sizeof(i))) {
			sched_yield();
			continue;
		}
		i++;
		handover_wake(ho, 1);
	}
	return arg;
}

/* A consumer that sleeps whenever it can misses nothing, and no wake-up. */
START_TEST(test_no_wake_up_is_lost)
{
	struct handover_packet *packet;
	pthread_t thread;
	uint32_t next = 0, got;

	ck_assert_int_eq(pthread_create(&thread, NULL, producer, NULL), 0);
	while (next < PACKETS) {
		if (handover_sleep(ho, 1)) {
			struct pollfd pfd = { .fd = handover_fd(ho, 1),
					      .events = POLLIN };

			ck_assert_int_eq(poll(&pfd, 1, 10000), 1);
			handover_clear(ho, 1);
		}
		handover_awake(ho, 1);
		while ((packet = handover_peek(ho, 0, 1))) {
			memcpy(&got, packet->bytes, sizeof(got));
			ck_assert_uint_eq(got, next);
			next++;
			handover_release(ho, 0, 1);
		}
	}
	pthread_join(thread, NULL);
}
END_TEST

UNIT_MAIN("daemon/handover",
	  UNIT_CASE("all", up, down, test_packet_arrives_whole,
		    test_full_ring_refuses, test_only_a_sleeper_is_woken,
		    test_nobody_sleeps_on_a_packet, test_no_wake_up_is_lost))
