/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load - see swarm_load.h.
 *
 * Theory of operation
 *
 * swarm_load_step() is called once per batch of packets. What goes by a rate
 * follows a schedule (swarm_pace.h) that does not care what became of what was
 * begun before: only a full active table makes it wait, and then the times of
 * the schedule stay. What goes by number (--outstanding, and connects without
 * a rate) is filled up to that number each time.
 *
 * A request is for a client drawn at random; if it is busy or gone, for the
 * next in order that is not, of the LOAD_PROBES that follow. Clients are drawn
 * some in advance, so that their records are there when they are needed.
 *
 * SYNs of the flood that are late are left out, so that a flood which the
 * machine can't make doesn't take all time from the clients; a step sends
 * LOAD_BURST of each kind at most.
 */
#include "tools/swarm_load.h"

#include "base/log.h"

#define LOAD_PROBES 64u
#define LOAD_BURST 256u
/* Handshakes under way, and closes, when there is no rate. */
#define LOAD_WINDOW 512u
#define LOAD_FLOOD_LATE_NS (2 * NSEC_PER_MSEC)
/* How often phases that wait for something look whether it is there. */
#define LOAD_LOOK_NS (10 * NSEC_PER_MSEC)

const char *const swarm_phase_names[] = {
	[SWARM_PHASE_CONNECT] = "connect", [SWARM_PHASE_HOLD] = "hold",
	[SWARM_PHASE_LOAD] = "load",	   [SWARM_PHASE_DRAIN] = "drain",
	[SWARM_PHASE_CLOSE] = "close",	   [SWARM_PHASE_DONE] = "done",
};

void swarm_load_init(struct swarm_load *l, const struct swarm_conf *conf,
		     struct swarm_tcp *tcp)
{
	*l = (struct swarm_load){ .conf = conf,
				  .tcp = tcp,
				  .rng = { conf->seed },
				  .phase_ns = tcp->now_ns };
	swarm_flood_init(&l->flood, &tcp->wire, &conf->flood_sources,
			 swarm_rng_next(&l->rng));
	swarm_pace_start(&l->connects, conf->connect_rate, tcp->now_ns);
	swarm_pace_start(&l->syns, conf->flood, tcp->now_ns);
}

static uint64_t swarm_load_ns(double s)
{
	return (uint64_t)(s * (double)NSEC_PER_SEC);
}

/* Has the phase lasted for so long? */
static bool swarm_load_over(const struct swarm_load *l, double s)
{
	return l->tcp->now_ns - l->phase_ns >= swarm_load_ns(s);
}

/* --- connecting -------------------------------------------------------- */

static void swarm_load_connect(struct swarm_load *l)
{
	struct swarm_tcp *t = l->tcp;
	uint64_t sched_ns = t->now_ns;
	bool paced = l->conf->connect_rate != 0;

	for (uint32_t n = 0; n < LOAD_BURST; n++) {
		if (l->cursor == t->conns.n || !swarm_conns_has_room(&t->conns))
			return;
		if (paced &&
		    !swarm_pace_take(&l->connects, t->now_ns, &sched_ns))
			return;
		if (!paced && t->conns.by_kind[SWARM_CONNECT] >= LOAD_WINDOW)
			return;
		(void)swarm_tcp_connect(t, l->cursor++, sched_ns);
	}
}

/* --- clients at random ------------------------------------------------- */

static void swarm_load_draw(struct swarm_load *l, uint32_t i)
{
	l->drawn[i] = swarm_rng_below(&l->rng, l->tcp->conns.n);
	__builtin_prefetch(&l->tcp->conns.recs[l->drawn[i]]);
}

/* An idle client at random. False: there seems to be none. */
static bool swarm_load_pick(struct swarm_load *l, uint32_t *ret_index)
{
	uint32_t n = l->tcp->conns.n, slot, index;

	while (l->n_drawn < SWARM_DRAWN)
		swarm_load_draw(l, l->n_drawn++);
	/* drawn one after the other, round and round */
	slot = (uint32_t)(l->tcp->count.requests % SWARM_DRAWN);
	index = l->drawn[slot];
	swarm_load_draw(l, slot);
	for (uint32_t i = 0; i < LOAD_PROBES; i++) {
		if (swarm_tcp_is_idle(l->tcp, index)) {
			*ret_index = index;
			return true;
		}
		index = index + 1 == n ? 0 : index + 1;
	}
	return false;
}

