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

#include <errno.h>
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
#include "daemon/tun_routes.h"

/* Packets that wait per queue while its worker is busy, or one process follows
 * another; the default of 500 is lost in a burst of a millisecond. Costs
 * nothing while the queue is empty, 23 MiB when it is full of 1500 bytes. */
#define TUN_TXQLEN 10000

struct tun {
	struct conf_tun conf; /* but for its addresses: */
	struct tun_routes routes;
	struct netlink *nl;
	struct netlink_link link;
	struct netlink_link before; /* index 0: we made the device */
	bool kept; /* a store has the queues */
	bool offloads;
	bool own_ipv6; /* the host's own IPv6 addresses send from here */
	uint32_t n_queues, n_adopted;
	int *fds; /* n_queues, -1: none yet */
};

/* The configuration; the host's own addresses are not ours to route. */
static void tun_take_conf(struct tun *tun, const struct conf_tun *conf)
{
	tun->conf = *conf;
	tun->routes.device = tun->conf.name;
	for (uint32_t i = 0; i < conf->n_vips; i++) {
		if (!(conf->own_vips >> i & 1))
			(void)tun_routes_add(&tun->routes, &conf->vips[i]);
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
	bool wanted = tun->own_ipv6 || tun_routes_have(&tun->routes, 6);

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
	if (tun_routes_have(&tun->routes, 6) &&
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
	if (tun_routes_have(&tun->routes, 4) &&
	    sysctl_link_get("ipv4", "all", "forwarding") == '0')
		log_warn(
			"net.ipv4.ip_forward is 0: only clients on this host reach the IPv4 "
			"addresses");
	return tun_set_ipv6_sysctls(tun);
}

/* --- addresses at run time ---------------------------------------------- */

int tun_add_vip(struct tun *tun, const struct conf_ip *ip)
{
	bool had_ipv6 = tun_routes_have(&tun->routes, 6);
	uint32_t at = tun->routes.n;
	int rc = tun_routes_add(&tun->routes, ip);

	if (rc < 0)
		return rc;
	if (ip->family == 6 && !had_ipv6)
		rc = tun_set_ipv6_sysctls(tun);
	if (rc == 0)
		rc = tun_routes_up(&tun->routes, at);
	if (rc < 0)
		tun_routes_remove(&tun->routes, ip);
	return rc;
}

void tun_remove_vip(struct tun *tun, const struct conf_ip *ip)
{
	tun_routes_remove(&tun->routes, ip);
}

void tun_forget_vip(struct tun *tun, const struct conf_ip *ip)
{
	tun_routes_forget(&tun->routes, ip);
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

enum tun_blackholes { TUN_LEAVE_ALL, TUN_LEAVE_FOUND, TUN_LEAVE_NONE };

static void tun_take_down(struct tun *tun, enum tun_blackholes blackholes)
{
	tun_routes_drop_ways(&tun->routes);
	if (tun->before.index && tun->link.index) {
		(void)netlink_link_set(tun->nl, &tun->before);
		/* Who has it next may not know of large packets. */
		(void)ioctl(tun->fds[0], TUNSETOFFLOAD, 0);
	}
	tun_close_queues(tun);
	if (blackholes != TUN_LEAVE_ALL)
		tun_routes_drop_blackholes(&tun->routes,
					   blackholes == TUN_LEAVE_NONE);
	tun_free(tun);
}

static int tun_route(struct tun *tun)
{
	tun->routes.nl = tun->nl;
	tun->routes.oif = tun->link.index;
	if (tun->n_adopted)
		tun_routes_adopt(&tun->routes);
	return tun_routes_up(&tun->routes, 0);
}

int tun_open(struct tun **ret_tun, const struct conf_tun *conf,
	     uint32_t n_queues, struct fdstore *store)
{
	struct tun *tun = calloc(1, sizeof(*tun));
	int rc;

	if (!tun)
		return -ENOMEM;
	tun_take_conf(tun, conf);
	tun->kept = tun->routes.kept = store != NULL;
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
		rc = tun_route(tun);
	if (rc < 0 && tun->kept)
		tun_keep(tun);
	else if (rc < 0)
		tun_take_down(tun, TUN_LEAVE_FOUND);
	if (rc < 0)
		return rc;
	log_info("tun %s: %u queues (%u taken over), mtu %u, %u addresses",
		 conf->name, n_queues, tun->n_adopted, conf->mtu,
		 tun->routes.n);
	*ret_tun = tun;
	return 0;
}

void tun_settle(struct tun *tun)
{
	if (tun->kept)
		tun_routes_settle(&tun->routes);
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
	bool had = tun->own_ipv6 || tun_routes_have(&tun->routes, 6);

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
	if (tun->kept)
		tun_routes_bury(&tun->routes);
	tun_take_down(tun, TUN_LEAVE_ALL);
}

void tun_close(struct tun *tun)
{
	if (tun)
		tun_take_down(tun, TUN_LEAVE_NONE);
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
