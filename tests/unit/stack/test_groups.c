/* SPDX-License-Identifier: BSD-2-Clause */
/* Groups, pools and addresses that change under their connections. */
#include <errno.h>
#include <string.h>

#include "../unit.h"
#include "rig.h"

#define POOL_BYTES (1u << 20)

static char big[1400];

static void skip(void)
{
	rig.seen = rig.n_out;
}

static void move_to(uint16_t pool)
{
	rig.group.pool = pool;
	rig_group();
}

static void up(void)
{
	rig_up();
	stack_pool_set(rig.st, 1, POOL_BYTES, 90, 75);
	memset(big, 'x', sizeof(big));
}

START_TEST(test_group_takes_what_it_holds_to_another_pool)
{
	struct stack_pool *pools = rig.st->pools;
	struct rig_client a = { 0 }, b = { 0 };
	uint32_t used, ooo;

	rig_connect(&a, 1000);
	rig_connect(&b, 1001);
	rig_send_bytes(&a, big, 1200);
	rig_send_at(&a, 3000, "beyond");
	rig_send_at(&b, 10, "a gap");
	rig_send_at(&b, 20, "and more");
	used = pools[0].used_chunks;
	ooo = pools[0].ooo_chunks;
	ck_assert_uint_ge(used, 6);
	ck_assert_uint_eq(ooo, 3);
	move_to(1);
	ck_assert_uint_eq(pools[0].used_chunks, 0);
	ck_assert_uint_eq(pools[0].ooo_chunks, 0);
	ck_assert_uint_eq(pools[0].holders_head, NIL);
	ck_assert_uint_eq(pools[0].holders_tail, NIL);
	ck_assert_uint_eq(pools[1].used_chunks, used);
	ck_assert_uint_eq(pools[1].ooo_chunks, ooo);
	/* The gaps close, and all of it is given back where it is counted. */
	rig_send_at(&b, 0, "0123456789a gap.....");
	rig_expect_text(&b, "0123456789a gap.....and more");
	rig_send_bytes(&a, big, 1400);
	stack_abort(rig.st, a.ri, rig.now_us);
	rig_settle(&b);
	ck_assert_uint_eq(pools[1].used_chunks, 0);
	ck_assert_uint_eq(pools[1].ooo_chunks, 0);
	ck_assert_uint_eq(pools[1].holders_head, NIL);
	skip();
}
END_TEST

/* rx_make_room() finds in the new pool's list what came from the old one. */
START_TEST(test_what_waits_beyond_gaps_is_given_up_in_the_new_pool)
{
	struct stack_pool *pools = rig.st->pools;
	struct rig_client a = { 0 }, b = { 0 };

	rig_connect(&a, 1000);
	rig_connect(&b, 1001);
	for (uint32_t i = 1; i < 6; i++)
		rig_send_at(&a, i * 2000, "beyond");
	move_to(1);
	stack_pool_set(rig.st, 1, 16 * CHUNK_BYTES, 100, 75);
	for (int i = 0; i < 8; i++)
		rig_send_bytes(&b, big, 2 * CHUNK_BYTES);
	ck_assert_uint_eq(rig_counter(SC_ooo_pruned), 5);
	ck_assert_uint_eq(pools[1].ooo_chunks, 0);
	ck_assert_uint_eq(pools[1].used_chunks, 16);
	ck_assert_uint_eq(pools[0].used_chunks, 0);
	skip();
}
END_TEST

START_TEST(test_leaving_a_throttled_pool_ends_what_it_withheld)
{
	struct rig_client a = { 0 };

	rig.group.ack = STACK_ACK_IMMEDIATE;
	rig_group();
	stack_pool_set(rig.st, 0, 16 * CHUNK_BYTES, 10, 5);
	rig_connect(&a, 1000);
	rig_send_bytes(&a, big, 1400);
	rig_pass_us(500000);
	ck_assert(rig.st->pools[0].throttled);
	rig_expect_nothing();
	move_to(1);
	ck_assert(!rig.st->pools[0].throttled);
	ck_assert(!rig.st->pools[1].throttled);
	rig_pass_us(500000);
	ck_assert_uint_eq(rig_expect(&a, TH_ACK)->ack, a.snd_nxt);
}
END_TEST

START_TEST(test_pool_that_shrinks_is_throttled_by_its_new_size)
{
	struct rig_client a = { 0 };

	rig_connect(&a, 1000);
	rig_send_bytes(&a, big, 1400);
	rig_send_bytes(&a, big, 1400);
	ck_assert(!rig.st->pools[0].throttled);
	stack_pool_set(rig.st, 0, 16 * CHUNK_BYTES, 25, 10);
	ck_assert(rig.st->pools[0].throttled);
	stack_pool_set(rig.st, 0, POOL_BYTES, 90, 75);
	ck_assert(!rig.st->pools[0].throttled);
	skip();
}
END_TEST

