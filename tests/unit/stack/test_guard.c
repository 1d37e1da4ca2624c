/* SPDX-License-Identifier: BSD-2-Clause */
/* Limits that keep one client from taking what is there for all. */
#include <string.h>

#include "../unit.h"
#include "rig.h"
#include "stack/conn.h"

static void up(void)
{
	rig_up();
}

static void down(void)
{
	rig_down();
}

static void syn(struct rig_client *cl, uint16_t port, uint8_t host)
{
	rig_client(cl, port);
	cl->host = host;
	rig_input(cl, &(struct rig_seg){ .flags = TH_SYN,
					 .seq = cl->iss,
					 .syn_options = true });
}

static void open_one(struct rig_client *cl, uint16_t port, uint8_t host)
{
	syn(cl, port, host);
	rig_expect(cl, TH_SYN | TH_ACK);
	rig_ack(cl);
	rig_expect_nothing();
	for (uint32_t ri = 0; ri < rig.shard.n_recs; ri++) {
		if (rig.shard.recs[ri].state &&
		    rig.shard.recs[ri].remote_port == port)
			cl->ri = ri;
	}
}

START_TEST(test_half_open_limit_drops_where_the_application_accepts)
{
	struct rig_client cl = { 0 };

	rig.group.accept = STACK_ACCEPT_APPLICATION;
	rig_group();
	rig.st->limits.half_open_max = 2;
	for (uint16_t i = 0; i < 3; i++)
		syn(&cl, (uint16_t)(1000 + i), 0);
	rig_expect_nothing();
	ck_assert_uint_eq(rig.st->half_open, 2);
	ck_assert_uint_eq(rig_counter(SC_drop_half_open), 1);
	/* One less: there is room again. */
	ck_assert_int_eq(stack_refuse(rig.st, 0, rig.now_us), 0);
	rig_expect(&cl, TH_RST | TH_ACK);
	syn(&cl, 1002, 0);
	ck_assert_uint_eq(rig.st->half_open, 2);
}
END_TEST

START_TEST(test_half_open_limit_turns_to_cookies_elsewhere)
{
	struct rig_client cl = { 0 };

	rig.st->limits.half_open_max = 2;
	for (uint16_t i = 0; i < 3; i++) {
		syn(&cl, (uint16_t)(1000 + i), 0);
		rig_expect(&cl, TH_SYN | TH_ACK);
	}
	ck_assert_uint_eq(rig_counter(SC_cookies_sent), 1);
	ck_assert_uint_eq(rig_counter(SC_drop_half_open), 0);
}
END_TEST

START_TEST(test_half_open_per_source_spares_the_others)
{
	struct rig_client cl = { 0 };

	rig.st->limits.half_open_per_source = 2;
	for (uint16_t i = 0; i < 4; i++) {
		syn(&cl, (uint16_t)(1000 + i), 0);
		rig_expect(&cl, TH_SYN | TH_ACK);
	}
	ck_assert_uint_eq(rig.st->half_open, 2);
	ck_assert_uint_eq(rig_counter(SC_cookies_sent), 2);
	syn(&cl, 1000, 1);
	rig_expect(&cl, TH_SYN | TH_ACK);
	ck_assert_uint_eq(rig.st->half_open, 3);
	/* They end: the source begins anew. */
	rig_pass_us(60000000);
	ck_assert_uint_eq(rig.st->half_open, 0);
	rig.seen = rig.n_out;
	syn(&cl, 1000, 0);
	rig_expect(&cl, TH_SYN | TH_ACK);
	ck_assert_uint_eq(rig.st->half_open, 1);
}
END_TEST

START_TEST(test_half_open_per_source_drops_where_the_application_accepts)
{
	struct rig_client cl = { 0 };

	rig.group.accept = STACK_ACCEPT_APPLICATION;
	rig_group();
	rig.st->limits.half_open_per_source = 1;
	syn(&cl, 1000, 0);
	syn(&cl, 1001, 0);
	syn(&cl, 1002, 1);
	ck_assert_uint_eq(rig.st->half_open, 2);
	ck_assert_uint_eq(rig_counter(SC_drop_source_half_open), 1);
}
END_TEST

