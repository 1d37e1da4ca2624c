/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netlink - requests to rtnetlink, each with its answer.
 *
 * A request is built in the buffer of struct netlink, sent, and answered by
 * one message and (NLM_F_ACK) an acknowledgement with an error code; libmnl
 * checks the sequence number of each. What a message said is left in the
 * place that netlink_talk()'s caller gave to its callback.
 */
#include "daemon/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As libmnl recommends; answers about a link can have several KiB. */
#define NETLINK_BUFFER_BYTES 16384

struct netlink {
	struct mnl_socket *sock;
	unsigned int port;
	unsigned int seq;
	_Alignas(struct nlmsghdr) char buf[NETLINK_BUFFER_BYTES];
};

int netlink_open(struct netlink **ret_nl)
{
	struct netlink *nl = calloc(1, sizeof(*nl));
	int err;

	if (!nl)
		return -ENOMEM;
	nl->sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!nl->sock || mnl_socket_bind(nl->sock, 0, MNL_SOCKET_AUTOPID) < 0) {
		err = -errno;
		netlink_close(nl);
		return err;
	}
	nl->port = mnl_socket_get_portid(nl->sock);
	nl->seq = (unsigned int)time(NULL);
	*ret_nl = nl;
	return 0;
}

void netlink_close(struct netlink *nl)
{
	if (!nl)
		return;
	if (nl->sock)
		mnl_socket_close(nl->sock);
	free(nl);
}

