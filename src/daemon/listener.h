/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listener - a listening socket on an event loop that survives its successes.
 *
 * When there are no descriptors left, the waiting connection stays in the
 * kernel's queue, and its socket readable: a loop that asked again at once
 * would do nothing else. So accepting rests for LISTENER_REST_S then, with a
 * line in the log now and then.
 */
#ifndef XTCP_DAEMON_LISTENER_H
#define XTCP_DAEMON_LISTENER_H

#include <event2/event.h>

#define LISTENER_REST_S 1

struct listener;

/* Takes fd: non-blocking and close-on-exec. */
typedef void (*listener_on_accept)(void *arg, int fd);

/*
 * Accept on fd, driven by base; name (static text) is for the log.
 * Takes fd, on failure as well. Returns 0 or -ENOMEM.
 */
int listener_new(struct listener **ret_l, struct event_base *base, int fd,
		 const char *name, listener_on_accept on_accept, void *arg);

/* Closes the socket. Accepts NULL. */
void listener_free(struct listener *l);

/* Leave connections in the queue for now, and take them again. Accept NULL. */
void listener_pause(struct listener *l);
void listener_resume(struct listener *l);

#endif
