/* SPDX-License-Identifier: BSD-2-Clause */
/* Backends of protocol "stream": flow control, quiet links, another process. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit.h"
#include "base/units.h"
#include "server.h"

static struct rig_client c1, c2;

static void up(void)
{
	servers_up();
	memset(&c1, 0, sizeof(c1));
	memset(&c2, 0, sizeof(c2));
}

static struct server *const s = &servers[0];

static uint32_t links(void)
{
	return gs.links.n;
}

static void expect_text(struct rig_client *cl, const char *text)
{
	const struct rig_out *out = rig_expect(cl, TH_ACK | TH_PSH);

	ck_assert_uint_eq(out->len, strlen(text));
	ck_assert_mem_eq(out->payload, text, out->len);
}

static void connected(struct rig_client *cl, uint16_t port, const char *ask)
{
	rig_connect(cl, port);
	peer_request(cl, ask);
	server_accept(s);
	rig_expect(cl, TH_ACK);
	server_expect_text(s, ask);
	server_send(s, "ok");
	expect_text(cl, "ok");
	rig_ack(cl);
	peer_pump();
}

/* --- flow control ------------------------------------------------------- */

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 31 + (at >> 8));
}

START_TEST(test_slow_client_stops_the_server)
{
	static uint8_t bulk[1 << 20];
	const uint64_t total = 3 * sizeof(bulk);
	uint64_t sent = 0, got = 0;
	uint32_t most = 0;

	connected(&c1, 1000, "get");
	for (int i = 0; i < 100000 && got < total; i++) {
		struct stack_conn_info info;
		ssize_t n;

		for (size_t j = 0; j < sizeof(bulk) && i % 64 == 0; j++)
			bulk[j] = pattern(sent + j);
		n = i % 64 == 0 && sent < total
			    ? send(s->fd, bulk,
				   min_u64(sizeof(bulk), total - sent),
				   MSG_NOSIGNAL)
			    : 0;
		sent += n > 0 ? (uint64_t)n : 0;
		peer_pump();
		stack_conn_info(rig.st, c1.ri, rig.now_us, &info);
		most = max_u32(most, info.snd_queued);
		while (rig.seen < rig.n_out) {
			const struct rig_out *out =
				&rig.out[rig.seen++ % RIG_OUT_MAX];

			if (out->seq != c1.rcv_nxt)
				continue;
			for (uint32_t j = 0; j < out->len; j++)
				ck_assert_uint_eq(out->payload[j],
						  pattern(got + j));
			got += out->len;
			c1.rcv_nxt += out->len;
		}
		rig_ack(&c1);
		peer_pump();
	}
	ck_assert_uint_eq(got, total);
	/* No more than a client may be ahead of (plain_link_room()). */
	ck_assert_uint_le(most, max_u32(2 * CONN_HALF_BYTES, 1 << 20));
	ck_assert_uint_gt(peer_counter(WC_plain_stalled), 0);
}
END_TEST

START_TEST(test_client_that_takes_nothing_holds_little)
{
	static uint8_t bulk[1 << 18];
	struct stack_conn_info info;
	ssize_t n, sent = 0;

	connected(&c1, 1000, "get");
	do {
		n = send(s->fd, bulk, sizeof(bulk), MSG_NOSIGNAL);
		sent += n > 0 ? n : 0;
		server_settle();
	} while (n > 0);
	stack_conn_info(rig.st, c1.ri, rig.now_us, &info);
	ck_assert_uint_le(info.snd_queued, 2 * CONN_HALF_BYTES);
	ck_assert_int_gt(sent, (ssize_t)info.snd_queued);
	ck_assert_uint_eq(peer_counter(WC_plain_stalled), 1);
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_slow_server_stops_the_client)
{
	static char chunk[1001];
	uint64_t written;

	server_small_buffer(s);
	connected(&c1, 1000, "get");
	memset(chunk, 'x', sizeof(chunk) - 1);
	for (int i = 0; i < 4000; i++) {
		struct stack_conn_info info;

		peer_request(&c1, chunk);
		stack_conn_info(rig.st, c1.ri, rig.now_us, &info);
		if (info.rcv_held > 0)
			break;
	}
	server_settle();
	/* What the server's kernel did not take is not acknowledged. */
	written = rig_rec(&c1)->rcv_off;
	ck_assert_uint_lt(written, c1.snd_nxt - c1.iss - 1);
	ck_assert_uint_eq(rig.out[(rig.n_out - 1) % RIG_OUT_MAX].ack,
			  c1.iss + 1 + (uint32_t)written);
	for (int i = 0;
	     i < 4000 && rig_rec(&c1)->rcv_off < c1.snd_nxt - c1.iss - 1; i++) {
		uint8_t buf[65536];

		(void)!recv(s->fd, buf, sizeof(buf), 0);
		server_settle();
	}
	ck_assert_uint_eq(rig_rec(&c1)->rcv_off, c1.snd_nxt - c1.iss - 1);
	rig.seen = rig.n_out;
}
END_TEST

