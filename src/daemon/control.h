/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control - the socket that xtcpctl and scripts talk to (proto/control.h).
 *
 * It lives in the main thread and answers whatever the workers do: a question
 * to a worker that hangs is answered without that worker.
 */
#ifndef XTCP_DAEMON_CONTROL_H
#define XTCP_DAEMON_CONTROL_H

#include <event2/event.h>

#include "daemon/snapshot.h"

/*
 * Clients at once. One more takes the place of the one that has been idle, or
 * has not read its replies, for the longest, if that is a second; else it is
 * told so and closed.
 */
#define CONTROL_CLIENTS_MAX 32

/* Elements of all lists that are being made, or are not read yet. */
#define CONTROL_LISTED_MAX 100000u

struct control;

/*
 * Listens on the socket (socket_listen()); base drives it, view answers (both
 * borrowed until control_close()).
 * Returns 0, or a negative errno after logging what failed and what to do.
 */
int control_open(struct control **ret_control, struct event_base *base,
		 const struct conf_socket *conf,
		 const struct workers_view *view);

/*
 * Closes all clients and removes the socket file. The view may still call
 * back afterwards for what it was asked before. Accepts NULL.
 */
void control_close(struct control *control);

#endif
