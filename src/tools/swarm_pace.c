/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/swarm_pace.h"

uint64_t swarm_pace_left(const struct swarm_pace *p, uint64_t until_ns)
{
	uint64_t ns, n;

	if (p->per_s == 0 || until_ns <= p->start_ns)
		return 0;
	ns = until_ns - p->start_ns;
	/* rounded up: the first one is due at the start */
	n = ns / NSEC_PER_SEC * p->per_s +
	    (ns % NSEC_PER_SEC * p->per_s + NSEC_PER_SEC - 1) / NSEC_PER_SEC;
	return n > p->n ? n - p->n : 0;
}

uint64_t swarm_pace_skip(struct swarm_pace *p, uint64_t now_ns,
			 uint64_t late_ns)
{
	uint64_t at_ns = swarm_pace_next_ns(p), behind_ns, n;

	if (at_ns >= now_ns || now_ns - at_ns <= late_ns)
		return 0;
	behind_ns = now_ns - at_ns - late_ns;
	n = behind_ns / NSEC_PER_SEC * p->per_s +
	    behind_ns % NSEC_PER_SEC * p->per_s / NSEC_PER_SEC;
	p->n += n;
	return n;
}
