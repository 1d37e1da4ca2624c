/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nft_rules - what nf_tables is told, message by message.
 *
 * Theory of operation
 *
 *	table netdev xtcpd_xtcp0 {			flags owner
 *	    set port4_0 { ipv4_addr . inet_service }
 *	    chain in_0 {
 *		type filter hook ingress device "eth0" priority 100;
 *		meta pkttype host ip daddr . tcp dport @port4_0
 *			fwd ip to ip daddr device "xtcp0"
 *		an ICMP error about a segment from @port4_0, likewise
 *	    }
 *	}
 *	table inet xtcpd_xtcp0 {			flags owner
 *	    chain pre {
 *		type filter hook prerouting priority raw;
 *		iifname "xtcp0" ip saddr . tcp sport @port4_0 notrack
 *		iifname "eth0" ip daddr . tcp dport @port4_0 drop
 *	    }
 *	}
 *	table inet xtcpd_xtcp0_guard { the last of these rules }
 *
 * and the same for IPv6; sets and chains are numbered by interface. "fwd ip to"
 * is used, not "fwd to": it sends through the neighbour layer, which for a TUN
 * adds no link header, where the other one would leave the Ethernet header on.
 * The address is a formality there. Packets that are for another host's MAC
 * address stay out of it (pkttype). The device is known to the rule by index:
 * when it is gone, the packet goes on to the next rule and on into the stack
 * of the kernel, where the drop awaits it.
 *
 * At the hook there are no fragments put together: the first one of a segment
 * is diverted, others have no ports and are not.
 *
 * An ICMP error belongs to us when the segment that it quotes came from a
 * port of ours, so that path MTU discovery works; an IP header with options is
 * never quoted, as we send none.
 *
 * Replies come in from the TUN with a source address of this host. No tracker
 * of connections may see them, as it has not seen what they answer.
 *
 * Registers are of 32 bits each: an address in 1 (of 16 bytes) or its first
 * quarter, the port right behind it.
 */
#include "daemon/nft_rules.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <libmnl/libmnl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "daemon/nft_message.h"

/* After filters of the host at the usual priorities, up to 0. */
#define NFT_PRIORITY_INGRESS 100
/* Before connection tracking, at -200. */
#define NFT_PRIORITY_RAW (-300)
/* How nft(8) shows a set: six bits per type. */
#define NFT_TYPE_IPADDR 7u
#define NFT_TYPE_IP6ADDR 8u
#define NFT_TYPE_INET_SERVICE 13u
#define NFT_TYPE_BITS 6
/* libnftnl's TLV for the comment of a table. */
#define NFT_UDATA_COMMENT 0

/* Headers: RFC 791, RFC 8200, RFC 9293, RFC 792, RFC 4443. */
#define NFT_ICMP_BYTES 8u
#define NFT_IP4_PROTO 9u
#define NFT_IP4_SRC 12u
#define NFT_IP4_DST 16u
#define NFT_IP4_BYTES 20u
#define NFT_IP4_NO_OPTIONS 0x45
#define NFT_IP6_PROTO 6u
#define NFT_IP6_SRC 8u
#define NFT_IP6_DST 24u
#define NFT_IP6_BYTES 40u
#define NFT_TCP_SRC 0u
#define NFT_TCP_DST 2u

/* What differs between the families. */
struct nft_family {
	uint8_t family; /* as in conf_ip */
	uint8_t nfproto;
	uint16_t ethertype;
	uint8_t icmp;
	uint32_t addr_bytes, key_bytes;
	uint32_t port_reg; /* the address is in NFT_REG_1 */
	uint32_t src, dst; /* in the header */
	uint32_t key_type;
};

