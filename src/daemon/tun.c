/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tun - sets the TUN device up, and takes it down again.
 *
 * Theory of operation
 *
 *	kernel routing ── vip/32 dev xtcp0 ──────────> queue i ── worker i
 *	               └─ blackhole vip/32, last metric: when the device is gone
 *
 * The device lives as long as one of its descriptors; the route to it goes
 * with it. What happens while no xtcpd runs depends on who holds them.
 *
 * Nobody but us: the device goes with the process. The blackhole stays when
 * the daemon dies, and is taken over by the next one: our routes carry a
 * protocol number of their own, by which a route of the operator's is told
 * from one that a dead xtcpd left.
 *
 * A descriptor store (fdstore.h): the device, its routes and what clients send
 * wait for the next process, which adopts the queues (tun_adopt.h) and touches
 * nothing that is as it should be: no packet finds the device without a route
 * or down. There is no blackhole then. It would only matter once the store has
 * let go of the device, and that is a final stop: nobody would be left to take
 * the blackhole away, and the address would stay dead. One that an xtcpd
 * without a store left is kept until this one serves (tun_settle()), as its
 * start may fail. When the store's owner dies before us, the blackholes are
 * made on the way out (tun_leave()).
 *
 * The order matters: IPv6 autoconfiguration is turned off while the device is
 * still down, as coming up starts it; blackholes come before routes, so that
 * there is no instant at which a VIP has neither.
 *
 * A device of the name that nobody uses (made with ip-tuntap(8), so that
 * xtcpd could run without CAP_NET_ADMIN for it) is taken over, and given back
 * with the MTU and the state it had, and without offloads.
 */
#include "daemon/tun.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "daemon/netlink.h"
#include "daemon/sysctl.h"
#include "daemon/tun_adopt.h"

/* Worse than any route that an operator would give a metric to. */
#define TUN_BLACKHOLE_METRIC (UINT32_MAX - 1)
/* Better than what routing daemons use; IPv6 takes 0 for 1024. */
#define TUN_ROUTE_METRIC 1
/* Packets that wait per queue while its worker is busy, or one process follows
 * another; the default of 500 is lost in a burst of a millisecond. Costs
 * nothing while the queue is empty, 23 MiB when it is full of 1500 bytes. */
#define TUN_TXQLEN 10000
/* Routes of an earlier configuration that are looked for. */
#define TUN_ROUTES_MAX (2 * CONF_VIPS_MAX)

struct tun {
	struct conf_tun conf;
	struct netlink *nl;
	struct netlink_link link;
	struct netlink_link before; /* index 0: we made the device */
	bool kept; /* a store has the queues */
	bool offloads;
	bool own_ipv6; /* the host's own IPv6 addresses send from here */
	uint32_t n_queues, n_adopted;
	/* Bit i: ours for VIP i; found: blackholes that were there before us. */
	uint64_t routes, blackholes, found;
	int *fds; /* n_queues, -1: none yet */
};

static const char *tun_ip_text(const struct conf_ip *ip,
			       char text[INET6_ADDRSTRLEN])
{
	return inet_ntop(ip->family == 4 ? AF_INET : AF_INET6, ip->bytes, text,
			 INET6_ADDRSTRLEN);
}

static bool tun_has_family(const struct conf_tun *conf, uint8_t family)
{
	for (uint32_t i = 0; i < conf->n_vips; i++)
		if (conf->vips[i].family == family)
			return true;
	return false;
}

static bool tun_has_ipv6(const struct conf_tun *conf)
{
	return tun_has_family(conf, 6);
}

/* The configuration; the host's own addresses are not ours to route. */
static void tun_take_conf(struct tun *tun, const struct conf_tun *conf)
{
	tun->conf = *conf;
	tun->conf.n_vips = 0;
	for (uint32_t i = 0; i < conf->n_vips; i++) {
		if (!(conf->own_vips >> i & 1))
			tun->conf.vips[tun->conf.n_vips++] = conf->vips[i];
		else if (conf->vips[i].family == 6)
			tun->own_ipv6 = true;
	}
}

