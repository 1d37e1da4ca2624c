/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nft_rules - messages for nf_tables that take ports over: no I/O, so that a
 * test can read what would be sent. Sent by nft.h.
 */
#ifndef XTCP_DAEMON_NFT_RULES_H
#define XTCP_DAEMON_NFT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"

/* More than CONF_OWN_MAX ports on CONF_LISTENS_MAX interfaces need. */
#define NFT_BATCH_BYTES (512u * 1024u)
#define NFT_NAME_MAX 40 /* of a table, with the NUL */
#define NFT_COMMENT_MAX 120 /* likewise */

/* What is to be in the kernel. */
struct nft_rules {
	const char *device; /* the TUN's name */
	uint32_t device_index;
	const char *comment; /* whose tables these are, < NFT_COMMENT_MAX */
	const struct conf_own *own; /* borrowed */
	uint32_t n_own;
};

/* One transaction: messages one after the other. */
struct nft_batch {
	char *buf; /* NFT_BATCH_BYTES, aligned for a message */
	size_t bytes;
	uint32_t seq; /* of the last message */
	bool full; /* something did not fit: not to be sent */
};

/* Begin a transaction in b->buf, whose first message has the number seq. */
void nft_batch_begin(struct nft_batch *b, uint32_t seq);
/* End it; the kernel acknowledges the last message before the end. */
void nft_batch_end(struct nft_batch *b);

/* Delete a table of a family (NFPROTO_*) with all that is in it. */
void nft_put_table_gone(struct nft_batch *b, uint8_t family, const char *name);

/*
 * The two tables that divert packets. They are their socket's: the kernel
 * deletes them when its last descriptor is closed.
 */
void nft_put_ways(struct nft_batch *b, const struct nft_rules *rules);

/* The table that drops the same packets, until it is deleted. */
void nft_put_guard(struct nft_batch *b, const struct nft_rules *rules);

/*
 * Names of the tables of a device: those of nft_put_ways(), one in each of the
 * families netdev and inet, and that of nft_put_guard(), of family inet.
 */
void nft_ways_name(const char *device, char ret_name[NFT_NAME_MAX]);
void nft_guard_name(const char *device, char ret_name[NFT_NAME_MAX]);

#endif