static const struct nft_family nft_families[] = {
	{ 4, NFPROTO_IPV4, ETH_P_IP, IPPROTO_ICMP, 4, 8, NFT_REG32_01,
	  NFT_IP4_SRC, NFT_IP4_DST,
	  NFT_TYPE_IPADDR << NFT_TYPE_BITS | NFT_TYPE_INET_SERVICE },
	{ 6, NFPROTO_IPV6, ETH_P_IPV6, IPPROTO_ICMPV6, 16, 20, NFT_REG_2,
	  NFT_IP6_SRC, NFT_IP6_DST,
	  NFT_TYPE_IP6ADDR << NFT_TYPE_BITS | NFT_TYPE_INET_SERVICE },
};

/* --- tables, sets, chains ---------------------------------------------- */

void nft_ways_name(const char *device, char ret_name[NFT_NAME_MAX])
{
	snprintf(ret_name, NFT_NAME_MAX, "xtcpd_%.16s", device);
	for (char *c = ret_name; *c; c++)
		if (!isalnum((unsigned char)*c) && *c != '.')
			*c = '_';
}

void nft_guard_name(const char *device, char ret_name[NFT_NAME_MAX])
{
	char ways[NFT_NAME_MAX];

	nft_ways_name(device, ways);
	snprintf(ret_name, NFT_NAME_MAX, "%.30s_guard", ways);
}

void nft_put_table_gone(struct nft_batch *b, uint8_t family, const char *name)
{
	struct nlmsghdr *nlh = nft_request(b, NFT_MSG_DELTABLE, 0, family);

	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, name);
	nft_message_done(b, nlh);
}

/* One of the name that is there is somebody else's, and an error. */
static void nft_put_table(struct nft_batch *b, uint8_t family, const char *name,
			  const char *comment, uint32_t flags)
{
	struct nlmsghdr *nlh = nft_request(b, NFT_MSG_NEWTABLE,
					   NLM_F_CREATE | NLM_F_EXCL, family);
	char udata[2 + NFT_COMMENT_MAX];
	int n = snprintf(udata + 2, NFT_COMMENT_MAX, "%s", comment);

	udata[0] = NFT_UDATA_COMMENT;
	udata[1] = (char)(min_u32((uint32_t)n, NFT_COMMENT_MAX - 1) + 1);
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, name);
	nft_put_be32(nlh, NFTA_TABLE_FLAGS, flags);
	mnl_attr_put(nlh, NFTA_TABLE_USERDATA, 2 + (uint8_t)udata[1], udata);
	nft_message_done(b, nlh);
}

/* Hook: an ingress hook with a device, else of family inet, prerouting. */
static void nft_put_chain(struct nft_batch *b, const char *table,
			  const char *name, const char *device)
{
	struct nlmsghdr *nlh =
		nft_request(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE,
			    device ? NFPROTO_NETDEV : NFPROTO_INET);
	struct nlattr *hook;

	mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, name);
	hook = nft_nest(nlh, NFTA_CHAIN_HOOK);
	nft_put_be32(nlh, NFTA_HOOK_HOOKNUM,
		     device ? NF_NETDEV_INGRESS : NF_INET_PRE_ROUTING);
	nft_put_be32(nlh, NFTA_HOOK_PRIORITY,
		     (uint32_t)(device ? NFT_PRIORITY_INGRESS
				       : NFT_PRIORITY_RAW));
	if (device)
		mnl_attr_put_strz(nlh, NFTA_HOOK_DEV, device);
	mnl_attr_nest_end(nlh, hook);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_TYPE, "filter");
	nft_put_be32(nlh, NFTA_CHAIN_POLICY, NF_ACCEPT);
	nft_message_done(b, nlh);
}

/* Is it the first port of its family and interface in the list? */
static bool nft_is_first(const struct nft_rules *rules, uint32_t i)
{
	const struct conf_own *own = rules->own;

	for (uint32_t k = 0; k < i; k++)
		if (own[k].ip.family == own[i].ip.family &&
		    strcmp(own[k].link, own[i].link) == 0)
			return false;
	return true;
}

static void nft_set_name(const struct nft_family *f, uint32_t link,
			 char ret_name[32])
{
	snprintf(ret_name, 32, "port%u_%u", f->family, link);
}

