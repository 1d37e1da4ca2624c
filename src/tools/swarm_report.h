/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_REPORT_H
#define XTCP_TOOLS_SWARM_REPORT_H

/* report - how it went, while it goes and at the end. */

#include <stdbool.h>
#include <stdint.h>

#include "tools/swarm_conf.h"
#include "tools/swarm_load.h"
#include "tools/swarm_tcp.h"
#include "tools/swarm_watch.h"

/* What was so far, at the beginning of a phase. */
struct swarm_mark {
	uint64_t at_ns; /* 0: the phase never began */
	struct swarm_counters count;
	uint64_t user_us, system_us; /* of this process */
	uint64_t resident_bytes;
	uint32_t n_established;
	struct swarm_usage watch[SWARM_WATCH_MAX];
	bool watched[SWARM_WATCH_MAX]; /* the process was there */
};

struct swarm_report {
	struct swarm_mark marks[SWARM_PHASE_DONE + 1];
	uint64_t line_ns; /* when the last line of progress was */
	struct swarm_counters line_count;
};

/* The phase begins. */
void swarm_report_mark(struct swarm_report *r, const struct swarm_load *l);

/* A line on standard error, if a second has passed since the last. */
void swarm_report_progress(struct swarm_report *r, const struct swarm_load *l);

/* Did all go well: nothing violated, failed, lost or unanswered? */
bool swarm_report_ok(const struct swarm_load *l);

/* Writes the object to conf->json. Returns 0, or a negative errno after logging. */
int swarm_report_write(const struct swarm_report *r,
		       const struct swarm_load *l);

#endif
