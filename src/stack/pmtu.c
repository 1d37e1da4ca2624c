/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Path MTU discovery and black holes.
 *
 *	packet too big --> pmtu_too_big --+--> lowered at once
 *	                                  '--> pending --RTO--> lowered
 *	                                          '----ACK--> disproved
 *	two RTOs of a large head --> pmtu_timeout --> lowered to the base
 *	10 minutes later --> pmtu_raise
 *
 * RFC 5927 section 7.2: a claim is believed at once only as long as nothing
 * larger has been acknowledged since the block was taken, as when the path is
 * first tried. After that, what passed a moment ago is stronger evidence than
 * a message that anybody may have sent: the claim has to wait until the quoted
 * segment times out. An ACK of it ends the claim.
 *
 * Coming back costs the idle record nothing. Five spare bits of rec.flags say
 * which MSS there was before, as the largest in a table that is not above it
 * (like the MSS in a SYN cookie), and in which of four periods of 5 minutes it
 * was lowered. The clock hand passes every few seconds, so it sees the third
 * period after that one: 10 to 15 minutes later. An MSS that the table can't
 * tell from the lowered one stays as it is.
 *
 * Departures: IPv4 claims below limits.mtu_min4 lower to that (pmtu.h says
 * why); DF stays set even there, so a path that is narrower still is lost. No
 * probing upwards by RFC 4821 section 7.3: coming back is at full size, once.
 */
#include "stack/pmtu.h"

#include "base/bytes.h"

/* RFC 1191 section 7.1. */
static const uint16_t pmtu_plateaus[] = { 65535, 32000, 17914, 8166, 4352, 2002,
					  1492,	 1006,	508,   296,  68 };

/* REC_PMTU_CLASS 1..7: what comes back. */
static const uint16_t pmtu_classes[] = { 0,    536,  1220, 1360,
					 1400, 1440, 1460, 8940 };

#define PMTU_CLASS_SHIFT 11
#define PMTU_EPOCH_SHIFT 14
#define PMTU_EPOCH_US (300 * USEC_PER_SEC)
#define PMTU_RAISE_EPOCHS 3u
/* RFC 4821 section 7.7 leaves the number open: one may be bad luck. */
#define PMTU_BLACK_HOLE_RTOS 2u

static bool pmtu_is_v6(const struct conn *c)
{
	return c->r->flags & REC_V6;
}

/* IP and TCP headers without options. */
static uint32_t pmtu_headers(const struct conn *c)
{
	return pmtu_is_v6(c) ? 60 : 40;
}

static uint32_t pmtu_ts_bytes(const struct conn *c)
{
	return c->r->flags & REC_TS ? 12 : 0;
}

/* The largest plateau below a packet's length. */
static uint32_t pmtu_plateau_below(uint32_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(pmtu_plateaus); i++)
		if (pmtu_plateaus[i] < len)
			return pmtu_plateaus[i];
	return 0;
}

static uint32_t pmtu_epoch(const struct conn *c)
{
	return (uint32_t)(c->now_us / PMTU_EPOCH_US) & 3;
}

/* Remember, in the record, what there was, and when it was lowered. */
static void pmtu_remember(struct conn *c)
{
	struct rec *r = c->r;
	uint32_t class = (r->flags & REC_PMTU_CLASS) >> PMTU_CLASS_SHIFT;
	uint32_t keep = r->flags & ~(uint32_t)(REC_PMTU_CLASS | REC_PMTU_EPOCH);

	/* Lowered again: back to what there was at first. */
	if (!class) {
		class = ARRAY_SIZE(pmtu_classes) - 1;
		while (pmtu_classes[class] > r->mss)
			class --;
	}
	r->flags = (uint16_t)(keep | class << PMTU_CLASS_SHIFT |
			      pmtu_epoch(c) << PMTU_EPOCH_SHIFT);
}

static void pmtu_lower(struct conn *c, uint32_t mss, enum stack_counter why)
{
	stack_count(c->st, why);
	pmtu_remember(c);
	c->r->mss = (uint16_t)mss;
	c->b->pmtu = (struct blk_pmtu){ 0 };
	recovery_mtu_changed(c);
}

