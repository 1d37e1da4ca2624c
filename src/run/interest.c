/* SPDX-License-Identifier: BSD-2-Clause */
#include "run/interest.h"

#include <errno.h>
#include <stdlib.h>

#define INTEREST_ALWAYS ((uint32_t)(EPOLLERR | EPOLLHUP))
#define INTEREST_FLAGS \
	((uint32_t)(EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE))

struct interest {
	struct interest_set *set;
	struct interest_source *source;
	struct interest *next_of_source;
	struct interest *next_of_set, *prev_of_set;
	struct interest *next_ready, *prev_ready;
	struct epoll_event ev;
	int fd;
	bool queued; /* in the ready list */
	bool armed; /* false after EPOLLONESHOT has told */
};

/* --- the ready list --- */

static void interest_queue(struct interest *in)
{
	struct interest_set *set = in->set;
	bool first = !set->ready_head;

	if (in->queued || !in->armed)
		return;
	in->queued = true;
	in->next_ready = NULL;
	in->prev_ready = set->ready_tail;
	if (set->ready_tail)
		set->ready_tail->next_ready = in;
	else
		set->ready_head = in;
	set->ready_tail = in;
	if (first && set->on_ready)
		set->on_ready(set);
}

static void interest_unqueue(struct interest *in)
{
	struct interest_set *set = in->set;

	if (!in->queued)
		return;
	in->queued = false;
	if (in->prev_ready)
		in->prev_ready->next_ready = in->next_ready;
	else
		set->ready_head = in->next_ready;
	if (in->next_ready)
		in->next_ready->prev_ready = in->prev_ready;
	else
		set->ready_tail = in->prev_ready;
}

static uint32_t interest_wanted(const struct interest *in, uint32_t now)
{
	return now & ((in->ev.events & ~INTEREST_FLAGS) | INTEREST_ALWAYS);
}

/* --- registering --- */

static struct interest *interest_find(const struct interest_set *set,
				      const struct interest_source *source,
				      int fd)
{
	struct interest *in = source->first;

	while (in && (in->set != set || in->fd != fd))
		in = in->next_of_source;
	return in;
}

/* Takes ev over, and looks at once. */
static void interest_arm(struct interest *in, const struct epoll_event *ev,
			 interest_now_fn *now)
{
	interest_unqueue(in);
	in->ev = *ev;
	in->armed = true;
	if (interest_wanted(in, now(in->source)))
		interest_queue(in);
}

/* What may go with EPOLLEXCLUSIVE; epoll_ctl(2). */
static bool interest_exclusive_ok(uint32_t events)
{
	const uint32_t with = EPOLLIN | EPOLLOUT | EPOLLWAKEUP | EPOLLET |
			      EPOLLERR | EPOLLHUP | EPOLLEXCLUSIVE;

	return !(events & EPOLLEXCLUSIVE) || !(events & ~with);
}

int interest_add(struct interest_set *set, struct interest_source *source,
		 int fd, const struct epoll_event *ev, interest_now_fn *now)
{
	struct interest *in;

	if (!interest_exclusive_ok(ev->events))
		return -EINVAL;
	if (interest_find(set, source, fd))
		return -EEXIST;
	in = calloc(1, sizeof(*in));
	if (!in)
		return -ENOMEM;
	in->set = set;
	in->source = source;
	in->fd = fd;
	in->next_of_source = source->first;
	source->first = in;
	in->next_of_set = set->first;
	if (set->first)
		set->first->prev_of_set = in;
	set->first = in;
	set->n++;
	interest_arm(in, ev, now);
	return 0;
}

int interest_mod(struct interest_set *set, struct interest_source *source,
		 int fd, const struct epoll_event *ev, interest_now_fn *now)
{
	struct interest *in = interest_find(set, source, fd);

	if (!in)
		return -ENOENT;
	if ((ev->events | in->ev.events) & EPOLLEXCLUSIVE)
		return -EINVAL;
	interest_arm(in, ev, now);
	return 0;
}

static void interest_free(struct interest *in)
{
	struct interest **at = &in->source->first;

	interest_unqueue(in);
	while (*at != in)
		at = &(*at)->next_of_source;
	*at = in->next_of_source;
	if (in->prev_of_set)
		in->prev_of_set->next_of_set = in->next_of_set;
	else
		in->set->first = in->next_of_set;
	if (in->next_of_set)
		in->next_of_set->prev_of_set = in->prev_of_set;
	in->set->n--;
	free(in);
}

int interest_del(struct interest_set *set, struct interest_source *source,
		 int fd)
{
	struct interest *in = interest_find(set, source, fd);

	if (!in)
		return -ENOENT;
	interest_free(in);
	return 0;
}

void interest_drop_source(struct interest_source *source)
{
	while (source->first)
		interest_free(source->first);
}

void interest_drop_set(struct interest_set *set)
{
	while (set->first)
		interest_free(set->first);
}

int interest_visit(struct interest_set *set,
		   int (*visit)(struct interest_source *source))
{
	int rc = 0;

	for (struct interest *in = set->first; in && rc == 0;
	     in = in->next_of_set)
		rc = visit(in->source);
	return rc;
}

/* --- events --- */

void interest_changed(struct interest_source *source)
{
	for (struct interest *in = source->first; in; in = in->next_of_source)
		interest_queue(in);
}

/* What in, which was taken out of the list, has to tell; it may go in again. */
static uint32_t interest_tell(struct interest *in, interest_now_fn *now)
{
	uint32_t events = interest_wanted(in, now(in->source));

	if (!events)
		return 0;
	if (in->ev.events & EPOLLONESHOT)
		in->armed = false;
	else if (!(in->ev.events & EPOLLET))
		interest_queue(in); /* at the end: others come first */
	return events;
}

int interest_collect(struct interest_set *set, struct epoll_event *ev, int n,
		     interest_now_fn *now)
{
	const struct interest *last = set->ready_tail;
	struct interest *in;
	uint32_t events;
	bool end = false;
	int k = 0;

	while (k < n && !end && (in = set->ready_head)) {
		end = in == last;
		interest_unqueue(in);
		events = interest_tell(in, now);
		if (!events)
			continue;
		ev[k].events = events;
		ev[k].data = in->ev.data;
		k++;
	}
	return k;
}
