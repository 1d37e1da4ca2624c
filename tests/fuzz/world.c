/* SPDX-License-Identifier: BSD-2-Clause */
#include "fuzz/world.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arena/recover.h"
#include "fuzz/fuzz.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WORLD_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define WORLD_ASAN 1
#endif

#ifdef WORLD_ASAN
#include <sanitizer/asan_interface.h>
#endif

#define WORLD_RX_BYTES (192u * CHUNK_BYTES)
#define WORLD_TX_BYTES (128u * CHUNK_BYTES)
/* Anonymous maps up to this come from the heap. */
#define WORLD_MAP_BYTES 65536u

struct world world;

static const uint8_t world_vip4[4] = { 192, 0, 2, 10 };
static const uint8_t world_vip6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 0x10 };

/* --- maps -------------------------------------------------------------- */

void *__real_mmap(void *addr, size_t len, int prot, int flags, int fd,
		  off_t off);
int __real_munmap(void *addr, size_t len);
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd,
		  off_t off);
int __wrap_munmap(void *addr, size_t len);

void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd,
		  off_t off)
{
	void *p;

	if (!(flags & MAP_ANONYMOUS) || len > WORLD_MAP_BYTES)
		return __real_mmap(addr, len, prot, flags, fd, off);
	p = calloc(1, len);
	return p ? p : MAP_FAILED;
}

int __wrap_munmap(void *addr, size_t len)
{
	if (len > WORLD_MAP_BYTES)
		return __real_munmap(addr, len);
	free(addr);
	return 0;
}

/* --- streams ----------------------------------------------------------- */

/* Both repeat after 64 KiB: a table, and somewhat more for runs. */
#define WORLD_STREAM_BYTES 65536u
#define WORLD_RUN_BYTES 8192u

static uint8_t world_streams[2][WORLD_STREAM_BYTES + WORLD_RUN_BYTES];

static void world_fill_streams(void)
{
	for (uint32_t i = 0; i < WORLD_STREAM_BYTES + WORLD_RUN_BYTES; i++) {
		world_streams[0][i] = (uint8_t)(i * 31 + (i >> 8) * 7 + 11);
		world_streams[1][i] = (uint8_t)(i * 13 + (i >> 8) * 5 + 101);
	}
}

const uint8_t *world_client_bytes(uint32_t pos)
{
	return &world_streams[0][pos % WORLD_STREAM_BYTES];
}

bool world_client_said(uint32_t pos, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		size_t n = len < WORLD_RUN_BYTES ? len : WORLD_RUN_BYTES;

		if (memcmp(bytes, world_client_bytes(pos), n) != 0)
			return false;
		pos += (uint32_t)n;
		bytes += n;
		len -= n;
	}
	return true;
}

const uint8_t *world_server_bytes(uint32_t pos)
{
	return &world_streams[1][pos % WORLD_STREAM_BYTES];
}

/* --- life -------------------------------------------------------------- */

/* What lies between the arena's parts belongs to nobody. */
static void world_poison(void)
{
#ifdef WORLD_ASAN
	const struct arena_header *h = world.arena.header;
	struct shard_layout at = arena_shard_layout(h, 0);
	uint8_t *base = world.arena.base;

	ASAN_POISON_MEMORY_REGION(base + sizeof(*h), at.end - sizeof(*h));
#define PART(name, n, each) \
	ASAN_UNPOISON_MEMORY_REGION(base + at.name, (uint64_t)(n) * (each));
	SHARD_PARTS(PART, h)
#undef PART
#endif
}

static void world_make_arena(void)
{
	const struct arena_sizes sizes = {
		.workers = 1,
		.max_connections = WORLD_RECS,
		.rx_bytes = WORLD_RX_BYTES,
		.tx_bytes = WORLD_TX_BYTES,
	};
	struct arena_header *header;

	world_fill_streams();
	FUZZ_CHECK(arena_create(&world.arena, NULL, &sizes) == 0);
	header = world.arena.header;
	for (uint64_t i = 0; i < 4; i++)
		header->secret[i] = UINT64_C(0x0123456789abcdef) * (i + 3);
	header->check = arena_header_check(header);
	world_poison();
}

static void world_clean_arena(void)
{
	struct arena_header *h = world.arena.header;
	struct shard_layout at = arena_shard_layout(h, 0);
	uint8_t *base = world.arena.base;

	memset(base + at.recs, 0, h->recs_per_shard * sizeof(struct rec));
	memset(base + at.recs6, 0, h->recs_per_shard * sizeof(struct rec6));
	memset(base + at.blks, 0, h->recs_per_shard * sizeof(struct blk));
	memset(base + at.rx_chunks, 0,
	       h->rx_chunks_per_shard * sizeof(struct chunk));
	memset(base + at.tx_chunks, 0,
	       h->tx_chunks_per_shard * sizeof(struct chunk));
	memset(base + at.slot_owners +
		       WORLD_GROUP * ARENA_SLOTS * sizeof(uint64_t),
	       0, ARENA_SLOTS * sizeof(uint64_t));
	h->shards[0].recs_high = 0;
	memset(h->vips, 0, sizeof(h->vips));
	h->vips[0].family = 4;
	memcpy(h->vips[0].bytes, world_vip4, 4);
	h->vips[1].family = 6;
	memcpy(h->vips[1].bytes, world_vip6, 16);
}

