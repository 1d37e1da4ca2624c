/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client - the life of a model client, its receiving side, its application.
 *
 *	client_input --> SYN-SENT: client_synack
 *	             '-> OPEN: RST, SYN | ACK (client_send.c) | text, FIN
 *	                       then application, output, ACK, timers
 *
 * The receiving side remembers what came beyond a gap as spans only: the bytes
 * are checked when they arrive.
 */
#include "client.h"

#include <string.h>

#include "sim.h"

#define CLIENT_RTO_INIT_US 1000000u
#define CLIENT_FALLBACK_US 5000000u

uint32_t client_now_ms(const struct world *w, const struct client *c)
{
	return (uint32_t)(w->now_us / 1000) + c->conf.ts_off;
}

void client_start(struct world *w, struct flow *f)
{
	struct client *c = &f->c;

	c->state = CLIENT_SYN_SENT;
	c->iss = (uint32_t)rng_next(&c->rng);
	c->una = c->nxt = -1;
	c->max = 0;
	c->cwnd = 65535;
	c->rto_us = CLIENT_RTO_INIT_US;
	c->fin_pos = -1;
	c->rcv_edge = c->conf.rcv_cap < 65535 ? c->conf.rcv_cap : 65535;
	c->dup.from = c->dup.to = -1;
	c->timed_pos = -1;
	if (c->conf.weird & WEIRD_SYN_DATA)
		c->avail = (int64_t)f->q_end[++c->item];
	client_syn(w, f);
	c->nxt = 0;
	c->rto_at = w->now_us + c->rto_us;
	client_arm(w, f);
}

static void client_become(struct world *w, struct flow *f,
			  enum client_state state)
{
	f->c.state = state;
	f->c.rto_at = f->c.persist_at = f->c.ack_at = f->c.app_at =
		f->c.read_at = 0;
	f->over = true;
	f->over_at_us = w->now_us;
}

static void client_send_reset(struct world *w, struct flow *f, uint32_t seq)
{
	struct client *c = &f->c;
	uint8_t buf[WIRE_PACKET_MAX];
	struct wire s = {
		.v6 = c->conf.v6,
		.sport = c->conf.port,
		.dport = SIM_PORT,
		.seq = seq,
		.flags = WF_RST,
	};

	memcpy(s.src, c->conf.remote, 16);
	memcpy(s.dst, c->conf.v6 ? world_vip6 : world_vip4, 16);
	link_send(w, &w->paths[c->conf.path].up, f, buf, wire_build(&s, buf),
		  false);
}

void client_reset(struct world *w, struct flow *f)
{
	struct client *c = &f->c;
	bool open = c->state == CLIENT_OPEN;

	client_become(w, f, CLIENT_DEAD);
	if (open)
		client_send_reset(w, f, client_seq(c, c->nxt));
}

/* --- receiving --------------------------------------------------------- */

static void spans_remove(struct span *spans, uint32_t *n, uint32_t i)
{
	memmove(spans + i, spans + i + 1, (--*n - i) * sizeof(*spans));
}

/* Text beyond a gap; false: there is no room to remember it. */
static bool client_keep_ooo(struct client *c, int64_t from, int64_t to)
{
	uint32_t i = 0;

	while (i < c->n_ooo && c->ooo[i].to < from)
		i++;
	while (i < c->n_ooo && c->ooo[i].from <= to) {
		from = c->ooo[i].from < from ? c->ooo[i].from : from;
		to = c->ooo[i].to > to ? c->ooo[i].to : to;
		spans_remove(c->ooo, &c->n_ooo, i);
	}
	if (c->n_ooo == CLIENT_SPANS_MAX)
		return false;
	memmove(c->ooo + i + 1, c->ooo + i, (c->n_ooo - i) * sizeof(c->ooo[0]));
	c->ooo[i] = (struct span){ from, to };
	c->n_ooo++;
	c->ooo_last = i;
	return true;
}

static void client_join(struct client *c)
{
	while (c->n_ooo && c->ooo[0].from <= c->rcv_nxt) {
		if (c->ooo[0].to > c->rcv_nxt)
			c->rcv_nxt = c->ooo[0].to;
		spans_remove(c->ooo, &c->n_ooo, 0);
	}
	c->ooo_last = 0;
}

static void client_read(struct world *w, struct client *c)
{
	if (c->read_at)
		return;
	if (rng_ppm(&c->rng, c->conf.pause_ppm)) {
		sim_count(w, SIM_client_pauses);
		c->read_at = w->now_us + 1 +
			     rng_below(&c->rng, c->conf.pause_us_max);
		return;
	}
	c->rcv_read = c->rcv_nxt;
}

