/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api - the calls on groups and connections.
 *
 * Each one locks the context, works on what the library holds, and looks at
 * the streams (group_pump()) only when that has run out: a burst is read once
 * and handed out connection by connection.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/un.h>

#include "base/bytes.h"
#include "lib/ctx.h"

/* The next connection to accept; looks at the streams if there is none. */
static struct conn *api_next_accept(struct group *g)
{
	if (!g->accept.head)
		(void)group_pump(g, 0);
	return conn_queue_head(&g->conns, &g->accept);
}

int xtcp_ctx_accept(struct xtcp_ctx *ctx, int gd)
{
	struct group *g;
	struct conn *c;
	int rc = ctx_enter(ctx, gd, &g);

	if (rc < 0)
		return rc;
	c = api_next_accept(g);
	if (!c) {
		g->nudge = false;
		return ctx_leave(ctx, g, -EAGAIN);
	}
	group_conn_known(g, c);
	if (c->flags & CONN_F_WAITS)
		g->ops->admit(g, c);
	return ctx_leave(ctx, g, (int)c->cd);
}

int xtcp_ctx_reject(struct xtcp_ctx *ctx, int gd)
{
	struct group *g;
	struct conn *c;
	int rc = ctx_enter(ctx, gd, &g);

	if (rc < 0)
		return rc;
	c = api_next_accept(g);
	if (!c)
		return ctx_leave(ctx, g, -EAGAIN);
	group_conn_unqueue(g, c);
	g->ops->close(g, c,
		      c->flags & CONN_F_WAITS ? FRAME_REJECT : FRAME_ABORT);
	return ctx_leave(ctx, g, 0);
}

/* --- addresses --- */

static void api_address4(const struct conn *c, struct sockaddr_in *ret_sa)
{
	memset(ret_sa, 0, sizeof(*ret_sa));
	ret_sa->sin_family = AF_INET;
	ret_sa->sin_port = htons(c->remote_port);
	memcpy(&ret_sa->sin_addr, c->remote, sizeof(ret_sa->sin_addr));
}

int xtcp_ctx_pars(struct xtcp_ctx *ctx, int gd, int cd,
		  struct sockaddr_in *ret_sa)
{
	struct group *g;
	struct conn *c;
	int rc;

	if (!ret_sa)
		return -EINVAL;
	rc = ctx_enter_conn(ctx, gd, cd, &g, &c);
	if (rc < 0)
		return rc;
	if (c->family != 4)
		return ctx_leave(ctx, g, -EAFNOSUPPORT);
	api_address4(c, ret_sa);
	return ctx_leave(ctx, g, 0);
}

int xtcp_ctx_pars6(struct xtcp_ctx *ctx, int gd, int cd,
		   struct sockaddr_storage *ret_ss)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in in;
	struct group *g;
	struct conn *c;
	int rc;

	if (!ret_ss)
		return -EINVAL;
	rc = ctx_enter_conn(ctx, gd, cd, &g, &c);
	if (rc < 0)
		return rc;
	memset(ret_ss, 0, sizeof(*ret_ss));
	switch (c->family) {
	case 4:
		api_address4(c, &in);
		memcpy(ret_ss, &in, sizeof(in));
		break;
	case 6:
		in6.sin6_port = htons(c->remote_port);
		memcpy(&in6.sin6_addr, c->remote, sizeof(in6.sin6_addr));
		memcpy(ret_ss, &in6, sizeof(in6));
		break;
	default:
		ret_ss->ss_family = AF_UNIX;
	}
	return ctx_leave(ctx, g, 0);
}

/* --- ending --- */

static int api_close(struct xtcp_ctx *ctx, int gd, int cd, enum frame_type how)
{
	struct group *g;
	struct conn *c;
	int rc = ctx_enter_conn(ctx, gd, cd, &g, &c);

	if (rc < 0)
		return rc;
	group_conn_unqueue(g, c);
	g->ops->close(g, c, how);
	return ctx_leave(ctx, g, 0);
}

