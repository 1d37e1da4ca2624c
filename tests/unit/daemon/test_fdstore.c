/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"
#include "daemon/fdstore.h"
#include "unit/daemon/scratch.h"
#include "unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* The manager's end of the notification socket. */
static int manager;
static int got_fd; /* -1: the last message had none */
static char got[1024];

static void no_log(void *ctx, enum log_level level, const char *line,
		   const struct log_field *fields, size_t n)
{
	(void)ctx;
	(void)level;
	(void)line;
	(void)fields;
	(void)n;
}

static void setup(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	scratch_setup();
	log_set_sink(no_log, NULL);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s",
		 scratch_path("notify"));
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(manager, (struct sockaddr *)&un, sizeof(un)), 0);
	setenv("NOTIFY_SOCKET", un.sun_path, 1);
}

static void teardown(void)
{
	close(manager);
	unsetenv("NOTIFY_SOCKET");
	scratch_teardown();
}

/* The next message, "" when there is none; its descriptor in got_fd. */
static const char *hear(void)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { got, sizeof(got) - 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(manager, &msg, 0);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);

	got[n < 0 ? 0 : n] = '\0';
	got_fd = -1;
	if (c)
		memcpy(&got_fd, CMSG_DATA(c), sizeof(got_fd));
	return got;
}

START_TEST(test_fdstore_is_offered_when_somebody_listens)
{
	ck_assert(fdstore_offered());
	setenv("NOTIFY_SOCKET", "", 1);
	ck_assert(!fdstore_offered());
	unsetenv("NOTIFY_SOCKET");
	ck_assert(!fdstore_offered());
	ck_assert_int_eq(fdstore_put("arena", manager), -ENOTCONN);
	fdstore_remove("arena");
}
END_TEST

START_TEST(test_fdstore_put_sends_a_copy_under_the_name)
{
	struct stat ours, theirs;
	int fd = open(scratch_path("file"), O_RDWR | O_CREAT, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fdstore_put("arena", fd), 0);
	ck_assert_str_eq(hear(), "FDSTORE=1\nFDNAME=arena\nFDPOLL=0");
	ck_assert_int_ge(got_fd, 0);
	ck_assert_int_eq(fstat(fd, &ours), 0);
	ck_assert_int_eq(fstat(got_fd, &theirs), 0);
	ck_assert_uint_eq(ours.st_ino, theirs.st_ino);
	close(got_fd);
	fdstore_remove("arena");
	ck_assert_str_eq(hear(), "FDSTOREREMOVE=1\nFDNAME=arena");
	ck_assert_int_eq(got_fd, -1);
	close(fd);
}
END_TEST

START_TEST(test_fdstore_names_that_a_manager_refuses_are_refused)
{
	char name[FDSTORE_NAME_MAX + 2];

	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(fdstore_put(name, manager), -EINVAL);
	ck_assert_int_eq(fdstore_put("", manager), -EINVAL);
	ck_assert_int_eq(fdstore_put("a:b", manager), -EINVAL);
	ck_assert_int_eq(fdstore_put("a\nREADY=1", manager), -EINVAL);
	ck_assert_int_eq(fdstore_put("a\x7f", manager), -EINVAL);
	fdstore_remove("a\nREADY=1");
	ck_assert_str_eq(hear(), "");
	name[FDSTORE_NAME_MAX] = '\0';
	ck_assert_int_eq(fdstore_put(name, manager), 0);
	ck_assert_ptr_nonnull(strstr(hear(), name));
	close(got_fd);
}
END_TEST

/*
 * What we were handed has the numbers from 3 on, which are Check's: so a
 * process of its own, with n copies of the manager's socket. Returns what
 * check() did.
 */
