/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fragments: towards our addresses, TCP and ICMP alone (parse.c sees to that).
 *
 *	            a fragment            the last gap closes
 *	  free ---------------> OPEN ----------------------------> DONE
 *	   ^                     | contradiction                   |
 *	   |                     v                                 |
 *	   |<-- time, eviction - GIVEN UP                          |
 *	   '<------------------------------- frag_turn_end() ------'
 *
 * A slot has a buffer for a packet, into which each fragment is copied at its
 * place, behind room for an IP header without options; a bitmap of the 8-byte
 * blocks that are there, and one of those at which a fragment began. The
 * result looks like any packet from the device, so parsing, handing over and
 * answering need not know.
 *
 * What a hostile sender can do:
 *  - Overlaps, in either family, give the datagram up (RFC 5722, RFC 8200
 *    4.5), and what else comes of it is dropped. Only an exact duplicate, the
 *    same bytes at the same place, is harmless and ignored. So no block is
 *    ever written twice, and the first fragment, which must hold the headers
 *    (RFC 7112, RFC 1858), can't be changed by another.
 *  - A datagram beyond the buffer is given up at the first fragment that says
 *    so (ping of death).
 *  - Slots are few and are all looked at for each fragment, so there is no
 *    hash to collide in. One source (IPv4 address, IPv6 /64) has a bounded
 *    number, and pushes out its own oldest; only a full table pushes out the
 *    oldest of all.
 *
 * Invariants
 *  I1  slot.have_bytes is the sum of the kept fragments' lengths, which don't
 *      overlap: it equals end_bytes exactly when nothing is missing.
 *  I2  a DONE slot is not touched until frag_turn_end(): segments point into it.
 *
 * Departures: no ICMP Time Exceeded is sent (RFC 1122 3.3.2): a sender of TCP
 * would not heed it, and we don't answer strangers with more than we must. The
 * time-out is shorter than the RFCs', frag.h says why.
 */
#include "stack/frag.h"

#include <string.h>

#include "base/bytes.h"
#include "stack/checksum.h"
#include "stack/wire.h"

#define FRAG_WHOLE SC_COUNT
#define FRAG_BLOCK 8u /* bytes: the unit of offsets */
enum frag_state { FRAG_FREE, FRAG_OPEN, FRAG_GIVEN_UP, FRAG_DONE };

struct frag_key {
	uint8_t src[16], dst[16];
	uint32_t id;
	uint8_t addr_len;
	uint8_t proto; /* IPv4 alone: IPv6's may differ between fragments */
	uint8_t pad[2];
};

struct frag_slot {
	struct frag_key key;
	uint64_t began_us;
	uint32_t end_bytes; /* payload of the whole datagram; 0: not known yet */
	uint32_t high_bytes; /* after the highest byte that is there */
	uint32_t have_bytes;
	uint8_t state; /* enum frag_state */
	uint8_t ecn_seen; /* bit per codepoint */
	uint8_t tos, proto; /* the first fragment's */
	uint64_t *present, *starts; /* bit per block */
	uint8_t *packet;
};

struct frag_table {
	uint32_t n, per_source;
	uint32_t packet_max; /* bytes */
	uint32_t words; /* of a bitmap */
	uint32_t used, done; /* slots that are not free; of these, DONE */
	struct frag_slot slots[];
};

static uint32_t frag_words(const struct stack_limits *limits)
{
	return limits->packet_max / (FRAG_BLOCK * 64) + 1;
}

static size_t frag_stride(const struct stack_limits *limits)
{
	return round_up(limits->packet_max, 64);
}

size_t frag_table_bytes(const struct stack_limits *limits)
{
	size_t slot = sizeof(struct frag_slot) +
		      2 * sizeof(uint64_t) * frag_words(limits) +
		      frag_stride(limits);

	return sizeof(struct frag_table) + limits->frag_datagrams * slot;
}

void frag_table_init(struct frag_table *ft, const struct stack_limits *limits)
{
	uint32_t n = limits->frag_datagrams;
	uint64_t *bits = (void *)&ft->slots[n];
	uint8_t *packets;

	ft->n = n;
	ft->per_source = limits->frag_per_source;
	ft->packet_max = min_u32(limits->packet_max, UINT16_MAX);
	ft->words = frag_words(limits);
	packets = (void *)(bits + (size_t)2 * ft->words * n);
	for (uint32_t i = 0; i < n; i++) {
		ft->slots[i].present = bits + (size_t)2 * ft->words * i;
		ft->slots[i].starts = ft->slots[i].present + ft->words;
		ft->slots[i].packet = packets + i * frag_stride(limits);
	}
}

uint32_t frag_used(const struct frag_table *ft)
{
	return ft->used;
}

static bool frag_bit(const uint64_t *map, uint32_t i)
{
	return map[i / 64] >> i % 64 & 1;
}

static void frag_bit_set(uint64_t *map, uint32_t i)
{
	map[i / 64] |= UINT64_C(1) << i % 64;
}