START_TEST(test_max_per_source_refuses)
{
	struct rig_client cl[3] = { 0 }, other = { 0 };

	rig.group.max_per_source = 2;
	rig_group();
	open_one(&cl[0], 1000, 0);
	open_one(&cl[1], 1001, 0);
	syn(&cl[2], 1002, 0);
	rig_expect(&cl[2], TH_RST | TH_ACK);
	ck_assert_uint_eq(rig_counter(SC_drop_source_full), 1);
	ck_assert_uint_eq(rig_counter(SC_conn_refused), 1);
	open_one(&other, 1002, 1);
	stack_abort(rig.st, cl[0].ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&cl[0], TH_RST | TH_ACK);
	open_one(&cl[2], 1002, 0);
}
END_TEST

/* Whoever sends SYNs in a client's name can't keep the client out. */
START_TEST(test_max_per_source_counts_no_half_open_ones)
{
	struct rig_client cl = { 0 };

	rig.group.max_per_source = 2;
	rig_group();
	for (uint16_t i = 0; i < 10; i++) {
		syn(&cl, (uint16_t)(2000 + i), 0);
		rig_expect(&cl, TH_SYN | TH_ACK);
	}
	ck_assert_uint_eq(rig.st->half_open, 2);
	open_one(&cl, 1000, 0);
	open_one(&cl, 1001, 0);
	ck_assert_uint_eq(rig_counter(SC_cookies_accepted), 2);
	syn(&cl, 1002, 0);
	rig_expect(&cl, TH_RST | TH_ACK);
}
END_TEST

START_TEST(test_max_per_source_holds_for_cookies)
{
	struct rig_client cl[3] = { 0 };

	rig.group.max_per_source = 2;
	rig_group();
	rig.st->limits.syn_cookies = STACK_COOKIES_ALWAYS;
	for (uint16_t i = 0; i < 3; i++) {
		syn(&cl[i], (uint16_t)(1000 + i), 0);
		rig_expect(&cl[i], TH_SYN | TH_ACK);
	}
	rig_ack(&cl[0]);
	rig_ack(&cl[1]);
	rig_expect_nothing();
	rig_ack(&cl[2]);
	rig_expect(&cl[2], TH_RST);
	ck_assert_uint_eq(rig_counter(SC_drop_source_full), 1);
}
END_TEST

START_TEST(test_max_per_source_set_later_counts_what_is_there)
{
	struct rig_client cl = { 0 };

	open_one(&cl, 1000, 0);
	rig.group.max_per_source = 1;
	rig_group();
	syn(&cl, 1001, 0);
	rig_expect(&cl, TH_RST | TH_ACK);
}
END_TEST

static struct tuple source6(uint8_t at7, uint8_t at8)
{
	struct tuple tuple = { .v6 = true, .remote = { 0x20, 1 } };

	tuple.remote[7] = at7;
	tuple.remote[8] = at8;
	return tuple;
}

START_TEST(test_source_is_a_64_bit_prefix_of_ipv6)
{
	struct tuple a = source6(1, 1), b = source6(1, 2), c = source6(2, 1);
	uint64_t hash = source_hash(rig.st->header, &a, 1);

	ck_assert_uint_eq(hash, source_hash(rig.st->header, &b, 1));
	ck_assert_uint_ne(hash, source_hash(rig.st->header, &c, 1));
	ck_assert_uint_ne(hash, source_hash(rig.st->header, &a, 2));
}
END_TEST

START_TEST(test_source_count_is_never_too_low)
{
	static uint32_t cells[SOURCE_ROWS * 64];
	struct source_table t = { .width = 64, .cells = cells };
	uint64_t hashes[500];

	for (uint32_t i = 0; i < 500; i++) {
		struct tuple tuple = source6((uint8_t)i, 0);

		tuple.remote[6] = (uint8_t)(i >> 8);
		hashes[i] = source_hash(rig.st->header, &tuple, 0);
		for (uint32_t n = 0; n <= i % 3; n++)
			source_add(&t, hashes[i]);
	}
	for (uint32_t i = 0; i < 500; i++)
		ck_assert_uint_ge(source_count(&t, hashes[i]), i % 3 + 1);
	for (uint32_t i = 0; i < 500; i++) {
		for (uint32_t n = 0; n <= i % 3; n++)
			source_sub(&t, hashes[i]);
	}
	for (uint32_t i = 0; i < 500; i++)
		ck_assert_uint_eq(source_count(&t, hashes[i]), 0);
}
END_TEST

