/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link - one way between a client and the stack: loses, delays, reorders,
 * duplicates, corrupts, queues, and has an MTU.
 */
#ifndef XTCP_SIM_LINK_H
#define XTCP_SIM_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "rng.h"

struct world;
struct flow;

struct packet {
	struct flow *flow; /* to or from whom; NULL: an attacker's */
	uint32_t len;
	bool to_stack;
	bool corrupt; /* a bit was flipped on the way */
	bool forged; /* not the client's own */
	uint8_t bytes[] __attribute__((aligned(8)));
};

enum mtu_mode { MTU_BLACKHOLE, MTU_ICMP, MTU_FRAGMENT };

struct link_conf {
	uint32_t delay_us, jitter_us;
	uint32_t loss_ppm;
	uint32_t burst_ppm, burst_end_ppm; /* enter, and leave, total loss */
	uint32_t reorder_ppm, reorder_us;
	uint32_t dup_ppm;
	uint32_t corrupt_ppm;
	uint32_t rate_kbps; /* 0: no limit */
	uint32_t queue_us;
	uint32_t ce_us; /* 0, or mark from so much queue on */
	uint32_t mtu; /* 0: any */
	uint8_t mtu_mode; /* enum mtu_mode */
};

struct link {
	struct link_conf conf;
	bool to_stack;
	bool in_burst;
	uint64_t busy_us; /* the wire is in use until */
	uint64_t last_us; /* arrival of the last one in order */
	uint16_t ip_id;
	struct rng rng;
};

/* Two ways. */
struct path {
	struct link up, down; /* to the stack; to the client */
};

/* Copy the packet and have it arrive, or not. */
void link_send(struct world *w, struct link *l, struct flow *f,
	       const uint8_t *bytes, uint32_t len, bool forged);

/* No impairment from here on but the delay and an MTU. */
void link_heal(struct link *l);

#endif
