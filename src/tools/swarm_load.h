/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_LOAD_H
#define XTCP_TOOLS_SWARM_LOAD_H

/*
 * load - which client does what, and when: the phases of a run.
 *
 *	connect ─> hold ─> load ─> drain ─> close ─> done
 */

#include <stdbool.h>
#include <stdint.h>

#include "tools/swarm_conf.h"
#include "tools/swarm_flood.h"
#include "tools/swarm_pace.h"
#include "tools/swarm_rng.h"
#include "tools/swarm_tcp.h"

enum swarm_phase {
	SWARM_PHASE_CONNECT,
	SWARM_PHASE_HOLD, /* nothing is asked; churn and flood go on */
	SWARM_PHASE_LOAD,
	SWARM_PHASE_DRAIN, /* what was asked is still answered */
	SWARM_PHASE_CLOSE,
	SWARM_PHASE_DONE,
};

extern const char *const swarm_phase_names[];

/* Clients that were drawn, their records being fetched from memory. */
#define SWARM_DRAWN 16u

struct swarm_load {
	const struct swarm_conf *conf; /* borrowed */
	struct swarm_tcp *tcp; /* borrowed */
	struct swarm_flood flood;
	struct swarm_rng rng;
	enum swarm_phase phase;
	uint64_t phase_ns; /* when the phase began */
	uint64_t load_end_ns; /* when the last request may be due */
	uint32_t cursor; /* the next client to connect, or to close */
	struct swarm_pace connects, requests, churn, syns;
	uint32_t drawn[SWARM_DRAWN], n_drawn;
	bool blocked; /* a request is due, and nobody can make it */
	uint64_t late; /* requests begun more than SWARM_LATE_NS late */
};

/* A request that we began later than that was held up by us. */
#define SWARM_LATE_NS NSEC_PER_MSEC

void swarm_load_init(struct swarm_load *l, const struct swarm_conf *conf,
		     struct swarm_tcp *tcp);

/* Does what is due at tcp->now_ns. Returns whether the phase has changed. */
bool swarm_load_step(struct swarm_load *l);

/* When swarm_load_step() has to be called at the latest. */
uint64_t swarm_load_next_ns(const struct swarm_load *l);

/* The user wants an end: on to the last phases. */
void swarm_load_stop(struct swarm_load *l);

#endif
