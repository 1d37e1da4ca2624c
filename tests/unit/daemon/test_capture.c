/* SPDX-License-Identifier: BSD-2-Clause */
/* Rings of packets, and taps that fill them. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "base/bytes.h"
#include "daemon/capture.h"
#include "daemon/tap.h"

#define SNAPLEN 100u

static struct capture *c;
static uint8_t packet[65536];

static void up(void)
{
	ck_assert_int_eq(capture_new(&c, 2, NULL, SNAPLEN), 0);
	for (size_t i = 0; i < sizeof(packet); i++)
		packet[i] = (uint8_t)i;
}

static void down(void)
{
	capture_unref(c);
	c = NULL;
}

static void put(uint32_t worker, uint32_t len, uint64_t at_ns)
{
	struct iovec iov[2] = { { packet, len / 3 },
				{ packet + len / 3, len - len / 3 } };

	capture_put(&c->rings[worker], CAPTURE_OUT, iov, 2, at_ns);
}

/* Takes the next, and checks its bytes. Returns whether there was one. */
static bool take(struct capture_item *item)
{
	if (!capture_peek(c, item))
		return false;
	ck_assert_uint_eq(item->bytes,
			  min_u32(item->packet.original_bytes, c->snaplen));
	ck_assert_int_eq(memcmp(item->data, packet, item->bytes), 0);
	capture_take(item);
	return true;
}

static struct capture_end counts(void)
{
	struct capture_end end = { 0 };

	capture_count(c, &end);
	return end;
}

START_TEST(test_capture_keeps_a_packet_up_to_snaplen)
{
	struct capture_item item;

	put(1, 60, 5);
	put(1, 1500, 6);
	ck_assert(take(&item));
	ck_assert_uint_eq(item.bytes, 60);
	ck_assert_uint_eq(item.packet.original_bytes, 60);
	ck_assert_uint_eq(item.packet.worker, 1);
	ck_assert_uint_eq(item.packet.direction, CAPTURE_OUT);
	ck_assert_uint_eq(item.packet.at_ns, 5);
	ck_assert(take(&item));
	ck_assert_uint_eq(item.bytes, SNAPLEN);
	ck_assert_uint_eq(item.packet.original_bytes, 1500);
	ck_assert(!take(&item));
}
END_TEST

START_TEST(test_capture_is_in_order_of_time_over_workers)
{
	struct capture_item item;

	put(0, 10, 1);
	put(0, 10, 4);
	put(1, 10, 2);
	put(1, 10, 3);
	for (uint64_t at = 1; at <= 4; at++) {
		ck_assert(take(&item));
		ck_assert_uint_eq(item.packet.at_ns, at);
	}
}
END_TEST

START_TEST(test_capture_that_is_full_drops_and_counts)
{
	struct capture_item item;
	uint64_t n = 0, held = 0;

	while (counts().dropped == 0) {
		put(0, 90, n++);
		ck_assert_uint_lt(n, 1000000);
	}
	ck_assert_uint_eq(counts().matched, n);
	/* the other worker's ring has room */
	put(1, 90, n);
	ck_assert_uint_eq(counts().dropped, 1);
	while (take(&item))
		held++;
	ck_assert_uint_eq(held, n); /* one was dropped, one is the other's */
	put(0, 90, n);
	ck_assert(take(&item));
}
END_TEST

START_TEST(test_capture_wraps_at_any_place)
{
	struct capture_item item;
	uint64_t bytes = 0;

	for (uint32_t i = 0; bytes < 5 * (uint64_t)c->ring_bytes; i++) {
		uint32_t len = 1 + i * 7 % 150;

		put(0, len, i);
		if (i % 3 == 0)
			continue;
		ck_assert(take(&item));
		bytes += item.bytes;
		if (i % 3 == 2)
			while (take(&item))
				;
	}
	ck_assert_uint_eq(counts().dropped, 0);
}
END_TEST

START_TEST(test_capture_of_the_largest_packets)
{
	struct capture_item item;

	capture_unref(c);
	ck_assert_int_eq(capture_new(&c, 64, NULL, CAPTURE_SNAPLEN_MAX), 0);
	ck_assert_uint_eq(c->ring_bytes, CAPTURE_RING_BYTES_MIN);
	for (int i = 0; i < 100; i++) {
		put(0, 65535 - (uint32_t)i, 1);
		ck_assert(take(&item));
	}
	ck_assert_uint_eq(counts().dropped, 0);
}
END_TEST

