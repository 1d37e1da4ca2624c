/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vpoll - poll and select over virtual and real descriptors.
 *
 * The virtual ones are taken out of the array (fd -1) that the kernel sees, and
 * what is ready of them is looked up. When nothing is ready the thread sleeps
 * in wait_sleep(), for both kinds at once. select is poll with other sets.
 */
#include "run/vpoll.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "run/hub.h"
#include "run/listener.h"
#include "run/real.h"
#include "run/run.h"
#include "run/vset.h"
#include "run/wait.h"

/* Descriptors that need no heap. */
#define VPOLL_SOME 64

static bool vpoll_is_virtual(const struct vobj *o)
{
	return o && (o->kind == VOBJ_CONN || o->kind == VOBJ_LISTENER);
}

bool vpoll_concerns(const struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++) {
		if (vobj_get(fds[i].fd))
			return true;
	}
	return false;
}

struct vpoll {
	struct pollfd *fds; /* the caller's */
	nfds_t n;
	struct pollfd *real; /* what the kernel sees, and WAIT_ROOM */
	struct wait_node *nodes;
	struct pollfd some[VPOLL_SOME + WAIT_ROOM];
	struct wait_node some_nodes[VPOLL_SOME];
};

static int vpoll_init(struct vpoll *v, struct pollfd *fds, nfds_t n)
{
	bool few = n <= VPOLL_SOME;

	v->fds = fds;
	v->n = n;
	v->real = few ? v->some : calloc(n + WAIT_ROOM, sizeof(*v->real));
	v->nodes = few ? v->some_nodes : calloc(n, sizeof(*v->nodes));
	return v->real && v->nodes ? 0 : -ENOMEM;
}

static void vpoll_fini(struct vpoll *v)
{
	if (v->real != v->some)
		free(v->real);
	if (v->nodes != v->some_nodes)
		free(v->nodes);
}

/* What the kernel is to look at. Listeners are served from now on. */
static int vpoll_prepare(struct vpoll *v)
{
	int rc = 0;

	for (nfds_t i = 0; i < v->n && rc == 0; i++) {
		struct vobj *o = vobj_get(v->fds[i].fd);

		v->real[i] = v->fds[i];
		v->real[i].revents = 0;
		if (vpoll_is_virtual(o))
			v->real[i].fd = -1;
		if (o && o->kind == VOBJ_LISTENER)
			rc = listener_use(o);
		if (o && o->kind == VOBJ_SET)
			rc = vset_nest(o, v->fds[i].fd);
	}
	return rc;
}

/* The results: of the kernel's, as they are in real, and of ours. */
static int vpoll_look(struct vpoll *v)
{
	int ready = 0;

	for (nfds_t i = 0; i < v->n; i++) {
		const struct vobj *o = vobj_get(v->fds[i].fd);
		struct pollfd *p = &v->fds[i];

		p->revents = v->real[i].revents;
		if (vpoll_is_virtual(o) && v->real[i].fd < 0) {
			/* The values of POLL* and EPOLL* are the same. */
			uint32_t now = vobj_events(o);

			p->revents = (short)((int)now &
					     (p->events | POLLERR | POLLHUP));
		}
		if (p->revents)
			ready++;
	}
	return ready;
}

/* Sleeps until something may be ready: 0 or a negative errno. */
static int vpoll_sleep(struct vpoll *v, int64_t deadline_ns,
		       const sigset_t *mask)
{
	struct waiter w;
	int rc = wait_begin(&w);

	if (rc < 0)
		return rc;
	for (nfds_t i = 0; i < v->n; i++) {
		struct vobj *o = vobj_get(v->fds[i].fd);

		if (vpoll_is_virtual(o))
			wait_on(&w, &v->nodes[i], o);
	}
	rc = wait_sleep(&w, v->real, v->n, deadline_ns, mask);
	wait_end(&w);
	return rc < 0 ? rc : 0;
}

/* Looks without waiting: ready ones of both kinds. */
static int vpoll_glance(struct vpoll *v)
{
	bool any = false;

	for (nfds_t i = 0; i < v->n; i++)
		any |= v->real[i].fd >= 0;
	if (any && REAL(poll)(v->real, v->n, 0) < 0)
		return -errno;
	return vpoll_look(v);
}

