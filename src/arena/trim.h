/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trim - hands memory back to the kernel that a peak has touched.
 *
 * For slabs of which the lowest free item is taken first: what lies above the
 * highest one in use is not needed.
 */
#ifndef XTCP_ARENA_TRIM_H
#define XTCP_ARENA_TRIM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/units.h"

/* Less than this is kept for the next peak, bytes. */
#define TRIM_MIN_BYTES (256 * KIB)
#define TRIM_PAGE_BYTES 4096u

/* Are there at least so many bytes between items keep and touched? */
static inline bool trim_is_worth_it(uint32_t keep, uint32_t touched,
				    uint64_t item_bytes)
{
	return touched > keep &&
	       (touched - keep) * item_bytes >= TRIM_MIN_BYTES;
}

/*
 * Whole pages of items keep..touched-1 of the slab at base (page-aligned).
 * advice: MADV_REMOVE for shared memory, MADV_DONTNEED for private. What was
 * handed back reads as zeros. Returns the bytes, 0 when it did not work.
 */
static inline uint64_t trim_items(void *base, uint64_t item_bytes,
				  uint32_t keep, uint32_t touched, int advice)
{
	uint64_t from = round_up(keep * item_bytes, TRIM_PAGE_BYTES);
	uint64_t to = round_up(touched * item_bytes, TRIM_PAGE_BYTES);

	if (to <= from ||
	    madvise((uint8_t *)base + from, to - from, advice) < 0)
		return 0;
	return to - from;
}

#endif