static void client_take(struct world *w, struct flow *f, int64_t from,
			int64_t to)
{
	struct client *c = &f->c;

	if (to <= c->rcv_nxt) {
		c->dup = (struct span){ from, to };
		c->ack_now = true;
		sim_count(w, SIM_client_retransmitted_to);
	} else if (from > c->rcv_nxt) {
		client_keep_ooo(c, from, to);
		c->ack_now = true;
	} else {
		if (from < c->rcv_nxt)
			c->dup = (struct span){ from, c->rcv_nxt };
		c->ack_now |= c->n_ooo > 0;
		c->rcv_nxt = to;
		client_join(c);
		c->acks_due++;
		client_read(w, c);
	}
}

static void client_fin(struct client *c, int64_t pos)
{
	c->fin_pos = pos;
	c->ack_now = true;
	if (c->rcv_nxt == pos)
		c->fin_rcvd = true;
}

static void client_text(struct world *w, struct flow *f, const struct wire *s)
{
	struct client *c = &f->c;
	int64_t from = client_near(c->irs, c->rcv_nxt, s->seq);
	int64_t to = from + s->len, bad;

	if (!s->len && !(s->flags & WF_FIN)) {
		/* A keepalive probe, or a challenge. */
		if (from < c->rcv_nxt)
			c->ack_now = true;
		return;
	}
	if (from < 0)
		return;
	bad = pattern_check(f->rep_key, (uint64_t)from, s->payload, s->len);
	if (bad >= 0)
		sim_fail(w, "flow %u: wrong byte at %lld of the reply", f->no,
			 (long long)(from + bad));
	if (to > c->rcv_edge) {
		to = c->rcv_edge;
		c->ack_now = true;
		if (to <= from)
			return;
	} else if (s->flags & WF_FIN && c->fin_pos < 0) {
		client_fin(c, to);
	} else if (s->flags & WF_FIN) {
		c->ack_now = true;
	}
	if (to > from)
		client_take(w, f, from, to);
	if (c->fin_pos >= 0 && c->rcv_nxt == c->fin_pos)
		c->fin_rcvd = true;
}

/* RFC 7323 5.3; and what it echoes. */
static bool client_paws(struct client *c, const struct wire *s)
{
	if (!c->ts_on || !s->has_ts)
		return true;
	if ((int32_t)(s->tsval - c->ts_recent) < 0)
		return false;
	if ((int32_t)(s->seq - c->last_ack_sent) <= 0)
		c->ts_recent = s->tsval;
	return true;
}

static void client_renege(struct world *w, struct client *c)
{
	if (!(c->conf.weird & WEIRD_RENEGE) || !c->n_ooo ||
	    !rng_one_in(&c->rng, 6))
		return;
	c->n_ooo = rng_below(&c->rng, c->n_ooo);
	c->ooo_last = 0;
	sim_count(w, SIM_client_reneged);
}

/* --- the application --------------------------------------------------- */

static bool client_may_ask(const struct flow *f)
{
	const struct client *c = &f->c;

	return c->item < f->n_items &&
	       (c->item < f->depth ||
		(uint64_t)c->rcv_nxt >= f->r_end[c->item - f->depth + 1]);
}

static void client_app_close(struct world *w, struct flow *f)
{
	struct client *c = &f->c;
	bool got_all = (uint64_t)c->rcv_nxt >= flow_r_total(f);

	if (c->item < f->n_items)
		return;
	switch (f->ending) {
	case END_HALF:
	case END_BOTH:
		c->fin_ready = true;
		break;
	case END_CLIENT:
		c->fin_ready = got_all;
		break;
	case END_BACKEND:
	case END_BACKEND_FIN:
	case END_ABORT:
		if (c->fin_rcvd)
			c->fin_ready = true;
		else if (got_all && !c->app_at && w->sc.deaths)
			c->app_at = w->now_us + CLIENT_FALLBACK_US;
		break;
	default:
		break;
	}
}

static void client_app(struct world *w, struct flow *f)
{
	struct client *c = &f->c;

	while (client_may_ask(f)) {
		if (f->items[c->item].think_us && !w->healed) {
			if (!c->app_at)
				c->app_at =
					w->now_us + f->items[c->item].think_us;
			if (c->app_at > w->now_us)
				return;
		}
		c->app_at = 0;
		c->item++;
		c->avail = (int64_t)f->q_end[c->item];
	}
	client_app_close(w, f);
}

