/* SPDX-License-Identifier: BSD-2-Clause */
/* From what xtcpd says to a page. */
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../unit.h"
#include "base/bytes.h"
#include "base/units.h"
#include "ctl/top_draw.h"
#include "ctl/top_view.h"

static struct top_sample before, now;
static struct top_view view;
static struct top_page page;

static void down(void)
{
	top_page_fini(&page);
	top_view_free(&view);
	top_sample_free(&before);
	top_sample_free(&now);
}

static void set(struct top_sample *s, enum top_part part, const char *json)
{
	json_object_put(s->part[part]);
	s->part[part] = json_tokener_parse(json);
	ck_assert_ptr_nonnull(s->part[part]);
}

/* A sample of a daemon that is so many seconds old. */
static void info(struct top_sample *s, unsigned int uptime_s,
		 unsigned int messages)
{
	char json[256];

	s->at_us = (uint64_t)uptime_s * USEC_PER_SEC;
	snprintf(json, sizeof(json),
		 "{\"version\": \"1.2\", \"uptime_ms\": %u, \"messages\": "
		 "{\"in\": %u, \"out\": %u}}",
		 uptime_s * 1000, messages, 2 * messages);
	set(s, TOP_INFO, json);
}

static void make(void)
{
	top_view_free(&view);
	ck_assert_int_eq(
		top_view_make(&view, &before, &now, TOP_BY_MESSAGES, false), 0);
}

static void draw(unsigned int width, size_t height)
{
	const struct top_settings settings = { .sort = TOP_BY_MESSAGES };

	top_page_fini(&page);
	ck_assert_int_eq(top_page_init(&page, width, height), 0);
	top_draw(&page, &view, &settings);
}

static bool shows(const char *text)
{
	for (size_t i = 0; i < page.n; i++)
		if (strstr(page.rows[i].text, text))
			return true;
	return false;
}

START_TEST(test_top_rates_are_of_the_time_between)
{
	info(&before, 10, 1000);
	info(&now, 14, 1200);
	make();
	ck_assert(!view.since_start);
	ck_assert_double_eq_tol(view.seconds, 4, 1e-6);
	ck_assert_double_eq_tol(view.messages.in, 50, 1e-6);
	ck_assert_double_eq_tol(view.messages.out, 100, 1e-6);
}
END_TEST

START_TEST(test_top_rates_of_the_first_look_are_since_the_start)
{
	info(&now, 100, 500);
	make();
	ck_assert(view.since_start);
	ck_assert_double_eq_tol(view.messages.in, 5, 1e-6);
}
END_TEST

START_TEST(test_top_rates_of_another_process_are_since_its_start)
{
	info(&before, 1, 1000);
	info(&now, 3, 1500);
	/* it has been up for longer than the one before, but began later */
	now.at_us = before.at_us + 60 * USEC_PER_SEC;
	make();
	ck_assert(view.since_start);
	ck_assert_double_eq_tol(view.messages.in, 500, 1e-6);
}
END_TEST

START_TEST(test_top_rows_are_compared_by_their_names)
{
	info(&before, 10, 0);
	info(&now, 11, 0);
	set(&before, TOP_GROUPS,
	    "[{\"name\": \"a\", \"messages\": {\"in\": 5}},"
	    " {\"name\": \"b\", \"messages\": {\"in\": 100}}]");
	set(&now, TOP_GROUPS,
	    "[{\"name\": \"b\", \"messages\": {\"in\": 107}},"
	    " {\"name\": \"new\", \"messages\": {\"in\": 3}},"
	    " {\"name\": \"a\", \"messages\": {\"in\": 2}}]");
	make();
	ck_assert_uint_eq(view.n_groups, 3);
	ck_assert_str_eq(view.groups[0].name, "b");
	ck_assert_double_eq_tol(view.groups[0].messages.in, 7, 1e-6);
	ck_assert_str_eq(view.groups[1].name, "new");
	ck_assert_double_eq_tol(view.groups[1].messages.in, 3, 1e-6);
	/* it counted less than before: it began anew */
	ck_assert_str_eq(view.groups[2].name, "a");
	ck_assert_double_eq_tol(view.groups[2].messages.in, 2, 1e-6);
}
END_TEST

START_TEST(test_top_backends_of_one_name_are_told_apart_by_group)
{
	info(&before, 10, 0);
	info(&now, 11, 0);
	set(&before, TOP_BACKENDS,
	    "[{\"name\": \"x\", \"group\": \"a\", \"messages\": {\"in\": 1}},"
	    " {\"name\": \"x\", \"group\": \"b\", \"messages\": {\"in\": 50}}]");
	set(&now, TOP_BACKENDS,
	    "[{\"name\": \"x\", \"group\": \"b\", \"messages\": {\"in\": 60},"
	    "  \"requests\": 4, \"request_us\": 400}]");
	make();
	ck_assert_double_eq_tol(view.backends[0].messages.in, 10, 1e-6);
	ck_assert_uint_eq(view.backends[0].mean_us, 100);
}
END_TEST

START_TEST(test_top_latency_is_that_of_the_interval)
{
	info(&before, 10, 0);
	info(&now, 11, 0);
	set(&before, TOP_GROUPS,
	    "[{\"name\": \"a\", \"latency\": {\"requests\": 1000, "
	    "\"buckets\": [[960, 1000]]}}]");
	set(&now, TOP_GROUPS,
	    "[{\"name\": \"a\", \"latency\": {\"requests\": 1010, "
	    "\"buckets\": [[960, 1000], [61440, 10]]}}]");
	make();
	ck_assert_uint_eq(view.groups[0].requests, 10);
	ck_assert_uint_ge(view.groups[0].p50_us, 61440);
	ck_assert_uint_lt(view.groups[0].p50_us, 65536);
}
END_TEST

