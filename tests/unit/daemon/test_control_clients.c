/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit/daemon/control_rig.h"
#include "unit/unit.h"

#include <sys/stat.h>

/* --- what clients do wrong --------------------------------------------- */

static const struct {
	const char *request, *part;
} bad[] = {
	{ "", "one JSON object on one line" },
	{ "hello", "one JSON object on one line" },
	{ "[1]", "one JSON object on one line" },
	{ "{\"command\": \"show info\"", "one JSON object on one line" },
	{ "{\"command\": \"show info\"} x", "one JSON object on one line" },
	{ "{}", "a request is like" },
	{ "{\"command\": 7}", "a request is like" },
	{ "{\"command\": \"show info\", \"args\": [1]}", "a request is like" },
	{ "{\"command\": \"shw\"}",
	  "no command \"shw\": there are show info, show pools" },
	{ "{\"command\": \"\xff\xfe\"}", "no command" },
	{ "{\"command\": \"show info\", \"args\": {\"x\": 1}}",
	  "show info: no argument \"x\": it takes none" },
	{ "{\"command\": \"show connections\", \"args\": {\"id\": \"1\"}}",
	  "no argument \"id\": it takes group, state, limit" },
	{ "{\"command\": \"show connections\", \"args\": {\"limit\": 0}}",
	  "1 to 100000" },
	{ "{\"command\": \"show connections\", \"args\": {\"limit\": \"9\"}}",
	  "1 to 100000" },
	{ "{\"command\": \"show connections\", \"args\": {\"limit\": null}}",
	  "1 to 100000" },
	{ "{\"command\": \"show connections\", \"args\": {\"group\": \"nope\"}}",
	  "is no group: see \"show groups\"" },
	{ "{\"command\": \"show connections\", \"args\": {\"state\": \"DEAD\"}}",
	  "is no state: one of" },
	{ "{\"command\": \"show connection\"}",
	  "an argument is missing: it needs id" },
	{ "{\"command\": \"show connection\", \"args\": {\"id\": 7}}",
	  "hex digits" },
	{ "{\"command\": \"show connection\", \"args\": {\"id\": \"-1\"}}",
	  "hex digits" },
	{ "{\"command\": \"show connection\", \"args\": {\"id\": \"12345678123456789\"}}",
	  "hex digits" },
	{ "{\"command\": \"show connection\", \"args\": {\"id\": \"77\"}}",
	  "no connection 0000000000000077" },
	{ "{\"command\": \"show connection\", \"args\": {\"id\": \"0\"}}",
	  "there is none" },
	{ "{\"command\": \"drain group\", \"args\": {\"name\": \"\"}}",
	  "must be a name" },
	{ "{\"command\": \"drain group\", \"args\": {\"name\": "
	  "\"1234567890123456789012345678901234567890123456789012345678901234\"}}",
	  "too long" },
};

START_TEST(test_control_a_bad_request_is_answered_with_what_to_do)
{
	fails(bad[_i].request, bad[_i].part);
}
END_TEST

START_TEST(test_control_the_connection_stays_open_after_a_bad_request)
{
	int fd = dial();
	char *line;

	say(fd, "garbage\n{\"command\": \"help\"}\n", 29);
	line = hear(fd);
	ck_assert_ptr_nonnull(strstr(line, "\"ok\":false"));
	free(line);
	line = hear(fd);
	ck_assert_ptr_nonnull(strstr(line, "\"ok\":true"));
	ck_assert_ptr_nonnull(strstr(line, "drain backend"));
	free(line);
	close(fd);
}
END_TEST

START_TEST(test_control_an_overlong_line_closes_the_connection)
{
	static char big[CONTROL_REQUEST_MAX + 4096];
	int fd = dial();
	char *line;

	memset(big, 'x', sizeof(big));
	say(fd, big, sizeof(big));
	line = hear(fd);
	ck_assert_ptr_nonnull(strstr(line, "at most 65536 bytes"));
	free(line);
	ck_assert_ptr_null(hear(fd));
	close(fd);
	/* one of just that length is taken */
	fd = dial();
	big[CONTROL_REQUEST_MAX - 1] = '\n';
	say(fd, big, CONTROL_REQUEST_MAX);
	line = hear(fd);
	ck_assert_ptr_nonnull(strstr(line, "one JSON object"));
	free(line);
	close(fd);
}
END_TEST

START_TEST(test_control_requests_of_a_client_are_answered_in_order)
{
	int fd = dial();
	char *line;

	fake.held = true;
	say(fd, "{\"command\": \"show memory\"}\n{\"command\": \"help\"}\n",
	    48);
	for (int i = 0; i < 20; i++)
		turn();
	ck_assert_uint_eq(fake.n_asked, 1);
	fake_answer_now(&fake);
	line = hear(fd);
	ck_assert_ptr_nonnull(strstr(line, "arena_resident_bytes"));
	free(line);
	line = hear(fd);
	ck_assert_ptr_nonnull(strstr(line, "resume backend"));
	free(line);
	close(fd);
}
END_TEST