static uint32_t frag_header_bytes(uint8_t addr_len)
{
	return addr_len == 4 ? sizeof(struct ip4_hdr) : sizeof(struct ip6_hdr);
}

static struct frag_key frag_key(const struct frag_piece *p)
{
	struct frag_key key = {
		.id = p->id,
		.addr_len = p->addr_len,
		.proto = p->addr_len == 4 ? p->proto : 0,
	};

	memcpy(key.src, p->src, p->addr_len);
	memcpy(key.dst, p->dst, p->addr_len);
	return key;
}

static void frag_free(struct frag_table *ft, struct frag_slot *s)
{
	s->state = FRAG_FREE;
	ft->used--;
}

/* Waiting for more, or remembered as given up: not free, not in use. */
static bool frag_pending(const struct frag_slot *s)
{
	return s->state == FRAG_OPEN || s->state == FRAG_GIVEN_UP;
}

/* Give a slot up for another datagram, or for good. */
static void frag_drop(struct stack *st, struct frag_slot *s,
		      enum stack_counter why)
{
	if (s->state == FRAG_OPEN)
		stack_count(st, why);
	frag_free(st->frags, s);
}

void frag_expire(struct stack *st)
{
	struct frag_table *ft = st->frags;

	for (uint32_t i = 0; ft->used && i < ft->n; i++) {
		struct frag_slot *s = &ft->slots[i];

		if (frag_pending(s) &&
		    st->now_us - s->began_us >= FRAG_TIMEOUT_US)
			frag_drop(st, s, SC_frag_timed_out);
	}
}

void frag_turn_end(struct frag_table *ft)
{
	for (uint32_t i = 0; ft->done && i < ft->n; i++) {
		if (ft->slots[i].state != FRAG_DONE)
			continue;
		frag_free(ft, &ft->slots[i]);
		ft->done--;
	}
}

static struct frag_slot *frag_find(struct frag_table *ft,
				   const struct frag_key *key)
{
	for (uint32_t i = 0; i < ft->n; i++) {
		struct frag_slot *s = &ft->slots[i];

		if (frag_pending(s) && !memcmp(&s->key, key, sizeof(*key)))
			return s;
	}
	return NULL;
}

static bool frag_same_source(const struct frag_key *a, const struct frag_key *b)
{
	return a->addr_len == b->addr_len &&
	       !memcmp(a->src, b->src, a->addr_len == 4 ? 4 : 8);
}

static struct frag_slot *frag_older(struct frag_slot *a, struct frag_slot *b)
{
	return a && a->began_us <= b->began_us ? a : b;
}

/* A slot for a new datagram; NULL when whole ones fill the table. */
static struct frag_slot *frag_room(struct stack *st, const struct frag_key *key)
{
	struct frag_table *ft = st->frags;
	struct frag_slot *oldest = NULL, *own = NULL, *empty = NULL;
	uint32_t n_own = 0;

	for (uint32_t i = 0; i < ft->n; i++) {
		struct frag_slot *s = &ft->slots[i];

		if (s->state == FRAG_FREE)
			empty = s;
		if (!frag_pending(s))
			continue;
		oldest = frag_older(oldest, s);
		if (!frag_same_source(&s->key, key))
			continue;
		own = frag_older(own, s);
		n_own++;
	}
	if (own && n_own >= ft->per_source) {
		frag_drop(st, own, SC_frag_source_limit);
		return own;
	}
	if (!empty && oldest)
		frag_drop(st, oldest, SC_frag_evicted);
	return empty ? empty : oldest;
}

static struct frag_slot *frag_open(struct stack *st, const struct frag_key *key)
{
	struct frag_table *ft = st->frags;
	struct frag_slot *s = frag_room(st, key);

	if (!s)
		return NULL;
	ft->used++;
	s->key = *key;
	s->state = FRAG_OPEN;
	s->began_us = st->now_us;
	s->end_bytes = s->high_bytes = s->have_bytes = 0;
	s->ecn_seen = 0;
	memset(s->present, 0, 2 * sizeof(uint64_t) * ft->words);
	return s;
}

/* Has it come before, with the same bounds and bytes? */
static bool frag_is_duplicate(const struct frag_slot *s,
			      const struct frag_piece *p)
{
	uint32_t first = p->off / FRAG_BLOCK;
	uint32_t last = (p->off + p->len - 1) / FRAG_BLOCK;

	if (!frag_bit(s->starts, first))
		return false;
	for (uint32_t i = first; i <= last; i++) {
		if (!frag_bit(s->present, i) ||
		    (i > first && frag_bit(s->starts, i)))
			return false;
	}
	if (p->more && frag_bit(s->present, last + 1) &&
	    !frag_bit(s->starts, last + 1))
		return false;
	return !memcmp(s->packet + frag_header_bytes(p->addr_len) + p->off,
		       p->bytes, p->len);
}

