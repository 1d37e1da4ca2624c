/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * order - the order in which writes reach the arena.
 *
 * A process may be killed between any two of its instructions; what it had
 * written by then is there for the next one, in program order (one machine
 * sees its own stores in order, and the kernel unmaps nothing half-way). So
 * the compiler alone must be kept from moving stores, and from tearing those
 * that commit a change. What commits what stands in recover.h.
 */
#ifndef XTCP_ARENA_ORDER_H
#define XTCP_ARENA_ORDER_H

/* Writes before it are in the arena before those after it. Costs nothing. */
static inline void arena_order(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* The store that commits a change: whole, and after all writes before it. */
#define ARENA_COMMIT(lvalue, value)                                     \
	do {                                                            \
		arena_order();                                          \
		__atomic_store_n(&(lvalue), (value), __ATOMIC_RELAXED); \
		arena_order();                                          \
	} while (0)

#endif
