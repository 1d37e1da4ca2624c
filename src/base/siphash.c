/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/siphash.h"

/* Up to eight bytes as a little-endian integer. */
static uint64_t siphash_load(const uint8_t *p, size_t len)
{
	uint64_t v = 0;

	for (size_t i = 0; i < len; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

/* SipHash-c-d of section 2, with @c rounds per word and @d at the end. */
static uint64_t siphash_bytes(const struct siphash_key *key, const void *data,
			      size_t len, unsigned int c, unsigned int d)
{
	struct siphash_state s = siphash_start(key);
	const uint8_t *p = data;
	size_t left = len;

	for (; left >= 8; left -= 8, p += 8)
		siphash_word(&s, siphash_load(p, 8), c);
	siphash_word(&s, siphash_last_word(siphash_load(p, left), len), c);
	return siphash_finish(&s, d);
}

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len)
{
	return siphash_bytes(key, data, len, 2, 4);
}

uint64_t siphash13(const struct siphash_key *key, const void *data, size_t len)
{
	return siphash_bytes(key, data, len, 1, 3);
}
