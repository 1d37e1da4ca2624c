/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients and servers of protocol "stream" that do anything at any time, by a
 * seed, and processes that are killed.
 *
 * What a client sends is a sequence of numbered records, and servers send each
 * record back. So it can be told whether one was lost, repeated or given to
 * somebody else: no connection of a client gets records out of order, whatever
 * happens, and a server's connection begins with a whole one.
 *
 * RANDOM_SEED in the environment is added to the seeds, for longer runs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit.h"
#include "base/units.h"
#include "daemon/plain_link.h"
#include "server.h"

#define SEEDS 40
#define STEPS 600
#define CLIENTS 8
#define ENDS 64 /* of servers */
#define IDLE_MS 300

struct record {
	uint32_t who, number;
};

struct client {
	struct rig_client rig;
	bool alive; /* connected, and neither side has said anything of an end */
	uint32_t id; /* another one for each connection */
	uint32_t sent, got; /* records */
	uint8_t part[sizeof(struct record)];
	uint32_t part_bytes;
};

/* A connection that a server accepted. */
struct end {
	int fd; /* -1: none */
	uint8_t buf[4096];
	size_t bytes;
	uint32_t who,
		next; /* whose it is, and the next record's number; 0: not known */
};

static struct client clients[CLIENTS];
static struct end ends[ENDS];
static uint32_t last_id;

static unsigned any(unsigned n)
{
	return (unsigned)random() % n;
}

static bool one_in(unsigned n)
{
	return any(n) == 0;
}

/* --- clients ------------------------------------------------------------ */

static void client_record(struct client *c)
{
	struct record r;

	memcpy(&r, c->part, sizeof(r));
	ck_assert_uint_eq(r.who, c->id);
	ck_assert_uint_eq(r.number, c->got + 1);
	ck_assert_uint_le(r.number, c->sent);
	c->got++;
}

static void client_packet(struct client *c, const struct rig_out *out)
{
	if (out->flags & TH_RST)
		c->alive = false;
	if (out->seq != c->rig.rcv_nxt)
		return;
	for (uint32_t i = 0; i < out->len; i++) {
		c->part[c->part_bytes++] = out->payload[i];
		if (c->part_bytes == sizeof(struct record)) {
			client_record(c);
			c->part_bytes = 0;
		}
	}
	c->rig.rcv_nxt += out->len;
	if (out->flags & TH_FIN) {
		c->rig.rcv_nxt++;
		c->alive = false;
	}
}

/* What the stack sent, to whom it is for; they acknowledge it. */
static void clients_listen(void)
{
	while (rig.seen < rig.n_out) {
		const struct rig_out *out = &rig.out[rig.seen++ % RIG_OUT_MAX];

		for (int i = 0; i < CLIENTS; i++)
			if (clients[i].alive &&
			    clients[i].rig.port == out->dst_port)
				client_packet(&clients[i], out);
	}
	for (int i = 0; i < CLIENTS; i++)
		if (clients[i].alive)
			rig_ack(&clients[i].rig);
	peer_pump();
}

static void client_connect(struct client *c)
{
	clients_listen();
	rig.seen = rig.n_out;
	memset(c, 0, sizeof(*c));
	c->id = ++last_id;
	rig_connect(&c->rig, (uint16_t)(1000 + c->id));
	c->alive = true;
}

static void client_send(struct client *c)
{
	struct record r[4];
	uint32_t n = 1 + any(4);

	/* within the window of the rig's pool */
	if (c->sent - c->got > 200)
		return;
	for (uint32_t i = 0; i < n; i++)
		r[i] = (struct record){ c->id, ++c->sent };
	rig_send_bytes(&c->rig, r, n * (uint32_t)sizeof(r[0]));
	peer_pump();
}

static void client_act(void)
{
	struct client *c = &clients[any(CLIENTS)];

	if (!c->alive) {
		client_connect(c);
	} else if (one_in(25)) {
		peer_fin(&c->rig);
		c->alive = false;
	} else if (one_in(40)) {
		rig_input(&c->rig, &(struct rig_seg){ .flags = TH_RST,
						      .seq = c->rig.snd_nxt });
		c->alive = false;
	} else {
		client_send(c);
	}
	peer_pump();
}

/* --- servers ------------------------------------------------------------ */

static void ends_accept(void)
{
	for (int i = 0; i < SERVERS; i++) {
		for (int k = 0; k < ENDS; k++) {
			if (ends[k].fd >= 0)
				continue;
			if (!server_try_accept(&servers[i]))
				break;
			memset(&ends[k], 0, sizeof(ends[k]));
			ends[k].fd = servers[i].fd;
			servers[i].fd = -1;
		}
	}
}

static void end_close(struct end *e)
{
	close(e->fd);
	e->fd = -1;
}

/* Send all whole records back; the next ones follow those before. */
static void end_echo(struct end *e)
{
	size_t whole = e->bytes - e->bytes % sizeof(struct record);

	for (size_t at = 0; at < whole; at += sizeof(struct record)) {
		struct record r;

		memcpy(&r, e->buf + at, sizeof(r));
		if (!e->who)
			e->next = r.number;
		else
			ck_assert_uint_eq(r.who, e->who);
		ck_assert_uint_eq(r.number, e->next);
		e->who = r.who;
		e->next++;
	}
	if (whole && send(e->fd, e->buf, whole, MSG_NOSIGNAL) < 0) {
		end_close(e);
		return;
	}
	e->bytes -= whole;
	memmove(e->buf, e->buf + whole, e->bytes);
}

