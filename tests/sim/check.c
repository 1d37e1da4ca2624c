/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check - what the stack may never do, looked at from outside: each packet
 * that it sends, and what it makes of each that it gets.
 *
 *	check_emit    the packet itself; acknowledgement (I1), window, options,
 *		      text, against the flow
 *	check_after   the ACK field of an acceptable segment was taken (I6)
 *	check_turn    no more ACKs than there was reason for
 *
 * What can only be seen from inside is in check_state.c.
 */
#include <string.h>

#include "sim.h"

/* The position near `near` of sequence number seq, position 0 after isn. */
static int64_t check_near(uint32_t isn, int64_t near, uint32_t seq)
{
	return near + (int32_t)(seq - (isn + 1 + (uint32_t)near));
}

static bool check_is_deferred(const struct world *w)
{
	return w->sc.group.ack == STACK_ACK_DEFERRED;
}

/* --- the flow's record ------------------------------------------------- */

const struct rec *check_rec(const struct world *w, const struct flow *f)
{
	const struct rec *r;

	if (w->kill.dead)
		return NULL;
	r = &w->shard.recs[f->ri];
	if (!f->known || f->gone || !r->state || r->generation != f->generation)
		return NULL;
	return r;
}

static bool check_has_cookies(const struct world *w)
{
	return world_stack_counter(w, SC_cookies_sent) > 0;
}

void check_born(struct world *w, struct flow *f, uint32_t ri)
{
	const struct rec *r = &w->shard.recs[ri];

	f->reborn = f->known;
	/* The first request again, late: its cookie is as good as before. */
	if (f->reborn && check_has_cookies(w) && !f->excuse)
		f->excuse = "opened again by an old cookie";
	f->known = true;
	f->gone = false;
	f->ri = ri;
	f->generation = r->generation;
	f->conn_id = frame_conn_id(0, r->generation, ri);
	f->irs = r->irs;
	f->iss = r->iss;
	f->wire_acked = f->wire_sent = 0;
	f->promised_set = f->edge_set = f->tsval_set = f->in_tsval_set =
		f->synack_seen = false;
	f->fin_acked = false;
	f->snd_edge = r->iss + 1 +
		      (f->c.conf.rcv_cap < 65535 ? f->c.conf.rcv_cap : 65535);
	if (r->irs != f->c.iss)
		sim_fail(w, "flow %u: a connection that nobody opened", f->no);
}

/* Of several SYN-ACKs (cookies) the client has taken one: both ends agree. */
void check_established(struct world *w, struct flow *f)
{
	const struct rec *r = &w->shard.recs[f->ri];
	const struct client *c = &f->c;

	f->iss = r->iss;
	f->ws_on = r->flags & REC_WSCALE;
	f->ts_on = r->flags & REC_TS;
	f->sack_on = r->flags & REC_SACK;
	if (f->ws_on)
		f->srv_ws = r->wscale >> 4;
	if (c->state != CLIENT_OPEN || f->reborn)
		return;
	if (f->ws_on != c->ws_on || f->ts_on != c->ts_on ||
	    f->sack_on != c->sack_on || f->iss != c->irs ||
	    (f->ws_on && f->srv_ws != c->peer_ws))
		sim_fail(w, "flow %u: both ends think otherwise of the options",
			 f->no);
}

void check_reset(struct world *w, struct flow *f, const char *how)
{
	const struct client *c = &f->c;
	bool closing = c->fin_rcvd && c->fin_sent &&
		       (uint64_t)c->rcv_nxt >= flow_r_total(f);

	f->over = true;
	f->over_at_us = w->now_us;
	sim_say(w, "flow #%u is reset: %s", f->no, how);
	if (f->excuse || w->ending || closing || f->ending == END_RST ||
	    f->ending == END_VANISH || c->state == CLIENT_SILENT)
		return;
	sim_fail(w, "flow %u is reset: %s", f->no, how);
}

/* --- what was sent ----------------------------------------------------- */

static struct flow *check_find(struct world *w, const struct wire *s)
{
	uint32_t no = s->dport - SIM_FIRST_PORT;
	struct flow *f;

