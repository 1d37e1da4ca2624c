/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/budget.h"
#include "daemon/groups.h"
#include "unit/unit.h"

static struct arena_header header;
static struct conf_pool pool;
static struct conf_group group;
static struct conf conf;
static struct budget_scale scale;
static struct budget b;

static void up(void)
{
	header = (struct arena_header){
		.workers = 1,
		.recs_per_shard = 100000,
		.rx_chunks_per_shard = 4096,
		.tx_chunks_per_shard = 2048,
	};
	pool = (struct conf_pool){ 0 };
	group = (struct conf_group){ .port = 1 };
	conf = (struct conf){
		.pools = &pool, .n_pools = 1, .groups = &group, .n_groups = 1
	};
	conf.tun.mtu = 1500;
	scale = (struct budget_scale){ .pool_bytes = 1 << 20, .groups = 1 };
}

static uint64_t make(void)
{
	budget_make(&b, &header, &conf, &scale);
	return budget_total(&b);
}

START_TEST(test_budget_of_what_the_arena_holds)
{
	make();
	ck_assert_uint_eq(b.records, 100000 * 80);
	ck_assert_uint_eq(b.blocks, 100000 * 512);
	ck_assert_uint_eq(b.transmit_buffer, 2048 * 528);
	/* what the pools allow, not what the arena has room for */
	ck_assert_uint_eq(b.receive_pools, 2048 * 528);
	header.workers = 2;
	make();
	ck_assert_uint_eq(b.records, 200000 * 80);
	ck_assert_uint_eq(b.transmit_buffer, 4096 * 528);
	ck_assert_uint_eq(b.receive_pools, 2048 * 528);
}
END_TEST

/* Room for eight large packets in each worker's batch. */
START_TEST(test_budget_has_the_packets_of_offload)
{
	uint64_t without = make();

	conf.tun.offload = true;
	ck_assert_uint_ge(make(), without + 8 * 65535);
}
END_TEST

START_TEST(test_budget_of_tables_is_by_record)
{
	uint64_t before;

	make();
	before = b.tables;
	header.recs_per_shard *= 2;
	make();
	/* index 12, segments in flight 48, lists 20, latency 8, three maps of an eighth */
	ck_assert_uint_ge(b.tables - before, 100000 * 88);
	ck_assert_uint_le(b.tables - before, 100000 * 89);
	before = b.tables;
	group.max_per_source = 1;
	make();
	ck_assert_uint_eq(b.tables - before, 200000 * 4);
}
END_TEST

START_TEST(test_budget_of_streams_is_by_stream)
{
	uint64_t none = make();

	ck_assert_uint_eq(b.streams, 0);
	scale.streams = 3;
	ck_assert_uint_eq(make(), none + b.streams);
	ck_assert_uint_ge(b.streams,
			  3 * (STREAM_OUT_MAX_BYTES + FRAME_PAYLOAD_MAX));
}
END_TEST

START_TEST(test_budget_of_lists_is_no_more_than_there_are_connections)
{
	uint64_t many, few;

	make();
	many = b.control;
	header.recs_per_shard *= 2;
	make();
	ck_assert_uint_eq(b.control, many);
	header.recs_per_shard = 1000;
	make();
	few = b.control;
	ck_assert_uint_lt(few + 20000000, many);
}
END_TEST

UNIT_MAIN("daemon/budget",
	  UNIT_CASE("budget", up, NULL, test_budget_of_what_the_arena_holds,
		    test_budget_has_the_packets_of_offload,
		    test_budget_of_tables_is_by_record,
		    test_budget_of_streams_is_by_stream,
		    test_budget_of_lists_is_no_more_than_there_are_connections))
