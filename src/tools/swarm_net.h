/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_NET_H
#define XTCP_TOOLS_SWARM_NET_H

/*
 * net - what the kernel has to know: the device is up, the clients' addresses
 * are behind it, packets are forwarded both ways.
 *
 * No address is assigned to anything. The answers to a flood's SYNs meet a
 * blackhole route, so that the kernel swallows them. All but the blackhole and
 * what --set-forwarding did goes with the device.
 */

#include <stdbool.h>
#include <stdint.h>

#include "tools/swarm_tuple.h"

struct swarm_net_conf {
	const char *device;
	uint32_t mtu;
	struct swarm_prefix sources;
	struct swarm_prefix flood; /* used if has_flood */
	bool has_flood;
	bool set_forwarding; /* turn the host's forwarding on if need be */
	struct swarm_ip server;
};

struct swarm_net;

/*
 * Sets up what is behind the device, which exists, and looks whether packets
 * can get to the server and back. Borrows conf until return. Returns 0, or a
 * negative errno after logging what failed and what to do.
 */
int swarm_net_open(struct swarm_net **ret_net,
		   const struct swarm_net_conf *conf);

/* The index of the device behind which the server is; 0: it is on this host. */
int swarm_net_server_ifindex(const struct swarm_net *net);

/* Takes the blackhole away. Accepts NULL. */
void swarm_net_close(struct swarm_net *net);

#endif