static bool swarm_load_ask(struct swarm_load *l, uint64_t sched_ns)
{
	uint32_t index;

	return swarm_load_pick(l, &index) &&
	       swarm_tcp_request(l->tcp, index, sched_ns);
}

/* --- the load ---------------------------------------------------------- */

static void swarm_load_by_number(struct swarm_load *l)
{
	struct swarm_tcp *t = l->tcp;

	for (uint32_t n = 0; n < LOAD_BURST; n++) {
		if (t->conns.by_kind[SWARM_REQUEST] >= l->conf->outstanding ||
		    !swarm_load_ask(l, t->now_ns))
			return;
	}
}

/* What is due at the end of the load, or later, is no longer begun. */
static uint64_t swarm_load_until_ns(const struct swarm_load *l)
{
	return min_u64(l->tcp->now_ns, l->load_end_ns - 1);
}

static void swarm_load_by_rate(struct swarm_load *l)
{
	struct swarm_tcp *t = l->tcp;
	uint64_t until_ns = swarm_load_until_ns(l);

	l->blocked = false;
	for (uint32_t n = 0; n < LOAD_BURST; n++) {
		uint64_t at_ns = swarm_pace_next_ns(&l->requests);

		if (at_ns > until_ns)
			return;
		l->blocked = !swarm_conns_has_room(&t->conns) ||
			     !swarm_load_ask(l, at_ns);
		if (l->blocked)
			return;
		l->requests.n++;
		l->late += t->now_ns - at_ns > SWARM_LATE_NS;
	}
}

static void swarm_load_churn(struct swarm_load *l)
{
	uint64_t until_ns = swarm_load_until_ns(l), sched_ns;
	uint32_t index;

	for (uint32_t n = 0; n < LOAD_BURST; n++) {
		if (!swarm_conns_has_room(&l->tcp->conns) ||
		    !swarm_pace_take(&l->churn, until_ns, &sched_ns))
			return;
		if (swarm_load_pick(l, &index))
			(void)swarm_tcp_close(l->tcp, index, true);
	}
}

static void swarm_load_flood(struct swarm_load *l)
{
	struct swarm_tcp *t = l->tcp;
	uint64_t sched_ns;

	if (l->conf->flood == 0)
		return;
	(void)swarm_pace_skip(&l->syns, t->now_ns, LOAD_FLOOD_LATE_NS);
	for (uint32_t n = 0; n < LOAD_BURST; n++) {
		if (!swarm_pace_take(&l->syns, t->now_ns, &sched_ns))
			return;
		swarm_flood_send(&l->flood, t->tun, t->tsval);
		t->count.flood_sent++;
	}
}

/* --- the end ----------------------------------------------------------- */

/* Ends one client. False: not now. */
static bool swarm_load_end(struct swarm_load *l, uint32_t index)
{
	struct swarm_tcp *t = l->tcp;
	const struct swarm_rec *r = &t->conns.recs[index];

	if (r->state == SWARM_CLOSED ||
	    (r->state == SWARM_ESTABLISHED && l->conf->end == SWARM_END_VANISH))
		return true;
	if (l->conf->end == SWARM_END_FIN && swarm_tcp_is_idle(t, index)) {
		if (t->conns.by_kind[SWARM_CLOSE] >= LOAD_WINDOW)
			return false;
		return swarm_tcp_close(t, index, false);
	}
	/* unanswered or half open: nothing to wait for; half closed: it ends */
	if (r->state <= SWARM_ESTABLISHED)
		swarm_tcp_abort(t, index);
	return true;
}

static void swarm_load_close(struct swarm_load *l)
{
	for (uint32_t n = 0; n < LOAD_BURST; n++) {
		if (l->cursor == l->tcp->conns.n ||
		    !swarm_load_end(l, l->cursor))
			return;
		l->cursor++;
	}
}

/* --- phases ------------------------------------------------------------ */

