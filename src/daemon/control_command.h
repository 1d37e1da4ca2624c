/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control_command - the commands of the control socket.
 *
 * control.c owns clients and sockets, control_command.c the table of commands.
 * A task is one request from its parsing to its reply, which comes at once or
 * when the workers have answered; its client may be gone by then.
 */
#ifndef XTCP_DAEMON_CONTROL_COMMAND_H
#define XTCP_DAEMON_CONTROL_COMMAND_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/show.h"
#include "daemon/snapshot.h"

/* Fits what control_reply_error() takes. */
#define CONTROL_ERROR_BYTES 1000

struct control_captures;
struct control_command;
struct control_client;
struct evbuffer;
struct filter_insn;

struct control_task {
	struct control_client *client; /* NULL: gone */
	const struct workers_view *view;
	const struct show_counter *counters; /* control.c's own */
	size_t n_counters;
	const struct control_command *command;
	/* arguments, zero when not given */
	char name[CONF_NAME_MAX];
	uint64_t id;
	struct snapshot_query query;
	struct json_object *result; /* ready, while the workers settle */
	/* of "capture" */
	struct control_captures *captures;
	struct filter_insn *filter; /* heap, or NULL; not checked yet */
	uint32_t n_filter, snaplen, count, seconds;
};

/*
 * Starts what the request asks for. Takes the task: exactly one of
 * control_task_done() and control_task_fail() ends it, now or later.
 */
void control_command_start(struct control_task *task, const char *command,
			   struct json_object *args);

/*
 * control.c: the outcome, sent to the client if it is still there; frees the
 * task. result is taken, NULL means that memory was short; warning (or NULL)
 * says what is missing in it.
 */
void control_task_done(struct control_task *task, struct json_object *result,
		       const char *warning);
__attribute__((format(printf, 2, 3))) void
control_task_fail(struct control_task *task, const char *fmt, ...);

/*
 * control.c: may a list of at most n elements be made now, besides those that
 * are being made and read for others? If so it counts until it is read.
 */
bool control_task_may_list(struct control_task *task, uint32_t n);

/*
 * The same for a list that would be large as objects: element i is made by
 * make(arg, i), sent and freed, until make() returns NULL.
 */
void control_task_done_list(struct control_task *task,
			    struct json_object *(*make)(void *arg, uint32_t i),
			    void *arg, const char *warning);

/*
 * The same for one that goes on: the reply is sent, and what is put into
 * control_task_output() after it, until control_task_end(). Returns false when
 * the client is gone, or out of memory: then the task has ended.
 */
bool control_task_begin(struct control_task *task, struct json_object *result,
			const char *warning);

/* What is not yet with the client; NULL: it is gone. */
struct evbuffer *control_task_output(struct control_task *task);

/* Does the client send no more? Then it wants the task to end. */
bool control_task_is_over(const struct control_task *task);

/* Closes the client, once it has its output; frees the task. */
void control_task_end(struct control_task *task);

#endif
