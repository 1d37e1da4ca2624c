/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control - clients of the control socket, and their lines.
 *
 * Theory of operation
 *
 *	socket ─> bufferevent ─> control_reader ─> task ─> command
 *	                                            │         │ view asks the workers
 *	socket <─ bufferevent <── one line of JSON <┴─────────┘
 *
 * A client's requests are answered one by one, in order: while a task of its
 * is under way or its replies have not been read, its next line waits.
 *
 * A task outlives its client when the client hangs up first (the view calls
 * back in any case); it then ends without a reply.
 *
 * I1: a client has at most one task; task->client and client->task agree.
 * I2: what a client can make us hold is bounded: one reader's buffer, one
 *     request and a read of input, one reply beyond CONTROL_OUTPUT_BYTES of output. A
 *     client that does not take its reply for CONTROL_WRITE_TIMEOUT_S goes.
 * I3: of all lists that are being made or read together there are at most
 *     CONTROL_LISTED_MAX elements.
 * I4: when all places are taken, the client that has been of no use for the
 *     longest, and for CONTROL_IDLE_US at least, makes room: who connects and
 *     says nothing, or reads nothing, keeps no operator out.
 */
#include "daemon/control.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "daemon/clock.h"
#include "daemon/control_capture.h"
#include "daemon/control_command.h"
#include "daemon/listener.h"
#include "daemon/socket.h"
#include "proto/control.h"

#define CONTROL_WRITE_TIMEOUT_S 30
/* With so much unread, a client's next request waits. */
#define CONTROL_OUTPUT_BYTES (64u * 1024u)
#define CONTROL_IDLE_US USEC_PER_SEC

enum control_counter {
	CONTROL_CLIENTS,
	CONTROL_CLIENTS_REFUSED,
	CONTROL_CLIENTS_EVICTED,
	CONTROL_LISTS_REFUSED,
	CONTROL_REQUESTS,
	CONTROL_REQUESTS_BAD,
	CONTROL_REQUESTS_OVERLONG,
	CONTROL_REPLIES_UNREAD,
	CONTROL_CAPTURES,
	CONTROL_CAPTURE_DROPPED,
	CONTROL_COUNTERS
};

static const struct show_counter control_counters[CONTROL_COUNTERS] = {
	[CONTROL_CLIENTS] = { .name = "control_clients" },
	[CONTROL_CLIENTS_REFUSED] = { .name = "control_clients_refused" },
	[CONTROL_CLIENTS_EVICTED] = { .name = "control_clients_evicted" },
	[CONTROL_LISTS_REFUSED] = { .name = "control_lists_refused" },
	[CONTROL_REQUESTS] = { .name = "control_requests" },
	[CONTROL_REQUESTS_BAD] = { .name = "control_requests_bad" },
	[CONTROL_REQUESTS_OVERLONG] = { .name = "control_requests_overlong" },
	[CONTROL_REPLIES_UNREAD] = { .name = "control_replies_unread" },
	[CONTROL_CAPTURES] = { .name = "captures" },
	[CONTROL_CAPTURE_DROPPED] = { .name = "capture_dropped" },
};

struct control_client {
	struct control *server;
	struct control_client *next;
	struct bufferevent *bev;
	struct control_reader in;
	struct control_task *task; /* under way */
	uint32_t listed; /* elements of its list, until that is read */
	uint64_t used_us; /* it came, asked, or read its replies */
	bool pumping; /* control_client_pump() runs */
	bool eof; /* sends no more: goes when all is answered */
	bool closing; /* goes when its output is written */
};

struct control {
	struct event_base *base;
	const struct workers_view *view;
	struct listener *listener;
	struct control_client *clients;
	uint32_t n_clients;
	uint32_t listed; /* the clients' sum */
	struct control_captures captures;
	struct show_counter counters[CONTROL_COUNTERS];
	char path[sizeof(((struct conf_socket *)NULL)->path)];
};

static void control_count(struct control *c, enum control_counter which)
{
	c->counters[which].value++;
}

/* --- clients ----------------------------------------------------------- */

static void control_client_free(struct control_client *client)
{
	struct control *server = client->server;
	struct control_client **at = &server->clients;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	server->n_clients--;
	server->listed -= client->listed;
	if (client->task)
		client->task->client = NULL;
	bufferevent_free(client->bev);
	control_reader_fini(&client->in);
	free(client);
}

