/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control_command - what can be asked for at the control socket.
 *
 * Theory of operation
 *
 * One table, control_commands[]: name, arguments, help, function. A request's
 * arguments are checked against it and stored in the task; then the command's
 * start() asks the view. Every command but "help" ends in a callback of the
 * view, in the main thread.
 *
 * Each error says what to do about it: the reader is a person with a problem.
 */
#include "daemon/control_command.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "daemon/control_capture.h"
#include "daemon/totals.h"
#include "stack/state.h"

/* Of a list of connections: unless asked for otherwise, and at most. */
#define CONTROL_LIMIT_DEFAULT 10000u
#define CONTROL_LIMIT_MAX 100000u

enum control_arg {
	CONTROL_ARG_NAME = 1 << 0,
	CONTROL_ARG_ID = 1 << 1,
	CONTROL_ARG_GROUP = 1 << 2,
	CONTROL_ARG_STATE = 1 << 3,
	CONTROL_ARG_LIMIT = 1 << 4,
	CONTROL_ARG_FILTER = 1 << 5,
	CONTROL_ARG_SNAPLEN = 1 << 6,
	CONTROL_ARG_COUNT = 1 << 7,
	CONTROL_ARG_SECONDS = 1 << 8,
};

struct control_command {
	const char *name;
	unsigned int required, optional; /* enum control_arg */
	const char *help;
	/* Returns 0: the task was or will be ended; else a negative errno. */
	int (*start)(struct control_task *task);
	/* for "show": from what the workers said to the result */
	struct json_object *(*show)(const struct show_input *in);
	bool latency; /* it shows the groups' */
};

extern const struct control_command control_commands[];
extern const size_t control_n_commands;

/* --- arguments --------------------------------------------------------- */

static const char *control_arg_name(struct control_task *task,
				    struct json_object *value)
{
	const char *text = json_object_get_string(value);

	if (!json_object_is_type(value, json_type_string) || text[0] == '\0')
		return "must be a name";
	if (strlen(text) >= sizeof(task->name))
		return "must be a name: it is too long for one";
	snprintf(task->name, sizeof(task->name), "%s", text);
	return NULL;
}

static const char *control_arg_id(struct control_task *task,
				  struct json_object *value)
{
	const char *text = json_object_get_string(value);
	char *end;

	if (!json_object_is_type(value, json_type_string) ||
	    !isxdigit((unsigned char)text[0]) || strlen(text) > 16)
		return "must be an id as \"show connections\" lists it: up to 16 hex digits";
	task->id = strtoull(text, &end, 16);
	return *end == '\0'
		       ? NULL
		       : "must be hex digits, as \"show connections\" lists it";
}

static const char *control_arg_group(struct control_task *task,
				     struct json_object *value)
{
	const struct conf *conf = task->view->conf(task->view->self);
	const char *text = json_object_get_string(value);
	const struct conf_group *g;
	unsigned int id;

	if (!json_object_is_type(value, json_type_string))
		return "must be the name of a group";
	g = conf_find_group(conf, text);
	if (g)
		task->query.group = g->id;
	/* a group that an application brought is listed by its number */
	if (sscanf(text, "#%5u", &id) == 1 && id <= UINT16_MAX)
		task->query.group = (uint16_t)id;
	return task->query.group ? NULL : "is no group: see \"show groups\"";
}

static const char *control_arg_state(struct control_task *task,
				     struct json_object *value)
{
	const char *text = json_object_get_string(value);

	if (!json_object_is_type(value, json_type_string))
		return "must be the name of a state, like ESTABLISHED";
	for (uint8_t s = TCP_FREE + 1; s < TCP_STATES; s++) {
		if (strcasecmp(tcp_state_name(s), text) != 0)
			continue;
		snprintf(task->query.state, sizeof(task->query.state), "%s",
			 tcp_state_name(s));
		return NULL;
	}
	return "is no state: one of SYN-HELD, SYN-RECEIVED, ESTABLISHED, FIN-WAIT-1, "
	       "FIN-WAIT-2, CLOSE-WAIT, CLOSING, LAST-ACK, TIME-WAIT, GONE";
}

static const char *control_arg_limit(struct control_task *task,
				     struct json_object *value)
{
	int64_t n = json_object_get_int64(value);

	if (!json_object_is_type(value, json_type_int) || n < 1 ||
	    n > CONTROL_LIMIT_MAX)
		return "must be a number from 1 to 100000";
	task->query.limit = (uint32_t)n;
	return NULL;
}

