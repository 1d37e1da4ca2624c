/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plain_links - the life of links (plain_link.h): which there are, by connection
 * and by backend.
 */
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/backend.h"
#include "daemon/plain.h"
#include "daemon/plain_link.h"

#define PLAIN_BUCKETS_MIN 256u
/* Descriptors that links leave to others: xtcpctl has to get in, too. */
#define PLAIN_FDS_LEFT 256u

/* --- which links there are ---------------------------------------------- */

/* Neighbours in the table of records are neighbours here: nothing to mix. */
static struct plain_link **plain_bucket(const struct plain_links *links,
					uint32_t ri)
{
	return &links->buckets[ri & (links->n_buckets - 1)];
}

bool plain_link_is_stale(const struct plain_link *l)
{
	return !stack_lookup(l->group->gs->st, l->ri, l->generation);
}

struct plain_link *plain_link_find(struct groups *gs, uint32_t ri)
{
	struct plain_link *l;

	if (!gs->links.n)
		return NULL;
	for (l = *plain_bucket(&gs->links, ri); l; l = l->hash_next)
		if (l->ri == ri)
			break;
	if (!l || !plain_link_is_stale(l))
		return l;
	plain_link_free(l, true);
	return NULL;
}

/* The highest descriptor that a link may have; of few, a quarter is left. */
static int plain_links_fd_max(void)
{
	struct rlimit limit;
	uint64_t n;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	n = min_u64(limit.rlim_cur, INT32_MAX);
	return (int)(n - min_u64(n / 4, PLAIN_FDS_LEFT));
}

/* More buckets; without memory the chains become longer. */
static void plain_links_grow(struct plain_links *links)
{
	struct plain_links more = *links;
	struct plain_link *l, *next;

	more.n_buckets =
		links->n_buckets ? 2 * links->n_buckets : PLAIN_BUCKETS_MIN;
	if (!links->n_buckets)
		more.fd_max = plain_links_fd_max();
	more.buckets = calloc(more.n_buckets, sizeof(struct plain_link *));
	if (!more.buckets)
		return;
	for (uint32_t i = 0; i < links->n_buckets; i++) {
		for (l = links->buckets[i]; l; l = next) {
			struct plain_link **at = plain_bucket(&more, l->ri);

			next = l->hash_next;
			l->hash_next = *at;
			*at = l;
		}
	}
	free(links->buckets);
	*links = more;
}

static bool plain_links_add(struct plain_links *links, struct plain_link *l)
{
	struct plain_link **at;

	if (links->n >= links->n_buckets)
		plain_links_grow(links);
	if (!links->n_buckets)
		return false;
	at = plain_bucket(links, l->ri);
	l->hash_next = *at;
	*at = l;
	links->n++;
	return true;
}

static void plain_links_remove(struct plain_links *links, struct plain_link *l)
{
	struct plain_link **at = plain_bucket(links, l->ri);

	while (*at != l)
		at = &(*at)->hash_next;
	*at = l->hash_next;
	links->n--;
}

void plain_links_fini(struct plain_links *links)
{
	assert(links->n == 0); /* their groups are gone */
	free(links->buckets);
	*links = (struct plain_links){ .n = 0 };
}

/* --- of its backend ----------------------------------------------------- */

static void plain_queue_remove(struct plain_link *l)
{
	struct plain_backend *pb = &l->backend->plain;

	if (l->older)
		l->older->newer = l->newer;
	else
		pb->head = l->newer;
	if (l->newer)
		l->newer->older = l->older;
	else
		pb->tail = l->older;
}

static void plain_queue_append(struct plain_link *l)
{
	struct plain_backend *pb = &l->backend->plain;

	l->older = pb->tail;
	l->newer = NULL;
	if (pb->tail)
		pb->tail->newer = l;
	else
		pb->head = l;
	pb->tail = l;
}

void plain_link_moved(struct plain_link *l)
{
	l->moved_us = l->group->gs->now_us;
	if (!l->newer)
		return;
	plain_queue_remove(l);
	plain_queue_append(l);
}

void plain_link_set_busy(struct plain_link *l, bool busy)
{
	struct backend *b = l->backend;

	if (l->busy == busy)
		return;
	l->busy = busy;
	b->plain.n_busy += busy ? 1 : UINT32_MAX;
	if (busy)
		b->stats.messages_in++;
	else
		b->stats.messages_out++;
}

void plain_link_set_stalled(struct plain_link *l, bool stalled)
{
	struct groups *gs = l->group->gs;

	if (l->stalled == stalled)
		return;
	l->stalled = stalled;
	gs->links.n_stalled += stalled ? 1 : UINT32_MAX;
	if (stalled)
		groups_count(gs, WC_plain_stalled);
}

void plain_link_join(struct plain_link *l, struct backend *b)
{
	l->backend = b;
	l->moved_us = l->group->gs->now_us;
	b->plain.n_links++;
	plain_queue_append(l);
}

void plain_link_leave(struct plain_link *l)
{
	struct backend *b = l->backend;

	if (!b)
		return;
	if (l->busy)
		b->plain.n_busy--;
	l->busy = false;
	plain_queue_remove(l);
	l->backend = NULL;
	b->plain.n_links--;
	if (b->plain.max_links)
		group_has_room(l->group);
	if (!l->group->closing)
		backend_link_gone(b);
}

/* --- begin and end ------------------------------------------------------ */

struct plain_link *plain_link_new(struct group *g, uint32_t ri)
{
	struct plain_link *l = calloc(1, sizeof(*l));
	struct rec *rec = &g->gs->st->sh->recs[ri];

	if (!l)
		return NULL;
	l->group = g;
	l->ri = ri;
	l->generation = rec->generation;
	l->fd = -1;
	if (!plain_links_add(&g->gs->links, l)) {
		free(l);
		return NULL;
	}
	rec->flags |= REC_TOLD;
	return l;
}

void plain_link_hang_up(struct plain_link *l, bool reset)
{
	const struct linger hard = { .l_onoff = 1, .l_linger = 0 };

	if (l->fd < 0)
		return;
	if (l->ev_read)
		event_free(l->ev_read);
	if (l->ev_write)
		event_free(l->ev_write);
	l->ev_read = l->ev_write = NULL;
	if (reset && l->backend && l->backend->sa.ss_family != AF_UNIX)
		(void)setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &hard,
				 sizeof(hard));
	close(l->fd);
	l->fd = -1;
}

void plain_link_free(struct plain_link *l, bool reset)
{
	struct groups *gs = l->group->gs;
	struct rec *rec = stack_lookup(gs->st, l->ri, l->generation);

	plain_link_hang_up(l, reset);
	plain_link_set_stalled(l, false);
	plain_links_remove(&gs->links, l);
	plain_link_leave(l);
	/* One that is closed by xtcpd's end is missed by the next process. */
	if (rec && !l->group->closing) {
		rec->slot &= PLAIN_NUMBER_MAX;
		rec->flags &= (uint16_t)~REC_TOLD;
	}
	free(l->held);
	free(l);
}
