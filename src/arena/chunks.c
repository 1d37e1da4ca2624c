/* SPDX-License-Identifier: BSD-2-Clause */
#include "arena/chunks.h"

#include "arena/trim.h"

int chunks_init(struct chunks *ch, struct chunk *desc, uint8_t *bytes,
		uint32_t n)
{
	*ch = (struct chunks){ .desc = desc, .bytes = bytes, .n = n };
	return bitmap_init(&ch->map, n);
}

void chunks_fini(struct chunks *ch)
{
	bitmap_fini(&ch->map);
}

uint32_t chunks_alloc(struct chunks *ch, uint32_t owner, uint32_t seq)
{
	uint32_t i = bitmap_alloc(&ch->map);

	if (i == BITMAP_NONE)
		return NIL;
	ch->desc[i] = (struct chunk){ .next = NIL, .seq = seq, .owner = owner };
	if (i >= ch->touched)
		ch->touched = i + 1;
	return i;
}

void chunks_free(struct chunks *ch, uint32_t i)
{
	ch->desc[i].owner = NIL;
	ch->desc[i].next = NIL;
	bitmap_free(&ch->map, i);
}

uint32_t chunks_free_list(struct chunks *ch, uint32_t head)
{
	uint32_t n = 0;

	while (head != NIL) {
		uint32_t next = ch->desc[head].next;

		chunks_free(ch, head);
		head = next;
		n++;
	}
	return n;
}

uint64_t chunks_trim(struct chunks *ch)
{
	uint32_t keep = bitmap_highwater(&ch->map);
	uint64_t bytes;

	if (!trim_is_worth_it(keep, ch->touched, CHUNK_BYTES))
		return 0;
	bytes = trim_items(ch->bytes, CHUNK_BYTES, keep, ch->touched,
			   MADV_REMOVE);
	if (!bytes)
		return 0;
	bytes += trim_items(ch->desc, sizeof(*ch->desc), keep, ch->touched,
			    MADV_REMOVE);
	ch->touched = keep;
	return bytes;
}