static void nft_put_set(struct nft_batch *b, uint8_t family, const char *table,
			const struct nft_family *f, uint32_t link)
{
	struct nlmsghdr *nlh =
		nft_request(b, NFT_MSG_NEWSET, NLM_F_CREATE, family);
	char name[32];

	nft_set_name(f, link, name);
	mnl_attr_put_strz(nlh, NFTA_SET_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_SET_NAME, name);
	nft_put_be32(nlh, NFTA_SET_ID, link * 16 + f->family);
	nft_put_be32(nlh, NFTA_SET_KEY_TYPE, f->key_type);
	nft_put_be32(nlh, NFTA_SET_KEY_LEN, f->key_bytes);
	nft_message_done(b, nlh);
}

static void nft_put_element(struct nlmsghdr *nlh, const struct nft_family *f,
			    const struct conf_own *own)
{
	struct nlattr *elem = nft_nest(nlh, NFTA_LIST_ELEM);
	struct nlattr *key = nft_nest(nlh, NFTA_SET_ELEM_KEY);
	uint16_t port = htons(own->port);
	uint8_t bytes[20] = { 0 };

	memcpy(bytes, own->ip.bytes, f->addr_bytes);
	memcpy(bytes + f->addr_bytes, &port, sizeof(port));
	mnl_attr_put(nlh, NFTA_DATA_VALUE, f->key_bytes, bytes);
	mnl_attr_nest_end(nlh, key);
	mnl_attr_nest_end(nlh, elem);
}

/* The ports of one interface, into its set; link is its number. */
static void nft_put_elements(struct nft_batch *b, uint8_t family,
			     const char *table, const struct nft_family *f,
			     const struct nft_rules *rules, uint32_t first,
			     uint32_t link)
{
	static const size_t room = CONF_OWN_MAX * 40 + 256;
	const char *name = rules->own[first].link;
	struct nlmsghdr *nlh;
	struct nlattr *list;
	char set[32];

	if (NFT_BATCH_BYTES - b->bytes < room + NFT_MESSAGE_BYTES)
		b->full = true;
	nlh = nft_request(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE, family);
	nft_set_name(f, link, set);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set);
	list = nft_nest(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	for (uint32_t i = first; i < rules->n_own; i++)
		if (rules->own[i].ip.family == f->family &&
		    strcmp(rules->own[i].link, name) == 0)
			nft_put_element(nlh, f, &rules->own[i]);
	mnl_attr_nest_end(nlh, list);
	nft_message_done(b, nlh);
}

/* --- parts of rules ---------------------------------------------------- */

/* A byte behind the IP header. */
static void nft_want_byte(struct nft_rule *r, uint32_t off, enum nft_cmp_ops op,
			  uint8_t value)
{
	nft_load(r, NFT_PAYLOAD_TRANSPORT_HEADER, off, 1, NFT_REG_1);
	nft_cmp(r, op, &value, sizeof(value));
}

static void nft_want_link(struct nft_rule *r, const char *name)
{
	char padded[16] = { 0 };

	memcpy(padded, name, strnlen(name, sizeof(padded) - 1));
	nft_load_meta(r, NFT_META_IIFNAME);
	nft_cmp(r, NFT_CMP_EQ, padded, sizeof(padded));
}

/* Packets of the family, of a protocol above it; in_inet: of which table. */
static void nft_want_protocol(struct nft_rule *r, const struct nft_family *f,
			      uint8_t protocol, bool in_inet)
{
	uint16_t ethertype = htons(f->ethertype);

	if (in_inet) {
		nft_want_meta8(r, NFT_META_NFPROTO, f->nfproto);
	} else {
		nft_load_meta(r, NFT_META_PROTOCOL);
		nft_cmp(r, NFT_CMP_EQ, &ethertype, sizeof(ethertype));
		nft_want_meta8(r, NFT_META_PKTTYPE, PACKET_HOST);
	}
	nft_want_meta8(r, NFT_META_L4PROTO, protocol);
}

