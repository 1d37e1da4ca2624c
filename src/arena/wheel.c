/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entries sit in doubly linked lists, one per slot. An entry due d ticks from
 * now sits on the lowest level whose span holds d; when the clock comes to a
 * slot of a higher level, its entries are placed again, lower. `busy` has a
 * bit per slot that holds something, so empty stretches are skipped, however
 * long they are.
 */
#include "arena/wheel.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"

#define WHEEL_BITS 6
#define WHEEL_MASK (WHEEL_SLOTS - 1u)

static uint64_t wheel_tick_of(uint64_t us)
{
	/* Round up: never early. */
	return (us + ((1u << WHEEL_TICK_SHIFT) - 1)) >> WHEEL_TICK_SHIFT;
}

void wheel_init(struct wheel *wheel, struct blk *blks, uint64_t now_us)
{
	memset(wheel, 0, sizeof(*wheel));
	wheel->blks = blks;
	wheel->tick = now_us >> WHEEL_TICK_SHIFT;
	memset(wheel->heads, 0xff, sizeof(wheel->heads));
}

static void wheel_link(struct wheel *wheel, uint32_t i, uint32_t level,
		       uint32_t slot)
{
	struct wheel_link *link = &wheel->blks[i].wheel;
	uint32_t *head = &wheel->heads[level][slot];

	link->slot = level * WHEEL_SLOTS + slot;
	link->prev = NIL;
	link->next = *head;
	if (*head != NIL)
		wheel->blks[*head].wheel.prev = i;
	*head = i;
	wheel->busy[level] |= UINT64_C(1) << slot;
}

/* Place by link.expires_us relative to wheel.tick. */
static void wheel_place(struct wheel *wheel, uint32_t i)
{
	uint64_t due = max_u64(wheel_tick_of(wheel->blks[i].wheel.expires_us),
			       wheel->tick);
	uint64_t delta = due - wheel->tick;
	uint32_t level = 0;

	while (level < WHEEL_LEVELS - 1 &&
	       delta >= UINT64_C(1) << (WHEEL_BITS * (level + 1)))
		level++;
	if (delta >= UINT64_C(1) << (WHEEL_BITS * WHEEL_LEVELS)) {
		delta = (UINT64_C(1) << (WHEEL_BITS * WHEEL_LEVELS)) - 1;
		due = wheel->tick + delta;
	}
	wheel_link(wheel, i, level,
		   (uint32_t)(due >> (WHEEL_BITS * level)) & WHEEL_MASK);
}

static void wheel_unlink(struct wheel *wheel, uint32_t i)
{
	struct wheel_link *link = &wheel->blks[i].wheel;
	uint32_t level = link->slot / WHEEL_SLOTS,
		 slot = link->slot % WHEEL_SLOTS;

	assert(level < WHEEL_LEVELS);
	if (link->prev != NIL)
		wheel->blks[link->prev].wheel.next = link->next;
	else
		wheel->heads[level][slot] = link->next;
	if (link->next != NIL)
		wheel->blks[link->next].wheel.prev = link->prev;
	if (wheel->heads[level][slot] == NIL)
		wheel->busy[level] &= ~(UINT64_C(1) << slot);
}

void wheel_clear(struct wheel *wheel, uint32_t i)
{
	if (!wheel->blks[i].wheel.expires_us)
		return;
	wheel_unlink(wheel, i);
	wheel->blks[i].wheel.expires_us = 0;
	wheel->entries--;
}

void wheel_set(struct wheel *wheel, uint32_t i, uint64_t expires_us)
{
	struct wheel_link *link = &wheel->blks[i].wheel;

	assert(expires_us);
	if (link->expires_us == expires_us)
		return;
	wheel_clear(wheel, i);
	link->expires_us = expires_us;
	wheel_place(wheel, i);
	wheel->entries++;
}

/* Place a whole slot's entries again (they land on a lower level). */
static void wheel_cascade(struct wheel *wheel, uint32_t level, uint32_t slot)
{
	uint32_t i = wheel->heads[level][slot];

	wheel->heads[level][slot] = NIL;
	wheel->busy[level] &= ~(UINT64_C(1) << slot);
	while (i != NIL) {
		uint32_t next = wheel->blks[i].wheel.next;

		wheel_place(wheel, i);
		i = next;
	}
}

/* The clock has come to a new tick: bring down what higher levels hold for it. */
static void wheel_enter_tick(struct wheel *wheel)
{
	for (uint32_t level = 1; level < WHEEL_LEVELS; level++) {
		if (wheel->tick & ((UINT64_C(1) << (WHEEL_BITS * level)) - 1))
			break;
		wheel_cascade(wheel, level,
			      (uint32_t)(wheel->tick >> (WHEEL_BITS * level)) &
				      WHEEL_MASK);
	}
}

/*
 * Ticks from wheel.tick on to the start of the next slot of the level that
 * holds something; UINT64_MAX: none does. On the higher levels the present
 * slot was emptied when the clock came to it: what it holds is a round ahead.
 */
static uint64_t wheel_ticks_to_busy(const struct wheel *wheel, uint32_t level)
{
	uint64_t pos = (wheel->tick >> (WHEEL_BITS * level)) + (level > 0);
	uint32_t turn = (uint32_t)pos & WHEEL_MASK;
	uint64_t busy = wheel->busy[level];

	if (!busy)
		return UINT64_MAX;
	busy = busy >> turn | busy << (-turn & WHEEL_MASK);
	pos += (uint64_t)__builtin_ctzll(busy);
	return (pos << (WHEEL_BITS * level)) - wheel->tick;
}

/* Ticks that can be skipped from wheel.tick on: nothing expires or cascades. */
static uint64_t wheel_idle_ticks(const struct wheel *wheel)
{
	uint64_t idle = UINT64_MAX;

	for (uint32_t level = 0; level < WHEEL_LEVELS; level++)
		idle = min_u64(idle, wheel_ticks_to_busy(wheel, level));
	return idle;
}

uint32_t wheel_expire(struct wheel *wheel, uint64_t now_us)
{
	uint64_t now = now_us >> WHEEL_TICK_SHIFT;

	if (!wheel->entries) {
		wheel->tick = max_u64(wheel->tick, now);
		return NIL;
	}
	while (wheel->tick <= now) {
		uint32_t i = wheel->heads[0][wheel->tick & WHEEL_MASK];

		if (i != NIL) {
			wheel_clear(wheel, i);
			return i;
		}
		if (wheel->tick == now)
			break;
		wheel->tick +=
			min_u64(wheel_idle_ticks(wheel), now - wheel->tick);
		wheel_enter_tick(wheel);
	}
	return NIL;
}

uint64_t wheel_next_us(const struct wheel *wheel)
{
	if (!wheel->entries)
		return UINT64_MAX;
	return (wheel->tick + wheel_idle_ticks(wheel)) << WHEEL_TICK_SHIFT;
}