static const struct {
	const char *name;
	enum control_arg arg;
	const char *(*set)(struct control_task *task,
			   struct json_object *value);
} control_args[] = {
	{ "name", CONTROL_ARG_NAME, control_arg_name },
	{ "id", CONTROL_ARG_ID, control_arg_id },
	{ "group", CONTROL_ARG_GROUP, control_arg_group },
	{ "state", CONTROL_ARG_STATE, control_arg_state },
	{ "limit", CONTROL_ARG_LIMIT, control_arg_limit },
	{ "filter", CONTROL_ARG_FILTER, control_capture_arg_filter },
	{ "snaplen", CONTROL_ARG_SNAPLEN, control_capture_arg_snaplen },
	{ "count", CONTROL_ARG_COUNT, control_capture_arg_count },
	{ "seconds", CONTROL_ARG_SECONDS, control_capture_arg_seconds },
};

/* The names of the arguments in set, "a, b"; or "none". */
static const char *control_arg_list(unsigned int set, char *text, size_t size)
{
	size_t n = 0;

	snprintf(text, size, "none");
	for (size_t i = 0; i < ARRAY_SIZE(control_args); i++)
		if (set & control_args[i].arg && n < size)
			n += (size_t)snprintf(text + n, size - n, "%s%s",
					      n ? ", " : "",
					      control_args[i].name);
	return text;
}

/* One argument; on failure false and why. Marks it in *given. */
static bool control_take_arg(struct control_task *task, const char *key,
			     struct json_object *value, unsigned int *given,
			     char why[CONTROL_ERROR_BYTES])
{
	unsigned int takes = task->command->required | task->command->optional;
	const char *bad;
	char list[64];

	for (size_t i = 0; i < ARRAY_SIZE(control_args); i++) {
		if (!(control_args[i].arg & takes) ||
		    strcmp(control_args[i].name, key) != 0)
			continue;
		bad = control_args[i].set(task, value);
		if (bad) {
			snprintf(why, CONTROL_ERROR_BYTES, "%s: %s: %.64s %s",
				 task->command->name, key,
				 json_object_to_json_string_ext(
					 value, JSON_C_TO_STRING_PLAIN),
				 bad);
			return false;
		}
		*given |= control_args[i].arg;
		return true;
	}
	snprintf(why, CONTROL_ERROR_BYTES,
		 "%s: no argument \"%.32s\": it takes %s", task->command->name,
		 key, control_arg_list(takes, list, sizeof(list)));
	return false;
}

static bool control_take_args(struct control_task *task,
			      struct json_object *args,
			      char why[CONTROL_ERROR_BYTES])
{
	unsigned int given = 0;
	char list[64];

	if (args) {
		json_object_object_foreach(args, key, value)
		{
			if (!control_take_arg(task, key, value, &given, why))
				return false;
		}
	}
	if ((given & task->command->required) == task->command->required)
		return true;
	snprintf(why, CONTROL_ERROR_BYTES,
		 "%s: an argument is missing: it needs %s", task->command->name,
		 control_arg_list(task->command->required, list, sizeof(list)));
	return false;
}

/* --- show -------------------------------------------------------------- */

/* What to say of workers that did not answer; NULL: all did. */
static const char *control_silence(uint32_t silent, uint32_t n, char *text,
				   size_t size)
{
	if (silent == 0)
		return NULL;
	snprintf(text, size,
		 "%u of %u workers did not answer: their part is missing",
		 silent, n);
	return text;
}

static void control_on_show(void *arg, struct snapshot *const *snaps,
			    uint32_t n)
{
	struct control_task *task = arg;
	struct totals totals;
	char warning[96];
	const struct show_input in = {
		.view = task->view,
		.snaps = snaps,
		.n_workers = n,
		.totals = &totals,
		.own_counters = task->counters,
		.n_own_counters = task->n_counters,
	};

	/* the server and its counters are gone with the client */
	if (!task->client) {
		control_task_fail(task, "gone");
		return;
	}
	if (totals_init(&totals, snaps, n) < 0) {
		control_task_fail(task, "out of memory: try again");
		return;
	}
	control_task_done(task, task->command->show(&in),
			  control_silence(totals.silent, n, warning,
					  sizeof(warning)));
	totals_fini(&totals);
}

static int control_start_show(struct control_task *task)
{
	task->query.latency = task->command->latency;
	return task->view->snapshot(task->view->self, &task->query,
				    control_on_show, task);
}

/* Goes through the workers' lists one after the other. */
struct control_conns {
	const struct conf *conf;
	struct snapshot *const *snaps;
	uint32_t n, worker, at, left;
};

static struct json_object *control_next_conn(void *arg, uint32_t i)
{
	struct control_conns *c = arg;

