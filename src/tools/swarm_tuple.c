/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/swarm_tuple.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* Shorter ones of IPv6 would make sums of 64 bits; longer ones have no client. */
#define PREFIX4_MIN 1
#define PREFIX4_MAX 30
#define PREFIX6_MIN 16
#define PREFIX6_MAX 126
/* The rest of an IPv6 address is the interface's. */
#define NETWORK6_BITS 64
#define TURN_BITS_MAX 8

static int swarm_number_parse(const char *text, unsigned long min,
			      unsigned long max, unsigned long *ret_n)
{
	unsigned long n;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *end || n < min || n > max)
		return -EINVAL;
	*ret_n = n;
	return 0;
}

/* The first len bytes of text, without brackets. */
static int swarm_ip_parse(const char *text, size_t len, struct swarm_ip *ret_ip)
{
	struct swarm_ip ip = { 0 };
	char copy[INET6_ADDRSTRLEN];

	if (len >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (inet_pton(AF_INET, copy, ip.bytes) == 1)
		ip.family = 4;
	else if (inet_pton(AF_INET6, copy, ip.bytes) == 1)
		ip.family = 6;
	else
		return -EINVAL;
	*ret_ip = ip;
	return 0;
}

/* Whether a and b agree in their first len bits. */
static bool swarm_ip_same(const uint8_t *a, const uint8_t *b, unsigned int len)
{
	unsigned int rest = len % 8;

	if (memcmp(a, b, len / 8) != 0)
		return false;
	return rest == 0 || (a[len / 8] ^ b[len / 8]) >> (8 - rest) == 0;
}

int swarm_prefix_parse(const char *text, struct swarm_prefix *ret_prefix)
{
	const char *slash = strchr(text, '/');
	struct swarm_prefix p = { 0 };
	unsigned long len;
	unsigned int bits;

	if (!slash || swarm_ip_parse(text, (size_t)(slash - text), &p.ip) < 0)
		return -EINVAL;
	if (swarm_number_parse(
		    slash + 1, p.ip.family == 4 ? PREFIX4_MIN : PREFIX6_MIN,
		    p.ip.family == 4 ? PREFIX4_MAX : PREFIX6_MAX, &len) < 0)
		return -EINVAL;
	p.len = (uint8_t)len;
	bits = swarm_ip_bytes(p.ip.family) * 8;
	for (unsigned int i = p.len; i < bits; i++)
		if (p.ip.bytes[i / 8] & 0x80u >> i % 8)
			return -EINVAL;
	*ret_prefix = p;
	return 0;
}

int swarm_endpoint_parse(const char *text, struct swarm_ip *ret_ip,
			 uint16_t *ret_port)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	bool brackets = len > 2 && text[0] == '[' && colon[-1] == ']';
	struct swarm_ip ip;
	unsigned long port;

	if (!colon || swarm_number_parse(colon + 1, 1, UINT16_MAX, &port) < 0)
		return -EINVAL;
	if (brackets && swarm_ip_parse(text + 1, len - 2, &ip) < 0)
		return -EINVAL;
	if (!brackets && swarm_ip_parse(text, len, &ip) < 0)
		return -EINVAL;
	if (brackets != (ip.family == 6))
		return -EINVAL;
	*ret_ip = ip;
	*ret_port = (uint16_t)port;
	return 0;
}

static const char *swarm_ip_text(const struct swarm_ip *ip, char *ret_text)
{
	inet_ntop(ip->family == 4 ? AF_INET : AF_INET6, ip->bytes, ret_text,
		  INET6_ADDRSTRLEN);
	return ret_text;
}

const char *swarm_prefix_text(const struct swarm_prefix *p, char *ret_text)
{
	char ip[INET6_ADDRSTRLEN];

	snprintf(ret_text, SWARM_ADDR_TEXT_BYTES, "%s/%u",
		 swarm_ip_text(&p->ip, ip), (unsigned int)p->len);
	return ret_text;
}

const char *swarm_endpoint_text(const struct swarm_ip *ip, uint16_t port,
				char *ret_text)
{
	char text[INET6_ADDRSTRLEN];

	snprintf(ret_text, SWARM_ADDR_TEXT_BYTES,
		 ip->family == 4 ? "%s:%u" : "[%s]:%u", swarm_ip_text(ip, text),
		 (unsigned int)port);
	return ret_text;
}

bool swarm_prefix_holds(const struct swarm_prefix *p, const struct swarm_ip *ip)
{
	return p->ip.family == ip->family &&
	       swarm_ip_same(p->ip.bytes, ip->bytes, p->len);
}

bool swarm_prefix_overlaps(const struct swarm_prefix *a,
			   const struct swarm_prefix *b)
{
	return swarm_prefix_holds(a->len < b->len ? a : b,
				  a->len < b->len ? &b->ip : &a->ip);
}

uint8_t swarm_prefix_word_at(const struct swarm_prefix *p)
{
	if (p->ip.family == 4)
		return 0;
	return p->len <= NETWORK6_BITS - 2 ? NETWORK6_BITS / 8 - 4 : 12;
}

uint32_t swarm_prefix_usable(const struct swarm_prefix *p)
{
	unsigned int bits = (swarm_prefix_word_at(p) + 4u) * 8u - p->len;

	return (uint32_t)((UINT64_C(1) << min_u32(bits, 32)) - 2);
}

uint32_t swarm_prefix_word(const struct swarm_prefix *p, uint32_t i)
{
	return be32_load(p->ip.bytes + swarm_prefix_word_at(p)) + 1 + i;
}

struct swarm_ip swarm_prefix_first(const struct swarm_prefix *p)
{
	struct swarm_ip ip = p->ip;

	/* 0 is every router's: RFC 4291 2.6.1 */
	if (ip.family == 6)
		ip.bytes[15] = 1;
	be32_store(ip.bytes + swarm_prefix_word_at(p), swarm_prefix_word(p, 0));
	return ip;
}

/* As many turns as all clients have ports for. */
static uint8_t swarm_tuple_turn_bits(uint32_t n_clients, uint32_t n_addrs)
{
	uint32_t ports = (n_clients - 1) / n_addrs + 1;
	uint8_t bits = 0;

	while (bits < TURN_BITS_MAX && ports << (bits + 1) <= SWARM_PORTS)
		bits++;
	return bits;
}

int swarm_tuples_init(struct swarm_tuples *t, const struct swarm_prefix *p,
		      uint32_t n_clients)
{
	uint32_t n_addrs = min_u32(swarm_prefix_usable(p), SWARM_ADDRS_MAX);

	if ((uint64_t)n_addrs * SWARM_PORTS < n_clients)
		return -ERANGE;
	*t = (struct swarm_tuples){
		.first = swarm_prefix_first(p),
		.first_word = swarm_prefix_word(p, 0),
		.word_at = swarm_prefix_word_at(p),
		.n_addrs = n_addrs,
		.n_clients = n_clients,
		.turn_bits = swarm_tuple_turn_bits(n_clients, n_addrs),
	};
	return 0;
}

const char *swarm_tuple_text(const struct swarm_tuples *t, uint32_t index,
			     uint8_t turn, char *ret_text)
{
	struct swarm_ip ip = t->first;
	uint16_t port;
	uint32_t word;

	swarm_tuple_get(t, index, turn, &word, &port);
	be32_store(ip.bytes + t->word_at, word);
	return swarm_endpoint_text(&ip, port, ret_text);
}
