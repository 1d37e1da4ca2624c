/* SPDX-License-Identifier: BSD-2-Clause */
/* The transmit buffer is one for all: what a connection may have of it. */
#include <stdlib.h>

#include "../unit.h"
#include "base/bytes.h"
#include "rig.h"
#include "stack/conn.h"

#define BUFFER (1u << 20) /* the rig's */
#define REPLY (128u * 1024)
#define SLOW_S 16u /* more than TX_SLOW_US */

static uint8_t *reply;
static struct rig_client hog[8], other;

static void up(void)
{
	rig_up();
	reply = calloc(1, BUFFER);
	ck_assert_ptr_nonnull(reply);
}

static void down(void)
{
	free(reply);
	rig_down();
}

static void open_with_request(struct rig_client *cl, uint16_t port)
{
	*cl = (struct rig_client){ 0 };
	rig_connect(cl, port);
	rig_send(cl, "?");
	rig_expect_text(cl, "?");
}

/* Bytes that were taken of a reply; the request is acknowledged. */
static uint32_t answer(struct rig_client *cl, uint32_t len)
{
	const struct rec *r = rig_rec(cl);
	int64_t n = stack_reply(rig.st, cl->ri, r->rcv_off, r->rcv_off == 0,
				reply, len, rig.now_us);

	ck_assert_int_ge(n, 0);
	stack_flush(rig.st, rig.now_us);
	rig.seen = rig.n_out;
	return (uint32_t)n;
}

/* n clients that take nothing, and as much as there is to be had for each. */
static uint32_t fill(uint32_t n)
{
	uint32_t sum = 0, more = 1;

	for (uint32_t i = 0; i < n; i++)
		open_with_request(&hog[i], (uint16_t)(1000 + i));
	while (more) {
		more = 0;
		for (uint32_t i = 0; i < n; i++)
			more += answer(&hog[i], REPLY);
		sum += more;
	}
	return sum;
}

/* A reply that is tried again ten times a second, as the daemon does. */
static void insist(struct rig_client *cl, uint32_t seconds)
{
	for (uint32_t i = 0; i < 10 * seconds; i++) {
		if (rig_rec(cl)->state == TCP_ESTABLISHED)
			answer(cl, REPLY);
		rig_pass_us(100 * USEC_PER_MSEC);
		rig.seen = rig.n_out = 0;
	}
}

static uint32_t alive(uint32_t n)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < n; i++)
		count += rig_rec(&hog[i])->state == TCP_ESTABLISHED;
	return count;
}

START_TEST(test_one_connection_gets_no_more_than_half_of_the_buffer)
{
	uint32_t sum = fill(1);

	ck_assert_uint_le(sum, BUFFER / 2);
	ck_assert_uint_ge(sum, BUFFER / 2 - CHUNK_BYTES);
	ck_assert_uint_gt(rig_counter(SC_tx_share_full), 0);
	ck_assert_uint_eq(rig_counter(SC_tx_full), 0);
}
END_TEST

START_TEST(test_clients_that_take_nothing_leave_room_for_a_reply)
{
	uint32_t sum = fill(8);

	/* Each took half of what was left, in turn. */
	ck_assert_uint_ge(sum, BUFFER / 2 + BUFFER / 4);
	ck_assert_uint_le(sum, BUFFER - 8192);
	open_with_request(&other, 2000);
	ck_assert_uint_eq(answer(&other, 2048), 2048);
}
END_TEST

START_TEST(test_a_small_reply_finds_room_however_small_the_share)
{
	open_with_request(&other, 2000);
	/* Others have all but two chunks. */
	for (uint32_t i = 0; i < BUFFER / CHUNK_BYTES - 2; i++)
		ck_assert_uint_ne(chunks_alloc(&rig.shard.tx, NIL, 0), NIL);
	ck_assert_uint_eq(answer(&other, 1024), 1024);
	ck_assert_uint_eq(answer(&other, 1), 0);
	ck_assert_uint_eq(rig_counter(SC_tx_full), 1);
	for (uint32_t i = 0; i < BUFFER / CHUNK_BYTES - 2; i++)
		chunks_free(&rig.shard.tx, i);
}
END_TEST

START_TEST(test_a_client_that_takes_nothing_is_reset_when_others_wait)
{
	fill(8);
	insist(&hog[0], SLOW_S);
	ck_assert_uint_gt(rig_counter(SC_conn_slow_reset), 0);
	ck_assert_uint_lt(alive(8), 8);
}
END_TEST

