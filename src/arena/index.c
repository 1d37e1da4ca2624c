/* SPDX-License-Identifier: BSD-2-Clause */
#include "arena/index.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "arena/huge.h"

int index_init(struct index *index, uint32_t n)
{
	uint64_t n_slots = (uint64_t)n + n / 2 + 16;
	void *map = mmap(NULL, n_slots * sizeof(struct index_slot),
			 PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return -ENOMEM;
	huge_advise(map, n_slots * sizeof(struct index_slot));
	*index = (struct index){ .slots = map, .n_slots = n_slots };
	return 0;
}

void index_fini(struct index *index)
{
	if (index->slots)
		munmap(index->slots,
		       index->n_slots * sizeof(struct index_slot));
	*index = (struct index){ 0 };
}

void index_insert(struct index *index, uint32_t tag, uint32_t rec)
{
	uint64_t i = index_home(index, tag);

	assert(index->entries + 1 < index->n_slots);
	while (index->slots[i].rec1)
		i = index_next(index, i);
	index->slots[i] = (struct index_slot){ .tag = tag, .rec1 = rec + 1 };
	index->entries++;
}

/* Distance from a to b, going round. */
static uint64_t index_distance(const struct index *index, uint64_t a,
			       uint64_t b)
{
	return b >= a ? b - a : b + index->n_slots - a;
}

bool index_remove(struct index *index, uint32_t tag, uint32_t rec)
{
	uint64_t hole = index_home(index, tag), i;

	while (index->slots[hole].rec1 != rec + 1) {
		if (!index->slots[hole].rec1)
			return false;
		hole = index_next(index, hole);
	}
	/* Shift back what probed past the hole, so that no search stops short. */
	for (i = index_next(index, hole); index->slots[i].rec1;
	     i = index_next(index, i)) {
		uint64_t home = index_home(index, index->slots[i].tag);

		if (index_distance(index, home, i) >=
		    index_distance(index, hole, i)) {
			index->slots[hole] = index->slots[i];
			hole = i;
		}
	}
	index->slots[hole] = (struct index_slot){ 0 };
	index->entries--;
	return true;
}