/* --- the device -------------------------------------------------------- */

/*
 * A device of the name: is it one that we may use? The kernel still counts
 * n_dropped queues that we have just let go of.
 */
static int tun_check_existing(struct tun *tun, uint32_t n_dropped)
{
	const char *name = tun->conf.name;
	struct netlink_link link;
	int rc = netlink_link_get(tun->nl, name, &link);

	if (rc == -ENODEV)
		return 0;
	if (rc < 0) {
		log_error("tun %s: cannot be looked up: %s", name,
			  strerror(-rc));
		return rc;
	}
	if (!link.is_tun) {
		log_error("tun %s: a network device of this name is no TUN: "
			  "choose another name in the configuration",
			  name);
		return -EEXIST;
	}
	if (tun->n_adopted) {
		if (link.tun_queues > tun->n_adopted + n_dropped)
			log_warn(
				"tun %s: %u of its queues are somebody else's, and so are the "
				"packets that come in there",
				name,
				link.tun_queues - tun->n_adopted - n_dropped);
		return 0;
	}
	if (link.tun_queues > n_dropped) {
		log_error(
			"tun %s: another process uses it: is an xtcpd running already? "
			"Stop it, or choose another name",
			name);
		return -EBUSY;
	}
	log_info("tun %s: the device exists and is unused: taking it over",
		 name);
	tun->before = link;
	return 0;
}

/* Attaches the queues that are missing, and has them kept at once. */
static int tun_attach_queues(struct tun *tun)
{
	for (uint32_t i = 0; i < tun->n_queues; i++) {
		if (tun->fds[i] >= 0)
			continue;
		tun->fds[i] =
			tun_queue_attach(tun->conf.name, i, tun->before.index);
		if (tun->fds[i] < 0)
			return tun->fds[i];
		if (tun->kept)
			(void)tun_keep_queue(tun->conf.name, i, tun->fds[i]);
	}
	return netlink_link_get(tun->nl, tun->conf.name, &tun->link);
}

static int tun_open_queues(struct tun *tun, uint32_t n, struct fdstore *store)
{
	uint32_t n_dropped;
	int rc;

	tun->fds = calloc(n, sizeof(*tun->fds));
	if (!tun->fds)
		return -ENOMEM;
	tun->n_adopted = tun_adopt_queues(store, tun->conf.name, n, tun->fds,
					  &n_dropped);
	tun->n_queues = n;
	rc = tun_check_existing(tun, n_dropped);
	if (rc == 0)
		rc = tun_attach_queues(tun);
	if (rc == 0)
		tun->offloads =
			tun_queue_offload(tun->fds[0], tun->conf.offload);
	if (rc == 0 && tun->conf.offload && !tun->offloads)
		log_warn(
			"tun %s: the kernel does not offload: each packet is one segment",
			tun->conf.name);
	return rc;
}

/*
 * Packets wait in the device's own queues, and what has no room there is lost,
 * whatever stands before: a queueing discipline is a lock per packet and no
 * more. One that an operator gave to a device of his own stays.
 */
static void tun_set_noqueue(const struct tun *tun)
{
	int rc;

	if (tun->before.index || tun->n_adopted)
		return;
	rc = netlink_link_noqueue(tun->nl, tun->link.index);
	if (rc < 0)
		log_warn("tun %s: qdisc noqueue: %s", tun->conf.name,
			 strerror(-rc));
}

static int tun_bring_up(struct tun *tun)
{
	int rc;

	tun->link.mtu = tun->conf.mtu;
	tun->link.txqlen = max_u32(tun->link.txqlen, TUN_TXQLEN);
	tun->link.up = true;
	rc = netlink_link_set(tun->nl, &tun->link);
	if (rc < 0)
		log_error("tun %s: mtu %u, up: %s", tun->conf.name,
			  tun->conf.mtu, strerror(-rc));
	else
		tun_set_noqueue(tun);
	return rc;
}

