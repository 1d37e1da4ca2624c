/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cc_ops - what an algorithm of congestion control is to cc.c.
 *
 * Slow start, time-outs and undo are shared; an algorithm says how the window
 * grows in congestion avoidance, and how far down a congestion event brings it.
 */
#ifndef XTCP_STACK_CC_OPS_H
#define XTCP_STACK_CC_OPS_H

#include "stack/cc.h"

enum cc_flag {
	CC_CAN_UNDO = 1 << 0, /* prior is that of an event */
	CC_HY_ROUND = 1 << 1, /* a round of HyStart++ is measured */
	CC_HY_CSS = 1 << 2, /* conservative slow start */
};

struct cc_ops {
	const char *name;
	/*
	 * Congestion avoidance: acked_bytes are those of the ACK that slow
	 * start left over, at least 1; cwnd may grow, also beyond CC_CWND_MAX.
	 */
	void (*avoid)(struct blk_cc *cc, const struct cc_ack *ack,
		      uint32_t acked_bytes);
	/*
	 * A congestion event, before anything else of it changed: updates
	 * epoch. Returns the new ssthresh, bytes; less than 2 * mss is raised.
	 */
	uint32_t (*reduce)(struct blk_cc *cc, enum cc_event ev,
			   uint32_t flight_bytes);
	/* now_us is this late: an interval that does not count. Or NULL. */
	void (*pause)(struct blk_cc *cc, uint64_t pause_us);
};

extern const struct cc_ops cc_reno, cc_cubic;

/* The largest integer whose cube is at most @v. */
uint32_t cc_cube_root(uint64_t v);

#endif
