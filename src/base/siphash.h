/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_BASE_SIPHASH_H
#define XTCP_BASE_SIPHASH_H

/*
 * SipHash, a keyed hash of short inputs: J.-P. Aumasson and D. J. Bernstein,
 * "SipHash: a fast short-input PRF" (2012). Whoever does not know the key
 * cannot make inputs collide, nor foretell an output from others.
 *
 * SipHash-2-4 (two rounds per word, four at the end) is the PRF, for secrets
 * that go out on the wire: initial sequence numbers, SYN cookies.
 * SipHash-1-3 is for hash tables, whose outputs nobody sees.
 *
 * The variants over 64-bit words hash the same as the bytes of those words in
 * little-endian order, without the byte loop: they inline to straight code.
 */

#include <stddef.h>
#include <stdint.h>

/* 128 random bits; k0 is the first half of the paper's key, little-endian. */
struct siphash_key {
	uint64_t k0, k1;
};

/* SipHash-2-4 of the @len bytes at @data. */
uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);

/* SipHash-1-3 of the @len bytes at @data. */
uint64_t siphash13(const struct siphash_key *key, const void *data, size_t len);

/* The inner state, section 2 of the paper; for the inline variants below. */
struct siphash_state {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t siphash_rotl(uint64_t x, unsigned int bits)
{
	return x << bits | x >> (64 - bits);
}

/* SipRound, section 2.2 and figure 2.1. */
static inline void siphash_round(struct siphash_state *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = siphash_rotl(s->v1, 13) ^ s->v0;
	s->v3 = siphash_rotl(s->v3, 16) ^ s->v2;
	s->v0 = siphash_rotl(s->v0, 32);
	s->v2 += s->v1;
	s->v0 += s->v3;
	s->v1 = siphash_rotl(s->v1, 17) ^ s->v2;
	s->v3 = siphash_rotl(s->v3, 21) ^ s->v0;
	s->v2 = siphash_rotl(s->v2, 32);
}

/* Initialization, section 2.1; the constants spell a sentence. */
static inline struct siphash_state siphash_start(const struct siphash_key *key)
{
	return (struct siphash_state){
		.v0 = key->k0 ^ UINT64_C(0x736f6d6570736575),
		.v1 = key->k1 ^ UINT64_C(0x646f72616e646f6d),
		.v2 = key->k0 ^ UINT64_C(0x6c7967656e657261),
		.v3 = key->k1 ^ UINT64_C(0x7465646279746573),
	};
}

/* Compression of one word with @rounds rounds, section 2.2. */
static inline void siphash_word(struct siphash_state *s, uint64_t m,
				unsigned int rounds)
{
	s->v3 ^= m;
	for (unsigned int i = 0; i < rounds; i++)
		siphash_round(s);
	s->v0 ^= m;
}

/* Finalization with @rounds rounds, section 2.3. */
static inline uint64_t siphash_finish(struct siphash_state *s,
				      unsigned int rounds)
{
	s->v2 ^= 0xff;
	for (unsigned int i = 0; i < rounds; i++)
		siphash_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* The last word: the length modulo 256 on top of the left-over bytes. */
static inline uint64_t siphash_last_word(uint64_t rest, size_t len_bytes)
{
	return rest | (uint64_t)(len_bytes & 0xff) << 56;
}

/* SipHash-1-3 of two words, 16 bytes. */
static inline uint64_t siphash13_u64x2(const struct siphash_key *key,
				       uint64_t a, uint64_t b)
{
	struct siphash_state s = siphash_start(key);

	siphash_word(&s, a, 1);
	siphash_word(&s, b, 1);
	siphash_word(&s, siphash_last_word(0, 16), 1);
	return siphash_finish(&s, 3);
}

/* SipHash-1-3 of five words, 40 bytes: an IPv6 4-tuple fits. */
static inline uint64_t siphash13_u64x5(const struct siphash_key *key,
				       uint64_t a, uint64_t b, uint64_t c,
				       uint64_t d, uint64_t e)
{
	struct siphash_state s = siphash_start(key);

	siphash_word(&s, a, 1);
	siphash_word(&s, b, 1);
	siphash_word(&s, c, 1);
	siphash_word(&s, d, 1);
	siphash_word(&s, e, 1);
	siphash_word(&s, siphash_last_word(0, 40), 1);
	return siphash_finish(&s, 3);
}

#endif
