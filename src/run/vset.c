/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vset - virtual and real descriptors in one epoll set.
 *
 * The server's epoll set stays what it is, with its real descriptors in it. When
 * the first virtual one is added two more go in, of ours:
 *
 *	the hub's (hub.c)	readable when a stream has brought something
 *	wake_fd			readable when another thread found that one of
 *				the set's virtual descriptors became ready
 *
 * so a thread sleeps in one epoll_wait(), whatever it waits for. What is ready
 * of the virtual ones is in interest.c. Each wait
 *
 *	writes what is gathered, waits (not at all if something is ready),
 *	takes out the two, pumps, and appends the ready virtual ones.
 *
 * A set that is itself polled, or put into another one, is `nested`: wake_fd is
 * readable while there is something ready, not only while a thread sleeps.
 *
 * A thread may sleep in a set that is the kernel's alone when another one puts
 * the first virtual descriptor into it: the new wake_fd ends its sleep, and
 * what it has got is looked through (vset_became()).
 *
 * I1	woken: wake_fd is readable.
 */
#include "run/vset.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/bytes.h"
#include "run/hub.h"
#include "run/listener.h"
#include "run/real.h"
#include "run/run.h"

struct vset {
	struct vobj obj;
	struct interest_set set;
	int wake_fd;
	int hub_fd; /* that is in it; -1: none yet */
	unsigned int sleepers; /* threads in epoll_wait() */
	bool woken, nested;
	bool listens; /* perhaps a listener whose streams are not up yet */
};

/* The data of the two, which no program uses: addresses of ours. */
static char vset_tag_hub, vset_tag_wake;

static struct vset *vset_of(const struct vobj *o)
{
	return (struct vset *)(uintptr_t)container_of(o, const struct vset,
						      obj);
}

/* --- life --- */

static void vset_wake(struct vset *s)
{
	uint64_t one = 1;

	if (!s->woken && s->wake_fd >= 0 &&
	    REAL(write)(s->wake_fd, &one, sizeof(one)) == sizeof(one))
		s->woken = true;
}

static void vset_calm(struct vset *s)
{
	uint64_t v;

	if (s->woken && REAL(read)(s->wake_fd, &v, sizeof(v)) == sizeof(v))
		s->woken = false;
}

static void vset_on_ready(struct interest_set *set)
{
	struct vset *s = container_of(set, struct vset, set);

	if (s->sleepers > 0 || s->nested)
		vset_wake(s);
}

static void vset_close_wake(struct vset *s)
{
	if (s->wake_fd < 0)
		return;
	vobj_unhide(s->wake_fd);
	REAL(close)(s->wake_fd);
	s->wake_fd = -1;
	s->woken = false;
}

static void vset_on_close(struct vobj *o)
{
	struct vset *s = vset_of(o);

	interest_drop_set(&s->set);
	vset_close_wake(s);
}

static void vset_free(struct vobj *o)
{
	free(vset_of(o));
}

/* Puts a descriptor of ours into the real set. */
static int vset_insert(int epfd, int fd, char *tag)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = tag };

	return REAL(epoll_ctl)(epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* Both of ours are in the set; the hub's as soon as there is one. */
static int vset_equip(struct vset *s, int epfd)
{
	int rc = 0, fd;

	if (s->wake_fd < 0) {
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fd < 0)
			return -errno;
		rc = vset_insert(epfd, fd, &vset_tag_wake);
		if (rc < 0) {
			REAL(close)(fd);
			return rc;
		}
		vobj_hide(fd);
		s->wake_fd = fd;
	}
	if (s->hub_fd < 0 && hub_descriptor() >= 0) {
		rc = vset_insert(epfd, hub_descriptor(), &vset_tag_hub);
		if (rc == 0)
			s->hub_fd = hub_descriptor();
	}
	return rc;
}

static int vset_make(int epfd, struct vset **ret_s)
{
	struct vset *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	s->obj.kind = VOBJ_SET;
	s->obj.on_close = vset_on_close;
	s->obj.free = vset_free;
	s->set.on_ready = vset_on_ready;
	s->wake_fd = s->hub_fd = -1;
	rc = vset_equip(s, epfd);
	if (rc < 0) {
		vset_close_wake(s);
		free(s);
		return rc;
	}
	vobj_set(epfd, &s->obj);
	vset_wake(s); /* who sleeps in it doesn't know yet what it is now */
	*ret_s = s;
	return 0;
}

static int vset_use_listener(struct interest_source *source)
{
	struct vobj *o = container_of(source, struct vobj, source);

	return o->kind == VOBJ_LISTENER ? listener_use(o) : 0;
}

/* The process waits: its listeners are served from now on. */
static int vset_begin(struct vset *s, int epfd)
{
	int rc;

	if (s->listens) {
		rc = interest_visit(&s->set, vset_use_listener);
		if (rc < 0)
			return rc;
		s->listens = false;
	}
	return vset_equip(s, epfd);
}

/* --- epoll_ctl() --- */

static int vset_add(struct vset *s, int epfd, int fd, struct vobj *o,
		    const struct epoll_event *ev)
{
	int rc = vset_equip(s, epfd);

	if (rc < 0)
		return rc;
	rc = interest_add(&s->set, &o->source, fd, ev, vobj_source_events);
	if (rc < 0 || o->kind != VOBJ_LISTENER)
		return rc;
	s->listens = true;
	if (s->sleepers > 0)
		vset_wake(s); /* for its vset_begin() */
	return s->nested ? vset_begin(s, epfd) : 0;
}

