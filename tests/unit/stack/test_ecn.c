/* SPDX-License-Identifier: BSD-2-Clause */
/* Explicit congestion notification, RFC 3168, both ways. */
#include "sender.h"

#define RTT (100 * MS)

static void up(void)
{
	rig_up();
	rig.group.ecn = true;
	rig.group.congestion = CC_RENO;
	rig_group();
	sender_client(true);
	cl.ecn = true;
}

static void sent(uint32_t n)
{
	sender_connect(RTT);
	sender_write(n * MSS);
	sender_sent_full(0, n);
}

START_TEST(test_ecn_needs_a_client_that_asks_and_a_group_that_grants)
{
	cl.ecn = _i & 1;
	rig.group.ecn = _i & 2;
	rig_group();
	sender_connect(RTT); /* checks the SYN-ACK's ECE */
	sender_write(MSS);
	ck_assert_uint_eq(sender_sent(0, MSS)->ecn,
			  _i == 3 ? ECN_ECT0 : ECN_NOT_ECT);
}
END_TEST

START_TEST(test_ecn_syn_ack_and_pure_acks_are_not_capable)
{
	sender_connect(RTT);
	ck_assert_uint_eq(rig.out[0].ecn, ECN_NOT_ECT);
	rig.group.ack = STACK_ACK_IMMEDIATE;
	rig_group();
	rig_send(&cl, "x");
	rig_pass_us(100 * MS);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ecn, ECN_NOT_ECT);
}
END_TEST

START_TEST(test_ecn_is_off_when_the_syn_comes_again_without)
{
	struct rig_seg syn = { .flags = TH_SYN | TH_ECE | TH_CWR,
			       .seq = cl.iss,
			       .syn_options = true };

	rig_input(&cl, &syn);
	rig_expect(&cl, TH_SYN | TH_ACK | TH_ECE);
	syn.flags = TH_SYN;
	rig_input(&cl, &syn);
	cl.srv_iss = rig_expect(&cl, TH_SYN | TH_ACK)->seq;
	cl.ri = 0;
	rig_ack(&cl);
	rig_events(cl.ri);
	sender_write(MSS);
	ck_assert_uint_eq(sender_sent(0, MSS)->ecn, ECN_NOT_ECT);
}
END_TEST

START_TEST(test_ecn_retransmissions_are_not_capable)
{
	sent(5);
	rig_pass_us(RTT);
	sender_sack(0, MSS, 4 * MSS);
	ck_assert_uint_eq(sender_sent(0, MSS)->ecn, ECN_NOT_ECT);
}
END_TEST

START_TEST(test_ecn_window_probes_are_neither_capable_nor_say_cwr)
{
	struct rig_out *out;

	sent(10);
	rig_pass_us(RTT);
	sender_ack_flags(MSS, TH_ECE);
	sender_skip();
	cl.wnd = 0;
	sender_ack(10 * MSS);
	sender_write(MSS);
	rig_pass_us(400 * MS);
	out = sender_sent(10 * MSS, 1);
	ck_assert_uint_eq(rig_counter(SC_zero_window_probes), 1);
	ck_assert_uint_eq(out->ecn, ECN_NOT_ECT);
	ck_assert(!(out->flags & TH_CWR));
	/* The first that is new, and no probe, says it. */
	cl.wnd = 512;
	sender_ack(10 * MSS + 1);
	out = sender_sent(10 * MSS + 1, MSS - 1);
	ck_assert_uint_eq(out->ecn, ECN_ECT0);
	ck_assert(out->flags & TH_CWR);
}
END_TEST

START_TEST(test_ecn_mark_is_echoed_until_the_client_says_cwr)
{
	rig.group.ack = STACK_ACK_IMMEDIATE;
	rig_group();
	sender_connect(RTT);
	cl.tos = ECN_CE;
	rig_send(&cl, "x");
	cl.tos = ECN_ECT0;
	rig_pass_us(100 * MS);
	rig_expect(&cl, TH_ACK | TH_ECE);
	rig_send(&cl, "y");
	rig_pass_us(100 * MS);
	rig_expect(&cl, TH_ACK | TH_ECE);
	sender_write(1);
	rig_expect(&cl, TH_ACK | TH_PSH | TH_ECE);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK | TH_CWR,
					  .seq = cl.snd_nxt,
					  .ack = cl.rcv_nxt,
					  .data = "z",
					  .len = 1 });
	rig_pass_us(100 * MS);
	rig_expect(&cl, TH_ACK);
	ck_assert_uint_eq(rig_counter(SC_ecn_marked), 1);
}
END_TEST

