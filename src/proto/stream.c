/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream - frames out of bytes, and bytes out of frames.
 *
 * The reader's buffer is linear, so that a payload is one piece of memory:
 * what is unread is moved to the front when the room behind it gets short. At
 * the end of a turn little is unread (part of one frame), so little is moved.
 *
 * The queue is a ring, for what goes out need not be one piece: writev takes
 * two. Its positions are 64-bit counts; `pos & (cap - 1)` is the place.
 *
 * I1	base <= sent <= tail, and tail - base <= cap.
 * I2	whole frames are appended: base, after any frame_queue_release() to a
 *	frame's end, is where a header begins.
 */
#include "proto/stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_QUEUE_BYTES_MIN 4096u

/* Less room than this behind the unread bytes: move them to the front. */
#define FRAME_READER_TAIL_MIN (FRAME_READER_BYTES / 2)

void frame_reader_init(struct frame_reader *r, enum frame_side side,
		       uint32_t max_payload)
{
	*r = (struct frame_reader){ .side = side, .max_payload = max_payload };
}

void frame_reader_fini(struct frame_reader *r)
{
	free(r->buf);
	frame_reader_init(r, r->side, r->max_payload);
}

static int frame_reader_grow(struct frame_reader *r, size_t cap)
{
	uint8_t *buf = realloc(r->buf, cap);

	if (!buf)
		return -ENOMEM;
	r->buf = buf;
	r->cap_bytes = cap;
	return 0;
}

/* Bytes that the frame at the front needs in all; 0: not known, or bad. */
static size_t frame_reader_need(const struct frame_reader *r)
{
	struct frame f;

	if (r->end - r->start < FRAME_HEADER_BYTES)
		return 0;
	if (frame_decode(r->buf + r->start, r->side, r->max_payload, &f) < 0)
		return 0;
	return FRAME_HEADER_BYTES + (size_t)f.length;
}

void *frame_reader_space(struct frame_reader *r, size_t *ret_bytes)
{
	size_t unread = r->end - r->start;
	size_t need = max_size(frame_reader_need(r), FRAME_READER_BYTES);

	/* The largest frame and one byte more: there is always room. */
	need = max_size(need, unread) + 1;
	if (unread == 0) {
		r->start = 0;
		r->end = 0;
	} else if (r->cap_bytes < r->start + need ||
		   r->cap_bytes - r->end < FRAME_READER_TAIL_MIN) {
		memmove(r->buf, r->buf + r->start, unread);
		r->start = 0;
		r->end = unread;
	}
	if (r->cap_bytes < r->start + need &&
	    frame_reader_grow(r, (size_t)round_up(r->start + need, 4096)) < 0)
		return NULL;
	*ret_bytes = r->cap_bytes - r->end;
	return r->buf + r->end;
}

void frame_reader_commit(struct frame_reader *r, size_t n)
{
	assert(n <= r->cap_bytes - r->end);
	r->end += n;
}

int frame_reader_feed(struct frame_reader *r, const void *data, size_t n)
{
	size_t room;
	void *to;

	if (n == 0)
		return 0;
	to = frame_reader_space(r, &room);
	if (!to)
		return -ENOMEM;
	if (n > room)
		return -ENOBUFS;
	memcpy(to, data, n);
	frame_reader_commit(r, n);
	return 0;
}

int frame_reader_next(struct frame_reader *r, struct frame *ret_f,
		      const uint8_t **ret_payload)
{
	int rc;

	if (r->error)
		return r->error;
	if (r->end - r->start < FRAME_HEADER_BYTES)
		return 0;
	rc = frame_decode(r->buf + r->start, r->side, r->max_payload, ret_f);
	if (rc < 0) {
		r->error = rc;
		return rc;
	}
	if (r->end - r->start - FRAME_HEADER_BYTES < ret_f->length)
		return 0;
	*ret_payload = r->buf + r->start + FRAME_HEADER_BYTES;
	r->start += FRAME_HEADER_BYTES + (size_t)ret_f->length;
	return 1;
}

void frame_queue_init(struct frame_queue *q, size_t max_bytes)
{
	*q = (struct frame_queue){ .max_bytes = max_bytes };
}

void frame_queue_fini(struct frame_queue *q)
{
	free(q->buf);
	frame_queue_init(q, q->max_bytes);
}

/* The bytes from..to of the ring as at most two pieces. */
static int frame_queue_span(const struct frame_queue *q, uint64_t from,
			    uint64_t to, struct iovec ret_iov[2])
{
	size_t len = (size_t)(to - from), at, first;

	if (len == 0)
		return 0;
	at = (size_t)from & (q->cap_bytes - 1);
	first = min_size(len, q->cap_bytes - at);
	ret_iov[0].iov_base = q->buf + at;
	ret_iov[0].iov_len = first;
	if (first == len)
		return 1;
	ret_iov[1].iov_base = q->buf;
	ret_iov[1].iov_len = len - first;
	return 2;
}