int vset_ctl(int epfd, int op, int fd, struct vobj *o,
	     const struct epoll_event *ev)
{
	struct vobj *so = vobj_get(epfd);
	struct vset *s;
	int rc;

	if (op != EPOLL_CTL_DEL && !ev)
		return -EFAULT;
	if (o->kind != VOBJ_CONN && o->kind != VOBJ_LISTENER)
		return -EBADF;
	if (so && so->kind != VOBJ_SET)
		return -EINVAL;
	if (!so) {
		if (op != EPOLL_CTL_ADD)
			return -ENOENT;
		rc = vset_make(epfd, &s);
		if (rc < 0)
			return rc;
	} else {
		s = vset_of(so);
	}
	hub_flush_aside();
	switch (op) {
	case EPOLL_CTL_ADD:
		return vset_add(s, epfd, fd, o, ev);
	case EPOLL_CTL_MOD:
		return interest_mod(&s->set, &o->source, fd, ev,
				    vobj_source_events);
	case EPOLL_CTL_DEL:
		return interest_del(&s->set, &o->source, fd);
	default:
		return -EINVAL;
	}
}

/* --- epoll_wait() --- */

/* Takes our two out of the n events, and does what they say. */
static int vset_strip(struct vset *s, struct epoll_event *ev, int n)
{
	bool pump = false;
	int k = 0;

	for (int i = 0; i < n; i++) {
		if (ev[i].data.ptr == &vset_tag_hub)
			pump = true;
		else if (ev[i].data.ptr == &vset_tag_wake)
			vset_calm(s);
		else
			ev[k++] = ev[i];
	}
	if (pump)
		hub_pump();
	return k;
}

static int vset_timeout_ms(int64_t left_ns)
{
	if (left_ns < 0)
		return -1;
	return (int)min_u64(((uint64_t)left_ns + 999999) / 1000000, INT_MAX);
}

/* The kernel's part: the lock is let go of meanwhile. */
static int vset_sleep(struct vset *s, int epfd, struct epoll_event *ev, int n,
		      int64_t left_ns, const sigset_t *mask)
{
	bool ready = s->set.ready_head != NULL;
	int timeout_ms = ready ? 0 : vset_timeout_ms(left_ns), rc;

	/* Some room for the virtual ones, but never none for the others. */
	if (ready)
		n = (n + 1) / 2;
	s->sleepers++;
	run_unlock();
	if (mask)
		rc = REAL(epoll_pwait)(epfd, ev, n, timeout_ms, mask);
	else
		rc = REAL(epoll_wait)(epfd, ev, n, timeout_ms);
	rc = (int)run_result(rc);
	run_lock();
	s->sleepers--;
	return rc;
}

/* One round. The number of events, 0: none yet, or a negative errno. */
static int vset_round(struct vset *s, int epfd, struct epoll_event *ev, int n,
		      int64_t left_ns, const sigset_t *mask)
{
	int rc, k;

	hub_flush();
	rc = vset_begin(s, epfd);
	if (rc < 0)
		return rc;
	rc = vset_sleep(s, epfd, ev, n, left_ns, mask);
	if (rc < 0)
		return rc;
	rc = vset_strip(s, ev, rc);
	k = interest_collect(&s->set, ev + rc, n - rc, vobj_source_events);
	if (s->nested && s->set.ready_head)
		vset_wake(s);
	hub_batch(s->nested ? 0
			    : k); /* it may go on to wait in the outer one */
	return rc + k;
}

int vset_wait(struct vobj *o, int epfd, struct epoll_event *ev, int n,
	      int64_t timeout_ns, const sigset_t *mask)
{
	int64_t deadline_ns, left_ns = timeout_ns;
	int rc;

	if (n <= 0 || n > INT_MAX / (int)sizeof(*ev)) {
		run_unlock();
		return -EINVAL;
	}
	deadline_ns = run_deadline(timeout_ns);
	vobj_hold(o);
	for (;;) {
		rc = vset_round(vset_of(o), epfd, ev, n, left_ns, mask);
		if (rc != 0 || left_ns == 0)
			break;
		left_ns = run_left(deadline_ns);
	}
	vobj_release(o);
	run_unlock();
	return rc;
}

int vset_became(struct vobj *o, int epfd, struct epoll_event *ev, int got,
		int n, int64_t deadline_ns, const sigset_t *mask)
{
	got = vset_strip(vset_of(o), ev, got);
	if (got == 0)
		return vset_wait(o, epfd, ev, n, run_left(deadline_ns), mask);
	run_unlock();
	return got;
}

int vset_nest(struct vobj *o, int epfd)
{
	struct vset *s = vset_of(o);

	s->nested = true;
	if (s->set.ready_head)
		vset_wake(s);
	return vset_begin(s, epfd);
}

void vset_forked(struct vobj *o)
{
	struct vset *s = vset_of(o);

	/* Its copies are not ours: new ones go in when it is used. */
	vset_close_wake(s);
	s->hub_fd = -1;
	s->sleepers = 0;
	s->listens = true;
}
