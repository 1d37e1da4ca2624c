/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening, accepting, receiving and acknowledging, against a fake daemon. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
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
	fake_init(&k);
	fake_open(&k);
}

static void teardown(void)
{
	fake_fini(&k);
}

static int open_args(int domain, int type, int protocol, uint16_t port)
{
	return xtcp_ctx_open_group(k.ctx, domain, type, protocol, port);
}

/* --- opening --- */

START_TEST(test_open_checks_its_arguments)
{
	ck_assert_int_eq(open_args(PF_INET, SOCK_DGRAM, 0, 1), -EINVAL);
	ck_assert_int_eq(open_args(PF_INET, SOCK_STREAM, 17, 1), -EINVAL);
	ck_assert_int_eq(open_args(PF_INET, SOCK_STREAM, 0, 0), -EINVAL);
	ck_assert_int_eq(open_args(PF_NETLINK, SOCK_STREAM, 0, 1),
			 -EAFNOSUPPORT);
	ck_assert_int_eq(xtcp_ctx_open_group(NULL, PF_INET, SOCK_STREAM, 0, 1),
			 -EINVAL);
}
END_TEST

START_TEST(test_open_without_daemon_fails_at_once)
{
	setenv("XTCP_ATTACH", "/nonexistent/attach.sock", 1);
	ck_assert_int_eq(open_args(PF_INET, SOCK_STREAM, 0, 1), -ENOENT);
	setenv("XTCP_ATTACH", k.attach, 1);
	close(k.listen_fd);
	ck_assert_int_eq(open_args(PF_INET, SOCK_STREAM, 0, 1), -ECONNREFUSED);
	setenv("XTCP_ATTACH", "relative", 1);
	ck_assert_int_eq(open_args(PF_INET, SOCK_STREAM, 0, 1), -EINVAL);
}
END_TEST

START_TEST(test_open_returns_the_daemons_error)
{
	const struct frame error = {
		.type = FRAME_ERROR,
		.flags = FRAME_F_FATAL,
		.aux = EADDRINUSE,
	};

	fake_open_begin(&k, PF_INET);
	fake_accept(&k, &k.s[0]);
	fake_expect(&k, &k.s[0], FRAME_HELLO, NULL);
	fake_send(&k.s[0], error, "taken", 5);
	ck_assert_int_eq(fake_open_end(&k), -EADDRINUSE);
}
END_TEST

START_TEST(test_open_refuses_what_is_no_xtcpd)
{
	fake_open_begin(&k, PF_INET);
	fake_accept(&k, &k.s[0]);
	ck_assert_int_gt(send(k.s[0].fd, "HTTP/1.1 400 Bad Request, go away...",
			      36, 0),
			 0);
	ck_assert_int_eq(fake_open_end(&k), -EPROTO);
}
END_TEST

START_TEST(test_open_has_a_stream_to_each_worker)
{
	k.workers = 4;
	k.first_worker = 2;
	ck_assert_int_gt(fake_open(&k), 0);
	ck_assert_uint_eq(k.s[2].wanted, FRAME_WORKER_ANY);
	for (unsigned int i = 0; i < 4; i++) {
		ck_assert_uint_eq(be16_get(k.s[i].attach.port), 5222);
		ck_assert_uint_eq(k.s[i].attach.family, 4);
		ck_assert_uint_eq(k.s[i].instance, k.s[0].instance);
		if (i != 2)
			ck_assert_uint_eq(k.s[i].wanted, i);
	}
	/* The first stream went to its worker's place with all it had. */
	fake_first(&k.s[2], 7, 0, 0, "x");
	fake_pump(&k);
	ck_assert_int_gt(xtcp_ctx_accept(k.ctx, k.gd), 0);
}
END_TEST

START_TEST(test_open_asks_for_a_pool_of_its_own)
{
	xtcp_ctx_free(k.ctx);
	ck_assert_int_eq(xtcp_ctx_new(1u << 20, &k.ctx), 0);
	fake_open(&k);
	ck_assert_uint_eq(k.s[0].attach.flags, FRAME_ATTACH_OWN_POOL);
	ck_assert_uint_eq(be64_get(k.s[0].attach.pool_bytes), 1u << 20);
}
END_TEST