START_TEST(test_top_survives_any_answer)
{
	info(&before, 10, 0);
	info(&now, 11, 0);
	set(&now, TOP_GROUPS,
	    "[1, null, {\"name\": 5, \"latency\": {\"buckets\": "
	    "[[1], [-1, 2], [3, -4], 5, [9e99, 1], \"x\"]}},"
	    " {\"name\": \"\\u001b[2J\", \"connections\": -7}]");
	set(&now, TOP_WORKERS, "{\"a\": 1}");
	set(&now, TOP_POOLS, "[{\"used_bytes\": 5}]");
	set(&now, TOP_BACKENDS, "[[]]");
	make();
	ck_assert_uint_eq(view.n_groups, 4);
	ck_assert_uint_eq(view.n_workers, 0);
	draw(80, 40);
	ck_assert(shows("?[2J"));
	ck_assert(!shows("\x1b"));
}
END_TEST

/* n groups g0, g1, ... of falling rates. */
static void groups(unsigned int n)
{
	char json[65536];
	size_t at = 1;

	snprintf(json, sizeof(json), "[");
	for (unsigned int i = 0; i < n; i++)
		at += (size_t)snprintf(
			json + at, sizeof(json) - at,
			"%s{\"name\": \"g%u\", \"messages\": {\"in\": %u}}",
			i ? "," : "", i, 1000 - i);
	snprintf(json + at, sizeof(json) - at, "]");
	info(&now, 10, 0);
	set(&now, TOP_GROUPS, json);
	set(&now, TOP_BACKENDS, "[{\"name\": \"slow\", \"state\": \"up\"}]");
	set(&now, TOP_POOLS, "[{\"name\": \"p\", \"limit_bytes\": 10}]");
	set(&now, TOP_WORKERS, "[{\"worker\": 7, \"answered\": true}]");
	make();
}

START_TEST(test_top_page_says_what_it_leaves_out)
{
	groups(100);
	draw(80, 24);
	ck_assert_uint_eq(page.n, 24);
	ck_assert(shows("g0"));
	ck_assert(shows("slow"));
	/* 24 less 6 of totals, 6 of other sections, a heading, this line */
	ck_assert(shows("90 more groups"));
	ck_assert(!shows("g10"));
}
END_TEST

START_TEST(test_top_page_with_room_leaves_nothing_out)
{
	groups(100);
	draw(80, TOP_LINES_MAX);
	ck_assert(shows("g99"));
	ck_assert(!shows("more"));
}
END_TEST

/* Whatever the size of the window, a page fits it. */
START_TEST(test_top_page_fits_any_window)
{
	groups(30);
	for (unsigned int width = 0; width < 2 * TOP_WIDTH_MAX; width += 37) {
		for (size_t height = 0; height < 60; height++) {
			draw(width, height);
			ck_assert_uint_le(page.n, height);
			for (size_t i = 0; i < page.n; i++)
				ck_assert_uint_le(strlen(page.rows[i].text),
						  page.width);
		}
	}
}
END_TEST

START_TEST(test_top_columns_stand_under_their_headings)
{
	const char *heading = NULL, *row = NULL;

	info(&now, 1, 0);
	set(&now, TOP_GROUPS,
	    "[{\"name\": \"a-long-name\", \"connections\": 77}]");
	make();
	draw(100, 40);
	for (size_t i = 0; i < page.n; i++) {
		if (strstr(page.rows[i].text, "GROUP "))
			heading = page.rows[i].text;
		if (strstr(page.rows[i].text, "a-long-name"))
			row = page.rows[i].text;
	}
	ck_assert_ptr_nonnull(heading);
	ck_assert_ptr_nonnull(row);
	/* to the right */
	ck_assert_int_eq(strstr(heading, "CONNS") + 5 - heading,
			 strstr(row, "77") + 2 - row);
}
END_TEST

START_TEST(test_top_sorts_are_found_by_name)
{
	enum top_sort sort;

	for (uint32_t i = 0; i < TOP_SORTS; i++) {
		ck_assert_int_eq(top_sort_find(top_sort_name(i), &sort), 0);
		ck_assert_uint_eq(sort, i);
	}
	ck_assert_int_lt(top_sort_find("", &sort), 0);
	ck_assert_ptr_null(top_sort_name(TOP_SORTS));
}
END_TEST

START_TEST(test_top_sort_and_reverse)
{
	groups(3);
	top_view_sort(&view, TOP_BY_NAME, true);
	ck_assert_str_eq(view.groups[0].name, "g2");
	top_view_sort(&view, TOP_BY_MESSAGES, false);
	ck_assert_str_eq(view.groups[0].name, "g0");
	/* equal ones by name */
	top_view_sort(&view, TOP_BY_WAITING, false);
	ck_assert_str_eq(view.groups[0].name, "g0");
}
END_TEST

UNIT_MAIN("ctl/top",
	  UNIT_CASE("all", NULL, down, test_top_rates_are_of_the_time_between,
		    test_top_rates_of_the_first_look_are_since_the_start,
		    test_top_rates_of_another_process_are_since_its_start,
		    test_top_rows_are_compared_by_their_names,
		    test_top_backends_of_one_name_are_told_apart_by_group,
		    test_top_latency_is_that_of_the_interval,
		    test_top_survives_any_answer,
		    test_top_page_says_what_it_leaves_out,
		    test_top_page_with_room_leaves_nothing_out,
		    test_top_page_fits_any_window,
		    test_top_columns_stand_under_their_headings,
		    test_top_sorts_are_found_by_name,
		    test_top_sort_and_reverse))
