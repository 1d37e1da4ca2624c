/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_CONF_H
#define XTCP_TOOLS_SWARM_CONF_H

/* conf - the command line. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tools/swarm_tuple.h"

#define SWARM_WATCH_MAX 16u

/* How connections end. */
enum swarm_end { SWARM_END_FIN, SWARM_END_RESET, SWARM_END_VANISH };

struct swarm_conf {
	struct swarm_ip server;
	uint16_t port;
	uint32_t connections;
	uint32_t connect_rate; /* per second; 0: as fast as they are answered */
	double hold_s, duration_s, grace_s;
	uint32_t rate; /* requests per second; 0: not by rate */
	uint32_t outstanding; /* 0: not so */
	uint32_t request_bytes, reply_bytes;
	uint32_t churn; /* connections per second */
	uint32_t flood; /* SYNs per second */
	enum swarm_end end;
	struct swarm_prefix sources, flood_sources;
	const char *device;
	const char *json; /* NULL: standard output */
	uint64_t seed;
	uint32_t mtu;
	uint32_t rto_ms, tries, ack_delay_ms;
	uint32_t tick_us; /* 0: packets are read as they come */
	uint32_t active_max;
	bool verify, timestamps, offload, direct, set_forwarding, progress;
	pid_t watch[SWARM_WATCH_MAX];
	uint32_t n_watch;
};

/*
 * Reads the command line; strings point into argv. Returns -1 to go on, or
 * the exit status: 0 after --help and --version, 2 after logging what is wrong.
 */
int swarm_conf_read(struct swarm_conf *conf, int argc, char **argv);

#endif
