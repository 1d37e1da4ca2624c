/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/capture.h"
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

/* --- capture: what workers on paper see */

#define CAPTURE_TWO                                                      \
	"{\"command\": \"capture\", \"args\": {\"count\": 2, "           \
	"\"snaplen\": 4, \"filter\": [[48,0,0,0],[21,0,1,69],[6,0,0,1]," \
	"[6,0,0,0]]}}\n"

static struct capture *captured;

static uint32_t see_packets(void *self, struct capture *c)
{
	static uint8_t v4[20] = { 69 }, v6[40] = { 96 };
	struct iovec four = { v4, sizeof(v4) }, six = { v6, sizeof(v6) };

	(void)self;
	captured = c;
	capture_put(&c->rings[1], CAPTURE_OUT, &four, 1, 20);
	capture_put(&c->rings[0], CAPTURE_IN, &four, 1, 10);
	capture_put(&c->rings[0], CAPTURE_IN, &six, 1, 30);
	return 0;
}

/* Reads exactly n bytes. */
static void hear_bytes(int fd, void *to, size_t n)
{
	uint8_t *at = to;
	ssize_t rc;

	for (int i = 0; n > 0; i++) {
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		rc = recv(fd, at, n, 0);
		if (rc < 0)
			continue;
		ck_assert_int_gt(rc, 0);
		at += rc;
		n -= (size_t)rc;
	}
}

START_TEST(test_control_capture_sends_records_after_its_reply)
{
	struct capture_packet packet;
	struct capture_head head;
	struct capture_end end;
	uint8_t bytes[4];
	char *line;
	int fd;

	fake.view.capture = see_packets;
	fd = dial();
	say(fd, CAPTURE_TWO, strlen(CAPTURE_TWO));
	line = hear(fd);
	ck_assert_str_eq(line, "{\"ok\":true,\"result\":{\"device\":\"\","
			       "\"linktype\":101,\"snaplen\":4}}");
	free(line);
	for (uint64_t at = 10; at <= 20; at += 10) {
		hear_bytes(fd, &head, sizeof(head));
		ck_assert_uint_eq(head.type, CAPTURE_PACKET);
		ck_assert_uint_eq(head.bytes, sizeof(packet) + sizeof(bytes));
		hear_bytes(fd, &packet, sizeof(packet));
		ck_assert_uint_eq(packet.at_ns, at);
		ck_assert_uint_eq(packet.original_bytes, 20);
		hear_bytes(fd, bytes, sizeof(bytes));
		ck_assert_uint_eq(bytes[0], 69);
	}
	hear_bytes(fd, &head, sizeof(head));
	ck_assert_uint_eq(head.type, CAPTURE_END);
	hear_bytes(fd, &end, sizeof(end));
	ck_assert_uint_eq(end.seen, 3);
	ck_assert_uint_eq(end.matched, 2);
	ck_assert_uint_eq(end.delivered, 2);
	ck_assert_uint_eq(end.reason, CAPTURE_COUNT);
	ck_assert_ptr_null(hear(fd));
	close(fd);
}
END_TEST

/* The server goes while captures are under way. */
START_TEST(test_control_capture_ends_with_the_server)
{
	struct capture *kept;
	int fd;

	fake.view.capture = see_packets;
	fd = dial();
	say(fd, "{\"command\": \"capture\"}\n", 23);
	free(hear(fd));
	kept = captured;
	capture_ref(kept);
	control_close(control);
	control = NULL;
	ck_assert(capture_is_stopped(kept));
	ck_assert_uint_eq(atomic_load(&kept->refs), 1);
	capture_unref(kept);
	close(fd);
}
END_TEST

START_TEST(test_control_capture_without_workers_that_can_is_refused)
{
	fails("{\"command\": \"capture\"}", "not supported");
}
END_TEST

UNIT_MAIN(
	"daemon/control",
	UNIT_CASE("capture", setup, teardown,
		  test_control_capture_sends_records_after_its_reply,
		  test_control_capture_ends_with_the_server,
		  test_control_capture_without_workers_that_can_is_refused),
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
