/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Backends of protocol "stream": clients made of packets, servers made of
 * sockets.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit.h"
#include "base/units.h"
#include "daemon/bstream.h"
#include "peer.h"

#define SERVERS 2

/* A listening socket, and the connection that was accepted last. */
struct server {
	int listener, fd;
	uint16_t port;
};

static struct server servers[SERVERS];
static struct conf_backend confs[SERVERS];
static struct rig_client c1, c2, c3;

/* Let what is under way arrive: loopback is quick, but not at once. */
static void settle(void)
{
	for (int i = 0; i < 5; i++) {
		usleep(200);
		peer_pump();
	}
}

static void server_listen(struct server *s)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t len = sizeof(in);
	int one = 1;

	s->fd = -1;
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in.sin_port = htons(s->port);
	ck_assert_int_eq(setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one,
				    sizeof(one)),
			 0);
	ck_assert_int_eq(bind(s->listener, (struct sockaddr *)&in, sizeof(in)),
			 0);
	ck_assert_int_eq(listen(s->listener, 8), 0);
	ck_assert_int_eq(getsockname(s->listener, (struct sockaddr *)&in, &len),
			 0);
	s->port = ntohs(in.sin_port);
}

/* Connections to it are refused from now on. */
static void server_gone(struct server *s)
{
	close(s->listener);
	s->listener = -1;
}

static bool server_try_accept(struct server *s)
{
	int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK);

	if (fd < 0)
		return false;
	s->fd = fd;
	return true;
}

static void server_accept(struct server *s)
{
	settle();
	ck_assert_msg(server_try_accept(s), "no connection to the server");
}

static void server_expect_none(struct server *s)
{
	settle();
	ck_assert_msg(!server_try_accept(s), "a connection to the server");
}

static void server_expect(struct server *s, const void *want, size_t n)
{
	uint8_t got[512];

	settle();
	ck_assert_int_eq(recv(s->fd, got, sizeof(got), 0), (ssize_t)n);
	ck_assert_mem_eq(got, want, n);
}

static void server_expect_text(struct server *s, const char *text)
{
	server_expect(s, text, strlen(text));
}

static void server_expect_end(struct server *s)
{
	uint8_t got[1];

	settle();
	ck_assert_int_eq(recv(s->fd, got, sizeof(got), 0), 0);
}

