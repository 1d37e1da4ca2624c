/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * world_up - what a run begins and ends with, and what stack and groups find
 * around them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "daemon/loss.h"
#include "sim.h"

/* --- the stack's surroundings ------------------------------------------ */

static void world_emit(void *ctx, const struct iovec *iov, int iovcnt)
{
	uint8_t packet[65536];
	struct world *w = ctx;
	uint32_t len = 0;

	for (int i = 0; i < iovcnt; i++) {
		if (len + iov[i].iov_len > sizeof(packet))
			sim_fail(w, "a packet of over 64 KiB");
		memcpy(packet + len, iov[i].iov_base, iov[i].iov_len);
		len += (uint32_t)iov[i].iov_len;
	}
	kill_point(w); /* it is not sent */
	check_emit(w, packet, len);
	kill_point(w);
}

/* Is it over because it held the transmit buffer that others wait for? */
static void world_note_slow(struct world *w, struct flow *f)
{
	uint64_t resets = counter_get(&w->st->counters[SC_conn_slow_reset]);

	if (resets > w->slow_resets && f->gone && !f->excuse)
		f->excuse = "took nothing, and the transmit buffer was short";
	w->slow_resets = resets;
}

/* A record's state changes: which flow has which record. */
static void world_trace(void *ctx, uint32_t ri, uint8_t from, uint8_t to)
{
	struct world *w = ctx;
	const struct rec *r = &w->shard.recs[ri];
	uint32_t no = r->remote_port - SIM_FIRST_PORT;
	struct flow *f;

	if (no >= w->sc.n_flows)
		return;
	f = &w->flows[no];
	sim_say(w, "state     #%u %s -> %s", no, tcp_state_name(from),
		tcp_state_name(to));
	if (from == TCP_FREE) {
		check_born(w, f, ri);
		kill_point(w);
		return;
	}
	if (to == TCP_ESTABLISHED)
		check_established(w, f);
	if (to == TCP_GONE || to == TCP_FREE)
		f->gone = true;
	world_note_slow(w, f);
	if (f->gone && from == TCP_SYN_RECEIVED && f->c.state == CLIENT_OPEN &&
	    !f->excuse)
		f->excuse = "half-open for too long";
	kill_point(w);
}

static uint64_t world_clock(void *ctx)
{
	return ((struct world *)ctx)->now_us;
}

static void world_turn_end(void *ctx)
{
	struct world *w = ctx;

	w->turn_app = true;
	w->callbacks++;
	groups_turn(&w->gs);
	stack_flush(w->st, w->now_us);
}

static void world_no_log(void *ctx, enum log_level level, const char *line,
			 const struct log_field *fields, size_t n)
{
	struct world *w = ctx;

	(void)level;
	(void)fields;
	(void)n;
	sim_say(w, "log: %s", line);
}

/* --- up and down ------------------------------------------------------- */

void world_set_groups(struct world *w)
{
	static const char *const names[SIM_GROUPS_MAX] = { "first", "second" };

	for (uint32_t i = 0; i < w->sc.n_groups; i++) {
		struct group_setup setup = {
			.stack = w->sc.group,
			.balance = w->sc.balance,
			.on_loss = w->sc.on_loss,
		};

		snprintf(setup.name, sizeof(setup.name), "%s", names[i]);
		setup.stack.id = (uint16_t)(SIM_GROUP_ID + i);
		setup.stack.port = (uint16_t)(SIM_PORT + i);
		setup.stack.vip_mask = UINT64_MAX;
		setup.stack.shared_count = &w->shared_count;
		w->gs.now_us = w->now_us;
		if (groups_set(&w->gs, &setup, NULL) < 0)
			sim_fail(w, "groups_set failed");
	}
}

static void world_up_arena(struct world *w)
{
	struct scenario *sc = &w->sc;
	struct arena_sizes sizes = {
		.workers = 1,
		.max_connections = sc->max_connections,
		.rx_bytes = sc->rx_bytes,
		.tx_bytes = sc->tx_bytes,
	};
	if (arena_create(&w->arena, NULL, &sizes) < 0)
		sim_fail(w, "arena_create failed");
	for (int i = 0; i < 4; i++)
		w->arena.header->secret[i] = rng_next(&w->rng);
	w->arena.header->vips[0].family = 4;
	memcpy(w->arena.header->vips[0].bytes, world_vip4, 4);
	w->arena.header->vips[1].family = 6;
	memcpy(w->arena.header->vips[1].bytes, world_vip6, 16);
	w->arena.header->check = arena_header_check(w->arena.header);
}

