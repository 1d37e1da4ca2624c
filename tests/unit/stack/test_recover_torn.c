/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What no kill leaves behind, and shard_rebuild() can't know: records that
 * contradict their own state are dropped with a RST, and nothing else is.
 */
#include "../unit.h"
#include "base/bytes.h"
#include "base/units.h"
#include "rig.h"

static struct rig_client whole, torn;
static struct rec *r;
static struct blk *b; /* NULL: idle */

static void up(void)
{
	rig_up();
	rig_connect(&whole, 1000);
	rig_connect(&torn, 1001);
}

static void down(void)
{
	rig_down();
}

/* Text that is held, and a reply to some before it that is in flight. */
static void make_busy(struct rig_client *cl)
{
	rig_send(cl, "one");
	rig_expect_text(cl, "one");
	rig_reply(cl, 3, "reply");
	rig_send(cl, "two");
	rig_expect_text(cl, "two");
}

static void look(void)
{
	r = rig_rec(&torn);
	b = r->block == NIL ? NULL : rig_blk(&torn);
}

/* --- dropped ----------------------------------------------------------- */

static void tear_state(void)
{
	r->state = TCP_STATES;
}

static void tear_ended(void)
{
	r->more |= REC_ENDED;
}

/* With timestamps nothing would be left for text. */
static void tear_mss(void)
{
	r->mss = 12;
}

static void tear_fin_acked(void)
{
	r->flags |= REC_FIN_ACKED;
}

static void tear_close_wait(void)
{
	r->state = TCP_CLOSE_WAIT;
}

static void tear_fin_wait_1(void)
{
	r->state = TCP_FIN_WAIT_1;
}

static void tear_fin_wait_2(void)
{
	r->state = TCP_FIN_WAIT_2;
}

static void tear_closing(void)
{
	r->state = TCP_CLOSING;
}

static void tear_last_ack(void)
{
	r->state = TCP_LAST_ACK;
}

static void tear_time_wait(void)
{
	r->state = TCP_TIME_WAIT;
}

static void tear_held(void)
{
	r->state = TCP_SYN_HELD;
}

static void (*const tears[])(void) = {
	tear_state,	 tear_ended,   tear_mss,       tear_fin_acked,
	tear_close_wait, tear_closing, tear_last_ack,  tear_fin_wait_1,
	tear_fin_wait_2, tear_held,    tear_time_wait,
};

static void expect_dropped(uint32_t n_out)
{
	const struct rig_out *out = &rig.out[n_out];

	ck_assert_uint_eq(rig_counter(SC_recover_torn), 1);
	ck_assert_uint_eq(rig_counter(SC_lost_in_recovery), 1);
	ck_assert_uint_eq(rig_counter(SC_recovered_connections), 1);
	ck_assert_uint_eq(r->state, TCP_FREE);
	ck_assert_uint_eq(rig.n_out, n_out + 1);
	ck_assert_uint_eq(out->flags, TH_RST | TH_ACK);
	ck_assert_uint_eq(out->dst_port, torn.port);
	/* Behind the FIN, if the record says that it was acknowledged. */
	ck_assert_uint_eq(out->seq, torn.srv_iss + 1 + (uint32_t)r->snd_off +
					    !!(r->flags & REC_FIN_ACKED));
	ck_assert_ptr_null(shard_check(&rig.shard));
}

START_TEST(test_contradiction_of_an_idle_record_is_dropped)
{
	uint32_t n_out = rig.n_out;

	look();
	ck_assert_ptr_null(b);
	tears[_i]();
	rig_kill();
	expect_dropped(n_out);
	rig_send(&whole, "still here");
	rig_expect_text(&whole, "still here");
	rig_reply(&whole, 10, "yes");
	stack_flush(rig.st, rig.now_us);
}
END_TEST

START_TEST(test_contradiction_of_an_active_record_is_dropped)
{
	uint32_t n_out;

	make_busy(&torn);
	make_busy(&whole);
	n_out = rig.n_out;
	look();
	ck_assert_ptr_nonnull(b);
	tears[_i]();
	rig_kill();
	expect_dropped(n_out);
	/* All of the other's, and nothing of the torn one's. */
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.blk_map), 1);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rx.map), 1);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.tx.map), 1);
	ck_assert_uint_eq(rig.st->pools[0].used_chunks, 1);
	rig_expect_text(&whole, "two");
}
END_TEST

