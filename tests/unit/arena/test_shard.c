/* SPDX-License-Identifier: BSD-2-Clause */
/* The arena is the truth (I2): what is derived comes back from it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../unit.h"
#include "arena/arena.h"
#include "arena/recover.h"
#include "base/bytes.h"
#include "base/units.h"

static struct arena arena;
static struct shard sh;

static void up(void)
{
	struct arena_sizes sizes = {
		.workers = 1,
		.max_connections = 500,
		.rx_bytes = 256 * 1024,
		.tx_bytes = 256 * 1024,
	};

	ck_assert_int_eq(arena_create(&arena, NULL, &sizes), 0);
	arena.header->vips[0].family = 4;
	arena.header->vips[1].family = 6;
	ck_assert_int_eq(shard_init(&sh, &arena, 0, 0), 0);
}

static void down(void)
{
	shard_fini(&sh);
	arena_close(&arena);
}

static struct tuple tuple_of(uint32_t n)
{
	struct tuple t = {
		.remote_port = (uint16_t)(1000 + n % 7),
		.local_port = 80,
		.v6 = n % 3 == 0,
		.vip = n % 3 == 0,
	};

	memcpy(t.remote, &n, sizeof(n));
	if (t.v6)
		t.remote[15] = 1;
	return t;
}

static uint32_t add_tuple(const struct tuple *t, uint64_t hash)
{
	uint32_t ri = shard_rec_new(&sh, t, hash);

	if (ri != NIL) {
		sh.recs[ri].group = 1;
		sh.recs[ri].mss = 1460;
		sh.recs[ri].state = 3;
	}
	return ri;
}

static uint32_t add(uint32_t n)
{
	struct tuple t = tuple_of(n);

	return add_tuple(&t, tuple_hash(sh.header, &t));
}

/* A block as of a connection that has sent and received nothing. */
static uint32_t activate(uint32_t ri)
{
	uint32_t bi = shard_blk_new(&sh, ri);

	ck_assert_uint_ne(bi, NIL);
	sh.blks[bi].snd_una = sh.blks[bi].snd_nxt = sh.blks[bi].snd_end =
		sh.recs[ri].iss + 1;
	sh.blks[bi].rcv_app = sh.blks[bi].rcv_dlv = sh.blks[bi].rcv_redlv =
		sh.blks[bi].rcv_nxt = sh.blks[bi].rcv_ack =
			sh.blks[bi].rcv_acked = sh.recs[ri].irs + 1;
	shard_blk_link(&sh, bi);
	return bi;
}

/* Some bytes more at the end of the block's receive queue, in a chunk. */
static void add_chunk(uint32_t ri)
{
	uint32_t bi = sh.recs[ri].block, i;
	struct blk *b = &sh.blks[bi];

	i = chunks_alloc(&sh.rx, bi, b->rcv_nxt);
	ck_assert_uint_ne(i, NIL);
	sh.rx.desc[i].len = 10;
	if (b->rx_head == NIL)
		b->rx_head = i;
	else
		sh.rx.desc[b->rx_tail].next = i;
	b->rx_tail = i;
	b->rcv_nxt += 10;
}

START_TEST(test_record_is_one_cache_line_and_nothing_is_allocated_for_it)
{
	uint64_t empty = arena_resident_bytes(&arena), full;

	ck_assert_uint_eq(sizeof(struct rec), 64);
	for (uint32_t n = 0; n < 500; n++)
		ck_assert_uint_ne(add(n), NIL);
	ck_assert_uint_eq(add(500), NIL);
	full = arena_resident_bytes(&arena);
	/* 64 bytes each, 16 more for IPv6, whole pages. */
	ck_assert_uint_le(full - empty, 500 * 80 + 2 * 4096);
	ck_assert_ptr_null(shard_check(&sh));
}
END_TEST

START_TEST(test_find_by_tuple)
{
	for (uint32_t n = 0; n < 300; n++)
		add(n);
	for (uint32_t n = 0; n < 300; n += 2) {
		struct tuple t = tuple_of(n);

		shard_rec_free(&sh,
			       shard_find(&sh, &t, tuple_hash(sh.header, &t)));
	}
	for (uint32_t n = 0; n < 300; n++) {
		struct tuple t = tuple_of(n), back;
		uint32_t ri = shard_find(&sh, &t, tuple_hash(sh.header, &t));

		ck_assert((ri == NIL) == (n % 2 == 0));
		if (ri == NIL)
			continue;
		shard_rec_tuple(&sh, ri, &back);
		ck_assert_int_eq(memcmp(back.remote, t.remote, 16), 0);
		ck_assert_uint_eq(back.remote_port, t.remote_port);
	}
	ck_assert_ptr_null(shard_check(&sh));
}
END_TEST

