/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/siphash.h"
#include "unit/unit.h"

#include <string.h>

/* Bytes 00..0f, the key of the paper's appendix A. */
static const struct siphash_key paper_key = {
	.k0 = UINT64_C(0x0706050403020100),
	.k1 = UINT64_C(0x0f0e0d0c0b0a0908),
};

static void count_up(uint8_t *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = (uint8_t)i;
}

START_TEST(test_siphash24_gives_the_example_of_the_paper)
{
	uint8_t in[15];

	count_up(in, sizeof(in));
	ck_assert_uint_eq(siphash(&paper_key, in, sizeof(in)),
			  UINT64_C(0xa129ca6149be45e5));
}
END_TEST

START_TEST(test_siphash24_gives_the_reference_vectors)
{
	/* the first and last of the authors' vectors, and a full word */
	uint8_t in[63];

	count_up(in, sizeof(in));
	ck_assert_uint_eq(siphash(&paper_key, in, 0),
			  UINT64_C(0x726fdb47dd0e0e31));
	ck_assert_uint_eq(siphash(&paper_key, in, 1),
			  UINT64_C(0x74f839c593dc67fd));
	ck_assert_uint_eq(siphash(&paper_key, in, 8),
			  UINT64_C(0x93f5f5799a932462));
	ck_assert_uint_eq(siphash(&paper_key, in, 63),
			  UINT64_C(0x958a324ceb064572));
}
END_TEST

START_TEST(test_siphash_reads_unaligned_input)
{
	uint8_t in[64];

	count_up(in + 1, 15);
	ck_assert_uint_eq(siphash(&paper_key, in + 1, 15),
			  UINT64_C(0xa129ca6149be45e5));
}
END_TEST

static uint64_t little_endian(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

START_TEST(test_siphash13_words_hash_like_their_bytes)
{
	uint8_t in[40];
	uint64_t w[5];

	count_up(in, sizeof(in));
	for (int i = 0; i < 5; i++)
		w[i] = little_endian(in + 8 * i);
	ck_assert_uint_eq(siphash13_u64x2(&paper_key, w[0], w[1]),
			  siphash13(&paper_key, in, 16));
	ck_assert_uint_eq(siphash13_u64x5(&paper_key, w[0], w[1], w[2], w[3],
					  w[4]),
			  siphash13(&paper_key, in, 40));
}
END_TEST

START_TEST(test_siphash13_gives_known_values)
{
	/* as other implementations give for the paper's key and input */
	uint8_t in[15];

	count_up(in, sizeof(in));
	ck_assert_uint_eq(siphash13(&paper_key, in, 0),
			  UINT64_C(0xabac0158050fc4dc));
	ck_assert_uint_eq(siphash13(&paper_key, in, 15),
			  UINT64_C(0xd320d86d2a519956));
}
END_TEST

START_TEST(test_siphash_depends_on_both_halves_of_the_key)
{
	struct siphash_key k0 = paper_key, k1 = paper_key;
	uint64_t h = siphash13_u64x2(&paper_key, 1, 2);

	k0.k0 ^= 1;
	k1.k1 ^= UINT64_C(1) << 63;
	ck_assert_uint_ne(h, siphash13_u64x2(&k0, 1, 2));
	ck_assert_uint_ne(h, siphash13_u64x2(&k1, 1, 2));
	ck_assert_uint_ne(h, siphash13_u64x2(&paper_key, 2, 1));
}
END_TEST

UNIT_MAIN("base/siphash",
	  UNIT_TESTS(test_siphash24_gives_the_example_of_the_paper,
		     test_siphash24_gives_the_reference_vectors,
		     test_siphash_reads_unaligned_input,
		     test_siphash13_words_hash_like_their_bytes,
		     test_siphash13_gives_known_values,
		     test_siphash_depends_on_both_halves_of_the_key))