/* --- sysctls ----------------------------------------------------------- */

/* They go with the device, so nothing restores them. */
static int tun_sysctl(const struct tun *tun, const char *family,
		      const char *key, char value)
{
	return sysctl_link_set(family, tun->conf.name, key, value);
}

static int tun_set_ipv6_sysctls(const struct tun *tun)
{
	const char *name = tun->conf.name;
	bool wanted = tun->own_ipv6 || tun_has_ipv6(&tun->conf);

	if (access("/proc/sys/net/ipv6", F_OK) < 0) {
		if (!wanted)
			return 0;
		log_error(
			"tun %s: there are IPv6 addresses in vip or listen, but this host has no "
			"IPv6: leave them out, or boot without ipv6.disable=1",
			name);
		return -EAFNOSUPPORT;
	}
	if (tun_sysctl(tun, "ipv6", "disable_ipv6", wanted ? '0' : '1') < 0 &&
	    wanted) {
		log_error(
			"tun %s: there are IPv6 addresses in vip or listen, but IPv6 cannot be "
			"turned on for the device",
			name);
		return -EAFNOSUPPORT;
	}
	if (!wanted)
		return 0;
	/* no link-local address, no router solicitations, no listener reports */
	(void)tun_sysctl(tun, "ipv6", "addr_gen_mode", '1');
	(void)tun_sysctl(tun, "ipv6", "accept_ra", '0');
	(void)tun_sysctl(tun, "ipv6", "autoconf", '0');
	/* what comes in here may go on, where the kernel can say so (6.17) */
	if (sysctl_link_get("ipv6", name, "force_forwarding") >= 0)
		(void)tun_sysctl(tun, "ipv6", "force_forwarding", '1');
	if (tun_has_ipv6(&tun->conf) &&
	    sysctl_link_get("ipv6", "all", "forwarding") == '0')
		log_warn(
			"net.ipv6.conf.all.forwarding is 0: only clients on this host reach "
			"the IPv6 addresses");
	return 0;
}

static int tun_set_sysctls(const struct tun *tun)
{
	/* packets from the VIPs come in here */
	(void)tun_sysctl(tun, "ipv4", "rp_filter", '0');
	(void)tun_sysctl(tun, "ipv4", "forwarding", '1');
	if (tun_has_family(&tun->conf, 4) &&
	    sysctl_link_get("ipv4", "all", "forwarding") == '0')
		log_warn(
			"net.ipv4.ip_forward is 0: only clients on this host reach the IPv4 "
			"addresses");
	return tun_set_ipv6_sysctls(tun);
}

/* --- routes ------------------------------------------------------------ */

static struct netlink_route tun_route(const struct tun *tun, uint32_t i,
				      bool blackhole)
{
	return (struct netlink_route){
		.dst = tun->conf.vips[i],
		.oif = blackhole ? 0 : tun->link.index,
		.metric = blackhole ? TUN_BLACKHOLE_METRIC : TUN_ROUTE_METRIC,
	};
}

/* Adds the route, in place of one that a dead xtcpd left (*ret_found). */
static int tun_replace_route(struct tun *tun, const struct netlink_route *route,
			     bool *ret_found)
{
	int rc = netlink_route_add(tun->nl, route);

	*ret_found = rc == -EEXIST && netlink_route_del(tun->nl, route) == 0;
	if (*ret_found)
		rc = netlink_route_add(tun->nl, route);
	return rc;
}

