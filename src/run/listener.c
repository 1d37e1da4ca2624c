/* SPDX-License-Identifier: BSD-2-Clause */
#include "run/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "run/names.h"
#include "run/real.h"
#include "run/run.h"
#include "run/stream.h"
#include "run/vset.h"
#include "run/wait.h"
#include "xtcp/xtcp.h"

static struct vlistener *listener_of(const struct vobj *o)
{
	return (struct vlistener *)(uintptr_t)container_of(
		o, const struct vlistener, obj);
}

/* A socket's integer option, or -1. */
static int listener_option(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int v = -1;

	return REAL(getsockopt)(fd, level, name, &v, &len) < 0 ? -1 : v;
}

static bool listener_is_tcp(int fd)
{
	int domain = listener_option(fd, SOL_SOCKET, SO_DOMAIN);

	return (domain == AF_INET || domain == AF_INET6) &&
	       listener_option(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM &&
	       listener_option(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP;
}

/* The port of an address in host order; 0: it has none. */
static uint16_t listener_port(const struct sockaddr *sa, socklen_t len)
{
	if (sa->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof(in));
		return ntohs(in.sin_port);
	}
	if (sa->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof(in6));
		return ntohs(in6.sin6_port);
	}
	return 0;
}

int listener_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	int rc = (int)run_result(REAL(bind)(fd, sa, len)), on = 1;
	bool v6 = rc == -EADDRNOTAVAIL && sa->sa_family == AF_INET6;
	uint16_t port;

	if (rc != -EADDRNOTAVAIL)
		return rc;
	port = listener_port(sa, len);
	if (!run_options_port(&run_options, port) || !listener_is_tcp(fd) ||
	    REAL(setsockopt)(fd, v6 ? SOL_IPV6 : SOL_IP,
			     v6 ? IPV6_FREEBIND : IP_FREEBIND, &on,
			     sizeof(on)) < 0)
		return rc;
	return (int)run_result(REAL(bind)(fd, sa, len));
}

/* --- listening --- */

/* The port's clients come to it, or not any more. */
static void listener_join(struct vlistener *l)
{
	l->next_of_port = l->port->listeners;
	l->port->listeners = l;
	l->shut = false;
}

static void listener_leave(struct vlistener *l)
{
	struct vlistener **at = &l->port->listeners;

	if (l->shut)
		return;
	while (*at != l)
		at = &(*at)->next_of_port;
	*at = l->next_of_port;
	l->shut = true;
	hub_detach_if_idle(l->port);
}

static void listener_on_close(struct vobj *o)
{
	listener_leave(listener_of(o));
}

static void listener_free(struct vobj *o)
{
	free(listener_of(o));
}

static int listener_new(int fd, uint16_t port)
{
	struct vlistener *l = calloc(1, sizeof(*l));
	struct hub_port *p = l ? hub_port_get(port) : NULL;

	if (!p) {
		free(l);
		return -ENOMEM;
	}
	l->obj.kind = VOBJ_LISTENER;
	l->obj.on_close = listener_on_close;
	l->obj.free = listener_free;
	l->port = p;
	l->domain = listener_option(fd, SOL_SOCKET, SO_DOMAIN);
	l->families = DIRECT_IPV4;
	if (l->domain == AF_INET6)
		l->families = listener_option(fd, SOL_IPV6, IPV6_V6ONLY) == 1
				      ? DIRECT_IPV6
				      : DIRECT_IPV4 | DIRECT_IPV6;
	listener_join(l);
	vobj_set(fd, &l->obj);
	vset_adopt(fd, &l->obj);
	run_note("port %u is served by xtcpd", port);
	return 0;
}

/* Whether the port is to be ours: 1 or 0; a negative errno. */
static int listener_claim(uint16_t port)
{
	int why = 0, rc;

	if (!run_options_port(&run_options, port))
		return 0;
	rc = hub_probe(port, &why);
	if (rc == 0)
		return 1;
	if (run_options.n_ports > 0) {
		/* Named: it is ours, whether or not the daemon is there now. */
		run_say("port %u: %s (%s); clients wait until there is one",
			port,
			rc == -ENOENT ? "xtcpd has no group for it"
				      : "xtcpd does not answer",
			strerror(-why));
		return 1;
	}
	if (rc == -ENOENT) {
		run_note("port %u is no group of xtcpd: left to the kernel",
			 port);
		return 0;
	}
	run_say("port %u: can't ask xtcpd whether it is a group: %s%s", port,
		strerror(-why), hub_hint(why));
	return -ECONNREFUSED;
}

