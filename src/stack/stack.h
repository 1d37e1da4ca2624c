/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stack - XTCP, as its user sees it.
 *
 * One struct stack per worker, over one shard of the arena. The stack does no
 * I/O, reads no clock and logs nothing: it is a function of the arena, what is
 * called, and `now_us` (I5). The monotonic time in microseconds is given to
 * each call and must not go back.
 *
 * How it is driven:
 *
 *	stack_parse()  each packet of a batch      (also prefetches)
 *	stack_input()  each one that is this worker's
 *	stack_next_event() until there is none; the events' answers and the
 *	               frames of backends become calls (stack_reply() ...)
 *	stack_tick()   when stack_next_us() has come
 *	stack_flush()  last: sends what all that made due
 *
 * Input and calls only change state and mark connections; packets leave
 * through stack_ops.emit in stack_flush() (but for RSTs and ICMP answers,
 * which go at once). So an acknowledgement rides on a reply that comes in the
 * same turn, and a FIN on the last data.
 *
 * Connections are named by record number; whoever keeps one longer than a
 * turn keeps the generation with it and asks stack_lookup().
 */
#ifndef XTCP_STACK_STACK_H
#define XTCP_STACK_STACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "arena/shard.h"
#include "base/counter.h"
#include "stack/counters.h"
#include "stack/seg.h"
#include "stack/source.h"
#include "stack/state.h"

#define STACK_GROUPS_MAX 1024u /* ids 1..1023 */
#define STACK_POOLS_MAX 256u
#define STACK_EMIT_IOV_MAX 16 /* header + at most 15 pieces of payload */

enum stack_accept_mode { STACK_ACCEPT_AUTO, STACK_ACCEPT_APPLICATION };
enum stack_ack_mode {
	STACK_ACK_DEFERRED,
	STACK_ACK_DELIVERED,
	STACK_ACK_IMMEDIATE
};
enum stack_cookie_mode {
	STACK_COOKIES_AUTO, /* under pressure */
	STACK_COOKIES_ALWAYS,
	STACK_COOKIES_NEVER
};
#define STACK_ACK_WINDOW_AUTO UINT32_MAX

/* What the stack needs to know of a group; times in microseconds. */
struct stack_group {
	uint16_t id; /* 1..STACK_GROUPS_MAX - 1 */
	uint16_t port;
	uint16_t pool; /* index of a stack_pool */
	uint8_t accept; /* enum stack_accept_mode */
	uint8_t ack; /* enum stack_ack_mode */
	uint8_t congestion; /* enum cc_algorithm, of what becomes active from now on */
	bool ecn; /* negotiate ECN with clients that ask for it, RFC 3168 */
	bool announce; /* STACK_EV_OPEN when established */
	bool draining; /* takes no new connections */
	int32_t priority; /* higher first */
	uint64_t vip_mask; /* bit i: VIP i */
	uint32_t max_connections; /* over all workers; 0: no limit */
	uint32_t max_per_source; /* of this worker's; 0: no limit */
	_Atomic uint32_t *
		shared_count; /* all workers' count; used with max_connections */
	uint32_t ack_window_bytes; /* 0: never; STACK_ACK_WINDOW_AUTO */
	uint64_t ack_deadline_us; /* 0: never */
	uint64_t accept_timeout_us;
	uint64_t idle_timeout_us; /* 0: never */
	uint64_t keepalive_us; /* 0: never */
	uint64_t user_timeout_us;
};

/* What the stack counts per group; single writer. */
struct stack_group_stats {
	struct counter connections, half_open; /* gauges */
	struct counter accepted, refused, msgs_in, msgs_out, bytes_in,
		bytes_out;
};

/* A pool's share in this worker, in chunks. */
struct stack_pool {
	uint32_t limit_chunks;
	uint32_t high_chunks; /* throttling begins above */
	uint32_t low_chunks; /* and ends below */
	uint32_t used_chunks;
	uint32_t ooo_chunks; /* of these, out of order */
	uint32_t holders_head, holders_tail; /* blocks that hold such */
	bool throttled;
	bool released; /* left throttling: the next flush sees to those it held back */
};

/* Chunks of a connection beyond a gap, without one between them (rx.c). */
struct rx_run {
	uint32_t end; /* sequence number after the last byte */
	uint32_t last; /* chunk; the first is the run's own number */
	uint32_t next; /* run, or NIL */
	uint32_t n; /* chunks */
};

/* A block that has such, in the list of its pool. */
struct rx_holder {
	uint32_t next, prev; /* blocks, or NIL */
	uint32_t runs : 8;
	/* The last chunk that stack_peek() showed, or any, as its low bits. */
	uint32_t peeked : 24;
};