static void client_app_timer(struct world *w, struct flow *f)
{
	struct client *c = &f->c;

	if (c->item < f->n_items) {
		client_app(w, f);
		return;
	}
	/* No backend is left that would close: do it ourselves. */
	c->app_at = 0;
	c->fin_ready = true;
	(void)w;
}

bool client_done(const struct flow *f)
{
	const struct client *c = &f->c;
	bool all = (uint64_t)c->rcv_nxt >= flow_r_total(f) &&
		   (uint64_t)c->una >= flow_q_total(f) && c->item == f->n_items;

	if (c->state == CLIENT_DEAD || c->state == CLIENT_SILENT)
		return true;
	if (c->state != CLIENT_OPEN)
		return false;
	switch (f->ending) {
	case END_IDLE:
		return all;
	case END_RST:
	case END_VANISH:
	case END_ABORT:
	case END_REJECT:
		return false;
	default:
		return all && c->fin_rcvd && c->fin_acked;
	}
}

/* --- all together ------------------------------------------------------ */

/* After whatever happened: what the client does about it. */
static void client_react(struct world *w, struct flow *f)
{
	struct client *c = &f->c;

	client_app(w, f);
	client_output(w, f);
	if (c->ack_now || c->acks_due >= 2 ||
	    (c->acks_due && !c->conf.delack_us))
		client_ack(w, f);
	else if (c->acks_due && !c->ack_at)
		c->ack_at = w->now_us + c->conf.delack_us;
	client_arm(w, f);
	if (!f->over && client_done(f)) {
		f->over = true;
		f->over_at_us = w->now_us;
		sim_say(w, "flow #%u is done", f->no);
	}
}

static void client_negotiate(struct world *w, struct flow *f,
			     const struct wire *s)
{
	struct client *c = &f->c;

	if ((s->has_ws && c->conf.ws < 0) || (s->has_ts && !c->conf.ts) ||
	    (s->sack_ok && !c->conf.sack))
		sim_fail(w, "flow %u: an option that was not offered", f->no);
	c->ws_on = s->has_ws;
	c->peer_ws = s->ws;
	c->ts_on = s->has_ts;
	c->sack_on = s->sack_ok;
	c->peer_mss = s->has_mss ? s->mss : (c->conf.v6 ? 1220 : 536);
	c->ecn_on = c->conf.ecn && (s->flags & WF_ECE) && !(s->flags & WF_CWR);
	c->ts_recent = s->tsval;
	c->path_mss = (uint16_t)(c->conf.send_mss_max < c->peer_mss
					 ? c->conf.send_mss_max
					 : c->peer_mss);
}

static void client_synack(struct world *w, struct flow *f, const struct wire *s)
{
	struct client *c = &f->c;

	if (s->flags & WF_RST) {
		if (s->flags & WF_ACK && s->ack == client_seq(c, 0)) {
			check_reset(w, f, "the SYN was refused");
			client_become(w, f, CLIENT_DEAD);
		}
		return;
	}
	if ((s->flags & (WF_SYN | WF_ACK)) != (WF_SYN | WF_ACK))
		return;
	if (client_near(c->iss, 0, s->ack) < 0 ||
	    client_near(c->iss, 0, s->ack) > c->max) {
		sim_fail(w, "flow %u: SYN-ACK acknowledges %u", f->no, s->ack);
	}
	c->irs = s->seq;
	c->sent_edge = c->last_ack_sent = s->seq + 1;
	client_negotiate(w, f, s);
	c->state = CLIENT_OPEN;
	c->una = c->nxt = client_near(c->iss, 0, s->ack);
	c->wnd = s->wnd;
	c->wl1 = s->seq;
	c->wl2 = s->ack;
	c->cwnd = c->conf.iw_segs * c->path_mss;
	c->ssthresh = UINT32_MAX;
	c->rto_at = 0;
	c->backoff = 0;
	c->timed_at_us = 0;
	if (!c->conf.ack_with_data)
		c->ack_now = true;
	else
		c->acks_due = 1;
	client_react(w, f);
}

/* RFC 793: in the window is enough. */
static bool client_rst(struct world *w, struct flow *f, const struct wire *s)
{
	struct client *c = &f->c;
	int64_t pos;

	if (!(s->flags & WF_RST))
		return true;
	pos = client_near(c->irs, c->rcv_nxt, s->seq);
	if (pos < c->rcv_nxt || pos > c->rcv_edge + 1)
		return false;
	check_reset(w, f, "a RST");
	client_become(w, f, CLIENT_DEAD);
	return false;
}

