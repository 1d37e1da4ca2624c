/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_BASE_SEQ_H
#define XTCP_BASE_SEQ_H

/*
 * Arithmetic on TCP sequence numbers, RFC 9293 section 3.4: "all arithmetic
 * dealing with sequence numbers must be performed modulo 2^32". A number is
 * "less" when it is fewer than 2^31 steps behind; that holds as windows are
 * at most 2^30 bytes (RFC 7323 section 2.3). Two numbers exactly 2^31 apart
 * have no order: each is then less than the other. The same rules serve the
 * time stamps of RFC 7323 section 5.2.
 */

#include <stdbool.h>
#include <stdint.h>

/* How far @a is ahead of @b; negative when it is behind. */
static inline int32_t seq_diff(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b);
}

static inline bool seq_lt(uint32_t a, uint32_t b)
{
	return seq_diff(a, b) < 0;
}

static inline bool seq_leq(uint32_t a, uint32_t b)
{
	return seq_diff(a, b) <= 0;
}

static inline bool seq_gt(uint32_t a, uint32_t b)
{
	return seq_diff(b, a) < 0;
}

static inline bool seq_geq(uint32_t a, uint32_t b)
{
	return seq_diff(b, a) <= 0;
}

static inline uint32_t seq_max(uint32_t a, uint32_t b)
{
	return seq_gt(a, b) ? a : b;
}

static inline uint32_t seq_min(uint32_t a, uint32_t b)
{
	return seq_lt(a, b) ? a : b;
}

/*
 * Whether @lo =< @seq =< @hi, as in RFC 9293's tests of a window; right for
 * any distance of @lo to @hi, for it counts steps from @lo.
 */
static inline bool seq_between(uint32_t lo, uint32_t seq, uint32_t hi)
{
	return seq - lo <= hi - lo;
}

/* Whether @seq is one of the @len numbers from @start: start =< seq < start+len. */
static inline bool seq_in_window(uint32_t seq, uint32_t start, uint32_t len)
{
	return seq - start < len;
}

#endif