	if (no >= w->sc.n_flows || s->sport != SIM_PORT)
		return NULL;
	f = &w->flows[no];
	if (f->c.conf.v6 != s->v6 || memcmp(f->c.conf.remote, s->dst, 16) != 0)
		return NULL;
	return memcmp(s->src, s->v6 ? world_vip6 : world_vip4, 16) ? NULL : f;
}

/* I1, and: never what was not sent, never less than before. */
static void check_ack(struct world *w, struct flow *f, const struct wire *s)
{
	int64_t near = (int64_t)f->wire_acked + f->fin_acked;
	int64_t pos = check_near(f->irs, near, s->ack);
	uint64_t data;

	if (pos < near)
		sim_fail(w, "flow %u: acknowledges %lld after %lld", f->no,
			 (long long)pos, (long long)near);
	if (pos > f->c.max)
		sim_fail(w, "flow %u: acknowledges %lld, sent are %lld", f->no,
			 (long long)pos, (long long)f->c.max);
	data = (uint64_t)pos;
	if (data > flow_q_total(f)) {
		data = flow_q_total(f);
		f->fin_acked = true;
	}
	if (check_is_deferred(w) && data > f->app_acked) {
		uint64_t from = f->wire_acked > f->app_acked ? f->wire_acked
							     : f->app_acked;

		w->early_bytes += data - from;
	}
	f->wire_acked = data;
	if (check_is_deferred(w) &&
	    w->early_bytes > world_stack_counter(w, SC_early_ack_bytes))
		sim_fail(w,
			 "flow %u: %llu acknowledged, the application had "
			 "processed %llu, and it was not counted (I1)",
			 f->no, (unsigned long long)data,
			 (unsigned long long)f->app_acked);
	if (w->early_bytes && !w->sc.group.ack_window_bytes &&
	    !w->sc.group.ack_deadline_us && check_is_deferred(w))
		sim_fail(w, "flow %u: an early ACK that nobody allowed (I1)",
			 f->no);
}

/* By a process that was killed before it could say so. */
static bool check_was_promised(const struct world *w, const struct flow *f,
			       uint32_t edge, uint32_t shift)
{
	/* By the SYN-ACK of a cookie, which its record's did not repeat. */
	if (f->edge_of_synack && check_has_cookies(w))
		return true;
	return f->promised_set &&
	       (int32_t)(edge - f->promised) <
		       (int32_t)(REC_ADV_UNIT + (1u << shift));
}

/* RFC 9293 3.8.6: the right edge stays; and the pool can hold what is promised. */
static void check_window(struct world *w, struct flow *f, const struct wire *s)
{
	const struct stack_pool *pool = &w->st->pools[w->sc.group.pool];
	uint32_t shift = s->flags & WF_SYN || !f->ws_on ? 0 : f->srv_ws;
	uint32_t edge = s->ack + ((uint32_t)s->wnd << shift);
	const struct rec *r = check_rec(w, f);
	uint32_t promised, room;

	/* A SYN-ACK that is sent again can't say more than its 16 bits. */
	if (f->edge_set && (int32_t)(edge - f->edge) < 0 &&
	    !(s->flags & WF_SYN && s->wnd == UINT16_MAX))
		sim_fail(w, "flow %u: the window's edge went back by %d", f->no,
			 (int32_t)(f->edge - edge));
	/* Rounding up (to the scale, to a record's unit) is no new promise. */
	if (f->edge_set && edge - f->edge >= REC_ADV_UNIT + (1u << shift) &&
	    r && r->block != NIL && !check_was_promised(w, f, edge, shift)) {
		promised = edge - w->shard.blks[r->block].rcv_nxt;
		room = pool->limit_chunks > pool->used_chunks
			       ? pool->limit_chunks - pool->used_chunks
			       : 0;
		if (promised >
		    room * CHUNK_BYTES + REC_ADV_UNIT + (1u << shift))
			sim_fail(w,
				 "flow %u: promises %u bytes, the pool has %u",
				 f->no, promised, room * CHUNK_BYTES);
	}
	f->edge = edge;
	f->edge_set = true;
	f->edge_of_synack = s->flags & WF_SYN;
}

