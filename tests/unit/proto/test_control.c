/* SPDX-License-Identifier: BSD-2-Clause */
#include "proto/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "unit/unit.h"

static void feed(struct control_reader *r, const char *text)
{
	ck_assert_int_eq(control_reader_feed(r, text, strlen(text)), 0);
}

START_TEST(test_control_request_survives_the_wire)
{
	struct json_object *args = json_object_new_object(), *obj, *value;
	struct control_reader r;
	const char *command;
	size_t len;
	char *line;

	json_object_object_add(args, "group", json_object_new_string("a\nb"));
	obj = control_request_new("show connections", args);
	ck_assert_ptr_nonnull(obj);
	line = control_encode(obj, &len);
	json_object_put(obj);
	ck_assert_uint_eq(strlen(line), len);
	ck_assert_ptr_eq(strchr(line, '\n'), line + len - 1);

	control_reader_init(&r, CONTROL_REQUEST_MAX);
	for (size_t i = 0; i < len; i++) {
		ck_assert_int_eq(control_reader_next(&r, &obj), 0);
		ck_assert_int_eq(control_reader_feed(&r, line + i, 1), 0);
	}
	ck_assert_int_eq(control_reader_next(&r, &obj), 1);
	ck_assert_int_eq(control_request_parse(obj, &command, &args), 0);
	ck_assert_str_eq(command, "show connections");
	ck_assert(json_object_object_get_ex(args, "group", &value));
	ck_assert_str_eq(json_object_get_string(value), "a\nb");
	json_object_put(obj);
	control_reader_fini(&r);
	free(line);
}
END_TEST

START_TEST(test_control_replies_are_told_apart)
{
	struct json_object *obj, *result;
	const char *error;

	obj = control_reply_new(json_object_new_int(7));
	ck_assert_int_eq(control_reply_parse(obj, &result, &error), 0);
	ck_assert_int_eq(json_object_get_int(result), 7);
	json_object_put(obj);

	obj = control_reply_new(NULL);
	ck_assert_int_eq(control_reply_parse(obj, &result, &error), 0);
	ck_assert_ptr_null(result);
	json_object_put(obj);

	obj = control_reply_error("no such %s", "group");
	ck_assert_int_eq(control_reply_parse(obj, &result, &error), -EREMOTEIO);
	ck_assert_str_eq(error, "no such group");
	json_object_put(obj);
}
END_TEST

START_TEST(test_control_bad_line_is_skipped)
{
	static const char *const bad[] = {
		"\n",	 "[1]\n",      "42\n",	     "{\n",	   "{} {}\n",
		"{}x\n", "nonsense\n", "{\"a\":}\n", "\"text\"\n", "null\n",
	};
	struct json_object *obj;
	struct control_reader r;

	control_reader_init(&r, CONTROL_REQUEST_MAX);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		feed(&r, bad[i]);
		feed(&r, " {\"command\":\"x\"} \r\n");
		ck_assert_int_eq(control_reader_next(&r, &obj), -EBADMSG);
		ck_assert_int_eq(control_reader_next(&r, &obj), 1);
		json_object_put(obj);
		ck_assert_int_eq(control_reader_next(&r, &obj), 0);
	}
	control_reader_fini(&r);
}
END_TEST

START_TEST(test_control_nul_and_deep_nesting_are_refused)
{
	char deep[2001] = "";
	struct json_object *obj;
	struct control_reader r;

	control_reader_init(&r, CONTROL_REQUEST_MAX);
	ck_assert_int_eq(control_reader_feed(&r, "{}\0{}\n", 6), 0);
	ck_assert_int_eq(control_reader_next(&r, &obj), -EBADMSG);
	for (int i = 0; i < 500; i++)
		strcat(deep, "[");
	feed(&r, "{\"a\":");
	feed(&r, deep);
	feed(&r, "\n");
	ck_assert_int_eq(control_reader_next(&r, &obj), -EBADMSG);
	control_reader_fini(&r);
}
END_TEST

START_TEST(test_control_overlong_line_is_a_sticky_error)
{
	struct json_object *obj;
	struct control_reader r;

	control_reader_init(&r, 16);
	feed(&r, "{}\n0123456789");
	ck_assert_int_eq(control_reader_feed(&r, "abcd", 4), -EMSGSIZE);
	/* What had come whole is still handed out. */
	ck_assert_int_eq(control_reader_next(&r, &obj), 1);
	json_object_put(obj);
	ck_assert_int_eq(control_reader_next(&r, &obj), -EMSGSIZE);
	ck_assert_int_eq(control_reader_feed(&r, "\n", 1), -EMSGSIZE);
	control_reader_fini(&r);
}
END_TEST

START_TEST(test_control_malformed_messages_are_refused)
{
	static const char *const requests[] = {
		"{}",
		"{\"command\":1}",
		"{\"command\":null}",
		"{\"command\":\"x\",\"args\":[]}",
	};
	static const char *const replies[] = {
		"{}",
		"{\"ok\":1}",
		"{\"ok\":false}",
		"{\"ok\":false,\"error\":2}",
	};
	struct json_object *obj, *args;
	const char *text;

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		obj = json_tokener_parse(requests[i]);
		ck_assert_int_eq(control_request_parse(obj, &text, &args),
				 -EBADMSG);
		json_object_put(obj);
	}
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		obj = json_tokener_parse(replies[i]);
		ck_assert_int_eq(control_reply_parse(obj, &args, &text),
				 -EBADMSG);
		json_object_put(obj);
	}
}
END_TEST

UNIT_MAIN("proto/control",
	  UNIT_TESTS(test_control_request_survives_the_wire,
		     test_control_replies_are_told_apart,
		     test_control_bad_line_is_skipped,
		     test_control_nul_and_deep_nesting_are_refused,
		     test_control_overlong_line_is_a_sticky_error,
		     test_control_malformed_messages_are_refused))
