/* SPDX-License-Identifier: BSD-2-Clause */
/* Streams that are lost and come again: nothing is lost, nothing comes twice. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "unit/lib/fake.h"
#include "unit/unit.h"

static struct fake k;

static void setup(void)
{
	fake_init(&k);
}

static void setup_open(void)
{
	setup();
	fake_open(&k);
}

static void teardown(void)
{
	fake_fini(&k);
}

START_TEST(test_lost_stream_comes_again_with_the_same_identity)
{
	uint64_t instance = k.s[0].instance;

	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	ck_assert_uint_eq(k.s[0].instance, instance);
	ck_assert_uint_eq(k.s[0].wanted, 0);
	ck_assert_uint_eq(k.s[0].hello_flags, FRAME_HELLO_RESUMES);
	fake_resumed(&k, &k.s[0]);
	fake_connect_text(&k, 1, "abc");
}
END_TEST

START_TEST(test_unconfirmed_replies_are_sent_again)
{
	const uint8_t *payload;
	struct frame f;
	int cd = fake_connect_text(&k, 7, "abcdef");

	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 2, "one", 3), 3);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 2, "two", 3), 3);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 1, NULL, 0), 0);
	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, &payload);
	ck_assert_uint_eq(f.aux, 0);
	ck_assert_uint_eq(f.offset + f.ackd, 2);
	ck_assert_mem_eq(payload, "one", 3);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, &payload);
	ck_assert_uint_eq(f.aux, 3);
	ck_assert_uint_eq(f.offset + f.ackd, 4);
	ck_assert_mem_eq(payload, "two", 3);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.offset + f.ackd, 5);
	/* The resynchronisation repeats it. */
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.conn, 7);
	ck_assert_uint_eq(f.offset, 5);
	ck_assert_uint_eq(f.length, 0);
	fake_resumed(&k, &k.s[0]);
	ck_assert(!fake_has_frame(&k, &k.s[0]));
}
END_TEST

START_TEST(test_confirmed_replies_are_not_sent_again)
{
	struct frame f;
	int cd = fake_connect_text(&k, 7, "abcdef");

	/* Enough for a PING. */
	ck_assert_int_eq(fake_send_bytes(&k, cd, 6, 20000), 20000);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	f = fake_expect(&k, &k.s[0], FRAME_PING, NULL);
	f.type = FRAME_PONG;
	fake_send(&k.s[0], f, NULL, 0);
	fake_pump(&k);
	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.length, 0);
	ck_assert_uint_eq(f.offset, 6);
	fake_resumed(&k, &k.s[0]);
	/* What comes next has its place behind what was confirmed. */
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 1), 1);
	ck_assert_uint_eq(fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).aux,
			  20000);
}
END_TEST

START_TEST(test_resent_replies_keep_to_the_new_credit)
{
	int cd = fake_connect_text(&k, 7, "abc");

	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 10000), 10000);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 10000), 10000);
	fake_drop(&k.s[0]);
	k.stream_credit = 10000;
	fake_reaccept(&k);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert(!fake_has_frame(&k, &k.s[0]));
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 1), -EAGAIN);
	fake_credit(&k.s[0], 0, 0, 15000);
	ck_assert_uint_eq(fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).aux,
			  10000);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	fake_resumed(&k, &k.s[0]);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 1), 1);
}
END_TEST

/* Has used its credit, and lost its stream. */
static int short_of_credit(void)
{
	int cd = fake_connect_text(&k, 7, "abc");
	struct frame f;

	fake_connect_text(&k, 8, "abc"); /* has used none */
	ck_assert_int_eq(fake_send_bytes(&k, cd, 3, FAKE_WINDOW), FAKE_WINDOW);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 1), -EAGAIN);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL); /* again */
	f = fake_expect(&k, &k.s[0], FRAME_PING, NULL);
	ck_assert_uint_eq(f.flags, 0); /* not the one that ends it */
	f.type = FRAME_PONG;
	fake_send(&k.s[0], f, NULL, 0);
	return cd;
}

/* A CREDIT may have gone with the stream that was lost, and be the last. */
START_TEST(test_resumption_asks_for_credit_where_it_is_short)
{
	int cd = short_of_credit();

	for (int i = 0; i < 2; i++) {
		struct frame f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);

		ck_assert_uint_eq(f.length, 0);
		ck_assert_uint_eq(f.flags, f.conn == 7
						   ? FRAME_F_AT | FRAME_F_SHORT
						   : FRAME_F_AT);
	}
	fake_credit(&k.s[0], 7, FAKE_WINDOW + 1000, 0);
	fake_resumed(&k, &k.s[0]);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 1000), 1000);
	/* Not outside of the resumption. */
	ck_assert_uint_eq(fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).flags,
			  FRAME_F_AT);
}
END_TEST

