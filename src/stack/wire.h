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

/* RFC 8200 section 4.5. */
struct ip6_frag {
	uint8_t next;
	uint8_t reserved;
	be16 off; /* of 8-byte blocks in the upper 13 bits; M in the lowest */
	be32 id;
} __attribute__((packed));

#define IP6_MF 0x0001u
#define IP6_OFFSET 0xfff8u /* thus in bytes */

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
_Static_assert(sizeof(struct ip6_frag) == 8, "RFC 8200");
_Static_assert(sizeof(struct tcp_hdr) == 20, "RFC 9293");
_Static_assert(sizeof(struct icmp_hdr) == 8, "RFC 792");

/* RFC 792, RFC 4443. */
enum icmp_type {
	ICMP4_ECHO_REPLY = 0,
	ICMP4_UNREACHABLE = 3,
	ICMP4_SOURCE_QUENCH = 4,
	ICMP4_ECHO = 8,
	ICMP4_TIME_EXCEEDED = 11,
	ICMP4_PARAMETER = 12,
	ICMP6_UNREACHABLE = 1,
	ICMP6_TOO_BIG = 2,
	ICMP6_TIME_EXCEEDED = 3,
	ICMP6_PARAMETER = 4,
	ICMP6_ECHO = 128,
	ICMP6_ECHO_REPLY = 129,
};

/* Codes of Destination Unreachable that TCP tells apart. */
enum icmp_code {
	ICMP4_CODE_PROTOCOL = 2,
	ICMP4_CODE_PORT = 3,
	ICMP4_CODE_TOO_BIG = 4, /* RFC 1191 section 4 */
	ICMP6_CODE_PROHIBITED = 1,
	ICMP6_CODE_PORT = 4,
};

#define IP_TTL 64u
#define TCP_HDR_MAX 60u
#define PACKET_HDR_MAX (40u + TCP_HDR_MAX)

#endif
