/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * index - from a connection's hash to its record number.
 *
 * Open addressing with linear probing over slots of 8 bytes: 32 bits of the
 * keyed hash (which also say where the entry belongs), and the record number
 * + 1, so that zeroed memory is an empty index. 1.5 slots per record: 12
 * bytes per connection. Deletion shifts back; there are no tombstones.
 * Derived from the records (I2).
 */
#ifndef XTCP_ARENA_INDEX_H
#define XTCP_ARENA_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "arena/layout.h"

struct index_slot {
	uint32_t tag; /* low half of the hash */
	uint32_t rec1; /* record + 1; 0: empty */
};

struct index {
	struct index_slot *slots; /* mmap */
	uint64_t n_slots;
	uint32_t entries;
};

/* For at most n records. Returns 0 or -ENOMEM. */
int index_init(struct index *index, uint32_t n);
void index_fini(struct index *index);

/* Is record rec the one that is looked for? */
typedef bool (*index_match)(const void *key, uint32_t rec);

/* The caller saw to it that rec is not in it and that there is room. */
void index_insert(struct index *index, uint32_t tag, uint32_t rec);

/* Returns false when rec was not there. */
bool index_remove(struct index *index, uint32_t tag, uint32_t rec);

static inline uint64_t index_home(const struct index *index, uint32_t tag)
{
	return ((uint64_t)tag * index->n_slots) >> 32;
}

static inline uint64_t index_next(const struct index *index, uint64_t i)
{
	return i + 1 == index->n_slots ? 0 : i + 1;
}

/* The record whose tag is hash's and that match() accepts, or NIL. */
static inline uint32_t index_find(const struct index *index, uint32_t tag,
				  index_match match, const void *key)
{
	for (uint64_t i = index_home(index, tag); index->slots[i].rec1;
	     i = index_next(index, i)) {
		const struct index_slot *slot = &index->slots[i];

		if (slot->tag == tag && match(key, slot->rec1 - 1))
			return slot->rec1 - 1;
	}
	return NIL;
}

/*
 * The record that index_find() would look at first, or NIL: to have it fetched.
 * Which one it is takes a look at the record.
 */
static inline uint32_t index_guess(const struct index *index, uint32_t tag)
{
	for (uint64_t i = index_home(index, tag); index->slots[i].rec1;
	     i = index_next(index, i))
		if (index->slots[i].tag == tag)
			return index->slots[i].rec1 - 1;
	return NIL;
}

static inline void index_prefetch(const struct index *index, uint32_t tag)
{
	__builtin_prefetch(&index->slots[index_home(index, tag)]);
}

#endif
