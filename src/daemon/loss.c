/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loss - what becomes of the connections of a stream that is lost.
 *
 * There is no list of a stream's connections, as an idle one has nothing to
 * be on it with (I3 of the design). What has to be found is found by its kind:
 *
 *	requests in hand	each has a block: one walk over the blocks in use
 *	a held SYN that was
 *	OPENed			likewise
 *	an end of stream that	the record alone, in CLOSE-WAIT: a sweep over all
 *	the lost one had to	records, a slice per tick; again when there was no
 *	answer with CLOSE	stream to tell, once there is one
 *	with "reset-all": what
 *	the backend knew	its slots say that it has gone (BACKEND_GONE), and
 *				the same sweep finds them; what stirs before is
 *				found at once (deliver_conn)
 *	the rest		needs nothing: rec.slot names a dead slot, and the
 *				next bytes find another stream (balance.h)
 */
#include "daemon/loss.h"

#include "base/bitmap.h"
#include "base/seq.h"
#include "base/units.h"
#include "daemon/balance.h"
#include "daemon/bstream.h"
#include "daemon/deliver.h"
#include "daemon/plain.h"

/* Records per slice: some 100 us of memory reads. */
#define LOSS_SWEEP_RECS 16384u
/* Of these, connections that are reset: some ms of writes. */
#define LOSS_SWEEP_RESETS 2048u
/* libxtcp dials again within 2 s; before that its connections wait for it. */
#define LOSS_GRACE_US (3 * USEC_PER_SEC)

/* One that is under way goes to its end first: else it might never get there. */
static void loss_sweep_begin(struct group *g)
{
	if (g->sweeping)
		g->sweep_again = true;
	g->sweeping = true;
}

/* An active connection of the lost stream. */
static void loss_conn(struct group *g, uint32_t ri)
{
	struct stack *st = g->gs->st;
	struct rec *rec = &st->sh->recs[ri];
	struct blk *blk = groups_blk(g->gs, rec);
	bool in_hand = seq_gt(blk->rcv_dlv, blk->rcv_app);
	bool listed = blk->app_list != APP_LIST_NONE;

	/* The stream's own list and its counts go with it. */
	if (blk->app_list >= APP_LIST_STREAM)
		blk->app_list = APP_LIST_NONE;
	deliver_unlist(g, rec, blk);
	blk->app_flags &= (uint8_t) ~(APP_INFLIGHT | APP_CREDIT_DUE);
	if (rec->state == TCP_GONE) {
		stack_forget(st, ri);
		return;
	}
	if (g->on_loss != CONF_LOSS_REDELIVER && in_hand) {
		deliver_abort(g, ri);
		return;
	}
	if (in_hand) {
		groups_count(g->gs, WC_loss_undelivered);
		stack_undeliver(st, ri);
	}
	if (rec->state == TCP_SYN_HELD)
		blk->app_flags |= APP_OPEN_DUE;
	if (rec->flags & REC_FIN_RCVD && rec->state == TCP_CLOSE_WAIT &&
	    !(blk->app_flags & APP_EOF_DUE))
		blk->app_flags |= APP_EOF_DUE | APP_EOF_AGAIN;
	if (deliver_conn(g, ri, false) && listed)
		deliver_release(g, ri);
}

/* With "reset-all": what it knew by streams that are lost goes with it. */
static void loss_backend(struct group *g, uint64_t owner)
{
	uint64_t *owners =
		g->gs->st->sh->slot_owners + (size_t)g->id * ARENA_SLOTS;

	if (g->on_loss != CONF_LOSS_RESET_ALL ||
	    g->protocol != CONF_PROTOCOL_FRAMES || balance_owner(g, owner))
		return;
	for (uint32_t i = 1; i < GROUP_SLOTS; i++)
		if (!g->slots[i].stream && g->slots[i].owner == owner)
			g->slots[i].owner = owners[i] = BACKEND_GONE;
}

