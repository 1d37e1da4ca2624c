/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client_send - a model client's sending side: segments, RTO (RFC 6298), fast
 * retransmit (RFC 5681), retransmission by SACK, probes of a closed window.
 */
#include <string.h>

#include "client.h"
#include "sim.h"

#define CLIENT_RTO_MIN_US 200000u
#define CLIENT_RTO_MAX_US 60000000u
/* As long as a response to a probe or a first answer may take when calm. */
#define CLIENT_SLOW_US 10000000u

/* --- one segment ------------------------------------------------------- */

/* RFC 9293 3.8.6.2.2: the right edge moves by a segment or half the buffer. */
static uint16_t client_window(struct client *c)
{
	int64_t wanted = c->rcv_read + c->conf.rcv_cap;
	uint32_t shift = c->ws_on ? (uint32_t)c->conf.ws : 0;
	uint32_t step = c->conf.rcv_cap / 2;
	int64_t space;

	step = step < 536 ? step : 536;
	if (wanted >= c->rcv_edge + step)
		c->rcv_edge = wanted;
	space = (c->rcv_edge - c->rcv_nxt) >> shift;
	if (space < 0)
		space = 0;
	if (c->conf.weird & WEIRD_SHRINK && rng_one_in(&c->rng, 8))
		space = rng_below(&c->rng, (uint32_t)space + 1);
	return (uint16_t)(space > 65535 ? 65535 : space);
}

static void client_add_sack(struct client *c, struct wire *s, int64_t from,
			    int64_t to)
{
	s->sacks[s->n_sacks++] =
		(struct wire_sack){ c->irs + 1 + (uint32_t)from,
				    c->irs + 1 + (uint32_t)to };
}

/* RFC 2018 section 4, RFC 2883 section 4: the newest block comes first. */
static void client_sacks(struct world *w, struct client *c, struct wire *s)
{
	uint32_t max = s->has_ts ? 3 : 4;

	if (c->conf.weird & WEIRD_SACK_JUNK && rng_one_in(&c->rng, 3)) {
		uint32_t n = 1 + rng_below(&c->rng, max);

		while (n--)
			client_add_sack(
				c, s,
				c->rcv_nxt + rng_below(&c->rng, 99999) - 20000,
				c->rcv_nxt + rng_below(&c->rng, 99999) - 20000);
		return;
	}
	if (c->conf.dsack && c->dup.to > c->dup.from) {
		client_add_sack(c, s, c->dup.from, c->dup.to);
		sim_count(w, SIM_client_dsacks);
	}
	c->dup.from = c->dup.to = -1;
	for (uint32_t i = 0; i < c->n_ooo && s->n_sacks < max; i++) {
		uint32_t at = (c->ooo_last + i) % c->n_ooo;

		client_add_sack(c, s, c->ooo[at].from, c->ooo[at].to);
		sim_count(w, SIM_client_sack_blocks);
	}
}

static void client_syn_options(const struct client *c, struct wire *s)
{
	s->has_mss = c->conf.mss != 0;
	s->mss = c->conf.mss;
	s->has_ws = c->conf.ws >= 0;
	s->ws = (uint8_t)c->conf.ws;
	s->sack_ok = c->conf.sack;
	s->has_ts = c->conf.ts;
	if (c->conf.ecn && c->backoff == 0)
		s->flags |= WF_ECE | WF_CWR;
	s->wnd = (uint16_t)(c->conf.rcv_cap < 65535 ? c->conf.rcv_cap : 65535);
}

/* Does this segment go without the timestamp that was negotiated? */
static bool client_drops_ts(const struct client *c)
{
	if (c->conf.weird & WEIRD_DROP_TS)
		return true;
	return c->conf.weird & WEIRD_NO_LAST_TS && c->max == 0;
}

static void client_note_edge(struct client *c, const struct wire *s)
{
	uint32_t edge = s->ack + ((uint32_t)s->wnd
				  << (c->ws_on ? (uint32_t)c->conf.ws : 0));

	if ((int32_t)(edge - c->sent_edge) > 0)
		c->sent_edge = edge;
}

