/* SPDX-License-Identifier: BSD-2-Clause */
/* Backends that hang, dribble or lie; and those that are vacated. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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

/* --- backend-timeout */

static void up_timeout(void)
{
	up();
	peer_setup.backend_timeout_us = 2 * USEC_PER_SEC;
	peer_group();
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
}

START_TEST(test_backend_that_replies_to_nothing_is_given_up)
{
	peer_request(&c1, "request");
	peer_expect_data(&a, "request", FRAME_F_FIRST);
	peer_pass_us(1900 * USEC_PER_MSEC);
	peer_expect_nothing(&a);
	peer_attach(&b, 2);
	peer_pass_us(300 * USEC_PER_MSEC);
	peer_expect_error(&a, -ETIMEDOUT, true);
	ck_assert_uint_eq(peer_counter(WC_backend_stuck), 1);
	peer_expect_data(&b, "request", FRAME_F_FIRST | FRAME_F_REDELIVERED);
}
END_TEST

START_TEST(test_backend_with_nothing_in_hand_may_be_silent)
{
	peer_request(&c1, "request");
	peer_expect_data(&a, "request", FRAME_F_FIRST);
	peer_reply(&a, 7, "");
	rig_expect(&c1, TH_ACK);
	peer_pass_us(4 * USEC_PER_SEC);
	ck_assert_uint_eq(peer_counter(WC_backend_stuck), 0);
	/* The time runs from the first request in hand on, not from before. */
	peer_request(&c1, "again");
	peer_expect_data(&a, "again", 0);
	peer_pass_us(1500 * USEC_PER_MSEC);
	ck_assert_uint_eq(peer_counter(WC_backend_stuck), 0);
}
END_TEST

START_TEST(test_one_slow_request_is_no_reason_while_others_are_answered)
{
	peer_request(&c1, "slow");
	peer_expect_data(&a, "slow", FRAME_F_FIRST);
	for (int i = 0; i < 5; i++) {
		peer_request(&c2, "x");
		peer_expect_data(&a, "x", i ? 0 : FRAME_F_FIRST);
		peer_reply(&a, 1, "");
		rig_expect(&c2, TH_ACK);
		peer_pass_us(USEC_PER_SEC);
	}
	ck_assert_uint_eq(peer_counter(WC_backend_stuck), 0);
}
END_TEST

START_TEST(test_a_slow_client_is_not_its_backends_fault)
{
	static char bulk[FRAME_PAYLOAD_MAX];
	struct frame f = { .type = FRAME_REPLY, .group = PEER_GROUP };

	peer_request(&c1, "get");
	peer_expect_data(&a, "get", FRAME_F_FIRST);
	/* All its credit: the client has yet to take it. */
	f.conn = a.f.conn;
	peer_send(&a, f, bulk, 2 * CONN_HALF_BYTES);
	peer_pass_us(5 * USEC_PER_SEC);
	ck_assert_uint_eq(peer_counter(WC_backend_stuck), 0);
}
END_TEST

START_TEST(test_without_the_key_nobody_is_given_up_for_slowness)
{
	peer_setup.backend_timeout_us = 0;
	peer_group();
	peer_request(&c1, "request");
	peer_expect_data(&a, "request", FRAME_F_FIRST);
	for (int i = 0; i < 20; i++) {
		peer_pass_us(3 * USEC_PER_SEC);
		while (peer_next(&a))
			peer_send(&a, (struct frame){ .type = FRAME_PONG },
				  NULL, 0);
	}
	ck_assert_uint_eq(peer_counter(WC_backend_stuck), 0);
	ck_assert_uint_eq(peer_counter(WC_backend_lost), 0);
}
END_TEST

/* --- PING */

START_TEST(test_backend_that_dribbles_is_silent)
{
	uint8_t byte = 0;

	peer_attach(&a, 1);
	/* The first bytes of a frame that never ends. */
	for (int i = 0; i < 22; i++) {
		if (a.gone || send(a.fd, &byte, 1, MSG_NOSIGNAL) != 1)
			break;
		peer_pump();
		peer_pass_us(USEC_PER_SEC);
	}
	peer_expect(&a, FRAME_PING);
	peer_expect_error(&a, -ETIMEDOUT, true);
	ck_assert_uint_eq(peer_counter(WC_backend_silent), 1);
}
END_TEST

/* --- vacate */

START_TEST(test_vacated_backend_gives_its_connections_away)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	peer_request(&c1, "1");
	peer_request(&c2, "2");
	peer_expect_data(&a, "1", FRAME_F_FIRST);
	peer_reply(&a, 1, "");
	rig_expect(&c1, TH_ACK);
	peer_expect_data(&a, "2", FRAME_F_FIRST); /* stays in hand */
	ck_assert_uint_eq(groups_set_duty(&gs, "pid 1", BACKEND_VACATES), 1);
	peer_pump();
	peer_expect(&a, FRAME_DRAIN);
	/* There is nobody to take them. */
	peer_request(&c1, "1");
	peer_expect_data(&a, "1", 0);
	peer_reply(&a, 1, "");
	rig_expect(&c1, TH_ACK);
	peer_attach(&b, 2);
	peer_request(&c1, "1");
	peer_expect_data(&b, "1", FRAME_F_FIRST);
	ck_assert_uint_eq(b.f.offset, 2);
	/* What is in hand goes on where it is, in order. */
	peer_request(&c2, "3");
	peer_expect_data(&a, "3", 0);
	peer_expect_nothing(&b);
	ck_assert_uint_eq(peer_counter(WC_redelivered), 0);
}
END_TEST

