/* SPDX-License-Identifier: BSD-2-Clause */
#include "arena/chunks.h"

#include <string.h>

#include "arena/trim.h"
#include "base/bytes.h"
#include "base/seq.h"

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

/* One that says that it has n bytes. */
static uint32_t chunks_take(struct chunks *ch, uint32_t owner, uint32_t seq,
			    uint32_t n)
{
	uint32_t i = bitmap_alloc(&ch->map);

	if (i == BITMAP_NONE)
		return NIL;
	if (i >= ch->touched)
		ch->touched = i + 1;
	ch->desc[i] = (struct chunk){
		.next = NIL, .seq = seq, .len = (uint16_t)n, .owner = owner
	};
	return i;
}

uint32_t chunks_alloc(struct chunks *ch, uint32_t owner, uint32_t seq)
{
	return chunks_take(ch, owner, seq, 0);
}

struct chunk_chain chunks_put(struct chunks *ch, uint32_t owner, uint32_t seq,
			      const uint8_t *data, uint32_t len)
{
	struct chunk_chain chain = { .first = NIL, .last = NIL };
	uint32_t from = 0, to = NIL; /* neighbours are filled in one go */

	while (chain.bytes < len) {
		uint32_t n = min_u32(len - chain.bytes, CHUNK_BYTES);
		uint32_t i = chunks_take(ch, owner, seq + chain.bytes, n);

		if (i == NIL)
			break;
		if (chain.last == NIL)
			chain.first = to = i;
		else
			ch->desc[chain.last].next = i;
		if (chain.last != NIL && i != chain.last + 1) {
			memcpy(chunk_data(ch, to), data + from,
			       chain.bytes - from);
			from = chain.bytes;
			to = i;
		}
		chain.last = i;
		chain.bytes += n;
	}
	if (chain.bytes)
		memcpy(chunk_data(ch, to), data + from, chain.bytes - from);
	return chain;
}

uint32_t chunks_fill(struct chunks *ch, uint32_t i, const uint8_t *data,
		     uint32_t len)
{
	struct chunk *desc = &ch->desc[i];
	uint32_t n = min_u32(len, chunk_room(ch, i));

	memcpy(chunk_data(ch, i) + desc->len, data, n);
	ARENA_COMMIT(desc->len, (uint16_t)(desc->len + n));
	return n;
}

static void chunks_give(struct chunks *ch, uint32_t i)
{
	ch->desc[i].owner = NIL;
	ch->desc[i].next = NIL;
	bitmap_free(&ch->map, i);
}

void chunks_free(struct chunks *ch, uint32_t i)
{
	chunks_give(ch, i);
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

uint32_t chunks_free_until(struct chunks *ch, uint32_t *head, uint32_t *tail,
			   uint32_t seq)
{
	const struct chunk *desc = ch->desc;
	uint32_t first = *head, i = first, n = 0;

	while (i != NIL && seq_leq(desc[i].seq + desc[i].len, seq))
		i = desc[i].next;
	if (i == first)
		return 0;
	ARENA_COMMIT(*head, i);
	if (i == NIL)
		*tail = NIL;
	for (; first != i; n++) {
		uint32_t next = desc[first].next;

		chunks_give(ch, first);
		first = next;
	}
	return n;
}

uint64_t chunks_trim(struct chunks *ch, uint32_t keep)
{
	uint64_t bytes;

	keep = max_u32(keep, bitmap_highwater(&ch->map));
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
