/* SPDX-License-Identifier: BSD-2-Clause */
/* What a new process owes to those who knew the old one. */
#include "../unit.h"
#include "base/bytes.h"
#include "rig.h"

static void up(void)
{
	rig_up();
}

static void down(void)
{
	rig_down();
}

/* As of a kill after the state was written, before the packet left. */
static struct rig_out *last_was_lost(void)
{
	ck_assert_uint_gt(rig.n_out, 0);
	return &rig.out[(rig.n_out - 1) % RIG_OUT_MAX];
}

START_TEST(test_an_acknowledgement_that_never_left_is_sent)
{
	struct rig_client cl = { 0 };
	struct rig_out lost, *out;

	rig_connect(&cl, 1000);
	rig_send(&cl, "one, two");
	rig_expect_text(&cl, "one, two");
	rig_reply(&cl, 3, "");
	lost = *last_was_lost();
	ck_assert_uint_eq(lost.ack, cl.iss + 1 + 3);

	rig_kill();
	stack_flush(rig.st, rig.now_us);
	out = rig_expect(&cl, TH_ACK);
	ck_assert_uint_eq(out->ack, lost.ack);
	ck_assert_uint_eq(out->len, 0);
}
END_TEST

/* It would not ask until its persist timer, long since backed off, ends. */
START_TEST(test_a_window_update_that_never_left_is_sent)
{
	static char data[1448];
	struct rig_client cl = { 0 };
	struct rig_out *out;
	uint32_t left;

	rig_connect(&cl, 1000);
	/* It is throttled before the window is used up. */
	stack_pool_set(rig.st, 0, 256 * 512, 20, 10);
	rig_send_bytes(&cl, data, 1);
	while ((left = rig_blk(&cl)->rcv_adv - rig_blk(&cl)->rcv_nxt))
		rig_send_bytes(&cl, data, min_u32(left, sizeof(data)));
	ck_assert(rig.st->pools[0].throttled);
	rig_pass_us(2 * 1000000);
	while (rig_blk(&cl)->rcv_dlv != rig_blk(&cl)->rcv_nxt)
		rig_deliver(&cl, data, sizeof(data));
	rig_reply(&cl, rig_blk(&cl)->rcv_dlv - rig_blk(&cl)->rcv_app - 1, "");
	ck_assert_uint_gt(last_was_lost()->wnd, 0);

	rig_kill();
	stack_flush(rig.st, rig.now_us);
	out = rig_expect(&cl, TH_ACK);
	ck_assert_uint_gt(out->wnd << cl.srv_shift, sizeof(data));
}
END_TEST

/* The first segment of a cookie's connection may be behind the second. */
START_TEST(test_segment_for_no_connection_draws_no_reset_at_first)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1001);
	rig_kill(); /* the first, as on any arena */
	rig_kill();
	rig_ack(&cl);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_drop_quiet), 1);
	rig_pass_us(5 * 1000000);
	rig_ack(&cl);
	rig_expect(&cl, TH_RST);
}
END_TEST

START_TEST(test_segment_for_no_connection_draws_a_reset_on_a_new_arena)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1001);
	rig_kill();
	rig_ack(&cl);
	rig_expect(&cl, TH_RST);
}
END_TEST

/* Its group is gone: the RST has to be where the client expects it. */
START_TEST(test_a_reset_is_behind_the_fins)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	stack_shutdown(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&cl, TH_ACK | TH_FIN);
	rig_ack(&cl);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK | TH_FIN,
					  .seq = cl.snd_nxt++,
					  .ack = cl.rcv_nxt });
	rig_expect(&cl, TH_ACK);
	rig_rec(&cl)->group = 7;
	rig_kill();
	ck_assert_uint_eq(last_was_lost()->flags, TH_RST | TH_ACK);
	ck_assert_uint_eq(last_was_lost()->seq, cl.rcv_nxt);
	ck_assert_uint_eq(last_was_lost()->ack, cl.snd_nxt);
}
END_TEST

UNIT_MAIN("stack/recover",
	  UNIT_CASE("owed", up, down,
		    test_an_acknowledgement_that_never_left_is_sent,
		    test_a_window_update_that_never_left_is_sent,
		    test_segment_for_no_connection_draws_no_reset_at_first,
		    test_segment_for_no_connection_draws_a_reset_on_a_new_arena,
		    test_a_reset_is_behind_the_fins))
