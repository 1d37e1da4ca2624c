/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"
#include "daemon/journal.h"
#include "daemon/notify.h"
#include "unit/daemon/scratch.h"
#include "unit/unit.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* systemd's end of the notification socket. */
static int manager;
static char got[1024];
static bool healthy;

static void setup(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	scratch_setup();
	snprintf(un.sun_path, sizeof(un.sun_path), "%s",
		 scratch_path("notify"));
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(manager, (struct sockaddr *)&un, sizeof(un)), 0);
	setenv("NOTIFY_SOCKET", un.sun_path, 1);
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

static void teardown(void)
{
	close(manager);
	unsetenv("NOTIFY_SOCKET");
	scratch_teardown();
}

/* The next message; "" when there is none. */
static const char *hear(void)
{
	ssize_t n = recv(manager, got, sizeof(got) - 1, 0);

	got[n < 0 ? 0 : n] = '\0';
	return got;
}

START_TEST(test_notify_tells_each_step)
{
	notify_ready();
	ck_assert_str_eq(hear(), "READY=1");
	notify_reloading();
	ck_assert_ptr_nonnull(strstr(hear(), "RELOADING=1\nMONOTONIC_USEC="));
	notify_status("%d groups\nREADY=1", 3);
	ck_assert_str_eq(hear(), "STATUS=3 groups READY=1");
	notify_stopping();
	ck_assert_str_eq(hear(), "STOPPING=1");
}
END_TEST

START_TEST(test_notify_without_systemd_does_nothing)
{
	unsetenv("NOTIFY_SOCKET");
	notify_ready();
	notify_stopping();
	ck_assert_str_eq(hear(), "");
}
END_TEST

static bool is_healthy(void *arg)
{
	ck_assert_ptr_eq(arg, &healthy);
	return healthy;
}

static void no_log(void *ctx, enum log_level level, const char *line,
		   const struct log_field *fields, size_t n)
{
	int *lines = ctx;

	(void)level;
	(void)line;
	(void)fields;
	(void)n;
	(*lines)++;
}

START_TEST(test_notify_watchdog_pings_while_the_workers_are_healthy)
{
	struct event_base *base = event_base_new();
	struct notify_watchdog *dog;
	int lines = 0;

	log_set_sink(no_log, &lines);
	setenv("WATCHDOG_USEC", "20000", 1);
	ck_assert_int_eq(notify_watchdog_new(&dog, base, is_healthy, &healthy),
			 0);
	ck_assert_ptr_nonnull(dog);
	healthy = true;
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_str_eq(hear(), "WATCHDOG=1");
	healthy = false;
	event_base_loop(base, EVLOOP_ONCE);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_str_eq(hear(), "");
	ck_assert_int_eq(lines, 1);
	healthy = true;
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_str_eq(hear(), "WATCHDOG=1");
	notify_watchdog_free(dog);
	event_base_free(base);
}
END_TEST

START_TEST(test_notify_watchdog_that_was_not_asked_for_is_none)
{
	struct event_base *base = event_base_new();
	struct notify_watchdog *dog;

	ck_assert_int_eq(notify_watchdog_new(&dog, base, is_healthy, &healthy),
			 0);
	ck_assert_ptr_null(dog);
	notify_watchdog_free(dog);
	event_base_free(base);
}
END_TEST

START_TEST(test_journal_is_taken_only_when_stderr_is_its_stream)
{
	char stream[64];
	struct stat st;

	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	unsetenv("JOURNAL_STREAM");
	ck_assert(!journal_is_stderr());
	setenv("JOURNAL_STREAM", "garbage", 1);
	ck_assert(!journal_is_stderr());
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev,
		 (uintmax_t)st.st_ino + 1);
	setenv("JOURNAL_STREAM", stream, 1);
	ck_assert(!journal_is_stderr());
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev,
		 (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	ck_assert(journal_is_stderr());
	/* without a journal the lines are lost, and nothing else happens */
	journal_init();
	log_event(LOG_LEVEL_INFO,
		  (const struct log_field[]){ { "XTCP_GROUP", "im" } }, 1,
		  "a line");
	unsetenv("JOURNAL_STREAM");
	journal_init();
}
END_TEST

UNIT_MAIN("daemon/notify",
	  UNIT_CASE("all", setup, teardown, test_notify_tells_each_step,
		    test_notify_without_systemd_does_nothing,
		    test_notify_watchdog_pings_while_the_workers_are_healthy,
		    test_notify_watchdog_that_was_not_asked_for_is_none,
		    test_journal_is_taken_only_when_stderr_is_its_stream))