START_TEST(test_initialize_twice_is_ealready)
{
	ck_assert_int_eq(xtcp_open_group(PF_INET, SOCK_STREAM, 0, 1), -EINVAL);
	ck_assert_int_eq(xtcp_finalize(), -EINVAL);
	ck_assert_int_eq(xtcp_initialize(0), 0);
	ck_assert_int_eq(xtcp_initialize(0), -EALREADY);
	ck_assert_int_eq(xtcp_accept(3), -EBADF);
	ck_assert_int_eq(xtcp_finalize(), 0);
	ck_assert_int_eq(xtcp_accept(3), -EINVAL);
}
END_TEST

/* --- accepting --- */

START_TEST(test_accept_hands_out_a_connection_with_its_address)
{
	struct sockaddr_storage ss;
	struct sockaddr_in sa;
	int cd;

	ck_assert_int_eq(xtcp_ctx_accept(k.ctx, k.gd), -EAGAIN);
	fake_first(&k.s[0], 7, 0, 0, "x");
	cd = xtcp_ctx_accept(k.ctx, k.gd);
	ck_assert_int_gt(cd, 0);
	ck_assert_int_eq(xtcp_ctx_accept(k.ctx, k.gd), -EAGAIN);
	ck_assert_int_eq(xtcp_ctx_pars(k.ctx, k.gd, cd, &sa), 0);
	ck_assert_int_eq(sa.sin_family, AF_INET);
	ck_assert_uint_eq(ntohs(sa.sin_port), 1007);
	ck_assert_uint_eq(ntohl(sa.sin_addr.s_addr), 0xc0000201);
	ck_assert_int_eq(xtcp_ctx_pars6(k.ctx, k.gd, cd, &ss), 0);
	ck_assert_mem_eq(&ss, &sa, sizeof(sa));
	ck_assert_int_eq(xtcp_ctx_pars(k.ctx, k.gd, cd + 1, &sa), -EBADF);
	ck_assert_int_eq(xtcp_ctx_pars(k.ctx, 9999, cd, &sa), -EBADF);
}
END_TEST

START_TEST(test_pars_of_ipv6_client_needs_pars6)
{
	const struct frame open = {
		.type = FRAME_OPEN,
		.flags = FRAME_F_FIRST,
		.conn = 3,
	};
	struct frame_addr addr = fake_addr(3, 6, 0);
	struct sockaddr_storage ss;
	struct sockaddr_in6 in6;
	struct sockaddr_in sa;
	int cd;

	fake_send(&k.s[0], open, &addr, sizeof(addr));
	cd = xtcp_ctx_accept(k.ctx, k.gd);
	ck_assert_int_gt(cd, 0);
	ck_assert_int_eq(xtcp_ctx_pars(k.ctx, k.gd, cd, &sa), -EAFNOSUPPORT);
	ck_assert_int_eq(xtcp_ctx_pars6(k.ctx, k.gd, cd, &ss), 0);
	memcpy(&in6, &ss, sizeof(in6));
	ck_assert_int_eq(in6.sin6_family, AF_INET6);
	ck_assert_uint_eq(ntohs(in6.sin6_port), 1003);
	ck_assert_mem_eq(&in6.sin6_addr, addr.remote, 16);
}
END_TEST

static void open_at(uint64_t conn, uint64_t offset, uint8_t flags)
{
	const struct frame open = {
		.type = FRAME_OPEN,
		.flags = (uint8_t)(FRAME_F_FIRST | flags),
		.conn = conn,
		.offset = offset,
	};
	struct frame_addr addr = fake_addr(conn, 4, 0);

	fake_send(&k.s[0], open, &addr, sizeof(addr));
}

static void open_waiting(uint64_t conn)
{
	open_at(conn, 0, FRAME_F_WAITS);
}

