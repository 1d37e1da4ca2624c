/* SPDX-License-Identifier: BSD-2-Clause */
/* RACK and tail loss probes, RFC 8985, to the microsecond. */
#include "sender.h"

/* The record keeps these exactly, and four of them: 11 bits of mantissa. */
#define RTT UINT64_C(102400)

static void up(void)
{
	rig_up();
	sender_client(true);
}

/* 100 ms away, n full segments just sent. */
static void sent(uint32_t n)
{
	sender_connect(RTT);
	sender_write(n * MSS);
	sender_sent_full(0, n);
}

/* The same, on a block that has seen ACKs: it knows RACK's times. */
static void sent_after_some(uint32_t first, uint32_t n)
{
	sent(first);
	sender_round(first * MSS, RTT);
	sender_write(n * MSS);
	sender_sent_full(first * MSS, n);
}

START_TEST(test_rack_one_sack_starts_a_quarter_of_the_least_rtt)
{
	sent(5);
	rig_pass_us(RTT);
	sender_sack(0, MSS, 2 * MSS);
	rig_expect_nothing();
	ck_assert_uint_eq(sender_blk()->probe_at, rig.now_us + RTT / 4);
	rig_pass_us(RTT / 4 - 1);
	rig_expect_nothing();
	rig_pass_us(2 * MS);
	sender_sent_full(0, 1);
	ck_assert_uint_eq(rig_counter(SC_fast_retransmits), 1);
}
END_TEST

START_TEST(test_rack_three_sacked_segments_leave_no_reordering_window)
{
	sent(5);
	rig_pass_us(RTT);
	sender_sack(0, MSS, 4 * MSS);
	sender_sent_full(0, 1);
}
END_TEST

START_TEST(test_rack_segments_sent_after_the_delivered_one_are_not_lost)
{
	sent(6);
	rig_pass_us(RTT);
	sender_sack(0, 2 * MSS, 5 * MSS);
	sender_sent(0, MSS);
	/* Segment 1 is lost as well; 5 is not. */
	ck_assert_uint_eq(sender_blk()->sent.lost_bytes, 2 * MSS);
}
END_TEST

START_TEST(test_rack_reordering_widens_the_window_for_good)
{
	sent(6);
	rig_pass_us(RTT);
	sender_sack(0, MSS, 2 * MSS);
	sender_ack(2 * MSS); /* it was late, not lost */
	ck_assert_uint_eq(rig_counter(SC_reordering_seen), 1);
	sender_sack(2 * MSS, 3 * MSS, 6 * MSS);
	rig_expect_nothing();
	ck_assert_uint_eq(sender_blk()->probe_at, rig.now_us + RTT / 4);
}
END_TEST

START_TEST(test_rack_lost_retransmission_is_found_by_what_was_sent_after_it)
{
	rig.group.congestion = CC_CUBIC;
	rig_group();
	sent(10);
	sender_write(10 * MSS);
	rig_pass_us(RTT);
	sender_sack(0, MSS, 4 * MSS);
	sender_sent_full(0, 1);
	sender_sack(0, MSS, 5 * MSS);
	sender_sent_full(10 * MSS, 1);
	rig_pass_us(RTT);
	sender_sack2(0, 10 * MSS, 11 * MSS, MSS, 5 * MSS);
	sender_sent(0, MSS);
	ck_assert_uint_ge(rig_counter(SC_rexmits_lost), 1);
}
END_TEST

START_TEST(test_rack_echo_of_the_retransmission_is_not_taken_for_the_original)
{
	uint64_t again_us;

	/* The clock's fraction of a millisecond is larger when it was sent. */
	cl.ts = true;
	sender_connect(RTT / 2);
	sender_write(5 * 1448);
	sender_skip();
	rig_pass_us(RTT - rig.now_us % 1000 + 900);
	sender_sack(0, 1448, 4 * 1448);
	again_us = rig.now_us;
	cl.tsecr = sender_sent(0, 1448)->tsval;
	rig_pass_us(RTT - 500);
	ck_assert_uint_lt(rig.now_us % 1000, again_us % 1000);
	sender_sack(1448, 1448, 4 * 1448);
	ck_assert_uint_eq(sender_blk()->loss.rack_xmit_us, again_us);
}
END_TEST

START_TEST(test_rack_ack_of_a_retransmission_before_the_least_rtt_says_nothing)
{
	sent(6);
	rig_pass_us(RTT);
	sender_sack(0, MSS, 4 * MSS);
	sender_sent_full(0, 1);
	rig_pass_us(RTT - 1 - 5 * MS);
	sender_sack(MSS, MSS, 4 * MSS);
	ck_assert_uint_eq(sender_blk()->loss.rack_end, at(4 * MSS));
}
END_TEST

