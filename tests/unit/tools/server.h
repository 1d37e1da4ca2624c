/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TESTS_UNIT_TOOLS_SERVER_H
#define XTCP_TESTS_UNIT_TOOLS_SERVER_H

/*
 * server - the other side of the swarm, by hand: packets of IPv4 and IPv6
 * written and read byte by byte, checksums added up the slow way.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "../unit.h"

#define SERVER_PACKET_MAX 66000u

struct server_packet {
	uint8_t family;
	uint8_t src[16], dst[16];
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t flags;
	uint16_t window;
	uint8_t options[40];
	uint32_t options_len; /* a multiple of 4 */
	const uint8_t *payload;
	uint32_t payload_len;
};

static inline void server_put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void server_put32(uint8_t *p, uint32_t v)
{
	server_put16(p, v >> 16);
	server_put16(p + 2, v);
}

static inline uint32_t server_get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static inline uint32_t server_get32(const uint8_t *p)
{
	return server_get16(p) << 16 | server_get16(p + 2);
}

/* RFC 1071 as its text has it: 16 bits at a time, carries at once. */
static inline uint32_t server_sum(uint32_t sum, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		while (sum >> 16)
			sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

/* Of pseudo header, TCP header and text; 0xffff when the checksum is right. */
static inline uint32_t server_tcp_sum(uint8_t family, const uint8_t *src,
				      const uint8_t *dst, const uint8_t *tcp,
				      uint32_t len)
{
	uint32_t n = family == 4 ? 4 : 16;
	uint8_t rest[4] = { 0, 6, (uint8_t)(len >> 8), (uint8_t)len };
	uint32_t sum = server_sum(0, src, n);

	sum = server_sum(sum, dst, n);
	sum = server_sum(sum, rest, sizeof(rest));
	return server_sum(sum, tcp, len);
}

/* Writes the packet; returns its length. */
static inline uint32_t server_write(const struct server_packet *p, uint8_t *out)
{
	uint32_t ip = p->family == 4 ? 20 : 40;
	uint32_t tcp_len = 20 + p->options_len + p->payload_len;
	uint8_t *t = out + ip;

	memset(out, 0, ip + 20);
	if (p->family == 4) {
		out[0] = 0x45;
		server_put16(out + 2, ip + tcp_len);
		out[8] = 64;
		out[9] = 6;
		memcpy(out + 12, p->src, 4);
		memcpy(out + 16, p->dst, 4);
		server_put16(out + 10, 0xffff ^ server_sum(0, out, 20));
	} else {
		out[0] = 0x60;
		server_put16(out + 4, tcp_len);
		out[6] = 6;
		out[7] = 64;
		memcpy(out + 8, p->src, 16);
		memcpy(out + 24, p->dst, 16);
	}
	server_put16(t, p->sport);
	server_put16(t + 2, p->dport);
	server_put32(t + 4, p->seq);
	server_put32(t + 8, p->ack);
	t[12] = (uint8_t)((20 + p->options_len) << 2);
	t[13] = p->flags;
	server_put16(t + 14, p->window);
	memcpy(t + 20, p->options, p->options_len);
	if (p->payload_len)
		memcpy(t + 20 + p->options_len, p->payload, p->payload_len);
	server_put16(t + 16, 0xffff ^ server_tcp_sum(p->family, p->src, p->dst,
						     t, tcp_len));
	return ip + tcp_len;
}

/* Reads a packet, which has to be right in all respects. */
static inline struct server_packet server_read(const uint8_t *in, uint32_t len)
{
	struct server_packet p = { .family = in[0] >> 4 };
	uint32_t ip = p.family == 4 ? 20 : 40, n = p.family == 4 ? 4 : 16;
	const uint8_t *t = in + ip;
	uint32_t header;

	ck_assert_uint_ge(len, ip + 20);
	if (p.family == 4) {
		ck_assert_uint_eq(in[0], 0x45);
		ck_assert_uint_eq(server_get16(in + 2), len);
		ck_assert_uint_eq(server_sum(0, in, 20), 0xffff);
		ck_assert_uint_eq(in[9], 6);
	} else {
		ck_assert_uint_eq(server_get16(in + 4), len - 40);
		ck_assert_uint_eq(in[6], 6);
	}
	memcpy(p.src, in + (p.family == 4 ? 12 : 8), n);
	memcpy(p.dst, in + (p.family == 4 ? 16 : 24), n);
	ck_assert_uint_eq(server_tcp_sum(p.family, p.src, p.dst, t, len - ip),
			  0xffff);
	header = (uint32_t)(t[12] >> 4) * 4;
	ck_assert_uint_ge(header, 20);
	ck_assert_uint_le(ip + header, len);
	p.sport = (uint16_t)server_get16(t);
	p.dport = (uint16_t)server_get16(t + 2);
	p.seq = server_get32(t + 4);
	p.ack = server_get32(t + 8);
	p.flags = t[13];
	p.window = (uint16_t)server_get16(t + 14);
	p.options_len = header - 20;
	memcpy(p.options, t + 20, p.options_len);
	p.payload = t + header;
	p.payload_len = len - ip - header;
	return p;
}

#endif
