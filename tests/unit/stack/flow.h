/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flow - congestion control without packets: a sender that is a window, and a
 * path that is an RTT.
 */
#ifndef XTCP_TESTS_FLOW_H
#define XTCP_TESTS_FLOW_H

#include <math.h>

#include "../unit.h"
#include "base/bytes.h"
#include "base/units.h"
#include "stack/cc.h"
#include "stack/cc_ops.h"

#define MSS 1460u
#define MS USEC_PER_MSEC

#define ck_within(what, is, should, share)                             \
	ck_assert_msg(fabs((is) - (should)) <= fabs(should) * (share), \
		      "%s: %g instead of %g", what, (double)(is),      \
		      (double)(should))

/* A sender with data without end. */
struct flow {
	struct blk_cc cc;
	uint64_t now_us;
	uint32_t mss, rtt_us;
	uint32_t una; /* near the wrap */
	bool app_limited;
};

static inline void flow_init(struct flow *f, uint8_t algorithm, uint32_t rtt_us)
{
	*f = (struct flow){
		.now_us = 1000 * USEC_PER_SEC,
		.mss = MSS,
		.rtt_us = rtt_us,
		.una = UINT32_MAX - 30000,
	};
	cc_init(&f->cc, algorithm, MSS);
}

/* An ACK of so many bytes, now; a full window is in flight. */
static inline void flow_ack(struct flow *f, uint32_t bytes)
{
	struct cc_ack ack = {
		.now_us = f->now_us,
		.mss = f->mss,
		.acked_bytes = bytes,
		.rtt_us = f->rtt_us,
		.srtt_us = f->rtt_us,
		.limited = !f->app_limited,
	};

	f->una += bytes;
	ack.snd_una = f->una;
	ack.snd_nxt = f->una + f->cc.cwnd;
	cc_acked(&f->cc, &ack);
}

/* One round trip, in which a window is acknowledged by ACKs of @per bytes. */
static inline void flow_round_of(struct flow *f, uint32_t per)
{
	uint32_t flight = f->cc.cwnd;
	uint64_t began = f->now_us;

	for (uint32_t acked = 0, n; acked < flight; acked += n) {
		n = min_u32(per, flight - acked);
		f->now_us = began + (uint64_t)f->rtt_us * (acked + n) / flight;
		flow_ack(f, n);
	}
}

static inline void flow_round(struct flow *f)
{
	flow_round_of(f, MSS);
}

/* A loss, and a recovery that takes no time. */
static inline void flow_loss(struct flow *f)
{
	cc_congestion(&f->cc, CC_EV_LOSS, f->mss, f->cc.cwnd, f->now_us, false);
	f->cc.cwnd = f->cc.ssthresh;
}

/* In congestion avoidance after a loss at so many segments. */
static inline void flow_avoid(struct flow *f, uint8_t algorithm,
			      uint32_t rtt_us, uint32_t segs)
{
	flow_init(f, algorithm, rtt_us);
	f->cc.cwnd = segs * MSS;
	flow_loss(f);
}

static inline uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

#endif
