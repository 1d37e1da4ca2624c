/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scenario_flows - the clients of a seed and what they will say.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/units.h"
#include "sim.h"

static const char *const ending_names[END_COUNT] = {
	[END_IDLE] = "stays",
	[END_CLIENT] = "client closes",
	[END_HALF] = "half-closes",
	[END_BACKEND] = "backend closes",
	[END_BACKEND_FIN] = "backend half-closes",
	[END_BOTH] = "both close",
	[END_RST] = "client resets",
	[END_VANISH] = "vanishes",
	[END_ABORT] = "backend aborts",
	[END_REJECT] = "is refused",
};

static uint16_t flow_mss(struct rng *r, bool v6, bool small)
{
	uint16_t full = v6 ? 1440 : 1460;

	if (small && rng_one_in(r, 2))
		return (uint16_t)(40 + rng_below(r, 500));
	switch (rng_below(r, 8)) {
	case 0:
		return 0;
	case 1:
		return v6 ? 1220 : 536;
	case 2:
		return (uint16_t)(200 + rng_below(r, 1260));
	case 3:
		return 8960;
	default:
		return full;
	}
}

static void flow_address(struct flow *f)
{
	static const uint8_t net4[3] = { 198, 51, 100 };
	static const uint8_t net6[4] = { 0x20, 0x01, 0x0d, 0xb8 };
	struct client_conf *conf = &f->c.conf;

	memcpy(conf->remote, conf->v6 ? net6 : net4, conf->v6 ? 4 : 3);
	conf->remote[conf->v6 ? 14 : 3] = (uint8_t)(f->no + 2);
	conf->remote[15] = conf->v6 ? 9 : 0;
	conf->port = (uint16_t)(SIM_FIRST_PORT + f->no);
}

static void flow_client(struct world *w, struct flow *f, struct rng *r)
{
	struct scenario *sc = &w->sc;
	struct client_conf *conf = &f->c.conf;

	conf->v6 = rng_one_in(r, 3);
	flow_address(f);
	conf->sack = !rng_one_in(r, 3);
	conf->dsack = rng_one_in(r, 2);
	conf->ts = !rng_one_in(r, 3);
	conf->ecn = rng_one_in(r, 4);
	conf->ws = rng_one_in(r, 3) ? -1 : (int8_t)rng_below(r, 11);
	conf->mss = flow_mss(r, conf->v6, sc->small);
	conf->send_mss_max = rng_one_in(r, 6) ? 100 + rng_below(r, 1360) : 1460;
	conf->rcv_cap = (uint32_t)rng_scale(r, sc->small ? 1000 : 6000,
					    sc->small ? 8000 : 400000);
	if (conf->ws < 0)
		conf->rcv_cap = min_u32(conf->rcv_cap, 65535);
	else
		conf->rcv_cap = (uint32_t)clamp_u64(
			conf->rcv_cap, 4u << conf->ws, 65535u << conf->ws);
	conf->delack_us = rng_one_in(r, 3) ? 0 : 40000;
	conf->pause_ppm = sc->pause_ppm;
	conf->pause_us_max = (uint32_t)rng_scale(r, 1000, 3000000);
	conf->iw_segs = rng_one_in(r, 3) ? 2 : 10;
	conf->ts_off = (uint32_t)rng_next(r);
	conf->path = rng_below(r, sc->n_paths);
	conf->ack_with_data = rng_one_in(r, 4);
	conf->start_us = sc->start_us + rng_scale(r, 1, 2000000);
	if (rng_one_in(r, 2))
		conf->weird = sc->weird & (uint32_t)rng_next(r);
	if (conf->weird & WEIRD_OPTIMISTIC)
		f->excuse = "acknowledges what it did not get";
	if (sc->may_time_out)
		f->excuse = "may time out";
}

static void flow_items(struct world *w, struct flow *f, struct rng *r)
{
	struct scenario *sc = &w->sc;
	bool tiny = f->c.conf.weird & WEIRD_TINY;
	uint32_t q_max = tiny ? min_u32(sc->q_max, 800) : sc->q_max;
	uint32_t p_max = sc->p_max;

	if (f->c.conf.mss && f->c.conf.mss < 200)
		p_max = min_u32(p_max, 20000);
	f->n_items = 1 + rng_below(r, sc->items_max);
	for (uint32_t i = 0; i < f->n_items; i++) {
		struct item *it = &f->items[i];

		it->q = (uint32_t)rng_scale(r, 1, q_max);
		it->p = rng_one_in(r, 8) ? 0 : (uint32_t)rng_scale(r, 1, p_max);
		it->think_us =
			rng_one_in(r, 2) ? 0 : rng_below(r, sc->think_us_max);
		it->serve_us =
			rng_one_in(r, 2) ? 0 : rng_below(r, sc->serve_us_max);
		if (sc->pushes && (i || sc->group.announce) &&
		    rng_one_in(r, 4)) {
			it->q = 0;
			it->p = 1 + rng_below(r, p_max);
		}
		f->q_end[i + 1] = f->q_end[i] + it->q;
		f->r_end[i + 1] = f->r_end[i] + it->p;
	}
}

