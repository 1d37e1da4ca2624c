/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * neigh_proxy - proxy entries in the kernel's neighbour tables.
 *
 * Theory of operation
 *
 *	neighbour ── who has VIP? ──> eth0: a proxy entry for it: "I have"
 *	          ── packets ───────> eth0 ── forwarded by the VIP's route ──> xtcp0
 *
 * The kernel answers where an entry says so and the interface forwards: for
 * IPv4 while the address is routed to another interface, so not while the
 * device is away; for IPv6 with the interface's proxy_ndp, which we turn on
 * and off again.
 *
 * Entries carry a protocol number (NDA_PROTOCOL), by which the next xtcpd knows
 * them after a crash. There are two of them: one says that proxy_ndp was off
 * before. Entries of others are left alone.
 *
 * They go at each orderly end, also at one that keeps the device: whoever needs
 * an answer in the pause before the next start asks again after a second.
 */
#include "daemon/neigh_proxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "daemon/conf_load.h"
#include "daemon/neigh_announce.h"
#include "daemon/netlink.h"
#include "daemon/sysctl.h"

/* Of earlier xtcpds, on one interface, that are looked at. */
#define NEIGH_FOUND_MAX 256u

/* Of an entry: ours; ours, and proxy_ndp of its interface was off. */
enum neigh_mark {
	NEIGH_OURS = NETLINK_ROUTE_PROTOCOL,
	NEIGH_OURS_NDP_OFF = NETLINK_ROUTE_PROTOCOL + 1,
};

struct neigh_proxy {
	struct netlink *nl;
	struct conf_tun conf; /* addresses with an entry of ours; interfaces */
	bool ndp_off[CONF_PROXIES_MAX]; /* proxy_ndp was off before */
};

static bool neigh_is_ours(const struct netlink_proxy *p)
{
	return p->protocol == NEIGH_OURS || p->protocol == NEIGH_OURS_NDP_OFF;
}

/* The VIPs alone: for its own addresses the host answers anyway. */
static uint32_t neigh_vips(const struct conf_tun *tun,
			   struct conf_ip ret_ips[CONF_VIPS_MAX])
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < tun->n_vips; i++)
		if (!(tun->own_vips >> i & 1))
			ret_ips[n++] = tun->vips[i];
	return n;
}

static bool neigh_has_ipv6(const struct conf_ip *ips, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (ips[i].family == 6)
			return true;
	return false;
}

static int neigh_index(struct neigh_proxy *np, uint32_t k)
{
	struct netlink_link link;
	int rc = netlink_link_get(np->nl, np->conf.proxies[k], &link);

	return rc < 0 ? rc : link.index;
}

/* --- entries ----------------------------------------------------------- */

/* Removes those of ours that are not among ips; what others made is skipped. */
static void neigh_sort_out(struct neigh_proxy *np, uint32_t k, int index,
			   const struct conf_ip *ips, uint32_t n,
			   uint64_t *ret_others)
{
	struct netlink_proxy found[NEIGH_FOUND_MAX];
	int n_found = netlink_proxy_list(np->nl, index, found, NEIGH_FOUND_MAX);

	*ret_others = 0;
	for (int f = 0; f < n_found; f++) {
		uint32_t i = 0;

		while (i < n &&
		       memcmp(&ips[i], &found[f].ip, sizeof(*ips)) != 0)
			i++;
		np->ndp_off[k] |= found[f].protocol == NEIGH_OURS_NDP_OFF;
		if (i < n && !neigh_is_ours(&found[f]))
			*ret_others |= UINT64_C(1) << i;
		else if (i == n && neigh_is_ours(&found[f]))
			(void)netlink_proxy_del(np->nl, &found[f]);
	}
}

static void neigh_turn_on_ndp(struct neigh_proxy *np, uint32_t k)
{
	const char *link = np->conf.proxies[k];

	if (sysctl_link_get("ipv6", link, "proxy_ndp") == '0' &&
	    sysctl_link_set("ipv6", link, "proxy_ndp", '1') == 0)
		np->ndp_off[k] = true;
}

/* Entries for all ips on interface k, and for no others. */
static int neigh_set(struct neigh_proxy *np, uint32_t k,
		     const struct conf_ip *ips, uint32_t n)
{
	const char *link = np->conf.proxies[k];
	int index = neigh_index(np, k), rc = 0;
	char text[INET6_ADDRSTRLEN];
	uint64_t others;

	if (index < 0)
		return index;
	neigh_sort_out(np, k, index, ips, n, &others);
	if (neigh_has_ipv6(ips, n))
		neigh_turn_on_ndp(np, k);
	for (uint32_t i = 0; i < n && rc == 0; i++) {
		const struct netlink_proxy entry = {
			.ip = ips[i],
			.index = index,
			.protocol = np->ndp_off[k] && ips[i].family == 6
					    ? NEIGH_OURS_NDP_OFF
					    : NEIGH_OURS,
		};

		if (others >> i & 1)
			continue;
		rc = netlink_proxy_add(np->nl, &entry);
		conf_print_ip(&ips[i], text, sizeof(text));
		if (rc < 0)
			log_error("proxy-arp: %s on %s: %s", text, link,
				  strerror(-rc));
	}
	return rc;
}