START_TEST(test_vacated_backend_serves_again_when_resumed)
{
	peer_attach(&a, 1);
	peer_attach(&b, 2);
	groups_set_duty(&gs, "pid 1", BACKEND_VACATES);
	groups_set_duty(&gs, "pid 1", BACKEND_DRAINS);
	peer_pump();
	peer_expect(&a, FRAME_DRAIN); /* told once */
	peer_expect_nothing(&a);
	groups_set_duty(&gs, "pid 1", BACKEND_SERVES);
	groups_set_duty(&gs, "pid 2", BACKEND_VACATES);
	peer_pump();
	peer_expect(&b, FRAME_DRAIN);
	rig_connect(&c1, 1000);
	peer_request(&c1, "1");
	peer_expect_data(&a, "1", FRAME_F_FIRST);
}
END_TEST

/* --- back-off */

static int listen_fd;
static struct conf_backend dialled;

static void up_dial(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int n;

	up();
	n = snprintf(sun.sun_path + 1, sizeof(sun.sun_path) - 1, "xtcp-hung-%d",
		     getpid());
	listen_fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(
		bind(listen_fd, (struct sockaddr *)&sun,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
				 (size_t)n)),
		0);
	ck_assert_int_eq(listen(listen_fd, 16), 0);
	dialled = (struct conf_backend){ .name = "dialled", .streams = 1 };
	snprintf(dialled.address, sizeof(dialled.address), "unix:@%s",
		 sun.sun_path + 1);
	peer_setup.backends = &dialled;
	peer_setup.n_backends = 1;
	peer_group();
}

static void down_dial(void)
{
	close(listen_fd);
	down();
}

/* The daemon's stream, if it has dialled: attached. */
static bool dial_attach(void)
{
	struct frame_hello hello = {
		.magic = be32_put(FRAME_MAGIC),
		.version = be16_put(FRAME_VERSION),
		.max_payload = be32_put(FRAME_PAYLOAD_MAX),
		.stream_credit = be32_put(PEER_CREDIT),
	};
	struct frame_attach attach = { .port = be16_put(RIG_PORT) };

	a = (struct peer){ .fd = accept4(listen_fd, NULL, NULL,
					 SOCK_NONBLOCK | SOCK_CLOEXEC) };
	if (a.fd < 0)
		return false;
	frame_reader_init(&a.in, FRAME_SIDE_BACKEND, FRAME_PAYLOAD_MAX);
	peer_pump();
	peer_expect(&a, FRAME_HELLO);
	peer_send(&a, (struct frame){ .type = FRAME_HELLO }, &hello,
		  sizeof(hello));
	peer_expect(&a, FRAME_ATTACH);
	peer_send(&a,
		  (struct frame){ .type = FRAME_ATTACHED, .group = PEER_GROUP },
		  &attach, sizeof(attach));
	return true;
}

/* How often it comes in a minute, when each stream ends by act(). */
static unsigned int comes_in_a_minute(void (*act)(void))
{
	unsigned int n = 0;

	for (int i = 0; i < 600; i++) {
		peer_pass_us(100 * USEC_PER_MSEC);
		if (!dial_attach())
			continue;
		act();
		peer_die(&a);
		a.fd = -1;
		n++;
	}
	return n;
}

static void lie(void)
{
	peer_send(&a, (struct frame){ .type = 99 }, NULL, 0);
}

static void serve_and_die(void)
{
	peer_request(&c1, "x");
	peer_expect(&a, FRAME_DATA);
	peer_reply(&a, 1, "");
	rig_expect(&c1, TH_ACK);
}

START_TEST(test_liar_is_dialled_more_and_more_seldom)
{
	unsigned int n = comes_in_a_minute(lie);

	/* 100 ms doubling to 5 s, each times a half to one and a half. */
	ck_assert_uint_ge(n, 8);
	ck_assert_uint_le(n, 40);
}
END_TEST

START_TEST(test_backend_that_did_something_is_dialled_again_soon)
{
	rig_connect(&c1, 1000);
	ck_assert_uint_ge(comes_in_a_minute(serve_and_die), 150);
}
END_TEST

UNIT_MAIN("daemon/hung",
	  UNIT_CASE("timeout", up_timeout, down,
		    test_backend_that_replies_to_nothing_is_given_up,
		    test_backend_with_nothing_in_hand_may_be_silent,
		    test_one_slow_request_is_no_reason_while_others_are_answered,
		    test_a_slow_client_is_not_its_backends_fault,
		    test_without_the_key_nobody_is_given_up_for_slowness),
	  UNIT_CASE("ping", up, down, test_backend_that_dribbles_is_silent),
	  UNIT_CASE("vacate", up, down,
		    test_vacated_backend_gives_its_connections_away,
		    test_vacated_backend_serves_again_when_resumed),
	  UNIT_CASE("back-off", up_dial, down_dial,
		    test_liar_is_dialled_more_and_more_seldom,
		    test_backend_that_did_something_is_dialled_again_soon))