/* reg 1 and what follows: an address and a port; go on if they are ours. */
static void nft_want_ours(struct nft_rule *r, const struct nft_family *f,
			  enum nft_payload_bases base, uint32_t addr_off,
			  uint32_t port_off, uint32_t link)
{
	struct nft_expr e;
	char set[32];

	nft_load(r, base, addr_off, f->addr_bytes, NFT_REG_1);
	nft_load(r, NFT_PAYLOAD_TRANSPORT_HEADER, port_off, 2, f->port_reg);
	nft_set_name(f, link, set);
	e = nft_expr_begin(r, "lookup");
	mnl_attr_put_strz(r->nlh, NFTA_LOOKUP_SET, set);
	nft_put_be32(r->nlh, NFTA_LOOKUP_SREG, NFT_REG_1);
	nft_expr_end(r, &e);
}

/* To the device, by the neighbour of the address in reg 1. */
static void nft_forward(struct nft_rule *r, const struct nft_family *f,
			uint32_t device_index)
{
	struct nft_expr e = nft_expr_begin(r, "immediate");
	struct nlattr *data;

	nft_put_be32(r->nlh, NFTA_IMMEDIATE_DREG, NFT_REG_3);
	data = nft_nest(r->nlh, NFTA_IMMEDIATE_DATA);
	mnl_attr_put_u32(r->nlh, NFTA_DATA_VALUE, device_index);
	mnl_attr_nest_end(r->nlh, data);
	nft_expr_end(r, &e);
	e = nft_expr_begin(r, "fwd");
	nft_put_be32(r->nlh, NFTA_FWD_SREG_DEV, NFT_REG_3);
	nft_put_be32(r->nlh, NFTA_FWD_SREG_ADDR, NFT_REG_1);
	nft_put_be32(r->nlh, NFTA_FWD_NFPROTO, f->nfproto);
	nft_expr_end(r, &e);
}

/* --- the tables -------------------------------------------------------- */

static void nft_put_tcp_way(struct nft_batch *b, const char *table,
			    const char *chain, const struct nft_family *f,
			    uint32_t device_index, uint32_t link)
{
	struct nft_rule r = nft_rule_begin(b, NFPROTO_NETDEV, table, chain);

	nft_want_protocol(&r, f, IPPROTO_TCP, false);
	nft_want_ours(&r, f, NFT_PAYLOAD_NETWORK_HEADER, f->dst, NFT_TCP_DST,
		      link);
	nft_forward(&r, f, device_index);
	nft_rule_end(&r);
}

static void nft_put_icmp_way(struct nft_batch *b, const char *table,
			     const char *chain, const struct nft_family *f,
			     uint32_t device_index, uint32_t link)
{
	struct nft_rule r = nft_rule_begin(b, NFPROTO_NETDEV, table, chain);
	uint32_t quoted_bytes;

	nft_want_protocol(&r, f, f->icmp, false);
	if (f->family == 4) {
		nft_want_byte(&r, 0, NFT_CMP_EQ, ICMP_DEST_UNREACH);
		nft_want_byte(&r, NFT_ICMP_BYTES, NFT_CMP_EQ,
			      NFT_IP4_NO_OPTIONS);
		nft_want_byte(&r, NFT_ICMP_BYTES + NFT_IP4_PROTO, NFT_CMP_EQ,
			      IPPROTO_TCP);
		quoted_bytes = NFT_IP4_BYTES;
	} else {
		nft_want_byte(&r, 0, NFT_CMP_LTE, ICMP6_PACKET_TOO_BIG);
		nft_want_byte(&r, NFT_ICMP_BYTES + NFT_IP6_PROTO, NFT_CMP_EQ,
			      IPPROTO_TCP);
		quoted_bytes = NFT_IP6_BYTES;
	}
	nft_want_ours(&r, f, NFT_PAYLOAD_TRANSPORT_HEADER,
		      NFT_ICMP_BYTES + f->src,
		      NFT_ICMP_BYTES + quoted_bytes + NFT_TCP_SRC, link);
	nft_forward(&r, f, device_index);
	nft_rule_end(&r);
}