static size_t control_client_unread(const struct control_client *client)
{
	return evbuffer_get_length(bufferevent_get_output(client->bev));
}

/* Takes reply, NULL without memory: then the client has to go. */
static void control_client_send(struct control_client *client,
				struct json_object *reply)
{
	size_t len;
	char *line = reply ? control_encode(reply, &len) : NULL;

	json_object_put(reply);
	if (!line || bufferevent_write(client->bev, line, len) < 0)
		client->closing = true;
	free(line);
}

static void control_client_bad(struct control_client *client, const char *text)
{
	control_count(client->server, CONTROL_REQUESTS_BAD);
	control_client_send(client, control_reply_error("%s", text));
}

static void control_client_overlong(struct control_client *client)
{
	control_count(client->server, CONTROL_REQUESTS_OVERLONG);
	control_client_send(
		client,
		control_reply_error("a request has at most %u bytes, with "
				    "its newline: closing",
				    CONTROL_REQUEST_MAX));
	client->closing = true;
}

static void control_client_run(struct control_client *client,
			       struct json_object *request)
{
	struct control *server = client->server;
	struct json_object *args = NULL;
	struct control_task *task;
	const char *command;

	control_count(server, CONTROL_REQUESTS);
	client->used_us = clock_now_us();
	if (control_request_parse(request, &command, &args) < 0) {
		control_client_bad(
			client,
			"a request is like {\"command\": \"show info\", "
			"\"args\": {}}");
		return;
	}
	task = calloc(1, sizeof(*task));
	if (!task) {
		client->closing = true;
		return;
	}
	task->client = client;
	task->view = server->view;
	task->counters = server->counters;
	task->n_counters = CONTROL_COUNTERS;
	task->captures = &server->captures;
	client->task = task;
	control_command_start(task, command, args);
}

/*
 * Moves input to the reader, as much as it has room for. Returns false when
 * there is nothing to move.
 */
static bool control_client_feed(struct control_client *client)
{
	struct evbuffer *input = bufferevent_get_input(client->bev);
	char part[4096];
	size_t room = client->in.max_bytes - client->in.len;
	int n = evbuffer_remove(input, part, min_size(room, sizeof(part)));

	if (n <= 0) {
		if (room == 0)
			control_client_overlong(client);
		return false;
	}
	if (control_reader_feed(&client->in, part, (size_t)n) < 0)
		client->closing = true;
	return !client->closing;
}

/*
 * Read on only while there is room. (A high watermark would do the same, but
 * libevent 2.1 spins in its loop while the input stays at it.)
 */
static void control_client_mind_input(struct control_client *client)
{
	size_t held = evbuffer_get_length(bufferevent_get_input(client->bev));

	if (held >= CONTROL_REQUEST_MAX)
		bufferevent_disable(client->bev, EV_READ);
	else if (!client->eof)
		bufferevent_enable(client->bev, EV_READ);
}

/* Runs its next requests, as long as none has to wait. */
static void control_client_pump(struct control_client *client)
{
	struct json_object *request;
	bool more = true;
	int rc;

	if (client->pumping)
		return;
	client->pumping = true;
	while (more && !client->closing && !client->task &&
	       control_client_unread(client) < CONTROL_OUTPUT_BYTES) {
		rc = control_reader_next(&client->in, &request);
		if (rc == 1) {
			control_client_run(client, request);
			json_object_put(request);
		} else if (rc == -EBADMSG) {
			control_client_bad(
				client,
				"a request is one JSON object on one line");
		} else {
			more = control_client_feed(client);
		}
	}
	client->pumping = false;
	control_client_mind_input(client);
	/* nothing more to run, and no task or output to wait for */
	if (client->eof && !more)
		client->closing = true;
	if (client->closing && !client->task &&
	    control_client_unread(client) == 0)
		control_client_free(client);
}

static void control_on_input(struct bufferevent *bev, void *arg)
{
	(void)bev;
	control_client_pump(arg);
}

/* The client's list has n elements; those that are made or read count. */
static void control_client_list(struct control_client *client, uint32_t n)
{
	client->server->listed += n - client->listed;
	client->listed = n;
}

