/* SPDX-License-Identifier: BSD-2-Clause */
/* A group as xtcp-run uses it: changes told once, bytes read by position. */
#include "lib/direct.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/ctx.h"
#include "lib/link.h"
#include "lib/open.h"
#include "unit/lib/fake.h"
#include "unit/unit.h"

static struct fake k;
static struct group *g;
static struct direct_event ev[8];

/* The fake pumps what its context has: g is put there by hand. */
static void adopt(void)
{
	struct xtcp_ctx *ctx = k.ctx;

	ctx->n_groups = 1024;
	ctx->groups = calloc(1024, sizeof(*ctx->groups));
	ck_assert_int_lt(g->gd, 1024);
	ctx->groups[g->gd] = g;
	ctx->n_open = 1;
	k.gd = g->gd;
}

static void setup(void)
{
	fake_init(&k);
}

static void setup_open(void)
{
	setup();
	ck_assert_int_eq(open_later(77, 5222, &g), 0);
	adopt();
	g->corked = true;
	fake_accept(&k, &k.s[0]);
	fake_handshake(&k, &k.s[0], 0);
	fake_pump(&k);
}

static void teardown(void)
{
	fake_fini(&k);
}

/* A connection that has sent text, and is accepted. */
static struct conn *connected(uint64_t id, const char *text)
{
	struct conn *c;

	fake_first(&k.s[0], id, 0, 0, text);
	fake_pump(&k);
	c = direct_acceptable(g, DIRECT_IPV4);
	ck_assert_ptr_nonnull(c);
	direct_accept(g, c);
	return c;
}

START_TEST(test_changes_are_told_once)
{
	struct conn *c = connected(7, "abc");
	char buf[8];

	/* What it had when it was accepted is no change. */
	ck_assert_int_eq(direct_changes(g, ev, 8), 0);
	fake_data(&k.s[0], 7, 3, "def");
	fake_pump(&k);
	ck_assert_int_eq(direct_changes(g, ev, 8), 1);
	ck_assert_uint_eq(ev[0].cd, c->cd);
	ck_assert_uint_eq(ev[0].events, DIRECT_READ);
	ck_assert_int_eq(direct_changes(g, ev, 8), 0);
	/* Nor is it one that part was acknowledged, read or not. */
	ck_assert_uint_eq(conn_rx_peek(c, 0, buf, 2), 2);
	ck_assert_int_eq(direct_send(g, c, 2, NULL, 0), 0);
	ck_assert_int_eq(direct_changes(g, ev, 8), 0);
	ck_assert_uint_eq(conn_rx_peek(c, 0, buf, 8), 4);
	ck_assert_mem_eq(buf, "cdef", 4);
}
END_TEST

START_TEST(test_acknowledging_hides_no_change_that_was_not_told)
{
	struct conn *c = connected(7, "abc");
	char buf[8];

	ck_assert_uint_eq(conn_rx_peek(c, 0, buf, 3), 3);
	fake_data(&k.s[0], 7, 3, "d");
	fake_pump(&k);
	ck_assert_int_eq(direct_send(g, c, 3, NULL, 0), 0);
	ck_assert_int_eq(direct_changes(g, ev, 8), 1);
	ck_assert_uint_eq(ev[0].cd, c->cd);
}
END_TEST

START_TEST(test_bytes_are_read_on_by_position)
{
	struct conn *c = connected(7, "abcdef");
	struct frame f;
	char buf[8];

	ck_assert_uint_eq(conn_rx_peek(c, 0, buf, 4), 4);
	ck_assert_uint_eq(conn_rx_peek(c, 4, buf, 8), 2);
	ck_assert_mem_eq(buf, "ef", 2);
	ck_assert_uint_eq(conn_rx_peek(c, 6, buf, 8), 0);
	/* The reply acknowledges what of it the server has read. */
	ck_assert_int_eq(direct_send(g, c, 5, "answer", 6), 6);
	g->ops->flush(g);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.offset, 0);
	ck_assert_uint_eq(f.ackd, 5);
	ck_assert_uint_eq(f.length, 6);
	ck_assert_uint_eq(conn_rx_peek(c, 0, buf, 8), 1);
}
END_TEST

