/* SPDX-License-Identifier: BSD-2-Clause */
/* Chains of chunks: filled, linked, given back. */
#include <string.h>

#include "../unit.h"
#include "arena/chunks.h"
#include "base/bytes.h"

#define N 16u
#define OWNER 3u

static struct chunks ch;
static struct chunk desc[N];
static uint8_t bytes[N * CHUNK_BYTES];
static uint8_t data[N * CHUNK_BYTES];
static uint32_t head, tail;

static void up(void)
{
	ck_assert_int_eq(chunks_init(&ch, desc, bytes, N), 0);
	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	head = tail = NIL;
}

static void down(void)
{
	chunks_fini(&ch);
}

/* Every other chunk is another's, as far as there are k. */
static void scatter(uint32_t k)
{
	for (uint32_t i = 0; i < k; i++)
		bitmap_set_used(&ch.map, 2 * i);
}

/* The queue has data from `from` on, seq says so, and ends with tail. */
static uint32_t queue_bytes(uint32_t from)
{
	uint32_t done = 0, last = NIL;

	for (uint32_t i = head; i != NIL; i = desc[i].next) {
		ck_assert_uint_eq(desc[i].owner, OWNER);
		ck_assert_uint_eq(desc[i].seq, from + done);
		ck_assert(bitmap_test(&ch.map, i));
		ck_assert_int_eq(memcmp(chunk_data(&ch, i), data + from + done,
					desc[i].len),
				 0);
		done += desc[i].len;
		last = i;
	}
	ck_assert_uint_eq(last, tail);
	return done;
}

static uint32_t put(uint32_t at, uint32_t len)
{
	struct chunk_chain chain = chunks_put(&ch, OWNER, at, data + at, len);

	if (chain.bytes)
		chunks_link(&ch, &head, &tail, chain);
	return chain.bytes;
}

START_TEST(test_put_fills_neighbours_and_others)
{
	static const uint32_t scattered[] = { 0, 1, 3, N / 2 };
	uint32_t before = scattered[_i];

	scatter(before);
	ck_assert_uint_eq(put(0, 3 * CHUNK_BYTES + 5), 3 * CHUNK_BYTES + 5);
	ck_assert_uint_eq(queue_bytes(0), 3 * CHUNK_BYTES + 5);
	ck_assert_uint_eq(bitmap_used_count(&ch.map), before + 4);
}
END_TEST

START_TEST(test_put_takes_what_there_is)
{
	uint32_t most = (N - 3) * CHUNK_BYTES;

	scatter(3);
	ck_assert_uint_eq(put(0, most + 1), most);
	ck_assert_uint_eq(queue_bytes(0), most);
	ck_assert_uint_eq(put(most, 1), 0);
	ck_assert_uint_eq(chunks_alloc(&ch, OWNER, 0), NIL);
	ck_assert_uint_eq(queue_bytes(0), most);
}
END_TEST

START_TEST(test_what_follows_fills_the_last_one_up)
{
	ck_assert_uint_eq(put(0, 100), 100);
	ck_assert_uint_eq(chunks_fill(&ch, tail, data + 100, 2000),
			  CHUNK_BYTES - 100);
	ck_assert_uint_eq(chunks_fill(&ch, tail, data, 1), 0);
	ck_assert_uint_eq(put(CHUNK_BYTES, 700), 700);
	ck_assert_uint_eq(queue_bytes(0), CHUNK_BYTES + 700);
	ck_assert_uint_eq(bitmap_used_count(&ch.map), 3);
}
END_TEST

START_TEST(test_free_until_keeps_what_reaches_beyond)
{
	ck_assert_uint_eq(put(0, 4 * CHUNK_BYTES), 4 * CHUNK_BYTES);
	ck_assert_uint_eq(chunks_free_until(&ch, &head, &tail, 0), 0);
	ck_assert_uint_eq(chunks_free_until(&ch, &head, &tail, CHUNK_BYTES - 1),
			  0);
	ck_assert_uint_eq(queue_bytes(0), 4 * CHUNK_BYTES);
	ck_assert_uint_eq(
		chunks_free_until(&ch, &head, &tail, 3 * CHUNK_BYTES - 1), 2);
	ck_assert_uint_eq(queue_bytes(2 * CHUNK_BYTES), 2 * CHUNK_BYTES);
	ck_assert_uint_eq(desc[0].owner, NIL);
	ck_assert_uint_eq(bitmap_used_count(&ch.map), 2);
}
END_TEST

START_TEST(test_free_until_the_end_leaves_an_empty_queue)
{
	ck_assert_uint_eq(put(0, 1000), 1000);
	ck_assert_uint_eq(chunks_free_until(&ch, &head, &tail, 1000), 2);
	ck_assert_uint_eq(head, NIL);
	ck_assert_uint_eq(tail, NIL);
	ck_assert_uint_eq(bitmap_used_count(&ch.map), 0);
	ck_assert_uint_eq(chunks_free_until(&ch, &head, &tail, 1000), 0);
	ck_assert_uint_eq(put(1000, 10), 10);
	ck_assert_uint_eq(queue_bytes(1000), 10);
}
END_TEST

UNIT_MAIN("arena/chunks",
	  UNIT_LOOP("put", 4, up, down, test_put_fills_neighbours_and_others),
	  UNIT_CASE("queue", up, down, test_put_takes_what_there_is,
		    test_what_follows_fills_the_last_one_up,
		    test_free_until_keeps_what_reaches_beyond,
		    test_free_until_the_end_leaves_an_empty_queue))
