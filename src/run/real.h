/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_REAL_H
#define XTCP_RUN_REAL_H

/*
 * The C library's own functions behind those that the preload library has in
 * their place. Everything of xtcp-run and of libxtcp in it calls these: the
 * former as REAL(name)(...), the latter because the linker's --wrap sends its
 * calls to the __wrap_ functions of wrap.c.
 */

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* The one table of them. */
/* clang-format off */
#define REAL_FUNCTIONS(F) \
	F(accept) F(accept4) F(bind) F(close) F(close_range) F(closefrom) \
	F(connect) F(dup) F(dup2) F(dup3) F(epoll_create) F(epoll_create1) \
	F(epoll_ctl) F(epoll_pwait) F(epoll_pwait2) F(epoll_wait) F(_exit) \
	F(fcntl) F(fdopen) F(fstat) F(getpeername) F(getsockname) \
	F(getsockopt) F(ioctl) F(listen) F(lseek) F(poll) F(ppoll) F(pread) \
	F(pselect) F(pwrite) F(read) F(readv) F(recv) F(recvfrom) \
	F(recvmmsg) F(recvmsg) F(select) F(send) F(sendfile) F(sendmmsg) \
	F(sendmsg) F(sendto) F(setsockopt) F(shutdown) F(socket) F(splice) \
	F(syscall) F(write) F(writev)
/* clang-format on */

struct real {
#define F(name) __typeof__(&name) name;
	REAL_FUNCTIONS(F)
#undef F
};

extern struct real real_functions;
extern bool real_ready;

/* Looks them all up; the first call of any of them does. */
void real_init(void);

static inline const struct real *real_get(void)
{
	if (__builtin_expect(!real_ready, 0))
		real_init();
	return &real_functions;
}

/* One that the C library doesn't have is NULL: epoll_pwait2, close_range. */
#define REAL(name) (real_get()->name)

#endif