START_TEST(test_control_a_sender_that_is_done_gets_its_answers)
{
	int fd = dial();
	char *line;

	say(fd,
	    "{\"command\": \"show info\"}\n{\"command\": \"show memory\"}\n{\"comm",
	    59);
	shutdown(fd, SHUT_WR);
	line = hear(fd);
	ck_assert_ptr_nonnull(strstr(line, "uptime_ms"));
	free(line);
	line = hear(fd);
	ck_assert_ptr_nonnull(strstr(line, "bytes_per_record"));
	free(line);
	ck_assert_ptr_null(hear(fd));
	close(fd);
}
END_TEST

START_TEST(test_control_a_client_that_hangs_up_is_forgotten)
{
	const char request[] =
		"{\"command\": \"show info\"}\n{\"command\": \"show connections\"}\n";
	int fd = dial();

	fake.held = true;
	say(fd, request, strlen(request));
	turn();
	ck_assert_uint_eq(fake.n_asked, 1);
	close(fd);
	turn();
	fake_answer_now(&fake);
	for (int i = 0; i < 20; i++)
		turn();
	fake.held = false;
	fake_answer_now(&fake);
	json_object_put(result_of("{\"command\": \"show info\"}"));
}
END_TEST

START_TEST(test_control_answers_after_its_end_are_thrown_away)
{
	static const char *const requests[] = {
		"{\"command\": \"show info\"}\n",
		"{\"command\": \"show connections\"}\n",
		"{\"command\": \"show connection\", "
		"\"args\": {\"id\": \"1\"}}\n",
		"{\"command\": \"close\", "
		"\"args\": {\"id\": \"1\"}}\n"
	};
	int fds[ARRAY_SIZE(requests)];

	fake.held = true;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		fds[i] = dial();
		say(fds[i], requests[i], strlen(requests[i]));
	}
	for (int i = 0; i < 20; i++)
		turn();
	ck_assert_uint_eq(fake.n_asked, ARRAY_SIZE(requests));
	control_close(control);
	control = NULL;
	fake_answer_now(&fake);
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
		close(fds[i]);
}
END_TEST

START_TEST(test_control_one_client_too_many_is_told)
{
	int fds[CONTROL_CLIENTS_MAX + 1];
	struct json_object *r;
	char *line;

	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++) {
		fds[i] = dial();
		turn();
	}
	line = hear(fds[CONTROL_CLIENTS_MAX]);
	ck_assert_ptr_nonnull(strstr(line, "too many clients"));
	free(line);
	ck_assert_ptr_null(hear(fds[CONTROL_CLIENTS_MAX]));
	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		turn();
	r = result_of("{\"command\": \"show counters\"}");
	ck_assert_int_eq(number(r, "control_clients_refused"), 1);
	json_object_put(r);
}
END_TEST

static void say_text(int fd, const char *text)
{
	say(fd, text, strlen(text));
}

/* Who says nothing for a second keeps no operator out. */
START_TEST(test_control_one_client_more_takes_an_idle_one_s_place)
{
	int fds[CONTROL_CLIENTS_MAX];
	char *line = NULL;

	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		fds[i] = dial();
		turn();
	}
	while (!line || strstr(line, "too many clients")) {
		int fd = dial();

		free(line);
		say_text(fd, "{\"command\": \"show counters\"}\n");
		line = hear(fd);
		ck_assert_ptr_nonnull(line);
		close(fd);
	}
	ck_assert_ptr_nonnull(strstr(line, "\"control_clients_evicted\":1,"));
	free(line);
	ck_assert_ptr_null(hear(fds[0]));
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
}
END_TEST

#define LIST \
	"{\"command\": \"show connections\", \"args\": {\"limit\": 50001}}\n"

/* What is made or read for others leaves no room for another large list. */
START_TEST(test_control_lists_are_bounded_together)
{
	int first = dial(), second = dial();
	char *line;

	fake.held = true;
	say_text(first, LIST);
	for (int i = 0; i < 50; i++)
		turn();
	say_text(second, LIST);
	line = hear(second);
	ck_assert_ptr_nonnull(strstr(line, "\"ok\":false"));
	ck_assert_ptr_nonnull(strstr(line, "smaller limit"));
	free(line);
	fake.held = false;
	fake_answer_now(&fake);
	line = hear(first);
	ck_assert_ptr_nonnull(strstr(line, "\"ok\":true"));
	free(line);
	/* it has been read */
	say_text(second, LIST);
	line = hear(second);
	ck_assert_ptr_nonnull(strstr(line, "\"ok\":true"));
	free(line);
	close(first);
	close(second);
}
END_TEST

