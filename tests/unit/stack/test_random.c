/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Anything a client or an application may do, in any order: no assert, no
 * leak, every invariant of the arena holds (I8). Seeds repeat exactly.
 */
#include <errno.h>
#include <string.h>

#include "../unit.h"
#include "rig.h"

#define CLIENTS 6u

static uint32_t seed;
static struct rig_client clients[CLIENTS];

static uint32_t dice(uint32_t sides)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % sides;
}

static void up(void)
{
	rig_up();
	rig.st->limits.ooo_chunks_max = 16;
	for (uint32_t i = 0; i < CLIENTS; i++) {
		rig_client(&clients[i], (uint16_t)(1000 + i));
		clients[i].v6 = i % 2;
		clients[i].ts = i % 3;
	}
}

/* A number that is right, or nearly, or anything. */
static uint32_t near(uint32_t right)
{
	switch (dice(6)) {
	case 0:
		return right + dice(3000);
	case 1:
		return right - dice(3000);
	case 2:
		return dice(2) ? right + 1 : right - 1;
	case 3:
		return dice(20) ? right : dice(UINT32_MAX);
	default:
		return right;
	}
}

static const struct blk *block_of(uint32_t ri)
{
	uint32_t bi = rig.shard.recs[ri].block;

	return bi == NIL ? NULL : &rig.shard.blks[bi];
}

static uint32_t rec_of(const struct rig_client *cl)
{
	for (uint32_t ri = 0; ri < rig.shard.n_recs; ri++) {
		if (rig.shard.recs[ri].state &&
		    rig.shard.recs[ri].remote_port == cl->port)
			return ri;
	}
	return NIL;
}

static void random_segment(struct rig_client *cl)
{
	static const uint8_t flags[] = { TH_SYN,	  TH_ACK,
					 TH_ACK,	  TH_ACK | TH_PSH,
					 TH_ACK | TH_PSH, TH_ACK | TH_FIN,
					 TH_RST,	  TH_RST | TH_ACK,
					 TH_FIN,	  TH_SYN | TH_ACK };
	static const uint8_t data[2000];
	struct rig_seg seg = { .flags = flags[dice(sizeof(flags))],
			       .data = data };
	uint32_t ri = rec_of(cl);

	seg.syn_options = seg.flags & TH_SYN && dice(4);
	if (ri == NIL) {
		seg.flags = dice(3) ? TH_SYN : seg.flags;
		seg.seq = near(cl->iss);
		seg.ack = dice(UINT32_MAX);
	} else {
		const struct rec *r = &rig.shard.recs[ri];
		const struct blk *b = block_of(ri);

		seg.seq = near(b ? b->rcv_nxt
				 : r->irs + 1 + (uint32_t)r->rcv_off);
		seg.ack = near(b ? (dice(2) ? b->snd_nxt : b->snd_una)
				 : r->iss + 1 + (uint32_t)r->snd_off);
	}
	if (seg.flags & TH_ACK && !(seg.flags & (TH_SYN | TH_RST)))
		seg.len = dice(3) ? dice(1400) : 0;
	cl->wnd = (uint16_t)(dice(4) ? 512 : dice(3));
	cl->tsval += dice(3) ? dice(10) : 0;
	rig_input(cl, &seg);
}

/* What the daemon may do with a connection it knows of. */
static void random_call(uint32_t ri)
{
	static char text[5000];
	struct rig_client as = { .ri = ri };
	struct rec *r = &rig.shard.recs[ri];
	const struct blk *b = block_of(ri);
	uint32_t held = b ? b->rcv_dlv - b->rcv_app : 0;

	if (r->state == TCP_GONE || r->flags & REC_ORPHAN)
		return;
	switch (dice(12)) {
	case 0:
		stack_close(rig.st, ri, rig.now_us);
		break;
	case 1:
		if (!dice(4))
			stack_abort(rig.st, ri, rig.now_us);
		break;
	case 2:
		stack_shutdown(rig.st, ri, rig.now_us);
		break;
	case 3:
		stack_undeliver(rig.st, ri);
		break;
	case 4:
		stack_accept(rig.st, ri, rig.now_us);
		break;
	case 5:
		if (!dice(4))
			stack_refuse(rig.st, ri, rig.now_us);
		break;
	case 6:
		r->flags |= REC_TOLD;
		break;
	case 7:
	case 8:
		rig_deliver(&as, text, 1 + dice(3000));
		break;
	default:
		stack_reply(rig.st, ri, r->rcv_off, near(dice(held + 1)), text,
			    dice(2) ? dice(sizeof(text)) : 0, rig.now_us);
		break;
	}
}

