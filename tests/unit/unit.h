/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TESTS_UNIT_H
#define XTCP_TESTS_UNIT_H

/*
 * main() of a unit test program. The tests of a file, with no fixture:
 *
 *	START_TEST(test_cursor_read_past_the_end_fails)
 *	{
 *		...
 *	}
 *	END_TEST
 *
 *	UNIT_MAIN("base/cursor", UNIT_TESTS(test_cursor_read_past_the_end_fails))
 *
 * or in several cases, each with its fixture:
 *
 *	UNIT_MAIN("stack/input",
 *		  UNIT_CASE("listen", setup, teardown, test_a, test_b),
 *		  UNIT_LOOP("near wrap", 4, setup, teardown, test_c))
 *
 * A test of UNIT_LOOP runs @n times, with `_i` from 0 on. Check's environment
 * variables (CK_VERBOSITY, CK_RUN_CASE, CK_FORK, CK_TAP_LOG_FILE_NAME...) work.
 */

#include <check.h>
#include <stddef.h>
#include <stdlib.h>

/*
 * What an assertion that holds does: nothing. Check's own writes to a file each
 * time, to know where a test was that then crashed; millions of them take
 * minutes, and the sanitizers know it better.
 */
#define _mark_point(file, line) ((void)0)

/* Per test, not per program: sanitized builds on a busy machine are slow. */
#define UNIT_TIMEOUT_S 60

struct unit_case {
	const char *name;
	SFun setup;
	SFun teardown;
	int loops;
	const TTest *const *tests; /* up to a NULL */
};

#define UNIT_LOOP(name, n, setup, teardown, ...)                 \
	{                                                        \
		name, setup, teardown, n, (const TTest *const[]) \
		{                                                \
			__VA_ARGS__, NULL                        \
		}                                                \
	}
#define UNIT_CASE(name, setup, teardown, ...) \
	UNIT_LOOP(name, 0, setup, teardown, __VA_ARGS__)
#define UNIT_TESTS(...) UNIT_CASE("all", NULL, NULL, __VA_ARGS__)

#define UNIT_MAIN(suite_name, ...)                                 \
	int main(void)                                             \
	{                                                          \
		const struct unit_case cases[] = { __VA_ARGS__ };  \
                                                                   \
		return unit_run(suite_name, cases,                 \
				sizeof(cases) / sizeof(cases[0])); \
	}

static inline TCase *unit_build_case(const struct unit_case *c)
{
	TCase *tc = tcase_create(c->name);

	tcase_set_timeout(tc, UNIT_TIMEOUT_S);
	if (c->setup || c->teardown)
		tcase_add_checked_fixture(tc, c->setup, c->teardown);
	for (const TTest *const *t = c->tests; *t; t++) {
		if (c->loops > 0)
			tcase_add_loop_test(tc, *t, 0, c->loops);
		else
			tcase_add_test(tc, *t);
	}
	return tc;
}

static inline int unit_run(const char *suite_name,
			   const struct unit_case *cases, size_t n)
{
	Suite *suite = suite_create(suite_name);
	SRunner *runner;
	int failed;

	for (size_t i = 0; i < n; i++)
		suite_add_tcase(suite, unit_build_case(&cases[i]));
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
