/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_PACE_H
#define XTCP_TOOLS_SWARM_PACE_H

/*
 * A schedule at a set rate: the k-th event is due at start + k / rate,
 * whatever became of those before. An event that is started late keeps the
 * time that it was scheduled for, so that what is measured from there says
 * what a client would have seen that does not wait for others (no coordinated
 * omission).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/units.h"

struct swarm_pace {
	uint64_t start_ns;
	uint32_t per_s; /* 0: nothing is ever due */
	uint64_t n; /* events taken */
};

static inline void swarm_pace_start(struct swarm_pace *p, uint32_t per_s,
				    uint64_t now_ns)
{
	*p = (struct swarm_pace){ .start_ns = now_ns, .per_s = per_s };
}

/* When the next event is due; UINT64_MAX: never. */
static inline uint64_t swarm_pace_next_ns(const struct swarm_pace *p)
{
	if (p->per_s == 0)
		return UINT64_MAX;
	return p->start_ns + p->n / p->per_s * NSEC_PER_SEC +
	       p->n % p->per_s * NSEC_PER_SEC / p->per_s;
}

/* Whether an event is due; then takes it and says when it was to be. */
static inline bool swarm_pace_take(struct swarm_pace *p, uint64_t now_ns,
				   uint64_t *ret_sched_ns)
{
	uint64_t at_ns = swarm_pace_next_ns(p);

	if (at_ns > now_ns)
		return false;
	*ret_sched_ns = at_ns;
	p->n++;
	return true;
}

/* How many events are due before @until_ns and were not taken. */
uint64_t swarm_pace_left(const struct swarm_pace *p, uint64_t until_ns);

/*
 * Forgets events that are late by more than @late_ns, for what need not be
 * made up for. Returns how many.
 */
uint64_t swarm_pace_skip(struct swarm_pace *p, uint64_t now_ns,
			 uint64_t late_ns);

#endif
