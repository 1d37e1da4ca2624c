/* SPDX-License-Identifier: BSD-2-Clause */
#include "fuzz/fuzz.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

bool fuzz_verbose;

__attribute__((constructor)) static void fuzz_init(void)
{
	fuzz_verbose = getenv("FUZZ_VERBOSE") != NULL;
	/* What one execution gives back is for the next one. */
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 512 << 20);
}

void fuzz_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void fuzz_on_log(void *ctx, enum log_level level, const char *line,
			const struct log_field *fields, size_t n)
{
	(void)ctx;
	(void)fields;
	(void)n;
	FUZZ_CHECK(level <= LOG_LEVEL_DEBUG);
	FUZZ_CHECK(line[0] && !strchr(line, '\n'), "%s", line);
}

void fuzz_no_log(void)
{
	log_set_sink(fuzz_on_log, NULL);
}

/* AddressSanitizer asks for these; ASAN_OPTIONS overrides them. */
const char *__asan_default_options(void);

/*
 * The quarantine holds what was freed in the last executions, not in the last
 * thousands: so it stays in the cache.
 */
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=4:malloc_context_size=8:"
	       "detect_stack_use_after_return=0";
}

void fuzz_fail(const char *file, int line, const char *what, const char *fmt,
	       ...)
{
	va_list ap;

	fprintf(stderr, "%s:%d: must hold: %s:", file, line, what);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}
