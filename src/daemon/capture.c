/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * capture - rings of packets of any size.
 *
 * Theory of operation
 *
 * A ring is a power of two of bytes; head and tail count without end. A record
 * is a slot, the packet's bytes, and padding to 8; it never wraps: where it
 * doesn't fit before the end, a slot with CAPTURE_SKIP says so and it begins at
 * the start. As records are multiples of 8 and so is the size, there is always
 * room for at least the first word of a slot at the end.
 *
 * I1: a record is complete before head moves past it (release, acquire).
 * I2: tail moves past a record once the reader has copied it.
 */
#include "daemon/capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define CAPTURE_SKIP UINT32_MAX

struct capture_slot {
	uint32_t bytes; /* of the packet that follow; or CAPTURE_SKIP */
	uint32_t original_bytes;
	uint64_t at_ns;
	uint64_t direction;
};
ASSERT_SIZE(struct capture_slot, 24);

uint32_t capture_ring_bytes(uint32_t workers)
{
	uint32_t bytes = CAPTURE_RING_BYTES_MIN;

	while (bytes * 2 <= CAPTURE_BYTES / workers)
		bytes *= 2;
	return bytes;
}

int capture_new(struct capture **ret_capture, uint32_t workers,
		struct filter_insn *filter, uint32_t snaplen)
{
	size_t bytes =
		sizeof(struct capture) + workers * sizeof(struct capture_ring);
	struct capture *c = aligned_alloc(64, round_up(bytes, 64));

	if (!c)
		return -ENOMEM;
	memset(c, 0, bytes);
	atomic_init(&c->refs, 1);
	c->snaplen = snaplen;
	c->n_rings = workers;
	c->ring_bytes = capture_ring_bytes(workers);
	for (uint32_t i = 0; i < workers; i++) {
		c->rings[i].capture = c;
		c->rings[i].worker = (uint16_t)i;
		/* touched as it fills */
		c->rings[i].bytes = malloc(c->ring_bytes);
		if (!c->rings[i].bytes) {
			capture_unref(c);
			return -ENOMEM;
		}
	}
	c->filter = filter;
	*ret_capture = c;
	return 0;
}

void capture_ref(struct capture *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
}

void capture_unref(struct capture *c)
{
	if (!c ||
	    atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (uint32_t i = 0; i < c->n_rings; i++)
		free(c->rings[i].bytes);
	free(c->filter);
	free(c);
}

void capture_stop(struct capture *c)
{
	atomic_store_explicit(&c->stopped, true, memory_order_release);
}

/* --- the worker's side ------------------------------------------------- */

/* Room for a record of `need` bytes; NULL: none. Moves *head over a skip. */
static uint8_t *capture_reserve(struct capture_ring *ring, uint64_t *head,
				uint32_t need)
{
	uint32_t size = ring->capture->ring_bytes;
	uint32_t at = (uint32_t)(*head & (size - 1));
	uint32_t skip = need > size - at ? size - at : 0;
	const uint32_t mark = CAPTURE_SKIP;

	if (*head + skip + need - ring->tail_seen > size)
		ring->tail_seen =
			atomic_load_explicit(&ring->tail, memory_order_acquire);
	if (*head + skip + need - ring->tail_seen > size)
		return NULL;
	if (skip) {
		memcpy(ring->bytes + at, &mark, sizeof(mark));
		*head += skip;
		at = 0;
	}
	return ring->bytes + at;
}

static void capture_copy(uint8_t *to, const struct iovec *iov, int iovcnt,
			 uint32_t bytes)
{
	for (int i = 0; i < iovcnt && bytes > 0; i++) {
		size_t n = min_size(iov[i].iov_len, bytes);

		memcpy(to, iov[i].iov_base, n);
		to += n;
		bytes -= (uint32_t)n;
	}
}

void capture_put(struct capture_ring *ring, enum capture_direction direction,
		 const struct iovec *iov, int iovcnt, uint64_t now_ns)
{
	const struct capture *c = ring->capture;
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	struct capture_slot slot = { .at_ns = now_ns, .direction = direction };
	uint32_t need;
	uint8_t *to;

	for (int i = 0; i < iovcnt; i++)
		slot.original_bytes += (uint32_t)iov[i].iov_len;
	counter_add(&ring->seen, 1);
	if (c->filter &&
	    !filter_run(c->filter, iov, iovcnt, slot.original_bytes))
		return;
	counter_add(&ring->matched, 1);
	slot.bytes = min_u32(slot.original_bytes, c->snaplen);
	need = (uint32_t)round_up(sizeof(slot) + slot.bytes, 8);
	to = need <= c->ring_bytes ? capture_reserve(ring, &head, need) : NULL;
	if (!to) {
		counter_add(&ring->dropped, 1);
		return;
	}
	memcpy(to, &slot, sizeof(slot));
	capture_copy(to + sizeof(slot), iov, iovcnt, slot.bytes);
	atomic_store_explicit(&ring->head, head + need, memory_order_release);
}

/* --- the main thread's side -------------------------------------------- */

/* The oldest record of a ring. */
static bool capture_peek_ring(struct capture_ring *ring,
			      struct capture_item *ret_item)
{
	uint32_t size = ring->capture->ring_bytes;
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	struct capture_slot slot;
	uint32_t at = (uint32_t)(tail & (size - 1)), mark;

	if (tail == head)
		return false;
	memcpy(&mark, ring->bytes + at, sizeof(mark));
	if (mark == CAPTURE_SKIP) {
		tail += size - at;
		at = 0;
	}
	memcpy(&slot, ring->bytes + at, sizeof(slot));
	*ret_item = (struct capture_item){
		.ring = ring,
		.packet = { .at_ns = slot.at_ns,
			    .original_bytes = slot.original_bytes,
			    .worker = ring->worker,
			    .direction = (uint8_t)slot.direction },
		.data = ring->bytes + at + sizeof(slot),
		.bytes = slot.bytes,
		.next = tail + round_up(sizeof(slot) + slot.bytes, 8),
	};
	return true;
}

bool capture_peek(struct capture *c, struct capture_item *ret_item)
{
	struct capture_item item;
	bool any = false;

	for (uint32_t i = 0; i < c->n_rings; i++) {
		if (!capture_peek_ring(&c->rings[i], &item))
			continue;
		if (!any || item.packet.at_ns < ret_item->packet.at_ns)
			*ret_item = item;
		any = true;
	}
	return any;
}

void capture_take(const struct capture_item *item)
{
	atomic_store_explicit(&item->ring->tail, item->next,
			      memory_order_release);
}

void capture_count(const struct capture *c, struct capture_end *ret_end)
{
	ret_end->seen = ret_end->matched = ret_end->dropped = 0;
	for (uint32_t i = 0; i < c->n_rings; i++) {
		ret_end->seen += counter_get(&c->rings[i].seen);
		ret_end->matched += counter_get(&c->rings[i].matched);
		ret_end->dropped += counter_get(&c->rings[i].dropped);
	}
}
