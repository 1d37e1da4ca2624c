/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tools/swarm_tuple.h"
#include "unit/unit.h"

static struct swarm_tuples tuples_of(const char *prefix, uint32_t n)
{
	struct swarm_prefix p;
	struct swarm_tuples t;

	ck_assert_int_eq(swarm_prefix_parse(prefix, &p), 0);
	ck_assert_int_eq(swarm_tuples_init(&t, &p, n), 0);
	return t;
}

/* The client comes back from its tuple, for each of its turns. */
static void check_both_ways(const struct swarm_tuples *t, uint32_t index)
{
	for (uint32_t turn = 0; turn < 1u << t->turn_bits; turn++) {
		uint32_t low, found = ~index;
		uint16_t port;
		uint8_t found_turn = 0;

		swarm_tuple_get(t, index, (uint8_t)turn, &low, &port);
		ck_assert_uint_ge(port, SWARM_PORT_FIRST);
		ck_assert(swarm_tuple_find(t, low, port, &found, &found_turn));
		ck_assert_uint_eq(found, index);
		ck_assert_uint_eq(found_turn, turn);
	}
}

static const struct {
	const char *prefix;
	uint32_t n;
} sizes[] = {
	{ "10.64.0.0/10", 1 },
	{ "10.64.0.0/10", 65536 },
	{ "10.64.0.0/10", 65537 },
	{ "10.64.0.0/10", 10000000 },
	{ "10.64.0.0/10", 100000000 },
	{ "10.1.2.0/24", 1000 },
	{ "10.1.2.0/30", 2 * SWARM_PORTS },
	{ "fd64::/32", 10000000 },
	{ "fd64:0:0:fffc::/62", 2 * SWARM_PORTS },
	{ "fd64::/64", 10000000 },
	{ "fd64::ffff:ff00/120", 254 * SWARM_PORTS },
};

START_TEST(test_tuple_and_index_lead_to_each_other)
{
	struct swarm_tuples t = tuples_of(sizes[_i].prefix, sizes[_i].n);
	const uint32_t edges[] = {
		0,
		1,
		t.n_addrs - 1,
		t.n_addrs,
		t.n_addrs + 1,
		t.n_clients / 2,
		t.n_clients - 2,
		t.n_clients - 1,
	};

	for (size_t i = 0; i < ARRAY_SIZE(edges); i++)
		if (edges[i] < t.n_clients)
			check_both_ways(&t, edges[i]);
}
END_TEST

START_TEST(test_tuple_outside_belongs_to_nobody)
{
	struct swarm_tuples t = tuples_of("10.1.2.0/24", 300);
	uint32_t low, index;
	uint16_t port;
	uint8_t turn;

	swarm_tuple_get(&t, 299, swarm_tuple_next(&t, 254), &low, &port);
	ck_assert(swarm_tuple_find(&t, low, port, &index, &turn));
	ck_assert(!swarm_tuple_find(&t, low + 1, port, &index, &turn));
	ck_assert(!swarm_tuple_find(&t, low, (uint16_t)(port + 1), &index,
				    &turn));
	ck_assert(!swarm_tuple_find(&t, 0x0a010200, port, &index, &turn));
	ck_assert(!swarm_tuple_find(&t, 0x0a0102ff, 1024, &index, &turn));
	ck_assert(!swarm_tuple_find(&t, low, 1023, &index, &turn));
	ck_assert(!swarm_tuple_find(&t, low, 0, &index, &turn));
	ck_assert(!swarm_tuple_find(&t, low, 65535, &index, &turn));
}
END_TEST

START_TEST(test_tuple_addresses_stay_inside_the_prefix)
{
	struct swarm_tuples t = tuples_of("10.1.2.0/24", 254 * 3);
	uint32_t low;
	uint16_t port;

	ck_assert_uint_eq(t.n_addrs, 254);
	for (uint32_t i = 0; i < t.n_clients; i++) {
		swarm_tuple_get(&t, i, 0, &low, &port);
		ck_assert_uint_gt(low, 0x0a010200);
		ck_assert_uint_lt(low, 0x0a0102ff);
	}
}
END_TEST

START_TEST(test_tuple_ipv6_networks_differ_if_there_is_room)
{
	static const struct {
		const char *prefix, *first, *second;
	} cases[] = {
		{ "fd64::/32", "[fd64:0:0:1::1]:1024", "[fd64:0:0:2::1]:1024" },
		{ "fd64:1:2:3::/64", "[fd64:1:2:3::1]:1024",
		  "[fd64:1:2:3::2]:1024" },
		{ "fd64::a0/123", "[fd64::a1]:1024", "[fd64::a2]:1024" },
	};
	char text[SWARM_ADDR_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct swarm_tuples t = tuples_of(cases[i].prefix, 2);

		ck_assert_str_eq(swarm_tuple_text(&t, 0, 0, text),
				 cases[i].first);
		ck_assert_str_eq(swarm_tuple_text(&t, 1, 0, text),
				 cases[i].second);
	}
}
END_TEST