/* --- stream-idle-close -------------------------------------------------- */

static void up_idle(void)
{
	up();
	server_confs[0].stream_idle_close_ms = 1000;
	servers_use(1);
}

START_TEST(test_quiet_link_is_closed_and_opened_anew)
{
	connected(&c1, 1000, "get");
	peer_pass_us(900 * USEC_PER_MSEC);
	ck_assert_uint_eq(links(), 1);
	peer_pass_us(300 * USEC_PER_MSEC);
	ck_assert_uint_eq(links(), 0);
	server_expect_end(s);
	rig_expect_nothing();
	/* An idle connection is its record. */
	ck_assert_ptr_null(rig_blk(&c1));
	ck_assert(!(rig_rec(&c1)->flags & REC_TOLD));
	ck_assert_uint_eq(peer_counter(WC_plain_idle_closed), 1);
	peer_request(&c1, "again");
	server_accept(s);
	server_expect_text(s, "again");
	rig_expect(&c1, TH_ACK);
	server_send(s, "yes");
	expect_text(&c1, "yes");
	ck_assert_uint_eq(peer_counter(WC_plain_reopened), 1);
}
END_TEST

START_TEST(test_unanswered_request_keeps_the_link)
{
	connected(&c1, 1000, "get");
	peer_request(&c1, "slow");
	rig_expect(&c1, TH_ACK);
	peer_pass_us(5 * USEC_PER_SEC);
	ck_assert_uint_eq(links(), 1);
	server_expect_text(s, "slow");
	server_send(s, "done");
	expect_text(&c1, "done");
	/* Nor is it quiet before the client has it. */
	peer_pass_us(3 * USEC_PER_SEC);
	ck_assert_uint_eq(links(), 1);
	rig_ack(&c1);
	peer_pump();
	peer_pass_us(1200 * USEC_PER_MSEC);
	ck_assert_uint_eq(links(), 0);
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_quiet_client_that_ends_opens_nothing)
{
	connected(&c1, 1000, "get");
	peer_pass_us(1200 * USEC_PER_MSEC);
	server_expect_end(s);
	peer_fin(&c1);
	rig_expect(&c1, TH_ACK);
	rig_expect(&c1, TH_FIN | TH_ACK);
	server_expect_none(s);
}
END_TEST

/* Which of them was connected to; the other was not. */
static struct server *who(void)
{
	struct server *a = &servers[0], *b = &servers[1];
	bool first;

	server_settle();
	first = server_try_accept(a);
	ck_assert(server_try_accept(b) != first);
	return first ? a : b;
}

/* The answer, and then nothing until the link is closed. */
static void answer_and_rest(struct server *server, struct rig_client *cl)
{
	server_send(server, "ok");
	cl->rcv_nxt += 2;
	rig_ack(cl);
	peer_pass_us(1300 * USEC_PER_MSEC);
	server_close(server);
	rig.seen = rig.n_out;
}

START_TEST(test_sticky_comes_back_to_its_backend)
{
	struct server *had;

	server_confs[1].stream_idle_close_ms = 1000;
	servers_use(2);
	rig_connect(&c1, 1000);
	peer_request(&c1, "get");
	had = who();
	answer_and_rest(had, &c1);
	for (uint16_t i = 0; i < 3; i++) {
		struct rig_client other = { 0 };

		ck_assert_uint_eq(links(), 0);
		/* One takes the turn in between. */
		rig_connect(&other, (uint16_t)(2000 + i));
		peer_request(&other, "get");
		answer_and_rest(who(), &other);
		peer_request(&c1, "again");
		ck_assert_ptr_eq(who(), had);
		answer_and_rest(had, &c1);
	}
}
END_TEST

/* --- another process ---------------------------------------------------- */

/* Killed, or stopped in order. */
START_TEST(test_kill_resets_who_has_a_link)
{
	connected(&c1, 1000, "get");
	if (_i == 0)
		peer_kill();
	else
		peer_restart();
	rig_expect(&c1, TH_RST | TH_ACK);
	ck_assert_uint_eq(peer_counter(WC_plain_lost), 1);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
}
END_TEST

START_TEST(test_kill_does_not_touch_who_is_quiet)
{
	connected(&c1, 1000, "get");
	peer_pass_us(1200 * USEC_PER_MSEC);
	server_expect_end(s);
	peer_kill();
	rig_expect_nothing();
	ck_assert_uint_eq(peer_counter(WC_plain_lost), 0);
	peer_request(&c1, "again");
	server_accept(s);
	server_expect_text(s, "again");
	rig_expect(&c1, TH_ACK);
}
END_TEST