START_TEST(test_accept_and_reject_answer_a_waiting_handshake)
{
	struct frame f;
	int cd;

	open_waiting(1);
	open_waiting(2);
	open_waiting(3);
	cd = xtcp_ctx_accept(k.ctx, k.gd);
	ck_assert_int_gt(cd, 0);
	f = fake_expect(&k, &k.s[0], FRAME_ACCEPT, NULL);
	ck_assert_uint_eq(f.conn, 1);
	ck_assert_uint_eq(f.group, 9);
	ck_assert_int_eq(xtcp_ctx_reject(k.ctx, k.gd), 0);
	f = fake_expect(&k, &k.s[0], FRAME_REJECT, NULL);
	ck_assert_uint_eq(f.conn, 2);
	/* The third gives up before anyone cares. */
	f = (struct frame){ .type = FRAME_RESET, .conn = 3 };
	fake_send(&k.s[0], f, NULL, 0);
	fake_pump(&k);
	ck_assert_int_eq(xtcp_ctx_accept(k.ctx, k.gd), -EAGAIN);
	ck_assert_int_eq(xtcp_ctx_reject(k.ctx, k.gd), -EAGAIN);
}
END_TEST

START_TEST(test_recv_accepts_what_nobody_accepted)
{
	char buf[16];
	int cd;

	fake_first(&k.s[0], 7, 0, 0, "abc");
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &cd, buf, sizeof(buf)), 3);
	ck_assert_int_gt(cd, 0);
	ck_assert_int_eq(xtcp_ctx_accept(k.ctx, k.gd), -EAGAIN);
}
END_TEST

/* --- receiving and acknowledging --- */

START_TEST(test_recv_returns_all_unacknowledged_old_first)
{
	char buf[64];
	struct frame f;
	int cd, again;

	fake_first(&k.s[0], 7, 0, 0, "abc");
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 3);
	/* Nothing acknowledged, nothing new: nothing to tell. */
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -EAGAIN);
	fake_data(&k.s[0], 7, 3, "def");
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), 6);
	ck_assert_int_eq(again, cd);
	ck_assert_str_eq(buf, "abcdef");
	/* Part: the rest comes again, alone. */
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 4, NULL, 0), 0);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.offset, 0);
	ck_assert_uint_eq(f.ackd, 4);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), 2);
	ck_assert_str_eq(buf, "ef");
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 2, NULL, 0), 0);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.offset, 4);
	ck_assert_uint_eq(f.ackd, 2);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -EAGAIN);
}
END_TEST

START_TEST(test_rest_that_is_acknowledged_is_not_told)
{
	char buf[64];
	int cd;

	fake_first(&k.s[0], 7, 0, 0, "abc");
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 3);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 2, NULL, 0), 0);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 1, NULL, 0), 0);
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), -EAGAIN);
}
END_TEST

START_TEST(test_recv_into_a_small_buffer_stays_ready)
{
	char buf[2];
	int cd;

	fake_first(&k.s[0], 7, 0, 0, "abc");
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &cd, buf, 2), 2);
	ck_assert_mem_eq(buf, "ab", 2);
	/* Not acknowledged: from the beginning again. */
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &cd, buf, 2), 2);
	ck_assert_mem_eq(buf, "ab", 2);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 2, NULL, 0), 0);
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &cd, buf, 2), 1);
	ck_assert_int_eq(buf[0], 'c');
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &cd, buf, 0), -EINVAL);
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, NULL, buf, 2), -EINVAL);
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &cd, NULL, 2), -EINVAL);
	ck_assert_int_eq(xtcp_ctx_recv(k.ctx, 0, &cd, buf, 2), -EBADF);
}
END_TEST

START_TEST(test_recv_goes_round_the_connections)
{
	int cd[4];
	char c;

	for (uint64_t i = 0; i < 3; i++)
		fake_first(&k.s[0], i + 1, 0, 0, "xy");
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(xtcp_ctx_recv(k.ctx, k.gd, &cd[i], &c, 1), 1);
	ck_assert_int_ne(cd[0], cd[1]);
	ck_assert_int_ne(cd[1], cd[2]);
	ck_assert_int_ne(cd[0], cd[2]);
	ck_assert_int_eq(cd[0], cd[3]);
}
END_TEST

