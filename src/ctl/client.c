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

#include "proto/control.h"

/* The daemon waits a second for its workers; a large list takes longer. */
#define CLIENT_TIMEOUT_S 30

static void client_explain(const char *path, int err)
{
	switch (err) {
	case -ENOENT:
	case -ECONNREFUSED:
		fprintf(stderr,
			"xtcpctl: no xtcpd answers at %s: start it, or name its control "
			"socket with -s\n",
			path);
		break;
	case -EACCES:
	case -EPERM:
		fprintf(stderr,
			"xtcpctl: no permission for %s: run as root, or as a member of "
			"the socket's group\n",
			path);
		break;
	case -EAGAIN:
	case -ETIMEDOUT:
		fprintf(stderr,
			"xtcpctl: xtcpd at %s does not answer: is it stopped?\n",
			path);
		break;
	case -EPIPE:
	case -ECONNRESET:
		fprintf(stderr,
			"xtcpctl: %s was closed before the answer: did xtcpd end? "
			"See its log\n",
			path);
		break;
	case -EBADMSG:
	case -EMSGSIZE:
		fprintf(stderr,
			"xtcpctl: what listens at %s does not answer as xtcpd does\n",
			path);
		break;
	default:
		fprintf(stderr, "xtcpctl: %s: %s\n", path, strerror(-err));
		break;
	}
}

/* A connected socket or a negative errno. */
static int client_connect(const char *path)
{
	const struct timeval timeout = { .tv_sec = CLIENT_TIMEOUT_S };
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

static int client_receive(int fd, struct json_object **ret_reply)
{
	static char part[65536];
	struct control_reader reader;
	ssize_t n;
	int rc;

	control_reader_init(&reader, CONTROL_REPLY_MAX);
	for (;;) {
		rc = control_reader_next(&reader, ret_reply);
		if (rc != 0)
			break;
		n = recv(fd, part, sizeof(part), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rc = n < 0 ? -errno : -EPIPE;
			break;
		}
		rc = control_reader_feed(&reader, part, (size_t)n);
		if (rc < 0)
			break;
	}
	control_reader_fini(&reader);
	return rc < 0 ? rc : 0;
}

static int client_talk(const char *path, struct json_object *request,
		       struct json_object **ret_reply)
{
	size_t len;
	char *line = control_encode(request, &len);
	int fd, rc;

	if (!line)
		return -ENOMEM;
	fd = client_connect(path);
	rc = fd < 0 ? fd : client_send(fd, line, len);
	if (rc == 0)
		rc = client_receive(fd, ret_reply);
	if (fd >= 0)
		close(fd);
	free(line);
	return rc;
}

int client_ask(const char *path, const char *command, struct json_object *args,
	       struct json_object **ret_reply)
{
	struct json_object *request = control_request_new(command, args);
	int rc = request ? client_talk(path, request, ret_reply) : -ENOMEM;

	json_object_put(request);
	if (rc < 0)
		client_explain(path, rc);
	return rc;
}
