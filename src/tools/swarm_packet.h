/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_PACKET_H
#define XTCP_TOOLS_SWARM_PACKET_H

/*
 * packet - TCP segments in IP packets, built and taken apart.
 *
 * All packets go to one endpoint, the server, and come from it; so most of
 * each header is made once, checksum included, and a segment only fills in
 * and adds what differs. Payload is not copied: a packet is a header, and
 * bytes that lie elsewhere.
 */

#include <stdbool.h>
#include <stdint.h>

#include "tools/swarm_tun.h"
#include "tools/swarm_tuple.h"

#define SWARM_FIN 0x01u
#define SWARM_SYN 0x02u
#define SWARM_RST 0x04u
#define SWARM_PSH 0x08u
#define SWARM_ACK 0x10u

#define SWARM_NO_WSCALE 0xff
/* NOP, NOP, timestamps: what each segment but a SYN has, if any. */
#define SWARM_TS_BYTES 12u
/* The most payload of one packet that the kernel cuts into segments. */
#define SWARM_GSO_BYTES 65000u

/* What does not change from packet to packet. */
struct swarm_wire {
	struct swarm_ip server;
	uint16_t server_port;
	struct swarm_ip client; /* some client; four bytes vary */
	uint8_t word_at; /* these: swarm_tuple.h */
	uint16_t mss; /* that we announce, and the most that we send */
	uint8_t wscale; /* that we offer */
	bool timestamps; /* that we offer */
	/* the kernel computes checksums of what we send, and cuts segments */
	bool offload;
	/* derived by swarm_wire_init() */
	uint8_t ip_bytes; /* of the IP header */
	uint32_t ip_sum; /* of the template, without length and source's word */
	uint32_t pseudo_sum; /* likewise, with protocol and ports of the server */
	uint8_t ip[40];
};

/* Fills in what is derived. */
void swarm_wire_init(struct swarm_wire *w);

/* A segment to send. */
struct swarm_out {
	uint32_t src_word; /* of the client's address, in host order */
	uint16_t src_port;
	uint8_t flags;
	bool has_ts; /* timestamps, or in a SYN: offer them */
	uint32_t seq, ack;
	uint16_t window; /* as it stands in the header */
	uint16_t payload_sum; /* folded */
	uint32_t payload_len;
	uint16_t gso_size; /* payload of a segment, or 0: one segment */
	uint32_t tsval, tsecr;
};

/* Writes the headers of IP and TCP, and with offload the virtio header. */
void swarm_packet_build(const struct swarm_wire *w, const struct swarm_out *out,
			struct swarm_headers *ret_headers);

/* A segment that came. */
struct swarm_seg {
	uint32_t dst_word; /* of the client's address, in host order */
	uint16_t dst_port;
	uint8_t flags;
	bool has_ts;
	bool sum_known; /* the kernel vouches for the checksum, or has not made it */
	uint8_t wscale; /* of a SYN; SWARM_NO_WSCALE: none */
	uint16_t mss; /* of a SYN; 0: none */
	uint32_t seq, ack;
	uint16_t window;
	uint16_t sum; /* of pseudo header and TCP header, folded */
	uint32_t tsval, tsecr;
	uint32_t len; /* of the payload */
	uint16_t n_segs; /* that the kernel has put together; at least 1 */
	const uint8_t *payload;
};

enum swarm_parse {
	SWARM_PARSE_OK,
	SWARM_PARSE_OTHER, /* not TCP, a fragment, or not of the server */
	SWARM_PARSE_MALFORMED, /* lengths that are wrong, IP checksum */
};

/* Takes a packet apart; ret_seg points into it. vnet: NULL without offload. */
enum swarm_parse swarm_packet_parse(const struct swarm_wire *w,
				    const struct virtio_net_hdr *vnet,
				    const uint8_t *p, uint32_t len,
				    struct swarm_seg *ret_seg);

/* Whether the checksum is right, given the folded sum of the payload. */
bool swarm_seg_sum_ok(const struct swarm_seg *seg, uint16_t payload_sum);

#endif
