/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checksum - the Internet checksum (RFC 1071).
 *
 * A running sum is a 64-bit number of 16-bit words in memory order; fold it at
 * the end. Pieces may be added one after the other as long as each but the
 * last has even length, or through checksum_iov(), which takes care of odd ones.
 */
#ifndef XTCP_STACK_CHECKSUM_H
#define XTCP_STACK_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "base/bytes.h"

/* End-around carry. */
static inline uint64_t checksum_carry(uint64_t sum, uint64_t word)
{
	sum += word;
	return sum + (sum < word);
}

static inline uint32_t checksum_fold32(uint64_t sum)
{
	uint32_t s;

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	s = (uint32_t)sum;
	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	return s;
}

/* Add len bytes to sum. */
uint64_t checksum_add(uint64_t sum, const void *data, size_t len);

/* Add the bytes of iov, which begin at an even place. */
uint64_t checksum_iov(uint64_t sum, const struct iovec *iov, int iovcnt);

/* The 16-bit complement, in memory order: ready to be stored as it is. */
static inline uint16_t checksum_fold(uint64_t sum)
{
	return (uint16_t)~checksum_fold32(sum);
}

/* The sum of a header: len is a multiple of 4, and less than 2^32. */
static inline uint64_t checksum_words(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t sum = 0;

	for (size_t i = 0; i < len; i += 4) {
		uint32_t word;

		memcpy(&word, p + i, 4);
		sum += word;
	}
	return sum;
}

/*
 * The pseudo-header of RFC 9293 section 3.1: addr_len is 4 or 16, proto the IP
 * protocol, len the bytes of transport header and payload.
 */
static inline uint64_t checksum_pseudo(const uint8_t *src, const uint8_t *dst,
				       size_t addr_len, uint8_t proto,
				       uint32_t len)
{
	return checksum_words(src, addr_len) + checksum_words(dst, addr_len) +
	       be32_put(len).raw + be32_put(proto).raw;
}

#endif
