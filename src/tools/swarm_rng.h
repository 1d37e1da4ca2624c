/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_RNG_H
#define XTCP_TOOLS_SWARM_RNG_H

/*
 * Chance from a seed: Steele, Lea and Flood's SplitMix64 (2014). Not for
 * secrets.
 */

#include <stdint.h>

struct swarm_rng {
	uint64_t state;
};

/* The function that scrambles: two inputs that differ have nothing in common. */
static inline uint64_t swarm_rng_mix(uint64_t v)
{
	v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
	return v ^ v >> 31;
}

static inline uint64_t swarm_rng_next(struct swarm_rng *r)
{
	r->state += UINT64_C(0x9e3779b97f4a7c15);
	return swarm_rng_mix(r->state);
}

/* A number below @n, which is not 0. */
static inline uint32_t swarm_rng_below(struct swarm_rng *r, uint32_t n)
{
	return (uint32_t)((swarm_rng_next(r) >> 32) * n >> 32);
}

#endif