static void server_expect_reset(struct server *s)
{
	uint8_t got[1];

	settle();
	ck_assert_int_eq(recv(s->fd, got, sizeof(got), 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
}

static void server_send(struct server *s, const char *text)
{
	ck_assert_int_eq(send(s->fd, text, strlen(text), MSG_NOSIGNAL),
			 (ssize_t)strlen(text));
	settle();
}

static void server_close(struct server *s)
{
	close(s->fd);
	s->fd = -1;
	settle();
}

static void server_abort(struct server *s)
{
	const struct linger hard = { 1, 0 };

	setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	server_close(s);
}

/* --- set-up ------------------------------------------------------------- */

static void use_backends(uint32_t n)
{
	peer_setup.protocol = CONF_PROTOCOL_STREAM;
	peer_setup.backends = confs;
	peer_setup.n_backends = n;
	peer_group();
}

static void up(void)
{
	peer_up();
	/* Another protocol is another group. */
	groups_remove(&gs, PEER_GROUP);
	memset(&c1, 0, sizeof(c1));
	memset(&c2, 0, sizeof(c2));
	memset(&c3, 0, sizeof(c3));
	for (int i = 0; i < SERVERS; i++) {
		struct conf_backend *b = &confs[i];

		servers[i].port = 0;
		server_listen(&servers[i]);
		*b = (struct conf_backend){ .protocol = CONF_PROTOCOL_STREAM };
		snprintf(b->name, sizeof(b->name), "s%d", i);
		snprintf(b->address, sizeof(b->address), "tcp:127.0.0.1:%u",
			 servers[i].port);
	}
	use_backends(1);
}

static void down(void)
{
	for (int i = 0; i < SERVERS; i++) {
		if (servers[i].fd >= 0)
			close(servers[i].fd);
		if (servers[i].listener >= 0)
			close(servers[i].listener);
	}
	peer_down();
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

/* The client asks, the server answers, all is acknowledged. */
static void exchange(struct rig_client *cl, const char *ask, const char *answer)
{
	peer_request(cl, ask);
	rig_expect(cl, TH_ACK);
	server_expect_text(s, ask);
	server_send(s, answer);
	expect_text(cl, answer);
	rig_ack(cl);
	peer_pump();
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

/* --- opening ------------------------------------------------------------ */

START_TEST(test_first_byte_opens)
{
	rig_connect(&c1, 1000);
	server_expect_none(s);
	ck_assert(!(rig_rec(&c1)->flags & REC_TOLD));
	peer_request(&c1, "get");
	server_accept(s);
	server_expect_text(s, "get");
	/* The write counts as processed, also with ack = "deferred". */
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK)->ack, c1.snd_nxt);
	ck_assert_uint_eq(rig_rec(&c1)->rcv_off, 3);
	server_send(s, "answer");
	expect_text(&c1, "answer");
	ck_assert_uint_eq(peer_counter(WC_plain_connects), 1);
}
END_TEST

START_TEST(test_header_comes_first)
{
	const struct tuple t = { 0 };
	uint8_t want[28 + 3] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51,
				 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11, 0,	   12 };
	struct tuple tuple = t;

	confs[0].proxy = CONF_PROXY_V2;
	use_backends(1);
	rig_connect(&c1, 1000);
	shard_rec_tuple(rig.st->sh, c1.ri, &tuple);
	memcpy(want + 16, tuple.remote, 4);
	memcpy(want + 20, (uint8_t[]){ 192, 0, 2, 10 }, 4);
	memcpy(want + 24, (uint8_t[]){ 1000 >> 8, 1000 & 255 }, 2);
	memcpy(want + 26, (uint8_t[]){ RIG_PORT >> 8, RIG_PORT & 255 }, 2);
	memcpy(want + 28, "get", 3);
	peer_request(&c1, "get");
	server_accept(s);
	server_expect(s, want, sizeof(want));
}
END_TEST

START_TEST(test_announce_opens_at_once)
{
	rig.group.announce = true;
	confs[0].proxy = CONF_PROXY_V1;
	use_backends(1);
	rig_connect(&c1, 1000);
	server_accept(s);
	server_expect_text(s,
			   "PROXY TCP4 198.51.100.7 192.0.2.10 1000 5222\r\n");
	server_send(s, "220 hello");
	expect_text(&c1, "220 hello");
}
END_TEST

START_TEST(test_held_syn_is_answered_when_the_server_is_reached)
{
	rig.group.accept = STACK_ACCEPT_APPLICATION;
	use_backends(1);
	rig_client(&c1, 1000);
	rig_input(&c1, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = c1.iss,
					  .syn_options = true });
	rig_expect_nothing();
	server_accept(s);
	ck_assert_uint_eq(rig_expect(&c1, TH_SYN | TH_ACK)->ack, c1.iss + 1);
}
END_TEST

START_TEST(test_held_syn_is_refused_when_no_server_is_reached)
{
	server_gone(s);
	rig.group.accept = STACK_ACCEPT_APPLICATION;
	use_backends(1);
	rig_client(&c1, 1000);
	rig_input(&c1, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = c1.iss,
					  .syn_options = true });
	settle();
	rig_expect(&c1, TH_RST | TH_ACK);
	ck_assert_uint_eq(peer_counter(WC_plain_refused), 1);
	ck_assert_uint_eq(links(), 0);
}
END_TEST

START_TEST(test_next_backend_when_one_refuses)
{
	server_gone(&servers[0]);
	use_backends(2);
	for (uint16_t i = 0; i < 4; i++) {
		struct rig_client cl = { 0 };

		rig_connect(&cl, (uint16_t)(1000 + i));
		peer_request(&cl, "get");
		server_accept(&servers[1]);
		server_expect_text(&servers[1], "get");
		server_close(&servers[1]);
		rig.seen = rig.n_out;
	}
	/* It is left alone for a while. */
	ck_assert_uint_eq(peer_counter(WC_backend_connect_failed), 1);
	ck_assert_uint_eq(peer_counter(WC_plain_refused), 0);
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_client_is_reset_when_all_refuse)
{
	server_gone(&servers[0]);
	server_gone(&servers[1]);
	use_backends(2);
	rig_connect(&c1, 1000);
	peer_request(&c1, "get");
	settle();
	rig_expect(&c1, TH_RST | TH_ACK);
	ck_assert_uint_eq(peer_counter(WC_backend_connect_failed), 2);
	ck_assert_uint_eq(peer_counter(WC_plain_refused), 1);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
}
END_TEST

