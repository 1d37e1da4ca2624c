/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * packet - clients and an application that do anything, in any order.
 *
 * Theory of operation
 *
 * The input is a script:
 *
 *	8 bytes			how the execution begins (packet_setup())
 *	operation, operands	until the end; the low six bits of the first
 *				byte say which, the high two which client
 *
 * and the operations are
 *
 *	segments	fields are chosen near their right values: what comes
 *			next, what was acknowledged, plus or minus a little
 *	pokes		bytes to be written over the next packet
 *	steps		handshake, data, ACK, request and reply, done right:
 *			so that a short script gets far
 *	calls		what the daemon may do with a connection, with
 *			offsets and lengths that are right or nearly
 *	time		from nothing to weeks
 *	settings	of the group, the pool, the limits
 *	ICMP errors, fragments
 *	offload		packets of several segments, checksums not looked at
 *
 * Some clients are connected before the first operation. After each the
 * connections' events are taken; what the stack sends is checked packet by
 * packet (client.c, W1 to W5), what it delivers byte by byte. Every few
 * operations, and at the end, the arena is checked; at the end all that is
 * derived is derived anew, every connection is ended, and nothing may be left.
 */
#include "fuzz/packet.h"

#define PACKET_OPS_MAX 160
#define PACKET_CHECK_EVERY 8

/* --- settings ------------------------------------------------------------ */

static void packet_settings(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);

	switch (how & 3) {
	case 0:
		packet_group_bits(&world.group, fuzz_u16(in));
		world_group();
		break;
	case 1:
		stack_pool_set(world.st, 0, ((how >> 2) + 1) * CHUNK_BYTES, 80,
			       how & 0x80 ? 80 : 40);
		break;
	case 2:
		world.st->limits.ooo_chunks_max = how >> 3;
		world.st->limits.half_open_max = how >> 5;
		world.st->limits.half_open_cookies = how >> 6;
		world.st->limits.syn_cookies = (how >> 3 & 7) % 3;
		break;
	default:
		world.st->limits.snd_queue_max = (how >> 2) * 256u;
		break;
	}
}

/* --- the script -------------------------------------------------------- */

static void packet_op(struct fuzz_in *in)
{
	uint8_t op = fuzz_u8(in);
	struct world_client *cl = &world.clients[op >> 6];

	switch (op & 0x1f) {
	default: /* 0 to 11 */
		packet_segment(in, cl);
		break;
	case 12:
		client_connect(cl);
		break;
	case 13:
	case 14:
		client_send(cl, packet_len(in), op & 0x20 ? TH_PSH : 0);
		break;
	case 15:
		client_send(cl, packet_len(in), TH_FIN);
		break;
	case 16:
		client_ack(cl);
		break;
	case 17:
	case 18:
		packet_exchange(in, cl);
		break;
	case 19:
		packet_deliver(cl, op & 0x20 ? fuzz_u16(in) : UINT32_MAX);
		world_flush();
		break;
	case 20:
	case 21:
		packet_reply(in, cl);
		if (!(op & 0x20))
			world_flush();
		break;
	case 22:
	case 23:
		packet_call(in, cl);
		break;
	case 24:
	case 25:
		packet_time(in);
		break;
	case 26:
		packet_settings(in);
		break;
	case 27:
		packet_icmp(in, cl);
		break;
	case 28:
		packet_fragments(in, cl);
		break;
	case 29:
		packet_take_poke(in);
		break;
	case 30:
		packet_raw(in);
		break;
	case 31:
		if (op & 0x20)
			packet_offload(in, cl);
		else
			world_rebuild();
		break;
	}
}

static void packet_setup(struct fuzz_in *in)
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

	packet_setup(&in);
	for (uint32_t n = 1; fuzz_left(&in) && n <= PACKET_OPS_MAX; n++) {
		packet_op(&in);
		packet_events();
		if (n % PACKET_CHECK_EVERY == 0)
			world_check();
	}
	world_check();
	world_rebuild();
	world_down();
	return 0;
}
