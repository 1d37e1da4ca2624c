/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/bitmap.h"
#include "base/bytes.h"
#include "unit/unit.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Sizes around the edges of words and of levels. */
static const uint32_t sizes[] = {
	1,   2,	   63,	 64,   65,     127,    128,
	129, 4095, 4096, 4097, 262144, 262145, 300001,
};

START_TEST(test_bitmap_alloc_gives_each_index_once_in_order)
{
	uint32_t n = sizes[_i], wrong = 0;
	struct bitmap b;

	ck_assert_int_eq(bitmap_init(&b, n), 0);
	for (uint32_t i = 0; i < n; i++) {
		wrong += bitmap_alloc(&b) != i;
		wrong += bitmap_highwater(&b) != i + 1;
	}
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(bitmap_alloc(&b), BITMAP_NONE);
	ck_assert_uint_eq(bitmap_used_count(&b), n);
	bitmap_fini(&b);
}
END_TEST

START_TEST(test_bitmap_last_item_can_be_freed_and_taken_again)
{
	uint32_t n = sizes[_i];
	struct bitmap b;

	ck_assert_int_eq(bitmap_init(&b, n), 0);
	for (uint32_t i = 0; i < n; i++)
		ck_assert(bitmap_set_used(&b, i));
	bitmap_free(&b, n - 1);
	ck_assert_uint_eq(bitmap_highwater(&b), n - 1);
	ck_assert_uint_eq(bitmap_next_used(&b, n - 1), BITMAP_NONE);
	ck_assert_uint_eq(bitmap_alloc(&b), n - 1);
	ck_assert_uint_eq(bitmap_alloc(&b), BITMAP_NONE);
	bitmap_fini(&b);
}
END_TEST

START_TEST(test_bitmap_lone_item_is_found_from_anywhere_before_it)
{
	uint32_t n = sizes[_i];
	struct bitmap b;

	ck_assert_int_eq(bitmap_init(&b, n), 0);
	for (uint32_t i = 0; i < n; i += i < 200 ? 1 : 977) {
		ck_assert(bitmap_set_used(&b, i));
		ck_assert_uint_eq(bitmap_next_used(&b, 0), i);
		ck_assert_uint_eq(bitmap_next_used(&b, i / 2), i);
		ck_assert_uint_eq(bitmap_next_used(&b, i), i);
		ck_assert_uint_eq(bitmap_next_used(&b, i + 1), BITMAP_NONE);
		ck_assert_uint_eq(bitmap_highwater(&b), i + 1);
		bitmap_free(&b, i);
		ck_assert_uint_eq(bitmap_next_used(&b, 0), BITMAP_NONE);
	}
	ck_assert_uint_eq(bitmap_highwater(&b), 0);
	bitmap_fini(&b);
}
END_TEST

static uint32_t model_next_used(const bool *model, uint32_t n, uint32_t from)
{
	for (uint32_t i = from; i < n; i++)
		if (model[i])
			return i;
	return BITMAP_NONE;
}

static uint32_t model_lowest_free(const bool *model, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!model[i])
			return i;
	return BITMAP_NONE;
}

static uint32_t random_below(uint64_t *state, uint32_t n)
{
	*state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)((*state >> 33) % n);
}

START_TEST(test_bitmap_agrees_with_a_plain_array)
{
	enum { N = 71 * 64 };
	static bool model[N];
	/* with and without a last word that is cut short */
	uint32_t n = _i % 2 ? N - 44 : N;
	uint64_t seed = (uint64_t)_i + 1;
	uint32_t used = 0;
	struct bitmap b;

	memset(model, 0, sizeof(model));
	ck_assert_int_eq(bitmap_init(&b, n), 0);
	for (int step = 0; step < 20000; step++) {
		uint32_t i = random_below(&seed, n);

		if (step / 5000 % 2 == 0 && random_below(&seed, 4) > 0) {
			uint32_t want = model_lowest_free(model, n);

			ck_assert_uint_eq(bitmap_alloc(&b), want);
			if (want != BITMAP_NONE) {
				model[want] = true;
				used++;
			}
		} else if (model[i]) {
			bitmap_free(&b, i);
			model[i] = false;
			used--;
		} else if (random_below(&seed, 3) == 0) {
			ck_assert(bitmap_set_used(&b, i));
			model[i] = true;
			used++;
		}
		i = random_below(&seed, n);
		ck_assert(bitmap_test(&b, i) == model[i]);
		ck_assert_uint_eq(bitmap_next_used(&b, i),
				  model_next_used(model, n, i));
		ck_assert_uint_eq(bitmap_used_count(&b), used);
	}
	bitmap_fini(&b);
}
END_TEST

START_TEST(test_bitmap_set_used_refuses_twice_and_out_of_range)
{
	struct bitmap b;

	ck_assert_int_eq(bitmap_init(&b, 100), 0);
	ck_assert(bitmap_set_used(&b, 99));
	ck_assert(!bitmap_set_used(&b, 99));
	ck_assert(!bitmap_set_used(&b, 100));
	ck_assert(!bitmap_set_used(&b, BITMAP_NONE));
	ck_assert(!bitmap_test(&b, 100));
	ck_assert_uint_eq(bitmap_used_count(&b), 1);
	ck_assert_uint_eq(bitmap_next_used(&b, BITMAP_NONE), BITMAP_NONE);
	bitmap_fini(&b);
}
END_TEST

START_TEST(test_bitmap_of_nothing_is_invalid)
{
	struct bitmap b;

	ck_assert_int_eq(bitmap_init(&b, 0), -EINVAL);
	bitmap_fini(&b);
	bitmap_fini(&b);
}
END_TEST

START_TEST(test_bitmap_of_the_largest_size_touches_little_memory)
{
	struct bitmap b;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t pages, resident = 0;
	unsigned char *in_core;

	ck_assert_int_eq(bitmap_init(&b, UINT32_MAX), 0);
	for (uint32_t i = 0; i < 1000; i++)
		ck_assert_uint_eq(bitmap_alloc(&b), i);
	ck_assert(bitmap_set_used(&b, UINT32_MAX - 1));
	ck_assert_uint_eq(bitmap_next_used(&b, 1000), UINT32_MAX - 1);
	ck_assert_uint_eq(bitmap_highwater(&b), UINT32_MAX);

	pages = (b.map_bytes + page - 1) / page;
	in_core = malloc(pages);
	ck_assert_ptr_nonnull(in_core);
	ck_assert_int_eq(mincore(b.full[0], b.map_bytes, in_core), 0);
	for (size_t i = 0; i < pages; i++)
		resident += in_core[i] & 1;
	free(in_core);
	/* huge pages may round each place up to 2 MiB */
	ck_assert_uint_lt(resident * page, 32u << 20);
	bitmap_fini(&b);
}
END_TEST

UNIT_MAIN("base/bitmap",
	  UNIT_LOOP("sizes", ARRAY_SIZE(sizes), NULL, NULL,
		    test_bitmap_alloc_gives_each_index_once_in_order,
		    test_bitmap_last_item_can_be_freed_and_taken_again,
		    test_bitmap_lone_item_is_found_from_anywhere_before_it),
	  UNIT_LOOP("random", 4, NULL, NULL,
		    test_bitmap_agrees_with_a_plain_array),
	  UNIT_TESTS(test_bitmap_set_used_refuses_twice_and_out_of_range,
		     test_bitmap_of_nothing_is_invalid,
		     test_bitmap_of_the_largest_size_touches_little_memory))
