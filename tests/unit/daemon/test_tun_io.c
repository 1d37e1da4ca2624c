/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is written to a queue. What comes out of it is cut and completed (gso.h),
 * and must then be the segments that went in, byte for byte, in order. (But for
 * IPv4's identification, which the kernel counts up: it means nothing in what
 * must not be fragmented, RFC 6864.)
 */
#include <signal.h>

#include "../unit.h"
#include "base/bytes.h"
#include "gso.h"
#include "packets.h"
#include "queue.h"
#include "stack/stack.h"

#define EXPECTED_MAX 1024u
#define POOL_BYTES (1u << 18)

/* Segments that were written and have not come out yet. */
static struct {
	uint8_t bytes[MTU + PACKETS_HDR_MAX];
	uint32_t len;
} expected[EXPECTED_MAX];

static uint32_t n_in, n_out; /* segments: written, come out */
static uint32_t n_packets, n_large, largest; /* come out */
static uint32_t most_segs; /* of one packet */
static uint8_t pool[POOL_BYTES]; /* payload */
static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
	return packets_random(&random_state, n);
}

static void up(void)
{
	n_in = n_out = n_packets = n_large = largest = most_segs = 0;
	random_state = 0x9e3779b97f4a7c15;
	for (uint32_t i = 0; i < POOL_BYTES; i++)
		pool[i] = (uint8_t)random_below(256);
	open_io(true, true);
}

static uint64_t count(enum worker_counter which)
{
	return counter_get(&counters[which]);
}

/* --- the far side ------------------------------------------------------- */

static void come_out(const uint8_t *packet, uint32_t len)
{
	uint32_t i = n_out++ % EXPECTED_MAX;

	ck_assert_uint_le(n_out, n_in);
	ck_assert_uint_eq(len, expected[i].len);
	for (uint32_t at = 0; at < len; at++)
		if (packet[at] != expected[i].bytes[at])
			ck_abort_msg(
				"segment %u: byte %u of %u is %02x, not %02x",
				n_out - 1, at, len, packet[at],
				expected[i].bytes[at]);
}

/* Take what is in the queue. Returns how many packets there were. */
static uint32_t drain(void)
{
	static uint8_t buf[VNET + BIG + 1];
	struct virtio_net_hdr vnet;
	uint32_t n, packets = 0;
	ssize_t got;

	while ((got = read(queue[1], buf, sizeof(buf))) > 0) {
		ck_assert_uint_gt((uint32_t)got, VNET);
		memcpy(&vnet, buf, VNET);
		n = (uint32_t)got - VNET;
		largest = max_u32(largest, n);
		packets++;
		if (vnet.gso_type) {
			n = gso_cut(&vnet, buf + VNET, n, come_out);
			most_segs = max_u32(most_segs, n);
			n_large++;
			continue;
		}
		if (vnet.flags)
			gso_complete(&vnet, buf + VNET, n);
		come_out(buf + VNET, n);
	}
	n_packets += packets;
	return packets;
}

/* --- the near side ------------------------------------------------------ */

/* Write a packet of headers and payload, in at most `pieces` pieces of it. */
static void put(const uint8_t *hdr, uint32_t hdr_len, const uint8_t *payload,
		uint32_t len, uint32_t pieces)
{
	struct iovec iov[STACK_EMIT_IOV_MAX];
	uint8_t copy[PACKETS_HDR_MAX];
	int n = 1;

	memcpy(copy, hdr, hdr_len);
	iov[0] = (struct iovec){ copy, hdr_len };
	for (; len; pieces--) {
		uint32_t some = pieces == 1 ? len : 1 + random_below(len);

		iov[n++] = (struct iovec){ (void *)(uintptr_t)payload, some };
		payload += some;
		len -= some;
	}
	n_in++;
	tun_io_write(io, iov, n);
	memset(copy, 0xee, sizeof(copy)); /* it may not be looked at later */
}

