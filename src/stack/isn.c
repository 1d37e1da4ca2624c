/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "stack/conn.h"

static uint64_t isn_hash(const struct stack *st, const struct tuple *tuple)
{
	struct siphash_key key = { st->header->secret[2],
				   st->header->secret[3] };
	uint64_t a, b,
		ports = (uint64_t)tuple->remote_port << 32 |
			(uint64_t)tuple->local_port << 16 |
			(uint64_t)tuple->vip << 8 | tuple->v6;

	memcpy(&a, tuple->remote, 8);
	memcpy(&b, tuple->remote + 8, 8);
	return siphash13_u64x5(&key, a, b, ports, 0, 0);
}

/* RFC 6528 section 3: ISN = M + F(tuple, key), M a clock of 4 us. */
uint32_t isn_make(const struct stack *st, const struct tuple *tuple,
		  uint64_t now_us)
{
	return (uint32_t)(now_us / 4) + (uint32_t)isn_hash(st, tuple);
}

/* RFC 7323 section 5.4: a random offset per connection hides the up-time. */
uint32_t isn_ts_offset(const struct stack *st, const struct tuple *tuple)
{
	return (uint32_t)(isn_hash(st, tuple) >> 32);
}
