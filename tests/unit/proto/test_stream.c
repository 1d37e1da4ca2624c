/* SPDX-License-Identifier: BSD-2-Clause */
#include "proto/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "unit/unit.h"

/* Appends a DATA frame of n bytes, all equal to fill, to q. */
static int put_data(struct frame_queue *q, uint64_t conn, size_t n,
		    uint8_t fill)
{
	const struct frame f = { .type = FRAME_DATA, .conn = conn };
	uint8_t *payload = malloc(n + 1);
	int rc;

	memset(payload, fill, n + 1);
	rc = frame_queue_append(q, &f, payload, n);
	free(payload);
	return rc;
}

/* Moves n bytes from q into r, as a socket would. Returns how many. */
static size_t carry(struct frame_queue *q, struct frame_reader *r, size_t n)
{
	struct iovec iov[2];
	size_t done = 0, room;
	uint8_t *to;

	while (done < n && frame_queue_iov(q, iov) > 0) {
		size_t k =
			iov[0].iov_len < n - done ? iov[0].iov_len : n - done;

		to = frame_reader_space(r, &room);
		ck_assert_ptr_nonnull(to);
		ck_assert_uint_gt(room, 0);
		k = k < room ? k : room;
		memcpy(to, iov[0].iov_base, k);
		frame_reader_commit(r, k);
		frame_queue_consume(q, k);
		done += k;
	}
	return done;
}

START_TEST(test_reader_gives_frames_of_any_fragmentation)
{
	const size_t sizes[] = { 1, 4, 100, 5000, 70000, FRAME_PAYLOAD_MAX };
	const size_t steps[] = { 1, 7, 31, 32, 33, 4096, 100000 };
	const size_t n_sizes = sizeof(sizes) / sizeof(sizes[0]);
	size_t step = steps[_i], got = 0;
	struct frame_queue q;
	struct frame_reader r;
	const uint8_t *payload;
	struct frame f;

	frame_queue_init(&q, 1u << 20);
	frame_reader_init(&r, FRAME_SIDE_BACKEND, FRAME_PAYLOAD_MAX);
	for (size_t i = 0; i < n_sizes; i++)
		ck_assert_int_eq(put_data(&q, i, sizes[i], (uint8_t)i), 0);
	do {
		while (frame_reader_next(&r, &f, &payload) == 1) {
			ck_assert_uint_eq(f.conn, got);
			ck_assert_uint_eq(f.length, sizes[got]);
			ck_assert_uint_eq(payload[0], got);
			ck_assert_uint_eq(payload[f.length - 1], got);
			got++;
		}
	} while (carry(&q, &r, step) > 0);
	ck_assert_uint_eq(got, n_sizes);
	/* One largest frame, a page for rounding. */
	ck_assert_uint_le(r.cap_bytes, FRAME_PAYLOAD_MAX + 4096u);
	frame_reader_fini(&r);
	frame_queue_fini(&q);
}
END_TEST

START_TEST(test_reader_error_is_sticky)
{
	const struct frame bad = { .type = 99 };
	uint8_t wire[32];
	struct frame_reader r;
	const uint8_t *payload;
	struct frame f;

	frame_reader_init(&r, FRAME_SIDE_BACKEND, 4096);
	frame_encode(&bad, wire);
	ck_assert_int_eq(frame_reader_feed(&r, wire, sizeof(wire)), 0);
	ck_assert_int_eq(frame_reader_next(&r, &f, &payload), -EPROTO);
	ck_assert_int_eq(frame_reader_feed(&r, wire, sizeof(wire)), 0);
	ck_assert_int_eq(frame_reader_next(&r, &f, &payload), -EPROTO);
	frame_reader_fini(&r);
	ck_assert_int_eq(frame_reader_next(&r, &f, &payload), 0);
}
END_TEST

START_TEST(test_reader_judges_the_header_before_the_payload_came)
{
	const struct frame big = { .type = FRAME_DATA, .length = 1u << 30 };
	uint8_t wire[32];
	struct frame_reader r;
	const uint8_t *payload;
	struct frame f;

	frame_reader_init(&r, FRAME_SIDE_BACKEND, FRAME_PAYLOAD_MAX);
	frame_encode(&big, wire);
	ck_assert_int_eq(frame_reader_feed(&r, wire, sizeof(wire)), 0);
	ck_assert_int_eq(frame_reader_next(&r, &f, &payload), -EMSGSIZE);
	ck_assert_uint_eq(f.length, 1u << 30);
	frame_reader_fini(&r);
}
END_TEST