/* How fast a client takes what is queued for it (tx.c). */
struct tx_mark {
	uint32_t upto; /* sequence number that is to be acknowledged */
	uint32_t since_ms; /* when that was queued, modulo 2^32; 0: not set */
};

enum stack_event {
	/* A connection is there: held SYN (state SYN_HELD: answer with
	 * stack_accept or stack_refuse), or announced. */
	STACK_EV_OPEN = 1 << 0,
	STACK_EV_DATA = 1 << 1, /* stack_peek() has undelivered bytes */
	STACK_EV_EOF = 1 << 2, /* the client closed; all its bytes are in */
	/* The connection is gone (RST, time-out). The record stays until
	 * stack_forget(). */
	STACK_EV_RESET = 1 << 3,
	STACK_EV_ACKED = 1 << 4, /* the client acknowledged bytes of ours */
};

struct stack_ops {
	/*
	 * Send one IP packet: iov[0] holds the headers. Borrowed until
	 * return. A packet that can't be sent is simply lost.
	 */
	void (*emit)(void *ctx, const struct iovec *iov, int iovcnt);
	/* Optional: each state change. */
	void (*trace)(void *ctx, uint32_t ri, uint8_t from, uint8_t to);
	void *ctx;
};

struct stack_limits {
	uint16_t mtu; /* bytes, of the TUN */
	uint16_t mtu_min4; /* bytes: what an ICMP message can't go below, IPv4 */
	uint32_t packet_max; /* bytes of a reassembled packet */
	uint16_t frag_datagrams; /* under reassembly at a time, of this worker */
	uint16_t frag_per_source; /* of these, from one IPv4 address or IPv6 /64 */
	uint32_t recs_max; /* connections of this worker; 0: all that have records */
	uint32_t half_open_max; /* of this worker */
	uint32_t half_open_cookies; /* cookies from so many on */
	uint32_t half_open_per_source; /* of this worker; 0: no limit */
	uint8_t syn_cookies; /* enum stack_cookie_mode */
	uint32_t rcv_window_max; /* per connection, bytes */
	uint32_t snd_queue_max; /* per connection, bytes */
	uint16_t ooo_chunks_max; /* per connection */
	/*
	 * The device completes TCP checksums: a segment is emitted with the sum
	 * of the pseudo-header in its place, as offload wants it.
	 */
	bool partial_checksums;
};

/* How many more answers there are in a period: RFC 5961 section 7. */
struct stack_budget {
	uint32_t left;
	uint64_t until_us;
};

#define STACK_OWN_MAX 512u

/*
 * Of some addresses, which are the host's own, only single ports are ours. All
 * else there is the host's: no packet for it gets an answer from us.
 */
struct stack_own {
	uint64_t vips; /* bit i: header->vips[i] is one of them */
	uint32_t n;
	uint32_t ports[STACK_OWN_MAX]; /* stack_own_port(), ascending */
};

static inline uint32_t stack_own_port(uint8_t vip, uint16_t port)
{
	return (uint32_t)vip << 16 | port;
}

/* Is the port of the address ours? */
bool stack_own_has(const struct stack_own *own, uint8_t vip, uint16_t port);

struct stack {
	struct shard *sh;
	const struct arena_header *header;
	struct stack_ops ops;
	struct stack_limits limits;
	struct frag_table *frags; /* heap */
	uint64_t now_us; /* as last heard, for stack_parse() */
	uint32_t workers;
	uint64_t vips; /* bit i: packets to header->vips[i] are ours */
	struct stack_own own;
	struct stack_group *groups[STACK_GROUPS_MAX]; /* heap, by id */
	struct stack_group_stats *group_stats[STACK_GROUPS_MAX]; /* heap, by id */
	uint16_t port_group[65536]; /* first group of the port's chain, or 0 */
	uint16_t group_next[STACK_GROUPS_MAX]; /* chain in order of priority */
	struct stack_pool pools[STACK_POOLS_MAX];
	struct rx_run *rx_runs; /* heap, by chunk */
	struct rx_holder *rx_holders; /* heap, by block */
	struct tx_mark *tx_marks; /* heap, by block */
	uint64_t tx_pressed_us; /* when a reply was last not taken whole */
	struct counter counters[SC_COUNT];
	uint32_t ready_head, ready_tail; /* blocks with events */
	uint32_t dirty_head, dirty_tail; /* blocks with output */
	uint32_t half_open;
	uint64_t cookies_until_us; /* a cookie that was sent may come back */
	uint64_t quiet_until_us; /* no RST says "no connection": recover.c */
	struct source_table half_open_sources;
	struct source_table conn_sources; /* from the first max_per_source on */
	uint32_t established, time_wait; /* gauges */
	uint32_t time_wait_hand; /* where one was looked for when records ran out */
	struct stack_budget challenges, time_wait_acks;
	uint64_t sweep_at_us;
	bool pools_released; /* some pool is */
	uint32_t turn; /* round robin among groups of one port */
};

