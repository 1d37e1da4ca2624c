/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/swarm_pattern.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tools/swarm_rng.h"
#include "tools/swarm_sum.h"

struct swarm_pattern *swarm_pattern_new(uint64_t seed)
{
	struct swarm_pattern *p = calloc(1, sizeof(*p));
	struct swarm_rng rng = { seed };

	if (!p)
		return NULL;
	for (uint32_t i = 0; i < SWARM_PATTERN_PERIOD; i += 8)
		be64_store(p->bytes + i, swarm_rng_next(&rng));
	memcpy(p->bytes + SWARM_PATTERN_PERIOD, p->bytes, SWARM_PATTERN_PIECE);
	for (uint32_t i = 0; i < SWARM_PATTERN_BYTES; i++)
		p->sums[i + 1] =
			swarm_sum_fold(p->sums[i] + ((uint32_t)p->bytes[i]
						     << (i % 2 ? 0 : 8)));
	return p;
}

uint16_t swarm_pattern_sum(const struct swarm_pattern *p, uint32_t start,
			   uint32_t pos, uint32_t len)
{
	uint32_t from = (start + pos) % SWARM_PATTERN_PERIOD;
	uint16_t sum;

	assert(len <= SWARM_PATTERN_PIECE);
	/* RFC 1624: to take a sum away is to add its complement */
	sum = swarm_sum_fold((uint32_t)p->sums[from + len] +
			     (uint16_t)~p->sums[from]);
	return from % 2 ? swarm_sum_swap(sum) : sum;
}
