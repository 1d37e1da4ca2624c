/* SPDX-License-Identifier: BSD-2-Clause */
/* One direction of the link: what happens to each packet, and when. */
#include "tools/impair.h"

/* What is drawn for a packet: each kind has random numbers of its own, so that
 * one setting does not change what another one decides. */
enum draw {
	DRAW_LOSS,
	DRAW_BURST_STATE,
	DRAW_BURST_LOSS,
	DRAW_CORRUPT,
	DRAW_CORRUPT_BIT,
	DRAW_DUP,
	DRAW_JITTER,
	DRAW_REORDER,
	DRAWS, /* at most 16 */
};

/* splitmix64 */
static uint64_t mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15ull;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint64_t way_draw(const struct impair_way *way, enum draw what)
{
	return mix(way->seed ^ mix(way->n * 16 + (uint64_t)what));
}

/* Uniform in [0, 1). */
static double way_chance(const struct impair_way *way, enum draw what)
{
	return (double)(way_draw(way, what) >> 11) * 0x1p-53;
}

static bool way_happens(const struct impair_way *way, enum draw what, double p)
{
	return p > 0 && way_chance(way, what) < p;
}

void impair_way_init(struct impair_way *way, const struct impair_spec *spec,
		     uint64_t seed, uint32_t number)
{
	*way = (struct impair_way){
		.spec = *spec,
		.seed = mix(mix(seed) + number),
	};
}

static bool way_is_listed(const struct impair_way *way)
{
	for (uint32_t i = 0; i < way->spec.n_drops; i++)
		if (way->spec.drops[i] == way->n)
			return true;
	return false;
}

/* Gilbert-Elliott: a step of the chain for each packet, also a spared one. */
static bool way_burst(struct impair_way *way)
{
	double p = way->bad ? way->spec.burst_leave : way->spec.burst_enter;

	if (way_happens(way, DRAW_BURST_STATE, p))
		way->bad = !way->bad;
	return way->bad &&
	       way_happens(way, DRAW_BURST_LOSS, way->spec.burst_loss);
}

static enum impair_fate way_fate(struct impair_way *way, size_t bytes)
{
	bool burst = way_burst(way);

	if (way_is_listed(way))
		return IMPAIR_LISTED;
	if (way->spec.mtu && bytes > way->spec.mtu)
		return IMPAIR_MTU;
	if (way->n < way->spec.spare)
		return IMPAIR_PASS;
	if (way_happens(way, DRAW_LOSS, way->spec.loss))
		return IMPAIR_LOST;
	return burst ? IMPAIR_BURST : IMPAIR_PASS;
}

/*
 * Through the rate limit. The queue is what busy_until_ns has not sent yet.
 * Returns when the last bit is out, or 0 when the queue was full.
 */
static uint64_t way_transmit(struct impair_way *way, size_t bytes,
			     uint64_t now_ns, bool *ret_mark_ce)
{
	const struct impair_spec *spec = &way->spec;
	uint64_t wait_ns, queued, bits = (uint64_t)bytes * 8;

	*ret_mark_ce = false;
	if (!spec->rate_bps)
		return now_ns;
	wait_ns = way->busy_until_ns > now_ns ? way->busy_until_ns - now_ns : 0;
	queued = (uint64_t)((double)wait_ns * (double)spec->rate_bps / 8e9);
	if (queued + bytes > spec->queue_bytes)
		return 0;
	if (queued + bytes > way->queue_max_bytes)
		way->queue_max_bytes = queued + bytes;
	*ret_mark_ce = spec->ce_bytes && queued > spec->ce_bytes;
	way->busy_until_ns =
		now_ns + wait_ns + bits * IMPAIR_NSEC_PER_SEC / spec->rate_bps;
	return way->busy_until_ns;
}

/* When a packet that left the queue at out_ns arrives. */
static uint64_t way_arrival(struct impair_way *way, uint64_t out_ns,
			    bool reordered)
{
	uint64_t due = out_ns + way->spec.delay_ns;

	if (way->spec.jitter_ns)
		due += (uint64_t)(way_chance(way, DRAW_JITTER) *
				  (double)way->spec.jitter_ns);
	if (reordered)
		return due + way->spec.reorder_ns;
	if (due < way->last_due_ns)
		due = way->last_due_ns;
	way->last_due_ns = due;
	return due;
}

static void way_pass(struct impair_way *way, size_t bytes, uint64_t now_ns,
		     struct impair_verdict *v)
{
	bool spared = way->n < way->spec.spare;
	uint64_t out_ns = way_transmit(way, bytes, now_ns, &v->mark_ce);
	bool dup = !spared && way_happens(way, DRAW_DUP, way->spec.dup);
	bool ce;

	if (!out_ns) {
		v->fate = IMPAIR_QUEUE;
		return;
	}
	if (!spared) {
		v->corrupt = way_happens(way, DRAW_CORRUPT, way->spec.corrupt);
		v->corrupt_bit = way_draw(way, DRAW_CORRUPT_BIT);
		v->reordered =
			way_happens(way, DRAW_REORDER, way->spec.reorder);
	}
	v->copies = 1;
	v->due_ns[0] = way_arrival(way, out_ns, v->reordered);
	if (!dup)
		return;
	out_ns = way_transmit(way, bytes, now_ns, &ce);
	if (out_ns)
		v->due_ns[v->copies++] = way_arrival(way, out_ns, v->reordered);
}

void impair_way_judge(struct impair_way *way, size_t bytes, uint64_t now_ns,
		      struct impair_verdict *ret_verdict)
{
	*ret_verdict = (struct impair_verdict){ .fate = way_fate(way, bytes) };
	if (ret_verdict->fate == IMPAIR_PASS)
		way_pass(way, bytes, now_ns, ret_verdict);
	way->n++;
}