START_TEST(test_reused_record_has_another_generation)
{
	uint32_t ri = add(1), first = sh.recs[ri].generation;

	shard_rec_free(&sh, ri);
	ck_assert_uint_eq(add(2), ri);
	ck_assert_uint_eq(sh.recs[ri].generation, first + 1);
	/* 24 bits, and never 0. */
	shard_rec_free(&sh, ri);
	sh.recs[ri].generation = 0xffffff;
	add(3);
	ck_assert_uint_eq(sh.recs[ri].generation, 1);
}
END_TEST

/* A simple generator: the tests repeat exactly. */
static uint32_t dice(uint32_t *seed, uint32_t sides)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % sides;
}

static void step(uint32_t *seed)
{
	struct tuple t = tuple_of(dice(seed, 600));
	uint64_t hash = tuple_hash(sh.header, &t);
	uint32_t ri = shard_find(&sh, &t, hash);

	if (ri == NIL) {
		(void)add_tuple(&t, hash);
		return;
	}
	if (sh.recs[ri].block == NIL) {
		if (dice(seed, 3))
			activate(ri);
		else
			shard_rec_free(&sh, ri);
		return;
	}
	switch (dice(seed, 4)) {
	case 0:
		if (bitmap_used_count(&sh.rx.map) < sh.rx.n)
			add_chunk(ri);
		break;
	case 1:
		wheel_set(&sh.wheel, sh.recs[ri].block,
			  1 + dice(seed, 1000000));
		break;
	case 2:
		shard_blk_free(&sh, ri);
		break;
	default:
		break;
	}
}

START_TEST(test_rebuild_gives_what_was_there)
{
	uint32_t seed = 42 + (uint32_t)_i;

	for (int round = 0; round < 20; round++) {
		uint32_t recs, blks, chunks, timers;

		for (int i = 0; i < 500; i++)
			step(&seed);
		ck_assert_ptr_null(shard_check(&sh));
		recs = bitmap_used_count(&sh.rec_map);
		blks = bitmap_used_count(&sh.blk_map);
		chunks = bitmap_used_count(&sh.rx.map);
		timers = sh.wheel.entries;
		ck_assert_uint_eq(shard_rebuild(&sh, 0, NULL, NULL), recs);
		ck_assert_uint_eq(bitmap_used_count(&sh.blk_map), blks);
		ck_assert_uint_eq(bitmap_used_count(&sh.rx.map), chunks);
		ck_assert_uint_eq(sh.wheel.entries, timers);
		ck_assert_ptr_null(shard_check(&sh));
	}
}
END_TEST

START_TEST(test_check_finds_broken_links)
{
	uint32_t ri = add(1), bi = activate(ri);

	add_chunk(ri);
	ck_assert_ptr_null(shard_check(&sh));
	sh.rx.desc[sh.blks[bi].rx_head].owner = bi + 1;
	ck_assert_ptr_nonnull(shard_check(&sh));
	sh.rx.desc[sh.blks[bi].rx_head].owner = bi;
	sh.blks[bi].rx_head = NIL;
	ck_assert_str_eq(shard_check(&sh), "chunks leaked");
	sh.blks[bi].rec = 7;
	ck_assert_ptr_nonnull(shard_check(&sh));
}
END_TEST

START_TEST(test_memory_goes_back_when_the_load_is_gone)
{
	uint32_t ri = add(1);
	uint64_t before, high;

	activate(ri);
	before = arena_resident_bytes(&arena);
	for (uint32_t i = 0; i + 1 < sh.rx.n; i++) {
		add_chunk(ri);
		memset(chunk_data(&sh.rx, i), 1, CHUNK_BYTES);
	}
	memset(sh.rx.bytes, 1, (size_t)sh.rx.n * CHUNK_BYTES);
	high = arena_resident_bytes(&arena);
	ck_assert_uint_ge(high, before + (sh.rx.n - 16) * CHUNK_BYTES);
	add_chunk(ri);
	shard_blk_free(&sh, ri);
	ck_assert_uint_gt(chunks_trim(&sh.rx, 0), 0);
	ck_assert_uint_le(arena_resident_bytes(&arena), before + 16 * 4096);
}
END_TEST

/* A load that comes and goes takes no page anew each time. */
START_TEST(test_memory_that_a_second_has_used_stays)
{
	uint64_t now_us = 5 * USEC_PER_SEC;
	uint32_t ri = add(1);

	for (int round = 0; round < 40; round++) {
		activate(ri);
		for (uint32_t i = 0; i < sh.rx.n; i++)
			add_chunk(ri);
		shard_trim(&sh, now_us);
		ck_assert_uint_eq(sh.rx.touched, sh.rx.n);
		now_us += 50000;
		shard_blk_free(&sh, ri);
		shard_trim(&sh, now_us);
		now_us += 50000;
		ck_assert_uint_eq(sh.rx.touched, sh.rx.n);
	}
	for (int i = 0; i < 40; i++, now_us += 50000)
		shard_trim(&sh, now_us);
	ck_assert_uint_eq(sh.rx.touched, 0);
}
END_TEST

