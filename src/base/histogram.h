/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_BASE_HISTOGRAM_H
#define XTCP_BASE_HISTOGRAM_H

/*
 * How long something took, in log-linear buckets: eight to each power of two,
 * so a bucket's bounds differ by an eighth at most. Single writer; to record
 * costs two additions.
 *
 * Powers of two are bounds of buckets: counts below one are exact.
 */

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 3
#define HISTOGRAM_SUB (1u << HISTOGRAM_SUB_BITS)
/* Values from 2^this on, about 134 s in microseconds, share the last bucket. */
#define HISTOGRAM_MAX_BITS 27
#define HISTOGRAM_BUCKETS \
	((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB + 1)

struct histogram {
	uint64_t sum; /* of all values */
	uint64_t counts[HISTOGRAM_BUCKETS];
};

/* The bucket of a value. */
static inline uint32_t histogram_bucket(uint64_t value)
{
	uint32_t bits;

	if (value < HISTOGRAM_SUB)
		return (uint32_t)value;
	if (value >> HISTOGRAM_MAX_BITS)
		return HISTOGRAM_BUCKETS - 1;
	bits = 63u - (uint32_t)__builtin_clzll(value); /* its highest bit */
	return ((bits - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS) +
	       ((uint32_t)(value >> (bits - HISTOGRAM_SUB_BITS)) &
		(HISTOGRAM_SUB - 1));
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
	h->counts[histogram_bucket(value)]++;
	h->sum += value;
}

/*
 * The least value of bucket i, which is the bound of the one before; for
 * HISTOGRAM_BUCKETS - 1, the least value that has no bucket of its own.
 */
uint64_t histogram_bound(uint32_t i);

/* Adds all of `from`. */
void histogram_merge(struct histogram *h, const struct histogram *from);

/* How many values there are. */
uint64_t histogram_count(const struct histogram *h);

/* How many values are below 2^bits; bits from HISTOGRAM_SUB_BITS on. */
uint64_t histogram_below(const struct histogram *h, uint32_t bits);

/*
 * The value that permille of a thousand do not exceed, interpolated within its
 * bucket: exact to an eighth. 0 when there are none; of the last bucket, its
 * least value.
 */
uint64_t histogram_quantile(const struct histogram *h, uint32_t permille);

#endif
