/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * net - see swarm_net.h.
 *
 * Theory of operation
 *
 *	          sources ──> device           (route, goes with the device)
 *	flood's sources ──> blackhole          (route of protocol 121, ours)
 *	         server ──> some other device, or this host
 *
 * Requests go to rtnetlink one at a time, each with its answer. IPv4 packets
 * are forwarded if the device that they come in by says so, so ours is told
 * to; the server's device has it from xtcpd, or from net.ipv4.ip_forward.
 * IPv6 has one switch for the whole host.
 */
#include "tools/swarm_net.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/* As libmnl recommends. */
#define NET_BUFFER_BYTES 16384
/* rtm_protocol of the blackhole: deleting it never hits another's. */
#define NET_ROUTE_PROTOCOL 121
/* Room for bursts while we do something else. */
#define NET_TXQLEN 16384
#define NET_PATH_BYTES 128

struct swarm_net {
	struct mnl_socket *sock;
	unsigned int port, seq;
	int server_ifindex; /* 0: on this host */
	bool has_blackhole;
	struct swarm_prefix blackhole;
	_Alignas(struct nlmsghdr) char buf[NET_BUFFER_BYTES];
};

/* --- rtnetlink --------------------------------------------------------- */

static struct nlmsghdr *swarm_net_request(struct swarm_net *net, int type,
					  int flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(net->buf);

	nlh->nlmsg_type = (uint16_t)type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	nlh->nlmsg_seq = ++net->seq;
	return nlh;
}