START_TEST(test_recv_from_names_the_connection)
{
	char buf[64];
	int a, b;

	fake_first(&k.s[0], 1, 0, 0, "one");
	fake_first(&k.s[0], 2, 0, 0, "two");
	a = xtcp_ctx_accept(k.ctx, k.gd);
	b = xtcp_ctx_accept(k.ctx, k.gd);
	ck_assert_int_eq(xtcp_ctx_recv_from(k.ctx, k.gd, b, buf, 64), 3);
	ck_assert_mem_eq(buf, "two", 3);
	ck_assert_int_eq(xtcp_ctx_recv_from(k.ctx, k.gd, b, buf, 64), -EAGAIN);
	ck_assert_int_eq(xtcp_ctx_recv_from(k.ctx, k.gd, a, buf, 64), 3);
	ck_assert_int_eq(xtcp_ctx_recv_from(k.ctx, k.gd, 99, buf, 64), -EBADF);
}
END_TEST

/* It was another's, before xtcpd began anew. */
START_TEST(test_announced_connection_goes_on_where_it_stands)
{
	char buf[64];
	int cd;

	open_at(7, 100, 0);
	fake_data(&k.s[0], 7, 100, "ping");
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 4);
	ck_assert_mem_eq(buf, "ping", 4);
	/* Announced again, after another one has had it in between. */
	open_at(7, 200, 0);
	fake_data(&k.s[0], 7, 200, "pong");
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), -ECONNRESET);
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 4);
	ck_assert_mem_eq(buf, "pong", 4);
}
END_TEST

START_TEST(test_send_carries_acknowledgement_and_data_in_one_frame)
{
	const uint8_t *payload;
	char buf[64];
	struct frame f;
	int cd;

	fake_first(&k.s[0], 7, 100, 0, "ping");
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 4);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 4, "pong!", 5), 5);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, &payload);
	ck_assert_uint_eq(f.conn, 7);
	ck_assert_uint_eq(f.offset, 100);
	ck_assert_uint_eq(f.ackd, 4);
	ck_assert_uint_eq(f.flags, FRAME_F_AT);
	ck_assert_uint_eq(f.aux, 0);
	ck_assert_uint_eq(f.length, 5);
	ck_assert_mem_eq(payload, "pong!", 5);
	/* A push, and where it begins. */
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 0, "more", 4), 4);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.offset, 104);
	ck_assert_uint_eq(f.ackd, 0);
	ck_assert_uint_eq(f.aux, 5);
}
END_TEST

START_TEST(test_send_with_too_much_ackd_does_nothing)
{
	char buf[64];
	int cd;

	fake_first(&k.s[0], 7, 0, 0, "abc");
	cd = xtcp_ctx_accept(k.ctx, k.gd);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 1, NULL, 0), -EINVAL);
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 3);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 4, "x", 1), -EINVAL);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, SIZE_MAX, "x", 1),
			 -EINVAL);
	ck_assert(!fake_has_frame(&k, &k.s[0]));
	/* Two sends share one receive's bytes. */
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 2, NULL, 0), 0);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 2, NULL, 0), -EINVAL);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 1, NULL, 0), 0);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 0, NULL, 1), -EINVAL);
}
END_TEST

/* --- the end of a connection --- */

static void send_eof(uint64_t conn, uint64_t offset)
{
	const struct frame f = {
		.type = FRAME_EOF,
		.conn = conn,
		.offset = offset,
	};

	fake_send(&k.s[0], f, NULL, 0);
}

START_TEST(test_eof_is_told_once_after_the_data)
{
	char buf[64];
	int cd, again;

	fake_first(&k.s[0], 7, 0, 0, "bye");
	send_eof(7, 3);
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 3);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), 0);
	ck_assert_int_eq(again, cd);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -EAGAIN);
	/* Receiving is over, sending is not. */
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 1, "x", 1), 1);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), 2);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -EAGAIN);
	ck_assert_int_eq(xtcp_ctx_close(k.ctx, k.gd, cd), 0);
}
END_TEST

START_TEST(test_reset_is_told_once_and_close_frees)
{
	const struct frame reset = { .type = FRAME_RESET, .conn = 7 };
	char buf[64];
	int cd, again;

	fake_first(&k.s[0], 7, 0, 0, "abc");
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 3);
	fake_send(&k.s[0], reset, NULL, 0);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -ECONNRESET);
	ck_assert_int_eq(again, cd);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -EAGAIN);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 3, "x", 1),
			 -ECONNRESET);
	ck_assert_int_eq(xtcp_ctx_shutdown(k.ctx, k.gd, cd), -ECONNRESET);
	ck_assert_int_eq(xtcp_ctx_close(k.ctx, k.gd, cd), 0);
	ck_assert_int_eq(xtcp_ctx_close(k.ctx, k.gd, cd), -EBADF);
	ck_assert(!fake_has_frame(&k, &k.s[0]));
}
END_TEST

