/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int spsc_init(struct spsc *r, uint32_t nslots_pow2, uint32_t slot_bytes)
{
	uint64_t bytes = round_up(slot_bytes, 8);

	memset(r, 0, sizeof(*r));
	if (!is_pow2(nslots_pow2) || slot_bytes == 0 || bytes > UINT32_MAX)
		return -EINVAL;
	r->slots = aligned_alloc(CACHE_LINE_BYTES, round_up(nslots_pow2 * bytes,
							    CACHE_LINE_BYTES));
	if (!r->slots)
		return -ENOMEM;
	r->nslots = nslots_pow2;
	r->slot_bytes = (uint32_t)bytes;
	return 0;
}

void spsc_fini(struct spsc *r)
{
	free(r->slots);
	memset(r, 0, sizeof(*r));
}

static void *spsc_slot(const struct spsc *r, uint32_t number)
{
	return r->slots + (size_t)(number & (r->nslots - 1)) * r->slot_bytes;
}

void *spsc_reserve(struct spsc *r)
{
	uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);

	if (head - r->tail_seen == r->nslots) {
		r->tail_seen =
			atomic_load_explicit(&r->tail, memory_order_acquire);
		if (head - r->tail_seen == r->nslots)
			return NULL;
	}
	return spsc_slot(r, head);
}

void spsc_commit(struct spsc *r)
{
	uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);

	assert(head - r->tail_seen < r->nslots);
	atomic_store_explicit(&r->head, head + 1, memory_order_release);
}

void *spsc_peek(struct spsc *r)
{
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	if (tail == r->head_seen) {
		r->head_seen =
			atomic_load_explicit(&r->head, memory_order_acquire);
		if (tail == r->head_seen)
			return NULL;
	}
	return spsc_slot(r, tail);
}

void spsc_release(struct spsc *r)
{
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	assert(tail != r->head_seen);
	atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
}

uint32_t spsc_count(const struct spsc *r)
{
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
	uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);

	return min_u32(head - tail, r->nslots);
}