static void neigh_unset(struct neigh_proxy *np, uint32_t k)
{
	uint64_t others;
	int index = neigh_index(np, k);

	if (index < 0)
		return; /* they went with it */
	neigh_sort_out(np, k, index, NULL, 0, &others);
	if (np->ndp_off[k])
		(void)sysctl_link_set("ipv6", np->conf.proxies[k], "proxy_ndp",
				      '0');
}

/* --- saying so --------------------------------------------------------- */

/* Without, the kernel neither answers nor passes packets on. */
static void neigh_warn_forwarding(const char *link, bool ipv4, bool ipv6)
{
	if (ipv4 && sysctl_link_get("ipv4", link, "forwarding") == '0')
		log_warn(
			"proxy-arp: net.ipv4.conf.%s.forwarding is 0: nobody there reaches "
			"the IPv4 addresses: set net.ipv4.ip_forward to 1",
			link);
	if (ipv6 && (sysctl_link_get("ipv6", link, "forwarding") == '0' ||
		     sysctl_link_get("ipv6", "all", "forwarding") == '0'))
		log_warn(
			"proxy-arp: net.ipv6.conf.all.forwarding is 0: nobody on %s reaches "
			"the IPv6 addresses: set it to 1",
			link);
}

static void neigh_tell(const char *link, const struct conf_ip *ips, uint32_t n)
{
	int rc = neigh_announce(link, ips, n);

	if (rc == -EPERM || rc == -EACCES || rc == -EAFNOSUPPORT)
		log_info(
			"proxy-arp: the neighbours on %s are not told of the addresses, "
			"which takes CAP_NET_RAW and packet sockets: they ask when they "
			"need to know",
			link);
	else if (rc < 0)
		log_warn(
			"proxy-arp: the neighbours on %s are not told of the addresses: %s",
			link, strerror(-rc));
}

/* --- open, change, close ------------------------------------------------ */

static uint32_t neigh_n_links(const struct neigh_proxy *np)
{
	uint32_t n = 0;

	while (n < CONF_PROXIES_MAX && np->conf.proxies[n][0] != '\0')
		n++;
	return n;
}

static int neigh_start(struct neigh_proxy *np)
{
	struct conf_ip ips[CONF_VIPS_MAX];
	uint32_t n = neigh_vips(&np->conf, ips);
	bool ipv6 = neigh_has_ipv6(ips, n), ipv4 = false;
	int rc = netlink_open(&np->nl);

	for (uint32_t i = 0; i < n; i++)
		ipv4 |= ips[i].family == 4;
	for (uint32_t k = 0; k < neigh_n_links(np) && rc == 0; k++) {
		const char *link = np->conf.proxies[k];

		rc = neigh_set(np, k, ips, n);
		if (rc == -ENODEV)
			log_error("proxy-arp: there is no interface %s: see ip "
				  "link",
				  link);
		if (rc < 0)
			break;
		neigh_warn_forwarding(link, ipv4, ipv6);
		neigh_tell(link, ips, n);
	}
	return rc;
}

int neigh_proxy_open(struct neigh_proxy **ret_np, const struct conf_tun *tun)
{
	struct neigh_proxy *np;

	*ret_np = NULL;
	if (tun->proxies[0][0] == '\0')
		return 0;
	np = calloc(1, sizeof(*np));
	if (!np)
		return -ENOMEM;
	np->conf = *tun;
	*ret_np = np;
	return neigh_start(np);
}

void neigh_proxy_change(struct neigh_proxy *np, const struct conf_tun *tun)
{
	struct conf_ip ips[CONF_VIPS_MAX];
	uint32_t n = neigh_vips(tun, ips);

	if (!np)
		return;
	for (uint32_t k = 0; k < neigh_n_links(np); k++)
		if (neigh_set(np, k, ips, n) < 0)
			log_warn("proxy-arp: not all addresses are answered "
				 "for on %s",
				 np->conf.proxies[k]);
}

void neigh_proxy_leave(struct neigh_proxy *np)
{
	if (!np)
		return;
	netlink_close(np->nl);
	free(np);
}

void neigh_proxy_close(struct neigh_proxy *np)
{
	if (np && np->nl)
		for (uint32_t k = 0; k < neigh_n_links(np); k++)
			neigh_unset(np, k);
	neigh_proxy_leave(np);
}
