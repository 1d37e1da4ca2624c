/* SPDX-License-Identifier: BSD-2-Clause */
#include "wire.h"

#include <string.h>

#include "rng.h"

#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_ICMP6 58

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

/* RFC 1071, in words of 16 bits as they lie in memory. */
static uint32_t sum_bytes(uint32_t sum, const uint8_t *p, uint32_t len)
{
	uint64_t wide = sum;
	uint16_t word;

	for (; len >= 2; len -= 2, p += 2) {
		memcpy(&word, p, 2);
		wide += word;
	}
	if (len) {
		word = 0;
		memcpy(&word, p, 1);
		wide += word;
	}
	while (wide >> 16)
		wide = (wide & 0xffff) + (wide >> 16);
	return (uint32_t)wide;
}

static uint32_t sum_transport(const uint8_t *packet, bool v6, uint32_t proto,
			      uint32_t hdr, uint32_t len)
{
	uint8_t pseudo[8] = { 0 };
	uint32_t sum;

	put32(pseudo, len);
	pseudo[7] = (uint8_t)proto;
	sum = sum_bytes(0, packet + (v6 ? 8 : 12), v6 ? 32 : 8);
	sum = sum_bytes(sum, pseudo, sizeof(pseudo));
	return sum_bytes(sum, packet + hdr, len);
}

static void store_sum(uint8_t *at, uint32_t sum)
{
	uint16_t word = (uint16_t)~sum;

	memcpy(at, &word, 2);
}

static const char *parse_option(const uint8_t *p, uint8_t len, struct wire *w)
{
	switch (p[0]) {
	case 2:
		w->has_mss = true;
		w->mss = wire_get16(p + 2);
		return len == 4 ? NULL : "length of the MSS option";
	case 3:
		w->has_ws = true;
		w->ws = p[2];
		return len == 3 && p[2] <= 14 ? NULL : "window scale option";
	case 4:
		w->sack_ok = true;
		return len == 2 ? NULL : "length of SACK-permitted";
	case 5:
		if (len < 10 || (len - 2) % 8 || len > 34)
			return "length of the SACK option";
		w->n_sacks = (uint8_t)((len - 2) / 8);
		for (uint32_t i = 0; i < w->n_sacks; i++)
			w->sacks[i] =
				(struct wire_sack){ wire_get32(p + 2 + 8 * i),
						    wire_get32(p + 6 + 8 * i) };
		return NULL;
	case 8:
		w->has_ts = true;
		w->tsval = wire_get32(p + 2);
		w->tsecr = wire_get32(p + 6);
		return len == 10 ? NULL : "length of the timestamp option";
	default:
		return "an option that nobody asked for";
	}
}

static const char *parse_options(const uint8_t *p, uint32_t len, struct wire *w)
{
	uint32_t i = 0;

	while (i < len && p[i] != 0) {
		const char *wrong;

		if (p[i] == 1) {
			i++;
			continue;
		}
		if (i + 2 > len || p[i + 1] < 2 || i + p[i + 1] > len)
			return "an option runs over the header's end";
		wrong = parse_option(p + i, p[i + 1], w);
		if (wrong)
			return wrong;
		i += p[i + 1];
	}
	return NULL;
}

static const char *parse_tcp(const uint8_t *packet, uint32_t hdr, uint32_t len,
			     struct wire *w)
{
	const uint8_t *tcp = packet + hdr;
	uint32_t off;

	if (len - hdr < 20)
		return "too short for TCP";
	if (sum_transport(packet, w->v6, PROTO_TCP, hdr, len - hdr) != 0xffff)
		return "TCP checksum";
	off = (uint32_t)(tcp[12] >> 4) * 4;
	if (off < 20 || off > len - hdr)
		return "data offset";
	w->sport = wire_get16(tcp);
	w->dport = wire_get16(tcp + 2);
	w->seq = wire_get32(tcp + 4);
	w->ack = wire_get32(tcp + 8);
	w->flags = tcp[13];
	w->wnd = wire_get16(tcp + 14);
	w->urgent = wire_get16(tcp + 18);
	w->opts_len = off - 20;
	w->hdr_len = hdr + off;
	w->len = len - hdr - off;
	w->payload = tcp + off;
	return parse_options(tcp + 20, off - 20, w);
}

