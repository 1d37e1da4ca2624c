/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/bytes.h"
#include "stack/conn.h"

#define RTT_TICK_US (REC_TICK_MS * USEC_PER_MSEC)
/* A path may change: the minimum of five minutes counts. */
#define RTT_MIN_TICKS ((uint32_t)(300 * USEC_PER_SEC / RTT_TICK_US))

/*
 * A time in 16 bits for the record: 5 bits of exponent, 11 of mantissa. Exact
 * below 2048 us, within 0.1 % above; 0 means no estimate.
 */
uint16_t rtt_pack(uint32_t us)
{
	uint32_t bits = us ? 32 - (uint32_t)__builtin_clz(us) : 0;
	uint32_t exp = bits > 11 ? bits - 11 : 0;

	return (uint16_t)(exp << 11 | us >> exp);
}

uint32_t rtt_unpack(uint16_t packed)
{
	return (uint32_t)(packed & 2047) << min_u32(packed >> 11, 21);
}

static void rtt_set_rto(struct blk_rtt *rtt)
{
	/*
	 * RFC 6298 (2.3). The minimum stands for G: it is a client's delay of
	 * its ACK, which comes on top of the round trip.
	 */
	uint64_t rto = rtt->srtt_us +
		       max_u64(4 * (uint64_t)rtt->rttvar_us, TCP_RTO_MIN_US);

	rtt->rto_us = (uint32_t)min_u64(rto, TCP_RTO_MAX_US);
}

/* From what the record remembers; else RFC 6298 (2.1). */
void rtt_init(struct conn *c)
{
	struct blk_rtt *rtt = &c->b->rtt;

	*rtt = (struct blk_rtt){
		.srtt_us = rtt_unpack(c->r->srtt),
		.rttvar_us = rtt_unpack(c->r->rttvar),
		.rto_us = (uint32_t)TCP_RTO_INIT_US,
		.min_us = rtt_unpack(c->r->srtt),
		.min_tick = (uint32_t)(c->now_us / RTT_TICK_US),
	};
	if (rtt->srtt_us)
		rtt_set_rto(rtt);
}

/* The least sample of late, for RACK (RFC 8985 6.2 step 1). */
static void rtt_set_min(struct blk_rtt *rtt, uint32_t rtt_us, uint64_t now_us)
{
	uint32_t tick = (uint32_t)(now_us / RTT_TICK_US);

	if (rtt->min_us && rtt_us > rtt->min_us &&
	    tick - rtt->min_tick < RTT_MIN_TICKS)
		return;
	rtt->min_us = rtt_us;
	rtt->min_tick = tick;
}

/* RFC 6298 (2.2), (2.3). */
void rtt_sample(struct conn *c, uint32_t rtt_us)
{
	struct blk_rtt *rtt = &c->b->rtt;

	rtt_us = max_u32(rtt_us, 1);
	rtt_set_min(rtt, rtt_us, c->now_us);
	if (!rtt->srtt_us) {
		rtt->srtt_us = rtt_us;
		rtt->rttvar_us = rtt_us / 2;
	} else {
		uint32_t diff = rtt_us > rtt->srtt_us ? rtt_us - rtt->srtt_us
						      : rtt->srtt_us - rtt_us;

		rtt->rttvar_us = rtt->rttvar_us - rtt->rttvar_us / 4 + diff / 4;
		rtt->srtt_us = rtt->srtt_us - rtt->srtt_us / 8 + rtt_us / 8;
		rtt->srtt_us = max_u32(rtt->srtt_us, 1);
	}
	rtt_set_rto(rtt);
}
