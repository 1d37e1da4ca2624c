/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What goes out when: PRR, limited transmit, NewReno, time-outs and their
 * back-off, window probes, restart after idleness.
 */
#include "sender.h"

#define RTT (100 * MS)

static void up(void)
{
	rig_up();
	rig.group.congestion = CC_RENO;
	rig_group();
	sender_client(true);
}

static void up_no_sack(void)
{
	up();
	cl.sack = false;
}

/* So many written, ten out. */
static void sent(uint32_t n)
{
	sender_connect(RTT);
	sender_write(n * MSS);
	sender_sent_full(0, n < 10 ? n : 10);
}

/* --- PRR */

START_TEST(test_prr_sends_half_of_what_arrives_and_ends_at_ssthresh)
{
	uint32_t out = 0;

	sent(40);
	rig_pass_us(RTT);
	for (uint32_t i = 4; i <= 10; i++) {
		sender_sack(0, MSS, i * MSS);
		out += sender_count();
		ck_assert_uint_le(sender_blk()->loss.prr_out,
				  sender_blk()->loss.prr_delivered);
	}
	/* Of nine that arrived one in two; then what is in flight stays. */
	ck_assert_uint_eq(out, 5);
	ck_assert_uint_eq(sents_pipe(sender_blk()), 5 * MSS);
	ck_assert_uint_eq(sender_blk()->loss.recover_fs, 10 * MSS);
	rig_pass_us(RTT);
	sender_ack(10 * MSS);
	ck_assert_uint_eq(sender_blk()->cc.phase, CC_OPEN);
	ck_assert_uint_eq(sender_blk()->cc.cwnd, 5 * MSS);
}
END_TEST

START_TEST(test_prr_first_retransmission_goes_at_once)
{
	sent(40);
	rig_pass_us(RTT);
	sender_sack(0, MSS, 4 * MSS);
	sender_sent_full(0, 1);
}
END_TEST

START_TEST(test_prr_after_many_losses_grows_back_to_ssthresh_by_safe_acks)
{
	sent(40);
	rig_pass_us(RTT);
	/* Seven of ten are lost: what is in flight falls under ssthresh. */
	sender_sack(0, 7 * MSS, 10 * MSS);
	ck_assert_uint_eq(sender_blk()->sent.lost_bytes, 7 * MSS);
	/* Conservative: as much as arrived. */
	sender_sent_full(0, 3);
	rig_pass_us(RTT);
	sender_sack(MSS, 7 * MSS, 10 * MSS);
	/* snd_una moved and nothing more is lost: one more than arrived. */
	sender_sent_full(3 * MSS, 2);
	rig_pass_us(1);
	sender_sack(2 * MSS, 7 * MSS, 10 * MSS);
	ck_assert_uint_eq(sender_count(), 2);
	ck_assert_uint_le(sents_pipe(sender_blk()), 5 * MSS);
}
END_TEST

START_TEST(test_prr_second_loss_of_the_same_window_reduces_no_more)
{
	sent(40);
	rig_pass_us(RTT);
	sender_sack(0, MSS, 4 * MSS);
	sender_skip();
	sender_sack2(0, 6 * MSS, 9 * MSS, MSS, 4 * MSS);
	ck_assert_uint_eq(sender_blk()->cc.ssthresh, 5 * MSS);
	ck_assert_uint_eq(rig_counter(SC_fast_retransmits), 1);
}
END_TEST

/* --- without SACK */

START_TEST(test_limited_transmit_two_duplicate_acks_let_two_segments_out)
{
	sent(40);
	rig_pass_us(RTT);
	sender_ack(0);
	sender_sent_full(10 * MSS, 1);
	sender_ack(0);
	sender_sent_full(11 * MSS, 1);
	sender_ack(0);
	sender_sent_full(0, 1);
}
END_TEST

START_TEST(test_newreno_partial_acks_send_one_hole_each_and_stay_in_recovery)
{
	sent(10);
	rig_pass_us(RTT);
	for (int i = 0; i < 3; i++)
		sender_ack(0);
	sender_sent_full(0, 1);
	sender_ack(2 * MSS);
	sender_sent(2 * MSS, MSS);
	sender_skip();
	ck_assert_uint_eq(sender_blk()->cc.phase, CC_RECOVERY);
	sender_ack(5 * MSS);
	sender_sent(5 * MSS, MSS);
	sender_skip();
	sender_ack(10 * MSS);
	ck_assert_uint_eq(sender_blk()->cc.phase, CC_OPEN);
	ck_assert_uint_eq(sender_blk()->cc.cwnd, 5 * MSS);
	ck_assert_uint_eq(rig_counter(SC_fast_retransmits), 1);
}
END_TEST