static bool tun_is_vip_route(struct tun *tun, const struct netlink_route *route)
{
	for (uint32_t i = 0; i < tun->conf.n_vips; i++) {
		const struct conf_ip *vip = &tun->conf.vips[i];

		if (route->metric != TUN_ROUTE_METRIC ||
		    vip->family != route->dst.family ||
		    memcmp(vip->bytes, route->dst.bytes,
			   vip->family == 4 ? 4 : 16) != 0)
			continue;
		tun->routes |= UINT64_C(1) << i;
		return true;
	}
	return false;
}

/*
 * An adopted device has routes already: those that are wanted stay as they
 * are, others are of addresses that the configuration no longer has.
 */
static void tun_find_routes(struct tun *tun, uint8_t family)
{
	struct netlink_route found[TUN_ROUTES_MAX];
	char text[INET6_ADDRSTRLEN];
	int n = netlink_route_list(tun->nl, tun->link.index, family, found,
				   TUN_ROUTES_MAX);

	if (n < 0)
		log_warn("tun %s: its routes cannot be read: %s",
			 tun->conf.name, strerror(-n));
	for (int i = 0; i < n; i++) {
		if (tun_is_vip_route(tun, &found[i]))
			continue;
		log_info("vip %s: no longer configured: its route goes",
			 tun_ip_text(&found[i].dst, text));
		(void)netlink_route_del(tun->nl, &found[i]);
	}
}

/* Would packets to the VIP reach this host's own sockets? */
static int tun_check_not_local(struct tun *tun, uint32_t i)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t type;
	int oif;

	if (netlink_route_lookup(tun->nl, &tun->conf.vips[i], &type, &oif) <
		    0 ||
	    type != RTN_LOCAL)
		return 0;
	tun_ip_text(&tun->conf.vips[i], text);
	log_error(
		"vip %s: this host has the address on an interface: take it off there "
		"(ip address del), it must only be routed to the TUN",
		text);
	return -EADDRINUSE;
}

/* A policy rule or a route of somebody else may still win: say so. */
static void tun_check_way(struct tun *tun, uint32_t i)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t type;
	int oif;

	if (netlink_route_lookup(tun->nl, &tun->conf.vips[i], &type, &oif) ==
		    0 &&
	    oif == tun->link.index)
		return;
	tun_ip_text(&tun->conf.vips[i], text);
	log_warn(
		"vip %s: packets to it do not take the route to %s: see ip route get %s",
		text, tun->conf.name, text);
}

static int tun_add_blackhole(struct tun *tun, uint32_t i)
{
	struct netlink_route blackhole = tun_route(tun, i, true);
	char text[INET6_ADDRSTRLEN];
	bool found;
	int rc = tun_replace_route(tun, &blackhole, &found);

	if (rc == -EEXIST) { /* the operator's own serves as well */
		log_info("vip %s: keeping the route of metric %u that is there",
			 tun_ip_text(&blackhole.dst, text),
			 TUN_BLACKHOLE_METRIC);
		return 0;
	}
	tun->blackholes |= (uint64_t)(rc == 0) << i;
	tun->found |= (uint64_t)found << i;
	return rc;
}

static int tun_route_vip(struct tun *tun, uint32_t i)
{
	struct netlink_route way = tun_route(tun, i, false);
	char text[INET6_ADDRSTRLEN];
	bool found;
	int rc;

	rc = tun_check_not_local(tun, i);
	if (rc < 0)
		return rc;
	if (!tun->kept)
		rc = tun_add_blackhole(tun, i);
	if (rc == 0 && !(tun->routes & UINT64_C(1) << i))
		rc = tun_replace_route(tun, &way, &found);
	if (rc == 0) {
		tun->routes |= UINT64_C(1) << i;
		tun_check_way(tun, i);
		return 0;
	}
	log_error("vip %s: route to %s: %s%s", tun_ip_text(&way.dst, text),
		  tun->conf.name, strerror(-rc),
		  rc == -EEXIST
			  ? ": delete the one that exists, see ip route show"
			  : "");
	return rc;
}

