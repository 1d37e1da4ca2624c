/* SPDX-License-Identifier: BSD-2-Clause */
/* What the bench's programs share: a clock, addresses, an end with a word. */
#ifndef XTCP_BENCH_COMMON_H
#define XTCP_BENCH_COMMON_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#define NSEC_PER_SEC 1000000000ull
#define NSEC_PER_MSEC 1000000ull

/* No process of the bench has more descriptors than this. */
#define BENCH_FDS_MAX 20000u

static inline uint64_t bench_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Say so, and why, and end with status 1. */
_Noreturn static inline void bench_fail(const char *program, const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
	exit(1);
}

/* Say so, and end with status 2. */
_Noreturn static inline void bench_usage(const char *usage)
{
	fprintf(stderr, "usage: %s\n", usage);
	exit(2);
}

static inline uint64_t bench_number(const char *text, const char *usage)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (*end || end == text || *text == '-')
		bench_usage(usage);
	return n;
}

/* 192.0.2.1:80 */
static inline struct sockaddr_in bench_address(const char *text,
					       const char *usage)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	const char *colon = strrchr(text, ':');
	char ip[INET_ADDRSTRLEN];
	uint64_t port;

	if (!colon || (size_t)(colon - text) >= sizeof(ip))
		bench_usage(usage);
	memcpy(ip, text, (size_t)(colon - text));
	ip[colon - text] = '\0';
	port = bench_number(colon + 1, usage);
	if (inet_pton(AF_INET, ip, &sa.sin_addr) != 1 || !port || port > 65535)
		bench_usage(usage);
	sa.sin_port = htons((uint16_t)port);
	return sa;
}

/* As many descriptors as the bench allows itself, or the system us. */
static inline void bench_raise_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	lim.rlim_cur =
		lim.rlim_max < BENCH_FDS_MAX ? lim.rlim_max : BENCH_FDS_MAX;
	setrlimit(RLIMIT_NOFILE, &lim);
}

#endif
