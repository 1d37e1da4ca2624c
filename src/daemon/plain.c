/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plain - backends of protocol "stream": servers that know nothing of xtcpd.
 *
 * Theory of operation
 *
 *	deliver.c --plain_dues()--> link? --none--> plain_open(): choose, connect
 *	                              |  '--none free: the group's waiting list
 *	                              '--> plain_link_push(): bytes, end
 *
 * A connection has a link (plain_link.c) from its first byte on, or at once with
 * announce or accept = application, until both sides have closed, or it was
 * quiet for stream-idle-close. Without one it is its record, like any idle
 * connection: what the record says of its backend is the number in rec.slot, for
 * the balance "sticky".
 *
 * What is written to a link counts as processed, as nobody will ever say more
 * about it. So what a link is lost with can't be delivered again: once a byte
 * has passed (PLAIN_PASSED), connection and link end together. That is also what
 * a process that takes over the arena goes by: REC_TOLD says that there was a
 * link, PLAIN_PASSED that it can't be done without. Both are set before the
 * system call.
 *
 * A backend that could not be reached is left alone for a while if there are
 * others (backend.retry_at_us). A client tries each once; then it is reset.
 *
 * Links are found by record number in a hash table of the worker: a record of
 * the arena has no room for one, nor a connection without a link for more than
 * its record.
 *
 * Invariants
 *  I1  REC_TOLD in such a group, in this process: there is a link.
 *  I2  who takes up a link makes sure that its record is that of its generation
 *      still (plain_link_is_stale()).
 *  I3  numbers of backends, but for 0, differ within a group.
 */
#include "daemon/plain.h"

#include <errno.h>
#include <stdlib.h>

#include "base/units.h"
#include "daemon/backend.h"
#include "daemon/deliver.h"
#include "daemon/plain_link.h"

/* Connecting to a backend may take so long. */
#define PLAIN_CONNECT_US (5 * USEC_PER_SEC)

static struct rec *plain_rec(const struct group *g, uint32_t ri)
{
	return &g->gs->st->sh->recs[ri];
}

/* --- which backend ------------------------------------------------------ */

/* Choosing among the backends for one link. */
struct plain_choice {
	const struct plain_link *l;
	uint8_t last; /* number of the one that the connection had */
	bool full; /* one could be had but for its bound */
};

static bool plain_is_tried(const struct plain_link *l, uint8_t number)
{
	return l->tried[number / 64] >> (number % 64) & 1;
}

/* Could it be given the link, but for how it is now? */
static bool plain_may_have(const struct plain_choice *c,
			   const struct backend *b)
{
	const struct group *g = b->group;
	bool own = g->balance == CONF_BALANCE_STICKY &&
		   b->plain.number == c->last && b->duty == BACKEND_DRAINS;

	return !b->attached && (b->duty == BACKEND_SERVES || own) &&
	       !plain_is_tried(c->l, b->plain.number);
}

/* ... and as it is now; failed_too: also one that
 * could not be reached of late. */
static bool plain_can_have(struct plain_choice *c, const struct backend *b,
			   bool failed_too)
{
	if (!plain_may_have(c, b) ||
	    (!failed_too && b->group->gs->now_us < b->retry_at_us))
		return false;
	if (b->plain.max_links && b->plain.n_links >= b->plain.max_links) {
		c->full = true;
		return false;
	}
	return true;
}

/* Does a go before b, which is NULL or the best so far? */
static bool plain_is_better(const struct plain_choice *c,
			    const struct backend *a, const struct backend *b)
{
	const struct group *g = a->group;

	if (!b)
		return true;
	if (g->balance == CONF_BALANCE_STICKY)
		return a->plain.number == c->last;
	return g->balance == CONF_BALANCE_LEAST &&
	       a->plain.n_links < b->plain.n_links;
}

static struct backend *plain_choose_from(struct plain_choice *c,
					 bool failed_too)
{
	struct group *g = c->l->group;
	struct backend *best = NULL, *b;
	uint32_t n = 0, at;

	for (b = g->backends; b; b = b->next)
		n++;
	if (n == 0)
		return NULL;
	/* Equals take turns: begin at another one each time. */
	at = g->turn++ % n;
	for (b = g->backends; at > 0; at--)
		b = b->next;
	for (uint32_t i = 0; i < n; i++, b = b->next ? b->next : g->backends)
		if (plain_can_have(c, b, failed_too) &&
		    plain_is_better(c, b, best))
			best = b;
	return best;
}

static struct backend *plain_choose(struct plain_choice *c)
{
	struct backend *b = plain_choose_from(c, false);

	return b || c->full ? b : plain_choose_from(c, true);
}

