/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_TCP_H
#define XTCP_TOOLS_SWARM_TCP_H

/*
 * tcp - the clients' TCP: just enough of RFC 9293 to open, ask, be answered
 * and close, and a sharp eye on the peer. One request at a time per client.
 *
 * What it is not: no congestion control (the peer's window is the limit), no
 * SACK, no reassembly (segments beyond a gap are dropped and come again).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/units.h"
#include "tools/swarm_conn.h"
#include "tools/swarm_counters.h"
#include "tools/swarm_hist.h"
#include "tools/swarm_packet.h"
#include "tools/swarm_pattern.h"
#include "tools/swarm_rng.h"
#include "tools/swarm_tun.h"
#include "tools/swarm_tuple.h"

/* The receive window: always open, as bytes are used up at once. */
#define SWARM_WSCALE 4
#define SWARM_WINDOW UINT16_MAX /* in the header, scaled or not */

struct swarm_tcp_conf {
	uint32_t request_bytes, reply_bytes;
	uint32_t rto_ms; /* the first time-out, at least; it doubles */
	uint32_t tries; /* transmissions until we give up */
	uint32_t ack_delay_ms; /* 0: none */
	bool echo; /* reply bytes are those of the request */
	bool verify; /* checksums, and bytes of an echo */
};

/* Delayed ACKs, in the order in which their delay is over. */
#define SWARM_ACK_QUEUE 65536u

struct swarm_ack_due {
	uint32_t index;
	uint32_t at_ms;
};

struct swarm_tcp {
	struct swarm_tcp_conf conf;
	struct swarm_wire wire;
	struct swarm_tuples tuples;
	struct swarm_conns conns;
	struct swarm_tun *tun; /* borrowed */
	struct swarm_pattern *pattern;
	struct swarm_rng rng;
	uint64_t now_ns, start_ns;
	uint32_t now_ms; /* since the start, from 1 on */
	uint32_t tsval; /* RFC 7323 4.1: in ms, too */
	uint32_t swept_ms; /* when deadlines were looked at */
	uint64_t recent_ns; /* mean of the latest latencies, of both histograms */
	struct swarm_ack_due *ack_queue; /* SWARM_ACK_QUEUE */
	uint32_t ack_head, ack_tail; /* both count without end */
	struct swarm_counters count;
	uint64_t violations[SWARM_N_VIOLATIONS], n_violations;
	struct swarm_hist connect_hist, exchange_hist;
};

/*
 * tuples and wire are copied, tun is borrowed until the end. Returns 0 or
 * -ENOMEM.
 */
int swarm_tcp_init(struct swarm_tcp *t, const struct swarm_tcp_conf *conf,
		   const struct swarm_wire *wire,
		   const struct swarm_tuples *tuples, struct swarm_tun *tun,
		   uint32_t max_active, uint64_t seed);
void swarm_tcp_fini(struct swarm_tcp *t);

/* The time of all that is done from now on, of CLOCK_MONOTONIC. */
static inline void swarm_tcp_set_now(struct swarm_tcp *t, uint64_t now_ns)
{
	if (t->start_ns == 0)
		t->start_ns = now_ns;
	t->now_ns = now_ns;
	t->now_ms = (uint32_t)((now_ns - t->start_ns) / NSEC_PER_MSEC) + 1;
	t->tsval = (uint32_t)(now_ns / NSEC_PER_MSEC);
}

/* --- what clients do: false, when it can't be done now --- */

/* A closed client connects; due at sched_ns. */
bool swarm_tcp_connect(struct swarm_tcp *t, uint32_t index, uint64_t sched_ns);

/* Established, and waiting for nothing? */
static inline bool swarm_tcp_is_idle(const struct swarm_tcp *t, uint32_t index)
{
	const struct swarm_rec *r = &t->conns.recs[index];

	return r->state == SWARM_ESTABLISHED && r->active == 0;
}

/* An idle client sends a request. */
bool swarm_tcp_request(struct swarm_tcp *t, uint32_t index, uint64_t sched_ns);

/* An idle client closes with a FIN; reopen: and connects again. */
bool swarm_tcp_close(struct swarm_tcp *t, uint32_t index, bool reopen);

/* A client of any state ends with a RST. */
void swarm_tcp_abort(struct swarm_tcp *t, uint32_t index);

/* --- what happens to them --- */

/* Takes the batch that swarm_tun_read() has read. */
void swarm_tcp_input(struct swarm_tcp *t, int n_frames);

/* Time has passed: time-outs, delayed ACKs. Call it once per batch. */
void swarm_tcp_tick(struct swarm_tcp *t);

/* When swarm_tcp_tick() has to be called at the latest. */
uint64_t swarm_tcp_next_ns(const struct swarm_tcp *t);

/* --- between the parts of this module --- */

/* Sends a segment with neither payload nor FIN or SYN. */
void swarm_tcp_send_flags(struct swarm_tcp *t, uint32_t index, uint8_t flags,
			  uint32_t seq);

/* Sends an ACK, nothing else. */
void swarm_tcp_send_ack(struct swarm_tcp *t, uint32_t index);

/* Acknowledges the segment on behalf of a connection that is no more. */
void swarm_tcp_answer(struct swarm_tcp *t, const struct swarm_seg *seg);

/* Sends what the window allows of the request. Returns how many packets. */
uint32_t swarm_tcp_push(struct swarm_tcp *t, uint32_t index);

/* Sends again, from the first byte that is not acknowledged, up to max bytes. */
void swarm_tcp_resend(struct swarm_tcp *t, uint32_t index, uint32_t max);

/* What the client waited for has come: into the histogram. */
void swarm_tcp_add_latency(struct swarm_tcp *t, struct swarm_hist *h,
			   const struct swarm_active *a);

/* (Re)starts the client's retransmission timer. */
void swarm_tcp_arm(struct swarm_tcp *t, struct swarm_active *a);

/* Our FIN, for an established connection; -EAGAIN: no entry is free. */
int swarm_tcp_send_fin(struct swarm_tcp *t, uint32_t index,
		       enum swarm_state state);

/* The connection is over. lost: though we did not end it. */
void swarm_tcp_end(struct swarm_tcp *t, uint32_t index, bool lost);

/* Counts a violation; the first few are printed, with the segment. */
void swarm_tcp_violation(struct swarm_tcp *t, enum swarm_violation what,
			 uint32_t index, const struct swarm_seg *seg);

/* The stream's place in the pattern. */
static inline uint32_t swarm_tcp_stream(const struct swarm_rec *r,
					uint32_t index)
{
	return (uint32_t)swarm_rng_mix((uint64_t)r->iss << 32 | index);
}

/* Position of a sequence number in a stream with this initial one. */
static inline uint32_t swarm_tcp_pos(uint32_t seq, uint32_t initial)
{
	return seq - initial - 1;
}

#endif