/* As the stack does: partial when the device completes the checksums. */
static void put_seg(const struct packets_seg *seg, bool partial,
		    uint32_t pieces)
{
	static uint8_t packet[MTU + PACKETS_HDR_MAX];
	uint32_t i = n_in % EXPECTED_MAX, hdr_len;

	ck_assert_uint_lt(n_in - n_out, EXPECTED_MAX);
	expected[i].len =
		packets_build(seg, false, expected[i].bytes, &hdr_len);
	packets_build(seg, partial, packet, &hdr_len);
	put(packet, hdr_len, seg->payload, seg->len, pieces);
}

/* An ICMP packet: its checksum is its own. */
static void put_icmp(bool v6, uint32_t len)
{
	const struct packets_seg seg = { .v6 = v6 };
	uint32_t i = n_in % EXPECTED_MAX, hdr;
	uint8_t *to = expected[i].bytes;

	hdr = packets_ip(&seg, to, 8 + len);
	to[v6 ? 6 : 9] = v6 ? 58 : 1;
	if (!v6) {
		packets_put16(to + 10, 0);
		packets_put16(to + 10, ~packets_sum(0, to, hdr) & 0xffff);
	}
	memset(to + hdr, 0x42, 8);
	memcpy(to + hdr + 8, pool, len);
	expected[i].len = hdr + 8 + len;
	put(to, hdr + 8, pool, len, 1);
}

static const uint8_t opts[2][12] = {
	{ 1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9 },
	{ 1, 1, 8, 10, 0, 0, 0, 8, 0, 0, 0, 9 },
};

/* Full segments of `unit` bytes that continue one another. */
static struct packets_seg flow(bool v6, uint32_t unit)
{
	return (struct packets_seg){
		.v6 = v6,
		.flags = PACKETS_ACK,
		.src_port = 5222,
		.dst_port = 1000,
		.seq = 0xffffff00,
		.ack = 77,
		.wnd = 500,
		.opts = opts[0],
		.opts_len = 12,
		.payload = pool,
		.len = unit,
	};
}

static void put_next(struct packets_seg *seg)
{
	put_seg(seg, true, 1);
	seg->seq += seg->len;
	seg->payload += seg->len;
}

/* Write n full segments and then one that differs; returns the packets. */
static uint32_t packets_of(uint32_t n, const struct packets_seg *first,
			   const struct packets_seg *other)
{
	struct packets_seg seg = *first, last = *other;

	tun_io_cork(io);
	for (uint32_t i = 0; i < n; i++)
		put_next(&seg);
	last.seq += seg.seq - first->seq;
	last.payload = seg.payload;
	put_seg(&last, true, 1);
	tun_io_flush(io);
	return drain();
}

/* --- writing ------------------------------------------------------------ */

START_TEST(test_bulk_goes_in_large_packets)
{
	struct packets_seg seg = flow(_i, 1448);

	tun_io_cork(io);
	for (uint32_t i = 0; i < 100; i++) {
		put_next(&seg);
		drain();
	}
	tun_io_flush(io);
	drain();
	ck_assert_uint_eq(n_out, 100);
	/* 45 fit into one. */
	ck_assert_uint_eq(n_packets, 3);
	ck_assert_uint_eq(n_large, 3);
	ck_assert_uint_le(largest, BIG);
	ck_assert_uint_gt(largest, BIG - 1448);
	ck_assert_uint_eq(count(WC_tun_packets_out), 100);
}
END_TEST

/* Of eight segments, headers and all, some fit just so, some just do not. */
START_TEST(test_large_packet_is_no_larger_than_its_length_can_say)
{
	for (uint32_t unit = 8170; unit < 8195; unit++) {
		struct packets_seg seg = flow(_i, unit);
		bool fits = 8 * unit + (_i ? 72 : 52) <= BIG;

		tun_io_cork(io);
		for (uint32_t i = 0; i < 8; i++)
			put_next(&seg);
		tun_io_flush(io);
		ck_assert_uint_eq(drain(), fits ? 1 : 2);
	}
	ck_assert_uint_le(largest, BIG);
	ck_assert_uint_gt(largest, BIG - 8);
}
END_TEST

