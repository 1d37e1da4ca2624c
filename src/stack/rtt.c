/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/bytes.h"
#include "stack/conn.h"

/*
 * A time in 16 bits for the record: 5 bits of exponent, 11 of mantissa. Exact
 * below 2048 us, within 0.1 % above; 0 means no estimate.
 */
uint16_t rtt_pack(uint32_t us)
{
	uint32_t exp = 0;

	while (us >> exp > 2047)
		exp++;
	return (uint16_t)(exp << 11 | us >> exp);
}

uint32_t rtt_unpack(uint16_t packed)
{
	return (uint32_t)(packed & 2047) << min_u32(packed >> 11, 21);
}

static void rtt_set_rto(struct blk_rtt *rtt)
{
	/* RFC 6298 (2.3); G is far below the minimum. */
	uint64_t rto = (uint64_t)rtt->srtt_us + 4 * (uint64_t)rtt->rttvar_us;

	rtt->rto_us = (uint32_t)clamp_u64(rto, TCP_RTO_MIN_US, TCP_RTO_MAX_US);
}

/* From what the record remembers; else RFC 6298 (2.1). */
void rtt_init(struct conn *c)
{
	struct blk_rtt *rtt = &c->b->rtt;

	*rtt = (struct blk_rtt){
		.srtt_us = rtt_unpack(c->r->srtt),
		.rttvar_us = rtt_unpack(c->r->rttvar),
		.rto_us = (uint32_t)TCP_RTO_INIT_US,
	};
	if (rtt->srtt_us)
		rtt_set_rto(rtt);
}

/* RFC 6298 (2.2), (2.3). */
void rtt_sample(struct conn *c, uint32_t rtt_us)
{
	struct blk_rtt *rtt = &c->b->rtt;

	rtt_us = max_u32(rtt_us, 1);
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
