/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is found in the arena of a process that died: completed, undone, or
 * dropped; and which arenas are not taken over at all.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../unit.h"
#include "arena/recover.h"
#include "base/bytes.h"

#define ISS 4294967000u /* near the wrap */
#define IRS 4294966000u

static struct arena arena;
static struct shard sh;
static uint32_t torn, torn_ri;

static void on_torn(void *ctx, uint32_t ri)
{
	ck_assert_ptr_eq(ctx, &sh);
	torn++;
	torn_ri = ri;
}

static void up(void)
{
	struct arena_sizes sizes = {
		.workers = 1,
		.max_connections = 100,
		.rx_bytes = 64 * 1024,
		.tx_bytes = 64 * 1024,
	};

	ck_assert_int_eq(arena_create(&arena, NULL, &sizes), 0);
	arena.header->vips[0].family = 4;
	ck_assert_int_eq(shard_init(&sh, &arena, 0, 0), 0);
	torn = 0;
}

static void down(void)
{
	shard_fini(&sh);
	arena_close(&arena);
}

static uint32_t add(uint16_t port)
{
	struct tuple t = { .remote = { 192, 0, 2, 1 },
			   .remote_port = port,
			   .local_port = 80 };
	uint32_t ri = shard_rec_new(&sh, &t, tuple_hash(sh.header, &t));
	struct rec *r = &sh.recs[ri];

	r->group = 1;
	r->mss = 1460;
	r->iss = ISS;
	r->irs = IRS;
	r->state = 3;
	return ri;
}

static void put_chunk(struct chunks *ch, uint32_t *head, uint32_t *tail,
		      uint32_t bi, uint32_t seq, uint32_t len)
{
	uint32_t i = chunks_alloc(ch, bi, seq);

	ck_assert_uint_ne(i, NIL);
	ch->desc[i].len = (uint16_t)len;
	if (*head == NIL)
		*head = i;
	else
		ch->desc[*tail].next = i;
	*tail = i;
}

/*
 * An active one: 700 bytes received in two chunks, of which 100 are taken, and
 * 700 queued in two chunks, of which 100 are acknowledged and 600 sent.
 */
static uint32_t add_active(uint16_t port)
{
	uint32_t ri = add(port), bi = shard_blk_new(&sh, ri);
	struct rec *r = &sh.recs[ri];
	struct blk *b = &sh.blks[bi];

	r->rcv_off = r->snd_off = 100;
	put_chunk(&sh.rx, &b->rx_head, &b->rx_tail, bi, IRS + 1, 512);
	put_chunk(&sh.rx, &b->rx_head, &b->rx_tail, bi, IRS + 513, 188);
	put_chunk(&sh.tx, &b->tx_head, &b->tx_tail, bi, ISS + 1, 512);
	put_chunk(&sh.tx, &b->tx_head, &b->tx_tail, bi, ISS + 513, 188);
	b->rcv_app = IRS + 101;
	b->rcv_dlv = b->rcv_redlv = IRS + 401;
	b->rcv_ack = b->rcv_acked = IRS + 301;
	b->rcv_nxt = IRS + 701;
	b->rcv_adv = IRS + 10001;
	b->snd_una = ISS + 101;
	b->snd_nxt = ISS + 601;
	b->snd_end = ISS + 701;
	shard_blk_link(&sh, bi);
	return ri;
}

static struct blk *blk_of(uint32_t ri)
{
	return &sh.blks[sh.recs[ri].block];
}

static uint32_t rebuild(void)
{
	return shard_rebuild(&sh, 0, on_torn, &sh);
}

/* It is as it was, whatever the block says of what is derived. */
static void expect_whole(uint32_t ri)
{
	const struct rec *r = &sh.recs[ri];
	const struct blk *b = blk_of(ri);

	ck_assert_uint_eq(torn, 0);
	ck_assert_ptr_null(shard_check(&sh));
	ck_assert_uint_eq(r->rcv_off, b->rcv_app - (IRS + 1));
	ck_assert_uint_eq(b->snd_una, ISS + 1 + (uint32_t)r->snd_off);
	ck_assert_uint_eq(sh.tx.desc[b->tx_tail].seq +
				  sh.tx.desc[b->tx_tail].len,
			  b->snd_end);
	ck_assert_uint_eq(sh.rx.desc[b->rx_tail].seq +
				  sh.rx.desc[b->rx_tail].len,
			  b->rcv_nxt);
	ck_assert_uint_eq(b->sent.lost_bytes, b->snd_nxt - b->snd_una);
}

/* --- completed or undone ----------------------------------------------- */

