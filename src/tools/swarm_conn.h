/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_CONN_H
#define XTCP_TOOLS_SWARM_CONN_H

/*
 * conn - what is kept of clients: a record of 32 bytes for each, and a table
 * of bounded size for those that wait for something.
 *
 * Deadlines stand apart from the entries that they belong to, so that looking
 * for those that are over is a sweep over few bytes, without a list or a heap
 * that each segment would have to move things in.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Of RFC 9293 3.3.2, as a client has them; TIME-WAIT is CLOSED here. */
enum swarm_state {
	SWARM_CLOSED,
	SWARM_SYN_SENT,
	SWARM_ESTABLISHED,
	SWARM_FIN_WAIT_1,
	SWARM_FIN_WAIT_2,
	SWARM_CLOSING,
	SWARM_LAST_ACK,
};

/* Timestamps are in use. */
#define SWARM_REC_TS 0x01u
/* A segment is not acknowledged yet. */
#define SWARM_REC_ACK_OWED 0x02u
/* The connection stands in the queue of delayed ACKs. */
#define SWARM_REC_ACK_QUEUED 0x04u
/* The connection has been one. */
#define SWARM_REC_USED 0x08u

struct swarm_rec {
	uint32_t iss, irs;
	uint32_t snd_nxt; /* what is before is acknowledged, if not active */
	uint32_t rcv_nxt;
	uint32_t ts_recent; /* RFC 7323 4.3 */
	uint32_t active; /* entry, counted from 1; 0: none */
	uint16_t window; /* the peer's, as last read, not scaled */
	uint16_t mss; /* the most payload of a segment that we send */
	uint8_t wscale; /* the peer's */
	uint8_t state;
	uint8_t flags;
	uint8_t turn; /* of its ports: swarm_tuple.h */
};
ASSERT_SIZE(struct swarm_rec, 32);

enum swarm_kind {
	SWARM_FREE,
	SWARM_CONNECT,
	SWARM_REQUEST,
	SWARM_CLOSE,
	SWARM_N_KINDS,
};

struct swarm_active {
	uint64_t sched_ns; /* when this was to begin */
	uint32_t index; /* the client; free: the next free entry, from 1 */
	uint32_t snd_una;
	uint32_t request_end,
		reply_end; /* sequence numbers behind the last byte */
	uint8_t kind;
	uint8_t tries; /* time-outs since there was an answer */
	uint8_t dup_acks;
	bool reopen; /* SWARM_CLOSE, SWARM_CONNECT: of churn */
	bool reply_begun;
};

struct swarm_conns {
	struct swarm_rec *recs;
	uint32_t n;
	struct swarm_active *active; /* entry i is active[i - 1] */
	uint32_t *deadlines_ms; /* likewise; 0: none */
	uint32_t n_active, max_active;
	uint32_t high; /* entries from here on were never used */
	uint32_t free; /* first free entry, from 1; 0: none */
	uint32_t by_kind[SWARM_N_KINDS];
	uint32_t n_established;
};

/* Memory is zero, and taken when it is touched. Returns 0 or -ENOMEM. */
int swarm_conns_init(struct swarm_conns *c, uint32_t n, uint32_t max_active);
void swarm_conns_fini(struct swarm_conns *c);

/* The client's entry, or NULL. */
static inline struct swarm_active *swarm_conns_active(struct swarm_conns *c,
						      const struct swarm_rec *r)
{
	return r->active ? &c->active[r->active - 1] : NULL;
}

/* Room for one more? */
static inline bool swarm_conns_has_room(const struct swarm_conns *c)
{
	return c->n_active < c->max_active;
}

/* An entry for a client that has none; NULL: the table is full. */
struct swarm_active *swarm_conns_activate(struct swarm_conns *c, uint32_t index,
					  enum swarm_kind kind,
					  uint64_t sched_ns);

/* Gives the client's entry back, if there is one. */
void swarm_conns_rest(struct swarm_conns *c, struct swarm_rec *r);

/* Another kind of work for an entry. */
void swarm_conns_set_kind(struct swarm_conns *c, struct swarm_active *a,
			  enum swarm_kind kind);

void swarm_conns_set_state(struct swarm_conns *c, struct swarm_rec *r,
			   enum swarm_state state);

/* When to look at the entry again; 0: never. */
static inline void swarm_conns_set_deadline(struct swarm_conns *c,
					    const struct swarm_active *a,
					    uint32_t at_ms)
{
	c->deadlines_ms[a - c->active] = at_ms;
}

/*
 * The first entry at or after *ret_from whose deadline is over: the client's
 * index; the deadline is taken away and *ret_from moved on. False: no more.
 */
bool swarm_conns_expired(struct swarm_conns *c, uint32_t now_ms,
			 uint32_t *ret_from, uint32_t *ret_index);

#endif