START_TEST(test_ecn_mark_on_the_segment_that_says_cwr_starts_anew)
{
	rig.group.ack = STACK_ACK_IMMEDIATE;
	rig_group();
	sender_connect(RTT);
	cl.tos = ECN_CE;
	rig_send(&cl, "x");
	rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK | TH_CWR,
					  .seq = cl.snd_nxt,
					  .ack = cl.rcv_nxt,
					  .data = "y",
					  .len = 1 });
	rig_pass_us(100 * MS);
	rig_expect(&cl, TH_ACK | TH_ECE);
}
END_TEST

START_TEST(test_ecn_echo_reduces_once_per_window_and_loses_nothing)
{
	uint32_t ssthresh;

	sent(10);
	sender_write(20 * MSS);
	rig_pass_us(RTT);
	sender_ack_flags(MSS, TH_ECE);
	ssthresh = sender_blk()->cc.ssthresh;
	ck_assert_uint_eq(ssthresh, 9 * MSS / 2);
	for (uint32_t i = 2; i <= 10; i++)
		sender_ack_flags(i * MSS, TH_ECE);
	ck_assert_uint_eq(sender_blk()->cc.ssthresh, ssthresh);
	ck_assert_uint_eq(rig_counter(SC_ecn_echoed), 1);
	ck_assert_uint_eq(rig_counter(SC_segs_retransmitted), 0);
	ck_assert_uint_le(sender_blk()->cc.cwnd, 5 * MSS);
}
END_TEST

START_TEST(test_ecn_cwr_stands_on_the_first_new_data_and_only_there)
{
	sent(10);
	sender_write(20 * MSS);
	rig_pass_us(RTT);
	sender_ack_flags(MSS, TH_ECE);
	for (uint32_t i = 2; i <= 10; i++)
		sender_ack(i * MSS);
	ck_assert(sender_sent(10 * MSS, MSS)->flags & TH_CWR);
	while (rig.seen < rig.n_out)
		ck_assert(!(rig.out[rig.seen++].flags & TH_CWR));
}
END_TEST

START_TEST(test_ecn_echo_on_an_old_ack_is_ignored)
{
	sent(10);
	rig_pass_us(RTT);
	sender_ack(3 * MSS);
	sender_ack_flags(2 * MSS, TH_ECE);
	ck_assert_uint_eq(rig_counter(SC_ecn_echoed), 0);
}
END_TEST

START_TEST(test_ecn_echo_is_ignored_without_ecn)
{
	cl.ecn = false;
	sent(10);
	rig_pass_us(RTT);
	sender_ack_flags(MSS, TH_ECE);
	ck_assert_uint_eq(rig_counter(SC_ecn_echoed), 0);
}
END_TEST

START_TEST(test_ecn_loss_in_the_reduced_window_is_repaired_without_sack)
{
	cl.sack = false;
	sent(10);
	rig_pass_us(RTT);
	sender_ack_flags(MSS, TH_ECE);
	ck_assert_uint_eq(sender_blk()->cc.phase, CC_CWR);
	for (int i = 0; i < 3; i++)
		sender_ack(MSS);
	sender_sent(MSS, MSS);
	/* The window is the same: it is not reduced again. */
	ck_assert_uint_eq(sender_blk()->cc.ssthresh, 9 * MSS / 2);
}
END_TEST

START_TEST(test_ecn_undo_of_a_recovery_does_not_undo_the_mark)
{
	sent(10);
	rig_pass_us(RTT);
	sender_ack_flags(MSS, TH_ECE);
	sender_sack(MSS, 2 * MSS, 5 * MSS);
	sender_sent(MSS, MSS);
	ck_assert_uint_eq(sender_blk()->cc.phase, CC_RECOVERY);
	sender_sack(10 * MSS, MSS, 2 * MSS); /* it arrived twice */
	ck_assert_uint_eq(sender_blk()->cc.ssthresh, 9 * MSS / 2);
	ck_assert_uint_eq(rig_counter(SC_undone_recoveries), 0);
}
END_TEST

UNIT_MAIN("stack/ecn",
	  UNIT_LOOP("negotiation", 4, up, rig_down,
		    test_ecn_needs_a_client_that_asks_and_a_group_that_grants),
	  UNIT_CASE("ecn", up, rig_down,
		    test_ecn_syn_ack_and_pure_acks_are_not_capable,
		    test_ecn_is_off_when_the_syn_comes_again_without,
		    test_ecn_retransmissions_are_not_capable,
		    test_ecn_window_probes_are_neither_capable_nor_say_cwr,
		    test_ecn_mark_is_echoed_until_the_client_says_cwr,
		    test_ecn_mark_on_the_segment_that_says_cwr_starts_anew,
		    test_ecn_echo_reduces_once_per_window_and_loses_nothing,
		    test_ecn_cwr_stands_on_the_first_new_data_and_only_there,
		    test_ecn_echo_on_an_old_ack_is_ignored,
		    test_ecn_echo_is_ignored_without_ecn,
		    test_ecn_loss_in_the_reduced_window_is_repaired_without_sack,
		    test_ecn_undo_of_a_recovery_does_not_undo_the_mark))