static void client_open(struct world *w, struct flow *f, const struct wire *s)
{
	struct client *c = &f->c;

	if (!client_rst(w, f, s))
		return;
	if (s->flags & WF_SYN) {
		c->ack_now = true;
		client_react(w, f);
		return;
	}
	if (!client_paws(c, s)) {
		c->ack_now = true;
		client_react(w, f);
		return;
	}
	if (!(s->flags & WF_ACK))
		sim_fail(w, "flow %u: a segment without ACK", f->no);
	if (s->ecn == WE_CE)
		c->ece_on = true;
	if (s->flags & WF_CWR)
		c->ece_on = false;
	client_got_ack(w, f, s);
	client_text(w, f, s);
	client_renege(w, c);
	client_react(w, f);
}

/* RFC 1191: a router says what it can forward. */
static void client_icmp(struct client *c, const struct wire *s)
{
	uint32_t mtu, hdr = c->conf.v6 ? 40 : 20;

	if (s->len < 8 + hdr + 8 || s->payload[0] != (c->conf.v6 ? 2 : 3) ||
	    s->payload[1] != (c->conf.v6 ? 0 : 4))
		return;
	mtu = wire_get32(s->payload + 4);
	if (mtu >= hdr + 20 + 40 && mtu - hdr - 20 < c->path_mss)
		c->path_mss = (uint16_t)(mtu - hdr - 20);
}

void client_input(struct world *w, struct flow *f, const struct packet *p)
{
	struct client *c = &f->c;
	const char *wrong;
	struct wire s;

	wrong = wire_parse(p->bytes, p->len, &s);
	if (wrong && !p->corrupt)
		sim_fail(w, "flow %u: bad packet: %s", f->no, wrong);
	if (wrong || s.fragment)
		return;
	if (s.icmp) {
		client_icmp(c, &s);
		return;
	}
	/* A flipped bit that no checksum covers: IPv6's first words. */
	switch (c->state) {
	case CLIENT_SYN_SENT:
		client_synack(w, f, &s);
		break;
	case CLIENT_OPEN:
		client_open(w, f, &s);
		break;
	case CLIENT_DEAD:
		if (!(s.flags & WF_RST) && s.flags & WF_ACK)
			client_send_reset(w, f, s.ack);
		break;
	default:
		break;
	}
}

static void client_kill(struct world *w, struct flow *f)
{
	f->c.kill_at_us = 0;
	if (f->ending == END_VANISH) {
		sim_say(w, "flow #%u falls silent", f->no);
		client_become(w, f, CLIENT_SILENT);
	} else {
		client_reset(w, f);
	}
}

static bool client_due(uint64_t at, uint64_t now)
{
	return at && at <= now;
}

void client_timer(struct world *w, struct flow *f)
{
	struct client *c = &f->c;
	uint64_t now = w->now_us;

	if (client_due(c->armed_at, now))
		c->armed_at = 0;
	if (c->state == CLIENT_IDLE && !f->over)
		client_start(w, f);
	if (client_due(c->kill_at_us, now) && c->state != CLIENT_DEAD)
		client_kill(w, f);
	if (c->state != CLIENT_OPEN && c->state != CLIENT_SYN_SENT)
		return;
	if (client_due(c->rto_at, now))
		client_rto(w, f);
	if (c->state == CLIENT_OPEN) {
		if (client_due(c->persist_at, now))
			client_persist(w, f);
		if (client_due(c->app_at, now))
			client_app_timer(w, f);
		if (client_due(c->read_at, now)) {
			c->read_at = 0;
			c->rcv_read = c->rcv_nxt;
			c->ack_now = true;
		}
		if (client_due(c->ack_at, now))
			c->ack_now = true;
		client_react(w, f);
	}
	client_arm(w, f);
}

void client_calm(struct world *w, struct flow *f)
{
	struct client *c = &f->c;

	c->conf.pause_ppm = 0;
	if (c->read_at)
		c->read_at = w->now_us + 1;
	if (c->kill_at_us)
		c->kill_at_us = w->now_us + 1;
	if (c->app_at)
		c->app_at = w->now_us + 1;
	client_arm(w, f);
}

void client_arm(struct world *w, struct flow *f)
{
	struct client *c = &f->c;
	const uint64_t at[] = { c->rto_at, c->persist_at, c->ack_at,
				c->app_at, c->read_at,	  c->kill_at_us };
	uint64_t first = UINT64_MAX;

	for (uint32_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		if (at[i] && at[i] < first)
			first = at[i];
	if (first == UINT64_MAX || (c->armed_at && c->armed_at <= first))
		return;
	c->armed_at = first;
	world_at(w, first, EV_CLIENT, f);
}
