/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recover - a process is killed, its arena is damaged, the next one takes over.
 *
 * Theory of operation
 *
 * The input is a script:
 *
 *	8 bytes			how the execution begins (recover_setup())
 *	operation, operands	the low four bits of the first byte say which,
 *				the high two which client; with bit 4 what it
 *				made due is not sent before the next one
 *
 * Operations bring connections into all states: clients connect, send, leave
 * gaps, close; an application takes, answers, closes; time passes. One is the
 * kill: what the process had besides the arena is gone, bytes of the arena are
 * written over (recover_garble.c), and stack_recover() takes it over. The
 * script then goes on with what is left, and may kill again.
 *
 * A killed process leaves an arena that is whole. Damage is refused or dropped,
 * never guessed and never a crash:
 *
 *  R1  arena and lists are sound after each recovery (world_check()), and
 *      all that is derived can be derived anew;
 *  R2  each record is taken over, or counted as lost and answered with a RST,
 *      but for those that were over and handshakes without a block;
 *  R3  connections to which no damage was done are as they were, byte for
 *      byte, also when what is derived was damaged;
 *  R4  whatever was taken over goes on: packets are right (client.c, W1), when
 *      clients fall silent it rests or ends (recover_rest()), and nothing is
 *      left in the end (world_down()).
 */
#include <string.h>

#include "arena/recover.h"
#include "fuzz/packet.h"
#include "fuzz/recover.h"

#define RECOVER_OPS_MAX 96
#define RECOVER_KILLS_MAX 6

/* A connection as the process left it. */
struct recover_life {
	bool there; /* in use */
	uint8_t state;
	uint32_t generation;
	uint64_t rcv_off, snd_off;
	bool active;
	uint32_t rcv_nxt, snd_end, snd_nxt;
};

static struct recover_life lives[WORLD_RECS];

/* --- the kill ---------------------------------------------------------- */

static void recover_look(uint32_t ri, struct recover_life *life)
{
	const struct rec *r = &world.shard.recs[ri];
	const struct blk *b;

	*life = (struct recover_life){
		.there = r->state != TCP_FREE,
		.state = r->state,
		.generation = r->generation,
		.rcv_off = r->rcv_off,
		.snd_off = r->snd_off,
		.active = r->state != TCP_FREE && r->block != NIL,
	};
	if (!life->active || r->state == TCP_GONE)
		return;
	b = &world.shard.blks[r->block];
	life->rcv_nxt = b->rcv_nxt;
	life->snd_end = b->snd_end;
	life->snd_nxt = b->snd_nxt;
}

/* What the next process finds: who is there, who is owed a RST. */
static uint32_t recover_found(uint32_t *ret_silent, uint32_t *ret_nobody)
{
	uint32_t n = 0;

	*ret_silent = *ret_nobody = 0;
	for (uint32_t ri = 0; ri < WORLD_RECS; ri++) {
		const struct rec *r = &world.shard.recs[ri];
		uint8_t family = r->flags & REC_V6 ? 6 : 4;

		if (r->state == TCP_FREE)
			continue;
		n++;
		*ret_silent += r->state == TCP_GONE ||
			       (r->state == TCP_SYN_RECEIVED &&
				(r->block == NIL || r->more & REC_ENDED));
		*ret_nobody +=
			r->vip >= ARENA_VIPS_MAX ||
			world.arena.header->vips[r->vip].family != family;
	}
	return n;
}