static int when_handed(int n, const char *names, int (*check)(void))
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		char text[16];
		int fd = fcntl(manager, F_DUPFD, 64);

		for (int i = 0; i < n; i++)
			dup2(fd, 3 + i);
		manager = fd;
		snprintf(text, sizeof(text), "%d", n);
		setenv("LISTEN_FDS", text, 1);
		setenv("LISTEN_FDNAMES", names, 1);
		snprintf(text, sizeof(text), "%d", (int)getpid());
		setenv("LISTEN_PID", text, 1);
		_exit(check());
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define WANT(condition)                  \
	do {                             \
		if (!(condition))        \
			return __LINE__; \
	} while (0)

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int check_take(void)
{
	struct fdstore *store;

	WANT(fdstore_open(&store) == 0);
	WANT(!getenv("LISTEN_FDS") && !getenv("LISTEN_PID"));
	WANT(fcntl(3, F_GETFD) == FD_CLOEXEC);
	WANT(fdstore_take(store, "nobody") == -ENOENT);
	WANT(fdstore_take(store, "b") == 4);
	WANT(fdstore_take(store, "b") == -ENOENT);
	WANT(fdstore_take(store, "a") == 3);
	WANT(fdstore_take(store, "a") == 5);
	WANT(fdstore_take(store, "a") == -ENOENT);
	WANT(fdstore_take(NULL, "a") == -ENOENT);
	fdstore_drop_unclaimed(store);
	fdstore_close(store);
	WANT(is_open(3) && is_open(4) && is_open(5));
	return 0;
}

START_TEST(test_fdstore_take_gives_each_once)
{
	ck_assert_int_eq(when_handed(3, "a:b:a", check_take), 0);
	ck_assert_str_eq(hear(), "");
}
END_TEST

static int check_unclaimed(void)
{
	struct fdstore *store;

	WANT(fdstore_open(&store) == 0);
	WANT(fdstore_take(store, "twice") == 4);
	fdstore_drop_unclaimed(store);
	WANT(!is_open(3) && is_open(4) && !is_open(5) && !is_open(6));
	fdstore_drop_unclaimed(store);
	fdstore_close(store);
	return 0;
}

START_TEST(test_fdstore_unclaimed_ones_are_closed_and_forgotten)
{
	ck_assert_int_eq(when_handed(4, "one:twice:twice:two", check_unclaimed),
			 0);
	ck_assert_str_eq(hear(), "FDSTOREREMOVE=1\nFDNAME=one");
	/* forgetting "twice" would forget the one that is in use */
	ck_assert_str_eq(hear(), "FDSTOREREMOVE=1\nFDNAME=two");
	ck_assert_str_eq(hear(), "");
}
END_TEST

static int check_close(void)
{
	struct fdstore *store;

	WANT(fdstore_open(&store) == 0);
	fdstore_close(store);
	WANT(!is_open(3) && !is_open(4));
	return 0;
}

START_TEST(test_fdstore_close_leaves_the_store_alone)
{
	ck_assert_int_eq(when_handed(2, "a:b", check_close), 0);
	ck_assert_str_eq(hear(), "");
}
END_TEST

static int check_none(void)
{
	struct fdstore *store;

	setenv("LISTEN_PID", "1", 1);
	WANT(fdstore_open(&store) == 0);
	WANT(fdstore_take(store, "a") == -ENOENT);
	fdstore_drop_unclaimed(store);
	fdstore_close(store);
	WANT(is_open(3));
	return 0;
}

static int check_garbage(void)
{
	setenv("LISTEN_FDS", "many", 1);
	return check_close() == 0 ? 1 : check_none();
}

START_TEST(test_fdstore_what_is_for_another_process_is_not_touched)
{
	ck_assert_int_eq(when_handed(2, "a:b", check_none), 0);
	ck_assert_int_eq(when_handed(2, "a:b", check_garbage), 0);
	ck_assert_str_eq(hear(), "");
}
END_TEST

UNIT_MAIN("daemon/fdstore",
	  UNIT_CASE("all", setup, teardown,
		    test_fdstore_is_offered_when_somebody_listens,
		    test_fdstore_put_sends_a_copy_under_the_name,
		    test_fdstore_names_that_a_manager_refuses_are_refused,
		    test_fdstore_take_gives_each_once,
		    test_fdstore_unclaimed_ones_are_closed_and_forgotten,
		    test_fdstore_close_leaves_the_store_alone,
		    test_fdstore_what_is_for_another_process_is_not_touched))
