/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_state - what must hold inside, between turns: the arena, what pools
 * and gauges say against what the records say, the groups' lists.
 */
#include "sim.h"

struct tally {
	uint32_t conns, half_open, established, time_wait;
	uint32_t ooo, listed, inflight;
};

static void check_block(struct world *w, uint32_t ri, const struct blk *b,
			struct tally *t)
{
	const struct rec *r = &w->shard.recs[ri];
	const struct group *g = w->gs.by_id[r->group];
	struct stack_conn_info info;

	t->ooo += b->ooo_chunks;
	t->listed += b->app_list != APP_LIST_NONE;
	t->inflight += !!(b->app_flags & APP_INFLIGHT);
	if (b->ooo_chunks > w->st->limits.ooo_chunks_max)
		sim_fail(w, "more chunks beyond gaps than the bound (I7)");
	if (g && b->app_flags & APP_INFLIGHT && !g->slots[r->slot].stream)
		sim_fail(w, "a request is in flight on a lost stream");
	if (g && !(r->flags & REC_ORPHAN) && !(b->flags & BLK_READY) &&
	    b->app_flags & ~APP_INFLIGHT && !b->app_list)
		sim_fail(w, "a backend has something to hear, but no list "
			    "says so");
	stack_conn_info(w->st, ri, w->now_us, &info);
	if (info.rto_us && info.rto_us < 200000)
		sim_fail(w, "an RTO of %u us", info.rto_us);
	if (info.snd_queued > w->st->limits.snd_queue_max)
		sim_fail(w, "a send queue over its bound (I7)");
}

static void check_rec_tally(struct world *w, uint32_t ri, struct tally *t)
{
	const struct rec *r = &w->shard.recs[ri];

	t->conns++;
	t->half_open += !!(r->flags & REC_HALF_OPEN);
	t->time_wait += r->state == TCP_TIME_WAIT;
	t->established +=
		r->state >= TCP_ESTABLISHED && r->state < TCP_TIME_WAIT;
	if (r->block != NIL)
		check_block(w, ri, &w->shard.blks[r->block], t);
}

static void check_pools(struct world *w, const struct tally *t)
{
	uint32_t used = 0, ooo = 0;

	for (uint32_t i = 0; i < 4; i++) {
		const struct stack_pool *pool = &w->st->pools[i];

		used += pool->used_chunks;
		ooo += pool->ooo_chunks;
		if (pool->used_chunks > pool->limit_chunks)
			sim_fail(w, "pool %u is over its limit (I7)", i);
	}
	if (used != bitmap_used_count(&w->shard.rx.map))
		sim_fail(w, "pools count %u chunks, %u are in use", used,
			 bitmap_used_count(&w->shard.rx.map));
	if (ooo != t->ooo)
		sim_fail(w, "pools count %u chunks beyond gaps, there are %u",
			 ooo, t->ooo);
}

static void check_lists(struct world *w, const struct tally *t)
{
	uint32_t listed = 0, inflight = 0;

	for (uint32_t i = 0; i < w->sc.n_groups; i++) {
		const struct group *g = w->gs.by_id[SIM_GROUP_ID + i];

		if (!g)
			return;
		listed += g->waiting.n;
		for (uint32_t j = 0; j < g->n_live; j++) {
			listed += g->live[j]->waiting.n + g->live[j]->turn.n;
			inflight += g->live[j]->inflight;
		}
	}
	if (listed != t->listed)
		sim_fail(w, "lists have %u connections, %u say so", listed,
			 t->listed);
	if (inflight != t->inflight)
		sim_fail(w, "%u requests in flight, streams count %u",
			 t->inflight, inflight);
}

static void check_gauges(struct world *w, const struct tally *t)
{
	uint64_t conns = 0;

	for (uint32_t i = 0; i < w->sc.n_groups; i++)
		conns += counter_get(
			&w->st->group_stats[SIM_GROUP_ID + i]->connections);
	if (t->half_open != w->st->half_open ||
	    t->established != w->st->established ||
	    t->time_wait != w->st->time_wait || t->conns != conns ||
	    t->conns != w->shared_count)
		sim_fail(w,
			 "gauges: %u half-open of %u, %u established of %u, "
			 "%u in TIME-WAIT of %u, %u connections of %u",
			 w->st->half_open, t->half_open, w->st->established,
			 t->established, w->st->time_wait, t->time_wait,
			 (uint32_t)conns, t->conns);
}

void check_full(struct world *w)
{
	const char *wrong = shard_check(&w->shard);
	struct tally t = { 0 };
	uint32_t ri;

	sim_count(w, SIM_full_checks);
	if (wrong)
		sim_fail(w, "%s", wrong);
	for (ri = bitmap_next_used(&w->shard.rec_map, 0); ri != BITMAP_NONE;
	     ri = bitmap_next_used(&w->shard.rec_map, ri + 1))
		check_rec_tally(w, ri, &t);
	check_pools(w, &t);
	check_lists(w, &t);
	check_gauges(w, &t);
}

const struct flow *check_not_idle(const struct world *w)
{
	for (uint32_t i = 0; i < w->sc.n_flows; i++) {
		const struct flow *f = &w->flows[i];
		const struct rec *r = check_rec(w, f);

		if (f->ending != END_IDLE || f->excuse || !r ||
		    f->c.state != CLIENT_OPEN)
			continue;
		if (r->block != NIL)
			return f;
	}
	return NULL;
}

void check_empty(struct world *w)
{
	const struct shard *sh = &w->shard;

	if (bitmap_used_count(&sh->rec_map) || bitmap_used_count(&sh->blk_map))
		sim_fail(w, "at the end %u records and %u blocks are left",
			 bitmap_used_count(&sh->rec_map),
			 bitmap_used_count(&sh->blk_map));
	if (bitmap_used_count(&sh->rx.map) || bitmap_used_count(&sh->tx.map))
		sim_fail(w, "at the end %u + %u chunks are left",
			 bitmap_used_count(&sh->rx.map),
			 bitmap_used_count(&sh->tx.map));
	if (w->shared_count || w->st->half_open || w->st->established ||
	    w->st->time_wait)
		sim_fail(w, "at the end %u connections are counted",
			 w->shared_count);
}
