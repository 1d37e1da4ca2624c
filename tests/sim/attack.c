/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attack - segments that somebody off the path makes up. He knows the
 * addresses and guesses the rest; a guess that hits (the exact number of a RST,
 * acceptable text with an acceptable ACK) is left out, as that is lost.
 */
#include <string.h>

#include "sim.h"

struct target {
	uint32_t rcv_nxt, rcv_acked, rcv_adv;
	uint32_t snd_una, snd_end;
};

static void target_of(const struct world *w, const struct flow *f,
		      const struct rec *r, struct target *t)
{
	t->snd_una = r->iss + 1 + (uint32_t)r->snd_off;
	t->snd_end = r->iss + 1 + (uint32_t)f->wire_sent + 1;
	t->rcv_nxt =
		r->irs + 1 + (uint32_t)r->rcv_off + !!(r->flags & REC_FIN_RCVD);
	t->rcv_acked = t->rcv_nxt;
	t->rcv_adv = f->edge;
	if (r->block != NIL) {
		t->rcv_nxt = w->shard.blks[r->block].rcv_nxt;
		t->rcv_acked = w->shard.blks[r->block].rcv_acked;
	}
}

static void attack_build(struct world *w, struct wire *s,
			 const struct target *t)
{
	struct rng *r = &w->rng;

	s->seq = t->rcv_nxt;
	s->ack = t->snd_una;
	s->flags = WF_ACK;
	s->len = 0;
	switch (rng_below(r, 9)) {
	case 0: /* a RST within the window, but not exact */
		s->flags = WF_RST;
		s->seq = t->rcv_nxt + 1 + rng_below(r, 4000);
		break;
	case 1: /* a RST from outside */
		s->flags = WF_RST | WF_ACK;
		s->seq = t->rcv_acked - 1 - rng_below(r, 100000);
		break;
	case 2: /* a SYN */
		s->flags = WF_SYN;
		s->seq = (uint32_t)rng_next(r);
		break;
	case 3: /* text in sequence that acknowledges the future */
		s->ack = t->snd_end + 100000 + rng_below(r, 100000);
		s->len = 1 + rng_below(r, 500);
		break;
	case 4: /* old text */
		s->len = 1 + rng_below(r, 500);
		s->seq = t->rcv_acked - s->len - rng_below(r, 3000);
		break;
	case 5: /* text beyond the window */
		s->len = 1 + rng_below(r, 500);
		/* A record rounds what it promised up. */
		s->seq = t->rcv_adv + REC_ADV_UNIT + rng_below(r, 100000);
		break;
	case 6: /* a FIN that acknowledges the distant past */
		s->flags = WF_FIN | WF_ACK;
		s->ack = t->snd_una - 0x40000000;
		break;
	case 7: /* no ACK at all */
		s->flags = WF_PSH;
		s->len = 1 + rng_below(r, 500);
		break;
	default: /* SYN and ACK, as if we had asked */
		s->flags = WF_SYN | WF_ACK;
		break;
	}
}

/* RFC 5927: a claim about what is not in flight changes nothing. */
static void attack_icmp(struct world *w, struct flow *f, const struct rec *r,
			const struct target *t)
{
	uint8_t quoted[WIRE_PACKET_MAX], buf[WIRE_PACKET_MAX];
	struct wire s = { .v6 = f->c.conf.v6,
			  .sport = SIM_PORT,
			  .dport = f->c.conf.port,
			  .flags = WF_ACK,
			  .len = 500,
			  .payload = quoted };
	uint32_t len, mss = r->mss;

	memset(quoted, 0, 500);
	memcpy(s.dst, f->c.conf.remote, 16);
	memcpy(s.src, s.v6 ? world_vip6 : world_vip4, 16);
	s.seq = t->snd_end + 5000000 + rng_below(&w->rng, 1000000);
	len = wire_build(&s, buf);
	memcpy(quoted, buf, len);
	len = wire_build_too_big(quoted, len, 70 + rng_below(&w->rng, 900),
				 buf);
	world_inject(w, f, buf, len, true);
	r = check_rec(w, f);
	if (r && r->mss != mss)
		sim_fail(w, "flow %u: a forged ICMP message lowers its MSS",
			 f->no);
}

void attack_flow(struct world *w, struct flow *f)
{
	static uint8_t junk[512];
	const struct rec *r = check_rec(w, f);
	uint8_t buf[WIRE_PACKET_MAX];
	struct wire s = { .v6 = f->c.conf.v6,
			  .sport = f->c.conf.port,
			  .dport = SIM_PORT,
			  .wnd = (uint16_t)rng_next(&w->rng),
			  .payload = junk };
	struct target t;
	uint32_t len;

	if (!r || r->state < TCP_ESTABLISHED || r->state >= TCP_TIME_WAIT ||
	    !f->edge_set)
		return;
	memset(junk, 0xaa, sizeof(junk));
	memcpy(s.src, f->c.conf.remote, 16);
	memcpy(s.dst, s.v6 ? world_vip6 : world_vip4, 16);
	target_of(w, f, r, &t);
	if (rng_one_in(&w->rng, 8)) {
		attack_icmp(w, f, r, &t);
		return;
	}
	attack_build(w, &s, &t);
	if (s.flags & WF_RST && (s.seq == t.rcv_nxt || s.seq == t.rcv_acked))
		return;
	sim_count(w, SIM_forged);
	len = wire_build(&s, buf);
	world_inject(w, f, buf, len, true);
}
