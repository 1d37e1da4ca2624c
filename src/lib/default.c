/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * default - the plain calls: those of the patent's figure 4 and their
 * extensions, on the one context that xtcp_initialize() makes.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "xtcp/xtcp.h"

static pthread_mutex_t default_lock = PTHREAD_MUTEX_INITIALIZER;
static struct xtcp_ctx *_Atomic default_ctx;

int xtcp_initialize(size_t buffer_pool_size)
{
	struct xtcp_ctx *ctx;
	int rc = -EALREADY;

	pthread_mutex_lock(&default_lock);
	if (!atomic_load(&default_ctx)) {
		rc = xtcp_ctx_new(buffer_pool_size, &ctx);
		if (rc == 0)
			atomic_store(&default_ctx, ctx);
	}
	pthread_mutex_unlock(&default_lock);
	return rc;
}

int xtcp_finalize(void)
{
	struct xtcp_ctx *ctx;

	pthread_mutex_lock(&default_lock);
	ctx = atomic_exchange(&default_ctx, NULL);
	pthread_mutex_unlock(&default_lock);
	if (!ctx)
		return -EINVAL;
	xtcp_ctx_free(ctx);
	return 0;
}

int xtcp_open_group(int domain, int type, int protocol, u_int16_t port)
{
	return xtcp_ctx_open_group(default_ctx, domain, type, protocol, port);
}

int xtcp_listen_group(int domain, const char *address)
{
	return xtcp_ctx_listen_group(default_ctx, domain, address);
}

int xtcp_close_group(int gd)
{
	return xtcp_ctx_close_group(default_ctx, gd);
}

int xtcp_accept(int gd)
{
	return xtcp_ctx_accept(default_ctx, gd);
}

int xtcp_reject(int gd)
{
	return xtcp_ctx_reject(default_ctx, gd);
}

int xtcp_pars(int gd, int cd, struct sockaddr_in *ret_sa)
{
	return xtcp_ctx_pars(default_ctx, gd, cd, ret_sa);
}

int xtcp_pars6(int gd, int cd, struct sockaddr_storage *ret_ss)
{
	return xtcp_ctx_pars6(default_ctx, gd, cd, ret_ss);
}

int xtcp_close(int gd, int cd)
{
	return xtcp_ctx_close(default_ctx, gd, cd);
}

int xtcp_shutdown(int gd, int cd)
{
	return xtcp_ctx_shutdown(default_ctx, gd, cd);
}

int xtcp_abort(int gd, int cd)
{
	return xtcp_ctx_abort(default_ctx, gd, cd);
}

int xtcp_recv(int gd, int *ret_cd, void *buf, size_t len)
{
	return xtcp_ctx_recv(default_ctx, gd, ret_cd, buf, len);
}

int xtcp_recv_from(int gd, int cd, void *buf, size_t len)
{
	return xtcp_ctx_recv_from(default_ctx, gd, cd, buf, len);
}

int xtcp_position(int gd, int cd, struct xtcp_position *ret_pos)
{
	return xtcp_ctx_position(default_ctx, gd, cd, ret_pos);
}

int xtcp_done(int gd, int cd, u_int64_t offset)
{
	return xtcp_ctx_done(default_ctx, gd, cd, offset);
}

int xtcp_send(int gd, int cd, size_t ackd, void *buf, size_t len)
{
	return xtcp_ctx_send(default_ctx, gd, cd, ackd, buf, len);
}

int xtcp_room(int gd, int cd)
{
	return xtcp_ctx_room(default_ctx, gd, cd);
}

int xtcp_cork(int gd, int on)
{
	return xtcp_ctx_cork(default_ctx, gd, on);
}

int xtcp_flush(int gd)
{
	return xtcp_ctx_flush(default_ctx, gd);
}

int xtcp_select(int n, xtcp_set *readgds, xtcp_set *acceptgds,
		struct timeval *timeout)
{
	return xtcp_ctx_select(default_ctx, n, readgds, acceptgds, timeout);
}

int xtcp_poll(struct xtcp_event *ev, int n, int timeout_ms)
{
	return xtcp_ctx_poll(default_ctx, ev, n, timeout_ms);
}
