/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/latency.h"

#include "base/histogram.h"
#include "daemon/groups.h"

/*
 * When the request came, modulo 2^47 us: 32 bits in the mark, the others in
 * the block, where a bit more says that they are valid. A mark of 0 has no time
 * (one request in 2^32 is not timed because of that): what another process
 * left in the block finds it so.
 */
#define LATENCY_HIGH_VALID 0x8000u
#define LATENCY_TIME_MASK ((UINT64_C(1) << 47) - 1)

static uint64_t latency_since_us(const struct groups *gs,
				 const struct latency_mark *mark,
				 const struct blk *blk)
{
	return (gs->now_us - ((uint64_t)blk->app_timed << 32) - mark->since) &
	       LATENCY_TIME_MASK;
}

void latency_begin(struct group *g, const struct rec *rec, struct blk *blk)
{
	struct latency_mark *mark;
	uint32_t upto = blk->rcv_nxt - !!(rec->flags & REC_FIN_RCVD);
	uint64_t now_us = g->gs->now_us;

	if (!g->gs->marks || !seq_gt(upto, blk->rcv_app))
		return;
	mark = &g->gs->marks[rec->block];
	if (blk->app_timed && mark->since)
		return;
	blk->app_timed = (uint16_t)(now_us >> 32 | LATENCY_HIGH_VALID);
	*mark = (struct latency_mark){ .since = (uint32_t)now_us,
				       .upto = upto };
}

void latency_end(struct group *g, const struct rec *rec, struct blk *blk,
		 struct backend *b)
{
	const struct latency_mark *mark;

	if (!g->gs->marks || !blk->app_timed)
		return;
	mark = &g->gs->marks[rec->block];
	if (!mark->since || seq_lt(blk->rcv_app, mark->upto))
		return;
	latency_record(g, b, latency_take_us(g, rec, blk));
}

uint64_t latency_take_us(struct group *g, const struct rec *rec,
			 struct blk *blk)
{
	uint64_t took_us = blk ? latency_so_far_us(g->gs, rec, blk) : 0;

	if (blk)
		blk->app_timed = 0;
	return g->gs->now_us - took_us;
}

void latency_record(struct group *g, struct backend *b, uint64_t since_us)
{
	uint64_t took_us = g->gs->now_us - since_us;

	histogram_add(&g->latency, took_us);
	b->stats.requests++;
	b->stats.request_us += took_us;
}

uint64_t latency_so_far_us(const struct groups *gs, const struct rec *rec,
			   const struct blk *blk)
{
	const struct latency_mark *mark;

	if (!gs->marks || !blk->app_timed)
		return 0;
	mark = &gs->marks[rec->block];
	return mark->since ? latency_since_us(gs, mark, blk) : 0;
}
