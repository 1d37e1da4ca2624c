/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options - TCP options, both ways (RFC 9293 section 3.2, RFC 7323, RFC 2018).
 */
#ifndef XTCP_STACK_OPTIONS_H
#define XTCP_STACK_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stack/seg.h"

#define TCP_WSCALE_MAX 14u /* RFC 7323 section 2.3 */
#define TCP_OPT_TS_BYTES 12u /* with the two NOPs before it */
/* Bytes that n > 0 SACK blocks take, with the two NOPs before them. */
#define TCP_OPT_SACK_BYTES(n) (4u + 8u * (n))

/*
 * Read the option bytes of a segment into *ret_opts (zeroed first). Options
 * of unknown kind are skipped. Returns false when they contradict themselves:
 * a length of 0 or 1, one beyond the header, or the wrong one for a known kind.
 */
bool options_parse(const uint8_t *bytes, size_t len, struct seg_opts *ret_opts);

/*
 * Write those options that are set, padded with NOPs to whole words, to buf
 * (at least 40 bytes). Returns the bytes written.
 */
uint32_t options_write(uint8_t *buf, const struct seg_opts *opts);

#endif