	(void)i;
	while (c->worker < c->n && (!c->snaps[c->worker] ||
				    c->at == c->snaps[c->worker]->n_conns)) {
		c->worker++;
		c->at = 0;
	}
	if (c->worker == c->n || c->left == 0)
		return NULL;
	c->left--;
	return show_conn(c->conf, &c->snaps[c->worker]->conns[c->at++], false);
}

static void control_on_conns(void *arg, struct snapshot *const *snaps,
			     uint32_t n)
{
	struct control_task *task = arg;
	struct control_conns conns = {
		.conf = task->view->conf(task->view->self),
		.snaps = snaps,
		.n = n,
		.left = task->query.limit,
	};
	uint32_t silent = 0;
	char warning[96];

	for (uint32_t i = 0; i < n; i++)
		silent += snaps[i] == NULL;
	control_task_done_list(task, control_next_conn, &conns,
			       control_silence(silent, n, warning,
					       sizeof(warning)));
}

static int control_start_conns(struct control_task *task)
{
	task->query.conns = true;
	if (task->query.limit == 0)
		task->query.limit = CONTROL_LIMIT_DEFAULT;
	if (!control_task_may_list(task, task->query.limit))
		return -EBUSY;
	return task->view->snapshot(task->view->self, &task->query,
				    control_on_conns, task);
}

static void control_on_conn(void *arg, struct snapshot *const *snaps,
			    uint32_t n)
{
	struct control_task *task = arg;
	const struct conf *conf = task->view->conf(task->view->self);

	for (uint32_t i = 0; i < n; i++) {
		if (!snaps[i] || snaps[i]->n_conns == 0)
			continue;
		control_task_done(
			task, show_conn(conf, &snaps[i]->conns[0], true), NULL);
		return;
	}
	control_task_fail(task,
			  "no connection %016" PRIx64
			  ": see \"show connections\"",
			  task->id);
}

static int control_start_conn(struct control_task *task)
{
	/* 0 would ask for all of them */
	if (task->id == 0)
		return -ENOENT;
	task->query.conns = true;
	task->query.conn_id = task->id;
	task->query.limit = 1;
	return task->view->snapshot(task->view->self, &task->query,
				    control_on_conn, task);
}

/* --- doing ------------------------------------------------------------- */

static void control_task_fail_errno(struct control_task *task, int err)
{
	switch (err) {
	case -ENOENT:
		control_task_fail(
			task,
			"%s: there is none of this name or id: see \"show\"",
			task->command->name);
		break;
	case -ETIMEDOUT:
		control_task_fail(
			task,
			"%s: a worker did not answer in time: it may still do it",
			task->command->name);
		break;
	case -EBUSY:
		control_task_fail(
			task,
			"%s: too much is being asked or read by others: try again, or with a "
			"smaller limit",
			task->command->name);
		break;
	default:
		control_task_fail(task, "%s: %s", task->command->name,
				  strerror(-err));
		break;
	}
}

static void control_on_done(void *arg, int err)
{
	struct control_task *task = arg;

	if (err < 0)
		control_task_fail_errno(task, err);
	else
		control_task_done(task, json_object_new_object(), NULL);
}

static int control_start_close(struct control_task *task)
{
	return task->view->close_conn(task->view->self, task->id,
				      control_on_done, task);
}

static int control_start_drain_backend(struct control_task *task)
{
	return task->view->set_duty(task->view->self, task->name,
				    BACKEND_DRAINS, control_on_done, task);
}

static int control_start_vacate_backend(struct control_task *task)
{
	return task->view->set_duty(task->view->self, task->name,
				    BACKEND_VACATES, control_on_done, task);
}

static int control_start_resume_backend(struct control_task *task)
{
	return task->view->set_duty(task->view->self, task->name,
				    BACKEND_SERVES, control_on_done, task);
}

static int control_start_drain_group(struct control_task *task)
{
	return task->view->drain_group(task->view->self, task->name,
				       control_on_done, task);
}

static void control_add_line(void *arg, const char *line)
{
	json_object_array_add(arg, json_object_new_string(line));
}

/* The reasons of a refused configuration, one per line. */
static void control_fail_reload(struct control_task *task,
				struct json_object *lines, int err)
{
	char text[CONTROL_ERROR_BYTES - 64] = "";
	size_t n = 0, count = json_object_array_length(lines);

	for (size_t i = 0; i < count && n < sizeof(text); i++)
		n += (size_t)snprintf(
			text + n, sizeof(text) - n, "%s%s", i ? "\n" : "",
			json_object_get_string(
				json_object_array_get_idx(lines, i)));
	control_task_fail(task, "reload: nothing was changed%s: %s",
			  err == -EINVAL ? ", xtcpd -t shows all" : "",
			  count ? text : strerror(-err));
}

