/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit/daemon/control_rig.h"
#include "unit/unit.h"

/* --- show -------------------------------------------------------------- */

static int64_t twice(const char *counter)
{
	int i = counter_find(counter);

	return i < 0 ? 0 : 2 * i;
}

START_TEST(test_control_show_info_has_the_names_of_the_contract)
{
	struct json_object *r = result_of("{\"command\": \"show info\"}");

	ck_assert_str_ne(text(r, "version"), "");
	ck_assert_int_eq(number(r, "uptime_ms"), 12345);
	ck_assert_str_eq(text(r, "steering"), "ebpf");
	ck_assert_int_eq(number(r, "connections.established"), 201);
	ck_assert_int_eq(number(r, "connections.active"), 20);
	ck_assert_int_eq(number(r, "connections.half_open"), 4);
	ck_assert_int_eq(number(r, "connections.time_wait"), 2);
	ck_assert_int_eq(number(r, "accepted"), twice("conn_accepted"));
	ck_assert_int_eq(number(r, "refused"), twice("conn_refused"));
	ck_assert_int_eq(number(r, "messages.in"), twice("msgs_in"));
	ck_assert_int_eq(number(r, "messages.out"), twice("msgs_out"));
	ck_assert_int_eq(number(r, "bytes.in"), twice("bytes_in"));
	ck_assert_int_eq(number(r, "bytes.out"), twice("bytes_out"));
	ck_assert_int_eq(number(r, "segments.in"), twice("segs_in"));
	ck_assert_int_eq(number(r, "segments.out"), twice("segs_out"));
	ck_assert_int_eq(number(r, "segments.retransmitted"),
			 twice("segs_retransmitted"));
	ck_assert_int_eq(number(r, "segments.pure_acks_out"),
			 twice("pure_acks_out"));
	ck_assert_int_eq(number(r, "segments.pure_acks_saved"),
			 twice("pure_acks_saved"));
	number(r, "recovered_connections");
	number(r, "lost_in_recovery");
	ck_assert_int_eq(number(r, "workers.answered"), 2);
	json_object_put(r);
}
END_TEST

START_TEST(test_control_show_memory_has_the_names_of_the_contract)
{
	struct json_object *r =
		result_of("{\"command\": \"show memory\", \"args\": {}}");

	ck_assert_int_eq(number(r, "arena_resident_bytes"), 200000);
	ck_assert_int_eq(number(r, "records"), 2000);
	ck_assert_int_eq(number(r, "bytes_per_record"), 100);
	ck_assert_int_eq(number(r, "active_blocks"), 20);
	ck_assert_int_eq(number(r, "receive_pool_bytes"), 4000);
	ck_assert_int_eq(number(r, "transmit_buffer_bytes"), 6000);
	ck_assert_int_gt(number(r, "process_resident_bytes"), 100000);
	json_object_put(r);
}
END_TEST

START_TEST(test_control_groups_pools_and_backends_are_added_up_by_name)
{
	struct json_object *r = result_of("{\"command\": \"show groups\"}"),
			   *one, *latency;

	ck_assert_uint_eq(json_object_array_length(r), 1);
	one = json_object_array_get_idx(r, 0);
	ck_assert_str_eq(text(one, "name"), "im");
	ck_assert_str_eq(text(one, "pool"), "chat");
	ck_assert_int_eq(number(one, "port"), 5222);
	ck_assert_int_eq(number(one, "priority"), -1);
	ck_assert_int_eq(number(one, "connections"), 100);
	ck_assert_int_eq(number(one, "messages.in"), 14);
	ck_assert_int_eq(number(one, "latency.requests"), 201);
	ck_assert_int_eq(number(one, "latency.sum_us"), 1200000);
	ck_assert_int_ge(number(one, "latency.p50_us"), 960);
	ck_assert_int_lt(number(one, "latency.p50_us"), 1024);
	ck_assert_int_lt(number(one, "latency.p99_us"), 1024);
	ck_assert(json_object_object_get_ex(one, "latency", &latency));
	ck_assert(json_object_object_get_ex(latency, "buckets", &latency));
	ck_assert_str_eq(json_object_to_json_string_ext(latency,
							JSON_C_TO_STRING_PLAIN),
			 "[[960,200],[983040,1]]");
	json_object_put(r);

	r = result_of("{\"command\": \"show pools\"}");
	ck_assert_uint_eq(json_object_array_length(r), 2);
	one = json_object_array_get_idx(r, 0);
	ck_assert_str_eq(text(one, "name"), "chat");
	ck_assert_int_eq(number(one, "used_bytes"), 1024);
	ck_assert_int_eq(number(one, "throttled_workers"), 1);
	ck_assert_str_eq(text(json_object_array_get_idx(r, 1), "name"), "#2");
	json_object_put(r);

	r = result_of("{\"command\": \"show backends\"}");
	ck_assert_uint_eq(json_object_array_length(r), 1);
	one = json_object_array_get_idx(r, 0);
	ck_assert_str_eq(text(one, "name"), "b\"1");
	ck_assert_str_eq(text(one, "group"), "im");
	ck_assert_str_eq(text(one, "state"), "up");
	ck_assert_int_eq(number(one, "streams_up"), 2);
	json_object_put(r);
}
END_TEST

