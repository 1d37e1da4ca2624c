/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * select - waiting for groups (xtcp_select) and for connections (xtcp_poll).
 *
 * Both go: look at every watched group, with the lock held; if there is
 * nothing, let go of the lock, poll(2) the group descriptors, look again.
 * While a thread waits, the groups' descriptors are hushed: what stands in
 * their queues was seen and wasn't asked for (such as something to accept,
 * when only readgds are given), so it must not wake the wait at once. They are
 * brought up to date again before the call returns.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "lib/ctx.h"

/* Watched descriptors that need no heap. */
#define SELECT_POLLFDS 32

struct select_wait {
	struct xtcp_ctx *ctx;
	struct pollfd *fds;
	nfds_t n_fds;
	uint64_t deadline_ms;
	int timeout_ms; /* -1: for ever */
	struct pollfd some[SELECT_POLLFDS];
};

static void select_wait_init(struct select_wait *w, struct xtcp_ctx *ctx,
			     int timeout_ms)
{
	w->ctx = ctx;
	w->fds = NULL;
	w->n_fds = 0;
	w->timeout_ms = timeout_ms;
	w->deadline_ms =
		timeout_ms > 0 ? group_now_ms() + (uint64_t)timeout_ms : 0;
}

/* Room for n descriptors; those of before are forgotten. */
static int select_wait_reserve(struct select_wait *w, size_t n)
{
	if (w->fds != w->some)
		free(w->fds);
	w->n_fds = 0;
	w->fds = n <= SELECT_POLLFDS ? w->some : calloc(n, sizeof(*w->fds));
	return w->fds ? 0 : -ENOMEM;
}

static void select_wait_add(struct select_wait *w, struct group *g)
{
	group_hush(g);
	w->fds[w->n_fds].fd = g->gd;
	w->fds[w->n_fds].events = POLLIN;
	w->n_fds++;
}

/* Milliseconds that are left, as for poll(2). */
static int select_wait_left(const struct select_wait *w)
{
	uint64_t now;

	if (w->timeout_ms <= 0)
		return w->timeout_ms;
	now = group_now_ms();
	return now < w->deadline_ms ? (int)(w->deadline_ms - now) : 0;
}

/*
 * Waits without the lock. Returns > 0: look again; 0: the time is over;
 * -EINTR.
 */
static int select_wait_poll(struct select_wait *w)
{
	int left = select_wait_left(w), rc;

	if (left == 0)
		return 0;
	pthread_mutex_unlock(&w->ctx->lock);
	rc = poll(w->fds, w->n_fds, left);
	if (rc < 0)
		rc = -errno;
	pthread_mutex_lock(&w->ctx->lock);
	return rc;
}

/* The end of every wait: the descriptors tell the truth again. */
static int select_wait_fini(struct select_wait *w, int rc)
{
	for (nfds_t i = 0; i < w->n_fds; i++) {
		struct group *g = ctx_group(w->ctx, w->fds[i].fd);

		if (g)
			group_signal(g);
	}
	pthread_mutex_unlock(&w->ctx->lock);
	if (w->fds != w->some)
		free(w->fds);
	return rc;
}

/* --- xtcp_select() --- */

/* Calls per gd in either set, lowest first; -1 at the end. */
static int select_next_gd(const xtcp_set *r, const xtcp_set *a, int gd)
{
	size_t word = (size_t)gd / XTCP_SETWORD;
	unsigned long bits;

	if (gd >= XTCP_SETSIZE)
		return -1;
	bits = (r->bits[word] | a->bits[word]) >> ((size_t)gd % XTCP_SETWORD);
	while (bits == 0) {
		if (++word == XTCP_SETSIZE / XTCP_SETWORD)
			return -1;
		gd = (int)(word * XTCP_SETWORD);
		bits = r->bits[word] | a->bits[word];
	}
	return gd + __builtin_ctzl(bits);
}

/* Whether all gd of the sets are groups; how many. */
static int select_check(const struct xtcp_ctx *ctx, const xtcp_set *r,
			const xtcp_set *a)
{
	int n = 0;

	for (int gd = select_next_gd(r, a, 0); gd >= 0;
	     gd = select_next_gd(r, a, gd + 1)) {
		if (!ctx_group(ctx, gd))
			return -EBADF;
		n++;
	}
	return n;
}

/* Looks at all groups: the ready ones into ret_r and ret_a. Their number. */
static int select_look(struct select_wait *w, const xtcp_set *r,
		       const xtcp_set *a, xtcp_set *ret_r, xtcp_set *ret_a)
{
	int ready = 0;

	XTCP_ZERO(ret_r);
	XTCP_ZERO(ret_a);
	w->n_fds = 0;
	for (int gd = select_next_gd(r, a, 0); gd >= 0;
	     gd = select_next_gd(r, a, gd + 1)) {
		struct group *g = ctx_group(w->ctx, gd);

		(void)group_pump(g, 0);
		if (XTCP_ISSET(gd, r) && g->ready.head) {
			XTCP_SET(gd, ret_r);
			ready++;
		}
		if (XTCP_ISSET(gd, a) && g->accept.head) {
			XTCP_SET(gd, ret_a);
			ready++;
		}
		select_wait_add(w, g);
	}
	return ready;
}

