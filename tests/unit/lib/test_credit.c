/* SPDX-License-Identifier: BSD-2-Clause */
/* Credit in both directions, pings, and gathering. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit/lib/fake.h"
#include "unit/unit.h"

static struct fake k;
static char big[300000];

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

/* Takes REPLY frames of in all n bytes; answers PINGs. */
static void take_replies(size_t n)
{
	while (n > 0) {
		const uint8_t *payload;
		struct frame f;

		while (!fake_has_frame(&k, &k.s[0]))
			usleep(100);
		frame_reader_next(&k.s[0].in, &f, &payload);
		if (f.type == FRAME_PING) {
			f.type = FRAME_PONG;
			fake_send(&k.s[0], f, NULL, 0);
			continue;
		}
		ck_assert_uint_eq(f.type, FRAME_REPLY);
		ck_assert_uint_le(f.length, n);
		n -= f.length;
	}
}

START_TEST(test_send_stops_at_the_connections_credit)
{
	struct xtcp_event ev[4];
	int cd = fake_connect_text(&k, 7, "abc");

	/* H = 32 KiB, una = 0: limit = 64 KiB. */
	ck_assert_int_eq(xtcp_ctx_room(k.ctx, k.gd, cd), FAKE_WINDOW);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 3, FAKE_BYTES), FAKE_WINDOW);
	ck_assert_int_eq(xtcp_ctx_room(k.ctx, k.gd, cd), 0);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 1), -EAGAIN);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 0), 0);
	take_replies(FAKE_WINDOW);
	fake_credit(&k.s[0], 7, FAKE_WINDOW + 1000, 0);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, ev, 4, 1000), 1);
	ck_assert_int_eq(ev[0].cd, cd);
	ck_assert_uint_eq(ev[0].events, XTCP_EV_WRITE);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, ev, 4, 0), 0);
	/* A lower limit takes nothing back. */
	fake_credit(&k.s[0], 7, 5, 0);
	fake_pump(&k);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 5000), 1000);
}
END_TEST

START_TEST(test_send_stops_at_the_streams_credit)
{
	struct xtcp_event ev[4];
	int a, b;

	k.stream_credit = 10000;
	fake_open(&k);
	a = fake_connect_text(&k, 1, "abc");
	b = fake_connect_text(&k, 2, "abc");
	ck_assert_int_eq(fake_send_bytes(&k, a, 0, 9000), 9000);
	ck_assert_int_eq(fake_send_bytes(&k, b, 0, 9000), 1000);
	ck_assert_int_eq(fake_send_bytes(&k, b, 3, 1), -EAGAIN);
	take_replies(10000);
	/* The acknowledgement went all the same. */
	ck_assert_uint_eq(fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).ackd, 3);
	fake_credit(&k.s[0], 0, 0, 500);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, ev, 4, 1000), 1);
	ck_assert_int_eq(ev[0].cd, b);
	ck_assert_uint_eq(ev[0].events, XTCP_EV_WRITE);
	ck_assert_int_eq(fake_send_bytes(&k, a, 0, 9000), 500);
}
END_TEST

START_TEST(test_slow_daemon_makes_sends_fall_short_not_memory_grow)
{
	size_t taken = 0;
	int n, conn = 0;

	k.stream_credit = 1u << 30;
	fake_open(&k);
	do {
		int cd = fake_connect_text(&k, (uint64_t)++conn, "x");

		n = fake_send_bytes(&k, cd, 1, FAKE_WINDOW);
		taken += n > 0 ? (size_t)n : 0;
	} while (n == FAKE_WINDOW);
	/* The soft bound of the queue, and what the socket holds. */
	ck_assert_uint_lt(taken, 4u << 20);
	/* It reads again: nothing is missing. */
	take_replies(taken);
}
END_TEST

START_TEST(test_credit_is_granted_again_in_large_steps)
{
	const struct frame data = { .type = FRAME_DATA, .conn = 7 };
	struct frame f = data;
	size_t sent = 3, first = sizeof(struct frame_addr) + 3;
	int cd = fake_connect_text(&k, 7, "abc");

	while (sent + first + 100000 < 2u << 20) {
		f.offset = sent;
		fake_send(&k.s[0], f, big, 100000);
		sent += 100000;
		fake_pump(&k);
		ck_assert_int_eq(
			xtcp_ctx_recv_from(k.ctx, k.gd, cd, big, sizeof(big)),
			(int)(sent < sizeof(big) ? sent : sizeof(big)));
	}
	ck_assert(!fake_has_frame(&k, &k.s[0]));
	f.offset = sent;
	fake_send(&k.s[0], f, big, 100000);
	f = fake_expect(&k, &k.s[0], FRAME_CREDIT, NULL);
	ck_assert_uint_eq(f.conn, 0);
	ck_assert_uint_eq(f.aux, sent + 100000 + sizeof(struct frame_addr));
}
END_TEST

