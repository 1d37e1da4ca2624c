/* SPDX-License-Identifier: BSD-2-Clause */
/* What can be seen of one connection. */
#include <string.h>

#include "../unit.h"
#include "base/units.h"
#include "rig.h"
#include "stack/conn.h"
#include "stack/detail.h"

static struct rig_client cl;
static struct stack_conn_detail d;

static void up(void)
{
	rig_up();
	memset(&cl, 0, sizeof(cl));
}

static void look(void)
{
	stack_conn_detail(rig.st, cl.ri, rig.now_us, &d);
}

/* Which timers run, as bits. */
static uint32_t timers(void)
{
	uint32_t set = 0;

	for (uint32_t i = 0; i < STACK_TIMERS; i++)
		if (d.timer_us[i] != STACK_TIMER_OFF)
			set |= 1u << i;
	return set;
}

START_TEST(test_detail_of_an_idle_connection_is_its_record)
{
	rig_connect(&cl, 1000);
	rig_settle(&cl);
	look();
	ck_assert_ptr_null(rig_blk(&cl));
	ck_assert_ptr_null(d.congestion);
	ck_assert_uint_eq(d.rcv_pos, 0);
	ck_assert_uint_eq(d.rcv_pool_bytes, 0);
	ck_assert_uint_eq(d.tx_buffer_bytes, 0);
	ck_assert_uint_eq(timers(), 0);
	ck_assert_uint_eq(d.sent_ago_us, STACK_TIMER_OFF);
}
END_TEST

START_TEST(test_detail_of_a_request_that_is_held)
{
	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	look();
	ck_assert_str_eq(d.congestion, "cubic");
	ck_assert_str_eq(d.phase, "open");
	ck_assert_uint_eq(d.rcv_pos, 7);
	ck_assert_uint_eq(d.rcv_delivered, 0);
	ck_assert_uint_eq(d.rcv_acked_client, 0);
	ck_assert_uint_eq(d.rcv_pool_bytes, CHUNK_BYTES);
	rig_expect_text(&cl, "request");
	look();
	ck_assert_uint_eq(d.rcv_delivered, 7);
	ck_assert_uint_eq(d.rcv_acked_client, 0);
}
END_TEST

START_TEST(test_detail_of_a_reply_in_flight)
{
	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	rig_expect_text(&cl, "request");
	rig_reply(&cl, 7, "answer");
	rig_expect(&cl, TH_ACK | TH_PSH);
	rig.now_us += 1000;
	look();
	ck_assert_uint_eq(d.rcv_acked_client, 7);
	ck_assert_uint_eq(d.rcv_pool_bytes, 0);
	ck_assert_uint_eq(d.unacked_bytes, 6);
	ck_assert_uint_eq(d.unacked_segs, 1);
	ck_assert_uint_eq(d.in_flight_bytes, 6);
	ck_assert_uint_eq(d.tx_buffer_bytes, CHUNK_BYTES);
	ck_assert_uint_eq(d.sent_ago_us, 1000);
	ck_assert(timers() & 1u << STACK_TIMER_RETRANSMIT);
	ck_assert_uint_gt(d.timer_us[STACK_TIMER_RETRANSMIT], 0);
	ck_assert_uint_le(d.timer_us[STACK_TIMER_RETRANSMIT], USEC_PER_SEC);
	/* overdue is none left, not a large number */
	rig.now_us += 100 * USEC_PER_SEC;
	look();
	ck_assert_uint_eq(d.timer_us[STACK_TIMER_RETRANSMIT], 0);
	rig_ack(&cl);
}
END_TEST

START_TEST(test_detail_of_data_beyond_a_gap)
{
	rig_connect(&cl, 1000);
	rig_send_at(&cl, 10, "late");
	rig_expect(&cl, TH_ACK);
	look();
	ck_assert_uint_eq(d.rcv_pos, 0);
	ck_assert_uint_eq(d.ooo_chunks, 1);
	ck_assert_uint_eq(d.rcv_pool_bytes, CHUNK_BYTES);
}
END_TEST

START_TEST(test_detail_has_the_clock_hands_timers)
{
	rig.group.keepalive_us = 50 * USEC_PER_SEC;
	rig.group.idle_timeout_us = 90 * USEC_PER_SEC;
	rig_group();
	rig_connect(&cl, 1000);
	rig_settle(&cl);
	rig_pass_us(20 * USEC_PER_SEC);
	look();
	ck_assert_uint_eq(timers(),
			  1u << STACK_TIMER_KEEPALIVE | 1u << STACK_TIMER_IDLE);
	/* to a tick of the record's clock */
	ck_assert_uint_le(d.timer_us[STACK_TIMER_IDLE], 70 * USEC_PER_SEC);
	ck_assert_uint_ge(d.timer_us[STACK_TIMER_IDLE],
			  70 * USEC_PER_SEC - REC_TICK_MS * USEC_PER_MSEC);
	ck_assert_uint_le(d.timer_us[STACK_TIMER_KEEPALIVE], 30 * USEC_PER_SEC);
	ck_assert_uint_gt(d.timer_us[STACK_TIMER_KEEPALIVE], 29 * USEC_PER_SEC);
}
END_TEST

START_TEST(test_detail_of_a_held_syn_has_its_timer)
{
	rig.group.accept = STACK_ACCEPT_APPLICATION;
	rig.group.accept_timeout_us = 3 * USEC_PER_SEC;
	rig_group();
	rig_client(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	cl.ri = 0;
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_SYN_HELD);
	look();
	ck_assert_uint_eq(timers(), 1u << STACK_TIMER_ACCEPT);
	ck_assert_uint_eq(d.timer_us[STACK_TIMER_ACCEPT], 3 * USEC_PER_SEC);
	ck_assert_uint_eq(d.rcv_pos, 0);
	ck_assert_uint_eq(d.rcv_acked_client, 0);
	stack_refuse(rig.st, cl.ri, rig.now_us);
}
END_TEST

START_TEST(test_detail_counts_no_fin_as_a_byte)
{
	rig_connect(&cl, 1000);
	rig_send(&cl, "bye");
	rig_input(&cl, &(struct rig_seg){ .flags = TH_FIN | TH_ACK,
					  .seq = cl.snd_nxt,
					  .ack = cl.rcv_nxt });
	cl.snd_nxt++;
	look();
	ck_assert(d.fin_received);
	ck_assert_uint_eq(d.rcv_pos, 3);
	rig_expect_text(&cl, "bye");
	rig_reply(&cl, 3, "");
	look();
	ck_assert_uint_eq(d.rcv_pos, 3);
	ck_assert_uint_eq(d.rcv_acked_client, 3);
}
END_TEST

START_TEST(test_detail_names_each_timer)
{
	for (uint32_t i = 0; i < STACK_TIMERS; i++)
		ck_assert_ptr_nonnull(stack_timer_name(i));
	ck_assert_ptr_null(stack_timer_name(STACK_TIMERS));
}
END_TEST

UNIT_MAIN("stack/detail",
	  UNIT_CASE("all", up, rig_down,
		    test_detail_of_an_idle_connection_is_its_record,
		    test_detail_of_a_request_that_is_held,
		    test_detail_of_a_reply_in_flight,
		    test_detail_of_data_beyond_a_gap,
		    test_detail_has_the_clock_hands_timers,
		    test_detail_of_a_held_syn_has_its_timer,
		    test_detail_counts_no_fin_as_a_byte,
		    test_detail_names_each_timer))
