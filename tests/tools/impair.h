/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_TOOLS_IMPAIR_H
#define TESTS_TOOLS_IMPAIR_H

/*
 * The parts of impair, the link that impairs: see impair.c for the picture.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define IMPAIR_NSEC_PER_USEC 1000ull
#define IMPAIR_NSEC_PER_MSEC 1000000ull
#define IMPAIR_NSEC_PER_SEC 1000000000ull

/* The largest packet that is carried. */
#define IMPAIR_PACKET_BYTES 9216u

/* Packets named one by one with drop=. */
#define IMPAIR_DROPS 64u

/* --- what is asked of one direction ---------------------------------------- */

struct impair_spec {
	uint64_t delay_ns, jitter_ns;
	uint64_t rate_bps; /* bits per second; 0: no limit */
	uint64_t queue_bytes; /* drop-tail in front of the rate limit */
	uint64_t ce_bytes; /* mark CE above this much in the queue; 0: never */
	uint64_t reorder_ns; /* what a reordered packet is late by */
	double loss, corrupt, dup, reorder; /* probabilities */
	/* Gilbert-Elliott: to the bad state, back, loss in the bad state */
	double burst_enter, burst_leave, burst_loss;
	uint32_t mtu; /* larger packets are dropped; 0: no limit */
	bool mtu_icmp; /* and the sender is told */
	uint64_t spare; /* the first packets, to which nothing happens */
	uint64_t drops[IMPAIR_DROPS]; /* these, counted from 0, are dropped */
	uint32_t n_drops;
};

/*
 * Read "key=value,..." into spec, over what stands there (see --help).
 * Returns 0, or -EINVAL with a line of text in ret_why, at most size bytes.
 */
int impair_spec_parse(struct impair_spec *spec, const char *text, char *ret_why,
		      size_t size);

/* --- what happens to a packet ---------------------------------------------- */

enum impair_fate {
	IMPAIR_PASS,
	IMPAIR_LOST, /* loss= */
	IMPAIR_BURST, /* burst= */
	IMPAIR_LISTED, /* drop= */
	IMPAIR_QUEUE, /* the queue was full */
	IMPAIR_MTU, /* larger than mtu= */
};

struct impair_verdict {
	enum impair_fate fate;
	uint32_t copies; /* 1, or 2 when duplicated */
	uint64_t due_ns[2]; /* when each copy arrives */
	bool corrupt;
	uint64_t corrupt_bit; /* counted from the packet's first, to be taken
				 modulo its length */
	bool mark_ce; /* if it is ECN-capable */
	bool reordered;
};

/* One direction. */
struct impair_way {
	struct impair_spec spec;
	uint64_t seed;
	uint64_t n; /* packets seen */
	bool bad; /* state of Gilbert-Elliott */
	uint64_t busy_until_ns; /* the rate limit has sent all by then */
	uint64_t last_due_ns; /* without reordering none arrives before */
	uint64_t queue_max_bytes;
};

/* Start a direction; number tells the two apart in the seed. */
void impair_way_init(struct impair_way *way, const struct impair_spec *spec,
		     uint64_t seed, uint32_t number);

/*
 * Decide about the next packet, of bytes, which came at now_ns. Everything but
 * times and the queue is a function of (seed, direction, number of the packet)
 * alone.
 */
void impair_way_judge(struct impair_way *way, size_t bytes, uint64_t now_ns,
		      struct impair_verdict *ret_verdict);

/* --- packets --------------------------------------------------------------- */

/* Set CE in an ECN-capable IPv4 or IPv6 packet. Returns whether it is one. */
bool impair_packet_mark_ce(uint8_t *packet, size_t bytes);

/*
 * Whether a packet is the host's own talk on a link: IPv6 from or to
 * link-local, unspecified or multicast addresses, IPv4 multicast, other
 * protocols. It would make numbers of packets a matter of chance.
 */
bool impair_packet_is_local(const uint8_t *packet, size_t bytes);

void impair_packet_flip(uint8_t *packet, size_t bytes, uint64_t bit);

/* Who speaks when a packet is too big. */
struct impair_router {
	struct in_addr v4;
	struct in6_addr v6;
};

/*
 * The ICMP error with which a router answers a packet larger than mtu (RFC 792
 * and 1191; RFC 4443 3.2), in ret_error, which has room for 1280 bytes.
 * Returns its bytes, or 0 when none is due: IPv4 without DF.
 */
size_t impair_packet_too_big(const struct impair_router *router,
			     const uint8_t *packet, size_t bytes, uint32_t mtu,
			     uint8_t *ret_error);

/*
 * One line of the log, with what identifies the packet:
 * "TIME DIRECTION NUMBER WHAT BYTES PROTOCOL SOURCE PORT DESTINATION PORT SEQ
 * ACK FLAGS PAYLOAD", the fields from PORT on for TCP alone.
 */
void impair_packet_log(FILE *log, const char *way, uint64_t n, const char *what,
		       const uint8_t *packet, size_t bytes);

#endif
