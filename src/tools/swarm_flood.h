/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_FLOOD_H
#define XTCP_TOOLS_SWARM_FLOOD_H

/*
 * flood - SYNs from random addresses of a prefix, and never a word after.
 * What they are answered is swallowed by the kernel (swarm_net.h).
 */

#include <stdint.h>

#include "tools/swarm_packet.h"
#include "tools/swarm_rng.h"
#include "tools/swarm_tun.h"
#include "tools/swarm_tuple.h"

struct swarm_flood {
	struct swarm_wire wire;
	struct swarm_prefix sources;
	struct swarm_rng rng;
};

/* wire: that of the clients, copied. */
void swarm_flood_init(struct swarm_flood *f, const struct swarm_wire *wire,
		      const struct swarm_prefix *sources, uint64_t seed);

/* Sends one SYN. */
void swarm_flood_send(struct swarm_flood *f, struct swarm_tun *tun,
		      uint32_t tsval);

#endif
