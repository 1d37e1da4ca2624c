/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scenario - what a seed draws.
 *
 * A class is a base, on which features are laid; "any" lays each of them on by
 * chance. Some combinations can't end by design and are not drawn: without
 * ack-window a request must be taken in as it comes (nothing else would
 * acknowledge what is before a gap), and so must one that a pool can't hold
 * (throttled, nothing else acknowledges).
 */
#include <string.h>

#include "base/bytes.h"
#include "base/units.h"
#include "sim.h"
#include "stack/cc.h"

#define BIT(n) (1u << (n))
#define ENDINGS_GOOD                                                          \
	(BIT(END_IDLE) | BIT(END_CLIENT) | BIT(END_HALF) | BIT(END_BACKEND) | \
	 BIT(END_BACKEND_FIN) | BIT(END_BOTH))

static const char *const class_names[CLASS_COUNT] = {
	[CLASS_CLEAN] = "clean",     [CLASS_LOSS] = "loss",
	[CLASS_REORDER] = "reorder", [CLASS_MTU] = "mtu",
	[CLASS_HOSTILE] = "hostile", [CLASS_DEATH] = "death",
	[CLASS_POOLS] = "pools",     [CLASS_MODES] = "modes",
	[CLASS_CLOSE] = "close",     [CLASS_BULK] = "bulk",
	[CLASS_ANY] = "any",	     [CLASS_KILL] = "kill",
};

const char *scenario_class_name(enum sim_class class)
{
	return class_names[class];
}

int scenario_class_by_name(const char *name)
{
	for (int i = 0; i < CLASS_COUNT; i++)
		if (strcmp(class_names[i], name) == 0)
			return i;
	return -1;
}

static void scenario_action(struct scenario *sc, const struct action *a)
{
	if (sc->n_actions < SIM_ACTIONS_MAX)
		sc->actions[sc->n_actions++] = *a;
}

/* Some time while there is trouble. */
static uint64_t scenario_when(const struct scenario *sc, struct rng *r)
{
	return rng_range(r, sc->start_us, sc->heal_us);
}

/* --- the base ---------------------------------------------------------- */

static uint64_t base_start(struct rng *r)
{
	switch (rng_below(r, 8)) {
	case 0: /* milliseconds are about to wrap */
		return (UINT64_C(1) << 32) * 1000 - rng_below(r, 20000000);
	case 1:
		return rng_next(r) >> 20;
	default:
		return USEC_PER_SEC + rng_below(r, 100000000);
	}
}

static void base_links(struct scenario *sc, struct rng *r)
{
	sc->n_paths = 1 + rng_below(r, 3);
	for (uint32_t i = 0; i < sc->n_paths; i++) {
		struct link_conf *up = &sc->up[i], *down = &sc->down[i];

		up->delay_us = (uint32_t)rng_scale(r, 50, 150000);
		up->jitter_us = rng_one_in(r, 2) ? up->delay_us / 4 : 0;
		*down = *up;
		if (rng_one_in(r, 3))
			down->delay_us = (uint32_t)rng_scale(r, 50, 150000);
	}
}

static void base_procs(struct scenario *sc, struct rng *r)
{
	sc->n_procs = 1 + rng_below(r, 2);
	for (uint32_t i = 0; i < sc->n_procs; i++)
		sc->procs[i] = (struct proc_conf){
			.habit = (enum ack_habit)rng_below(r, 3),
			.frame_max = (uint32_t)rng_scale(r, 100, 60000),
			.read_us = (uint32_t)rng_scale(r, 10, 2000),
			.credit = (uint32_t)rng_scale(r, 4096, 1 << 20),
			.streams = 1 + rng_one_in(r, 4),
			.at = rng_one_in(r, 3),
		};
}

