/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_STREAM_H
#define XTCP_RUN_STREAM_H

/*
 * A client's connection: the calls that read, write and end it. All are made
 * with the lock held, for an object of kind VOBJ_CONN, and return a negative
 * errno on failure. Those that may block let go of the lock meanwhile.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "run/hub.h"
#include "run/vobj.h"

enum stream_flag {
	STREAM_NONBLOCK = 1 << 0, /* O_NONBLOCK */
	STREAM_FULL = 1 << 1, /* a send fell short */
	STREAM_SHUT_READ = 1 << 2, /* shutdown(SHUT_RD) */
	STREAM_SHUT_WRITE = 1 << 3, /* shutdown(SHUT_WR) */
	STREAM_RESET_TOLD = 1 << 4, /* ECONNRESET was returned once */
	STREAM_ABORT = 1 << 5, /* close() sends RST: SO_LINGER with 0 */
	STREAM_ORPHAN = 1 << 6, /* of the parent process: nothing works */
};

struct vopt;

struct vconn {
	struct vobj obj;
	struct hub_port *port;
	struct conn *c; /* NULL: closed, or an orphan */
	struct vconn *ack_next; /* through those whose ack_due is set */
	int64_t rcv_timeout_ns, snd_timeout_ns; /* -1: none */
	struct vopt *opts; /* what setsockopt() was told; NULL: nothing */
	uint32_t taken; /* bytes read by the server, not acknowledged yet */
	uint16_t flags; /* enum stream_flag */
	uint8_t n_opts;
	bool ack_due; /* in the list of hub_flush() */
	int domain; /* AF_INET or AF_INET6 */
};

/* The connection of an object of kind VOBJ_CONN. */
struct vconn *stream_of(const struct vobj *o);

/* Accepts c under the descriptor number fd. 0 or -ENOMEM, and c is as it was. */
int stream_new(int fd, struct hub_port *p, struct conn *c, int domain,
	       bool nonblock);

/* The process was forked: vc belongs to the parent. */
void stream_orphan(struct vconn *vc);

/* The hub's news about vc: enum direct_bits. */
void stream_changed(struct vconn *vc, uint32_t events);

/* What is true of it now, as epoll events. */
uint32_t stream_events(const struct vobj *o);

/* Acknowledges what is due (see hub.c). */
void stream_ack_due(void);

/* Bytes that a read would return now. */
size_t stream_unread(const struct vconn *vc);

/* recv(2) into several buffers; flags MSG_PEEK, DONTWAIT, WAITALL, TRUNC. */
ssize_t stream_read(struct vconn *vc, const struct iovec *iov, int n,
		    int flags);

/* send(2) of several buffers; MSG_DONTWAIT. Without MSG_NOSIGNAL -EPIPE has
 * *ret_sigpipe set: the caller raises SIGPIPE, without the lock. */
ssize_t stream_write(struct vconn *vc, const struct iovec *iov, int n,
		     int flags, bool *ret_sigpipe);

/* sendfile(2) to the connection; offset may be NULL. */
ssize_t stream_sendfile(struct vconn *vc, int in_fd, off_t *offset,
			size_t count, bool *ret_sigpipe);

/* shutdown(2). */
int stream_shutdown(struct vconn *vc, int how);

/* SO_ERROR: what is pending, once. */
int stream_error(struct vconn *vc);

#endif
