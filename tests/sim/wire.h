/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wire - packets of the model clients: built, read and judged without a line
 * of the stack's.
 */
#ifndef XTCP_SIM_WIRE_H
#define XTCP_SIM_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#define WIRE_PACKET_MAX 2048u
#define WIRE_SACKS_MAX 4u

enum wire_flag {
	WF_FIN = 0x01,
	WF_SYN = 0x02,
	WF_RST = 0x04,
	WF_PSH = 0x08,
	WF_ACK = 0x10,
	WF_URG = 0x20,
	WF_ECE = 0x40,
	WF_CWR = 0x80,
};

enum wire_ecn { WE_NONE = 0, WE_ECT1 = 1, WE_ECT0 = 2, WE_CE = 3 };

struct wire_sack {
	uint32_t left, right;
};

/* A TCP segment with what matters of its IP header. */
struct wire {
	bool v6, df;
	uint8_t ecn; /* enum wire_ecn */
	uint8_t src[16], dst[16];
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t flags;
	uint16_t wnd, urgent;
	bool has_mss, has_ws, sack_ok, has_ts;
	uint16_t mss;
	uint8_t ws;
	uint32_t tsval, tsecr;
	uint8_t n_sacks;
	struct wire_sack sacks[WIRE_SACKS_MAX];
	uint32_t hdr_len, opts_len; /* bytes: IP + TCP headers; TCP options */
	uint32_t len; /* payload bytes */
	const uint8_t *payload;
	bool icmp; /* then only the addresses are set, and payload, len */
	bool fragment;
};

/*
 * Read one packet of len bytes. Returns NULL when all of it is good, checksums
 * included; else what is wrong. ret borrows from packet.
 */
const char *wire_parse(const uint8_t *packet, uint32_t len, struct wire *ret);

/* Build w to buf (WIRE_PACKET_MAX). Returns its length in bytes. */
uint32_t wire_build(const struct wire *w, uint8_t *buf);

/* Bytes of options that wire_build() would write. */
uint32_t wire_opts_len(const struct wire *w);

/*
 * "Packet too big" (RFC 1191, 4443) from a router on the way, about packet,
 * addressed to its source. Returns its length in bytes.
 */
uint32_t wire_build_too_big(const uint8_t *packet, uint32_t len, uint32_t mtu,
			    uint8_t *buf);

/*
 * Fragment i of an IPv4 packet, each of at most mtu bytes. Returns its
 * length; 0: there are no more. id: the datagram's.
 */
uint32_t wire_fragment(const uint8_t *packet, uint32_t len, uint32_t mtu,
		       uint32_t i, uint16_t id, uint8_t *buf);

/* Mark an ECN-capable packet as having met congestion. False: it isn't. */
bool wire_mark_ce(uint8_t *packet);

static inline uint16_t wire_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t wire_get32(const uint8_t *p)
{
	return (uint32_t)wire_get16(p) << 16 | wire_get16(p + 2);
}

/* The byte streams: byte pos of the stream with this key. */
void pattern_fill(uint64_t key, uint64_t pos, uint8_t *buf, uint32_t len);
/* Returns the first place that differs, or -1. */
int64_t pattern_check(uint64_t key, uint64_t pos, const uint8_t *buf,
		      uint32_t len);

#endif