/* limits with the defaults for an MTU. */
void stack_limits_init(struct stack_limits *limits, uint16_t mtu);

/*
 * The shard is borrowed. Returns a new stack (stack_free), NULL without
 * memory.
 */
struct stack *stack_new(struct shard *sh, uint32_t workers,
			const struct stack_ops *ops,
			const struct stack_limits *limits, uint64_t now_us);
void stack_free(struct stack *st);

/*
 * Add a group, or replace the settings of the one with this id. Its port can't
 * change while it has connections (-EBUSY); what they hold goes with it to
 * another pool. Copies *group. The first one with max_per_source has all
 * connections counted. Returns 0, -EINVAL, -EBUSY, -ENOMEM.
 */
int stack_group_set(struct stack *st, const struct stack_group *group);

/*
 * Memory for what stack_group_set() may have to allocate: with it, it can't
 * fail for want of memory. Any thread may make one, for shards of n_recs
 * records; with_sources: a setting of max_per_source is to come.
 */
struct stack_room {
	struct stack_group *group;
	struct stack_group_stats *stats;
	uint32_t *sources;
};
int stack_room_new(struct stack_room *ret_room, uint32_t n_recs,
		   bool with_sources);
void stack_room_free(struct stack_room *room);

/* Takes of room what group id lacks; the rest stays the caller's. */
void stack_room_take(struct stack *st, uint16_t id, struct stack_room *room);

/*
 * Take a group off its port: no connection comes to it any more. Those that
 * it has stay until they are aborted.
 */
void stack_group_remove(struct stack *st, uint16_t id);

/* Which of header->vips are ours from now on; before, all that are there. */
void stack_vips_set(struct stack *st, uint64_t vips);

/* Of which only single ports are; before, of none. Copies own. */
void stack_own_set(struct stack *st, const struct stack_own *own);

/* Change limits that bear it: recs_max, half_open_*, syn_cookies. */
void stack_limits_set(struct stack *st, const struct stack_limits *limits);

/*
 * Size pool i (its use is kept); bytes of this worker's share, 0: there is no
 * such pool any more.
 */
void stack_pool_set(struct stack *st, uint16_t i, uint64_t bytes,
		    uint32_t high_percent, uint32_t low_percent);

/*
 * Take over what a process before this one left in the shard: once, at the
 * beginning, when all groups and pools are set. Completes or undoes what it was
 * about when it died; what is torn is dropped, with a RST (recover.c). Events
 * tell of what is to be delivered (again), and the next flush sends what is to
 * be sent again. Returns how many connections there are; counted, as are those
 * that were lost. On an empty arena it only expects cookies. Unless this is the
 * arena's first process, no RST says "no connection" for a while (recover.c).
 */
uint32_t stack_recover(struct stack *st, uint64_t now_us);

/*
 * Check a packet's headers and checksums (in place; the packet is borrowed for
 * as long as ret_seg is used). Counts and answers false for what must be
 * dropped, and for a fragment that is kept. The last fragment of a datagram
 * yields the whole one: then ret_seg->packet is a packet in the stack's own
 * memory, valid until stack_flush(). ret_seg->worker says whose it is; the
 * index slot is prefetched when it is this worker's.
 */
bool stack_parse(struct stack *st, const uint8_t *packet, size_t len,
		 struct seg *ret_seg);

/* Likewise, of a packet from a device that offloads. */
bool stack_parse_offload(struct stack *st, const uint8_t *packet, size_t len,
			 const struct seg_offload *offload,
			 struct seg *ret_seg);

/*
 * Of a batch whose packets are all parsed, each before the first stack_input():
 * the index slots have come by then, the records are fetched while the others
 * are looked at.
 */
static inline void stack_expect(const struct stack *st, const struct seg *seg)
{
	if (seg->kind == SEG_TCP && seg->worker == st->sh->worker)
		shard_prefetch(st->sh, seg->hash);
}

/* RFC 9293 section 3.10.7, the answer to an ICMP message, or its consequence. */
void stack_input(struct stack *st, const struct seg *seg, uint64_t now_us);

/* Timers, and the clock hand's slice. */
void stack_tick(struct stack *st, uint64_t now_us);

/* When stack_tick() is due next; never UINT64_MAX, as the clock hand goes on. */
uint64_t stack_next_us(const struct stack *st);

/* Send all that is due. */
void stack_flush(struct stack *st, uint64_t now_us);