START_TEST(test_ping_is_answered)
{
	struct frame f = { .type = FRAME_PING, .offset = 77 };

	fake_send(&k.s[0], f, NULL, 0);
	f = fake_expect(&k, &k.s[0], FRAME_PONG, NULL);
	ck_assert_uint_eq(f.offset, 77);
}
END_TEST

/* Fills up what is kept, and takes it. Returns how many PINGs came with it. */
static int fill_unconfirmed(int cd, struct frame pings[16])
{
	size_t left = 0;
	struct frame f;
	int n = 0, sent;

	fake_credit(&k.s[0], 7, 4u << 20, 0);
	fake_pump(&k);
	while ((sent = fake_send_bytes(&k, cd, 0, 32768)) > 0) {
		for (left += (size_t)sent;
		     left > 0 || fake_has_frame(&k, &k.s[0]);) {
			const uint8_t *payload;

			while (!fake_has_frame(&k, &k.s[0]))
				usleep(100);
			frame_reader_next(&k.s[0].in, &f, &payload);
			if (f.type == FRAME_PING && n < 16)
				pings[n++] = f;
			else
				left -= f.length;
		}
	}
	ck_assert_int_eq(sent, -EAGAIN);
	return n;
}

/* Else the daemon has nothing to do until we have heard that it did all. */
START_TEST(test_what_is_kept_is_confirmed_in_parts)
{
	struct frame pings[16];
	int cd = fake_connect_text(&k, 7, "abc"), n;

	n = fill_unconfirmed(cd, pings);
	ck_assert_int_ge(n, 4);
	ck_assert_int_eq(xtcp_ctx_room(k.ctx, k.gd, cd), 0);
	for (int i = 0; i < n; i++) {
		pings[i].type = FRAME_PONG;
		fake_send(&k.s[0], pings[i], NULL, 0);
		fake_pump(&k);
		ck_assert_int_gt(xtcp_ctx_room(k.ctx, k.gd, cd), 0);
	}
	/* What came behind the last of them has one of its own. */
	pings[0] = fake_expect(&k, &k.s[0], FRAME_PING, NULL);
	pings[0].type = FRAME_PONG;
	fake_send(&k.s[0], pings[0], NULL, 0);
	fake_pump(&k);
	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	ck_assert_uint_eq(fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).length,
			  0);
	fake_resumed(&k, &k.s[0]);
}
END_TEST

START_TEST(test_confirmation_out_of_turn_ends_the_stream)
{
	struct frame pings[16];
	int cd = fake_connect_text(&k, 7, "abc");

	ck_assert_int_ge(fill_unconfirmed(cd, pings), 2);
	pings[1].type = FRAME_PONG;
	fake_send(&k.s[0], pings[1], NULL, 0);
	fake_pump(&k);
	fake_expect_close(&k, &k.s[0]);
}
END_TEST

START_TEST(test_cork_gathers_until_the_queue_is_empty)
{
	char buf[64];
	int cd = fake_connect_text(&k, 7, "abc"), other;

	ck_assert_int_eq(xtcp_ctx_cork(k.ctx, k.gd, 1), 0);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 1, 10), 10);
	/* Not even a library that works has written it. */
	ck_assert_int_eq(recv(k.s[0].fd, buf, 1, MSG_DONTWAIT | MSG_PEEK), -1);
	ck_assert_int_eq(fake_recv_text(&k, &other, buf), 2);
	ck_assert_int_eq(recv(k.s[0].fd, buf, 1, MSG_DONTWAIT | MSG_PEEK), -1);
	ck_assert_int_eq(fake_recv_text(&k, &other, buf), -EAGAIN);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 1, 10), 10);
	ck_assert_int_eq(xtcp_ctx_flush(k.ctx, k.gd), 0);
	ck_assert_int_eq(recv(k.s[0].fd, buf, 1, MSG_DONTWAIT | MSG_PEEK), 1);
}
END_TEST

UNIT_MAIN("lib/credit",
	  UNIT_CASE("of the handshake", setup, teardown,
		    test_send_stops_at_the_streams_credit,
		    test_slow_daemon_makes_sends_fall_short_not_memory_grow),
	  UNIT_CASE("credit", setup_open, teardown,
		    test_send_stops_at_the_connections_credit,
		    test_credit_is_granted_again_in_large_steps,
		    test_ping_is_answered,
		    test_what_is_kept_is_confirmed_in_parts,
		    test_confirmation_out_of_turn_ends_the_stream,
		    test_cork_gathers_until_the_queue_is_empty))