/* R3 */
static void recover_check_life(uint32_t ri, const struct recover_life *life)
{
	const struct rec *r = &world.shard.recs[ri];
	const struct blk *b;

	if (!life->there || life->state == TCP_GONE) {
		FUZZ_CHECK(r->state == TCP_FREE);
		return;
	}
	FUZZ_CHECK(r->state == life->state, "%u: %s, was %s", r->remote_port,
		   tcp_state_name(r->state), tcp_state_name(life->state));
	FUZZ_CHECK(r->generation == life->generation);
	FUZZ_CHECK(r->rcv_off == life->rcv_off);
	FUZZ_CHECK(r->snd_off == life->snd_off);
	if (!life->active || life->state == TCP_SYN_HELD)
		return;
	FUZZ_CHECK(r->block != NIL);
	b = &world.shard.blks[r->block];
	FUZZ_CHECK(b->rcv_nxt == life->rcv_nxt);
	FUZZ_CHECK(b->snd_end == life->snd_end);
	FUZZ_CHECK(b->snd_nxt == life->snd_nxt);
}

static uint64_t recover_counter(enum stack_counter which)
{
	return counter_get(&world.st->counters[which]);
}

/* R2 */
static void recover_check_counts(uint32_t found, uint32_t taken,
				 uint32_t silent, uint32_t nobody,
				 uint32_t emitted)
{
	uint64_t lost = recover_counter(SC_lost_in_recovery);
	uint64_t reset = recover_counter(SC_conn_reset_out);

	FUZZ_SAY("%u found, %u taken over, %u lost", found, taken,
		 (unsigned)lost);
	FUZZ_CHECK(recover_counter(SC_recovered_connections) == taken);
	FUZZ_CHECK(taken == bitmap_used_count(&world.shard.rec_map));
	FUZZ_CHECK(recover_counter(SC_recover_torn) <= lost);
	FUZZ_CHECK(taken + lost <= found && taken + lost + silent >= found,
		   "%u + %u of %u, %u silent", taken, (unsigned)lost, found,
		   silent);
	FUZZ_CHECK(reset <= lost && reset + nobody >= lost);
	FUZZ_CHECK(reset == emitted);
}

/* As the daemon does: loss_recovered(); and the application hears who is lost. */
static void recover_app(void)
{
	for (uint32_t i = 0; i < WORLD_CLIENTS; i++)
		if (!client_rec(&world.clients[i]))
			world.clients[i].ri = NIL;
	for (uint32_t bi = 0; bi < WORLD_RECS; bi++) {
		struct blk *b = &world.shard.blks[bi];

		b->app_list = b->app_flags = 0;
		b->app_next = b->app_prev = NIL;
	}
}

static void recover_kill(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);
	uint32_t found, taken, silent, nobody, emitted;

	FUZZ_SAY("killed");
	world.limits = world.st->limits;
	for (uint32_t ri = 0; ri < WORLD_RECS; ri++)
		recover_look(ri, &lives[ri]);
	world_kill();
	if (how & 8)
		garble_header(in);
	garble(in, how & 7);
	if (how & 0x80)
		world.now_us += UINT64_C(1) << (how >> 4 & 7) * 5;
	found = recover_found(&silent, &nobody);
	emitted = world.emitted;
	taken = world_recover();
	recover_check_counts(found, taken, silent, nobody,
			     world.emitted - emitted);
	for (uint32_t ri = 0; ri < WORLD_RECS; ri++)
		if (!world.garbled[ri])
			recover_check_life(ri, &lives[ri]);
	recover_app();
	world_check();
	packet_events();
	world_check();
}

/* --- the end ----------------------------------------------------------- */

/*
 * R4: all that has a deadline has come to it. What is left with a block waits
 * for the application's word, for room in the pool, or for the end of a gap.
 */
static void recover_check_rest(uint32_t ri)
{
	const struct rec *r = &world.shard.recs[ri];
	const struct blk *b;

	switch (r->state) {
	case TCP_FREE:
		return;
	case TCP_ESTABLISHED:
	case TCP_CLOSE_WAIT:
	case TCP_FIN_WAIT_2:
	case TCP_TIME_WAIT:
		break;
	default:
		/* Our last ACK waits for the application's word. */
		FUZZ_CHECK(r->state == TCP_LAST_ACK && r->flags & REC_FIN_ACKED,
			   "%u: still in %s", r->remote_port,
			   tcp_state_name(r->state));
	}
	if (r->block == NIL)
		return;
	b = &world.shard.blks[r->block];
	FUZZ_CHECK(b->rx_head != NIL || b->ooo_head != NIL ||
			   b->flags & (BLK_WINDOW_HELD | BLK_FIN_SEEN),
		   "%u: %s does not rest", r->remote_port,
		   tcp_state_name(r->state));
}

