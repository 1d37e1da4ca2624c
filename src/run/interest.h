/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_INTEREST_H
#define XTCP_RUN_INTEREST_H

/*
 * What epoll_ctl(2) registers, for descriptors that are not the kernel's: who
 * wants to hear of which source, and what is ready. No system call here; the
 * caller's lock protects all.
 *
 *	source (connection, listener) ── interest ── set (an epoll descriptor)
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct interest;

struct interest_source {
	struct interest *first; /* through next_of_source */
};

struct interest_set {
	struct interest *first; /* through next_of_set */
	struct interest *ready_head, *ready_tail; /* through next_ready */
	uint32_t n;
	/* Called when something was put into an empty ready list. */
	void (*on_ready)(struct interest_set *set);
};

/* The epoll events that are true of the source now. */
typedef uint32_t interest_now_fn(struct interest_source *source);

/*
 * EPOLL_CTL_ADD, MOD and DEL of the source under the descriptor number fd.
 * events are those of epoll_ctl(2) with its flags; EPOLLERR and EPOLLHUP are
 * always meant. add and mod look at the source at once (now).
 * Return 0; -EEXIST, -ENOENT, -ENOMEM; -EINVAL: EPOLLEXCLUSIVE changed or
 * with flags that it doesn't go with.
 */
int interest_add(struct interest_set *set, struct interest_source *source,
		 int fd, const struct epoll_event *ev, interest_now_fn *now);
int interest_mod(struct interest_set *set, struct interest_source *source,
		 int fd, const struct epoll_event *ev, interest_now_fn *now);
int interest_del(struct interest_set *set, struct interest_source *source,
		 int fd);

/* Something about the source has changed: an edge, for those who want these. */
void interest_changed(struct interest_source *source);

/*
 * Fills at most n of ev with what is ready, in turn. Level-triggered ones stay
 * ready until they are found not to be. Returns their number.
 */
int interest_collect(struct interest_set *set, struct epoll_event *ev, int n,
		     interest_now_fn *now);

/* Calls visit for each source of the set, until it returns other than 0. */
int interest_visit(struct interest_set *set,
		   int (*visit)(struct interest_source *source));

/* The source, or the set, is gone: so are its interests. */
void interest_drop_source(struct interest_source *source);
void interest_drop_set(struct interest_set *set);

#endif
