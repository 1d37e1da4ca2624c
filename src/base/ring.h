/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_BASE_RING_H
#define XTCP_BASE_RING_H

/*
 * A ring of fixed-size slots from one producer thread to one consumer thread.
 *
 * The producer fills a slot in place and commits it; the consumer reads it in
 * place and releases it. No locks, no read-modify-write: `head` is stored by
 * the producer alone and `tail` by the consumer alone, each with release
 * order, and each is read by the other side with acquire order. Both count
 * without end and are reduced to a slot by a mask. Each side keeps a copy of
 * the other's number and reads the original, whose cache line the other side
 * writes to, only when the copy says that the ring is full (or empty).
 */

#include "base/bytes.h"

#include <stdatomic.h>
#include <stdint.h>

struct spsc {
	/* fixed after spsc_init() */
	uint8_t *slots;
	uint32_t nslots;
	uint32_t slot_bytes;

	/* the producer's line */
	cache_aligned _Atomic uint32_t head;
	uint32_t tail_seen;

	/* the consumer's line */
	cache_aligned _Atomic uint32_t tail;
	uint32_t head_seen;
};

/*
 * Sets up an empty ring of @nslots_pow2 slots (a power of two, at most 2^31)
 * of @slot_bytes each, rounded up to 8; slots are aligned to 8, or to 64 when
 * the size is a multiple of it. Returns 0, -EINVAL or -ENOMEM.
 */
int spsc_init(struct spsc *r, uint32_t nslots_pow2, uint32_t slot_bytes);

/* Gives the memory back; does nothing to a ring that is all zero bytes. */
void spsc_fini(struct spsc *r);

/*
 * Producer: the slot to fill next, or NULL when the ring is full. Nothing is
 * taken before spsc_commit(); asked again, it is the same slot.
 */
void *spsc_reserve(struct spsc *r);

/* Producer: hands over the slot that spsc_reserve() gave. */
void spsc_commit(struct spsc *r);

/*
 * Consumer: the oldest slot that was handed over, or NULL when the ring is
 * empty. It stays the consumer's until spsc_release().
 */
void *spsc_peek(struct spsc *r);

/* Consumer: gives the slot that spsc_peek() gave back to the producer. */
void spsc_release(struct spsc *r);

/* How many slots are handed over and not released; a guess for third parties. */
uint32_t spsc_count(const struct spsc *r);

#endif
