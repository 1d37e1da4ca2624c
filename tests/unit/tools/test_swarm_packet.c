/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>

#include "base/bytes.h"
#include "tools/swarm_packet.h"
#include "tools/swarm_pattern.h"
#include "tools/swarm_rng.h"
#include "tools/swarm_sum.h"
#include "unit/tools/server.h"
#include "unit/unit.h"

static struct swarm_wire wire;
static struct swarm_pattern *pattern;
static struct swarm_headers headers;
static uint8_t packet[SERVER_PACKET_MAX];

/* _i: 0 IPv4, 1 and 2 IPv6, where networks differ. */
static void setup_family(int i)
{
	uint16_t port;

	wire = (struct swarm_wire){ .mss = 1460,
				    .wscale = 4,
				    .timestamps = true };
	ck_assert_int_eq(swarm_endpoint_parse(i ? "[2001:db8::10]:7"
						: "192.0.2.10:7",
					      &wire.server, &wire.server_port),
			 0);
	ck_assert_int_eq(swarm_endpoint_parse(i ? "[fd64::1:0]:1"
						: "10.64.0.0:1",
					      &wire.client, &port),
			 0);
	wire.word_at = i == 2 ? 4 : i ? 12 : 0;
	swarm_wire_init(&wire);
}

static void setup(void)
{
	pattern = swarm_pattern_new(4711);
	ck_assert_ptr_nonnull(pattern);
}

static void teardown(void)
{
	free(pattern);
}

/* Puts header and payload together. */
static uint32_t build(const struct swarm_out *out, const uint8_t *payload)
{
	swarm_packet_build(&wire, out, &headers);
	memcpy(packet, headers.bytes, headers.len);
	if (payload)
		memcpy(packet + headers.len, payload, out->payload_len);
	return headers.len + out->payload_len;
}

START_TEST(test_packet_built_is_right_to_the_last_bit)
{
	struct swarm_rng rng = { 1 };

	setup_family(_i);
	for (uint32_t i = 0; i < 3000; i++) {
		uint32_t stream = (uint32_t)swarm_rng_next(&rng);
		struct swarm_out out = {
			.src_word = (uint32_t)swarm_rng_next(&rng),
			.src_port = (uint16_t)swarm_rng_next(&rng),
			.flags = SWARM_ACK | SWARM_PSH,
			.has_ts = i % 2,
			.seq = (uint32_t)swarm_rng_next(&rng),
			.ack = (uint32_t)swarm_rng_next(&rng),
			.window = (uint16_t)swarm_rng_next(&rng),
			.payload_len = swarm_rng_below(&rng, 1449),
			.tsval = i,
			.tsecr = ~i,
		};
		struct server_packet p;

		out.payload_sum = swarm_pattern_sum(pattern, stream, out.seq,
						    out.payload_len);
		p = server_read(packet,
				build(&out, swarm_pattern_at(pattern, stream,
							     out.seq)));
		ck_assert_uint_eq(p.sport, out.src_port);
		ck_assert_uint_eq(p.dport, 7);
		ck_assert_uint_eq(p.seq, out.seq);
		ck_assert_uint_eq(p.ack, out.ack);
		ck_assert_uint_eq(p.flags, out.flags);
		ck_assert_uint_eq(p.window, out.window);
		ck_assert_uint_eq(p.payload_len, out.payload_len);
		ck_assert_uint_eq(server_get32(p.src + wire.word_at),
				  out.src_word);
		ck_assert_mem_eq(p.dst, wire.server.bytes, _i ? 16 : 4);
		ck_assert_uint_eq(p.options_len, out.has_ts ? 12 : 0);
		if (out.has_ts)
			ck_assert_uint_eq(server_get32(p.options + 8), ~i);
	}
}
END_TEST

START_TEST(test_packet_syn_offers_what_it_should)
{
	static const uint8_t options[] = { 2,  4,  1460 >> 8, 1460 & 255, 1,
					   3,  3,  4,	      1,	  1,
					   8,  10, 0,	      0,	  0,
					   99, 0,  0,	      0,	  0 };
	const struct swarm_out out = { .flags = SWARM_SYN,
				       .has_ts = true,
				       .tsval = 99 };
	struct server_packet p;

	setup_family(_i);
	p = server_read(packet, build(&out, NULL));
	ck_assert_uint_eq(p.options_len, sizeof(options));
	ck_assert_mem_eq(p.options, options, sizeof(options));
}
END_TEST

