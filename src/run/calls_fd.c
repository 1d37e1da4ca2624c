/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * calls_fd - descriptors: closing, duplicating, their flags.
 *
 * Each virtual descriptor has a real number (hub_placeholder()), so the kernel
 * does the numbering and close-on-exec; the table follows. The kernel's part is
 * done first where the number may be given to another thread at once.
 */
#include "run/calls.h"

#include <limits.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <string.h>

#include "run/hub.h"

/* --- closing --- */

RUN_EXPORT int close(int fd)
{
	struct vobj *o;
	int rc;

	if (!vobj_get(fd))
		return REAL(close)(fd);
	o = vobj_enter(fd);
	if (!o)
		return REAL(close)(fd);
	if (o->kind == VOBJ_HIDDEN) {
		run_unlock();
		return (int)run_return(-EBADF);
	}
	/* First the table: the number may be another's at once. */
	vobj_clear(fd);
	rc = (int)run_result(REAL(close)(fd));
	run_unlock();
	return (int)run_return(rc);
}

/*
 * Calls what is between the descriptors of the library's own for the kernel,
 * as they must stay. flags as for close_range(2).
 */
static int calls_close_range(unsigned int first, unsigned int last, int flags)
{
	int last_fd = (int)(last < VOBJ_FD_MAX ? last : VOBJ_FD_MAX - 1);
	unsigned int from = first;
	int rc = 0;

	run_lock();
	for (int fd = vobj_next((int)from, last_fd); fd >= 0 && rc == 0;
	     fd = vobj_next(fd + 1, last_fd)) {
		struct vobj *o = vobj_get(fd);

		if (o->kind != VOBJ_HIDDEN) {
			if (!(flags & (int)CLOSE_RANGE_CLOEXEC))
				vobj_clear(fd);
			continue;
		}
		if ((unsigned int)fd > from)
			rc = (int)run_result(REAL(close_range)(
				from, (unsigned int)fd - 1, flags));
		from = (unsigned int)fd + 1;
	}
	if (rc == 0 && from <= last)
		rc = (int)run_result(REAL(close_range)(from, last, flags));
	run_unlock();
	return rc;
}

RUN_EXPORT int close_range(unsigned int first, unsigned int last, int flags)
{
	if (first > last || first >= VOBJ_FD_MAX || !REAL(close_range))
		return REAL(close_range) ? REAL(close_range)(first, last, flags)
					 : (int)run_return(-ENOSYS);
	return (int)run_return(calls_close_range(first, last, flags));
}

RUN_EXPORT void closefrom(int first)
{
	(void)close_range(first < 0 ? 0 : (unsigned int)first, UINT_MAX, 0);
}

/* --- duplicating --- */

/* new_fd, a fresh number, is another one for what fd is. */
static int calls_duplicated(int fd, int new_fd)
{
	struct vobj *o;

	if (new_fd < 0)
		return new_fd;
	o = vobj_enter(fd);
	if (!o)
		return new_fd;
	if (o->kind != VOBJ_HIDDEN && new_fd < VOBJ_FD_MAX)
		vobj_set(new_fd, o);
	run_unlock();
	return new_fd;
}

RUN_EXPORT int dup(int fd)
{
	return calls_duplicated(fd, REAL(dup)(fd));
}

/* dup2() and dup3() with the kernel's part in `how`. */
static int calls_dup3(int fd, int new_fd, int flags)
{
	return flags < 0 ? REAL(dup2)(fd, new_fd)
			 : REAL(dup3)(fd, new_fd, flags);
}

static int calls_dup_to(int fd, int new_fd, int flags)
{
	struct vobj *from, *to;
	int rc;

	if (!vobj_get(fd) && !vobj_get(new_fd))
		return calls_dup3(fd, new_fd, flags);
	run_lock();
	from = vobj_get(fd);
	to = vobj_get(new_fd);
	if (to && to->kind == VOBJ_HIDDEN) {
		run_unlock();
		calls_refuse("dup2() onto a descriptor of xtcp-run's own");
		return (int)run_return(-EBUSY);
	}
	rc = (int)run_result(calls_dup3(fd, new_fd, flags));
	if (rc >= 0 && fd != new_fd) {
		if (from && from->kind != VOBJ_HIDDEN)
			vobj_set(new_fd, from);
		else
			vobj_clear(new_fd);
	}
	run_unlock();
	return (int)run_return(rc);
}

RUN_EXPORT int dup2(int fd, int new_fd)
{
	return calls_dup_to(fd, new_fd, -1);
}

RUN_EXPORT int dup3(int fd, int new_fd, int flags)
{
	return calls_dup_to(fd, new_fd, flags & INT_MAX);
}

/* --- fcntl --- */

static int calls_fcntl_conn(int fd, struct vconn *vc, int cmd, long arg)
{
	int rc;

	switch (cmd) {
	case F_GETFL:
		rc = O_RDWR | (vc->flags & STREAM_NONBLOCK ? O_NONBLOCK : 0);
		break;
	case F_SETFL:
		if (arg & O_NONBLOCK)
			vc->flags |= STREAM_NONBLOCK;
		else
			vc->flags &= (uint16_t)~STREAM_NONBLOCK;
		rc = 0;
		break;
	case F_SETOWN:
	case F_SETSIG:
		rc = 0; /* SIGIO comes with O_ASYNC alone, which is ignored */
		break;
	case F_GETOWN:
	case F_GETSIG:
		rc = 0;
		break;
	default: /* F_GETFD, F_SETFD: the number's own */
		rc = (int)run_result(REAL(fcntl)(fd, cmd, arg));
	}
	return rc;
}