START_TEST(test_newreno_partial_ack_in_the_midst_of_a_segment_sends_its_rest)
{
	sent(10);
	rig_pass_us(RTT);
	for (int i = 0; i < 3; i++)
		sender_ack(0);
	sender_sent_full(0, 1);
	sender_ack(MSS + 100);
	sender_sent(MSS + 100, MSS - 100);
}
END_TEST

START_TEST(test_newreno_duplicates_of_a_window_sent_again_start_nothing)
{
	sent(10);
	rig_pass_us(302 * MS);
	sender_sent_full(0, 1);
	sender_ack(10 * MSS);
	sender_write(10 * MSS);
	sender_skip();
	for (int i = 0; i < 3; i++)
		sender_ack(10 * MSS);
	ck_assert_uint_eq(rig_counter(SC_fast_retransmits), 0);
}
END_TEST

/* --- time-outs */

START_TEST(test_rto_is_200_ms_over_a_steady_round_trip)
{
	sender_connect(10 * MS);
	sender_write(MSS);
	ck_assert_uint_eq(sender_blk()->rexmit_at, rig.now_us + 210 * MS);
}
END_TEST

START_TEST(test_rto_back_off_stays_until_an_unambiguous_sample)
{
	sent(1);
	rig_pass_us(302 * MS);
	sender_sent_full(0, 1);
	/* Which of the two? Karn: the RTO remains doubled. */
	sender_ack(MSS);
	sender_write(MSS);
	ck_assert_uint_eq(sender_blk()->rexmit_at,
			  rig.now_us + 2 * sender_blk()->rtt.rto_us);
	rig_pass_us(RTT);
	sender_ack(2 * MSS);
	sender_write(MSS);
	ck_assert_uint_le(sender_blk()->rexmit_at, rig.now_us + 300 * MS);
}
END_TEST

START_TEST(test_rto_back_off_ends_with_an_echoed_timestamp)
{
	cl.ts = true;
	sender_connect(RTT);
	sender_write(1000);
	rig_pass_us(302 * MS);
	rig_pass_us(RTT);
	cl.tsecr = rig.out[rig.n_out - 1].tsval;
	sender_ack(1000);
	sender_write(1000);
	sender_skip();
	ck_assert_uint_le(sender_blk()->rexmit_at, rig.now_us + 310 * MS);
}
END_TEST

START_TEST(test_rto_lowers_ssthresh_again_after_progress_and_not_before)
{
	sent(10);
	rig_pass_us(302 * MS);
	ck_assert_uint_eq(sender_blk()->cc.ssthresh, 5 * MSS);
	rig_pass_us(602 * MS);
	ck_assert_uint_eq(rig_counter(SC_rto_fired), 2);
	ck_assert_uint_eq(sender_blk()->cc.ssthresh, 5 * MSS);
	sender_ack(MSS);
	rig_pass_us(5000 * MS);
	/* RFC 5681 3.1: this segment was not sent again by the timer yet. */
	ck_assert_uint_eq(sender_blk()->cc.ssthresh, 9 * MSS / 2);
}
END_TEST

START_TEST(test_rto_new_data_does_not_pass_what_is_lost)
{
	sender_connect(RTT);
	sender_write(100);
	sender_write(MSS);
	sender_write(MSS);
	sender_skip();
	rig_pass_us(302 * MS);
	sender_sent(0, 100);
	rig_expect_nothing();
	sender_write(50);
	rig_expect_nothing();
	ck_assert_uint_eq(sender_blk()->snd_nxt, at(100 + 2 * MSS));
}
END_TEST

START_TEST(test_rto_of_the_syn_ack_leaves_one_segment_and_three_seconds)
{
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	cl.srv_iss = rig_expect(&cl, TH_SYN | TH_ACK)->seq;
	rig_pass_us(1100 * MS);
	rig_expect(&cl, TH_SYN | TH_ACK);
	cl.ri = 0;
	rig_ack(&cl);
	sender_write(4 * MSS);
	sender_sent_full(0, 1);
	ck_assert_uint_eq(sender_blk()->rexmit_at, rig.now_us + 3000 * MS);
}
END_TEST

