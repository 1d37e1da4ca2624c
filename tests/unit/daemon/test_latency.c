/* SPDX-License-Identifier: BSD-2-Clause */
/* What counts as the time of a request. */
#include <string.h>

#include "../unit.h"
#include "base/histogram.h"
#include "base/units.h"
#include "daemon/backend.h"
#include "peer.h"

static struct peer a, b;
static struct rig_client c1, c2;

static void up(void)
{
	peer_up();
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memset(&c1, 0, sizeof(c1));
	memset(&c2, 0, sizeof(c2));
	a.fd = b.fd = -1;
}

static void down(void)
{
	if (a.fd >= 0)
		peer_die(&a);
	if (b.fd >= 0)
		peer_die(&b);
	peer_down();
}

static const struct histogram *latency(void)
{
	return &gs.by_id[PEER_GROUP]->latency;
}

/* So many requests were timed, and took so long in all. */
static void timed(uint64_t n, uint64_t us)
{
	ck_assert_uint_eq(histogram_count(latency()), n);
	ck_assert_uint_eq(latency()->sum, us);
}

START_TEST(test_latency_is_from_the_bytes_to_the_reply)
{
	const struct backend *backend;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "request");
	peer_expect_data(&a, "request", FRAME_F_FIRST);
	timed(0, 0);
	rig.now_us += 700;
	peer_reply(&a, 7, "answer");
	timed(1, 700);
	ck_assert_uint_eq(latency()->counts[histogram_bucket(700)], 1);
	backend = gs.by_id[PEER_GROUP]->backends;
	ck_assert_uint_eq(backend->stats.requests, 1);
	ck_assert_uint_eq(backend->stats.request_us, 700);
}
END_TEST

START_TEST(test_latency_of_an_unasked_reply_is_none)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "request");
	peer_expect_data(&a, "request", FRAME_F_FIRST);
	rig.now_us += 100;
	peer_reply(&a, 0, "push");
	timed(0, 0);
	rig.now_us += 100;
	peer_reply(&a, 7, "");
	timed(1, 200);
	peer_reply(&a, 0, "push");
	timed(1, 200);
}
END_TEST

START_TEST(test_latency_may_be_longer_than_32_bits_of_it)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "one");
	peer_expect_data(&a, "one", FRAME_F_FIRST);
	/* two hours, and the high bits' carry */
	rig.now_us += UINT64_C(7200) * USEC_PER_SEC;
	peer_reply(&a, 3, "1");
	timed(1, UINT64_C(7200) * USEC_PER_SEC);
}
END_TEST

START_TEST(test_latency_of_a_part_ends_with_all_that_had_come)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "one");
	peer_expect_data(&a, "one", FRAME_F_FIRST);
	rig.now_us += 10;
	peer_reply(&a, 2, "");
	timed(0, 0);
	rig.now_us += 10;
	a.f.offset += 2;
	peer_reply(&a, 1, "");
	timed(1, 20);
}
END_TEST

START_TEST(test_latency_times_one_request_at_a_time)
{
	uint64_t first;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "one");
	peer_expect_data(&a, "one", FRAME_F_FIRST);
	first = a.f.offset;
	rig.now_us += 10;
	peer_request(&c1, "two");
	peer_expect_data(&a, "two", 0);
	rig.now_us += 10;
	a.f.offset = first;
	peer_reply(&a, 3, "1");
	timed(1, 20);
	/* the second was not timed, the third is */
	a.f.offset = first + 3;
	peer_reply(&a, 3, "2");
	timed(1, 20);
	peer_request(&c1, "three");
	peer_expect_data(&a, "three", 0);
	rig.now_us += 5;
	peer_reply(&a, 5, "3");
	timed(2, 25);
}
END_TEST

START_TEST(test_latency_has_the_wait_for_a_backend)
{
	rig_connect(&c1, 1000);
	peer_request(&c1, "one");
	rig.now_us += 5000;
	peer_attach(&a, 1);
	peer_expect_data(&a, "one", FRAME_F_FIRST);
	peer_reply(&a, 3, "1");
	timed(1, 5000);
}
END_TEST

START_TEST(test_latency_goes_on_when_the_backend_is_lost)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "one");
	peer_expect_data(&a, "one", FRAME_F_FIRST);
	rig.now_us += 300;
	peer_die(&a);
	peer_attach(&b, 2);
	peer_expect_data(&b, "one", FRAME_F_FIRST | FRAME_F_REDELIVERED);
	rig.now_us += 40;
	peer_reply(&b, 3, "1");
	timed(1, 340);
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->backends->stats.request_us,
			  340);
}
END_TEST

START_TEST(test_latency_of_a_request_with_a_fin_ends_with_its_bytes)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	rig_send(&c1, "bye");
	peer_fin(&c1);
	peer_expect_data(&a, "bye", FRAME_F_FIRST);
	peer_expect(&a, FRAME_EOF);
	a.f.offset = 0;
	rig.now_us += 60;
	peer_reply(&a, 3, "");
	timed(1, 60);
}
END_TEST

START_TEST(test_latency_of_a_connection_that_ended_is_none)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "one");
	peer_expect_data(&a, "one", FRAME_F_FIRST);
	rig_input(&c1, &(struct rig_seg){ .flags = TH_RST, .seq = c1.snd_nxt });
	peer_pump();
	peer_expect(&a, FRAME_RESET);
	/* another connection gets its block, and has a time of its own */
	rig.now_us += 1000000;
	rig_connect(&c2, 1001);
	peer_request(&c2, "two");
	peer_expect_data(&a, "two", FRAME_F_FIRST);
	rig.now_us += 8;
	peer_reply(&a, 3, "2");
	timed(1, 8);
}
END_TEST

START_TEST(test_latency_over_a_kill_is_not_known)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "one");
	peer_expect_data(&a, "one", FRAME_F_FIRST);
	peer_kill();
	peer_die(&a);
	peer_attach(&b, 1);
	peer_expect_data(&b, "one", FRAME_F_FIRST | FRAME_F_REDELIVERED);
	rig.now_us += 9;
	peer_reply(&b, 3, "1");
	ck_assert_uint_le(histogram_count(latency()), 1);
	ck_assert_uint_le(latency()->sum, 9);
	rig_ack(&c1);
	peer_pump();
	peer_request(&c1, "two");
	peer_expect_data(&b, "two", 0);
	rig.now_us += 9;
	peer_reply(&b, 3, "2");
	ck_assert_uint_ge(histogram_count(latency()), 1);
	ck_assert_uint_le(latency()->sum, 18);
}
END_TEST

UNIT_MAIN("daemon/latency",
	  UNIT_CASE("all", up, down,
		    test_latency_is_from_the_bytes_to_the_reply,
		    test_latency_of_an_unasked_reply_is_none,
		    test_latency_may_be_longer_than_32_bits_of_it,
		    test_latency_of_a_part_ends_with_all_that_had_come,
		    test_latency_times_one_request_at_a_time,
		    test_latency_has_the_wait_for_a_backend,
		    test_latency_goes_on_when_the_backend_is_lost,
		    test_latency_of_a_request_with_a_fin_ends_with_its_bytes,
		    test_latency_of_a_connection_that_ended_is_none,
		    test_latency_over_a_kill_is_not_known))