START_TEST(test_rack_dsack_widens_the_window_once_per_round)
{
	sent(6);
	rig_pass_us(RTT);
	sender_ack(MSS);
	sender_sack(MSS, 0, MSS);
	ck_assert_uint_eq(sender_blk()->loss.reo_mult, 2);
	sender_sack(MSS, 0, MSS);
	ck_assert_uint_eq(sender_blk()->loss.reo_mult, 2);
	ck_assert_uint_eq(sender_blk()->loss.reo_persist, 16);
	sender_ack(6 * MSS);
	sender_sack(6 * MSS, 0, MSS);
	ck_assert_uint_eq(sender_blk()->loss.reo_mult, 3);
}
END_TEST

START_TEST(test_rack_timer_of_a_flight_that_ended_does_not_delay_a_probe)
{
	sent_after_some(6, 5);
	rig_pass_us(RTT);
	sender_sack(6 * MSS, 7 * MSS, 8 * MSS);
	ck_assert(sender_blk()->loss.flags & LOSS_REO_TIMER);
	sender_ack(11 * MSS);
	sender_write(2 * MSS);
	sender_sent_full(11 * MSS, 2);
	rig_pass_us(sender_blk()->probe_at - rig.now_us + 2 * MS);
	ck_assert_uint_eq(rig_counter(SC_tlp_probes), 1);
}
END_TEST

START_TEST(test_rack_retransmission_of_the_first_starts_the_rto_anew)
{
	/* A path whose RTT hardly varies: the RTO is 200 ms more. */
	sender_connect(4 * RTT);
	for (uint32_t i = 0; i < 20; i++) {
		sender_write(MSS);
		sender_round((i + 1) * MSS, 4 * RTT);
	}
	sender_write(5 * MSS);
	sender_skip();
	rig_pass_us(4 * RTT);
	sender_sack(20 * MSS, 21 * MSS, 24 * MSS);
	sender_sent(20 * MSS, MSS);
	rig_pass_us(4 * RTT - 1);
	ck_assert_uint_eq(rig_counter(SC_rto_fired), 0);
	sender_ack(25 * MSS);
	ck_assert_uint_eq(sender_blk()->cc.phase, CC_OPEN);
}
END_TEST

/* --- tail loss probes */

START_TEST(test_tlp_is_due_two_round_trips_after_the_last_segment)
{
	sent(3);
	ck_assert_uint_eq(sender_blk()->probe_at,
			  rig.now_us + 2 * RTT + 2 * MS);
	rig_pass_us(50 * MS);
	sender_write(MSS);
	sender_sent_full(3 * MSS, 1);
	ck_assert_uint_eq(sender_blk()->probe_at,
			  rig.now_us + 2 * RTT + 2 * MS);
}
END_TEST

START_TEST(test_tlp_of_a_lone_segment_allows_for_a_delayed_ack)
{
	sender_connect(4 * RTT);
	sender_write(MSS);
	ck_assert_uint_eq(sender_blk()->rexmit_at, rig.now_us + 12 * RTT);
	ck_assert_uint_eq(sender_blk()->probe_at,
			  rig.now_us + 8 * RTT + 202 * MS);
}
END_TEST

START_TEST(test_tlp_is_never_due_after_the_rto)
{
	sent(1);
	ck_assert_uint_eq(sender_blk()->rexmit_at, rig.now_us + 3 * RTT);
	ck_assert_uint_eq(sender_blk()->probe_at, rig.now_us + 3 * RTT);
	rig_pass_us(3 * RTT + 2 * MS);
	ck_assert_uint_eq(rig_counter(SC_tlp_probes), 1);
	ck_assert_uint_eq(rig_counter(SC_rto_fired), 0);
	sender_sent_full(0, 1);
	rig_pass_us(3 * RTT + 2 * MS);
	ck_assert_uint_eq(rig_counter(SC_tlp_probes), 1);
	ck_assert_uint_eq(rig_counter(SC_rto_fired), 1);
}
END_TEST

START_TEST(test_tlp_sends_new_data_whatever_cwnd_says)
{
	sent(10);
	sender_write(MSS);
	rig_expect_nothing();
	rig_pass_us(2 * RTT + 4 * MS);
	sender_sent_full(10 * MSS, 1);
	ck_assert_uint_eq(rig_counter(SC_segs_retransmitted), 0);
}
END_TEST

