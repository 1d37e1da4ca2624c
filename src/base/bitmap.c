/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/bitmap.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define WORD_BITS 64

static uint32_t bitmap_words(uint32_t nbits)
{
	return nbits / WORD_BITS + (nbits % WORD_BITS != 0);
}

static uint64_t bitmap_bit(uint32_t i)
{
	return UINT64_C(1) << (i % WORD_BITS);
}

static uint32_t bitmap_lowest(uint64_t word)
{
	return (uint32_t)__builtin_ctzll(word);
}

static uint32_t bitmap_highest(uint64_t word)
{
	return WORD_BITS - 1 - (uint32_t)__builtin_clzll(word);
}

/* The bits of word @w at @level that stand for something. */
static uint64_t bitmap_valid_bits(const struct bitmap *b, uint32_t level,
				  uint32_t w)
{
	uint32_t tail = b->nbits[level] % WORD_BITS;

	if (tail == 0 || w != b->nbits[level] / WORD_BITS)
		return UINT64_MAX;
	return (UINT64_C(1) << tail) - 1;
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

bool bitmap_test(const struct bitmap *b, uint32_t i)
{
	return i < b->nbits[0] &&
	       (b->full[0][i / WORD_BITS] & bitmap_bit(i)) != 0;
}

bool bitmap_set_used(struct bitmap *b, uint32_t i)
{
	bool full = true;
	uint32_t pos = i;

	if (i >= b->nbits[0] || bitmap_test(b, i))
		return false;
	for (uint32_t l = 0; l < b->levels; l++, pos /= WORD_BITS) {
		uint32_t w = pos / WORD_BITS;
		bool known = b->any[l][w] != 0;

		b->any[l][w] |= bitmap_bit(pos);
		if (full)
			b->full[l][w] |= bitmap_bit(pos);
		full = full && b->full[l][w] == bitmap_valid_bits(b, l, w);
		if (known && !full)
			break; /* nothing changes above */
	}
	b->used++;
	return true;
}

void bitmap_free(struct bitmap *b, uint32_t i)
{
	bool empty = true;
	uint32_t pos = i;

	assert(bitmap_test(b, i));
	for (uint32_t l = 0; l < b->levels; l++, pos /= WORD_BITS) {
		uint32_t w = pos / WORD_BITS;
		bool was_full = b->full[l][w] == bitmap_valid_bits(b, l, w);

		b->full[l][w] &= ~bitmap_bit(pos);
		if (empty)
			b->any[l][w] &= ~bitmap_bit(pos);
		empty = empty && b->any[l][w] == 0;
		if (!was_full && !empty)
			break; /* nothing changes above */
	}
	b->used--;
}

uint32_t bitmap_alloc(struct bitmap *b)
{
	uint32_t pos = 0;

	if (b->used == b->nbits[0])
		return BITMAP_NONE;
	/* the bits past the end of a level are clear, but never the lowest */
	for (uint32_t l = b->levels; l-- > 0;)
		pos = pos * WORD_BITS + bitmap_lowest(~b->full[l][pos]);
	bitmap_set_used(b, pos);
	return pos;
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

uint32_t bitmap_used_count(const struct bitmap *b)
{
	return b->used;
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
