/* SPDX-License-Identifier: BSD-2-Clause */
#include "stack/checksum.h"

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
