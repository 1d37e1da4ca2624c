/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/nft_message.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

/* --- messages and attributes ------------------------------------------- */

static struct nlmsghdr *nft_message(struct nft_batch *b, uint16_t type,
				    uint16_t flags, uint8_t family,
				    uint16_t res_id)
{
	struct nlmsghdr *nlh;
	struct nfgenmsg *nfg;

	/* It is written over when full, and not sent. */
	if (b->full || NFT_BATCH_BYTES - b->bytes < NFT_MESSAGE_BYTES) {
		b->full = true;
		b->bytes = 0;
	}
	nlh = mnl_nlmsg_put_header(b->buf + b->bytes);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++b->seq;
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = family;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(res_id);
	return nlh;
}

struct nlmsghdr *nft_request(struct nft_batch *b, uint16_t type, uint16_t flags,
			     uint8_t family)
{
	return nft_message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type),
			   flags, family, 0);
}

void nft_message_done(struct nft_batch *b, const struct nlmsghdr *nlh)
{
	b->bytes += NLMSG_ALIGN(nlh->nlmsg_len);
}

void nft_batch_begin(struct nft_batch *b, uint32_t seq)
{
	b->bytes = 0;
	b->full = false;
	b->seq = seq - 1;
	nft_message_done(b, nft_message(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC,
					NFNL_SUBSYS_NFTABLES));
}

void nft_batch_end(struct nft_batch *b)
{
	struct nlmsghdr *nlh = NULL;

	for (size_t at = 0; at < b->bytes; at += NLMSG_ALIGN(nlh->nlmsg_len))
		nlh = (struct nlmsghdr *)(void *)(b->buf + at);
	if (nlh)
		nlh->nlmsg_flags |= NLM_F_ACK;
	nft_message_done(b, nft_message(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC,
					NFNL_SUBSYS_NFTABLES));
	b->seq--; /* of the one that is acknowledged */
}

void nft_put_be32(struct nlmsghdr *nlh, int type, uint32_t value)
{
	mnl_attr_put_u32(nlh, (uint16_t)type, htonl(value));
}

struct nlattr *nft_nest(struct nlmsghdr *nlh, int type)
{
	return mnl_attr_nest_start(nlh, (uint16_t)type);
}

/* --- rules ------------------------------------------------------------- */

struct nft_rule nft_rule_begin(struct nft_batch *b, uint8_t family,
			       const char *table, const char *chain)
{
	struct nft_rule r = { .b = b };

	r.nlh = nft_request(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND,
			    family);
	mnl_attr_put_strz(r.nlh, NFTA_RULE_TABLE, table);
	mnl_attr_put_strz(r.nlh, NFTA_RULE_CHAIN, chain);
	r.exprs = nft_nest(r.nlh, NFTA_RULE_EXPRESSIONS);
	return r;
}

void nft_rule_end(struct nft_rule *r)
{
	mnl_attr_nest_end(r->nlh, r->exprs);
	nft_message_done(r->b, r->nlh);
}

struct nft_expr nft_expr_begin(struct nft_rule *r, const char *name)
{
	struct nft_expr e = { .elem = nft_nest(r->nlh, NFTA_LIST_ELEM) };

	mnl_attr_put_strz(r->nlh, NFTA_EXPR_NAME, name);
	e.data = nft_nest(r->nlh, NFTA_EXPR_DATA);
	return e;
}

void nft_expr_end(struct nft_rule *r, const struct nft_expr *e)
{
	mnl_attr_nest_end(r->nlh, e->data);
	mnl_attr_nest_end(r->nlh, e->elem);
}

/* reg 1 = what the kernel knows of the packet */
void nft_load_meta(struct nft_rule *r, enum nft_meta_keys key)
{
	struct nft_expr e = nft_expr_begin(r, "meta");

	nft_put_be32(r->nlh, NFTA_META_KEY, key);
	nft_put_be32(r->nlh, NFTA_META_DREG, NFT_REG_1);
	nft_expr_end(r, &e);
}

/* reg = so many bytes of the packet */
void nft_load(struct nft_rule *r, enum nft_payload_bases base, uint32_t off,
	      uint32_t bytes, uint32_t reg)
{
	struct nft_expr e = nft_expr_begin(r, "payload");

	nft_put_be32(r->nlh, NFTA_PAYLOAD_DREG, reg);
	nft_put_be32(r->nlh, NFTA_PAYLOAD_BASE, base);
	nft_put_be32(r->nlh, NFTA_PAYLOAD_OFFSET, off);
	nft_put_be32(r->nlh, NFTA_PAYLOAD_LEN, bytes);
	nft_expr_end(r, &e);
}

/* The rule goes on only if reg 1 is as the value, or below it. */
void nft_cmp(struct nft_rule *r, enum nft_cmp_ops op, const void *value,
	     size_t bytes)
{
	struct nft_expr e = nft_expr_begin(r, "cmp");
	struct nlattr *data;

	nft_put_be32(r->nlh, NFTA_CMP_SREG, NFT_REG_1);
	nft_put_be32(r->nlh, NFTA_CMP_OP, op);
	data = nft_nest(r->nlh, NFTA_CMP_DATA);
	mnl_attr_put(r->nlh, NFTA_DATA_VALUE, bytes, value);
	mnl_attr_nest_end(r->nlh, data);
	nft_expr_end(r, &e);
}

void nft_want_meta8(struct nft_rule *r, enum nft_meta_keys key, uint8_t value)
{
	nft_load_meta(r, key);
	nft_cmp(r, NFT_CMP_EQ, &value, sizeof(value));
}

void nft_drop(struct nft_rule *r)
{
	struct nft_expr e = nft_expr_begin(r, "immediate");
	struct nlattr *data, *verdict;

	nft_put_be32(r->nlh, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	data = nft_nest(r->nlh, NFTA_IMMEDIATE_DATA);
	verdict = nft_nest(r->nlh, NFTA_DATA_VERDICT);
	nft_put_be32(r->nlh, NFTA_VERDICT_CODE, NF_DROP);
	mnl_attr_nest_end(r->nlh, verdict);
	mnl_attr_nest_end(r->nlh, data);
	nft_expr_end(r, &e);
}

void nft_notrack(struct nft_rule *r)
{
	struct nlattr *elem = nft_nest(r->nlh, NFTA_LIST_ELEM);

	mnl_attr_put_strz(r->nlh, NFTA_EXPR_NAME, "notrack");
	mnl_attr_nest_end(r->nlh, elem);
}
