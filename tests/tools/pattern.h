/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_TOOLS_PATTERN_H
#define TESTS_TOOLS_PATTERN_H

/*
 * Bytes that are a function of a key and their place in the stream, so that
 * whoever receives them can tell whether each one is right.
 */

#include <stdint.h>
#include <string.h>

/* splitmix64 */
static inline uint64_t pattern_word(uint64_t key, uint64_t i)
{
	uint64_t z = key + (i + 1) * 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* Bytes [skip, skip + n) of word i of a key. */
static inline void pattern_fill_part(uint64_t key, uint64_t i, size_t skip,
				     uint8_t *out, size_t n)
{
	uint64_t word = pattern_word(key, i);

	memcpy(out, (uint8_t *)&word + skip, n);
}

/* How many of n bytes are not what pattern_fill_part() would make. */
static inline uint64_t pattern_wrong_part(uint64_t key, uint64_t i, size_t skip,
					  const uint8_t *data, size_t n)
{
	uint64_t word = pattern_word(key, i), wrong = 0;

	for (size_t at = 0; at < n; at++)
		wrong += data[at] != ((uint8_t *)&word)[skip + at];
	return wrong;
}

/* Bytes up to the next word of the stream, n at most. */
static inline size_t pattern_head(uint64_t offset, size_t n)
{
	size_t head = (size_t)(-offset % 8);

	return head < n ? head : n;
}

/* Bytes [offset, offset + n) of the stream of a key. */
static inline void pattern_fill(uint64_t key, uint64_t offset, uint8_t *out,
				size_t n)
{
	size_t head = pattern_head(offset, n), at = head;

	pattern_fill_part(key, offset / 8, offset % 8, out, head);
	for (; n - at >= 8; at += 8)
		pattern_fill_part(key, (offset + at) / 8, 0, out + at, 8);
	pattern_fill_part(key, (offset + at) / 8, 0, out + at, n - at);
}

/* How many of data[0..n) are not bytes [offset, offset + n) of the stream. */
static inline uint64_t pattern_mismatches(uint64_t key, uint64_t offset,
					  const uint8_t *data, size_t n)
{
	size_t head = pattern_head(offset, n), at = head;
	uint64_t wrong, have;

	wrong = pattern_wrong_part(key, offset / 8, offset % 8, data, head);
	/* On a bulk stream this is most of what its client does. */
	for (; n - at >= 8; at += 8) {
		memcpy(&have, data + at, 8);
		if (have != pattern_word(key, (offset + at) / 8))
			wrong += pattern_wrong_part(key, (offset + at) / 8, 0,
						    data + at, 8);
	}
	return wrong +
	       pattern_wrong_part(key, (offset + at) / 8, 0, data + at, n - at);
}

#endif