static void check_timestamp(struct world *w, struct flow *f,
			    const struct wire *s)
{
	uint32_t now = client_now_ms(w, &f->c);

	if (s->has_ts != f->ts_on)
		sim_fail(w, "flow %u: timestamps are %s", f->no,
			 f->ts_on ? "missing" : "there unasked");
	if (!s->has_ts)
		return;
	if (f->tsval_set && (int32_t)(s->tsval - f->last_tsval) < 0)
		sim_fail(w, "flow %u: its timestamps go back", f->no);
	/* PAWS keeps old ones out, so what is echoed only moves on. */
	if (f->tsval_set && (int32_t)(s->tsecr - f->last_tsecr) < 0)
		sim_fail(w, "flow %u: its echoed timestamps go back", f->no);
	f->last_tsval = s->tsval;
	f->last_tsecr = s->tsecr;
	f->tsval_set = true;
	if ((int32_t)(now - s->tsecr) < 0 || now - s->tsecr > 3600000)
		sim_fail(w, "flow %u: echoes timestamp %u, it is %u", f->no,
			 s->tsecr, now);
}

/* RFC 2018, 2883: blocks of what was sent, the first may be a duplicate. */
static void check_sacks(struct world *w, struct flow *f, const struct wire *s)
{
	if (s->n_sacks && !f->sack_on)
		sim_fail(w, "flow %u: SACK unasked", f->no);
	w->counts[SIM_stack_sack_blocks] += s->n_sacks;
	for (uint32_t i = 0; i < s->n_sacks; i++) {
		uint32_t left = s->sacks[i].left, right = s->sacks[i].right;
		int64_t to = check_near(f->irs, (int64_t)f->wire_acked, right);

		if ((int32_t)(right - left) <= 0 || to > f->c.max)
			sim_fail(w, "flow %u: SACK block %u is nonsense", f->no,
				 i);
		if (i && (int32_t)(left - s->ack) <= 0)
			sim_fail(w, "flow %u: SACK block %u is below the ACK",
				 f->no, i);
		for (uint32_t j = 1; j < i; j++)
			if ((int32_t)(left - s->sacks[j].right) <= 0 &&
			    (int32_t)(s->sacks[j].left - right) <= 0)
				sim_fail(w,
					 "flow %u: SACK blocks %u and %u "
					 "are not apart",
					 f->no, j, i);
	}
}

static void check_size(struct world *w, struct flow *f, const struct wire *s)
{
	uint32_t mss = f->c.conf.mss;

	if (!mss)
		mss = s->v6 ? 1220 : 536;
	if (mss < 88)
		mss = 88; /* TCP_MSS_MIN of the stack */
	if (s->len + s->opts_len > mss)
		sim_fail(w, "flow %u: %u bytes and %u of options, MSS %u",
			 f->no, s->len, s->opts_len, mss);
	if (s->hdr_len + s->len > 1500)
		sim_fail(w, "flow %u: over the device's MTU", f->no);
}

/* Within the client's window but for one byte of a probe. */
static void check_flight(struct world *w, struct flow *f, const struct wire *s,
			 int64_t pos)
{
	const struct rec *r = check_rec(w, f);
	uint32_t end = s->seq + s->len;
	int64_t una = r ? (int64_t)r->snd_off : 0;

	if ((int32_t)(end - f->snd_edge) > 0 && !(s->len == 1 && pos == una))
		sim_fail(w, "flow %u: %d bytes beyond the client's window",
			 f->no, (int32_t)(end - f->snd_edge));
	if (r && pos + s->len + !!(s->flags & WF_FIN) <=
			 una + !!(r->flags & REC_FIN_ACKED))
		sim_fail(w, "flow %u: sends again what is acknowledged: %lld",
			 f->no, (long long)pos);
}

/* RFC 6298 (5.5): each time-out in a row takes twice as long. */
static void check_back_off(struct world *w, struct flow *f, int64_t pos)
{
	const struct rec *r = check_rec(w, f);
	uint64_t gap = w->now_us - f->rtx_at_us;

	if (!r || pos != (int64_t)r->snd_off || (uint64_t)pos >= f->wire_sent)
		return;
	if (f->rtx_pos != pos || f->rtx_heard != f->heard || !f->rtx_at_us) {
		f->rtx_n = 0;
	} else {
		/* The first may have been no time-out, the second a probe. */
		if (++f->rtx_n > 2 && gap < f->rtx_gap_us * 3 / 2 &&
		    gap < 50000000)
			sim_fail(w,
				 "flow %u: no back-off: sent again after %llu "
				 "and then %llu us",
				 f->no, (unsigned long long)f->rtx_gap_us,
				 (unsigned long long)gap);
		f->rtx_gap_us = gap;
	}
	f->rtx_pos = pos;
	f->rtx_heard = f->heard;
	f->rtx_at_us = w->now_us;
}

