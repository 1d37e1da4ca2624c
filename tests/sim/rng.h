/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rng - the one source of chance of a run: splitmix64, from the seed.
 *
 * Each part of the simulation has a generator of its own, so that a draw more
 * in one does not change what another one does.
 */
#ifndef XTCP_SIM_RNG_H
#define XTCP_SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

#define SIM_MILLION 1000000u

struct rng {
	uint64_t s;
};

static inline uint64_t rng_mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static inline uint64_t rng_next(struct rng *r)
{
	r->s += UINT64_C(0x9e3779b97f4a7c15);
	return rng_mix(r->s);
}

/* 0..n-1; 0 when n is 0. */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)(((rng_next(r) >> 32) * n) >> 32);
}

/* lo..hi, both included. */
static inline uint64_t rng_range(struct rng *r, uint64_t lo, uint64_t hi)
{
	return lo + rng_next(r) % (hi - lo + 1);
}

static inline bool rng_one_in(struct rng *r, uint32_t n)
{
	return rng_below(r, n) == 0;
}

/* True in ppm of a million cases; draws nothing when it can't be. */
static inline bool rng_ppm(struct rng *r, uint32_t ppm)
{
	return ppm && rng_below(r, SIM_MILLION) < ppm;
}

/* A generator for part `what` of the run of this seed. */
static inline struct rng rng_part(uint64_t seed, uint64_t what)
{
	return (struct rng){ rng_mix(seed ^ rng_mix(what * 77777 + 1)) };
}

/* A size or a time of any magnitude between lo and hi. */
static inline uint64_t rng_scale(struct rng *r, uint64_t lo, uint64_t hi)
{
	uint32_t bits = 0;

	while (hi >> bits > lo)
		bits++;
	hi = hi >> rng_below(r, bits + 1);
	return rng_range(r, lo, hi > lo ? hi : lo);
}

#endif
