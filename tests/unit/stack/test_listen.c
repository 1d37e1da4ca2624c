/* SPDX-License-Identifier: BSD-2-Clause */
/* Passive open: RFC 9293 section 3.10.7.2. */
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

START_TEST(test_handshake_negotiates_options)
{
	struct rig_client cl = { 0 };
	struct rig_out *out;

	rig_client(&cl, 1000);
	cl.v6 = _i;
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	out = rig_expect(&cl, TH_SYN | TH_ACK);
	ck_assert(out->v6 == (bool)_i);
	ck_assert(out->has_mss && out->has_wscale && out->has_ts);
	ck_assert_uint_eq(out->mss, _i ? 1440 : 1460);
	ck_assert_uint_eq(out->tsecr, 7000);
	rig_ack(&cl);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_conn_accepted), 1);
	/* Idle: a record and nothing else (I3). */
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 1);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.blk_map), 0);
	ck_assert_uint_eq(rig.shard.wheel.entries, 0);
}
END_TEST

START_TEST(test_plain_syn_gets_no_options_but_mss)
{
	struct rig_client cl = { 0 };
	struct rig_out *out;

	rig_client(&cl, 1000);
	cl.ts = false;
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN, .seq = cl.iss });
	out = rig_expect(&cl, TH_SYN | TH_ACK);
	ck_assert(out->has_mss && !out->has_wscale && !out->has_ts);
}
END_TEST

START_TEST(test_last_ack_of_handshake_may_lack_its_timestamp)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	rig_expect(&cl, TH_SYN | TH_ACK);
	cl.ts = false;
	rig_ack(&cl);
	ck_assert_uint_eq(rig_counter(SC_conn_accepted), 1);
}
END_TEST

START_TEST(test_synack_is_repeated_then_given_up)
{
	struct rig_client cl = { 0 };
	uint32_t n = 0;

	rig_client(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	rig_pass_us(70000000);
	while (rig.seen < rig.n_out) {
		rig_expect(&cl, TH_SYN | TH_ACK);
		n++;
	}
	ck_assert_uint_eq(n, 5); /* at 0, 1, 3, 7, 15 s */
	ck_assert_uint_eq(rig_counter(SC_conn_handshake_expired), 1);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 0);
	ck_assert_uint_eq(rig.st->half_open, 0);
}
END_TEST

START_TEST(test_repeated_syn_with_data_gets_the_same_synack)
{
	struct rig_client cl;
	struct rig_seg syn = { .flags = TH_SYN,
			       .syn_options = true,
			       .data = "early",
			       .len = 5 };
	uint32_t seq;

	rig_client(&cl, 1000);
	syn.seq = cl.iss;
	rig_input(&cl, &syn);
	seq = rig_expect(&cl, TH_SYN | TH_ACK)->seq;
	rig_input(&cl, &syn);
	ck_assert_uint_eq(rig_expect(&cl, TH_SYN | TH_ACK)->seq, seq);
	rig_expect_nothing();
}
END_TEST

START_TEST(test_repeated_syn_gets_the_same_synack)
{
	struct rig_client cl = { 0 };
	uint32_t seq;

	rig_client(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	seq = rig_expect(&cl, TH_SYN | TH_ACK)->seq;
	rig_pass_us(10000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	ck_assert_uint_eq(rig_expect(&cl, TH_SYN | TH_ACK)->seq, seq);
}
END_TEST

START_TEST(test_ack_in_syn_received_of_something_else_is_reset)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	rig_expect(&cl, TH_SYN | TH_ACK);
	rig_input(&cl, &(struct rig_seg){
			       .flags = TH_ACK, .seq = cl.snd_nxt, .ack = 77 });
	ck_assert_uint_eq(rig_expect(&cl, TH_RST)->seq, 77);
	rig_ack(&cl);
	ck_assert_uint_eq(rig_counter(SC_conn_accepted), 1);
}
END_TEST

START_TEST(test_held_syn_waits_for_the_application)
{
	struct rig_client cl = { 0 };

	rig.group.accept = STACK_ACCEPT_APPLICATION;
	rig_group();
	rig_client(&cl, 1000);
	cl.ri = 0;
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	rig_expect_nothing();
	ck_assert_uint_eq(rig_events(0), STACK_EV_OPEN);
	if (_i == 0) {
		ck_assert_int_eq(stack_accept(rig.st, 0, rig.now_us), 0);
		stack_flush(rig.st, rig.now_us);
		rig_expect(&cl, TH_SYN | TH_ACK);
		rig_ack(&cl);
		ck_assert_uint_eq(rig_counter(SC_conn_accepted), 1);
	} else if (_i == 1) {
		ck_assert_int_eq(stack_refuse(rig.st, 0, rig.now_us), 0);
		ck_assert_uint_eq(rig_expect(&cl, TH_RST | TH_ACK)->ack,
				  cl.iss + 1);
		rig_events(0);
		ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 0);
	} else {
		rig_pass_us(2990000);
		rig_expect_nothing();
		rig_pass_us(20000);
		rig_expect(&cl, TH_RST | TH_ACK);
		ck_assert_uint_eq(rig_counter(SC_conn_accept_expired), 1);
		rig_events(0);
		ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 0);
	}
	ck_assert_uint_eq(rig.st->half_open, 0);
}
END_TEST

