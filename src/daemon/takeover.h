/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * takeover - what one xtcpd leaves behind and the next one finds: the arena,
 * the queues of the TUN device. Steps of daemon_steps[].
 */
#ifndef XTCP_DAEMON_TAKEOVER_H
#define XTCP_DAEMON_TAKEOVER_H

#include "daemon/daemon.h"

#define DAEMON_PATH_MAX 160

/* A file of this name in the state directory. */
void daemon_path(const struct daemon *d, const char *name,
		 char ret_path[DAEMON_PATH_MAX]);

/* The descriptors that we were handed. */
int daemon_store_init(struct daemon *d);
void daemon_store_fini(struct daemon *d);

/* The arena: one that is there, or a new one. */
int daemon_arena_init(struct daemon *d);
void daemon_arena_fini(struct daemon *d);

/* The TUN device, with a queue for each of the arena's workers. */
int daemon_tun_init(struct daemon *d);
void daemon_tun_fini(struct daemon *d);

/* Ports of the host's own addresses that are diverted to the device. */
int daemon_ownport_init(struct daemon *d);
void daemon_ownport_fini(struct daemon *d);

/* Neighbours that are answered for the VIPs. */
int daemon_proxy_init(struct daemon *d);
void daemon_proxy_fini(struct daemon *d);

/* All is up: what nobody took over can go. */
void daemon_settle(struct daemon *d);

/* The signal (SIGTERM or SIGINT) ends us: what is to stay, from now on. */
void daemon_ending(struct daemon *d, int sig);

#endif
