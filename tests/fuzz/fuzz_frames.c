/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * frames - backends that say anything, to the groups layer over a real stack.
 *
 * Theory of operation
 *
 *	clients (client.c) --packets--> stack -- groups, deliver, reply --,
 *	the input's script --bytes--> sockets of os.c <----- bstream ------'
 *
 * The input is a script:
 *
 *	8 bytes			settings, backends, clients (frames_setup())
 *	operation, operands	the low five bits of the first byte say which,
 *				the high three of whom
 *
 * A frame's fields are chosen near what makes sense: ids of the clients'
 * connections, offsets and acknowledgements that are due, plus or minus a
 * little. It is sent whole, or cut: the rest comes with a later operation, or
 * never. Other operations are bytes of any kind, a backend that comes, goes,
 * stops reading or breaks; clients that send, acknowledge, close, reset;
 * time; settings; the death of the daemon, whose arena is damaged
 * (recover_garble.c) before the next one takes it over.
 *
 * What the streams carry back is read as a backend would: only whole frames
 * for a backend, DATA with the client's own bytes at its offset, and never more
 * payload than was granted. After each operation the lists and counts of the
 * layer must agree with the records (frames_check()).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/bstream.h"
#include "daemon/loss.h"
#include "fuzz/frames.h"
#include "fuzz/os.h"
#include "fuzz/recover.h"

#define FRAMES_OPS_MAX 128

struct groups gs;
static struct group_setup setup;
static struct conf_backend backend;
static uint16_t frames_how; /* the settings */

static uint64_t frames_clock(void *ctx)
{
	(void)ctx;
	return world.now_us;
}

static void frames_turn_end(void *ctx)
{
	(void)ctx;
	groups_turn(&gs);
	world_flush();
}

/* --- what must hold ---------------------------------------------------- */

static void frames_check_block(const struct group *g, uint32_t ri,
			       const struct blk *blk)
{
	const struct rec *rec = &world.shard.recs[ri];

	if (blk->app_flags & APP_INFLIGHT)
		FUZZ_CHECK(g->slots[rec->slot].stream);
	if (rec->flags & REC_ORPHAN || blk->flags & BLK_READY)
		return;
	if (blk->app_flags & ~APP_INFLIGHT)
		FUZZ_CHECK(blk->app_list, "due but on no list: %s",
			   tcp_state_name(rec->state));
}

static void frames_check(void)
{
	const struct group *g = gs.by_id[FRAMES_GROUP];
	uint32_t listed = 0, inflight = 0, on_lists = g->waiting.n, counted = 0;

	for (uint32_t ri = 0; ri < WORLD_RECS; ri++) {
		const struct rec *rec = &world.shard.recs[ri];
		const struct blk *blk;

		if (rec->state == TCP_FREE || rec->block == NIL)
			continue;
		blk = &world.shard.blks[rec->block];
		frames_check_block(g, ri, blk);
		listed += blk->app_list != APP_LIST_NONE;
		inflight += !!(blk->app_flags & APP_INFLIGHT);
	}
	for (uint32_t i = 0; i < g->n_live; i++) {
		on_lists += g->live[i]->waiting.n + g->live[i]->turn.n;
		counted += g->live[i]->inflight;
	}
	FUZZ_CHECK(listed == on_lists, "%u, %u", listed, on_lists);
	FUZZ_CHECK(inflight == counted, "%u, %u", inflight, counted);
}

static void frames_pump(void)
{
	gs.now_us = world.now_us;
	frames_turn_end(NULL);
	for (int i = 0; i < 4 && os_run_events(); i++)
		;
	frames_hear();
}

/* --- clients ----------------------------------------------------------- */

static void frames_client_op(struct fuzz_in *in, uint8_t op)
{
	struct world_client *cl = &world.clients[op >> 5 & 3];
	struct world_seg seg;

	switch (op & 0x1f) {
	case 16:
		client_connect(cl);
		break;
	default:
		client_send(cl, 1 + fuzz_u8(in) * 5u, TH_PSH);
		break;
	case 20:
		client_ack(cl);
		break;
	case 21:
		client_send(cl, fuzz_u8(in), TH_FIN);
		break;
	case 22:
		seg = client_seg(cl);
		seg.flags = op & 0x80 ? TH_RST : TH_ACK;
		seg.wnd = fuzz_u8(in);
		client_options(cl, &seg);
		client_input(cl, &seg);
		break;
	case 23: /* beyond a gap */
		seg = client_seg(cl);
		seg.seq += fuzz_u8(in);
		seg.len = 1 + fuzz_u8(in) * 4u;
		client_options(cl, &seg);
		client_input(cl, &seg);
		break;
	}
}

/* --- the operator ------------------------------------------------------ */

