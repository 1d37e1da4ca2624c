/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>

#include "base/bytes.h"
#include "tools/swarm_hist.h"
#include "tools/swarm_rng.h"
#include "unit/unit.h"

#define VALUES 20000u

static struct swarm_hist hist;
static uint64_t values[VALUES];

static void setup(void)
{
	hist = (struct swarm_hist){ 0 };
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static const uint32_t per_million[] = {
	1, 500000, 900000, 990000, 999000, 999900, 1000000,
};

/* Distributions: bits of the largest value, and how they are drawn. */
START_TEST(test_hist_percentiles_are_those_of_a_sorted_array)
{
	struct swarm_rng rng = { (uint64_t)_i };
	unsigned int bits = 4 + (unsigned int)_i * 5;

	for (uint32_t i = 0; i < VALUES; i++) {
		uint64_t v = swarm_rng_next(&rng) >> (64 - bits);

		values[i] = v >> swarm_rng_below(&rng, bits);
		swarm_hist_add(&hist, values[i]);
	}
	qsort(values, VALUES, sizeof(values[0]), compare);
	for (size_t i = 0; i < ARRAY_SIZE(per_million); i++) {
		uint32_t rank = (uint32_t)(((uint64_t)VALUES * per_million[i] +
					    999999) /
					   1000000);
		uint64_t right = values[rank - 1];
		uint64_t got = swarm_hist_percentile(&hist, per_million[i]);

		ck_assert_uint_ge(got, right);
		ck_assert_uint_le(got, right + right / SWARM_HIST_SUB);
	}
	ck_assert_uint_eq(hist.max_ns, values[VALUES - 1]);
	ck_assert_uint_eq(swarm_hist_percentile(&hist, 1000000),
			  values[VALUES - 1]);
}
END_TEST

START_TEST(test_hist_mean_is_exact)
{
	for (uint64_t v = 1; v <= 999; v++)
		swarm_hist_add(&hist, v * 1000);
	ck_assert_uint_eq(swarm_hist_mean(&hist), 500000);
	ck_assert_uint_eq(hist.n, 999);
}
END_TEST

START_TEST(test_hist_empty_says_0)
{
	ck_assert_uint_eq(swarm_hist_percentile(&hist, 500000), 0);
	ck_assert_uint_eq(swarm_hist_mean(&hist), 0);
}
END_TEST

START_TEST(test_hist_every_power_of_two_has_its_bucket)
{
	for (unsigned int bit = 0; bit < 44; bit++) {
		for (int d = -1; d <= 1; d++) {
			uint64_t v = (UINT64_C(1) << bit) + (uint64_t)d;

			if (v >> 44)
				continue;
			hist = (struct swarm_hist){ 0 };
			swarm_hist_add(&hist, v);
			ck_assert_uint_eq(swarm_hist_percentile(&hist, 1), v);
		}
	}
}
END_TEST

START_TEST(test_hist_what_is_too_long_counts_as_the_longest)
{
	swarm_hist_add(&hist, UINT64_MAX);
	ck_assert_uint_eq(hist.max_ns, (UINT64_C(1) << 44) - 1);
	ck_assert_uint_eq(swarm_hist_percentile(&hist, 500000), hist.max_ns);
}
END_TEST

UNIT_MAIN("tools/swarm_hist",
	  UNIT_LOOP("sorted", 9, setup, NULL,
		    test_hist_percentiles_are_those_of_a_sorted_array),
	  UNIT_CASE("all", setup, NULL, test_hist_mean_is_exact,
		    test_hist_empty_says_0,
		    test_hist_every_power_of_two_has_its_bucket,
		    test_hist_what_is_too_long_counts_as_the_longest))
