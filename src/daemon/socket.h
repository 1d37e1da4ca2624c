/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * socket - what the daemon's sockets need.
 */
#ifndef XTCP_DAEMON_SOCKET_H
#define XTCP_DAEMON_SOCKET_H

#include "daemon/conf.h"

/* TCP_NODELAY: frames go out when they are written. */
void socket_no_delay(int fd);

/*
 * Listen on a Unix socket with its mode and group; a file that nobody listens
 * on any more is replaced. Returns a non-blocking descriptor, or a negative
 * errno (-EADDRINUSE: somebody does).
 */
int socket_listen(const struct conf_socket *conf);

#endif