START_TEST(test_rto_bare_fin_is_sent_again)
{
	sender_connect(RTT);
	stack_shutdown(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(NULL, TH_ACK | TH_FIN);
	rig_pass_us(302 * MS);
	ck_assert_uint_eq(rig_expect(NULL, TH_ACK | TH_FIN)->seq, at(0));
}
END_TEST

START_TEST(test_rto_full_segment_and_its_fin_are_sent_again)
{
	sender_connect(RTT);
	sender_write(MSS);
	sender_skip();
	stack_shutdown(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	sender_skip();
	rig_pass_us(302 * MS);
	sender_sent(0, MSS);
	sender_ack(MSS);
	ck_assert_uint_eq(rig_expect(NULL, TH_ACK | TH_FIN)->seq, at(MSS));
	sender_ack(MSS + 1);
	rig_pass_us(1000 * MS);
	rig_expect_nothing();
}
END_TEST

/* --- closed windows */

START_TEST(test_persist_answers_to_probes_are_no_duplicate_acks)
{
	sender_connect(RTT);
	cl.wnd = 0;
	sender_ack(0);
	sender_write(3 * MSS);
	for (int i = 0; i < 6; i++) {
		rig_pass_us(30000 * MS / (64 >> i));
		sender_ack(0);
	}
	ck_assert_uint_ge(rig_counter(SC_zero_window_probes), 4);
	ck_assert_uint_eq(rig_counter(SC_fast_retransmits), 0);
	ck_assert_uint_eq(sender_blk()->cc.ssthresh, UINT32_MAX);
}
END_TEST

START_TEST(test_persist_probe_of_a_first_segment_that_is_sacked)
{
	cl.sack = true;
	sender_connect(RTT);
	sender_write(3 * MSS);
	sender_skip();
	cl.wnd =
		0; /* a shrunken window, and a SACK of what is not acknowledged */
	sender_sack(0, 0, MSS);
	for (int i = 0; i < 5; i++) {
		rig_pass_us(500 * MS);
		ck_assert_ptr_null(shard_check(&rig.shard));
	}
	ck_assert_uint_ge(rig_counter(SC_zero_window_probes), 1);
	cl.wnd = 512;
	sender_ack(0);
	sender_skip();
	sender_ack(3 * MSS);
	ck_assert_uint_eq(sender_blk()->sent.n, 0);
}
END_TEST

/* --- idleness */

START_TEST(test_idle_restart_counts_from_the_last_transmission)
{
	uint32_t byte = 0;

	sender_connect(RTT);
	for (int i = 0; i < 20; i++) {
		uint32_t n = i < 2 ? 10 : 20;

		sender_write(n * MSS);
		byte += n * MSS;
		sender_round(byte, RTT);
	}
	ck_assert_uint_gt(sender_blk()->cc.cwnd, 15 * MSS);
	ck_assert_uint_lt(sender_blk()->rtt.rto_us, 310 * MS);
	/* 350 ms since it sent, 250 since the ACK. */
	rig_pass_us(250 * MS);
	sender_write(MSS);
	ck_assert_uint_eq(sender_blk()->cc.cwnd, 10 * MSS);
}
END_TEST

START_TEST(test_window_is_kept_for_an_rto_after_the_last_use)
{
	sent(10);
	sender_round(10 * MSS, RTT);
	ck_assert_uint_ne(sender_blk()->cc.cwnd, 10 * MSS);
	for (uint32_t i = 1; i <= 3; i++) {
		rig_pass_us(150 * MS);
		sender_write(10);
		sender_ack(10 * MSS + 10 * i);
		rig_events(cl.ri);
		sender_blk();
	}
	rig_pass_us(200 * MS);
	sender_blk();
	rig_pass_us(1000 * MS);
	ck_assert_ptr_null(rig_blk(&cl));
}
END_TEST

UNIT_MAIN(
	"stack/prr",
	UNIT_CASE("prr", up, rig_down,
		  test_prr_sends_half_of_what_arrives_and_ends_at_ssthresh,
		  test_prr_first_retransmission_goes_at_once,
		  test_prr_after_many_losses_grows_back_to_ssthresh_by_safe_acks,
		  test_prr_second_loss_of_the_same_window_reduces_no_more),
	UNIT_CASE(
		"no sack", up_no_sack, rig_down,
		test_limited_transmit_two_duplicate_acks_let_two_segments_out,
		test_newreno_partial_acks_send_one_hole_each_and_stay_in_recovery,
		test_newreno_partial_ack_in_the_midst_of_a_segment_sends_its_rest,
		test_newreno_duplicates_of_a_window_sent_again_start_nothing),
	UNIT_CASE("rto", up_no_sack, rig_down,
		  test_rto_is_200_ms_over_a_steady_round_trip,
		  test_rto_back_off_stays_until_an_unambiguous_sample,
		  test_rto_back_off_ends_with_an_echoed_timestamp,
		  test_rto_lowers_ssthresh_again_after_progress_and_not_before,
		  test_rto_new_data_does_not_pass_what_is_lost,
		  test_rto_of_the_syn_ack_leaves_one_segment_and_three_seconds,
		  test_rto_bare_fin_is_sent_again,
		  test_rto_full_segment_and_its_fin_are_sent_again),
	UNIT_CASE("windows", up_no_sack, rig_down,
		  test_persist_answers_to_probes_are_no_duplicate_acks,
		  test_persist_probe_of_a_first_segment_that_is_sacked,
		  test_idle_restart_counts_from_the_last_transmission,
		  test_window_is_kept_for_an_rto_after_the_last_use))
