/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * capture - what follows the reply to the command "capture" of the control
 * socket.
 *
 *	{"command": "capture", "args": {"filter": [[code, jt, jf, k], ...],
 *	 "snaplen": 262144, "count": 100, "seconds": 60}}
 *	{"ok": true, "result": {"device": "xtcp0", "linktype": 101,
 *	 "snaplen": 262144}}
 *
 * Then records, until CAPTURE_END and the end of the stream: a head and its
 * bytes. Fields have the host's byte order, as both ends are on one host. The
 * client ends the capture by closing its side, and then gets the rest.
 *
 * "filter" is a program of the classic Berkeley packet filter for link type
 * CAPTURE_LINKTYPE, packets that begin with their IP header; without it every
 * packet matches.
 */
#ifndef XTCP_PROTO_CAPTURE_H
#define XTCP_PROTO_CAPTURE_H

#include <stdint.h>

#include "base/bytes.h"

#define CAPTURE_LINKTYPE 101u /* LINKTYPE_RAW */
#define CAPTURE_FILTER_MAX 2048u /* instructions */
#define CAPTURE_SNAPLEN_MAX 262144u /* bytes */

enum capture_type { CAPTURE_PACKET = 1, CAPTURE_END = 2 };
enum capture_direction { CAPTURE_IN = 1, CAPTURE_OUT = 2 };
enum capture_reason {
	CAPTURE_ASKED, /* the client ended it */
	CAPTURE_COUNT,
	CAPTURE_SECONDS,
};

struct capture_head {
	uint32_t type; /* enum capture_type */
	uint32_t bytes; /* that follow */
};

/* CAPTURE_PACKET; then the packet, from its IP header on, cut at snaplen. */
struct capture_packet {
	uint64_t at_ns; /* since 1970, UTC */
	uint32_t original_bytes;
	uint16_t worker;
	uint8_t direction; /* enum capture_direction; IN is from the client */
	uint8_t pad;
};

/* CAPTURE_END: packets. */
struct capture_end {
	uint64_t seen; /* that passed the workers */
	uint64_t matched; /* of these, by the filter */
	uint64_t dropped; /* of these, as the reader was too slow */
	uint64_t delivered; /* the others, but for those beyond "count" */
	uint32_t reason; /* enum capture_reason */
	uint32_t pad;
};

ASSERT_SIZE(struct capture_head, 8);
ASSERT_SIZE(struct capture_packet, 16);
ASSERT_SIZE(struct capture_end, 40);

#endif
