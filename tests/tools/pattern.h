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

/* Bytes [offset, offset + n) of the stream of a key. */
static inline void pattern_fill(uint64_t key, uint64_t offset, uint8_t *out,
				size_t n)
{
	while (n > 0) {
		uint64_t word = pattern_word(key, offset / 8);
		size_t skip = offset % 8;
		size_t part = 8 - skip < n ? 8 - skip : n;

		memcpy(out, (uint8_t *)&word + skip, part);
		out += part;
		offset += part;
		n -= part;
	}
}

/* How many of data[0..n) are not bytes [offset, offset + n) of the stream. */
static inline uint64_t pattern_mismatches(uint64_t key, uint64_t offset,
					  const uint8_t *data, size_t n)
{
	uint64_t wrong = 0;

	while (n > 0) {
		uint64_t word = pattern_word(key, offset / 8);
		size_t skip = offset % 8;
		size_t part = 8 - skip < n ? 8 - skip : n;
		const uint8_t *want = (const uint8_t *)&word + skip;

		for (size_t i = 0; i < part; i++)
			wrong += data[i] != want[i];
		data += part;
		offset += part;
		n -= part;
	}
	return wrong;
}

#endif
