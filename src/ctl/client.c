/* SPDX-License-Identifier: BSD-2-Clause */
#include "ctl/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "proto/control.h"

struct client {
	int fd;
	struct control_reader reader;
};

void client_explain(const char *path, int err, char *text, size_t size)
{
	switch (err) {
	case -ENOENT:
	case -ECONNREFUSED:
		snprintf(
			text, size,
			"no xtcpd answers at %s: start it, or name its control "
			"socket with -s",
			path);
		break;
	case -EACCES:
	case -EPERM:
		snprintf(text, size,
			 "no permission for %s: run as root, or as a member of "
			 "the socket's group",
			 path);
		break;
	case -EAGAIN:
	case -ETIMEDOUT:
		snprintf(text, size,
			 "xtcpd at %s does not answer: is it stopped?", path);
		break;
	case -EPIPE:
	case -ECONNRESET:
		snprintf(text, size,
			 "%s was closed before the answer: did xtcpd end? "
			 "See its log",
			 path);
		break;
	case -EBADMSG:
	case -EMSGSIZE:
		snprintf(text, size,
			 "what listens at %s does not answer as xtcpd does",
			 path);
		break;
	default:
		snprintf(text, size, "%s: %s", path, strerror(-err));
		break;
	}
}

/* A connected socket or a negative errno. */
static int client_connect(const char *path, unsigned int timeout_s)
{
	const struct timeval timeout = { .tv_sec = timeout_s };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd, err;

	if (strlen(path) >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	strcpy(un.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) <
		    0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) <
		    0 ||
	    connect(fd, (const struct sockaddr *)&un, sizeof(un)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int client_open(struct client **ret_client, const char *path,
		unsigned int timeout_s)
{
	struct client *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	c->fd = client_connect(path, timeout_s);
	if (c->fd < 0) {
		err = c->fd;
		free(c);
		return err;
	}
	control_reader_init(&c->reader, CONTROL_REPLY_MAX);
	*ret_client = c;
	return 0;
}

void client_close(struct client *c)
{
	if (!c)
		return;
	control_reader_fini(&c->reader);
	close(c->fd);
	free(c);
}

static int client_send(int fd, const char *text, size_t len)
{
	ssize_t n;

	while (len > 0) {
		n = send(fd, text, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		/* one client too many is told so and closed: read that */
		if (n < 0)
			return errno == EPIPE ? 0 : -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int client_receive(struct client *c, struct json_object **ret_reply)
{
	static char part[65536];
	ssize_t n;
	int rc;

	for (;;) {
		rc = control_reader_next(&c->reader, ret_reply);
		if (rc != 0)
			return rc < 0 ? rc : 0;
		n = recv(c->fd, part, sizeof(part), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		rc = control_reader_feed(&c->reader, part, (size_t)n);
		if (rc < 0)
			return rc;
	}
}

int client_call(struct client *c, const char *command, struct json_object *args,
		struct json_object **ret_reply)
{
	struct json_object *request = control_request_new(command, args);
	char *line = NULL;
	size_t len;
	int rc = -ENOMEM;

	if (request)
		line = control_encode(request, &len);
	if (line)
		rc = client_send(c->fd, line, len);
	if (rc == 0)
		rc = client_receive(c, ret_reply);
	free(line);
	json_object_put(request);
	return rc;
}

ssize_t client_read(struct client *c, void *data, size_t size)
{
	size_t n = min_size(size, c->reader.len);
	ssize_t rc;

	/* what came behind the reply */
	if (n > 0) {
		memcpy(data, c->reader.buf, n);
		c->reader.len -= n;
		memmove(c->reader.buf, c->reader.buf + n, c->reader.len);
		return (ssize_t)n;
	}
	rc = recv(c->fd, data, size, 0);
	return rc < 0 ? -errno : rc;
}

void client_finish(struct client *c)
{
	shutdown(c->fd, SHUT_WR);
}

int client_ask(const char *path, const char *command, struct json_object *args,
	       struct json_object **ret_reply)
{
	struct client *c = NULL;
	char why[512];
	int rc = client_open(&c, path, CLIENT_TIMEOUT_S);

	if (rc == 0)
		rc = client_call(c, command, args, ret_reply);
	else
		json_object_put(args);
	client_close(c);
	if (rc < 0) {
		client_explain(path, rc, why, sizeof(why));
		fprintf(stderr, "xtcpctl: %s\n", why);
	}
	return rc;
}
