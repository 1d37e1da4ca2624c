/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wait - blocking calls, poll and select.
 *
 * Every thread that sleeps here has an eventfd, and stands in a list of each
 * object that it waits for. One of them leads: it alone watches the hub's
 * descriptor (which is readable when any stream is) beside its own, takes in
 * what has come, and wakes those whose objects changed. So a hundred threads
 * that block in read() cost one wake-up per request, not a hundred. When the
 * leader has what it waited for it hands over to another one that sleeps.
 *
 *	hub fd ──> leader ── hub_pump() ──> vobj_changed() ──> eventfds
 *
 * Threads in epoll_wait() watch the hub's descriptor themselves (vset.c).
 *
 * I1	while the list of waiters is not empty one of them leads.
 * I2	fired: the eventfd is readable.
 */
#include "run/wait.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <time.h>

#include "run/hub.h"
#include "run/real.h"
#include "run/run.h"

/* Eventfds that are kept for the next ones to wait. */
#define WAIT_SPARE 64

static struct waiter *wait_list;
static int wait_spare[WAIT_SPARE];
static unsigned int wait_n_spare;

static int wait_fd_take(void)
{
	int fd;

	if (wait_n_spare > 0)
		return wait_spare[--wait_n_spare];
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	vobj_hide(fd);
	return fd;
}

static void wait_fd_give(int fd)
{
	if (wait_n_spare < WAIT_SPARE) {
		wait_spare[wait_n_spare++] = fd;
		return;
	}
	vobj_unhide(fd);
	REAL(close)(fd);
}

static void wait_fire(struct waiter *w)
{
	uint64_t one = 1;

	if (!w->fired && REAL(write)(w->fd, &one, sizeof(one)) == sizeof(one))
		w->fired = true;
}

static void wait_calm(struct waiter *w)
{
	uint64_t v;

	if (w->fired && REAL(read)(w->fd, &v, sizeof(v)) == sizeof(v))
		w->fired = false;
}

int wait_begin(struct waiter *w)
{
	int fd = wait_fd_take();

	if (fd < 0)
		return fd;
	*w = (struct waiter){ .fd = fd,
			      .next = wait_list,
			      .leads = !wait_list };
	if (wait_list)
		wait_list->prev = w;
	wait_list = w;
	return 0;
}

static void wait_forget(struct wait_node *node)
{
	struct wait_node **at = &node->o->waiters;

	while (*at && *at != node)
		at = &(*at)->next_of_object;
	if (*at) /* else a signal's handler has forked, and this is the child */
		*at = node->next_of_object;
	vobj_release(node->o);
}

void wait_end(struct waiter *w)
{
	while (w->nodes) {
		struct wait_node *node = w->nodes;

		w->nodes = node->next_of_waiter;
		wait_forget(node);
	}
	if (w->prev)
		w->prev->next = w->next;
	else
		wait_list = w->next;
	if (w->next)
		w->next->prev = w->prev;
	if (w->leads && wait_list) {
		wait_list->leads = true; /* I1 */
		wait_fire(wait_list);
	}
	wait_calm(w);
	wait_fd_give(w->fd);
}

void wait_on(struct waiter *w, struct wait_node *node, struct vobj *o)
{
	vobj_hold(o);
	node->w = w;
	node->o = o;
	node->next_of_object = o->waiters;
	o->waiters = node;
	node->next_of_waiter = w->nodes;
	w->nodes = node;
}

void wait_changed(struct vobj *o)
{
	for (struct wait_node *node = o->waiters; node;
	     node = node->next_of_object)
		wait_fire(node->w);
}

/* The thread was cancelled while it slept. */
static void wait_cancelled(void *arg)
{
	run_lock();
	wait_end(arg);
	run_unlock();
}

/* ppoll(2) without the lock. */
static int wait_poll(struct waiter *w, struct pollfd *fds, nfds_t n,
		     int64_t deadline_ns, const sigset_t *mask)
{
	int64_t left = run_left(deadline_ns);
	struct timespec ts = { .tv_sec = left / 1000000000,
			       .tv_nsec = left % 1000000000 };
	int rc;

	run_unlock();
	pthread_cleanup_push(wait_cancelled, w);
	rc = (int)run_result(REAL(ppoll)(fds, n, left < 0 ? NULL : &ts, mask));
	pthread_cleanup_pop(0);
	run_lock();
	return rc;
}

int wait_sleep(struct waiter *w, struct pollfd *fds, nfds_t n,
	       int64_t deadline_ns, const sigset_t *mask)
{
	struct pollfd *own = fds + n, *hub = fds + n + 1;
	int rc, hub_fd = w->leads ? hub_descriptor() : -1;

	*own = (struct pollfd){ .fd = w->fd, .events = POLLIN };
	*hub = (struct pollfd){ .fd = hub_fd, .events = POLLIN };
	rc = wait_poll(w, fds, n + WAIT_ROOM, deadline_ns, mask);
	if (rc <= 0)
		return rc;
	rc -= (own->revents != 0) + (hub->revents != 0);
	if (hub->revents)
		hub_pump();
	wait_calm(w);
	return rc;
}

/*
 * Whether a signal that ended a sleep lets the call go on, signal(7): none that
 * this thread takes has a handler without SA_RESTART. Which one it was can't be
 * known.
 */
static bool wait_restarts(void)
{
	struct sigaction sa;
	sigset_t blocked;

	if (pthread_sigmask(SIG_SETMASK, NULL, &blocked) != 0)
		return false;
	for (int sig = 1; sig < NSIG; sig++) {
		if (sigismember(&blocked, sig) == 1 ||
		    sigaction(sig, NULL, &sa) < 0)
			continue;
		if (sa.sa_handler != SIG_DFL && sa.sa_handler != SIG_IGN &&
		    !(sa.sa_flags & SA_RESTART))
			return false;
	}
	return true;
}

int wait_for_object(struct vobj *o, int64_t deadline_ns)
{
	struct pollfd fds[WAIT_ROOM];
	struct wait_node node;
	struct waiter w;
	int rc;

	if (run_left(deadline_ns) == 0)
		return -EAGAIN;
	rc = wait_begin(&w);
	if (rc < 0)
		return rc;
	hub_flush();
	vobj_hold(o);
	wait_on(&w, &node, o);
	rc = wait_sleep(&w, fds, 0, deadline_ns, NULL);
	wait_end(&w);
	if (rc == -EINTR && deadline_ns == INT64_MAX && wait_restarts())
		rc = 0;
	if (rc >= 0)
		rc = o->fds > 0 ? 0 : -EBADF;
	vobj_release(o);
	return rc;
}

void wait_forked(void)
{
	/* The others' eventfds are closed with their spare ones' copies: they
	 * are few, and close-on-exec. */
	for (struct waiter *w = wait_list; w; w = w->next) {
		vobj_unhide(w->fd);
		REAL(close)(w->fd);
	}
	wait_list = NULL;
	while (wait_n_spare > 0) {
		int fd = wait_spare[--wait_n_spare];

		vobj_unhide(fd);
		REAL(close)(fd);
	}
}
