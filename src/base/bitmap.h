/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_BASE_BITMAP_H
#define XTCP_BASE_BITMAP_H

/*
 * A map of which of N items are in use, that finds the lowest free one, or
 * the next used one, in a few steps whatever N is.
 *
 * Level 0 has one bit per item, set when the item is used. Each level above
 * has one bit per word of the level below, in two kinds: "full" (every item
 * below is used), which leads to a free item, and "any" (at least one is),
 * which leads to a used one. Six levels cover 2^32 items.
 *
 * All zeros means all free, so a fresh map is untouched memory that costs
 * nothing resident; as the lowest free item is always given out first, the
 * map touches memory in proportion to what is in use, about 1/8 byte each.
 *
 * One thread owns a map; there are no locks.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITMAP_NONE UINT32_MAX
#define BITMAP_MAX_LEVELS 6

struct bitmap {
	/* full[0] and any[0] are the same words, those of the items */
	uint64_t *full[BITMAP_MAX_LEVELS];
	uint64_t *any[BITMAP_MAX_LEVELS];
	uint32_t nbits[BITMAP_MAX_LEVELS];
	uint32_t levels;
	uint32_t used;
	size_t map_bytes;
};

/*
 * Sets up a map of @n items, all free; @n is 1 to UINT32_MAX.
 * Returns 0, -EINVAL or -ENOMEM.
 */
int bitmap_init(struct bitmap *b, uint32_t n);

/* Gives the memory back; does nothing to a map that is all zero bytes. */
void bitmap_fini(struct bitmap *b);

/* Takes the lowest free item. Returns its index, or BITMAP_NONE when full. */
uint32_t bitmap_alloc(struct bitmap *b);

/*
 * Marks item @i used: for rebuilding a map from what it describes.
 * Returns false, and changes nothing, when @i is used or not below N.
 */
bool bitmap_set_used(struct bitmap *b, uint32_t i);

/* Frees item @i, which must be in use. */
void bitmap_free(struct bitmap *b, uint32_t i);

/* Whether item @i is used; false for one that is not below N. */
bool bitmap_test(const struct bitmap *b, uint32_t i);

/* The lowest used item that is >= @from, or BITMAP_NONE. */
uint32_t bitmap_next_used(const struct bitmap *b, uint32_t from);

/* How many items are used. */
uint32_t bitmap_used_count(const struct bitmap *b);

/*
 * One more than the highest item that is used now; 0 when none is. It comes
 * down again as items are freed.
 */
uint32_t bitmap_highwater(const struct bitmap *b);

#endif
