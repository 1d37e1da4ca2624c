/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * statedir - the directory that holds the arena and the lock.
 *
 * The arena has the keys of our sequence numbers and the data of clients, and
 * the next start believes what is in it: whoever could plant one would own
 * every connection. So not only its files are ours alone, the directory is,
 * and each one above it belongs to root or us, and lets others write only with
 * the sticky bit, as /tmp does. Files in it then need no further care, but are
 * opened without following symbolic links all the same.
 */
#include "daemon/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

/* path is the state directory named in the configuration, dir it or above. */
static int statedir_check(const char *path, const char *dir,
			  bool sticky_is_fine)
{
	mode_t others = S_IWGRP | S_IWOTH;
	struct stat st;

	if (lstat(dir, &st) < 0) {
		int err = -errno;

		log_error("state-dir %s: %s: %s", path, dir, strerror(-err));
		return err;
	}
	if (!S_ISDIR(st.st_mode)) {
		log_error(
			"state-dir %s: %s is no directory: choose another path",
			path, dir);
		return -ENOTDIR;
	}
	if (st.st_uid != 0 && st.st_uid != geteuid()) {
		log_error(
			"state-dir %s: %s belongs to uid %u, but must belong to root or to "
			"uid %u, as which xtcpd runs: chown it, or choose another path",
			path, dir, st.st_uid, geteuid());
		return -EPERM;
	}
	if (st.st_mode & others && !(sticky_is_fine && st.st_mode & S_ISVTX)) {
		log_error(
			"state-dir %s: %s can be written by others than root and uid %u "
			"(mode %04o), who could plant connections: chmod go-w %s",
			path, dir, geteuid(), st.st_mode & 07777u, dir);
		return -EPERM;
	}
	return 0;
}

int statedir_prepare(const char *path)
{
	char dir[PATH_MAX], *slash;
	int err;

	if (mkdir(path, STATEDIR_MODE) == 0) {
		/* whatever the umask is */
		if (chmod(path, STATEDIR_MODE) < 0)
			log_warn("state-dir %s: %s", path, strerror(errno));
	} else if (errno != EEXIST) {
		err = -errno;
		log_error("state-dir %s: %s: make it, or choose another path",
			  path, strerror(-err));
		return err;
	}
	if (!realpath(path, dir)) {
		err = -errno;
		log_error("state-dir %s: %s", path, strerror(-err));
		return err;
	}
	err = statedir_check(path, dir, false);
	while (!err && (slash = strrchr(dir, '/')) && dir[1] != '\0') {
		slash[slash == dir] = '\0';
		err = statedir_check(path, dir, true);
	}
	return err;
}

int statedir_lock(const char *path)
{
	char file[PATH_MAX];
	int fd, err;

	snprintf(file, sizeof(file), "%s/lock", path);
	fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		err = -errno;
		log_error("%s: %s", file, strerror(-err));
		return err;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	close(fd);
	log_error(
		"state-dir %s is in use by another xtcpd: stop it, or give this one "
		"a state-dir of its own",
		path);
	return -EBUSY;
}
