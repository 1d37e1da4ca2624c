/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wrap - system calls of libxtcp inside the preload library.
 *
 * The library is linked with --wrap=NAME for each of these, so what libxtcp
 * calls NAME is __wrap_NAME: the C library's, and descriptors that it opens are
 * marked as hidden, so that the server can't close them.
 */
#include "run/calls.h"

#include <sys/eventfd.h>
#include <sys/timerfd.h>

#define WRAP(type, name, params)   \
	type __wrap_##name params; \
	type __wrap_##name params

static int wrap_opened(int fd)
{
	if (fd >= 0)
		vobj_hide(fd);
	return fd;
}

int __real_eventfd(unsigned int v, int flags);
int __real_timerfd_create(int clock, int flags);

WRAP(int, socket, (int domain, int type, int protocol))
{
	return wrap_opened(REAL(socket)(domain, type, protocol));
}

WRAP(int, epoll_create1, (int flags))
{
	return wrap_opened(REAL(epoll_create1)(flags));
}

WRAP(int, eventfd, (unsigned int v, int flags))
{
	return wrap_opened(__real_eventfd(v, flags));
}

WRAP(int, timerfd_create, (int clock, int flags))
{
	return wrap_opened(__real_timerfd_create(clock, flags));
}

WRAP(int, close, (int fd))
{
	vobj_unhide(fd);
	return REAL(close)(fd);
}

WRAP(int, accept4, (int fd, struct sockaddr *sa, socklen_t *len, int flags))
{
	return wrap_opened(REAL(accept4)(fd, sa, len, flags));
}

WRAP(int, fcntl, (int fd, int cmd, long arg))
{
	int rc = REAL(fcntl)(fd, cmd, arg);

	return cmd == F_DUPFD_CLOEXEC ? wrap_opened(rc) : rc;
}

WRAP(int, epoll_ctl, (int epfd, int op, int fd, struct epoll_event *ev))
{
	return REAL(epoll_ctl)(epfd, op, fd, ev);
}

WRAP(int, epoll_wait, (int epfd, struct epoll_event *ev, int n, int timeout_ms))
{
	return REAL(epoll_wait)(epfd, ev, n, timeout_ms);
}

WRAP(int, poll, (struct pollfd * fds, nfds_t n, int timeout_ms))
{
	return REAL(poll)(fds, n, timeout_ms);
}

WRAP(ssize_t, read, (int fd, void *buf, size_t n))
{
	return REAL(read)(fd, buf, n);
}

/* What _FORTIFY_SOURCE makes of some. */
WRAP(ssize_t, __read_chk, (int fd, void *buf, size_t n, size_t size))
{
	if (n > size)
		__chk_fail();
	return REAL(read)(fd, buf, n);
}

WRAP(ssize_t, __recv_chk, (int fd, void *buf, size_t n, size_t size, int flags))
{
	if (n > size)
		__chk_fail();
	return REAL(recv)(fd, buf, n, flags);
}

WRAP(int, __poll_chk,
     (struct pollfd * fds, nfds_t n, int timeout_ms, size_t size))
{
	if (size / sizeof(*fds) < n)
		__chk_fail();
	return REAL(poll)(fds, n, timeout_ms);
}

WRAP(ssize_t, write, (int fd, const void *buf, size_t n))
{
	return REAL(write)(fd, buf, n);
}

WRAP(ssize_t, recv, (int fd, void *buf, size_t n, int flags))
{
	return REAL(recv)(fd, buf, n, flags);
}

WRAP(ssize_t, send, (int fd, const void *buf, size_t n, int flags))
{
	return REAL(send)(fd, buf, n, flags);
}

WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags))
{
	return REAL(sendmsg)(fd, msg, flags);
}

WRAP(int, connect, (int fd, const struct sockaddr *sa, socklen_t len))
{
	return REAL(connect)(fd, sa, len);
}

WRAP(int, bind, (int fd, const struct sockaddr *sa, socklen_t len))
{
	return REAL(bind)(fd, sa, len);
}

WRAP(int, listen, (int fd, int backlog))
{
	return REAL(listen)(fd, backlog);
}

WRAP(int, getsockopt,
     (int fd, int level, int name, void *value, socklen_t *len))
{
	return REAL(getsockopt)(fd, level, name, value, len);
}

WRAP(int, setsockopt,
     (int fd, int level, int name, const void *value, socklen_t len))
{
	return REAL(setsockopt)(fd, level, name, value, len);
}

WRAP(int, getsockname, (int fd, struct sockaddr *sa, socklen_t *len))
{
	return REAL(getsockname)(fd, sa, len);
}

WRAP(int, shutdown, (int fd, int how))
{
	return REAL(shutdown)(fd, how);
}
