/* SPDX-License-Identifier: BSD-2-Clause */
/* supervise_program - who is supervised, and by whom. */
#include "daemon/supervise.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool supervise_is_running(const char *path)
{
	struct stat there, running;

	return stat(path, &there) == 0 &&
	       stat("/proc/self/exe", &running) == 0 &&
	       there.st_dev == running.st_dev && there.st_ino == running.st_ino;
}

/* argv0 in a directory; NULL if that isn't what runs. */
static char *supervise_program_in(const char *dir, int dir_len,
				  const char *argv0)
{
	char *path;

	if (asprintf(&path, "%.*s/%s", dir_len, dir, argv0) < 0)
		return NULL;
	if (*path == '/' && supervise_is_running(path))
		return path;
	free(path);
	return NULL;
}

char *supervise_program(const char *argv0)
{
	const char *dirs = getenv("PATH");
	char here[PATH_MAX], *path = NULL;

	if (*argv0 == '/' && supervise_is_running(argv0))
		return strdup(argv0);
	if (strchr(argv0, '/')) {
		if (getcwd(here, sizeof(here)))
			path = supervise_program_in(here, (int)strlen(here),
						    argv0);
		dirs = NULL;
	}
	while (!path && dirs && *dirs != '\0') {
		int n = (int)strcspn(dirs, ":");

		path = supervise_program_in(dirs, n, argv0);
		dirs += n + (dirs[n] == ':');
	}
	return path ? path : realpath("/proc/self/exe", NULL);
}

bool supervise_is_parent(bool *ret_lost)
{
	const char *text = getenv(SUPERVISE_ENVIRONMENT);

	if (!text)
		return false;
	*ret_lost = strtol(text, NULL, 10) != (long)getppid();
	return true;
}
