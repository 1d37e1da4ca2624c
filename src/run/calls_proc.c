/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * calls_proc - start, fork and end of the process.
 *
 * A child of fork() has its parent's listeners, and streams of its own once it
 * uses them; the parent's streams and connections are none of its business
 * (hub_forked()). vfork() is fork() here, as a child that shares our memory
 * would close its parent's connections.
 */
#include "run/calls.h"

#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "lib/link.h"
#include "run/hub.h"
#include "run/vset.h"
#include "run/wait.h"

/* fork() by a handler that has interrupted this thread with the lock. */
static _Thread_local bool calls_in_handler;

/*
 * A signal's handler may fork or end the process in the midst of our work. Then
 * all is left as it is: such a child executes something else, or ends, too.
 */
static void calls_prepare(void)
{
	if (!run_is_locked())
		run_lock();
	else
		calls_in_handler = true;
}

static void calls_parent(void)
{
	if (!calls_in_handler)
		run_unlock();
	calls_in_handler = false;
}

static void calls_child(void)
{
	if (calls_in_handler)
		return;
	wait_forked();
	hub_forked();
	for (int fd = vobj_next(0, INT_MAX); fd >= 0;
	     fd = vobj_next(fd + 1, INT_MAX)) {
		struct vobj *o = vobj_get(fd);

		o->waiters = NULL; /* of threads that are not here */
		if (o->kind == VOBJ_SET)
			vset_forked(o);
	}
	run_unlock();
}

static void calls_flush(void)
{
	if (run_is_locked())
		return;
	run_lock();
	hub_flush();
	run_unlock();
}

__attribute__((constructor)) static void calls_start(void)
{
	real_init();
	run_options_load(&run_options);
	(void)link_attach_keep();
	pthread_atfork(calls_prepare, calls_parent, calls_child);
}

__attribute__((destructor)) static void calls_end(void)
{
	calls_flush();
}

RUN_EXPORT pid_t vfork(void)
{
	return fork();
}

RUN_EXPORT void _exit(int status)
{
	calls_flush();
	REAL(_exit)(status);
	__builtin_unreachable();
}

RUN_EXPORT void _Exit(int status)
{
	_exit(status);
}

/* io_uring would do its work unseen: without it programs use epoll. */
RUN_EXPORT long syscall(long number, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_io_uring_setup) {
		run_note("io_uring is refused");
		errno = ENOSYS;
		return -1;
	}
	return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