static const char *parse_ip4(const uint8_t *p, uint32_t len, struct wire *w)
{
	if (len < 20 || p[0] != 0x45)
		return "IPv4 header";
	if (wire_get16(p + 2) != len)
		return "IPv4 total length";
	if (sum_bytes(0, p, 20) != 0xffff)
		return "IPv4 header checksum";
	w->df = p[6] & 0x40;
	w->ecn = p[1] & 3;
	w->fragment = wire_get16(p + 6) & 0x3fff;
	memcpy(w->src, p + 12, 4);
	memcpy(w->dst, p + 16, 4);
	return NULL;
}

static const char *parse_ip6(const uint8_t *p, uint32_t len, struct wire *w)
{
	if (len < 40 || p[0] >> 4 != 6)
		return "IPv6 header";
	if (wire_get16(p + 4) + 40u != len)
		return "IPv6 payload length";
	w->df = true;
	w->ecn = p[1] >> 4 & 3;
	memcpy(w->src, p + 8, 16);
	memcpy(w->dst, p + 24, 16);
	return NULL;
}

const char *wire_parse(const uint8_t *packet, uint32_t len, struct wire *ret)
{
	const char *wrong;
	uint32_t hdr;
	uint8_t proto;

	*ret = (struct wire){ .v6 = len && packet[0] >> 4 == 6 };
	wrong = ret->v6 ? parse_ip6(packet, len, ret)
			: parse_ip4(packet, len, ret);
	if (wrong)
		return wrong;
	hdr = ret->v6 ? 40 : 20;
	proto = packet[ret->v6 ? 6 : 9];
	if (proto == PROTO_TCP && !ret->fragment)
		return parse_tcp(packet, hdr, len, ret);
	ret->icmp = proto == (ret->v6 ? PROTO_ICMP6 : PROTO_ICMP);
	ret->payload = packet + hdr;
	ret->len = len - hdr;
	return ret->icmp || ret->fragment ? NULL : "IP protocol";
}

uint32_t wire_opts_len(const struct wire *w)
{
	uint32_t n = 0;

	if (w->has_mss)
		n += 4;
	if (w->has_ws)
		n += 4;
	if (w->sack_ok)
		n += w->has_ts ? 2 : 4;
	if (w->has_ts)
		n += w->sack_ok ? 10 : 12;
	if (w->n_sacks)
		n += 4 + 8u * w->n_sacks;
	return n;
}

/* As Linux lays them out: SACK-permitted takes the place of two NOPs. */
static void build_options(const struct wire *w, uint8_t *p)
{
	if (w->has_mss) {
		*p++ = 2;
		*p++ = 4;
		put16(p, w->mss);
		p += 2;
	}
	if (w->sack_ok) {
		*p++ = 4;
		*p++ = 2;
	}
	if (w->has_ts) {
		if (!w->sack_ok) {
			*p++ = 1;
			*p++ = 1;
		}
		*p++ = 8;
		*p++ = 10;
		put32(p, w->tsval);
		put32(p + 4, w->tsecr);
		p += 8;
	} else if (w->sack_ok) {
		*p++ = 1;
		*p++ = 1;
	}
	if (w->has_ws) {
		*p++ = 1;
		*p++ = 3;
		*p++ = 3;
		*p++ = w->ws;
	}
	if (w->n_sacks) {
		*p++ = 1;
		*p++ = 1;
		*p++ = 5;
		*p++ = (uint8_t)(2 + 8 * w->n_sacks);
		for (uint32_t i = 0; i < w->n_sacks; i++, p += 8) {
			put32(p, w->sacks[i].left);
			put32(p + 4, w->sacks[i].right);
		}
	}
}

static void build_ip(bool v6, uint8_t proto, uint8_t ecn, bool df,
		     uint32_t payload, const uint8_t *src, const uint8_t *dst,
		     uint8_t *p)
{
	if (v6) {
		memset(p, 0, 40);
		put32(p, 6u << 28 | (uint32_t)ecn << 20);
		put16(p + 4, payload);
		p[6] = proto;
		p[7] = 57;
		memcpy(p + 8, src, 16);
		memcpy(p + 24, dst, 16);
		return;
	}
	memset(p, 0, 20);
	p[0] = 0x45;
	p[1] = ecn;
	put16(p + 2, 20 + payload);
	p[6] = df ? 0x40 : 0;
	p[8] = 57;
	p[9] = proto;
	memcpy(p + 12, src, 4);
	memcpy(p + 16, dst, 4);
	store_sum(p + 10, sum_bytes(0, p, 20));
}