static void swarm_load_enter(struct swarm_load *l, enum swarm_phase phase)
{
	uint64_t now_ns = l->tcp->now_ns;
	bool load = phase == SWARM_PHASE_LOAD;

	l->phase = phase;
	l->phase_ns = now_ns;
	if (load)
		l->load_end_ns = now_ns + swarm_load_ns(l->conf->duration_s);
	if (phase == SWARM_PHASE_DRAIN)
		l->tcp->count.not_begun +=
			swarm_pace_left(&l->requests, l->load_end_ns);
	if (phase == SWARM_PHASE_CLOSE)
		l->cursor = 0;
	swarm_pace_start(&l->requests, load ? l->conf->rate : 0, now_ns);
	swarm_pace_start(&l->churn, load ? l->conf->churn : 0, now_ns);
}

/* Requests and churn come to their end. */
static bool swarm_load_is_drained(const struct swarm_load *l)
{
	const struct swarm_conns *c = &l->tcp->conns;

	return c->by_kind[SWARM_REQUEST] == 0 && c->by_kind[SWARM_CLOSE] == 0 &&
	       c->by_kind[SWARM_CONNECT] == 0;
}

static bool swarm_load_is_over(const struct swarm_load *l)
{
	const struct swarm_tcp *t = l->tcp;

	switch (l->phase) {
	case SWARM_PHASE_CONNECT:
		return l->cursor == t->conns.n &&
		       t->conns.by_kind[SWARM_CONNECT] == 0;
	case SWARM_PHASE_HOLD:
		return swarm_load_over(l, l->conf->hold_s);
	case SWARM_PHASE_LOAD:
		/* late as we may be, all that was due is begun */
		return t->now_ns >= l->load_end_ns &&
		       (l->blocked ||
			swarm_pace_left(&l->requests, l->load_end_ns) == 0);
	case SWARM_PHASE_DRAIN:
		return swarm_load_is_drained(l) ||
		       swarm_load_over(l, l->conf->grace_s);
	case SWARM_PHASE_CLOSE:
		return l->cursor == t->conns.n &&
		       (t->conns.n_active == 0 ||
			l->conf->end == SWARM_END_VANISH);
	case SWARM_PHASE_DONE:
		break;
	}
	return false;
}

bool swarm_load_step(struct swarm_load *l)
{
	if (l->phase < SWARM_PHASE_DRAIN)
		swarm_load_flood(l);
	switch (l->phase) {
	case SWARM_PHASE_CONNECT:
		swarm_load_connect(l);
		break;
	case SWARM_PHASE_LOAD:
		if (l->conf->outstanding)
			swarm_load_by_number(l);
		else
			swarm_load_by_rate(l);
		swarm_load_churn(l);
		break;
	case SWARM_PHASE_CLOSE:
		swarm_load_close(l);
		break;
	default:
		break;
	}
	if (!swarm_load_is_over(l))
		return false;
	swarm_load_enter(l, (enum swarm_phase)(l->phase + 1));
	return true;
}

uint64_t swarm_load_next_ns(const struct swarm_load *l)
{
	const struct swarm_tcp *t = l->tcp;
	uint64_t at_ns = t->now_ns + LOAD_LOOK_NS;

	if (l->phase < SWARM_PHASE_DRAIN)
		at_ns = min_u64(at_ns, swarm_pace_next_ns(&l->syns));
	at_ns = min_u64(at_ns, swarm_pace_next_ns(&l->requests));
	at_ns = min_u64(at_ns, swarm_pace_next_ns(&l->churn));
	if (l->phase == SWARM_PHASE_CONNECT && l->cursor < t->conns.n) {
		if (l->conf->connect_rate)
			at_ns = min_u64(at_ns,
					swarm_pace_next_ns(&l->connects));
		else if (t->conns.by_kind[SWARM_CONNECT] < LOAD_WINDOW)
			at_ns = t->now_ns;
	}
	if (l->phase == SWARM_PHASE_LOAD &&
	    t->conns.by_kind[SWARM_REQUEST] < l->conf->outstanding)
		at_ns = t->now_ns;
	if (l->phase == SWARM_PHASE_CLOSE && l->cursor < t->conns.n &&
	    t->conns.by_kind[SWARM_CLOSE] < LOAD_WINDOW)
		at_ns = t->now_ns;
	return at_ns;
}

void swarm_load_stop(struct swarm_load *l)
{
	if (l->phase < SWARM_PHASE_DRAIN) {
		l->load_end_ns = l->tcp->now_ns;
		swarm_load_enter(l, SWARM_PHASE_DRAIN);
	} else if (l->phase < SWARM_PHASE_DONE)
		swarm_load_enter(l, SWARM_PHASE_DONE);
}
