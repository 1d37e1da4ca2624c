/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/bytes.h"
#include "base/counter.h"
#include "base/units.h"
#include "unit/unit.h"

#include <string.h>

struct wire {
	uint8_t kind;
	be16 port;
	be32 seq;
	be64 id;
};

ASSERT_SIZE(struct wire, 15);
ASSERT_OFFSET(struct wire, id, 7);

START_TEST(test_bytes_fields_are_in_network_order_at_odd_addresses)
{
	const uint8_t want[] = { 7, 0x12, 0x34, 0xde, 0xad, 0xbe, 0xef, 1,
				 2, 3,	  4,	5,    6,    7,	  8 };
	uint8_t buf[16] = { 0 };
	struct wire *w = (struct wire *)(buf + 1);

	w->kind = 7;
	w->port = be16_put(0x1234);
	w->seq = be32_put(0xdeadbeef);
	w->id = be64_put(0x0102030405060708);
	ck_assert_mem_eq(buf + 1, want, sizeof(want));
	ck_assert_uint_eq(be16_get(w->port), 0x1234);
	ck_assert_uint_eq(be32_get(w->seq), 0xdeadbeef);
	ck_assert_uint_eq(be64_get(w->id), 0x0102030405060708);
}
END_TEST

START_TEST(test_bytes_load_gives_what_store_put)
{
	uint8_t buf[9];

	be16_store(buf + 1, 0xfffe);
	ck_assert_uint_eq(be16_load(buf + 1), 0xfffe);
	ck_assert_uint_eq(buf[2], 0xfe);
	be32_store(buf + 1, 0x80000001);
	ck_assert_uint_eq(be32_load(buf + 1), 0x80000001);
	be64_store(buf + 1, UINT64_C(0xfedcba9876543210));
	ck_assert_uint_eq(be64_load(buf + 1), UINT64_C(0xfedcba9876543210));
	ck_assert_uint_eq(buf[1], 0xfe);
}
END_TEST

START_TEST(test_bytes_container_of_finds_the_structure)
{
	struct wire w = { .kind = 1 };
	be32 *field = &w.seq;

	ck_assert_ptr_eq(container_of(field, struct wire, seq), &w);
}
END_TEST

START_TEST(test_bytes_powers_of_two_and_rounding)
{
	ck_assert(!is_pow2(0) && is_pow2(1) && !is_pow2(3) && is_pow2(4096));
	ck_assert_uint_eq(next_pow2(0), 1);
	ck_assert_uint_eq(next_pow2(1), 1);
	ck_assert_uint_eq(next_pow2(3), 4);
	ck_assert_uint_eq(next_pow2(4), 4);
	ck_assert_uint_eq(next_pow2(GIB + 1), 2 * GIB);
	ck_assert_uint_eq(round_up(0, 64), 0);
	ck_assert_uint_eq(round_up(1, 64), 64);
	ck_assert_uint_eq(round_up(64, 64), 64);
	ck_assert_uint_eq(clamp_u64(5, 1, 3), 3);
	ck_assert_uint_eq(clamp_u64(0, 1, 3), 1);
	ck_assert_uint_eq(clamp_u64(2, 1, 3), 2);
}
END_TEST

START_TEST(test_counter_counts)
{
	struct counter c = { 0 };

	counter_add(&c, 5);
	counter_add(&c, UINT64_C(1) << 40);
	counter_sub(&c, 2);
	ck_assert_uint_eq(counter_get(&c), (UINT64_C(1) << 40) + 3);
	counter_set(&c, 9);
	ck_assert_uint_eq(counter_get(&c), 9);
}
END_TEST

UNIT_MAIN("base/bytes",
	  UNIT_TESTS(test_bytes_fields_are_in_network_order_at_odd_addresses,
		     test_bytes_load_gives_what_store_put,
		     test_bytes_container_of_finds_the_structure,
		     test_bytes_powers_of_two_and_rounding,
		     test_counter_counts))
