/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * packets - packets made byte by byte, with nothing of what is tested.
 */
#ifndef XTCP_TESTS_DAEMON_PACKETS_H
#define XTCP_TESTS_DAEMON_PACKETS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PACKETS_FIN 0x01u
#define PACKETS_RST 0x04u
#define PACKETS_PSH 0x08u
#define PACKETS_ACK 0x10u
#define PACKETS_ECE 0x40u
#define PACKETS_CWR 0x80u
#define PACKETS_HDR_MAX 160u /* with IP options or an extension header */

struct packets_seg {
	bool v6;
	uint8_t tos, flags;
	uint16_t src_port, dst_port, wnd;
	uint32_t seq, ack;
	/* IPv4 options, or an IPv6 destination-options header: whole words. */
	const uint8_t *ip_opts;
	uint32_t ip_opts_len;
	const uint8_t *opts; /* TCP's, whole words */
	uint32_t opts_len;
	const uint8_t *payload;
	uint32_t len;
};

static inline uint32_t packets_get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static inline void packets_put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void packets_put32(uint8_t *p, uint32_t v)
{
	packets_put16(p, v >> 16);
	packets_put16(p + 2, v & 0xffff);
}

/* RFC 1071, byte by byte; the sum is not complemented. */
static inline uint32_t packets_sum(uint32_t sum, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Of the pseudo-header; len: TCP's header and payload. */
static inline uint32_t packets_pseudo(const uint8_t *packet, uint32_t len)
{
	bool v6 = packet[0] >> 4 == 6;

	return packets_sum(6 + (len >> 16) + (len & 0xffff),
			   packet + (v6 ? 8 : 12), v6 ? 32 : 8);
}

static inline uint32_t packets_ip(const struct packets_seg *seg, uint8_t *buf,
				  uint32_t payload)
{
	static const uint8_t cli4[4] = { 198, 51, 100, 7 };
	static const uint8_t vip4[4] = { 192, 0, 2, 10 };
	static const uint8_t cli6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 7 };
	static const uint8_t vip6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 0x10 };
	uint32_t hdr = (seg->v6 ? 40 : 20) + seg->ip_opts_len;

	memset(buf, 0, hdr);
	if (seg->ip_opts_len)
		memcpy(buf + hdr - seg->ip_opts_len, seg->ip_opts,
		       seg->ip_opts_len);
	if (seg->v6) {
		buf[0] = (uint8_t)(0x60 | seg->tos >> 4);
		buf[1] = (uint8_t)(seg->tos << 4);
		packets_put16(buf + 4, hdr - 40 + payload);
		buf[6] = seg->ip_opts_len ? 60 : 6;
		buf[7] = 64;
		memcpy(buf + 8, cli6, 16);
		memcpy(buf + 24, vip6, 16);
		return hdr;
	}
	buf[0] = (uint8_t)(0x40 | hdr / 4);
	buf[1] = seg->tos;
	packets_put16(buf + 2, hdr + payload);
	buf[6] = 0x40; /* DF */
	buf[8] = 64;
	buf[9] = 6;
	memcpy(buf + 12, cli4, 4);
	memcpy(buf + 16, vip4, 4);
	packets_put16(buf + 10, ~packets_sum(0, buf, hdr) & 0xffff);
	return hdr;
}

/*
 * partial: TCP's checksum is the sum of the pseudo-header only. Returns the
 * length; *ret_hdr: that of the headers.
 */
static inline uint32_t packets_build(const struct packets_seg *seg,
				     bool partial, uint8_t *buf,
				     uint32_t *ret_hdr)
{
	uint32_t len = 20 + seg->opts_len + seg->len, sum;
	uint32_t ip_len = packets_ip(seg, buf, len);
	uint8_t *tcp = buf + ip_len;

	memset(tcp, 0, 20);
	packets_put16(tcp, seg->src_port);
	packets_put16(tcp + 2, seg->dst_port);
	packets_put32(tcp + 4, seg->seq);
	packets_put32(tcp + 8, seg->ack);
	tcp[12] = (uint8_t)((20 + seg->opts_len) / 4 << 4);
	tcp[13] = seg->flags;
	packets_put16(tcp + 14, seg->wnd);
	if (seg->opts_len)
		memcpy(tcp + 20, seg->opts, seg->opts_len);
	if (seg->len)
		memcpy(tcp + 20 + seg->opts_len, seg->payload, seg->len);
	sum = packets_pseudo(buf, len);
	if (!partial)
		sum = ~packets_sum(sum, tcp, len) & 0xffff;
	packets_put16(tcp + 16, sum);
	*ret_hdr = ip_len + 20 + seg->opts_len;
	return ip_len + len;
}

/* A generator of its own: the same on every machine. */
static inline uint32_t packets_random(uint64_t *state, uint32_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)((*state >> 16) % below);
}

#endif
