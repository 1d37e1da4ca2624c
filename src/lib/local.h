/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_LIB_LOCAL_H
#define XTCP_LIB_LOCAL_H

#include "lib/group.h"

/* Local clients over Unix sockets (PF_UNIX), without the daemon. */
extern const struct transport local_transport;

/* Unacknowledged bytes of one client above which no more are read. */
#define LOCAL_RX_MAX (256u * 1024u)
/* Bytes to one client that wait for its socket, above which none are taken. */
#define LOCAL_TX_MAX (256u * 1024u)

#endif
