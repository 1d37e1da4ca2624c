/* SPDX-License-Identifier: BSD-2-Clause */
/* What is left when a backend goes, and who may send how much. */
#include <errno.h>
#include <string.h>

#include "../unit.h"
#include "base/units.h"
#include "daemon/bstream.h"
#include "peer.h"

static struct peer a, b;
static struct rig_client c1, c2;

static void up(void)
{
	peer_up();
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memset(&c1, 0, sizeof(c1));
	memset(&c2, 0, sizeof(c2));
	a.fd = b.fd = -1;
}

static void down(void)
{
	if (a.fd >= 0)
		peer_die(&a);
	if (b.fd >= 0)
		peer_die(&b);
	peer_down();
}

START_TEST(test_loss_redelivers_elsewhere)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	peer_request(&c1, "request");
	peer_expect_data(&a, "request", FRAME_F_FIRST);
	peer_reply(&a, 3, "");
	rig_expect(&c1, TH_ACK); /* "req" is done */
	peer_attach(&b, 2);
	peer_die(&a);
	peer_expect_data(&b, "uest", FRAME_F_FIRST | FRAME_F_REDELIVERED);
	ck_assert_uint_eq(b.f.offset, 3);
	ck_assert_uint_eq(peer_counter(WC_backend_lost), 1);
	ck_assert_uint_eq(peer_counter(WC_loss_undelivered), 1);
	ck_assert_uint_eq(peer_counter(WC_redelivered), 1);
	peer_reply(&b, 4, "done");
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK | TH_PSH)->ack, c1.snd_nxt);
}
END_TEST

START_TEST(test_loss_redelivers_on_return)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "request");
	peer_expect_data(&a, "request", FRAME_F_FIRST);
	peer_die(&a);
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->waiting.n, 1);
	peer_attach(&b, 1);
	peer_expect_data(&b, "request", FRAME_F_FIRST | FRAME_F_REDELIVERED);
}
END_TEST

START_TEST(test_returning_backend_may_acknowledge_what_it_had)
{
	struct frame f;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "request");
	peer_expect_data(&a, "request", FRAME_F_FIRST);
	f = a.f;
	/* Died before the loss was redelivered: nobody else is there. */
	peer_die(&a);
	peer_attach_credit(&b, 1,
			   16); /* no credit: the request stays with us */
	peer_expect_nothing(&b);
	b.f = f;
	peer_reply(&b, 7, "late");
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK | TH_PSH)->ack, c1.snd_nxt);
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->waiting.n, 0);
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->live[0]->waiting.n, 0);
	peer_expect_nothing(&b);
}
END_TEST

START_TEST(test_loss_with_reset_resets)
{
	peer_setup.on_loss = CONF_LOSS_RESET;
	peer_group();
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	peer_request(&c1, "1");
	peer_request(&c2, "2");
	peer_expect_data(&a, "1", FRAME_F_FIRST);
	peer_reply(&a, 1, "");
	rig_expect(&c1, TH_ACK);
	peer_die(&a);
	rig_expect(&c2, TH_RST | TH_ACK);
	ck_assert_uint_eq(peer_counter(WC_loss_reset), 1);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_ESTABLISHED);
	ck_assert_uint_eq(rig_rec(&c2)->state, TCP_FREE);
}
END_TEST

START_TEST(test_eof_is_told_again_after_a_loss)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "bye");
	peer_expect_data(&a, "bye", FRAME_F_FIRST);
	peer_reply(&a, 3, "");
	rig_expect(&c1, TH_ACK);
	peer_fin(&c1);
	rig_expect(&c1, TH_ACK);
	peer_expect(&a, FRAME_EOF);
	ck_assert_ptr_null(rig_blk(&c1));
	peer_die(&a);
	peer_attach(&b, 2);
	peer_pass_us(200 * USEC_PER_MSEC);
	peer_expect(&b, FRAME_EOF);
	ck_assert_uint_eq(b.f.flags, FRAME_F_FIRST | FRAME_F_REDELIVERED);
	ck_assert_uint_eq(b.f.offset, 3);
	peer_pass_us(USEC_PER_SEC);
	peer_expect_nothing(&b);
}
END_TEST

