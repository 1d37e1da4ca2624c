/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rig - a stack on an arena of its own, a clock, and a client made of packets.
 *
 * The client's packets are built here byte by byte (not by src/stack), what
 * the stack sends is taken apart into struct rig_out. The client's sequence
 * numbers start near wrap-around. rig_down() checks that nothing leaked.
 */
#ifndef XTCP_TESTS_RIG_H
#define XTCP_TESTS_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "arena/arena.h"
#include "arena/shard.h"
#include "stack/stack.h"

#define RIG_OUT_MAX 4096
#define RIG_PORT 5222

/* A segment that the stack sent. */
struct rig_out {
	bool v6, icmp, checksums_ok;
	uint8_t flags;
	uint16_t src_port, dst_port;
	uint32_t seq, ack, wnd, len;
	uint8_t icmp_type;
	uint8_t ecn; /* of the IP header */
	bool has_mss, has_wscale, has_ts, sack_ok;
	uint16_t mss;
	uint8_t wscale;
	uint32_t tsval, tsecr;
	uint32_t n_sacks;
	struct seg_sack sacks[SEG_SACKS_MAX];
	uint8_t payload[2048];
	uint8_t head[100]; /* how the packet begins, for ICMP errors */
	uint32_t packet_len;
};

struct rig {
	struct arena arena;
	struct shard shard;
	struct stack *st;
	uint64_t now_us;
	struct rig_out out[RIG_OUT_MAX];
	uint32_t n_out; /* sent so far */
	uint32_t seen; /* of these, looked at */
	struct stack_group group;
	_Atomic uint32_t shared_count;
};

/* One client connection. */
struct rig_client {
	struct rig *rig;
	bool v6, ts;
	uint8_t host; /* added to the last byte of its address */
	bool sack, ecn; /* asked for in the SYN */
	uint16_t port;
	uint16_t mss; /* of the SYN; 0: 1460 */
	uint64_t rtt_us; /* from SYN-ACK to ACK */
	uint32_t iss, snd_nxt, rcv_nxt;
	uint32_t srv_iss;
	uint8_t srv_shift;
	uint16_t wnd;
	uint32_t tsval, tsecr;
	uint32_t ri;
	/* Carried by whatever it sends, until changed. */
	uint8_t tos; /* enum seg_ecn */
	uint32_t n_sacks;
	struct seg_sack sacks[SEG_SACKS_MAX];
};

extern struct rig rig;

/* Of the next rig_up(); rig_down() sets it back to 64. */
extern uint32_t rig_max_connections;

/* Fixture: group 1 on RIG_PORT, deferred, ack-window 0, pool 0 of 1 MiB. */
void rig_up(void);
void rig_down(void);
/*
 * Another process on the same arena, with nothing flushed since the last
 * segment: what it sends is what it has to send because of the kill.
 */
void rig_kill(void);
/* Apply rig.group after a change. */
void rig_group(void);

/* Remove the group, and abort its connections. */
void rig_group_remove(uint16_t id);

struct rig_seg {
	uint8_t flags;
	uint32_t seq, ack;
	const void *data;
	uint32_t len;
	bool syn_options; /* MSS, window scale 7, SACK when sack */
};

/* Build the packet; returns its length. */
uint32_t rig_build(const struct rig_client *cl, const struct rig_seg *seg,
		   uint8_t *buf);
/* Put the right checksum into an IPv4 header. */
void rig_fix_ip4(uint8_t *packet);
/* Make an ICMP error about what was sent, quoting n bytes; returns its length. */
uint32_t rig_build_error(bool v6, uint8_t type, uint8_t code, uint32_t rest,
			 const uint8_t *quote, uint32_t n, uint8_t *buf);
/* Build it and input it. */
void rig_error(const struct rig_out *out, uint8_t type, uint8_t code,
	       uint32_t rest, uint32_t n);
/* An ICMPv4 or ICMPv6 message for the VIP, from a client's address. */
uint32_t rig_build_icmp(bool v6, const uint8_t *body, uint32_t len,
			uint8_t *buf);
/* Parse, input, flush. */
void rig_packet(const uint8_t *packet, uint32_t len);
void rig_input(const struct rig_client *cl, const struct rig_seg *seg);

void rig_client(struct rig_client *cl, uint16_t port);
/* Three-way handshake; checks each segment of it. */
void rig_connect(struct rig_client *cl, uint16_t port);
/* Data with ACK and PSH; moves snd_nxt. */
void rig_send(struct rig_client *cl, const char *text);
void rig_send_bytes(struct rig_client *cl, const void *data, uint32_t len);
/* A pure ACK of everything received. */
void rig_ack(struct rig_client *cl);

/* The next segment the stack sent, which must be there; rcv_nxt follows. */
struct rig_out *rig_expect(struct rig_client *cl, uint8_t flags);
/* The stack sent nothing since. */
void rig_expect_nothing(void);

/* Let time pass: timers fire as they come due. */
void rig_pass_us(uint64_t us);

/* All events of a connection, taken off. */
uint16_t rig_events(uint32_t ri);

uint64_t rig_counter(enum stack_counter which);

/* Deliver what is there, as the daemon does; returns its bytes in buf. */
uint32_t rig_deliver(struct rig_client *cl, char *buf, uint32_t len);
/* Reply to what was delivered. */
void rig_reply(struct rig_client *cl, uint32_t ackd, const char *text);

/* Data at a place of its own: at bytes after the client's SYN + 1. */
void rig_send_at(struct rig_client *cl, uint32_t at, const char *text);
/* Deliver, and it must be this text. */
void rig_expect_text(struct rig_client *cl, const char *text);
/* Acknowledge all that was delivered, so that the record rests. */
void rig_settle(struct rig_client *cl);

struct rec *rig_rec(const struct rig_client *cl);
struct blk *rig_blk(const struct rig_client *cl);

#endif
