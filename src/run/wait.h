/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_WAIT_H
#define XTCP_RUN_WAIT_H

/* Threads that sleep until something about virtual descriptors changes. */

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "run/vobj.h"

struct waiter;

/* One object that a thread waits for; on its stack. */
struct wait_node {
	struct waiter *w;
	struct vobj *o;
	struct wait_node *next_of_object, *next_of_waiter;
};

/* A thread that waits, from wait_begin() to wait_end(). */
struct waiter {
	struct waiter *next, *prev;
	struct wait_node *nodes;
	int fd; /* eventfd that ends its sleep */
	bool fired; /* it was written to */
	bool leads; /* takes in what the streams bring, for all */
};

/* Entries that wait_sleep() needs at the end of its array. */
#define WAIT_ROOM 2

/* All with the lock held. Returns 0 or -EMFILE etc. */
int wait_begin(struct waiter *w);
void wait_end(struct waiter *w);

/* w's sleep ends when o changes. */
void wait_on(struct waiter *w, struct wait_node *node, struct vobj *o);

/*
 * Sleeps, without the lock, until one of the n descriptors is ready, something
 * that is waited for may have changed, or the deadline (run.h) is there; fds
 * has room for n + WAIT_ROOM. mask as for ppoll(2), or NULL.
 * Returns how many of the n are ready, perhaps 0; -EINTR etc.
 */
int wait_sleep(struct waiter *w, struct pollfd *fds, nfds_t n,
	       int64_t deadline_ns, const sigset_t *mask);

/*
 * Sleeps for one object alone; returns 0 when it may have changed, -EAGAIN at
 * the deadline, -EBADF when it was closed, -EINTR. Without a deadline, signals
 * whose handlers have SA_RESTART do not end it, unless there is one without.
 */
int wait_for_object(struct vobj *o, int64_t deadline_ns);

/* o has changed: its waiters are woken. */
void wait_changed(struct vobj *o);

/* In the child of a fork(): there is no other thread. */
void wait_forked(void);

#endif
