/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * world - a stack on a small arena, and clients made of packets, for targets
 * that make millions of them.
 *
 * The arena is made once; world_up() clears what may be dirty. Maps that the
 * arena's derived half asks the kernel for come from the heap instead (the
 * linker's --wrap), so that an execution makes no system call, and
 * AddressSanitizer knows their bounds. The gaps between the arena's parts are
 * poisoned.
 *
 * Whatever the stack sends is taken apart and checked at once (client.c).
 */
#ifndef XTCP_TESTS_FUZZ_WORLD_H
#define XTCP_TESTS_FUZZ_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena/arena.h"
#include "arena/shard.h"
#include "stack/stack.h"

#define WORLD_RECS 24u
#define WORLD_CLIENTS 6u
#define WORLD_PORT 5222u
#define WORLD_GROUP 1u
#define WORLD_PACKET_MAX 8192u
/* The stack's clock at the start; at SEQ_WRAP its numbers are about to wrap. */
#define WORLD_START_US UINT64_C(1000000)

/* A client, what it has sent, and what the stack has sent to it. */
struct world_client {
	bool v6, ts, wscale, sack, ecn;
	uint16_t port, mss;
	uint8_t shift; /* of the windows that it says */
	uint32_t iss, snd_nxt;
	uint32_t tsval;

	uint32_t sent_end; /* bytes of its stream sent so far, FIN included */
	bool fin_sent;
	uint8_t last_flags; /* of the segment that it sent last */
	uint32_t last_end; /* the number after that segment */
	bool tainted; /* packets with bytes of any kind were sent in its name */
	uint64_t wnd_edge; /* highest reply position it ever had room for, + 1 */

	bool answered; /* there was a SYN-ACK */
	uint32_t srv_iss, rcv_nxt; /* of the stack, in order */
	uint32_t out_end; /* after the highest number of the stack */
	uint32_t last_ack; /* the stack's, latest */
	uint32_t tsecr; /* the stack's timestamp, latest */
	uint32_t edge; /* right edge promised, highest */
	bool edge_known;

	/* The connection, while there is one. */
	uint32_t ri; /* NIL: none */
	uint32_t generation;
	uint64_t app_taken; /* reply bytes the stack has taken */
	uint64_t app_acked; /* request bytes the application acknowledged */
};

struct world {
	struct arena arena;
	struct shard shard;
	struct stack *st;
	uint64_t now_us;
	struct world_client clients[WORLD_CLIENTS];
	struct stack_group group;
	struct stack_limits limits; /* of the next process */
	uint32_t pool_bytes; /* likewise */
	_Atomic uint32_t shared_count;
	bool i1; /* nothing may be acknowledged before the application did */
	bool own_replies; /* reply bytes and acknowledgements are not the target's */
	uint32_t emitted; /* packets since world_up() */
	struct seg_offload offload; /* what the device says of the next packet */
	/* Records that the target has written into: nothing is asked of their bytes. */
	bool garbled[WORLD_RECS];
};

extern struct world world;

/* How an execution begins. */
struct world_setup {
	bool near_wrap; /* the stack's sequence numbers wrap soon */
	uint16_t mtu;
	struct stack_group group; /* id, port, pool and shared_count are set */
	uint32_t pool_bytes;
	uint32_t clients; /* bits of client_shape() for each, 4 apart */
};

void world_up(const struct world_setup *setup);

/* Aborts all connections, lets time pass, and checks that nothing is left. */
void world_down(void);

/* The process is killed, and the next one takes over what it left. */
void world_kill(void);
/* Returns how many connections it has. */
uint32_t world_recover(void);
/*
 * What a target's own part of the process does to the arena while it is taken
 * down, between these, has not happened.
 */
void world_freeze(void);
void world_thaw(void);

/* The group's settings have changed. */
void world_group(void);

/* shard_check(), and the bounds of every record and block. */
void world_check(void);

/* Throw away all that is derived, and derive it. */
void world_rebuild(void);

/* A call of the stack for the daemon's part is done: packets leave. */
void world_flush(void);

/* Timers run when they are due, at most max_ticks times; then a jump. */
void world_pass_us(uint64_t us, uint32_t max_ticks);

/*
 * Bytes of a client's or of the server's stream from a position on: at least
 * 8192 of them.
 */
const uint8_t *world_client_bytes(uint32_t pos);
const uint8_t *world_server_bytes(uint32_t pos);
/* Are these len bytes, any number, what the client's stream has from pos on? */
bool world_client_said(uint32_t pos, const uint8_t *bytes, size_t len);

/* --- client.c: packets ------------------------------------------------- */

struct world_seg {
	uint8_t flags;
	uint8_t ecn; /* of the IP header */
	uint32_t seq, ack;
	uint16_t wnd, urgent;
	uint32_t len; /* bytes of the stream at seq */
	uint8_t opts[40];
	uint32_t opts_len; /* a multiple of 4 */
};

void client_reset(struct world_client *cl, uint32_t i, uint32_t shape);

/* What it would send next: ACK, all received acknowledged, no data. */
struct world_seg client_seg(const struct world_client *cl);

/* The options it puts into a segment like that (SYN or not). */
void client_options(struct world_client *cl, struct world_seg *seg);

/* Builds the packet with right checksums; returns its length. */
uint32_t client_build(const struct world_client *cl,
		      const struct world_seg *seg, uint8_t *buf);

/* Makes the checksums of a packet right, as far as its lengths make sense. */
void client_fix_checksums(uint8_t *packet, uint32_t len);

/* The internet checksum over len bytes, beginning with sum; not inverted. */
uint32_t client_sum(uint32_t sum, const uint8_t *p, uint32_t len);

/* Parse, input, flush. */
void client_packet(const uint8_t *packet, uint32_t len);

/* Builds and inputs seg, and notes what it promises. */
void client_input(struct world_client *cl, const struct world_seg *seg);
/* The notes alone, of a segment that goes another way. */
void client_note(struct world_client *cl, const struct world_seg *seg);

/* Steps that go right: handshake, data, a pure ACK. */
void client_connect(struct world_client *cl);
void client_send(struct world_client *cl, uint32_t len, uint8_t flags);
void client_ack(struct world_client *cl);

/* The record of the client's connection, or NULL. */
struct rec *client_rec(const struct world_client *cl);

/* The client of a record, or NULL. */
struct world_client *client_of_rec(uint32_t ri);

/* struct stack_ops */
void client_on_emit(void *ctx, const struct iovec *iov, int iovcnt);
void client_on_trace(void *ctx, uint32_t ri, uint8_t from, uint8_t to);

#endif