START_TEST(test_tuple_turns_come_round)
{
	struct swarm_tuples t = tuples_of("10.64.0.0/10", 10000000);
	uint8_t turn = 0;

	ck_assert_uint_gt(t.turn_bits, 0);
	for (uint32_t i = 1; i < 1u << t.turn_bits; i++) {
		turn = swarm_tuple_next(&t, turn);
		ck_assert_uint_eq(turn, i);
	}
	ck_assert_uint_eq(swarm_tuple_next(&t, turn), 0);
}
END_TEST

START_TEST(test_tuple_too_small_a_prefix_is_refused)
{
	struct swarm_prefix p;
	struct swarm_tuples t;

	ck_assert_int_eq(swarm_prefix_parse("10.1.2.0/30", &p), 0);
	ck_assert_int_eq(swarm_tuples_init(&t, &p, 2 * SWARM_PORTS + 1),
			 -ERANGE);
}
END_TEST

START_TEST(test_prefix_is_read_or_refused)
{
	static const char *const bad[] = {
		"",
		"10.0.0.0",
		"10.0.0.0/",
		"10.0.0.0/0",
		"10.0.0.0/31",
		"10.0.0.1/30",
		"10.0.0.0/8x",
		"10.0.0.0/-1",
		"10.0.0/8",
		"fd64::/15",
		"fd64::/127",
		"fd64::1/64",
		"x::/64",
		"/8",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa/64",
	};
	struct swarm_prefix p;
	char text[SWARM_ADDR_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(swarm_prefix_parse(bad[i], &p), -EINVAL);
	ck_assert_int_eq(swarm_prefix_parse("10.64.0.0/10", &p), 0);
	ck_assert_str_eq(swarm_prefix_text(&p, text), "10.64.0.0/10");
	ck_assert_uint_eq(swarm_prefix_usable(&p), (1u << 22) - 2);
	ck_assert_int_eq(swarm_prefix_parse("fd64::/60", &p), 0);
	ck_assert_uint_eq(swarm_prefix_usable(&p), 14);
	ck_assert_int_eq(swarm_prefix_parse("fd64::/64", &p), 0);
	ck_assert_str_eq(swarm_prefix_text(&p, text), "fd64::/64");
	ck_assert_uint_eq(swarm_prefix_usable(&p), UINT32_MAX - 1);
}
END_TEST

START_TEST(test_endpoint_is_read_or_refused)
{
	static const char *const bad[] = {
		"",	     "1.2.3.4",	      "1.2.3.4:",
		"1.2.3.4:0", "1.2.3.4:65536", "[1.2.3.4]:7",
		"fd64::1:7", "[fd64::1]",     "[fd64::1]7",
		"host:7",    "1.2.3.4:7x",    ":7",
	};
	struct swarm_ip ip;
	uint16_t port;
	char text[SWARM_ADDR_TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(swarm_endpoint_parse(bad[i], &ip, &port),
				 -EINVAL);
	ck_assert_int_eq(swarm_endpoint_parse("192.0.2.10:7", &ip, &port), 0);
	ck_assert_str_eq(swarm_endpoint_text(&ip, port, text), "192.0.2.10:7");
	ck_assert_int_eq(
		swarm_endpoint_parse("[2001:db8::10]:65535", &ip, &port), 0);
	ck_assert_str_eq(swarm_endpoint_text(&ip, port, text),
			 "[2001:db8::10]:65535");
}
END_TEST

START_TEST(test_prefixes_that_overlap)
{
	struct swarm_prefix a, b, c;
	struct swarm_ip ip;
	uint16_t port;

	ck_assert_int_eq(swarm_prefix_parse("10.64.0.0/10", &a), 0);
	ck_assert_int_eq(swarm_prefix_parse("10.127.0.0/16", &b), 0);
	ck_assert_int_eq(swarm_prefix_parse("10.128.0.0/9", &c), 0);
	ck_assert(swarm_prefix_overlaps(&a, &b));
	ck_assert(swarm_prefix_overlaps(&b, &a));
	ck_assert(!swarm_prefix_overlaps(&a, &c));
	ck_assert_int_eq(swarm_endpoint_parse("10.127.255.255:1", &ip, &port),
			 0);
	ck_assert(swarm_prefix_holds(&a, &ip));
	ck_assert(!swarm_prefix_holds(&c, &ip));
}
END_TEST

UNIT_MAIN("tools/swarm_tuple",
	  UNIT_LOOP("both ways", ARRAY_SIZE(sizes), NULL, NULL,
		    test_tuple_and_index_lead_to_each_other),
	  UNIT_TESTS(test_tuple_outside_belongs_to_nobody,
		     test_tuple_addresses_stay_inside_the_prefix,
		     test_tuple_ipv6_networks_differ_if_there_is_room,
		     test_tuple_turns_come_round,
		     test_tuple_too_small_a_prefix_is_refused,
		     test_prefix_is_read_or_refused,
		     test_endpoint_is_read_or_refused,
		     test_prefixes_that_overlap))