/* timeout in milliseconds, rounded up; -1 for NULL; -EINVAL as -2. */
static int select_timeout_ms(const struct timeval *timeout)
{
	int64_t ms;

	if (!timeout)
		return -1;
	if (timeout->tv_sec < 0 || timeout->tv_usec < 0 ||
	    timeout->tv_usec >= 1000000)
		return -2;
	if (timeout->tv_sec > INT_MAX / 1000 - 1)
		return INT_MAX;
	ms = (int64_t)timeout->tv_sec * 1000 + (timeout->tv_usec + 999) / 1000;
	return (int)ms;
}

int xtcp_ctx_select(struct xtcp_ctx *ctx, int n, xtcp_set *readgds,
		    xtcp_set *acceptgds, const struct timeval *timeout)
{
	static const xtcp_set none;
	const xtcp_set *r = readgds ? readgds : &none;
	const xtcp_set *a = acceptgds ? acceptgds : &none;
	int timeout_ms = select_timeout_ms(timeout), rc;
	xtcp_set ready_r, ready_a;
	struct select_wait w;

	if (!ctx || n < 0 || timeout_ms < -1)
		return -EINVAL;
	select_wait_init(&w, ctx, timeout_ms);
	pthread_mutex_lock(&ctx->lock);
	do {
		/* Again each time: a group may be closed while we wait. */
		rc = select_check(ctx, r, a);
		if (rc >= 0)
			rc = select_wait_reserve(&w, (size_t)rc);
		if (rc < 0)
			return select_wait_fini(&w, rc);
		rc = select_look(&w, r, a, &ready_r, &ready_a);
		if (rc > 0)
			break;
		rc = select_wait_poll(&w);
	} while (rc > 0);
	if (rc >= 0 && readgds)
		*readgds = ready_r;
	if (rc >= 0 && acceptgds)
		*acceptgds = ready_a;
	return select_wait_fini(&w, rc);
}

/* --- xtcp_poll() --- */

static uint32_t select_conn_events(const struct conn *c)
{
	uint32_t events = XTCP_EV_READ;

	if (c->flags & CONN_F_EOF)
		events |= XTCP_EV_CLOSED;
	if (c->flags & CONN_F_RESET)
		events |= XTCP_EV_RESET;
	if (c->flags & CONN_F_REDELIVERED)
		events |= XTCP_EV_REDELIVERED;
	return events;
}

/* At most n events of a group. */
static int select_group_events(struct group *g, struct xtcp_event *ev, int n)
{
	struct conn_table *t = &g->conns;
	uint32_t last = g->ready.tail;
	struct conn *c;
	int k = 0;

	if (g->accept.head && k < n)
		ev[k++] = (struct xtcp_event){ g->gd, 0, XTCP_EV_ACCEPT };
	while (k < n && (c = conn_queue_head(t, &g->writable))) {
		conn_queue_remove(t, &g->writable, c);
		c->flags &= (uint16_t)~CONN_F_SHORT;
		ev[k++] =
			(struct xtcp_event){ g->gd, (int)c->cd, XTCP_EV_WRITE };
	}
	g->nudge = g->writable.head != 0;
	while (k < n && (c = conn_queue_head(t, &g->ready))) {
		/* To the end: the next call begins with the others. */
		conn_queue_remove(t, &g->ready, c);
		conn_queue_push(t, &g->ready, c);
		ev[k++] = (struct xtcp_event){ g->gd, (int)c->cd,
					       select_conn_events(c) };
		if (c->cd == last)
			break;
	}
	return k;
}

/* Looks at all groups of the context, each time from another one on. */
static int select_look_all(struct select_wait *w, struct xtcp_event *ev, int n)
{
	struct xtcp_ctx *ctx = w->ctx;
	unsigned int mask = (unsigned int)ctx->n_groups - 1; /* power of two */
	int k = 0;

	w->n_fds = 0;
	for (int i = 0; i < ctx->n_groups; i++) {
		struct group *g =
			ctx->groups[(ctx->turn + (unsigned int)i) & mask];

		if (!g)
			continue;
		(void)group_pump(g, 0);
		k += select_group_events(g, ev + k, n - k);
		select_wait_add(w, g);
	}
	if (k == n)
		ctx->turn++;
	return k;
}

int xtcp_ctx_poll(struct xtcp_ctx *ctx, struct xtcp_event *ev, int n,
		  int timeout_ms)
{
	struct select_wait w;
	int rc;

	if (!ctx || !ev || n < 1)
		return -EINVAL;
	select_wait_init(&w, ctx, timeout_ms < 0 ? -1 : timeout_ms);
	pthread_mutex_lock(&ctx->lock);
	do {
		rc = ctx->n_open > 0 ? 0 : -EBADF;
		if (rc == 0)
			rc = select_wait_reserve(&w, (size_t)ctx->n_open);
		if (rc < 0)
			return select_wait_fini(&w, rc);
		rc = select_look_all(&w, ev, n);
		if (rc > 0)
			break;
		rc = select_wait_poll(&w);
	} while (rc > 0);
	return select_wait_fini(&w, rc);
}