START_TEST(test_bound_makes_others_wait)
{
	confs[0].streams = 1;
	use_backends(1);
	connected(&c1, 1000, "one");
	rig_connect(&c2, 1001);
	peer_request(&c2, "two");
	server_expect_none(s);
	rig_expect_nothing(); /* not acknowledged */
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->waiting.n, 1);
	ck_assert_uint_eq(peer_counter(WC_conn_waited), 1);
	peer_pass_us(300 * USEC_PER_MSEC);
	rig_expect_nothing();
	server_close(s);
	rig_expect(&c1, TH_FIN | TH_ACK);
	rig_ack(&c1);
	peer_fin(&c1);
	rig_expect(&c1, TH_ACK);
	server_accept(s);
	server_expect_text(s, "two");
	rig_expect(&c2, TH_ACK);
	ck_assert_uint_eq(links(), 1);
}
END_TEST

START_TEST(test_waiting_client_that_goes_leaves_nothing)
{
	confs[0].streams = 1;
	use_backends(1);
	connected(&c1, 1000, "one");
	rig_connect(&c2, 1001);
	peer_request(&c2, "two");
	rig_input(&c2,
		  &(struct rig_seg){ .flags = TH_RST, .seq = c2.snd_nxt - 3 });
	peer_pump();
	ck_assert_uint_eq(rig_rec(&c2)->state, TCP_FREE);
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->waiting.n, 0);
}
END_TEST

/* --- balance ------------------------------------------------------------ */

static void ask_from(uint16_t port)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, port);
	peer_request(&cl, "x");
	settle();
	rig.seen = rig.n_out;
}

static uint32_t accepted(struct server *server)
{
	uint32_t n = 0;

	while (server_try_accept(server)) {
		close(server->fd); /* stays open at the other end */
		n++;
	}
	server->fd = -1;
	return n;
}

START_TEST(test_balance_takes_turns)
{
	peer_setup.balance = _i == 0 ? CONF_BALANCE_STICKY : CONF_BALANCE_ANY;
	use_backends(2);
	for (uint16_t i = 0; i < 6; i++)
		ask_from((uint16_t)(1000 + i));
	ck_assert_uint_eq(accepted(&servers[0]), 3);
	ck_assert_uint_eq(accepted(&servers[1]), 3);
	settle();
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_balance_least_counts_connections)
{
	peer_setup.balance = CONF_BALANCE_LEAST;
	use_backends(1);
	ask_from(1000);
	ask_from(1001);
	use_backends(2);
	ask_from(1002);
	ask_from(1003);
	ck_assert_uint_eq(accepted(&servers[0]), 2);
	ck_assert_uint_eq(accepted(&servers[1]), 2);
	settle();
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_drained_backend_gets_no_new_client)
{
	use_backends(2);
	ck_assert_uint_eq(groups_set_duty(&gs, "s1", BACKEND_DRAINS), 1);
	for (uint16_t i = 0; i < 4; i++)
		ask_from((uint16_t)(1000 + i));
	ck_assert_uint_eq(accepted(&servers[1]), 0);
	ck_assert_uint_eq(accepted(&servers[0]), 4);
	settle();
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_removed_backend_keeps_what_it_has)
{
	connected(&c1, 1000, "one");
	peer_setup.backends = confs + 1;
	peer_group();
	exchange(&c1, "two", "ok");
	rig_connect(&c2, 1001);
	peer_request(&c2, "x");
	server_accept(&servers[1]);
	rig_expect(&c2, TH_ACK);
	/* It is gone with its last connection. */
	server_close(s);
	peer_fin(&c1);
	rig.seen = rig.n_out;
	ck_assert_uint_eq(links(), 1);
	ck_assert_ptr_null(gs.by_id[PEER_GROUP]->backends->next);
}
END_TEST

/* --- ends --------------------------------------------------------------- */

START_TEST(test_clients_end_is_passed_on_after_its_bytes)
{
	rig_connect(&c1, 1000);
	rig_send(&c1, "get");
	peer_fin(&c1);
	server_accept(s);
	server_expect_text(s, "get");
	server_expect_end(s);
	rig.seen = rig.n_out;
	server_send(s, "late answer");
	expect_text(&c1, "late answer");
	rig_ack(&c1);
	server_close(s);
	rig_expect(&c1, TH_FIN | TH_ACK);
	rig_ack(&c1);
	peer_pump();
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
	ck_assert_uint_eq(links(), 0);
}
END_TEST

