/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tun_routes - see tun.c for when there are which.
 *
 *	vip/32 dev xtcp0, metric 1		a way
 *	blackhole vip/32, the last metric	behind it, when nobody keeps the device
 *
 * Both carry a protocol number of our own (netlink.h), so that a route of the
 * operator's is told from one that a dead xtcpd left, which is replaced.
 */
#include "daemon/tun_routes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/log.h"

/* Worse than any route that an operator would give a metric to. */
#define TUN_BLACKHOLE_METRIC (UINT32_MAX - 1)
/* Better than what routing daemons use; IPv6 takes 0 for 1024. */
#define TUN_ROUTE_METRIC 1
/* Routes of an earlier configuration that are looked for. */
#define TUN_ROUTES_MAX (2 * CONF_VIPS_MAX)

static const char *tun_routes_text(const struct conf_ip *ip,
				   char text[INET6_ADDRSTRLEN])
{
	return inet_ntop(ip->family == 4 ? AF_INET : AF_INET6, ip->bytes, text,
			 INET6_ADDRSTRLEN);
}

static bool tun_routes_same(const struct conf_ip *a, const struct conf_ip *b)
{
	return a->family == b->family &&
	       memcmp(a->bytes, b->bytes, a->family == 4 ? 4 : 16) == 0;
}

int tun_routes_add(struct tun_routes *tr, const struct conf_ip *ip)
{
	if (tr->n == CONF_VIPS_MAX)
		return -ENOSPC;
	tr->vips[tr->n++] = *ip;
	return 0;
}

bool tun_routes_have(const struct tun_routes *tr, uint8_t family)
{
	for (uint32_t i = 0; i < tr->n; i++)
		if (tr->vips[i].family == family)
			return true;
	return false;
}

static struct netlink_route tun_routes_make(const struct tun_routes *tr,
					    uint32_t i, bool blackhole)
{
	return (struct netlink_route){
		.dst = tr->vips[i],
		.oif = blackhole ? 0 : tr->oif,
		.metric = blackhole ? TUN_BLACKHOLE_METRIC : TUN_ROUTE_METRIC,
	};
}

/* Adds the route, in place of one that a dead xtcpd left (*ret_found). */
static int tun_routes_replace(struct tun_routes *tr,
			      const struct netlink_route *route,
			      bool *ret_found)
{
	int rc = netlink_route_add(tr->nl, route);

	*ret_found = rc == -EEXIST && netlink_route_del(tr->nl, route) == 0;
	if (*ret_found)
		rc = netlink_route_add(tr->nl, route);
	return rc;
}

static bool tun_routes_is_wanted(struct tun_routes *tr,
				 const struct netlink_route *route)
{
	for (uint32_t i = 0; i < tr->n; i++) {
		if (route->metric != TUN_ROUTE_METRIC ||
		    !tun_routes_same(&tr->vips[i], &route->dst))
			continue;
		tr->ways |= UINT64_C(1) << i;
		return true;
	}
	return false;
}

/*
 * An adopted device has routes already: those that are wanted stay as they
 * are, others are of addresses that the configuration no longer has.
 */
static void tun_routes_find(struct tun_routes *tr, uint8_t family)
{
	struct netlink_route found[TUN_ROUTES_MAX];
	char text[INET6_ADDRSTRLEN];
	int n = netlink_route_list(tr->nl, tr->oif, family, found,
				   TUN_ROUTES_MAX);

	if (n < 0)
		log_warn("tun %s: its routes cannot be read: %s", tr->device,
			 strerror(-n));
	for (int i = 0; i < n; i++) {
		if (tun_routes_is_wanted(tr, &found[i]))
			continue;
		log_info("vip %s: no longer configured: its route goes",
			 tun_routes_text(&found[i].dst, text));
		(void)netlink_route_del(tr->nl, &found[i]);
	}
}

/* Would packets to the VIP reach this host's own sockets? */
static int tun_routes_check_not_local(struct tun_routes *tr, uint32_t i)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t type;
	int oif;

	if (netlink_route_lookup(tr->nl, &tr->vips[i], &type, &oif) < 0 ||
	    type != RTN_LOCAL)
		return 0;
	tun_routes_text(&tr->vips[i], text);
	log_error(
		"vip %s: this host has the address on an interface: take it off there "
		"(ip address del), it must only be routed to the TUN",
		text);
	return -EADDRINUSE;
}

/* A policy rule or a route of somebody else may still win: say so. */
static void tun_routes_check_way(struct tun_routes *tr, uint32_t i)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t type;
	int oif;

	if (netlink_route_lookup(tr->nl, &tr->vips[i], &type, &oif) == 0 &&
	    oif == tr->oif)
		return;
	tun_routes_text(&tr->vips[i], text);
	log_warn(
		"vip %s: packets to it do not take the route to %s: see ip route get %s",
		text, tr->device, text);
}

