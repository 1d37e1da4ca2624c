/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/balance.h"

#include "base/seq.h"
#include "daemon/bstream.h"

bool balance_takes_more(const struct bstream *s)
{
	const struct backend *b = s->backend;

	return !s->failed && !s->resuming &&
	       (b->max_inflight == 0 || b->inflight < b->max_inflight);
}

/* Do its operator, and it itself, want new connections for it? */
static bool balance_is_open(const struct bstream *s)
{
	return s->backend->duty == BACKEND_SERVES && !s->retires;
}

/* May it be given a connection that it does not have? */
static bool balance_takes_new(const struct bstream *s)
{
	return balance_is_open(s) && balance_takes_more(s) &&
	       bstream_data_max(s) > 0;
}

/* Round robin over those that take new connections and have room. */
static struct bstream *balance_any(struct group *g)
{
	for (uint32_t i = 0; i < g->n_live; i++) {
		struct bstream *s = g->live[g->turn++ % g->n_live];

		if (balance_takes_new(s))
			return s;
	}
	return NULL;
}

static struct bstream *balance_least(struct group *g)
{
	struct bstream *best = NULL;

	for (uint32_t i = 0; i < g->n_live; i++) {
		struct bstream *s = g->live[(g->turn + i) % g->n_live];

		if (!balance_takes_new(s))
			continue;
		if (!best || s->inflight < best->inflight)
			best = s;
	}
	g->turn++; /* equals take turns */
	return best;
}

struct bstream *balance_owner(const struct group *g, uint64_t owner)
{
	struct bstream *best = NULL;

	for (uint32_t i = 0; i < g->n_live; i++) {
		struct bstream *s = g->live[i];

		if (s->backend->owner != owner || s->failed)
			continue;
		if (!best || s->inflight < best->inflight)
			best = s;
	}
	return best;
}

/* Part of its reply to the connection waits for room (bstream.c). */
static bool balance_holds(const struct group *g, const struct bstream *s,
			  const struct rec *rec)
{
	uint32_t ri = (uint32_t)(rec - g->gs->st->sh->recs);

	return s->held_payload && frame_conn_rec(s->held.conn) == ri &&
	       frame_conn_generation(s->held.conn) == rec->generation;
}

/* Some backend was given it before, and may have it done; it is not known. */
static bool balance_was_given(const struct blk *blk)
{
	return blk && seq_gt(blk->rcv_redlv, blk->rcv_app);
}

/* Did its backend hear of it? Maybe by another stream than the one it has. */
static bool balance_is_known(const struct group *g, const struct rec *rec,
			     const struct blk *blk)
{
	return g->announce || rec->flags & REC_TOLD || rec->rcv_off ||
	       rec->snd_off || balance_was_given(blk);
}

bool balance_is_orphan(const struct group *g, const struct rec *rec)
{
	return g->slots[rec->slot].owner == BACKEND_GONE &&
	       !g->slots[rec->slot].stream && rec->state >= TCP_SYN_RECEIVED &&
	       rec->state < TCP_TIME_WAIT && !(rec->flags & REC_ORPHAN) &&
	       balance_is_known(g, rec, groups_blk(g->gs, rec));
}

/*
 * xtcpd began anew, and the backend that has the connection is on its way back:
 * what it has in hand, or keeps for the connection, is not for another one,
 * nor is the end of the client's stream, which lets it forget the connection.
 */
static uint64_t balance_awaited(const struct group *g, const struct rec *rec,
				const struct blk *blk)
{
	uint64_t owner = rec->slot ? g->slots[rec->slot].owner : 0;

	/* Not by the clock: the tick that ends it marks who is gone. */
	if (!owner || owner == BACKEND_GONE || !g->grace_until_us)
		return 0;
	if (g->balance != CONF_BALANCE_STICKY &&
	    g->on_loss != CONF_LOSS_RESET_ALL && !balance_was_given(blk) &&
	    !(rec->flags & REC_FIN_RCVD))
		return 0;
	return owner;
}

/*
 * Must the connection stay with cur? While a request is in hand there, or is
 * about to be delivered to it again, or part of a reply: what another one
 * replied would overtake it.
 */
static bool balance_is_held(const struct group *g, const struct bstream *cur,
			    const struct rec *rec, const struct blk *blk)
{
	return (blk && blk->app_flags & APP_INFLIGHT) ||
	       balance_was_given(blk) || balance_holds(g, cur, rec);
}

/* It stays with its backend, but for one that is to be vacated. */
static struct bstream *balance_sticky(struct group *g, struct bstream *cur,
				      const struct rec *rec,
				      const struct blk *blk)
{
	struct bstream *s = NULL;

	if (cur && (cur->backend->duty != BACKEND_VACATES ||
		    balance_is_held(g, cur, rec, blk)))
		return cur;
	if (!cur && rec->slot)
		s = balance_owner(g, g->slots[rec->slot].owner);
	if (!s)
		s = balance_any(g);
	return s ? s : cur;
}

struct bstream *balance_route(struct group *g, const struct rec *rec,
			      const struct blk *blk)
{
	struct bstream *cur = g->slots[rec->slot].stream, *s;
	uint64_t awaited;

	if (cur && cur->failed)
		return NULL; /* until the turn's end has reaped it */
	awaited = cur ? 0 : balance_awaited(g, rec, blk);
	if (awaited)
		return balance_owner(g, awaited);
	if (g->balance == CONF_BALANCE_STICKY)
		return balance_sticky(g, cur, rec, blk);
	if (cur && balance_is_held(g, cur, rec, blk))
		return cur;
	s = g->balance == CONF_BALANCE_LEAST ? balance_least(g)
					     : balance_any(g);
	/* An old connection may stay where new ones may not go. */
	return s || !cur || balance_is_open(cur) ? s : cur;
}