/*
 * The next connection with events, which are taken off it. Returns its record
 * number, or NIL. A connection of which the daemon takes nothing further
 * (backend busy) is not reported again on its own: the daemon remembers it.
 */
uint32_t stack_next_event(struct stack *st, uint16_t *ret_events);

/* The record, when it is in use under this generation; else NULL. */
static inline struct rec *stack_lookup(struct stack *st, uint32_t ri,
				       uint32_t generation)
{
	struct rec *r;

	if (ri >= st->sh->n_recs)
		return NULL;
	r = &st->sh->recs[ri];
	return r->state != TCP_FREE && r->generation == generation ? r : NULL;
}

/* SYN_HELD: complete the handshake. -EINVAL in another state. */
int stack_accept(struct stack *st, uint32_t ri, uint64_t now_us);

/* SYN_HELD: refuse with a RST; the record is gone. -EINVAL. */
int stack_refuse(struct stack *st, uint32_t ri, uint64_t now_us);

/*
 * Undelivered bytes in sequence: up to max_bytes in at most *iovcnt pieces
 * (lowered to the count used). *ret_offset is the stream position of the
 * first, *ret_redelivered whether any was handed out before. The pieces are
 * valid until the next call on this connection. Returns the bytes.
 */
uint32_t stack_peek(struct stack *st, uint32_t ri, uint32_t max_bytes,
		    struct iovec *iov, int *iovcnt, uint64_t *ret_offset,
		    bool *ret_redelivered);

/*
 * The first n bytes that stack_peek() showed are with a backend stream now.
 * Returns how many are undelivered still.
 */
uint32_t stack_delivered(struct stack *st, uint32_t ri, uint32_t n,
			 uint64_t now_us);

/* The backend is lost: all that it did not acknowledge is undelivered again. */
void stack_undeliver(struct stack *st, uint32_t ri);

/*
 * Acknowledge ackd bytes of the client's stream from position offset on, and
 * queue len bytes for the client (6g). What was acknowledged before is not an
 * error. The acknowledgement is taken with the last byte of the data: of a reply
 * that is cut off, the request comes again.
 * Returns bytes taken (may be fewer than len: transmit buffer full, or the
 * connection has its share of it; call again with the rest and the same ackd),
 * -EINVAL when offset + ackd is beyond what was delivered (nothing done), -EPIPE
 * after stack_shutdown (acknowledged).
 */
int64_t stack_reply(struct stack *st, uint32_t ri, uint64_t offset,
		    uint32_t ackd, const void *data, uint32_t len,
		    uint64_t now_us);

/*
 * Bytes that a backend may well be granted beyond what the client has
 * acknowledged: a connection's share of the transmit buffer as it stands.
 */
uint32_t stack_reply_room(const struct stack *st);

/* Bytes of a reply that stack_reply() would take of this connection now. */
uint32_t stack_reply_room_of(const struct stack *st, uint32_t ri);

/* FIN after what is queued; still receiving. */
void stack_shutdown(struct stack *st, uint32_t ri, uint64_t now_us);

/*
 * The application is done: FIN after what is queued, and no further event. A
 * RST instead when received bytes are not acknowledged by the application
 * (RFC 1122 4.2.2.13: the client must learn that they were not processed).
 */
void stack_close(struct stack *st, uint32_t ri, uint64_t now_us);

/* RST; the record is gone. */
void stack_abort(struct stack *st, uint32_t ri, uint64_t now_us);

/* After STACK_EV_RESET: the record is free. */
void stack_forget(struct stack *st, uint32_t ri);

/*
 * The stream position behind the last byte that stack_reply() took: where the
 * next one goes.
 */
uint64_t stack_reply_end(const struct stack *st, uint32_t ri);

/* Positions and sizes of one connection, for stack_reply's callers and show. */
struct stack_conn_info {
	uint64_t rcv_acked, snd_acked; /* stream positions */
	uint32_t rcv_held, rcv_undelivered; /* bytes */
	uint32_t snd_queued;
	uint32_t snd_wnd, rcv_wnd, cwnd, ssthresh, mss;
	uint32_t srtt_us, rttvar_us, rto_us, retransmits, idle_ms;
	bool active, eof;
	uint8_t state;
};
void stack_conn_info(const struct stack *st, uint32_t ri, uint64_t now_us,
		     struct stack_conn_info *ret_info);

static inline void stack_count(struct stack *st, enum stack_counter which)
{
	counter_add(&st->counters[which], 1);
}

static inline void stack_count_n(struct stack *st, enum stack_counter which,
				 uint64_t n)
{
	counter_add(&st->counters[which], n);
}

#endif
