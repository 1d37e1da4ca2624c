/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control_capture - the command "capture": packets to a client of the control
 * socket (proto/capture.h).
 */
#ifndef XTCP_DAEMON_CONTROL_CAPTURE_H
#define XTCP_DAEMON_CONTROL_CAPTURE_H

#include <event2/event.h>
#include <stdint.h>

#include "daemon/control_command.h"

/* A week. */
#define CONTROL_CAPTURE_SECONDS_MAX 604800u
/* With so much unread by its client a capture's packets stay in the rings. */
#define CONTROL_CAPTURE_OUTPUT_BYTES (1024u * 1024u)

struct control_capture;

/* A control server's. */
struct control_captures {
	struct event_base *base;
	struct control_capture *list;
	uint32_t n;
	uint64_t *started, *dropped; /* counters */
};

/* Its arguments: each stores one in the task, or returns what it must be. */
const char *control_capture_arg_filter(struct control_task *task,
				       struct json_object *value);
const char *control_capture_arg_snaplen(struct control_task *task,
					struct json_object *value);
const char *control_capture_arg_count(struct control_task *task,
				      struct json_object *value);
const char *control_capture_arg_seconds(struct control_task *task,
					struct json_object *value);

/* Ends all of them; their clients are gone. */
void control_captures_fini(struct control_captures *all);

/*
 * The command's start function: task->filter, snaplen, count and seconds say
 * which packets. Returns 0: the task was or will be ended; -EBUSY: there are
 * CAPTURES_MAX; -EOPNOTSUPP; -ENOMEM.
 */
int control_capture_start(struct control_task *task);

#endif
