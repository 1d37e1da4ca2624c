/* SPDX-License-Identifier: BSD-2-Clause */
/* Deferred acknowledgement: the patent's figures 5a to 5d, DESIGN 5. */
#include <errno.h>
#include <string.h>

#include "../unit.h"
#include "base/units.h"
#include "rig.h"

static void up(void)
{
	rig_up();
}

static void down(void)
{
	rig_down();
}

START_TEST(test_5a_request_is_acknowledged_only_by_the_reply)
{
	struct rig_client cl = { 0 };
	struct rig_out *out;
	char buf[64];

	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	ck_assert_uint_eq(rig_events(cl.ri), STACK_EV_DATA);
	ck_assert_uint_eq(rig_deliver(&cl, buf, sizeof(buf)), 7);
	ck_assert_int_eq(memcmp(buf, "request", 7), 0);
	rig_pass_us(10000000);
	rig_expect_nothing();
	rig_reply(&cl, 7, "answer");
	out = rig_expect(&cl, TH_ACK | TH_PSH);
	ck_assert_uint_eq(out->ack, cl.snd_nxt);
	ck_assert_uint_eq(out->len, 6);
	rig_expect_nothing();
	rig_ack(&cl);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_pure_acks_out), 0);
	ck_assert_uint_eq(rig_counter(SC_pure_acks_saved), 1);
	rig_events(cl.ri);
	ck_assert_ptr_null(rig_blk(&cl));
}
END_TEST

START_TEST(test_5b_lost_request_is_served_when_it_comes_again)
{
	struct rig_client cl = { 0 };
	char buf[64];

	rig_connect(&cl, 1000);
	cl.snd_nxt += 7; /* lost */
	rig_pass_us(1000000);
	rig_expect_nothing();
	cl.snd_nxt -= 7;
	rig_send(&cl, "request");
	ck_assert_uint_eq(rig_deliver(&cl, buf, sizeof(buf)), 7);
	rig_reply(&cl, 7, "answer");
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK | TH_PSH)->ack, cl.snd_nxt);
}
END_TEST

START_TEST(test_5c_lost_reply_is_resent_upon_the_retransmitted_request)
{
	struct rig_client cl = { 0 };
	struct rig_out *out;
	uint32_t seq;
	char buf[64];

	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	rig_deliver(&cl, buf, sizeof(buf));
	rig_reply(&cl, 7, "answer");
	out = rig_expect(NULL, TH_ACK | TH_PSH);
	seq = out->seq;
	rig_pass_us(1000);
	cl.snd_nxt -= 7;
	rig_send(&cl, "request");
	out = rig_expect(&cl, TH_ACK | TH_PSH);
	ck_assert_uint_eq(out->seq, seq);
	ck_assert_int_eq(memcmp(out->payload, "answer", 6), 0);
	ck_assert_uint_eq(out->ack, cl.snd_nxt);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_reply_resent), 1);
	/* The application sees the request once. */
	ck_assert_uint_eq(rig_deliver(&cl, buf, sizeof(buf)), 0);
}
END_TEST

START_TEST(test_5d_reply_is_resent_by_timer_until_the_client_is_down)
{
	struct rig_client cl = { 0 };
	uint32_t times = 0;
	char buf[64];

	rig_connect(&cl, 1000);
	rig_rec(&cl)->flags |= REC_TOLD;
	rig_send(&cl, "request");
	rig_deliver(&cl, buf, sizeof(buf));
	rig_reply(&cl, 7, "answer");
	rig_expect(NULL, TH_ACK | TH_PSH);
	rig_events(cl.ri);
	rig_pass_us(29000000);
	while (rig.seen < rig.n_out) {
		ck_assert_uint_eq(rig_expect(NULL, TH_ACK | TH_PSH)->len, 6);
		times++;
	}
	/* 200 ms doubled: 0.2 0.6 1.4 3 6.2 12.6 25.4 s */
	ck_assert_uint_eq(times, 7);
	rig_pass_us(60000000);
	rig_expect(NULL, TH_RST | TH_ACK);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_conn_timed_out), 1);
	ck_assert_uint_eq(rig_events(cl.ri), STACK_EV_RESET);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.tx.map), 0);
	stack_forget(rig.st, cl.ri);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FREE);
}
END_TEST

