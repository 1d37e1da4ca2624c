/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chunks - a slab of equal chunks of bytes: receive pools, transmit buffer.
 *
 * The descriptors and the bytes lie in the arena, the free map in the
 * process. The lowest free chunk is always taken first, so that what is in use
 * stays together and what lies above can be handed back to the kernel
 * (chunks_trim()).
 */
#ifndef XTCP_ARENA_CHUNKS_H
#define XTCP_ARENA_CHUNKS_H

#include <stdint.h>

#include "arena/layout.h"
#include "arena/order.h"
#include "base/bitmap.h"

struct chunks {
	struct chunk *desc;
	uint8_t *bytes;
	struct bitmap map;
	uint32_t n; /* chunks in all */
	uint32_t touched; /* chunks below this may hold memory */
};

/* Returns 0 or -ENOMEM. desc and bytes are borrowed. */
int chunks_init(struct chunks *ch, struct chunk *desc, uint8_t *bytes,
		uint32_t n);
void chunks_fini(struct chunks *ch);

/* An empty chunk for owner, or NIL when all are in use. */
uint32_t chunks_alloc(struct chunks *ch, uint32_t owner, uint32_t seq);

/* A chain of chunks, and what is in it. */
struct chunk_chain {
	uint32_t first, last; /* NIL: it is empty */
	uint32_t bytes;
};

/*
 * New chunks for owner with len bytes of data in them, or with less when there
 * are no more. No queue has them yet.
 */
struct chunk_chain chunks_put(struct chunks *ch, uint32_t owner, uint32_t seq,
			      const uint8_t *data, uint32_t len);

/* Copy as much of data as fits to the end of chunk i. Returns the bytes. */
uint32_t chunks_fill(struct chunks *ch, uint32_t i, const uint8_t *data,
		     uint32_t len);

/* Put a chain, which is not empty, to the end of a queue. */
static inline void chunks_link(struct chunks *ch, uint32_t *head,
			       uint32_t *tail, struct chunk_chain chain)
{
	if (*tail == NIL)
		ARENA_COMMIT(*head, chain.first);
	else
		ARENA_COMMIT(ch->desc[*tail].next, chain.first);
	*tail = chain.last;
}

void chunks_free(struct chunks *ch, uint32_t i);

/* Free the list that begins at head; returns how many chunks that were. */
uint32_t chunks_free_list(struct chunks *ch, uint32_t head);

/*
 * Free those chunks of a queue that end at or before seq, once the queue begins
 * behind them. Returns how many that were.
 */
uint32_t chunks_free_until(struct chunks *ch, uint32_t *head, uint32_t *tail,
			   uint32_t seq);

static inline uint8_t *chunk_data(const struct chunks *ch, uint32_t i)
{
	return ch->bytes + (uint64_t)i * CHUNK_BYTES + ch->desc[i].off;
}

/* Bytes that could still be appended to chunk i. */
static inline uint32_t chunk_room(const struct chunks *ch, uint32_t i)
{
	return CHUNK_BYTES - ch->desc[i].off - ch->desc[i].len;
}

/*
 * Hand memory above the highest chunk in use, but not of the first `keep`, back to
 * the kernel, when that is at least a quarter of a megabyte; descriptors, too.
 * Returns the bytes.
 */
uint64_t chunks_trim(struct chunks *ch, uint32_t keep);

#endif