static void client_fill(struct world *w, struct flow *f, struct wire *s)
{
	struct client *c = &f->c;

	s->v6 = c->conf.v6;
	s->df = c->conf.v6 || !(c->conf.weird & WEIRD_FRAGMENT);
	s->sport = c->conf.port;
	s->dport = SIM_PORT;
	memcpy(s->src, c->conf.remote, 16);
	memcpy(s->dst, s->v6 ? world_vip6 : world_vip4, 16);
	if (s->flags & WF_SYN) {
		client_syn_options(c, s);
	} else {
		s->ack = c->irs + 1 + (uint32_t)c->rcv_nxt + c->fin_rcvd;
		s->has_ts = c->ts_on && !client_drops_ts(c);
		if (c->sack_on)
			client_sacks(w, c, s);
		s->wnd = client_window(c);
		c->last_ack_sent = s->ack;
		client_note_edge(c, s);
	}
	s->tsval = client_now_ms(w, c);
	s->tsecr = s->flags & WF_SYN ? 0 : c->ts_recent;
}

static void client_ecn(struct client *c, struct wire *s, bool fresh)
{
	if (!c->ecn_on || s->flags & WF_SYN)
		return;
	if (c->ece_on)
		s->flags |= WF_ECE;
	if (s->len && fresh) {
		s->ecn = WE_ECT0;
		if (c->cwr_due)
			s->flags |= WF_CWR;
		c->cwr_due = false;
	}
}

static void client_put(struct world *w, struct flow *f, const struct wire *s)
{
	struct link *up = &w->paths[f->c.conf.path].up;
	uint8_t buf[WIRE_PACKET_MAX];
	uint32_t len = wire_build(s, buf);

	link_send(w, up, f, buf, len, false);
	if (f->c.conf.weird & WEIRD_TWICE)
		link_send(w, up, f, buf, len, false);
}

uint32_t client_emit(struct world *w, struct flow *f, uint8_t flags,
		     int64_t pos, uint32_t len)
{
	struct client *c = &f->c;
	uint8_t data[WIRE_PACKET_MAX];
	struct wire s = { .flags = flags,
			  .seq = client_seq(c, pos),
			  .len = len,
			  .payload = data };
	uint32_t opts;

	client_fill(w, f, &s);
	opts = s.flags & WF_SYN ? 0 : wire_opts_len(&s);
	/* A SACK block takes the room of data. */
	if (len && len + opts > c->path_mss && opts < c->path_mss) {
		s.len = len = c->path_mss - opts;
		s.flags &= (uint8_t)~WF_FIN;
	}
	pattern_fill(f->req_key, (uint64_t)(pos < 0 ? 0 : pos), data, len);
	if (c->conf.weird & WEIRD_URGENT && len && rng_one_in(&c->rng, 3)) {
		s.flags |= WF_URG;
		s.urgent = (uint16_t)(1 + rng_below(&c->rng, len));
	}
	client_ecn(c, &s, pos >= c->max);
	client_put(w, f, &s);
	c->acks_due = 0;
	c->ack_now = false;
	c->ack_at = 0;
	if (len && pos + len > c->max)
		c->max = pos + len;
	return len;
}

/* RFC 9293 3.4 allows data in the SYN, if only for later. */
void client_syn(struct world *w, struct flow *f)
{
	struct client *c = &f->c;
	uint32_t len = c->avail < 400 ? (uint32_t)c->avail : 400;

	client_emit(w, f, WF_SYN, -1, len);
	if (len > c->max)
		c->max = len;
}

/* Acknowledge in pieces what came in one (Savage et al.). */
static void client_ack_divided(struct world *w, struct flow *f)
{
	struct client *c = &f->c;
	int64_t to = c->rcv_nxt;
	int64_t from = client_near(c->irs, to, c->last_ack_sent);

	if (from < to - 4000)
		from = to - 4000;
	for (int i = 1; i < 8; i++) {
		c->rcv_nxt = from + (to - from) * i / 8;
		if (!c->fin_rcvd)
			client_emit(w, f, WF_ACK, c->nxt, 0);
	}
	c->rcv_nxt = to;
}

/* An ACK of something else than what was received. */
static void client_ack_false(struct world *w, struct flow *f, uint32_t ahead)
{
	struct client *c = &f->c;
	int64_t true_nxt = c->rcv_nxt;

	c->rcv_nxt += ahead;
	client_emit(w, f, WF_ACK, c->nxt, 0);
	c->rcv_nxt = true_nxt;
}

