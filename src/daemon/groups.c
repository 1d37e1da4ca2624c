/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * groups - one worker's groups, and the end of each turn.
 *
 * Theory of operation
 *
 * groups_turn() is what makes things happen once per batch of packets or per
 * event of a stream:
 *
 *	connections that end with their group      (groups_set.c)
 *	the stack's events -> frames               (deliver.c)
 *	streams that were not read on, again       (bstream.c)
 *	connections that wait, where room came     (deliver.c)
 *	streams that failed: lost, freed           (loss.c)
 *	each stream's frames -> its socket, once
 *
 * Each step may give work to one before it (a lost stream's requests go to
 * another, whose flush makes room), so it goes round a few times; what is left
 * then is left for the next turn (groups_pending()).
 *
 * A stream's number within its group (the slot) names one incarnation of it:
 * numbers go round, and before one that a record may still name is given
 * out again, all records are searched (loss_clear_slot()). So a record whose
 * stream is gone is recognised without having been touched.
 *
 * Invariants
 *  I1  slots[i].stream is set if and only if that stream is in live[], is up,
 *      and has slot i; slot 0 never has one.
 *  I2  streams are freed by the reaper, or with their group (groups_set.c).
 */
#include "daemon/groups.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/units.h"
#include "daemon/backend.h"
#include "daemon/bstream.h"
#include "daemon/deliver.h"
#include "daemon/hello.h"
#include "daemon/loss.h"
#include "daemon/plain.h"

#define GROUPS_TICK_US (100 * USEC_PER_MSEC)
#define GROUPS_ROUNDS 4

void groups_init(struct groups *gs, struct stack *st, struct event_base *base,
		 const struct groups_ops *ops, uint32_t n_workers,
		 uint64_t instance)
{
	*gs = (struct groups){
		.st = st,
		.base = base,
		.ops = *ops,
		.worker = st->sh->worker,
		.n_workers = n_workers,
		.instance = instance,
		.epoch = hello_epoch(st->header),
		.random = instance + st->sh->worker,
	};
	gs->marks = calloc(st->sh->n_recs, sizeof(*gs->marks));
	gs->now_us = ops->clock(ops->ctx);
	gs->tick_at_us = gs->now_us;
}

void groups_fini(struct groups *gs)
{
	for (uint32_t i = 0; i < gs->ids_end; i++)
		if (gs->by_id[i])
			group_free(gs->by_id[i], "xtcpd stops");
	plain_links_fini(&gs->links);
	free(gs->marks);
	gs->marks = NULL;
}

void groups_drain_group(struct groups *gs, uint16_t id)
{
	struct stack_group *group = gs->st->groups[id];
	struct stack_group copy;

	if (!gs->by_id[id] || !group)
		return;
	copy = *group;
	copy.draining = true;
	(void)stack_group_set(gs->st, &copy);
}

/* The next number that no live stream has, nor, if fresh, had. 0: none. */
static uint32_t group_slot_next(struct group *g, bool fresh)
{
	for (uint32_t i = 1; i < GROUP_SLOTS; i++) {
		const struct group_slot *slot;

		g->slot_last = g->slot_last % (GROUP_SLOTS - 1) + 1;
		slot = &g->slots[g->slot_last];
		if (!slot->stream && !(fresh && slot->used))
			return g->slot_last;
	}
	return 0;
}

/*
 * A number that no live stream has, and no record names. 0: all are taken.
 * While a record names the number of a dead stream, it is known whose that was.
 */
static uint32_t group_slot_new(struct group *g)
{
	uint32_t slot = group_slot_next(g, true);

	if (slot)
		return slot;
	slot = group_slot_next(g, false);
	if (slot)
		loss_clear_slot(g, slot);
	return slot;
}

int group_stream_up(struct group *g, struct bstream *s)
{
	uint32_t slot = group_slot_new(g);

	if (slot == 0)
		return -ENOSPC;
	s->slot = (uint8_t)slot;
	s->state = BSTREAM_UP;
	s->up_us = g->gs->now_us;
	s->resume_by_us = s->up_us + BSTREAM_SILENT_US;
	g->slots[slot].stream = s;
	g->slots[slot].owner = s->backend->owner;
	g->gs->st->sh->slot_owners[(size_t)g->id * ARENA_SLOTS + slot] =
		s->backend->owner;
	g->live[g->n_live++] = s;
	backend_stream_up(s->backend);
	group_has_room(g);
	log_debug("group %s, backend %s: stream %u of worker %u is up", g->name,
		  s->backend->name, slot, g->gs->worker);
	return 0;
}

void group_has_room(struct group *g)
{
	g->room = true;
	g->gs->room = true;
}