static void base_draw(struct scenario *sc, struct rng *r)
{
	sc->start_us = base_start(r);
	sc->heal_us = sc->start_us + rng_range(r, 2000000, 15000000);
	sc->group = (struct stack_group){
		.ack = STACK_ACK_DEFERRED,
		.ack_window_bytes = STACK_ACK_WINDOW_AUTO,
		.accept_timeout_us = 3600 * USEC_PER_SEC,
		/* What a silent client was sent may fill the transmit buffer
		 * for so long; no good one is without progress then. */
		.user_timeout_us = 100 * USEC_PER_SEC,
		.congestion = (uint8_t)rng_below(r, CC_ALGORITHMS),
		.ecn = rng_one_in(r, 2),
	};
	sc->n_groups = 1 + rng_one_in(r, 3);
	sc->balance = CONF_BALANCE_STICKY;
	sc->on_loss = CONF_LOSS_REDELIVER;
	sc->pool_bytes = sc->rx_bytes = 2 << 20;
	sc->tx_bytes = 4 << 20;
	sc->high_percent = 90;
	sc->low_percent = 75;
	sc->n_flows = 1 + rng_below(r, 8);
	sc->max_connections = sc->n_flows + 4;
	sc->snd_queue_max = 4 << 20;
	sc->rcv_window_max = UINT8_MAX * REC_ADV_UNIT;
	sc->syn_cookies =
		rng_one_in(r, 5) ? STACK_COOKIES_ALWAYS : STACK_COOKIES_AUTO;
	sc->half_open_cookies = rng_one_in(r, 3) ? 1 + rng_below(r, 4) : 1000;
	sc->check_every = rng_one_in(r, 4) ? 1 : 1 + rng_below(r, 100);
	sc->items_max = 1 + rng_below(r, 12);
	sc->q_max = (uint32_t)rng_scale(r, 1, 6000);
	sc->p_max = (uint32_t)rng_scale(r, 1, 30000);
	sc->serve_us_max = (uint32_t)rng_scale(r, 1, 800000);
	sc->think_us_max = (uint32_t)rng_scale(r, 1, 1000000);
	sc->endings = ENDINGS_GOOD;
	sc->batch = rng_one_in(r, 2);
	base_links(sc, r);
	base_procs(sc, r);
}

/* --- features ---------------------------------------------------------- */

static void feature_loss(struct scenario *sc, struct rng *r)
{
	for (uint32_t i = 0; i < sc->n_paths; i++) {
		sc->up[i].loss_ppm = (uint32_t)rng_scale(r, 1000, 200000);
		sc->down[i].loss_ppm = (uint32_t)rng_scale(r, 1000, 200000);
		if (!rng_one_in(r, 4))
			continue;
		sc->up[i].burst_ppm = sc->down[i].burst_ppm = 5000;
		sc->up[i].burst_end_ppm = sc->down[i].burst_end_ppm = 200000;
	}
}

static void feature_reorder(struct scenario *sc, struct rng *r)
{
	for (uint32_t i = 0; i < sc->n_paths; i++) {
		struct link_conf *both[] = { &sc->up[i], &sc->down[i] };

		for (int j = 0; j < 2; j++) {
			both[j]->reorder_ppm = rng_below(r, 300000);
			both[j]->reorder_us =
				(uint32_t)rng_scale(r, 100, 300000);
			both[j]->dup_ppm = rng_below(r, 150000);
			both[j]->corrupt_ppm =
				rng_one_in(r, 2) ? rng_below(r, 80000) : 0;
		}
	}
}

static void feature_rate(struct scenario *sc, struct rng *r)
{
	for (uint32_t i = 0; i < sc->n_paths; i++) {
		sc->down[i].rate_kbps = (uint32_t)rng_scale(r, 200, 50000);
		sc->down[i].queue_us = (uint32_t)rng_scale(r, 5000, 400000);
		sc->up[i].rate_kbps = (uint32_t)rng_scale(r, 200, 50000);
		sc->up[i].queue_us = (uint32_t)rng_scale(r, 5000, 400000);
		if (rng_one_in(r, 2))
			sc->down[i].ce_us = sc->up[i].ce_us =
				sc->down[i].queue_us / 3;
	}
}

static void feature_mtu(struct scenario *sc, struct rng *r)
{
	sc->weird |= WEIRD_FRAGMENT;
	for (uint32_t i = 0; i < sc->n_paths; i++) {
		struct action a = { .at_us = scenario_when(sc, r),
				    .kind = ACT_LINK,
				    .arg = i,
				    .conf = sc->up[i] };

		a.conf.mtu = 1280 + rng_below(r, 220);
		if (rng_one_in(r, 3))
			a.conf.mtu = 300 + rng_below(r, 1200);
		a.conf.mtu_mode = (uint8_t)rng_below(r, 2);
		if (rng_one_in(r, 2))
			a.at_us = sc->start_us;
		scenario_action(sc, &a);
		if (!rng_one_in(r, 3))
			continue;
		a.at_us = rng_range(r, a.at_us, sc->heal_us);
		a.conf.mtu = 1280 + rng_below(r, 220);
		scenario_action(sc, &a);
	}
}

