/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * huge - asks for huge pages where a table is large and read at random.
 *
 * A lookup touches a slot of the index and a record, each anywhere in tens or
 * hundreds of megabytes: with pages of 4 KiB that is a walk of page tables
 * each time, and they, too, take memory (1/512 of the table).
 */
#ifndef XTCP_ARENA_HUGE_H
#define XTCP_ARENA_HUGE_H

#include <stddef.h>
#include <sys/mman.h>

#include "base/units.h"

/* A smaller table would rather grow by it than be faster. */
#define HUGE_MIN_BYTES (16 * MIB)

/*
 * Advice alone: the kernel follows it for private memory where
 * transparent_hugepage/enabled is "madvise" or "always", and for the arena's
 * file where its tmpfs is mounted with huge=advise, within_size or always.
 */
static inline void huge_advise(void *base, size_t bytes)
{
	if (bytes >= HUGE_MIN_BYTES)
		(void)madvise(base, bytes, MADV_HUGEPAGE);
}

#endif
