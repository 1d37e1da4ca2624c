/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/swarm_conn.h"
#include "unit/unit.h"

#define CLIENTS 1000u
#define ACTIVE 100u

static struct swarm_conns conns;

static void setup(void)
{
	ck_assert_int_eq(swarm_conns_init(&conns, CLIENTS, ACTIVE), 0);
}

static void teardown(void)
{
	swarm_conns_fini(&conns);
}

START_TEST(test_conns_table_of_the_active_is_bounded)
{
	for (uint32_t i = 0; i < ACTIVE; i++)
		ck_assert_ptr_nonnull(
			swarm_conns_activate(&conns, i, SWARM_REQUEST, 0));
	ck_assert(!swarm_conns_has_room(&conns));
	ck_assert_ptr_null(
		swarm_conns_activate(&conns, ACTIVE, SWARM_REQUEST, 0));
	ck_assert_uint_eq(conns.recs[ACTIVE].active, 0);
	swarm_conns_rest(&conns, &conns.recs[50]);
	ck_assert_ptr_nonnull(
		swarm_conns_activate(&conns, ACTIVE, SWARM_CLOSE, 0));
	ck_assert_uint_eq(conns.high, ACTIVE);
}
END_TEST

START_TEST(test_conns_kinds_are_counted)
{
	struct swarm_active *a =
		swarm_conns_activate(&conns, 7, SWARM_CONNECT, 1);

	ck_assert_ptr_eq(swarm_conns_active(&conns, &conns.recs[7]), a);
	swarm_conns_set_kind(&conns, a, SWARM_CLOSE);
	ck_assert_uint_eq(conns.by_kind[SWARM_CONNECT], 0);
	ck_assert_uint_eq(conns.by_kind[SWARM_CLOSE], 1);
	swarm_conns_rest(&conns, &conns.recs[7]);
	swarm_conns_rest(&conns, &conns.recs[7]);
	ck_assert_uint_eq(conns.by_kind[SWARM_CLOSE], 0);
	ck_assert_uint_eq(conns.n_active, 0);
	ck_assert_ptr_null(swarm_conns_active(&conns, &conns.recs[7]));
}
END_TEST

START_TEST(test_conns_established_are_counted)
{
	struct swarm_rec *r = &conns.recs[3];

	swarm_conns_set_state(&conns, r, SWARM_SYN_SENT);
	swarm_conns_set_state(&conns, r, SWARM_ESTABLISHED);
	ck_assert_uint_eq(conns.n_established, 1);
	swarm_conns_set_state(&conns, r, SWARM_FIN_WAIT_1);
	ck_assert_uint_eq(conns.n_established, 0);
}
END_TEST

START_TEST(test_conns_deadlines_that_are_over_are_found_once)
{
	uint32_t from = 0, index, n = 0;

	/* client i is due at i + 1, but for each seventh, which is never */
	for (uint32_t i = 0; i < ACTIVE; i++) {
		struct swarm_active *a =
			swarm_conns_activate(&conns, i, SWARM_REQUEST, 0);

		swarm_conns_set_deadline(&conns, a, i % 7 ? i + 1 : 0);
	}
	while (swarm_conns_expired(&conns, 50, &from, &index)) {
		while (n % 7 == 0)
			n++;
		ck_assert_uint_eq(index, n);
		n++;
	}
	ck_assert_uint_eq(n, 49);
	from = 0;
	ck_assert(!swarm_conns_expired(&conns, 50, &from, &index));
	from = 0;
	ck_assert(swarm_conns_expired(&conns, 51, &from, &index));
	ck_assert_uint_eq(index, 50);
}
END_TEST

START_TEST(test_conns_deadline_goes_with_its_entry)
{
	struct swarm_active *a =
		swarm_conns_activate(&conns, 9, SWARM_REQUEST, 0);
	uint32_t from = 0, index;

	swarm_conns_set_deadline(&conns, a, 5);
	swarm_conns_rest(&conns, &conns.recs[9]);
	ck_assert(!swarm_conns_expired(&conns, 100, &from, &index));
}
END_TEST

UNIT_MAIN("tools/swarm_conn",
	  UNIT_CASE("all", setup, teardown,
		    test_conns_table_of_the_active_is_bounded,
		    test_conns_kinds_are_counted,
		    test_conns_established_are_counted,
		    test_conns_deadlines_that_are_over_are_found_once,
		    test_conns_deadline_goes_with_its_entry))
