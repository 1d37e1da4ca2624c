/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_RUN_H
#define XTCP_RUN_RUN_H

/* What the launcher tells the library, in the environment, and small helpers. */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define RUN_ENV_PORTS "XTCP_RUN_PORTS"
#define RUN_ENV_ACK "XTCP_RUN_ACK"
#define RUN_ENV_VERBOSE "XTCP_RUN_VERBOSE"

enum run_ack {
	RUN_ACK_READ, /* what the server has read is acknowledged */
	RUN_ACK_WRITE, /* ... once it writes on that connection */
};

#define RUN_PORTS_MAX 64

struct run_options {
	enum run_ack ack;
	bool verbose;
	unsigned int n_ports; /* 0: all that are groups */
	uint16_t ports[RUN_PORTS_MAX];
};

extern struct run_options run_options;

/*
 * Reads "80,443,6379" into o. Returns 0; -EINVAL: no such list; -E2BIG: more
 * than RUN_PORTS_MAX.
 */
int run_options_ports(struct run_options *o, const char *text);

/* Reads "read" or "write". Returns 0 or -EINVAL. */
int run_options_ack(struct run_options *o, const char *text);

/* From the environment; what can't be read there is left as it is. */
void run_options_load(struct run_options *o);

/* Whether a listening port may be ours, as far as the options go. */
bool run_options_port(const struct run_options *o, uint16_t port);

/* A line for the operator on stderr, "xtcp-run: ...". Leaves errno alone. */
__attribute__((format(printf, 1, 2))) void run_say(const char *fmt, ...);

/* The same with -v alone. */
#define run_note(...)                         \
	do {                                  \
		if (run_options.verbose)      \
			run_say(__VA_ARGS__); \
	} while (0)

/* What a C library call returns: -1 and errno for a negative errno. */
static inline ssize_t run_return(ssize_t rc)
{
	if (rc >= 0)
		return rc;
	errno = (int)-rc;
	return -1;
}

/* The same of the C library's call: a negative errno for -1. */
static inline ssize_t run_result(ssize_t rc)
{
	return rc < 0 ? -errno : rc;
}

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t run_now_ns(void);

/*
 * When a wait of timeout_ns ends; INT64_MAX for a negative one, which is for
 * ever.
 */
int64_t run_deadline(int64_t timeout_ns);

/* What is left of it, not negative; -1 for ever. */
int64_t run_left(int64_t deadline_ns);

#endif
