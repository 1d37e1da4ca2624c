/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

static log_sink_fn log_stderr;

static log_sink_fn *log_sink = log_stderr;
static void *log_sink_ctx;
static _Atomic int log_threshold = LOG_LEVEL_INFO;

/* What log_ratelimit_ok() leaves for the line that follows it. */
static _Thread_local uint64_t log_suppressed;

/* One write, so that lines of two threads don't mix; fields are left out. */
static void log_stderr(void *ctx, enum log_level level, const char *line,
		       const struct log_field *fields, size_t nfields)
{
	(void)ctx;
	(void)fields;
	(void)nfields;
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name,
		log_level_name(level), line);
}

void log_set_sink(log_sink_fn *sink, void *ctx)
{
	log_sink = sink ? sink : log_stderr;
	log_sink_ctx = ctx;
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_threshold, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
	return (int)level <=
	       atomic_load_explicit(&log_threshold, memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARN:
		return "warning";
	case LOG_LEVEL_INFO:
		return "info";
	case LOG_LEVEL_DEBUG:
		return "debug";
	}
	return "unknown";
}

static void log_blank_controls(char *line)
{
	for (; *line != '\0'; line++)
		if ((unsigned char)*line < 0x20 || *line == 0x7f)
			*line = '?';
}

/* Formats into @line and returns the length, which a cut line has, too. */
__attribute__((format(printf, 2, 0))) static size_t
log_format(char line[LOG_LINE_BYTES], const char *fmt, va_list ap)
{
	int n = vsnprintf(line, LOG_LINE_BYTES, fmt, ap);

	if (n < 0) {
		line[0] = '\0';
		return 0;
	}
	return min_size((size_t)n, LOG_LINE_BYTES - 1);
}

/* Ends @line with the count, over the end of the text if it must. */
static void log_append_suppressed(char line[LOG_LINE_BYTES], size_t len,
				  uint64_t suppressed)
{
	char note[64];
	int n = snprintf(note, sizeof(note),
			 " (%" PRIu64 " like this suppressed)", suppressed);
	size_t at = min_size(len, LOG_LINE_BYTES - 1 - (size_t)n);

	snprintf(line + at, LOG_LINE_BYTES - at, "%s", note);
}

void log_vevent(enum log_level level, const struct log_field *fields, size_t n,
		const char *fmt, va_list ap)
{
	char line[LOG_LINE_BYTES];
	uint64_t suppressed = log_suppressed;
	int saved_errno = errno;
	size_t len;

	log_suppressed = 0;
	if (!log_enabled(level))
		return;
	len = log_format(line, fmt, ap);
	if (suppressed > 0)
		log_append_suppressed(line, len, suppressed);
	log_blank_controls(line);
	log_sink(log_sink_ctx, level, line, fields, n);
	errno = saved_errno;
}

void log_event(enum log_level level, const struct log_field *fields, size_t n,
	       const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vevent(level, fields, n, fmt, ap);
	va_end(ap);
}

/* Adds what was earned since the last call; the bucket starts full. */
static void log_ratelimit_refill(struct log_ratelimit *rl, uint64_t now_us)
{
	uint64_t full_us = rl->interval_us * rl->burst;

	if (!rl->started) {
		rl->started = true;
		rl->credit_us = full_us;
	} else if (now_us > rl->last_us) {
		uint64_t room_us = full_us - rl->credit_us;

		rl->credit_us += min_u64(now_us - rl->last_us, room_us);
	}
	rl->last_us = now_us;
}

bool log_ratelimit_ok(struct log_ratelimit *rl, uint64_t now_us)
{
	log_ratelimit_refill(rl, now_us);
	if (rl->credit_us < rl->interval_us || rl->burst == 0) {
		rl->suppressed++;
		return false;
	}
	rl->credit_us -= rl->interval_us;
	log_suppressed = rl->suppressed;
	rl->suppressed = 0;
	return true;
}
