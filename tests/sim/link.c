/* SPDX-License-Identifier: BSD-2-Clause */
#include "link.h"

#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* Gilbert's model: now and then all is lost for a while. */
static bool link_loses(struct link *l)
{
	if (l->in_burst)
		l->in_burst = !rng_ppm(&l->rng, l->conf.burst_end_ppm);
	else
		l->in_burst = rng_ppm(&l->rng, l->conf.burst_ppm);
	return l->in_burst || rng_ppm(&l->rng, l->conf.loss_ppm);
}

/* One bit: a checksum of 16 bits is sure to see it. */
static void link_flip(struct link *l, struct packet *p)
{
	uint32_t bit = rng_below(&l->rng, p->len * 8);

	p->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	p->corrupt = true;
}

/* Not in fragments: two flips in one segment may fool its checksum. */
static bool link_may_flip(const struct packet *p)
{
	return p->bytes[0] >> 4 == 6 || !(wire_get16(p->bytes + 6) & 0x3fff);
}

/* When it is through the queue; UINT64_MAX: the queue is full. */
static uint64_t link_depart(struct world *w, struct link *l, struct packet *p)
{
	uint64_t start = w->now_us > l->busy_us ? w->now_us : l->busy_us;

	if (!l->conf.rate_kbps)
		return w->now_us;
	if (start - w->now_us > l->conf.queue_us)
		return UINT64_MAX;
	if (l->conf.ce_us && start - w->now_us > l->conf.ce_us &&
	    wire_mark_ce(p->bytes))
		sim_count(w, SIM_marked_ce);
	l->busy_us = start + (uint64_t)p->len * 8000 / l->conf.rate_kbps;
	return l->busy_us;
}

static void link_deliver(struct world *w, struct link *l, struct packet *p,
			 uint64_t at)
{
	at += l->conf.delay_us;
	if (l->conf.jitter_us)
		at += rng_below(&l->rng, l->conf.jitter_us);
	if (rng_ppm(&l->rng, l->conf.reorder_ppm)) {
		at += rng_below(&l->rng, l->conf.reorder_us);
		sim_count(w, SIM_reordered);
	} else {
		at = at > l->last_us ? at : l->last_us;
		l->last_us = at;
	}
	world_at(w, at, EV_PACKET, p);
}

static struct packet *link_packet(const struct link *l, struct flow *f,
				  const uint8_t *bytes, uint32_t len,
				  bool forged)
{
	struct packet *p = malloc(sizeof(*p) + len);

	*p = (struct packet){
		.flow = f, .len = len, .to_stack = l->to_stack, .forged = forged
	};
	memcpy(p->bytes, bytes, len);
	return p;
}

static void link_one(struct world *w, struct link *l, struct flow *f,
		     const uint8_t *bytes, uint32_t len, bool forged)
{
	struct packet *p;
	uint64_t at;

	if (link_loses(l)) {
		sim_count(w, SIM_lost);
		return;
	}
	p = link_packet(l, f, bytes, len, forged);
	at = link_depart(w, l, p);
	if (at == UINT64_MAX) {
		sim_count(w, SIM_lost);
		free(p);
		return;
	}
	if (link_may_flip(p) && rng_ppm(&l->rng, l->conf.corrupt_ppm)) {
		link_flip(l, p);
		sim_count(w, SIM_corrupted);
	}
	link_deliver(w, l, p, at);
	if (rng_ppm(&l->rng, l->conf.dup_ppm)) {
		struct packet *twin = link_packet(l, f, p->bytes, len, forged);

		twin->corrupt = p->corrupt;
		sim_count(w, SIM_duplicated);
		link_deliver(w, l, twin, at);
	}
}

/* A router's word back to the sender. */
static void link_too_big(struct world *w, struct link *l, struct flow *f,
			 const uint8_t *bytes, uint32_t len)
{
	struct path *path = &w->paths[f->c.conf.path];
	struct link *back = l->to_stack ? &path->down : &path->up;
	uint8_t icmp[WIRE_PACKET_MAX];
	uint32_t mtu = l->conf.mtu;

	if (bytes[0] >> 4 == 6 && mtu < 1280)
		mtu = 1280;
	link_one(w, back, f, icmp, wire_build_too_big(bytes, len, mtu, icmp),
		 false);
}

static void link_fragment(struct world *w, struct link *l, struct flow *f,
			  const uint8_t *bytes, uint32_t len)
{
	uint8_t part[WIRE_PACKET_MAX];
	uint32_t n;

	l->ip_id++;
	for (uint32_t i = 0; (n = wire_fragment(bytes, len, l->conf.mtu, i,
						l->ip_id, part)) > 0;
	     i++)
		link_one(w, l, f, part, n, false);
}

void link_send(struct world *w, struct link *l, struct flow *f,
	       const uint8_t *bytes, uint32_t len, bool forged)
{
	bool v6 = bytes[0] >> 4 == 6, may_fragment = !v6 && !(bytes[6] & 0x40);

	/* RFC 8200 section 5: an IPv6 link takes 1280. */
	if (!l->conf.mtu || len <= l->conf.mtu || (v6 && len <= 1280)) {
		link_one(w, l, f, bytes, len, forged);
		return;
	}
	sim_count(w, SIM_too_big);
	trace_packet(w, "too big", f, bytes, len);
	if (may_fragment)
		link_fragment(w, l, f, bytes, len);
	else if (l->conf.mtu_mode == MTU_ICMP)
		link_too_big(w, l, f, bytes, len);
}

/*
 * The MTU stays: discovery must cope. Not below what a stack may insist on:
 * 552 with a router's word (PMTU_MIN4), 1024 + 40 without (PMTU_BASE_MSS4).
 * Clients don't look for black holes.
 */
static uint32_t link_healed_mtu(const struct link *l)
{
	uint32_t mtu = l->conf.mtu;
	uint32_t least = l->conf.mtu_mode == MTU_ICMP ? 552 : 1064;

	if (l->to_stack && l->conf.mtu_mode != MTU_ICMP)
		return 0;
	return mtu && mtu < least ? least : mtu;
}

void link_heal(struct link *l)
{
	l->conf = (struct link_conf){ .delay_us = l->conf.delay_us,
				      .mtu = link_healed_mtu(l),
				      .mtu_mode = l->conf.mtu_mode };
	l->in_burst = false;
}