static void up_many(void)
{
	rig_max_connections = 2048;
	rig_up();
}

/* An in-window RST at another place than rcv_nxt. */
static void forge(const struct rig_client *cl)
{
	rig_input(cl, &(struct rig_seg){ .flags = TH_RST,
					 .seq = cl->snd_nxt + 100 });
}

START_TEST(test_challenges_of_one_connection_are_half_a_second_apart)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	for (int i = 0; i < 20; i++) {
		forge(&cl);
		rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
						  .seq = cl.snd_nxt + 5 });
		rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK,
						  .seq = cl.snd_nxt,
						  .ack = cl.rcv_nxt + 9 });
		rig_pass_us(50000);
	}
	/* At 0, 500 ms; the block that knows of it has not gone between. */
	ck_assert_uint_eq(rig_counter(SC_challenge_acks), 2);
	ck_assert_uint_eq(rig_counter(SC_challenge_suppressed), 58);
	rig_pass_us(500000);
	ck_assert_ptr_null(rig_blk(&cl));
	rig.seen = rig.n_out;
	forge(&cl);
	rig_expect(&cl, TH_ACK);
}
END_TEST

START_TEST(test_segments_from_before_the_window_are_not_answered_one_for_one)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	for (int i = 0; i < 1000; i++) {
		rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK,
						  .seq = cl.snd_nxt - 5000,
						  .ack = cl.rcv_nxt });
		rig_pass_us(1000);
	}
	ck_assert_uint_eq(rig.n_out - rig.seen, 2);
	ck_assert_uint_eq(rig_counter(SC_oow_suppressed), 998);
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_segments_that_paws_drops_are_not_answered_one_for_one)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	cl.tsval -= 100;
	for (int i = 0; i < 10; i++)
		rig_ack(&cl);
	rig_expect(&cl, TH_ACK);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_paws_dropped), 10);
	ck_assert_uint_eq(rig_counter(SC_oow_suppressed), 9);
}
END_TEST

static uint64_t budget_of_second(uint32_t n)
{
	static struct rig_client cl[1700];
	uint64_t before = rig_counter(SC_challenge_acks);

	for (uint32_t i = 0; i < n; i++) {
		if (!cl[i].rig)
			open_one(&cl[i], (uint16_t)(1000 + i), 0);
	}
	rig_pass_us(1000000);
	for (uint32_t i = 0; i < n; i++)
		forge(&cl[i]);
	rig.seen = rig.n_out;
	return rig_counter(SC_challenge_acks) - before;
}

/* CVE-2016-5696: the budget is bounded, and nobody can tell what is left. */
START_TEST(test_challenges_of_all_have_a_budget_that_nobody_can_foretell)
{
	uint64_t budget[4], differ = 0;

	for (int i = 0; i < 4; i++) {
		budget[i] = budget_of_second(1700);
		ck_assert_uint_ge(budget[i], 500);
		ck_assert_uint_lt(budget[i], 1500);
		differ += i && budget[i] != budget[i - 1];
	}
	ck_assert_uint_ge(differ, 2);
}
END_TEST

UNIT_MAIN(
	"stack/guard",
	UNIT_CASE("limits", up, down,
		  test_half_open_limit_drops_where_the_application_accepts,
		  test_half_open_limit_turns_to_cookies_elsewhere,
		  test_half_open_per_source_spares_the_others,
		  test_half_open_per_source_drops_where_the_application_accepts,
		  test_max_per_source_refuses,
		  test_max_per_source_counts_no_half_open_ones,
		  test_max_per_source_holds_for_cookies,
		  test_max_per_source_set_later_counts_what_is_there,
		  test_source_is_a_64_bit_prefix_of_ipv6,
		  test_source_count_is_never_too_low),
	UNIT_CASE(
		"challenges", up, down,
		test_challenges_of_one_connection_are_half_a_second_apart,
		test_segments_from_before_the_window_are_not_answered_one_for_one,
		test_segments_that_paws_drops_are_not_answered_one_for_one),
	UNIT_CASE("budget", up_many, down,
		  test_challenges_of_all_have_a_budget_that_nobody_can_foretell))
