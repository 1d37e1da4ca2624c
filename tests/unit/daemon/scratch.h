/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TESTS_UNIT_DAEMON_SCRATCH_H
#define XTCP_TESTS_UNIT_DAEMON_SCRATCH_H

/* A temporary directory per test, for the fixtures of this folder's tests. */

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit.h"

static char scratch_dir[64];

static inline void scratch_setup(void)
{
	snprintf(scratch_dir, sizeof(scratch_dir), "/tmp/xtcp-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(scratch_dir));
}

static inline int scratch_unlink(const char *path, const struct stat *st,
				 int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void scratch_teardown(void)
{
	nftw(scratch_dir, scratch_unlink, 8, FTW_DEPTH | FTW_PHYS);
}

/* The path of a file in it; static, for one use at a time. */
static inline const char *scratch_path(const char *name)
{
	static char path[sizeof(scratch_dir) + 32];

	snprintf(path, sizeof(path), "%s/%s", scratch_dir, name);
	return path;
}

static inline const char *scratch_write(const char *name, const void *data,
					size_t n)
{
	const char *path = scratch_path(name);
	FILE *fp = fopen(path, "w");

	ck_assert_ptr_nonnull(fp);
	ck_assert_uint_eq(fwrite(data, 1, n, fp), n);
	ck_assert_int_eq(fclose(fp), 0);
	return path;
}

#endif
