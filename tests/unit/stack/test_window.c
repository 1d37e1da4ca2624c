/* SPDX-License-Identifier: BSD-2-Clause */
/* How large a receive window is, and how long what was learned is kept. */
#include "../unit.h"
#include "base/bytes.h"
#include "rig.h"

#define SEGMENT 1448u
#define FIRST_WINDOW 65536u
#define ROUND_US 5000u
#define SLOW_US 50000u

static void up(void)
{
	rig_up();
}

static void down(void)
{
	rig_down();
}

/* The window after the last ACK sent, in bytes. */
static uint32_t window(const struct rig_client *cl)
{
	const struct rig_out *out = &rig.out[(rig.n_out - 1) % RIG_OUT_MAX];

	return out->wnd << cl->srv_shift;
}

/* Full segments, each processed at once. */
static void send_full(struct rig_client *cl, uint32_t n)
{
	static char data[SEGMENT];

	for (uint32_t i = 0; i < n; i++) {
		rig_send_bytes(cl, data, SEGMENT);
		ck_assert_uint_eq(rig_deliver(cl, data, SEGMENT), SEGMENT);
		rig_reply(cl, SEGMENT, "");
		rig_settle(cl);
		rig.seen = rig.n_out;
	}
}

START_TEST(test_window_grows_for_a_sender_that_uses_it_up)
{
	struct rig_client cl = { 0 };
	uint32_t before = FIRST_WINDOW;

	rig_connect(&cl, 1000);
	send_full(&cl, 1);
	ck_assert_uint_le(window(&cl), FIRST_WINDOW);
	/* a round trip after the other, each as much as is promised */
	for (int i = 0; i < 4; i++) {
		send_full(&cl, window(&cl) / SEGMENT);
		rig_pass_us(ROUND_US);
		send_full(&cl, 2);
		ck_assert_uint_ge(window(&cl), min_u32(2 * before, 1000000));
		before = window(&cl);
	}
}
END_TEST

START_TEST(test_window_stays_for_a_sender_that_is_slow)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	for (int i = 0; i < 400; i++) {
		send_full(&cl, 1);
		rig_pass_us(SLOW_US);
	}
	ck_assert_uint_le(window(&cl), FIRST_WINDOW);
}
END_TEST

START_TEST(test_window_that_grew_is_there_after_a_rest)
{
	struct rig_client cl = { 0 };
	uint32_t before;

	rig_connect(&cl, 1000);
	send_full(&cl, 100);
	before = window(&cl);
	ck_assert_uint_ge(before, 2 * FIRST_WINDOW);
	rig_pass_us(5000000);
	ck_assert_ptr_null(rig_blk(&cl));
	send_full(&cl, 1);
	ck_assert_uint_ge(window(&cl) + REC_ADV_UNIT, before);
}
END_TEST

START_TEST(test_bulk_keeps_the_block_until_it_was_idle_for_an_rto)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	/* longer than an RTO, but never idle for one */
	for (int i = 0; i < 60; i++) {
		send_full(&cl, 1);
		rig_pass_us(SLOW_US);
		ck_assert_ptr_nonnull(rig_blk(&cl));
	}
	rig_pass_us(5000000);
	ck_assert_ptr_null(rig_blk(&cl));
}
END_TEST

START_TEST(test_small_requests_do_not_keep_the_block)
{
	struct rig_client cl = { 0 };
	char buf[64];

	rig_connect(&cl, 1000);
	rig_send(&cl, "small");
	ck_assert_uint_eq(rig_deliver(&cl, buf, sizeof(buf)), 5);
	rig_reply(&cl, 5, "");
	rig_settle(&cl);
	ck_assert_ptr_null(rig_blk(&cl));
}
END_TEST

/* All that keeps the pool throttled is beyond a gap that nobody fills. */
START_TEST(test_a_silent_client_with_a_gap_does_not_keep_a_pool_throttled)
{
	static char data[SEGMENT];
	struct rig_client silent = { 0 }, other = { 0 };
	const struct stack_pool *pool = &rig.st->pools[0];
	uint32_t at = 1;

	stack_pool_set(rig.st, 0, 64 * 512, 60, 30);
	rig_connect(&silent, 1000);
	rig_connect(&other, 1001);
	for (; pool->ooo_chunks < 28; at += SEGMENT)
		rig_input(&silent,
			  &(struct rig_seg){ .flags = TH_ACK,
					     .seq = silent.iss + 1 + at,
					     .ack = silent.rcv_nxt,
					     .data = data,
					     .len = SEGMENT });
	while (!pool->throttled)
		rig_send_bytes(&other, data, SEGMENT);
	while (rig_deliver(&other, data, SEGMENT))
		;
	rig_settle(&other);
	ck_assert(pool->throttled);
	rig_pass_us(20 * 1000000);
	ck_assert(!pool->throttled);
	ck_assert_uint_eq(pool->ooo_chunks, 0);
	ck_assert_uint_gt(rig_counter(SC_ooo_pruned), 0);
	rig.seen = rig.n_out;
	/* What it left is no loss: it sends again, and is heard. */
	rig_send_bytes(&silent, data, SEGMENT);
	ck_assert_uint_eq(rig_deliver(&silent, data, SEGMENT), SEGMENT);
}
END_TEST

/* Nothing is left of such a client but its record. */
START_TEST(test_one_whose_text_beyond_a_gap_is_given_up_rests)
{
	static char data[512];
	struct rig_client silent = { 0 }, other = { 0 };

	stack_pool_set(rig.st, 0, 16 * 512, 90, 75);
	rig_connect(&silent, 1000);
	rig_connect(&other, 1001);
	rig_input(&silent, &(struct rig_seg){ .flags = TH_ACK,
					      .seq = silent.iss + 11,
					      .ack = silent.rcv_nxt,
					      .data = data,
					      .len = 1 });
	rig_pass_us(5 * 1000000);
	ck_assert_uint_eq(rig_blk(&silent)->ooo_chunks, 1);
	for (int i = 0; i < 16; i++)
		rig_send_bytes(&other, data, sizeof(data));
	ck_assert_uint_eq(rig_counter(SC_ooo_pruned), 1);
	ck_assert_ptr_null(rig_blk(&silent));
	rig.seen = rig.n_out;
}
END_TEST

UNIT_MAIN(
	"stack/window",
	UNIT_CASE(
		"window", up, down,
		test_window_grows_for_a_sender_that_uses_it_up,
		test_window_stays_for_a_sender_that_is_slow,
		test_window_that_grew_is_there_after_a_rest,
		test_bulk_keeps_the_block_until_it_was_idle_for_an_rto,
		test_small_requests_do_not_keep_the_block,
		test_one_whose_text_beyond_a_gap_is_given_up_rests,
		test_a_silent_client_with_a_gap_does_not_keep_a_pool_throttled))
