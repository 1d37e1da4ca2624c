/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/swarm_hist.h"

#include "base/bytes.h"

#define MILLION 1000000u

static uint32_t swarm_hist_bucket(uint64_t ns)
{
	unsigned int top, shift;

	if (ns < SWARM_HIST_SUB)
		return (uint32_t)ns;
	top = 63u - (unsigned int)__builtin_clzll(ns);
	shift = top - SWARM_HIST_SUB_BITS;
	return (uint32_t)((shift << SWARM_HIST_SUB_BITS) + (ns >> shift));
}

/* The largest value that falls into the bucket. */
static uint64_t swarm_hist_end(uint32_t bucket)
{
	uint32_t shift;

	if (bucket < 2 * SWARM_HIST_SUB)
		return bucket;
	shift = (bucket >> SWARM_HIST_SUB_BITS) - 1;
	return ((uint64_t)(bucket - (shift << SWARM_HIST_SUB_BITS) + 1)
		<< shift) -
	       1;
}

void swarm_hist_add(struct swarm_hist *h, uint64_t ns)
{
	ns = min_u64(ns, (UINT64_C(1) << SWARM_HIST_BITS) - 1);
	h->n++;
	h->sum_ns += ns;
	h->max_ns = max_u64(h->max_ns, ns);
	h->buckets[swarm_hist_bucket(ns)]++;
}

uint64_t swarm_hist_percentile(const struct swarm_hist *h, uint32_t per_million)
{
	/* rounded up: of 10 values, 99 % are all ten */
	uint64_t want = (h->n * per_million + MILLION - 1) / MILLION;
	uint64_t seen = 0;

	if (h->n == 0)
		return 0;
	want = max_u64(want, 1);
	for (uint32_t i = 0; i < SWARM_HIST_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen >= want)
			return min_u64(swarm_hist_end(i), h->max_ns);
	}
	return h->max_ns;
}

uint64_t swarm_hist_mean(const struct swarm_hist *h)
{
	return h->n ? h->sum_ns / h->n : 0;
}
