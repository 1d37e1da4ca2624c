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

static inline uint64_t checksum_word(const void *p)
{
	uint32_t word;

	memcpy(&word, p, sizeof(word));
	return word;
}

/* The sum of an IPv4 header of len bytes, 20 and a multiple of 4. */
static inline uint64_t checksum_ip4(const void *header, size_t len)
{
	const uint8_t *p = header;
	uint64_t sum = checksum_word(p) + checksum_word(p + 4) +
		       checksum_word(p + 8) + checksum_word(p + 12) +
		       checksum_word(p + 16);

	for (size_t i = 20; i < len; i += 4)
		sum += checksum_word(p + i);
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
	uint64_t sum = (uint64_t)be32_put(len).raw + be32_put(proto).raw;

	for (size_t i = 0; i < addr_len; i += 4)
		sum += checksum_word(src + i) + checksum_word(dst + i);
	return sum;
}

#endif
