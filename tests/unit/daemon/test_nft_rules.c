/* SPDX-License-Identifier: BSD-2-Clause */
/* What nf_tables would be told, message by message. */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/nft_rules.h"
#include "unit/unit.h"

#define SEQ 1000u

static struct conf_own own[CONF_OWN_MAX];
static struct nft_batch batch;
static struct nft_rules rules;

static void setup(void)
{
	memset(own, 0, sizeof(own));
	rules = (struct nft_rules){
		.device = "xtcp-0",
		.device_index = 77,
		.comment = "xtcpd /run/xtcpd",
		.own = own,
	};
	batch = (struct nft_batch){ .buf = malloc(NFT_BATCH_BYTES) };
	ck_assert_ptr_nonnull(batch.buf);
}

static void teardown(void)
{
	free(batch.buf);
}

static void add(const char *link, const char *ip, uint16_t port)
{
	struct conf_own *o = &own[rules.n_own++];

	snprintf(o->link, sizeof(o->link), "%s", link);
	o->ip.family = strchr(ip, ':') ? 6 : 4;
	o->port = port;
	ck_assert_int_eq(inet_pton(o->ip.family == 6 ? AF_INET6 : AF_INET, ip,
				   o->ip.bytes),
			 1);
}

/* --- reading it back ---------------------------------------------------- */

static const struct nlmsghdr *next(const struct nlmsghdr *nlh)
{
	const char *at = nlh ? (const char *)nlh + NLMSG_ALIGN(nlh->nlmsg_len)
			     : batch.buf;

	if (at == batch.buf + batch.bytes)
		return NULL;
	ck_assert(at < batch.buf + batch.bytes);
	return (const void *)at;
}

/* The n-th message of a type, and of a family (0: any). */
static const struct nlmsghdr *find(uint16_t type, uint8_t family, uint32_t n)
{
	const struct nlmsghdr *nlh = NULL;

	while ((nlh = next(nlh))) {
		const struct nfgenmsg *nfg = mnl_nlmsg_get_payload(nlh);

		if (nlh->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | type) &&
		    (!family || nfg->nfgen_family == family) && n-- == 0)
			return nlh;
	}
	return NULL;
}

static uint32_t count(uint16_t type, uint8_t family)
{
	uint32_t n = 0;

	while (find(type, family, n))
		n++;
	return n;
}

/* The attribute that follows `at` (NULL: the first) in so many bytes. */
static const struct nlattr *next_attr(const void *begin, size_t bytes,
				      const struct nlattr *at)
{
	const char *next =
		at ? (const char *)at + NLA_ALIGN(at->nla_len) : begin;

	ck_assert(next <= (const char *)begin + bytes);
	return next < (const char *)begin + bytes ? (const void *)next : NULL;
}

static const struct nlattr *next_nested(const struct nlattr *outer,
					const struct nlattr *at)
{
	return next_attr(mnl_attr_get_payload(outer),
			 mnl_attr_get_payload_len(outer), at);
}

static const struct nlattr *attr_of(const struct nlmsghdr *nlh, int type)
{
	const struct nlattr *attr = NULL;

	while ((attr = next_attr(mnl_nlmsg_get_payload_offset(
					 nlh, sizeof(struct nfgenmsg)),
				 mnl_nlmsg_get_payload_len(nlh) -
					 sizeof(struct nfgenmsg),
				 attr)))
		if (mnl_attr_get_type(attr) == type)
			return attr;
	return NULL;
}

static const char *text_of(const struct nlmsghdr *nlh, int type)
{
	const struct nlattr *attr = attr_of(nlh, type);

	ck_assert_ptr_nonnull(attr);
	return mnl_attr_get_str(attr);
}

