/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_BASE_LOG_H
#define XTCP_BASE_LOG_H

/*
 * Lines for the operator, for the daemon and the tools (the stack reports by
 * return codes and counters instead).
 *
 * A line is formatted once, control characters in it are replaced by '?' (it
 * may quote a peer), and it goes to the sink: standard error until the daemon
 * sets one of its own. Lines longer than LOG_LINE_BYTES are cut.
 *
 * Any thread may log. The sink is set before a second thread starts; the
 * threshold may be changed at any time.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The values are those of syslog(3). */
enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARN = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

#define LOG_LINE_BYTES 1024

/* One structured field, e.g. "XTCP_GROUP", "im"; both are borrowed. */
struct log_field {
	const char *name;
	const char *value;
};

/* Receives each line, without a newline; all is borrowed until return. */
typedef void log_sink_fn(void *ctx, enum log_level level, const char *line,
			 const struct log_field *fields, size_t nfields);

/* Sends lines to @sink with @ctx (borrowed); NULL: standard error again. */
void log_set_sink(log_sink_fn *sink, void *ctx);

/* Lets lines of @level and graver ones pass; LOG_LEVEL_INFO at the start. */
void log_set_level(enum log_level level);

/* Whether a line of @level would pass: to skip costly preparations. */
bool log_enabled(enum log_level level);

/* "error", "warning", "info" or "debug". */
const char *log_level_name(enum log_level level);

/* Logs a line with @n structured fields, borrowed until return. */
__attribute__((format(printf, 4, 5))) void
log_event(enum log_level level, const struct log_field *fields, size_t n,
	  const char *fmt, ...);

/* log_event() with the arguments as a va_list. */
__attribute__((format(printf, 4, 0))) void
log_vevent(enum log_level level, const struct log_field *fields, size_t n,
	   const char *fmt, va_list ap);

#define log_error(...) log_event(LOG_LEVEL_ERROR, NULL, 0, __VA_ARGS__)
#define log_warn(...) log_event(LOG_LEVEL_WARN, NULL, 0, __VA_ARGS__)
#define log_info(...) log_event(LOG_LEVEL_INFO, NULL, 0, __VA_ARGS__)
#define log_debug(...) log_event(LOG_LEVEL_DEBUG, NULL, 0, __VA_ARGS__)

/*
 * A token bucket for a line that a remote party can cause: @burst lines at
 * once, then one each @interval_us. One thread uses a bucket.
 *
 *	static _Thread_local struct log_ratelimit rl =
 *		LOG_RATELIMIT(10 * USEC_PER_SEC, 5);
 *
 *	if (log_ratelimit_ok(&rl, now_us))
 *		log_warn("...");
 */
struct log_ratelimit {
	uint64_t interval_us;
	uint64_t credit_us;
	uint64_t last_us;
	uint64_t suppressed;
	uint32_t burst;
	bool started;
};

#define LOG_RATELIMIT(interval, burst_lines)                      \
	{                                                         \
		.interval_us = (interval), .burst = (burst_lines) \
	}

/*
 * Whether the line may be logged at @now_us (any clock; going backwards earns
 * nothing). When lines were held back since the last that passed, the next
 * line that this thread logs, which is the one asked about, ends with
 * " (N like this suppressed)".
 */
bool log_ratelimit_ok(struct log_ratelimit *rl, uint64_t now_us);

#endif
