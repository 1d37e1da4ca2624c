/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/bitmap.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define WORD_BITS BITMAP_WORD_BITS

static uint32_t bitmap_words(uint32_t nbits)
{
	return nbits / WORD_BITS + (nbits % WORD_BITS != 0);
}

static uint32_t bitmap_highest(uint64_t word)
{
	return WORD_BITS - 1 - (uint32_t)__builtin_clzll(word);
}

/* Fills in the number of levels and of bits in each. Returns all words. */
static size_t bitmap_plan(struct bitmap *b, uint32_t n)
{
	size_t words = 0;
	uint32_t bits = n;

	for (;;) {
		uint32_t here = bitmap_words(bits);

		b->nbits[b->levels] = bits;
		words += b->levels == 0 ? here : 2 * (size_t)here;
		b->levels++;
		if (here == 1)
			return words;
		bits = here;
	}
}

int bitmap_init(struct bitmap *b, uint32_t n)
{
	uint64_t *words;

	memset(b, 0, sizeof(*b));
	if (n == 0)
		return -EINVAL;
	b->map_bytes = bitmap_plan(b, n) * sizeof(*words);
	/* not calloc(): memory that it reuses is cleared, that is, touched */
	words = mmap(NULL, b->map_bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (words == MAP_FAILED) {
		memset(b, 0, sizeof(*b));
		return -ENOMEM;
	}
	for (uint32_t l = 0; l < b->levels; l++) {
		b->full[l] = words;
		if (l > 0)
			words += bitmap_words(b->nbits[l]);
		b->any[l] = words;
		words += bitmap_words(b->nbits[l]);
	}
	return 0;
}

void bitmap_fini(struct bitmap *b)
{
	if (b->map_bytes > 0)
		munmap(b->full[0], b->map_bytes);
	memset(b, 0, sizeof(*b));
}

/* The lowest word of items that is not full; there is one. */
static uint32_t bitmap_find_room(const struct bitmap *b)
{
	uint32_t w = 0;

	/* the bits past the end of a level are clear, but never the lowest */
	for (uint32_t l = b->levels; l-- > 1;)
		w = w * WORD_BITS + bitmap_lowest(~b->full[l][w]);
	return w;
}

/* The levels above hear of word @pos: as far up as that says anything new. */
static void bitmap_tell_any(struct bitmap *b, uint32_t pos, bool any)
{
	for (uint32_t l = 1; l < b->levels; l++, pos /= WORD_BITS) {
		uint64_t *word = &b->any[l][pos / WORD_BITS], was = *word;

		*word = any ? was | bitmap_bit(pos) : was & ~bitmap_bit(pos);
		if ((was != 0) == (*word != 0))
			break;
	}
}

static void bitmap_tell_full(struct bitmap *b, uint32_t pos, bool full)
{
	for (uint32_t l = 1; l < b->levels; l++, pos /= WORD_BITS) {
		uint64_t *word = &b->full[l][pos / WORD_BITS], was = *word;

		*word = full ? was | bitmap_bit(pos) : was & ~bitmap_bit(pos);
		if ((was == UINT64_MAX) == (*word == UINT64_MAX))
			break;
	}
}

void bitmap_word_changed(struct bitmap *b, uint32_t w, uint64_t was)
{
	uint64_t is = b->full[0][w];

	if ((was != 0) != (is != 0))
		bitmap_tell_any(b, w, is != 0);
	if ((was == UINT64_MAX) != (is == UINT64_MAX))
		bitmap_tell_full(b, w, is == UINT64_MAX);
	if (is != UINT64_MAX || w != b->room)
		return;
	/* With none free, whichever is freed first is there or before. */
	b->room = b->used < b->nbits[0] ? bitmap_find_room(b)
					: bitmap_words(b->nbits[0]) - 1;
}

bool bitmap_set_used(struct bitmap *b, uint32_t i)
{
	if (i >= b->nbits[0] || bitmap_test(b, i))
		return false;
	bitmap_take(b, i);
	return true;
}

/* The lowest used item below bit @pos of @level, which is set in `any`. */
static uint32_t bitmap_descend(const struct bitmap *b, uint32_t level,
			       uint32_t pos)
{
	while (level-- > 0)
		pos = pos * WORD_BITS + bitmap_lowest(b->any[level][pos]);
	return pos;
}

uint32_t bitmap_next_used(const struct bitmap *b, uint32_t from)
{
	uint32_t pos = from;

	/* up, until a word has something at or after the place we stand at */
	for (uint32_t l = 0; l < b->levels && pos < b->nbits[l]; l++) {
		uint32_t w = pos / WORD_BITS;
		uint64_t rest = b->any[l][w] & ~(bitmap_bit(pos) - 1);

		if (rest != 0)
			return bitmap_descend(
				b, l, w * WORD_BITS + bitmap_lowest(rest));
		pos = w + 1;
	}
	return BITMAP_NONE;
}

uint32_t bitmap_highwater(const struct bitmap *b)
{
	uint32_t pos = 0;

	if (b->used == 0)
		return 0;
	for (uint32_t l = b->levels; l-- > 0;)
		pos = pos * WORD_BITS + bitmap_highest(b->any[l][pos]);
	return pos + 1;
}
