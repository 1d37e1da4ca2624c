/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * groups_set - groups that come, change and go; addresses likewise.
 *
 * Theory of operation
 *
 * What goes takes its connections along, and there may be a million of them.
 * Their records say which they are, so they are found by looking at each record
 * once: a batch in each turn (groups_end_some()), so that the other groups' clients
 * don't wait for it.
 *
 *	groups_remove() ----> streams closed, off its port --.
 *	groups_vips_set() --> packets not taken any more ----+--> ending
 *	                                                         |
 *	groups_turn() --> groups_end_some(): RST, a batch a turn <'
 *
 * No connection can join what ends, so one pass finds them all. If something
 * else ends meanwhile, the pass begins anew for both.
 *
 * Invariants
 *  I1  what ends has its bit in `ending` until a pass has seen all records.
 *  I2  a number whose bit is set, and that is set anew, loses the bit: the
 *      registry gives numbers out again when no record names them (groups), or
 *      to the same address (vips).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "daemon/backend.h"
#include "daemon/bstream.h"
#include "daemon/deliver.h"
#include "daemon/groups.h"
#include "daemon/plain.h"

/* Connections that end in a turn, and records looked at: about a millisecond. */
#define GROUPS_END_BATCH 1024u
#define GROUPS_END_LOOK 32768u

/* --- what goes ---------------------------------------------------------- */

/* Close a group's streams without looking after their connections. */
static void group_close_streams(struct group *g, const char *why)
{
	struct backend *b, *next;

	g->closing = true;
	plain_end_all(g);
	for (b = g->backends; b; b = next) {
		next = b->next;
		while (b->streams) {
			struct bstream *s = b->streams;
			bool last = b->attached && !s->next;

			if (!s->failed)
				bstream_refuse(s, -ESHUTDOWN, "%s", why);
			bstream_free(s);
			if (last) {
				b = NULL; /* it went with its last stream */
				break;
			}
		}
		if (b)
			backend_remove(b);
	}
}

void group_free(struct group *g, const char *why)
{
	group_close_streams(g, why);
	g->gs->by_id[g->id] = NULL;
	free(g);
}

/* The connections on a list wait no more. */
static void group_drop_list(struct group *g, struct conn_list *list)
{
	while (list->head != NIL) {
		struct rec *rec = &g->gs->st->sh->recs[list->head];

		deliver_unlist(g, rec, groups_blk(g->gs, rec));
	}
}

static void groups_end_begin(struct groups *gs)
{
	gs->ending.on = true;
	gs->ending.at = 0;
}

static bool groups_ends(const struct groups *gs, const struct rec *rec)
{
	return gs->ending.vips >> rec->vip & 1 ||
	       (gs->ending.own &&
		!stack_own_has(&gs->st->own, rec->vip, rec->local_port)) ||
	       gs->ending.groups[rec->group / 64] >> (rec->group % 64) & 1;
}

static void groups_end_conn(struct groups *gs, uint32_t ri)
{
	const struct rec *rec = &gs->st->sh->recs[ri];
	struct group *g = gs->by_id[rec->group];

	/* Its backend is still to hear of it. */
	if (g && rec->state == TCP_GONE)
		return;
	if (rec->state != TCP_GONE && rec->state != TCP_TIME_WAIT)
		groups_count(gs, g ? WC_vip_removed : WC_group_removed);
	if (g && !(rec->flags & REC_ORPHAN)) {
		deliver_tell_reset(g, ri, ECONNABORTED, NULL);
		deliver_end(g, ri);
	}
	stack_abort(gs->st, ri, gs->now_us);
}

void groups_end_some(struct groups *gs)
{
	const struct bitmap *map = &gs->st->sh->rec_map;
	uint32_t ri, look = GROUPS_END_LOOK, batch = GROUPS_END_BATCH;

	if (!gs->ending.on)
		return;
	for (ri = bitmap_next_used(map, gs->ending.at);
	     ri != BITMAP_NONE && look > 0 && batch > 0;
	     ri = bitmap_next_used(map, ri + 1), look--) {
		if (!groups_ends(gs, &gs->st->sh->recs[ri]))
			continue;
		groups_end_conn(gs, ri);
		batch--;
	}
	gs->ending.at = ri;
	if (ri == BITMAP_NONE)
		gs->ending = (struct groups_ending){ .on = false };
}

