/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SYN cookies.
 *
 *	ISS    = PRF(key; tuple, irs, period) mod 2^32, its low 3 bits XORed
 *	         with the number of an MSS
 *	TSval  = the timestamp clock, its low 6 bits replaced:
 *	         | ECN 1 | SACK 1 | window shift 4 (15: none) |
 *
 * The acknowledgement brings both back. A guess hits with 16 of 2^32 numbers
 * (8 MSS, 2 periods), so that a forger of connections needs 2^27 segments for
 * one. What the client could change (its own options) is not covered by more
 * than that, as it could have asked for them in its SYN.
 *
 * Where it departs from the RFCs, on purpose: an ISN that is a cookie does not
 * grow with time (RFC 9293 3.4.1). The bits for that are worth more as proof;
 * old duplicates are PAWS's to find. A client without timestamps loses window
 * scale, SACK and ECN, as everywhere.
 */
#include "stack/cookie.h"

#include "base/bytes.h"
#include "stack/conn.h"

/* Sets the PRF's inputs apart from those of ISNs. */
#define COOKIE_TAG UINT64_C(0x636f6f6b6965)
#define COOKIE_MSS_BITS 3u
#define COOKIE_MSS_N (1u << COOKIE_MSS_BITS)

#define COOKIE_TS_BITS 6u
#define COOKIE_TS_MASK ((1u << COOKIE_TS_BITS) - 1)
#define COOKIE_TS_SHIFT 0x0fu /* of window scale; all set: none */
#define COOKIE_TS_SACK 0x10u
#define COOKIE_TS_ECN 0x20u

/* What clients announce most, and bounds: ascending, the first the smallest. */
static const uint16_t cookie_mss4[COOKIE_MSS_N] = {
	TCP_MSS_MIN, TCP_MSS_DEFAULT4, 1220, 1300, 1380, 1440, 1460, 8960,
};
static const uint16_t cookie_mss6[COOKIE_MSS_N] = {
	TCP_MSS_MIN, 536, TCP_MSS_DEFAULT6, 1300, 1380, 1420, 1440, 8940,
};

static const uint16_t *cookie_mss_table(const struct tuple *tuple)
{
	return tuple->v6 ? cookie_mss6 : cookie_mss4;
}

static uint32_t cookie_base(const struct stack *st, const struct tuple *tuple,
			    uint32_t irs, uint64_t period)
{
	return (uint32_t)isn_prf(st, tuple, period << 32 | irs, COOKIE_TAG);
}

uint32_t cookie_make(const struct stack *st, const struct tuple *tuple,
		     uint32_t irs, uint16_t mss, uint64_t now_us)
{
	const uint16_t *table = cookie_mss_table(tuple);
	uint32_t i = COOKIE_MSS_N - 1;

	while (i && table[i] > mss)
		i--;
	return cookie_base(st, tuple, irs, now_us / COOKIE_PERIOD_US) ^ i;
}

uint16_t cookie_check(const struct stack *st, const struct tuple *tuple,
		      uint32_t irs, uint32_t iss, uint64_t now_us)
{
	uint64_t period = now_us / COOKIE_PERIOD_US;

	for (uint64_t age = 0; age < 2 && age <= period; age++) {
		uint32_t i = iss ^ cookie_base(st, tuple, irs, period - age);

		if (i < COOKIE_MSS_N)
			return cookie_mss_table(tuple)[i];
	}
	return 0;
}

uint32_t cookie_ts_pack(const struct rec *r, uint32_t ts_now)
{
	uint32_t bits =
		r->flags & REC_WSCALE ? r->wscale & 0xfu : COOKIE_TS_SHIFT;
	uint32_t ts;

	if (r->flags & REC_SACK)
		bits |= COOKIE_TS_SACK;
	if (r->flags & REC_ECN)
		bits |= COOKIE_TS_ECN;
	ts = (ts_now & ~COOKIE_TS_MASK) | bits;
	/* RFC 7323 5.3: were it ahead, the client would drop what follows. */
	return bits > (ts_now & COOKIE_TS_MASK) ? ts - COOKIE_TS_MASK - 1 : ts;
}

void cookie_ts_unpack(struct rec *r, uint32_t tsecr, uint8_t shift)
{
	uint8_t theirs = tsecr & COOKIE_TS_SHIFT;

	if (theirs != COOKIE_TS_SHIFT) {
		r->flags |= REC_WSCALE;
		r->wscale = (uint8_t)(theirs | shift << 4);
	}
	if (tsecr & COOKIE_TS_SACK)
		r->flags |= REC_SACK;
	if (tsecr & COOKIE_TS_ECN)
		r->flags |= REC_ECN;
}