START_TEST(test_segment_of_another_kind_is_not_joined)
{
	struct packets_seg seg = flow(_i, 1000), other;

	other = seg;
	ck_assert_uint_eq(packets_of(3, &seg, &other), 1);
#define DIFFERENT(field, value) \
	other = seg;            \
	other.field = value;    \
	ck_assert_uint_eq(packets_of(3, &seg, &other), 2)
	DIFFERENT(src_port, 80);
	DIFFERENT(dst_port, 80);
	DIFFERENT(seq, seg.seq + 1);
	DIFFERENT(seq, seg.seq - 1000);
	DIFFERENT(ack, 78);
	DIFFERENT(wnd, 501);
	DIFFERENT(tos, 2);
	DIFFERENT(opts, opts[1]);
	DIFFERENT(opts_len, 0);
	DIFFERENT(v6, !seg.v6);
	DIFFERENT(len, 1001);
	DIFFERENT(len, 0);
	DIFFERENT(flags, PACKETS_ACK | PACKETS_ECE);
	DIFFERENT(flags, PACKETS_ACK | PACKETS_CWR);
	DIFFERENT(flags, PACKETS_ACK | PACKETS_RST);
	DIFFERENT(flags, PACKETS_ACK | PACKETS_CWR | PACKETS_PSH);
#undef DIFFERENT
	ck_assert_uint_eq(n_out, n_in);
}
END_TEST

START_TEST(test_last_of_a_large_packet_may_be_short_or_say_more)
{
	static const uint8_t more[] = { 0, PACKETS_PSH, PACKETS_FIN,
					PACKETS_PSH | PACKETS_FIN };
	struct packets_seg seg = flow(_i, 1000), last;

	for (uint32_t i = 0; i < sizeof(more); i++) {
		for (uint32_t len = 1; len <= 1000; len += 333) {
			last = seg;
			last.flags |= more[i];
			last.len = len;
			ck_assert_uint_eq(packets_of(2, &seg, &last), 1);
		}
	}
}
END_TEST

START_TEST(test_nothing_follows_a_short_or_pushed_segment)
{
	struct packets_seg seg = flow(_i, 1000);
	static const uint8_t flags[] = { PACKETS_ACK, PACKETS_ACK | PACKETS_PSH,
					 PACKETS_ACK | PACKETS_FIN };

	for (uint32_t i = 0; i < 3; i++) {
		tun_io_cork(io);
		put_next(&seg);
		seg.flags = flags[i];
		seg.len = i ? 1000 : 999;
		put_next(&seg);
		seg.flags = PACKETS_ACK;
		put_next(&seg);
		tun_io_flush(io);
		ck_assert_uint_eq(drain(), 2);
		seg.len = 1000;
	}
}
END_TEST

/* CWR is the first segment's alone: the kernel would repeat or lose it. */
START_TEST(test_nothing_follows_a_segment_with_cwr)
{
	struct packets_seg seg = flow(_i, 1000);

	tun_io_cork(io);
	seg.flags |= PACKETS_CWR;
	put_next(&seg);
	put_next(&seg);
	seg.flags = PACKETS_ACK;
	put_next(&seg);
	tun_io_flush(io);
	ck_assert_uint_eq(drain(), 3);
	ck_assert_uint_eq(n_large, 0);
}
END_TEST

START_TEST(test_ece_on_all_is_joined)
{
	struct packets_seg seg = flow(_i, 1000);

	seg.flags |= PACKETS_ECE;
	ck_assert_uint_eq(packets_of(3, &seg, &seg), 1);
}
END_TEST

START_TEST(test_what_is_held_leaves_before_what_follows)
{
	struct packets_seg seg = flow(_i, 1000), ack = seg;

	ack.len = 0;
	tun_io_cork(io);
	put_next(&seg);
	put_next(&seg);
	ck_assert_uint_eq(drain(), 0);
	put_seg(&ack, true, 1);
	ck_assert_uint_eq(drain(), 2);
	put_next(&seg);
	put_icmp(_i, 100);
	ck_assert_uint_eq(drain(), 2);
	tun_io_flush(io);
	ck_assert_uint_eq(drain(), 0);
}
END_TEST

