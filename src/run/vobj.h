/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_VOBJ_H
#define XTCP_RUN_VOBJ_H

/*
 * What a descriptor of the server's stands for, when it is not the kernel's
 * alone: the table by descriptor, and the objects (open file descriptions, to
 * which several descriptors may refer).
 *
 * vobj_get() takes no lock: that is all that a call on an ordinary descriptor
 * pays. Everything else is done with run_lock() held.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "run/interest.h"

/* Descriptors at or above this are never virtual: accept says EMFILE. */
#define VOBJ_FD_MAX (1 << 20)

enum vobj_kind {
	VOBJ_LISTENER, /* struct vlistener; the descriptor is a bound socket */
	VOBJ_CONN, /* struct vconn; the descriptor is only a number */
	VOBJ_SET, /* struct vset; the descriptor is an epoll set */
	VOBJ_HIDDEN, /* the library's own; the server has no business with it */
};

struct wait_node;

struct vobj {
	enum vobj_kind kind;
	uint32_t fds; /* descriptors that refer to it */
	uint32_t holds; /* calls under way that will look at it again */
	struct interest_source source;
	struct wait_node *waiters;
	/* When the last descriptor is closed. */
	void (*on_close)(struct vobj *o);
	/* Afterwards, when no call needs it any more. */
	void (*free)(struct vobj *o);
};

extern struct vobj *vobj_table[VOBJ_FD_MAX];

/* The one lock of the process. It is not recursive. */
void run_lock(void);
void run_unlock(void);

/* In a signal's handler: this thread was interrupted with the lock. */
bool run_is_locked(void);

static inline struct vobj *vobj_get(int fd)
{
	if ((unsigned int)fd >= VOBJ_FD_MAX)
		return NULL;
	return __atomic_load_n(&vobj_table[fd], __ATOMIC_RELAXED);
}

/*
 * With the lock taken, the object of fd (any kind, or `kind` alone), else NULL
 * and no lock.
 */
struct vobj *vobj_enter(int fd);
struct vobj *vobj_enter_kind(int fd, enum vobj_kind kind);

/* fd refers to o from now on; what it was before is let go of. */
void vobj_set(int fd, struct vobj *o);

/* fd refers to nothing any more; closed the last one, o is. */
void vobj_clear(int fd);

/* Between the two, o's memory stays, whoever closes it. */
void vobj_hold(struct vobj *o);
void vobj_release(struct vobj *o);

/* Something about o has changed: epoll sets and waiting calls are told. */
void vobj_changed(struct vobj *o);

/* What is true of it now, as epoll events. */
uint32_t vobj_events(const struct vobj *o);
uint32_t vobj_source_events(struct interest_source *source);

/* Marks fd as the library's own, or not any more. Takes no lock. */
void vobj_hide(int fd);
void vobj_unhide(int fd);

/* The descriptors from first to last that refer to something, ascending; -1. */
int vobj_next(int first, int last);

#endif
