/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_CALLS_H
#define XTCP_RUN_CALLS_H

/*
 * Common to the calls_*.c: functions that stand before the C library's. Each
 * looks whether the descriptor is virtual, and is the C library's if not. A
 * file of these includes this first: the fortified inline variants of the same
 * names must not be defined here.
 */

#undef _FORTIFY_SOURCE

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "run/real.h"
#include "run/run.h"
#include "run/stream.h"
#include "run/vobj.h"

#define RUN_EXPORT __attribute__((visibility("default")))

/* For the C library's own check of buffer sizes; does not return. */
void __chk_fail(void);

int calls_conn_slow(int fd, struct vconn **ret_vc);

/*
 * Whose is a call on a stream's descriptor? 0: the C library's; 1: ours, with
 * the lock taken and the connection; a negative errno: it fails.
 */
static inline int calls_conn(int fd, struct vconn **ret_vc)
{
	if (__builtin_expect(!vobj_get(fd), 1))
		return 0;
	return calls_conn_slow(fd, ret_vc);
}

/* The end of such a call: lets go of the lock; what the program gets. */
ssize_t calls_leave(ssize_t rc, bool sigpipe);

/* Says once that a call can't work on a virtual descriptor. */
void calls_refuse(const char *call);

#endif