/* Makes room for n bytes more, which the bound allows. */
static int frame_queue_grow(struct frame_queue *q, size_t n)
{
	size_t held = frame_queue_held(q), at = 0, cap;
	struct iovec iov[2];
	uint8_t *buf;
	int parts;

	cap = (size_t)next_pow2(max_size(held + n, FRAME_QUEUE_BYTES_MIN));
	buf = malloc(cap);
	if (!buf)
		return -ENOMEM;
	parts = frame_queue_span(q, q->base, q->tail, iov);
	for (int i = 0; i < parts; i++) {
		size_t to = ((size_t)q->base + at) & (cap - 1);
		size_t head = min_size(iov[i].iov_len, cap - to);

		memcpy(buf + to, iov[i].iov_base, head);
		memcpy(buf, (uint8_t *)iov[i].iov_base + head,
		       iov[i].iov_len - head);
		at += iov[i].iov_len;
	}
	free(q->buf);
	q->buf = buf;
	q->cap_bytes = cap;
	return 0;
}

/* Copies n bytes to the tail; room was made. */
static void frame_queue_put(struct frame_queue *q, const void *data, size_t n)
{
	size_t at = (size_t)q->tail & (q->cap_bytes - 1);
	size_t first = min_size(n, q->cap_bytes - at);

	if (n == 0)
		return;
	memcpy(q->buf + at, data, first);
	if (first < n)
		memcpy(q->buf, (const uint8_t *)data + first, n - first);
	q->tail += n;
}

/* Where it will be sent from, when that is one piece. */
static void frame_queue_put_header(struct frame_queue *q, const struct frame *f,
				   uint32_t length)
{
	size_t at = (size_t)q->tail & (q->cap_bytes - 1);
	uint8_t wire[FRAME_HEADER_BYTES];
	bool whole = q->cap_bytes - at >= FRAME_HEADER_BYTES;
	struct frame_header *to = (void *)(whole ? q->buf + at : wire);

	frame_encode(f, to);
	to->length = be32_put(length);
	if (whole)
		q->tail += FRAME_HEADER_BYTES;
	else
		frame_queue_put(q, wire, FRAME_HEADER_BYTES);
}

int frame_queue_appendv(struct frame_queue *q, const struct frame *f,
			const struct iovec *iov, size_t n)
{
	size_t bytes = 0;
	int rc;

	for (size_t i = 0; i < n; i++)
		bytes += iov[i].iov_len;
	assert(bytes <= FRAME_PAYLOAD_MAX);
	if (bytes + FRAME_HEADER_BYTES > frame_queue_room(q))
		return -ENOBUFS;
	if (bytes + FRAME_HEADER_BYTES + frame_queue_held(q) > q->cap_bytes) {
		rc = frame_queue_grow(q, bytes + FRAME_HEADER_BYTES);
		if (rc < 0)
			return rc;
	}
	frame_queue_put_header(q, f, (uint32_t)bytes);
	for (size_t i = 0; i < n; i++)
		frame_queue_put(q, iov[i].iov_base, iov[i].iov_len);
	return 0;
}

int frame_queue_append(struct frame_queue *q, const struct frame *f,
		       const void *payload, size_t bytes)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)payload,
			     .iov_len = bytes };

	return frame_queue_appendv(q, f, &iov, bytes > 0 ? 1 : 0);
}

int frame_queue_iov(const struct frame_queue *q, struct iovec ret_iov[2])
{
	return frame_queue_span(q, q->sent, q->tail, ret_iov);
}

void frame_queue_advance(struct frame_queue *q, size_t n)
{
	assert(n <= frame_queue_pending(q));
	q->sent += n;
}

void frame_queue_release(struct frame_queue *q, uint64_t pos)
{
	assert(pos >= q->base && pos <= q->sent); /* I1 */
	q->base = pos;
}

void frame_queue_consume(struct frame_queue *q, size_t n)
{
	frame_queue_advance(q, n);
	frame_queue_release(q, q->sent);
}

/* Copies out n bytes from position pos. */
static void frame_queue_get(const struct frame_queue *q, uint64_t pos,
			    void *ret_data, size_t n)
{
	struct iovec iov[2];
	int parts = frame_queue_span(q, pos, pos + n, iov);

	if (parts > 0)
		memcpy(ret_data, iov[0].iov_base, iov[0].iov_len);
	if (parts > 1)
		memcpy((uint8_t *)ret_data + iov[0].iov_len, iov[1].iov_base,
		       iov[1].iov_len);
}

void frame_queue_peek(const struct frame_queue *q, uint64_t pos,
		      struct frame *ret_f)
{
	uint8_t wire[FRAME_HEADER_BYTES];

	assert(pos >= q->base && pos + sizeof(wire) <= q->tail); /* I2 */
	frame_queue_get(q, pos, wire, sizeof(wire));
	/* Only the fields are wanted: the frame was ours, whichever side. */
	(void)frame_decode(wire, FRAME_SIDE_XTCPD, FRAME_PAYLOAD_MAX, ret_f);
}

int frame_queue_copy(struct frame_queue *q, const struct frame *f,
		     const struct frame_queue *from, uint64_t pos)
{
	struct iovec iov[2];
	int parts;

	pos += FRAME_HEADER_BYTES;
	assert(pos + f->length <= from->tail);
	parts = frame_queue_span(from, pos, pos + f->length, iov);
	return frame_queue_appendv(q, f, iov, (size_t)parts);
}

void frame_queue_trim(struct frame_queue *q)
{
	if (frame_queue_held(q) > 0)
		return;
	free(q->buf);
	q->buf = NULL;
	q->cap_bytes = 0;
}
