/* SPDX-License-Identifier: BSD-2-Clause */
/* Reductions that were for nothing: Eifel, D-SACK, F-RTO. */
#include "sender.h"

#define RTT (100 * MS)
#define TMSS 1448u /* with timestamps */

static uint32_t first_ts;

static void up(void)
{
	rig_up();
	rig.group.congestion = CC_RENO;
	rig_group();
	sender_client(true);
}

/* Ten segments out, three SACKed: the first is sent again. */
static void recovering(bool ts)
{
	uint32_t mss = ts ? TMSS : MSS;

	cl.ts = ts;
	sender_connect(RTT);
	sender_write(10 * mss);
	first_ts = rig.out[rig.seen].tsval;
	sender_skip();
	rig_pass_us(RTT);
	sender_sack(0, mss, 4 * mss);
	sender_sent(0, mss);
	rig_expect_nothing();
	ck_assert_uint_eq(sender_blk()->cc.phase, CC_RECOVERY);
	ck_assert_uint_lt(sender_blk()->cc.ssthresh, 6 * mss);
}

static void is_undone(enum stack_counter which)
{
	ck_assert_uint_eq(rig_counter(which), 1);
	ck_assert_uint_eq(sender_blk()->cc.phase, CC_OPEN);
	ck_assert_uint_eq(sender_blk()->cc.ssthresh, UINT32_MAX);
	ck_assert_uint_ge(sender_blk()->cc.cwnd, 10 * TMSS);
	ck_assert_uint_eq(sender_blk()->sent.lost_bytes, 0);
}

static void is_not_undone(void)
{
	ck_assert_uint_eq(rig_counter(SC_undone_recoveries), 0);
	ck_assert_uint_eq(rig_counter(SC_undone_timeouts), 0);
	ck_assert_uint_lt(sender_blk()->cc.ssthresh, 6 * MSS);
}

START_TEST(test_eifel_an_echo_from_before_the_retransmission_undoes)
{
	recovering(true);
	rig_pass_us(5 * MS);
	cl.tsecr = first_ts;
	sender_ack(4 * TMSS);
	is_undone(SC_undone_recoveries);
}
END_TEST

START_TEST(test_eifel_the_retransmissions_echo_does_not)
{
	recovering(true);
	rig_pass_us(RTT);
	cl.tsecr = rig.out[rig.n_out - 1].tsval;
	sender_ack(10 * TMSS);
	is_not_undone();
}
END_TEST

START_TEST(test_eifel_takes_no_word_of_an_ack_that_moves_nothing)
{
	recovering(true);
	cl.tsecr = first_ts;
	sender_sack(0, TMSS, 5 * TMSS);
	is_not_undone();
}
END_TEST

START_TEST(test_dsack_of_all_that_was_sent_again_undoes)
{
	recovering(false);
	sender_ack(4 * MSS);
	is_not_undone();
	sender_sack(4 * MSS, 0, MSS);
	is_undone(SC_undone_recoveries);
}
END_TEST

START_TEST(test_dsack_of_half_of_it_does_not)
{
	sender_connect(RTT);
	sender_write(10 * MSS);
	sender_skip();
	rig_pass_us(RTT);
	sender_sack(0, 2 * MSS, 6 * MSS);
	sender_sack(0, 2 * MSS, 8 * MSS);
	sender_sack(0, 2 * MSS, 10 * MSS);
	ck_assert_uint_eq(rig_counter(SC_segs_retransmitted), 2);
	sender_sack(10 * MSS, 0, MSS);
	is_not_undone();
	sender_sack(10 * MSS, MSS, 2 * MSS);
	ck_assert_uint_eq(rig_counter(SC_undone_recoveries), 1);
}
END_TEST

START_TEST(test_dsack_of_something_before_the_recovery_does_not)
{
	sender_connect(RTT);
	sender_write(10 * MSS);
	sender_skip();
	rig_pass_us(RTT);
	sender_ack(MSS);
	sender_sack(MSS, 2 * MSS, 5 * MSS);
	sender_sack(5 * MSS, 0, MSS);
	is_not_undone();
}
END_TEST

START_TEST(test_dsack_comes_when_nothing_is_in_flight_any_more)
{
	recovering(false);
	sender_ack(10 * MSS);
	is_not_undone();
	sender_sack(10 * MSS, 0, MSS);
	is_undone(SC_undone_recoveries);
}
END_TEST

/* --- F-RTO */

/* Ten segments out, more queued, and a time-out. */
static void timed_out(bool sack, uint32_t queued)
{
	cl.sack = sack;
	sender_connect(RTT);
	sender_write(queued * MSS);
	sender_sent_full(0, queued < 10 ? queued : 10);
	if (sack)
		sender_blk()->probe_at = 0; /* no tail loss probe */
	sender_blk()->loss.flags |= LOSS_TLP;
	rig_pass_us(302 * MS);
	ck_assert_uint_eq(rig_counter(SC_rto_fired), 1);
	sender_sent_full(0, 1);
	ck_assert_uint_eq(sender_blk()->cc.cwnd, MSS);
}

