/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_LIB_LISTEN_H
#define XTCP_LIB_LISTEN_H

#include <sys/socket.h>

#include "lib/group.h"

/*
 * Listens at the address, which is watched with GROUP_TAG_LISTEN. A Unix
 * socket's file that nobody listens at is replaced; it is unlinked when the
 * group is freed.
 * Returns 0; -EADDRINUSE; what socket(2), bind(2) and listen(2) say.
 */
int listen_open(struct group *g, const struct sockaddr_storage *ss,
		socklen_t len);

/*
 * Accepts a connection, non-blocking and close-on-exec. When the process is
 * out of descriptors the connection is refused, so that it doesn't keep the
 * listener readable for ever.
 * Returns the descriptor, or a negative errno (-EAGAIN: there was none).
 */
int listen_accept(struct group *g);

#endif