START_TEST(test_control_a_list_whose_client_is_gone_does_not_count)
{
	int first = dial(), second = dial();
	char *line;

	fake.held = true;
	say_text(first, LIST);
	for (int i = 0; i < 50; i++)
		turn();
	shutdown(first, SHUT_RDWR);
	close(first);
	fake.held = false;
	fake_answer_now(&fake);
	for (int i = 0; i < 50; i++)
		turn();
	say_text(second, LIST);
	line = hear(second);
	ck_assert_ptr_nonnull(strstr(line, "\"ok\":true"));
	free(line);
	close(second);
}
END_TEST

START_TEST(test_control_a_client_that_reads_nothing_is_not_served_on)
{
	const char request[] = "{\"command\": \"help\"}\n";
	int fd = dial();
	ssize_t n = 1;

	/* send until nothing moves any more: neither side may grow for ever */
	for (int i = 0, idle = 0; idle < 100; i++) {
		ck_assert_int_lt(i, 100000);
		n = send(fd, request, strlen(request), MSG_NOSIGNAL);
		idle = n < 0 ? idle + 1 : 0;
		turn();
	}
	/* others are */
	json_object_put(result_of("{\"command\": \"show info\"}"));
	close(fd);
}
END_TEST

START_TEST(test_control_random_bytes_do_no_harm)
{
	unsigned int seed = (unsigned int)_i;
	char noise[4096];
	int fd = dial();

	for (size_t i = 0; i < sizeof(noise); i++) {
		static const char some[] = "{}[]\",:\\\n\n aecmnsu0-\x01\xff";

		seed = seed * 1103515245u + 12345u;
		noise[i] = some[(seed >> 16) % sizeof(some)];
	}
	say(fd, noise, sizeof(noise));
	close(fd);
	json_object_put(result_of("{\"command\": \"show info\"}"));
}
END_TEST

/* --- the socket -------------------------------------------------------- */

START_TEST(test_control_socket_has_its_mode)
{
	struct stat st;

	ck_assert_int_eq(stat(conf.path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0640);
}
END_TEST

START_TEST(test_control_socket_of_a_dead_daemon_is_replaced)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	control_close(control);
	control = NULL;
	ck_assert_int_lt(access(conf.path, F_OK), 0);
	strcpy(un.sun_path, conf.path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	ck_assert_int_eq(control_open(&control, base, &conf, &fake.view), 0);
	json_object_put(result_of("{\"command\": \"show info\"}"));
}
END_TEST

START_TEST(test_control_socket_of_a_living_daemon_is_left_alone)
{
	struct control *second = NULL;

	ck_assert_int_eq(control_open(&second, base, &conf, &fake.view),
			 -EADDRINUSE);
	ck_assert_ptr_null(second);
	ck_assert_ptr_nonnull(strstr(logged, "running already"));
	json_object_put(result_of("{\"command\": \"show info\"}"));
}
END_TEST

START_TEST(test_control_socket_does_not_overwrite_a_file)
{
	struct conf_socket other = conf;
	struct control *second = NULL;

	snprintf(other.path, sizeof(other.path), "%s",
		 scratch_write("file", "x", 1));
	ck_assert_int_eq(control_open(&second, base, &other, &fake.view),
			 -EEXIST);
	ck_assert_ptr_nonnull(strstr(logged, "is no socket"));
	ck_assert_int_eq(access(other.path, F_OK), 0);
}
END_TEST

UNIT_MAIN("daemon/control_clients",
	  UNIT_LOOP("bad", ARRAY_SIZE(bad), setup, teardown,
		    test_control_a_bad_request_is_answered_with_what_to_do),
	  UNIT_CASE("clients", setup, teardown,
		    test_control_the_connection_stays_open_after_a_bad_request,
		    test_control_an_overlong_line_closes_the_connection,
		    test_control_requests_of_a_client_are_answered_in_order,
		    test_control_a_sender_that_is_done_gets_its_answers,
		    test_control_a_client_that_hangs_up_is_forgotten,
		    test_control_answers_after_its_end_are_thrown_away,
		    test_control_one_client_too_many_is_told,
		    test_control_one_client_more_takes_an_idle_one_s_place,
		    test_control_lists_are_bounded_together,
		    test_control_a_list_whose_client_is_gone_does_not_count,
		    test_control_a_client_that_reads_nothing_is_not_served_on),
	  UNIT_LOOP("noise", 20, setup, teardown,
		    test_control_random_bytes_do_no_harm),
	  UNIT_CASE("socket", setup, teardown, test_control_socket_has_its_mode,
		    test_control_socket_of_a_dead_daemon_is_replaced,
		    test_control_socket_of_a_living_daemon_is_left_alone,
		    test_control_socket_does_not_overwrite_a_file))
