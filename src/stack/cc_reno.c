/* SPDX-License-Identifier: BSD-2-Clause */
/* Reno: RFC 5681, with appropriate byte counting (RFC 3465, L = 2). */
#include "base/bytes.h"
#include "stack/cc.h"

uint32_t cc_initial_window(uint32_t mss)
{
	return min_u32(10 * mss, max_u32(2 * mss, 14600));
}

void cc_init(struct blk_cc *cc, uint32_t mss)
{
	*cc = (struct blk_cc){
		.cwnd = cc_initial_window(mss),
		.ssthresh = UINT32_MAX,
		.phase = CC_OPEN,
	};
}

static void reno_acked(struct blk_cc *cc, uint32_t mss, uint32_t acked_bytes)
{
	if (cc->cwnd < cc->ssthresh) {
		/* RFC 5681 (2): slow start. */
		cc->cwnd += min_u32(acked_bytes, 2 * mss);
		return;
	}
	/* One segment per window's worth of acknowledged bytes. */
	cc->acked_bytes += acked_bytes;
	if (cc->acked_bytes >= cc->cwnd) {
		cc->acked_bytes -= cc->cwnd;
		cc->cwnd += mss;
	}
}

/* RFC 5681 (4). */
static uint32_t reno_halved(uint32_t mss, uint32_t flight_bytes)
{
	return max_u32(flight_bytes / 2, 2 * mss);
}

static void reno_loss(struct blk_cc *cc, uint32_t mss, uint32_t flight_bytes)
{
	cc->ssthresh = reno_halved(mss, flight_bytes);
	cc->cwnd = cc->ssthresh + 3 * mss;
	cc->acked_bytes = 0;
}

static void reno_timeout(struct blk_cc *cc, uint32_t mss, uint32_t flight_bytes,
			 bool first)
{
	/* RFC 5681 section 3.1: ssthresh is set once for a segment's series. */
	if (first)
		cc->ssthresh = reno_halved(mss, flight_bytes);
	cc->cwnd = mss;
	cc->acked_bytes = 0;
}

const struct cc_ops cc_reno = {
	.name = "reno",
	.acked = reno_acked,
	.loss = reno_loss,
	.timeout = reno_timeout,
};
