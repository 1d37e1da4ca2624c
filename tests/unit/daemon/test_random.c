/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients and backends that do anything at any time, by a seed: after each
 * step the lists, the counts and the arena must agree. Backends tell lies
 * about connections, die, are drained; settings change under way.
 *
 * RANDOM_SEED in the environment is added to the seeds, for longer runs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit.h"
#include "base/units.h"
#include "daemon/bstream.h"
#include "peer.h"

#define SEEDS 60
#define STEPS 1500
#define CLIENTS 24
#define PEERS 4
#define CONNS 64
#define GIVEN 256
#define REPLY_MAX 6000

/* What a backend was given and may acknowledge. */
struct given {
	uint64_t conn, offset;
	uint32_t len;
};

static struct peer peers[PEERS];
static struct rig_client clients[CLIENTS];
static uint16_t next_port;
static uint64_t conns[CONNS];
static unsigned n_conns;
static struct given given[GIVEN];
static unsigned n_given;

/* Below n. */
static unsigned any(unsigned n)
{
	return (unsigned)random() % n;
}

static bool one_in(unsigned n)
{
	return any(n) == 0;
}

static void up(void)
{
	peer_up();
	memset(clients, 0, sizeof(clients));
	memset(peers, 0, sizeof(peers));
	for (int i = 0; i < PEERS; i++)
		peers[i].fd = -1;
	n_conns = n_given = 0;
	next_port = 1000;
}

static void down(void)
{
	for (int i = 0; i < PEERS; i++)
		if (peers[i].fd >= 0)
			peer_die(&peers[i]);
	peer_down();
}

/* --- what must hold ---------------------------------------------------- */

static void check_block(const struct group *g, uint32_t ri,
			const struct blk *blk)
{
	const struct rec *rec = &rig.shard.recs[ri];

	if (blk->app_flags & APP_INFLIGHT)
		ck_assert_ptr_nonnull(g->slots[rec->slot].stream);
	if (rec->flags & REC_ORPHAN || blk->flags & BLK_READY)
		return;
	if (blk->app_flags & ~APP_INFLIGHT)
		ck_assert_msg(blk->app_list, "due but on no list: state %u",
			      rec->state);
}

static void check_lists(void)
{
	const struct group *g = gs.by_id[PEER_GROUP];
	uint32_t listed = 0, inflight = 0, on_lists = g->waiting.n, counted = 0;

	for (uint32_t ri = 0; ri < rig.shard.n_recs; ri++) {
		const struct rec *rec = &rig.shard.recs[ri];
		const struct blk *blk;

		if (rec->state == TCP_FREE || rec->block == NIL)
			continue;
		blk = &rig.shard.blks[rec->block];
		check_block(g, ri, blk);
		listed += blk->app_list != APP_LIST_NONE;
		inflight += !!(blk->app_flags & APP_INFLIGHT);
	}
	for (uint32_t i = 0; i < g->n_live; i++) {
		on_lists += g->live[i]->waiting.n + g->live[i]->turn.n;
		counted += g->live[i]->inflight;
	}
	ck_assert_uint_eq(listed, on_lists);
	ck_assert_uint_eq(inflight, counted);
}

static void check_all(void)
{
	const char *wrong;

	peer_pump();
	check_lists();
	wrong = shard_check(&rig.shard);
	ck_assert_msg(!wrong, "%s", wrong);
}

/* --- backends ---------------------------------------------------------- */

static void backend_bury(struct peer *p)
{
	peer_die(p);
	p->gone = false;
}

static void backend_note(const struct frame *f)
{
	uint32_t addr =
		f->flags & FRAME_F_FIRST ? sizeof(struct frame_addr) : 0;

	if (f->conn && (f->type == FRAME_OPEN || f->type == FRAME_DATA ||
			f->type == FRAME_EOF))
		conns[n_conns++ % CONNS] = f->conn;
	if (f->type == FRAME_DATA)
		given[n_given++ % GIVEN] =
			(struct given){ f->conn, f->offset, f->length - addr };
}

static void backend_take(struct peer *p)
{
	while (peer_next(p)) {
		const struct frame pong = { .type = FRAME_PONG,
					    .offset = p->f.offset };

		backend_note(&p->f);
		if (p->f.type == FRAME_PING && one_in(2))
			peer_send(p, pong, NULL, 0);
	}
	if (p->gone)
		backend_bury(p);
}

static void backend_reply(struct frame *f)
{
	f->type = FRAME_REPLY;
	f->length = one_in(3) ? any(REPLY_MAX) : any(20);
	if (n_given) {
		const struct given *to = &given[any(min_u32(n_given, GIVEN))];

		f->conn = to->conn;
		f->offset = to->offset;
		f->ackd = one_in(2) ? to->len : any(to->len + 1);
	}
	if (one_in(8))
		f->flags = FRAME_F_AT;
}

static struct frame backend_frame(void)
{
	static const enum frame_type others[] = { FRAME_ACCEPT, FRAME_REJECT,
						  FRAME_CLOSE,	FRAME_FIN,
						  FRAME_ABORT,	FRAME_CREDIT,
						  FRAME_CREDIT, FRAME_CREDIT,
						  FRAME_PING };
	struct frame f = { .group = PEER_GROUP };
	unsigned i = any(20);

	f.conn = n_conns ? conns[any(min_u32(n_conns, CONNS))] : 0;
	if (i >= ARRAY_SIZE(others)) {
		backend_reply(&f);
		return f;
	}
	f.type = (uint8_t)others[i];
	if (f.type == FRAME_CREDIT)
		f.aux = any(300);
	if (f.type == FRAME_CREDIT || f.type == FRAME_PING)
		f.conn = 0;
	return f;
}