void client_ack(struct world *w, struct flow *f)
{
	struct client *c = &f->c;

	if (c->conf.weird & WEIRD_ACK_DIVIDE)
		client_ack_divided(w, f);
	if (c->conf.weird & WEIRD_OPTIMISTIC && rng_one_in(&c->rng, 4))
		client_ack_false(w, f, rng_below(&c->rng, 6000));
	if (c->conf.weird & WEIRD_ACK_BEYOND && rng_one_in(&c->rng, 4))
		client_ack_false(w, f, 50000000 + rng_below(&c->rng, 1000000));
	client_emit(w, f, WF_ACK, c->nxt, 0);
}

/* --- what may be sent -------------------------------------------------- */

static uint32_t client_mss(const struct client *c)
{
	uint32_t mss = c->path_mss - (c->ts_on ? 12u : 0u);

	return c->conf.weird & WEIRD_TINY ? (mss < 8 ? mss : 8) : mss;
}

/* The SACKed span that holds or follows pos. */
static const struct span *client_sacked_at(const struct client *c, int64_t pos)
{
	for (uint32_t i = 0; i < c->n_sacked; i++)
		if (c->sacked[i].to > pos)
			return &c->sacked[i];
	return NULL;
}

/* How much from pos on; 0: it is SACKed, or there is nothing. */
static uint32_t client_piece(const struct client *c, int64_t pos, int64_t end)
{
	const struct span *s = client_sacked_at(c, pos);
	int64_t len = end - pos;

	if (s && s->from <= pos)
		return 0;
	if (s && s->from < end)
		len = s->from - pos;
	if (len > client_mss(c))
		len = client_mss(c);
	return len > 0 ? (uint32_t)len : 0;
}

/* Send one segment from nxt on; false: nothing may go now. */
static bool client_send_next(struct world *w, struct flow *f)
{
	struct client *c = &f->c;
	uint64_t room = c->wnd < c->cwnd ? c->wnd : c->cwnd;
	int64_t limit = c->una + (int64_t)room, end;
	const struct span *sacked = client_sacked_at(c, c->nxt);
	uint8_t flags = WF_ACK;
	uint32_t len, sent;
	bool fin;

	if (c->nxt < c->max && sacked && sacked->from <= c->nxt) {
		c->nxt = sacked->to;
		return true;
	}
	end = c->avail < limit ? c->avail : limit;
	len = c->nxt < end ? client_piece(c, c->nxt, end) : 0;
	fin = c->fin_ready && c->nxt + len == c->avail;
	if (!len && !fin)
		return false;
	/* Small ones wait while others are under way (RFC 9293 3.8.6.2.1). */
	if (!fin && len < client_mss(c) && c->nxt + len < c->avail &&
	    c->nxt > c->una && c->nxt == c->max)
		return false;
	if (c->nxt + len == c->avail)
		flags |= WF_PSH;
	if (fin)
		flags |= WF_FIN;
	if (!c->timed_at_us && c->nxt >= c->max) {
		c->timed_at_us = w->now_us;
		c->timed_pos = c->nxt + len;
	}
	sent = client_emit(w, f, flags, c->nxt, len);
	fin = fin && sent == len;
	c->nxt += sent + fin;
	if (fin)
		c->fin_sent = true;
	if (c->nxt > c->max)
		c->max = c->nxt;
	return true;
}

void client_output(struct world *w, struct flow *f)
{
	struct client *c = &f->c;
	uint32_t budget = 256;

	while (budget-- && !(c->fin_sent && c->nxt > c->avail) &&
	       client_send_next(w, f))
		;
	if (c->una < c->nxt) {
		c->persist_at = 0;
		if (!c->rto_at)
			c->rto_at = w->now_us +
				    ((uint64_t)c->rto_us << (c->backoff & 15));
	} else if (c->una < c->avail || (c->fin_ready && !c->fin_acked)) {
		c->rto_at = 0;
		if (!c->persist_at)
			c->persist_at = w->now_us + ((uint64_t)c->rto_us
						     << (c->backoff & 15));
	} else {
		c->rto_at = c->persist_at = 0;
	}
}

