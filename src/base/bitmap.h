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
 * which leads to a used one. Six levels cover 2^32 items. A last word that
 * is cut short never counts as full: when all before it are, it is the one
 * that has a free item, as long as there is any.
 *
 * The levels above change only when a word becomes full or empty, or no longer
 * is, and the lowest word with a free item is remembered. So most calls
 * touch one word, and they are inline.
 *
 * All zeros means all free, so a fresh map is untouched memory that costs
 * nothing resident; as the lowest free item is always given out first, the
 * map touches memory in proportion to what is in use, about 1/8 byte each.
 *
 * One thread owns a map; there are no locks.
 */

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITMAP_NONE UINT32_MAX
#define BITMAP_MAX_LEVELS 6
#define BITMAP_WORD_BITS 64u

struct bitmap {
	/* full[0] and any[0] are the same words, those of the items */
	uint64_t *full[BITMAP_MAX_LEVELS];
	uint64_t *any[BITMAP_MAX_LEVELS];
	uint32_t nbits[BITMAP_MAX_LEVELS];
	uint32_t levels;
	uint32_t used;
	uint32_t room; /* the lowest word with a free item, if there is any */
	size_t map_bytes;
};

/*
 * Sets up a map of @n items, all free; @n is 1 to UINT32_MAX.
 * Returns 0, -EINVAL or -ENOMEM.
 */
int bitmap_init(struct bitmap *b, uint32_t n);

/* Gives the memory back; does nothing to a map that is all zero bytes. */
void bitmap_fini(struct bitmap *b);

/*
 * Marks item @i used: for rebuilding a map from what it describes.
 * Returns false, and changes nothing, when @i is used or not below N.
 */
bool bitmap_set_used(struct bitmap *b, uint32_t i);

/* The lowest used item that is >= @from, or BITMAP_NONE. */
uint32_t bitmap_next_used(const struct bitmap *b, uint32_t from);

/*
 * One more than the highest item that is used now; 0 when none is. It comes
 * down again as items are freed.
 */
uint32_t bitmap_highwater(const struct bitmap *b);

/*
 * For the functions below: word @w of the items, which was @was, became full
 * or empty, or no longer is; `used` counts it already.
 */
void bitmap_word_changed(struct bitmap *b, uint32_t w, uint64_t was);

static inline uint64_t bitmap_bit(uint32_t i)
{
	return UINT64_C(1) << (i % BITMAP_WORD_BITS);
}

/* The lowest bit that is set; there is one. */
static inline uint32_t bitmap_lowest(uint64_t word)
{
	return (uint32_t)__builtin_ctzll(word);
}

/* How many items are used. */
static inline uint32_t bitmap_used_count(const struct bitmap *b)
{
	return b->used;
}

/* Whether item @i is used; false for one that is not below N. */
static inline bool bitmap_test(const struct bitmap *b, uint32_t i)
{
	return i < b->nbits[0] &&
	       (b->full[0][i / BITMAP_WORD_BITS] & bitmap_bit(i)) != 0;
}

/* Takes item @i, which is free. */
static inline void bitmap_take(struct bitmap *b, uint32_t i)
{
	uint64_t *word = &b->full[0][i / BITMAP_WORD_BITS], was = *word;

	*word = was | bitmap_bit(i);
	b->used++;
	if (was == 0 || *word == UINT64_MAX)
		bitmap_word_changed(b, i / BITMAP_WORD_BITS, was);
}

/* Takes the lowest free item. Returns its index, or BITMAP_NONE when full. */
static inline uint32_t bitmap_alloc(struct bitmap *b)
{
	uint32_t i;

	if (b->used == b->nbits[0])
		return BITMAP_NONE;
	i = b->room * BITMAP_WORD_BITS + bitmap_lowest(~b->full[0][b->room]);
	bitmap_take(b, i);
	return i;
}

/* Frees item @i, which must be in use. */
static inline void bitmap_free(struct bitmap *b, uint32_t i)
{
	uint32_t w = i / BITMAP_WORD_BITS;
	uint64_t *word, was;

	assert(i < b->nbits[0]);
	word = &b->full[0][w];
	was = *word;
	assert(was & bitmap_bit(i));
	*word = was & ~bitmap_bit(i);
	b->used--;
	if (w < b->room)
		b->room = w;
	if (*word == 0 || was == UINT64_MAX)
		bitmap_word_changed(b, w, was);
}

#endif