START_TEST(test_frto_sends_new_data_after_the_first_ack_and_undoes_at_the_second)
{
	timed_out(false, 20);
	sender_ack(MSS);
	sender_sent_full(10 * MSS, 2);
	sender_ack(2 * MSS);
	ck_assert_uint_eq(rig_counter(SC_undone_timeouts), 1);
	ck_assert_uint_eq(sender_blk()->cc.ssthresh, UINT32_MAX);
	ck_assert_uint_ge(sender_blk()->cc.cwnd, 10 * MSS);
	ck_assert_uint_eq(rig_counter(SC_segs_retransmitted), 1);
}
END_TEST

START_TEST(test_frto_duplicate_ack_after_new_data_means_a_real_loss)
{
	timed_out(false, 20);
	sender_ack(MSS);
	sender_sent_full(10 * MSS, 2);
	sender_ack(MSS);
	is_not_undone();
	rig_pass_us(RTT);
	sender_ack(MSS);
	sender_sent(MSS, MSS);
}
END_TEST

START_TEST(test_frto_duplicate_ack_at_once_means_a_real_loss)
{
	timed_out(false, 20);
	sender_ack(0);
	ck_assert_uint_eq(sender_blk()->loss.frto, FRTO_OFF);
	sender_ack(MSS);
	sender_sent_full(MSS, 2);
	sender_ack(3 * MSS);
	is_not_undone();
}
END_TEST

START_TEST(test_frto_without_new_data_sends_what_is_lost)
{
	timed_out(false, 10);
	sender_ack(MSS);
	sender_sent_full(MSS, 2);
	is_not_undone();
}
END_TEST

START_TEST(test_frto_with_new_data_that_may_not_go_sends_what_is_lost)
{
	cl.sack = false;
	sender_connect(RTT);
	cl.wnd = 40; /* 5120 bytes: three segments and a bit */
	sender_ack(0);
	sender_write(10 * MSS);
	sender_sent_full(0, 3);
	rig_pass_us(302 * MS);
	sender_sent_full(0, 1);
	cl.wnd = 30; /* up to 5300: room for 920 bytes, a silly window */
	sender_ack(MSS);
	ck_assert_uint_eq(sender_blk()->loss.frto, FRTO_OFF);
	sender_sent(MSS, MSS);
}
END_TEST

START_TEST(test_frto_with_sack_an_original_tells_at_once)
{
	timed_out(true, 20);
	sender_ack(3 * MSS);
	ck_assert_uint_eq(rig_counter(SC_undone_timeouts), 1);
	ck_assert_uint_eq(sender_blk()->cc.ssthresh, UINT32_MAX);
	ck_assert_uint_eq(sender_blk()->sent.lost_bytes, 0);
}
END_TEST

START_TEST(test_frto_with_sack_the_retransmission_alone_tells_nothing)
{
	timed_out(true, 20);
	rig_pass_us(RTT);
	sender_ack(MSS);
	is_not_undone();
}
END_TEST

START_TEST(test_frto_is_for_a_window_that_was_not_sent_again_before)
{
	recovering(false);
	rig_pass_us(400 * MS);
	ck_assert_uint_eq(rig_counter(SC_rto_fired), 1);
	ck_assert_uint_eq(sender_blk()->loss.frto, FRTO_OFF);
}
END_TEST

UNIT_MAIN(
	"stack/undo",
	UNIT_CASE("eifel", up, rig_down,
		  test_eifel_an_echo_from_before_the_retransmission_undoes,
		  test_eifel_the_retransmissions_echo_does_not,
		  test_eifel_takes_no_word_of_an_ack_that_moves_nothing),
	UNIT_CASE("dsack", up, rig_down,
		  test_dsack_of_all_that_was_sent_again_undoes,
		  test_dsack_of_half_of_it_does_not,
		  test_dsack_of_something_before_the_recovery_does_not,
		  test_dsack_comes_when_nothing_is_in_flight_any_more),
	UNIT_CASE(
		"frto", up, rig_down,
		test_frto_sends_new_data_after_the_first_ack_and_undoes_at_the_second,
		test_frto_duplicate_ack_after_new_data_means_a_real_loss,
		test_frto_duplicate_ack_at_once_means_a_real_loss,
		test_frto_without_new_data_sends_what_is_lost,
		test_frto_with_new_data_that_may_not_go_sends_what_is_lost,
		test_frto_with_sack_an_original_tells_at_once,
		test_frto_with_sack_the_retransmission_alone_tells_nothing,
		test_frto_is_for_a_window_that_was_not_sent_again_before))
