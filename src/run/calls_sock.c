/* SPDX-License-Identifier: BSD-2-Clause */
/* calls_sock - listening, accepting, options and names. */
#include "run/calls.h"

#include "run/listener.h"
#include "run/names.h"
#include "run/vopt.h"

RUN_EXPORT int socket(int domain, int type, int protocol)
{
	int fd = REAL(socket)(domain, type, protocol);

	/* Closed behind our back (by a raw system call), and given again. */
	if (fd >= 0 && vobj_get(fd)) {
		run_lock();
		vobj_clear(fd);
		run_unlock();
	}
	return fd;
}

RUN_EXPORT int bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	if (!sa || vobj_get(fd))
		return REAL(bind)(fd, sa, len);
	return (int)run_return(listener_bind(fd, sa, len));
}

RUN_EXPORT int listen(int fd, int backlog)
{
	int rc = listener_listen(fd);

	if (rc == 1)
		return REAL(listen)(fd, backlog);
	return (int)run_return(rc);
}

/* accept4(), or accept() with flags -1. */
static int calls_accept(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	struct vobj *o = vobj_enter(fd);

	if (!o)
		return flags < 0 ? REAL(accept)(fd, sa, len)
				 : REAL(accept4)(fd, sa, len, flags);
	if (o->kind != VOBJ_LISTENER) {
		run_unlock();
		return (int)run_return(o->kind == VOBJ_CONN ? -EINVAL
							    : -ENOTSOCK);
	}
	return (int)run_return(
		listener_accept(o, fd, sa, len, flags < 0 ? 0 : flags));
}

RUN_EXPORT int accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	return calls_accept(fd, sa, len, -1);
}

RUN_EXPORT int accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	return calls_accept(fd, sa, len, flags);
}

RUN_EXPORT int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	const struct vobj *o = vobj_get(fd);

	if (o && (o->kind == VOBJ_CONN || o->kind == VOBJ_LISTENER))
		return (int)run_return(-EISCONN);
	return REAL(connect)(fd, sa, len);
}

RUN_EXPORT int shutdown(int fd, int how)
{
	struct vobj *o = vobj_enter_kind(fd, VOBJ_LISTENER);
	struct vconn *vc;
	int rc;

	if (o)
		return (int)calls_leave(listener_shutdown(o, how), false);
	rc = calls_conn(fd, &vc);
	if (rc == 0)
		return REAL(shutdown)(fd, how);
	if (rc < 0)
		return (int)run_return(rc);
	return (int)calls_leave(stream_shutdown(vc, how), false);
}

RUN_EXPORT int setsockopt(int fd, int level, int name, const void *value,
			  socklen_t len)
{
	struct vobj *o = vobj_enter_kind(fd, VOBJ_CONN);

	if (!o)
		return REAL(setsockopt)(fd, level, name, value, len);
	return (int)calls_leave(vopt_set(stream_of(o), level, name, value, len),
				false);
}

/* A listener's socket does not listen, for the kernel. */
static bool calls_is_acceptconn(int fd, int level, int name,
				const socklen_t *len)
{
	const struct vobj *o = vobj_get(fd);

	return o && o->kind == VOBJ_LISTENER && !listener_is_shut(o) &&
	       level == SOL_SOCKET && name == SO_ACCEPTCONN && len &&
	       *len >= sizeof(int);
}

RUN_EXPORT int getsockopt(int fd, int level, int name, void *value,
			  socklen_t *len)
{
	struct vobj *o = vobj_enter_kind(fd, VOBJ_CONN);

	if (o)
		return (int)calls_leave(
			vopt_get(stream_of(o), level, name, value, len), false);
	if (calls_is_acceptconn(fd, level, name, len)) {
		*(int *)value = 1;
		*len = sizeof(int);
		return 0;
	}
	return REAL(getsockopt)(fd, level, name, value, len);
}

/* --- names --- */

static int calls_name(const struct vconn *vc, bool peer, struct sockaddr *sa,
		      socklen_t *len)
{
	static const uint8_t any[16];
	const struct group_local *local;
	struct names_addr name;

	if (!vc->c)
		return -ENOTCONN;
	if (peer) {
		if (vc->c->flags & CONN_F_RESET)
			return -ENOTCONN;
		names_make(vc->c->family, vc->c->remote, vc->c->remote_port,
			   vc->domain, &name);
	} else {
		local = group_local(vc->port->g, vc->c->local_number);
		names_make(vc->c->family, local ? local->addr : any,
			   local ? local->port : vc->port->port, vc->domain,
			   &name);
	}
	names_copy(&name, sa, len);
	return 0;
}

RUN_EXPORT int getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
	struct vobj *o = vobj_enter_kind(fd, VOBJ_CONN);

	if (!o)
		return REAL(getpeername)(fd, sa, len);
	return (int)calls_leave(calls_name(stream_of(o), true, sa, len), false);
}

RUN_EXPORT int getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	struct vobj *o = vobj_enter_kind(fd, VOBJ_CONN);

	if (!o)
		return REAL(getsockname)(fd, sa, len);
	return (int)calls_leave(calls_name(stream_of(o), false, sa, len),
				false);
}
