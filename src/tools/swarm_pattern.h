/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_PATTERN_H
#define XTCP_TOOLS_SWARM_PATTERN_H

/*
 * The bytes that clients send: one table of random bytes, which a stream
 * reads round and round from a place of its own. So any piece of any stream
 * lies in memory already, is sent from there and compared there, and its
 * checksum is the difference of two sums that were made in advance.
 *
 * The period is 64 KiB: two streams agree by chance in one of 65536 cases.
 * It divides 2^32, so positions may wrap like sequence numbers.
 */

#include <stdint.h>

#define SWARM_PATTERN_PERIOD 65536u
/* The longest piece that is in one place. */
#define SWARM_PATTERN_PIECE 65536u
#define SWARM_PATTERN_BYTES (SWARM_PATTERN_PERIOD + SWARM_PATTERN_PIECE)

struct swarm_pattern {
	uint8_t bytes[SWARM_PATTERN_BYTES];
	/* sums[i]: of all bytes before the i-th, folded */
	uint16_t sums[SWARM_PATTERN_BYTES + 1];
};

/* Returns NULL when memory is short. To be freed with free(). */
struct swarm_pattern *swarm_pattern_new(uint64_t seed);

/* The byte at position @pos of the stream that begins at @start. */
static inline const uint8_t *swarm_pattern_at(const struct swarm_pattern *p,
					      uint32_t start, uint32_t pos)
{
	return p->bytes + (start + pos) % SWARM_PATTERN_PERIOD;
}

/* The folded checksum of @len bytes from there, at most SWARM_PATTERN_PIECE. */
uint16_t swarm_pattern_sum(const struct swarm_pattern *p, uint32_t start,
			   uint32_t pos, uint32_t len);

#endif