static int groups_attach_stream(struct group *g,
				const struct groups_attach *attach)
{
	struct frame f = { .type = FRAME_ATTACHED, .group = g->id };
	struct backend *b = backend_attached(g, attach->instance, attach->pid);
	struct frame_attach wire;
	struct iovec iov = { &wire, sizeof(wire) };
	struct bstream *s;
	int err;

	s = b ? bstream_new(b, attach->fd, BSTREAM_ATTACH) : NULL;
	if (!s) {
		if (b && !b->streams)
			backend_remove(b);
		return -ENOMEM;
	}
	s->max_payload = attach->max_payload;
	s->tx_credit_bytes = attach->stream_credit_bytes;
	s->resuming = attach->resumes;
	hello_describe(g, &wire);
	bstream_send(s, &f, &iov, 1);
	err = group_stream_up(g, s);
	if (err < 0)
		bstream_refuse(s, err,
			       "the group has no room for another stream");
	else
		bstream_feed(s, attach->extra, attach->extra_bytes);
	return 0;
}

int groups_attach(struct groups *gs, const struct groups_attach *attach)
{
	struct group *g = gs->by_id[attach->group];
	int err = g && g->protocol == CONF_PROTOCOL_FRAMES
			  ? groups_attach_stream(g, attach)
			  : -ENOENT;

	if (err < 0) {
		close(attach->fd);
		if (g && g->stream_count)
			atomic_fetch_sub(g->stream_count, 1);
	}
	return err;
}

static void groups_take_events(struct groups *gs)
{
	uint16_t events;
	uint32_t ri;

	while ((ri = stack_next_event(gs->st, &events)) != NIL)
		deliver_event(gs, ri, events);
}

/* Go on reading where the reason not to may have gone. */
static void groups_resume(struct groups *gs)
{
	struct bstream *s, *next;

	for (s = gs->stalled; s; s = next) {
		next = s->stalled_next;
		if (s->stall == BSTREAM_STALLED_OUT || gs->acked)
			bstream_process(s);
	}
	gs->acked = false;
}

static void groups_serve(struct groups *gs)
{
	if (!gs->room)
		return;
	gs->room = false;
	for (uint32_t id = 1; id < gs->ids_end; id++) {
		struct group *g = gs->by_id[id];

		if (!g || !g->room)
			continue;
		g->room = false;
		for (uint32_t i = 0; i < g->n_live; i++) {
			deliver_list(g, &g->live[i]->waiting);
			deliver_list(g, &g->live[i]->turn);
		}
		deliver_list(g, &g->waiting);
	}
}

static void groups_reap(struct groups *gs)
{
	while (gs->failed) {
		struct bstream *s = gs->failed;
		struct group *g = s->group;

		bstream_free(s);
		group_has_room(g);
	}
}

static void groups_flush(struct groups *gs)
{
	struct bstream *s;

	while ((s = gs->dirty)) {
		gs->dirty = s->dirty_next;
		s->dirty = false;
		if (!s->failed)
			bstream_flush(s);
	}
}

static bool groups_unsettled(const struct groups *gs)
{
	return gs->room || gs->failed || gs->st->ready_head != NIL;
}

bool groups_pending(const struct groups *gs)
{
	return groups_unsettled(gs) || gs->ending.on;
}

void groups_turn(struct groups *gs)
{
	groups_end_some(gs);
	for (int i = 0; i < GROUPS_ROUNDS; i++) {
		groups_take_events(gs);
		groups_reap(gs);
		groups_resume(gs);
		groups_serve(gs);
		groups_reap(gs);
		groups_flush(gs);
		if (!groups_unsettled(gs))
			break;
	}
}

void groups_tick(struct groups *gs)
{
	gs->tick_at_us = gs->now_us + GROUPS_TICK_US;
	gs->acked = true; /* the transmit buffer may have room again */
	for (uint32_t id = 1; id < gs->ids_end; id++) {
		struct group *g = gs->by_id[id];

		if (!g)
			continue;
		for (struct backend *b = g->backends; b; b = b->next)
			backend_tick(b);
		loss_sweep(g);
		loss_grace_tick(g);
		if (g->protocol == CONF_PROTOCOL_STREAM)
			plain_tick(g);
	}
}

uint32_t groups_set_duty(struct groups *gs, const char *name,
			 enum backend_duty duty)
{
	uint32_t n = 0;

	for (uint32_t id = 1; id < gs->ids_end; id++) {
		struct backend *b =
			gs->by_id[id] ? gs->by_id[id]->backends : NULL;

		for (; b; b = b->next) {
			if (strcmp(b->name, name) != 0)
				continue;
			backend_set_duty(b, duty);
			n++;
		}
	}
	return n;
}

int groups_close_conn(struct groups *gs, uint64_t conn_id)
{
	uint32_t ri = frame_conn_rec(conn_id);
	struct rec *rec;
	struct group *g;

	if (frame_conn_worker(conn_id) != gs->worker ||
	    ri >= gs->st->sh->n_recs)
		return -ENOENT;
	rec = stack_lookup(gs->st, ri, frame_conn_generation(conn_id));
	if (!rec || rec->state == TCP_GONE || rec->flags & REC_ORPHAN)
		return -ENOENT;
	g = gs->by_id[rec->group];
	if (g) {
		deliver_tell_reset(g, ri, ECONNABORTED, NULL);
		deliver_end(g, ri);
	}
	if (rec->state == TCP_SYN_HELD)
		return stack_refuse(gs->st, ri, gs->now_us);
	stack_close(gs->st, ri, gs->now_us);
	return 0;
}