static void check_text(struct world *w, struct flow *f, const struct wire *s)
{
	int64_t pos = check_near(f->iss, (int64_t)f->wire_sent, s->seq);
	int64_t end = pos + s->len, bad;

	if (pos < 0 || (uint64_t)end > f->replied)
		sim_fail(w, "flow %u: sends %lld..%lld, the backend said %llu",
			 f->no, (long long)pos, (long long)end,
			 (unsigned long long)f->replied);
	bad = pattern_check(f->rep_key, (uint64_t)pos, s->payload, s->len);
	if (bad >= 0)
		sim_fail(w, "flow %u: sends a wrong byte at %lld", f->no,
			 (long long)(pos + bad));
	if (s->flags & WF_FIN && f->fin_said && (uint64_t)end != f->fin_at)
		sim_fail(w, "flow %u: its FIN is at %lld, not at %llu", f->no,
			 (long long)end, (unsigned long long)f->fin_at);
	if (s->flags & WF_FIN && !f->fin_said && f->delivered)
		sim_fail(w, "flow %u: a FIN that no backend asked for", f->no);
	check_size(w, f, s);
	check_flight(w, f, s, pos);
	check_back_off(w, f, pos);
	if ((uint64_t)end > f->wire_sent)
		f->wire_sent = (uint64_t)end;
	w->turn_bytes[f->no] += s->len;
}

static void check_synack(struct world *w, struct flow *f, const struct wire *s)
{
	/* A cookie goes out before there is a record. */
	if (s->ack != f->c.iss + 1)
		sim_fail(w, "flow %u: a SYN-ACK of another SYN", f->no);
	f->synack_seen = true;
	f->ws_on = s->has_ws;
	f->srv_ws = s->ws;
	f->ts_on = s->has_ts;
	f->sack_on = s->sack_ok;
	if (f->known)
		check_window(w, f, s);
	if (!s->has_mss)
		sim_fail(w, "flow %u: a SYN-ACK without MSS", f->no);
}

static void check_segment(struct world *w, struct flow *f, const struct wire *s)
{
	if (!(s->flags & WF_ACK) || !f->known)
		sim_fail(w, "flow %u: a segment out of nowhere", f->no);
	check_ack(w, f, s);
	check_window(w, f, s);
	check_timestamp(w, f, s);
	check_sacks(w, f, s);
	if (s->len || s->flags & WF_FIN) {
		check_text(w, f, s);
		return;
	}
	if (w->turn_acks[f->no]++ == 0 && w->turn_in[f->no] == 0)
		w->turn_touched[w->n_touched++] = f->no;
}

/*
 * A cookie comes back with what follows the SYN at once, or not: what came
 * later is refused, also when another SYN has made a record by then.
 */
static void check_cookie_reset(struct world *w, struct flow *f)
{
	const struct rec *r = check_rec(w, f);

	if (!f->excuse && check_has_cookies(w) &&
	    (!f->known || (r && r->state == TCP_SYN_RECEIVED)))
		f->excuse = "the first segment after a cookie came late";
}

void check_emit(struct world *w, const uint8_t *bytes, uint32_t len)
{
	struct wire s;
	const char *wrong = wire_parse(bytes, len, &s);
	struct flow *f;

	if (wrong)
		sim_fail(w, "the stack sends a bad packet: %s", wrong);
	if (s.icmp)
		return;
	f = check_find(w, &s);
	if (!f)
		sim_fail(w, "the stack sends to a stranger: port %u", s.dport);
	trace_packet(w, "out", f, bytes, len);
	if (s.flags & WF_RST)
		check_cookie_reset(w, f);
	if (s.flags & WF_RST)
		;
	else if (f->reborn || (f->gone && s.flags & WF_SYN))
		; /* an old SYN opens it anew; nobody is there */
	else if (s.flags & WF_SYN)
		check_synack(w, f, &s);
	else
		check_segment(w, f, &s);
	link_send(w, &w->paths[f->c.conf.path].down, f, bytes, len, false);
}

/* --- what was taken ---------------------------------------------------- */