static void frames_bits(uint16_t how)
{
	struct stack_group *g = &world.group;

	g->accept = how & 1 ? STACK_ACCEPT_APPLICATION : STACK_ACCEPT_AUTO;
	g->announce = how & 2;
	g->ack = (how >> 2 & 3) % 3;
	g->ack_window_bytes = how & 0x10 ? STACK_ACK_WINDOW_AUTO : 0;
	g->accept_timeout_us = 3000000;
	g->user_timeout_us = 30000000;
	g->keepalive_us = how & 0x20 ? 2000000 : 0;
	g->idle_timeout_us = how & 0x40 ? 5000000 : 0;
	g->vip_mask = UINT64_MAX;
	setup.balance = (enum conf_balance)((how >> 8 & 3) % 3);
	setup.on_loss = !(how & 0x400) ? CONF_LOSS_REDELIVER
			: how & 0x80   ? CONF_LOSS_RESET_ALL
				       : CONF_LOSS_RESET;
	backend.streams = 1 + (how >> 12 & 1);
	backend.max_inflight = how >> 13 & 3;
	setup.n_backends = how & 0x800 ? 1 : 0;
}

static void frames_settings(uint16_t how)
{
	frames_bits(how);
	frames_how = how;
	setup.stack = world.group;
	FUZZ_CHECK(groups_set(&gs, &setup, NULL) == 0);
	world_group();
}

static void frames_time(struct fuzz_in *in)
{
	static const uint64_t us[] = { 1000,	100000,	 200000,   1000000,
				       3000000, 6000000, 16000000, 70000000 };

	os_set_connect(fuzz_u8(in) & 1 ? EINPROGRESS : 0);
	world_pass_us(us[fuzz_u8(in) & 7], 16);
	gs.now_us = world.now_us;
	if (gs.now_us >= gs.tick_at_us)
		groups_tick(&gs);
}

static void frames_operator(struct fuzz_in *in, uint8_t op)
{
	uint8_t how;

	switch (op & 0x1f) {
	case 24:
	case 25:
		frames_time(in);
		break;
	case 26:
		frames_settings(fuzz_u16(in));
		break;
	case 27:
		how = fuzz_u8(in);
		groups_set_duty(&gs, how & 1 ? "pid 1" : "b",
				(enum backend_duty)(how / 2 % 3));
		break;
	case 28:
		groups_close_conn(&gs, frames_conn(in, fuzz_u8(in)));
		break;
	case 29:
		how = fuzz_u8(in);
		world.st->limits.snd_queue_max = how * 64u;
		stack_pool_set(world.st, 0, (16 + how) * CHUNK_BYTES, 80, 60);
		break;
	default:
		break; /* the turn alone */
	}
}

/* --- the daemon -------------------------------------------------------- */

static void frames_daemon_up(uint16_t how)
{
	const struct groups_ops ops = { .clock = frames_clock,
					.turn_end = frames_turn_end };

	/* The stack behind it is tiny: so is the table of groups. */
	groups_init(&gs, world.st, NULL, &ops, 1, 4711);
	setup = (struct group_setup){ .name = "test", .backends = &backend };
	frames_settings(how);
	frames_peers_up();
}

/* Killed: its sockets are closed, and nothing else was done. */
static void frames_kill(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);

	FUZZ_SAY("killed");
	world_freeze();
	groups_fini(&gs);
	frames_peers_down();
	world.limits = world.st->limits;
	world_kill();
	world_thaw();
	garble(in, how & 7);
	world_recover();
	gs.now_us = world.now_us;
	frames_daemon_up(frames_how);
	loss_recovered(&gs);
	if (how & 8)
		frames_attach(0, how >> 4);
}

/* --- the script -------------------------------------------------------- */

static void frames_op(struct fuzz_in *in)
{
	uint8_t op = fuzz_u8(in);

	if ((op & 0x1f) == 31)
		frames_kill(in);
	else if ((op & 0x1f) < 16)
		frames_peer(in, op);
	else if ((op & 0x1f) < 24)
		frames_client_op(in, op);
	else
		frames_operator(in, op);
}

static void frames_setup(struct fuzz_in *in)
{
	struct world_setup ws = { .mtu = 1500 };
	uint8_t how = fuzz_u8(in), who = fuzz_u8(in);

	ws.near_wrap = how & 1;
	ws.pool_bytes = (how & 2 ? 24u : 160u) * CHUNK_BYTES;
	ws.group = (struct stack_group){ .vip_mask = UINT64_MAX };
	world_up(&ws);
	world.own_replies = true;
	os_reset(1000);
	backend = (struct conf_backend){ .name = "b",
					 .address = "unix:/fuzz",
					 .streams = 1 };
	frames_daemon_up(fuzz_u16(in));
	for (uint32_t i = 0; i < 2; i++)
		if (who >> i & 1)
			frames_attach(i, fuzz_u8(in));
	for (uint32_t i = 0; i < 4; i++)
		if (who >> 4 >> i & 1)
			client_connect(&world.clients[i]);
	frames_pump();
}

static void frames_down(void)
{
	groups_remove(&gs, FRAMES_GROUP);
	groups_fini(&gs);
	frames_peers_down();
	os_check_closed();
	world_down();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_no_log();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = fuzz_in(data, size);

	frames_setup(&in);
	for (uint32_t n = 0; fuzz_left(&in) && n < FRAMES_OPS_MAX; n++) {
		frames_op(&in);
		frames_pump();
		frames_check();
	}
	world_check();
	frames_down();
	return 0;
}