START_TEST(test_first_tells_a_waiting_sender_of_its_room)
{
	const struct frame f = { .type = FRAME_DATA,
				 .flags = FRAME_F_FIRST,
				 .group = 9,
				 .conn = 7,
				 .offset = 3 };
	struct frame_addr addr = fake_addr(7, 4, FAKE_WINDOW);
	struct xtcp_event ev;
	int cd = short_of_credit();

	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	fake_resumed(&k, &k.s[0]);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, &ev, 1, 0), 0);
	fake_send(&k.s[0], f, &addr, sizeof(addr));
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, &ev, 1, 1000), 1);
	ck_assert_int_eq(ev.cd, cd);
	ck_assert_uint_eq(ev.events, XTCP_EV_WRITE);
}
END_TEST

START_TEST(test_redelivery_is_trimmed_to_what_is_new)
{
	char buf[64];
	struct frame f;
	int cd = fake_connect_text(&k, 7, "abcdef"), again;

	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 2, NULL, 0), 0);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), 4);
	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	/* The acknowledgement that no PONG covered, and the resynchronisation. */
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.offset + f.ackd, 2);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	fake_resumed(&k, &k.s[0]);
	fake_first(&k.s[0], 7, 0, FRAME_F_REDELIVERED, "abcdefgh");
	/* The lost acknowledgement again, at once. */
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.offset, 2);
	ck_assert_uint_eq(f.ackd, 0);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), 6);
	ck_assert_int_eq(again, cd);
	ck_assert_str_eq(buf, "cdefgh");
	/* Nothing new: nothing to tell. */
	fake_first(&k.s[0], 7, 2, FRAME_F_REDELIVERED, "cdefgh");
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -EAGAIN);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 6, NULL, 0), 0);
}
END_TEST

START_TEST(test_connection_gone_meanwhile_is_reset)
{
	struct frame f = { .type = FRAME_RESET };
	char buf[64];
	int cd = fake_connect_text(&k, 7, "abc"), again;

	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	f.conn = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).conn;
	fake_send(&k.s[0], f, NULL, 0);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -ECONNRESET);
	ck_assert_int_eq(again, cd);
}
END_TEST

START_TEST(test_connection_served_elsewhere_is_a_new_one)
{
	char buf[64];
	int cd = fake_connect_text(&k, 7, "abc"), again;

	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	fake_resumed(&k, &k.s[0]);
	/* Somebody has acknowledged bytes 3..10, which we never saw. */
	fake_first(&k.s[0], 7, 10, FRAME_F_REDELIVERED, "xyz");
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -ECONNRESET);
	ck_assert_int_eq(again, cd);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), 3);
	ck_assert_int_ne(again, cd);
	ck_assert_str_eq(buf, "xyz");
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, again, 3, NULL, 0), 0);
	ck_assert_uint_eq(fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).offset,
			  10);
}
END_TEST

START_TEST(test_first_says_where_replies_go_on)
{
	const struct frame_addr addr = fake_addr(7, 4, 40000);
	struct frame f = {
		.type = FRAME_OPEN,
		.flags = FRAME_F_FIRST,
		.conn = 7,
		.aux = 1000,
	};
	int cd;

	/* una = 40000, H = 32768: limit = 3 H = 98304; next = 41000. */
	fake_send(&k.s[0], f, &addr, sizeof(addr));
	cd = xtcp_ctx_accept(k.ctx, k.gd);
	ck_assert_int_gt(cd, 0);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, FAKE_BYTES), 98304 - 41000);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.aux, 41000);
}
END_TEST

START_TEST(test_send_while_away_remembers_the_acknowledgement)
{
	struct xtcp_event ev;
	struct frame f;
	int cd = fake_connect_text(&k, 7, "abc");

	fake_drop(&k.s[0]);
	fake_pump(&k);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 2, 5), -EAGAIN);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 1, 0), 0);
	fake_reaccept(&k);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.conn, 7);
	ck_assert_uint_eq(f.offset + f.ackd, 3);
	ck_assert_uint_eq(f.length, 0);
	fake_resumed(&k, &k.s[0]);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, &ev, 1, 1000), 1);
	ck_assert_int_eq(ev.cd, cd);
	ck_assert_uint_eq(ev.events, XTCP_EV_WRITE);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 5), 5);
}
END_TEST

