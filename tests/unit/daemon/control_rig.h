/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TESTS_UNIT_DAEMON_CONTROL_RIG_H
#define XTCP_TESTS_UNIT_DAEMON_CONTROL_RIG_H

/* A control server over a fake view, and its clients, in one event loop. */

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/control.h"
#include "proto/control.h"
#include "unit/daemon/fakeview.h"
#include "unit/daemon/scratch.h"

static struct event_base *base;
static struct fake_view fake;
static struct conf_socket conf;
static struct control *control;

static char logged[1024];

static inline void log_to_memory(void *ctx, enum log_level level,
				 const char *line,
				 const struct log_field *fields, size_t n)
{
	(void)ctx;
	(void)level;
	(void)fields;
	(void)n;
	snprintf(logged, sizeof(logged), "%s", line);
}

static inline void setup(void)
{
	scratch_setup();
	signal(SIGPIPE, SIG_IGN);
	log_set_sink(log_to_memory, NULL);
	base = event_base_new();
	fake_init(&fake, base);
	conf = (struct conf_socket){ .mode = 0640, .gid = (gid_t)-1 };
	snprintf(conf.path, sizeof(conf.path), "%s", scratch_path("c.sock"));
	ck_assert_int_eq(control_open(&control, base, &conf, &fake.view), 0);
}

static inline void teardown(void)
{
	control_close(control);
	fake_fini(&fake);
	event_base_free(base);
	scratch_teardown();
}

/* --- a client ---------------------------------------------------------- */

static inline int dial(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(un.sun_path, conf.path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

static inline void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static inline void say(int fd, const void *data, size_t n)
{
	const char *at = data;
	ssize_t rc;

	while (n > 0) {
		rc = send(fd, at, n, MSG_NOSIGNAL);
		ck_assert(rc > 0 || errno == EAGAIN);
		if (rc > 0) {
			at += rc;
			n -= (size_t)rc;
		}
		turn();
	}
}

/* The next line, without its newline; NULL at the end. Heap. */
static inline char *hear(int fd)
{
	size_t n = 0, cap = 1024 * 1024;
	char *line = malloc(cap);
	ssize_t rc;

	for (int i = 0; i < 100000; i++) {
		turn();
		rc = recv(fd, line + n, 1, 0);
		/* a server that left bytes of ours unread */
		if (rc == 0 || (rc < 0 && errno == ECONNRESET))
			break;
		if (rc < 0) {
			ck_assert_int_eq(errno, EAGAIN);
			continue;
		}
		ck_assert_uint_lt(n, cap - 1);
		if (line[n] == '\n') {
			line[n] = '\0';
			return line;
		}
		n++;
		i = 0;
	}
	ck_assert_msg(n == 0, "no end of line: %.*s", (int)n, line);
	free(line);
	return NULL;
}

/* The reply to a request as JSON. */
static inline struct json_object *ask(const char *request)
{
	struct json_object *reply;
	int fd = dial();
	char *line;

	say(fd, request, strlen(request));
	say(fd, "\n", 1);
	line = hear(fd);
	ck_assert_ptr_nonnull(line);
	reply = json_tokener_parse(line);
	ck_assert_msg(reply != NULL, "no JSON: %s", line);
	free(line);
	close(fd);
	turn();
	return reply;
}

static inline struct json_object *result_of(const char *request)
{
	struct json_object *reply = ask(request), *result = NULL;
	const char *error = "no reply";

	ck_assert_msg(control_reply_parse(reply, &result, &error) == 0,
		      "%s: %s", request, error);
	json_object_get(result);
	json_object_put(reply);
	return result;
}

static inline void fails(const char *request, const char *part)
{
	struct json_object *reply = ask(request), *result;
	const char *error;

	ck_assert_int_eq(control_reply_parse(reply, &result, &error),
			 -EREMOTEIO);
	ck_assert_msg(strstr(error, part) != NULL,
		      "%s: \"%s\" is not in \"%s\"", request, part, error);
	json_object_put(reply);
}

/* A number at a path like "segments.in". */
static inline int64_t number(struct json_object *obj, const char *path)
{
	char key[64];
	size_t len = strcspn(path, ".");
	struct json_object *value;

	snprintf(key, sizeof(key), "%.*s", (int)len, path);
	ck_assert_msg(json_object_object_get_ex(obj, key, &value), "no %s",
		      path);
	return path[len] == '.' ? number(value, path + len + 1)
				: json_object_get_int64(value);
}

static inline const char *text(struct json_object *obj, const char *key)
{
	struct json_object *value;

	ck_assert_msg(json_object_object_get_ex(obj, key, &value), "no %s",
		      key);
	ck_assert(json_object_is_type(value, json_type_string));
	return json_object_get_string(value);
}

#endif