START_TEST(test_derived_fields_are_not_trusted)
{
	uint32_t ri = add_active(1);
	struct blk *b = blk_of(ri);

	b->rx_tail = 12345;
	b->tx_tail = 12345;
	b->tx_cur = 777;
	b->snd_una = 5;
	b->rcv_nxt = 7;
	b->ready_next = b->dirty_next = 9;
	ck_assert_uint_eq(rebuild(), 1);
	expect_whole(ri);
	ck_assert_uint_eq(b->rcv_nxt, IRS + 701);
	ck_assert_uint_eq(b->rcv_dlv, IRS + 401);
	ck_assert_uint_eq(bitmap_used_count(&sh.rx.map), 2);
	ck_assert_uint_eq(bitmap_used_count(&sh.tx.map), 2);
}
END_TEST

START_TEST(test_reply_that_was_not_committed_is_undone)
{
	uint32_t ri = add_active(1), bi = sh.recs[ri].block;
	struct blk *b = blk_of(ri);

	/* Bytes behind snd_end, in the last chunk and in two of their own. */
	sh.tx.desc[b->tx_tail].len += 324;
	put_chunk(&sh.tx, &b->tx_head, &b->tx_tail, bi, ISS + 1025, 512);
	put_chunk(&sh.tx, &b->tx_head, &b->tx_tail, bi, ISS + 1537, 100);
	ck_assert_uint_eq(rebuild(), 1);
	expect_whole(ri);
	ck_assert_uint_eq(b->snd_end, ISS + 701);
	ck_assert_uint_eq(bitmap_used_count(&sh.tx.map), 2);
}
END_TEST

START_TEST(test_reply_that_was_committed_is_completed)
{
	uint32_t ri = add_active(1);
	struct blk *b = blk_of(ri);

	/* What it acknowledged is in the block alone. */
	blk_commit(b, IRS + 601, ISS + 701);
	ck_assert_uint_eq(rebuild(), 1);
	expect_whole(ri);
	ck_assert_uint_eq(sh.recs[ri].rcv_off, 600);
	ck_assert_uint_eq(b->rcv_dlv, IRS + 601);
	ck_assert_uint_eq(b->rcv_ack, IRS + 601);
	ck_assert_uint_eq(b->rcv_acked, IRS + 301); /* yet to be told */
	ck_assert_uint_eq(bitmap_used_count(&sh.rx.map), 1);
}
END_TEST

START_TEST(test_acknowledged_bytes_are_dropped)
{
	uint32_t ri = add_active(1);
	struct blk *b = blk_of(ri);

	sh.recs[ri].snd_off = 600;
	ck_assert_uint_eq(rebuild(), 1);
	expect_whole(ri);
	ck_assert_uint_eq(b->sent.n, 0);
	ck_assert_uint_eq(bitmap_used_count(&sh.tx.map), 1);
	sh.recs[ri].snd_off = 700;
	b->snd_nxt = ISS + 701;
	ck_assert_uint_eq(rebuild(), 1);
	ck_assert_uint_eq(b->tx_head, NIL);
	ck_assert_uint_eq(b->tx_tail, NIL);
	ck_assert_ptr_null(shard_check(&sh));
}
END_TEST

START_TEST(test_received_text_ends_where_the_chain_does)
{
	uint32_t ri = add_active(1), bi = sh.recs[ri].block, i;
	struct blk *b = blk_of(ri);

	/* Linked, and a chunk behind it that does not follow. */
	put_chunk(&sh.rx, &b->rx_head, &b->rx_tail, bi, IRS + 701, 50);
	put_chunk(&sh.rx, &b->rx_head, &b->rx_tail, bi, IRS + 760, 50);
	i = b->rx_tail;
	ck_assert_uint_eq(rebuild(), 1);
	expect_whole(ri);
	ck_assert_uint_eq(b->rcv_nxt, IRS + 751);
	ck_assert(!bitmap_test(&sh.rx.map, i));
}
END_TEST

START_TEST(test_fin_is_counted_by_its_flag)
{
	uint32_t ri = add_active(1);

	sh.recs[ri].flags |= REC_FIN_RCVD;
	ck_assert_uint_eq(rebuild(), 1);
	ck_assert_uint_eq(blk_of(ri)->rcv_nxt, IRS + 702);
	ck_assert_uint_eq(torn, 0);
}
END_TEST

