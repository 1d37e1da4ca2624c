/* SPDX-License-Identifier: BSD-2-Clause */
/* on-backend-loss = "reset-all": what a backend knew goes with it. */
#include <string.h>

#include "../unit.h"
#include "base/units.h"
#include "daemon/bstream.h"
#include "peer.h"

static struct peer a, b;
static struct rig_client c1, c2, c3;

static void up(void)
{
	rig_max_connections = 65536;
	peer_up();
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memset(&c1, 0, sizeof(c1));
	memset(&c2, 0, sizeof(c2));
	memset(&c3, 0, sizeof(c3));
	a.fd = b.fd = -1;
	peer_setup.on_loss = CONF_LOSS_RESET_ALL;
	peer_group();
}

static void down(void)
{
	if (a.fd >= 0)
		peer_die(&a);
	if (b.fd >= 0)
		peer_die(&b);
	peer_down();
}

/* The client's first request, which p acknowledges: p knows it from then on. */
static void served(struct peer *p, struct rig_client *cl, const char *text)
{
	peer_request(cl, text);
	peer_expect_data(p, text, FRAME_F_FIRST);
	peer_reply(p, (uint32_t)strlen(text), "");
	rig_expect(cl, TH_ACK);
}

/* c1 was idle, c2 had a request in hand, c3 was never told of. */
START_TEST(test_loss_with_reset_all_takes_all_that_was_known)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	rig_connect(&c3, 1002);
	served(&a, &c1, "1");
	peer_request(&c2, "2");
	peer_expect_data(&a, "2", FRAME_F_FIRST);
	ck_assert_ptr_null(rig_blk(&c1));
	peer_die(&a);
	rig_expect(&c2, TH_RST | TH_ACK);
	/* No other backend has to come for that. */
	peer_pass_us(200 * USEC_PER_MSEC);
	rig_expect(&c1, TH_RST | TH_ACK);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
	ck_assert_uint_eq(rig_rec(&c2)->state, TCP_FREE);
	ck_assert_uint_eq(peer_counter(WC_loss_reset), 2);
	peer_attach(&b, 2);
	peer_request(&c3, "3");
	peer_expect_data(&b, "3", FRAME_F_FIRST);
}
END_TEST

/* Another backend is there, and is not asked. */
START_TEST(test_orphan_that_stirs_is_reset)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	served(&a, &c1, "1");
	peer_attach(&b, 2);
	peer_die(&a);
	peer_request(&c1, "2");
	rig_expect(&c1, TH_RST | TH_ACK);
	peer_expect_nothing(&b);
	ck_assert_uint_eq(peer_counter(WC_loss_reset), 1);
}
END_TEST

/* One stream of two: what was not in hand goes on over the other. */
START_TEST(test_reset_all_leaves_what_another_stream_of_the_backend_has)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	served(&a, &c1, "1");
	peer_attach(&b, 1);
	peer_die(&a);
	peer_pass_us(200 * USEC_PER_MSEC);
	rig_expect_nothing();
	peer_request(&c1, "2");
	peer_expect_data(&b, "2", FRAME_F_FIRST);
	ck_assert_uint_eq(peer_counter(WC_loss_reset), 0);
}
END_TEST

/* What a process has in hand is its own: it goes on when it is back. */
START_TEST(test_reset_all_leaves_what_is_in_hand_over_a_start)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "1");
	peer_expect_data(&a, "1", FRAME_F_FIRST);
	peer_kill();
	peer_die(&a);
	rig_expect(&c1, TH_ACK); /* as after any start */
	peer_attach(&a, 1);
	peer_expect_data(&a, "1", FRAME_F_FIRST | FRAME_F_REDELIVERED);
	peer_reply(&a, 1, "");
	rig_expect(&c1, TH_ACK);
	ck_assert_uint_eq(peer_counter(WC_loss_reset), 0);
}
END_TEST

/* xtcpd is restarted: who is back within 3 s keeps its connections. */
START_TEST(test_reset_all_waits_for_backends_after_a_start)
{
	peer_attach(&a, 1);
	peer_attach(&b, 2);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	served(&a, &c1, "1");
	served(&b, &c2, "2");
	peer_kill();
	peer_die(&a);
	peer_die(&b);
	peer_attach(&a, 1);
	peer_request(&c2, "3"); /* waits for its backend */
	rig_expect_nothing();
	peer_expect_nothing(&a);
	peer_pass_us(2500 * USEC_PER_MSEC);
	rig_expect_nothing();
	peer_pass_us(1000 * USEC_PER_MSEC);
	rig_expect(&c2, TH_RST | TH_ACK);
	peer_request(&c1, "4");
	peer_expect_data(&a, "4", FRAME_F_FIRST);
	ck_assert_uint_eq(peer_counter(WC_loss_reset), 1);
}
END_TEST

