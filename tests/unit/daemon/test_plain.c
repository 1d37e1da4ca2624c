/* SPDX-License-Identifier: BSD-2-Clause */
/* Backends of protocol "stream": links that are opened, chosen and ended. */
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

	server_confs[0].proxy = CONF_PROXY_V2;
	servers_use(1);
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
	server_confs[0].proxy = CONF_PROXY_V1;
	servers_use(1);
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
	servers_use(1);
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
	servers_use(1);
	rig_client(&c1, 1000);
	rig_input(&c1, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = c1.iss,
					  .syn_options = true });
	server_settle();
	rig_expect(&c1, TH_RST | TH_ACK);
	ck_assert_uint_eq(peer_counter(WC_plain_refused), 1);
	ck_assert_uint_eq(links(), 0);
}
END_TEST

START_TEST(test_next_backend_when_one_refuses)
{
	server_gone(&servers[0]);
	servers_use(2);
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
	servers_use(2);
	rig_connect(&c1, 1000);
	peer_request(&c1, "get");
	server_settle();
	rig_expect(&c1, TH_RST | TH_ACK);
	ck_assert_uint_eq(peer_counter(WC_backend_connect_failed), 2);
	ck_assert_uint_eq(peer_counter(WC_plain_refused), 1);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
}
END_TEST

START_TEST(test_bound_makes_others_wait)
{
	server_confs[0].streams = 1;
	servers_use(1);
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
	server_confs[0].streams = 1;
	servers_use(1);
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
	server_settle();
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
	servers_use(2);
	for (uint16_t i = 0; i < 6; i++)
		ask_from((uint16_t)(1000 + i));
	ck_assert_uint_eq(accepted(&servers[0]), 3);
	ck_assert_uint_eq(accepted(&servers[1]), 3);
	server_settle();
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_balance_least_counts_connections)
{
	peer_setup.balance = CONF_BALANCE_LEAST;
	servers_use(1);
	ask_from(1000);
	ask_from(1001);
	servers_use(2);
	ask_from(1002);
	ask_from(1003);
	ck_assert_uint_eq(accepted(&servers[0]), 2);
	ck_assert_uint_eq(accepted(&servers[1]), 2);
	server_settle();
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_drained_backend_gets_no_new_client)
{
	servers_use(2);
	ck_assert_uint_eq(groups_set_duty(&gs, "s1", BACKEND_DRAINS), 1);
	for (uint16_t i = 0; i < 4; i++)
		ask_from((uint16_t)(1000 + i));
	ck_assert_uint_eq(accepted(&servers[1]), 0);
	ck_assert_uint_eq(accepted(&servers[0]), 4);
	server_settle();
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_removed_backend_keeps_what_it_has)
{
	connected(&c1, 1000, "one");
	peer_setup.backends = server_confs + 1;
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
	server_settle();
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
	server_settle();
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
	servers_use(1);
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

UNIT_MAIN("daemon/plain",
	  UNIT_CASE("open", up, servers_down, test_first_byte_opens,
		    test_header_comes_first, test_announce_opens_at_once,
		    test_held_syn_is_answered_when_the_server_is_reached,
		    test_held_syn_is_refused_when_no_server_is_reached,
		    test_next_backend_when_one_refuses,
		    test_client_is_reset_when_all_refuse,
		    test_bound_makes_others_wait,
		    test_waiting_client_that_goes_leaves_nothing),
	  UNIT_LOOP("turns", 2, up, servers_down, test_balance_takes_turns),
	  UNIT_CASE("balance", up, servers_down,
		    test_balance_least_counts_connections,
		    test_drained_backend_gets_no_new_client,
		    test_removed_backend_keeps_what_it_has),
	  UNIT_CASE("ends", up, servers_down,
		    test_clients_end_is_passed_on_after_its_bytes,
		    test_servers_end_is_passed_on_and_the_client_may_go_on,
		    test_client_that_ends_without_a_word_opens_nothing,
		    test_servers_reset_is_the_clients,
		    test_last_words_before_a_reset_reach_the_client,
		    test_clients_reset_is_the_servers, test_operator_closes,
		    test_group_that_goes_takes_its_links,
		    test_server_that_does_not_answer_is_given_up))
