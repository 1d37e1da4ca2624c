/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * neigh_proxy - this host answers ARP and neighbour discovery for VIPs that lie
 * in the subnet of one of its interfaces: the key "proxy-arp" of the tun.
 */
#ifndef XTCP_DAEMON_NEIGH_PROXY_H
#define XTCP_DAEMON_NEIGH_PROXY_H

#include "daemon/conf.h"

struct neigh_proxy;

/*
 * Answer for the VIPs of tun on its interfaces, and tell the neighbours. What
 * an earlier xtcpd left there is taken over. Sets ret_np to NULL when there are
 * no interfaces. Returns 0, or a negative errno after logging; then, too, it
 * is to be ended in one of the ways below.
 */
int neigh_proxy_open(struct neigh_proxy **ret_np, const struct conf_tun *tun);

/* At a reload: for the VIPs of tun, on the same interfaces. Accepts NULL. */
void neigh_proxy_change(struct neigh_proxy *np, const struct conf_tun *tun);

/* Leave all as it is for the next xtcpd; accepts NULL. */
void neigh_proxy_leave(struct neigh_proxy *np);

/* Undo it all; accepts NULL. */
void neigh_proxy_close(struct neigh_proxy *np);

#endif