/* --- not dropped ------------------------------------------------------- */

/* The device may have a smaller MTU than the old process had. */
START_TEST(test_segments_fit_the_device)
{
	look();
	r->mss = 8960;
	rig_kill();
	ck_assert_uint_eq(rig_counter(SC_recovered_connections), 2);
	ck_assert_uint_eq(r->mss, 1460);
}
END_TEST

/* What is derived is derived, though it looks like a handshake's. */
START_TEST(test_una_of_an_open_connection_is_derived)
{
	struct rig_out *out;

	rig_send(&torn, "one");
	rig_expect_text(&torn, "one");
	rig_reply(&torn, 3, "reply");
	rig_expect(&torn, TH_ACK | TH_PSH);
	look();
	ck_assert_uint_eq(r->snd_off, 0);
	b->snd_una = r->iss;
	rig_kill();
	ck_assert_uint_eq(b->snd_una, r->iss + 1);
	ck_assert_ptr_null(shard_check(&rig.shard));
	stack_flush(rig.st, rig.now_us);
	out = rig_expect(&torn, TH_ACK | TH_PSH);
	ck_assert_uint_eq(out->len, 5);
	rig_ack(&torn);
	ck_assert_uint_eq(r->snd_off, 5);
}
END_TEST

/* One that is too far away would never come. */
START_TEST(test_deadlines_are_no_later_than_they_would_be_now)
{
	struct rig_client half = { 0 };

	rig.group.accept = STACK_ACCEPT_APPLICATION;
	rig.group.accept_timeout_us = 3000000;
	rig.group.ack_deadline_us = 200000;
	rig_group();
	rig_client(&half, 1002);
	rig_input(&half, &(struct rig_seg){ .flags = TH_SYN,
					    .seq = half.iss,
					    .syn_options = true });
	rig_send(&torn, "one");
	look();
	b->hold_at = UINT64_MAX / 2;
	rig.shard.blks[rig.shard.recs[2].block].life_at = UINT64_MAX / 2;
	ck_assert_uint_eq(rig.shard.recs[2].state, TCP_SYN_HELD);
	rig_kill();
	rig_pass_us(300000);
	ck_assert_uint_eq(b->rcv_acked, b->rcv_nxt);
	rig_pass_us(3000000);
	ck_assert_uint_eq(rig_counter(SC_conn_accept_expired), 1);
}
END_TEST

/* A closed window that never opens, or one that reaches round the numbers. */
START_TEST(test_windows_are_what_can_be)
{
	rig_send(&torn, "one");
	look();
	b->rcv_space_units = 0;
	b->snd_wnd = b->max_wnd = UINT32_MAX;
	rig_kill();
	stack_flush(rig.st, rig.now_us);
	ck_assert_uint_ge(b->rcv_adv - b->rcv_nxt, 32768);
	ck_assert_uint_eq(b->snd_wnd, UINT32_C(65535) << (r->wscale & 0xf));
	ck_assert_uint_eq(b->max_wnd, b->snd_wnd);
	b->rcv_space_units = UINT16_MAX;
	rig_kill();
	stack_flush(rig.st, rig.now_us);
	ck_assert_uint_eq(b->rcv_space_units, UINT8_MAX);
}
END_TEST

/* Its block would linger for years. */
START_TEST(test_nobody_was_active_later_than_now)
{
	for (int bit = 20; bit < 32; bit++) {
		look();
		r->last_active |= UINT32_C(1) << bit;
		rig_kill();
		ck_assert_uint_eq(r->last_active,
				  rig.now_us / (REC_TICK_MS * USEC_PER_MSEC));
	}
}
END_TEST

UNIT_MAIN("stack/recover_torn",
	  UNIT_LOOP("idle", ARRAY_SIZE(tears), up, down,
		    test_contradiction_of_an_idle_record_is_dropped),
	  UNIT_LOOP("active", ARRAY_SIZE(tears), up, down,
		    test_contradiction_of_an_active_record_is_dropped),
	  UNIT_CASE("whole", up, down, test_segments_fit_the_device,
		    test_una_of_an_open_connection_is_derived,
		    test_deadlines_are_no_later_than_they_would_be_now,
		    test_windows_are_what_can_be,
		    test_nobody_was_active_later_than_now))