START_TEST(test_eof_is_told_again_though_the_connection_became_active)
{
	rig.group.keepalive_us = 2 * USEC_PER_SEC;
	peer_group();
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "bye");
	peer_expect_data(&a, "bye", FRAME_F_FIRST);
	peer_reply(&a, 3, "");
	rig_expect(&c1, TH_ACK);
	peer_fin(&c1);
	rig_expect(&c1, TH_ACK);
	peer_expect(&a, FRAME_EOF);
	ck_assert_ptr_null(rig_blk(&c1));
	peer_die(&a);
	peer_pass_us(2200 * USEC_PER_MSEC);
	ck_assert_ptr_nonnull(rig_blk(&c1)); /* it is being probed */
	peer_attach(&b, 2);
	peer_pass_us(200 * USEC_PER_MSEC);
	peer_expect(&b, FRAME_EOF);
	ck_assert_uint_eq(b.f.flags, FRAME_F_FIRST | FRAME_F_REDELIVERED);
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_held_syn_is_offered_to_another_after_a_loss)
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
	peer_die(&a);
	peer_attach(&b, 2);
	peer_expect(&b, FRAME_OPEN);
	ck_assert_uint_eq(b.f.flags, FRAME_F_FIRST | FRAME_F_WAITS);
}
END_TEST

START_TEST(test_silent_backend_is_given_up)
{
	peer_attach(&a, 1);
	peer_pass_us(6 * USEC_PER_SEC);
	peer_expect(&a, FRAME_PING);
	peer_send(&a,
		  (struct frame){ .type = FRAME_PONG, .offset = a.f.offset },
		  NULL, 0);
	peer_pass_us(6 * USEC_PER_SEC);
	peer_expect(&a, FRAME_PING);
	peer_pass_us(16 * USEC_PER_SEC);
	peer_expect_error(&a, -ETIMEDOUT, true);
	ck_assert_uint_eq(peer_counter(WC_backend_silent), 1);
}
END_TEST

START_TEST(test_full_stream_makes_its_connections_wait)
{
	peer_attach_credit(&a, 1, sizeof(struct frame_addr) + 4);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	peer_request(&c1, "123456");
	peer_request(&c2, "x");
	peer_expect_data(&a, "1234", FRAME_F_FIRST);
	peer_expect_nothing(&a);
	peer_send(&a, (struct frame){ .type = FRAME_CREDIT, .aux = 1000 }, NULL,
		  0);
	peer_expect_data(&a, "56", 0);
	peer_expect_data(&a, "x", FRAME_F_FIRST);
}
END_TEST

START_TEST(test_credit_is_sent_when_the_limit_grows)
{
	static char bulk[CONN_HALF_BYTES];
	struct frame f;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "get");
	peer_expect_data(&a, "get", FRAME_F_FIRST);
	memset(bulk, 'x', sizeof(bulk));
	f = (struct frame){ .type = FRAME_REPLY,
			    .group = PEER_GROUP,
			    .conn = a.f.conn,
			    .ackd = 3 };
	peer_send(&a, f, bulk, sizeof(bulk));
	/* The client takes it all, window by window. */
	for (int i = 0; i < 200 && rig_blk(&c1); i++) {
		while (rig.seen < rig.n_out)
			rig_expect(&c1, rig.out[rig.seen % RIG_OUT_MAX].flags);
		rig_ack(&c1);
		peer_pump();
	}
	peer_expect(&a, FRAME_CREDIT);
	ck_assert_uint_eq(a.f.conn, f.conn);
	ck_assert_uint_ge(a.f.offset,
			  frame_send_limit(sizeof(bulk), CONN_HALF_BYTES));
}
END_TEST

START_TEST(test_stream_credit_is_granted_anew)
{
	static char bulk[FRAME_PAYLOAD_MAX];
	struct frame f = { .type = FRAME_REPLY, .group = PEER_GROUP, .aux = 0 };
	uint32_t granted = 0, sent = 0;

	peer_attach(&a, 1);
	/* Replies to a connection that is gone count as well. */
	f.conn = frame_conn_id(0, 77, 3);
	for (int i = 0; i < 3; i++, sent += 16384)
		peer_send(&a, f, bulk, 16384);
	while (peer_next(&a))
		ck_assert_uint_eq(a.f.type, FRAME_RESET);
	for (int i = 0; i < 32; i++, sent += 16384) {
		peer_send(&a, f, bulk, 16384);
		while (peer_next(&a))
			granted += a.f.type == FRAME_CREDIT ? a.f.aux : 0;
	}
	ck_assert_uint_ge(granted, STREAM_CREDIT_BYTES / 4);
	ck_assert_uint_le(granted, sent);
}
END_TEST

