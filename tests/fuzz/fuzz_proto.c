/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proto - the small parsers of both ends of a stream: addresses, HELLO, the
 * reader of frames, the queue of frames.
 *
 * The first byte says which; what each takes must read the same when it is
 * written again, and the queue must hold what was put into it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/hello.h"
#include "fuzz/fuzz.h"
#include "proto/addr.h"
#include "proto/stream.h"

#define QUEUE_BYTES 4096u

static void proto_addr(struct fuzz_in *in)
{
	char text[256], again[ADDR_TEXT_BYTES];
	struct sockaddr_storage ss, ss2;
	const uint8_t *bytes;
	size_t n = fuzz_take(in, sizeof(text) - 1, &bytes);
	socklen_t len = 0, len2 = 0;
	const char *why = NULL;

	memcpy(text, bytes, n);
	text[n] = '\0';
	memset(&ss, 0, sizeof(ss));
	memset(&ss2, 0, sizeof(ss2));
	if (addr_parse(text, &ss, &len, &why) < 0) {
		FUZZ_CHECK(why && *why);
		return;
	}
	FUZZ_CHECK(len > 0 && len <= sizeof(ss));
	addr_format(&ss, len, again, sizeof(again));
	FUZZ_CHECK(addr_parse(again, &ss2, &len2, &why) == 0, "%s: %s", again,
		   why);
	FUZZ_CHECK(len == len2 && memcmp(&ss, &ss2, len) == 0, "%s", again);
}

static void proto_hello(struct fuzz_in *in)
{
	struct hello_peer peer;
	const uint8_t *bytes;
	size_t n = fuzz_take(in, 304, &bytes);

	if (hello_parse(bytes, n, &peer) < 0)
		return;
	FUZZ_CHECK(peer.max_payload >= 4096 &&
		   peer.max_payload <= FRAME_PAYLOAD_MAX);
	FUZZ_CHECK(peer.stream_credit_bytes >= 4096);
}

static void proto_check_frame(const struct frame *f, uint32_t max_payload)
{
	uint8_t wire[FRAME_HEADER_BYTES];
	struct frame again;

	FUZZ_CHECK(f->length <= max_payload);
	frame_encode(f, wire);
	/* One of the two sides takes it. */
	if (frame_decode(wire, FRAME_SIDE_BACKEND, max_payload, &again) < 0)
		FUZZ_CHECK(frame_decode(wire, FRAME_SIDE_XTCPD, max_payload,
					&again) == 0);
	FUZZ_CHECK(memcmp(f, &again, sizeof(again)) == 0);
}

/* Bytes in pieces, by feed() and by space(). */
static void proto_reader(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in), piece = fuzz_u8(in);
	uint32_t max = how & 2 ? 4096 : FRAME_PAYLOAD_MAX;
	const uint8_t *bytes, *payload;
	struct frame_reader r;
	struct frame f;
	size_t n, room;
	int rc;

	frame_reader_init(&r, how & 1 ? FRAME_SIDE_BACKEND : FRAME_SIDE_XTCPD,
			  max);
	while ((n = fuzz_take(in, 1u + piece, &bytes)) > 0) {
		if (how & 4) {
			void *to = frame_reader_space(&r, &room);

			FUZZ_CHECK(to && room >= n);
			memcpy(to, bytes, n);
			frame_reader_commit(&r, n);
		} else {
			rc = frame_reader_feed(&r, bytes, n);
			FUZZ_CHECK(rc == 0 || rc == -ENOBUFS);
		}
		while ((rc = frame_reader_next(&r, &f, &payload)) == 1)
			proto_check_frame(&f, max);
		FUZZ_CHECK(rc == 0 || rc == -EPROTO || rc == -EMSGSIZE);
	}
	frame_reader_fini(&r);
}

/* --- the queue --------------------------------------------------------- */

/* All bytes that were put into a queue, by position. */
static uint8_t shadow[65536];