/* Generations outlive connections, and with them what records touched. */
START_TEST(test_memory_of_blocks_goes_back_records_stay)
{
	struct arena_sizes sizes = { 1, 4096, 1 << 20, 1 << 20 };
	struct arena many;
	struct shard s;
	uint64_t high;
	uint32_t generation;

	ck_assert_int_eq(arena_create(&many, NULL, &sizes), 0);
	ck_assert_int_eq(shard_init(&s, &many, 0, 1), 0);
	for (uint32_t i = 0; i < 4096; i++) {
		struct tuple tuple = { .remote_port = 1,
				       .local_port = (uint16_t)i };
		uint32_t ri = shard_rec_new(&s, &tuple,
					    tuple_hash(many.header, &tuple));

		s.recs[ri].state = 1;
		shard_blk_link(&s, shard_blk_new(&s, ri));
	}
	high = arena_resident_bytes(&many);
	generation = s.recs[4095].generation;
	for (uint32_t ri = 0; ri < 4096; ri++) {
		shard_blk_free(&s, ri);
		shard_rec_free(&s, ri);
	}
	shard_trim(&s, 1);
	ck_assert_uint_le(arena_resident_bytes(&many),
			  high - 4096 * sizeof(struct blk));
	ck_assert_uint_eq(s.recs[4095].generation, generation);
	ck_assert_ptr_null(shard_check(&s));
	/* and they can be had again */
	high = arena_resident_bytes(&many);
	shard_trim(&s, 2 * USEC_PER_SEC);
	ck_assert_uint_eq(arena_resident_bytes(&many), high);
	shard_fini(&s);
	arena_close(&many);
}
END_TEST

/* Are huge pages advised for the mapping with this address? */
static bool huge_is_advised(const void *address)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	uintptr_t at = (uintptr_t)address, begin, end;
	char line[512];
	bool within = false, advised = false;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) ==
		    2)
			within = begin <= at && at < end;
		else if (within && !strncmp(line, "VmFlags:", 8))
			advised = strstr(line, " hg") != NULL;
	}
	fclose(f);
	return advised;
}

START_TEST(test_huge_pages_are_asked_for_large_tables_alone)
{
	static const uint32_t connections[] = { 100000, 2000000 };
	struct shard s;
	struct arena many;

	for (size_t i = 0; i < ARRAY_SIZE(connections); i++) {
		struct arena_sizes sizes = { 1, connections[i], 1 << 20,
					     1 << 20 };

		ck_assert_int_eq(arena_create(&many, NULL, &sizes), 0);
		ck_assert_int_eq(shard_init(&s, &many, 0, 0), 0);
		ck_assert_int_eq(huge_is_advised(s.index.slots), i == 1);
		ck_assert_int_eq(huge_is_advised(s.recs), i == 1);
		ck_assert(!huge_is_advised(s.blks));
		shard_fini(&s);
		arena_close(&many);
	}
}
END_TEST

START_TEST(test_shards_of_several_workers_do_not_overlap)
{
	struct arena_sizes sizes = { 4, 1000, 1 << 20, 1 << 20 };
	struct arena many;

	ck_assert_int_eq(arena_create(&many, NULL, &sizes), 0);
	for (uint32_t i = 0; i + 1 < 4; i++)
		ck_assert_uint_eq(arena_shard_layout(many.header, i).end,
				  arena_shard_layout(many.header, i + 1).recs);
	ck_assert_uint_eq(arena_shard_layout(many.header, 3).end, many.bytes);
	arena_close(&many);
}
END_TEST

UNIT_MAIN(
	"arena/shard",
	UNIT_CASE("records", up, down,
		  test_record_is_one_cache_line_and_nothing_is_allocated_for_it,
		  test_find_by_tuple, test_reused_record_has_another_generation,
		  test_check_finds_broken_links,
		  test_memory_goes_back_when_the_load_is_gone,
		  test_memory_that_a_second_has_used_stays),
	UNIT_CASE("arena", NULL, NULL,
		  test_memory_of_blocks_goes_back_records_stay,
		  test_huge_pages_are_asked_for_large_tables_alone,
		  test_shards_of_several_workers_do_not_overlap),
	UNIT_LOOP("rebuild", 8, up, down, test_rebuild_gives_what_was_there))