START_TEST(test_reply_that_does_not_fit_is_held_and_goes_on)
{
	static char bulk[FRAME_PAYLOAD_MAX];
	struct frame f;
	uint64_t total = 0;

	rig.st->limits.snd_queue_max = 100000;
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "get");
	peer_expect_data(&a, "get", FRAME_F_FIRST);
	f = (struct frame){ .type = FRAME_REPLY,
			    .group = PEER_GROUP,
			    .conn = a.f.conn,
			    .ackd = 3 };
	peer_send(&a, f, bulk, sizeof(bulk));
	ck_assert_uint_eq(peer_counter(WC_stream_stalled_tx), 1);
	/* The request is not done before the last byte of it is ours. */
	ck_assert_uint_eq(rig_rec(&c1)->rcv_off, 0);
	peer_send(&a, (struct frame){ .type = FRAME_PING, .offset = 99 }, NULL,
		  0);
	peer_expect_nothing(&a);
	for (int i = 0; i < 400 && total < sizeof(bulk); i++) {
		while (rig.seen < rig.n_out)
			total += rig_expect(
					 &c1,
					 rig.out[rig.seen % RIG_OUT_MAX].flags)
					 ->len;
		rig_ack(&c1);
		peer_pump();
	}
	ck_assert_uint_eq(total, sizeof(bulk));
	ck_assert_uint_eq(rig_rec(&c1)->rcv_off, 3);
	do
		ck_assert(peer_next(&a));
	while (a.f.type == FRAME_CREDIT);
	ck_assert_uint_eq(a.f.type, FRAME_PONG);
	ck_assert_uint_eq(a.f.offset, 99);
}
END_TEST

START_TEST(test_reply_at_a_position_is_taken_once)
{
	struct frame f;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "get");
	peer_expect_data(&a, "get", FRAME_F_FIRST);
	f = (struct frame){ .type = FRAME_REPLY,
			    .flags = FRAME_F_AT,
			    .group = PEER_GROUP,
			    .conn = a.f.conn,
			    .ackd = 3 };
	peer_send(&a, f, "hello", 5);
	peer_send(&a, f, "hello", 5);
	f.aux = 3;
	peer_send(&a, f, "lo world", 8);
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK | TH_PSH)->len, 5);
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK | TH_PSH)->len, 6);
	rig_expect_nothing();
	f.aux = 100; /* a gap */
	peer_send(&a, f, "?", 1);
	peer_expect(&a, FRAME_RESET);
	rig_expect(&c1, TH_RST | TH_ACK);
}
END_TEST

/* Its reply and its CLOSE come late: the request is another one's by now. */
START_TEST(test_superseded_backend_neither_replies_nor_closes)
{
	static const uint8_t late[] = { FRAME_CLOSE, FRAME_FIN, FRAME_ABORT };
	struct frame f;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "get");
	peer_expect_data(&a, "get", FRAME_F_FIRST);
	f = (struct frame){ .type = FRAME_REPLY,
			    .flags = FRAME_F_AT,
			    .group = PEER_GROUP,
			    .conn = a.f.conn };
	peer_die(&a);
	peer_attach(&b, 2);
	peer_expect_data(&b, "get", FRAME_F_FIRST | FRAME_F_REDELIVERED);
	peer_attach(&a, 1);
	peer_send(&a, f, "late", 4);
	peer_expect(&a, FRAME_RESET);
	for (size_t i = 0; i < sizeof(late); i++) {
		f.type = late[i];
		peer_send(&a, f, NULL, 0);
		peer_expect(&a, FRAME_RESET);
		ck_assert_uint_eq(a.f.aux, ESTALE);
	}
	/* Lost as well, and still it is not a's again. */
	peer_die(&b);
	peer_expect_data(&a, "get", FRAME_F_FIRST | FRAME_F_REDELIVERED);
	peer_reply(&a, 3, "done");
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK | TH_PSH)->ack, c1.snd_nxt);
}
END_TEST

