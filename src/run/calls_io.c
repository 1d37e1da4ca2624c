/* SPDX-License-Identifier: BSD-2-Clause */
/* calls_io - reading and writing. */
#include "run/calls.h"

#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

int calls_conn_slow(int fd, struct vconn **ret_vc)
{
	struct vobj *o = vobj_enter(fd);

	if (!o)
		return 0;
	if (o->kind == VOBJ_CONN) {
		*ret_vc = stream_of(o);
		if ((*ret_vc)->flags & STREAM_ORPHAN)
			calls_refuse("using a connection in a child process "
				     "that was forked after accept()");
		return 1;
	}
	run_unlock();
	if (o->kind == VOBJ_HIDDEN)
		return -EBADF;
	return o->kind == VOBJ_LISTENER ? -ENOTCONN : 0;
}

ssize_t calls_leave(ssize_t rc, bool sigpipe)
{
	run_unlock();
	if (sigpipe)
		raise(SIGPIPE);
	return run_return(rc);
}

void calls_refuse(const char *call)
{
	static bool said;

	if (__atomic_exchange_n(&said, true, __ATOMIC_RELAXED))
		return;
	run_say("%s: not possible under xtcp-run", call);
}

/* --- reading --- */

static ssize_t calls_read(struct vconn *vc, void *buf, size_t n, int flags)
{
	struct iovec iov = { .iov_base = buf, .iov_len = n };

	return calls_leave(stream_read(vc, &iov, 1, flags), false);
}

RUN_EXPORT ssize_t read(int fd, void *buf, size_t n)
{
	struct vconn *vc;
	int rc = calls_conn(fd, &vc);

	if (rc == 0)
		return REAL(read)(fd, buf, n);
	return rc < 0 ? run_return(rc) : calls_read(vc, buf, n, 0);
}

RUN_EXPORT ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	struct vconn *vc;
	int rc = calls_conn(fd, &vc);

	if (rc == 0)
		return REAL(recv)(fd, buf, n, flags);
	if (rc > 0 && flags & (MSG_OOB | MSG_ERRQUEUE)) {
		run_unlock();
		rc = flags & MSG_OOB ? -EINVAL : -EAGAIN;
	}
	return rc < 0 ? run_return(rc) : calls_read(vc, buf, n, flags);
}

RUN_EXPORT ssize_t recvfrom(int fd, void *buf, size_t n, int flags,
			    struct sockaddr *sa, socklen_t *len)
{
	if (!vobj_get(fd))
		return REAL(recvfrom)(fd, buf, n, flags, sa, len);
	if (sa && len)
		*len = 0;
	return recv(fd, buf, n, flags);
}

RUN_EXPORT ssize_t readv(int fd, const struct iovec *iov, int n)
{
	struct vconn *vc;
	int rc = calls_conn(fd, &vc);

	if (rc == 0)
		return REAL(readv)(fd, iov, n);
	if (rc < 0)
		return run_return(rc);
	rc = n < 0 || n > IOV_MAX ? -EINVAL : 0;
	return calls_leave(rc < 0 ? rc : stream_read(vc, iov, n, 0), false);
}

RUN_EXPORT ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct vconn *vc;
	int rc = calls_conn(fd, &vc);

	if (rc == 0)
		return REAL(recvmsg)(fd, msg, flags);
	if (rc < 0)
		return run_return(rc);
	if (msg->msg_iovlen > IOV_MAX)
		return calls_leave(-EMSGSIZE, false);
	if (flags & (MSG_OOB | MSG_ERRQUEUE))
		return calls_leave(flags & MSG_OOB ? -EINVAL : -EAGAIN, false);
	msg->msg_namelen = 0;
	msg->msg_controllen = 0;
	msg->msg_flags = 0;
	return calls_leave(stream_read(vc, msg->msg_iov, (int)msg->msg_iovlen,
				       flags),
			   false);
}

RUN_EXPORT int recvmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags,
			struct timespec *timeout)
{
	ssize_t got;

	if (!vobj_get(fd))
		return REAL(recvmmsg)(fd, msgs, n, flags, timeout);
	if (n == 0)
		return 0;
	got = recvmsg(fd, &msgs[0].msg_hdr, flags & ~MSG_WAITFORONE);
	if (got < 0)
		return -1;
	msgs[0].msg_len = (unsigned int)got;
	return 1;
}

/* --- writing --- */

static ssize_t calls_write(struct vconn *vc, const void *buf, size_t n,
			   int flags)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = n };
	bool sigpipe;
	ssize_t rc = stream_write(vc, &iov, 1, flags, &sigpipe);

	return calls_leave(rc, sigpipe);
}

