/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

#define SOCKET_BACKLOG 128

void socket_no_delay(int fd)
{
	int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		log_debug("TCP_NODELAY: %s", strerror(errno));
}

/* Remove the file when it is a socket that nobody answers on. */
static int socket_remove_stale(const struct sockaddr_un *sun)
{
	struct stat st;
	int fd, err;

	if (lstat(sun->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) < 0
		      ? errno
		      : 0;
	close(fd);
	if (err != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(sun->sun_path) < 0 ? -errno : 0;
}

/*
 * Give the new socket file its mode and group. The name may lie in a directory
 * that others write to: what has it by now must be a socket of ours, and what
 * was looked at is what is changed, not what the name stands for a moment later.
 */
static int socket_set_access(const struct conf_socket *conf)
{
	char self[sizeof("/proc/self/fd/") + 10];
	int fd = open(conf->path, O_PATH | O_NOFOLLOW | O_CLOEXEC), err = 0;
	struct stat st;

	if (fd < 0)
		return -errno;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid())
		err = -EPERM;
	else if ((conf->gid != (gid_t)-1 && conf->gid != st.st_gid &&
		  fchownat(fd, "", (uid_t)-1, conf->gid, AT_EMPTY_PATH) < 0) ||
		 chmod(self, conf->mode) < 0)
		err = -errno;
	close(fd);
	return err;
}

int socket_listen(const struct conf_socket *conf)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	mode_t mask;
	int fd, err;

	if (strlen(conf->path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	strcpy(sun.sun_path, conf->path);
	err = socket_remove_stale(&sun);
	if (err < 0)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Nobody may connect before mode and group are right. */
	mask = umask(0177);
	err = bind(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0 ? -errno
								       : 0;
	umask(mask);
	if (err < 0)
		goto fail;
	err = socket_set_access(conf);
	if (!err && listen(fd, SOCKET_BACKLOG) < 0)
		err = -errno;
	if (err < 0) {
		unlink(conf->path);
		goto fail;
	}
	return fd;
fail:
	close(fd);
	return err;
}
