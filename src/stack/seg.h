/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seg - one received packet, checked and taken apart.
 */
#ifndef XTCP_STACK_SEG_H
#define XTCP_STACK_SEG_H

#include <stdbool.h>
#include <stdint.h>

#include "arena/shard.h"

/* TCP header flags, RFC 9293 section 3.1. */
enum tcp_flag {
	TH_FIN = 0x01,
	TH_SYN = 0x02,
	TH_RST = 0x04,
	TH_PSH = 0x08,
	TH_ACK = 0x10,
	TH_URG = 0x20,
	TH_ECE = 0x40,
	TH_CWR = 0x80,
};

#define SEG_SACKS_MAX 4 /* RFC 2018 section 3; 3 beside timestamps */

/* [start, end) of a SACK option. */
struct seg_sack {
	uint32_t start, end;
};

/* Options of a segment, RFC 9293 3.2, 7323, 2018. */
struct seg_opts {
	bool has_mss, has_wscale, has_ts, sack_ok;
	uint16_t mss;
	uint8_t wscale;
	uint8_t n_sacks;
	uint32_t tsval, tsecr;
	/* Not set beyond n_sacks. */
	struct seg_sack sacks[SEG_SACKS_MAX];
};

/* The ECN field of the IP header, RFC 3168 section 5. */
enum seg_ecn { ECN_NOT_ECT = 0, ECN_ECT1 = 1, ECN_ECT0 = 2, ECN_CE = 3 };

enum seg_kind {
	SEG_TCP,
	SEG_ICMP, /* to be answered, or not */
	SEG_ICMP_ERROR, /* about a segment of ours: tuple and seq are the quoted */
};

/* What an ICMP error means to TCP (RFC 1122 4.2.3.9, RFC 9293 3.9.2.2). */
enum seg_error {
	SEG_ERROR_SOFT, /* it may pass */
	SEG_ERROR_HARD, /* it will not */
	SEG_ERROR_TOO_BIG, /* RFC 1191, 8201 */
};

/*
 * What the device says of a packet: it may be several segments in one (GSO),
 * and whose checksum needs no look, as it never was on a wire or was looked at.
 */
struct seg_offload {
	uint16_t unit; /* payload bytes of each segment but the last; 0: one */
	bool checked; /* TCP's checksum is not to be verified */
};

/* Only what a kind has is set. */
struct seg {
	uint8_t kind; /* enum seg_kind */
	uint8_t flags; /* enum tcp_flag */
	uint8_t ecn; /* enum seg_ecn */
	uint32_t worker; /* whose it is */
	uint64_t hash;
	struct tuple tuple;
	uint32_t seq, ack;
	uint32_t wnd; /* unscaled */
	uint32_t len; /* payload bytes */
	uint8_t tcp_hdr_len; /* bytes, options and all: before the payload */
	uint32_t unit; /* bytes of the largest segment that it was made of */
	const uint8_t *payload; /* borrowed from the packet */
	const uint8_t *packet; /* the packet itself, or what was reassembled */
	uint32_t packet_len;
	struct seg_opts opts;
	/* SEG_ICMP_ERROR. */
	uint8_t error; /* enum seg_error */
	uint32_t mtu; /* next hop's, bytes; 0: an old router that doesn't say */
	uint32_t quoted_len; /* of the packet that came back, as it says itself */
};

/* Sequence space a segment takes: payload, SYN and FIN. */
static inline uint32_t seg_space(const struct seg *seg)
{
	return seg->len + !!(seg->flags & TH_SYN) + !!(seg->flags & TH_FIN);
}

#endif
