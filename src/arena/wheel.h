/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wheel - a hierarchical timing wheel over active blocks.
 *
 * One entry per block: the earliest of the block's deadlines. Four levels of
 * 64 slots with a tick of 1.024 ms reach 4.7 hours; a later deadline waits in
 * the last slot and is placed again when that comes up. Adding, removing and
 * moving are O(1); an idle connection has no block, so no timer (I3).
 */
#ifndef XTCP_ARENA_WHEEL_H
#define XTCP_ARENA_WHEEL_H

#include <stdint.h>

#include "arena/layout.h"

#define WHEEL_TICK_SHIFT 10 /* 1024 us */
#define WHEEL_LEVELS 4
#define WHEEL_SLOTS 64

struct wheel {
	struct blk *blks; /* borrowed */
	uint64_t tick; /* the next tick to run */
	uint64_t busy[WHEEL_LEVELS]; /* bit per slot that is not empty */
	uint32_t heads[WHEEL_LEVELS][WHEEL_SLOTS];
	uint32_t entries;
};

void wheel_init(struct wheel *wheel, struct blk *blks, uint64_t now_us);

/*
 * Let block i expire at expires_us (not 0; in the past: with the next
 * wheel_expire). Moves an entry that is on the wheel already.
 */
void wheel_set(struct wheel *wheel, uint32_t i, uint64_t expires_us);

/* Take block i off; a block that is not on it is fine. */
void wheel_clear(struct wheel *wheel, uint32_t i);

/*
 * Take the next block that has expired by now_us off the wheel.
 * Returns its number, or NIL. Never early, at most one tick late.
 */
uint32_t wheel_expire(struct wheel *wheel, uint64_t now_us);

/* A time until which nothing can expire (UINT64_MAX: the wheel is empty). */
uint64_t wheel_next_us(const struct wheel *wheel);

#endif
