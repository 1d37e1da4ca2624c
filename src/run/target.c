/* SPDX-License-Identifier: BSD-2-Clause */
#include "run/target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/bytes.h"
#include "run/elf.h"

/* "#!" lines that lead to another script; the kernel's own limit. */
#define TARGET_DEPTH 5
#define TARGET_LINE 256

/* --- finding it --- */

/* One directory of PATH, of len bytes, and the command. */
static bool target_in(const char *dir, size_t len, const char *command,
		      char ret_path[PATH_MAX])
{
	struct stat st;
	int n;

	if (len == 0) {
		dir = ".";
		len = 1;
	}
	n = snprintf(ret_path, PATH_MAX, "%.*s/%s", (int)len, dir, command);
	return n > 0 && n < PATH_MAX && access(ret_path, X_OK) == 0 &&
	       stat(ret_path, &st) == 0 && S_ISREG(st.st_mode);
}

static int target_find(const char *command, char ret_path[PATH_MAX])
{
	const char *path = getenv("PATH"), *end;

	if (strchr(command, '/')) {
		if (strlen(command) >= PATH_MAX)
			return -ENAMETOOLONG;
		strcpy(ret_path, command);
		return access(command, X_OK) < 0 ? -errno : 0;
	}
	if (!path)
		path = "/usr/local/bin:/usr/bin:/bin";
	for (;; path = end + 1) {
		end = strchrnul(path, ':');
		if (target_in(path, (size_t)(end - path), command, ret_path))
			return 0;
		if (!*end)
			return -ENOENT;
	}
}

/* --- judging it --- */

/* The kernel clears LD_PRELOAD when the program gets other rights than ours. */
static const char *target_privileged(const char *path, const struct stat *st)
{
	if (st->st_mode & S_ISUID && st->st_uid != geteuid())
		return "it is set-user-ID: run xtcp-run as that user";
	if (st->st_mode & S_ISGID && st->st_gid != getegid())
		return "it is set-group-ID: run xtcp-run with that group";
	if (geteuid() != 0 &&
	    getxattr(path, "security.capability", NULL, 0) > 0)
		return "its file has capabilities (see getcap(8)), which turn "
		       "preload libraries off";
	return NULL;
}

static int target_refuse(const char *path, const char *why)
{
	fprintf(stderr, "xtcp-run: %s can't be run: %s\n", path, why);
	return -EINVAL;
}

/* The machine that we are for: our own file's. */
static uint16_t target_machine(void)
{
	uint8_t header[128];
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, header, sizeof(header));

	if (fd >= 0)
		close(fd);
	return n < 0 ? 0 : elf_machine(header, (size_t)n);
}

static int target_check_at(const char *command, int depth);

/* The interpreter of a script whose first line is given, and for env(1) more. */
static int target_script(const char *path, char *line, int depth)
{
	char *save = NULL, *interpreter, *argument;
	const char *base;
	int rc;

	line[strcspn(line, "\n")] = '\0';
	interpreter = strtok_r(line + 2, " \t", &save);
	if (!interpreter)
		return target_refuse(path, "its \"#!\" line is empty");
	rc = target_check_at(interpreter, depth + 1);
	if (rc < 0)
		return rc;
	base = strrchr(interpreter, '/');
	argument = strtok_r(NULL, " \t", &save);
	if (base && !strcmp(base, "/env") && argument && argument[0] != '-' &&
	    !strchr(argument, '='))
		rc = target_check_at(argument, depth + 1);
	return rc;
}

static int target_judge(const char *path, const uint8_t *image, size_t n,
			int depth)
{
	enum elf_verdict v = elf_judge(image, n, target_machine());
	char line[TARGET_LINE] = { 0 };

	if (v == ELF_FINE)
		return 0;
	if (v == ELF_NOT_ELF && n > 2 && image[0] == '#' && image[1] == '!') {
		memcpy(line, image, min_size(n, sizeof(line) - 1));
		return target_script(path, line, depth);
	}
	return target_refuse(path, elf_verdict_text(v));
}

/* One file, by its path. */
static int target_check_file(const char *path, int depth)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc;
	const char *why;
	struct stat st;
	void *image;

	if (fd < 0 && errno == EACCES)
		return 0; /* executable but not readable: who knows */
	if (fd < 0 || fstat(fd, &st) < 0) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	why = target_privileged(path, &st);
	if (why || !S_ISREG(st.st_mode) || st.st_size == 0) {
		close(fd);
		return target_refuse(path, why ? why : "it is no program");
	}
	image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (image == MAP_FAILED)
		return -errno;
	rc = target_judge(path, image, (size_t)st.st_size, depth);
	munmap(image, (size_t)st.st_size);
	return rc;
}

static int target_check_at(const char *command, int depth)
{
	char path[PATH_MAX];
	int rc;

	if (depth > TARGET_DEPTH)
		return target_refuse(command, "too many interpreters");
	rc = target_find(command, path);
	return rc < 0 ? rc : target_check_file(path, depth);
}

int target_check(const char *command)
{
	return target_check_at(command, 0);
}