/* Sets that it is in may be waited on already: then it is served at once. */
static int listener_again(struct vlistener *l)
{
	if (!l->shut)
		return 0;
	listener_join(l);
	return l->obj.source.first ? hub_attach(l->port) : 0;
}

int listener_shutdown(struct vobj *o, int how)
{
	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
		return -EINVAL;
	if (how == SHUT_WR)
		return 0; /* as for the kernel */
	listener_leave(listener_of(o));
	vobj_changed(o);
	return 0;
}

bool listener_is_shut(const struct vobj *o)
{
	return listener_of(o)->shut;
}

int listener_listen(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct vobj *o = vobj_enter_kind(fd, VOBJ_LISTENER);
	uint16_t port;
	int rc;

	if (o) { /* again, with another backlog or after shutdown() */
		rc = listener_again(listener_of(o));
		run_unlock();
		return rc;
	}
	if (!listener_is_tcp(fd) ||
	    REAL(getsockname)(fd, (struct sockaddr *)&ss, &len) < 0)
		return 1;
	port = listener_port((struct sockaddr *)&ss, len);
	run_lock();
	rc = port ? listener_claim(port) : 0;
	if (rc == 1)
		rc = listener_new(fd, port);
	else if (rc == 0)
		rc = 1;
	run_unlock();
	return rc;
}

int listener_use(struct vobj *o)
{
	const struct vlistener *l = listener_of(o);

	return l->shut ? 0 : hub_attach(l->port);
}

uint32_t listener_events(const struct vobj *o)
{
	const struct vlistener *l = listener_of(o);

	if (l->shut)
		return EPOLLOUT | EPOLLWRNORM | EPOLLHUP;
	return l->port->g && direct_acceptable(l->port->g, l->families)
		       ? EPOLLIN | EPOLLRDNORM
		       : 0;
}

/* --- accepting --- */

static bool listener_blocks(int fd)
{
	int flags = REAL(fcntl)(fd, F_GETFL);

	return flags >= 0 && !(flags & O_NONBLOCK);
}

/* SO_RCVTIMEO of the listener, which limits accept(2), too. */
static int64_t listener_deadline(int fd)
{
	struct timeval tv = { 0 };
	socklen_t len = sizeof(tv);

	(void)REAL(getsockopt)(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &len);
	if (tv.tv_sec == 0 && tv.tv_usec == 0)
		return INT64_MAX;
	return run_deadline((int64_t)tv.tv_sec * 1000000000 +
			    (int64_t)tv.tv_usec * 1000);
}

/* The next connection, waiting for it if the descriptor blocks. */
static int listener_next(struct vlistener *l, int fd, struct conn **ret_c)
{
	int64_t deadline = 0;
	int rc;

	for (;;) {
		if (l->shut)
			return -EINVAL;
		*ret_c = direct_acceptable(l->port->g, l->families);
		if (*ret_c)
			return 0;
		hub_pump();
		*ret_c = direct_acceptable(l->port->g, l->families);
		if (*ret_c)
			return 0;
		if (!listener_blocks(fd))
			return -EAGAIN;
		if (deadline == 0)
			deadline = listener_deadline(fd);
		rc = wait_for_object(&l->obj, deadline);
		if (rc < 0)
			return rc;
	}
}

/* Under a new descriptor, which is returned; or a negative errno. */
static int listener_take(struct vlistener *l, struct conn *c, int flags,
			 struct names_addr *ret_name)
{
	int fd = hub_placeholder((flags & SOCK_CLOEXEC) != 0), rc;

	if (fd < 0)
		return fd;
	names_make(c->family, c->remote, c->remote_port, l->domain, ret_name);
	rc = stream_new(fd, l->port, c, l->domain,
			(flags & SOCK_NONBLOCK) != 0);
	if (rc < 0)
		REAL(close)(fd);
	return rc < 0 ? rc : fd;
}

int listener_accept(struct vobj *o, int fd, struct sockaddr *ret_sa,
		    socklen_t *ret_len, int flags)
{
	struct vlistener *l = listener_of(o);
	struct conn *c = NULL;
	struct names_addr name;
	int rc = listener_use(o);

	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		rc = -EINVAL;
	vobj_hold(o);
	if (rc == 0)
		rc = listener_next(l, fd, &c);
	if (rc == 0)
		rc = listener_take(l, c, flags, &name);
	vobj_release(o);
	run_unlock();
	if (rc >= 0 && ret_sa && ret_len)
		names_copy(&name, ret_sa, ret_len);
	return rc;
}