START_TEST(test_close_while_away_reaches_the_daemon)
{
	char buf[64];
	struct frame f;
	int cd = fake_connect_text(&k, 7, "abc"), again;

	fake_drop(&k.s[0]);
	fake_pump(&k);
	ck_assert_int_eq(xtcp_ctx_close(k.ctx, k.gd, cd), 0);
	fake_reaccept(&k);
	/* The daemon offers it again, not knowing yet. */
	fake_first(&k.s[0], 7, 0, FRAME_F_REDELIVERED, "abc");
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -EAGAIN);
	f = fake_expect(&k, &k.s[0], FRAME_CLOSE, NULL);
	ck_assert_uint_eq(f.conn, 7);
	ck_assert_uint_eq(f.group, 9);
	fake_resumed(&k, &k.s[0]);
	ck_assert(!fake_has_frame(&k, &k.s[0]));
}
END_TEST

/* Between the PING that ends it and its PONG nothing is said of connections. */
START_TEST(test_sends_wait_for_the_end_of_the_resumption)
{
	int cd = fake_connect_text(&k, 7, "abc");
	struct frame f;

	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	f = fake_expect(&k, &k.s[0], FRAME_PING, NULL);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 2, 5), -EAGAIN);
	ck_assert_int_eq(xtcp_ctx_room(k.ctx, k.gd, cd), 0);
	ck_assert_int_eq(xtcp_ctx_shutdown(k.ctx, k.gd, cd), 0);
	fake_pump(&k);
	ck_assert(!fake_has_frame(&k, &k.s[0]));
	f.type = FRAME_PONG;
	fake_send(&k.s[0], f, NULL, 0);
	fake_expect(&k, &k.s[0], FRAME_FIN, NULL);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.offset + f.ackd, 2);
}
END_TEST

START_TEST(test_what_is_kept_for_one_that_is_gone_is_not_said)
{
	struct frame f, reset = { .type = FRAME_RESET, .conn = 7 };
	int cd = fake_connect_text(&k, 7, "abc");

	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	f = fake_expect(&k, &k.s[0], FRAME_PING, NULL);
	ck_assert_int_eq(xtcp_ctx_close(k.ctx, k.gd, cd), 0);
	/* It is another's now; then it is ours again, and a new one. */
	fake_send(&k.s[0], reset, NULL, 0);
	f.type = FRAME_PONG;
	fake_send(&k.s[0], f, NULL, 0);
	cd = fake_connect_text(&k, 7, "abc");
	ck_assert_int_gt(cd, 0);
	fake_pump(&k);
	ck_assert(!fake_has_frame(&k, &k.s[0]));
}
END_TEST

START_TEST(test_daemon_that_does_not_resume_is_told_nothing_old)
{
	char buf[64];
	int cd, again;

	k.hello_flags = 0;
	fake_open(&k);
	cd = fake_connect_text(&k, 7, "abc");
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 3, "reply", 5), 5);
	ck_assert_uint_eq(fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).flags, 0);
	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	ck_assert(!fake_has_frame(&k, &k.s[0]));
	/* What this process has acknowledged it doesn't see again. */
	fake_first(&k.s[0], 7, 0, FRAME_F_REDELIVERED, "abc");
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -EAGAIN);
	ck_assert_uint_eq(fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).offset,
			  3);
}
END_TEST

/* Connection 5's handshake waits for the application. */
static void offer_handshake(void)
{
	const struct frame_addr addr = fake_addr(5, 4, 0);
	const struct frame open = {
		.type = FRAME_OPEN,
		.flags = FRAME_F_FIRST | FRAME_F_WAITS,
		.conn = 5,
	};

	fake_send(&k.s[0], open, &addr, sizeof(addr));
	fake_pump(&k);
}

static void expect_accept(void)
{
	struct frame f = fake_expect(&k, &k.s[0], FRAME_ACCEPT, NULL);

	ck_assert_uint_eq(f.conn, 5);
	ck_assert_uint_eq(f.group, 9);
}

