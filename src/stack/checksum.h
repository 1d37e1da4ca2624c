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
#include <sys/uio.h>

/* Add len bytes to sum. */
uint64_t checksum_add(uint64_t sum, const void *data, size_t len);

/* Add the bytes of iov, which begin at an even place. */
uint64_t checksum_iov(uint64_t sum, const struct iovec *iov, int iovcnt);

/* The 16-bit complement, in memory order: ready to be stored as it is. */
uint16_t checksum_fold(uint64_t sum);

/*
 * The pseudo-header of RFC 9293 section 3.1: addr_len is 4 or 16, proto the IP
 * protocol, len the bytes of transport header and payload.
 */
uint64_t checksum_pseudo(const uint8_t *src, const uint8_t *dst,
			 size_t addr_len, uint8_t proto, uint32_t len);

#endif