static void random_step(void)
{
	uint16_t events;
	uint32_t ri;

	switch (dice(5)) {
	case 0:
		rig_pass_us(dice(4) ? dice(300000) : dice(40000000));
		break;
	case 1:
		ri = rec_of(&clients[dice(CLIENTS)]);
		if (ri != NIL)
			random_call(ri);
		break;
	default:
		random_segment(&clients[dice(CLIENTS)]);
		break;
	}
	while ((ri = stack_next_event(rig.st, &events)) != NIL) {
		if (events & STACK_EV_RESET)
			stack_forget(rig.st, ri);
		else if (dice(2))
			random_call(ri);
	}
	stack_flush(rig.st, rig.now_us);
	rig.seen = rig.n_out;
}

/* rcv_app <= rcv_ack <= rcv_nxt, and I1: no deferred byte acknowledged early. */
static void check_blocks(void)
{
	for (uint32_t ri = 0; ri < rig.shard.n_recs; ri++) {
		const struct rec *r = &rig.shard.recs[ri];
		const struct blk *b;

		if (r->state < TCP_ESTABLISHED || r->state == TCP_GONE ||
		    r->block == NIL)
			continue;
		b = block_of(ri);
		ck_assert_int_ge((int32_t)(b->rcv_ack - b->rcv_app), 0);
		ck_assert_int_ge((int32_t)(b->rcv_nxt - b->rcv_ack), 0);
		ck_assert_int_ge((int32_t)(b->rcv_dlv - b->rcv_app), 0);
		ck_assert_int_ge((int32_t)(b->snd_nxt - b->snd_una), 0);
		ck_assert_int_ge((int32_t)(b->snd_nxt - b->snd_una), 0);
		if (!rig.group.ack_window_bytes)
			ck_assert_uint_le(b->rcv_ack - b->rcv_app,
					  !!(r->flags & REC_FIN_RCVD));
	}
}

START_TEST(test_random_life_keeps_every_invariant)
{
	seed = 1000u + (uint32_t)_i;
	rig.group.ack_window_bytes = _i % 2 ? STACK_ACK_WINDOW_AUTO : 0;
	rig.group.accept = _i % 5 == 4;
	rig.group.keepalive_us = _i % 3 ? 0 : 5000000;
	rig.group.idle_timeout_us = _i % 7 ? 0 : 20000000;
	rig.group.announce = _i % 4 == 3;
	rig_group();
	if (_i % 3 == 0)
		stack_pool_set(rig.st, 0, 30 * CHUNK_BYTES, 60, 30);
	for (int i = 0; i < 3000; i++) {
		const char *wrong;

		random_step();
		check_blocks();
		wrong = shard_check(&rig.shard);
		ck_assert_msg(!wrong, "seed %d step %d: %s", _i, i, wrong);
	}
	/* Left alone, everything active ends or rests. */
	for (uint32_t i = 0; i < CLIENTS; i++) {
		uint32_t ri = rec_of(&clients[i]);

		if (ri != NIL)
			stack_abort(rig.st, ri, rig.now_us);
	}
	rig_pass_us(200000000);
	rig_events(0);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.blk_map), 0);
	ck_assert_uint_eq(rig.st->pools[0].used_chunks, 0);
	ck_assert_uint_eq(rig.st->pools[0].ooo_chunks, 0);
	ck_assert_uint_eq(rig.st->half_open, 0);
	ck_assert_uint_eq(rig.st->established, 0);
	ck_assert_uint_eq(rig.shared_count,
			  bitmap_used_count(&rig.shard.rec_map));
}
END_TEST

UNIT_MAIN("stack/random", UNIT_LOOP("life", 20, up, rig_down,
				    test_random_life_keeps_every_invariant))