static int tun_add_vips(struct tun *tun)
{
	int rc = 0;

	if (tun->n_adopted) {
		tun_find_routes(tun, 4);
		if (tun_has_ipv6(&tun->conf))
			tun_find_routes(tun, 6);
	}
	for (uint32_t i = 0; i < tun->conf.n_vips && rc == 0; i++)
		rc = tun_route_vip(tun, i);
	return rc;
}

static void tun_remove_routes(struct tun *tun, uint64_t which, bool blackhole)
{
	char text[INET6_ADDRSTRLEN];
	struct netlink_route route;
	int rc;

	for (uint32_t i = 0; i < tun->conf.n_vips; i++) {
		if (!(which & UINT64_C(1) << i))
			continue;
		route = tun_route(tun, i, blackhole);
		rc = netlink_route_del(tun->nl, &route);
		if (rc < 0 && rc != -ESRCH)
			log_warn("vip %s: the %s cannot be removed: %s",
				 tun_ip_text(&route.dst, text),
				 blackhole ? "blackhole" : "route",
				 strerror(-rc));
	}
}

/* --- at run time ------------------------------------------------------- */

static void tun_unroute_vip(struct tun *tun, uint32_t i)
{
	uint64_t bit = UINT64_C(1) << i;

	tun_remove_routes(tun, tun->routes & bit, false);
	tun_remove_routes(tun, tun->blackholes & bit, true);
	tun->routes &= ~bit;
	tun->blackholes &= ~bit;
	tun->found &= ~bit;
}

int tun_add_vip(struct tun *tun, const struct conf_ip *ip)
{
	bool had_ipv6 = tun_has_ipv6(&tun->conf);
	uint32_t i = tun->conf.n_vips;
	int rc = 0;

	if (i == CONF_VIPS_MAX)
		return -ENOSPC;
	tun->conf.vips[i] = *ip;
	tun->conf.n_vips++;
	if (ip->family == 6 && !had_ipv6)
		rc = tun_set_ipv6_sysctls(tun);
	if (rc == 0)
		rc = tun_route_vip(tun, i);
	if (rc < 0) {
		tun_unroute_vip(tun, i);
		tun->conf.n_vips--;
	}
	return rc;
}

/* What mask says of address `from` it says of `to` from here on. */
static void tun_move_bit(uint64_t *mask, uint32_t from, uint32_t to)
{
	uint64_t was = *mask >> from & 1;

	*mask &= ~(UINT64_C(1) << from);
	*mask &= ~(UINT64_C(1) << to);
	*mask |= was << to;
}

/* The last one takes the place of the one that goes. */
void tun_remove_vip(struct tun *tun, const struct conf_ip *ip)
{
	int at = conf_find_vip(&tun->conf, ip);
	uint32_t i = (uint32_t)at, last = tun->conf.n_vips - 1;

	if (at < 0)
		return;
	tun_unroute_vip(tun, i);
	tun_move_bit(&tun->routes, last, i);
	tun_move_bit(&tun->blackholes, last, i);
	tun_move_bit(&tun->found, last, i);
	tun->conf.vips[i] = tun->conf.vips[last];
	tun->conf.n_vips--;
}

void tun_forget_vip(struct tun *tun, const struct conf_ip *ip)
{
	struct netlink_route way = { .dst = *ip,
				     .oif = tun->link.index,
				     .metric = TUN_ROUTE_METRIC };
	struct netlink_route blackhole = { .dst = *ip,
					   .metric = TUN_BLACKHOLE_METRIC };

	(void)netlink_route_del(tun->nl, &way);
	(void)netlink_route_del(tun->nl, &blackhole);
}

/* --- open and close ---------------------------------------------------- */

static void tun_close_queues(struct tun *tun)
{
	for (uint32_t i = 0; i < tun->n_queues; i++)
		if (tun->fds[i] >= 0)
			close(tun->fds[i]);
	tun->n_queues = 0;
}

