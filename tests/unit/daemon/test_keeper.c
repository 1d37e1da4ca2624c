/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"
#include "daemon/fdstore.h"
#include "daemon/keeper.h"
#include "unit/daemon/scratch.h"
#include "unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>

static struct keeper *keeper;
static struct keeper_message message;
static int lines; /* logged */

static void count_log(void *ctx, enum log_level level, const char *line,
		      const struct log_field *fields, size_t n)
{
	(void)ctx;
	(void)level;
	(void)line;
	(void)fields;
	(void)n;
	lines++;
}

/* Messages to the keeper go to NOTIFY_SOCKET of this process, too. */
static void setup(void)
{
	struct sockaddr_un un;
	socklen_t len = sizeof(un);
	char address[sizeof(un.sun_path) + 1];

	scratch_setup();
	log_set_sink(count_log, NULL);
	ck_assert_int_eq(keeper_open(&keeper), 0);
	ck_assert_int_eq(getsockname(keeper_socket(keeper),
				     (struct sockaddr *)&un, &len),
			 0);
	ck_assert_int_eq(un.sun_path[0], '\0');
	len -= (socklen_t)offsetof(struct sockaddr_un, sun_path);
	snprintf(address, sizeof(address), "@%.*s", (int)len - 1,
		 un.sun_path + 1);
	setenv("NOTIFY_SOCKET", address, 1);
}

static void teardown(void)
{
	keeper_close(keeper);
	unsetenv("NOTIFY_SOCKET");
	scratch_teardown();
}

static const struct keeper_message *parse(const char *text)
{
	snprintf(message.text, sizeof(message.text), "%s", text);
	keeper_parse(&message);
	return &message;
}

static int hear(void)
{
	return keeper_receive(keeper, getpid(), &message);
}

START_TEST(test_keeper_parse_knows_what_systemd_knows)
{
	const struct keeper_message *m = parse("READY=1\nSTATUS=all is well");

	ck_assert(m->ready && !m->reloading && !m->stopping && !m->watchdog);
	ck_assert_str_eq(m->status, "all is well");
	ck_assert_ptr_null(m->name);
	m = parse("RELOADING=1\nMONOTONIC_USEC=17\n");
	ck_assert(m->reloading && !m->ready);
	ck_assert_ptr_null(m->status);
	ck_assert(parse("STOPPING=1")->stopping);
	ck_assert(parse("\n\nWATCHDOG=1")->watchdog);
	m = parse("FDSTORE=1\nFDNAME=arena\nFDPOLL=0");
	ck_assert(m->store && !m->forget);
	ck_assert_str_eq(m->name, "arena");
	m = parse("FDSTOREREMOVE=1\nFDNAME=");
	ck_assert(m->forget && !m->store);
	ck_assert_str_eq(m->name, "");
}
END_TEST

START_TEST(test_keeper_parse_takes_nothing_for_what_it_is_not)
{
	static const char *const texts[] = {
		"",
		"\n",
		"READY",
		"READY=",
		"READY=0",
		"READY=11",
		" READY=1",
		"XREADY=1",
		"READY=1 ",
		"ready=1",
		"WATCHDOG=trigger",
		"FDSTORE=2",
		"BARRIER=1",
		"MAINPID=1",
		"STATUS",
		"=",
		"WATCHDOG_USEC=1",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const struct keeper_message *m = parse(texts[i]);

		ck_assert_msg(!m->ready && !m->reloading && !m->stopping &&
				      !m->watchdog && !m->store && !m->forget &&
				      !m->status && !m->name,
			      "\"%s\"", texts[i]);
	}
}
END_TEST

