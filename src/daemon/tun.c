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
 * with it. The blackhole stays when the daemon dies, and is taken over by the
 * next one: our routes carry a protocol number of their own, by which a route
 * of the operator's is told from one that a dead xtcpd left.
 *
 * The order matters: IPv6 autoconfiguration is turned off while the device is
 * still down, as coming up starts it; blackholes come before routes, so that
 * there is no instant at which a VIP has neither.
 *
 * A device of the name that nobody uses (made with ip-tuntap(8), so that
 * xtcpd could run without CAP_NET_ADMIN for it) is taken over, and given back
 * with the MTU and the state it had.
 *
 * Limits: no IFF_VNET_HDR yet. tun_attach_queue() is the place for its flag
 * and for TUNSETOFFLOAD; conf.offload asks for it.
 */
#include "daemon/tun.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
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

/* Worse than any route that an operator would give a metric to. */
#define TUN_BLACKHOLE_METRIC (UINT32_MAX - 1)
/* Better than what routing daemons use; IPv6 takes 0 for 1024. */
#define TUN_ROUTE_METRIC 1
/* Packets that wait per queue while its worker is busy; the default of 500
 * is lost in a burst of a millisecond. */
#define TUN_TXQLEN 4096

struct tun {
	struct conf_tun conf;
	struct netlink *nl;
	struct netlink_link link;
	struct netlink_link before; /* index 0: we made the device */
	uint32_t n_queues; /* opened so far */
	uint64_t routes, blackholes; /* bit i: ours for VIP i */
	int *fds;
};

static const char *tun_ip_text(const struct conf_ip *ip,
			       char text[INET6_ADDRSTRLEN])
{
	return inet_ntop(ip->family == 4 ? AF_INET : AF_INET6, ip->bytes, text,
			 INET6_ADDRSTRLEN);
}

static bool tun_has_ipv6(const struct conf_tun *conf)
{
	for (uint32_t i = 0; i < conf->n_vips; i++)
		if (conf->vips[i].family == 6)
			return true;
	return false;
}

/* --- the device -------------------------------------------------------- */

/* A device of the name: is it one that we may use? */
static int tun_check_existing(struct tun *tun)
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
	if (link.tun_queues > 0) {
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

static int tun_attach_queue(const struct tun *tun)
{
	struct ifreq ifr = { .ifr_flags =
				     IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int err;

	if (fd < 0) {
		err = -errno;
		log_error("/dev/net/tun: %s: %s", strerror(-err),
			  err == -ENOENT || err == -ENXIO
				  ? "load the module tun"
				  : "xtcpd must run as root");
		return err;
	}
	memcpy(ifr.ifr_name, tun->conf.name, sizeof(tun->conf.name));
	if (ioctl(fd, TUNSETIFF, &ifr) == 0)
		return fd;
	err = -errno;
	close(fd);
	if (err == -EPERM)
		log_error("tun %s: not permitted: xtcpd needs CAP_NET_ADMIN",
			  tun->conf.name);
	else if (err == -EINVAL && tun->before.index)
		log_error(
			"tun %s: the device that exists is no TUN of several queues: "
			"delete it (ip link del), or make it with "
			"\"ip tuntap add mode tun multi_queue\"",
			tun->conf.name);
	else
		log_error("tun %s: queue %u: %s", tun->conf.name, tun->n_queues,
			  strerror(-err));
	return err;
}

static int tun_attach_queues(struct tun *tun, uint32_t n)
{
	tun->fds = calloc(n, sizeof(*tun->fds));
	if (!tun->fds)
		return -ENOMEM;
	while (tun->n_queues < n) {
		int fd = tun_attach_queue(tun);

		if (fd < 0)
			return fd;
		tun->fds[tun->n_queues++] = fd;
	}
	return netlink_link_get(tun->nl, tun->conf.name, &tun->link);
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
	return rc;
}

/* --- sysctls ----------------------------------------------------------- */

/* Reads the first byte of a setting; -1 when that is not possible. */
static int tun_sysctl_read(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char c;
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, &c, 1);
	close(fd);
	return n == 1 ? c : -1;
}

/* They go with the device, so nothing restores them. */
static int tun_sysctl(const struct tun *tun, const char *family,
		      const char *key, char value)
{
	char path[128];
	int fd, err = 0;

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family,
		 tun->conf.name, key);
	if (tun_sysctl_read(path) == value)
		return 0;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, &value, 1) != 1)
		err = -errno;
	if (fd >= 0)
		close(fd);
	if (err < 0)
		log_warn("%s: cannot be set to %c: %s", path, value,
			 strerror(-err));
	return err;
}

