/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A large packet, cut: each piece is what the sender would have sent had it
 * cut by itself, but for TCP's checksum, which nobody looks at.
 */
#include "../stack/rig.h"
#include "../unit.h"
#include "daemon/gso_split.h"
#include "packets.h"

#define BIG 65535u

static uint8_t payload[BIG], big[BIG + 40];
static struct seg seg;

static void up(void)
{
	rig_up();
	for (uint32_t i = 0; i < BIG; i++)
		payload[i] = (uint8_t)(i * 7 + i / 256);
}

/* Two NOPs, a router alert; PadN of an extension header of 8 bytes. */
static const uint8_t ip4_opts[8] = { 1, 1, 148, 4, 0, 0, 0, 0 };
static const uint8_t ip6_opts[8] = { 6, 0, 1, 4, 0, 0, 0, 0 };
static const uint8_t tcp_opts[12] = { 1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9 };

static const struct {
	const char *name;
	bool v6, ip_opts, tcp_opts;
} kinds[] = {
	{ "IPv4", false, false, false },
	{ "IPv4, TCP options", false, false, true },
	{ "IPv4, IP options", false, true, true },
	{ "IPv6", true, false, true },
	{ "IPv6, extension header", true, true, true },
};

#define KINDS ((int)(sizeof(kinds) / sizeof(kinds[0])))

static struct packets_seg make(int kind, uint32_t len, uint8_t flags)
{
	return (struct packets_seg){
		.v6 = kinds[kind].v6,
		.flags = flags,
		.src_port = 1000,
		.dst_port = RIG_PORT,
		.wnd = 500,
		.seq = 0xfffff000,
		.ack = 99,
		.tos = 3,
		.ip_opts = kinds[kind].v6 ? ip6_opts : ip4_opts,
		.ip_opts_len = kinds[kind].ip_opts ? 8 : 0,
		.opts = tcp_opts,
		.opts_len = kinds[kind].tcp_opts ? 12 : 0,
		.payload = payload,
		.len = len,
	};
}

/* Into `big` and `seg`; returns the bytes of its headers. */
static uint32_t parse(const struct packets_seg *ps, uint16_t unit)
{
	const struct seg_offload offload = { .checked = true, .unit = unit };
	uint32_t hdr, len = packets_build(ps, true, big, &hdr);

	ck_assert(stack_parse_offload(rig.st, big, len, &offload, &seg));
	return hdr;
}

/* Cut it into pieces of unit bytes and compare. */
static void check_pieces(const struct packets_seg *ps, uint16_t unit)
{
	static uint8_t got[BIG], want[BIG];
	struct gso_split split;
	uint32_t hdr = parse(ps, unit);

	gso_split_init(&split, &seg);
	for (uint32_t off = 0; off < ps->len; off += unit) {
		struct packets_seg one = *ps;
		uint32_t len;

		one.seq += off;
		one.payload += off;
		one.len = ps->len - off < unit ? ps->len - off : unit;
		if (off + one.len < ps->len)
			one.flags &= (uint8_t) ~(PACKETS_FIN | PACKETS_PSH);
		if (off)
			one.flags &= (uint8_t)~PACKETS_CWR;
		len = packets_build(&one, true, want, &hdr);
		/* The buffer has no byte to spare. */
		ck_assert_uint_eq(gso_split_next(&split, got, len), len);
		memset(got + hdr - one.opts_len - 4, 0, 2);
		memset(want + hdr - one.opts_len - 4, 0, 2);
		ck_assert_mem_eq(got, want, len);
	}
	ck_assert_uint_eq(gso_split_next(&split, got, BIG), 0);
	ck_assert_uint_eq(gso_split_next(&split, got, BIG), 0);
}

START_TEST(test_pieces_are_what_the_sender_would_send)
{
	static const uint16_t units[] = { 1, 536, 1448, 8948 };
	static const uint8_t flags[] = {
		PACKETS_ACK,
		PACKETS_ACK | PACKETS_PSH,
		PACKETS_ACK | PACKETS_FIN,
		PACKETS_ACK | PACKETS_CWR | PACKETS_PSH | PACKETS_FIN,
		PACKETS_ACK | PACKETS_ECE,
	};

	for (uint32_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
		for (uint32_t f = 0; f < sizeof(flags); f++) {
			struct packets_seg ps =
				make(_i, 6u * units[u], flags[f]);

			check_pieces(&ps, units[u]);
			ps.len += 1 + units[u] / 2; /* the last is shorter */
			check_pieces(&ps, units[u]);
		}
	}
}
END_TEST

START_TEST(test_largest_packet)
{
	struct packets_seg ps = make(_i, 0, PACKETS_ACK);
	uint8_t buf[256];
	uint32_t hdr;

	packets_build(&ps, true, buf, &hdr);
	ps.len = BIG - hdr;
	check_pieces(&ps, 1448);
}
END_TEST

START_TEST(test_packet_of_one_segment)
{
	struct packets_seg ps = make(_i, 1000, PACKETS_ACK | PACKETS_FIN);

	check_pieces(&ps, 1000);
	check_pieces(&ps, 1001);
}
END_TEST

START_TEST(test_buffer_that_is_too_small_gets_nothing)
{
	struct packets_seg ps = make(_i, 5000, PACKETS_ACK);
	struct gso_split split;
	uint8_t buf[2048];
	uint32_t hdr = parse(&ps, 1000);

	memset(buf, 0x55, sizeof(buf));
	gso_split_init(&split, &seg);
	ck_assert_uint_eq(gso_split_next(&split, buf, hdr + 999), 0);
	ck_assert_uint_eq(gso_split_next(&split, buf, 0), 0);
	for (uint32_t i = 0; i < sizeof(buf); i++)
		if (buf[i] != 0x55)
			ck_abort_msg("byte %u was written", i);
	ck_assert_uint_eq(gso_split_next(&split, buf, hdr + 1000), hdr + 1000);
}
END_TEST

START_TEST(test_only_several_segments_in_one_need_it)
{
	struct packets_seg ps = make(_i, 1000, PACKETS_ACK);

	parse(&ps, 500);
	ck_assert(gso_split_needed(&seg));
	parse(&ps, 999);
	ck_assert(gso_split_needed(&seg));
	parse(&ps, 1000);
	ck_assert(!gso_split_needed(&seg));
	parse(&ps, 0);
	ck_assert(!gso_split_needed(&seg));
	ps.len = 0;
	parse(&ps, 500);
	ck_assert(!gso_split_needed(&seg));
}
END_TEST

START_TEST(test_messages_do_not_need_it)
{
	static const uint8_t echo[2][8] = { { 8 }, { 128 } };
	const struct seg_offload offload = { .checked = true, .unit = 1 };
	uint32_t len = rig_build_icmp(_i, echo[_i], 8, big);

	ck_assert(stack_parse_offload(rig.st, big, len, &offload, &seg));
	ck_assert(!gso_split_needed(&seg));
}
END_TEST

UNIT_MAIN("daemon/gso_split",
	  UNIT_LOOP("kinds of packets", KINDS, up, rig_down,
		    test_pieces_are_what_the_sender_would_send,
		    test_largest_packet, test_packet_of_one_segment,
		    test_buffer_that_is_too_small_gets_nothing,
		    test_only_several_segments_in_one_need_it),
	  UNIT_LOOP("ICMP", 2, up, rig_down, test_messages_do_not_need_it))
