/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/histogram.h"

#include "base/bytes.h"

uint64_t histogram_bound(uint32_t i)
{
	uint32_t octave = i >> HISTOGRAM_SUB_BITS;

	if (octave == 0)
		return i;
	return (uint64_t)(HISTOGRAM_SUB + (i & (HISTOGRAM_SUB - 1)))
	       << (octave - 1);
}

void histogram_merge(struct histogram *h, const struct histogram *from)
{
	h->sum += from->sum;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		h->counts[i] += from->counts[i];
}

static uint64_t histogram_first(const struct histogram *h, uint32_t n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += h->counts[i];
	return sum;
}

uint64_t histogram_count(const struct histogram *h)
{
	return histogram_first(h, HISTOGRAM_BUCKETS);
}

uint64_t histogram_below(const struct histogram *h, uint32_t bits)
{
	assert(bits >= HISTOGRAM_SUB_BITS && bits <= HISTOGRAM_MAX_BITS);
	return histogram_first(h, (bits - HISTOGRAM_SUB_BITS + 1)
					  << HISTOGRAM_SUB_BITS);
}

uint64_t histogram_quantile(const struct histogram *h, uint32_t permille)
{
	uint64_t count = histogram_count(h), before = 0, low, high;
	/* the rank, from 1: the least that covers so many of a thousand */
	uint64_t rank =
		(uint64_t)(((__uint128_t)count * permille + 999) / 1000);
	uint32_t i = 0;

	if (count == 0)
		return 0;
	rank = max_u64(rank, 1);
	while (i < HISTOGRAM_BUCKETS - 1 && before + h->counts[i] < rank)
		before += h->counts[i++];
	low = histogram_bound(i);
	if (i == HISTOGRAM_BUCKETS - 1)
		return low;
	high = histogram_bound(i + 1) - 1; /* the greatest that is in it */
	return low + (uint64_t)((__uint128_t)(high - low) * (rank - before) /
				h->counts[i]);
}
