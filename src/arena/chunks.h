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
void chunks_free(struct chunks *ch, uint32_t i);

/* Free the list that begins at head; returns how many chunks that were. */
uint32_t chunks_free_list(struct chunks *ch, uint32_t head);

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
 * Hand memory above the highest chunk in use back to the kernel, when that is
 * at least a quarter of a megabyte; descriptors, too. Returns the bytes.
 */
uint64_t chunks_trim(struct chunks *ch);

#endif
