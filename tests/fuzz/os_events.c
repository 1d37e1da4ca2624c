/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * os_events - the event loops of os.h: epoll with its eventfd and timerfd, and
 * libevent's events.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>

#include "fuzz/fuzz.h"
#include "fuzz/os_file.h"

struct event {
	int fd;
	short what;
	bool added;
	event_callback_fn cb;
	void *arg;
	struct event *next;
};

bool (*os_on_idle)(void);

static struct event *events;

int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev);
int __wrap_epoll_wait(int epfd, struct epoll_event *ev, int max, int timeout);
int __wrap_eventfd(unsigned int count, int flags);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *its,
			   struct itimerspec *old);

/* --- epoll, eventfd, timerfd ------------------------------------------- */

int __wrap_epoll_create1(int flags)
{
	(void)flags;
	return os_open(OS_EPOLL);
}

int __wrap_eventfd(unsigned int count, int flags)
{
	int fd = os_open(OS_EVENTFD);

	(void)flags;
	if (fd >= 0)
		os_files[fd - OS_FD_FIRST].count = count;
	return fd;
}

int __wrap_timerfd_create(int clock, int flags)
{
	(void)clock;
	(void)flags;
	return os_open(OS_TIMER);
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *its,
			   struct itimerspec *old)
{
	struct os_file *f = os_file(fd);
	uint64_t ms = (uint64_t)its->it_value.tv_sec * 1000 +
		      (uint64_t)its->it_value.tv_nsec / 1000000;

	(void)flags;
	(void)old;
	FUZZ_CHECK(f && f->kind == OS_TIMER);
	f->count = ms ? os_now_ms + ms : 0;
	return 0;
}

int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	struct os_file *f = os_file(fd);

	FUZZ_CHECK(os_file(epfd) && f);
	if ((op == EPOLL_CTL_ADD) == (f->watcher != 0))
		return os_fail(f->watcher ? EEXIST : ENOENT);
	f->watcher = op == EPOLL_CTL_DEL ? 0 : epfd;
	if (op != EPOLL_CTL_DEL)
		f->watch = *ev;
	return 0;
}

static int os_epoll_ready(int epfd, struct epoll_event *ev, int max)
{
	int n = 0;

	for (int i = 0; i < os_n_files && n < max; i++) {
		const struct os_file *f = &os_files[i];
		uint32_t got = 0;

		if (f->kind == OS_FREE || f->watcher != epfd)
			continue;
		if (f->watch.events & EPOLLIN && os_readable(f))
			got |= EPOLLIN;
		if (f->watch.events & EPOLLOUT && os_writable(f))
			got |= EPOLLOUT;
		if (!got)
			continue;
		ev[n] = f->watch;
		ev[n++].events = got;
	}
	return n;
}

int __wrap_epoll_wait(int epfd, struct epoll_event *ev, int max, int timeout)
{
	int n = os_epoll_ready(epfd, ev, max);

	if (n || timeout == 0)
		return n;
	if (!os_on_idle || !os_on_idle())
		os_now_ms += timeout > 0 ? (uint64_t)timeout : 1000;
	return os_epoll_ready(epfd, ev, max);
}

bool os_has_event(int fd)
{
	for (const struct event *e = events; e; e = e->next)
		if (fd < 0 || (e->fd == fd && e->added))
			return true;
	return false;
}

/* --- libevent, as src/daemon/bstream.c uses it ------------------------- */

struct event *__wrap_event_new(struct event_base *base, evutil_socket_t fd,
			       short what, event_callback_fn cb, void *arg);
int __wrap_event_add(struct event *e, const struct timeval *timeout);
int __wrap_event_del(struct event *e);
void __wrap_event_free(struct event *e);

struct event *__wrap_event_new(struct event_base *base, evutil_socket_t fd,
			       short what, event_callback_fn cb, void *arg)
{
	struct event *e = malloc(sizeof(*e));

	(void)base;
	FUZZ_CHECK(e && os_file(fd));
	*e = (struct event){
		.fd = fd, .what = what, .cb = cb, .arg = arg, .next = events
	};
	events = e;
	return e;
}

int __wrap_event_add(struct event *e, const struct timeval *timeout)
{
	FUZZ_CHECK(!timeout && os_file(e->fd));
	e->added = true;
	return 0;
}

int __wrap_event_del(struct event *e)
{
	e->added = false;
	return 0;
}

void __wrap_event_free(struct event *e)
{
	struct event **at = &events;

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	free(e);
}

static struct event *os_next_event(const struct event *after)
{
	struct event *e = events;

	/* The one it follows may be gone: then from the start. */
	while (after && e && e != after)
		e = e->next;
	e = e && after ? e->next : events;
	for (; e; e = e->next) {
		const struct os_file *f = os_file(e->fd);

		if (e->added && ((e->what & EV_READ && os_readable(f)) ||
				 (e->what & EV_WRITE && os_writable(f))))
			return e;
	}
	return NULL;
}

unsigned os_run_events(void)
{
	const struct event *last = NULL;
	unsigned n = 0;
	struct event *e;

	/* Each may free others: at most a bounded number a pass. */
	while (n < 16 && (e = os_next_event(last))) {
		last = e;
		if (!(e->what & EV_PERSIST))
			e->added = false;
		e->cb(e->fd, e->what & (EV_READ | EV_WRITE), e->arg);
		n++;
	}
	return n;
}
