/* SPDX-License-Identifier: BSD-2-Clause */
/* Retransmission, probes and time-outs. */
#include <errno.h>
#include <string.h>

#include "../unit.h"
#include "rig.h"

static void up(void)
{
	rig_up();
}

static void down(void)
{
	rig_down();
}

START_TEST(test_three_duplicate_acks_retransmit_at_once)
{
	struct rig_client cl = { 0 };
	static char data[8000];
	uint32_t una;

	rig_connect(&cl, 1000);
	ck_assert_int_eq(stack_reply(rig.st, cl.ri, 0, 0, data, sizeof(data),
				     rig.now_us),
			 sizeof(data));
	stack_flush(rig.st, rig.now_us);
	una = cl.rcv_nxt;
	rig.seen = rig.n_out;
	for (int i = 0; i < 2; i++)
		rig_ack(&cl);
	rig_expect_nothing();
	rig_ack(&cl);
	ck_assert_uint_eq(rig_expect(NULL, TH_ACK)->seq, una);
	ck_assert_uint_eq(rig_counter(SC_fast_retransmits), 1);
	/* RFC 6582: a partial ACK sends the next hole. */
	cl.rcv_nxt = una + 1448;
	rig_ack(&cl);
	ck_assert_uint_eq(rig_expect(NULL, TH_ACK)->seq, una + 1448);
	cl.rcv_nxt = una + 8000;
	rig_ack(&cl);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_blk(&cl)->cc.phase, 0);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.tx.map), 0);
}
END_TEST

START_TEST(test_rto_sends_everything_again_as_the_window_opens)
{
	struct rig_client cl = { 0 };
	static char data[6000];
	struct rig_out *out;
	uint32_t una, n = 0;

	rig_connect(&cl, 1000);
	ck_assert_int_eq(stack_reply(rig.st, cl.ri, 0, 0, data, sizeof(data),
				     rig.now_us),
			 sizeof(data));
	stack_flush(rig.st, rig.now_us);
	una = cl.rcv_nxt;
	rig.seen = rig.n_out;
	rig_pass_us(250000);
	out = rig_expect(NULL, TH_ACK);
	ck_assert_uint_eq(out->seq, una);
	rig_expect_nothing();
	cl.tsecr = out->tsval; /* RFC 3522: it is the second that arrived */
	cl.rcv_nxt = una + 1448;
	rig_ack(&cl);
	while (rig.seen < rig.n_out) {
		rig.seen++;
		n++;
	}
	ck_assert_uint_eq(n, 2);
	cl.rcv_nxt = una + 6000;
	rig_ack(&cl);
	rig_events(cl.ri);
	rig_pass_us(5000000);
	ck_assert_uint_eq(rig_counter(SC_rto_fired), 1);
	ck_assert_ptr_null(rig_blk(&cl));
}
END_TEST

START_TEST(test_closed_window_is_probed_with_back_off)
{
	struct rig_client cl = { 0 };
	uint32_t n = 0;

	rig_connect(&cl, 1000);
	cl.wnd = 0;
	rig_ack(&cl);
	ck_assert_int_eq(
		stack_reply(rig.st, cl.ri, 0, 0, "hello", 5, rig.now_us), 5);
	stack_flush(rig.st, rig.now_us);
	rig_expect_nothing();
	rig_pass_us(10000000);
	while (rig.seen < rig.n_out) {
		ck_assert_uint_eq(rig_expect(NULL, TH_ACK)->len, 1);
		n++;
	}
	ck_assert_uint_eq(n, 5); /* 0.2 0.6 1.4 3 6.2 s */
	ck_assert_uint_eq(rig_counter(SC_zero_window_probes), 5);
	cl.wnd = 100;
	rig_ack(&cl);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK | TH_PSH)->len, 5);
	rig_ack(&cl);
	rig_events(cl.ri);
	ck_assert_ptr_null(rig_blk(&cl));
}
END_TEST

START_TEST(test_client_that_never_opens_its_window_is_given_up)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	cl.wnd = 0;
	rig_ack(&cl);
	ck_assert_int_eq(
		stack_reply(rig.st, cl.ri, 0, 0, "hello", 5, rig.now_us), 5);
	stack_flush(rig.st, rig.now_us);
	for (int i = 0; i < 100; i++) {
		rig_pass_us(1000000);
		if (rig_rec(&cl)->state == TCP_FREE)
			break;
		rig_ack(&cl);
		rig_events(cl.ri);
	}
	ck_assert_uint_eq(rig_counter(SC_conn_timed_out), 1);
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_keepalive_probes_an_idle_connection_then_gives_up)
{
	struct rig_client cl = { 0 };
	struct rig_out *out;

	rig.group.keepalive_us = 10000000;
	rig_group();
	rig_connect(&cl, 1000);
	rig_pass_us(10200000);
	out = rig_expect(NULL, TH_ACK);
	ck_assert_uint_eq(out->seq, cl.rcv_nxt - 1);
	rig_ack(&cl);
	ck_assert_ptr_null(rig_blk(&cl));
	rig_pass_us(9000000);
	rig_expect_nothing();
	rig_pass_us(25000000);
	for (int i = 0; i < 4; i++)
		rig_expect(NULL, TH_ACK);
	rig_expect(NULL, TH_RST | TH_ACK);
	ck_assert_uint_eq(rig_counter(SC_conn_keepalive_dead), 1);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FREE);
}
END_TEST

START_TEST(test_idle_timeout_closes)
{
	struct rig_client cl = { 0 };

	rig.group.idle_timeout_us = 5000000;
	rig_group();
	rig_connect(&cl, 1000);
	rig_pass_us(4500000);
	rig_expect_nothing();
	rig_pass_us(1000000);
	rig_expect(NULL, TH_RST | TH_ACK);
	ck_assert_uint_eq(rig_counter(SC_conn_idle_closed), 1);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FREE);
}
END_TEST

UNIT_MAIN("stack/recovery",
	  UNIT_CASE("recovery", up, down,
		    test_three_duplicate_acks_retransmit_at_once,
		    test_rto_sends_everything_again_as_the_window_opens,
		    test_closed_window_is_probed_with_back_off,
		    test_client_that_never_opens_its_window_is_given_up),
	  UNIT_CASE("time", up, down,
		    test_keepalive_probes_an_idle_connection_then_gives_up,
		    test_idle_timeout_closes))
