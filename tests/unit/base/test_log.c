/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"
#include "base/units.h"
#include "unit/unit.h"

#include <errno.h>
#include <string.h>

struct capture {
	int lines;
	enum log_level level;
	char line[2 * LOG_LINE_BYTES];
	char field[64];
	size_t nfields;
};

static struct capture got;

static void capture_sink(void *ctx, enum log_level level, const char *line,
			 const struct log_field *fields, size_t nfields)
{
	struct capture *c = ctx;

	c->lines++;
	c->level = level;
	strcpy(c->line, line);
	c->nfields = nfields;
	if (nfields > 0)
		strcpy(c->field, fields[0].value);
	errno = EIO;
}

static void setup(void)
{
	memset(&got, 0, sizeof(got));
	log_set_level(LOG_LEVEL_INFO);
	log_set_sink(capture_sink, &got);
}

START_TEST(test_log_formats_and_keeps_errno)
{
	errno = ENOENT;
	log_warn("group %s: %d refused", "im", 3);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(got.lines, 1);
	ck_assert_int_eq(got.level, LOG_LEVEL_WARN);
	ck_assert_str_eq(got.line, "group im: 3 refused");
}
END_TEST

START_TEST(test_log_threshold_holds_back_lesser_levels)
{
	log_debug("no");
	ck_assert_int_eq(got.lines, 0);
	ck_assert(!log_enabled(LOG_LEVEL_DEBUG));
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("yes");
	ck_assert_int_eq(got.lines, 1);
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("no");
	log_error("yes");
	ck_assert_int_eq(got.lines, 2);
}
END_TEST

START_TEST(test_log_line_is_one_line)
{
	log_info("peer said \"%s\"", "a\nb\033[2J\177");
	ck_assert_str_eq(got.line, "peer said \"a?b?[2J?\"");
}
END_TEST

START_TEST(test_log_long_line_is_cut)
{
	char text[3 * LOG_LINE_BYTES];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_info("%s", text);
	ck_assert_uint_eq(strlen(got.line), LOG_LINE_BYTES - 1);
}
END_TEST

START_TEST(test_log_event_hands_on_fields)
{
	const struct log_field fields[] = { { "XTCP_GROUP", "im" } };

	log_event(LOG_LEVEL_INFO, fields, 1, "attached");
	ck_assert_uint_eq(got.nfields, 1);
	ck_assert_str_eq(got.field, "im");
}
END_TEST

START_TEST(test_log_ratelimit_lets_a_burst_pass_then_one_per_interval)
{
	struct log_ratelimit rl = LOG_RATELIMIT(USEC_PER_SEC, 3);
	uint64_t now_us = 77;

	for (int i = 0; i < 3; i++)
		ck_assert(log_ratelimit_ok(&rl, now_us));
	ck_assert(!log_ratelimit_ok(&rl, now_us));
	ck_assert(!log_ratelimit_ok(&rl, now_us + USEC_PER_SEC - 1));
	ck_assert(log_ratelimit_ok(&rl, now_us + USEC_PER_SEC));
	ck_assert(!log_ratelimit_ok(&rl, now_us + USEC_PER_SEC));
	/* a long silence earns no more than the burst */
	now_us += 1000 * USEC_PER_SEC;
	for (int i = 0; i < 3; i++)
		ck_assert(log_ratelimit_ok(&rl, now_us));
	ck_assert(!log_ratelimit_ok(&rl, now_us));
}
END_TEST

START_TEST(test_log_ratelimit_survives_a_clock_that_goes_back)
{
	struct log_ratelimit rl = LOG_RATELIMIT(USEC_PER_SEC, 1);

	ck_assert(log_ratelimit_ok(&rl, 10 * USEC_PER_SEC));
	ck_assert(!log_ratelimit_ok(&rl, USEC_PER_SEC));
	ck_assert(log_ratelimit_ok(&rl, 2 * USEC_PER_SEC));
}
END_TEST

START_TEST(test_log_ratelimit_next_line_tells_what_was_held_back)
{
	struct log_ratelimit rl = LOG_RATELIMIT(USEC_PER_SEC, 1);

	for (int i = 0; i < 5; i++)
		if (log_ratelimit_ok(&rl, 0))
			log_warn("bad frame");
	ck_assert_int_eq(got.lines, 1);
	ck_assert_str_eq(got.line, "bad frame");
	ck_assert(log_ratelimit_ok(&rl, USEC_PER_SEC));
	log_warn("bad frame");
	ck_assert_str_eq(got.line, "bad frame (4 like this suppressed)");
	log_warn("another");
	ck_assert_str_eq(got.line, "another");
}
END_TEST

UNIT_MAIN("base/log",
	  UNIT_CASE("all", setup, NULL, test_log_formats_and_keeps_errno,
		    test_log_threshold_holds_back_lesser_levels,
		    test_log_line_is_one_line, test_log_long_line_is_cut,
		    test_log_event_hands_on_fields,
		    test_log_ratelimit_lets_a_burst_pass_then_one_per_interval,
		    test_log_ratelimit_survives_a_clock_that_goes_back,
		    test_log_ratelimit_next_line_tells_what_was_held_back))