static void recover_rest(void)
{
	world.group.idle_timeout_us = world.group.keepalive_us = 0;
	world_group();
	for (int i = 0; i < 12; i++) {
		packet_events();
		world_pass_us(UINT64_C(20000000), 4);
	}
	packet_events();
	for (uint32_t ri = 0; ri < WORLD_RECS; ri++)
		recover_check_rest(ri);
}

/* --- the script -------------------------------------------------------- */

/* Text that leaves a gap before it. */
static void recover_gap(struct fuzz_in *in, struct world_client *cl)
{
	struct world_seg seg = client_seg(cl);

	seg.seq += fuzz_u8(in) * 8u + 1;
	seg.len = packet_len(in);
	client_options(cl, &seg);
	client_input(cl, &seg);
}

/* A SYN alone: the handshake is not completed. */
static void recover_syn(struct world_client *cl)
{
	struct world_seg syn = { .flags = TH_SYN, .seq = cl->iss, .wnd = 512 };

	client_options(cl, &syn);
	client_input(cl, &syn);
}

static void recover_op(struct fuzz_in *in, uint8_t op)
{
	struct world_client *cl = &world.clients[op >> 6];

	switch (op & 0xf) {
	case 0:
		client_connect(cl);
		break;
	case 1:
		client_send(cl, packet_len(in), TH_PSH);
		break;
	case 2:
		client_send(cl, packet_len(in), TH_FIN);
		break;
	case 3:
		client_ack(cl);
		break;
	case 4:
		packet_exchange(in, cl);
		break;
	case 5:
		packet_deliver(cl, op & 0x20 ? fuzz_u16(in) : UINT32_MAX);
		break;
	case 6:
	case 7:
		packet_reply(in, cl);
		break;
	case 8:
		packet_call(in, cl);
		break;
	case 9:
		packet_time(in);
		break;
	case 10:
		recover_gap(in, cl);
		break;
	case 11:
		packet_segment(in, cl);
		break;
	case 12:
		recover_syn(cl);
		break;
	case 13:
		packet_group_bits(&world.group, fuzz_u16(in));
		world_group();
		break;
	default: /* the kill */
		break;
	}
}

static void recover_setup(struct fuzz_in *in)
{
	struct world_setup setup = { .mtu = 1500 };
	uint8_t how = fuzz_u8(in), connect = fuzz_u8(in);

	setup.near_wrap = how & 1;
	setup.mtu = how & 2 ? 1280 : 1500;
	setup.pool_bytes = (how & 4 ? 20u : 160u) * CHUNK_BYTES;
	packet_group_bits(&setup.group, fuzz_u16(in));
	setup.clients = fuzz_u32(in);
	world_up(&setup);
	packet_segs_reset();
	for (uint32_t i = 0; i < 4; i++) {
		if (connect >> i & 1)
			client_connect(&world.clients[i]);
	}
	packet_events();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = fuzz_in(data, size);
	uint32_t kills = 0;

	recover_setup(&in);
	for (uint32_t n = 0; fuzz_left(&in) && n < RECOVER_OPS_MAX; n++) {
		uint8_t op = fuzz_u8(&in);

		if ((op & 0xf) < 14)
			recover_op(&in, op);
		else if (kills++ < RECOVER_KILLS_MAX)
			recover_kill(&in);
		if (!(op & 0x10))
			packet_events();
	}
	packet_events();
	world_check();
	world_rebuild();
	recover_rest();
	world_down();
	return 0;
}