static int tun_routes_blackhole(struct tun_routes *tr, uint32_t i)
{
	struct netlink_route blackhole = tun_routes_make(tr, i, true);
	char text[INET6_ADDRSTRLEN];
	bool found;
	int rc = tun_routes_replace(tr, &blackhole, &found);

	if (rc == -EEXIST) { /* the operator's own serves as well */
		log_info("vip %s: keeping the route of metric %u that is there",
			 tun_routes_text(&blackhole.dst, text),
			 TUN_BLACKHOLE_METRIC);
		return 0;
	}
	tr->blackholes |= (uint64_t)(rc == 0) << i;
	tr->found |= (uint64_t)found << i;
	return rc;
}

static int tun_routes_way(struct tun_routes *tr, uint32_t i)
{
	struct netlink_route way = tun_routes_make(tr, i, false);
	char text[INET6_ADDRSTRLEN];
	bool found;
	int rc;

	rc = tun_routes_check_not_local(tr, i);
	if (rc < 0)
		return rc;
	if (!tr->kept)
		rc = tun_routes_blackhole(tr, i);
	if (rc == 0 && !(tr->ways & UINT64_C(1) << i))
		rc = tun_routes_replace(tr, &way, &found);
	if (rc == 0) {
		tr->ways |= UINT64_C(1) << i;
		tun_routes_check_way(tr, i);
		return 0;
	}
	log_error("vip %s: route to %s: %s%s", tun_routes_text(&way.dst, text),
		  tr->device, strerror(-rc),
		  rc == -EEXIST
			  ? ": delete the one that exists, see ip route show"
			  : "");
	return rc;
}

void tun_routes_adopt(struct tun_routes *tr)
{
	tun_routes_find(tr, 4);
	if (tun_routes_have(tr, 6))
		tun_routes_find(tr, 6);
}

int tun_routes_up(struct tun_routes *tr, uint32_t from)
{
	int rc = 0;

	for (uint32_t i = from; i < tr->n && rc == 0; i++)
		rc = tun_routes_way(tr, i);
	return rc;
}

static void tun_routes_withdraw(struct tun_routes *tr, uint64_t which,
				bool blackhole)
{
	char text[INET6_ADDRSTRLEN];
	struct netlink_route route;
	int rc;

	for (uint32_t i = 0; i < tr->n; i++) {
		if (!(which & UINT64_C(1) << i))
			continue;
		route = tun_routes_make(tr, i, blackhole);
		rc = netlink_route_del(tr->nl, &route);
		if (rc < 0 && rc != -ESRCH)
			log_warn("vip %s: the %s cannot be removed: %s",
				 tun_routes_text(&route.dst, text),
				 blackhole ? "blackhole" : "route",
				 strerror(-rc));
	}
}

static void tun_routes_unroute(struct tun_routes *tr, uint32_t i)
{
	uint64_t bit = UINT64_C(1) << i;

	tun_routes_withdraw(tr, tr->ways & bit, false);
	tun_routes_withdraw(tr, tr->blackholes & bit, true);
	tr->ways &= ~bit;
	tr->blackholes &= ~bit;
	tr->found &= ~bit;
}

/* What mask says of address `from` it says of `to` from here on. */
static void tun_routes_move_bit(uint64_t *mask, uint32_t from, uint32_t to)
{
	uint64_t was = *mask >> from & 1;

	*mask &= ~(UINT64_C(1) << from);
	*mask &= ~(UINT64_C(1) << to);
	*mask |= was << to;
}

static uint32_t tun_routes_index(const struct tun_routes *tr,
				 const struct conf_ip *ip)
{
	uint32_t i = 0;

	while (i < tr->n && !tun_routes_same(&tr->vips[i], ip))
		i++;
	return i;
}

/* The last one takes the place of the one that goes. */
void tun_routes_remove(struct tun_routes *tr, const struct conf_ip *ip)
{
	uint32_t i = tun_routes_index(tr, ip), last = tr->n - 1;

	if (i == tr->n)
		return;
	tun_routes_unroute(tr, i);
	tun_routes_move_bit(&tr->ways, last, i);
	tun_routes_move_bit(&tr->blackholes, last, i);
	tun_routes_move_bit(&tr->found, last, i);
	tr->vips[i] = tr->vips[last];
	tr->n--;
}

void tun_routes_forget(struct tun_routes *tr, const struct conf_ip *ip)
{
	struct netlink_route way = { .dst = *ip,
				     .oif = tr->oif,
				     .metric = TUN_ROUTE_METRIC };
	struct netlink_route blackhole = { .dst = *ip,
					   .metric = TUN_BLACKHOLE_METRIC };

	(void)netlink_route_del(tr->nl, &way);
	(void)netlink_route_del(tr->nl, &blackhole);
}

void tun_routes_settle(struct tun_routes *tr)
{
	for (uint32_t i = 0; i < tr->n; i++) {
		struct netlink_route blackhole = tun_routes_make(tr, i, true);

		(void)netlink_route_del(tr->nl, &blackhole);
	}
}

void tun_routes_bury(struct tun_routes *tr)
{
	for (uint32_t i = 0; i < tr->n; i++)
		(void)tun_routes_blackhole(tr, i);
}

void tun_routes_drop_ways(struct tun_routes *tr)
{
	tun_routes_withdraw(tr, tr->ways, false);
}

void tun_routes_drop_blackholes(struct tun_routes *tr, bool found_too)
{
	tun_routes_withdraw(tr, tr->blackholes & ~(found_too ? 0 : tr->found),
			    true);
}
