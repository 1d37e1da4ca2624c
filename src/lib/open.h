/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_LIB_OPEN_H
#define XTCP_LIB_OPEN_H

#include <stddef.h>
#include <stdint.h>

#include "lib/group.h"

/*
 * A group of xtcpd's, by the attach socket: returns when every worker's
 * stream is UP. domain is PF_INET or PF_INET6, port in host order; see
 * xtcp_open_group() for the errors.
 */
int open_dial(uint64_t instance, size_t pool_bytes, int domain, uint16_t port,
	      struct group **ret_g);

/*
 * The same without waiting, and whether or not there is a daemon now: streams
 * come up as they can. Fails for want of memory or descriptors alone.
 */
int open_later(uint64_t instance, uint16_t port, struct group **ret_g);

/*
 * Whether the daemon has a group for the port. Its backends notice nothing.
 * Returns 0; -ENOENT: it has none; -ENOTCONN: no daemon answers at the attach
 * socket, with the reason in *ret_why (negative errno, 0 if it is none); what
 * else the daemon says.
 */
int open_probe(uint64_t instance, uint16_t port, int *ret_why);

/* A group that an xtcpd dials at address. See xtcp_listen_group(). */
int open_listen(uint64_t instance, const char *address, struct group **ret_g);

/* A group of local clients. See xtcp_open_group(), PF_UNIX. */
int open_local(uint16_t port, struct group **ret_g);

#endif
