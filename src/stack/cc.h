/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cc - congestion control: one table of functions per algorithm.
 *
 * Recovery (recovery.c) says what happened; the algorithm says how large the
 * window is. Sizes are bytes.
 */
#ifndef XTCP_STACK_CC_H
#define XTCP_STACK_CC_H

#include <stdbool.h>
#include <stdint.h>

#include "arena/layout.h"

enum tcp_cc_phase {
	CC_OPEN, /* slow start or congestion avoidance */
	CC_RECOVERY, /* RFC 6582 fast recovery */
	CC_LOSS, /* after an RTO, until recover is acknowledged */
};

struct cc_ops {
	const char *name;
	/* New data was acknowledged outside of fast recovery. */
	void (*acked)(struct blk_cc *cc, uint32_t mss, uint32_t acked_bytes);
	/* The first loss of a window, by duplicate ACKs. */
	void (*loss)(struct blk_cc *cc, uint32_t mss, uint32_t flight_bytes);
	/* A retransmission time-out; first: not one of a series. */
	void (*timeout)(struct blk_cc *cc, uint32_t mss, uint32_t flight_bytes,
			bool first);
};

/* RFC 6928: the initial window. */
uint32_t cc_initial_window(uint32_t mss);

void cc_init(struct blk_cc *cc, uint32_t mss);

extern const struct cc_ops cc_reno;

#endif