static void backend_say(struct peer *p)
{
	static uint8_t wire[FRAME_HEADER_BYTES + REPLY_MAX];
	struct frame f = backend_frame();
	size_t bytes = FRAME_HEADER_BYTES + f.length;
	ssize_t n;

	if (!f.conn && f.type != FRAME_CREDIT && f.type != FRAME_PING)
		return;
	frame_encode(&f, wire);
	n = send(p->fd, wire, bytes, MSG_NOSIGNAL);
	/* xtcpd may have closed it, or not read for long. */
	if (n >= 0 && (size_t)n != bytes)
		backend_bury(p);
	if (!one_in(3))
		peer_pump();
}

static void backend_act(void)
{
	struct peer *p = &peers[any(PEERS)];

	if (p->fd < 0) {
		if (one_in(3))
			peer_attach_credit(p, 1 + any(3),
					   one_in(2) ? 60 + any(200) : 100000);
	} else if (p->gone || one_in(60)) {
		backend_bury(p);
	} else if (one_in(3)) {
		backend_take(p);
	} else {
		backend_say(p);
	}
}

/* --- clients ----------------------------------------------------------- */

static void client_connect(struct rig_client *cl)
{
	rig_client(cl, next_port++);
	rig_input(cl, &(struct rig_seg){ .flags = TH_SYN,
					 .seq = cl->iss,
					 .syn_options = true });
	peer_pump();
}

static void client_act(void)
{
	static const char text[400] = { [0 ... 399] = 'a' };
	struct rig_client *cl = &clients[any(CLIENTS)];

	if (!cl->rig || one_in(30)) {
		client_connect(cl);
		return;
	}
	switch (any(8)) {
	case 0:
		rig_input(cl, &(struct rig_seg){ .flags = TH_RST,
						 .seq = cl->snd_nxt });
		break;
	case 1:
		rig_input(cl, &(struct rig_seg){ .flags = TH_FIN | TH_ACK,
						 .seq = cl->snd_nxt,
						 .ack = cl->rcv_nxt });
		cl->snd_nxt++;
		break;
	case 2:
	case 3:
		rig_ack(cl);
		break;
	default:
		rig_send_bytes(cl, text, 1 + any(one_in(3) ? 380 : 20));
		break;
	}
	if (!one_in(3))
		peer_pump();
}

static void client_take(struct rig_client *cl, const struct rig_out *out)
{
	if (out->flags & TH_SYN) {
		cl->srv_iss = out->seq;
		cl->srv_shift = out->wscale;
		cl->rcv_nxt = out->seq + 1;
		if (cl->snd_nxt == cl->iss)
			cl->snd_nxt = cl->iss + 1;
		rig_ack(cl);
	} else if (out->seq == cl->rcv_nxt && !one_in(4)) {
		cl->rcv_nxt += out->len + !!(out->flags & TH_FIN);
	}
}

static void clients_take(void)
{
	while (rig.seen < rig.n_out) {
		struct rig_out out = rig.out[rig.seen++ % RIG_OUT_MAX];

		for (int i = 0; i < CLIENTS; i++)
			if (clients[i].rig && clients[i].port == out.dst_port)
				client_take(&clients[i], &out);
	}
}

/* --- the operator ------------------------------------------------------ */

static void settings_any(void)
{
	rig.group.accept =
		one_in(2) ? STACK_ACCEPT_APPLICATION : STACK_ACCEPT_AUTO;
	peer_setup.balance = (enum conf_balance)any(3);
	peer_setup.on_loss = (enum conf_loss)any(3);
	peer_setup.backend_timeout_us = any(3) * USEC_PER_SEC;
	peer_group();
}

static void settings_first(void)
{
	rig.group.announce = one_in(2);
	rig.group.keepalive_us = one_in(2) ? 2 * USEC_PER_SEC : 0;
	rig.group.idle_timeout_us = one_in(3) ? 5 * USEC_PER_SEC : 0;
	rig.group.ack = (uint8_t)any(3);
	rig.st->limits.snd_queue_max = one_in(2) ? 5000 : 1 << 20;
	settings_any();
}

static void operator_act(void)
{
	struct backend *b = gs.by_id[PEER_GROUP]->backends;
	char name[16];

	if (one_in(200)) {
		snprintf(name, sizeof(name), "pid %u", 1 + any(3));
		groups_set_duty(&gs, name, (enum backend_duty)any(3));
	}
	if (one_in(100) && n_conns)
		groups_close_conn(&gs, conns[any(min_u32(n_conns, CONNS))]);
	if (one_in(100) && b)
		b->max_inflight = any(3);
	if (one_in(100))
		settings_any();
}

START_TEST(test_lists_and_counts_agree_whatever_happens)
{
	const char *first = getenv("RANDOM_SEED");

	srandom((unsigned)_i + (unsigned)(first ? atoi(first) : 0));
	settings_first();
	for (int n = 0; n < STEPS; n++) {
		if (one_in(2))
			backend_act();
		else
			client_act();
		clients_take();
		if (one_in(12))
			peer_pass_us(one_in(20) ? 3 * USEC_PER_SEC
						: 100 * USEC_PER_MSEC);
		operator_act();
		if (one_in(5))
			check_all();
	}
	clients_take();
}
END_TEST

UNIT_MAIN("daemon/random",
	  UNIT_LOOP("seeds", SEEDS, up, down,
		    test_lists_and_counts_agree_whatever_happens))
