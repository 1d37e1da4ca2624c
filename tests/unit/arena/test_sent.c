/* SPDX-License-Identifier: BSD-2-Clause */
/* The scoreboard (sent.h), alone and against a plain model of it. */
#include <string.h>

#include "../unit.h"
#include "arena/arena.h"
#include "arena/recover.h"
#include "arena/sent.h"

#define BI 3u
#define MODEL_MAX 512u

static struct sents ss;
static struct blk b;
static uint64_t now_us;

static void up(void)
{
	ck_assert_int_eq(sents_init(&ss, 400, 4), 0);
	now_us = 1000;
	b = (struct blk){ .sent = SENTS_NONE };
	b.snd_una = b.snd_nxt = 0xffffff00; /* near the wrap */
}

static void down(void)
{
	sents_free(&ss, &b);
	ck_assert_uint_eq(bitmap_used_count(&ss.map), 0);
	sents_fini(&ss);
}

static void check(void)
{
	const char *wrong = sents_check(&ss, &b, BI);

	ck_assert_msg(!wrong, "%s", wrong);
}

static uint32_t append(uint32_t len)
{
	uint32_t i;

	b.snd_nxt += len;
	i = sents_append(&ss, &b, BI, b.snd_nxt - len, b.snd_nxt, now_us);
	check();
	return i;
}

static void pop(void)
{
	b.snd_una = ss.items[b.sent.head].end;
	sents_pop(&ss, &b);
	check();
}

START_TEST(test_pipe_is_flight_less_sacked_and_lost_plus_sent_again)
{
	uint32_t i[4];

	for (int n = 0; n < 4; n++)
		i[n] = append(100);
	ck_assert_uint_eq(sents_pipe(&b), 400);
	sents_sacked(&ss, &b, i[3]);
	ck_assert_uint_eq(sents_pipe(&b), 300);
	sents_lost(&ss, &b, i[0]);
	sents_lost(&ss, &b, i[1]);
	ck_assert_uint_eq(sents_pipe(&b), 100);
	sents_again(&ss, &b, i[0], ++now_us);
	ck_assert_uint_eq(sents_pipe(&b), 200);
	/* Lost again: no longer on its way, and counted as lost once. */
	sents_lost(&ss, &b, i[0]);
	ck_assert_uint_eq(sents_pipe(&b), 100);
	/* Sent again without being lost, as a probe is: two may arrive. */
	sents_again(&ss, &b, i[2], ++now_us);
	ck_assert_uint_eq(sents_pipe(&b), 200);
	check();
}
END_TEST

START_TEST(test_next_lost_is_the_first_that_waits)
{
	uint32_t i[5];

	for (int n = 0; n < 5; n++)
		i[n] = append(10);
	ck_assert_uint_eq(sents_next_lost(&ss, &b), NIL);
	sents_lost(&ss, &b, i[3]);
	ck_assert_uint_eq(sents_next_lost(&ss, &b), i[3]);
	sents_lost(&ss, &b, i[1]);
	ck_assert_uint_eq(sents_next_lost(&ss, &b), i[1]);
	sents_again(&ss, &b, i[1], ++now_us);
	ck_assert_uint_eq(sents_next_lost(&ss, &b), i[3]);
	sents_lost(&ss, &b, i[1]);
	ck_assert_uint_eq(sents_next_lost(&ss, &b), i[1]);
	sents_sacked(&ss, &b, i[1]);
	ck_assert_uint_eq(sents_next_lost(&ss, &b), i[3]);
	sents_unlose(&ss, &b);
	ck_assert_uint_eq(sents_next_lost(&ss, &b), NIL);
	check();
}
END_TEST

START_TEST(test_both_halves_of_a_split_are_what_the_whole_was)
{
	uint32_t i = append(100), next;

	append(100);
	sents_lost(&ss, &b, i);
	sents_again(&ss, &b, i, ++now_us);
	ck_assert(sents_split(&ss, &b, i, ss.items[i].seq + 30));
	check();
	next = ss.items[i].next;
	ck_assert_uint_eq(sent_len(&ss.items[i]), 30);
	ck_assert_uint_eq(sent_len(&ss.items[next]), 70);
	ck_assert_uint_eq(ss.items[next].flags, ss.items[i].flags);
	ck_assert_uint_eq(ss.items[next].xmit_us, now_us);
	ck_assert_uint_eq(b.sent.rexmit_bytes, 100);
	sents_sacked(&ss, &b, i);
	sents_split(&ss, &b, i, ss.items[i].seq + 10);
	check();
	ck_assert_uint_eq(b.sent.sacked_segs, 2);
}
END_TEST

