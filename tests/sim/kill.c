/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kill - xtcpd dies, and the next process takes over.
 *
 * Theory of operation
 *
 *	every n-th step, or in the midst of one: at a packet or a change of
 *	state that the stack tells of, by longjmp(3) out of all that runs
 *	      |
 *	      v
 *	kill_process()	the arena's mapping becomes private, so that what the
 *			end of the old objects does to it is seen by nobody
 *	      |		its sockets are shut, without a last word
 *	      v
 *	dead time	clients, links and backends go on; packets wait or are
 *			lost
 *	      |
 *	      v
 *	kill_revive()	another mapping of the same arena, another process, as
 *			in worker_main()
 *
 * The first turn of the new process is a step as any other: it may be killed in
 * it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arena/recover.h"
#include "base/seq.h"
#include "sim.h"

/* Of the stack's callbacks, when it is killed in a step. */
#define KILL_CALLBACKS_MAX 40u

/* --- when -------------------------------------------------------------- */

static void kill_next(struct world *w)
{
	struct kill *k = &w->kill;

	k->at_step = UINT64_MAX;
	if (!w->sc.kill_every || k->done >= w->sc.kills_max)
		return;
	k->at_step = w->events_done + w->sc.kill_every;
	k->in_step = rng_one_in(&k->rng, 2);
	if (k->in_step && k->done && rng_one_in(&k->rng, 4))
		k->at_step = w->events_done; /* in its first turn */
	k->callbacks = (uint32_t)rng_scale(&k->rng, 1, KILL_CALLBACKS_MAX);
}

void kill_init(struct world *w)
{
	w->kill.rng = rng_part(w->sc.seed, 9);
	w->kill.arena_fd = -1;
	kill_next(w);
}

void kill_point(struct world *w)
{
	struct kill *k = &w->kill;

	if (k->jump && k->in_step && w->events_done >= k->at_step &&
	    --k->callbacks == 0)
		longjmp(*k->jump, 1);
}

/* --- the end ----------------------------------------------------------- */

static void kill_mark(struct world *w, struct flow *f)
{
	const struct rec *r = check_rec(w, f);
	struct kill_mark *m = &w->kill.marks[f->no];
	const struct blk *b;

	*m = (struct kill_mark){ 0 };
	if (!r)
		return;
	m->snd_off = r->snd_off;
	if (r->block == NIL || r->more & REC_ENDED)
		return;
	b = &w->shard.blks[r->block];
	m->active = true;
	m->rcv_app = b->rcv_app;
	m->rcv_nxt = b->rcv_nxt;
	m->rcv_acked = b->rcv_acked;
	m->rcv_adv = b->rcv_adv;
	m->snd_end = b->snd_end;
	m->snd_nxt = b->snd_nxt;
	if (w->sc.on_loss != CONF_LOSS_REDELIVER && !f->excuse &&
	    seq_gt(b->rcv_redlv, b->rcv_app))
		f->excuse = "its request was in hand when xtcpd died";
}

static void kill_sockets(struct world *w)
{
	for (uint32_t id = SIM_GROUP_ID; id < SIM_GROUP_ID + 2; id++) {
		const struct group *g = w->gs.by_id[id];
		const struct backend *b = g ? g->backends : NULL;

		for (; b; b = b->next)
			for (struct bstream *s = b->streams; s; s = s->next)
				(void)shutdown(s->fd, SHUT_RDWR);
	}
}

static void kill_process(struct world *w)
{
	struct kill *k = &w->kill;

	for (uint32_t i = 0; i < w->sc.n_flows; i++)
		kill_mark(w, &w->flows[i]);
	k->arena_fd = dup(w->arena.fd);
	if (k->arena_fd < 0 ||
	    mmap(w->arena.base, w->arena.bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, w->arena.fd,
		 0) == MAP_FAILED)
		sim_fail(w, "the arena can't be kept");
	kill_sockets(w);
	world_process_down(w);
}

