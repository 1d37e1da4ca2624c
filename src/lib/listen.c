/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

/* Connections that the kernel may hold for us before we accept them. */
#define LISTEN_BACKLOG 1024

/* Unlinks a socket's file that a process left behind when it died. */
static int listen_unlink_stale(const struct sockaddr_un *un, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)un, len) == 0 ||
	    errno == EAGAIN)
		rc = -EADDRINUSE;
	else if (errno == ECONNREFUSED && unlink(un->sun_path) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static int listen_bind(struct group *g, int fd,
		       const struct sockaddr_storage *ss, socklen_t len)
{
	struct sockaddr_un un = { 0 };
	int on = 1, rc;

	if (ss->ss_family == AF_UNIX) {
		memcpy(&un, ss, sizeof(un));
		if (un.sun_path[0])
			rc = listen_unlink_stale(&un, len);
		else
			rc = 0;
	} else {
		rc = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	}
	if (rc < 0)
		return rc;
	if (bind(fd, (const struct sockaddr *)ss, len) < 0)
		return -errno;
	memcpy(g->listen_path, un.sun_path, sizeof(un.sun_path));
	return listen(fd, LISTEN_BACKLOG) < 0 ? -errno : 0;
}

int listen_open(struct group *g, const struct sockaddr_storage *ss,
		socklen_t len)
{
	int fd, rc;

	_Static_assert(sizeof(g->listen_path) ==
			       sizeof(((struct sockaddr_un *)0)->sun_path),
		       "a path fits");
	fd = socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    0);
	if (fd < 0)
		return -errno;
	rc = listen_bind(g, fd, ss, len);
	if (rc == 0)
		rc = group_watch(g, fd, EPOLLIN, GROUP_TAG_LISTEN);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	g->listen_fd = fd;
	g->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return 0;
}

int listen_accept(struct group *g)
{
	int flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
	int fd = accept4(g->listen_fd, NULL, NULL, flags);
	int error = fd < 0 ? errno : 0;

	if (fd >= 0)
		return fd;
	if ((error == EMFILE || error == ENFILE) && g->spare_fd >= 0) {
		close(g->spare_fd);
		fd = accept4(g->listen_fd, NULL, NULL, flags);
		if (fd >= 0)
			close(fd);
		g->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	return -error;
}