/* Send what is at pos again. Returns the bytes. */
static uint32_t client_resend(struct world *w, struct flow *f, int64_t pos)
{
	struct client *c = &f->c;
	int64_t end = c->max < c->avail ? c->max : c->avail;
	uint32_t len = pos < end ? client_piece(c, pos, end) : 0;
	bool fin = c->fin_sent && pos + len == c->avail;

	if (c->conf.weird & WEIRD_OVERLAP && len > 1) {
		uint32_t back = rng_below(&c->rng, 100);

		len = 1 + rng_below(&c->rng, len);
		if (pos >= back) {
			client_emit(w, f, WF_ACK, pos - back, len);
			return len;
		}
		fin = false;
	}
	if (len || fin)
		len = client_emit(w, f, (uint8_t)(WF_ACK | (fin ? WF_FIN : 0)),
				  pos, len);
	c->timed_at_us = 0;
	return len;
}

/* --- timers ------------------------------------------------------------ */

static void client_back_off(struct world *w, struct client *c)
{
	if (((uint64_t)c->rto_us << (c->backoff + 1)) <=
	    (w->healed ? CLIENT_SLOW_US : CLIENT_RTO_MAX_US))
		c->backoff++;
}

void client_rto(struct world *w, struct flow *f)
{
	struct client *c = &f->c;

	c->rto_at = 0;
	client_back_off(w, c);
	c->timed_at_us = 0;
	sim_count(w, SIM_client_rtos);
	if (c->state == CLIENT_SYN_SENT) {
		client_syn(w, f);
		c->rto_at = w->now_us + ((uint64_t)c->rto_us << c->backoff);
		return;
	}
	c->ssthresh = (uint32_t)(c->nxt - c->una) / 2;
	if (c->ssthresh < 2 * client_mss(c))
		c->ssthresh = 2 * client_mss(c);
	c->cwnd = client_mss(c);
	c->dupacks = 0;
	c->recovering = false;
	if (rng_one_in(&c->rng, 2))
		c->n_sacked = 0;
	if (c->conf.weird & WEIRD_OVERLAP)
		client_resend(w, f, c->una);
	c->nxt = c->una;
}

void client_persist(struct world *w, struct flow *f)
{
	struct client *c = &f->c;
	bool fin = c->fin_ready && c->una == c->avail;

	c->persist_at = 0;
	client_back_off(w, c);
	sim_count(w, SIM_client_probes);
	client_emit(w, f, (uint8_t)(WF_ACK | (fin ? WF_FIN : 0)), c->una,
		    c->una < c->avail);
	if (fin) {
		c->fin_sent = true;
		c->max = c->avail + 1;
	}
}

/* --- acknowledgements -------------------------------------------------- */

static void client_rtt(struct client *c, uint64_t us)
{
	uint32_t rtt = us > 60000000 ? 60000000 : (uint32_t)us, rto;

	if (!c->srtt_us) {
		c->srtt_us = rtt;
		c->rttvar_us = rtt / 2;
	} else {
		uint32_t diff =
			rtt > c->srtt_us ? rtt - c->srtt_us : c->srtt_us - rtt;

		c->rttvar_us += diff / 4 - c->rttvar_us / 4;
		c->srtt_us += rtt / 8 - c->srtt_us / 8;
	}
	rto = c->srtt_us + 4 * c->rttvar_us;
	c->rto_us = rto < CLIENT_RTO_MIN_US ? CLIENT_RTO_MIN_US : rto;
	if (c->rto_us > CLIENT_RTO_MAX_US)
		c->rto_us = CLIENT_RTO_MAX_US;
}

static void client_sacked_add(struct client *c, int64_t from, int64_t to)
{
	uint32_t i = 0, n = 0;

	for (; i < c->n_sacked; i++) {
		struct span *s = &c->sacked[i];

		if (s->to >= from && s->from <= to) {
			from = s->from < from ? s->from : from;
			to = s->to > to ? s->to : to;
			continue;
		}
		c->sacked[n++] = *s;
	}
	c->n_sacked = n;
	if (n == CLIENT_SPANS_MAX)
		return;
	for (i = n; i > 0 && c->sacked[i - 1].from > from; i--)
		c->sacked[i] = c->sacked[i - 1];
	c->sacked[i] = (struct span){ from, to };
	c->n_sacked++;
}

static void client_take_sacks(struct client *c, const struct wire *s)
{
	for (uint32_t i = 0; i < s->n_sacks; i++) {
		int64_t from = client_near(c->iss, c->una, s->sacks[i].left);
		int64_t to = client_near(c->iss, c->una, s->sacks[i].right);

		if (from > c->una && to > from && to <= c->max)
			client_sacked_add(c, from, to);
	}
}

