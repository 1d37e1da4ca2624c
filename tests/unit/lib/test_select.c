/* SPDX-License-Identifier: BSD-2-Clause */
/* Waiting: xtcp_select(), xtcp_poll(), and gd in somebody else's poll(). */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "unit/lib/fake.h"
#include "unit/unit.h"

static struct fake k;

static void setup(void)
{
	fake_init(&k);
	fake_open(&k);
}

static void teardown(void)
{
	fake_fini(&k);
}

static int select_gd(bool read, bool accept, long timeout_us, xtcp_set *ret_r,
		     xtcp_set *ret_a)
{
	struct timeval tv = { timeout_us / 1000000, timeout_us % 1000000 };

	XTCP_ZERO(ret_r);
	XTCP_ZERO(ret_a);
	if (read)
		XTCP_SET(k.gd, ret_r);
	if (accept)
		XTCP_SET(k.gd, ret_a);
	return xtcp_ctx_select(k.ctx, k.gd + 1, ret_r, ret_a, &tv);
}

/* Whether gd is readable for poll(2). */
static bool gd_readable(void)
{
	struct pollfd p = { .fd = k.gd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

START_TEST(test_set_macros)
{
	xtcp_set set;

	XTCP_ZERO(&set);
	for (int gd = -1; gd <= XTCP_SETSIZE; gd++)
		ck_assert(!XTCP_ISSET(gd, &set));
	XTCP_SET(0, &set);
	XTCP_SET(63, &set);
	XTCP_SET(64, &set);
	XTCP_SET(XTCP_SETSIZE - 1, &set);
	XTCP_SET(XTCP_SETSIZE, &set);
	XTCP_SET(-1, &set);
	XTCP_CLR(63, &set);
	XTCP_CLR(XTCP_SETSIZE, &set);
	ck_assert(XTCP_ISSET(0, &set) && XTCP_ISSET(64, &set));
	ck_assert(XTCP_ISSET(XTCP_SETSIZE - 1, &set));
	ck_assert(!XTCP_ISSET(63, &set) && !XTCP_ISSET(XTCP_SETSIZE, &set));
}
END_TEST

START_TEST(test_select_reports_what_is_ready_and_nothing_else)
{
	char buf[16];
	xtcp_set r, a;
	int cd;

	ck_assert_int_eq(select_gd(true, true, 0, &r, &a), 0);
	ck_assert(!XTCP_ISSET(k.gd, &r) && !XTCP_ISSET(k.gd, &a));
	fake_first(&k.s[0], 7, 0, 0, "abc");
	ck_assert_int_eq(select_gd(true, true, 1000000, &r, &a), 2);
	ck_assert(XTCP_ISSET(k.gd, &r) && XTCP_ISSET(k.gd, &a));
	ck_assert_int_gt(xtcp_ctx_accept(k.ctx, k.gd), 0);
	ck_assert_int_eq(select_gd(true, true, 0, &r, &a), 1);
	ck_assert(XTCP_ISSET(k.gd, &r) && !XTCP_ISSET(k.gd, &a));
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &cd, buf, 16), 3);
	ck_assert_int_eq(select_gd(true, true, 0, &r, &a), 0);
}
END_TEST

START_TEST(test_select_takes_n_either_way)
{
	struct timeval now = { 0 };
	xtcp_set r;

	fake_first(&k.s[0], 7, 0, 0, "abc");
	for (int n = 0; n <= k.gd + 1; n += k.gd + 1) {
		XTCP_ZERO(&r);
		XTCP_SET(k.gd, &r);
		ck_assert_int_eq(xtcp_ctx_select(k.ctx, n, &r, NULL, &now), 1);
	}
	ck_assert_int_eq(xtcp_ctx_select(k.ctx, -1, &r, NULL, &now), -EINVAL);
	now.tv_usec = 1000000;
	ck_assert_int_eq(xtcp_ctx_select(k.ctx, 1, &r, NULL, &now), -EINVAL);
}
END_TEST

START_TEST(test_select_of_no_group_is_ebadf_and_leaves_the_sets)
{
	struct timeval now = { 0 };
	xtcp_set r;

	XTCP_ZERO(&r);
	XTCP_SET(k.gd + 100, &r);
	ck_assert_int_eq(xtcp_ctx_select(k.ctx, 1, &r, NULL, &now), -EBADF);
	ck_assert(XTCP_ISSET(k.gd + 100, &r));
	ck_assert_int_eq(xtcp_ctx_select(k.ctx, 0, NULL, NULL, &now), 0);
}
END_TEST

START_TEST(test_select_waits_its_time_whatever_else_is_pending)
{
	xtcp_set r, a;

	/* Something to receive must not wake who waits to accept. */
	fake_first(&k.s[0], 7, 0, 0, "abc");
	ck_assert_int_gt(xtcp_ctx_accept(k.ctx, k.gd), 0);
	ck_assert(gd_readable());
	ck_assert_int_eq(select_gd(false, true, 20000, &r, &a), 0);
	/* And gd tells the truth again afterwards. */
	ck_assert(gd_readable());
}
END_TEST

static void *send_later(void *arg)
{
	(void)arg;
	usleep(10000);
	fake_first(&k.s[0], 7, 0, 0, "abc");
	return NULL;
}

START_TEST(test_select_wakes_when_data_comes)
{
	xtcp_set r, a;
	pthread_t t;

	ck_assert_int_eq(pthread_create(&t, NULL, send_later, NULL), 0);
	ck_assert_int_eq(select_gd(true, false, 5000000, &r, &a), 1);
	ck_assert_int_eq(pthread_join(t, NULL), 0);
}
END_TEST