static uint32_t elements_of(const struct nlmsghdr *nlh)
{
	const struct nlattr *list = attr_of(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	const struct nlattr *attr = NULL;
	uint32_t n = 0;

	while ((attr = next_nested(list, attr)))
		n++;
	return n;
}

/* The expressions' names, in a row. */
static void expressions_of(const struct nlmsghdr *nlh, char text[512])
{
	const struct nlattr *list = attr_of(nlh, NFTA_RULE_EXPRESSIONS);
	const struct nlattr *elem = NULL, *name;

	text[0] = '\0';
	while ((elem = next_nested(list, elem))) {
		name = next_nested(elem, NULL);
		ck_assert_uint_eq(mnl_attr_get_type(name), NFTA_EXPR_NAME);
		strcat(text, mnl_attr_get_str(name));
		strcat(text, " ");
	}
}

static void make(bool ways, bool guard)
{
	nft_batch_begin(&batch, SEQ);
	if (ways)
		nft_put_ways(&batch, &rules);
	if (guard)
		nft_put_guard(&batch, &rules);
	nft_batch_end(&batch);
	ck_assert(!batch.full);
}

/* --- the tests ----------------------------------------------------------- */

START_TEST(test_batch_is_framed_and_its_last_message_is_acknowledged)
{
	const struct nlmsghdr *nlh = NULL, *last = NULL;
	uint32_t seq = SEQ, acks = 0;

	add("eth0", "192.0.2.1", 5222);
	make(true, true);
	while ((nlh = next(nlh))) {
		ck_assert_uint_eq(nlh->nlmsg_seq, seq++);
		acks += (nlh->nlmsg_flags & NLM_F_ACK) != 0;
		if (nlh->nlmsg_flags & NLM_F_ACK)
			ck_assert_uint_eq(nlh->nlmsg_seq, batch.seq);
		if (!last)
			ck_assert_uint_eq(nlh->nlmsg_type,
					  NFNL_MSG_BATCH_BEGIN);
		last = nlh;
	}
	ck_assert_uint_eq(last->nlmsg_type, NFNL_MSG_BATCH_END);
	ck_assert_uint_eq(last->nlmsg_seq, batch.seq + 1);
	ck_assert_uint_eq(acks, 1);
}
END_TEST

START_TEST(test_ways_are_their_sockets_and_the_guard_is_nobodys)
{
	const struct nlmsghdr *table;

	add("eth0", "192.0.2.1", 5222);
	make(true, true);
	ck_assert_uint_eq(count(NFT_MSG_NEWTABLE, 0), 3);
	for (uint32_t i = 0; i < 3; i++) {
		static const char *const names[] = { "xtcpd_xtcp_0",
						     "xtcpd_xtcp_0",
						     "xtcpd_xtcp_0_guard" };
		const struct nlattr *attr;

		table = find(NFT_MSG_NEWTABLE, 0, i);
		ck_assert_str_eq(text_of(table, NFTA_TABLE_NAME), names[i]);
		attr = attr_of(table, NFTA_TABLE_FLAGS);
		ck_assert_uint_eq(ntohl(mnl_attr_get_u32(attr)),
				  i < 2 ? NFT_TABLE_F_OWNER : 0);
		ck_assert(table->nlmsg_flags & NLM_F_EXCL);
		attr = attr_of(table, NFTA_TABLE_USERDATA);
		ck_assert_uint_eq(mnl_attr_get_payload_len(attr), 2 + 17);
		ck_assert_mem_eq(mnl_attr_get_payload(attr),
				 "\0\021xtcpd /run/xtcpd", 2 + 17);
	}
}
END_TEST

START_TEST(test_each_interface_has_a_hook_and_a_set_of_each_family)
{
	const struct nlmsghdr *nlh;

	add("eth0", "192.0.2.1", 5222);
	add("eth1", "2001:db8::1", 443);
	add("eth0", "192.0.2.2", 5222);
	add("eth0", "2001:db8::1", 5222);
	make(true, false);
	ck_assert_uint_eq(count(NFT_MSG_NEWCHAIN, NFPROTO_NETDEV), 2);
	ck_assert_uint_eq(count(NFT_MSG_NEWCHAIN, NFPROTO_INET), 1);
	ck_assert_uint_eq(count(NFT_MSG_NEWSET, NFPROTO_NETDEV), 3);
	ck_assert_uint_eq(count(NFT_MSG_NEWSET, NFPROTO_INET), 3);
	/* of the family and interface, TCP and ICMP; and what is dropped */
	ck_assert_uint_eq(count(NFT_MSG_NEWRULE, NFPROTO_NETDEV), 6);
	ck_assert_uint_eq(count(NFT_MSG_NEWRULE, NFPROTO_INET), 6);
	nlh = find(NFT_MSG_NEWSETELEM, NFPROTO_NETDEV, 0);
	ck_assert_str_eq(text_of(nlh, NFTA_SET_ELEM_LIST_SET), "port4_0");
	ck_assert_uint_eq(elements_of(nlh), 2);
	nlh = find(NFT_MSG_NEWSETELEM, NFPROTO_NETDEV, 1);
	ck_assert_str_eq(text_of(nlh, NFTA_SET_ELEM_LIST_SET), "port6_1");
	ck_assert_uint_eq(elements_of(nlh), 1);
	nlh = find(NFT_MSG_NEWSETELEM, NFPROTO_NETDEV, 2);
	ck_assert_str_eq(text_of(nlh, NFTA_SET_ELEM_LIST_SET), "port6_0");
}
END_TEST

START_TEST(test_rules_divert_leave_untracked_and_drop)
{
	static const char match[] = "meta cmp meta cmp meta cmp "
				    "payload payload lookup ";
	char text[512];

	add("eth0", "192.0.2.1", 5222);
	make(true, true);
	expressions_of(find(NFT_MSG_NEWRULE, NFPROTO_NETDEV, 0), text);
	ck_assert_mem_eq(text, match, strlen(match));
	ck_assert_str_eq(text + strlen(match), "immediate fwd ");
	expressions_of(find(NFT_MSG_NEWRULE, NFPROTO_INET, 0), text);
	ck_assert_mem_eq(text, match, strlen(match));
	ck_assert_str_eq(text + strlen(match), "notrack ");
	/* in the table of the ways, and in the guard's */
	ck_assert_uint_eq(count(NFT_MSG_NEWRULE, NFPROTO_INET), 3);
	for (uint32_t i = 1; i < 3; i++) {
		expressions_of(find(NFT_MSG_NEWRULE, NFPROTO_INET, i), text);
		ck_assert_str_eq(text + strlen(match), "immediate ");
	}
}
END_TEST

START_TEST(test_as_many_ports_as_there_can_be_fit)
{
	char link[16], ip[64];

	for (uint32_t i = 0; i < CONF_OWN_MAX; i++) {
		snprintf(link, sizeof(link), "interface%u",
			 i % CONF_LISTENS_MAX);
		snprintf(ip, sizeof(ip),
			 i / CONF_LISTENS_MAX % 2 ? "2001:db8::%x"
						  : "192.0.2.%u",
			 1 + i % 64);
		add(link, ip, (uint16_t)(1 + i));
	}
	make(true, true);
	ck_assert_uint_eq(count(NFT_MSG_NEWSET, NFPROTO_NETDEV),
			  2 * CONF_LISTENS_MAX);
	ck_assert_uint_lt(batch.bytes, NFT_BATCH_BYTES);
	/* or all of one family on one interface */
	for (uint32_t i = 0; i < CONF_OWN_MAX; i++) {
		memset(own[i].link, 0, sizeof(own[i].link));
		own[i].link[0] = 'e';
		own[i].ip.family = 6;
	}
	make(true, true);
	ck_assert_uint_eq(elements_of(find(NFT_MSG_NEWSETELEM, 0, 0)),
			  CONF_OWN_MAX);
}
END_TEST

START_TEST(test_what_does_not_fit_is_not_to_be_sent)
{
	nft_batch_begin(&batch, SEQ);
	for (uint32_t i = 0; i < NFT_BATCH_BYTES / 20; i++)
		nft_put_table_gone(&batch, NFPROTO_INET, "a");
	nft_batch_end(&batch);
	ck_assert(batch.full);
	ck_assert_uint_le(batch.bytes, NFT_BATCH_BYTES);
}
END_TEST

UNIT_MAIN("daemon/nft_rules",
	  UNIT_CASE("rules", setup, teardown,
		    test_batch_is_framed_and_its_last_message_is_acknowledged,
		    test_ways_are_their_sockets_and_the_guard_is_nobodys,
		    test_each_interface_has_a_hook_and_a_set_of_each_family,
		    test_rules_divert_leave_untracked_and_drop,
		    test_as_many_ports_as_there_can_be_fit,
		    test_what_does_not_fit_is_not_to_be_sent))
