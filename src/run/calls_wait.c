/* SPDX-License-Identifier: BSD-2-Clause */
/* calls_wait - epoll, poll, select. */
#include "run/calls.h"

#include <limits.h>
#include <time.h>

#include "run/hub.h"
#include "run/vpoll.h"
#include "run/vset.h"

static int64_t calls_ms(int timeout_ms)
{
	return timeout_ms < 0 ? -1 : (int64_t)timeout_ms * 1000000;
}

/* -1 for NULL; -EINVAL as -2. */
static int64_t calls_timespec(const struct timespec *ts)
{
	if (!ts)
		return -1;
	if (ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec >= 1000000000)
		return -2;
	if (ts->tv_sec >= INT64_MAX / 1000000000 - 1)
		return INT64_MAX / 2;
	return (int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec;
}

/* --- epoll --- */

static void calls_epoll_new(int fd)
{
	if (fd >= 0 && vobj_get(fd)) { /* see socket() */
		run_lock();
		vobj_clear(fd);
		run_unlock();
	}
}

RUN_EXPORT int epoll_create(int size)
{
	int fd = REAL(epoll_create)(size);

	calls_epoll_new(fd);
	return fd;
}

RUN_EXPORT int epoll_create1(int flags)
{
	int fd = REAL(epoll_create1)(flags);

	calls_epoll_new(fd);
	return fd;
}

RUN_EXPORT int epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	struct vobj *o = vobj_enter(fd);
	int rc;

	if (!o)
		return REAL(epoll_ctl)(epfd, op, fd, ev);
	if (o->kind == VOBJ_SET) { /* a set in a set */
		rc = op == EPOLL_CTL_DEL ? 0 : vset_nest(o, fd);
		run_unlock();
		return rc < 0 ? (int)run_return(rc)
			      : REAL(epoll_ctl)(epfd, op, fd, ev);
	}
	rc = vset_ctl(epfd, op, fd, o, ev);
	run_unlock();
	return (int)run_return(rc);
}

/* The lock and the set, or NULL for the kernel's alone. */
static struct vobj *calls_set(int epfd)
{
	return vobj_enter_kind(epfd, VOBJ_SET);
}

/* The kernel's wait begins: when it ends, for calls_waited(). */
static int64_t calls_deadline(int64_t timeout_ns)
{
	hub_settle();
	return timeout_ns == 0 ? 0 : run_deadline(timeout_ns);
}

/* The kernel's wait returned rc: was the set its alone all the time? */
static int calls_waited(int rc, int epfd, struct epoll_event *ev, int n,
			int64_t deadline_ns, const sigset_t *mask)
{
	struct vobj *o = rc > 0 ? calls_set(epfd) : NULL;

	if (!o)
		return rc;
	return (int)run_return(
		vset_became(o, epfd, ev, rc, n, deadline_ns, mask));
}

RUN_EXPORT int epoll_wait(int epfd, struct epoll_event *ev, int n,
			  int timeout_ms)
{
	struct vobj *o = calls_set(epfd);
	int64_t deadline_ns;

	if (!o) {
		deadline_ns = calls_deadline(calls_ms(timeout_ms));
		return calls_waited(REAL(epoll_wait)(epfd, ev, n, timeout_ms),
				    epfd, ev, n, deadline_ns, NULL);
	}
	return (int)run_return(
		vset_wait(o, epfd, ev, n, calls_ms(timeout_ms), NULL));
}

RUN_EXPORT int epoll_pwait(int epfd, struct epoll_event *ev, int n,
			   int timeout_ms, const sigset_t *mask)
{
	struct vobj *o = calls_set(epfd);
	int64_t deadline_ns;
	int rc;

	if (!o) {
		deadline_ns = calls_deadline(calls_ms(timeout_ms));
		rc = REAL(epoll_pwait)(epfd, ev, n, timeout_ms, mask);
		return calls_waited(rc, epfd, ev, n, deadline_ns, mask);
	}
	return (int)run_return(
		vset_wait(o, epfd, ev, n, calls_ms(timeout_ms), mask));
}