/* Against what is there of the datagram: RFC 8200 section 4.5. */
static enum stack_counter frag_check_slot(const struct frag_slot *s,
					  const struct frag_piece *p)
{
	uint32_t end = p->off + p->len;

	/* There is one end, and nothing goes beyond it. */
	if (!p->more &&
	    (s->end_bytes ? end != s->end_bytes : end < s->high_bytes))
		return SC_drop_frag_overlap;
	if (p->more && s->end_bytes && end >= s->end_bytes)
		return SC_drop_frag_overlap;
	for (uint32_t i = p->off / FRAG_BLOCK; i * FRAG_BLOCK < end; i++) {
		if (frag_bit(s->present, i))
			return frag_is_duplicate(s, p) ? SC_frag_duplicates
						       : SC_drop_frag_overlap;
	}
	return FRAG_WHOLE;
}

/* By itself, and against the slot when there is one. */
static enum stack_counter frag_check(const struct frag_table *ft,
				     const struct frag_slot *s,
				     const struct frag_piece *p)
{
	if (!p->len || (p->more && p->len % FRAG_BLOCK))
		return SC_drop_frag_header;
	if (p->off + p->len > ft->packet_max - frag_header_bytes(p->addr_len))
		return SC_drop_frag_oversize;
	if (p->verdict != SC_COUNT)
		return p->verdict;
	return s ? frag_check_slot(s, p) : FRAG_WHOLE;
}

static void frag_keep(struct frag_slot *s, const struct frag_piece *p)
{
	uint32_t end = p->off + p->len;

	memcpy(s->packet + frag_header_bytes(p->addr_len) + p->off, p->bytes,
	       p->len);
	for (uint32_t i = p->off / FRAG_BLOCK; i * FRAG_BLOCK < end; i++)
		frag_bit_set(s->present, i);
	frag_bit_set(s->starts, p->off / FRAG_BLOCK);
	s->have_bytes += p->len;
	s->high_bytes = max_u32(s->high_bytes, end);
	s->ecn_seen |= (uint8_t)(1u << (p->tos & ECN_CE));
	if (!p->more)
		s->end_bytes = end;
	if (!p->off) {
		s->tos = p->tos;
		s->proto = p->proto;
	}
}

static void frag_write_header(const struct frag_slot *s, uint8_t tos)
{
	const struct frag_key *key = &s->key;

	if (key->addr_len == 16) {
		struct ip6_hdr *ip = (void *)s->packet;

		*ip = (struct ip6_hdr){
			.ver_class_flow =
				be32_put(6u << 28 | (uint32_t)tos << 20),
			.payload_len = be16_put((uint16_t)s->end_bytes),
			.next = s->proto,
			.hop_limit = IP_TTL,
		};
		memcpy(ip->src, key->src, 16);
		memcpy(ip->dst, key->dst, 16);
		return;
	}
	struct ip4_hdr *ip = (void *)s->packet;

	*ip = (struct ip4_hdr){
		.ver_ihl = 0x45,
		.tos = tos,
		.total_len = be16_put((uint16_t)(sizeof(*ip) + s->end_bytes)),
		.ttl = IP_TTL,
		.proto = s->proto,
	};
	memcpy(ip->src, key->src, 4);
	memcpy(ip->dst, key->dst, 4);
	ip->checksum = checksum_fold(checksum_add(0, ip, sizeof(*ip)));
}

/* RFC 3168 section 5.3: congestion met by a fragment was met by the datagram. */
static bool frag_merge_ecn(const struct frag_slot *s, uint8_t *ret_tos)
{
	bool ce = s->ecn_seen & 1u << ECN_CE;

	if (ce && s->ecn_seen & 1u)
		return false;
	*ret_tos = (uint8_t)(s->tos | (ce ? ECN_CE : 0));
	return true;
}

enum stack_counter frag_input(struct stack *st, const struct frag_piece *piece,
			      const uint8_t **ret_packet, uint32_t *ret_len)
{
	struct frag_table *ft = st->frags;
	struct frag_key key = frag_key(piece);
	enum stack_counter why;
	struct frag_slot *s;
	uint8_t tos;

	frag_expire(st);
	s = frag_find(ft, &key);
	if (s && s->state == FRAG_GIVEN_UP)
		return SC_drop_frag_given_up;
	why = frag_check(ft, s, piece);
	if (why != FRAG_WHOLE) {
		if (s && why != SC_frag_duplicates)
			s->state = FRAG_GIVEN_UP;
		return why;
	}
	if (!s)
		s = frag_open(st, &key);
	if (!s)
		return SC_drop_frag_no_room;
	frag_keep(s, piece);
	if (s->have_bytes != s->end_bytes)
		return SC_frags_kept;
	if (!frag_merge_ecn(s, &tos)) {
		s->state = FRAG_GIVEN_UP;
		return SC_drop_frag_ecn;
	}
	frag_write_header(s, tos);
	s->state = FRAG_DONE;
	ft->done++;
	stack_count(st, SC_frag_reassembled);
	*ret_packet = s->packet;
	*ret_len = frag_header_bytes(piece->addr_len) + s->end_bytes;
	return FRAG_WHOLE;
}
