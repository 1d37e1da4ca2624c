/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handover - packets that came in on a queue of another worker than their
 * connection's.
 *
 * One ring from each worker to each other one, so that every ring has one
 * producer and one consumer (base/ring.h) and a flow's packets stay in order.
 * A consumer that is about to sleep says so; whoever then hands it a packet
 * wakes it through its eventfd. Correctness does not depend on the kernel's
 * steering of flows to queues, only the cost does.
 */
#ifndef XTCP_DAEMON_HANDOVER_H
#define XTCP_DAEMON_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ring.h"

#define HANDOVER_SLOTS 512u /* per ring */

/* A slot of a ring. */
struct handover_packet {
	uint32_t len;
	uint32_t pad;
	uint8_t bytes[]; /* up to max_packet */
};

struct handover;

/*
 * Rings between n workers for packets of at most max_packet bytes.
 * Returns 0, -ENOMEM or what eventfd(2) says.
 */
int handover_new(struct handover **ret_ho, uint32_t n, uint32_t max_packet);
void handover_free(struct handover *ho);

/* Worker `to` polls this; readable after a wake-up. */
int handover_fd(const struct handover *ho, uint32_t to);

/* Worker from: copy a packet to worker to. Returns false when the ring is full. */
bool handover_put(struct handover *ho, uint32_t from, uint32_t to,
		  const void *packet, size_t len);

/*
 * Worker from, after its last handover_put() of a batch: wake worker to if it
 * sleeps. Returns whether it did.
 */
bool handover_wake(struct handover *ho, uint32_t to);

/* Worker to: the oldest packet that worker from handed over, or NULL. */
struct handover_packet *handover_peek(struct handover *ho, uint32_t from,
				      uint32_t to);
void handover_release(struct handover *ho, uint32_t from, uint32_t to);

/*
 * Worker to is about to block. Returns false, and it must not, when a packet
 * is there already.
 */
bool handover_sleep(struct handover *ho, uint32_t to);

/* Worker to is awake again: no need to wake it. */
void handover_awake(struct handover *ho, uint32_t to);

/* Worker to, when handover_fd() is readable: make it unreadable. */
void handover_clear(struct handover *ho, uint32_t to);

#endif
