/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"
#include "daemon/metrics.h"
#include "unit/daemon/fakeview.h"
#include "unit/unit.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct event_base *base;
static struct fake_view fake;
static struct metrics *metrics;
static struct sockaddr_storage address;
static char got[1024 * 1024];

static void setup(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	base = event_base_new();
	fake_init(&fake, base);
	memcpy(&address, &in, sizeof(in));
	ck_assert_int_eq(metrics_open(&metrics, base, &address, &fake.view), 0);
}

static void teardown(void)
{
	metrics_close(metrics);
	fake_fini(&fake);
	event_base_free(base);
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static int dial(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons(metrics_port(metrics)) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL),
			 (ssize_t)strlen(text));
}

/* All that comes until the end, or until nothing comes any more. */
static const char *hear(int fd)
{
	size_t n = 0;
	ssize_t rc = 1;

	for (int idle = 0; rc != 0 && idle < 2000; idle++) {
		turn();
		rc = recv(fd, got + n, sizeof(got) - 1 - n, MSG_DONTWAIT);
		if (rc > 0) {
			n += (size_t)rc;
			idle = 0;
		}
	}
	got[n] = '\0';
	close(fd);
	return got;
}

static const char *get(const char *request)
{
	int fd = dial();

	say(fd, request);
	return hear(fd);
}

#define GET "GET /metrics HTTP/1.0\r\n\r\n"

static void has(const char *line)
{
	char whole[256];

	snprintf(whole, sizeof(whole), "\n%s\n", line);
	ck_assert_msg(strstr(got, whole) != NULL, "no line %s in: %s", line,
		      got);
}

START_TEST(test_metrics_page_has_each_counter_with_help_and_type)
{
	char line[256];

	ck_assert_ptr_nonnull(strstr(get(GET), " 200 "));
	ck_assert_ptr_nonnull(strstr(got, "text/plain; version=0.0.4"));
	for (uint32_t i = 0; counter_name(i); i++) {
		snprintf(line, sizeof(line), "# HELP xtcpd_%s %s",
			 counter_name(i), counter_help(i));
		has(line);
		snprintf(line, sizeof(line), "# TYPE xtcpd_%s counter",
			 counter_name(i));
		has(line);
		snprintf(line, sizeof(line), "xtcpd_%s %u", counter_name(i),
			 2 * i);
		has(line);
	}
}
END_TEST

START_TEST(test_metrics_page_has_gauges_and_labels)
{
	get(GET);
	has("# TYPE xtcpd_connections gauge");
	has("xtcpd_connections{state=\"established\"} 201");
	has("xtcpd_connections{state=\"half_open\"} 4");
	has("xtcpd_active 20");
	has("xtcpd_arena_resident_bytes 200000");
	has("xtcpd_records 2000");
	has("xtcpd_uptime_seconds 12");
	has("xtcpd_group_connections{group=\"im\"} 100");
	has("xtcpd_group_messages_in{group=\"im\"} 14");
	has("xtcpd_pool_used_bytes{pool=\"chat\"} 1024");
	has("xtcpd_pool_used_bytes{pool=\"#2\"} 2");
	has("xtcpd_backend_streams_up{group=\"im\",backend=\"b\\\"1\"} 2");
	has("xtcpd_backend_inflight{group=\"im\",backend=\"b\\\"1\"} 6");
	ck_assert_ptr_null(strstr(got, "pool=\"#1\""));
}
END_TEST

START_TEST(test_metrics_page_has_histograms)
{
	get(GET);
	has("# TYPE xtcpd_request_seconds histogram");
	has("xtcpd_request_seconds_bucket{group=\"im\",le=\"0.000016\"} 0");
	has("xtcpd_request_seconds_bucket{group=\"im\",le=\"0.000512\"} 0");
	has("xtcpd_request_seconds_bucket{group=\"im\",le=\"0.001024\"} 200");
	has("xtcpd_request_seconds_bucket{group=\"im\",le=\"0.524288\"} 200");
	has("xtcpd_request_seconds_bucket{group=\"im\",le=\"1.048576\"} 201");
	has("xtcpd_request_seconds_bucket{group=\"im\",le=\"+Inf\"} 201");
	has("xtcpd_request_seconds_sum{group=\"im\"} 1.200000");
	has("xtcpd_request_seconds_count{group=\"im\"} 201");
	has("xtcpd_backend_request_us{group=\"im\",backend=\"b\\\"1\"} 10000");
}
END_TEST