/* All output is written. */
static void control_on_output(struct bufferevent *bev, void *arg)
{
	struct control_client *client = arg;

	(void)bev;
	client->used_us = clock_now_us();
	if (!client->task)
		control_client_list(client, 0);
	control_client_pump(client);
}

static void control_on_event(struct bufferevent *bev, short what, void *arg)
{
	struct control_client *client = arg;

	if ((what & (BEV_EVENT_TIMEOUT | BEV_EVENT_WRITING)) ==
	    (BEV_EVENT_TIMEOUT | BEV_EVENT_WRITING))
		control_count(client->server, CONTROL_REPLIES_UNREAD);
	if (!(what & BEV_EVENT_EOF) || (what & BEV_EVENT_WRITING)) {
		control_client_free(client);
		return;
	}
	/* "echo '{...}' | nc -N": the sender is done, its reply is due */
	bufferevent_disable(bev, EV_READ);
	client->eof = true;
	control_client_pump(client);
}

/* --- tasks' ends ------------------------------------------------------- */

bool control_task_may_list(struct control_task *task, uint32_t n)
{
	struct control_client *client = task->client;
	struct control *server = client->server;

	if (server->listed > 0 && server->listed + n > CONTROL_LISTED_MAX) {
		control_count(server, CONTROL_LISTS_REFUSED);
		return false;
	}
	control_client_list(client, n);
	return true;
}

/* The task's client, free for its next request; NULL when it is gone. */
static struct control_client *control_task_free(struct control_task *task)
{
	struct control_client *client = task->client;

	if (client) {
		assert(client->task == task); /* I1 */
		client->task = NULL;
	}
	free(task->filter);
	free(task);
	return client;
}

static struct json_object *control_reply_warn(struct json_object *result,
					      const char *warning)
{
	struct json_object *reply = control_reply_new(result);

	if (reply && warning)
		json_object_object_add(reply, "warning",
				       json_object_new_string(warning));
	return reply;
}

void control_task_done(struct control_task *task, struct json_object *result,
		       const char *warning)
{
	struct control_client *client = control_task_free(task);

	if (!client) {
		json_object_put(result);
		return;
	}
	control_client_send(client, control_reply_warn(result, warning));
	control_client_pump(client);
}

bool control_task_begin(struct control_task *task, struct json_object *result,
			const char *warning)
{
	struct control_client *client = task->client;

	if (!client) {
		json_object_put(result);
		control_task_free(task);
		return false;
	}
	control_client_send(client, control_reply_warn(result, warning));
	if (!client->closing)
		return true;
	control_task_end(task);
	return false;
}

struct evbuffer *control_task_output(struct control_task *task)
{
	return task->client ? bufferevent_get_output(task->client->bev) : NULL;
}

bool control_task_is_over(const struct control_task *task)
{
	return !task->client || task->client->eof;
}

void control_task_end(struct control_task *task)
{
	struct control_client *client = control_task_free(task);

	if (!client)
		return;
	client->closing = true;
	control_client_pump(client);
}

/* What is quoted may be cut within a character: replies are ASCII. */
static void control_blank_non_ascii(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text >= 0x80)
			*text = '?';
}

void control_task_fail(struct control_task *task, const char *fmt, ...)
{
	struct control_client *client = control_task_free(task);
	char text[CONTROL_ERROR_BYTES];
	va_list ap;

	if (!client)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	control_blank_non_ascii(text);
	control_client_bad(client, text);
	control_client_pump(client);
}

/* One element of a list; false without memory. */
static bool control_put_element(struct evbuffer *out,
				struct json_object *element, bool first)
{
	const char *text;
	size_t len = 0;
	bool ok;

	text = json_object_to_json_string_length(element,
						 JSON_C_TO_STRING_PLAIN, &len);
	ok = text && (first || evbuffer_add(out, ",", 1) == 0) &&
	     evbuffer_add(out, text, len) == 0;
	json_object_put(element);
	return ok;
}