static void flow_ending(struct world *w, struct flow *f, struct rng *r)
{
	struct scenario *sc = &w->sc;

	do {
		f->ending = (enum ending)rng_below(r, END_COUNT);
	} while (!(sc->endings >> f->ending & 1));
	if (f->ending == END_RST || f->ending == END_VANISH) {
		f->c.kill_at_us = rng_range(r, f->c.conf.start_us, sc->heal_us);
		f->excuse = "ends as it likes";
	}
	/* A backend that died has nobody to close for. */
	if (sc->deaths && f->ending == END_ABORT)
		f->ending = END_CLIENT;
}

void scenario_flows(struct world *w)
{
	for (uint32_t i = 0; i < w->sc.n_flows; i++) {
		struct rng r = rng_part(w->sc.seed, 400 + i);
		struct flow *f = &w->flows[i];

		f->no = i;
		f->req_key = rng_next(&r);
		f->rep_key = rng_next(&r);
		f->depth = rng_one_in(&r, 3) ? 1 + rng_below(&r, 5) : 1;
		f->c.rng = rng_part(w->sc.seed, 500 + i);
		flow_client(w, f, &r);
		flow_items(w, f, &r);
		flow_ending(w, f, &r);
	}
}

/* --- for people -------------------------------------------------------- */

static void print_link(FILE *to, const char *name, const struct link_conf *l)
{
	fprintf(to,
		"    %s: delay %u+%u us, loss %u ppm, burst %u, reorder %u by "
		"%u us, dup %u, corrupt %u, %u kbit/s, queue %u us, mtu %u\n",
		name, l->delay_us, l->jitter_us, l->loss_ppm, l->burst_ppm,
		l->reorder_ppm, l->reorder_us, l->dup_ppm, l->corrupt_ppm,
		l->rate_kbps, l->queue_us, l->mtu);
}

static void print_flow(FILE *to, const struct flow *f)
{
	const struct client_conf *c = &f->c.conf;

	fprintf(to,
		"  flow %u: %s, mss %u, buffer %u, ws %d%s%s%s%s, weird %x, "
		"depth %u, %s; %u items:",
		f->no, c->v6 ? "IPv6" : "IPv4", c->mss, c->rcv_cap, c->ws,
		c->sack ? " sack" : "", c->dsack ? " dsack" : "",
		c->ts ? " ts" : "", c->ecn ? " ecn" : "", c->weird, f->depth,
		ending_names[f->ending], f->n_items);
	for (uint32_t i = 0; i < f->n_items; i++)
		fprintf(to, " %u/%u", f->items[i].q, f->items[i].p);
	fputc('\n', to);
}

void scenario_print(const struct world *w, FILE *to)
{
	const struct scenario *sc = &w->sc;
	const struct stack_group *g = &sc->group;

	fprintf(to,
		"  class %s, heals after %.3f s\n"
		"  ack %u, window %d, deadline %llu us, accept %u, announce %d, "
		"balance %d, on loss %d\n"
		"  user time-out %.1f s, idle %.1f s, keepalive %.1f s\n"
		"  pool %llu of %llu bytes, throttle %u to %u %%, transmit "
		"%llu, %u connections, cookies %u from %u\n",
		scenario_class_name(sc->class),
		(double)(sc->heal_us - sc->start_us) / 1e6, g->ack,
		(int)g->ack_window_bytes,
		(unsigned long long)g->ack_deadline_us, g->accept, g->announce,
		sc->balance, sc->on_loss, (double)g->user_timeout_us / 1e6,
		(double)g->idle_timeout_us / 1e6, (double)g->keepalive_us / 1e6,
		(unsigned long long)sc->pool_bytes,
		(unsigned long long)sc->rx_bytes, sc->high_percent,
		sc->low_percent, (unsigned long long)sc->tx_bytes,
		sc->max_connections, sc->syn_cookies, sc->half_open_cookies);
	if (sc->kill_every)
		fprintf(to,
			"  killed every %u steps, %u times at most, dead for "
			"%u us at most%s%s\n",
			sc->kill_every, sc->kills_max, sc->dead_us_max,
			sc->keeps_tun ? ", packets wait" : "",
			sc->deaths ? "" : ", exact");
	for (uint32_t i = 0; i < sc->n_paths; i++) {
		fprintf(to, "  path %u\n", i);
		print_link(to, "up", &sc->up[i]);
		print_link(to, "down", &sc->down[i]);
	}
	for (uint32_t i = 0; i < sc->n_procs; i++)
		fprintf(to,
			"  backend %u: habit %d, frames of %u, reads after %u "
			"us, credit %u, %u streams%s%s%s\n",
			i, sc->procs[i].habit, sc->procs[i].frame_max,
			sc->procs[i].read_us, sc->procs[i].credit,
			sc->procs[i].streams, sc->procs[i].at ? ", at" : "",
			sc->procs[i].rogue ? ", rogue" : "",
			sc->procs[i].resume ? ", goes on" : "");
	for (uint32_t i = 0; i < sc->n_flows; i++)
		print_flow(to, &w->flows[i]);
}
