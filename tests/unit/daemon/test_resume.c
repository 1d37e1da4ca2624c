/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who has a connection, after backends went and came again; and what of a
 * reply and its acknowledgement stands when one goes in between.
 */
#include <errno.h>
#include <string.h>

#include "../unit.h"
#include "base/units.h"
#include "daemon/bstream.h"
#include "peer.h"

static struct peer a, b;
static struct rig_client c1;
static uint64_t conn;

static void up(void)
{
	peer_up();
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memset(&c1, 0, sizeof(c1));
	a.fd = b.fd = -1;
	/* Every test begins with a request that a, instance 1, has in hand. */
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "request");
	peer_expect_data(&a, "request", FRAME_F_FIRST);
	conn = a.f.conn;
}

static void down(void)
{
	if (a.fd >= 0)
		peer_die(&a);
	if (b.fd >= 0)
		peer_die(&b);
	peer_down();
}

/* A frame about the connection, from one who knows where it stands. */
static struct frame at(enum frame_type type, uint32_t position)
{
	return (struct frame){ .type = (uint8_t)type,
			       .flags = FRAME_F_AT,
			       .group = PEER_GROUP,
			       .conn = conn,
			       .aux = position };
}

/* b, instance 2, has taken over what a had. */
static void b_takes_over(void)
{
	peer_die(&a);
	peer_attach(&b, 2);
	peer_expect_data(&b, "request", FRAME_F_FIRST | FRAME_F_REDELIVERED);
}

START_TEST(test_frames_at_a_position_are_the_owners)
{
	static const enum frame_type types[] = { FRAME_REPLY, FRAME_FIN,
						 FRAME_CLOSE, FRAME_ABORT,
						 FRAME_REJECT };

	b_takes_over();
	peer_return(&a, 1); /* it was not dead */
	peer_send(&a, at(FRAME_REPLY, 0), "late", 4);
	peer_expect(&a, FRAME_RESET);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		peer_send(&a, at(types[i], 0), NULL, 0);
		peer_expect(&a, FRAME_RESET);
		ck_assert_uint_eq(a.f.conn, conn);
		ck_assert_uint_eq(a.f.aux, ESTALE);
	}
	ck_assert_uint_eq(peer_counter(WC_frame_not_owner), 6);
	rig_expect_nothing();
	peer_reply(&b, 7, "done");
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK | TH_PSH)->len, 4);
}
END_TEST

START_TEST(test_connection_is_not_given_back_to_one_that_missed_something)
{
	struct frame f;

	b_takes_over();
	peer_reply(&b, 7, "done");
	rig_expect(&c1, TH_ACK | TH_PSH);
	peer_request(&c1, "again");
	peer_expect_data(&b, "again", 0);
	peer_die(&b);
	/* a knows nothing of "done": its words count no more. */
	peer_return(&a, 1);
	peer_expect_nothing(&a);
	f = at(FRAME_REPLY, 0);
	f.ackd = 7;
	peer_send(&a, f, "late reply", 10);
	peer_expect(&a, FRAME_RESET);
	peer_send(&a, at(FRAME_REPLY, 10), NULL, 0);
	peer_expect(&a, FRAME_RESET);
	rig_ack(&c1);
	peer_pump();
	rig_expect_nothing();
	/* It is introduced like any other. */
	peer_resumed(&a);
	peer_expect_data(&a, "again", FRAME_F_FIRST | FRAME_F_REDELIVERED);
	ck_assert_uint_eq(a.f.offset, 7);
}
END_TEST

/* xtcpd was restarted: no slot says whose it was. */
static void forget_owners(void)
{
	struct group *g = gs.by_id[PEER_GROUP];

	for (uint32_t i = 0; i < GROUP_SLOTS; i++)
		if (!g->slots[i].stream)
			g->slots[i].owner = 0;
}