START_TEST(test_split_does_not_share_a_chunk_that_may_be_freed_first)
{
	uint32_t i = append(2000), next;

	ss.items[i].chunk = 7;
	ck_assert(sents_split(&ss, &b, i, ss.items[i].seq + 1000));
	next = ss.items[i].next;
	ck_assert_uint_eq(ss.items[i].chunk, 7);
	ck_assert_uint_eq(ss.items[next].chunk, NIL);
}
END_TEST

START_TEST(test_full_slab_joins_new_segments_and_splits_none)
{
	struct blk other = { .sent = SENTS_NONE };
	uint32_t i, tail;

	for (int n = 0; n < 400; n++)
		append(10);
	ck_assert_uint_eq(b.sent.n, 400);
	tail = b.sent.tail;
	sents_sacked(&ss, &b, tail);
	ck_assert_uint_eq(append(10), tail);
	ck_assert_uint_eq(b.sent.n, 400);
	/* The client has not what joined. */
	ck_assert_uint_eq(b.sent.sacked_bytes, 0);
	ck_assert_uint_eq(sent_len(&ss.items[tail]), 20);
	ck_assert(!sents_split(&ss, &b, tail, ss.items[tail].seq + 5));
	check();
	/* Blocks without any have room kept for them. */
	other.snd_nxt = 10;
	i = sents_append(&ss, &other, 0, 0, 10, now_us);
	ck_assert_uint_ne(i, NIL);
	ck_assert_ptr_null(sents_check(&ss, &other, 0));
	sents_free(&ss, &other);
	pop();
	ck_assert_uint_ne(append(10), tail);
}
END_TEST

START_TEST(test_joined_bytes_are_lost_when_the_segment_is)
{
	uint32_t i;

	for (int n = 0; n < 400; n++)
		i = append(10);
	sents_lost(&ss, &b, i);
	append(10);
	ck_assert_uint_eq(b.sent.lost_bytes, 20);
	sents_again(&ss, &b, i, ++now_us);
	append(10);
	ck_assert_uint_eq(b.sent.lost_bytes, 30);
	ck_assert_uint_eq(b.sent.rexmit_bytes, 30);
}
END_TEST

START_TEST(test_restored_flight_is_one_lost_segment_sent_before)
{
	for (int n = 0; n < 3; n++)
		append(100);
	sents_free(&ss, &b);
	b.sent.head = 77; /* meaningless */
	sents_restore(&ss, &b, BI);
	check();
	ck_assert_uint_eq(b.sent.n, 1);
	ck_assert_uint_eq(b.sent.lost_bytes, 300);
	ck_assert_uint_eq(sents_pipe(&b), 0);
	ck_assert_uint_eq(sents_next_lost(&ss, &b), b.sent.head);
	/* Karn: nobody knows when. */
	ck_assert(ss.items[b.sent.head].flags & SENT_AGAIN);
	sents_free(&ss, &b);
	b.snd_una = b.snd_nxt;
	sents_restore(&ss, &b, BI);
	ck_assert_uint_eq(b.sent.n, 0);
}
END_TEST

START_TEST(test_memory_above_the_last_in_use_goes_back)
{
	struct sents big;

	ck_assert_int_eq(sents_init(&big, 20000, 1), 0);
	b.snd_nxt = b.snd_una;
	for (uint32_t n = 0; n < 20000; n++) {
		b.snd_nxt++;
		sents_append(&big, &b, BI, b.snd_nxt - 1, b.snd_nxt, now_us);
	}
	ck_assert_uint_eq(big.touched, 20000);
	sents_free(&big, &b);
	sents_trim_memory(&big, 0);
	ck_assert_uint_eq(big.touched, 0);
	sents_fini(&big);
}
END_TEST

/* --- against a model */

struct model {
	uint32_t seq, end;
	uint8_t flags;
};

static struct model model[MODEL_MAX];
static uint32_t model_n, seed;

static uint32_t dice(uint32_t sides)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % sides;
}

static uint32_t nth(uint32_t n)
{
	uint32_t i = b.sent.head;

	while (n--)
		i = ss.items[i].next;
	return i;
}