START_TEST(test_control_show_counters_has_every_counter)
{
	struct json_object *r = result_of("{\"command\": \"show counters\"}");

	for (uint32_t i = 0; counter_name(i); i++)
		ck_assert_int_eq(number(r, counter_name(i)), 2 * i);
	ck_assert_int_eq(number(r, "control_requests"), 1);
	json_object_put(r);
}
END_TEST

START_TEST(test_control_show_connections)
{
	struct json_object *r = result_of(
				   "{\"command\": \"show connections\"}"),
			   *one;

	ck_assert_uint_eq(json_object_array_length(r), 6);
	one = json_object_array_get_idx(r, 3);
	ck_assert_str_eq(text(one, "id"), "0100000000000001");
	ck_assert_str_eq(text(one, "group"), "im");
	ck_assert_str_eq(text(one, "remote"), "198.51.100.2:1000");
	ck_assert_str_eq(text(one, "local"), "[2001:db8::]:5222");
	json_object_put(r);
	r = result_of(
		"{\"command\": \"show connections\", \"args\": {\"limit\": 4}}");
	ck_assert_uint_eq(json_object_array_length(r), 4);
	json_object_put(r);
	r = result_of("{\"command\": \"show connections\", \"args\": "
		      "{\"state\": \"time-wait\", \"group\": \"im\"}}");
	ck_assert_uint_eq(json_object_array_length(r), 0);
	json_object_put(r);
	r = result_of("{\"command\": \"show connection\", \"args\": "
		      "{\"id\": \"0100000000000003\"}}");
	ck_assert_str_eq(text(r, "id"), "0100000000000003");
	ck_assert_int_eq(number(r, "mss"), 1460);
	json_object_put(r);
}
END_TEST

START_TEST(test_control_a_silent_worker_is_said_and_left_out)
{
	struct json_object *r, *reply;

	fake.silent = true;
	reply = ask("{\"command\": \"show info\"}");
	ck_assert(json_object_object_get_ex(reply, "result", &r));
	ck_assert_int_eq(number(r, "connections.established"), 100);
	ck_assert_int_eq(number(r, "workers.silent"), 1);
	ck_assert_str_eq(
		text(reply, "warning"),
		"1 of 2 workers did not answer: their part is missing");
	json_object_put(reply);
	reply = ask("{\"command\": \"show connections\"}");
	ck_assert(json_object_object_get_ex(reply, "result", &r));
	ck_assert_uint_eq(json_object_array_length(r), 3);
	ck_assert_str_ne(text(reply, "warning"), "");
	json_object_put(reply);
	r = result_of("{\"command\": \"show workers\"}");
	ck_assert_uint_eq(json_object_array_length(r), 2);
	ck_assert_int_eq(number(json_object_array_get_idx(r, 1), "answered"),
			 0);
	json_object_put(r);
}
END_TEST

/* --- doing ------------------------------------------------------------- */

START_TEST(test_control_close_drain_resume)
{
	json_object_put(result_of(
		"{\"command\": \"close\", \"args\": {\"id\": \"1f\"}}"));
	ck_assert_uint_eq(fake.closed, 0x1f);
	json_object_put(result_of(
		"{\"command\": \"drain backend\", \"args\": {\"name\": \"a\"}}"));
	ck_assert_str_eq(fake.drained, "drain backend a");
	json_object_put(result_of(
		"{\"command\": \"resume backend\", \"args\": {\"name\": \"a\"}}"));
	ck_assert_str_eq(fake.drained, "resume backend a");
	fails("{\"command\": \"close\", \"args\": {\"id\": \"ffff\"}}",
	      "see \"show\"");
	fails("{\"command\": \"drain backend\", \"args\": {\"name\": \"none\"}}",
	      "drain backend: there is none");
	fails("{\"command\": \"drain group\", \"args\": {\"name\": \"none\"}}",
	      "drain group: there is none");
	fails("{\"command\": \"drain group\", \"args\": {\"name\": \"im\"}}",
	      "a worker did not answer in time");
	ck_assert_str_eq(fake.drained, "drain group im");
}
END_TEST

START_TEST(test_control_reload_says_what_needs_a_restart_and_what_is_wrong)
{
	struct json_object *r = result_of("{\"command\": \"reload\"}"), *lines;

	ck_assert(json_object_object_get_ex(r, "messages", &lines));
	ck_assert_str_eq(
		json_object_get_string(json_object_array_get_idx(lines, 0)),
		"workers: needs a restart");
	json_object_put(r);
	fake.refuse_config = true;
	fails("{\"command\": \"reload\"}", "nothing was changed");
	fails("{\"command\": \"reload\"}", "x.conf:2: foo: unknown key");
}
END_TEST

UNIT_MAIN(
	"daemon/control",
	UNIT_CASE("show", setup, teardown,
		  test_control_show_info_has_the_names_of_the_contract,
		  test_control_show_memory_has_the_names_of_the_contract,
		  test_control_groups_pools_and_backends_are_added_up_by_name,
		  test_control_show_counters_has_every_counter,
		  test_control_show_connections,
		  test_control_a_silent_worker_is_said_and_left_out),
	UNIT_CASE(
		"do", setup, teardown, test_control_close_drain_resume,
		test_control_reload_says_what_needs_a_restart_and_what_is_wrong))
