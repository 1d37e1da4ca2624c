/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit.h"
#include "base/log.h"
#include "daemon/listener.h"

static struct event_base *base;
static struct listener *listener;
static struct sockaddr_in address;
static int accepted, lines;

static void on_accept(void *arg, int fd)
{
	(void)arg;
	accepted++;
	close(fd);
}

static void count_lines(void *ctx, enum log_level level, const char *line,
			const struct log_field *fields, size_t n)
{
	(void)ctx;
	(void)level;
	(void)fields;
	(void)n;
	ck_assert_ptr_nonnull(strstr(line, "test: accept: "));
	lines++;
}

static void up(void)
{
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	accepted = lines = 0;
	log_set_sink(count_lines, NULL);
	address = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	base = event_base_new();
	ck_assert_int_eq(
		listener_new(&listener, base, fd, "test", on_accept, NULL), 0);
}

static void down(void)
{
	listener_free(listener);
	event_base_free(base);
	log_set_sink(NULL, NULL);
}

static int dial(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(
		connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void turns(int n)
{
	while (n-- > 0)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

/* Of the limit: what a new descriptor's number would be. */
static rlim_t limit_descriptors(rlim_t n)
{
	struct rlimit limit;
	rlim_t before;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	before = limit.rlim_cur;
	limit.rlim_cur = n;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return before;
}

START_TEST(test_listener_rests_while_there_are_no_descriptors)
{
	int fd = dial();
	rlim_t before = limit_descriptors(0);

	turns(1000);
	ck_assert_int_eq(accepted, 0);
	ck_assert_int_eq(lines, 1);
	/* The socket is readable, and yet the loop is not busy with it. */
	ck_assert_int_eq(
		event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 1);
	limit_descriptors(before);
	turns(10);
	ck_assert_int_eq(accepted, 0);
	event_base_loop(base, EVLOOP_ONCE); /* the rest ends */
	turns(10);
	ck_assert_int_eq(accepted, 1);
	close(fd);
}
END_TEST

START_TEST(test_listener_rest_does_not_end_a_pause)
{
	int fd = dial();
	rlim_t before = limit_descriptors(0);

	turns(10);
	limit_descriptors(before);
	listener_pause(listener);
	event_base_loop(base, EVLOOP_ONCE); /* the rest ends */
	turns(10);
	ck_assert_int_eq(accepted, 0);
	listener_resume(listener);
	turns(10);
	ck_assert_int_eq(accepted, 1);
	close(fd);
}
END_TEST

UNIT_MAIN("daemon/listener",
	  UNIT_CASE("all", up, down,
		    test_listener_rests_while_there_are_no_descriptors,
		    test_listener_rest_does_not_end_a_pause))