START_TEST(test_servers_end_is_passed_on_and_the_client_may_go_on)
{
	connected(&c1, 1000, "get");
	ck_assert_int_eq(shutdown(s->fd, SHUT_WR), 0);
	settle();
	rig_expect(&c1, TH_FIN | TH_ACK);
	rig_ack(&c1);
	peer_request(&c1, "more");
	server_expect_text(s, "more");
	rig_expect(&c1, TH_ACK);
	peer_fin(&c1);
	server_expect_end(s);
	rig_expect(&c1, TH_ACK);
	ck_assert_uint_eq(links(), 0);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_TIME_WAIT);
	ck_assert(rig_rec(&c1)->flags & REC_ORPHAN);
}
END_TEST

START_TEST(test_client_that_ends_without_a_word_opens_nothing)
{
	rig_connect(&c1, 1000);
	peer_fin(&c1);
	server_expect_none(s);
	rig_expect(&c1, TH_ACK);
	rig_expect(&c1, TH_FIN | TH_ACK);
}
END_TEST

START_TEST(test_servers_reset_is_the_clients)
{
	connected(&c1, 1000, "get");
	server_abort(s);
	rig_expect(&c1, TH_RST | TH_ACK);
	ck_assert_uint_eq(peer_counter(WC_plain_broken), 1);
	ck_assert_uint_eq(links(), 0);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
}
END_TEST

/* As a server does that refuses a request before it has read all of it. */
START_TEST(test_last_words_before_a_reset_reach_the_client)
{
	connected(&c1, 1000, "get");
	ck_assert_int_eq(send(s->fd, "413", 3, 0), 3);
	rig_send(&c1, "more"); /* unread when it closes */
	peer_pump();
	rig.seen = rig.n_out - 1;
	server_close(s);
	peer_request(&c1, "even more");
	settle();
	ck_assert_uint_eq(rig_rec(&c1)->snd_off, 2);
	ck_assert_mem_eq(rig.out[(rig.n_out - 1) % RIG_OUT_MAX].payload, "413",
			 3);
	c1.rcv_nxt += 3;
	rig_ack(&c1);
	peer_pump();
	ck_assert_uint_eq(rig.out[(rig.n_out - 1) % RIG_OUT_MAX].flags & TH_RST,
			  TH_RST);
	ck_assert_uint_eq(links(), 0);
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_clients_reset_is_the_servers)
{
	connected(&c1, 1000, "get");
	rig_input(&c1, &(struct rig_seg){ .flags = TH_RST, .seq = c1.snd_nxt });
	peer_pump();
	server_expect_reset(s);
	ck_assert_uint_eq(links(), 0);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
}
END_TEST

START_TEST(test_operator_closes)
{
	connected(&c1, 1000, "get");
	ck_assert_int_eq(
		groups_close_conn(
			&gs, frame_conn_id(0, rig_rec(&c1)->generation, c1.ri)),
		0);
	peer_pump();
	rig_expect(&c1, TH_FIN | TH_ACK);
	server_expect_reset(s);
	ck_assert_uint_eq(links(), 0);
}
END_TEST

START_TEST(test_group_that_goes_takes_its_links)
{
	connected(&c1, 1000, "get");
	groups_remove(&gs, PEER_GROUP);
	peer_pump();
	rig_expect(&c1, TH_RST | TH_ACK);
	server_expect_reset(s);
	ck_assert_uint_eq(links(), 0);
}
END_TEST

START_TEST(test_server_that_does_not_answer_is_given_up)
{
	peer_setup.backend_timeout_us = 2 * USEC_PER_SEC;
	use_backends(1);
	connected(&c1, 1000, "get");
	/* Quiet is not stuck. */
	peer_pass_us(5 * USEC_PER_SEC);
	rig_expect_nothing();
	peer_request(&c1, "again");
	rig_expect(&c1, TH_ACK);
	peer_pass_us(1500 * USEC_PER_MSEC);
	rig_expect_nothing();
	peer_pass_us(1000 * USEC_PER_MSEC);
	rig_expect(&c1, TH_RST | TH_ACK);
	ck_assert_uint_eq(peer_counter(WC_plain_stuck), 1);
}
END_TEST

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
		settle();
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
	int small = 4096;

	ck_assert_int_eq(setsockopt(s->listener, SOL_SOCKET, SO_RCVBUF, &small,
				    sizeof(small)),
			 0);
	connected(&c1, 1000, "get");
	memset(chunk, 'x', sizeof(chunk) - 1);
	for (int i = 0; i < 4000; i++) {
		struct stack_conn_info info;

		peer_request(&c1, chunk);
		stack_conn_info(rig.st, c1.ri, rig.now_us, &info);
		if (info.rcv_held > 0)
			break;
	}
	settle();
	/* What the server's kernel did not take is not acknowledged. */
	written = rig_rec(&c1)->rcv_off;
	ck_assert_uint_lt(written, c1.snd_nxt - c1.iss - 1);
	ck_assert_uint_eq(rig.out[(rig.n_out - 1) % RIG_OUT_MAX].ack,
			  c1.iss + 1 + (uint32_t)written);
	for (int i = 0;
	     i < 4000 && rig_rec(&c1)->rcv_off < c1.snd_nxt - c1.iss - 1; i++) {
		uint8_t buf[65536];

		(void)!recv(s->fd, buf, sizeof(buf), 0);
		settle();
	}
	ck_assert_uint_eq(rig_rec(&c1)->rcv_off, c1.snd_nxt - c1.iss - 1);
	rig.seen = rig.n_out;
}
END_TEST