START_TEST(test_close_and_reset_of_the_client_are_changes)
{
	const struct frame eof = { .type = FRAME_EOF, .conn = 7, .offset = 3 };
	const struct frame reset = { .type = FRAME_RESET, .conn = 7 };
	struct conn *c = connected(7, "abc");

	fake_send(&k.s[0], eof, NULL, 0);
	fake_pump(&k);
	ck_assert_int_eq(direct_changes(g, ev, 8), 1);
	ck_assert(c->flags & CONN_F_EOF);
	fake_send(&k.s[0], reset, NULL, 0);
	fake_pump(&k);
	ck_assert_int_eq(direct_changes(g, ev, 8), 1);
	ck_assert(c->flags & CONN_F_RESET);
	ck_assert_int_eq(direct_send(g, c, 0, "x", 1), -ECONNRESET);
	ck_assert_int_eq(direct_shutdown(g, c), -ECONNRESET);
	direct_close(g, c, false);
	ck_assert_uint_eq(g->conns.n_used, 0);
}
END_TEST

START_TEST(test_room_after_a_short_send_is_a_change)
{
	static const char big[FAKE_WINDOW + 10];
	struct conn *c = connected(7, "abc");

	ck_assert_int_eq(direct_send(g, c, 0, big, sizeof(big)), FAKE_WINDOW);
	ck_assert_int_eq(direct_changes(g, ev, 8), 0);
	fake_credit(&k.s[0], 7, FAKE_WINDOW + 1000, 0);
	fake_pump(&k);
	ck_assert_int_eq(direct_changes(g, ev, 8), 1);
	ck_assert_uint_eq(ev[0].events, DIRECT_WRITE);
	ck_assert_int_eq(direct_send(g, c, 0, big, 10), 10);
}
END_TEST

START_TEST(test_nothing_is_sent_after_shutdown)
{
	struct conn *c = connected(7, "abc");
	struct frame f;
	char buf[4];

	ck_assert_int_eq(direct_shutdown(g, c), 0);
	ck_assert_int_eq(direct_shutdown(g, c), 0);
	ck_assert_uint_eq(conn_rx_peek(c, 0, buf, 3), 3);
	ck_assert_int_eq(direct_send(g, c, 3, "x", 1), -EPIPE);
	g->ops->flush(g);
	fake_expect(&k, &k.s[0], FRAME_FIN, NULL);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.ackd, 3);
	ck_assert_uint_eq(f.length, 0);
}
END_TEST

START_TEST(test_listeners_take_their_family)
{
	const struct frame_addr v6 = fake_addr(2, 6, 0);
	const struct frame open = { .type = FRAME_OPEN, .conn = 2 };
	struct conn *c;

	fake_first(&k.s[0], 1, 0, 0, "x");
	fake_send(&k.s[0], open, &v6, sizeof(v6));
	fake_pump(&k);
	c = direct_acceptable(g, DIRECT_IPV6);
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->family, 6);
	ck_assert_uint_eq(direct_acceptable(g, DIRECT_IPV4)->family, 4);
	direct_refuse(g, c);
	ck_assert_ptr_null(direct_acceptable(g, DIRECT_IPV6));
	g->ops->flush(g);
	ck_assert_uint_eq(fake_expect(&k, &k.s[0], FRAME_ABORT, NULL).conn, 2);
}
END_TEST

