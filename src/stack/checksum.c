/* SPDX-License-Identifier: BSD-2-Clause */
#include "stack/checksum.h"

#include <arpa/inet.h>
#include <string.h>

/* End-around carry. */
static uint64_t checksum_carry(uint64_t sum, uint64_t word)
{
	sum += word;
	return sum + (sum < word);
}

uint64_t checksum_add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t even = 0, odd = 0, word;

	/* Halves of 8 bytes add up without carry for 2^32 rounds. */
	for (; len >= 16; len -= 16, p += 16) {
		uint64_t w[2];

		memcpy(w, p, 16);
		even += (w[0] & 0xffffffff) + (w[0] >> 32);
		odd += (w[1] & 0xffffffff) + (w[1] >> 32);
	}
	sum = checksum_carry(sum, even);
	sum = checksum_carry(sum, odd);
	for (; len >= 2; len -= 2, p += 2) {
		uint16_t w;

		memcpy(&w, p, 2);
		sum = checksum_carry(sum, w);
	}
	if (len) {
		uint8_t last[2] = { *p, 0 };
		uint16_t w;

		memcpy(&w, last, 2);
		word = w;
		sum = checksum_carry(sum, word);
	}
	return sum;
}

static uint32_t checksum_fold32(uint64_t sum)
{
	uint32_t s;

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	s = (uint32_t)sum;
	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	return s;
}

uint16_t checksum_fold(uint64_t sum)
{
	return (uint16_t)~checksum_fold32(sum);
}

uint64_t checksum_iov(uint64_t sum, const struct iovec *iov, int iovcnt)
{
	size_t pos = 0;

	for (int i = 0; i < iovcnt; i++) {
		uint64_t part =
			checksum_add(0, iov[i].iov_base, iov[i].iov_len);

		if (pos & 1) {
			/* RFC 1071 section 2 (B): a shifted sum is the swapped one. */
			uint32_t s = checksum_fold32(part);

			part = ((s & 0xff) << 8) | (s >> 8);
		}
		sum = checksum_carry(sum, part);
		pos += iov[i].iov_len;
	}
	return sum;
}

uint64_t checksum_pseudo(const uint8_t *src, const uint8_t *dst,
			 size_t addr_len, uint8_t proto, uint32_t len)
{
	uint64_t sum = checksum_add(0, src, addr_len);

	sum = checksum_add(sum, dst, addr_len);
	sum = checksum_carry(sum, htonl(len));
	return checksum_carry(sum, htonl(proto));
}