START_TEST(test_gd_is_readable_while_there_is_something)
{
	char buf[16];
	int cd;

	ck_assert(!gd_readable());
	fake_first(&k.s[0], 1, 0, 0, "abc");
	fake_first(&k.s[0], 2, 0, 0, "abc");
	ck_assert(gd_readable());
	/* The first call reads the stream empty; the rest is in the library. */
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &cd, buf, 16), 3);
	ck_assert(gd_readable());
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &cd, buf, 16), 3);
	ck_assert(!gd_readable());
	/* A part that is left is something, too. */
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 1, NULL, 0), 0);
	ck_assert(gd_readable());
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &cd, buf, 16), 2);
	ck_assert(!gd_readable());
}
END_TEST

START_TEST(test_gd_wakes_once_for_room_to_write)
{
	const struct frame credit = {
		.type = FRAME_CREDIT,
		.conn = 7,
		.offset = 1u << 20,
	};
	static char big[FAKE_WINDOW + 1];
	char buf[16];
	int cd;

	fake_first(&k.s[0], 7, 0, 0, "abc");
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &cd, buf, 16), 3);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 3, big, sizeof(big)),
			 FAKE_WINDOW);
	fake_send(&k.s[0], credit, NULL, 0);
	fake_pump(&k);
	ck_assert(gd_readable());
	/* Who uses no xtcp_poll() isn't woken for ever. */
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &cd, buf, 16), -EAGAIN);
	ck_assert(!gd_readable());
}
END_TEST

START_TEST(test_poll_names_connections_in_turn)
{
	struct xtcp_event ev[8];
	int first;

	for (uint64_t i = 1; i <= 3; i++)
		fake_first(&k.s[0], i, 0, 0, "abc");
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, ev, 8, 1000), 4);
	ck_assert_int_eq(ev[0].cd, 0);
	ck_assert_int_eq(ev[0].gd, k.gd);
	ck_assert_uint_eq(ev[0].events, XTCP_EV_ACCEPT);
	for (int i = 1; i < 4; i++)
		ck_assert_uint_eq(ev[i].events, XTCP_EV_READ);
	while (xtcp_ctx_accept(k.ctx, k.gd) > 0)
		;
	/* As long as it's true, but each has its turn. */
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, ev, 1, 0), 1);
	first = ev[0].cd;
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, ev, 2, 0), 2);
	ck_assert_int_ne(ev[0].cd, first);
	ck_assert_int_ne(ev[1].cd, first);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, ev, 8, 0), 3);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, ev, 0, 0), -EINVAL);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, NULL, 1, 0), -EINVAL);
}
END_TEST

START_TEST(test_poll_tells_redelivered_closed_and_reset)
{
	struct frame f = { .type = FRAME_EOF, .conn = 7, .offset = 3 };
	struct xtcp_event ev[4];
	char buf[16];
	int cd;

	fake_first(&k.s[0], 7, 0, FRAME_F_REDELIVERED, "abc");
	fake_pump(&k);
	cd = xtcp_ctx_accept(k.ctx, k.gd);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, ev, 4, 0), 1);
	ck_assert_int_eq(ev[0].cd, cd);
	ck_assert_uint_eq(ev[0].events, XTCP_EV_READ | XTCP_EV_REDELIVERED);
	ck_assert_int_eq(xtcp_ctx_recv_from(k.ctx, k.gd, cd, buf, 16), 3);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 3, NULL, 0), 0);
	fake_send(&k.s[0], f, NULL, 0);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, ev, 4, 1000), 1);
	ck_assert_uint_eq(ev[0].events, XTCP_EV_READ | XTCP_EV_CLOSED);
	ck_assert_int_eq(xtcp_ctx_recv_from(k.ctx, k.gd, cd, buf, 16), 0);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, ev, 4, 0), 0);
	f = (struct frame){ .type = FRAME_RESET, .conn = 7 };
	fake_send(&k.s[0], f, NULL, 0);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, ev, 4, 1000), 1);
	ck_assert(ev[0].events & XTCP_EV_RESET);
	ck_assert_int_eq(xtcp_ctx_recv_from(k.ctx, k.gd, cd, buf, 16),
			 -ECONNRESET);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, ev, 4, 0), 0);
}
END_TEST

START_TEST(test_poll_without_groups_does_not_hang)
{
	struct xtcp_event ev;

	ck_assert_int_eq(xtcp_ctx_close_group(k.ctx, k.gd), 0);
	k.gd = -1;
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, &ev, 1, -1), -EBADF);
}
END_TEST

UNIT_MAIN("lib/select",
	  UNIT_CASE("select", setup, teardown, test_set_macros,
		    test_select_reports_what_is_ready_and_nothing_else,
		    test_select_takes_n_either_way,
		    test_select_of_no_group_is_ebadf_and_leaves_the_sets,
		    test_select_waits_its_time_whatever_else_is_pending,
		    test_select_wakes_when_data_comes),
	  UNIT_CASE("gd", setup, teardown,
		    test_gd_is_readable_while_there_is_something,
		    test_gd_wakes_once_for_room_to_write),
	  UNIT_CASE("poll", setup, teardown,
		    test_poll_names_connections_in_turn,
		    test_poll_tells_redelivered_closed_and_reset,
		    test_poll_without_groups_does_not_hang))