START_TEST(test_a_group_that_is_closed_to_new_ones_says_so)
{
	struct frame f;

	direct_set_open(g, true); /* nothing new */
	direct_set_open(g, false);
	direct_set_open(g, false);
	g->ops->flush(g);
	f = fake_expect(&k, &k.s[0], FRAME_DRAIN, NULL);
	ck_assert_uint_eq(f.conn, 0);
	ck_assert_uint_eq(f.aux, 0);
	/* The next stream hears of it, too. */
	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	fake_expect(&k, &k.s[0], FRAME_DRAIN, NULL);
	fake_resumed(&k, &k.s[0]);
	direct_set_open(g, true);
	g->ops->flush(g);
	ck_assert_uint_eq(fake_expect(&k, &k.s[0], FRAME_DRAIN, NULL).aux, 1);
}
END_TEST

START_TEST(test_local_addresses_are_remembered_once)
{
	struct conn *a = connected(1, "x"), *b = connected(2, "x");
	const struct group_local *local = group_local(g, a->local_number);

	ck_assert_ptr_nonnull(local);
	ck_assert_uint_eq(local->port, 5222);
	ck_assert_uint_eq(local->family, 4);
	ck_assert_uint_eq(a->local_number, b->local_number);
	ck_assert_ptr_null(group_local(g, 0));
	ck_assert_ptr_null(group_local(g, 2));
}
END_TEST

START_TEST(test_local_addresses_are_bounded)
{
	struct group_local local = { .family = 4 };

	for (uint32_t i = 0; i < GROUP_LOCALS_MAX; i++) {
		local.port = (uint16_t)i;
		ck_assert_uint_eq(group_local_number(g, &local), i + 1);
	}
	local.port = 9999;
	ck_assert_uint_eq(group_local_number(g, &local), 0);
	local.port = 3;
	ck_assert_uint_eq(group_local_number(g, &local), 4);
}
END_TEST

START_TEST(test_a_forked_child_says_nothing_on_its_parents_stream)
{
	struct conn *c = connected(7, "abc");
	char buf[4], byte;
	pid_t pid;
	int status;

	ck_assert_uint_eq(conn_rx_peek(c, 0, buf, 3), 3);
	ck_assert_int_eq(direct_send(g, c, 3, "answer", 6), 6); /* gathered */
	pid = fork();
	if (pid == 0) {
		direct_forget(g);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(recv(k.s[0].fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT),
			 -1);
	ck_assert_int_eq(errno, EAGAIN);
	/* The parent goes on. */
	g->ops->flush(g);
	ck_assert_uint_eq(fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).length,
			  6);
}
END_TEST

START_TEST(test_open_later_needs_no_daemon)
{
	struct sockaddr_storage ss;
	socklen_t len;

	close(k.listen_fd);
	k.listen_fd = -1;
	unlink(k.attach);
	ck_assert_int_eq(open_later(77, 5222, &g), 0);
	ck_assert_int_eq(link_attach_address(&ss, &len), 0);
	ck_assert_int_eq(g->links[0]->state, LINK_DOWN);
	ck_assert_int_eq(g->links[0]->error, -ENOENT);
	ck_assert_uint_ne(g->links[0]->due_ms, 0);
	group_free(g);
}
END_TEST

START_TEST(test_open_later_dials_all_workers)
{
	k.workers = 3;
	k.first_worker = 1;
	ck_assert_int_eq(open_later(77, 5222, &g), 0);
	adopt();
	fake_accept(&k, &k.s[1]);
	fake_handshake(&k, &k.s[1], 1);
	/* The others, in some order. */
	for (int i = 0; i < 2; i++) {
		struct fake_stream s;
		const uint8_t *payload;
		struct frame_hello hello;
		struct frame f;

		fake_accept(&k, &s);
		f = fake_expect(&k, &s, FRAME_HELLO, &payload);
		ck_assert_uint_ge(f.length, sizeof(hello));
		memcpy(&hello, payload, sizeof(hello));
		ck_assert_uint_eq(be16_get(hello.worker) % 2, 0);
		k.s[be16_get(hello.worker)] = s;
	}
	ck_assert_int_ge(k.s[0].fd, 0);
	ck_assert_int_ge(k.s[2].fd, 0);
}
END_TEST