/* The exposition format: each sample's metric was typed before, once. */
START_TEST(test_metrics_page_is_well_formed)
{
	char name[128], typed[128] = "";
	int types = 0, samples = 0;
	char *at = strstr(get(GET), "\r\n\r\n");

	ck_assert_ptr_nonnull(at);
	for (at = strtok(at + 4, "\n"); at; at = strtok(NULL, "\n")) {
		if (sscanf(at, "# TYPE %127s", typed) == 1) {
			types++;
			continue;
		}
		if (at[0] == '#')
			continue;
		samples++;
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(at, "{ "),
			 at);
		/* those of a histogram have an ending more */
		if (strstr(name, "_seconds_") &&
		    strncmp(name, typed, strlen(typed)) == 0)
			name[strlen(typed)] = '\0';
		ck_assert_str_eq(name, typed);
		at = strrchr(at, ' ');
		ck_assert_ptr_nonnull(at);
		strtod(at + 1, &at);
		ck_assert_int_eq(*at, '\0');
	}
	ck_assert_int_gt(types, 100);
	ck_assert_int_gt(samples, types);
}
END_TEST

START_TEST(test_metrics_other_paths_and_methods_are_refused)
{
	ck_assert_ptr_nonnull(strstr(get("GET / HTTP/1.0\r\n\r\n"), " 404 "));
	ck_assert_ptr_nonnull(
		strstr(get("GET /metrics/x HTTP/1.0\r\n\r\n"), " 404 "));
	ck_assert_ptr_nonnull(strstr(
		get("POST /metrics HTTP/1.0\r\nContent-Length: 1\r\n\r\nx"),
		" 405 "));
	ck_assert_ptr_nonnull(strstr(got, "Allow: GET"));
	ck_assert_ptr_nonnull(
		strstr(get("DELETE /metrics HTTP/1.0\r\n\r\n"), " 405 "));
	ck_assert_ptr_nonnull(
		strstr(get("GET /metrics?x=1 HTTP/1.0\r\n\r\n"), " 200 "));
	ck_assert_uint_eq(fake.n_asked, 1);
}
END_TEST

START_TEST(test_metrics_silent_worker_is_503)
{
	fake.silent = true;
	ck_assert_ptr_nonnull(strstr(get(GET), " 503 "));
	fake.silent = false;
	ck_assert_ptr_nonnull(strstr(get(GET), " 200 "));
}
END_TEST

START_TEST(test_metrics_long_headers_are_refused)
{
	static char request[64 * 1024];
	int fd = dial();

	memset(request, 'x', sizeof(request) - 1);
	memcpy(request, "GET /metrics HTTP/1.0\r\nX: ", 26);
	(void)send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
	hear(fd);
	ck_assert_ptr_null(strstr(got, " 200 "));
	ck_assert_uint_eq(fake.n_asked, 0);
	ck_assert_ptr_nonnull(strstr(get(GET), " 200 "));
}
END_TEST

START_TEST(test_metrics_scrapers_that_hang_up_are_forgotten)
{
	int fds[20];

	fake.held = true;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = dial();
		say(fds[i], GET);
		turn();
	}
	for (int i = 0; i < 50; i++)
		turn();
	/* the rest was told to come again */
	ck_assert_uint_eq(fake.n_asked, 16);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	for (int i = 0; i < 50; i++)
		turn();
	fake_answer_now(&fake);
	for (int i = 0; i < 50; i++)
		turn();
	fake.held = false;
	ck_assert_ptr_nonnull(strstr(get(GET), " 200 "));
}
END_TEST

