/* SPDX-License-Identifier: BSD-2-Clause */
/* FIN in every order: RFC 9293 section 3.6. */
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

static void close_first(struct rig_client *cl)
{
	rig_connect(cl, 1000);
	stack_close(rig.st, cl->ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(cl, TH_ACK | TH_FIN);
	ck_assert_uint_eq(rig_rec(cl)->state, TCP_FIN_WAIT_1);
}

static void client_fin(struct rig_client *cl, uint32_t ack)
{
	rig_input(cl, &(struct rig_seg){ .flags = TH_ACK | TH_FIN,
					 .seq = cl->snd_nxt,
					 .ack = ack });
	cl->snd_nxt++;
}

START_TEST(test_client_closes_first)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK | TH_FIN,
					  .seq = cl.snd_nxt,
					  .ack = cl.rcv_nxt });
	cl.snd_nxt++;
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_CLOSE_WAIT);
	ck_assert_uint_eq(rig_events(cl.ri), STACK_EV_EOF);
	/* Half-closed and quiet: a bare record too. */
	ck_assert_ptr_null(rig_blk(&cl));
	rig_reply(&cl, 0, "bye");
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK | TH_PSH)->len, 3);
	rig_ack(&cl);
	rig_events(cl.ri);
	stack_close(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&cl, TH_ACK | TH_FIN);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_LAST_ACK);
	rig_ack(&cl);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FREE);
}
END_TEST

START_TEST(test_we_close_first_and_wait)
{
	struct rig_client cl = { 0 };

	close_first(&cl);
	rig_ack(&cl);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FIN_WAIT_2);
	client_fin(&cl, cl.rcv_nxt);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_TIME_WAIT);
	ck_assert_ptr_null(rig_blk(&cl));
	/* RFC 1337: a RST does not end TIME-WAIT; a FIN is acknowledged again. */
	rig_input(&cl, &(struct rig_seg){ .flags = TH_RST, .seq = cl.snd_nxt });
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_TIME_WAIT);
	cl.snd_nxt--;
	client_fin(&cl, cl.rcv_nxt);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
	rig_pass_us(55000000);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_TIME_WAIT);
	rig_pass_us(10000000);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FREE);
}
END_TEST

START_TEST(test_fin_with_the_ack_of_ours_goes_straight_to_time_wait)
{
	struct rig_client cl = { 0 };

	close_first(&cl);
	client_fin(&cl, cl.rcv_nxt);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_TIME_WAIT);
	rig_expect(&cl, TH_ACK);
}
END_TEST

START_TEST(test_simultaneous_close)
{
	struct rig_client cl = { 0 };

	close_first(&cl);
	client_fin(&cl, cl.rcv_nxt - 1);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_CLOSING);
	rig_expect(&cl, TH_ACK);
	rig_ack(&cl);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_TIME_WAIT);
}
END_TEST

START_TEST(test_time_wait_gives_way_to_a_newer_syn)
{
	struct rig_client cl = { 0 }, next;

	close_first(&cl);
	client_fin(&cl, cl.rcv_nxt);
	rig_expect(&cl, TH_ACK);
	rig_client(&next, 1000);
	next.tsval = cl.tsval;
	rig_input(&next, &(struct rig_seg){ .flags = TH_SYN,
					    .seq = next.iss,
					    .syn_options = true });
	rig_expect(&cl, TH_ACK);
	next.tsval = cl.tsval + 1;
	rig_input(&next, &(struct rig_seg){ .flags = TH_SYN,
					    .seq = next.iss,
					    .syn_options = true });
	rig_expect(&next, TH_SYN | TH_ACK);
}
END_TEST

START_TEST(test_orphan_in_fin_wait_2_is_not_kept_for_ever)
{
	struct rig_client cl = { 0 };

	close_first(&cl);
	rig_ack(&cl);
	rig_pass_us(61000000);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FREE);
}
END_TEST

/* The client answers the probe that was under way, and goes on living. */
START_TEST(test_orphans_time_outlives_a_keepalive_probe)
{
	struct rig_client cl = { 0 };

	rig.group.keepalive_us = 5000000;
	rig_group();
	rig_connect(&cl, 1000);
	stack_shutdown(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&cl, TH_ACK | TH_FIN);
	rig_ack(&cl);
	rig_events(cl.ri);
	rig_pass_us(6000000);
	ck_assert(rig_blk(&cl)->flags & BLK_PROBING);
	stack_close(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig.seen = rig.n_out;
	for (int i = 0; i < 59; i++) {
		rig_ack(&cl);
		ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FIN_WAIT_2);
		rig_pass_us(1000000);
	}
	rig_pass_us(2000000);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FREE);
}
END_TEST

START_TEST(test_text_after_our_close_is_reset)
{
	struct rig_client cl = { 0 };

	close_first(&cl);
	rig_ack(&cl);
	rig_send(&cl, "too late");
	rig_expect(&cl, TH_RST | TH_ACK);
	rig_events(cl.ri);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FREE);
}
END_TEST

START_TEST(test_shutdown_goes_on_receiving)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	stack_shutdown(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&cl, TH_ACK | TH_FIN);
	ck_assert_int_eq(stack_reply(rig.st, cl.ri, 0, 0, "x", 1, rig.now_us),
			 -EPIPE);
	rig_ack(&cl);
	rig_events(cl.ri);
	ck_assert_ptr_null(rig_blk(&cl));
	rig_send(&cl, "more");
	rig_expect_text(&cl, "more");
	rig_reply(&cl, 4, "");
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
	client_fin(&cl, cl.rcv_nxt);
	rig_expect(&cl, TH_ACK);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_TIME_WAIT);
	stack_close(rig.st, cl.ri, rig.now_us);
	rig_events(cl.ri);
}
END_TEST

START_TEST(test_fin_before_its_text_waits_for_it)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	cl.snd_nxt += 3;
	client_fin(&cl, cl.rcv_nxt);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_ESTABLISHED);
	rig_send_at(&cl, 0, "abc");
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_CLOSE_WAIT);
	rig_expect_text(&cl, "abc");
	rig_settle(&cl);
}
END_TEST

/* Else the block, and with it the record, would stay for ever. */
START_TEST(test_text_beyond_the_fin_is_let_go_of)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_send_at(&cl, 5, "beyond");
	stack_shutdown(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	cl.rcv_nxt++;
	client_fin(&cl, cl.rcv_nxt);
	rig_events(cl.ri);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_TIME_WAIT);
	ck_assert_ptr_null(rig_blk(&cl));
	ck_assert_uint_eq(rig.st->pools[0].used_chunks, 0);
	rig_pass_us(130000000);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FREE);
}
END_TEST

UNIT_MAIN("stack/close",
	  UNIT_CASE("close", up, down, test_client_closes_first,
		    test_we_close_first_and_wait,
		    test_fin_with_the_ack_of_ours_goes_straight_to_time_wait,
		    test_simultaneous_close,
		    test_time_wait_gives_way_to_a_newer_syn,
		    test_orphan_in_fin_wait_2_is_not_kept_for_ever,
		    test_orphans_time_outlives_a_keepalive_probe,
		    test_text_after_our_close_is_reset,
		    test_shutdown_goes_on_receiving,
		    test_fin_before_its_text_waits_for_it,
		    test_text_beyond_the_fin_is_let_go_of))
