/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * direct - see direct.h. The queues of a group mean the same as for the
 * public calls, but that a connection is taken out of `ready` when it is told
 * of: its flags of what is due are cleared, and what there is to read follows
 * from rx, CONN_F_EOF and CONN_F_RESET. So no queue keeps gd readable.
 */
#include "lib/direct.h"

#include <errno.h>
#include <unistd.h>

#include "lib/link.h"

/* What c has to tell counts as told. */
static void direct_told(struct group *g, struct conn *c)
{
	c->flags &=
		(uint16_t) ~(CONN_F_UNREAD | CONN_F_EOF_DUE | CONN_F_RESET_DUE);
	group_conn_ready(g, c);
}

int direct_changes(struct group *g, struct direct_event *ev, int n)
{
	struct conn_table *t = &g->conns;
	struct conn *c;
	int k = 0;

	while (k < n && (c = conn_queue_head(t, &g->writable))) {
		conn_queue_remove(t, &g->writable, c);
		c->flags &= (uint16_t)~CONN_F_SHORT;
		ev[k++] = (struct direct_event){ c->cd, DIRECT_WRITE };
	}
	g->nudge = false;
	while (k < n && (c = conn_queue_head(t, &g->ready))) {
		direct_told(g, c);
		if (c->flags & CONN_F_KNOWN)
			ev[k++] = (struct direct_event){ c->cd, DIRECT_READ };
	}
	return k;
}

struct conn *direct_acceptable(struct group *g, unsigned int families)
{
	struct conn *c = conn_queue_head(&g->conns, &g->accept);

	while (c && !(families & (c->family == 4 ? DIRECT_IPV4 : DIRECT_IPV6)))
		c = conn_queue_next(&g->conns, &g->accept, c);
	return c;
}

void direct_accept(struct group *g, struct conn *c)
{
	group_conn_known(g, c);
	direct_told(g, c);
	if (c->flags & CONN_F_WAITS)
		g->ops->admit(g, c);
}

void direct_refuse(struct group *g, struct conn *c)
{
	group_conn_unqueue(g, c);
	g->ops->close(g, c,
		      c->flags & CONN_F_WAITS ? FRAME_REJECT : FRAME_ABORT);
}

/* A send was taken as a whole: it is owed no DIRECT_WRITE any more. */
static void direct_send_whole(struct group *g, struct conn *c)
{
	if (!(c->flags & CONN_F_SHORT))
		return;
	c->flags &= (uint16_t)~CONN_F_SHORT;
	if (conn_is_queued(c, CONN_Q_WRITE) && !(c->flags & CONN_F_BLOCKED))
		conn_queue_remove(&g->conns, &g->writable, c);
}

ptrdiff_t direct_send(struct group *g, struct conn *c, size_t ackd,
		      const void *buf, size_t len)
{
	size_t taken;
	bool told, shut;

	if (c->flags & CONN_F_RESET)
		return -ECONNRESET;
	told = !(c->flags & CONN_F_UNREAD);
	conn_rx_ack(c, ackd);
	if (told) /* then what is left was, too */
		c->flags &= (uint16_t)~CONN_F_UNREAD;
	group_conn_ready(g, c);
	shut = (c->flags & CONN_F_SHUT) != 0 && len > 0;
	taken = g->ops->send(g, c, (uint32_t)ackd, buf, shut ? 0 : len);
	if (shut)
		return -EPIPE;
	if (len > 0 && taken == len)
		direct_send_whole(g, c);
	return (ptrdiff_t)taken;
}

int direct_shutdown(struct group *g, struct conn *c)
{
	if (c->flags & CONN_F_RESET)
		return -ECONNRESET;
	if (!(c->flags & CONN_F_SHUT)) {
		c->flags |= CONN_F_SHUT;
		g->ops->shutdown(g, c);
	}
	return 0;
}

void direct_close(struct group *g, struct conn *c, bool abort)
{
	group_conn_unqueue(g, c);
	g->ops->close(g, c, abort ? FRAME_ABORT : FRAME_CLOSE);
}

void direct_set_open(struct group *g, bool open)
{
	if (g->retired == !open)
		return;
	g->retired = !open;
	link_retire(g);
}

void direct_forget(struct group *g)
{
	for (uint32_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];

		if (!l || l->fd < 0)
			continue;
		/* Not link_lost(), nor group_free() of a link that is UP:
		 * they would speak on the parent's stream. */
		close(l->fd);
		l->fd = -1;
		l->state = LINK_DOWN;
	}
	group_free(g);
}
