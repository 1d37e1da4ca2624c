/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "run/real.h"
#include "run/run.h"

#define SAY_BYTES 512

void run_say(const char *fmt, ...)
{
	static const char prefix[] = "xtcp-run: ";
	int saved = errno, n;
	char line[SAY_BYTES];
	va_list ap;

	memcpy(line, prefix, sizeof(prefix) - 1);
	va_start(ap, fmt);
	n = vsnprintf(line + sizeof(prefix) - 1, sizeof(line) - sizeof(prefix),
		      fmt, ap);
	va_end(ap);
	if (n >= 0) {
		size_t len = min_size((size_t)n + sizeof(prefix) - 1,
				      sizeof(line) - 2);

		line[len++] = '\n';
		(void)!REAL(write)(STDERR_FILENO, line, len);
	}
	errno = saved;
}

int64_t run_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t run_deadline(int64_t timeout_ns)
{
	int64_t now;

	if (timeout_ns < 0)
		return INT64_MAX;
	now = run_now_ns();
	return timeout_ns > INT64_MAX - 1 - now ? INT64_MAX - 1
						: now + timeout_ns;
}

int64_t run_left(int64_t deadline_ns)
{
	int64_t now;

	if (deadline_ns == INT64_MAX)
		return -1;
	now = run_now_ns();
	return deadline_ns > now ? deadline_ns - now : 0;
}