START_TEST(test_closed_port_is_reset)
{
	struct rig_client cl = { 0 };
	uint8_t buf[128];
	uint32_t len;

	rig_client(&cl, 1000);
	rig_group_remove(1);
	len = rig_build(
		&cl, &(struct rig_seg){ .flags = TH_SYN, .seq = cl.iss }, buf);
	rig_packet(buf, len);
	ck_assert_uint_eq(rig_expect(&cl, TH_RST | TH_ACK)->ack, cl.iss + 1);
	ck_assert_uint_eq(rig_counter(SC_drop_closed_port), 1);
}
END_TEST

START_TEST(test_full_group_refuses_and_the_next_in_priority_takes_over)
{
	struct rig_client a = { 0 }, b = { 0 }, c = { 0 };
	struct stack_group second = rig.group;

	rig.group.max_connections = 1;
	rig.group.priority = 5;
	rig_group();
	second.id = 2;
	second.max_connections = 1;
	second.shared_count = NULL;
	ck_assert_int_eq(stack_group_set(rig.st, &second), 0);
	rig_connect(&a, 1000);
	rig_connect(&b, 1001);
	ck_assert_uint_eq(rig_rec(&a)->group, 1);
	ck_assert_uint_eq(rig_rec(&b)->group, 2);
	rig_group_remove(2);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&b, TH_RST | TH_ACK);
	rig_client(&c, 1002);
	rig_input(&c, &(struct rig_seg){ .flags = TH_SYN, .seq = c.iss });
	rig_expect(&c, TH_RST | TH_ACK);
	ck_assert_uint_eq(rig_counter(SC_drop_group_full), 1);
}
END_TEST

START_TEST(test_groups_of_equal_priority_take_turns)
{
	struct stack_group second = rig.group;
	uint32_t first = 0;

	second.id = 2;
	second.shared_count = NULL;
	ck_assert_int_eq(stack_group_set(rig.st, &second), 0);
	for (uint16_t i = 0; i < 10; i++) {
		struct rig_client cl = { 0 };

		rig_connect(&cl, (uint16_t)(2000 + i));
		first += rig_rec(&cl)->group == 1;
	}
	ck_assert_uint_eq(first, 5);
}
END_TEST

START_TEST(test_reply_and_close_before_the_handshake_is_done_wait_for_it)
{
	struct rig_client cl = { 0 };

	rig.group.accept = STACK_ACCEPT_APPLICATION;
	rig_group();
	rig_client(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	cl.ri = 0;
	rig_events(0);
	ck_assert_int_eq(stack_accept(rig.st, 0, rig.now_us), 0);
	rig_reply(&cl, 0, "welcome");
	stack_close(rig.st, 0, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&cl, TH_SYN | TH_ACK);
	rig_expect_nothing();
	rig_ack(&cl);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK | TH_PSH | TH_FIN)->len, 7);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FIN_WAIT_1);
}
END_TEST

UNIT_MAIN(
	"stack/listen",
	UNIT_LOOP("families", 2, up, down, test_handshake_negotiates_options),
	UNIT_LOOP("held", 3, up, down, test_held_syn_waits_for_the_application),
	UNIT_CASE("open", up, down, test_plain_syn_gets_no_options_but_mss,
		  test_reply_and_close_before_the_handshake_is_done_wait_for_it,
		  test_last_ack_of_handshake_may_lack_its_timestamp,
		  test_synack_is_repeated_then_given_up,
		  test_repeated_syn_gets_the_same_synack,
		  test_repeated_syn_with_data_gets_the_same_synack,
		  test_ack_in_syn_received_of_something_else_is_reset,
		  test_closed_port_is_reset,
		  test_full_group_refuses_and_the_next_in_priority_takes_over,
		  test_groups_of_equal_priority_take_turns))
