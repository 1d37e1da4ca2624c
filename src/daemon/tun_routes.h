/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tun_routes - the routes of the virtual addresses to the device, and the
 * blackholes behind them.
 */
#ifndef XTCP_DAEMON_TUN_ROUTES_H
#define XTCP_DAEMON_TUN_ROUTES_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/conf.h"
#include "daemon/netlink.h"

struct tun_routes {
	struct netlink *nl; /* borrowed */
	const char *device; /* its name, borrowed */
	int oif; /* its index; 0: there is none yet */
	bool kept; /* a store has the device: no blackholes */
	uint32_t n;
	struct conf_ip vips[CONF_VIPS_MAX];
	/* Bit i: ours for address i; found: blackholes that were there before us. */
	uint64_t ways, blackholes, found;
};

/* An address to be routed, by tun_routes_up(). Returns 0 or -ENOSPC. */
int tun_routes_add(struct tun_routes *tr, const struct conf_ip *ip);

/* Is there an address of this family, 4 or 6? */
bool tun_routes_have(const struct tun_routes *tr, uint8_t family);

/*
 * An adopted device has routes already: those that are wanted stay as they
 * are, others are of addresses that the configuration no longer has, and go.
 */
void tun_routes_adopt(struct tun_routes *tr);

/*
 * Route the addresses, from number `from` on. Returns 0, or a negative errno
 * after logging what failed and what to do.
 */
int tun_routes_up(struct tun_routes *tr, uint32_t from);

/* An address is no longer to be routed; no such address: nothing happens. */
void tun_routes_remove(struct tun_routes *tr, const struct conf_ip *ip);

/* Take away what there may be for an address that was never added. */
void tun_routes_forget(struct tun_routes *tr, const struct conf_ip *ip);

/* Take away all blackholes, of whichever xtcpd. */
void tun_routes_settle(struct tun_routes *tr);

/* Put a blackhole behind each address. */
void tun_routes_bury(struct tun_routes *tr);

/* The end; blackholes that were found may stay. */
void tun_routes_drop_ways(struct tun_routes *tr);
void tun_routes_drop_blackholes(struct tun_routes *tr, bool found_too);

#endif