START_TEST(test_retransmission_of_held_request_is_absorbed)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	for (int i = 0; i < 5; i++) {
		cl.snd_nxt -= 7;
		rig_send(&cl, "request");
	}
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_dup_absorbed), 5);
	rig_reply(&cl, 0, "x");
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK | TH_PSH)->ack, cl.iss + 1);
	rig_events(cl.ri);
}
END_TEST

START_TEST(test_acknowledging_without_data_sends_a_pure_ack)
{
	struct rig_client cl = { 0 };
	char buf[64];

	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	rig_deliver(&cl, buf, sizeof(buf));
	rig_reply(&cl, 3, "");
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.iss + 1 + 3);
	rig_reply(&cl, 4, "");
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.iss + 1 + 7);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rx.map), 0);
	rig_events(cl.ri);
	ck_assert_ptr_null(rig_blk(&cl));
}
END_TEST

START_TEST(test_ackd_beyond_what_was_delivered_does_nothing)
{
	struct rig_client cl = { 0 };
	char buf[64];

	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	ck_assert_int_eq(stack_reply(rig.st, cl.ri, 0, 1, "x", 1, rig.now_us),
			 -EINVAL);
	rig_deliver(&cl, buf, sizeof(buf));
	ck_assert_int_eq(stack_reply(rig.st, cl.ri, 0, 8, "x", 1, rig.now_us),
			 -EINVAL);
	ck_assert_int_eq(stack_reply(rig.st, cl.ri, UINT64_MAX, 2, "x", 1,
				     rig.now_us),
			 -EINVAL);
	stack_flush(rig.st, rig.now_us);
	rig_expect_nothing();
	/* Said twice, acknowledged once. */
	ck_assert_int_eq(stack_reply(rig.st, cl.ri, 0, 7, "x", 1, rig.now_us),
			 1);
	ck_assert_int_eq(stack_reply(rig.st, cl.ri, 0, 7, "y", 1, rig.now_us),
			 1);
	stack_flush(rig.st, rig.now_us);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK | TH_PSH)->len, 2);
	ck_assert_uint_eq(rig_rec(&cl)->rcv_off, 7);
}
END_TEST

START_TEST(test_ack_deadline_acknowledges_what_stays_in_the_pool)
{
	struct rig_client cl = { 0 };

	rig.group.ack_deadline_us = 100000;
	rig_group();
	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	rig_pass_us(99000);
	rig_expect_nothing();
	rig_pass_us(3000);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
	ck_assert_uint_eq(rig_counter(SC_early_ack_bytes), 7);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rx.map), 1);
	ck_assert_uint_eq(rig_rec(&cl)->rcv_off, 0);
}
END_TEST

START_TEST(test_ack_window_in_bytes)
{
	struct rig_client cl = { 0 };
	static const char data[1000];

	rig.group.ack_window_bytes = 2500;
	rig_group();
	rig_connect(&cl, 1000);
	rig_send_bytes(&cl, data, 1000);
	rig_send_bytes(&cl, data, 1000);
	rig_expect_nothing();
	rig_send_bytes(&cl, data, 1000);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
}
END_TEST

START_TEST(test_ack_window_auto_defers_a_few_segments_and_gives_way_to_bulk)
{
	struct rig_client cl = { 0 };
	static const char data[1448];

	rig.group.ack_window_bytes = STACK_ACK_WINDOW_AUTO;
	rig_group();
	rig_connect(&cl, 1000);
	for (int i = 0; i < 3; i++)
		rig_send_bytes(&cl, data, 1448);
	rig_pass_us(1000000);
	rig_expect_nothing();
	rig_send_bytes(&cl, data, 1448);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
	ck_assert_uint_eq(rig_counter(SC_early_ack_bytes), 4 * 1448);
}
END_TEST

START_TEST(test_equal_requests_one_after_the_other_are_not_bulk)
{
	struct rig_client cl = { 0 };
	static char data[1448];

	rig.group.ack_window_bytes = STACK_ACK_WINDOW_AUTO;
	rig_group();
	rig_connect(&cl, 1000);
	for (int i = 0; i < 10; i++) {
		rig_send_bytes(&cl, data, 1000);
		rig_deliver(&cl, data, sizeof(data));
		rig_expect_nothing();
		rig_reply(&cl, 1000, "ok");
		rig_expect(&cl, TH_ACK | TH_PSH);
	}
	ck_assert_uint_eq(rig_counter(SC_early_ack_window), 0);
	ck_assert_uint_eq(rig_counter(SC_pure_acks_out), 0);
}
END_TEST