static void tun_free(struct tun *tun)
{
	tun_close_queues(tun);
	netlink_close(tun->nl);
	free(tun->fds);
	free(tun);
}

static void tun_take_down(struct tun *tun, uint64_t blackholes)
{
	if (tun->routes)
		tun_remove_routes(tun, tun->routes, false);
	if (tun->before.index && tun->link.index) {
		(void)netlink_link_set(tun->nl, &tun->before);
		/* Who has it next may not know of large packets. */
		(void)ioctl(tun->fds[0], TUNSETOFFLOAD, 0);
	}
	tun_close_queues(tun);
	if (blackholes)
		tun_remove_routes(tun, blackholes, true);
	tun_free(tun);
}

int tun_open(struct tun **ret_tun, const struct conf_tun *conf,
	     uint32_t n_queues, struct fdstore *store)
{
	struct tun *tun = calloc(1, sizeof(*tun));
	int rc;

	if (!tun)
		return -ENOMEM;
	tun_take_conf(tun, conf);
	tun->kept = store != NULL;
	rc = netlink_open(&tun->nl);
	if (rc < 0)
		log_error("rtnetlink: %s", strerror(-rc));
	if (rc == 0)
		rc = tun_open_queues(tun, n_queues, store);
	if (rc == 0)
		rc = tun_set_sysctls(tun);
	if (rc == 0)
		rc = tun_bring_up(tun);
	if (rc == 0)
		rc = tun_add_vips(tun);
	if (rc < 0 && tun->kept)
		tun_keep(tun);
	else if (rc < 0)
		tun_take_down(tun, tun->blackholes & ~tun->found);
	if (rc < 0)
		return rc;
	log_info("tun %s: %u queues (%u taken over), mtu %u, %u addresses",
		 conf->name, n_queues, tun->n_adopted, conf->mtu,
		 tun->conf.n_vips);
	*ret_tun = tun;
	return 0;
}

void tun_settle(struct tun *tun)
{
	for (uint32_t i = 0; tun->kept && i < tun->conf.n_vips; i++) {
		struct netlink_route blackhole = tun_route(tun, i, true);

		(void)netlink_route_del(tun->nl, &blackhole);
	}
}

int tun_queue(const struct tun *tun, uint32_t i)
{
	assert(i < tun->n_queues);
	return tun->fds[i];
}

int tun_index(const struct tun *tun)
{
	return tun->link.index;
}

int tun_want_ipv6(struct tun *tun)
{
	bool had = tun->own_ipv6 || tun_has_ipv6(&tun->conf);

	tun->own_ipv6 = true;
	return had ? 0 : tun_set_ipv6_sysctls(tun);
}

bool tun_offloads(const struct tun *tun)
{
	return tun->offloads;
}

void tun_keep(struct tun *tun)
{
	if (tun)
		tun_free(tun);
}

void tun_leave(struct tun *tun)
{
	if (!tun)
		return;
	for (uint32_t i = 0; tun->kept && i < tun->conf.n_vips; i++)
		(void)tun_add_blackhole(tun, i);
	tun_take_down(tun, 0);
}

void tun_close(struct tun *tun)
{
	if (tun)
		tun_take_down(tun, tun->blackholes);
}

uint64_t tun_dropped(const char *name)
{
	/* "  name: rx bytes packets errs drop fifo frame ... tx bytes packets errs drop" */
	const char *fields =
		": %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %llu";
	unsigned long long dropped = 0;
	size_t len = strlen(name);
	char line[512];
	FILE *fp = fopen("/proc/self/net/dev", "re");

	if (!fp)
		return 0;
	while (fgets(line, sizeof(line), fp)) {
		const char *at = line + strspn(line, " ");

		if (strncmp(at, name, len) == 0 && at[len] == ':' &&
		    sscanf(at + len, fields, &dropped) == 1)
			break;
	}
	fclose(fp);
	return dropped;
}
