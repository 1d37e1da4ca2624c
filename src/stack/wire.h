/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wire - packet headers as they stand on the wire.
 */
#ifndef XTCP_STACK_WIRE_H
#define XTCP_STACK_WIRE_H

#include <stdint.h>

#include "base/bytes.h"

enum ip_proto {
	IP_PROTO_HOPOPTS = 0,
	IP_PROTO_ICMP = 1,
	IP_PROTO_TCP = 6,
	IP_PROTO_ROUTING = 43,
	IP_PROTO_FRAGMENT = 44,
	IP_PROTO_ICMP6 = 58,
	IP_PROTO_NONE = 59,
	IP_PROTO_DSTOPTS = 60,
};

/* RFC 791 section 3.1. */
struct ip4_hdr {
	uint8_t ver_ihl;
	uint8_t tos;
	be16 total_len;
	be16 id;
	be16 frag;
	uint8_t ttl;
	uint8_t proto;
	uint16_t checksum; /* memory order */
	uint8_t src[4];
	uint8_t dst[4];
} __attribute__((packed));

#define IP4_DF 0x4000u
#define IP4_MF 0x2000u
#define IP4_OFFSET 0x1fffu

/* RFC 8200 section 3. */
struct ip6_hdr {
	be32 ver_class_flow;
	be16 payload_len;
	uint8_t next;
	uint8_t hop_limit;
	uint8_t src[16];
	uint8_t dst[16];
} __attribute__((packed));

/* RFC 8200 section 4: the part that all extension headers share. */
struct ip6_ext {
	uint8_t next;
	uint8_t len8; /* units of 8 bytes beyond the first 8 */
	uint8_t routing_type;
	uint8_t segments_left;
} __attribute__((packed));

/* RFC 9293 section 3.1. */
struct tcp_hdr {
	be16 src_port;
	be16 dst_port;
	be32 seq;
	be32 ack;
	uint8_t data_off; /* high nibble: words */
	uint8_t flags;
	be16 window;
	uint16_t checksum; /* memory order */
	be16 urgent;
} __attribute__((packed));

/* RFC 792, 4443: type, code, checksum, and for echo id and sequence. */
struct icmp_hdr {
	uint8_t type;
	uint8_t code;
	uint16_t checksum; /* memory order */
	be32 rest;
} __attribute__((packed));

_Static_assert(sizeof(struct ip4_hdr) == 20, "RFC 791");
_Static_assert(sizeof(struct ip6_hdr) == 40, "RFC 8200");
_Static_assert(sizeof(struct tcp_hdr) == 20, "RFC 9293");
_Static_assert(sizeof(struct icmp_hdr) == 8, "RFC 792");

enum icmp_type {
	ICMP4_ECHO_REPLY = 0,
	ICMP4_ECHO = 8,
	ICMP6_ECHO = 128,
	ICMP6_ECHO_REPLY = 129,
};

#define IP_TTL 64u
#define TCP_HDR_MAX 60u
#define PACKET_HDR_MAX (40u + TCP_HDR_MAX)

#endif
