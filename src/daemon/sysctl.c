/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define SYSCTL_PATH_MAX 128

static void sysctl_path(const char *family, const char *link, const char *key,
			char ret_path[SYSCTL_PATH_MAX])
{
	snprintf(ret_path, SYSCTL_PATH_MAX, "/proc/sys/net/%s/conf/%s/%s",
		 family, link, key);
}

int sysctl_link_get(const char *family, const char *link, const char *key)
{
	char path[SYSCTL_PATH_MAX], c;
	ssize_t n;
	int fd;

	sysctl_path(family, link, key, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, &c, 1);
	close(fd);
	return n == 1 ? c : -1;
}

int sysctl_link_set(const char *family, const char *link, const char *key,
		    char value)
{
	char path[SYSCTL_PATH_MAX];
	int fd, err = 0;

	if (sysctl_link_get(family, link, key) == value)
		return 0;
	sysctl_path(family, link, key, path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, &value, 1) != 1)
		err = -errno;
	if (fd >= 0)
		close(fd);
	if (err < 0)
		log_warn("%s: cannot be set to %c: %s", path, value,
			 strerror(-err));
	return err;
}
