/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sack - what we report to the client: blocks beyond gaps (RFC 2018) and text
 * that came twice (D-SACK, RFC 2883).
 */
#ifndef XTCP_STACK_SACK_H
#define XTCP_STACK_SACK_H

#include "stack/conn.h"

/* [start, end) came beyond a gap and is kept. */
void sack_arrived(struct conn *c, uint32_t start, uint32_t end);

/* rcv_nxt moved on: blocks below it are acknowledged otherwise. */
void sack_advanced(struct conn *c);

/* [start, end) came again; the next segment says so. */
void sack_duplicate(struct conn *c, uint32_t start, uint32_t end);

/* What was kept beyond gaps is given up (RFC 2018 section 8). */
void sack_forget(struct conn *c);

/* Bytes of header that reporting takes now; 0 when there is nothing. */
uint32_t sack_option_bytes(const struct conn *c);

/* Put as many blocks into opts as fit room bytes of header. */
void sack_fill(struct conn *c, uint32_t room, struct seg_opts *opts);

#endif
