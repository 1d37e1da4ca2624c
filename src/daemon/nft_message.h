/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nft_message - parts of messages for nf_tables: requests, rules, expressions.
 *
 * A message is made in place in the batch, and added to it when it is done.
 * An expression is begun and ended around its attributes.
 */
#ifndef XTCP_DAEMON_NFT_MESSAGE_H
#define XTCP_DAEMON_NFT_MESSAGE_H

#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>

#include "daemon/nft_rules.h"

/* More than any message needs, but for elements of a set. */
#define NFT_MESSAGE_BYTES 4096u

/* A request of a type (NFT_MSG_*) about a table of the family (NFPROTO_*). */
struct nlmsghdr *nft_request(struct nft_batch *b, uint16_t type, uint16_t flags,
			     uint8_t family);
void nft_message_done(struct nft_batch *b, const struct nlmsghdr *nlh);

/* An attribute, in network byte order; the begin of a nested one. */
void nft_put_be32(struct nlmsghdr *nlh, int type, uint32_t value);
struct nlattr *nft_nest(struct nlmsghdr *nlh, int type);

/* One rule that is being made. */
struct nft_rule {
	struct nft_batch *b;
	struct nlmsghdr *nlh;
	struct nlattr *exprs;
};

struct nft_rule nft_rule_begin(struct nft_batch *b, uint8_t family,
			       const char *table, const char *chain);
void nft_rule_end(struct nft_rule *r);

struct nft_expr {
	struct nlattr *elem, *data;
};

struct nft_expr nft_expr_begin(struct nft_rule *r, const char *name);
void nft_expr_end(struct nft_rule *r, const struct nft_expr *e);

/* Register 1 = what the kernel knows of the packet. */
void nft_load_meta(struct nft_rule *r, enum nft_meta_keys key);

/* A register = so many bytes of the packet. */
void nft_load(struct nft_rule *r, enum nft_payload_bases base, uint32_t off,
	      uint32_t bytes, uint32_t reg);

/* The rule goes on only if register 1 compares so with the value. */
void nft_cmp(struct nft_rule *r, enum nft_cmp_ops op, const void *value,
	     size_t bytes);

/* Both, of one byte: it has to be as the value. */
void nft_want_meta8(struct nft_rule *r, enum nft_meta_keys key, uint8_t value);

/* Ends of rules: the packet goes; no connection is made of it. */
void nft_drop(struct nft_rule *r);
void nft_notrack(struct nft_rule *r);

#endif
