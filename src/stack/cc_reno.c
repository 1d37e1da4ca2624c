/* SPDX-License-Identifier: BSD-2-Clause */
/* Reno: RFC 5681, with appropriate byte counting (RFC 3465). */
#include "base/bytes.h"
#include "stack/cc_ops.h"

/* RFC 3465 section 2.1: a segment per window's worth of acknowledged bytes. */
static void reno_avoid(struct blk_cc *cc, const struct cc_ack *ack,
		       uint32_t acked_bytes)
{
	/* One ACK of more than a window is one window all the same. */
	cc->acked_bytes += min_u32(acked_bytes, cc->cwnd);
	if (cc->acked_bytes < cc->cwnd)
		return;
	cc->acked_bytes = min_u32(cc->acked_bytes - cc->cwnd, cc->cwnd - 1);
	cc->cwnd += ack->mss;
}

/* RFC 5681 (4). */
static uint32_t reno_reduce(struct blk_cc *cc, enum cc_event ev,
			    uint32_t flight_bytes)
{
	(void)cc;
	(void)ev;
	return flight_bytes / 2;
}

const struct cc_ops cc_reno = {
	.name = "reno",
	.avoid = reno_avoid,
	.reduce = reno_reduce,
};
