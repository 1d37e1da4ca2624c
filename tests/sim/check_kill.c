/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_kill - what a new process must have of the one that was killed: each
 * connection, and of each all that was received, acknowledged, promised and
 * sent.
 */
#include "base/seq.h"
#include "sim.h"

static void check_not_less(struct world *w, const struct flow *f,
			   const char *what, uint32_t before, uint32_t now)
{
	if (seq_lt(now, before))
		sim_fail(w, "flow %u: %s went back by %u in recovery", f->no,
			 what, before - now);
}

static void check_found(struct world *w, struct flow *f, const struct rec *r)
{
	const struct kill_mark *m = &w->kill.marks[f->no];
	const struct blk *b;

	/* One that was reset at once waits to be forgotten. */
	if (r->state == TCP_GONE)
		return;
	f->gone = false;
	/* Slow start, and retransmission at once: that is no back-off. */
	f->rtx_n = 0;
	f->rtx_at_us = 0;
	if (r->snd_off < m->snd_off)
		sim_fail(w, "flow %u: what was acknowledged is not", f->no);
	if (!m->active)
		return;
	if (r->block == NIL)
		sim_fail(w, "flow %u: its block was lost", f->no);
	b = &w->shard.blks[r->block];
	check_not_less(w, f, "rcv_app", m->rcv_app, b->rcv_app);
	check_not_less(w, f, "rcv_nxt", m->rcv_nxt, b->rcv_nxt);
	check_not_less(w, f, "rcv_acked", m->rcv_acked, b->rcv_acked);
	check_not_less(w, f, "rcv_adv", m->rcv_adv, b->rcv_adv);
	/* Promised when the pool had room, and then it was killed. */
	f->promised = b->rcv_adv;
	f->promised_set = true;
	check_not_less(w, f, "snd_end", m->snd_end, b->snd_end);
	check_not_less(w, f, "snd_nxt", m->snd_nxt, b->snd_nxt);
}

void check_recovered(struct world *w, uint32_t taken)
{
	uint32_t found = 0;

	if (world_stack_counter(w, SC_lost_in_recovery) ||
	    world_stack_counter(w, SC_recover_torn))
		sim_fail(w, "connections were lost in recovery");
	for (uint32_t i = 0; i < w->sc.n_flows; i++) {
		struct flow *f = &w->flows[i];
		const struct rec *r = &w->shard.recs[f->ri];

		if (!f->known)
			continue;
		if (r->state && r->generation == f->generation) {
			found++;
			check_found(w, f, r);
		} else if (!f->gone) {
			sim_fail(w, "flow %u: its record was lost", i);
		}
	}
	if (found != taken)
		sim_fail(w, "%u connections were taken over, %u are known",
			 taken, found);
}