int plain_dial(struct plain_link *l)
{
	struct group *g = l->group;
	struct rec *rec = plain_rec(g, l->ri);

	for (;;) {
		struct plain_choice c = {
			.l = l, .last = rec->slot & PLAIN_NUMBER_MAX
		};
		struct backend *b = plain_choose(&c);
		int err;

		if (!b)
			return c.full ? -EAGAIN : -ECONNREFUSED;
		err = plain_link_connect(l, b);
		if (err == -EAGAIN)
			groups_count(g->gs, WC_plain_no_socket);
		if (err == 0 || err == -EAGAIN)
			return err;
		l->tried[b->plain.number / 64] |= UINT64_C(1)
						  << (b->plain.number % 64);
		b->plain.reached = false;
		backend_dial_failed(b, err);
	}
}

/* --- opening ------------------------------------------------------------ */

/* Nobody could be reached. */
static void plain_refuse(struct group *g, uint32_t ri)
{
	struct groups *gs = g->gs;

	groups_count(gs, WC_plain_refused);
	if (plain_rec(g, ri)->state == TCP_SYN_HELD)
		stack_refuse(gs->st, ri, gs->now_us);
	else
		stack_abort(gs->st, ri, gs->now_us);
}

/*
 * Returns 0: there is a link, or the connection is over; -EAGAIN: it has to
 * wait.
 */
static int plain_open(struct group *g, uint32_t ri)
{
	struct plain_link *l = plain_link_new(g, ri);
	int err = l ? plain_dial(l) : -EAGAIN;

	if (!err) {
		if (l->state == PLAIN_UP)
			plain_link_up(l);
		return 0;
	}
	if (!l)
		groups_count(g->gs, WC_plain_no_socket);
	else
		plain_link_free(l, false);
	if (err == -EAGAIN)
		return err;
	plain_refuse(g, ri);
	return 0;
}

void plain_redial(struct plain_link *l, int err)
{
	struct group *g = l->group;
	struct backend *b = l->backend;
	uint32_t ri = l->ri;
	struct blk *blk;

	l->tried[b->plain.number / 64] |= UINT64_C(1) << (b->plain.number % 64);
	b->plain.reached = false;
	backend_dial_failed(b, err);
	err = plain_dial(l);
	if (!err) {
		if (l->state == PLAIN_UP)
			plain_link_up(l);
		return;
	}
	plain_link_free(l, false);
	blk = groups_blk(g->gs, plain_rec(g, ri));
	if (err != -EAGAIN || !blk || blk->app_list) {
		deliver_end(g, ri);
		plain_refuse(g, ri);
		return;
	}
	blk->app_flags |= APP_OPEN_DUE;
	deliver_conn(g, ri, false);
}

/* --- what is due -------------------------------------------------------- */

/* The connection is gone: the backend learns of it, nobody else has to. */
static int plain_on_reset(struct group *g, uint32_t ri, struct plain_link *l)
{
	if (l)
		plain_link_free(l, true);
	else
		groups_count(g->gs, WC_conn_not_told);
	stack_forget(g->gs->st, ri);
	return 0;
}

int plain_dues(struct group *g, uint32_t ri)
{
	struct stack *st = g->gs->st;
	const struct rec *rec = plain_rec(g, ri);
	struct blk *blk = groups_blk(g->gs, rec);
	struct plain_link *l = plain_link_find(g->gs, ri);
	uint8_t due = blk->app_flags;
	struct stack_conn_info info;
	int err;

	blk->app_flags = 0;
	if (due & APP_RESET_DUE)
		return plain_on_reset(g, ri, l);
	if (l) {
		plain_link_push(l);
		return 0;
	}
	stack_conn_info(st, ri, g->gs->now_us, &info);
	if (due & APP_OPEN_DUE || info.rcv_undelivered) {
		err = plain_open(g, ri);
		if (err == -EAGAIN)
			blk->app_flags = due & APP_OPEN_DUE;
		return err;
	}
	/* The client's end, and no link that it could be passed on over. */
	if (info.eof)
		stack_close(st, ri, g->gs->now_us);
	return 0;
}

void plain_acked(struct group *g, uint32_t ri)
{
	struct plain_link *l = NULL;

	if (plain_rec(g, ri)->flags & REC_TOLD)
		l = plain_link_find(g->gs, ri);
	if (l && (l->stalled || l->state == PLAIN_ENDING))
		plain_link_resume(l);
}

/* --- ends --------------------------------------------------------------- */

void plain_end(struct group *g, uint32_t ri)
{
	struct plain_link *l = plain_link_find(g->gs, ri);

	if (l)
		plain_link_free(l, true);
}

void plain_end_all(struct group *g)
{
	struct backend *b, *next;

	for (b = g->backends; b; b = next) {
		next = b->next;
		/* One that is to be gone goes with the last. */
		for (uint32_t n = b->plain.n_links; n > 0; n--)
			plain_link_free(b->plain.head, true);
	}
}

/* A client that was promised a connection to a server that speaks first. */
static void plain_recovered_announced(struct group *g, uint32_t ri)
{
	struct rec *rec = plain_rec(g, ri);
	struct blk *blk = groups_blk(g->gs, rec);

	if (blk) {
		blk->app_flags |= APP_OPEN_DUE;
		deliver_conn(g, ri, false);
	} else if (plain_open(g, ri) == -EAGAIN) {
		/* Without a block it can't wait. */
		plain_refuse(g, ri);
	}
}