START_TEST(test_number_has_another_port_when_no_connection_names_it)
{
	struct rig_client a = { 0 }, b = { 0 };

	rig_connect(&a, 1000);
	rig.group.port = RIG_PORT + 1;
	ck_assert_int_eq(stack_group_set(rig.st, &rig.group), -EBUSY);
	rig_group_remove(1);
	rig_expect(&a, TH_RST | TH_ACK);
	stack_flush(rig.st, rig.now_us);
	ck_assert_int_eq(stack_group_set(rig.st, &rig.group), 0);
	ck_assert_uint_eq(counter_get(&rig.st->group_stats[1]->accepted), 0);
	rig_client(&b, 1001);
	rig_input(&b, &(struct rig_seg){ .flags = TH_SYN, .seq = b.iss });
	rig_expect(&b, TH_RST | TH_ACK);
	ck_assert_uint_eq(rig.st->port_group[RIG_PORT], 0);
	ck_assert_uint_eq(rig.st->port_group[RIG_PORT + 1], 1);
}
END_TEST

START_TEST(test_packets_to_an_address_that_is_not_ours_are_dropped)
{
	struct rig_client v4 = { 0 }, v6;

	rig_client(&v6, 1001);
	v6.v6 = true;
	rig_connect(&v4, 1000);
	stack_vips_set(rig.st, 1 << 1);
	rig_send(&v4, "x");
	rig_expect_nothing();
	rig_connect(&v6, 1001);
	stack_vips_set(rig.st, 3);
	rig_send_at(&v4, 0, "x");
	rig_expect_text(&v4, "x");
	rig_reply(&v4, 1, "");
	skip();
}
END_TEST

START_TEST(test_packets_to_other_ports_of_the_hosts_own_are_dropped)
{
	static struct stack_own own = { .vips = 1, .n = 3 };
	struct rig_client c = { 0 }, v6;

	rig_client(&v6, 1001);
	v6.v6 = true;
	own.ports[0] = stack_own_port(0, 1);
	own.ports[1] = stack_own_port(0, RIG_PORT - 1);
	own.ports[2] = stack_own_port(0, RIG_PORT + 1);
	rig_connect(&c, 1000);
	stack_own_set(rig.st, &own);
	rig_send(&c, "x");
	rig_expect_nothing(); /* a RST would be an answer of the host's */
	ck_assert_uint_eq(rig_counter(SC_drop_not_own_port), 1);
	rig_connect(&v6, 1001); /* another address is all ours */
	own.ports[1] = stack_own_port(0, RIG_PORT);
	stack_own_set(rig.st, &own);
	rig_send_at(&c, 0, "x");
	rig_expect_text(&c, "x");
	rig_reply(&c, 1, "");
	skip();
}
END_TEST

START_TEST(test_limit_of_connections_changes)
{
	struct stack_limits limits = rig.st->limits;
	struct rig_client a = { 0 }, b = { 0 };

	rig_connect(&a, 1000);
	limits.recs_max = 1;
	limits.syn_cookies = STACK_COOKIES_NEVER;
	stack_limits_set(rig.st, &limits);
	rig_client(&b, 1001);
	rig_input(&b, &(struct rig_seg){ .flags = TH_SYN, .seq = b.iss });
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_drop_no_record), 1);
	limits.recs_max = 2;
	stack_limits_set(rig.st, &limits);
	rig_connect(&b, 1001);
	limits.recs_max = UINT32_MAX; /* no more than there are */
	stack_limits_set(rig.st, &limits);
	rig_send(&a, "still here");
	rig_expect_text(&a, "still here");
	skip();
}
END_TEST

START_TEST(test_room_is_taken_for_what_is_missing)
{
	struct stack_group other = rig.group;
	struct stack_room room;

	other.id = 2;
	other.max_per_source = 5;
	ck_assert_int_eq(stack_room_new(&room, rig.shard.n_recs, true), 0);
	stack_room_take(rig.st, 1, &room); /* the group is there */
	ck_assert_ptr_nonnull(room.group);
	ck_assert_ptr_null(room.sources);
	stack_room_take(rig.st, 2, &room);
	ck_assert_ptr_null(room.group);
	ck_assert_ptr_null(room.stats);
	ck_assert_int_eq(stack_group_set(rig.st, &other), 0);
	stack_room_free(&room);
}
END_TEST

UNIT_MAIN("stack/groups",
	  UNIT_CASE("all", up, rig_down,
		    test_group_takes_what_it_holds_to_another_pool,
		    test_what_waits_beyond_gaps_is_given_up_in_the_new_pool,
		    test_leaving_a_throttled_pool_ends_what_it_withheld,
		    test_pool_that_shrinks_is_throttled_by_its_new_size,
		    test_number_has_another_port_when_no_connection_names_it,
		    test_packets_to_other_ports_of_the_hosts_own_are_dropped,
		    test_packets_to_an_address_that_is_not_ours_are_dropped,
		    test_limit_of_connections_changes,
		    test_room_is_taken_for_what_is_missing))