void loss_stream(struct group *g, struct bstream *s)
{
	struct shard *sh = g->gs->st->sh;
	uint32_t bi;

	loss_backend(g, s->backend->owner);
	for (bi = bitmap_next_used(&sh->blk_map, 0); bi != BITMAP_NONE;
	     bi = bitmap_next_used(&sh->blk_map, bi + 1)) {
		uint32_t ri = sh->blks[bi].rec;
		const struct rec *rec = &sh->recs[ri];

		if (rec->group == g->id && rec->slot == s->slot &&
		    !(rec->flags & REC_ORPHAN))
			loss_conn(g, ri);
	}
	s->waiting = s->turn = (struct conn_list){ NIL, NIL, 0 };
	s->backend->inflight -= s->inflight;
	s->inflight = 0;
	loss_sweep_begin(g);
}

/* A process that had it by its own name, not just one at a known address. */
static bool loss_may_return(const struct group *g, const struct rec *rec)
{
	uint64_t owner = g->slots[rec->slot].owner;
	const struct backend *b;

	for (b = g->backends; b; b = b->next)
		if (b->owner == owner)
			return false;
	return owner != 0;
}

/* Is a request in hand that may not be done twice, by nobody who comes back? */
static bool loss_recovered_resets(const struct group *g, const struct rec *rec,
				  const struct blk *blk)
{
	if (!seq_gt(blk->rcv_redlv, blk->rcv_app))
		return false;
	return g->on_loss == CONF_LOSS_RESET ||
	       (g->on_loss == CONF_LOSS_RESET_ALL && !loss_may_return(g, rec));
}

/* The daemon's part of a block that a process before this one left. */
static void loss_recovered_blk(struct groups *gs, struct blk *blk)
{
	struct rec *rec = &gs->st->sh->recs[blk->rec];
	struct group *g = gs->by_id[rec->group];

	blk->app_list = APP_LIST_NONE;
	blk->app_next = blk->app_prev = NIL;
	blk->app_granted_hi = blk->app_granted_lo = 0;
	blk->app_flags = rec->flags & REC_FIN_RCVD ? APP_EOF_AGAIN : 0;
	if (!g || rec->flags & REC_ORPHAN)
		return;
	if (loss_recovered_resets(g, rec, blk))
		deliver_abort(g, blk->rec);
}

static void loss_recovered_group(struct group *g)
{
	const uint64_t *owners =
		g->gs->st->sh->slot_owners + (size_t)g->id * ARENA_SLOTS;

	/* A group of plain streams has no slots, and may have had some once. */
	if (g->protocol != CONF_PROTOCOL_FRAMES)
		return;
	for (uint32_t i = 1; i < GROUP_SLOTS; i++)
		g->slots[i].owner = owners[i];
	loss_sweep_begin(g);
	g->grace_until_us = g->gs->now_us + LOSS_GRACE_US;
}

void loss_recovered(struct groups *gs)
{
	struct shard *sh = gs->st->sh;
	uint32_t bi, ri;

	for (uint32_t id = 1; id < gs->ids_end; id++)
		if (gs->by_id[id])
			loss_recovered_group(gs->by_id[id]);
	for (bi = bitmap_next_used(&sh->blk_map, 0); bi != BITMAP_NONE;
	     bi = bitmap_next_used(&sh->blk_map, bi + 1))
		loss_recovered_blk(gs, &sh->blks[bi]);
	/* New streams get other numbers than those that records know. */
	for (ri = bitmap_next_used(&sh->rec_map, 0); ri != BITMAP_NONE;
	     ri = bitmap_next_used(&sh->rec_map, ri + 1)) {
		struct group *g = gs->by_id[sh->recs[ri].group];

		if (g && g->protocol == CONF_PROTOCOL_STREAM)
			plain_recovered(g, ri);
		else if (g && sh->recs[ri].slot)
			g->slots[sh->recs[ri].slot].used = true;
	}
}

void loss_grace_tick(struct group *g)
{
	if (!g->grace_until_us || g->gs->now_us < g->grace_until_us)
		return;
	g->grace_until_us = 0;
	for (uint32_t i = 1; i < GROUP_SLOTS; i++)
		if (g->slots[i].owner)
			loss_backend(g, g->slots[i].owner);
	loss_sweep_begin(g);
	group_has_room(g);
}

