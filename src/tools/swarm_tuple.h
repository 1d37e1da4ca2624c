/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_TUPLE_H
#define XTCP_TOOLS_SWARM_TUPLE_H

/*
 * Which address and port each client has: by arithmetic, both ways, so that
 * no table of tuples is needed.
 *
 *	address = first + index mod n_addrs
 *	port = SWARM_PORT_FIRST + index / n_addrs * n_turns + turn
 *
 * Neighbours in index have different addresses. Addresses differ in four
 * bytes alone, the word at word_at: in IPv6 the last ones of the network part,
 * so that each is a host of its own to who counts by /64, or if the prefix is
 * too long for that, the last ones of all. A client that connects anew takes the
 * next of its n_turns ports in turn, as a kernel would take another one.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define SWARM_PORT_FIRST 1024u
#define SWARM_PORTS (65536u - SWARM_PORT_FIRST)
/* More addresses than that make no new case, and the ports suffice. */
#define SWARM_ADDRS_MAX 65536u
/* "ADDRESS/LEN" and "[ADDRESS]:PORT" with the NUL. */
#define SWARM_ADDR_TEXT_BYTES (INET6_ADDRSTRLEN + 10)

/* An IP address; for IPv4 the first four bytes count. */
struct swarm_ip {
	uint8_t family; /* 4 or 6 */
	uint8_t bytes[16];
};

struct swarm_prefix {
	struct swarm_ip ip; /* all bits behind len are 0 */
	uint8_t len;
};

/* How many bytes an address of the family has. */
static inline unsigned int swarm_ip_bytes(uint8_t family)
{
	return family == 4 ? 4 : 16;
}

/*
 * "10.64.0.0/10", "fd00:64::/64". Returns 0, or -EINVAL: no prefix, bits set
 * behind the length, or a length outside of 1..30 (IPv6: 16..126).
 */
int swarm_prefix_parse(const char *text, struct swarm_prefix *ret_prefix);

/* "192.0.2.10:7", "[2001:db8::10]:7". Returns 0 or -EINVAL; port 1..65535. */
int swarm_endpoint_parse(const char *text, struct swarm_ip *ret_ip,
			 uint16_t *ret_port);

/* Write into ret_text, SWARM_ADDR_TEXT_BYTES; they return it. */
const char *swarm_prefix_text(const struct swarm_prefix *p, char *ret_text);
const char *swarm_endpoint_text(const struct swarm_ip *ip, uint16_t port,
				char *ret_text);

bool swarm_prefix_holds(const struct swarm_prefix *p,
			const struct swarm_ip *ip);
bool swarm_prefix_overlaps(const struct swarm_prefix *a,
			   const struct swarm_prefix *b);

/* Where the four bytes are in which addresses of the prefix differ. */
uint8_t swarm_prefix_word_at(const struct swarm_prefix *p);

/*
 * Addresses of a prefix that are used: all but the first and the last one,
 * at most 2^32 - 2.
 */
uint32_t swarm_prefix_usable(const struct swarm_prefix *p);

/* The i-th usable address: its four bytes that differ, in host order. */
uint32_t swarm_prefix_word(const struct swarm_prefix *p, uint32_t i);

/* The first usable address. */
struct swarm_ip swarm_prefix_first(const struct swarm_prefix *p);

struct swarm_tuples {
	struct swarm_ip first; /* address of client 0 */
	uint32_t first_word; /* its bytes at word_at, in host order */
	uint8_t word_at;
	uint32_t n_addrs;
	uint32_t n_clients;
	uint8_t turn_bits; /* n_turns is 1 << turn_bits */
};

/* Returns 0, or -ERANGE: the prefix has not enough addresses and ports. */
int swarm_tuples_init(struct swarm_tuples *t, const struct swarm_prefix *p,
		      uint32_t n_clients);

/* The four bytes of the client's address in host order, and its port. */
static inline void swarm_tuple_get(const struct swarm_tuples *t, uint32_t index,
				   uint8_t turn, uint32_t *ret_word,
				   uint16_t *ret_port)
{
	*ret_word = t->first_word + index % t->n_addrs;
	*ret_port = (uint16_t)(SWARM_PORT_FIRST +
			       (index / t->n_addrs << t->turn_bits) + turn);
}

/* The turn behind this one. */
static inline uint8_t swarm_tuple_next(const struct swarm_tuples *t,
				       uint8_t turn)
{
	return (uint8_t)((turn + 1u) & ((1u << t->turn_bits) - 1));
}

/*
 * The client with this address, whose other bytes were compared, and port,
 * and whose turn it would be. False: it belongs to none.
 */
static inline bool swarm_tuple_find(const struct swarm_tuples *t, uint32_t word,
				    uint16_t port, uint32_t *ret_index,
				    uint8_t *ret_turn)
{
	uint32_t addr = word - t->first_word;
	uint32_t place = port - SWARM_PORT_FIRST;
	uint64_t index;

	if (addr >= t->n_addrs || port < SWARM_PORT_FIRST)
		return false;
	index = (uint64_t)(place >> t->turn_bits) * t->n_addrs + addr;
	*ret_index = (uint32_t)index;
	*ret_turn = (uint8_t)(place & ((1u << t->turn_bits) - 1));
	return index < t->n_clients;
}

/* The client's address and port as text; returns ret_text. */
const char *swarm_tuple_text(const struct swarm_tuples *t, uint32_t index,
			     uint8_t turn, char *ret_text);

#endif