START_TEST(test_waiting_handshakes_end_with_their_stream)
{
	offer_handshake();
	fake_drop(&k.s[0]);
	fake_pump(&k);
	ck_assert_int_eq(xtcp_ctx_accept(k.ctx, k.gd), -EAGAIN);
	fake_reaccept(&k);
	fake_resumed(&k, &k.s[0]);
	offer_handshake();
	ck_assert_int_gt(xtcp_ctx_accept(k.ctx, k.gd), 0);
	expect_accept();
	/* Offered again: the answer was lost. */
	offer_handshake();
	expect_accept();
}
END_TEST

/* The daemon died before it said that it has it: the client still waits. */
START_TEST(test_unconfirmed_accept_is_said_again)
{
	int cd;

	offer_handshake();
	cd = xtcp_ctx_accept(k.ctx, k.gd);
	ck_assert_int_gt(cd, 0);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 2), 2);
	for (int i = 0; i < 2; i++) {
		/* It never read it; or it did, and died before the PONG. */
		fake_drop(&k.s[0]);
		fake_reaccept(&k);
		expect_accept();
		/* Nothing can be sent on a connection that isn't there yet. */
		ck_assert_uint_eq(
			fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).length, 2);
		ck_assert_uint_eq(
			fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).length, 0);
	}
	fake_resumed(&k, &k.s[0]);
	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	/* Now it is known to have it. */
	ck_assert_uint_eq(fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).length,
			  0);
	fake_resumed(&k, &k.s[0]);
}
END_TEST

START_TEST(test_accept_waits_for_the_end_of_the_resumption)
{
	struct frame f;

	fake_connect_text(&k, 7, "abc");
	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	f = fake_expect(&k, &k.s[0], FRAME_PING, NULL);
	offer_handshake();
	ck_assert_int_gt(xtcp_ctx_accept(k.ctx, k.gd), 0);
	fake_pump(&k);
	ck_assert(!fake_has_frame(&k, &k.s[0]));
	f.type = FRAME_PONG;
	fake_send(&k.s[0], f, NULL, 0);
	expect_accept();
}
END_TEST

START_TEST(test_daemon_with_fewer_workers_loses_their_connections)
{
	char buf[64];
	int cd, again;

	k.workers = 2;
	fake_open(&k);
	fake_first(&k.s[1], 7, 0, 0, "abc");
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 3);
	fake_drop(&k.s[1]);
	fake_drop(&k.s[0]);
	k.workers = 1;
	/* Which one dials first is open: refuse worker 1. */
	fake_accept(&k, &k.s[0]);
	fake_accept(&k, &k.s[1]);
	for (int i = 0; i < 2; i++) {
		const uint8_t *payload;
		struct frame_hello hello;
		struct frame_reader in;

		while (!fake_has_frame(&k, &k.s[i]))
			usleep(100);
		in = k.s[i].in;
		memcpy(&hello, in.buf + in.start + FRAME_HEADER_BYTES,
		       sizeof(hello));
		(void)payload;
		if (be16_get(hello.worker) == 1)
			fake_drop(&k.s[i]);
		else
			fake_handshake(&k, &k.s[i], 0);
	}
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -ECONNRESET);
	ck_assert_int_eq(again, cd);
	ck_assert_int_eq(xtcp_ctx_close(k.ctx, k.gd, cd), 0);
}
END_TEST

UNIT_MAIN("lib/resume",
	  UNIT_CASE("of the handshake", setup, teardown,
		    test_daemon_that_does_not_resume_is_told_nothing_old,
		    test_daemon_with_fewer_workers_loses_their_connections),
	  UNIT_CASE("resume", setup_open, teardown,
		    test_lost_stream_comes_again_with_the_same_identity,
		    test_sends_wait_for_the_end_of_the_resumption,
		    test_what_is_kept_for_one_that_is_gone_is_not_said,
		    test_unconfirmed_replies_are_sent_again,
		    test_confirmed_replies_are_not_sent_again,
		    test_resent_replies_keep_to_the_new_credit,
		    test_resumption_asks_for_credit_where_it_is_short,
		    test_first_tells_a_waiting_sender_of_its_room,
		    test_redelivery_is_trimmed_to_what_is_new,
		    test_connection_gone_meanwhile_is_reset,
		    test_connection_served_elsewhere_is_a_new_one,
		    test_first_says_where_replies_go_on,
		    test_send_while_away_remembers_the_acknowledgement,
		    test_close_while_away_reaches_the_daemon,
		    test_unconfirmed_accept_is_said_again,
		    test_accept_waits_for_the_end_of_the_resumption,
		    test_waiting_handshakes_end_with_their_stream))