static int tun_set_ipv6_sysctls(const struct tun *tun)
{
	const char *name = tun->conf.name;
	bool wanted = tun_has_ipv6(&tun->conf);

	if (access("/proc/sys/net/ipv6", F_OK) < 0) {
		if (!wanted)
			return 0;
		log_error(
			"tun %s: there are IPv6 addresses in vip, but this host has no "
			"IPv6: leave them out, or boot without ipv6.disable=1",
			name);
		return -EAFNOSUPPORT;
	}
	if (tun_sysctl(tun, "ipv6", "disable_ipv6", wanted ? '0' : '1') < 0 &&
	    wanted) {
		log_error(
			"tun %s: there are IPv6 addresses in vip, but IPv6 cannot be "
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
	if (tun_sysctl_read("/proc/sys/net/ipv6/conf/all/forwarding") == '0')
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
	if (tun_sysctl_read("/proc/sys/net/ipv4/ip_forward") == '0')
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

/* Adds the route, in place of one that a dead xtcpd left. */
static int tun_replace_route(struct tun *tun, const struct netlink_route *route)
{
	int rc = netlink_route_add(tun->nl, route);

	if (rc == -EEXIST && netlink_route_del(tun->nl, route) == 0)
		rc = netlink_route_add(tun->nl, route);
	return rc;
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

static int tun_add_vip(struct tun *tun, uint32_t i)
{
	struct netlink_route blackhole = tun_route(tun, i, true);
	struct netlink_route way = tun_route(tun, i, false);
	char text[INET6_ADDRSTRLEN];
	int rc;

	rc = tun_check_not_local(tun, i);
	if (rc < 0)
		return rc;
	tun_ip_text(&tun->conf.vips[i], text);
	rc = tun_replace_route(tun, &blackhole);
	if (rc == 0)
		tun->blackholes |= UINT64_C(1) << i;
	else if (rc == -EEXIST) /* the operator's own serves as well */
		log_info("vip %s: keeping the route of metric %u that is there",
			 text, TUN_BLACKHOLE_METRIC);
	else
		goto fail;
	rc = tun_replace_route(tun, &way);
	if (rc < 0)
		goto fail;
	tun->routes |= UINT64_C(1) << i;
	tun_check_way(tun, i);
	return 0;
fail:
	log_error("vip %s: route to %s: %s%s", text, tun->conf.name,
		  strerror(-rc),
		  rc == -EEXIST
			  ? ": delete the one that exists, see ip route show"
			  : "");
	return rc;
}

static int tun_add_vips(struct tun *tun)
{
	int rc = 0;

	for (uint32_t i = 0; i < tun->conf.n_vips && rc == 0; i++)
		rc = tun_add_vip(tun, i);
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

/* --- open and close ---------------------------------------------------- */

int tun_open(struct tun **ret_tun, const struct conf_tun *conf,
	     uint32_t n_queues)
{
	struct tun *tun = calloc(1, sizeof(*tun));
	int rc;

	if (!tun)
		return -ENOMEM;
	tun->conf = *conf;
	rc = netlink_open(&tun->nl);
	if (rc < 0)
		log_error("rtnetlink: %s", strerror(-rc));
	if (rc == 0)
		rc = tun_check_existing(tun);
	if (rc == 0)
		rc = tun_attach_queues(tun, n_queues);
	if (rc == 0)
		rc = tun_set_sysctls(tun);
	if (rc == 0)
		rc = tun_bring_up(tun);
	if (rc == 0)
		rc = tun_add_vips(tun);
	if (rc < 0) {
		tun_close(tun);
		return rc;
	}
	log_info("tun %s: %u queues, mtu %u, %u addresses", conf->name,
		 n_queues, conf->mtu, conf->n_vips);
	*ret_tun = tun;
	return 0;
}

int tun_queue(const struct tun *tun, uint32_t i)
{
	assert(i < tun->n_queues);
	return tun->fds[i];
}

static void tun_take_down(struct tun *tun, bool keep_blackholes)
{
	if (tun->routes)
		tun_remove_routes(tun, tun->routes, false);
	if (tun->before.index && tun->link.index)
		(void)netlink_link_set(tun->nl, &tun->before);
	while (tun->n_queues > 0)
		close(tun->fds[--tun->n_queues]);
	if (tun->blackholes && !keep_blackholes)
		tun_remove_routes(tun, tun->blackholes, true);
	netlink_close(tun->nl);
	free(tun->fds);
	free(tun);
}

void tun_leave(struct tun *tun)
{
	if (tun)
		tun_take_down(tun, true);
}

void tun_close(struct tun *tun)
{
	if (tun)
		tun_take_down(tun, false);
}