START_TEST(test_ack_window_auto_gives_way_when_the_client_is_stuck)
{
	struct rig_client cl = { 0 };

	rig.group.ack_window_bytes = STACK_ACK_WINDOW_AUTO;
	rig_group();
	rig_connect(&cl, 1000);
	rig_send(&cl, "half a requ");
	for (int i = 0; i < 2; i++) {
		cl.snd_nxt -= 11;
		rig_send(&cl, "half a requ");
		rig_expect_nothing();
	}
	cl.snd_nxt -= 11;
	rig_send(&cl, "half a requ");
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
}
END_TEST

START_TEST(test_mode_immediate_delays_the_ack_by_40_ms)
{
	struct rig_client cl = { 0 };

	rig.group.ack = STACK_ACK_IMMEDIATE;
	rig_group();
	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	rig_expect_nothing();
	rig_pass_us(42000);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
}
END_TEST

START_TEST(test_mode_delivered_acknowledges_once_delivered)
{
	struct rig_client cl = { 0 };
	char buf[64];

	rig.group.ack = STACK_ACK_DELIVERED;
	rig_group();
	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	rig_pass_us(1000000);
	rig_expect_nothing();
	rig_deliver(&cl, buf, sizeof(buf));
	rig_pass_us(42000);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
}
END_TEST

START_TEST(test_fin_is_acknowledged_when_everything_before_it_is)
{
	struct rig_client cl = { 0 };
	struct rig_out *out;
	char buf[64];

	rig_connect(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK | TH_PSH | TH_FIN,
					  .seq = cl.snd_nxt,
					  .ack = cl.rcv_nxt,
					  .data = "request",
					  .len = 7 });
	cl.snd_nxt += 8;
	rig_expect_nothing();
	ck_assert_uint_eq(rig_events(cl.ri), STACK_EV_DATA | STACK_EV_EOF);
	rig_deliver(&cl, buf, sizeof(buf));
	rig_reply(&cl, 6, "ans");
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK | TH_PSH)->ack,
			  cl.snd_nxt - 2);
	ck_assert_int_eq(stack_reply(rig.st, cl.ri, 6, 1, "wer", 3, rig.now_us),
			 3);
	stack_close(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	out = rig_expect(&cl, TH_ACK | TH_PSH | TH_FIN);
	ck_assert_uint_eq(out->ack, cl.snd_nxt);
	rig_ack(&cl);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FREE);
}
END_TEST

START_TEST(test_closing_with_unprocessed_bytes_resets)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	stack_close(rig.st, cl.ri, rig.now_us);
	rig_expect(&cl, TH_RST | TH_ACK);
	stack_flush(rig.st, rig.now_us);
	rig_events(cl.ri);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FREE);
}
END_TEST

START_TEST(test_lost_backend_makes_bytes_undelivered_again)
{
	struct rig_client cl = { 0 };
	struct iovec iov[4];
	uint64_t offset;
	bool again;
	char buf[64];
	int n = 4;

	rig_connect(&cl, 1000);
	rig_send(&cl, "one two");
	rig_deliver(&cl, buf, sizeof(buf));
	rig_reply(&cl, 4, "");
	stack_undeliver(rig.st, cl.ri);
	rig_send(&cl, " three");
	ck_assert_uint_eq(
		stack_peek(rig.st, cl.ri, 100, iov, &n, &offset, &again), 9);
	ck_assert_uint_eq(offset, 4);
	ck_assert(again);
	ck_assert_int_eq(memcmp(iov[0].iov_base, "two three", 9), 0);
}
END_TEST

/* Takes what stack_peek() shows, at most so much: the stream goes on at *pos. */
static uint32_t take_bulk(const struct rig_client *cl, uint32_t *pos,
			  uint32_t max)
{
	struct iovec iov[16];
	uint64_t offset;
	bool again;
	int n = 16;
	uint32_t got =
		stack_peek(rig.st, cl->ri, max, iov, &n, &offset, &again);

	ck_assert_uint_eq(offset, *pos);
	for (int i = 0; i < n; i++)
		for (size_t k = 0; k < iov[i].iov_len; k++, ++*pos)
			ck_assert_uint_eq(((uint8_t *)iov[i].iov_base)[k],
					  (uint8_t)(*pos % 251));
	stack_delivered(rig.st, cl->ri, got, rig.now_us);
	return got;
}

/* Where the look before ended is where the next one begins, whatever came
 * between. */
