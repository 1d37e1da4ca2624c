/* SPDX-License-Identifier: BSD-2-Clause */
/* Limits that keep one client from taking what is there for all. */
#include <string.h>

#include "../unit.h"
#include "base/bytes.h"
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

/* n connections; the last is in TIME-WAIT when wait says so. */
static void fill_arena(uint16_t n, bool wait)
{
	struct rig_client cl = { 0 };

	for (uint16_t i = 0; i < n; i++) {
		cl = (struct rig_client){ 0 };
		open_one(&cl, (uint16_t)(1000 + i), 0);
	}
	if (!wait)
		return;
	stack_close(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&cl, TH_ACK | TH_FIN);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK | TH_FIN,
					  .seq = cl.snd_nxt,
					  .ack = cl.rcv_nxt });
	cl.snd_nxt++;
	rig_expect(&cl, TH_ACK);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_TIME_WAIT);
}

START_TEST(test_time_wait_makes_room_when_records_have_run_out)
{
	struct rig_client cl = { 0 };

	uint64_t cookies;

	fill_arena(64, true);
	cookies = rig_counter(SC_cookies_sent);
	/* It has yet to show that it is there: a cookie. */
	syn(&cl, 2000, 1);
	rig_expect(&cl, TH_SYN | TH_ACK);
	ck_assert_uint_eq(rig_counter(SC_cookies_sent), cookies + 1);
	ck_assert_uint_eq(rig.st->time_wait, 1);
	rig_ack(&cl);
	ck_assert_uint_eq(rig_counter(SC_time_wait_evicted), 1);
	ck_assert_uint_eq(rig_counter(SC_drop_no_record), 0);
	ck_assert_uint_eq(rig.st->time_wait, 0);
	ck_assert_uint_eq(rig.st->established, 64);
}
END_TEST

START_TEST(test_time_wait_makes_room_where_there_are_no_cookies)
{
	struct rig_client cl = { 0 };

	rig.st->limits.syn_cookies = STACK_COOKIES_NEVER;
	fill_arena(64, true);
	syn(&cl, 2000, 1);
	rig_expect(&cl, TH_SYN | TH_ACK);
	ck_assert_uint_eq(rig_counter(SC_time_wait_evicted), 1);
}
END_TEST

START_TEST(test_time_wait_makes_no_room_beyond_a_limit_that_was_lowered)
{
	struct rig_client cl = { 0 };

	rig.st->limits.syn_cookies = STACK_COOKIES_NEVER;
	fill_arena(64, true);
	rig.st->limits.recs_max = 60;
	syn(&cl, 2000, 1);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_drop_no_record), 1);
	ck_assert_uint_eq(rig.st->established, 63);
	ck_assert_uint_eq(rig.st->half_open, 0);
}
END_TEST

START_TEST(test_open_connections_make_no_room)
{
	struct rig_client cl = { 0 };

	fill_arena(64, false);
	syn(&cl, 2000, 1);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_drop_no_record), 1);
	ck_assert_uint_eq(rig.st->established, 64);
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