static void client_forget_sacked(struct client *c)
{
	while (c->n_sacked && c->sacked[0].to <= c->una) {
		memmove(c->sacked, c->sacked + 1,
			--c->n_sacked * sizeof(c->sacked[0]));
	}
}

static void client_grow(struct client *c, uint32_t acked)
{
	uint32_t mss = client_mss(c);

	if (c->cwnd < c->ssthresh)
		c->cwnd += acked < 2 * mss ? acked : 2 * mss;
	else
		c->cwnd += mss * mss / c->cwnd + 1;
	if (c->cwnd > 4u << 20)
		c->cwnd = 4u << 20;
}

static void client_advance(struct world *w, struct flow *f, int64_t pos)
{
	struct client *c = &f->c;
	uint32_t acked = (uint32_t)(pos - c->una);

	c->una = pos;
	if (c->nxt < c->una)
		c->nxt = c->una;
	if (c->fin_sent && c->una == c->avail + 1)
		c->fin_acked = true;
	if (c->timed_at_us && pos >= c->timed_pos) {
		client_rtt(c, w->now_us - c->timed_at_us);
		c->timed_at_us = 0;
	}
	c->backoff = 0;
	c->rto_at = c->persist_at = 0;
	c->dupacks = 0;
	client_forget_sacked(c);
	if (!c->recovering) {
		client_grow(c, acked);
	} else if (c->una >= c->recover) {
		c->recovering = false;
		c->cwnd = c->ssthresh;
	} else if (!c->sack_on) {
		client_resend(w, f, c->una); /* RFC 6582 */
	}
}

static void client_enter_recovery(struct world *w, struct flow *f)
{
	struct client *c = &f->c;

	sim_count(w, SIM_client_fast_retransmits);
	c->recovering = true;
	c->recover = c->max;
	c->ssthresh = (uint32_t)(c->nxt - c->una) / 2;
	if (c->ssthresh < 2 * client_mss(c))
		c->ssthresh = 2 * client_mss(c);
	c->cwnd = c->ssthresh;
	c->rtx = c->una + client_resend(w, f, c->una);
}

/* The next hole below what was SACKed goes again. */
static void client_sack_repair(struct world *w, struct flow *f)
{
	struct client *c = &f->c;

	if (c->rtx < c->una)
		c->rtx = c->una;
	while (c->n_sacked && c->rtx < c->sacked[c->n_sacked - 1].from) {
		const struct span *s = client_sacked_at(c, c->rtx);

		if (s && s->from <= c->rtx) {
			c->rtx = s->to;
			continue;
		}
		c->rtx += client_resend(w, f, c->rtx);
		sim_count(w, SIM_client_sack_retransmits);
		return;
	}
}

static void client_dupack(struct world *w, struct flow *f)
{
	struct client *c = &f->c;

	c->dupacks++;
	if (c->recovering) {
		if (c->sack_on)
			client_sack_repair(w, f);
		else
			c->cwnd += client_mss(c);
	} else if (c->dupacks == 3 && c->una >= c->recover) {
		client_enter_recovery(w, f);
	}
}

void client_got_ack(struct world *w, struct flow *f, const struct wire *s)
{
	struct client *c = &f->c;
	int64_t pos = client_near(c->iss, c->una, s->ack);
	uint64_t wnd = (uint64_t)s->wnd << (c->ws_on ? c->peer_ws : 0);
	bool same = wnd == c->wnd;

	if (pos > c->max)
		sim_fail(w, "flow %u: %lld acknowledged, sent only %lld", f->no,
			 (long long)pos, (long long)c->max);
	if (s->flags & WF_ECE && c->ecn_on && !c->recovering) {
		c->cwr_due = true;
		c->ssthresh = c->cwnd / 2 > client_mss(c) ? c->cwnd / 2
							  : client_mss(c);
		c->cwnd = c->ssthresh;
	}
	client_take_sacks(c, s);
	if ((int32_t)(s->seq - c->wl1) > 0 ||
	    (s->seq == c->wl1 && (int32_t)(s->ack - c->wl2) >= 0)) {
		if (!c->wnd && wnd)
			c->backoff = 0;
		c->wnd = wnd;
		c->wl1 = s->seq;
		c->wl2 = s->ack;
	}
	if (pos > c->una)
		client_advance(w, f, pos);
	else if (pos == c->una && !s->len && same && c->una < c->nxt)
		client_dupack(w, f);
}
