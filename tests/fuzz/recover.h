/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recover - what the files of the recover target share.
 */
#ifndef XTCP_TESTS_FUZZ_RECOVER_H
#define XTCP_TESTS_FUZZ_RECOVER_H

#include "fuzz/fuzz.h"
#include "fuzz/world.h"

/*
 * Between world_kill() and world_recover(): note whose each block and chunk
 * is; then write into the arena, n times, as the input says. Records that lose
 * something they need are world.garbled afterwards, and so are those whose
 * tuple one of these has got; all others must be found as they were.
 */
void garble(struct fuzz_in *in, uint32_t n);

/*
 * Writes into the header, as the input says, then asks arena_adopt(); puts it
 * right again. Damage of what it vouches for must be refused, and nothing
 * else.
 */
void garble_header(struct fuzz_in *in);

#endif