/* Figure 5c is for the client, not for who knows its address alone. */
START_TEST(test_forged_old_text_draws_no_reply)
{
	struct rig_client cl = { 0 };
	struct rig_seg seg = { .flags = TH_ACK, .data = "x", .len = 1 };
	uint32_t before;

	rig_connect(&cl, 1000);
	cl.ts = false;
	ck_assert_int_eq(
		stack_reply(rig.st, cl.ri, 0, 0, "reply", 5, rig.now_us), 5);
	stack_flush(rig.st, rig.now_us);
	before = rig.n_out;
	for (uint32_t i = 0; i < 100; i++) {
		seg.seq = cl.snd_nxt - 1 - i * 20000000;
		seg.ack = cl.rcv_nxt - 1000000000 - i;
		rig_input(&cl, &seg);
	}
	ck_assert_uint_eq(rig_counter(SC_reply_resent), 0);
	ck_assert_uint_le(rig.n_out - before, 1);
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

/* Text beyond gaps. */

#define STREAM 15000u

static uint8_t stream_byte(uint32_t at)
{
	return (uint8_t)(at * 2654435761u >> 13);
}

static void send_part(const struct rig_client *cl, uint32_t at, uint32_t len)
{
	uint8_t data[1460];

	for (uint32_t i = 0; i < len; i++)
		data[i] = stream_byte(at + i);
	rig_input(cl, &(struct rig_seg){ .flags = TH_ACK,
					 .seq = cl->iss + 1 + at,
					 .ack = cl->rcv_nxt,
					 .data = data,
					 .len = len });
	rig.seen = rig.n_out;
}

/* What rx.c says of itself, over one connection: runs, packing, sums. */
static void check_runs(const struct rig_client *cl)
{
	const struct chunk *desc = rig.shard.rx.desc;
	const struct blk *b = rig_blk(cl);
	uint32_t runs = 0, chunks = 0, i = b->ooo_head, end = b->rcv_nxt;

	for (; i != NIL; runs++) {
		const struct rx_run *run = &rig.st->rx_runs[i];
		uint32_t at = desc[i].seq, n = 0;

		ck_assert(seq_gt(at, end));
		for (uint32_t k = i;; k = desc[k].next) {
			ck_assert_uint_eq(desc[k].seq, at);
			at += desc[k].len;
			n++;
			if (k == run->last)
				break;
			ck_assert_uint_gt(desc[k].len + desc[desc[k].next].len,
					  CHUNK_BYTES - desc[k].off);
		}
		ck_assert_uint_eq(at, run->end);
		ck_assert_uint_eq(n, run->n);
		ck_assert_uint_eq(desc[run->last].next, run->next);
		chunks += n;
		end = at;
		i = run->next;
	}
	ck_assert_uint_eq(chunks, b->ooo_chunks);
	ck_assert_uint_eq(chunks, rig.st->pools[0].ooo_chunks);
	if (chunks)
		ck_assert_uint_eq(runs,
				  rig.st->rx_holders[rig_rec(cl)->block].runs);
	ck_assert_uint_le(runs, 129);
}

static uint32_t dice_seed;

static uint32_t dice(uint32_t sides)
{
	dice_seed = dice_seed * 1664525 + 1013904223;
	return (dice_seed >> 8) % sides;
}

static void expect_stream(struct rig_client *cl, uint32_t *at)
{
	char buf[4096];
	uint32_t n;

	while ((n = rig_deliver(cl, buf, sizeof(buf)))) {
		for (uint32_t i = 0; i < n; i++)
			ck_assert_uint_eq((uint8_t)buf[i],
					  stream_byte(*at + i));
		*at += n;
	}
}

/* Parts of any size, over and over, in any order: the stream is exact. */
START_TEST(test_parts_in_any_order_make_the_stream)
{
	static const uint32_t sizes[] = { 1, 3, 200, 700, 1460 };
	struct rig_client cl = { 0 };
	uint32_t max = sizes[_i % 5], got = 0, turn = 0;

	dice_seed = (uint32_t)_i + 1;
	rig_connect(&cl, 1000);
	while (got < STREAM / (max < 10 ? 20 : 1)) {
		uint32_t reach = max * 60;
		uint32_t at =
			rig_blk(&cl) ? rig_blk(&cl)->rcv_nxt - cl.iss - 1 : got;

		if (turn++ % 8)
			at += dice(reach);
		else
			at -= min_u32(at, dice(max));
		send_part(&cl, at, 1 + dice(max));
		if (rig_blk(&cl))
			check_runs(&cl);
		expect_stream(&cl, &got);
		if (rig_blk(&cl) && !dice(4))
			rig_reply(&cl,
				  rig_blk(&cl)->rcv_dlv - rig_blk(&cl)->rcv_app,
				  "");
		rig.seen = rig.n_out;
	}
	ck_assert_uint_ge(rig_counter(SC_ooo_segs), 10);
}
END_TEST

START_TEST(test_gaps_of_a_connection_are_bounded)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	for (uint32_t i = 0; i < 1000; i++)
		send_part(&cl, 1 + 2 * i, 1);
	check_runs(&cl);
	ck_assert_uint_eq(rig_blk(&cl)->ooo_chunks, 128);
	ck_assert_uint_eq(rig_counter(SC_drop_ooo_runs), 1000 - 128);
	/* What closes a gap is taken all the same, and room is there again. */
	for (uint32_t i = 0; i < 64; i++)
		send_part(&cl, 2 + 2 * i, 1);
	check_runs(&cl);
	ck_assert_uint_eq(rig_blk(&cl)->ooo_chunks, 128 - 64);
	send_part(&cl, 5000, 1);
	ck_assert_uint_eq(rig_counter(SC_drop_ooo_runs), 1000 - 128);
}
END_TEST

/* Every other byte, then the rest: bytes, not chunks, are what it costs. */
START_TEST(test_tiny_parts_beyond_a_gap_are_packed)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	for (uint32_t at = 1; at < 4000; at += 200) {
		for (uint32_t i = 0; i < 200; i += 2)
			send_part(&cl, at + i, 1);
		for (uint32_t i = 1; i < 200; i += 2)
			send_part(&cl, at + 200 - i, 1);
		check_runs(&cl);
	}
	ck_assert_uint_le(rig_blk(&cl)->ooo_chunks, 4000 / CHUNK_BYTES * 2);
	send_part(&cl, 0, 1);
	ck_assert_uint_eq(rig_blk(&cl)->rcv_nxt, cl.iss + 1 + 4001);
	ck_assert_uint_le(rig.st->pools[0].used_chunks,
			  4000 / CHUNK_BYTES * 2 + 1);
}
END_TEST