START_TEST(test_one_held_segment_is_no_gso_packet)
{
	struct packets_seg seg = flow(_i, 1000);

	tun_io_cork(io);
	put_next(&seg);
	tun_io_flush(io);
	ck_assert_uint_eq(drain(), 1);
	ck_assert_uint_eq(n_large, 0);
}
END_TEST

START_TEST(test_uncorked_everything_leaves_at_once)
{
	struct packets_seg seg = flow(_i, 1000);

	put_next(&seg);
	ck_assert_uint_eq(drain(), 1);
	put_next(&seg);
	ck_assert_uint_eq(drain(), 1);
	tun_io_cork(io);
	put_next(&seg);
	tun_io_flush(io);
	ck_assert_uint_eq(drain(), 1);
	put_next(&seg);
	ck_assert_uint_eq(drain(), 1);
}
END_TEST

START_TEST(test_without_offload_everything_leaves_as_it_is)
{
	struct packets_seg seg = flow(_i, 1000);

	close_io();
	open_io(true, false);
	tun_io_cork(io);
	for (uint32_t i = 1; i <= 5; i++) {
		put_seg(&seg, false, 2);
		seg.seq += seg.len;
		ck_assert_uint_eq(drain(), 1);
	}
	put_icmp(_i, 10);
	ck_assert_uint_eq(drain(), 1);
	tun_io_flush(io);
	ck_assert_uint_eq(drain(), 0);
	ck_assert_uint_eq(n_out, 6);
}
END_TEST

START_TEST(test_without_a_header_there_is_none)
{
	struct packets_seg seg = flow(_i, 1000);
	uint8_t buf[2048];

	close_io();
	open_io(false, false);
	put_seg(&seg, false, 3);
	ck_assert_int_eq(read(queue[1], buf, sizeof(buf)), expected[0].len);
	come_out(buf, expected[0].len);
}
END_TEST

/* As many pieces as the stack ever emits, for as long as they fit. */
START_TEST(test_number_of_pieces_is_limited)
{
	struct packets_seg seg = flow(_i, 100);

	tun_io_cork(io);
	for (uint32_t i = 0; i < 100; i++) {
		put_seg(&seg, true, STACK_EMIT_IOV_MAX - 1);
		seg.seq += seg.len;
		seg.payload += seg.len;
		drain();
	}
	tun_io_flush(io);
	drain();
	ck_assert_uint_eq(n_out, 100);
	ck_assert_uint_gt(n_packets, 3);
	ck_assert_uint_lt(n_packets, 50);
}
END_TEST

START_TEST(test_full_queue_drops_and_counts_segments)
{
	struct packets_seg seg = flow(_i, 1448);
	uint64_t out;

	while (!count(WC_tun_write_full)) {
		ck_assert_uint_lt(n_in, 100000);
		n_out = n_in; /* not looked at */
		tun_io_cork(io);
		put_next(&seg);
		put_next(&seg);
		put_next(&seg);
		tun_io_flush(io);
		seg.payload = pool;
	}
	out = count(WC_tun_packets_out);
	ck_assert_uint_eq(count(WC_tun_write_full), 3);
	ck_assert_uint_eq(out + 3, n_in);
	n_out = n_in;
	put_next(&seg); /* alone */
	ck_assert_uint_eq(count(WC_tun_write_full), 4);
	ck_assert_uint_eq(count(WC_tun_packets_out), out);
	ck_assert_uint_eq(count(WC_tun_write_errors), 0);
}
END_TEST

START_TEST(test_failed_write_is_counted)
{
	struct packets_seg seg = flow(_i, 1448);

	signal(SIGPIPE, SIG_IGN);
	close(queue[1]);
	tun_io_cork(io);
	put_next(&seg);
	put_next(&seg);
	tun_io_flush(io);
	ck_assert_uint_eq(count(WC_tun_write_errors), 2);
	ck_assert_uint_eq(count(WC_tun_packets_out), 0);
	queue[1] = dup(queue[0]);
}
END_TEST