/* The workers have it, too: what comes next finds it in force. */
static void control_on_reloaded(void *arg, int err)
{
	struct control_task *task = arg;

	control_task_done(task, task->result,
			  err < 0 ? "a worker does not answer: it follows when "
				    "it can"
				  : NULL);
}

static int control_start_reload(struct control_task *task)
{
	struct json_object *lines = json_object_new_array();
	int err;

	if (!lines)
		return -ENOMEM;
	err = task->view->reload(task->view->self, control_add_line, lines);
	if (err < 0) {
		control_fail_reload(task, lines, err);
		json_object_put(lines);
		return 0;
	}
	task->result = json_object_new_object();
	json_object_object_add(task->result, "messages", lines);
	err = task->view->settle(task->view->self, control_on_reloaded, task);
	if (err < 0)
		control_on_reloaded(task, err);
	return 0;
}

static int control_start_help(struct control_task *task)
{
	struct json_object *list = json_object_new_array(), *one;
	char text[64];

	for (size_t i = 0; i < control_n_commands; i++) {
		const struct control_command *c = &control_commands[i];

		one = json_object_new_object();
		json_object_object_add(one, "command",
				       json_object_new_string(c->name));
		json_object_object_add(one, "args",
				       json_object_new_string(control_arg_list(
					       c->required | c->optional, text,
					       sizeof(text))));
		json_object_object_add(one, "help",
				       json_object_new_string(c->help));
		json_object_array_add(list, one);
	}
	control_task_done(task, list, NULL);
	return 0;
}

/* --- the table --------------------------------------------------------- */

#define SHOW(what, text)                                                    \
	{                                                                   \
		"show " #what, 0, 0, text, control_start_show, show_##what, \
			false                                               \
	}

const struct control_command control_commands[] = {
	SHOW(info, "totals over all workers"),
	SHOW(pools, "receive buffers and their fill"),
	{ "show groups", 0, 0, "groups, their connections and latency",
	  control_start_show, show_groups, true },
	SHOW(backends, "backends, their streams and state"),
	SHOW(workers, "each worker on its own"),
	SHOW(memory, "what the connections take"),
	SHOW(counters, "every counter"),
	{ "show connections", 0,
	  CONTROL_ARG_GROUP | CONTROL_ARG_STATE | CONTROL_ARG_LIMIT,
	  "connections, 10000 unless limit says otherwise", control_start_conns,
	  NULL, false },
	{ "show connection", CONTROL_ARG_ID, 0, "all about one connection",
	  control_start_conn, NULL, false },
	{ "close", CONTROL_ARG_ID, 0, "close a connection with a FIN",
	  control_start_close, NULL, false },
	{ "drain backend", CONTROL_ARG_NAME, 0,
	  "give a backend no new connections", control_start_drain_backend,
	  NULL, false },
	{ "vacate backend", CONTROL_ARG_NAME, 0,
	  "drain a backend, and give its connections to others",
	  control_start_vacate_backend, NULL, false },
	{ "resume backend", CONTROL_ARG_NAME, 0,
	  "end drain backend and vacate backend", control_start_resume_backend,
	  NULL, false },
	{ "drain group", CONTROL_ARG_NAME, 0,
	  "accept no new connections for a group", control_start_drain_group,
	  NULL, false },
	{ "reload", 0, 0, "read the configuration again", control_start_reload,
	  NULL, false },
	{ "capture", 0,
	  CONTROL_ARG_FILTER | CONTROL_ARG_SNAPLEN | CONTROL_ARG_COUNT |
		  CONTROL_ARG_SECONDS,
	  "packets, as they pass", control_capture_start, NULL, false },
	{ "help", 0, 0, "this list", control_start_help, NULL, false },
};

const size_t control_n_commands = ARRAY_SIZE(control_commands);

static void control_fail_unknown(struct control_task *task, const char *command)
{
	char list[CONTROL_ERROR_BYTES - 128];
	size_t n = 0;

	for (size_t i = 0; i < control_n_commands && n < sizeof(list); i++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s",
				      i ? ", " : "", control_commands[i].name);
	control_task_fail(task, "no command \"%.64s\": there are %s", command,
			  list);
}

void control_command_start(struct control_task *task, const char *command,
			   struct json_object *args)
{
	char why[CONTROL_ERROR_BYTES];
	int err;

	for (size_t i = 0; i < control_n_commands; i++)
		if (strcmp(control_commands[i].name, command) == 0)
			task->command = &control_commands[i];
	if (!task->command) {
		control_fail_unknown(task, command);
		return;
	}
	if (!control_take_args(task, args, why)) {
		control_task_fail(task, "%s", why);
		return;
	}
	err = task->command->start(task);
	if (err < 0)
		control_task_fail_errno(task, err);
}