RUN_EXPORT int epoll_pwait2(int epfd, struct epoll_event *ev, int n,
			    const struct timespec *timeout,
			    const sigset_t *mask)
{
	int64_t timeout_ns = calls_timespec(timeout), deadline_ns;
	struct vobj *o;
	int rc;

	if (timeout_ns < -1)
		return (int)run_return(-EINVAL);
	o = calls_set(epfd);
	if (o)
		return (int)run_return(
			vset_wait(o, epfd, ev, n, timeout_ns, mask));
	if (!REAL(epoll_pwait2))
		return (int)run_return(-ENOSYS);
	deadline_ns = calls_deadline(timeout_ns);
	rc = REAL(epoll_pwait2)(epfd, ev, n, timeout, mask);
	return calls_waited(rc, epfd, ev, n, deadline_ns, mask);
}

/* --- poll --- */

static int calls_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	if (!vpoll_concerns(fds, n)) {
		hub_settle();
		return REAL(poll)(fds, n, timeout_ms);
	}
	return (int)run_return(vpoll(fds, n, calls_ms(timeout_ms), NULL));
}

static int calls_ppoll(struct pollfd *fds, nfds_t n,
		       const struct timespec *timeout, const sigset_t *mask)
{
	int64_t timeout_ns = calls_timespec(timeout);

	if (timeout_ns < -1 || !vpoll_concerns(fds, n)) {
		hub_settle();
		return REAL(ppoll)(fds, n, timeout, mask);
	}
	return (int)run_return(vpoll(fds, n, timeout_ns, mask));
}

RUN_EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	return calls_poll(fds, n, timeout_ms);
}

RUN_EXPORT int ppoll(struct pollfd *fds, nfds_t n,
		     const struct timespec *timeout, const sigset_t *mask)
{
	return calls_ppoll(fds, n, timeout, mask);
}

int __poll_chk(struct pollfd *fds, nfds_t n, int timeout_ms, size_t size);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
		const sigset_t *mask, size_t size);

RUN_EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout_ms,
			  size_t size)
{
	if (size / sizeof(*fds) < n)
		__chk_fail();
	return calls_poll(fds, n, timeout_ms);
}

RUN_EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n,
			   const struct timespec *timeout, const sigset_t *mask,
			   size_t size)
{
	if (size / sizeof(*fds) < n)
		__chk_fail();
	return calls_ppoll(fds, n, timeout, mask);
}

/* --- select --- */

RUN_EXPORT int select(int n, fd_set *r, fd_set *w, fd_set *e,
		      struct timeval *timeout)
{
	int64_t timeout_ns = -1, deadline_ns, left;
	int rc;

	if (!vselect_concerns(n, r, w, e)) {
		hub_settle();
		return REAL(select)(n, r, w, e, timeout);
	}
	if (timeout) {
		if (timeout->tv_sec < 0 || timeout->tv_usec < 0)
			return (int)run_return(-EINVAL);
		timeout_ns = (int64_t)timeout->tv_sec * 1000000000 +
			     (int64_t)timeout->tv_usec * 1000;
	}
	deadline_ns = run_deadline(timeout_ns);
	rc = vselect(n, r, w, e, timeout_ns, NULL);
	if (timeout) { /* as Linux does */
		left = run_left(deadline_ns);
		timeout->tv_sec = left / 1000000000;
		timeout->tv_usec = left % 1000000000 / 1000;
	}
	return (int)run_return(rc);
}

RUN_EXPORT int pselect(int n, fd_set *r, fd_set *w, fd_set *e,
		       const struct timespec *timeout, const sigset_t *mask)
{
	int64_t timeout_ns = calls_timespec(timeout);

	if (timeout_ns < -1 || !vselect_concerns(n, r, w, e)) {
		hub_settle();
		return REAL(pselect)(n, r, w, e, timeout, mask);
	}
	return (int)run_return(vselect(n, r, w, e, timeout_ns, mask));
}

/* What FD_SET() calls in a fortified program: say why it is about to end. */
long __fdelt_chk(long fd);

RUN_EXPORT long __fdelt_chk(long fd)
{
	if (fd < 0 || fd >= FD_SETSIZE) {
		run_say("descriptor %ld is beyond what select() can watch: "
			"limit them (ulimit -n %d)",
			fd, FD_SETSIZE);
		__chk_fail();
	}
	return fd / __NFDBITS;
}