START_TEST(test_after_a_restart_the_first_that_is_up_to_date_has_it)
{
	struct frame f = at(FRAME_REPLY, 0);

	peer_die(&a);
	forget_owners();
	peer_return(&a, 1);
	f.ackd = 7;
	peer_send(&a, f, "done", 4);
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK | TH_PSH)->len, 4);
	f = at(FRAME_REPLY, 4);
	f.offset = 7;
	peer_send(&a, f, NULL, 0);
	peer_resumed(&a);
	peer_expect_nothing(&a);
}
END_TEST

START_TEST(test_after_a_restart_one_that_missed_something_is_introduced)
{
	struct frame f = at(FRAME_REPLY, 0);
	struct frame_addr addr;

	b_takes_over();
	peer_reply(&b, 7, "done");
	rig_expect(&c1, TH_ACK | TH_PSH);
	rig_ack(&c1);
	peer_die(&b);
	forget_owners();
	peer_return(&a, 1);
	f.flags |= FRAME_F_SHORT; /* its credit is nobody's concern */
	peer_send(&a, f, NULL, 0); /* offset 0: it was at 7 */
	peer_expect(&a, FRAME_RESET);
	peer_resumed(&a);
	peer_request(&c1, "again");
	peer_expect_data(&a, "again", FRAME_F_FIRST);
	ck_assert_uint_eq(a.f.offset, 7);
	memcpy(&addr, a.payload, sizeof(addr));
	ck_assert_uint_eq(be64_get(addr.send_offset) + a.f.aux, 4);
}
END_TEST

START_TEST(test_outdated_one_gets_what_it_was_given_meanwhile_again)
{
	b_takes_over();
	peer_reply(&b, 7, "");
	rig_expect(&c1, TH_ACK);
	peer_request(&c1, "again");
	peer_expect_data(&b, "again", 0);
	peer_die(&b);
	forget_owners();
	/* It takes the connection by an old reply, but gets nothing yet. */
	peer_return(&a, 1);
	peer_send(&a, at(FRAME_REPLY, 0), "!", 1);
	rig_expect(&c1, TH_ACK | TH_PSH);
	peer_expect_nothing(&a);
	peer_send(&a, at(FRAME_REPLY, 1), NULL, 0);
	peer_expect(&a, FRAME_RESET);
	peer_resumed(&a);
	peer_expect_data(&a, "again", FRAME_F_FIRST | FRAME_F_REDELIVERED);
	ck_assert_uint_eq(a.f.offset, 7);
	ck_assert_uint_eq(a.f.aux, 1);
}
END_TEST

/* --- the resumption as a time */

START_TEST(test_nothing_is_given_to_one_that_resumes)
{
	struct rig_client c2 = { 0 };

	peer_return(&b, 2);
	rig_connect(&c2, 1001);
	peer_request(&c2, "new"); /* round robin: it would be b's turn */
	peer_expect_data(&a, "new", FRAME_F_FIRST);
	peer_die(&a);
	peer_expect_nothing(&b);
	peer_resumed(&b);
	peer_expect_data(&b, "request", FRAME_F_FIRST | FRAME_F_REDELIVERED);
	peer_expect_data(&b, "new", FRAME_F_FIRST | FRAME_F_REDELIVERED);
}
END_TEST

START_TEST(test_resumption_that_does_not_end_is_given_up)
{
	peer_return(&b, 2);
	for (int i = 0; i < 14; i++) {
		peer_send(&b, (struct frame){ .type = FRAME_PING }, NULL, 0);
		peer_pass_us(USEC_PER_SEC);
	}
	peer_pass_us(2 * USEC_PER_SEC);
	do
		ck_assert(peer_next(&b));
	while (b.f.type == FRAME_PONG);
	ck_assert_uint_eq(b.f.type, FRAME_ERROR);
	ck_assert_uint_eq(b.f.aux, ETIMEDOUT);
	ck_assert_uint_eq(peer_counter(WC_backend_silent), 1);
}
END_TEST

/* --- xtcpd is killed */

