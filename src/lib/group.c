/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * group - one descriptor for any number of connections.
 *
 *	streams, listener, timer ──┐
 *	                           ├─> gd (epoll) ─> the application's loop
 *	wake_fd (eventfd) ─────────┘
 *
 * gd is readable when a stream has bytes (the next call reads them all at
 * once: group_pump()) and while events are left over in the queues. The
 * second is what wake_fd is for: it is brought up to date when a call leaves
 * (group_signal()), so a burst of a hundred connections costs two system
 * calls, not two hundred.
 *
 * A connection stands in `ready` while xtcp_recv() has something to tell of
 * it, in `accept` until the application knows it, and in `writable` (or in
 * its stream's `blocked`) after a send that fell short.
 *
 * I1	c is in ready exactly if one of UNREAD, EOF_DUE, RESET_DUE is set.
 * I2	c is in accept only if KNOWN is not set.
 */
#include "lib/group.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "lib/link.h"

#define GROUP_EVENTS 64

uint64_t group_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* An epoll descriptor that is not 0: gd is positive by contract. */
static int group_epoll_new(void)
{
	int fd = epoll_create1(EPOLL_CLOEXEC), positive;

	if (fd != 0)
		return fd < 0 ? -errno : fd;
	positive = fcntl(fd, F_DUPFD_CLOEXEC, 1);
	if (positive < 0)
		positive = -errno;
	close(fd);
	return positive;
}

int group_new(enum group_mode mode, const struct transport *ops,
	      struct group **ret_g)
{
	struct group *g = calloc(1, sizeof(*g));
	int rc;

	if (!g)
		return -ENOMEM;
	g->mode = mode;
	g->ops = ops;
	g->wake_fd = -1;
	g->timer_fd = -1;
	g->listen_fd = -1;
	g->spare_fd = -1;
	g->ready.kind = CONN_Q_READY;
	g->accept.kind = CONN_Q_ACCEPT;
	g->writable.kind = CONN_Q_WRITE;
	g->gd = group_epoll_new();
	rc = g->gd;
	if (rc < 0)
		goto fail;
	g->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = g->wake_fd < 0 ? -errno : 0;
	if (rc == 0)
		rc = group_watch(g, g->wake_fd, EPOLLIN, GROUP_TAG_WAKE);
	if (rc < 0)
		goto fail;
	*ret_g = g;
	return 0;
fail:
	group_free(g);
	return rc;
}

void group_free(struct group *g)
{
	if (!g)
		return;
	g->ops->fini(g);
	conn_table_fini(&g->conns);
	free(g->locals);
	if (g->listen_path[0])
		unlink(g->listen_path);
	if (g->listen_fd >= 0)
		close(g->listen_fd);
	if (g->spare_fd >= 0)
		close(g->spare_fd);
	if (g->timer_fd >= 0)
		close(g->timer_fd);
	if (g->wake_fd >= 0)
		close(g->wake_fd);
	if (g->gd >= 0)
		close(g->gd);
	free(g);
}

int group_watch(struct group *g, int fd, uint32_t events, uint32_t tag)
{
	struct epoll_event ev = { .events = events, .data.u32 = tag };

	return epoll_ctl(g->gd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

void group_rewatch(struct group *g, int fd, uint32_t events, uint32_t tag)
{
	struct epoll_event ev = { .events = events, .data.u32 = tag };
	int rc = epoll_ctl(g->gd, EPOLL_CTL_MOD, fd, &ev);

	assert(rc == 0);
	(void)rc;
}

void group_unwatch(struct group *g, int fd)
{
	(void)epoll_ctl(g->gd, EPOLL_CTL_DEL, fd, NULL);
}

bool group_pump(struct group *g, int timeout_ms)
{
	struct epoll_event ev[GROUP_EVENTS];
	bool any = false;
	int n;

	do {
		n = epoll_wait(g->gd, ev, GROUP_EVENTS, timeout_ms);
		for (int i = 0; i < n; i++) {
			if (ev[i].data.u32 == GROUP_TAG_WAKE)
				continue;
			g->ops->event(g, ev[i].data.u32, ev[i].events);
			any = true;
		}
		/* A full array: there may be more than fits. */
	} while (n == GROUP_EVENTS && !g->ready.head);
	g->ops->flush(g);
	return any;
}

static void group_wake(struct group *g, bool on)
{
	uint64_t v = 1;
	ssize_t n;

	if (g->waking == on)
		return;
	n = on ? write(g->wake_fd, &v, sizeof(v))
	       : read(g->wake_fd, &v, sizeof(v));
	if (n == sizeof(v))
		g->waking = on;
}

void group_signal(struct group *g)
{
	group_wake(g, g->ready.head || g->accept.head || g->nudge);
}

void group_hush(struct group *g)
{
	group_wake(g, false);
}

struct conn *group_conn(const struct group *g, int cd)
{
	struct conn *c = cd > 0 ? conn_get(&g->conns, (uint32_t)cd) : NULL;

	return c && !(c->flags & CONN_F_CLOSED) ? c : NULL;
}

void group_conn_known(struct group *g, struct conn *c)
{
	c->flags |= CONN_F_KNOWN;
	if (conn_is_queued(c, CONN_Q_ACCEPT))
		conn_queue_remove(&g->conns, &g->accept, c);
}

void group_conn_ready(struct group *g, struct conn *c)
{
	if (c->flags & (CONN_F_UNREAD | CONN_F_EOF_DUE | CONN_F_RESET_DUE))
		conn_queue_push(&g->conns, &g->ready, c);
	else if (conn_is_queued(c, CONN_Q_READY))
		conn_queue_remove(&g->conns, &g->ready, c);
}

uint16_t group_local_number(struct group *g, const struct group_local *local)
{
	struct group_local *locals;

	for (uint32_t i = 0; i < g->n_locals; i++) {
		const struct group_local *o = &g->locals[i];

		if (o->port == local->port && o->family == local->family &&
		    memcmp(o->addr, local->addr, sizeof(o->addr)) == 0)
			return (uint16_t)(i + 1);
	}
	if (g->n_locals == GROUP_LOCALS_MAX)
		return 0;
	locals = realloc(g->locals, (g->n_locals + 1) * sizeof(*locals));
	if (!locals)
		return 0;
	g->locals = locals;
	locals[g->n_locals++] = *local;
	return (uint16_t)g->n_locals;
}

const struct group_local *group_local(const struct group *g, uint16_t number)
{
	return number >= 1 && number <= g->n_locals ? &g->locals[number - 1]
						    : NULL;
}

/* The queue of kind CONN_Q_WRITE that c stands in. */
static struct conn_queue *group_write_queue(struct group *g, struct conn *c)
{
	if (c->flags & CONN_F_BLOCKED)
		return &g->links[c->link]->blocked;
	return &g->writable;
}

void group_conn_writable(struct group *g, struct conn *c)
{
	assert(!(c->flags & CONN_F_BLOCKED));
	if (!(c->flags & CONN_F_SHORT))
		return;
	conn_queue_push(&g->conns, &g->writable, c);
	g->nudge = true;
}

void group_conn_unqueue(struct group *g, struct conn *c)
{
	if (conn_is_queued(c, CONN_Q_READY))
		conn_queue_remove(&g->conns, &g->ready, c);
	if (conn_is_queued(c, CONN_Q_ACCEPT))
		conn_queue_remove(&g->conns, &g->accept, c);
	if (conn_is_queued(c, CONN_Q_WRITE))
		conn_queue_remove(&g->conns, group_write_queue(g, c), c);
	c->flags &= (uint16_t) ~(CONN_F_BLOCKED | CONN_F_SHORT);
}

void group_conn_lost(struct group *g, struct conn *c)
{
	group_conn_unqueue(g, c);
	if (!(c->flags & CONN_F_KNOWN)) {
		conn_free(&g->conns, c);
		return;
	}
	conn_rx_drop(c);
	conn_drop_id(&g->conns, c);
	c->flags &= (uint16_t) ~(CONN_F_EOF_DUE | CONN_F_NEED_ACK);
	c->flags |= CONN_F_RESET | CONN_F_RESET_DUE;
	group_conn_ready(g, c);
}