/* Returns the inode by which the descriptor is recognised. */
static ino_t put(const char *name)
{
	int fd = open(scratch_path(name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(fdstore_put(name, fd), 0);
	close(fd);
	return st.st_ino;
}

static ino_t kept(const char *name)
{
	int fd = keeper_find(keeper, name);
	struct stat st = { 0 };

	if (fd >= 0)
		ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	return fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

START_TEST(test_keeper_keeps_and_forgets_by_name)
{
	ino_t a = put("a"), b = put("b");

	ck_assert_int_eq(hear(), 1);
	ck_assert(message.store);
	ck_assert_int_eq(hear(), 1);
	ck_assert_int_eq(hear(), 0);
	ck_assert_uint_eq(keeper_count(keeper), 2);
	ck_assert_uint_eq(kept("a"), a);
	ck_assert_uint_eq(kept("b"), b);
	ck_assert_int_eq(keeper_find(keeper, "c"), -ENOENT);
	fdstore_remove("a");
	fdstore_remove("c");
	ck_assert_int_eq(hear(), 1);
	ck_assert_int_eq(hear(), 1);
	ck_assert_uint_eq(keeper_count(keeper), 1);
	ck_assert_int_eq(keeper_find(keeper, "a"), -ENOENT);
	ck_assert_uint_eq(kept("b"), b);
}
END_TEST

START_TEST(test_keeper_a_second_one_of_a_name_takes_its_place)
{
	ino_t old = put("a"), new;

	unlink(scratch_path("a"));
	new = put("a");
	ck_assert_uint_ne(old, new);
	ck_assert_int_eq(hear(), 1);
	ck_assert_int_eq(hear(), 1);
	ck_assert_uint_eq(keeper_count(keeper), 1);
	ck_assert_uint_eq(kept("a"), new);
}
END_TEST

START_TEST(test_keeper_has_a_bound)
{
	char name[16];

	for (int i = 0; i < KEEPER_FDS_MAX + 2; i++) {
		snprintf(name, sizeof(name), "%d", i);
		put(name);
		ck_assert_int_eq(hear(), 1);
	}
	ck_assert_uint_eq(keeper_count(keeper), KEEPER_FDS_MAX);
	ck_assert_int_eq(lines, 2);
	fdstore_remove("7");
	put("one more");
	ck_assert_int_eq(hear(), 1);
	ck_assert_int_eq(hear(), 1);
	ck_assert_int_ge(keeper_find(keeper, "one more"), 0);
}
END_TEST

/* How many descriptors this process has. */
static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

START_TEST(test_keeper_closes_what_nobody_asked_to_keep)
{
	int before = open_fds(), fds[] = { 0, 1, 2 };

	ck_assert_int_gt(sd_pid_notify_with_fds(0, 0, "BARRIER=1", fds, 1), 0);
	ck_assert_int_gt(sd_pid_notify_with_fds(0, 0, "READY=1", fds, 3), 0);
	ck_assert_int_gt(sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDNAME=a:b",
						fds, 1),
			 0);
	ck_assert_int_eq(hear(), 1);
	ck_assert_int_eq(hear(), 1);
	ck_assert(message.ready);
	ck_assert_int_eq(hear(), 1);
	ck_assert_uint_eq(keeper_count(keeper), 0);
	ck_assert_int_eq(open_fds(), before);
	/* of several, one has the name */
	ck_assert_int_gt(
		sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDNAME=a", fds, 3), 0);
	ck_assert_int_eq(hear(), 1);
	ck_assert_uint_eq(keeper_count(keeper), 1);
	ck_assert_int_eq(open_fds(), before + 1);
}
END_TEST

START_TEST(test_keeper_hears_its_child_alone)
{
	int before = open_fds(), status;
	pid_t stranger = fork();

	ck_assert_int_ge(stranger, 0);
	if (stranger == 0) {
		int fd = STDOUT_FILENO;

		sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDNAME=a", &fd, 1);
		sd_notify(0, "READY=1");
		_exit(0);
	}
	ck_assert_int_eq(waitpid(stranger, &status, 0), stranger);
	ck_assert_int_gt(sd_notify(0, "STATUS=ours"), 0);
	ck_assert_int_eq(hear(), 1);
	ck_assert_str_eq(message.status, "ours");
	ck_assert(!message.ready);
	ck_assert_uint_eq(keeper_count(keeper), 0);
	ck_assert_int_eq(open_fds(), before);
	ck_assert_int_eq(lines, 2);
	/* nor anybody, while there is no child */
	ck_assert_int_gt(sd_notify(0, "READY=1"), 0);
	ck_assert_int_eq(keeper_receive(keeper, 0, &message), 0);
}
END_TEST

START_TEST(test_keeper_hears_a_child_that_has_died)
{
	siginfo_t info;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		int fd = STDOUT_FILENO;

		sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDNAME=a", &fd, 1);
		_exit(0);
	}
	ck_assert_int_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT),
			 0);
	ck_assert_int_eq(keeper_receive(keeper, child, &message), 1);
	ck_assert_uint_eq(keeper_count(keeper), 1);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
END_TEST

START_TEST(test_keeper_refuses_what_is_malformed)
{
	char text[KEEPER_TEXT_MAX + 2];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	memcpy(text, "READY=1\n", 8);
	ck_assert_int_gt(sd_notify(0, text), 0);
	ck_assert_int_eq(hear(), 0);
	text[sizeof(text) - 2] = '\0';
	ck_assert_int_gt(sd_notify(0, text), 0);
	ck_assert_int_eq(hear(), 1);
	ck_assert(message.ready);
}
END_TEST

START_TEST(test_keeper_is_not_held_up_by_strangers)
{
	struct pollfd p = { .fd = keeper_socket(keeper), .events = POLLIN };
	pid_t stranger = fork();
	int heard;

	ck_assert_int_ge(stranger, 0);
	if (stranger == 0) {
		for (int i = 0; i < 200; i++)
			sd_notify(0, "READY=1");
		_exit(0);
	}
	/* each call comes back, though there is always one more */
	do {
		ck_assert_int_ge(poll(&p, 1, 100), 0);
		heard = hear();
		ck_assert_int_eq(heard, 0);
	} while (waitpid(stranger, NULL, WNOHANG) == 0);
}
END_TEST

#define WANT(condition)                         \
	do {                                    \
		if (!(condition))               \
			_exit(__LINE__ & 0xff); \
	} while (0)

static bool is_file(int fd, ino_t inode)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_ino == inode;
}

