/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_LISTENER_H
#define XTCP_RUN_LISTENER_H

/* Sockets that listen at a group's port. */

#include <stdbool.h>
#include <sys/socket.h>

#include "run/hub.h"
#include "run/vobj.h"

struct vlistener {
	struct vobj obj;
	struct hub_port *port;
	struct vlistener *next_of_port;
	int domain; /* AF_INET or AF_INET6 */
	unsigned int families; /* enum direct_family */
	bool shut; /* by shutdown(2); not among port->listeners */
};

/*
 * bind(2) for a port that may be a group's: at an address that the host doesn't
 * have, as a virtual address of xtcpd's, too.
 */
int listener_bind(int fd, const struct sockaddr *sa, socklen_t len);

/*
 * listen(2): takes the socket over if its port is a group's. Returns 0: it
 * did; 1: the kernel is to listen; a negative errno.
 */
int listener_listen(int fd);

/*
 * accept4(2), but that it returns a negative errno. o is a listener, the lock
 * is held and is let go of.
 */
int listener_accept(struct vobj *o, int fd, struct sockaddr *ret_sa,
		    socklen_t *ret_len, int flags);

/*
 * shutdown(2) of a listener, with the lock held: with SHUT_RD it listens no more,
 * and accept(2) that waits ends, until listen(2) is called again. 0 or -EINVAL.
 */
int listener_shutdown(struct vobj *o, int how);

/* Whether it has been, and not been revived. */
bool listener_is_shut(const struct vobj *o);

/* The server waits for connections: the process serves the port. */
int listener_use(struct vobj *o);

/* EPOLLIN when there is a connection to accept. */
uint32_t listener_events(const struct vobj *o);

#endif