/* The 3 s are over, and the tick that takes note of it is still to come. */
START_TEST(test_orphan_that_stirs_before_the_tick_is_for_nobody_else)
{
	peer_attach(&a, 1);
	peer_attach(&b, 2);
	rig_connect(&c1, 1000);
	served(&a, &c1, "1");
	peer_kill();
	peer_die(&a);
	peer_die(&b);
	peer_attach(&b, 2);
	peer_pass_us(2900 * USEC_PER_MSEC);
	while (gs.now_us < gs.by_id[PEER_GROUP]->grace_until_us) {
		gs.tick_at_us = UINT64_MAX;
		peer_pass_us(100 * USEC_PER_MSEC);
	}
	peer_request(&c1, "2");
	peer_expect_nothing(&b);
	rig_expect_nothing();
	gs.tick_at_us = gs.now_us;
	peer_pass_us(100 * USEC_PER_MSEC);
	rig_expect(&c1, TH_RST | TH_ACK);
	peer_expect_nothing(&b);
}
END_TEST

/* It accepted, and died before the handshake was done. */
START_TEST(test_reset_all_takes_who_was_accepted_by_the_lost_one)
{
	rig.group.accept = STACK_ACCEPT_APPLICATION;
	peer_group();
	peer_attach(&a, 1);
	rig_client(&c1, 1000);
	rig_input(&c1, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = c1.iss,
					  .syn_options = true });
	peer_pump();
	peer_expect(&a, FRAME_OPEN);
	peer_send(&a,
		  (struct frame){ .type = FRAME_ACCEPT,
				  .group = PEER_GROUP,
				  .conn = a.f.conn },
		  NULL, 0);
	rig_expect(&c1, TH_SYN | TH_ACK);
	peer_attach(&b, 2);
	peer_die(&a);
	peer_pass_us(200 * USEC_PER_MSEC);
	rig_ack(&c1);
	peer_pass_us(200 * USEC_PER_MSEC);
	ck_assert_uint_eq(peer_counter(WC_loss_reset), 1);
	rig.seen = rig.n_out;
}
END_TEST

/* More records than several slices of the sweep look at. */
#define LOW_RECORDS 40000u

/* A client whose record is behind so many, of which the first is in use. */
static void connect_high(struct rig_client *cl, uint16_t port)
{
	for (uint32_t i = 1; i < LOW_RECORDS; i++)
		ck_assert(bitmap_set_used(&rig.shard.rec_map, i));
	rig_connect(cl, port);
	for (uint32_t i = 1; i < LOW_RECORDS; i++)
		bitmap_free(&rig.shard.rec_map, i);
	ck_assert_uint_ge(cl->ri, LOW_RECORDS);
}

/* The sweep gets to the end, however often it is begun. */
START_TEST(test_sweep_ends_though_streams_are_lost_all_the_time)
{
	rig_connect(&c2, 1001);
	connect_high(&c1, 1000);
	peer_attach(&a, 1);
	served(&a, &c1, "1");
	peer_die(&a);
	for (uint64_t i = 0; i < 6; i++) {
		peer_attach(&b, 10 + i);
		peer_die(&b);
		peer_pass_us(100 * USEC_PER_MSEC);
	}
	rig_expect(&c1, TH_RST | TH_ACK);
}
END_TEST

/* ... and goes round again for those that it passed when nobody was there. */
START_TEST(test_eof_is_told_again_though_the_backend_comes_during_the_sweep)
{
	peer_setup.on_loss = CONF_LOSS_REDELIVER;
	peer_group();
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	served(&a, &c1, "bye");
	peer_fin(&c1);
	rig_expect(&c1, TH_ACK);
	peer_expect(&a, FRAME_EOF);
	connect_high(&c2, 1001);
	peer_die(&a);
	peer_setup.on_loss = CONF_LOSS_RESET_ALL;
	peer_group();
	peer_pass_us(100 * USEC_PER_MSEC);
	peer_attach(&b, 2);
	peer_pass_us(USEC_PER_SEC);
	peer_expect(&b, FRAME_EOF);
	ck_assert_uint_eq(b.f.flags, FRAME_F_FIRST | FRAME_F_REDELIVERED);
}
END_TEST

/* Nobody is there, and nobody is owed anything. */
START_TEST(test_sweep_ends_without_a_backend)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_die(&a);
	ck_assert(gs.by_id[PEER_GROUP]->sweeping);
	peer_pass_us(200 * USEC_PER_MSEC);
	ck_assert(!gs.by_id[PEER_GROUP]->sweeping);
}
END_TEST

UNIT_MAIN(
	"daemon/reset_all",
	UNIT_CASE(
		"all", up, down,
		test_loss_with_reset_all_takes_all_that_was_known,
		test_orphan_that_stirs_is_reset,
		test_reset_all_leaves_what_another_stream_of_the_backend_has,
		test_reset_all_leaves_what_is_in_hand_over_a_start,
		test_reset_all_waits_for_backends_after_a_start,
		test_orphan_that_stirs_before_the_tick_is_for_nobody_else,
		test_reset_all_takes_who_was_accepted_by_the_lost_one,
		test_sweep_ends_though_streams_are_lost_all_the_time,
		test_eof_is_told_again_though_the_backend_comes_during_the_sweep,
		test_sweep_ends_without_a_backend))