RUN_EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
	struct vconn *vc;
	int rc = calls_conn(fd, &vc);

	if (rc == 0)
		return REAL(write)(fd, buf, n);
	return rc < 0 ? run_return(rc) : calls_write(vc, buf, n, 0);
}

RUN_EXPORT ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	struct vconn *vc;
	int rc = calls_conn(fd, &vc);

	if (rc == 0)
		return REAL(send)(fd, buf, n, flags);
	if (rc > 0 && flags & MSG_OOB) {
		run_unlock();
		rc = -EOPNOTSUPP;
	}
	return rc < 0 ? run_return(rc) : calls_write(vc, buf, n, flags);
}

RUN_EXPORT ssize_t sendto(int fd, const void *buf, size_t n, int flags,
			  const struct sockaddr *sa, socklen_t len)
{
	if (!vobj_get(fd))
		return REAL(sendto)(fd, buf, n, flags, sa, len);
	return send(fd, buf, n, flags); /* TCP ignores the address */
}

static ssize_t calls_writev(struct vconn *vc, const struct iovec *iov, size_t n,
			    int flags)
{
	bool sigpipe = false;
	ssize_t rc = -EINVAL;

	if (n <= IOV_MAX)
		rc = stream_write(vc, iov, (int)n, flags, &sigpipe);
	return calls_leave(rc, sigpipe);
}

RUN_EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
	struct vconn *vc;
	int rc = calls_conn(fd, &vc);

	if (rc == 0)
		return REAL(writev)(fd, iov, n);
	return rc < 0 ? run_return(rc) : calls_writev(vc, iov, (size_t)n, 0);
}

RUN_EXPORT ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct vconn *vc;
	int rc = calls_conn(fd, &vc);

	if (rc == 0)
		return REAL(sendmsg)(fd, msg, flags);
	if (rc > 0 && flags & MSG_OOB) {
		run_unlock();
		rc = -EOPNOTSUPP;
	}
	return rc < 0 ? run_return(rc)
		      : calls_writev(vc, msg->msg_iov, msg->msg_iovlen, flags);
}

RUN_EXPORT int sendmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags)
{
	unsigned int i;

	if (!vobj_get(fd))
		return REAL(sendmmsg)(fd, msgs, n, flags);
	for (i = 0; i < n && i < IOV_MAX; i++) {
		ssize_t sent = sendmsg(fd, &msgs[i].msg_hdr, flags);

		if (sent < 0)
			return i > 0 ? (int)i : -1;
		msgs[i].msg_len = (unsigned int)sent;
	}
	return (int)i;
}

RUN_EXPORT ssize_t sendfile(int fd, int in_fd, off_t *offset, size_t n)
{
	bool sigpipe = false;
	struct vconn *vc;
	int rc = vobj_get(in_fd) ? -EINVAL : calls_conn(fd, &vc);
	ssize_t sent;

	if (rc == 0)
		return REAL(sendfile)(fd, in_fd, offset, n);
	if (rc < 0)
		return run_return(rc);
	sent = stream_sendfile(vc, in_fd, offset, n, &sigpipe);
	return calls_leave(sent, sigpipe);
}

static_assert(sizeof(off_t) == sizeof(off64_t), "64-bit file offsets");

RUN_EXPORT ssize_t sendfile64(int fd, int in_fd, off64_t *offset, size_t n)
{
	return sendfile(fd, in_fd, offset, n);
}

/* EINVAL is what says "copy it yourself" for other files, too. */
RUN_EXPORT ssize_t splice(int in, off64_t *in_off, int out, off64_t *out_off,
			  size_t n, unsigned int flags)
{
	if (vobj_get(in) || vobj_get(out))
		return run_return(-EINVAL);
	return REAL(splice)(in, in_off, out, out_off, n, flags);
}

/* --- what _FORTIFY_SOURCE makes of them --- */

ssize_t __read_chk(int fd, void *buf, size_t n, size_t size);
ssize_t __recv_chk(int fd, void *buf, size_t n, size_t size, int flags);
ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t size, int flags,
		       struct sockaddr *sa, socklen_t *len);

RUN_EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t size)
{
	if (n > size)
		__chk_fail();
	return read(fd, buf, n);
}

RUN_EXPORT ssize_t __recv_chk(int fd, void *buf, size_t n, size_t size,
			      int flags)
{
	if (n > size)
		__chk_fail();
	return recv(fd, buf, n, flags);
}

RUN_EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t size,
				  int flags, struct sockaddr *sa,
				  socklen_t *len)
{
	if (n > size)
		__chk_fail();
	return recvfrom(fd, buf, n, flags, sa, len);
}