int xtcp_ctx_close(struct xtcp_ctx *ctx, int gd, int cd)
{
	return api_close(ctx, gd, cd, FRAME_CLOSE);
}

int xtcp_ctx_abort(struct xtcp_ctx *ctx, int gd, int cd)
{
	return api_close(ctx, gd, cd, FRAME_ABORT);
}

int xtcp_ctx_shutdown(struct xtcp_ctx *ctx, int gd, int cd)
{
	struct group *g;
	struct conn *c;
	int rc = ctx_enter_conn(ctx, gd, cd, &g, &c);

	if (rc < 0)
		return rc;
	if (c->flags & CONN_F_RESET)
		return ctx_leave(ctx, g, -ECONNRESET);
	if (!(c->flags & CONN_F_SHUT)) {
		c->flags |= CONN_F_SHUT;
		g->ops->shutdown(g, c);
	}
	return ctx_leave(ctx, g, 0);
}

/* --- receiving --- */

/*
 * What c, which stands in ready, has to tell: bytes first, then the end. It
 * goes to the end of the queue if there is more, else out of it.
 */
static int api_tell(struct group *g, struct conn *c, void *buf, size_t len)
{
	int rc;

	group_conn_known(g, c);
	/* To the end of the queue, should it stay: others come first. */
	conn_queue_remove(&g->conns, &g->ready, c);
	if (c->flags & CONN_F_RESET_DUE) {
		c->flags &= (uint16_t)~CONN_F_RESET_DUE;
		rc = -ECONNRESET;
	} else if (c->flags & CONN_F_UNREAD) {
		rc = (int)conn_rx_read(c, buf, min_size(len, INT_MAX));
	} else {
		c->flags &= (uint16_t)~CONN_F_EOF_DUE;
		rc = 0;
	}
	group_conn_ready(g, c);
	return rc;
}

int xtcp_ctx_recv(struct xtcp_ctx *ctx, int gd, int *ret_cd, void *buf,
		  size_t len)
{
	struct group *g;
	struct conn *c;
	int rc;

	if (!ret_cd || !buf || len == 0)
		return -EINVAL;
	rc = ctx_enter(ctx, gd, &g);
	if (rc < 0)
		return rc;
	if (!g->ready.head)
		(void)group_pump(g, 0);
	c = conn_queue_head(&g->conns, &g->ready);
	if (!c) {
		g->nudge = false;
		return ctx_leave(ctx, g, -EAGAIN);
	}
	*ret_cd = (int)c->cd;
	return ctx_leave(ctx, g, api_tell(g, c, buf, len));
}

int xtcp_ctx_recv_from(struct xtcp_ctx *ctx, int gd, int cd, void *buf,
		       size_t len)
{
	struct group *g;
	struct conn *c;
	int rc;

	if (!buf || len == 0)
		return -EINVAL;
	rc = ctx_enter(ctx, gd, &g);
	if (rc < 0)
		return rc;
	c = group_conn(g, cd);
	if (c && !conn_is_queued(c, CONN_Q_READY)) {
		(void)group_pump(g, 0);
		c = group_conn(g, cd); /* it may be gone */
	}
	if (!c || c->flags & CONN_F_WAITS)
		rc = -EBADF;
	else if (!conn_is_queued(c, CONN_Q_READY))
		rc = c->flags & CONN_F_KNOWN ? -EAGAIN : -EBADF;
	else
		rc = api_tell(g, c, buf, len);
	return ctx_leave(ctx, g, rc);
}

/* --- exactly once --- */

int xtcp_ctx_position(struct xtcp_ctx *ctx, int gd, int cd,
		      struct xtcp_position *ret_pos)
{
	struct group *g;
	struct conn *c;
	int rc;

	if (!ret_pos)
		return -EINVAL;
	rc = ctx_enter_conn(ctx, gd, cd, &g, &c);
	if (rc < 0)
		return rc;
	if (c->flags & CONN_F_RESET)
		return ctx_leave(ctx, g, -ECONNRESET);
	*ret_pos = (struct xtcp_position){
		.offset = c->acked,
		.redelivered = max_u64(c->redelivered, c->acked),
		.sent = c->snd_pos,
	};
	g->ops->identify(g, c, &ret_pos->epoch, &ret_pos->id);
	return ctx_leave(ctx, g, 0);
}