void world_group(void)
{
	FUZZ_CHECK(stack_group_set(world.st, &world.group) == 0);
	if (world.group.ack != STACK_ACK_DEFERRED ||
	    world.group.ack_window_bytes || world.group.ack_deadline_us)
		world.i1 = false;
}

static void world_limits_init(uint16_t mtu)
{
	stack_limits_init(&world.limits, mtu);
	world.limits.ooo_chunks_max = 12;
	world.limits.half_open_max = 5;
	world.limits.half_open_cookies = 3;
	world.limits.half_open_per_source = 0;
	world.limits.frag_datagrams = 3;
	world.limits.frag_per_source = 2;
	world.limits.snd_queue_max = 16 * CHUNK_BYTES;
}

/* A process: a shard's derived half and a stack, over the arena as it is. */
static void world_start(void)
{
	const struct stack_ops ops = { .emit = client_on_emit,
				       .trace = client_on_trace };

	atomic_store_explicit(&world.shared_count, 0, memory_order_relaxed);
	FUZZ_CHECK(shard_init(&world.shard, &world.arena, 0, world.now_us) ==
		   0);
	world.st =
		stack_new(&world.shard, 1, &ops, &world.limits, world.now_us);
	FUZZ_CHECK(world.st);
	stack_pool_set(world.st, 0, world.pool_bytes, 90, 75);
	world_group();
}

static void world_begin(const struct world_setup *setup, uint64_t now_us)
{
	world_clean_arena();
	world.now_us = now_us;
	world.emitted = 0;
	world.i1 = true;
	world.own_replies = false;
	memset(world.garbled, 0, sizeof(world.garbled));
	world_limits_init(setup->mtu);
	world.pool_bytes = setup->pool_bytes;
	world.group = setup->group;
	world.group.id = WORLD_GROUP;
	world.group.port = WORLD_PORT;
	world.group.pool = 0;
	world.group.shared_count = &world.shared_count;
	world_start();
	for (uint32_t i = 0; i < WORLD_CLIENTS; i++)
		client_reset(&world.clients[i], i, setup->clients >> 4 * i);
}

void world_kill(void)
{
	stack_free(world.st);
	world.st = NULL;
	shard_fini(&world.shard);
}

/* All but the bytes of chunks, and the owners of groups that there are not. */
static void world_copy(bool back)
{
	static uint8_t *kept;
	const struct arena_header *h = world.arena.header;
	struct shard_layout at = arena_shard_layout(h, 0);
	uint8_t *base = world.arena.base, *to;

#define PART(name, n, each)                                               \
	if (at.name != at.rx_bytes && at.name != at.tx_bytes) {           \
		size_t bytes = (size_t)(n) * (each);                      \
                                                                          \
		if (at.name == at.slot_owners)                            \
			bytes = (WORLD_GROUP + 1) * ARENA_SLOTS * (each); \
		if (back)                                                 \
			memcpy(base + at.name, to, bytes);                \
		else                                                      \
			memcpy(to, base + at.name, bytes);                \
		to += bytes;                                              \
	}
	if (!kept)
		kept = malloc(1u << 20);
	FUZZ_CHECK(kept);
	to = kept;
	SHARD_PARTS(PART, h)
#undef PART
	FUZZ_CHECK(to <= kept + (1u << 20));
}

void world_freeze(void)
{
	world_copy(false);
}

void world_thaw(void)
{
	world_copy(true);
}

uint32_t world_recover(void)
{
	world_start();
	return stack_recover(world.st, world.now_us);
}

/*
 * When do the first client's numbers come close to the wrap? Asked of the
 * stack itself: ISNs advance by one in 4 us (RFC 6528).
 */
static uint64_t world_wrap_us(const struct world_setup *setup)
{
	static uint64_t at_us;
	struct world_client *cl = &world.clients[0];
	uint32_t ahead;

	if (at_us)
		return at_us;
	world_begin(setup, WORLD_START_US);
	client_connect(cl);
	ahead = cl->answered ? UINT32_C(0xfffffe00) - cl->srv_iss : 1;
	at_us = WORLD_START_US + UINT64_C(4) * ahead;
	world_kill();
	return at_us;
}

void world_up(const struct world_setup *setup)
{
	static const struct world_setup plain = {
		.mtu = 1500,
		.pool_bytes = WORLD_RX_BYTES,
		.group = { .vip_mask = UINT64_MAX,
			   .user_timeout_us = 30000000 },
	};
	uint64_t now_us = WORLD_START_US;

	if (!world.arena.base)
		world_make_arena();
	if (setup->near_wrap)
		now_us = world_wrap_us(&plain);
	world_begin(setup, now_us);
}

