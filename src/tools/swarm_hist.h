/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_HIST_H
#define XTCP_TOOLS_SWARM_HIST_H

/*
 * A histogram of times: buckets that grow with the value, as HdrHistogram has
 * them. Values up to SWARM_HIST_SUB ns have a bucket each; from there on each
 * doubling is cut into SWARM_HIST_SUB equal buckets, so what a percentile
 * says is too large by less than 1 / SWARM_HIST_SUB, and never too small.
 */

#include <stdint.h>

#define SWARM_HIST_SUB_BITS 7
#define SWARM_HIST_SUB (1u << SWARM_HIST_SUB_BITS)
/* Up to 2^44 ns, nearly five hours; what is longer counts as that. */
#define SWARM_HIST_BITS 44
#define SWARM_HIST_BUCKETS \
	((SWARM_HIST_BITS - SWARM_HIST_SUB_BITS + 1) << SWARM_HIST_SUB_BITS)

struct swarm_hist {
	uint64_t n;
	uint64_t sum_ns, max_ns;
	uint32_t buckets[SWARM_HIST_BUCKETS];
};

void swarm_hist_add(struct swarm_hist *h, uint64_t ns);

/*
 * The smallest value, rounded up to its bucket's end, that at least
 * @per_million of all values do not exceed; 0 when there is none.
 */
uint64_t swarm_hist_percentile(const struct swarm_hist *h,
			       uint32_t per_million);

/* In ns; 0 when there is none. */
uint64_t swarm_hist_mean(const struct swarm_hist *h);

#endif