/* As the kernel does it: from csum_start on, with what stands in the field. */
START_TEST(test_packet_with_offload_has_a_sum_to_be_completed)
{
	const struct swarm_out out = { .flags = SWARM_ACK,
				       .src_word = 0x0a400102,
				       .seq = 77,
				       .payload_len = 4000,
				       .gso_size = 1460 };
	const struct virtio_net_hdr *vnet = &headers.vnet;
	uint32_t n, at;

	setup_family(_i);
	wire.offload = true;
	n = build(&out, swarm_pattern_at(pattern, 5, 6));
	ck_assert_uint_eq(vnet->flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	ck_assert_uint_eq(vnet->gso_type, _i ? VIRTIO_NET_HDR_GSO_TCPV6
					     : VIRTIO_NET_HDR_GSO_TCPV4);
	ck_assert_uint_eq(vnet->gso_size, 1460);
	ck_assert_uint_eq(vnet->hdr_len, n - 4000);
	at = vnet->csum_start;
	ck_assert_uint_eq(at, _i ? 40 : 20);
	server_put16(packet + at + vnet->csum_offset,
		     0xffff ^ server_sum(0, packet + at, n - at));
	ck_assert_uint_eq(server_read(packet, n).seq, 77);
}
END_TEST

static struct server_packet from_server(int i)
{
	struct server_packet p = { .family = i ? 6 : 4,
				   .sport = 7,
				   .dport = 1025,
				   .seq = 0xfffffff0,
				   .ack = 5,
				   .flags = SWARM_ACK,
				   .window = 1000 };

	memcpy(p.src, wire.server.bytes, 16);
	memcpy(p.dst, wire.client.bytes, 16);
	p.dst[wire.word_at + 3] = 9;
	return p;
}

START_TEST(test_packet_parsed_is_what_was_sent)
{
	static const uint8_t syn_options[] = { 2, 4,  5, 0, 1, 3, 3, 7, 1, 1,
					       8, 10, 0, 0, 0, 1, 0, 0, 0, 2 };
	struct server_packet p;
	struct swarm_seg seg;
	uint32_t n;

	setup_family(_i);
	p = from_server(_i);
	p.flags |= SWARM_SYN;
	p.options_len = sizeof(syn_options);
	memcpy(p.options, syn_options, sizeof(syn_options));
	p.payload = (const uint8_t *)"odd";
	p.payload_len = 3;
	n = server_write(&p, packet);
	ck_assert_int_eq(swarm_packet_parse(&wire, NULL, packet, n, &seg),
			 SWARM_PARSE_OK);
	ck_assert_uint_eq(seg.dst_word, _i == 2 ? 9
					: _i	? 0x00010009
						: 0x0a400009);
	ck_assert_uint_eq(seg.dst_port, 1025);
	ck_assert_uint_eq(seg.seq, 0xfffffff0);
	ck_assert_uint_eq(seg.ack, 5);
	ck_assert_uint_eq(seg.window, 1000);
	ck_assert_uint_eq(seg.mss, 0x500);
	ck_assert_uint_eq(seg.wscale, 7);
	ck_assert(seg.has_ts);
	ck_assert_uint_eq(seg.tsval, 1);
	ck_assert_uint_eq(seg.tsecr, 2);
	ck_assert_uint_eq(seg.len, 3);
	ck_assert_mem_eq(seg.payload, "odd", 3);
	ck_assert(!seg.sum_known);
	ck_assert(swarm_seg_sum_ok(&seg, swarm_sum_bytes(seg.payload, 3)));
	ck_assert(!swarm_seg_sum_ok(&seg, swarm_sum_bytes(seg.payload, 2)));
}
END_TEST

START_TEST(test_packet_every_flipped_bit_is_found)
{
	struct server_packet p;
	struct swarm_seg seg;
	uint32_t n;

	setup_family(_i);
	p = from_server(_i);
	p.payload = (const uint8_t *)"four";
	p.payload_len = 4;
	n = server_write(&p, packet);
	for (uint32_t bit = 0; bit < n * 8; bit++) {
		bool ok;

		/* traffic class, flow label and hop limit are not covered */
		if (_i && (bit < 32 || bit / 8 == 7))
			continue;
		packet[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ok = swarm_packet_parse(&wire, NULL, packet, n, &seg) ==
			     SWARM_PARSE_OK &&
		     swarm_seg_sum_ok(&seg,
				      swarm_sum_bytes(seg.payload, seg.len));
		packet[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_msg(!ok, "bit %u", bit);
	}
}
END_TEST

START_TEST(test_packet_of_any_length_is_read_within_its_bounds)
{
	struct swarm_rng rng = { 3 };
	struct swarm_seg seg;

	setup_family(_i);
	for (uint32_t i = 0; i < 20000; i++) {
		struct server_packet p = from_server(_i);
		uint8_t *exact;
		uint32_t n, cut;

		p.options_len = 4 * swarm_rng_below(&rng, 11);
		for (uint32_t k = 0; k < p.options_len; k++)
			p.options[k] = (uint8_t)swarm_rng_below(&rng, 12);
		n = server_write(&p, packet);
		packet[swarm_rng_below(&rng, n)] =
			(uint8_t)swarm_rng_next(&rng);
		cut = swarm_rng_below(&rng, n + 1);
		/* on the heap, so that a sanitizer sees the end */
		exact = malloc(cut + 1);
		memcpy(exact, packet, cut);
		if (swarm_packet_parse(&wire, NULL, exact, cut, &seg) ==
		    SWARM_PARSE_OK)
			ck_assert_uint_le(seg.len, cut);
		free(exact);
	}
}
END_TEST

START_TEST(test_packet_of_others_is_not_ours)
{
	struct server_packet p;
	struct swarm_seg seg;
	uint32_t n;

	setup_family(_i);
	p = from_server(_i);
	p.src[0] ^= 1;
	n = server_write(&p, packet);
	ck_assert_int_eq(swarm_packet_parse(&wire, NULL, packet, n, &seg),
			 SWARM_PARSE_OTHER);
	p.src[0] ^= 1;
	p.sport = 8;
	n = server_write(&p, packet);
	ck_assert_int_eq(swarm_packet_parse(&wire, NULL, packet, n, &seg),
			 SWARM_PARSE_OTHER);
	p.sport = 7;
	n = server_write(&p, packet);
	packet[_i ? 6 : 9] = 17;
	if (!_i)
		server_put16(packet + 10, 0),
			server_put16(packet + 10,
				     0xffff ^ server_sum(0, packet, 20));
	ck_assert_int_eq(swarm_packet_parse(&wire, NULL, packet, n, &seg),
			 SWARM_PARSE_OTHER);
}
END_TEST

START_TEST(test_packet_what_the_kernel_joined_is_counted)
{
	const struct virtio_net_hdr vnet = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = 1448,
	};
	struct server_packet p;
	struct swarm_seg seg;
	uint32_t n;

	setup_family(_i);
	p = from_server(_i);
	p.payload = pattern->bytes;
	p.payload_len = 2 * 1448 + 1;
	n = server_write(&p, packet);
	ck_assert_int_eq(swarm_packet_parse(&wire, &vnet, packet, n, &seg),
			 SWARM_PARSE_OK);
	ck_assert_uint_eq(seg.n_segs, 3);
	ck_assert(seg.sum_known && swarm_seg_sum_ok(&seg, 0));
}
END_TEST

START_TEST(test_sum_is_that_of_the_slow_way)
{
	for (uint32_t at = 0; at < 5; at++)
		for (uint32_t len = 0; len < 200; len++)
			ck_assert_uint_eq(
				swarm_sum_bytes(pattern->bytes + at, len) %
					0xffff,
				server_sum(0, pattern->bytes + at, len) %
					0xffff);
}
END_TEST

START_TEST(test_pattern_sum_is_that_of_its_bytes)
{
	static const uint32_t places[] = { 0,	  1,	65534,	   65535,
					   65536, 4711, 0xffffffff };
	static const uint32_t lens[] = { 0,    1,     2,     3,	   1447,
					 1448, 20000, 65000, 65536 };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		for (size_t k = 0; k < ARRAY_SIZE(lens); k++)
			ck_assert_uint_eq(swarm_pattern_sum(pattern, places[i],
							    3, lens[k]) %
						  0xffff,
					  server_sum(0,
						     swarm_pattern_at(pattern,
								      places[i],
								      3),
						     lens[k]) %
						  0xffff);
}
END_TEST

START_TEST(test_pattern_goes_on_over_its_end_and_over_the_wrap)
{
	for (uint32_t pos = 0xffffffff - 200000; pos != 200000; pos += 7)
		ck_assert_uint_eq(swarm_pattern_at(pattern, 99, pos)[1],
				  swarm_pattern_at(pattern, 99, pos + 1)[0]);
}
END_TEST

UNIT_MAIN("tools/swarm_packet",
	  UNIT_LOOP("IPv4 and IPv6", 3, setup, teardown,
		    test_packet_built_is_right_to_the_last_bit,
		    test_packet_syn_offers_what_it_should,
		    test_packet_with_offload_has_a_sum_to_be_completed,
		    test_packet_parsed_is_what_was_sent,
		    test_packet_every_flipped_bit_is_found,
		    test_packet_of_any_length_is_read_within_its_bounds,
		    test_packet_of_others_is_not_ours,
		    test_packet_what_the_kernel_joined_is_counted),
	  UNIT_CASE("all", setup, teardown, test_sum_is_that_of_the_slow_way,
		    test_pattern_sum_is_that_of_its_bytes,
		    test_pattern_goes_on_over_its_end_and_over_the_wrap))
