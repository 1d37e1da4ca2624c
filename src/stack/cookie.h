/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cookie - SYN cookies: a half-open connection that the client keeps for us
 * (RFC 4987 section 3.6).
 */
#ifndef XTCP_STACK_COOKIE_H
#define XTCP_STACK_COOKIE_H

#include <stdbool.h>
#include <stdint.h>

#include "stack/stack.h"

/* The counter within a cookie moves on after so long. */
#define COOKIE_PERIOD_US (UINT64_C(64) * 1000 * 1000)
/* A cookie is good in the period it was made in, and the next. */
#define COOKIE_LIFE_US (2 * COOKIE_PERIOD_US)

/*
 * The ISS that is the cookie for a SYN of sequence number irs; it remembers
 * the largest MSS of a table that is not above mss (bytes).
 */
uint32_t cookie_make(const struct stack *st, const struct tuple *tuple,
		     uint32_t irs, uint16_t mss, uint64_t now_us);

/*
 * Is iss a cookie that was made for this tuple and irs, in this period or the
 * one before? Returns the MSS it remembers, bytes, or 0.
 */
uint16_t cookie_check(const struct stack *st, const struct tuple *tuple,
		      uint32_t irs, uint32_t iss, uint64_t now_us);

/*
 * Our timestamp for the SYN-ACK of a cookie: the low bits hold what *r says of
 * window scale, SACK and ECN. Never ahead of ts_now, what the timestamp clock
 * shows, and at most 127 ticks behind.
 */
uint32_t cookie_ts_pack(const struct rec *r, uint32_t ts_now);

/*
 * Set flags and wscale (shift: ours) of a record from the timestamp that came
 * back.
 */
void cookie_ts_unpack(struct rec *r, uint32_t tsecr, uint8_t shift);

#endif