/* Slow-loris: headers that never end keep nobody out. */
START_TEST(test_metrics_headers_that_trickle_keep_nobody_out)
{
	int fds[100];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = dial();
		say(fds[i], "GET /metrics HTTP/1.1\r\nX: ");
		turn();
	}
	for (int i = 0; i < 200; i++)
		turn();
	ck_assert_ptr_nonnull(strstr(get(GET), " 200 "));
	/* the first made room for the last */
	ck_assert_int_eq(recv(fds[0], got, sizeof(got), MSG_DONTWAIT), 0);
	ck_assert_int_eq(recv(fds[99], got, sizeof(got), MSG_DONTWAIT), -1);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}
END_TEST

START_TEST(test_metrics_a_request_in_pieces_is_answered)
{
	int fd = dial();

	for (const char *at = GET; *at; at++) {
		char one[2] = { *at, 0 };

		say(fd, one);
		turn();
	}
	ck_assert_ptr_nonnull(strstr(hear(fd), " 200 "));
}
END_TEST

START_TEST(test_metrics_a_sender_that_is_done_gets_its_answer)
{
	int fd = dial();

	fake.held = true;
	say(fd, GET);
	shutdown(fd, SHUT_WR);
	for (int i = 0; i < 50; i++)
		turn();
	fake_answer_now(&fake);
	ck_assert_ptr_nonnull(strstr(hear(fd), " 200 "));
}
END_TEST

START_TEST(test_metrics_what_is_no_request_is_400)
{
	ck_assert_ptr_nonnull(strstr(get("\r\n\r\n"), " 400 "));
	ck_assert_ptr_nonnull(strstr(get("GET /metrics\r\n\r\n"), " 400 "));
	ck_assert_ptr_nonnull(strstr(get("GET x y z\n\n"), " 400 "));
	ck_assert_uint_eq(fake.n_asked, 0);
}
END_TEST

START_TEST(test_metrics_answers_after_its_end_are_thrown_away)
{
	int fd = dial();

	fake.held = true;
	say(fd, GET);
	for (int i = 0; i < 50; i++)
		turn();
	ck_assert_uint_eq(fake.n_asked, 1);
	metrics_close(metrics);
	metrics = NULL;
	fake_answer_now(&fake);
	close(fd);
}
END_TEST

static void no_log(void *ctx, enum log_level level, const char *line,
		   const struct log_field *fields, size_t n)
{
	(void)ctx;
	(void)level;
	(void)fields;
	(void)n;
	ck_assert_ptr_nonnull(strstr(line, "choose another port"));
}

START_TEST(test_metrics_port_in_use_is_said)
{
	struct metrics *second = NULL;
	struct sockaddr_in in;

	log_set_sink(no_log, NULL);
	memcpy(&in, &address, sizeof(in));
	in.sin_port = htons(metrics_port(metrics));
	memcpy(&address, &in, sizeof(in));
	ck_assert_int_eq(metrics_open(&second, base, &address, &fake.view),
			 -EADDRINUSE);
	ck_assert_ptr_null(second);
}
END_TEST

UNIT_MAIN("daemon/metrics",
	  UNIT_CASE("page", setup, teardown,
		    test_metrics_page_has_each_counter_with_help_and_type,
		    test_metrics_page_has_gauges_and_labels,
		    test_metrics_page_has_histograms,
		    test_metrics_page_is_well_formed),
	  UNIT_CASE("http", setup, teardown,
		    test_metrics_other_paths_and_methods_are_refused,
		    test_metrics_silent_worker_is_503,
		    test_metrics_long_headers_are_refused,
		    test_metrics_scrapers_that_hang_up_are_forgotten,
		    test_metrics_headers_that_trickle_keep_nobody_out,
		    test_metrics_a_request_in_pieces_is_answered,
		    test_metrics_a_sender_that_is_done_gets_its_answer,
		    test_metrics_what_is_no_request_is_400,
		    test_metrics_answers_after_its_end_are_thrown_away,
		    test_metrics_port_in_use_is_said))
