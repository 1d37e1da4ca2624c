/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_BASE_COUNTER_H
#define XTCP_BASE_COUNTER_H

/*
 * A counter that one thread writes and any thread reads.
 *
 * With a single writer no locked instruction is needed: the writer loads and
 * stores, both relaxed, and compiles to a plain add. Readers see a value that
 * was true a moment ago, never a torn one. Two writers on one counter would
 * lose counts: give each thread a cell of its own and add them up on reading.
 */

#include <stdatomic.h>
#include <stdint.h>

struct counter {
	_Atomic uint64_t v;
};

/* Adds @n; only ever called by the thread that owns @c. */
static inline void counter_add(struct counter *c, uint64_t n)
{
	uint64_t v = atomic_load_explicit(&c->v, memory_order_relaxed);

	atomic_store_explicit(&c->v, v + n, memory_order_relaxed);
}

/* Takes @n away: for a counter that is a level, such as "open now". */
static inline void counter_sub(struct counter *c, uint64_t n)
{
	uint64_t v = atomic_load_explicit(&c->v, memory_order_relaxed);

	atomic_store_explicit(&c->v, v - n, memory_order_relaxed);
}

/* Sets the value; only ever called by the thread that owns @c. */
static inline void counter_set(struct counter *c, uint64_t v)
{
	atomic_store_explicit(&c->v, v, memory_order_relaxed);
}

/* The current value; any thread. */
static inline uint64_t counter_get(const struct counter *c)
{
	return atomic_load_explicit(&c->v, memory_order_relaxed);
}

#endif
