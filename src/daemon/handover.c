/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/handover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"

struct handover_worker {
	cache_aligned _Atomic bool asleep;
	int fd;
};

struct handover {
	uint32_t n;
	uint32_t max_packet;
	struct handover_worker *workers; /* n */
	struct spsc *rings; /* n * n, row = producer */
};

static struct spsc *handover_ring(const struct handover *ho, uint32_t from,
				  uint32_t to)
{
	return &ho->rings[from * ho->n + to];
}

static int handover_init(struct handover *ho)
{
	uint32_t bytes = (uint32_t)round_up(
		sizeof(struct handover_packet) + ho->max_packet, 64);

	ho->workers =
		aligned_alloc(CACHE_LINE_BYTES, ho->n * sizeof(*ho->workers));
	ho->rings = aligned_alloc(CACHE_LINE_BYTES,
				  (size_t)ho->n * ho->n * sizeof(*ho->rings));
	if (ho->rings != NULL)
		memset(ho->rings, 0,
		       (size_t)ho->n * ho->n * sizeof(*ho->rings));
	if (ho->workers == NULL || ho->rings == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < ho->n; i++) {
		atomic_init(&ho->workers[i].asleep, false);
		ho->workers[i].fd = -1;
	}
	for (uint32_t i = 0; i < ho->n; i++) {
		ho->workers[i].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (ho->workers[i].fd < 0)
			return -errno;
	}
	for (uint32_t i = 0; i < ho->n * ho->n; i++) {
		if (i / ho->n == i % ho->n)
			continue; /* nobody hands over to himself */
		int err = spsc_init(&ho->rings[i], HANDOVER_SLOTS, bytes);
		if (err < 0)
			return err;
	}
	return 0;
}

int handover_new(struct handover **ret_ho, uint32_t n, uint32_t max_packet)
{
	struct handover *ho = calloc(1, sizeof(*ho));
	int err;

	if (ho == NULL)
		return -ENOMEM;
	ho->n = n;
	ho->max_packet = max_packet;
	err = handover_init(ho);
	if (err < 0) {
		handover_free(ho);
		return err;
	}
	*ret_ho = ho;
	return 0;
}

void handover_free(struct handover *ho)
{
	if (ho == NULL)
		return;
	for (uint32_t i = 0; ho->rings != NULL && i < ho->n * ho->n; i++)
		spsc_fini(&ho->rings[i]);
	for (uint32_t i = 0;
	     ho->workers != NULL && ho->rings != NULL && i < ho->n; i++)
		if (ho->workers[i].fd >= 0)
			close(ho->workers[i].fd);
	free(ho->rings);
	free(ho->workers);
	free(ho);
}

int handover_fd(const struct handover *ho, uint32_t to)
{
	return ho->workers[to].fd;
}

bool handover_put(struct handover *ho, uint32_t from, uint32_t to,
		  const void *packet, size_t len)
{
	struct spsc *ring = handover_ring(ho, from, to);
	struct handover_packet *slot;

	assert(from != to && len <= ho->max_packet);
	slot = spsc_reserve(ring);
	if (slot == NULL)
		return false;
	slot->len = (uint32_t)len;
	memcpy(slot->bytes, packet, len);
	spsc_commit(ring);
	return true;
}

/*
 * The sleeper sets `asleep` and then looks at the rings; the waker fills a
 * ring and then looks at `asleep`. With a full barrier between the two steps
 * on both sides, at least one of them sees the other's.
 */
bool handover_wake(struct handover *ho, uint32_t to)
{
	static const uint64_t one = 1;
	struct handover_worker *worker = &ho->workers[to];

	/* An exchange and not a load: it is a full barrier that TSan knows, too. */
	if (!atomic_exchange(&worker->asleep, false))
		return false;
	if (write(worker->fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN);
	return true;
}

struct handover_packet *handover_peek(struct handover *ho, uint32_t from,
				      uint32_t to)
{
	return spsc_peek(handover_ring(ho, from, to));
}

void handover_release(struct handover *ho, uint32_t from, uint32_t to)
{
	spsc_release(handover_ring(ho, from, to));
}

bool handover_sleep(struct handover *ho, uint32_t to)
{
	atomic_exchange(&ho->workers[to].asleep, true);
	for (uint32_t from = 0; from < ho->n; from++) {
		if (from != to && handover_peek(ho, from, to) != NULL) {
			atomic_store(&ho->workers[to].asleep, false);
			return false;
		}
	}
	return true;
}

void handover_awake(struct handover *ho, uint32_t to)
{
	atomic_store_explicit(&ho->workers[to].asleep, false,
			      memory_order_relaxed);
}

void handover_clear(struct handover *ho, uint32_t to)
{
	uint64_t value;

	if (read(ho->workers[to].fd, &value, sizeof(value)) < 0)
		assert(errno == EAGAIN);
}