void check_fragment(struct world *w, struct flow *f)
{
	if ((int32_t)(f->c.sent_edge - f->snd_edge) > 0)
		f->snd_edge = f->c.sent_edge;
	f->in_tsval = client_now_ms(w, &f->c);
	f->in_tsval_set = true;
}

void check_before(struct world *w, struct flow *f, const struct wire *s)
{
	uint32_t edge;

	(void)w;
	if (!f->known || !(s->flags & WF_ACK) || s->flags & (WF_SYN | WF_RST))
		return;
	edge = s->ack +
	       ((uint32_t)s->wnd << (f->ws_on ? (uint32_t)f->c.conf.ws : 0));
	if ((int32_t)(edge - f->snd_edge) > 0)
		f->snd_edge = edge;
}

/* RFC 9293 3.10.7.4 first, RFC 7323 5.3: must its ACK field count? */
bool check_acceptable(struct world *w, const struct flow *f,
		      const struct wire *s)
{
	const struct rec *r = check_rec(w, f);
	uint32_t nxt = f->irs + 1 + (uint32_t)f->wire_acked + f->fin_acked;
	uint32_t end = s->seq + s->len + !!(s->flags & WF_FIN);
	int64_t ack;

	if (!r || f->reborn || r->state < TCP_ESTABLISHED ||
	    r->state >= TCP_TIME_WAIT || !f->edge_set || !(s->flags & WF_ACK) ||
	    s->flags & (WF_SYN | WF_RST))
		return false;
	if (s->has_ts && f->in_tsval_set &&
	    (int32_t)(s->tsval - f->in_tsval) < 0)
		return false;
	ack = check_near(f->iss, (int64_t)f->wire_sent, s->ack);
	if (ack < (int64_t)r->snd_off || ack > (int64_t)f->wire_sent + 1)
		return false;
	if (s->seq == end)
		return (int32_t)(s->seq - nxt) >= 0 &&
		       (int32_t)(s->seq - f->edge) <= 0;
	return (int32_t)(s->seq - f->edge) < 0 && (int32_t)(end - nxt) > 0;
}

static void check_saw_tsval(struct flow *f, uint32_t tsval)
{
	if (f->in_tsval_set && (int32_t)(tsval - f->in_tsval) <= 0)
		return;
	f->in_tsval = tsval;
	f->in_tsval_set = true;
}

void check_after(struct world *w, struct flow *f, const struct wire *s,
		 bool acceptable)
{
	const struct rec *r = check_rec(w, f);
	int64_t ack = check_near(f->iss, (int64_t)f->wire_sent, s->ack);

	if (s->has_ts && !(s->flags & (WF_SYN | WF_RST)))
		check_saw_tsval(f, s->tsval);
	if (!acceptable || !r)
		return;
	sim_count(w, SIM_ack_checks);
	if (ack > (int64_t)r->snd_off + !!(r->flags & REC_FIN_ACKED) &&
	    ack <= (int64_t)f->wire_sent)
		sim_fail(w,
			 "flow %u: the ACK %lld of an acceptable segment was "
			 "not taken (I6): %llu was, %llu is sent",
			 f->no, (long long)ack, (unsigned long long)r->snd_off,
			 (unsigned long long)f->wire_sent);
}

void check_cut(struct world *w)
{
	for (uint32_t i = 0; i < w->n_touched; i++) {
		uint32_t no = w->turn_touched[i];

		w->turn_in[no] = w->turn_acks[no] = 0;
		w->turn_bytes[no] = 0;
	}
	w->n_touched = 0;
	/* The stack may have taken it in, or not. */
	if (w->in_flow && w->in_has_ts)
		check_saw_tsval(w->in_flow, w->in_tsval);
	w->in_flow = NULL;
}

void check_turn(struct world *w)
{
	for (uint32_t i = 0; i < w->n_touched; i++) {
		uint32_t no = w->turn_touched[i];

		if (w->turn_acks[no] > w->turn_in[no] + 1 + w->turn_app)
			sim_fail(w, "flow %u: %u ACKs for %u segments", no,
				 w->turn_acks[no], w->turn_in[no]);
		w->turn_in[no] = w->turn_acks[no] = 0;
		w->turn_bytes[no] = 0;
	}
	w->n_touched = 0;
	w->turn_app = false;
}