uint32_t wire_build(const struct wire *w, uint8_t *buf)
{
	uint32_t hdr = w->v6 ? 40 : 20, opts = wire_opts_len(w);
	uint32_t len = 20 + opts + w->len;
	uint8_t *tcp = buf + hdr;

	build_ip(w->v6, PROTO_TCP, w->ecn, w->df, len, w->src, w->dst, buf);
	put16(tcp, w->sport);
	put16(tcp + 2, w->dport);
	put32(tcp + 4, w->seq);
	put32(tcp + 8, w->ack);
	tcp[12] = (uint8_t)((20 + opts) / 4 << 4);
	tcp[13] = w->flags;
	put16(tcp + 14, w->wnd);
	put16(tcp + 16, 0);
	put16(tcp + 18, w->urgent);
	build_options(w, tcp + 20);
	if (w->len)
		memcpy(tcp + 20 + opts, w->payload, w->len);
	store_sum(tcp + 16, sum_transport(buf, w->v6, PROTO_TCP, hdr, len));
	return hdr + len;
}

uint32_t wire_build_too_big(const uint8_t *packet, uint32_t len, uint32_t mtu,
			    uint8_t *buf)
{
	static const uint8_t router4[16] = { 203, 0, 113, 1 };
	static const uint8_t router6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 };
	bool v6 = packet[0] >> 4 == 6;
	uint32_t hdr = v6 ? 40 : 20;
	uint32_t quote = v6 ? 1232 : 28;
	uint8_t *icmp = buf + hdr;

	if (quote > len)
		quote = len;
	build_ip(v6, v6 ? PROTO_ICMP6 : PROTO_ICMP, 0, false, 8 + quote,
		 v6 ? router6 : router4, packet + (v6 ? 8 : 12), buf);
	memset(icmp, 0, 8);
	icmp[0] = v6 ? 2 : 3;
	icmp[1] = v6 ? 0 : 4;
	put32(icmp + 4, mtu);
	memcpy(icmp + 8, packet, quote);
	store_sum(icmp + 2,
		  v6 ? sum_transport(buf, true, PROTO_ICMP6, 40, 8 + quote)
		     : sum_bytes(0, icmp, 8 + quote));
	return hdr + 8 + quote;
}

uint32_t wire_fragment(const uint8_t *packet, uint32_t len, uint32_t mtu,
		       uint32_t i, uint16_t id, uint8_t *buf)
{
	uint32_t step = (mtu - 20) & ~7u, at = i * step, n = len - 20;

	if (at >= n)
		return 0;
	n = n - at < step ? n - at : step;
	memcpy(buf, packet, 20);
	put16(buf + 2, 20 + n);
	put16(buf + 4, id);
	put16(buf + 6, at / 8 | (at + n < len - 20 ? 0x2000 : 0));
	put16(buf + 10, 0);
	store_sum(buf + 10, sum_bytes(0, buf, 20));
	memcpy(buf + 20, packet + 20 + at, n);
	return 20 + n;
}

bool wire_mark_ce(uint8_t *p)
{
	if (p[0] >> 4 == 6) {
		if (!(p[1] & 0x30))
			return false;
		p[1] |= 0x30;
		return true;
	}
	if (!(p[1] & 3))
		return false;
	p[1] |= 3;
	put16(p + 10, 0);
	store_sum(p + 10, sum_bytes(0, p, 20));
	return true;
}

static uint64_t pattern_word(uint64_t key, uint64_t i)
{
	return rng_mix(key + i * UINT64_C(0x9e3779b97f4a7c15));
}

void pattern_fill(uint64_t key, uint64_t pos, uint8_t *buf, uint32_t len)
{
	while (len) {
		uint64_t word = pattern_word(key, pos / 8) >> 8 * (pos % 8);
		uint32_t n = 8 - (uint32_t)(pos % 8);

		n = n < len ? n : len;
		memcpy(buf, &word, n);
		buf += n;
		pos += n;
		len -= n;
	}
}

int64_t pattern_check(uint64_t key, uint64_t pos, const uint8_t *buf,
		      uint32_t len)
{
	uint64_t start = pos;

	while (len) {
		uint64_t word = pattern_word(key, pos / 8) >> 8 * (pos % 8);
		uint32_t n = 8 - (uint32_t)(pos % 8);

		n = n < len ? n : len;
		if (memcmp(buf, &word, n) != 0)
			return (int64_t)(pos - start);
		buf += n;
		pos += n;
		len -= n;
	}
	return -1;
}