START_TEST(test_bulk_that_waits_is_peeked_at_in_its_order)
{
	struct rig_client cl = { 0 };
	static uint8_t data[60000];
	uint32_t taken = 0, sent = 0, acked = 0;

	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i % 251);
	rig_connect(&cl, 1000);
	for (int round = 0; round < 40; round++) {
		uint32_t n = 300 + (uint32_t)round * 37;

		if (sent + n > sizeof(data))
			break;
		rig_send_bytes(&cl, data + sent, n);
		sent += n;
		take_bulk(&cl, &taken, 700);
		if (round % 7 == 3) {
			/* The stream is lost. */
			stack_undeliver(rig.st, cl.ri);
			taken = acked;
			while (take_bulk(&cl, &taken, 2000))
				;
		}
		if (round % 5 == 4) {
			n = (taken - acked) * 2 / 3;
			ck_assert_int_eq(stack_reply(rig.st, cl.ri, acked, n,
						     NULL, 0, rig.now_us),
					 0);
			acked += n;
			stack_flush(rig.st, rig.now_us);
		}
	}
	while (take_bulk(&cl, &taken, 5000))
		;
	ck_assert_uint_eq(taken, sent);
	rig.seen = rig.n_out;
}
END_TEST

#define FILLERS 10
static struct rig_client fillers[FILLERS];

/* Clients that fill a good part of the pool. */
static void fill_pool(void)
{
	static const char data[1400];

	memset(fillers, 0, sizeof(fillers));
	for (int i = 0; i < FILLERS; i++) {
		rig_connect(&fillers[i], (uint16_t)(2000 + i));
		for (int n = 0; n < 40; n++)
			rig_send_bytes(&fillers[i], data, sizeof(data));
		rig.seen = rig.n_out;
	}
}

static void empty_pool(void)
{
	static char buf[60000];

	for (int i = 0; i < FILLERS; i++) {
		while (rig_deliver(&fillers[i], buf, sizeof(buf)))
			;
		rig_settle(&fillers[i]);
	}
}

/*
 * Memory of chunks that was given back reads as zeros: a chunk of block 0's that
 * begins at sequence number 0, and is followed by chunk 0, whosever that is.
 */
START_TEST(test_what_was_peeked_at_and_trimmed_is_forgotten)
{
	struct rig_client a, b = { 0 };
	static char data[600], buf[600];

	rig_client(&a, 1000);
	a.iss = (uint32_t)-602;
	a.snd_nxt = a.iss + 1;
	rig_connect(&a, 1000);
	rig_send(&a, "x");
	ck_assert_uint_eq(rig_rec(&a)->block, 0);
	fill_pool();
	rig_send_bytes(&a, data, sizeof(data));
	ck_assert_uint_eq(rig_deliver(&a, buf, 600), 600);
	ck_assert_uint_eq(rig_deliver(&a, buf, 600), 1);
	ck_assert_uint_gt(rig.shard.rx.touched, 1000);
	empty_pool();
	/* Its client does not acknowledge the reply: the block stays. */
	rig_reply(&a, 601, "r");
	rig_events(a.ri);
	rig_pass_us(3 * USEC_PER_SEC);
	ck_assert_uint_eq(rig.shard.rx.touched, 0);
	ck_assert_uint_eq(rig_rec(&a)->block, 0);
	rig.seen = rig.n_out;
	rig_connect(&b, 1001);
	rig_send(&b, "another's");
	ck_assert_uint_eq(rig_blk(&b)->rx_head, 0);
	ck_assert_uint_eq(a.snd_nxt, 0);
	rig_send(&a, "request");
	rig_expect_text(&a, "request");
	rig_expect_text(&b, "another's");
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_throttled_pool_withholds_and_freezes_the_window_but_takes_acks)
{
	struct rig_client a = { 0 }, b = { 0 };
	static const char data[1448];
	uint32_t edge = 0;
	char buf[64];

	rig.group.ack_window_bytes = STACK_ACK_WINDOW_AUTO;
	rig_group();
	stack_pool_set(rig.st, 0, 40 * CHUNK_BYTES, 50, 25);
	rig_connect(&a, 1000);
	rig_connect(&b, 1001);
	ck_assert_int_eq(stack_reply(rig.st, b.ri, 0, 0, "push", 4, rig.now_us),
			 4);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&b, TH_ACK | TH_PSH);
	for (int i = 0; i < 12; i++) {
		rig_send_bytes(&a, data, 1448);
		while (rig.seen < rig.n_out) {
			struct rig_out *out = rig_expect(&a, TH_ACK);

			edge = out->ack + (out->wnd << a.srv_shift);
		}
	}
	/* Never more promised than the pool can hold. */
	ck_assert_uint_le(edge - (a.iss + 1), 40 * CHUNK_BYTES);
	ck_assert_uint_ge(rig_counter(SC_throttle_entered), 1);
	ck_assert_uint_ge(rig_counter(SC_throttle_withheld), 1);
	/* I6: the ACK of a segment that finds no room counts all the same. */
	ck_assert_uint_eq(rig_blk(&b)->snd_una, b.srv_iss + 1);
	rig_send_bytes(&b, data, 1448);
	ck_assert_uint_eq(rig_rec(&b)->snd_off, 4);
	/* When the application works it off, it ends. */
	while (rig_deliver(&a, buf, sizeof(buf)) ||
	       rig_deliver(&b, buf, sizeof(buf)))
		;
	rig_reply(&a, rig_blk(&a)->rcv_dlv - rig_blk(&a)->rcv_app, "");
	if (rig_blk(&b)->rcv_dlv != rig_blk(&b)->rcv_app)
		rig_reply(&b, rig_blk(&b)->rcv_dlv - rig_blk(&b)->rcv_app, "");
	ck_assert_uint_eq(rig_counter(SC_throttle_left), 1);
	ck_assert(!rig.st->pools[0].throttled);
	ck_assert_uint_eq(rig.st->pools[0].used_chunks, 0);
}
END_TEST

