/* SPDX-License-Identifier: BSD-2-Clause */
#include "stack/source.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"

uint64_t source_hash(const struct arena_header *header,
		     const struct tuple *tuple, uint16_t group)
{
	struct siphash_key key = { header->secret[0], header->secret[1] };
	uint64_t addr;

	memcpy(&addr, tuple->remote, sizeof(addr));
	return siphash13_u64x2(&key, addr, (uint64_t)group << 8 | tuple->v6);
}

static uint32_t *source_cell(const struct source_table *t, uint64_t hash,
			     uint32_t row)
{
	/* Two halves give as many places as are wanted (Kirsch, Mitzenmacher). */
	uint32_t h = (uint32_t)hash + row * ((uint32_t)(hash >> 32) | 1);
	uint32_t place = (uint32_t)((uint64_t)h * t->width >> 32);

	return &t->cells[(size_t)row * t->width + place];
}

void source_add(struct source_table *t, uint64_t hash)
{
	for (uint32_t row = 0; t->width && row < SOURCE_ROWS; row++)
		++*source_cell(t, hash, row);
}

void source_sub(struct source_table *t, uint64_t hash)
{
	for (uint32_t row = 0; t->width && row < SOURCE_ROWS; row++) {
		uint32_t *cell = source_cell(t, hash, row);

		assert(*cell);
		--*cell;
	}
}

uint32_t source_count(const struct source_table *t, uint64_t hash)
{
	uint32_t least = t->width ? UINT32_MAX : 0;

	for (uint32_t row = 0; t->width && row < SOURCE_ROWS; row++)
		least = min_u32(least, *source_cell(t, hash, row));
	return least;
}
