/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netlink - links and routes of the network namespace, through rtnetlink.
 *
 * One blocking request and its answer at a time, for set-up and tear-down in
 * the main thread.
 */
#ifndef XTCP_DAEMON_NETLINK_H
#define XTCP_DAEMON_NETLINK_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/conf.h"

/* rtm_protocol of our routes: deleting one never hits another's. */
#define NETLINK_ROUTE_PROTOCOL 120

struct netlink;

/* Returns 0 or a negative errno. */
int netlink_open(struct netlink **ret_nl);

/* Accepts NULL. */
void netlink_close(struct netlink *nl);

struct netlink_link {
	int index;
	uint32_t mtu, txqlen;
	bool up;
	bool is_tun;
	uint32_t tun_queues; /* descriptors attached to the TUN */
};

/* Returns 0, or a negative errno: -ENODEV when there is no such link. */
int netlink_link_get(struct netlink *nl, const char *name,
		     struct netlink_link *ret_link);

/* Sets mtu, txqlen and up of the link of this index. */
int netlink_link_set(struct netlink *nl, const struct netlink_link *link);

/*
 * Packets to the link go straight to its queues: the root qdisc becomes
 * "noqueue". Returns 0 or a negative errno.
 */
int netlink_link_noqueue(struct netlink *nl, int index);

/* A route to one address, in the main table. */
struct netlink_route {
	struct conf_ip dst;
	int oif; /* index of the link; 0: blackhole */
	uint32_t metric;
};

/* Returns 0, or a negative errno: -EEXIST when dst has a route of this metric. */
int netlink_route_add(struct netlink *nl, const struct netlink_route *route);

/* Deletes a route that netlink_route_add() made; -ESRCH: it is not there. */
int netlink_route_del(struct netlink *nl, const struct netlink_route *route);

/*
 * Our routes to single addresses of this family (4 or 6) through the link, up
 * to max of them. Returns how many were found, or a negative errno.
 */
int netlink_route_list(struct netlink *nl, int oif, uint8_t family,
		       struct netlink_route *ret_routes, uint32_t max);

/* This host answers ARP or neighbour discovery for ip on the link. */
struct netlink_proxy {
	struct conf_ip ip;
	int index; /* of the link */
	uint8_t protocol; /* who made it: NDA_PROTOCOL */
};

/* Returns 0 or a negative errno; one that is there is taken over. */
int netlink_proxy_add(struct netlink *nl, const struct netlink_proxy *proxy);
int netlink_proxy_del(struct netlink *nl, const struct netlink_proxy *proxy);

/* Those of a link, up to max. Returns how many, or a negative errno. */
int netlink_proxy_list(struct netlink *nl, int index,
		       struct netlink_proxy *ret_proxies, uint32_t max);

/* Which way packets of this host to dst go: an RTN_* type and a link's index. */
int netlink_route_lookup(struct netlink *nl, const struct conf_ip *dst,
			 uint8_t *ret_type, int *ret_oif);

#endif