void world_flush(void)
{
	stack_flush(world.st, world.now_us);
}

void world_pass_us(uint64_t us, uint32_t max_ticks)
{
	uint64_t end = world.now_us + us;

	FUZZ_SAY("%llu us pass", (unsigned long long)us);
	for (uint32_t i = 0; i < max_ticks; i++) {
		uint64_t next = stack_next_us(world.st);

		if (next >= end)
			break;
		if (next > world.now_us)
			world.now_us = next;
		stack_tick(world.st, world.now_us);
		world_flush();
	}
	world.now_us = end;
	stack_tick(world.st, world.now_us);
	world_flush();
}

/* --- what must hold ---------------------------------------------------- */

static void world_check_blk(uint32_t ri)
{
	const struct rec *r = &world.shard.recs[ri];
	const struct blk *b = &world.shard.blks[r->block];

	if (r->state < TCP_ESTABLISHED || r->state == TCP_GONE)
		return;
	FUZZ_CHECK((int32_t)(b->rcv_ack - b->rcv_app) >= 0);
	FUZZ_CHECK((int32_t)(b->rcv_nxt - b->rcv_ack) >= 0);
	FUZZ_CHECK((int32_t)(b->rcv_dlv - b->rcv_app) >= 0);
	FUZZ_CHECK((int32_t)(b->rcv_nxt - b->rcv_dlv) >= 0);
	FUZZ_CHECK((int32_t)(b->snd_nxt - b->snd_una) >= 0);
	if (world.i1 && !world.garbled[ri])
		FUZZ_CHECK(b->rcv_ack - b->rcv_app <=
			   !!(r->flags & REC_FIN_RCVD));
}

void world_check(void)
{
	const char *wrong = shard_check(&world.shard);
	uint32_t n = 0;

	FUZZ_CHECK(!wrong, "%s", wrong);
	for (uint32_t ri = 0; ri < WORLD_RECS; ri++) {
		const struct rec *r = &world.shard.recs[ri];

		if (r->state == TCP_FREE)
			continue;
		n++;
		FUZZ_CHECK(r->state < TCP_STATES);
		if (r->block != NIL)
			world_check_blk(ri);
	}
	FUZZ_CHECK(n == world.shared_count);
	FUZZ_CHECK(world.st->pools[0].used_chunks ==
		   bitmap_used_count(&world.shard.rx.map));
}

static void world_on_torn(void *ctx, uint32_t ri)
{
	const struct rec *r = &world.shard.recs[ri];

	(void)ctx;
	FUZZ_CHECK(false, "record %u, %s, port %u, is torn", ri,
		   tcp_state_name(r->state), r->remote_port);
}

void world_rebuild(void)
{
	uint32_t used = bitmap_used_count(&world.shard.rec_map);
	uint32_t entries = world.shard.wheel.entries;

	FUZZ_CHECK(shard_rebuild(&world.shard, world.now_us, world_on_torn,
				 NULL) == used);
	FUZZ_CHECK(world.shard.wheel.entries == entries);
	world_check();
}

static void world_check_empty(void)
{
	for (uint32_t ri = 0; ri < WORLD_RECS; ri++) {
		const struct rec *r = &world.shard.recs[ri];
		const struct blk *b =
			r->block == NIL ? NULL : &world.shard.blks[r->block];

		FUZZ_CHECK(r->state == TCP_FREE,
			   "a record is left in %s, flags %x, block flags %x",
			   tcp_state_name(r->state), r->flags,
			   b ? b->flags : 0);
	}
}

/* Left alone, everything ends. */
void world_down(void)
{
	uint16_t events;
	uint32_t ri;

	for (ri = 0; ri < WORLD_RECS; ri++) {
		if (world.shard.recs[ri].state != TCP_FREE)
			stack_abort(world.st, ri, world.now_us);
	}
	while ((ri = stack_next_event(world.st, &events)) != NIL)
		stack_forget(world.st, ri);
	world_flush();
	for (int i = 0; i < 3; i++)
		world_pass_us(UINT64_C(130000000), 0);
	world_check();
	world_check_empty();
	FUZZ_CHECK(bitmap_used_count(&world.shard.rec_map) == 0);
	FUZZ_CHECK(bitmap_used_count(&world.shard.blk_map) == 0);
	FUZZ_CHECK(bitmap_used_count(&world.shard.tx.map) == 0);
	FUZZ_CHECK(world.st->pools[0].used_chunks == 0);
	FUZZ_CHECK(world.st->pools[0].ooo_chunks == 0);
	FUZZ_CHECK(world.st->half_open == 0);
	FUZZ_CHECK(world.st->established == 0);
	FUZZ_CHECK(world.shared_count == 0);
	world_kill();
}
