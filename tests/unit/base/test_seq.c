/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/bytes.h"
#include "base/seq.h"
#include "unit/unit.h"

/* Places to stand at, on both sides of the wrap and of the sign. */
static const uint32_t bases[] = {
	0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
};

START_TEST(test_seq_order_holds_across_the_wrap)
{
	uint32_t a = bases[_i];
	const uint32_t ahead[] = { 1, 1460, 1u << 30, 0x7fffffff };

	for (size_t i = 0; i < ARRAY_SIZE(ahead); i++) {
		uint32_t b = a + ahead[i];

		ck_assert(seq_lt(a, b) && seq_leq(a, b));
		ck_assert(seq_gt(b, a) && seq_geq(b, a));
		ck_assert(!seq_lt(b, a) && !seq_leq(b, a));
		ck_assert(!seq_gt(a, b) && !seq_geq(a, b));
		ck_assert_uint_eq(seq_max(a, b), b);
		ck_assert_uint_eq(seq_max(b, a), b);
		ck_assert_uint_eq(seq_min(a, b), a);
		ck_assert_uint_eq(seq_min(b, a), a);
		ck_assert_int_eq(seq_diff(b, a), (int32_t)ahead[i]);
		ck_assert_int_eq(seq_diff(a, b), -(int32_t)ahead[i]);
	}
}
END_TEST

START_TEST(test_seq_equal_is_neither_less_nor_greater)
{
	uint32_t a = bases[_i];

	ck_assert(!seq_lt(a, a) && !seq_gt(a, a));
	ck_assert(seq_leq(a, a) && seq_geq(a, a));
}
END_TEST

START_TEST(test_seq_between_includes_both_ends)
{
	uint32_t lo = bases[_i] - 10, hi = bases[_i] + 10;

	ck_assert(seq_between(lo, lo, hi) && seq_between(lo, hi, hi));
	ck_assert(seq_between(lo, bases[_i], hi));
	ck_assert(!seq_between(lo, lo - 1, hi));
	ck_assert(!seq_between(lo, hi + 1, hi));
	ck_assert(seq_between(lo, lo, lo) && !seq_between(lo, hi, lo));
}
END_TEST

START_TEST(test_seq_in_window_excludes_the_right_edge)
{
	uint32_t start = bases[_i] - 5;

	ck_assert(seq_in_window(start, start, 10));
	ck_assert(seq_in_window(start + 9, start, 10));
	ck_assert(!seq_in_window(start + 10, start, 10));
	ck_assert(!seq_in_window(start - 1, start, 10));
	ck_assert(!seq_in_window(start, start, 0));
}
END_TEST

UNIT_MAIN("base/seq", UNIT_LOOP("near the wrap", ARRAY_SIZE(bases), NULL, NULL,
				test_seq_order_holds_across_the_wrap,
				test_seq_equal_is_neither_less_nor_greater,
				test_seq_between_includes_both_ends,
				test_seq_in_window_excludes_the_right_edge))