START_TEST(test_reader_keeps_its_size_under_a_long_stream)
{
	struct frame_queue q;
	struct frame_reader r;
	const uint8_t *payload;
	struct frame f;
	size_t got = 0;

	frame_queue_init(&q, 1u << 20);
	frame_reader_init(&r, FRAME_SIDE_BACKEND, FRAME_PAYLOAD_MAX);
	for (int i = 0; i < 500; i++) {
		ck_assert_int_eq(put_data(&q, 1, 1 + (size_t)i * 37 % 9000, 1),
				 0);
		carry(&q, &r, 6001);
		while (frame_reader_next(&r, &f, &payload) == 1)
			got++;
	}
	ck_assert_uint_le(r.cap_bytes, FRAME_READER_BYTES + 4096u);
	ck_assert_uint_gt(got, 250);
	frame_reader_fini(&r);
	frame_queue_fini(&q);
}
END_TEST

START_TEST(test_queue_is_bounded)
{
	const struct frame f = { .type = FRAME_PONG };
	struct frame_queue q;

	frame_queue_init(&q, 100);
	ck_assert_int_eq(frame_queue_append(&q, &f, NULL, 0), 0);
	ck_assert_int_eq(put_data(&q, 1, 36, 1), 0);
	ck_assert_uint_eq(frame_queue_room(&q), 0);
	ck_assert_int_eq(frame_queue_append(&q, &f, NULL, 0), -ENOBUFS);
	ck_assert_uint_eq(frame_queue_pending(&q), 100);
	frame_queue_consume(&q, 32);
	ck_assert_int_eq(frame_queue_append(&q, &f, NULL, 0), 0);
	frame_queue_fini(&q);
}
END_TEST

START_TEST(test_queue_wraps_and_grows_without_losing_a_byte)
{
	struct frame_queue q;
	struct frame_reader r;
	const uint8_t *payload;
	struct frame f;
	uint64_t in = 0, out = 0, wrong = 0;

	frame_queue_init(&q, 1u << 20);
	frame_reader_init(&r, FRAME_SIDE_BACKEND, FRAME_PAYLOAD_MAX);
	for (unsigned int i = 0; i < 3000; i++) {
		/* Mostly fuller and fuller, with the base at odd places. */
		size_t n = 1 + i * 131 % 2000;

		if (put_data(&q, in, n, (uint8_t)in) == 0)
			in++;
		carry(&q, &r, i % 3 ? 1500 : 333);
		while (frame_reader_next(&r, &f, &payload) == 1) {
			ck_assert_uint_eq(f.conn, out);
			for (uint32_t k = 0; k < f.length; k++)
				wrong += payload[k] != (uint8_t)out;
			ck_assert_uint_eq(wrong, 0);
			out++;
		}
	}
	while (carry(&q, &r, 4000) > 0) {
		while (frame_reader_next(&r, &f, &payload) == 1)
			ck_assert_uint_eq(f.conn, out++);
	}
	ck_assert_uint_eq(in, out);
	frame_queue_trim(&q);
	ck_assert_ptr_null(q.buf);
	ck_assert_int_eq(put_data(&q, 1, 10, 1), 0);
	frame_reader_fini(&r);
	frame_queue_fini(&q);
}
END_TEST

START_TEST(test_queue_keeps_what_was_sent_until_released)
{
	struct frame_queue q, copy;
	struct frame f;
	uint64_t pos;

	frame_queue_init(&q, 1u << 16);
	frame_queue_init(&copy, 1u << 16);
	ck_assert_int_eq(put_data(&q, 1, 10, 1), 0);
	pos = q.tail;
	ck_assert_int_eq(put_data(&q, 2, 20, 2), 0);
	frame_queue_advance(&q, 50);
	ck_assert_uint_eq(frame_queue_pending(&q), 44);
	ck_assert_uint_eq(frame_queue_held(&q), 94);
	frame_queue_release(&q, pos);
	ck_assert_uint_eq(frame_queue_held(&q), 52);
	frame_queue_peek(&q, q.base, &f);
	ck_assert_uint_eq(f.conn, 2);
	ck_assert_uint_eq(f.length, 20);
	f.group = 7;
	ck_assert_int_eq(frame_queue_copy(&copy, &f, &q, q.base), 0);
	frame_queue_peek(&copy, copy.base, &f);
	ck_assert_uint_eq(f.group, 7);
	ck_assert_uint_eq(f.length, 20);
	ck_assert_uint_eq(copy.buf[FRAME_HEADER_BYTES], 2);
	frame_queue_fini(&q);
	frame_queue_fini(&copy);
}
END_TEST

UNIT_MAIN("proto/stream",
	  UNIT_LOOP("fragments", 7, NULL, NULL,
		    test_reader_gives_frames_of_any_fragmentation),
	  UNIT_TESTS(test_reader_error_is_sticky,
		     test_reader_judges_the_header_before_the_payload_came,
		     test_reader_keeps_its_size_under_a_long_stream,
		     test_queue_is_bounded,
		     test_queue_wraps_and_grows_without_losing_a_byte,
		     test_queue_keeps_what_was_sent_until_released))