static void model_compare(void)
{
	uint32_t i = b.sent.head, lost = NIL;

	check();
	ck_assert_uint_eq(b.sent.n, model_n);
	for (uint32_t n = 0; n < model_n; n++, i = ss.items[i].next) {
		const struct sent *s = &ss.items[i];

		ck_assert_msg(s->seq == model[n].seq &&
				      s->end == model[n].end &&
				      s->flags == model[n].flags,
			      "segment %u is not the model's", n);
		if (lost == NIL &&
		    (s->flags & (SENT_LOST | SENT_REXMIT)) == SENT_LOST)
			lost = i;
	}
	ck_assert_uint_eq(sents_next_lost(&ss, &b), lost);
}

static void model_append(void)
{
	uint32_t len = 1 + dice(50);
	struct model *m = &model[model_n];

	if (model_n && b.sent.n >= ss.n - ss.reserve) {
		m--;
		if (m->flags & SENT_SACKED)
			m->flags &= (uint8_t)~SENT_SACKED;
		m->end += len;
	} else {
		*m = (struct model){ b.snd_nxt, b.snd_nxt + len, 0 };
		model_n++;
	}
	b.snd_nxt += len;
	sents_append(&ss, &b, BI, b.snd_nxt - len, b.snd_nxt, now_us);
}

static void model_split(uint32_t n, uint32_t i)
{
	uint32_t len = model[n].end - model[n].seq, cut;

	if (len < 2)
		return;
	cut = model[n].seq + 1 + dice(len - 1);
	if (!sents_split(&ss, &b, i, cut)) {
		ck_assert_uint_ge(model_n, ss.n - ss.reserve);
		return;
	}
	memmove(&model[n + 1], &model[n], (model_n - n) * sizeof(*model));
	model_n++;
	model[n].end = model[n + 1].seq = cut;
}

static void model_ack(void)
{
	uint32_t len = model[0].end - model[0].seq;

	if (dice(3) && len > 1) {
		b.snd_una = model[0].seq += 1 + dice(len - 1);
		sents_trim(&ss, &b, b.snd_una);
		return;
	}
	b.snd_una = model[0].end;
	sents_pop(&ss, &b);
	memmove(&model[0], &model[1], --model_n * sizeof(*model));
}

/* Clear one flag everywhere. */
static void model_forget(uint8_t flag)
{
	for (uint32_t n = 0; n < model_n; n++)
		model[n].flags &= (uint8_t)~flag;
}

static void model_one(uint32_t what)
{
	uint32_t n = dice(model_n), i = nth(n);
	uint8_t *flags = &model[n].flags;

	switch (what) {
	case 0:
		model_split(n, i);
		break;
	case 1:
		if (*flags & SENT_SACKED)
			break; /* the stack never does */
		*flags |= SENT_REXMIT | SENT_AGAIN;
		sents_again(&ss, &b, i, now_us);
		break;
	case 2:
		if (!(*flags & SENT_SACKED)) {
			*flags &= (uint8_t)~SENT_REXMIT;
			*flags |= SENT_LOST;
		}
		sents_lost(&ss, &b, i);
		break;
	default:
		*flags &= (uint8_t) ~(SENT_LOST | SENT_REXMIT);
		*flags |= SENT_SACKED;
		sents_sacked(&ss, &b, i);
		break;
	}
}

/* more: of each hundred steps, towards a longer list */
static void model_step(uint32_t more)
{
	uint32_t what = dice(100);

	now_us += dice(3);
	if (!model_n || what < 35)
		model_append();
	else if (what < 60 + more)
		model_one(what % 4);
	else if (what < 98)
		model_ack();
	else if (what == 98) {
		sents_unlose(&ss, &b);
		model_forget(SENT_LOST);
	} else {
		sents_unsack(&ss, &b);
		model_forget(SENT_SACKED);
	}
}

START_TEST(test_random_operations_agree_with_a_plain_model)
{
	seed = (uint32_t)_i + 1;
	model_n = 0;
	for (int n = 0; n < 2000; n++) {
		model_step(_i % 4 == 3 ? 38 : 4 * ((uint32_t)_i % 4));
		if (n % 16 == 0)
			model_compare();
		else if (model_n < 40)
			check();
	}
	model_compare();
}
END_TEST

/* --- within a shard */

static struct arena arena;
static struct shard sh;

