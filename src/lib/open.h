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

/* A group that an xtcpd dials at address. See xtcp_listen_group(). */
int open_listen(uint64_t instance, const char *address, struct group **ret_g);

/* A group of local clients. See xtcp_open_group(), PF_UNIX. */
int open_local(uint16_t port, struct group **ret_g);

#endif