static int vpoll_run(struct vpoll *v, int64_t timeout_ns, const sigset_t *mask)
{
	int64_t deadline_ns = run_deadline(timeout_ns);
	int rc = vpoll_prepare(v);

	if (rc < 0)
		return rc;
	hub_flush();
	hub_pump();
	if (timeout_ns == 0 || vpoll_look(v) > 0)
		return vpoll_glance(v);
	for (;;) {
		int ready;

		rc = vpoll_sleep(v, deadline_ns, mask);
		ready = vpoll_look(v);
		if (ready > 0)
			return ready;
		if (rc < 0)
			return rc;
		if (run_left(deadline_ns) == 0)
			return 0;
		hub_flush();
	}
}

int vpoll(struct pollfd *fds, nfds_t n, int64_t timeout_ns,
	  const sigset_t *mask)
{
	struct vpoll v;
	int rc = vpoll_init(&v, fds, n);

	if (rc == 0) {
		run_lock();
		rc = vpoll_run(&v, timeout_ns, mask);
		hub_batch(0);
		run_unlock();
	}
	vpoll_fini(&v);
	return rc;
}

/* --- select --- */

#define VSELECT_READ (POLLIN | POLLRDNORM | POLLHUP | POLLERR)
#define VSELECT_WRITE (POLLOUT | POLLWRNORM | POLLERR)

static bool vselect_has(const fd_set *set, int fd)
{
	return set && FD_ISSET(fd, set);
}

bool vselect_concerns(int n, const fd_set *r, const fd_set *w, const fd_set *e)
{
	for (int fd = vobj_next(0, n - 1); fd >= 0;
	     fd = vobj_next(fd + 1, n - 1)) {
		if (fd < FD_SETSIZE &&
		    (vselect_has(r, fd) || vselect_has(w, fd) ||
		     vselect_has(e, fd)))
			return true;
	}
	return false;
}

/* The sets as an array for poll; its size. */
static nfds_t vselect_gather(int n, const fd_set *r, const fd_set *w,
			     const fd_set *e, struct pollfd *ret_fds)
{
	nfds_t k = 0;

	for (int fd = 0; fd < n; fd++) {
		int events = (vselect_has(r, fd) ? POLLIN : 0) |
			     (vselect_has(w, fd) ? POLLOUT : 0) |
			     (vselect_has(e, fd) ? POLLPRI : 0);

		if (events)
			ret_fds[k++] = (struct pollfd){ fd, (short)events, 0 };
	}
	return k;
}

/* Leaves fd in the set exactly if it was there and is ready: 1, else 0. */
static int vselect_put(fd_set *set, const struct pollfd *p, int asked,
		       int which)
{
	if (!set || !(p->events & asked))
		return 0;
	if (p->revents & which)
		return 1;
	FD_CLR(p->fd, set);
	return 0;
}

int vselect(int n, fd_set *r, fd_set *w, fd_set *e, int64_t timeout_ns,
	    const sigset_t *mask)
{
	struct pollfd fds[FD_SETSIZE];
	int rc, ready = 0;
	nfds_t k;

	if (n > FD_SETSIZE) {
		run_say("select() cannot be given descriptors above %d: "
			"limit them (ulimit -n %d)",
			FD_SETSIZE - 1, FD_SETSIZE);
		return -EINVAL;
	}
	k = vselect_gather(n, r, w, e, fds);
	rc = vpoll(fds, k, timeout_ns, mask);
	if (rc < 0)
		return rc;
	for (nfds_t i = 0; i < k; i++) {
		if (fds[i].revents & POLLNVAL)
			return -EBADF;
	}
	for (nfds_t i = 0; i < k; i++) {
		ready += vselect_put(r, &fds[i], POLLIN, VSELECT_READ);
		ready += vselect_put(w, &fds[i], POLLOUT, VSELECT_WRITE);
		ready += vselect_put(e, &fds[i], POLLPRI, POLLPRI);
	}
	return ready;
}