void plain_recovered(struct group *g, uint32_t ri)
{
	struct groups *gs = g->gs;
	struct rec *rec = plain_rec(g, ri);
	bool passed = rec->flags & REC_TOLD && rec->slot & PLAIN_PASSED;

	if (rec->state == TCP_FREE || rec->state == TCP_GONE ||
	    rec->flags & REC_ORPHAN)
		return;
	rec->flags &= (uint16_t)~REC_TOLD;
	rec->slot &= PLAIN_NUMBER_MAX;
	if (passed) {
		groups_count(gs, WC_plain_lost);
		if (rec->block != NIL)
			groups_blk(gs, rec)->app_flags = 0;
		stack_abort(gs->st, ri, gs->now_us);
	} else if (rec->state == TCP_CLOSE_WAIT && rec->block == NIL) {
		stack_close(gs->st, ri, gs->now_us);
	} else if (g->announce && rec->state == TCP_ESTABLISHED &&
		   rec->rcv_off == 0 && rec->snd_off == 0) {
		plain_recovered_announced(g, ri);
	}
}

/* --- the tick ----------------------------------------------------------- */

/* Nothing has moved on the link for age_us. */
static void plain_tick_link(struct plain_link *l, uint64_t age_us)
{
	const struct group *g = l->group;
	uint64_t idle_us = l->backend->plain.idle_close_us;

	if (plain_link_is_stale(l))
		plain_link_free(l, true);
	else if (l->state == PLAIN_CONNECTING && age_us >= PLAIN_CONNECT_US)
		plain_link_break(l, -ETIMEDOUT);
	else if (l->state != PLAIN_UP)
		return;
	else if (l->stalled)
		plain_link_resume(l); /* the buffer may have room again */
	else if (l->busy && g->backend_timeout_us &&
		 age_us >= g->backend_timeout_us) {
		groups_count(g->gs, WC_plain_stuck);
		plain_link_break(l, -ETIMEDOUT);
	} else if (idle_us && age_us >= idle_us && plain_link_is_quiet(l))
		plain_link_close_idle(l);
}

/* Those that were quiet for longest come first. */
static void plain_tick_backend(struct backend *b)
{
	uint64_t now_us = b->group->gs->now_us, least = PLAIN_CONNECT_US;
	struct plain_link *l, *next;

	if (b->plain.idle_close_us)
		least = min_u64(least, b->plain.idle_close_us);
	if (b->group->backend_timeout_us)
		least = min_u64(least, b->group->backend_timeout_us);
	/* The transmit buffer may have room again, which nobody tells. */
	if (b->group->gs->links.n_stalled)
		least = 0;
	for (l = b->plain.head; l && now_us - l->moved_us >= least; l = next) {
		next = l->newer;
		plain_tick_link(l, now_us - l->moved_us);
	}
}

void plain_tick(struct group *g)
{
	struct backend *b, *next;

	for (b = g->backends; b; b = next) {
		next = b->next;
		if (b->plain.n_links)
			plain_tick_backend(b);
	}
	/* A descriptor or a place in a backlog is free again: nobody says so. */
	if (g->waiting.n > 0)
		group_has_room(g);
}

/* --- settings ----------------------------------------------------------- */

static bool plain_has_number(const struct group *g, uint8_t number)
{
	for (const struct backend *b = g->backends; b; b = b->next)
		if (b->plain.number == number)
			return true;
	return false;
}

/*
 * The number that it had before, as the arena remembers, or a free one; 0 when
 * all are taken, by backends on their way out: it works without, but for "sticky".
 */
static uint8_t plain_number_new(const struct backend *b)
{
	const struct group *g = b->group;
	uint64_t *owners =
		g->gs->st->sh->slot_owners + (size_t)g->id * ARENA_SLOTS;
	uint8_t number = 0;

	for (uint8_t i = 1; i <= PLAIN_NUMBER_MAX; i++)
		if (owners[i] == b->owner && !plain_has_number(g, i))
			return i;
	for (uint8_t i = PLAIN_NUMBER_MAX; i >= 1; i--)
		if (!plain_has_number(g, i))
			number = i;
	if (number)
		owners[number] = b->owner;
	return number;
}

void plain_backend_set(struct backend *b, const struct conf_backend *conf,
		       uint32_t max_links)
{
	if (!b->plain.number)
		b->plain.number = plain_number_new(b);
	b->plain.proxy = conf->proxy;
	b->plain.idle_close_us = conf->stream_idle_close_ms * USEC_PER_MSEC;
	b->plain.max_links = max_links;
}

const struct backend *plain_backend_of(const struct group *g, uint32_t ri)
{
	const struct plain_link *l = plain_link_find(g->gs, ri);

	return l ? l->backend : NULL;
}