static void proto_check_queue(const struct frame_queue *q)
{
	struct iovec iov[2];
	uint64_t pos = q->sent;
	int n = frame_queue_iov(q, iov);

	FUZZ_CHECK(q->base <= q->sent && q->sent <= q->tail);
	FUZZ_CHECK(frame_queue_held(q) == q->tail - q->base);
	FUZZ_CHECK(frame_queue_room(q) == QUEUE_BYTES - frame_queue_held(q));
	for (int i = 0; i < n; i++) {
		FUZZ_CHECK(memcmp(iov[i].iov_base, shadow + pos,
				  iov[i].iov_len) == 0);
		pos += iov[i].iov_len;
	}
	FUZZ_CHECK(pos == q->tail);
}

static void proto_append(struct fuzz_in *in, struct frame_queue *q)
{
	struct frame f = { .type = FRAME_REPLY, .conn = fuzz_u8(in) };
	uint64_t at = q->tail;
	uint8_t bytes[600];
	size_t n = fuzz_u16(in) % sizeof(bytes), part = n / 3;
	const struct iovec iov[2] = { { bytes, part },
				      { bytes + part, n - part } };
	int rc;

	if (at + FRAME_HEADER_BYTES + n > sizeof(shadow))
		return;
	memset(bytes, (int)(at & 0xff), sizeof(bytes));
	rc = frame_queue_appendv(q, &f, iov, 2);
	if (rc < 0) {
		FUZZ_CHECK(rc == -ENOBUFS && q->tail == at);
		return;
	}
	f.length = (uint32_t)n;
	frame_encode(&f, shadow + at);
	memcpy(shadow + at + FRAME_HEADER_BYTES, bytes, n);
}

/* Walks all frames that are held and copies the last one to the end. */
static void proto_walk(struct frame_queue *q)
{
	uint64_t pos = q->base, last = pos, at = q->tail;
	struct frame_queue from;
	struct frame f = { 0 };
	uint8_t wire[FRAME_HEADER_BYTES];

	/* Only a queue whose base is a frame's start can be walked. */
	for (; pos < q->tail; pos += FRAME_HEADER_BYTES + f.length) {
		if (q->tail - pos < FRAME_HEADER_BYTES)
			return;
		frame_queue_peek(q, pos, &f);
		frame_encode(&f, wire);
		if (memcmp(wire, shadow + pos, sizeof(wire)) != 0 ||
		    f.length > q->tail - pos - FRAME_HEADER_BYTES)
			return;
		last = pos;
	}
	if (q->base == q->tail ||
	    at + FRAME_HEADER_BYTES + f.length > sizeof(shadow))
		return;
	from = *q;
	frame_queue_init(q, QUEUE_BYTES);
	FUZZ_CHECK(frame_queue_copy(q, &f, &from, last) == 0);
	FUZZ_CHECK(frame_queue_held(q) == FRAME_HEADER_BYTES + f.length);
	frame_queue_fini(q);
	*q = from;
}

static void proto_queue(struct fuzz_in *in)
{
	struct frame_queue q;
	size_t n;

	frame_queue_init(&q, QUEUE_BYTES);
	while (fuzz_left(in)) {
		uint8_t op = fuzz_u8(in);

		switch (op & 7) {
		case 0:
			n = frame_queue_pending(&q);
			frame_queue_advance(&q, n ? fuzz_u16(in) % (n + 1) : 0);
			break;
		case 1:
			n = (size_t)(q.sent - q.base);
			frame_queue_release(
				&q, q.base + (n ? fuzz_u16(in) % (n + 1) : 0));
			break;
		case 2:
			n = frame_queue_pending(&q);
			frame_queue_consume(&q, n ? fuzz_u16(in) % (n + 1) : 0);
			break;
		case 3:
			frame_queue_trim(&q);
			break;
		case 4:
			proto_walk(&q);
			break;
		default:
			proto_append(in, &q);
			break;
		}
		proto_check_queue(&q);
	}
	frame_queue_fini(&q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = fuzz_in(data, size);

	switch (fuzz_u8(&in) & 3) {
	case 0:
		proto_addr(&in);
		break;
	case 1:
		proto_hello(&in);
		break;
	case 2:
		proto_reader(&in);
		break;
	default:
		proto_queue(&in);
		break;
	}
	return 0;
}