/* Groups where any backend takes what comes next. */
static void killed_where_any_will_do(void)
{
	peer_kill();
	peer_die(&a);
	peer_setup.balance = CONF_BALANCE_LEAST;
	peer_group();
	peer_attach(&b, 2);
	peer_expect_nothing(&b);
	peer_return(&a, 1);
	peer_pump();
	peer_expect_nothing(&b);
}

START_TEST(test_request_in_hand_waits_for_who_has_it)
{
	struct frame f = at(FRAME_REPLY, 0);

	killed_where_any_will_do();
	f.ackd = 7;
	peer_send(&a, f, "done", 4);
	peer_resumed(&a);
	while (rig.seen < rig.n_out)
		rig_expect(&c1, rig.out[rig.seen % RIG_OUT_MAX].flags);
	ck_assert_uint_eq(rig_rec(&c1)->rcv_off, 7);
	peer_expect_nothing(&a);
	peer_expect_nothing(&b);
}
END_TEST

START_TEST(test_request_in_hand_is_redelivered_after_the_grace)
{
	peer_kill();
	peer_die(&a);
	peer_setup.balance = CONF_BALANCE_LEAST;
	peer_group();
	peer_attach(&b, 2);
	peer_expect_nothing(&b);
	for (int i = 0; i < 5; i++) {
		peer_send(&b, (struct frame){ .type = FRAME_PING }, NULL, 0);
		peer_expect(&b, FRAME_PONG);
		peer_pass_us(700 * USEC_PER_MSEC);
	}
	peer_expect_data(&b, "request", FRAME_F_FIRST | FRAME_F_REDELIVERED);
}
END_TEST

START_TEST(test_end_of_stream_waits_for_who_has_the_connection)
{
	peer_reply(&a, 7, "done");
	rig_expect(&c1, TH_ACK | TH_PSH);
	rig_ack(&c1);
	peer_fin(&c1);
	peer_expect(&a, FRAME_EOF);
	rig.seen = rig.n_out;
	killed_where_any_will_do();
	peer_resumed(&a);
	peer_pass_us(500 * USEC_PER_MSEC);
	peer_expect_nothing(&b);
	peer_expect(&a, FRAME_EOF);
	ck_assert_uint_eq(a.f.conn, conn);
}
END_TEST

/* Killed when it was bound to a stream that did not yet hear of it. */
START_TEST(test_announcement_says_where_the_connection_stands)
{
	struct frame_addr addr;

	peer_reply(&a, 7, "done");
	rig_expect(&c1, TH_ACK | TH_PSH);
	rig_ack(&c1);
	peer_request(&c1, "again");
	peer_expect_data(&a, "again", 0);
	rig_rec(&c1)->flags &= (uint16_t)~REC_TOLD;
	rig.group.announce = true;
	peer_setup.stack = rig.group;
	peer_kill();
	peer_die(&a);
	peer_attach(&b, 2);
	while (!peer_next(&b)) {
		peer_send(&b, (struct frame){ .type = FRAME_PING }, NULL, 0);
		peer_expect(&b, FRAME_PONG);
		peer_pass_us(500 * USEC_PER_MSEC);
		ck_assert_uint_lt(rig.now_us, 60 * USEC_PER_SEC);
	}
	ck_assert_uint_eq(b.f.type, FRAME_OPEN);
	ck_assert_uint_eq(b.f.offset, 7);
	memcpy(&addr, b.payload, sizeof(addr));
	ck_assert_uint_eq(be64_get(addr.send_offset) + b.f.aux, 4);
	peer_expect_data(&b, "again", FRAME_F_REDELIVERED);
	ck_assert_uint_eq(b.f.offset, 7);
}
END_TEST