int xtcp_ctx_done(struct xtcp_ctx *ctx, int gd, int cd, u_int64_t offset)
{
	struct group *g;
	struct conn *c;
	size_t n;
	int rc = ctx_enter_conn(ctx, gd, cd, &g, &c);

	if (rc < 0)
		return rc;
	if (c->flags & CONN_F_RESET)
		return ctx_leave(ctx, g, -ECONNRESET);
	c->done = max_u64(c->done, offset);
	n = conn_rx_skip(c);
	group_conn_ready(g, c);
	if (n > 0)
		g->ops->send(g, c, (uint32_t)n, NULL, 0);
	return ctx_leave(ctx, g, 0);
}

/* --- sending --- */

/* A send was taken as a whole: it is owed no XTCP_EV_WRITE any more. */
static void api_send_whole(struct group *g, struct conn *c)
{
	if (!(c->flags & CONN_F_SHORT))
		return;
	c->flags &= (uint16_t)~CONN_F_SHORT;
	if (conn_is_queued(c, CONN_Q_WRITE) && !(c->flags & CONN_F_BLOCKED))
		conn_queue_remove(&g->conns, &g->writable, c);
}

static int api_send(struct group *g, struct conn *c, size_t ackd,
		    const void *buf, size_t len)
{
	size_t taken;
	bool shut;

	if (c->flags & CONN_F_RESET)
		return -ECONNRESET;
	if (ackd > c->returned)
		return -EINVAL;
	conn_rx_ack(c, ackd);
	group_conn_ready(g, c);
	shut = (c->flags & CONN_F_SHUT) != 0 && len > 0;
	if (shut)
		len = 0;
	taken = g->ops->send(g, c, (uint32_t)ackd, buf, len);
	if (shut)
		return -EPIPE;
	if (len > 0 && taken == len)
		api_send_whole(g, c);
	return taken == 0 && len > 0 ? -EAGAIN : (int)taken;
}

int xtcp_ctx_send(struct xtcp_ctx *ctx, int gd, int cd, size_t ackd,
		  const void *buf, size_t len)
{
	struct group *g;
	struct conn *c;
	int rc;

	if (len > 0 && !buf)
		return -EINVAL;
	len = min_size(len, INT_MAX);
	rc = ctx_enter_conn(ctx, gd, cd, &g, &c);
	if (rc < 0)
		return rc;
	rc = api_send(g, c, ackd, buf, len);
	if (rc == -EAGAIN && group_pump(g, 0)) {
		/* Credit may have come; a connection may have gone. */
		c = group_conn(g, cd);
		rc = c ? api_send(g, c, 0, buf, len) : -EBADF;
	}
	return ctx_leave(ctx, g, rc);
}

int xtcp_ctx_room(struct xtcp_ctx *ctx, int gd, int cd)
{
	struct group *g;
	struct conn *c;
	int rc = ctx_enter_conn(ctx, gd, cd, &g, &c);

	if (rc < 0)
		return rc;
	if (c->flags & CONN_F_RESET)
		rc = -ECONNRESET;
	else if (c->flags & CONN_F_SHUT)
		rc = -EPIPE;
	else
		rc = (int)min_size(g->ops->room(g, c), INT_MAX);
	return ctx_leave(ctx, g, rc);
}

int xtcp_ctx_cork(struct xtcp_ctx *ctx, int gd, int on)
{
	struct group *g;
	int rc = ctx_enter(ctx, gd, &g);

	if (rc < 0)
		return rc;
	g->corked = on != 0;
	if (!g->corked)
		g->ops->flush(g);
	return ctx_leave(ctx, g, 0);
}

int xtcp_ctx_flush(struct xtcp_ctx *ctx, int gd)
{
	struct group *g;
	int rc = ctx_enter(ctx, gd, &g);

	if (rc < 0)
		return rc;
	g->ops->flush(g);
	return ctx_leave(ctx, g, 0);
}
