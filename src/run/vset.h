/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_VSET_H
#define XTCP_RUN_VSET_H

/* Epoll sets of the server that have virtual descriptors in them. */

#include <signal.h>
#include <sys/epoll.h>

#include "run/vobj.h"

/*
 * epoll_ctl(2) where fd is virtual, o its object; epfd may be any descriptor.
 * The lock is held. 0 or a negative errno.
 */
int vset_ctl(int epfd, int op, int fd, struct vobj *o,
	     const struct epoll_event *ev);

/*
 * epoll_pwait(2) on an object of kind VOBJ_SET; timeout_ns -1: for ever. The
 * lock is held, and let go of. The number of events or a negative errno.
 */
int vset_wait(struct vobj *o, int epfd, struct epoll_event *ev, int n,
	      int64_t timeout_ns, const sigset_t *mask);

/*
 * The same after the kernel's wait has put `got` events into ev, if the set was
 * not one of ours when that began. deadline_ns as in run.h.
 */
int vset_became(struct vobj *o, int epfd, struct epoll_event *ev, int got,
		int n, int64_t deadline_ns, const sigset_t *mask);

/*
 * Somebody polls the set's own descriptor epfd: keep it honest, and serve its
 * listeners. 0 or a negative errno.
 */
int vset_nest(struct vobj *o, int epfd);

/*
 * fd, until now the kernel's, is o from now on: it is so in the epoll sets that
 * it is in. The lock is held.
 */
void vset_adopt(int fd, struct vobj *o);

/* In the child of a fork(). */
void vset_forked(struct vobj *o);

#endif
