/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/swarm_sum.h"

#include <string.h>

#include "base/bytes.h"

/*
 * The sum doesn't depend on byte order but for a swap at the end (RFC 1071
 * section 2 (B)), so that words of 32 bits are added as they lie in memory.
 */
uint16_t swarm_sum_bytes(const uint8_t *p, size_t len)
{
	uint64_t a = 0, b = 0;
	uint32_t w[4];
	uint16_t sum;
	uint8_t rest[16] = { 0 };

	for (; len >= sizeof(w); len -= sizeof(w), p += sizeof(w)) {
		memcpy(w, p, sizeof(w));
		a += (uint64_t)w[0] + w[1];
		b += (uint64_t)w[2] + w[3];
	}
	memcpy(rest, p, len);
	memcpy(w, rest, sizeof(w));
	a += (uint64_t)w[0] + w[1];
	b += (uint64_t)w[2] + w[3];
	sum = swarm_sum_fold((a & UINT32_MAX) + (a >> 32) + (b & UINT32_MAX) +
			     (b >> 32));
	return be16_get((be16){ .raw = sum });
}