static void nft_put_untracked(struct nft_batch *b, const char *table,
			      const char *device, const struct nft_family *f,
			      uint32_t link)
{
	struct nft_rule r = nft_rule_begin(b, NFPROTO_INET, table, "pre");

	nft_want_link(&r, device);
	nft_want_protocol(&r, f, IPPROTO_TCP, true);
	nft_want_ours(&r, f, NFT_PAYLOAD_NETWORK_HEADER, f->src, NFT_TCP_SRC,
		      link);
	nft_notrack(&r);
	nft_rule_end(&r);
}

static void nft_put_dropped(struct nft_batch *b, const char *table,
			    const char *name, const struct nft_family *f,
			    uint32_t link)
{
	struct nft_rule r = nft_rule_begin(b, NFPROTO_INET, table, "pre");

	nft_want_link(&r, name);
	nft_want_protocol(&r, f, IPPROTO_TCP, true);
	nft_want_ours(&r, f, NFT_PAYLOAD_NETWORK_HEADER, f->dst, NFT_TCP_DST,
		      link);
	nft_drop(&r);
	nft_rule_end(&r);
}

/* A number for the interface of own[i]: of the first entry that has it. */
static uint32_t nft_link_number(const struct nft_rules *rules, uint32_t i)
{
	uint32_t k = 0;

	while (strcmp(rules->own[k].link, rules->own[i].link) != 0)
		k++;
	return k;
}

static const struct nft_family *nft_family_of(const struct conf_own *own)
{
	return &nft_families[own->ip.family == 4 ? 0 : 1];
}

/* The ingress hook of each interface. */
static void nft_put_netdev(struct nft_batch *b, const struct nft_rules *rules,
			   const char *table)
{
	for (uint32_t i = 0; i < rules->n_own; i++) {
		const struct nft_family *f = nft_family_of(&rules->own[i]);
		uint32_t link = nft_link_number(rules, i);
		char chain[32];

		if (!nft_is_first(rules, i))
			continue;
		snprintf(chain, sizeof(chain), "in_%u", link);
		if (link == i)
			nft_put_chain(b, table, chain, rules->own[i].link);
		nft_put_set(b, NFPROTO_NETDEV, table, f, link);
		nft_put_elements(b, NFPROTO_NETDEV, table, f, rules, i, link);
		nft_put_tcp_way(b, table, chain, f, rules->device_index, link);
		nft_put_icmp_way(b, table, chain, f, rules->device_index, link);
	}
}

static void nft_put_inet(struct nft_batch *b, const struct nft_rules *rules,
			 const char *table, bool untracked)
{
	nft_put_chain(b, table, "pre", NULL);
	for (uint32_t i = 0; i < rules->n_own; i++) {
		const struct nft_family *f = nft_family_of(&rules->own[i]);
		uint32_t link = nft_link_number(rules, i);

		if (!nft_is_first(rules, i))
			continue;
		nft_put_set(b, NFPROTO_INET, table, f, link);
		nft_put_elements(b, NFPROTO_INET, table, f, rules, i, link);
		if (untracked)
			nft_put_untracked(b, table, rules->device, f, link);
		nft_put_dropped(b, table, rules->own[i].link, f, link);
	}
}

void nft_put_ways(struct nft_batch *b, const struct nft_rules *rules)
{
	char name[NFT_NAME_MAX];

	nft_ways_name(rules->device, name);
	nft_put_table(b, NFPROTO_NETDEV, name, rules->comment,
		      NFT_TABLE_F_OWNER);
	nft_put_netdev(b, rules, name);
	nft_put_table(b, NFPROTO_INET, name, rules->comment, NFT_TABLE_F_OWNER);
	nft_put_inet(b, rules, name, true);
}

void nft_put_guard(struct nft_batch *b, const struct nft_rules *rules)
{
	char name[NFT_NAME_MAX];

	nft_guard_name(rules->device, name);
	nft_put_table(b, NFPROTO_INET, name, rules->comment, 0);
	nft_put_inet(b, rules, name, false);
}