START_TEST(test_keeper_hands_over_from_number_3_on)
{
	ino_t inode[3];
	char pid[16];
	int status;
	pid_t child;

	for (int i = 0; i < 3; i++) {
		inode[i] = put((const char *[]){ "a", "b b", "c" }[i]);
		ck_assert_int_eq(hear(), 1);
	}
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		unsetenv("NOTIFY_SOCKET");
		WANT(keeper_hand_over(keeper) == 0);
		WANT(is_file(3, inode[0]) && fcntl(3, F_GETFD) == 0);
		WANT(is_file(4, inode[1]) && fcntl(4, F_GETFD) == 0);
		WANT(is_file(5, inode[2]) && fcntl(5, F_GETFD) == 0);
		WANT(strcmp(getenv("LISTEN_FDS"), "3") == 0);
		WANT(strcmp(getenv("LISTEN_FDNAMES"), "a:b b:c") == 0);
		snprintf(pid, sizeof(pid), "%d", (int)getpid());
		WANT(strcmp(getenv("LISTEN_PID"), pid) == 0);
		WANT(sd_notify(0, "STATUS=it is the right one") > 0);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(keeper_receive(keeper, child, &message), 1);
	ck_assert_str_eq(message.status, "it is the right one");
}
END_TEST

START_TEST(test_keeper_with_nothing_says_nothing_of_descriptors)
{
	setenv("LISTEN_FDS", "7", 1);
	setenv("LISTEN_PID", "1", 1);
	setenv("LISTEN_FDNAMES", "x", 1);
	ck_assert_int_eq(keeper_hand_over(keeper), 0);
	ck_assert_ptr_null(getenv("LISTEN_FDS"));
	ck_assert_ptr_null(getenv("LISTEN_PID"));
	ck_assert_ptr_null(getenv("LISTEN_FDNAMES"));
}
END_TEST

UNIT_MAIN("daemon/keeper",
	  UNIT_CASE("parse", NULL, NULL,
		    test_keeper_parse_knows_what_systemd_knows,
		    test_keeper_parse_takes_nothing_for_what_it_is_not),
	  UNIT_CASE("all", setup, teardown,
		    test_keeper_keeps_and_forgets_by_name,
		    test_keeper_a_second_one_of_a_name_takes_its_place,
		    test_keeper_has_a_bound,
		    test_keeper_closes_what_nobody_asked_to_keep,
		    test_keeper_hears_its_child_alone,
		    test_keeper_hears_a_child_that_has_died,
		    test_keeper_refuses_what_is_malformed,
		    test_keeper_is_not_held_up_by_strangers,
		    test_keeper_hands_over_from_number_3_on,
		    test_keeper_with_nothing_says_nothing_of_descriptors))