START_TEST(test_chunks_beyond_gaps_are_those_that_can_be_reached)
{
	uint32_t ri = add_active(1), bi = sh.recs[ri].block, tail = NIL;
	struct blk *b = blk_of(ri);

	put_chunk(&sh.rx, &b->ooo_head, &tail, bi, IRS + 2001, 50);
	put_chunk(&sh.rx, &b->ooo_head, &tail, bi, IRS + 3001, 50);
	put_chunk(&sh.rx, &b->ooo_head, &tail, bi, IRS + 4001, 50);
	b->ooo_chunks = 99;
	sh.rx.desc[tail].owner = NIL; /* freed, but still linked */
	ck_assert_uint_eq(rebuild(), 1);
	ck_assert_uint_eq(b->ooo_chunks, 2);
	ck_assert_ptr_null(shard_check(&sh));
	/* A circle. */
	sh.rx.desc[sh.rx.desc[b->ooo_head].next].next = b->ooo_head;
	ck_assert_uint_eq(rebuild(), 1);
	ck_assert_uint_eq(b->ooo_chunks, 2);
	ck_assert_ptr_null(shard_check(&sh));
}
END_TEST

START_TEST(test_record_without_state_is_free_with_all_that_hangs_on_it)
{
	uint32_t ri = add_active(1);

	sh.recs[ri].state = 0;
	ck_assert_uint_eq(rebuild(), 0);
	ck_assert_uint_eq(bitmap_used_count(&sh.blk_map), 0);
	ck_assert_uint_eq(bitmap_used_count(&sh.rx.map), 0);
	ck_assert_uint_eq(bitmap_used_count(&sh.tx.map), 0);
	ck_assert_uint_eq(torn, 0);
}
END_TEST

/* --- torn -------------------------------------------------------------- */

static struct rec *r;
static struct blk *b;

static void tear_vip(void)
{
	r->vip = 1;
}

static void tear_vip_far(void)
{
	r->vip = 200;
}

static void tear_family(void)
{
	r->flags |= REC_V6;
}

static void tear_generation(void)
{
	r->generation = 0;
}

static void tear_group(void)
{
	r->group = 0;
}

static void tear_group_far(void)
{
	r->group = ARENA_GROUPS_MAX;
}

static void tear_shift(void)
{
	r->wscale = 15;
}

static void tear_mss(void)
{
	r->mss = 0;
}

static void tear_block_number(void)
{
	r->block = 100;
}

static void tear_back_link(void)
{
	b->rec = 77;
}

static void tear_taken_beyond(void)
{
	b->rcv_app = IRS + 702;
}

static void tear_taken_before(void)
{
	b->rcv_app = IRS;
}

static void tear_acknowledged_beyond(void)
{
	b->rcv_ack = b->rcv_acked = IRS + 702;
}

static void tear_rx_chain(void)
{
	sh.rx.desc[b->rx_head].next = NIL;
	b->rcv_ack = IRS + 700;
}

static void tear_rx_owner(void)
{
	sh.rx.desc[b->rx_head].owner = 7;
}

static void tear_rx_far(void)
{
	b->rx_head = 1u << 30;
	b->rcv_ack = IRS + 301;
}

static void tear_rx_begins_late(void)
{
	b->rx_head = b->rx_tail;
}

static void tear_chunk_size(void)
{
	sh.tx.desc[b->tx_head].off = 300;
}

static void tear_tx_chain(void)
{
	sh.tx.desc[b->tx_head].next = NIL;
}

static void tear_tx_circle(void)
{
	sh.tx.desc[b->tx_tail].next = b->tx_head;
	b->snd_end = ISS + 2000;
}

static void tear_sent_beyond(void)
{
	b->snd_nxt = ISS + 703;
}

static void tear_sent_before(void)
{
	b->snd_nxt = ISS + 100;
}

static void tear_fin_acked(void)
{
	r->flags |= REC_FIN_ACKED;
}

/* An empty chunk that is not the last. */
static void tear_rx_empty(void)
{
	sh.rx.desc[b->rx_head].seq = b->rcv_app;
	sh.rx.desc[b->rx_head].len = 0;
	sh.rx.desc[b->rx_head].next = b->rx_head;
	b->rcv_dlv = b->rcv_ack = b->rcv_acked = IRS + 101;
}

static void tear_tx_empty(void)
{
	sh.tx.desc[b->tx_head].seq = ISS + 101;
	sh.tx.desc[b->tx_head].len = 0;
	sh.tx.desc[b->tx_head].next = b->tx_head;
	b->snd_nxt = b->snd_end = ISS + 101;
}

/* So far before that it seems to end behind. */
static void tear_tx_begins_far(void)
{
	sh.tx.desc[b->tx_head].seq = ISS + 101 - 0x7ffffff0u;
	sh.tx.desc[b->tx_head].next = NIL;
}