START_TEST(test_capture_filters)
{
	/* packet[0] == 5 */
	static const struct filter_insn program[] = {
		{ 0x30, 0, 0, 0 },
		{ 0x15, 0, 1, 5 },
		{ 0x06, 0, 0, 1 },
		{ 0x06, 0, 0, 0 },
	};
	struct filter_insn *filter = malloc(sizeof(program));
	struct capture_item item;

	capture_unref(c);
	memcpy(filter, program, sizeof(program));
	ck_assert_int_eq(capture_new(&c, 1, filter, SNAPLEN), 0);
	put(0, 10, 1);
	ck_assert(!take(&item));
	packet[0] = 5;
	put(0, 10, 2);
	ck_assert(take(&item));
	ck_assert_uint_eq(counts().seen, 2);
	ck_assert_uint_eq(counts().matched, 1);
	ck_assert_uint_eq(counts().dropped, 0);
}
END_TEST

/* The worker fills while the main thread reads: nothing is torn or lost. */
static void *fill(void *arg)
{
	uint32_t n = *(uint32_t *)arg;

	for (uint32_t i = 0; i < n; i++)
		put(0, 1 + i % 120, i);
	return NULL;
}

START_TEST(test_capture_between_two_threads)
{
	uint32_t n = 200000, got = 0;
	struct capture_item item;
	uint64_t last = 0;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, fill, &n), 0);
	while (got + counts().dropped < n) {
		if (!take(&item))
			continue;
		ck_assert_uint_ge(item.packet.at_ns, last);
		last = item.packet.at_ns;
		ck_assert_uint_eq(item.packet.original_bytes, 1 + last % 120);
		got++;
	}
	pthread_join(thread, NULL);
	ck_assert_uint_gt(got, 0);
	ck_assert(!take(&item));
}
END_TEST

/* --- taps */

static struct tap tap;

static void attach(struct capture *one)
{
	capture_ref(one);
	tap_attach(&tap, &one->rings[0]);
}

START_TEST(test_tap_is_on_while_somebody_looks)
{
	struct iovec iov = { packet, 40 };
	struct capture_item item;

	ck_assert_int_eq(tap_init(&tap, NULL, 0), 0);
	ck_assert(!tap.on);
	attach(c);
	ck_assert(tap.on);
	tap_packet(&tap, CAPTURE_IN, &iov, 1);
	ck_assert(take(&item));
	ck_assert_uint_eq(item.packet.direction, CAPTURE_IN);
	ck_assert_uint_gt(item.packet.at_ns, 0);
	tap_tick(&tap);
	ck_assert(tap.on);
	capture_stop(c);
	tap_tick(&tap);
	ck_assert(!tap.on);
	ck_assert_uint_eq(atomic_load(&c->refs), 1);
}
END_TEST

START_TEST(test_tap_makes_room_for_the_next_capture)
{
	ck_assert_int_eq(tap_init(&tap, NULL, 0), 0);
	for (uint32_t i = 0; i < 3 * CAPTURES_MAX; i++) {
		struct capture *one;

		ck_assert_int_eq(capture_new(&one, 1, NULL, SNAPLEN), 0);
		attach(one);
		ck_assert_ptr_eq(tap.rings[tap.n_rings - 1], &one->rings[0]);
		capture_stop(one);
		capture_unref(one);
	}
	/* one that has ended before it came */
	capture_stop(c);
	attach(c);
	ck_assert_uint_eq(tap.n_rings, 0);
	ck_assert_uint_eq(atomic_load(&c->refs), 1);
	tap_fini(&tap);
}
END_TEST

UNIT_MAIN("daemon/capture",
	  UNIT_CASE("rings", up, down,
		    test_capture_keeps_a_packet_up_to_snaplen,
		    test_capture_is_in_order_of_time_over_workers,
		    test_capture_that_is_full_drops_and_counts,
		    test_capture_wraps_at_any_place,
		    test_capture_of_the_largest_packets, test_capture_filters,
		    test_capture_between_two_threads),
	  UNIT_CASE("tap", up, down, test_tap_is_on_while_somebody_looks,
		    test_tap_makes_room_for_the_next_capture))