void control_task_done_list(struct control_task *task,
			    struct json_object *(*make)(void *arg, uint32_t i),
			    void *arg, const char *warning)
{
	struct control_client *client = control_task_free(task);
	struct json_object *element;
	struct evbuffer *out;
	uint32_t n = 0;
	bool ok = true;

	if (!client)
		return;
	/* written by hand, so that the list is never there as objects */
	out = bufferevent_get_output(client->bev);
	evbuffer_add_printf(out, "{\"ok\":true,\"result\":[");
	for (; ok && (element = make(arg, n)); n++)
		ok = control_put_element(out, element, n == 0);
	control_client_list(client, n);
	/* the only warning there is has nothing to escape */
	if (!ok || evbuffer_add_printf(
			   out, "]%s%s%s}\n", warning ? ",\"warning\":\"" : "",
			   warning ? warning : "", warning ? "\"" : "") < 0)
		client->closing = true;
	control_client_pump(client);
}

/* --- the socket -------------------------------------------------------- */

/* One client too many: say so, without waiting for it. */
static void control_refuse(struct control *c, int fd)
{
	static const char text[] =
		"{\"ok\":false,\"error\":\"too many clients of the control "
		"socket: close one\"}\n";

	control_count(c, CONTROL_CLIENTS_REFUSED);
	(void)send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
}

/* I4. Returns whether there is room for one more. */
static bool control_make_room(struct control *c)
{
	uint64_t before = clock_now_us() - CONTROL_IDLE_US;
	struct control_client *idle = NULL;

	if (c->n_clients < CONTROL_CLIENTS_MAX)
		return true;
	for (struct control_client *i = c->clients; i; i = i->next)
		if (!i->task && i->used_us < (idle ? idle->used_us : before))
			idle = i;
	if (!idle)
		return false;
	control_count(c, CONTROL_CLIENTS_EVICTED);
	control_client_free(idle);
	return true;
}

static void control_on_accept(void *arg, int fd)
{
	const struct timeval write_timeout = { CONTROL_WRITE_TIMEOUT_S, 0 };
	struct control *c = arg;
	struct control_client *client;

	if (!control_make_room(c)) {
		control_refuse(c, fd);
		return;
	}
	client = calloc(1, sizeof(*client));
	if (client)
		client->bev = bufferevent_socket_new(c->base, fd,
						     BEV_OPT_CLOSE_ON_FREE);
	if (!client || !client->bev) {
		free(client);
		close(fd);
		return;
	}
	control_count(c, CONTROL_CLIENTS);
	client->server = c;
	client->used_us = clock_now_us();
	client->next = c->clients;
	c->clients = client;
	c->n_clients++;
	control_reader_init(&client->in, CONTROL_REQUEST_MAX);
	bufferevent_setcb(client->bev, control_on_input, control_on_output,
			  control_on_event, client);
	bufferevent_set_timeouts(client->bev, NULL, &write_timeout);
	bufferevent_enable(client->bev, EV_READ | EV_WRITE);
}

static void control_log_failure(const char *path, int err)
{
	if (err == -EADDRINUSE)
		log_error(
			"control socket %s: another process listens on it: is an xtcpd "
			"running already?",
			path);
	else if (err == -EEXIST)
		log_error(
			"control socket %s: a file of this name is no socket: remove it, or "
			"choose another path",
			path);
	else
		log_error("control socket %s: %s", path, strerror(-err));
}

int control_open(struct control **ret_control, struct event_base *base,
		 const struct conf_socket *conf,
		 const struct workers_view *view)
{
	struct control *c = calloc(1, sizeof(*c));
	int fd, err;

	if (!c)
		return -ENOMEM;
	c->base = base;
	c->view = view;
	memcpy(c->path, conf->path, sizeof(c->path));
	memcpy(c->counters, control_counters, sizeof(c->counters));
	c->captures = (struct control_captures){
		.base = base,
		.started = &c->counters[CONTROL_CAPTURES].value,
		.dropped = &c->counters[CONTROL_CAPTURE_DROPPED].value,
	};
	fd = socket_listen(conf);
	if (fd < 0) {
		control_log_failure(conf->path, fd);
		free(c);
		return fd;
	}
	err = listener_new(&c->listener, base, fd, "control socket",
			   control_on_accept, c);
	if (err < 0) {
		control_close(c);
		return err;
	}
	*ret_control = c;
	return 0;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	while (c->clients)
		control_client_free(c->clients);
	control_captures_fini(&c->captures);
	listener_free(c->listener);
	unlink(c->path);
	free(c);
}
