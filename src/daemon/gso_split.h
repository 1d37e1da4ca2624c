/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gso_split - the segments of which a large packet was made, one by one.
 *
 * For the rare packet that came in on another worker's queue: what is handed
 * over is no larger than the device's MTU.
 */
#ifndef XTCP_DAEMON_GSO_SPLIT_H
#define XTCP_DAEMON_GSO_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "stack/seg.h"

struct gso_split {
	const struct seg *seg; /* borrowed */
	uint32_t hdr_len; /* of the packet: all before the payload */
	uint32_t done; /* payload bytes handed out */
};

/* Is it several segments in one? */
bool gso_split_needed(const struct seg *seg);

/* seg: a TCP segment with text, as stack_parse_offload() made it. */
void gso_split_init(struct gso_split *split, const struct seg *seg);

/*
 * The next segment as a packet into buf. Returns its length; 0: there are no
 * more, or it is longer than len (and then none of the rest is handed out).
 * TCP's checksum is not filled in: whoever takes it must not look.
 */
uint32_t gso_split_next(struct gso_split *split, uint8_t *buf, uint32_t len);

#endif
