/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nft - the socket to nf_tables, and the tables that an xtcpd has there.
 *
 * The tables that divert packets belong to the socket (NFT_TABLE_F_OWNER,
 * Linux 5.12): nobody else changes or flushes them, and they go when the last
 * descriptor of it is closed, so a descriptor store can keep them like the TUN
 * device. Blocking, for set-up in the main thread. Messages are made by hand
 * (nft_rules.h) and go through libmnl: libnftnl and libnftables are under the
 * GPL.
 */
#ifndef XTCP_DAEMON_NFT_H
#define XTCP_DAEMON_NFT_H

#include <stdbool.h>

#include "daemon/nft_rules.h"

struct nft;

/*
 * Open a socket, or go on with fd, one of an earlier process (taken on
 * success); -1: none. Returns 0 or a negative errno: -EINVAL: fd is none,
 * -EPROTONOSUPPORT: the kernel has no nf_tables.
 */
int nft_open(struct nft **ret_nft, int fd);

/* Tables of this socket stay while anybody has a copy of it. Accepts NULL. */
void nft_close(struct nft *nft);

/* The descriptor, still ours. */
int nft_fd(const struct nft *nft);

/*
 * Delete all tables with rules->comment that are there, and make those that are
 * wanted: in one transaction, so no packet sees anything in between. Returns 0,
 * or a negative errno: nothing has changed. -EEXIST: a table of the name is
 * somebody else's; -EPERM: no CAP_NET_ADMIN, or the tables are of another
 * process's socket; -ENOENT, -EOPNOTSUPP: the kernel lacks something.
 */
int nft_replace(struct nft *nft, const struct nft_rules *rules, bool ways,
		bool guard);

/* How many tables with this comment there are, or a negative errno. */
int nft_count(struct nft *nft, const char *comment);

#endif