static void kill_die(struct world *w, const char *how)
{
	struct kill *k = &w->kill;
	uint32_t dead_us =
		rng_one_in(&k->rng, 3)
			? 0
			: (uint32_t)rng_scale(&k->rng, 1, w->sc.dead_us_max);

	sim_say(w, "xtcpd is killed %s", how);
	sim_count(w, SIM_kills);
	check_cut(w);
	free(w->in_packet);
	w->in_packet = NULL;
	k->done++;
	kill_process(w);
	k->dead = true;
	k->epoch++;
	k->back_at_us = w->now_us + dead_us;
	for (uint32_t i = 0; i < w->sc.n_procs; i++)
		backend_poke(w, &w->procs[i]);
}

void kill_now(struct world *w)
{
	kill_die(w, "between steps");
}

/* --- between ----------------------------------------------------------- */

void kill_packet(struct world *w, struct packet *p)
{
	struct kill *k = &w->kill;

	if (w->sc.keeps_tun && k->n_waiting < KILL_PACKETS_MAX) {
		sim_count(w, SIM_kill_packets_kept);
		k->waiting[k->n_waiting++] = p;
		return;
	}
	sim_count(w, SIM_kill_packets_lost);
	free(p);
}

/* --- the next one ------------------------------------------------------ */

static void kill_adopt(struct world *w)
{
	struct arena_audit audit;
	const char *why;

	if (arena_adopt(&w->arena, w->kill.arena_fd, &why) < 0)
		sim_fail(w, "the arena is refused: %s", why);
	w->kill.arena_fd = -1;
	if (arena_audit(&w->arena, &audit) < 0 || audit.torn)
		sim_fail(w, "%u of %u records are torn", audit.torn,
			 audit.records);
}

static void kill_revive(struct world *w)
{
	struct kill *k = &w->kill;
	uint32_t taken;

	kill_adopt(w);
	k->dead = false;
	taken = world_process_up(w);
	sim_say(w, "xtcpd is back and has %u connections", taken);
	check_recovered(w, taken);
	/* What waited comes with the next step. */
	for (uint32_t i = 0; i < k->n_waiting; i++)
		world_at(w, w->now_us, EV_PACKET, k->waiting[i]);
	k->n_waiting = 0;
	kill_next(w);
	w->turn_app = true;
	world_turn(w);
	check_full(w);
}

/* A step of the world without xtcpd. */
static void kill_step_dead(struct world *w, uint64_t until_us)
{
	uint64_t back = w->kill.back_at_us;

	if (w->n_events && w->heap[0].at_us <= back &&
	    w->heap[0].at_us <= until_us) {
		struct event e = world_pop(w);

		w->now_us = w->now_us < e.at_us ? e.at_us : w->now_us;
		world_event(w, &e);
	} else if (back > until_us) {
		w->now_us = until_us;
	} else {
		w->now_us = w->now_us < back ? back : w->now_us;
		kill_revive(w);
	}
}

static void kill_step_live(struct world *w, uint64_t until_us)
{
	jmp_buf jump;

	if (setjmp(jump)) {
		w->kill.jump = NULL;
		sim_count(w, SIM_kills_in_step);
		kill_die(w, "in the midst of it");
		return;
	}
	w->kill.jump = &jump;
	if (w->kill.dead)
		kill_step_dead(w, until_us);
	else
		world_step_once(w, until_us);
	w->kill.jump = NULL;
	if (!w->kill.dead && !w->kill.in_step &&
	    w->events_done >= w->kill.at_step)
		kill_now(w);
}

void kill_step(struct world *w, uint64_t until_us)
{
	if (w->sc.kill_every)
		kill_step_live(w, until_us);
	else
		world_step_once(w, until_us);
}

void kill_wait(struct world *w)
{
	w->kill.at_step = UINT64_MAX;
	while (w->kill.dead)
		kill_step(w, UINT64_MAX);
	w->kill.at_step = UINT64_MAX;
}

void kill_fini(struct world *w)
{
	for (uint32_t i = 0; i < w->kill.n_waiting; i++)
		free(w->kill.waiting[i]);
}