static void feature_attacks(struct scenario *sc, struct rng *r)
{
	uint32_t n = 3 + rng_below(r, 20);

	while (n--) {
		struct action a = { .at_us = scenario_when(sc, r),
				    .kind = ACT_ATTACK,
				    .arg = rng_below(r, sc->n_flows) };

		scenario_action(sc, &a);
	}
}

static void feature_weird(struct scenario *sc, struct rng *r)
{
	sc->weird |= (uint32_t)rng_next(r) & 0x3fff;
}

static void feature_pauses(struct scenario *sc, struct rng *r)
{
	sc->pause_ppm = (uint32_t)rng_scale(r, 1000, 200000);
	sc->small = rng_one_in(r, 2);
}

static void feature_rogue(struct scenario *sc, struct rng *r)
{
	uint32_t no = sc->n_procs, n = 1 + rng_below(r, 6);

	if (no == PROCS_MAX)
		return;
	sc->n_procs++;
	sc->deaths = true;
	sc->procs[no] = (struct proc_conf){
		.frame_max = 1000,
		.read_us = 1000,
		.credit = 1 << 20,
		.streams = 1,
		.rogue = true,
	};
	while (n--) {
		struct action a = { .at_us = scenario_when(sc, r),
				    .kind = ACT_ROGUE,
				    .arg = no };

		scenario_action(sc, &a);
	}
}

static void feature_deaths(struct scenario *sc, struct rng *r)
{
	uint32_t n = 1 + rng_below(r, 5);

	sc->deaths = true;
	if (rng_one_in(r, 3))
		sc->on_loss = rng_one_in(r, 2) ? CONF_LOSS_RESET
					       : CONF_LOSS_RESET_ALL;
	while (n--) {
		struct action a = { .at_us = scenario_when(sc, r),
				    .kind = ACT_KILL,
				    .arg = rng_below(r, sc->n_procs) };

		if (sc->procs[a.arg].rogue)
			continue;
		if (rng_one_in(r, 4)) {
			a.kind = ACT_HANG;
			a.aux = (uint32_t)rng_scale(r, 1000, 30000000);
			scenario_action(sc, &a);
			continue;
		}
		scenario_action(sc, &a);
		a.kind = ACT_START;
		a.at_us += rng_scale(r, 10, 5000000);
		scenario_action(sc, &a);
	}
}

static void feature_slow_backends(struct scenario *sc, struct rng *r)
{
	for (uint32_t i = 0; i < sc->n_procs; i++) {
		sc->procs[i].read_us = (uint32_t)rng_scale(r, 1000, 200000);
		sc->procs[i].read_max = (uint32_t)rng_scale(r, 100, 20000);
		sc->procs[i].credit = 4096 + rng_below(r, 4096);
	}
}

static void feature_pools(struct scenario *sc, struct rng *r)
{
	sc->n_flows = 4 + rng_below(r, 20);
	sc->pool_bytes =
		CHUNK_BYTES * (sc->n_flows * 4 + rng_scale(r, 1, 1024));
	sc->rx_bytes = rng_one_in(r, 4) ? sc->pool_bytes / 2 + 32768
					: sc->pool_bytes * 2;
	sc->tx_bytes = rng_scale(r, 32768, 1 << 20);
	sc->high_percent = 30 + rng_below(r, 66);
	sc->low_percent = 5 + rng_below(r, sc->high_percent - 5);
	sc->snd_queue_max = (uint32_t)rng_scale(r, 192 << 10, 1 << 20);
	sc->q_max = (uint32_t)rng_scale(r, 500, 60000);
	sc->max_connections = sc->n_flows + 4;
	if (rng_one_in(r, 4)) {
		sc->max_connections = sc->n_flows / 2 + 2;
		sc->endings &= ~BIT(END_IDLE);
	}
}

