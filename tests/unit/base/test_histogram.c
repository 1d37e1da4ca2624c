/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/bytes.h"
#include "base/histogram.h"
#include "unit/unit.h"

static struct histogram h, other;

START_TEST(test_histogram_each_bound_begins_its_bucket)
{
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		ck_assert_uint_eq(histogram_bucket(histogram_bound(i)), i);
		if (i > 0)
			ck_assert_uint_eq(
				histogram_bucket(histogram_bound(i) - 1),
				i - 1);
	}
}
END_TEST

START_TEST(test_histogram_bucket_is_an_eighth_wide_at_most)
{
	for (uint32_t i = HISTOGRAM_SUB; i + 1 < HISTOGRAM_BUCKETS; i++) {
		uint64_t low = histogram_bound(i);

		ck_assert_uint_le((histogram_bound(i + 1) - low) * 8, low);
	}
}
END_TEST

START_TEST(test_histogram_takes_any_value)
{
	const uint64_t max = UINT64_C(1) << HISTOGRAM_MAX_BITS;

	ck_assert_uint_eq(histogram_bucket(0), 0);
	ck_assert_uint_eq(histogram_bucket(max - 1), HISTOGRAM_BUCKETS - 2);
	ck_assert_uint_eq(histogram_bucket(max), HISTOGRAM_BUCKETS - 1);
	ck_assert_uint_eq(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
	ck_assert_uint_eq(histogram_bound(HISTOGRAM_BUCKETS - 1), max);
}
END_TEST

START_TEST(test_histogram_below_a_power_of_two_is_exact)
{
	for (uint64_t v = 0; v < 5000; v++)
		histogram_add(&h, v);
	for (uint32_t bits = HISTOGRAM_SUB_BITS; bits <= 12; bits++)
		ck_assert_uint_eq(histogram_below(&h, bits), 1u << bits);
	ck_assert_uint_eq(histogram_below(&h, HISTOGRAM_MAX_BITS), 5000);
	ck_assert_uint_eq(histogram_count(&h), 5000);
	ck_assert_uint_eq(h.sum, 4999 * 5000 / 2);
}
END_TEST

START_TEST(test_histogram_quantiles_are_exact_to_an_eighth)
{
	const uint32_t permille[] = { 1, 10, 500, 900, 990, 999, 1000 };

	for (uint64_t v = 1; v <= 100000; v++)
		histogram_add(&h, v);
	for (size_t i = 0; i < ARRAY_SIZE(permille); i++) {
		uint64_t want = permille[i] * 100,
			 got = histogram_quantile(&h, permille[i]);

		ck_assert_uint_le(got, want + want / 8);
		ck_assert_uint_ge(got, want - want / 8);
	}
}
END_TEST

START_TEST(test_histogram_quantile_of_one_value_is_in_its_bucket)
{
	histogram_add(&h, 1000);
	ck_assert_uint_eq(histogram_bucket(histogram_quantile(&h, 1)),
			  histogram_bucket(1000));
	ck_assert_uint_eq(histogram_bucket(histogram_quantile(&h, 1000)),
			  histogram_bucket(1000));
}
END_TEST

START_TEST(test_histogram_quantile_of_nothing_and_of_the_end)
{
	ck_assert_uint_eq(histogram_quantile(&h, 500), 0);
	histogram_add(&h, UINT64_MAX / 2);
	ck_assert_uint_eq(histogram_quantile(&h, 990),
			  histogram_bound(HISTOGRAM_BUCKETS - 1));
}
END_TEST

START_TEST(test_histogram_merge_adds_all)
{
	histogram_add(&h, 5);
	histogram_add(&other, 5);
	histogram_add(&other, 70000);
	histogram_merge(&h, &other);
	ck_assert_uint_eq(histogram_count(&h), 3);
	ck_assert_uint_eq(h.counts[5], 2);
	ck_assert_uint_eq(h.sum, 70010);
}
END_TEST

UNIT_MAIN("base/histogram",
	  UNIT_TESTS(test_histogram_each_bound_begins_its_bucket,
		     test_histogram_bucket_is_an_eighth_wide_at_most,
		     test_histogram_takes_any_value,
		     test_histogram_below_a_power_of_two_is_exact,
		     test_histogram_quantiles_are_exact_to_an_eighth,
		     test_histogram_quantile_of_one_value_is_in_its_bucket,
		     test_histogram_quantile_of_nothing_and_of_the_end,
		     test_histogram_merge_adds_all))