static void shard_up(void)
{
	struct arena_sizes sizes = {
		.workers = 1,
		.max_connections = 8,
		.rx_bytes = 64 * 1024,
		.tx_bytes = 64 * 1024,
	};

	ck_assert_int_eq(arena_create(&arena, NULL, &sizes), 0);
	arena.header->vips[0].family = 4;
	ck_assert_int_eq(shard_init(&sh, &arena, 0, 0), 0);
}

static void shard_down(void)
{
	shard_fini(&sh);
	arena_close(&arena);
}

/* A connection that has sent up to position off and has len bytes in flight. */
static struct blk *shard_blk(uint64_t off, uint32_t len)
{
	struct tuple tuple = { .remote_port = 1, .local_port = 2 };
	uint32_t ri = shard_rec_new(&sh, &tuple, tuple_hash(sh.header, &tuple));
	uint32_t bi = shard_blk_new(&sh, ri);
	struct rec *r = &sh.recs[ri];
	struct blk *blk = &sh.blks[bi];

	ck_assert_uint_ne(bi, NIL);
	*r = (struct rec){
		.remote_port = 1,
		.local_port = 2,
		.generation = r->generation & 0xffffff,
		.group = 1,
		.mss = 1460,
		.iss = 500,
		.snd_off = off,
		.block = NIL,
	};
	blk->snd_una = 501 + (uint32_t)off;
	blk->snd_nxt = blk->snd_end = blk->snd_una + len;
	blk->rcv_app = blk->rcv_dlv = blk->rcv_redlv = blk->rcv_nxt =
		blk->rcv_ack = blk->rcv_acked = 1;
	if (len) {
		blk->tx_head = blk->tx_tail =
			chunks_alloc(&sh.tx, bi, blk->snd_una);
		sh.tx.desc[blk->tx_head].len = (uint16_t)len;
	}
	shard_blk_link(&sh, bi);
	r->state = 3;
	return blk;
}

START_TEST(test_rebuild_loses_the_flight_and_nothing_else)
{
	struct blk *blk = shard_blk(0, 200);
	uint32_t bi = (uint32_t)(blk - sh.blks);

	sents_append(&sh.sents, blk, bi, 501, 601, 5);
	sents_append(&sh.sents, blk, bi, 601, 701, 5);
	ck_assert_ptr_null(shard_check(&sh));
	blk->tx_cur = 9999; /* derived */
	ck_assert_uint_eq(shard_rebuild(&sh, 0, NULL, NULL), 1);
	ck_assert_ptr_null(shard_check(&sh));
	ck_assert_uint_eq(blk->sent.lost_bytes, 200);
	ck_assert_uint_eq(blk->tx_cur, NIL);
}
END_TEST

START_TEST(test_rebuild_makes_no_segment_of_a_syn)
{
	struct blk *blk = shard_blk(0, 0);

	blk->snd_una = 500;
	ck_assert_uint_eq(shard_rebuild(&sh, 0, NULL, NULL), 1);
	ck_assert_uint_eq(blk->sent.n, 0);
	ck_assert_ptr_null(shard_check(&sh));
}
END_TEST

START_TEST(test_rebuild_after_4_gib_takes_data_for_no_syn)
{
	struct blk *blk = shard_blk(UINT32_MAX, 200);

	ck_assert_uint_eq(blk->snd_una, 500);
	ck_assert_uint_eq(shard_rebuild(&sh, 0, NULL, NULL), 1);
	ck_assert_uint_eq(blk->sent.lost_bytes, 200);
	ck_assert_ptr_null(shard_check(&sh));
}
END_TEST

UNIT_MAIN("arena/sent",
	  UNIT_CASE("list", up, down,
		    test_pipe_is_flight_less_sacked_and_lost_plus_sent_again,
		    test_next_lost_is_the_first_that_waits,
		    test_both_halves_of_a_split_are_what_the_whole_was,
		    test_split_does_not_share_a_chunk_that_may_be_freed_first,
		    test_joined_bytes_are_lost_when_the_segment_is,
		    test_full_slab_joins_new_segments_and_splits_none,
		    test_restored_flight_is_one_lost_segment_sent_before,
		    test_memory_above_the_last_in_use_goes_back),
	  UNIT_LOOP("model", 4, up, down,
		    test_random_operations_agree_with_a_plain_model),
	  UNIT_CASE("rebuild", shard_up, shard_down,
		    test_rebuild_loses_the_flight_and_nothing_else,
		    test_rebuild_makes_no_segment_of_a_syn,
		    test_rebuild_after_4_gib_takes_data_for_no_syn))
