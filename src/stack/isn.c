/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "base/bytes.h"
#include "stack/conn.h"

/* SipHash-2-4: what comes out goes out on the wire (base/siphash.h). */
#define ISN_ROUNDS 2u
#define ISN_FINAL_ROUNDS 4u

uint64_t isn_prf(const struct stack *st, const struct tuple *tuple, uint64_t a,
		 uint64_t b)
{
	struct siphash_key key = { st->header->secret[2],
				   st->header->secret[3] };
	struct siphash_state s = siphash_start(&key);
	uint64_t words[5] = { 0, 0, 0, a, b };

	memcpy(words, tuple->remote, 16);
	words[2] = (uint64_t)tuple->remote_port << 32 |
		   (uint64_t)tuple->local_port << 16 |
		   (uint64_t)tuple->vip << 8 | tuple->v6;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		siphash_word(&s, words[i], ISN_ROUNDS);
	siphash_word(&s, siphash_last_word(0, sizeof(words)), ISN_ROUNDS);
	return siphash_finish(&s, ISN_FINAL_ROUNDS);
}

static uint64_t isn_hash(const struct stack *st, const struct tuple *tuple)
{
	return isn_prf(st, tuple, 0, 0);
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