/* It was bound to the stream that came back, but not introduced to it. */
START_TEST(test_credit_goes_to_who_went_on)
{
	static char bulk[FRAME_PAYLOAD_MAX];
	struct frame f = at(FRAME_REPLY, 0);

	peer_kill();
	peer_die(&a);
	peer_return(&a, 1);
	peer_pump();
	f.ackd = 7;
	peer_send(&a, f, bulk, sizeof(bulk));
	peer_resumed(&a);
	for (int i = 0; i < 400 && rig_rec(&c1)->snd_off < CONN_HALF_BYTES;
	     i++) {
		while (rig.seen < rig.n_out)
			rig_expect(&c1, rig.out[rig.seen % RIG_OUT_MAX].flags);
		rig_ack(&c1);
		peer_pump();
	}
	peer_expect(&a, FRAME_CREDIT);
	ck_assert_uint_eq(a.f.conn, conn);
	ck_assert_uint_ge(a.f.offset, 3 * CONN_HALF_BYTES);
}
END_TEST

/* --- the reply, then the acknowledgement */

static void reply_that_does_not_fit(void)
{
	static char bulk[FRAME_PAYLOAD_MAX];
	struct frame f = at(FRAME_REPLY, 0);

	rig.st->limits.snd_queue_max = 100000;
	f.ackd = 7;
	peer_send(&a, f, bulk, sizeof(bulk));
	ck_assert_uint_eq(peer_counter(WC_stream_stalled_tx), 1);
	ck_assert_uint_eq(rig_rec(&c1)->rcv_off, 0);
}

START_TEST(test_acknowledgement_waits_for_the_whole_reply)
{
	reply_that_does_not_fit();
	for (int i = 0; i < 400 && rig_rec(&c1)->rcv_off == 0; i++) {
		while (rig.seen < rig.n_out)
			rig_expect(&c1, rig.out[rig.seen % RIG_OUT_MAX].flags);
		rig_ack(&c1);
		peer_pump();
	}
	ck_assert_uint_eq(rig_rec(&c1)->rcv_off, 7);
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->live[0]->inflight, 0);
}
END_TEST

START_TEST(test_loss_in_the_middle_of_a_reply_redelivers_its_request)
{
	struct bstream *s;

	reply_that_does_not_fit();
	s = gs.by_id[PEER_GROUP]->live[0];
	bstream_fail(s, -ENOMEM);
	peer_attach(&b, 2);
	peer_expect_data(&b, "request", FRAME_F_FIRST | FRAME_F_REDELIVERED);
	/* What is taken of the reply is said: the rest is b's to send. */
	ck_assert_uint_eq(b.f.aux, 100000);
}
END_TEST

START_TEST(test_acknowledgement_stands_when_the_reply_can_never_be_sent)
{
	struct frame f = at(FRAME_REPLY, 0);

	peer_send(&a, at(FRAME_FIN, 0), NULL, 0);
	rig_expect(&c1, TH_FIN | TH_ACK);
	f.ackd = 7;
	peer_send(&a, f, "late", 4);
	peer_expect_error(&a, -EPIPE, false);
	ck_assert_uint_eq(rig_rec(&c1)->rcv_off, 7);
}
END_TEST

UNIT_MAIN(
	"daemon/resume",
	UNIT_CASE("owner", up, down, test_frames_at_a_position_are_the_owners,
		  test_connection_is_not_given_back_to_one_that_missed_something,
		  test_after_a_restart_the_first_that_is_up_to_date_has_it,
		  test_after_a_restart_one_that_missed_something_is_introduced,
		  test_outdated_one_gets_what_it_was_given_meanwhile_again,
		  test_nothing_is_given_to_one_that_resumes,
		  test_resumption_that_does_not_end_is_given_up),
	UNIT_CASE("killed", up, down, test_request_in_hand_waits_for_who_has_it,
		  test_request_in_hand_is_redelivered_after_the_grace,
		  test_end_of_stream_waits_for_who_has_the_connection,
		  test_announcement_says_where_the_connection_stands,
		  test_credit_goes_to_who_went_on),
	UNIT_CASE("order", up, down,
		  test_acknowledgement_waits_for_the_whole_reply,
		  test_loss_in_the_middle_of_a_reply_redelivers_its_request,
		  test_acknowledgement_stands_when_the_reply_can_never_be_sent))
