/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_BASE_UNITS_H
#define XTCP_BASE_UNITS_H

/*
 * Units of time and of size. Time inside the daemon is a uint64_t count of
 * microseconds from some clock that the caller read (`now_us`); names carry
 * the unit (`_ns`, `_us`, `_ms`, `_s`, `_bytes`).
 */

#include <stdint.h>

#define NSEC_PER_USEC UINT64_C(1000)
#define USEC_PER_MSEC UINT64_C(1000)
#define MSEC_PER_SEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)
#define NSEC_PER_MSEC (NSEC_PER_USEC * USEC_PER_MSEC)
#define NSEC_PER_SEC (NSEC_PER_USEC * USEC_PER_SEC)
#define SEC_PER_MIN UINT64_C(60)
#define USEC_PER_MIN (USEC_PER_SEC * SEC_PER_MIN)

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)
#define GIB (UINT64_C(1024) * MIB)

#endif