static int swarm_net_talk(struct swarm_net *net, const struct nlmsghdr *nlh,
			  mnl_cb_t cb, void *arg)
{
	int rc = MNL_CB_OK;
	ssize_t n;

	if (mnl_socket_sendto(net->sock, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (rc == MNL_CB_OK) {
		n = mnl_socket_recvfrom(net->sock, net->buf, sizeof(net->buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		rc = mnl_cb_run(net->buf, (size_t)n, net->seq, net->port, cb,
				arg);
	}
	return rc < 0 ? -errno : 0;
}

static int swarm_net_link(struct swarm_net *net, int index, uint32_t mtu)
{
	struct nlmsghdr *nlh = swarm_net_request(net, RTM_NEWLINK, 0);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = index;
	ifi->ifi_change = IFF_UP;
	ifi->ifi_flags = IFF_UP;
	mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
	mnl_attr_put_u32(nlh, IFLA_TXQLEN, NET_TXQLEN);
	return swarm_net_talk(net, nlh, NULL, NULL);
}

/* oif 0: a blackhole. */
static int swarm_net_route(struct swarm_net *net, int type, int flags,
			   const struct swarm_prefix *p, int oif)
{
	struct nlmsghdr *nlh = swarm_net_request(net, type, flags);
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	bool ip4 = p->ip.family == 4;

	rtm->rtm_family = ip4 ? AF_INET : AF_INET6;
	rtm->rtm_dst_len = p->len;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_protocol = NET_ROUTE_PROTOCOL;
	rtm->rtm_scope = ip4 && oif ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	rtm->rtm_type = oif ? RTN_UNICAST : RTN_BLACKHOLE;
	mnl_attr_put(nlh, RTA_DST, swarm_ip_bytes(p->ip.family), p->ip.bytes);
	if (oif)
		mnl_attr_put_u32(nlh, RTA_OIF, (uint32_t)oif);
	return swarm_net_talk(net, nlh, NULL, NULL);
}

struct swarm_net_way {
	uint8_t type; /* RTN_* */
	int oif;
};

static int swarm_net_on_way_attr(const struct nlattr *attr, void *arg)
{
	struct swarm_net_way *way = arg;

	if (mnl_attr_get_type(attr) == RTA_OIF &&
	    mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
		way->oif = (int)mnl_attr_get_u32(attr);
	return MNL_CB_OK;
}

static int swarm_net_on_way(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct swarm_net_way *way = arg;

	way->type = rtm->rtm_type;
	(void)mnl_attr_parse(nlh, sizeof(*rtm), swarm_net_on_way_attr, way);
	return MNL_CB_OK;
}

static int swarm_net_lookup(struct swarm_net *net, const struct swarm_ip *dst,
			    struct swarm_net_way *ret_way)
{
	struct nlmsghdr *nlh = swarm_net_request(net, RTM_GETROUTE, 0);
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	unsigned int n = swarm_ip_bytes(dst->family);

	*ret_way = (struct swarm_net_way){ 0 };
	rtm->rtm_family = n == 4 ? AF_INET : AF_INET6;
	rtm->rtm_dst_len = (unsigned char)(n * 8);
	mnl_attr_put(nlh, RTA_DST, n, dst->bytes);
	return swarm_net_talk(net, nlh, swarm_net_on_way, ret_way);
}

/* --- sysctls ----------------------------------------------------------- */

/* The path of net.FAMILY.conf.DEVICE.KEY. */
static const char *swarm_net_path(uint8_t family, const char *device,
				  const char *key, char *ret_path)
{
	snprintf(ret_path, NET_PATH_BYTES, "/proc/sys/net/ipv%u/conf/%s/%s",
		 (unsigned int)family, device, key);
	return ret_path;
}

/* Whether the key is there and neither 0 nor unreadable. */
static bool swarm_net_is_set(uint8_t family, const char *device,
			     const char *key)
{
	char path[NET_PATH_BYTES], value = '0';
	int fd = open(swarm_net_path(family, device, key, path),
		      O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	if (read(fd, &value, 1) != 1)
		value = '0';
	close(fd);
	return value != '0';
}

static bool swarm_net_set(uint8_t family, const char *device, const char *key,
			  char value)
{
	char path[NET_PATH_BYTES];
	int fd = open(swarm_net_path(family, device, key, path),
		      O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, &value, 1) == 1;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Those of our own device, which go with it. */
static void swarm_net_own_sysctls(const char *device)
{
	(void)swarm_net_set(4, device, "rp_filter", '0');
	(void)swarm_net_set(4, device, "forwarding", '1');
	/* no link-local address, no router solicitations */
	(void)swarm_net_set(6, device, "addr_gen_mode", '1');
	(void)swarm_net_set(6, device, "accept_ra", '0');
	(void)swarm_net_set(6, device, "autoconf", '0');
}

/* --- checks ------------------------------------------------------------ */

/* May packets that come in by the device be forwarded? Logs if not. */
static int swarm_net_check_forwarding(const struct swarm_net_conf *conf,
				      const char *device)
{
	uint8_t family = conf->server.family;

	/* IPv6 has it for the whole host; what devices have there is another */
	if (family == 6)
		device = "all";
	if (swarm_net_is_set(family, device, "forwarding"))
		return 0;
	if (conf->set_forwarding &&
	    swarm_net_set(family, "all", "forwarding", '1') &&
	    swarm_net_is_set(family, device, "forwarding")) {
		log_info("net.ipv%u.conf.all.forwarding is now 1",
			 (unsigned int)family);
		return 0;
	}
	log_error("net.ipv%u.conf.%s.forwarding is 0, packets of the server do "
		  "not get to the clients: set it to 1 with sysctl -w, or use "
		  "--set-forwarding",
		  (unsigned int)family, device);
	return -ENETUNREACH;
}

/* The flood's sources are behind no device. */
static int swarm_net_check_filter(const struct swarm_net_conf *conf)
{
	if (!conf->has_flood || conf->server.family != 4 ||
	    !swarm_net_is_set(4, "all", "rp_filter"))
		return 0;
	log_error("net.ipv4.conf.all.rp_filter is not 0, the kernel would drop "
		  "the flood's SYNs: sysctl -w net.ipv4.conf.all.rp_filter=0");
	return -ENETUNREACH;
}

static int swarm_net_check(struct swarm_net *net,
			   const struct swarm_net_conf *conf, int index)
{
	char server[INET6_ADDRSTRLEN + 10], oif[IF_NAMESIZE];
	struct swarm_net_way way;
	int rc = swarm_net_lookup(net, &conf->server, &way);

	swarm_endpoint_text(&conf->server, 0, server);
	*strrchr(server, ':') = '\0';
	if (rc < 0 || way.oif == index ||
	    (way.type != RTN_UNICAST && way.type != RTN_LOCAL)) {
		log_error("%s: no way to it from here%s%s: is xtcpd running in "
			  "this network namespace? see ip route get",
			  server, rc < 0 ? ": " : "",
			  rc < 0 ? strerror(-rc) : "");
		return rc < 0 ? rc : -ENETUNREACH;
	}
	rc = swarm_net_check_filter(conf);
	if (rc < 0 || way.type == RTN_LOCAL)
		return rc;
	net->server_ifindex = way.oif;
	if (!if_indextoname((unsigned int)way.oif, oif))
		return -errno;
	rc = swarm_net_check_forwarding(conf, conf->device);
	return rc < 0 ? rc : swarm_net_check_forwarding(conf, oif);
}

/* --- open and close ---------------------------------------------------- */

static int swarm_net_add_route(struct swarm_net *net,
			       const struct swarm_prefix *p, int oif, int flag)
{
	char text[SWARM_ADDR_TEXT_BYTES];
	int rc =
		swarm_net_route(net, RTM_NEWROUTE, NLM_F_CREATE | flag, p, oif);

	if (rc < 0)
		log_error("route to %s: %s%s", swarm_prefix_text(p, text),
			  strerror(-rc),
			  rc == -EEXIST
				  ? ": take another prefix, or delete the route"
				  : "");
	return rc;
}

static int swarm_net_set_up(struct swarm_net *net,
			    const struct swarm_net_conf *conf)
{
	int index = (int)if_nametoindex(conf->device);
	int rc;

	swarm_net_own_sysctls(conf->device);
	rc = index ? swarm_net_link(net, index, conf->mtu) : -errno;
	if (rc < 0) {
		log_error("device %s: %s", conf->device, strerror(-rc));
		return rc;
	}
	rc = swarm_net_add_route(net, &conf->sources, index, NLM_F_EXCL);
	if (rc == 0 && conf->has_flood) {
		/* one that a killed swarm left is as good */
		(void)swarm_net_route(net, RTM_DELROUTE, 0, &conf->flood, 0);
		rc = swarm_net_add_route(net, &conf->flood, 0, NLM_F_EXCL);
		net->has_blackhole = rc == 0;
		net->blackhole = conf->flood;
	}
	return rc == 0 ? swarm_net_check(net, conf, index) : rc;
}

int swarm_net_open(struct swarm_net **ret_net,
		   const struct swarm_net_conf *conf)
{
	struct swarm_net *net = calloc(1, sizeof(*net));
	int rc;

	if (!net)
		return -ENOMEM;
	net->sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!net->sock ||
	    mnl_socket_bind(net->sock, 0, MNL_SOCKET_AUTOPID) < 0) {
		rc = -errno;
		log_error("rtnetlink: %s", strerror(-rc));
	} else {
		net->port = mnl_socket_get_portid(net->sock);
		net->seq = (unsigned int)time(NULL);
		rc = swarm_net_set_up(net, conf);
	}
	if (rc < 0)
		swarm_net_close(net);
	else
		*ret_net = net;
	return rc;
}

int swarm_net_server_ifindex(const struct swarm_net *net)
{
	return net->server_ifindex;
}

void swarm_net_close(struct swarm_net *net)
{
	if (!net)
		return;
	if (net->has_blackhole)
		(void)swarm_net_route(net, RTM_DELROUTE, 0, &net->blackhole, 0);
	if (net->sock)
		mnl_socket_close(net->sock);
	free(net);
}
