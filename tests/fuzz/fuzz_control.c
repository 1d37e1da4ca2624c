/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control - clients of the control socket that say anything.
 *
 * Theory of operation
 *
 *	script --bytes--> a pair of bufferevents --> control.c, control_command.c
 *	replies, checked <----------------------'           |
 *	                                   a view of workers on paper (fakeview.h)
 *
 * With the first byte odd the rest is for the reader of messages alone: in
 * pieces, with a small bound; what it takes is encoded and must read the same.
 *
 * Else it is a script: bytes, commands with arguments of any kind, clients that
 * come, close, break, read late; workers that are late or silent. Sockets are
 * bufferevent_pair_new() (the linker's --wrap), so there is no system call but
 * the event loop's. Each line that comes back must be a reply, and there are
 * never more of them than requests.
 */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/control.h"
#include "daemon/listener.h"
#include "fuzz/fuzz.h"
#include "proto/control.h"
#include "unit/daemon/fakeview.h"

#define CONTROL_OPS_MAX 64
#define CONTROL_CLIENTS 4u

struct client {
	struct bufferevent *near, *far; /* ours, the server's; NULL: none */
	struct control_reader in;
	uint32_t lines, replies;
};

static struct event_base *base;
static struct fake_view view;
static struct control *control;
static struct client clients[CONTROL_CLIENTS];
static struct bufferevent *next_far;
/* What control.c gave to listener_new(). */
static void (*on_accept)(void *arg, int fd);
static void *on_accept_arg;

/* --- in place of sockets ----------------------------------------------- */

int __wrap_socket_listen(const struct conf_socket *conf);
int __wrap_listener_new(struct listener **ret_l, struct event_base *b, int fd,
			const char *name, void (*cb)(void *arg, int fd),
			void *arg);
void __wrap_listener_free(struct listener *l);
int __wrap_unlink(const char *path);
struct bufferevent *__wrap_bufferevent_socket_new(struct event_base *b,
						  evutil_socket_t fd,
						  int options);
void __real_bufferevent_free(struct bufferevent *bev);
void __wrap_bufferevent_free(struct bufferevent *bev);

int __wrap_socket_listen(const struct conf_socket *conf)
{
	(void)conf;
	return 0;
}

int __wrap_listener_new(struct listener **ret_l, struct event_base *b, int fd,
			const char *name, void (*cb)(void *arg, int fd),
			void *arg)
{
	(void)b;
	(void)fd;
	(void)name;
	on_accept = cb;
	on_accept_arg = arg;
	*ret_l = NULL;
	return 0;
}

void __wrap_listener_free(struct listener *l)
{
	(void)l;
}

int __wrap_unlink(const char *path)
{
	(void)path;
	return 0;
}

struct bufferevent *__wrap_bufferevent_socket_new(struct event_base *b,
						  evutil_socket_t fd,
						  int options)
{
	(void)b;
	(void)fd;
	(void)options;
	return next_far;
}

void __wrap_bufferevent_free(struct bufferevent *bev)
{
	for (uint32_t i = 0; i < CONTROL_CLIENTS; i++)
		if (clients[i].far == bev)
			clients[i].far = NULL;
	__real_bufferevent_free(bev);
}

/* --- clients ----------------------------------------------------------- */

static void control_turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static void control_come(struct client *c)
{
	struct bufferevent *pair[2];

	if (bufferevent_pair_new(base, 0, pair) < 0)
		return;
	*c = (struct client){ .near = pair[0], .far = pair[1] };
	control_reader_init(&c->in, CONTROL_REPLY_MAX);
	bufferevent_enable(c->near, EV_READ | EV_WRITE);
	next_far = c->far;
	on_accept(on_accept_arg, -1);
}

static void control_go(struct client *c)
{
	if (!c->near)
		return;
	if (c->far)
		bufferevent_trigger_event(
			c->far, BEV_EVENT_ERROR | BEV_EVENT_READING, 0);
	control_turn();
	FUZZ_CHECK(!c->far, "an error does not end a client");
	bufferevent_free(c->near);
	control_reader_fini(&c->in);
	*c = (struct client){ 0 };
}

static void control_say(struct client *c, const void *bytes, size_t n)
{
	const char *at = bytes, *end = at + n;

	if (!n)
		return;
	while ((at = memchr(at, '\n', (size_t)(end - at)))) {
		c->lines++;
		at++;
	}
	bufferevent_write(c->near, bytes, n);
}

static void control_hear(struct client *c)
{
	struct evbuffer *in = bufferevent_get_input(c->near);
	struct json_object *reply, *result;
	const char *error;
	char part[4096];
	int n, rc;

	while ((n = evbuffer_remove(in, part, sizeof(part))) > 0)
		FUZZ_CHECK(control_reader_feed(&c->in, part, (size_t)n) == 0);
	while ((rc = control_reader_next(&c->in, &reply)) != 0) {
		FUZZ_CHECK(rc == 1, "no JSON");
		rc = control_reply_parse(reply, &result, &error);
		FUZZ_CHECK(rc == 0 || rc == -EREMOTEIO, "no reply");
		json_object_put(reply);
		c->replies++;
	}
	/* An overlong line is answered before its end has come. */
	FUZZ_CHECK(c->replies <= c->lines + 1, "%u to %u", c->replies,
		   c->lines);
}

/* --- the script -------------------------------------------------------- */

static const char *control_value(struct fuzz_in *in, char *text, size_t size)
{
	static const char *const values[] = {
		"\"im\"",
		"\"b\\\"1\"",
		"\"none\"",
		"\"#1\"",
		"\"ESTABLISHED\"",
		"\"1\"",
		"\"0100000000000002\"",
		"\"\"",
		"10",
		"0",
		"-1",
		"100000",
		"100001",
		"1e3",
		"null",
		"true",
		"[]",
		"{}",
		"\"\\u0000\"",
		"18446744073709551616",
		"\"#70000\"",
		"\"#\"",
		"\"ffffffffffffffff0\"",
		"\"xyz\"",
	};
	uint8_t how = fuzz_u8(in);
	const uint8_t *bytes;
	size_t n;

	if (how < ARRAY_SIZE(values))
		return values[how];
	n = fuzz_take(in, how & 0x1f, &bytes);
	snprintf(text, size, "\"%.*s\"", (int)n, (const char *)bytes);
	return text;
}

static void control_command(struct fuzz_in *in, struct client *c)
{
	static const char *const commands[] = {
		"show info",	 "show pools",	     "show groups",
		"show backends", "show workers",     "show memory",
		"show counters", "show connections", "show connection",
		"close",	 "drain backend",    "resume backend",
		"drain group",	 "reload",	     "help",
		"show",
	};
	static const char *const args[] = { "name",  "id",    "group",
					    "state", "limit", "other" };
	uint8_t how = fuzz_u8(in), arg = fuzz_u8(in);
	char line[512], value[64];
	int n;

	if (arg < 0xc0)
		n = snprintf(line, sizeof(line),
			     "{\"command\":\"%s\",\"args\":{\"%s\":%s}}\n",
			     commands[how & 0xf], args[arg % 6],
			     control_value(in, value, sizeof(value)));
	else
		n = snprintf(line, sizeof(line), "{\"command\":\"%s\"}\n",
			     commands[how & 0xf]);
	control_say(c, line, (size_t)n);
}

static void control_fill_line(struct fuzz_in *in, struct client *c)
{
	static char much[255 * 260];
	size_t n = fuzz_u8(in) * 260u;

	memset(much, ' ', n);
	control_say(c, much, n);
}

static void control_client_op(struct fuzz_in *in, struct client *c, uint8_t op)
{
	const uint8_t *bytes;
	size_t n;

	switch (op & 0xf) {
	default:
		control_command(in, c);
		break;
	case 5:
	case 6:
		n = fuzz_take(in, fuzz_u8(in), &bytes);
		control_say(c, bytes, n);
		break;
	case 7:
		control_say(c, "\n", 1);
		break;
	case 8:
		control_fill_line(in, c);
		break;
	case 9: /* says no more, and waits for replies */
		bufferevent_flush(c->near, EV_WRITE, BEV_FINISHED);
		break;
	case 10:
		control_go(c);
		break;
	case 11: /* reads no more */
		bufferevent_disable(c->near, EV_READ);
		break;
	case 12:
		bufferevent_enable(c->near, EV_READ);
		break;
	}
}

static void control_op(struct fuzz_in *in)
{
	uint8_t op = fuzz_u8(in);
	struct client *c = &clients[op >> 4 & 3];

	if ((op & 0xf) == 14) {
		view.held = op & 0x80;
		view.silent = op & 0x40;
		view.refuse_config = op & 0x20;
	} else if ((op & 0xf) == 15) {
		fake_answer_now(&view);
	} else if (!c->near) {
		control_come(c);
	} else {
		control_client_op(in, c, op);
	}
	if (view.n_pending >= FAKE_PENDING_MAX - 8)
		fake_answer_now(&view);
	if (!(op & 0x40) || (op & 0xf) > 8)
		control_turn();
	for (uint32_t i = 0; i < CONTROL_CLIENTS; i++)
		if (clients[i].near)
			control_hear(&clients[i]);
}

static void control_script(struct fuzz_in *in)
{
	static const struct conf_socket conf = { .path = "/fuzz/control.sock",
						 .mode = 0600 };

	fake_init(&view, base);
	FUZZ_CHECK(control_open(&control, base, &conf, &view.view) == 0);
	control_come(&clients[0]);
	for (uint32_t n = 0; fuzz_left(in) && n < CONTROL_OPS_MAX; n++)
		control_op(in);
	fake_answer_now(&view);
	control_turn();
	for (uint32_t i = 0; i < CONTROL_CLIENTS; i++)
		if (clients[i].near)
			control_hear(&clients[i]);
	control_close(control);
	/* What was asked before is answered to nobody. */
	fake_answer_now(&view);
	for (uint32_t i = 0; i < CONTROL_CLIENTS; i++)
		control_go(&clients[i]);
	control_turn();
	fake_fini(&view);
}

/* --- the reader alone -------------------------------------------------- */

static void control_check_message(struct json_object *obj)
{
	struct json_object *args, *result, *again;
	struct control_reader r;
	const char *text;
	size_t len;
	char *line = control_encode(obj, &len);

	control_request_parse(obj, &text, &args);
	control_reply_parse(obj, &result, &text);
	FUZZ_CHECK(line && len && line[len - 1] == '\n');
	FUZZ_CHECK(!memchr(line, '\n', len - 1));
	control_reader_init(&r, len);
	FUZZ_CHECK(control_reader_feed(&r, line, len) == 0);
	FUZZ_CHECK(control_reader_next(&r, &again) == 1);
	json_object_put(again);
	control_reader_fini(&r);
	free(line);
}

static void control_read(struct fuzz_in *in)
{
	struct control_reader r;
	struct json_object *obj;
	const uint8_t *bytes;
	uint8_t piece = fuzz_u8(in);
	size_t n;
	int rc;

	control_reader_init(&r, 64u + piece);
	while ((n = fuzz_take(in, 1 + piece % 61u, &bytes)) > 0) {
		rc = control_reader_feed(&r, bytes, n);
		FUZZ_CHECK(rc == 0 || rc == -EMSGSIZE);
		while ((rc = control_reader_next(&r, &obj)) == 1 ||
		       rc == -EBADMSG) {
			if (rc != 1)
				continue;
			control_check_message(obj);
			json_object_put(obj);
		}
		FUZZ_CHECK(rc == 0 || rc == -EMSGSIZE);
	}
	control_reader_fini(&r);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_no_log();
	base = event_base_new();
	FUZZ_CHECK(base);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = fuzz_in(data, size);

	if (fuzz_u8(&in) & 1)
		control_read(&in);
	else
		control_script(&in);
	return 0;
}