/* May the backend send a reply byte on this connection? */
static bool loss_has_credit(const struct groups *gs, uint32_t ri,
			    const struct blk *blk)
{
	uint64_t granted =
		(uint64_t)blk->app_granted_hi << 32 | blk->app_granted_lo;
	struct stack_conn_info info;

	stack_conn_info(gs->st, ri, gs->now_us, &info);
	granted = max_u64(granted,
			  frame_send_limit(info.snd_acked, CONN_HALF_BYTES));
	return info.snd_acked + info.snd_queued < granted;
}

bool loss_is_backends_turn(const struct group *g, const struct bstream *s)
{
	const struct shard *sh = g->gs->st->sh;
	uint32_t bi;

	for (bi = bitmap_next_used(&sh->blk_map, 0); bi != BITMAP_NONE;
	     bi = bitmap_next_used(&sh->blk_map, bi + 1)) {
		const struct blk *blk = &sh->blks[bi];
		const struct rec *rec = &sh->recs[blk->rec];

		if (rec->group == g->id && rec->slot == s->slot &&
		    blk->app_flags & APP_INFLIGHT &&
		    loss_has_credit(g->gs, blk->rec, blk))
			return true;
	}
	return false;
}

/* Must the end of this connection's stream be told anew? */
static bool loss_is_orphaned_eof(const struct group *g, const struct rec *rec)
{
	const struct blk *blk = groups_blk(g->gs, rec);

	return rec->state == TCP_CLOSE_WAIT && rec->flags & REC_FIN_RCVD &&
	       !(rec->flags & REC_ORPHAN) && !g->slots[rec->slot].stream &&
	       !(blk && blk->app_flags & APP_EOF_DUE);
}

/*
 * One that was idle when its stream was lost may have a block by now, and may
 * wait for something else.
 */
static int loss_eof(struct group *g, uint32_t ri)
{
	struct blk *blk = groups_blk(g->gs, &g->gs->st->sh->recs[ri]);

	if (!blk || blk->app_list == APP_LIST_NONE)
		return deliver_eof_again(g, ri);
	blk->app_flags |= APP_EOF_DUE | APP_EOF_AGAIN;
	return 0;
}

/* Whether it was reset. */
static bool loss_sweep_rec(struct group *g, uint32_t ri)
{
	const struct rec *rec = &g->gs->st->sh->recs[ri];

	if (rec->group != g->id)
		return false;
	if (balance_is_orphan(g, rec)) {
		deliver_abort(g, ri);
		return true;
	}
	/* Who has nobody to be told of it is found again when there is one. */
	if (loss_is_orphaned_eof(g, rec) &&
	    (g->n_live == 0 || loss_eof(g, ri) < 0))
		g->sweep_again = true;
	return false;
}

void loss_sweep(struct group *g)
{
	const struct shard *sh = g->gs->st->sh;
	uint32_t highwater = bitmap_highwater(&sh->rec_map);
	uint32_t ri = g->sweep_at, resets = 0;
	uint32_t end = min_u32(ri + LOSS_SWEEP_RECS, highwater);

	if (!g->sweeping ||
	    (g->n_live == 0 && g->on_loss != CONF_LOSS_RESET_ALL))
		return;
	while (ri < end && resets < LOSS_SWEEP_RESETS)
		resets += loss_sweep_rec(g, ri++);
	g->sweep_at = ri;
	if (ri < highwater)
		return;
	g->sweeping = g->sweep_again;
	g->sweep_again = false;
	g->sweep_at = 0;
}

void loss_clear_slot(struct group *g, uint32_t slot)
{
	struct shard *sh = g->gs->st->sh;
	uint32_t end = bitmap_highwater(&sh->rec_map);

	groups_count(g->gs, WC_slot_scans);
	for (uint32_t ri = 0; ri < end; ri++) {
		struct rec *rec = &sh->recs[ri];

		if (rec->state == TCP_FREE || rec->group != g->id ||
		    rec->slot != slot)
			continue;
		if (balance_is_orphan(g, rec)) {
			deliver_abort(g, ri);
			continue;
		}
		rec->slot = 0;
		rec->flags &= (uint16_t)~REC_TOLD;
	}
	g->slots[slot].used = false;
}
