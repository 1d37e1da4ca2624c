/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/pattern.h"

#include "unit/unit.h"

#define KEY 4711u
#define BYTES 80u

/* One at a time, by what the header promises. */
static uint8_t byte_at(uint64_t pos)
{
	uint64_t word = pattern_word(KEY, pos / 8);

	return ((uint8_t *)&word)[pos % 8];
}

START_TEST(test_pattern_filled_anywhere_is_that_of_each_byte)
{
	uint8_t data[BYTES + 1];

	for (uint64_t from = 0; from < 17; from++) {
		for (size_t n = 0; n <= BYTES; n++) {
			data[n] = 0xa5;
			pattern_fill(KEY, from, data, n);
			for (size_t i = 0; i < n; i++)
				ck_assert_uint_eq(data[i], byte_at(from + i));
			ck_assert_uint_eq(data[n], 0xa5);
			ck_assert_uint_eq(
				pattern_mismatches(KEY, from, data, n), 0);
		}
	}
}
END_TEST

START_TEST(test_pattern_each_wrong_byte_counts_once)
{
	uint8_t data[BYTES];
	uint64_t from = (uint64_t)_i, wrong = 0;

	pattern_fill(KEY, from, data, BYTES);
	for (size_t i = 0; i < BYTES; i += 3) {
		data[i] ^= (uint8_t)(1u << i % 8);
		wrong++;
		for (size_t n = i + 1; n <= BYTES; n++)
			ck_assert_uint_eq(
				pattern_mismatches(KEY, from, data, n), wrong);
	}
	ck_assert_uint_gt(pattern_mismatches(KEY + 1, from, data, BYTES),
			  BYTES / 2);
}
END_TEST

UNIT_MAIN("tools/pattern",
	  UNIT_CASE("fill", NULL, NULL,
		    test_pattern_filled_anywhere_is_that_of_each_byte),
	  UNIT_LOOP("mismatches", 9, NULL, NULL,
		    test_pattern_each_wrong_byte_counts_once))
