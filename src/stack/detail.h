/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * detail - all that is known of one connection, for who looks at it.
 *
 * Not for the packet path: it walks the connection's chunks.
 */
#ifndef XTCP_STACK_DETAIL_H
#define XTCP_STACK_DETAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "stack/stack.h"

enum stack_timer {
	STACK_TIMER_RETRANSMIT, /* RFC 6298 */
	STACK_TIMER_PERSIST, /* window probe, RFC 9293 3.8.6.1 */
	STACK_TIMER_LOSS_PROBE, /* RFC 8985 7 */
	STACK_TIMER_REORDERING, /* RFC 8985 6 */
	STACK_TIMER_DELAYED_ACK,
	STACK_TIMER_ACK_DEADLINE, /* of what the application has in hand */
	STACK_TIMER_ACCEPT, /* the application's word about the SYN */
	STACK_TIMER_HANDSHAKE,
	STACK_TIMER_KEEPALIVE,
	STACK_TIMER_FIN_WAIT_2,
	STACK_TIMER_LINGER, /* the block is kept for its congestion state */
	STACK_TIMER_IDLE, /* idle-timeout */
	STACK_TIMER_TIME_WAIT,
	STACK_TIMERS
};

/* "retransmit"; NULL past the last. */
const char *stack_timer_name(uint32_t i);

#define STACK_TIMER_OFF UINT64_MAX

struct stack_conn_detail {
	const char *congestion; /* "cubic"; NULL: no active block */
	const char *phase; /* "open", "cwr", "recovery", "loss" */
	uint32_t min_rtt_us;
	uint8_t snd_wscale, rcv_wscale; /* shifts; 0 when not negotiated */
	bool ecn, reordering; /* seen */
	/* Ours, bytes and segments. */
	uint32_t unacked_bytes, unacked_segs; /* sent */
	uint32_t in_flight_bytes; /* of these, not thought lost or arrived */
	uint32_t sacked_bytes, sacked_segs, lost_bytes;
	uint32_t again_bytes; /* sent again, and that is in flight */
	uint32_t unsent_bytes;
	uint32_t dupacks, backoff, keepalive_probes;
	bool fin_queued;
	/* The client's: positions of its stream, bytes. */
	uint64_t rcv_pos; /* received in sequence up to here */
	uint64_t rcv_delivered; /* with a backend */
	uint64_t rcv_acked_client; /* acknowledged to the client */
	uint32_t ooo_chunks; /* beyond a gap */
	bool fin_received, acked_early;
	/* What it takes up. */
	uint32_t rcv_pool_bytes, tx_buffer_bytes;
	/* Microseconds left, 0: due; or STACK_TIMER_OFF. */
	uint64_t timer_us[STACK_TIMERS];
	/* How long ago, microseconds; STACK_TIMER_OFF: not known. */
	uint64_t sent_ago_us, progress_ago_us;
};

void stack_conn_detail(struct stack *st, uint32_t ri, uint64_t now_us,
		       struct stack_conn_detail *ret_detail);

#endif