/* An honest sender: a window of 1 MiB with a hole in every 33 segments. */
START_TEST(test_large_window_with_holes_is_kept)
{
	struct rig_client cl = { 0 };
	uint32_t n = 0;

	stack_pool_set(rig.st, 0, 4 << 20, 90, 75);
	rig_connect(&cl, 1000);
	send_part(&cl, 0, 1);
	rig_blk(&cl)->rcv_adv = rig_blk(&cl)->rcv_nxt + 950000;
	rig_blk(&cl)->rcv_space_units = UINT8_MAX;
	for (uint32_t i = 0; i < 640; i++) {
		if (i % 33 == 0)
			continue;
		send_part(&cl, 1 + 1460 * i, 1460);
		n++;
	}
	ck_assert_uint_eq(rig_counter(SC_ooo_segs), n);
	ck_assert_uint_eq(rig_counter(SC_drop_ooo_limit), 0);
	ck_assert_uint_eq(rig_counter(SC_drop_ooo_runs), 0);
	check_runs(&cl);
	for (uint32_t i = 0; i < 640; i += 33)
		send_part(&cl, 1 + 1460 * i, 1460);
	ck_assert_uint_eq(rig_blk(&cl)->rcv_nxt, cl.iss + 2 + 1460 * 640);
}
END_TEST

/* The pool's: half of it at most, and the oldest holder's goes first. */
START_TEST(test_text_beyond_gaps_of_a_pool_is_bounded)
{
	struct rig_client cl[3] = { 0 };
	uint32_t at = 0;

	stack_pool_set(rig.st, 0, 40 * CHUNK_BYTES, 90, 75);
	for (uint16_t i = 0; i < 3; i++) {
		memset(&cl[i], 0, sizeof(cl[i]));
		rig_connect(&cl[i], (uint16_t)(1000 + i));
	}
	for (uint32_t i = 0; i < 10; i++) {
		send_part(&cl[0], 600 * (i + 1), 512);
		send_part(&cl[1], 600 * (i + 1), 512);
	}
	ck_assert_uint_eq(rig.st->pools[0].ooo_chunks, 20);
	send_part(&cl[1], 9000, 512);
	ck_assert_uint_eq(rig_counter(SC_drop_ooo_limit), 1);
	for (uint32_t i = 0; i < 9; i++, at += 1460)
		send_part(&cl[2], at, 1460);
	ck_assert_uint_eq(rig_counter(SC_ooo_pruned), 10);
	/* Nothing else kept its block. */
	ck_assert_ptr_null(rig_blk(&cl[0]));
	ck_assert_uint_eq(rig_blk(&cl[1])->ooo_chunks, 10);
	ck_assert_uint_eq(rig_counter(SC_drop_pool_full), 0);
	/* A connection that ends is in no list. */
	stack_abort(rig.st, cl[1].ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_events(cl[1].ri);
	ck_assert_uint_eq(rig.st->pools[0].holders_head, NIL);
	ck_assert_uint_eq(rig.st->pools[0].holders_tail, NIL);
	rig.seen = rig.n_out;
}
END_TEST

UNIT_MAIN(
	"stack/guard",
	UNIT_CASE("limits", up, down,
		  test_half_open_limit_drops_where_the_application_accepts,
		  test_half_open_limit_turns_to_cookies_elsewhere,
		  test_time_wait_makes_room_when_records_have_run_out,
		  test_time_wait_makes_room_where_there_are_no_cookies,
		  test_time_wait_makes_no_room_beyond_a_limit_that_was_lowered,
		  test_open_connections_make_no_room,
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
		test_forged_old_text_draws_no_reply,
		test_segments_that_paws_drops_are_not_answered_one_for_one),
	UNIT_CASE("budget", up_many, down,
		  test_challenges_of_all_have_a_budget_that_nobody_can_foretell),
	UNIT_LOOP("reassembly", 20, up, down,
		  test_parts_in_any_order_make_the_stream),
	UNIT_CASE("gaps", up, down, test_gaps_of_a_connection_are_bounded,
		  test_tiny_parts_beyond_a_gap_are_packed,
		  test_large_window_with_holes_is_kept,
		  test_text_beyond_gaps_of_a_pool_is_bounded))
