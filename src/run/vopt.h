/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_VOPT_H
#define XTCP_RUN_VOPT_H

/*
 * Socket options of connections. Those that mean something here (time-outs,
 * SO_LINGER, SO_ERROR, TCP_INFO ...) do; the others are remembered, and what was
 * never set has the value of a fresh kernel socket. With the lock held.
 */

#include <sys/socket.h>

#include "run/stream.h"

/* setsockopt(2) and getsockopt(2); 0 or a negative errno. */
int vopt_set(struct vconn *vc, int level, int name, const void *value,
	     socklen_t len);
int vopt_get(struct vconn *vc, int level, int name, void *ret_value,
	     socklen_t *len);

#endif
