/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_LIB_DIRECT_H
#define XTCP_LIB_DIRECT_H

/*
 * A group as the event loop of xtcp-run uses it, beside the public calls and
 * never mixed with them on the same group: each change is told once, not for
 * as long as it is true, and bytes are read on by position, whatever of them is
 * acknowledged. The group comes from open_later(); the caller has a lock of
 * its own, held in all of these calls, and a group of its own per process.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/group.h"

enum direct_bits {
	DIRECT_READ = 1 << 0, /* bytes came, the client closed, or it is gone */
	DIRECT_WRITE = 1 << 1, /* a send that fell short may go on */
};

struct direct_event {
	uint32_t cd;
	uint32_t events; /* enum direct_bits */
};

/*
 * What changed of connections that were accepted: fills at most n of ev, and
 * returns their number. Looks at what group_pump() has taken in, no further.
 */
int direct_changes(struct group *g, struct direct_event *ev, int n);

/* Which connections a listener takes. */
enum direct_family { DIRECT_IPV4 = 1 << 0, DIRECT_IPV6 = 1 << 1 };

/* The first connection of these families that waits to be accepted, or NULL. */
struct conn *direct_acceptable(struct group *g, unsigned int families);

/* Accepts c, of direct_acceptable(); a client that waits gets its handshake. */
void direct_accept(struct group *g, struct conn *c);

/* Refuses c, of direct_acceptable(), with a RST; c is gone. */
void direct_refuse(struct group *g, struct conn *c);

/*
 * Acknowledges ackd bytes, all of which conn_rx_peek() has returned, and sends
 * len bytes. What was gathered is written by group.ops->flush(), or when it is
 * 16 KiB (the group is corked).
 * Returns bytes taken, perhaps 0; after less than len DIRECT_WRITE is due.
 * -ECONNRESET, -EPIPE (after direct_shutdown(); ackd is acknowledged).
 */
ptrdiff_t direct_send(struct group *g, struct conn *c, size_t ackd,
		      const void *buf, size_t len);

/* FIN after what was sent. 0 or -ECONNRESET. */
int direct_shutdown(struct group *g, struct conn *c);

/* FIN after what was sent, or (abort) RST; c is gone. */
void direct_close(struct group *g, struct conn *c, bool abort);

/*
 * Whether the group is to be given new connections, true at first. When not,
 * they go to other backends, or wait for one; those that it has stay.
 */
void direct_set_open(struct group *g, bool open);

/*
 * After fork(), in the child: the group is its parent's. Its copy of the
 * descriptors is closed and the memory freed; nothing is said to anyone.
 */
void direct_forget(struct group *g);

#endif