static void feature_modes(struct scenario *sc, struct rng *r)
{
	struct stack_group *g = &sc->group;

	g->ack = (uint8_t)rng_below(r, 3);
	g->ack_window_bytes = rng_one_in(r, 3) ? 0
			      : rng_one_in(r, 2)
				      ? (uint32_t)rng_scale(r, 100, 20000)
				      : STACK_ACK_WINDOW_AUTO;
	g->ack_deadline_us = rng_one_in(r, 3) ? rng_scale(r, 5000, 500000) : 0;
	if (rng_one_in(r, 3)) {
		g->accept = STACK_ACCEPT_APPLICATION;
		sc->endings |= BIT(END_REJECT);
	}
	g->announce = rng_one_in(r, 3);
	sc->balance = (enum conf_balance)rng_below(r, 3);
	if (rng_one_in(r, 4))
		g->keepalive_us = rng_scale(r, 500000, 60000000);
}

static void feature_time_outs(struct scenario *sc, struct rng *r)
{
	sc->may_time_out = true;
	if (rng_one_in(r, 2))
		sc->group.user_timeout_us = rng_scale(r, 500000, 20000000);
	if (rng_one_in(r, 2))
		sc->group.idle_timeout_us = rng_scale(r, 500000, 20000000);
	if (rng_one_in(r, 2))
		sc->group.accept_timeout_us = rng_scale(r, 5000, 3000000);
	if (rng_one_in(r, 2))
		sc->group.keepalive_us = rng_scale(r, 300000, 5000000);
}

static void feature_endings(struct scenario *sc, struct rng *r)
{
	sc->endings |= BIT(END_RST) | BIT(END_VANISH) | BIT(END_ABORT);
	sc->items_max = 1 + rng_below(r, 3);
}

static void feature_bulk(struct scenario *sc, struct rng *r)
{
	sc->n_flows = 1 + rng_below(r, 3);
	sc->items_max = 1 + rng_below(r, 3);
	sc->q_max = (uint32_t)rng_scale(r, 1, 300000);
	sc->p_max = (uint32_t)rng_scale(r, 1000, 1000000);
}

/*
 * Every second time all is exact: each process goes on, and soon, so nobody
 * else ever has its connections.
 */
static void feature_kills(struct scenario *sc, struct rng *r, uint32_t every)
{
	bool exact = !sc->deaths && rng_one_in(r, 2);

	sc->kill_every = every ? every : (uint32_t)rng_scale(r, 1, 400);
	sc->kills_max = (uint32_t)rng_scale(r, 1, 40);
	sc->dead_us_max = (uint32_t)rng_scale(r, 1000, 200000);
	sc->keeps_tun = rng_one_in(r, 2);
	if (rng_one_in(r, 3))
		sc->on_loss = rng_one_in(r, 2) ? CONF_LOSS_RESET
					       : CONF_LOSS_RESET_ALL;
	for (uint32_t i = 0; i < sc->n_procs; i++) {
		struct proc_conf *p = &sc->procs[i];

		p->again_us =
			exact ? 300000 : (uint32_t)rng_scale(r, 1000, 6000000);
		p->ping_bytes = (uint32_t)rng_scale(r, 1, 65536);
		p->resume = !p->rogue && (exact || !rng_one_in(r, 3));
		if (!p->resume)
			continue;
		p->at = true;
		p->streams = 1;
	}
	if (!exact)
		sc->deaths = true;
}

/* --- all together ------------------------------------------------------ */

typedef void feature_fn(struct scenario *sc, struct rng *r);

static void scenario_any(struct scenario *sc, struct rng *r)
{
	static feature_fn *const features[] = {
		feature_pools,	 feature_loss,	   feature_reorder,
		feature_rate,	 feature_mtu,	   feature_weird,
		feature_pauses,	 feature_modes,	   feature_endings,
		feature_attacks, feature_rogue,	   feature_slow_backends,
		feature_deaths,	 feature_time_outs
	};

	if (rng_one_in(r, 6))
		feature_bulk(sc, r);
	for (uint32_t i = 0; i < ARRAY_SIZE(features); i++)
		if (rng_one_in(r, features[i] == feature_time_outs ? 10 : 3))
			features[i](sc, r);
}

