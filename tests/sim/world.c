/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * world - the run of one seed.
 *
 *	heap of events (packets, clients' and backends' timers, actions)
 *	      | the earliest, or the stack's own timers
 *	      v
 *	a turn, as a worker has it: packets or timers -> groups_turn ->
 *	stack_flush -> the sockets' events, each a turn -> checks
 *
 * The run has three parts: trouble, until heal_us; then links and backends
 * are good and every flow must come to its end (no stuck connection); then
 * idle connections must be mere records (I3), everything is taken down, and
 * the arena must be empty.
 */
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "sim.h"

#define WORLD_QUIET_US (250 * USEC_PER_MSEC)
#define WORLD_BATCH_US 50u
/* After the trouble: everything is done within, however timers backed off. */
#define WORLD_BOUND_US (400 * USEC_PER_SEC)
#define WORLD_IDLE_US (150 * USEC_PER_SEC)
/* TIME-WAIT, and FIN-WAIT-2 of orphans. */
#define WORLD_LAST_US (140 * USEC_PER_SEC)
#define WORLD_STEPS_MAX 3000000u

const uint8_t world_vip4[16] = { 192, 0, 2, 10 };
const uint8_t world_vip6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 0x10 };

/* --- events ------------------------------------------------------------ */

static bool event_before(const struct event *a, const struct event *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

void world_at(struct world *w, uint64_t at_us, enum event_kind kind, void *what)
{
	struct event e = { at_us, w->order++, kind, what };
	uint32_t i = w->n_events++;

	if (i == w->cap_events) {
		w->cap_events = w->cap_events ? w->cap_events * 2 : 256;
		w->heap = realloc(w->heap, w->cap_events * sizeof(*w->heap));
	}
	while (i && event_before(&e, &w->heap[(i - 1) / 2])) {
		w->heap[i] = w->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	w->heap[i] = e;
}

struct event world_pop(struct world *w)
{
	struct event first = w->heap[0], last = w->heap[--w->n_events];
	uint32_t i = 0, kid;

	while ((kid = 2 * i + 1) < w->n_events) {
		if (kid + 1 < w->n_events &&
		    event_before(&w->heap[kid + 1], &w->heap[kid]))
			kid++;
		if (!event_before(&w->heap[kid], &last))
			break;
		w->heap[i] = w->heap[kid];
		i = kid;
	}
	if (w->n_events)
		w->heap[i] = last;
	return first;
}

/* --- turns ------------------------------------------------------------- */

static void world_poke(struct world *w)
{
	uint64_t mark = counter_get(&w->gs.counters[WC_frames_out]) +
			counter_get(&w->gs.counters[WC_backend_lost]);

	if (mark == w->frames_out)
		return;
	w->frames_out = mark;
	for (uint32_t i = 0; i < w->sc.n_procs; i++)
		backend_poke(w, &w->procs[i]);
}

static void world_sockets(struct world *w)
{
	for (int i = 0; i < 64 && w->sockets_due; i++) {
		uint64_t before = w->callbacks;

		event_base_loop(w->base, EVLOOP_NONBLOCK);
		if (w->callbacks == before)
			w->sockets_due = false;
	}
}

void world_turn(struct world *w)
{
	w->gs.now_us = w->now_us;
	/* A stream that flows again may have bytes in its socket. */
	if (w->gs.stalled)
		w->sockets_due = true;
	for (int i = 0; i < 8; i++) {
		groups_turn(&w->gs);
		stack_flush(w->st, w->now_us);
		if (!groups_pending(&w->gs))
			break;
	}
	world_sockets(w);
	world_poke(w);
	check_turn(w);
	w->steps++;
	if (w->steps % w->sc.check_every == 0)
		check_full(w);
}

static void world_touch(struct world *w, const struct flow *f)
{
	if (w->turn_in[f->no]++ == 0 && w->turn_acks[f->no] == 0)
		w->turn_touched[w->n_touched++] = f->no;
}

/* One packet into the stack. */
static void world_packet(struct world *w, struct flow *f, const uint8_t *bytes,
			 uint32_t len, bool genuine)
{
	bool acceptable = false;
	struct wire s;
	struct seg seg;

	trace_packet(w, "in", f, bytes, len);
	sim_count(w, SIM_packets_to_stack);
	world_touch(w, f);
	f->heard++;
	/* A flipped bit that no checksum covers (IPv6) does no harm. */
	genuine = genuine && !wire_parse(bytes, len, &s) && !s.icmp;
	if (genuine && s.fragment) {
		check_fragment(w, f);
		genuine = false;
	}
	if (genuine) {
		check_before(w, f, &s);
		acceptable = check_acceptable(w, f, &s);
		w->in_flow = f;
		w->in_tsval = s.tsval;
		w->in_has_ts = s.has_ts && !(s.flags & (WF_SYN | WF_RST));
	}
	if (stack_parse(w->st, bytes, len, &seg))
		stack_input(w->st, &seg, w->now_us);
	w->in_flow = NULL;
	if (genuine)
		check_after(w, f, &s, acceptable);
}

void world_inject(struct world *w, struct flow *f, const uint8_t *bytes,
		  uint32_t len, bool forged)
{
	w->gs.now_us = w->now_us;
	world_packet(w, f, bytes, len, !forged);
	world_turn(w);
}

static void world_in(struct world *w, struct packet *p)
{
	w->in_packet = p;
	world_packet(w, p->flow, p->bytes, p->len, !p->forged);
	w->in_packet = NULL;
	free(p);
}

/* Packets to the stack; those that are next at once make one turn. */
static void world_arrival(struct world *w, struct packet *p)
{
	if (!p->to_stack) {
		sim_count(w, SIM_packets_to_clients);
		if (w->verbose)
			trace_packet(w, "got", p->flow, p->bytes, p->len);
		client_input(w, p->flow, p);
		free(p);
		return;
	}
	if (w->kill.dead) {
		kill_packet(w, p);
		return;
	}
	w->gs.now_us = w->now_us;
	world_in(w, p);
	while (w->sc.batch && w->n_events && w->heap[0].kind == EV_PACKET &&
	       w->heap[0].at_us <= w->now_us + WORLD_BATCH_US &&
	       ((struct packet *)w->heap[0].what)->to_stack)
		world_in(w, world_pop(w).what);
	world_turn(w);
}

static void world_tick(struct world *w)
{
	w->gs.now_us = w->now_us;
	w->ticked_at_us = w->now_us;
	w->turn_app = true;
	stack_tick(w->st, w->now_us);
	if (w->now_us >= w->gs.tick_at_us)
		groups_tick(&w->gs);
	world_turn(w);
}

/* --- actions ----------------------------------------------------------- */

static void world_heal(struct world *w)
{
	sim_say(w, "from here on all is well");
	w->healed = true;
	for (uint32_t i = 0; i < w->sc.n_paths; i++) {
		link_heal(&w->paths[i].up);
		link_heal(&w->paths[i].down);
	}
	for (uint32_t i = 0; i < w->sc.n_procs; i++)
		backend_calm(w, &w->procs[i]);
	for (uint32_t i = 0; i < w->sc.n_flows; i++)
		client_calm(w, &w->flows[i]);
}

void world_expect_loss(struct world *w)
{
	for (uint32_t i = 0; i < w->sc.n_flows; i++)
		if (w->sc.on_loss != CONF_LOSS_REDELIVER && !w->flows[i].excuse)
			w->flows[i].excuse = "reset when its backend died";
}

static void world_act(struct world *w, const struct action *a)
{
	switch (a->kind) {
	case ACT_KILL:
		world_expect_loss(w);
		backend_kill(w, &w->procs[a->arg]);
		break;
	case ACT_START:
		backend_start(w, &w->procs[a->arg]);
		break;
	case ACT_HANG:
		world_expect_loss(w);
		backend_hang(w, &w->procs[a->arg], w->now_us + a->aux);
		break;
	case ACT_ROGUE:
		rogue_act(w, &w->procs[a->arg]);
		break;
	case ACT_ATTACK:
		if (!w->kill.dead)
			attack_flow(w, &w->flows[a->arg]);
		break;
	case ACT_LINK:
		w->paths[a->arg].up.conf = a->conf;
		w->paths[a->arg].down.conf = a->conf;
		break;
	case ACT_SETTINGS:
		w->sc.balance = (enum conf_balance)a->arg;
		if (!w->kill.dead)
			world_set_groups(w);
		break;
	case ACT_HEAL:
		world_heal(w);
		break;
	}
}

void world_event(struct world *w, const struct event *e)
{
	switch (e->kind) {
	case EV_PACKET:
		world_arrival(w, e->what);
		return;
	case EV_CLIENT:
		client_timer(w, e->what);
		return;
	case EV_PROC:
		backend_timer(w, e->what);
		break;
	case EV_ACTION:
		world_act(w, e->what);
		break;
	}
	if (w->sockets_due && !w->kill.dead)
		world_turn(w);
}

/* One step: the next event, or a timer of the stack or the groups. */
void world_step_once(struct world *w, uint64_t until_us)
{
	uint64_t next = w->n_events ? w->heap[0].at_us : UINT64_MAX;
	uint64_t tick = min_u64(wheel_next_us(&w->shard.wheel),
				w->ticked_at_us + WORLD_QUIET_US);

	if (next < w->now_us + WORLD_QUIET_US)
		tick = min_u64(tick,
			       min_u64(stack_next_us(w->st), w->gs.tick_at_us));
	if (tick <= w->ticked_at_us)
		tick = w->ticked_at_us + 1;
	if (min_u64(next, tick) > until_us) {
		w->now_us = until_us;
		return;
	}
	if (tick < next) {
		w->now_us = max_u64(w->now_us, tick);
		world_tick(w);
	} else {
		struct event e = world_pop(w);

		w->now_us = max_u64(w->now_us, e.at_us);
		world_event(w, &e);
	}
}

static void world_step(struct world *w, uint64_t until_us)
{
	kill_step(w, until_us);
	if (++w->events_done > WORLD_STEPS_MAX)
		sim_fail(w, "no end after %u events", WORLD_STEPS_MAX);
}

/* --- the three parts --------------------------------------------------- */

/*
 * An excused one need not hear that its connection is gone, nor that an old
 * cookie has opened another one in its place.
 */
static bool world_is_over(const struct flow *f)
{
	return f->over || (f->excuse && (f->gone || f->reborn)) ||
	       f->c.conf.weird & WEIRD_OPTIMISTIC;
}

static const struct flow *world_unfinished(const struct world *w)
{
	for (uint32_t i = 0; i < w->sc.n_flows; i++)
		if (!world_is_over(&w->flows[i]))
			return &w->flows[i];
	return NULL;
}

/* What the streams and the other flows are at. */
static void world_dump(struct world *w)
{
	for (uint32_t id = SIM_GROUP_ID; id < SIM_GROUP_ID + 2; id++) {
		const struct group *g = w->gs.by_id[id];

		for (uint32_t i = 0; g && i < g->n_live; i++)
			sim_say(w,
				"stream %u of %s: stall %d, waiting %u, turn "
				"%u, out %zu, credit %llu",
				g->live[i]->slot, g->live[i]->backend->name,
				g->live[i]->stall, g->live[i]->waiting.n,
				g->live[i]->turn.n,
				frame_queue_held(&g->live[i]->out),
				(unsigned long long)g->live[i]->tx_credit_bytes);
	}
	sim_say(w, "transmit chunks %u of %u, receive %u, pool %u of %u%s",
		bitmap_used_count(&w->shard.tx.map), w->shard.tx.n,
		bitmap_used_count(&w->shard.rx.map),
		w->st->pools[0].used_chunks, w->st->pools[0].limit_chunks,
		w->st->pools[0].throttled ? ", throttled" : "");
	for (uint32_t i = 0; i < w->sc.n_flows; i++) {
		const struct flow *f = &w->flows[i];
		const struct rec *r = check_rec(w, f);
		struct stack_conn_info info = { 0 };

		if (!r)
			continue;
		stack_conn_info(w->st, f->ri, w->now_us, &info);
		sim_say(w,
			"#%u %s: client %d, got %lld of %llu, wnd %u; held "
			"%u, queued %u, rto %u, block %d",
			i, tcp_state_name(r->state), f->c.state,
			(long long)f->c.rcv_nxt,
			(unsigned long long)flow_r_total(f), info.snd_wnd,
			info.rcv_held, info.snd_queued, info.rto_us,
			r->block != NIL);
	}
}

static void world_stuck(struct world *w, const struct flow *f)
{
	const struct client *c = &f->c;
	const struct rec *r = check_rec(w, f);
	struct stack_conn_info info = { 0 };

	world_dump(w);
	if (r)
		stack_conn_info(w->st, f->ri, w->now_us, &info);
	sim_fail(w,
		 "flow %u is stuck: client state %u, una %lld nxt %lld of "
		 "%llu, got %lld of %llu, fin %d %d %d, wnd %llu; stack %s, "
		 "rcv %llu+%u, undelivered %u, snd %llu+%u, wnd %u, cwnd %u, "
		 "acked %llu, replied %llu, excuse %s",
		 f->no, c->state, (long long)c->una, (long long)c->nxt,
		 (unsigned long long)flow_q_total(f), (long long)c->rcv_nxt,
		 (unsigned long long)flow_r_total(f), c->fin_sent, c->fin_acked,
		 c->fin_rcvd, (unsigned long long)c->wnd,
		 r ? tcp_state_name(r->state) : "none",
		 (unsigned long long)info.rcv_acked, info.rcv_held,
		 info.rcv_undelivered, (unsigned long long)info.snd_acked,
		 info.snd_queued, info.snd_wnd, info.cwnd,
		 (unsigned long long)f->app_acked,
		 (unsigned long long)f->replied, f->excuse ? f->excuse : "-");
}

/*
 * RFC 4987 3.6: nobody sends the SYN-ACK of a cookie again. When the client's
 * ACK of it was lost, and it waits for the server to speak, nothing happens.
 */
static bool world_waits_for_nothing(const struct world *w,
				    const struct flow *f)
{
	return !f->known && f->c.state == CLIENT_OPEN &&
	       f->c.una == f->c.max && world_stack_counter(w, SC_cookies_sent);
}

static void world_run_flows(struct world *w)
{
	uint64_t bound = w->sc.heal_us + WORLD_BOUND_US;
	const struct flow *f;

	while (w->now_us < bound) {
		if (w->events_done % 16 == 0 && !world_unfinished(w)) {
			kill_wait(w);
			return;
		}
		world_step(w, bound);
	}
	f = world_unfinished(w);
	if (f && !world_waits_for_nothing(w, f))
		world_stuck(w, f);
}

/* Idle ones, and those that wait for their end, live through it as well. */
static void world_last_kill(struct world *w)
{
	w->kill.at_step = UINT64_MAX;
	if (!w->sc.kill_every || !rng_one_in(&w->kill.rng, 2))
		return;
	kill_now(w);
	kill_wait(w);
}

static void world_run_idle(struct world *w)
{
	uint64_t bound = w->now_us + WORLD_IDLE_US;
	const struct flow *f;

	check_full(w);
	if (!w->healed)
		world_heal(w);
	world_last_kill(w);
	while ((f = check_not_idle(w)) && w->now_us < bound)
		world_step(w, bound);
	if (f)
		sim_fail(w, "flow %u is idle, but keeps its block (I3): %s",
			 f->no, tcp_state_name(w->shard.recs[f->ri].state));
}

static void world_run_down(struct world *w)
{
	uint64_t bound;

	w->ending = true;
	for (uint32_t i = 0; i < w->sc.n_flows; i++)
		if (rng_one_in(&w->rng, 3))
			client_reset(w, &w->flows[i]);
	bound = w->now_us + USEC_PER_SEC;
	while (w->now_us < bound)
		world_step(w, bound);
	world_last_kill(w);
	w->gs.now_us = w->now_us;
	w->turn_app = true;
	for (uint32_t i = 0; i < w->sc.n_groups; i++)
		groups_remove(&w->gs, (uint16_t)(SIM_GROUP_ID + i));
	world_turn(w);
	bound = w->now_us + WORLD_LAST_US;
	while (w->now_us < bound)
		world_step(w, bound);
	check_full(w);
	check_empty(w);
}

static void world_sum(struct world *w)
{
	sim_count(w, SIM_seeds);
	w->counts[SIM_steps] = w->events_done;
	w->counts[SIM_early_bytes] = w->early_bytes;
	for (uint32_t i = 0; i < w->sc.n_flows; i++) {
		const struct flow *f = &w->flows[i];

		sim_count(w, SIM_flows);
		sim_count(w, f->excuse ? SIM_flows_excused : SIM_flows_perfect);
	}
}

bool world_has_reborn(const struct world *w)
{
	for (uint32_t i = 0; i < w->sc.n_flows; i++)
		if (w->flows[i].reborn)
			return true;
	return false;
}

struct flow *world_flow_by_conn(struct world *w, uint64_t conn_id)
{
	for (uint32_t i = 0; i < w->sc.n_flows; i++)
		if (w->flows[i].known && w->flows[i].conn_id == conn_id)
			return &w->flows[i];
	return NULL;
}

bool world_run(struct world *w)
{
	jmp_buf jump;

	for (uint32_t i = 0; i < PROCS_MAX; i++)
		for (uint32_t j = 0; j < PROC_STREAMS_MAX; j++)
			w->procs[i].streams[j].fd = -1;
	w->fail_jump = &jump;
	if (setjmp(jump))
		return false;
	world_up(w);
	world_run_flows(w);
	world_run_idle(w);
	world_run_down(w);
	world_sum(w);
	world_down(w);
	kill_fini(w);
	return true;
}