/* What a claim makes of rec.mss; 0: nothing, it can't be true. */
static uint32_t pmtu_claimed_mss(const struct conn *c, uint32_t mtu,
				 uint32_t quoted_len)
{
	uint32_t headers = pmtu_headers(c);
	uint32_t least = pmtu_is_v6(c) ? PMTU_MIN6 : PMTU_LEAST4;
	uint32_t floor = pmtu_is_v6(c) ? PMTU_MIN6 : c->st->limits.mtu_min4;

	if (!mtu && !pmtu_is_v6(c))
		mtu = pmtu_plateau_below(quoted_len);
	if (mtu < least || mtu >= quoted_len)
		return 0;
	return max_u32(mtu, floor) - headers;
}

void pmtu_too_big(struct conn *c, uint32_t seq, uint32_t mtu,
		  uint32_t quoted_len)
{
	struct blk_pmtu *p = &c->b->pmtu;
	uint32_t mss = pmtu_claimed_mss(c, mtu, quoted_len);

	/* A SYN-ACK is never too big. */
	if (!mss || mss >= c->r->mss || c->r->state == TCP_SYN_RECEIVED) {
		stack_count(c->st, SC_pmtu_ignored);
		return;
	}
	if (p->acked_bytes + pmtu_ts_bytes(c) <= mss) {
		pmtu_lower(c, mss, SC_pmtu_lowered);
		return;
	}
	stack_count(c->st, SC_pmtu_pending);
	/* One claim at a time; the first is the one that is old enough soonest. */
	if (p->claim_mss)
		return;
	p->claim_mss = (uint16_t)mss;
	p->claim_seq = seq;
}

void pmtu_delivered(struct conn *c, const struct sent *s)
{
	struct blk_pmtu *p = &c->b->pmtu;
	uint32_t bytes = min_u32(sent_len(s), conn_mss(c));

	p->acked_bytes = (uint16_t)max_u32(p->acked_bytes, bytes);
	if (p->claim_mss && seq_gt(s->end, p->claim_seq) &&
	    seq_leq(s->seq, p->claim_seq)) {
		stack_count(c->st, SC_pmtu_disproved);
		p->claim_mss = 0;
	}
}

/* Payload of the segment at snd_una. */
static uint32_t pmtu_head_bytes(const struct conn *c)
{
	uint32_t head = c->b->sent.head;

	if (head == NIL)
		return 0;
	return min_u32(sent_len(&c->st->sh->sents.items[head]), conn_mss(c));
}

void pmtu_timeout(struct conn *c)
{
	struct blk_pmtu *p = &c->b->pmtu;
	uint32_t base = pmtu_is_v6(c) ? PMTU_BASE_MSS6 : PMTU_BASE_MSS4;

	if (p->claim_mss) {
		uint32_t mss = p->claim_mss;

		/* pmtu_delivered() would have ended it: the segment is lost. */
		p->claim_mss = 0;
		if (mss < c->r->mss) {
			pmtu_lower(c, mss, SC_pmtu_lowered);
			return;
		}
	}
	/* Counted since snd_una moved on: of the same head. */
	if (c->b->rexmits >= PMTU_BLACK_HOLE_RTOS && c->r->mss > base &&
	    pmtu_head_bytes(c) + pmtu_ts_bytes(c) > base)
		pmtu_lower(c, base, SC_pmtu_black_holes);
}

void pmtu_raise(struct conn *c)
{
	struct rec *r = c->r;
	uint32_t was = (r->flags & REC_PMTU_EPOCH) >> PMTU_EPOCH_SHIFT;
	uint32_t class = (r->flags & REC_PMTU_CLASS) >> PMTU_CLASS_SHIFT;
	uint32_t mss = pmtu_classes[class];

	if (((pmtu_epoch(c) - was) & 3) != PMTU_RAISE_EPOCHS)
		return;
	r->flags &= (uint16_t) ~(REC_PMTU_CLASS | REC_PMTU_EPOCH);
	/* The device may have another MTU by now, and the arena an older life. */
	mss = min_u32(mss, c->st->limits.mtu - pmtu_headers(c));
	if (mss <= r->mss)
		return;
	stack_count(c->st, SC_pmtu_raised);
	r->mss = (uint16_t)mss;
	/* A window below one segment would send none. */
	if (c->b)
		c->b->cc.cwnd = max_u32(c->b->cc.cwnd, conn_mss(c));
}