static void tear_window(void)
{
	b->rcv_adv = IRS + 701 + UINT8_MAX * REC_ADV_UNIT + 1;
}

static void tear_fin_sent(void)
{
	b->snd_nxt = b->snd_end + 1;
}

static void tear_rcv_off(void)
{
	r->rcv_off |= UINT64_C(1) << 63;
}

static void tear_snd_off(void)
{
	r->snd_off |= UINT64_C(1) << 61;
}

static void (*const tears[])(void) = {
	tear_vip,
	tear_vip_far,
	tear_family,
	tear_generation,
	tear_group,
	tear_group_far,
	tear_shift,
	tear_mss,
	tear_block_number,
	tear_back_link,
	tear_taken_beyond,
	tear_taken_before,
	tear_rx_chain,
	tear_rx_owner,
	tear_rx_far,
	tear_rx_begins_late,
	tear_chunk_size,
	tear_tx_chain,
	tear_tx_circle,
	tear_sent_beyond,
	tear_sent_before,
	tear_fin_acked,
	tear_acknowledged_beyond,
	tear_rx_empty,
	tear_tx_empty,
	tear_tx_begins_far,
	tear_window,
	tear_fin_sent,
	tear_rcv_off,
	tear_snd_off,
};

START_TEST(test_torn_record_is_dropped_and_no_other)
{
	uint32_t before = add_active(1), ri = add_active(2),
		 after = add_active(3);
	struct arena_audit audit;

	r = &sh.recs[ri];
	b = blk_of(ri);
	tears[_i]();
	ck_assert_int_eq(arena_audit(&arena, &audit), 0);
	ck_assert_uint_eq(audit.records, 3);
	ck_assert_uint_eq(audit.torn, 1);
	ck_assert_uint_eq(rebuild(), 2);
	ck_assert_uint_eq(torn, 1);
	ck_assert_uint_eq(torn_ri, ri);
	ck_assert_uint_eq(sh.recs[ri].state, 0);
	ck_assert_uint_eq(sh.recs[before].state, 3);
	ck_assert_uint_eq(sh.recs[after].state, 3);
	ck_assert_ptr_null(shard_check(&sh));
	ck_assert_uint_eq(bitmap_used_count(&sh.rx.map), 4);
}
END_TEST

START_TEST(test_what_is_claimed_twice_is_the_firsts)
{
	uint32_t first = add_active(1), second = add(2), third = add(3);

	sh.recs[second].block = sh.recs[first].block;
	sh.recs[third].remote_port = 1; /* the first's tuple */
	ck_assert_uint_eq(rebuild(), 1);
	ck_assert_uint_eq(torn, 2);
	ck_assert_uint_eq(sh.recs[first].state, 3);
	ck_assert_ptr_null(shard_check(&sh));
}
END_TEST

/* One that says to begin with another's chunks has none; the other keeps them. */
START_TEST(test_chain_of_another_is_left_alone)
{
	uint32_t whole = add_active(1), ri = add_active(2);
	struct blk *other = blk_of(ri);

	other->rx_head = blk_of(whole)->rx_head;
	other->rcv_dlv = other->rcv_ack = other->rcv_acked = IRS + 101;
	ck_assert_uint_eq(rebuild(), 2);
	ck_assert_uint_eq(other->rx_head, NIL);
	ck_assert_uint_eq(other->rcv_nxt, IRS + 101);
	expect_whole(whole);
	ck_assert_uint_eq(blk_of(whole)->rcv_nxt, IRS + 701);
}
END_TEST

/* How many records there were says the arena, too. */
START_TEST(test_count_of_records_is_not_trusted)
{
	const uint32_t n = arena.header->recs_per_shard;
	struct arena_audit audit;

	for (uint16_t i = 0; i < 90; i++)
		add(i);
	for (uint32_t high = 0; high <= n + 1; high++) {
		sh.state->recs_high = high;
		ck_assert_int_eq(arena_audit(&arena, &audit), 0);
		ck_assert_uint_eq(audit.records, 90);
		ck_assert_uint_eq(rebuild(), 90);
		ck_assert_uint_ge(sh.state->recs_high, 90);
		ck_assert_uint_le(sh.state->recs_high, n);
	}
	/* One that is right stays so. */
	sh.state->recs_high = 90;
	ck_assert_uint_eq(rebuild(), 90);
	ck_assert_uint_eq(sh.state->recs_high, 90);
}
END_TEST