static void end_answer(struct end *e)
{
	ssize_t n;

	do {
		n = recv(e->fd, e->buf + e->bytes, sizeof(e->buf) - e->bytes,
			 0);
		if (n > 0) {
			e->bytes += (size_t)n;
			end_echo(e);
		}
	} while (n > 0 && e->fd >= 0);
	/* The client's end, or a quiet link's: it closes as well. */
	if (e->fd >= 0 && (n == 0 || errno != EAGAIN))
		end_close(e);
}

static void ends_answer(void)
{
	server_settle();
	ends_accept();
	for (int i = 0; i < ENDS; i++)
		if (ends[i].fd >= 0)
			end_answer(&ends[i]);
	server_settle();
	clients_listen();
}

static void end_act(void)
{
	const struct linger hard = { 1, 0 };
	struct end *e = &ends[any(ENDS)];

	ends_accept();
	if (e->fd < 0)
		return;
	if (one_in(20)) {
		setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		end_close(e);
	} else if (one_in(20)) {
		end_close(e);
	} else if (one_in(20)) {
		shutdown(e->fd, SHUT_WR);
	} else {
		end_answer(e);
	}
}

/* --- what must hold ----------------------------------------------------- */

static uint32_t check_backend(const struct backend *b)
{
	const struct plain_link *l;
	uint32_t n = 0, busy = 0;
	uint64_t moved_us = 0;

	for (l = b->plain.head; l; l = l->newer) {
		ck_assert_ptr_eq(l->backend, b);
		ck_assert_uint_ge(l->moved_us, moved_us);
		moved_us = l->moved_us;
		busy += l->busy;
		n++;
		if (plain_link_is_stale(l))
			continue;
		ck_assert_ptr_eq(plain_link_find(&gs, l->ri), l);
		ck_assert(plain_link_rec(l)->flags & REC_TOLD);
	}
	ck_assert_uint_eq(n, b->plain.n_links);
	ck_assert_uint_eq(busy, b->plain.n_busy);
	if (b->plain.max_links)
		ck_assert_uint_le(n, b->plain.max_links);
	return n;
}

static void check_all(void)
{
	const char *wrong = shard_check(&rig.shard);
	uint32_t links = 0, told = 0;

	ck_assert_msg(!wrong, "%s", wrong);
	for (const struct backend *b = gs.by_id[PEER_GROUP]->backends; b;
	     b = b->next)
		links += check_backend(b);
	ck_assert_uint_eq(links, gs.links.n);
	for (uint32_t ri = 0; ri < rig.shard.n_recs; ri++) {
		const struct rec *rec = &rig.shard.recs[ri];

		if (rec->state != TCP_FREE && rec->flags & REC_TOLD) {
			ck_assert_ptr_nonnull(plain_link_find(&gs, ri));
			told++;
		}
	}
	ck_assert_uint_le(told, links);
}

static bool all_answered(void)
{
	for (int i = 0; i < CLIENTS; i++)
		if (clients[i].alive && clients[i].got < clients[i].sent)
			return false;
	return true;
}

/* --- the test ----------------------------------------------------------- */

static void up(void)
{
	rig_max_connections = 1024;
	servers_up();
	memset(clients, 0, sizeof(clients));
	for (int i = 0; i < ENDS; i++)
		ends[i].fd = -1;
	last_id = 0;
}

static void down(void)
{
	for (int i = 0; i < ENDS; i++)
		if (ends[i].fd >= 0)
			close(ends[i].fd);
	servers_down();
}

/* bound: of links; it stays, as those beyond a smaller one would. */
static void configure(bool idle, uint32_t bound)
{
	for (int i = 0; i < SERVERS; i++) {
		server_confs[i].stream_idle_close_ms = idle ? IDLE_MS : 0;
		server_confs[i].streams = bound;
	}
	peer_setup.balance = (enum conf_balance)any(3);
	rig.group.ack = (uint8_t)any(3);
	servers_use(1 + any(SERVERS));
}

/* A server that is cut off in the middle of its answers: see xtcpd.conf(5). */
static void pass(uint64_t us)
{
	ends_answer();
	peer_pass_us(us);
	clients_listen();
}

static void kill_it(void)
{
	clients_listen();
	peer_kill();
	clients_listen();
	server_settle();
}

START_TEST(test_anything_at_any_time)
{
	const char *more = getenv("RANDOM_SEED");
	uint32_t bound;
	bool idle;

	srandom((unsigned)_i + (more ? (unsigned)atoi(more) : 0));
	idle = !one_in(3);
	/* Without the former, links may be taken for ever. */
	bound = idle && one_in(2) ? 2 + any(2) : 0;
	configure(idle, bound);
	for (int i = 0; i < STEPS; i++) {
		unsigned what = any(100);

		if (what < 55)
			client_act();
		else if (what < 80)
			end_act();
		else if (what < 88)
			ends_answer();
		else if (what < 96)
			pass(any(idle ? 2 * IDLE_MS : 50) * USEC_PER_MSEC);
		else if (what < 98)
			kill_it();
		else if (what < 99)
			configure(idle, bound);
		else
			clients_listen();
		clients_listen();
		check_all();
	}
	/* In the end each gets its answers, those that had to wait, too. */
	for (int i = 0; i < 40 && !all_answered(); i++)
		pass(2 * IDLE_MS * USEC_PER_MSEC);
	ck_assert_msg(all_answered(), "somebody waits for ever");
	check_all();
}
END_TEST

UNIT_MAIN("daemon/plain_random",
	  UNIT_LOOP("random", SEEDS, up, down, test_anything_at_any_time))
