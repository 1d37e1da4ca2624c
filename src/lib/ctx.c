/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/ctx.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "lib/open.h"

int xtcp_ctx_new(size_t buffer_pool_size, struct xtcp_ctx **ret_ctx)
{
	struct xtcp_ctx *ctx;

	if (!ret_ctx)
		return -EINVAL;
	ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return -ENOMEM;
	if (getrandom(&ctx->instance, sizeof(ctx->instance), 0) !=
		    sizeof(ctx->instance) ||
	    pthread_mutex_init(&ctx->lock, NULL) != 0) {
		free(ctx);
		return -ENOMEM;
	}
	ctx->pool_bytes = buffer_pool_size;
	*ret_ctx = ctx;
	return 0;
}

void xtcp_ctx_free(struct xtcp_ctx *ctx)
{
	if (!ctx)
		return;
	for (int gd = 0; gd < ctx->n_groups; gd++)
		group_free(ctx->groups[gd]);
	free(ctx->groups);
	pthread_mutex_destroy(&ctx->lock);
	free(ctx);
}

struct group *ctx_group(const struct xtcp_ctx *ctx, int gd)
{
	return gd > 0 && gd < ctx->n_groups ? ctx->groups[gd] : NULL;
}

int ctx_enter(struct xtcp_ctx *ctx, int gd, struct group **ret_g)
{
	struct group *g;

	if (!ctx)
		return -EINVAL;
	pthread_mutex_lock(&ctx->lock);
	g = ctx_group(ctx, gd);
	if (!g) {
		pthread_mutex_unlock(&ctx->lock);
		return -EBADF;
	}
	*ret_g = g;
	return 0;
}

int ctx_enter_conn(struct xtcp_ctx *ctx, int gd, int cd, struct group **ret_g,
		   struct conn **ret_c)
{
	struct conn *c;
	int rc = ctx_enter(ctx, gd, ret_g);

	if (rc < 0)
		return rc;
	c = group_conn(*ret_g, cd);
	if (!c || !(c->flags & CONN_F_KNOWN)) {
		pthread_mutex_unlock(&ctx->lock);
		return -EBADF;
	}
	*ret_c = c;
	return 0;
}

int ctx_leave(struct xtcp_ctx *ctx, struct group *g, int rc)
{
	group_signal(g);
	pthread_mutex_unlock(&ctx->lock);
	return rc;
}

/* Makes groups[gd] exist. */
static int ctx_grow(struct xtcp_ctx *ctx, int gd)
{
	struct group **groups;
	int n = (int)next_pow2((uint64_t)gd + 1);

	if (gd < ctx->n_groups)
		return 0;
	groups = realloc(ctx->groups, (size_t)n * sizeof(struct group *));
	if (!groups)
		return -ENOMEM;
	for (int i = ctx->n_groups; i < n; i++)
		groups[i] = NULL;
	ctx->groups = groups;
	ctx->n_groups = n;
	return 0;
}

/* Takes the opened group into the context. Returns its gd. */
static int ctx_add(struct xtcp_ctx *ctx, struct group *g)
{
	int rc;

	pthread_mutex_lock(&ctx->lock);
	rc = ctx_grow(ctx, g->gd);
	if (rc == 0) {
		ctx->groups[g->gd] = g;
		ctx->n_open++;
		group_signal(g);
		rc = g->gd;
	}
	pthread_mutex_unlock(&ctx->lock);
	if (rc < 0)
		group_free(g);
	return rc;
}

int xtcp_ctx_open_group(struct xtcp_ctx *ctx, int domain, int type,
			int protocol, u_int16_t port)
{
	struct group *g;
	int rc;

	if (!ctx || type != SOCK_STREAM || port == 0 ||
	    (protocol != 0 && protocol != IPPROTO_TCP))
		return -EINVAL;
	/* Nobody else has the group yet: it is opened without the lock. */
	switch (domain) {
	case PF_INET:
	case PF_INET6:
		rc = open_dial(ctx->instance, ctx->pool_bytes, domain, port,
			       &g);
		break;
	case PF_UNIX:
		rc = open_local(port, &g);
		break;
	default:
		return -EAFNOSUPPORT;
	}
	return rc < 0 ? rc : ctx_add(ctx, g);
}

int xtcp_ctx_listen_group(struct xtcp_ctx *ctx, int domain, const char *address)
{
	struct group *g;
	int rc;

	if (!ctx || !address)
		return -EINVAL;
	if (domain != PF_INET && domain != PF_INET6)
		return -EAFNOSUPPORT;
	rc = open_listen(ctx->instance, address, &g);
	return rc < 0 ? rc : ctx_add(ctx, g);
}

int xtcp_ctx_close_group(struct xtcp_ctx *ctx, int gd)
{
	struct group *g;
	int rc = ctx_enter(ctx, gd, &g);

	if (rc < 0)
		return rc;
	ctx->groups[gd] = NULL;
	ctx->n_open--;
	pthread_mutex_unlock(&ctx->lock);
	group_free(g);
	return 0;
}
