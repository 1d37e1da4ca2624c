/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * capture - packets from the workers to who asked for them.
 *
 *	worker i: tap ─> filter ─> ring i ─┐
 *	                                   ├─> main thread, oldest first
 *	worker j: tap ─> filter ─> ring j ─┘
 *
 * A ring has one writer, its worker, and one reader, the main thread, and
 * neither waits for the other: a packet that finds no room is dropped and
 * counted.
 *
 * A capture is shared by the main thread and by each worker that has a ring of
 * it. The main thread ends it by capture_stop(); workers look at that now and
 * then, and let go. Who lets go last frees it.
 */
#ifndef XTCP_DAEMON_CAPTURE_H
#define XTCP_DAEMON_CAPTURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/counter.h"
#include "daemon/filter.h"
#include "daemon/mailbox.h"
#include "proto/capture.h"

/* Captures at a time. */
#define CAPTURES_MAX 4u
/* Of all rings of a capture together, but of each this at least. */
#define CAPTURE_BYTES (8u * 1024u * 1024u)
#define CAPTURE_RING_BYTES_MIN (512u * 1024u)

struct capture_ring {
	struct capture *capture;
	struct mail mail; /* brings it to its worker */
	uint16_t worker;
	/* the worker's line */
	cache_aligned _Atomic uint64_t head; /* bytes ever written */
	uint64_t tail_seen;
	struct counter seen, matched, dropped;
	/* the main thread's */
	cache_aligned _Atomic uint64_t tail;
	uint8_t *bytes;
};

struct capture {
	atomic_uint refs;
	_Atomic bool stopped;
	struct filter_insn *filter; /* heap, checked; NULL: all packets */
	uint32_t snaplen;
	uint32_t ring_bytes; /* a power of two */
	uint32_t n_rings;
	struct capture_ring rings[];
};

/* Bytes of a ring, when there are so many workers. */
uint32_t capture_ring_bytes(uint32_t workers);

/*
 * A capture for so many workers, with one reference. Takes filter when it
 * succeeds: checked, or NULL. Returns 0 or -ENOMEM.
 */
int capture_new(struct capture **ret_capture, uint32_t workers,
		struct filter_insn *filter, uint32_t snaplen);
void capture_ref(struct capture *c);
/* Frees it with the last reference. Accepts NULL. */
void capture_unref(struct capture *c);

/* Main thread: no packet comes to it from soon on. */
void capture_stop(struct capture *c);

static inline bool capture_is_stopped(const struct capture *c)
{
	return atomic_load_explicit(&c->stopped, memory_order_acquire);
}

/* The ring's worker: a packet, from its IP header on. */
void capture_put(struct capture_ring *ring, enum capture_direction direction,
		 const struct iovec *iov, int iovcnt, uint64_t now_ns);

/*
 * Main thread: the oldest packet that waits, borrowed until capture_take().
 * data has bytes of it, as many as were kept. Returns false: there is none.
 */
struct capture_item {
	struct capture_ring *ring;
	struct capture_packet packet;
	const uint8_t *data;
	uint32_t bytes;
	uint64_t next; /* of the ring, once it is taken */
};
bool capture_peek(struct capture *c, struct capture_item *ret_item);
void capture_take(const struct capture_item *item);

/* Main thread: the counts up to now; delivered and reason are left alone. */
void capture_count(const struct capture *c, struct capture_end *ret_end);

#endif
