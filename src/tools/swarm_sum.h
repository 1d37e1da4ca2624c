/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_SUM_H
#define XTCP_TOOLS_SWARM_SUM_H

/*
 * The Internet checksum, RFC 1071, in pieces: sums of 16-bit words in network
 * byte order, kept in 32 bits and folded at the end.
 */

#include <stddef.h>
#include <stdint.h>

/* To 16 bits, with the carries added in. */
static inline uint16_t swarm_sum_fold(uint64_t sum)
{
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	return (uint16_t)sum;
}

/* A sum that begins at an odd byte: RFC 1071 section 2 (B). */
static inline uint16_t swarm_sum_swap(uint16_t sum)
{
	return (uint16_t)(sum << 8 | sum >> 8);
}

/* The two words of a 32-bit number. */
static inline uint32_t swarm_sum_u32(uint32_t v)
{
	return (v >> 16) + (v & UINT16_MAX);
}

/* The folded sum of @len bytes, the last one padded with a zero byte. */
uint16_t swarm_sum_bytes(const uint8_t *p, size_t len);

#endif
