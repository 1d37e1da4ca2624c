/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_LIB_CTX_H
#define XTCP_LIB_CTX_H

/*
 * A context: groups by descriptor, and the one lock over them all. Each
 * public call is: ctx_lock(), work on a group, group_signal(), ctx_unlock().
 */

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/group.h"
#include "xtcp/xtcp.h"

struct xtcp_ctx {
	pthread_mutex_t lock;
	struct group **groups; /* by gd; NULL: none */
	int n_groups; /* size of groups, a power of two */
	int n_open;
	unsigned int turn; /* where xtcp_poll() begins, to be fair */
	size_t pool_bytes; /* 0: the configured pool */
	uint64_t instance; /* random */
};

/*
 * Locks ctx and finds the group. Returns 0 and the group; -EINVAL (no
 * context) or -EBADF, and nothing is locked.
 */
int ctx_enter(struct xtcp_ctx *ctx, int gd, struct group **ret_g);

/*
 * The same, and the connection that the application knows as cd; -EBADF when
 * there is none.
 */
int ctx_enter_conn(struct xtcp_ctx *ctx, int gd, int cd, struct group **ret_g,
		   struct conn **ret_c);

/* Brings gd up to date and unlocks. Returns rc, for `return ctx_leave()`. */
int ctx_leave(struct xtcp_ctx *ctx, struct group *g, int rc);

/* The group gd, with the lock held; NULL when there is none. */
struct group *ctx_group(const struct xtcp_ctx *ctx, int gd);

#endif