START_TEST(test_damage_of_much_is_damage_of_all)
{
	struct arena_audit audit;
	uint32_t ri[30];

	for (uint16_t i = 0; i < 30; i++)
		ri[i] = add(i);
	for (uint32_t i = 0; i < 8; i++)
		sh.recs[ri[i]].group = 0;
	ck_assert_int_eq(arena_audit(&arena, &audit), 0);
	ck_assert_uint_eq(audit.torn, 8);
	sh.recs[ri[8]].group = 0;
	ck_assert_int_eq(arena_audit(&arena, &audit), -EBADMSG);
}
END_TEST

/* --- arenas ------------------------------------------------------------ */

static int adopt(struct arena *ret, const char **why)
{
	int fd = dup(arena.fd), rc = arena_adopt(ret, fd, why);

	if (rc < 0)
		close(fd);
	return rc;
}

static void expect_refused(int err)
{
	struct arena again;
	const char *why = NULL;

	ck_assert_int_eq(adopt(&again, &why), err);
	ck_assert_ptr_nonnull(why);
}

START_TEST(test_arena_is_taken_over)
{
	uint32_t ri = add_active(1);
	struct shard other;
	struct arena again;
	const char *why;

	ck_assert_int_eq(adopt(&again, &why), 0);
	ck_assert_uint_eq(again.bytes, arena.bytes);
	ck_assert_int_eq(shard_init(&other, &again, 0, 0), 0);
	ck_assert_uint_eq(shard_rebuild(&other, 0, NULL, NULL), 1);
	ck_assert_uint_eq(other.recs[ri].state, 3);
	ck_assert_ptr_null(shard_check(&other));
	shard_fini(&other);
	arena_close(&again);
}
END_TEST

/* Each bit of the header's constants. */
START_TEST(test_flipped_bit_of_the_header_is_found)
{
	uint8_t *bytes = arena.base;
	size_t n = offsetof(struct arena_header, check) + sizeof(uint64_t);
	struct arena again;
	const char *why;

	for (size_t bit = 0; bit < n * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_lt(adopt(&again, &why), 0);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	ck_assert_int_eq(adopt(&again, &why), 0);
	arena_close(&again);
}
END_TEST

START_TEST(test_arena_of_another_length_is_refused)
{
	int rc = ftruncate(arena.fd, (off_t)arena.bytes + 4096);

	ck_assert_int_eq(rc, 0);
	expect_refused(-EBADMSG);
	rc = ftruncate(arena.fd, (off_t)arena.bytes - 4096);
	ck_assert_int_eq(rc, 0);
	expect_refused(-EBADMSG);
	rc = ftruncate(arena.fd, 100);
	ck_assert_int_eq(rc, 0);
	expect_refused(-EBADMSG);
	rc = ftruncate(arena.fd, 0);
	ck_assert_int_eq(rc, 0);
	expect_refused(-EBADMSG);
}
END_TEST

START_TEST(test_arena_of_another_kind_is_refused)
{
	struct arena_header *header = arena.header;

	header->magic = 0;
	expect_refused(-EBADMSG);
	header->magic = ARENA_MAGIC;
	header->version++;
	expect_refused(-EPROTO);
	header->version--;
	header->layout_hash++;
	expect_refused(-EPROTO);
	header->layout_hash--;
	header->boot_id[3] ^= 1;
	header->check = arena_header_check(header);
	expect_refused(-ESTALE);
}
END_TEST

UNIT_MAIN(
	"arena/recover",
	UNIT_CASE("whole", up, down, test_derived_fields_are_not_trusted,
		  test_reply_that_was_not_committed_is_undone,
		  test_reply_that_was_committed_is_completed,
		  test_acknowledged_bytes_are_dropped,
		  test_received_text_ends_where_the_chain_does,
		  test_fin_is_counted_by_its_flag,
		  test_chunks_beyond_gaps_are_those_that_can_be_reached,
		  test_record_without_state_is_free_with_all_that_hangs_on_it),
	UNIT_LOOP("torn", ARRAY_SIZE(tears), up, down,
		  test_torn_record_is_dropped_and_no_other),
	UNIT_CASE("damage", up, down, test_what_is_claimed_twice_is_the_firsts,
		  test_chain_of_another_is_left_alone,
		  test_count_of_records_is_not_trusted,
		  test_damage_of_much_is_damage_of_all),
	UNIT_CASE("arena", up, down, test_arena_is_taken_over,
		  test_flipped_bit_of_the_header_is_found),
	UNIT_CASE("refused", up, NULL, test_arena_of_another_length_is_refused,
		  test_arena_of_another_kind_is_refused))