static struct nlmsghdr *netlink_request(struct netlink *nl, uint16_t type,
					uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(nl->buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	nlh->nlmsg_seq = ++nl->seq;
	return nlh;
}

/* Sends nlh and hands each message of the answer to cb (or NULL). */
static int netlink_talk(struct netlink *nl, const struct nlmsghdr *nlh,
			mnl_cb_t cb, void *arg)
{
	ssize_t n;
	int rc;

	if (mnl_socket_sendto(nl->sock, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		n = mnl_socket_recvfrom(nl->sock, nl->buf, sizeof(nl->buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		rc = mnl_cb_run(nl->buf, (size_t)n, nl->seq, nl->port, cb, arg);
		if (rc < 0)
			return -errno;
		if (rc == MNL_CB_STOP)
			return 0;
	}
}

/* --- links ------------------------------------------------------------- */

static int netlink_on_tun(const struct nlattr *attr, void *arg)
{
	struct netlink_link *link = arg;
	uint16_t type = mnl_attr_get_type(attr);

	/* a disabled queue's descriptor is still somebody's */
	if ((type == IFLA_TUN_NUM_QUEUES ||
	     type == IFLA_TUN_NUM_DISABLED_QUEUES) &&
	    mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
		link->tun_queues += mnl_attr_get_u32(attr);
	return MNL_CB_OK;
}

static int netlink_on_linkinfo(const struct nlattr *attr, void *arg)
{
	struct netlink_link *link = arg;

	switch (mnl_attr_get_type(attr)) {
	case IFLA_INFO_KIND:
		link->is_tun =
			mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0 &&
			strcmp(mnl_attr_get_str(attr), "tun") == 0;
		break;
	case IFLA_INFO_DATA:
		/* the kind comes first */
		if (link->is_tun)
			(void)mnl_attr_parse_nested(attr, netlink_on_tun, link);
		break;
	}
	return MNL_CB_OK;
}

static int netlink_on_link_attr(const struct nlattr *attr, void *arg)
{
	struct netlink_link *link = arg;

	switch (mnl_attr_get_type(attr)) {
	case IFLA_MTU:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			link->mtu = mnl_attr_get_u32(attr);
		break;
	case IFLA_TXQLEN:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			link->txqlen = mnl_attr_get_u32(attr);
		break;
	case IFLA_LINKINFO:
		(void)mnl_attr_parse_nested(attr, netlink_on_linkinfo, link);
		break;
	}
	return MNL_CB_OK;
}

static int netlink_on_link(const struct nlmsghdr *nlh, void *arg)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct netlink_link *link = arg;

	link->index = ifi->ifi_index;
	link->up = (ifi->ifi_flags & IFF_UP) != 0;
	(void)mnl_attr_parse(nlh, sizeof(*ifi), netlink_on_link_attr, link);
	return MNL_CB_OK;
}

int netlink_link_get(struct netlink *nl, const char *name,
		     struct netlink_link *ret_link)
{
	struct nlmsghdr *nlh = netlink_request(nl, RTM_GETLINK, 0);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	struct netlink_link link = { 0 };
	int rc;

	ifi->ifi_family = AF_UNSPEC;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	rc = netlink_talk(nl, nlh, netlink_on_link, &link);
	if (rc < 0)
		return rc;
	*ret_link = link;
	return 0;
}

int netlink_link_set(struct netlink *nl, const struct netlink_link *link)
{
	struct nlmsghdr *nlh = netlink_request(nl, RTM_NEWLINK, 0);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = link->index;
	ifi->ifi_change = IFF_UP;
	ifi->ifi_flags = link->up ? IFF_UP : 0;
	mnl_attr_put_u32(nlh, IFLA_MTU, link->mtu);
	mnl_attr_put_u32(nlh, IFLA_TXQLEN, link->txqlen);
	return netlink_talk(nl, nlh, NULL, NULL);
}

int netlink_link_noqueue(struct netlink *nl, int index)
{
	struct nlmsghdr *nlh =
		netlink_request(nl, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);
	struct tcmsg *tcm = mnl_nlmsg_put_extra_header(nlh, sizeof(*tcm));

	tcm->tcm_family = AF_UNSPEC;
	tcm->tcm_ifindex = index;
	tcm->tcm_parent = TC_H_ROOT;
	mnl_attr_put_strz(nlh, TCA_KIND, "noqueue");
	return netlink_talk(nl, nlh, NULL, NULL);
}

/* --- routes ------------------------------------------------------------ */

static struct rtmsg *netlink_put_dst(struct nlmsghdr *nlh,
				     const struct conf_ip *dst)
{
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	size_t bytes = dst->family == 4 ? 4 : 16;

	rtm->rtm_family = dst->family == 4 ? AF_INET : AF_INET6;
	rtm->rtm_dst_len = (unsigned char)(bytes * 8);
	mnl_attr_put(nlh, RTA_DST, bytes, dst->bytes);
	return rtm;
}

static int netlink_route_do(struct netlink *nl, uint16_t type, uint16_t flags,
			    const struct netlink_route *route)
{
	struct nlmsghdr *nlh = netlink_request(nl, type, flags);
	struct rtmsg *rtm = netlink_put_dst(nlh, &route->dst);

	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_protocol = NETLINK_ROUTE_PROTOCOL;
	rtm->rtm_scope = route->oif && route->dst.family == 4
				 ? RT_SCOPE_LINK
				 : RT_SCOPE_UNIVERSE;
	rtm->rtm_type = route->oif ? RTN_UNICAST : RTN_BLACKHOLE;
	mnl_attr_put_u32(nlh, RTA_PRIORITY, route->metric);
	if (route->oif)
		mnl_attr_put_u32(nlh, RTA_OIF, (uint32_t)route->oif);
	return netlink_talk(nl, nlh, NULL, NULL);
}

int netlink_route_add(struct netlink *nl, const struct netlink_route *route)
{
	return netlink_route_do(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL,
				route);
}

int netlink_route_del(struct netlink *nl, const struct netlink_route *route)
{
	return netlink_route_do(nl, RTM_DELROUTE, 0, route);
}

struct netlink_list {
	struct netlink_route *routes;
	uint32_t n, max;
	int oif;
	uint8_t family;
	struct netlink_route now; /* the one that is being read */
};

static int netlink_on_list_attr(const struct nlattr *attr, void *arg)
{
	struct netlink_route *route = arg;
	size_t bytes = route->dst.family == 4 ? 4 : 16;

	switch (mnl_attr_get_type(attr)) {
	case RTA_DST:
		if (mnl_attr_get_payload_len(attr) == bytes)
			memcpy(route->dst.bytes, mnl_attr_get_payload(attr),
			       bytes);
		break;
	case RTA_OIF:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			route->oif = (int)mnl_attr_get_u32(attr);
		break;
	case RTA_PRIORITY:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			route->metric = mnl_attr_get_u32(attr);
		break;
	}
	return MNL_CB_OK;
}

static int netlink_on_list(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct netlink_list *list = arg;

	if (rtm->rtm_family != (list->family == 4 ? AF_INET : AF_INET6) ||
	    rtm->rtm_dst_len != (list->family == 4 ? 32 : 128) ||
	    rtm->rtm_protocol != NETLINK_ROUTE_PROTOCOL ||
	    rtm->rtm_table != RT_TABLE_MAIN || rtm->rtm_type != RTN_UNICAST)
		return MNL_CB_OK;
	list->now = (struct netlink_route){ .dst.family = list->family };
	(void)mnl_attr_parse(nlh, sizeof(*rtm), netlink_on_list_attr,
			     &list->now);
	if (list->now.oif == list->oif && list->n < list->max)
		list->routes[list->n++] = list->now;
	return MNL_CB_OK;
}

/* With strict checking the kernel leaves out what the request rules out. */
static void netlink_set_strict(struct netlink *nl, int on)
{
	(void)mnl_socket_setsockopt(nl->sock, NETLINK_GET_STRICT_CHK, &on,
				    sizeof(on));
}

int netlink_route_list(struct netlink *nl, int oif, uint8_t family,
		       struct netlink_route *ret_routes, uint32_t max)
{
	struct nlmsghdr *nlh = netlink_request(nl, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	struct netlink_list list = {
		.routes = ret_routes, .max = max, .oif = oif, .family = family
	};
	int rc;

	rtm->rtm_family = family == 4 ? AF_INET : AF_INET6;
	rtm->rtm_protocol = NETLINK_ROUTE_PROTOCOL;
	mnl_attr_put_u32(nlh, RTA_OIF, (uint32_t)oif);
	netlink_set_strict(nl, 1);
	rc = netlink_talk(nl, nlh, netlink_on_list, &list);
	netlink_set_strict(nl, 0);
	return rc < 0 ? rc : (int)list.n;
}

/* --- proxied neighbours ------------------------------------------------ */

static int netlink_proxy_do(struct netlink *nl, uint16_t type, uint16_t flags,
			    const struct netlink_proxy *proxy)
{
	struct nlmsghdr *nlh = netlink_request(nl, type, flags);
	struct ndmsg *ndm = mnl_nlmsg_put_extra_header(nlh, sizeof(*ndm));
	bool v4 = proxy->ip.family == 4;

	ndm->ndm_family = v4 ? AF_INET : AF_INET6;
	ndm->ndm_ifindex = proxy->index;
	ndm->ndm_flags = NTF_PROXY;
	mnl_attr_put(nlh, NDA_DST, v4 ? 4 : 16, proxy->ip.bytes);
	mnl_attr_put_u8(nlh, NDA_PROTOCOL, proxy->protocol);
	return netlink_talk(nl, nlh, NULL, NULL);
}

int netlink_proxy_add(struct netlink *nl, const struct netlink_proxy *proxy)
{
	return netlink_proxy_do(nl, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE,
				proxy);
}

int netlink_proxy_del(struct netlink *nl, const struct netlink_proxy *proxy)
{
	return netlink_proxy_do(nl, RTM_DELNEIGH, 0, proxy);
}

struct netlink_proxies {
	struct netlink_proxy *proxies;
	uint32_t n, max;
	int index;
	struct netlink_proxy now; /* the one that is being read */
};

static int netlink_on_proxy_attr(const struct nlattr *attr, void *arg)
{
	struct netlink_proxy *proxy = arg;
	size_t bytes = proxy->ip.family == 4 ? 4 : 16;

	switch (mnl_attr_get_type(attr)) {
	case NDA_DST:
		if (mnl_attr_get_payload_len(attr) == bytes)
			memcpy(proxy->ip.bytes, mnl_attr_get_payload(attr),
			       bytes);
		break;
	case NDA_PROTOCOL:
		if (mnl_attr_validate(attr, MNL_TYPE_U8) == 0)
			proxy->protocol = mnl_attr_get_u8(attr);
		break;
	}
	return MNL_CB_OK;
}

static int netlink_on_proxy(const struct nlmsghdr *nlh, void *arg)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	struct netlink_proxies *list = arg;

	if ((ndm->ndm_family != AF_INET && ndm->ndm_family != AF_INET6) ||
	    !(ndm->ndm_flags & NTF_PROXY) || ndm->ndm_ifindex != list->index ||
	    list->n == list->max)
		return MNL_CB_OK;
	list->now = (struct netlink_proxy){
		.ip.family = ndm->ndm_family == AF_INET ? 4 : 6,
		.index = ndm->ndm_ifindex,
	};
	(void)mnl_attr_parse(nlh, sizeof(*ndm), netlink_on_proxy_attr,
			     &list->now);
	list->proxies[list->n++] = list->now;
	return MNL_CB_OK;
}

int netlink_proxy_list(struct netlink *nl, int index,
		       struct netlink_proxy *ret_proxies, uint32_t max)
{
	struct nlmsghdr *nlh = netlink_request(nl, RTM_GETNEIGH, NLM_F_DUMP);
	struct ndmsg *ndm = mnl_nlmsg_put_extra_header(nlh, sizeof(*ndm));
	struct netlink_proxies list = { .proxies = ret_proxies,
					.max = max,
					.index = index };
	int rc;

	ndm->ndm_family = AF_UNSPEC;
	ndm->ndm_flags = NTF_PROXY;
	rc = netlink_talk(nl, nlh, netlink_on_proxy, &list);
	return rc < 0 ? rc : (int)list.n;
}

/* --- lookup ------------------------------------------------------------ */

struct netlink_way {
	uint8_t type;
	int oif;
};

static int netlink_on_route_attr(const struct nlattr *attr, void *arg)
{
	struct netlink_way *way = arg;

	if (mnl_attr_get_type(attr) == RTA_OIF &&
	    mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
		way->oif = (int)mnl_attr_get_u32(attr);
	return MNL_CB_OK;
}

static int netlink_on_route(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct netlink_way *way = arg;

	way->type = rtm->rtm_type;
	(void)mnl_attr_parse(nlh, sizeof(*rtm), netlink_on_route_attr, way);
	return MNL_CB_OK;
}

int netlink_route_lookup(struct netlink *nl, const struct conf_ip *dst,
			 uint8_t *ret_type, int *ret_oif)
{
	struct nlmsghdr *nlh = netlink_request(nl, RTM_GETROUTE, 0);
	struct netlink_way way = { 0 };
	int rc;

	netlink_put_dst(nlh, dst);
	rc = netlink_talk(nl, nlh, netlink_on_route, &way);
	if (rc < 0)
		return rc;
	*ret_type = way.type;
	*ret_oif = way.oif;
	return 0;
}
