/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/cursor.h"
#include "unit/unit.h"

#include <string.h>

static const uint8_t sample[] = { 1, 2,	 3,  4,	 5,  6,	 7,  8,
				  9, 10, 11, 12, 13, 14, 15, 0xff };

START_TEST(test_cursor_reads_in_network_order)
{
	struct cursor c;

	cursor_init(&c, sample, sizeof(sample));
	ck_assert_uint_eq(cursor_u8(&c), 1);
	ck_assert_uint_eq(cursor_be16(&c), 0x0203);
	ck_assert_uint_eq(cursor_be32(&c), 0x04050607);
	ck_assert_uint_eq(cursor_be64(&c), UINT64_C(0x08090a0b0c0d0e0f));
	ck_assert_uint_eq(cursor_remaining(&c), 1);
	ck_assert_uint_eq(cursor_u8(&c), 0xff);
	ck_assert_uint_eq(cursor_remaining(&c), 0);
	ck_assert(cursor_ok(&c));
}
END_TEST

START_TEST(test_cursor_read_past_the_end_fails_and_stays_failed)
{
	struct cursor c;

	cursor_init(&c, sample, 3);
	ck_assert_uint_eq(cursor_be32(&c), 0);
	ck_assert(!cursor_ok(&c));
	/* one byte would be there, but the error sticks */
	ck_assert_uint_eq(cursor_u8(&c), 0);
	ck_assert_ptr_null(cursor_bytes(&c, 0));
	ck_assert(!cursor_skip(&c, 0));
	ck_assert_uint_eq(cursor_remaining(&c), 0);
}
END_TEST

START_TEST(test_cursor_huge_lengths_do_not_wrap)
{
	struct cursor c;
	struct wcursor w;
	uint8_t buf[4];

	cursor_init(&c, sample, 4);
	ck_assert(!cursor_skip(&c, SIZE_MAX));
	wcursor_init(&w, buf, sizeof(buf));
	wcursor_zero(&w, SIZE_MAX);
	ck_assert(!wcursor_ok(&w));
}
END_TEST

START_TEST(test_cursor_copy_leaves_output_alone_on_failure)
{
	uint8_t out[4] = { 9, 9, 9, 9 };
	struct cursor c;

	cursor_init(&c, sample, 3);
	ck_assert(!cursor_copy(&c, out, 4));
	ck_assert_uint_eq(out[0], 9);
	cursor_init(&c, sample, 4);
	ck_assert(cursor_copy(&c, out, 4));
	ck_assert_mem_eq(out, sample, 4);
}
END_TEST

START_TEST(test_cursor_sub_is_bounded_by_its_own_length)
{
	struct cursor c, sub;

	cursor_init(&c, sample, 4);
	ck_assert(cursor_sub(&c, 2, &sub));
	ck_assert_uint_eq(cursor_be16(&sub), 0x0102);
	ck_assert_uint_eq(cursor_u8(&sub), 0);
	ck_assert(!cursor_ok(&sub));
	ck_assert_uint_eq(cursor_u8(&c), 3);
	ck_assert(cursor_ok(&c));
	ck_assert(!cursor_sub(&c, 2, &sub));
	ck_assert(!cursor_ok(&sub));
	ck_assert(!cursor_ok(&c));
}
END_TEST

START_TEST(test_cursor_over_nothing)
{
	struct cursor c;

	cursor_init(&c, NULL, 0);
	ck_assert_uint_eq(cursor_remaining(&c), 0);
	ck_assert_ptr_nonnull(cursor_bytes(&c, 0));
	ck_assert(cursor_ok(&c));
	ck_assert_uint_eq(cursor_u8(&c), 0);
	ck_assert(!cursor_ok(&c));
}
END_TEST

START_TEST(test_cursor_fail_marks_a_value_that_makes_no_sense)
{
	struct cursor c;

	cursor_init(&c, sample, 4);
	cursor_fail(&c);
	ck_assert(!cursor_ok(&c));
	ck_assert_uint_eq(cursor_be16(&c), 0);
}
END_TEST

START_TEST(test_wcursor_writes_what_cursor_reads)
{
	uint8_t buf[sizeof(sample)];
	struct wcursor w;

	wcursor_init(&w, buf, sizeof(buf));
	wcursor_u8(&w, 1);
	wcursor_be16(&w, 0x0203);
	wcursor_be32(&w, 0x04050607);
	wcursor_be64(&w, UINT64_C(0x08090a0b0c0d0e0f));
	wcursor_bytes(&w, sample + 15, 1);
	ck_assert(wcursor_ok(&w));
	ck_assert_uint_eq(wcursor_remaining(&w), 0);
	ck_assert_uint_eq(wcursor_written(&w), sizeof(sample));
	ck_assert_mem_eq(buf, sample, sizeof(sample));
}
END_TEST

START_TEST(test_wcursor_overflow_writes_nothing_and_sticks)
{
	uint8_t buf[4] = { 9, 9, 9, 9 };
	struct wcursor w;

	wcursor_init(&w, buf, 3);
	wcursor_u8(&w, 1);
	wcursor_be32(&w, 0);
	wcursor_u8(&w, 2);
	ck_assert(!wcursor_ok(&w));
	ck_assert_uint_eq(wcursor_written(&w), 1);
	ck_assert_uint_eq(wcursor_remaining(&w), 0);
	ck_assert_uint_eq(buf[1], 9);
	ck_assert_uint_eq(buf[3], 9);
}
END_TEST

START_TEST(test_wcursor_reserve_leaves_a_zeroed_hole)
{
	uint8_t buf[4] = { 9, 9, 9, 9 };
	struct wcursor w;
	uint8_t *hole;

	wcursor_init(&w, buf, sizeof(buf));
	hole = wcursor_reserve(&w, 2);
	ck_assert_ptr_eq(hole, buf);
	ck_assert_uint_eq(buf[1], 0);
	wcursor_u8(&w, 5);
	*hole = 7;
	ck_assert_uint_eq(buf[0], 7);
	ck_assert_uint_eq(buf[2], 5);
	ck_assert_ptr_null(wcursor_reserve(&w, 2));
}
END_TEST

UNIT_MAIN("base/cursor",
	  UNIT_TESTS(test_cursor_reads_in_network_order,
		     test_cursor_read_past_the_end_fails_and_stays_failed,
		     test_cursor_huge_lengths_do_not_wrap,
		     test_cursor_copy_leaves_output_alone_on_failure,
		     test_cursor_sub_is_bounded_by_its_own_length,
		     test_cursor_over_nothing,
		     test_cursor_fail_marks_a_value_that_makes_no_sense,
		     test_wcursor_writes_what_cursor_reads,
		     test_wcursor_overflow_writes_nothing_and_sticks,
		     test_wcursor_reserve_leaves_a_zeroed_hole))