START_TEST(test_kill_keeps_what_no_server_has_seen)
{
	server_confs[0].streams = 1;
	servers_use(1);
	connected(&c1, 1000, "one");
	rig_connect(&c2, 1001);
	peer_request(&c2, "two");
	server_expect_none(s);
	peer_kill();
	rig.seen = rig.n_out;
	server_accept(s);
	server_expect_text(s, "two");
	server_settle();
	ck_assert_uint_eq(rig_rec(&c2)->rcv_off, 3);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_kill_before_the_greeting_connects_anew)
{
	rig.group.announce = true;
	server_confs[0].stream_idle_close_ms = 0;
	servers_use(1);
	rig_connect(&c1, 1000);
	server_accept(s);
	peer_kill();
	rig.seen = rig.n_out;
	server_accept(s);
	server_send(s, "hello");
	expect_text(&c1, "hello");
}
END_TEST

START_TEST(test_kill_with_the_clients_end_untold)
{
	connected(&c1, 1000, "get");
	peer_pass_us(1200 * USEC_PER_MSEC);
	/* The stack has it, the daemon has not looked yet. */
	rig_input(&c1, &(struct rig_seg){ .flags = TH_FIN | TH_ACK,
					  .seq = c1.snd_nxt,
					  .ack = c1.rcv_nxt });
	c1.snd_nxt++;
	rig.seen = rig.n_out;
	peer_kill();
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_LAST_ACK);
	rig.seen = rig.n_out;
}
END_TEST

/* Its backends spoke frames once, had many streams, and "reset-all" was set. */
START_TEST(test_streams_that_a_group_had_once_are_nothing_to_it)
{
	uint64_t *owners =
		rig.shard.slot_owners + (size_t)PEER_GROUP * ARENA_SLOTS;

	peer_setup.on_loss = CONF_LOSS_RESET_ALL;
	servers_use(1);
	for (uint32_t i = 2; i < ARENA_SLOTS; i++)
		owners[i] = BACKEND_GONE;
	peer_kill();
	connected(&c1, 1000, "get");
	peer_request(&c1, "again");
	rig_expect(&c1, TH_ACK);
	server_expect_text(s, "again");
	ck_assert_uint_eq(peer_counter(WC_loss_reset), 0);
	ck_assert(!gs.by_id[PEER_GROUP]->sweeping);
}
END_TEST

/* --- odd ends ----------------------------------------------------------- */

/*
 * Acknowledged at once, both sides have closed, and the server has not taken
 * all: the stack lets go of the record without a word.
 */
START_TEST(test_link_that_outlives_its_record)
{
	static char chunk[1001];

	rig.group.ack = STACK_ACK_IMMEDIATE;
	servers_use(1);
	server_small_buffer(s);
	rig_connect(&c1, 1000);
	peer_request(&c1, "get");
	server_accept(s);
	memset(chunk, 'x', sizeof(chunk) - 1);
	for (int i = 0; i < 4000; i++) {
		struct stack_conn_info info;

		peer_request(&c1, chunk);
		stack_conn_info(rig.st, c1.ri, rig.now_us, &info);
		if (info.rcv_held > 2000)
			break;
	}
	peer_fin(&c1);
	ck_assert_int_eq(shutdown(s->fd, SHUT_WR), 0);
	server_settle();
	peer_pass_us(100 * USEC_PER_MSEC);
	c1.rcv_nxt++;
	rig_ack(&c1);
	peer_pump();
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
	ck_assert_uint_eq(links(), 1);
	rig.seen = rig.n_out;
	/* The record is another's now. */
	rig_connect(&c2, 1001);
	ck_assert_uint_eq(c2.ri, c1.ri);
	peer_request(&c2, "other");
	rig.seen = rig.n_out;
	server_settle();
	ck_assert_uint_eq(links(), 1);
	server_accept(s);
	server_expect_text(s, "other");
	rig.seen = rig.n_out;
}
END_TEST

UNIT_MAIN("daemon/plain_flow",
	  UNIT_CASE("flow", up, servers_down, test_slow_client_stops_the_server,
		    test_client_that_takes_nothing_holds_little,
		    test_slow_server_stops_the_client,
		    test_link_that_outlives_its_record),
	  UNIT_CASE("idle", up_idle, servers_down,
		    test_quiet_link_is_closed_and_opened_anew,
		    test_unanswered_request_keeps_the_link,
		    test_quiet_client_that_ends_opens_nothing,
		    test_sticky_comes_back_to_its_backend),
	  UNIT_LOOP("stop", 2, up_idle, servers_down,
		    test_kill_resets_who_has_a_link),
	  UNIT_CASE("kill", up_idle, servers_down,
		    test_kill_does_not_touch_who_is_quiet,
		    test_kill_keeps_what_no_server_has_seen,
		    test_kill_before_the_greeting_connects_anew,
		    test_streams_that_a_group_had_once_are_nothing_to_it,
		    test_kill_with_the_clients_end_untold))
