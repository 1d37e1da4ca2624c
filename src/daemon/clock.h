/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_DAEMON_CLOCK_H
#define XTCP_DAEMON_CLOCK_H

#include <stdint.h>
#include <time.h>

#include "base/units.h"

/* The monotonic clock in microseconds: the daemon's one source of time. */
static inline uint64_t clock_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC +
	       (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

#endif