static void scenario_lay_on(struct scenario *sc, struct rng *r)
{
	switch (sc->class) {
	case CLASS_LOSS:
		feature_loss(sc, r);
		if (rng_one_in(r, 3))
			feature_rate(sc, r);
		break;
	case CLASS_REORDER:
		feature_reorder(sc, r);
		break;
	case CLASS_MTU:
		feature_mtu(sc, r);
		break;
	case CLASS_HOSTILE:
		feature_weird(sc, r);
		feature_attacks(sc, r);
		if (rng_one_in(r, 2))
			feature_rogue(sc, r);
		break;
	case CLASS_DEATH:
		feature_deaths(sc, r);
		if (rng_one_in(r, 2))
			feature_loss(sc, r);
		if (rng_one_in(r, 3))
			feature_slow_backends(sc, r);
		break;
	case CLASS_POOLS:
		feature_pools(sc, r);
		if (rng_one_in(r, 2))
			feature_loss(sc, r);
		break;
	case CLASS_MODES:
		feature_modes(sc, r);
		if (rng_one_in(r, 3))
			feature_time_outs(sc, r);
		break;
	case CLASS_CLOSE:
		feature_endings(sc, r);
		if (rng_one_in(r, 2))
			feature_reorder(sc, r);
		break;
	case CLASS_BULK:
		feature_bulk(sc, r);
		feature_rate(sc, r);
		if (rng_one_in(r, 2))
			feature_pauses(sc, r);
		if (rng_one_in(r, 3))
			feature_loss(sc, r);
		break;
	case CLASS_ANY:
		scenario_any(sc, r);
		break;
	case CLASS_KILL:
		if (rng_one_in(r, 2))
			scenario_any(sc, r);
		else if (rng_one_in(r, 2))
			feature_bulk(sc, r);
		break;
	default:
		break;
	}
}

/* What would stand still by design, see above. */
static void scenario_mend(struct scenario *sc, struct rng *r)
{
	bool eager = sc->group.ack == STACK_ACK_DEFERRED &&
		     !sc->group.ack_window_bytes;

	if (sc->q_max > 16000 || (uint64_t)sc->q_max * sc->n_flows * 4 >
					 sc->pool_bytes * sc->low_percent / 100)
		eager = true;
	if (sc->group.ack_window_bytes != STACK_ACK_WINDOW_AUTO &&
	    sc->q_max > 4000)
		eager = true;
	for (uint32_t i = 0; i < sc->n_procs; i++)
		if (eager && !sc->procs[i].rogue)
			sc->procs[i].habit = HABIT_CONSUME;
	if (sc->deaths || sc->balance != CONF_BALANCE_STICKY)
		sc->pushes = false;
	else
		sc->pushes = rng_one_in(r, 3);
	/* One that is never given up, and never takes what it was sent. */
	if (sc->weird & WEIRD_OPTIMISTIC)
		sc->tx_bytes = 8 << 20;
	/* A cookie's options come back in the timestamp. */
	if (sc->weird & (WEIRD_DROP_TS | WEIRD_NO_LAST_TS))
		sc->syn_cookies = STACK_COOKIES_NEVER;
	/* Probes and answers to them may be lost. */
	if (sc->group.keepalive_us && sc->class != CLASS_MODES)
		sc->may_time_out = true;
	if (sc->on_loss != CONF_LOSS_REDELIVER || sc->may_time_out)
		sc->endings &= ~BIT(END_IDLE);
}

void scenario_draw(struct scenario *sc, uint64_t seed, int forced_class,
		   uint32_t kill_every)
{
	struct rng kills = rng_part(seed, 8);
	struct rng r = rng_part(seed, 7);
	struct action heal = { .kind = ACT_HEAL };

	*sc = (struct scenario){ .seed = seed };
	sc->class = (enum sim_class)rng_below(&r, CLASS_ANY + 6);
	if (sc->class > CLASS_ANY)
		sc->class = CLASS_ANY;
	if (forced_class >= 0)
		sc->class = (enum sim_class)forced_class;
	base_draw(sc, &r);
	heal.at_us = sc->heal_us;
	scenario_action(sc, &heal);
	scenario_lay_on(sc, &r);
	if (kill_every || sc->class == CLASS_KILL)
		feature_kills(sc, &kills, kill_every);
	scenario_mend(sc, &r);
}
