/* SPDX-License-Identifier: BSD-2-Clause */
/* PF_UNIX: clients on this host, the same calls. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/local.h"
#include "unit/lib/fake.h"
#include "unit/unit.h"

static struct fake k;
static char big[2u << 20];

static void setup(void)
{
	fake_init(&k);
	k.gd = xtcp_ctx_open_group(k.ctx, PF_UNIX, SOCK_STREAM, 0, 7777);
	ck_assert_int_gt(k.gd, 0);
}

static void teardown(void)
{
	fake_fini(&k);
}

static int client(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/xtcp-7777.sock", k.dir);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

/* Receives once there is something. */
static int recv_wait(int *ret_cd, void *buf, size_t len)
{
	struct xtcp_event ev;

	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, &ev, 1, 1000), 1);
	return xtcp_ctx_recv(k.ctx, k.gd, ret_cd, buf, len);
}

START_TEST(test_local_client_is_served_like_any)
{
	struct sockaddr_storage ss;
	struct sockaddr_in sa;
	char buf[16];
	int fd = client(), cd, again;

	cd = xtcp_ctx_accept(k.ctx, k.gd);
	ck_assert_int_gt(cd, 0);
	ck_assert_int_eq(xtcp_ctx_pars(k.ctx, k.gd, cd, &sa), -EAFNOSUPPORT);
	ck_assert_int_eq(xtcp_ctx_pars6(k.ctx, k.gd, cd, &ss), 0);
	ck_assert_int_eq(ss.ss_family, AF_UNIX);
	ck_assert_int_eq(send(fd, "abcd", 4, 0), 4);
	ck_assert_int_eq(recv_wait(&again, buf, 16), 4);
	ck_assert_int_eq(again, cd);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 5, "x", 1), -EINVAL);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 3, "reply", 5), 5);
	ck_assert_int_eq(recv(fd, buf, 16, 0), 5);
	ck_assert_mem_eq(buf, "reply", 5);
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &again, buf, 16), 1);
	ck_assert_int_eq(buf[0], 'd');
	ck_assert_int_eq(xtcp_ctx_close(k.ctx, k.gd, cd), 0);
	ck_assert_int_eq(recv(fd, buf, 16, 0), 0);
	close(fd);
}
END_TEST

START_TEST(test_local_client_that_sends_and_closes_is_heard)
{
	char buf[16];
	int fd = client(), cd, again;

	ck_assert_int_eq(send(fd, "bye", 3, 0), 3);
	close(fd);
	ck_assert_int_eq(recv_wait(&cd, buf, 16), 3);
	fake_pump(&k);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 1, "reply", 5), 5);
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &again, buf, 16), 2);
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &again, buf, 16), 0);
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &again, buf, 16), -EAGAIN);
	ck_assert_int_eq(xtcp_ctx_close(k.ctx, k.gd, cd), 0);
}
END_TEST

START_TEST(test_local_client_is_held_back_by_what_is_not_acknowledged)
{
	struct xtcp_event ev;
	int fd = client(), cd, n, old = 0;
	ssize_t sent = 0, k_sent;

	do {
		k_sent = send(fd, big, 65536, 0);
		sent += k_sent > 0 ? k_sent : 0;
		fake_pump(&k);
	} while (k_sent > 0);
	n = recv_wait(&cd, big, sizeof(big));
	ck_assert_int_eq(n, LOCAL_RX_MAX);
	/* Acknowledging lets the rest in. */
	while (sent > 0) {
		ck_assert_int_eq(
			xtcp_ctx_send(k.ctx, k.gd, cd, (size_t)n, NULL, 0), 0);
		sent -= n;
		old = n;
		if (sent > 0) {
			n = recv_wait(&cd, big, sizeof(big));
			ck_assert_int_gt(n, 0);
		}
	}
	ck_assert_int_gt(old, 0);
	ck_assert_int_eq(xtcp_ctx_poll(k.ctx, &ev, 1, 0), 0);
	close(fd);
}
END_TEST

START_TEST(test_local_slow_client_makes_sends_fall_short)
{
	struct xtcp_event ev;
	size_t taken = 0, got = 0;
	int fd = client(), cd, n;
	ssize_t r;

	cd = xtcp_ctx_accept(k.ctx, k.gd);
	while ((n = xtcp_ctx_send(k.ctx, k.gd, cd, 0, big, sizeof(big))) > 0)
		taken += (size_t)n;
	ck_assert_int_eq(n, -EAGAIN);
	ck_assert_uint_ge(taken, LOCAL_TX_MAX);
	/* Closed now, all of it still arrives. */
	if (_i == 1)
		ck_assert_int_eq(xtcp_ctx_close(k.ctx, k.gd, cd), 0);
	while (got < taken) {
		r = recv(fd, big, sizeof(big), 0);
		got += r > 0 ? (size_t)r : 0;
		ck_assert(r != 0);
		fake_pump(&k);
	}
	if (_i == 1) {
		ck_assert_int_eq(recv(fd, big, sizeof(big), 0), 0);
	} else {
		ck_assert_int_eq(xtcp_ctx_poll(k.ctx, &ev, 1, 1000), 1);
		ck_assert_uint_eq(ev.events, XTCP_EV_WRITE);
		ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 0, "x", 1), 1);
	}
	close(fd);
}
END_TEST

START_TEST(test_local_shutdown_and_reject)
{
	char buf[16];
	int fd = client(), other = client(), cd;

	cd = xtcp_ctx_accept(k.ctx, k.gd);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 0, "x", 1), 1);
	ck_assert_int_eq(xtcp_ctx_shutdown(k.ctx, k.gd, cd), 0);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 0, "x", 1), -EPIPE);
	ck_assert_int_eq(recv(fd, buf, 16, 0), 1);
	ck_assert_int_eq(recv(fd, buf, 16, 0), 0);
	ck_assert_int_eq(send(fd, "abc", 3, 0), 3);
	ck_assert_int_eq(xtcp_ctx_reject(k.ctx, k.gd), 0);
	ck_assert_int_eq(recv(other, buf, 16, 0), 0);
	ck_assert_int_eq(recv_wait(&cd, buf, 16), 3);
	close(fd);
	close(other);
}
END_TEST

UNIT_MAIN("lib/local",
	  UNIT_CASE("local", setup, teardown,
		    test_local_client_is_served_like_any,
		    test_local_client_that_sends_and_closes_is_heard,
		    test_local_client_is_held_back_by_what_is_not_acknowledged,
		    test_local_shutdown_and_reject),
	  UNIT_LOOP("slow", 2, setup, teardown,
		    test_local_slow_client_makes_sends_fall_short))