START_TEST(test_a_client_that_takes_nothing_may_stay_when_nobody_waits)
{
	fill(8);
	rig_pass_us(SLOW_S * USEC_PER_SEC);
	ck_assert_uint_eq(rig_counter(SC_conn_slow_reset), 0);
	ck_assert_uint_eq(alive(8), 8);
}
END_TEST

START_TEST(test_who_holds_little_may_stay_when_others_wait)
{
	open_with_request(&other, 2000);
	answer(&other, 4096);
	fill(8);
	insist(&hog[0], SLOW_S);
	ck_assert_uint_eq(rig_rec(&other)->state, TCP_ESTABLISHED);
}
END_TEST

/* A byte now and then is no progress. */
START_TEST(test_a_client_that_trickles_is_reset_when_others_wait)
{
	fill(8);
	for (uint32_t i = 0; i < SLOW_S && alive(8) == 8; i++) {
		insist(&hog[0], 1);
		for (uint32_t k = 0; k < 8; k++) {
			if (rig_rec(&hog[k])->state != TCP_ESTABLISHED)
				continue;
			hog[k].rcv_nxt = rig_blk(&hog[k])->snd_una + 1;
			rig_ack(&hog[k]);
		}
	}
	ck_assert_uint_gt(rig_counter(SC_conn_slow_reset), 0);
}
END_TEST

/* It acknowledges all that was sent, slowly. */
START_TEST(test_a_client_that_takes_all_in_time_lives_when_others_wait)
{
	fill(8);
	for (uint32_t i = 0; i < 3 * SLOW_S; i++) {
		insist(&hog[0], 1);
		for (uint32_t k = 0; k < 8; k++) {
			hog[k].rcv_nxt =
				rig_blk(&hog[k])->snd_una +
				min_u32(REPLY / 8,
					rig_blk(&hog[k])->snd_nxt -
						rig_blk(&hog[k])->snd_una);
			rig_ack(&hog[k]);
			answer(&hog[k], REPLY);
		}
	}
	ck_assert_uint_eq(rig_counter(SC_conn_slow_reset), 0);
	ck_assert_uint_eq(alive(8), 8);
}
END_TEST

/* The application has closed: what is left counts all the same. */
START_TEST(test_a_closed_connection_that_takes_nothing_is_reset)
{
	fill(2);
	stack_close(rig.st, hog[0].ri, rig.now_us);
	insist(&hog[1], SLOW_S);
	rig_events(hog[0].ri);
	ck_assert_uint_eq(rig_rec(&hog[0])->state, TCP_FREE);
	ck_assert_uint_gt(rig_counter(SC_conn_slow_reset), 0);
}
END_TEST

START_TEST(test_user_timeout_bounds_how_long_a_client_may_take)
{
	rig.group.user_timeout_us = 2 * USEC_PER_SEC;
	rig_group();
	fill(2);
	insist(&hog[0], 1);
	ck_assert_uint_eq(alive(2), 2);
	insist(&hog[0], 2);
	ck_assert_uint_lt(alive(2), 2);
}
END_TEST

/* After a restart nothing is known of how fast clients were. */
START_TEST(test_a_mark_that_is_lost_begins_anew)
{
	fill(2);
	rig.st->tx_marks[rig_rec(&hog[1])->block] = (struct tx_mark){ 0 };
	insist(&hog[0], SLOW_S - 2);
	rig.st->tx_marks[rig_rec(&hog[1])->block] = (struct tx_mark){ 0 };
	insist(&hog[0], 5);
	ck_assert_uint_eq(rig_rec(&hog[1])->state, TCP_ESTABLISHED);
}
END_TEST

UNIT_MAIN("stack/share",
	  UNIT_CASE("share", up, down,
		    test_one_connection_gets_no_more_than_half_of_the_buffer,
		    test_clients_that_take_nothing_leave_room_for_a_reply,
		    test_a_small_reply_finds_room_however_small_the_share),
	  UNIT_CASE("slow", up, down,
		    test_a_client_that_takes_nothing_is_reset_when_others_wait,
		    test_a_client_that_takes_nothing_may_stay_when_nobody_waits,
		    test_who_holds_little_may_stay_when_others_wait,
		    test_a_client_that_trickles_is_reset_when_others_wait,
		    test_a_client_that_takes_all_in_time_lives_when_others_wait,
		    test_a_closed_connection_that_takes_nothing_is_reset,
		    test_user_timeout_bounds_how_long_a_client_may_take,
		    test_a_mark_that_is_lost_begins_anew))