static int calls_fcntl(int fd, int cmd, long arg)
{
	struct vconn *vc;
	struct vobj *o;
	int rc;

	if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC)
		return calls_duplicated(fd, REAL(fcntl)(fd, cmd, arg));
	o = vobj_enter_kind(fd, VOBJ_CONN);
	if (!o)
		return REAL(fcntl)(fd, cmd, arg);
	vc = stream_of(o);
	rc = calls_fcntl_conn(fd, vc, cmd, arg);
	run_unlock();
	return (int)run_return(rc);
}

RUN_EXPORT int fcntl(int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	/* An int, a pointer or nothing: as the C library itself reads it. */
	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	return calls_fcntl(fd, cmd, arg);
}

RUN_EXPORT int fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	return calls_fcntl(fd, cmd, arg);
}

/* --- ioctl --- */

static int calls_ioctl_conn(int fd, struct vconn *vc, unsigned long request,
			    void *arg)
{
	int v = 0;

	switch (request) {
	case FIONREAD: /* SIOCINQ */
		if (stream_unread(vc) == 0)
			hub_pump();
		v = (int)(stream_unread(vc) < INT_MAX ? stream_unread(vc)
						      : INT_MAX);
		memcpy(arg, &v, sizeof(v));
		return 0;
	case SIOCOUTQ: /* what was sent counts as gone */
	case SIOCOUTQNSD:
	case SIOCATMARK:
		memcpy(arg, &v, sizeof(v));
		return 0;
	case FIONBIO:
		memcpy(&v, arg, sizeof(v));
		if (v)
			vc->flags |= STREAM_NONBLOCK;
		else
			vc->flags &= (uint16_t)~STREAM_NONBLOCK;
		return 0;
	case FIOASYNC:
		return 0;
	case FIOCLEX:
		return (int)run_result(REAL(fcntl)(fd, F_SETFD, FD_CLOEXEC));
	case FIONCLEX:
		return (int)run_result(REAL(fcntl)(fd, F_SETFD, 0));
	default:
		return -ENOTTY;
	}
}

RUN_EXPORT int ioctl(int fd, unsigned long request, ...)
{
	struct vobj *o;
	va_list ap;
	void *arg;
	int rc;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	o = vobj_enter_kind(fd, VOBJ_CONN);
	if (!o)
		return REAL(ioctl)(fd, request, arg);
	rc = calls_ioctl_conn(fd, stream_of(o), request, arg);
	run_unlock();
	return (int)run_return(rc);
}

/* --- as a file --- */

static int calls_fstat(int fd, struct stat *st)
{
	const struct vobj *o = vobj_get(fd);
	int rc = REAL(fstat)(fd, st);

	if (rc == 0 && o && o->kind == VOBJ_CONN) {
		st->st_mode = S_IFSOCK | 0777;
		st->st_rdev = 0;
	}
	return rc;
}

RUN_EXPORT int fstat(int fd, struct stat *st)
{
	return calls_fstat(fd, st);
}

static_assert(sizeof(struct stat) == sizeof(struct stat64), "one struct stat");

RUN_EXPORT int fstat64(int fd, struct stat64 *st)
{
	return calls_fstat(fd, (struct stat *)st);
}

static bool calls_is_conn(int fd)
{
	const struct vobj *o = vobj_get(fd);

	return o && o->kind == VOBJ_CONN;
}

RUN_EXPORT off_t lseek(int fd, off_t offset, int whence)
{
	if (calls_is_conn(fd))
		return run_return(-ESPIPE);
	return REAL(lseek)(fd, offset, whence);
}

RUN_EXPORT off64_t lseek64(int fd, off64_t offset, int whence)
{
	return lseek(fd, offset, whence);
}

RUN_EXPORT ssize_t pread(int fd, void *buf, size_t n, off_t offset)
{
	if (calls_is_conn(fd))
		return run_return(-ESPIPE);
	return REAL(pread)(fd, buf, n, offset);
}

RUN_EXPORT ssize_t pread64(int fd, void *buf, size_t n, off64_t offset)
{
	return pread(fd, buf, n, offset);
}

RUN_EXPORT ssize_t pwrite(int fd, const void *buf, size_t n, off_t offset)
{
	if (calls_is_conn(fd))
		return run_return(-ESPIPE);
	return REAL(pwrite)(fd, buf, n, offset);
}

RUN_EXPORT ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t offset)
{
	return pwrite(fd, buf, n, offset);
}

/* Streams of stdio call the kernel themselves. */
RUN_EXPORT FILE *fdopen(int fd, const char *mode)
{
	if (calls_is_conn(fd)) {
		calls_refuse("fdopen() of a client's connection");
		errno = EINVAL;
		return NULL;
	}
	return REAL(fdopen)(fd, mode);
}
