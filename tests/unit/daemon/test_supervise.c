/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"
#include "daemon/supervise.h"
#include "unit/daemon/scratch.h"
#include "unit/unit.h"

#include <limits.h>
#include <sys/stat.h>

/* What it does with a real xtcpd is in tests/net/test_supervise.py. */

static void no_log(void *ctx, enum log_level level, const char *line,
		   const struct log_field *fields, size_t n)
{
	(void)ctx;
	(void)level;
	(void)line;
	(void)fields;
	(void)n;
}

static char program[PATH_MAX]; /* this one */
static char dir[PATH_MAX]; /* its directory, with a '/' behind */
static const char *name;

static void setup(void)
{
	char *slash;

	scratch_setup();
	log_set_sink(no_log, NULL);
	ck_assert_ptr_nonnull(realpath("/proc/self/exe", program));
	strcpy(dir, program);
	slash = strrchr(dir, '/');
	slash[1] = '\0';
	name = program + strlen(dir);
}

static void teardown(void)
{
	scratch_teardown();
}

static void resolves(const char *argv0, const char *to)
{
	char *path = supervise_program(argv0);

	ck_assert_ptr_nonnull(path);
	ck_assert_str_eq(path, to);
	free(path);
}

START_TEST(test_supervise_program_is_an_absolute_path)
{
	char argv0[PATH_MAX], path[2 * PATH_MAX];

	resolves(program, program);
	ck_assert_int_eq(chdir(dir), 0);
	snprintf(argv0, sizeof(argv0), "./%s", name);
	snprintf(path, sizeof(path), "%s%s", dir, argv0);
	resolves(argv0, path);
	snprintf(path, sizeof(path), "/nowhere::.:%.*s:/usr/bin",
		 (int)strlen(dir) - 1, dir);
	setenv("PATH", path, 1);
	resolves(name, program);
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(test_supervise_program_keeps_symbolic_links)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", scratch_path("current"));
	ck_assert_int_eq(symlink(program, path), 0);
	resolves(path, path);
	ck_assert_int_eq(chdir(scratch_path("")), 0);
	snprintf(path, sizeof(path), "%s", scratch_path("./current"));
	resolves("./current", path);
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(test_supervise_program_is_what_runs_whatever_argv0_says)
{
	setenv("PATH", "/usr/bin:/bin", 1);
	resolves("/bin/sh", program);
	resolves("sh", program);
	resolves("", program);
	resolves("/nowhere/xtcpd", program);
}
END_TEST

START_TEST(test_supervise_parent_is_known_and_its_death)
{
	char text[16];
	bool lost = false;

	unsetenv("XTCPD_SUPERVISOR");
	ck_assert(!supervise_is_parent(&lost));
	snprintf(text, sizeof(text), "%d", (int)getppid());
	setenv("XTCPD_SUPERVISOR", text, 1);
	ck_assert(supervise_is_parent(&lost));
	ck_assert(!lost);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("XTCPD_SUPERVISOR", text, 1);
	ck_assert(supervise_is_parent(&lost));
	ck_assert(lost);
}
END_TEST

/* The status of a supervisor whose program is this script. */
static int status_of(const char *script)
{
	char *serve[] = { (char *)"sh", (char *)"-c", (char *)script, NULL };
	const struct supervise_options options = { "/bin/sh", serve, serve };

	return supervise_run(&options);
}

START_TEST(test_supervise_first_start_that_fails_gives_its_status)
{
	ck_assert_int_eq(status_of("exit 2"), 2);
	ck_assert_int_eq(status_of("exit 1"), 1);
	ck_assert_int_eq(status_of("kill -SEGV $$"), 1);
	ck_assert_int_eq(status_of("exec /nowhere/xtcpd"), 1);
}
END_TEST

START_TEST(test_supervise_child_has_an_environment_of_its_own)
{
	/* 0 only if each is there */
	ck_assert_int_eq(status_of("test $XTCPD_SUPERVISOR = $PPID && "
				   "test $WATCHDOG_PID = $$ && "
				   "test -n \"$WATCHDOG_USEC\" && "
				   "test -n \"$NOTIFY_SOCKET\" && "
				   "test -z \"$LISTEN_FDS\""),
			 0);
	ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
	ck_assert_ptr_null(getenv("WATCHDOG_USEC"));
}
END_TEST

UNIT_MAIN("daemon/supervise",
	  UNIT_CASE("all", setup, teardown,
		    test_supervise_program_is_an_absolute_path,
		    test_supervise_program_keeps_symbolic_links,
		    test_supervise_program_is_what_runs_whatever_argv0_says,
		    test_supervise_parent_is_known_and_its_death,
		    test_supervise_first_start_that_fails_gives_its_status,
		    test_supervise_child_has_an_environment_of_its_own))