/* --- probing --- */

static int probe_rc, probe_why;

static void *prober(void *arg)
{
	(void)arg;
	probe_rc = open_probe(77, 5222, &probe_why);
	return NULL;
}

static void probe_begin(pthread_t *ret_thread)
{
	ck_assert_int_eq(pthread_create(ret_thread, NULL, prober, NULL), 0);
	fake_accept(&k, &k.s[0]);
}

START_TEST(test_probe_finds_the_group_and_takes_no_connection)
{
	pthread_t t;

	probe_begin(&t);
	fake_handshake(&k, &k.s[0], 0);
	ck_assert_int_eq(pthread_join(t, NULL), 0);
	ck_assert_int_eq(probe_rc, 0);
	/* Who resumes is given none before its PING, which never comes. */
	ck_assert_uint_eq(k.s[0].hello_flags, FRAME_HELLO_RESUMES);
	fake_expect_close(&k, &k.s[0]);
}
END_TEST

START_TEST(test_probe_says_that_there_is_no_group)
{
	const struct frame_hello hello = {
		.magic = be32_put(FRAME_MAGIC),
		.version = be16_put(FRAME_VERSION),
		.workers = be16_put(1),
		.max_payload = be32_put(FRAME_PAYLOAD_MAX),
		.conn_window = be32_put(FAKE_WINDOW),
	};
	const struct frame error = { .type = FRAME_ERROR,
				     .flags = FRAME_F_FATAL,
				     .aux = ENOENT };
	pthread_t t;

	probe_begin(&t);
	fake_expect(&k, &k.s[0], FRAME_HELLO, NULL);
	fake_send(&k.s[0], (struct frame){ .type = FRAME_HELLO }, &hello,
		  sizeof(hello));
	fake_expect(&k, &k.s[0], FRAME_ATTACH, NULL);
	fake_send(&k.s[0], error, NULL, 0);
	ck_assert_int_eq(pthread_join(t, NULL), 0);
	ck_assert_int_eq(probe_rc, -ENOENT);
}
END_TEST

START_TEST(test_probe_says_that_there_is_no_daemon)
{
	unlink(k.attach);
	ck_assert_int_eq(open_probe(77, 5222, &probe_why), -ENOTCONN);
	ck_assert_int_eq(probe_why, -ENOENT);
}
END_TEST

START_TEST(test_probe_says_that_it_was_hung_up_on)
{
	pthread_t t;

	probe_begin(&t);
	fake_drop(&k.s[0]);
	ck_assert_int_eq(pthread_join(t, NULL), 0);
	ck_assert_int_eq(probe_rc, -ENOTCONN);
	/* Reading or writing finds it first. */
	ck_assert(probe_why == -ECONNRESET || probe_why == -EPIPE);
}
END_TEST

UNIT_MAIN("lib/direct",
	  UNIT_CASE("open", setup_open, teardown, test_changes_are_told_once,
		    test_acknowledging_hides_no_change_that_was_not_told,
		    test_bytes_are_read_on_by_position,
		    test_close_and_reset_of_the_client_are_changes,
		    test_room_after_a_short_send_is_a_change,
		    test_nothing_is_sent_after_shutdown,
		    test_listeners_take_their_family,
		    test_a_group_that_is_closed_to_new_ones_says_so,
		    test_local_addresses_are_remembered_once,
		    test_local_addresses_are_bounded,
		    test_a_forked_child_says_nothing_on_its_parents_stream),
	  UNIT_CASE("opening", setup, teardown, test_open_later_needs_no_daemon,
		    test_open_later_dials_all_workers,
		    test_probe_finds_the_group_and_takes_no_connection,
		    test_probe_says_that_there_is_no_group,
		    test_probe_says_that_there_is_no_daemon,
		    test_probe_says_that_it_was_hung_up_on))