START_TEST(test_close_forgets_and_late_frames_are_dropped)
{
	char buf[64];
	struct frame f;
	int cd, again;

	fake_first(&k.s[0], 7, 0, 0, "abc");
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 3);
	ck_assert_int_eq(xtcp_ctx_close(k.ctx, k.gd, cd), 0);
	f = fake_expect(&k, &k.s[0], FRAME_CLOSE, NULL);
	ck_assert_uint_eq(f.conn, 7);
	fake_data(&k.s[0], 7, 3, "def");
	send_eof(7, 6);
	f = (struct frame){ .type = FRAME_RESET, .conn = 7 };
	fake_send(&k.s[0], f, NULL, 0);
	fake_pump(&k);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -EAGAIN);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 0, "x", 1), -EBADF);
	/* The stream is alive. */
	fake_first(&k.s[0], 8, 0, 0, "abc");
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), 3);
	ck_assert_int_ne(again, cd);
}
END_TEST

START_TEST(test_shutdown_sends_fin_and_refuses_data)
{
	char buf[64];
	struct frame f;
	int cd;

	fake_first(&k.s[0], 7, 0, 0, "abc");
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 3);
	ck_assert_int_eq(xtcp_ctx_shutdown(k.ctx, k.gd, cd), 0);
	ck_assert_int_eq(xtcp_ctx_shutdown(k.ctx, k.gd, cd), 0);
	fake_expect(&k, &k.s[0], FRAME_FIN, NULL);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 3, "x", 1), -EPIPE);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.ackd, 3);
	ck_assert_uint_eq(f.length, 0);
	ck_assert_int_eq(xtcp_ctx_abort(k.ctx, k.gd, cd), 0);
	fake_expect(&k, &k.s[0], FRAME_ABORT, NULL);
}
END_TEST

START_TEST(test_close_group_lets_go_of_everything)
{
	char buf[64];
	int cd, gd = k.gd;

	fake_first(&k.s[0], 7, 0, 0, "abc");
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 3);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 3, "x", 1), 1);
	ck_assert_int_eq(xtcp_ctx_close_group(k.ctx, gd), 0);
	k.gd = -1;
	ck_assert_int_eq(xtcp_ctx_close_group(k.ctx, gd), -EBADF);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	fake_expect_close(&k, &k.s[0]);
}
END_TEST

UNIT_MAIN("lib/group",
	  UNIT_CASE("open", setup, teardown, test_open_checks_its_arguments,
		    test_open_without_daemon_fails_at_once,
		    test_open_returns_the_daemons_error,
		    test_open_refuses_what_is_no_xtcpd,
		    test_open_has_a_stream_to_each_worker,
		    test_open_asks_for_a_pool_of_its_own,
		    test_initialize_twice_is_ealready),
	  UNIT_CASE("accept", setup_open, teardown,
		    test_accept_hands_out_a_connection_with_its_address,
		    test_pars_of_ipv6_client_needs_pars6,
		    test_accept_and_reject_answer_a_waiting_handshake,
		    test_recv_accepts_what_nobody_accepted),
	  UNIT_CASE("data", setup_open, teardown,
		    test_recv_returns_all_unacknowledged_old_first,
		    test_rest_that_is_acknowledged_is_not_told,
		    test_recv_into_a_small_buffer_stays_ready,
		    test_recv_goes_round_the_connections,
		    test_recv_from_names_the_connection,
		    test_announced_connection_goes_on_where_it_stands,
		    test_send_carries_acknowledgement_and_data_in_one_frame,
		    test_send_with_too_much_ackd_does_nothing),
	  UNIT_CASE("end", setup_open, teardown,
		    test_eof_is_told_once_after_the_data,
		    test_reset_is_told_once_and_close_frees,
		    test_close_forgets_and_late_frames_are_dropped,
		    test_shutdown_sends_fin_and_refuses_data,
		    test_close_group_lets_go_of_everything))