/* --- stream-idle-close -------------------------------------------------- */

static void up_idle(void)
{
	up();
	confs[0].stream_idle_close_ms = 1000;
	use_backends(1);
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

	settle();
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

	confs[1].stream_idle_close_ms = 1000;
	use_backends(2);
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

START_TEST(test_kill_resets_who_has_a_link)
{
	connected(&c1, 1000, "get");
	peer_kill();
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
	confs[0].streams = 1;
	use_backends(1);
	connected(&c1, 1000, "one");
	rig_connect(&c2, 1001);
	peer_request(&c2, "two");
	server_expect_none(s);
	peer_kill();
	rig.seen = rig.n_out;
	server_accept(s);
	server_expect_text(s, "two");
	settle();
	ck_assert_uint_eq(rig_rec(&c2)->rcv_off, 3);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_kill_before_the_greeting_connects_anew)
{
	rig.group.announce = true;
	confs[0].stream_idle_close_ms = 0;
	use_backends(1);
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

/* --- odd ends ----------------------------------------------------------- */

/*
 * Acknowledged at once, both sides have closed, and the server has not taken
 * all: the stack lets go of the record without a word.
 */
START_TEST(test_link_that_outlives_its_record)
{
	static char chunk[1001];
	int small = 4096;

	rig.group.ack = STACK_ACK_IMMEDIATE;
	use_backends(1);
	ck_assert_int_eq(setsockopt(s->listener, SOL_SOCKET, SO_RCVBUF, &small,
				    sizeof(small)),
			 0);
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
	settle();
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
	settle();
	ck_assert_uint_eq(links(), 1);
	rig_client(&c3, 1002);
	server_accept(s);
	server_expect_text(s, "other");
	rig.seen = rig.n_out;
}
END_TEST

UNIT_MAIN("daemon/plain",
	  UNIT_CASE("open", up, down, test_first_byte_opens,
		    test_header_comes_first, test_announce_opens_at_once,
		    test_held_syn_is_answered_when_the_server_is_reached,
		    test_held_syn_is_refused_when_no_server_is_reached,
		    test_next_backend_when_one_refuses,
		    test_client_is_reset_when_all_refuse,
		    test_bound_makes_others_wait,
		    test_waiting_client_that_goes_leaves_nothing),
	  UNIT_LOOP("turns", 2, up, down, test_balance_takes_turns),
	  UNIT_CASE("balance", up, down, test_balance_least_counts_connections,
		    test_drained_backend_gets_no_new_client,
		    test_removed_backend_keeps_what_it_has),
	  UNIT_CASE("ends", up, down,
		    test_clients_end_is_passed_on_after_its_bytes,
		    test_servers_end_is_passed_on_and_the_client_may_go_on,
		    test_client_that_ends_without_a_word_opens_nothing,
		    test_servers_reset_is_the_clients,
		    test_last_words_before_a_reset_reach_the_client,
		    test_clients_reset_is_the_servers, test_operator_closes,
		    test_group_that_goes_takes_its_links,
		    test_server_that_does_not_answer_is_given_up,
		    test_link_that_outlives_its_record),
	  UNIT_CASE("flow", up, down, test_slow_client_stops_the_server,
		    test_client_that_takes_nothing_holds_little,
		    test_slow_server_stops_the_client),
	  UNIT_CASE("idle", up_idle, down,
		    test_quiet_link_is_closed_and_opened_anew,
		    test_unanswered_request_keeps_the_link,
		    test_quiet_client_that_ends_opens_nothing,
		    test_sticky_comes_back_to_its_backend),
	  UNIT_CASE("kill", up_idle, down, test_kill_resets_who_has_a_link,
		    test_kill_does_not_touch_who_is_quiet,
		    test_kill_keeps_what_no_server_has_seen,
		    test_kill_before_the_greeting_connects_anew,
		    test_kill_with_the_clients_end_untold))