/* Its stream was lost like ours, but it was the last to have the connection. */
START_TEST(test_returning_backend_takes_nothing_of_another_one)
{
	struct frame f;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "1");
	peer_expect_data(&a, "1", FRAME_F_FIRST);
	f = (struct frame){ .type = FRAME_REPLY,
			    .flags = FRAME_F_AT,
			    .group = PEER_GROUP,
			    .conn = a.f.conn };
	peer_die(&a);
	peer_attach(&b, 2);
	peer_expect_data(&b, "1", FRAME_F_FIRST | FRAME_F_REDELIVERED);
	peer_reply(&b, 1, "");
	rig_expect(&c1, TH_ACK);
	peer_die(&b);
	peer_attach(&a, 1);
	peer_send(&a, f, NULL, 0);
	peer_expect(&a, FRAME_RESET);
	ck_assert_uint_eq(a.f.aux, ESTALE);
	peer_request(&c1, "2");
	peer_expect_data(&a, "2", FRAME_F_FIRST);
}
END_TEST

START_TEST(test_eof_is_flagged_when_it_comes_with_a_request_again)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "bye");
	peer_expect_data(&a, "bye", FRAME_F_FIRST);
	peer_fin(&c1);
	peer_expect(&a, FRAME_EOF);
	ck_assert_uint_eq(a.f.flags, 0);
	peer_attach(&b, 2);
	peer_die(&a);
	peer_expect_data(&b, "bye", FRAME_F_FIRST | FRAME_F_REDELIVERED);
	peer_expect(&b, FRAME_EOF);
	ck_assert_uint_eq(b.f.flags, FRAME_F_REDELIVERED);
	rig.seen = rig.n_out;
}
END_TEST

/* CREDIT went with the old stream, and the client acknowledges nothing more. */
START_TEST(test_returning_backend_that_is_short_is_told_its_limit)
{
	struct frame f;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "get");
	peer_expect_data(&a, "get", FRAME_F_FIRST);
	f = (struct frame){ .type = FRAME_REPLY,
			    .flags = FRAME_F_AT,
			    .group = PEER_GROUP,
			    .conn = a.f.conn,
			    .ackd = 3 };
	peer_send(&a, f, "hello", 5);
	rig_expect(&c1, TH_ACK | TH_PSH);
	rig_ack(&c1);
	peer_pump();
	peer_die(&a);
	peer_attach(&a, 1);
	f.offset += f.ackd;
	f.ackd = 0;
	f.aux = 5;
	peer_send(&a, f, NULL, 0);
	peer_expect_nothing(&a);
	f.flags |= FRAME_F_SHORT;
	peer_send(&a, f, NULL, 0);
	peer_expect(&a, FRAME_CREDIT);
	ck_assert_uint_eq(a.f.conn, f.conn);
	ck_assert_uint_ge(a.f.offset, frame_send_limit(5, CONN_HALF_BYTES));
}
END_TEST

UNIT_MAIN("daemon/loss",
	  UNIT_CASE("loss", up, down, test_loss_redelivers_elsewhere,
		    test_loss_redelivers_on_return,
		    test_returning_backend_may_acknowledge_what_it_had,
		    test_loss_with_reset_resets,
		    test_eof_is_told_again_after_a_loss,
		    test_eof_is_told_again_though_the_connection_became_active,
		    test_held_syn_is_offered_to_another_after_a_loss,
		    test_silent_backend_is_given_up,
		    test_superseded_backend_neither_replies_nor_closes,
		    test_returning_backend_takes_nothing_of_another_one,
		    test_eof_is_flagged_when_it_comes_with_a_request_again),
	  UNIT_CASE("credit", up, down,
		    test_full_stream_makes_its_connections_wait,
		    test_credit_is_sent_when_the_limit_grows,
		    test_returning_backend_that_is_short_is_told_its_limit,
		    test_stream_credit_is_granted_anew,
		    test_reply_that_does_not_fit_is_held_and_goes_on,
		    test_reply_at_a_position_is_taken_once))