/* --- anything, in any order --------------------------------------------- */

#define FLOWS 4u

static void random_flow(struct packets_seg *seg, uint32_t i)
{
	static const uint32_t units[] = { 1, 7, 100, 536, 1448, 8900 };

	*seg = flow(random_below(2), units[random_below(6)]);
	seg->dst_port = (uint16_t)(1000 + i);
	seg->seq = random_below(UINT32_MAX);
	if (random_below(2))
		seg->opts_len = 0;
}

/* Changes that last. */
static void random_change(struct packets_seg *seg)
{
	switch (random_below(8)) {
	case 0:
		seg->ack += random_below(2000);
		break;
	case 1:
		seg->wnd = (uint16_t)random_below(65536);
		break;
	case 2:
		seg->opts = opts[random_below(2)];
		break;
	case 3:
		seg->tos ^= 2;
		break;
	case 4:
		seg->flags ^= PACKETS_ECE;
		break;
	case 5:
		seg->seq += random_below(3000) - 1500;
		break;
	default:
		random_flow(seg, seg->dst_port - 1000u);
		break;
	}
}

static void random_segment(struct packets_seg *seg)
{
	static const uint8_t more[] = { PACKETS_PSH, PACKETS_FIN, PACKETS_CWR,
					PACKETS_RST,
					PACKETS_PSH | PACKETS_FIN };
	struct packets_seg one = *seg;

	if (!random_below(12))
		random_change(seg), one = *seg;
	if (!random_below(15))
		one.len = random_below(one.len + 1);
	if (!random_below(15))
		one.flags |= more[random_below(sizeof(more))];
	if (!random_below(25))
		one.len = 0;
	one.payload = pool + random_below(POOL_BYTES - one.len);
	put_seg(&one, true, 1 + random_below(STACK_EMIT_IOV_MAX - 1));
	seg->seq += one.len + !!(one.flags & PACKETS_FIN);
}

START_TEST(test_any_segments_come_out_as_they_went_in)
{
	struct packets_seg flows[FLOWS];
	uint32_t which = 0;

	random_state += (uint64_t)_i * 0x2545f4914f6cdd1d;
	for (uint32_t i = 0; i < FLOWS; i++)
		random_flow(&flows[i], i);
	for (uint32_t round = 0; round < 60; round++) {
		if (random_below(10))
			tun_io_cork(io);
		for (uint32_t n = random_below(200); n > 0; n--) {
			if (!random_below(10))
				which = random_below(FLOWS);
			if (random_below(30))
				random_segment(&flows[which]);
			else
				put_icmp(random_below(2), random_below(1000));
			drain();
		}
		tun_io_flush(io);
		drain();
		ck_assert_uint_eq(n_out, n_in);
	}
	ck_assert_uint_eq(count(WC_tun_packets_out), n_in);
	ck_assert_uint_gt(n_large, 100);
	ck_assert_uint_gt(most_segs, 8);
	ck_assert_uint_lt(n_packets, n_in * 3 / 4);
}
END_TEST

UNIT_MAIN("daemon/tun_io",
	  UNIT_LOOP("writing, IPv4 and IPv6", 2, up, close_io,
		    test_bulk_goes_in_large_packets,
		    test_large_packet_is_no_larger_than_its_length_can_say,
		    test_segment_of_another_kind_is_not_joined,
		    test_last_of_a_large_packet_may_be_short_or_say_more,
		    test_nothing_follows_a_short_or_pushed_segment,
		    test_nothing_follows_a_segment_with_cwr,
		    test_ece_on_all_is_joined,
		    test_what_is_held_leaves_before_what_follows,
		    test_one_held_segment_is_no_gso_packet,
		    test_uncorked_everything_leaves_at_once,
		    test_without_offload_everything_leaves_as_it_is,
		    test_without_a_header_there_is_none,
		    test_number_of_pieces_is_limited,
		    test_full_queue_drops_and_counts_segments,
		    test_failed_write_is_counted),
	  UNIT_LOOP("random", 8, up, close_io,
		    test_any_segments_come_out_as_they_went_in))