void groups_remove(struct groups *gs, uint16_t id)
{
	struct group *g = gs->by_id[id];

	if (!g)
		return;
	for (uint32_t i = 0; i < g->n_live; i++) {
		group_drop_list(g, &g->live[i]->waiting);
		group_drop_list(g, &g->live[i]->turn);
	}
	group_drop_list(g, &g->waiting);
	group_free(g, "the group was removed");
	stack_group_remove(gs->st, id);
	/* Whose streams they were says nothing to the number's next group. */
	memset(gs->st->sh->slot_owners + (size_t)id * ARENA_SLOTS, 0,
	       ARENA_SLOTS * sizeof(*gs->st->sh->slot_owners));
	gs->ending.groups[id / 64] |= UINT64_C(1) << (id % 64);
	groups_end_begin(gs);
	groups_end_some(gs);
}

void groups_vips_set(struct groups *gs, uint64_t vips, uint64_t gone,
		     const struct stack_own *own, bool own_gone)
{
	stack_vips_set(gs->st, vips);
	stack_own_set(gs->st, own);
	gs->ending.vips = (gs->ending.vips | gone) & ~vips;
	gs->ending.own |= own_gone;
	if (!gone && !own_gone)
		return;
	groups_end_begin(gs);
	groups_end_some(gs);
}

/* --- what comes and changes --------------------------------------------- */

int groups_room_new(struct groups_room *ret_room, uint32_t n_backends,
		    uint32_t n_recs, bool with_sources)
{
	struct groups_room room = { .group = calloc(1, sizeof(*room.group)) };

	if (!room.group ||
	    stack_room_new(&room.stack, n_recs, with_sources) < 0)
		goto fail;
	for (uint32_t i = 0; i < n_backends; i++) {
		struct backend *b = calloc(1, sizeof(*b));

		if (!b)
			goto fail;
		b->next = room.backends;
		room.backends = b;
	}
	*ret_room = room;
	return 0;
fail:
	groups_room_free(&room);
	return -ENOMEM;
}

void groups_room_free(struct groups_room *room)
{
	struct backend *next;

	for (struct backend *b = room->backends; b; b = next) {
		next = b->next;
		free(b);
	}
	free(room->group);
	stack_room_free(&room->stack);
	*room = (struct groups_room){ .group = NULL };
}

static bool group_wants(const struct group_setup *setup,
			const struct backend *b)
{
	if (b->attached)
		return true;
	for (uint32_t i = 0; i < setup->n_backends; i++)
		if (strcmp(setup->backends[i].name, b->name) == 0)
			return true;
	return false;
}

static int group_set_backends(struct group *g, const struct group_setup *setup,
			      struct groups_room *room)
{
	struct backend *b, *next;

	for (b = g->backends; b; b = next) {
		next = b->next;
		if (!group_wants(setup, b))
			backend_remove(b);
	}
	for (uint32_t i = 0; i < setup->n_backends; i++)
		if (!backend_set(g, &setup->backends[i],
				 room ? &room->backends : NULL))
			return -ENOMEM;
	return 0;
}

static struct group *group_new(struct groups *gs,
			       const struct group_setup *setup,
			       struct groups_room *room)
{
	struct group *g = room ? room->group : NULL;

	if (g)
		room->group = NULL;
	else
		g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->gs = gs;
	g->id = setup->stack.id;
	g->port = setup->stack.port;
	g->protocol = setup->protocol;
	g->stream_count = setup->stream_count;
	g->waiting = (struct conn_list){ NIL, NIL, 0 };
	gs->by_id[g->id] = g;
	gs->ids_end = max_u32(gs->ids_end, g->id + 1u);
	return g;
}

int groups_set(struct groups *gs, const struct group_setup *setup,
	       struct groups_room *room)
{
	struct group *g = gs->by_id[setup->stack.id];
	struct stack_group wanted = setup->stack;
	int err;

	/* What the operator drains stays drained when settings change. */
	if (g)
		wanted.draining |= gs->st->groups[g->id]->draining;
	if (room)
		stack_room_take(gs->st, wanted.id, &room->stack);
	err = stack_group_set(gs->st, &wanted);
	if (err < 0)
		return err;
	gs->ending.groups[wanted.id / 64] &= ~(UINT64_C(1) << (wanted.id % 64));
	if (!g)
		g = group_new(gs, setup, room);
	if (!g)
		return -ENOMEM;
	snprintf(g->name, sizeof(g->name), "%s", setup->name);
	g->balance = setup->balance;
	g->on_loss = setup->on_loss;
	g->backend_timeout_us = setup->backend_timeout_us;
	g->accept = setup->stack.accept;
	g->announce = setup->stack.announce;
	gs->tick_at_us = gs->now_us; /* dial new backends soon */
	return group_set_backends(g, setup, room);
}