START_TEST(test_text_beyond_gaps_never_keeps_out_text_in_sequence)
{
	struct rig_client a = { 0 }, b = { 0 };
	static char data[1448];

	stack_pool_set(rig.st, 0, 40 * CHUNK_BYTES, 90, 50);
	rig_connect(&a, 1000);
	rig_connect(&b, 1001);
	/* The first segment is lost, what follows may fill half of the pool. */
	a.snd_nxt += 1448;
	for (int i = 0; i < 14; i++)
		rig_send_bytes(&a, data, 1448);
	ck_assert_uint_eq(rig.st->pools[0].ooo_chunks, 20);
	ck_assert_uint_eq(rig.st->pools[0].used_chunks, 20);
	ck_assert_uint_ge(rig_counter(SC_drop_ooo_limit), 1);
	/* Another client's requests, and the lost segment, find room. */
	for (int i = 0; i < 8; i++) {
		rig_send_bytes(&b, data, 1448);
		ck_assert_uint_eq(rig_deliver(&b, data, 1448), 1448);
	}
	a.snd_nxt = a.iss + 1;
	rig_send_bytes(&a, data, 1448);
	ck_assert_uint_ge(rig_deliver(&a, data, 1448), 1448);
	ck_assert_uint_ge(rig_counter(SC_ooo_pruned), 1);
	ck_assert_uint_eq(rig_counter(SC_drop_pool_full), 0);
	rig.seen = rig.n_out;
}
END_TEST

UNIT_MAIN(
	"stack/flows",
	UNIT_CASE("patent", up, down,
		  test_5a_request_is_acknowledged_only_by_the_reply,
		  test_5b_lost_request_is_served_when_it_comes_again,
		  test_5c_lost_reply_is_resent_upon_the_retransmitted_request,
		  test_5d_reply_is_resent_by_timer_until_the_client_is_down),
	UNIT_CASE(
		"deferred", up, down,
		test_retransmission_of_held_request_is_absorbed,
		test_acknowledging_without_data_sends_a_pure_ack,
		test_ackd_beyond_what_was_delivered_does_nothing,
		test_ack_deadline_acknowledges_what_stays_in_the_pool,
		test_ack_window_in_bytes,
		test_ack_window_auto_defers_a_few_segments_and_gives_way_to_bulk,
		test_ack_window_auto_gives_way_when_the_client_is_stuck,
		test_equal_requests_one_after_the_other_are_not_bulk,
		test_mode_immediate_delays_the_ack_by_40_ms,
		test_mode_delivered_acknowledges_once_delivered,
		test_fin_is_acknowledged_when_everything_before_it_is,
		test_closing_with_unprocessed_bytes_resets,
		test_lost_backend_makes_bytes_undelivered_again,
		test_bulk_that_waits_is_peeked_at_in_its_order,
		test_what_was_peeked_at_and_trimmed_is_forgotten,
		test_throttled_pool_withholds_and_freezes_the_window_but_takes_acks,
		test_text_beyond_gaps_never_keeps_out_text_in_sequence))