static void world_up_stack(struct world *w)
{
	struct scenario *sc = &w->sc;
	struct stack_ops ops = { .emit = world_emit,
				 .trace = world_trace,
				 .ctx = w };
	struct stack_limits limits;

	if (shard_init(&w->shard, &w->arena, 0, w->now_us) < 0)
		sim_fail(w, "shard_init failed");
	stack_limits_init(&limits, 1500);
	limits.snd_queue_max = sc->snd_queue_max;
	limits.rcv_window_max = sc->rcv_window_max;
	limits.syn_cookies = sc->syn_cookies;
	limits.half_open_cookies = sc->half_open_cookies;
	w->st = stack_new(&w->shard, 1, &ops, &limits, w->now_us);
	stack_pool_set(w->st, 0, sc->pool_bytes, sc->high_percent,
		       sc->low_percent);
}

static void world_up_links(struct world *w)
{
	for (uint32_t i = 0; i < w->sc.n_paths; i++) {
		struct path *path = &w->paths[i];

		path->up =
			(struct link){ .conf = w->sc.up[i],
				       .to_stack = true,
				       .rng = rng_part(w->sc.seed, 100 + i) };
		path->down =
			(struct link){ .conf = w->sc.down[i],
				       .rng = rng_part(w->sc.seed, 200 + i) };
	}
}

uint32_t world_process_up(struct world *w)
{
	const struct groups_ops ops = { .clock = world_clock,
					.turn_end = world_turn_end,
					.ctx = w };
	uint32_t taken;

	w->ticked_at_us = w->now_us;
	w->shared_count = 0;
	w->frames_out = 0;
	world_up_stack(w);
	w->base = event_base_new();
	groups_init(&w->gs, w->st, w->base, &ops, 1, rng_next(&w->rng));
	world_set_groups(w);
	taken = stack_recover(w->st, w->now_us);
	loss_recovered(&w->gs);
	return taken;
}

void world_process_down(struct world *w)
{
	for (int i = 0; i < SC_COUNT; i++)
		w->sum_stack[i] += counter_get(&w->st->counters[i]);
	for (int i = 0; i < WC_COUNT; i++)
		w->sum_worker[i] += counter_get(&w->gs.counters[i]);
	groups_fini(&w->gs);
	event_base_free(w->base);
	stack_free(w->st);
	shard_fini(&w->shard);
	arena_close(&w->arena);
	w->st = NULL;
}

uint64_t world_stack_counter(const struct world *w, enum stack_counter which)
{
	uint64_t sum = w->sum_stack[which];

	return w->st ? sum + counter_get(&w->st->counters[which]) : sum;
}

void world_up(struct world *w)
{
	w->now_us = w->sc.start_us;
	w->rng = rng_part(w->sc.seed, 1);
	log_set_sink(world_no_log, w);
	world_up_arena(w);
	world_process_up(w);
	kill_init(w);
	world_up_links(w);
	for (uint32_t i = 0; i < w->sc.n_procs; i++) {
		struct proc *p = &w->procs[i];

		p->no = i;
		p->conf = w->sc.procs[i];
		p->rng = rng_part(w->sc.seed, 300 + i);
		backend_start(w, p);
	}
	scenario_flows(w);
	for (uint32_t i = 0; i < w->sc.n_flows; i++)
		world_at(w, w->flows[i].c.conf.start_us, EV_CLIENT,
			 &w->flows[i]);
	for (uint32_t i = 0; i < w->sc.n_actions; i++)
		world_at(w, w->sc.actions[i].at_us, EV_ACTION,
			 &w->sc.actions[i]);
}

void world_down(struct world *w)
{
	while (w->n_events) {
		struct event e = w->heap[--w->n_events];

		if (e.kind == EV_PACKET)
			free(e.what);
	}
	free(w->heap);
	for (uint32_t i = 0; i < w->sc.n_procs; i++)
		backend_fini(&w->procs[i]);
	world_process_down(w);
	log_set_sink(NULL, NULL);
}
