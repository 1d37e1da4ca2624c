/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_PROTO_STREAM_H
#define XTCP_PROTO_STREAM_H

/*
 * Both ends of a framed stream, without the socket: a reader that makes
 * frames of the bytes that came, and a queue of frames that go out. Whoever
 * owns the descriptor reads into frame_reader_space() and writes what
 * frame_queue_iov() shows.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "proto/frame.h"

/*
 * Incoming frames. The buffer starts at FRAME_READER_BYTES and grows to what
 * the largest frame needs, never more: FRAME_HEADER_BYTES + max_payload,
 * rounded up. An error is sticky: there is no way to find the next frame
 * after a bad header.
 */
#define FRAME_READER_BYTES (64u * 1024u)

struct frame_reader {
	uint8_t *buf; /* NULL until the first byte */
	size_t cap_bytes;
	size_t start, end; /* unread bytes of buf */
	enum frame_side side;
	uint32_t max_payload;
	int error; /* 0 or the sticky negative errno */
};

/* An empty reader of frames that come to side; max_payload in bytes. */
void frame_reader_init(struct frame_reader *r, enum frame_side side,
		       uint32_t max_payload);

/* Frees the buffer; the reader may be used again and is then empty. */
void frame_reader_fini(struct frame_reader *r);

/*
 * Where to put the next bytes, at least one: for the one read() of a turn,
 * after frame_reader_next() has returned 0. Moves unread bytes, so payload
 * pointers are invalid afterwards.
 * Returns the place and its size in ret_bytes; NULL when memory is short.
 */
void *frame_reader_space(struct frame_reader *r, size_t *ret_bytes);

/* Says that n bytes, at most what was offered, were put there. */
void frame_reader_commit(struct frame_reader *r, size_t n);

/*
 * Appends a copy of n bytes: for callers that have the bytes already.
 * Returns 0; -ENOMEM; -ENOBUFS when they don't fit before frames are taken.
 */
int frame_reader_feed(struct frame_reader *r, const void *data, size_t n);

/*
 * The next whole frame: the header in ret_f, its payload of ret_f->length
 * bytes at ret_payload, borrowed until the next space() or feed().
 * Returns 1; 0 when more bytes are needed; -EPROTO or -EMSGSIZE as
 * frame_decode() does, then and ever after (ret_f shows the culprit once).
 */
int frame_reader_next(struct frame_reader *r, struct frame *ret_f,
		      const uint8_t **ret_payload);

/*
 * Outgoing frames: a ring of bytes that grows by doubling up to a bound.
 * Positions count bytes since frame_queue_init() and never wrap:
 *
 *	base         sent          tail
 *	  |- kept ----|- to be sent --|
 *
 * Bytes that were sent are kept until released, for a peer that may have to
 * be sent them again; who needs no such thing calls frame_queue_consume().
 */
struct frame_queue {
	uint8_t *buf; /* NULL while never used or trimmed */
	size_t cap_bytes; /* power of two */
	size_t max_bytes; /* bound of tail - base */
	uint64_t base, sent, tail;
};

/* An empty queue that holds at most max_bytes. */
void frame_queue_init(struct frame_queue *q, size_t max_bytes);

/* Frees everything; accepts a queue that is all zero bytes. */
void frame_queue_fini(struct frame_queue *q);

/* Bytes that were not sent yet. */
static inline size_t frame_queue_pending(const struct frame_queue *q)
{
	return (size_t)(q->tail - q->sent);
}

/* Bytes held, sent or not. */
static inline size_t frame_queue_held(const struct frame_queue *q)
{
	return (size_t)(q->tail - q->base);
}

/* Bytes, headers included, that can still be appended. */
static inline size_t frame_queue_room(const struct frame_queue *q)
{
	size_t held = frame_queue_held(q);

	return held < q->max_bytes ? q->max_bytes - held : 0;
}

/*
 * Appends a frame whose payload is the n parts of iov (n 0: none); f->length
 * is ignored and set from the parts.
 * Returns 0; -ENOBUFS over the bound; -ENOMEM. All or nothing.
 */
int frame_queue_appendv(struct frame_queue *q, const struct frame *f,
			const struct iovec *iov, size_t n);

/* The same with a payload of one part; NULL with 0 bytes. */
int frame_queue_append(struct frame_queue *q, const struct frame *f,
		       const void *payload, size_t bytes);

/* What is to be sent, oldest first. Returns how many of ret_iov are filled. */
int frame_queue_iov(const struct frame_queue *q, struct iovec ret_iov[2]);

/* Says that n of the bytes shown were sent; they are kept. */
void frame_queue_advance(struct frame_queue *q, size_t n);

/* Lets go of what was sent before position pos; base <= pos <= sent. */
void frame_queue_release(struct frame_queue *q, uint64_t pos);

/* frame_queue_advance() and release: sent and not kept. */
void frame_queue_consume(struct frame_queue *q, size_t n);

/*
 * Reads back the frame that begins at position pos, for walking the queue
 * from base by steps of FRAME_HEADER_BYTES + length; base <= pos < tail.
 */
void frame_queue_peek(const struct frame_queue *q, uint64_t pos,
		      struct frame *ret_f);

/*
 * Appends to q a frame with the header f, which frame_queue_peek() read at pos
 * of from (and the caller may have changed, but for length), and the payload
 * that is there. As frame_queue_appendv().
 */
int frame_queue_copy(struct frame_queue *q, const struct frame *f,
		     const struct frame_queue *from, uint64_t pos);

/* Gives the buffer back when the queue is empty. */
void frame_queue_trim(struct frame_queue *q);

#endif