START_TEST(test_tlp_repeats_the_last_segment_when_there_is_nothing_new)
{
	sent(3);
	rig_pass_us(2 * RTT + 4 * MS);
	sender_sent_full(2 * MSS, 1);
	/* One only, until it is answered. */
	rig_pass_us(2 * RTT);
	rig_expect_nothing();
}
END_TEST

START_TEST(test_tlp_that_repaired_a_loss_counts_as_congestion)
{
	sent(6);
	rig_pass_us(2 * RTT + 4 * MS);
	sender_sent_full(5 * MSS, 1);
	sender_ack(6 * MSS);
	ck_assert_uint_eq(sender_blk()->cc.ssthresh, UINT32_MAX);
	sender_write(MSS);
	sender_round(7 * MSS, RTT);
	ck_assert_uint_lt(sender_blk()->cc.ssthresh, UINT32_MAX);
}
END_TEST

START_TEST(test_tlp_that_arrived_twice_is_no_congestion)
{
	sent(6);
	rig_pass_us(2 * RTT + 4 * MS);
	sender_sent_full(5 * MSS, 1);
	/* Nothing is in flight when the report comes. */
	sender_ack(6 * MSS);
	sender_sack(6 * MSS, 5 * MSS, 6 * MSS);
	ck_assert_uint_eq(rig_counter(SC_dsack_in), 1);
	ck_assert(!(sender_blk()->loss.flags & LOSS_TLP));
	/* It tells nothing of reordering. */
	ck_assert_uint_le(sender_blk()->loss.reo_mult, 1);
	sender_write(MSS);
	sender_round(7 * MSS, RTT);
	ck_assert_uint_eq(sender_blk()->cc.ssthresh, UINT32_MAX);
}
END_TEST

START_TEST(test_tlp_is_not_sent_in_recovery)
{
	sent(5);
	rig_pass_us(RTT);
	sender_sack(0, MSS, 4 * MSS);
	sender_sent_full(0, 1);
	rig_pass_us(RTT + 4 * MS);
	ck_assert_uint_eq(rig_counter(SC_tlp_probes), 0);
}
END_TEST

START_TEST(test_tlp_is_not_sent_when_all_is_sacked)
{
	sent(4);
	rig_pass_us(RTT);
	sender_sack(0, 0, 4 * MSS);
	rig_pass_us(RTT + 4 * MS);
	ck_assert_uint_eq(rig_counter(SC_tlp_probes), 0);
	ck_assert_ptr_null(shard_check(&rig.shard));
	/* RFC 2018 8: at the time-out no SACK counts. */
	rig_pass_us(RTT);
	sender_sent_full(0, 1);
	ck_assert_uint_eq(rig_counter(SC_sack_reneged), 1);
	ck_assert_uint_eq(sender_blk()->sent.sacked_bytes, 0);
	ck_assert_ptr_null(shard_check(&rig.shard));
}
END_TEST

START_TEST(test_tlp_needs_sack)
{
	cl.sack = false;
	sent(3);
	ck_assert_uint_eq(sender_blk()->probe_at, 0);
}
END_TEST

UNIT_MAIN(
	"stack/rack",
	UNIT_CASE(
		"rack", up, rig_down,
		test_rack_one_sack_starts_a_quarter_of_the_least_rtt,
		test_rack_three_sacked_segments_leave_no_reordering_window,
		test_rack_segments_sent_after_the_delivered_one_are_not_lost,
		test_rack_reordering_widens_the_window_for_good,
		test_rack_lost_retransmission_is_found_by_what_was_sent_after_it,
		test_rack_echo_of_the_retransmission_is_not_taken_for_the_original,
		test_rack_ack_of_a_retransmission_before_the_least_rtt_says_nothing,
		test_rack_dsack_widens_the_window_once_per_round,
		test_rack_timer_of_a_flight_that_ended_does_not_delay_a_probe,
		test_rack_retransmission_of_the_first_starts_the_rto_anew),
	UNIT_CASE("probes", up, rig_down,
		  test_tlp_is_due_two_round_trips_after_the_last_segment,
		  test_tlp_of_a_lone_segment_allows_for_a_delayed_ack,
		  test_tlp_is_never_due_after_the_rto,
		  test_tlp_sends_new_data_whatever_cwnd_says,
		  test_tlp_repeats_the_last_segment_when_there_is_nothing_new,
		  test_tlp_that_repaired_a_loss_counts_as_congestion,
		  test_tlp_that_arrived_twice_is_no_congestion,
		  test_tlp_is_not_sent_in_recovery,
		  test_tlp_is_not_sent_when_all_is_sacked, test_tlp_needs_sack))
