/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hub - the process's end of the streams.
 *
 * A port's streams come up when the process first waits on its listener or
 * accepts, not when it listens: of a master and its workers only the workers
 * do. Until then, as for the kernel with a full backlog, clients wait in xtcpd.
 *
 *	gd of port A ──┐
 *	               ├─> hub fd (epoll) ─> leader of wait.c, sets of vset.c
 *	gd of port B ──┘
 *
 * Who finds the hub's descriptor readable calls hub_pump(), which takes in all
 * that has come and tells the connections and listeners concerned.
 *
 * What the server writes is gathered (the groups are corked), and written
 *	- at once, unless the thread is in the midst of several events that one
 *	  epoll_wait() gave it: then their replies leave together,
 *	- before any wait, and when 16 KiB are gathered, and at exit.
 * A thread that is given its work by another one may never wait here: what it
 * has read is acknowledged when it finds no more, or puts the connection back
 * into an epoll set (hub_flush_aside()).
 * An acknowledgement of what was read (--ack read) rides on the reply if there
 * is one before the next wait, else it leaves then (vconn.ack_due).
 */
#include "run/hub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "lib/link.h"
#include "lib/open.h"
#include "run/listener.h"
#include "run/real.h"
#include "run/run.h"
#include "run/stream.h"

#define HUB_CHANGES 64

static struct hub_port *hub_ports;
static int hub_fd = -1, hub_place_fd = -1;
static uint64_t hub_instance;
static bool hub_dirty; /* something is gathered */
static _Thread_local int hub_in_hand; /* events of the last epoll_wait() */

struct hub_port *hub_port_get(uint16_t port)
{
	struct hub_port *p = hub_ports;

	while (p && p->port != port)
		p = p->next;
	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->port = port;
	p->next = hub_ports;
	hub_ports = p;
	return p;
}

static uint64_t hub_identity(void)
{
	while (hub_instance == 0) {
		if (getrandom(&hub_instance, sizeof(hub_instance), 0) < 0 &&
		    errno != EINTR)
			hub_instance = (uint64_t)getpid();
	}
	return hub_instance;
}

static int hub_open(void)
{
	int fd;

	if (hub_fd >= 0)
		return 0;
	fd = REAL(epoll_create1)(EPOLL_CLOEXEC);
	if (fd < 0)
		return -errno;
	vobj_hide(fd);
	hub_fd = fd;
	return 0;
}

const char *hub_hint(int why)
{
	return why == -EACCES ? ": the user that the server runs as must be in "
				"the group of the attach socket"
			      : "";
}

/* Says when it can't be reached now; it is tried again and again. */
static void hub_say_state(const struct hub_port *p)
{
	const struct link *l = p->g->links[0];

	if (l->state == LINK_DOWN && l->error)
		run_say("port %u: xtcpd can't be reached: %s%s", p->port,
			strerror(-l->error), hub_hint(l->error));
	else
		run_note("process %d serves port %u", (int)getpid(), p->port);
}

int hub_attach(struct hub_port *p)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct group *g;
	int rc;

	if (p->g) {
		direct_set_open(p->g, true);
		return 0;
	}
	rc = hub_open();
	if (rc == 0)
		rc = open_later(hub_identity(), p->port, &g);
	if (rc < 0)
		return rc;
	if (REAL(epoll_ctl)(hub_fd, EPOLL_CTL_ADD, g->gd, &ev) < 0) {
		rc = -errno;
		group_free(g);
		return rc;
	}
	g->corked = true;
	p->g = g;
	hub_say_state(p);
	return 0;
}

void hub_detach_if_idle(struct hub_port *p)
{
	if (p->listeners || !p->g)
		return;
	if (p->n_open > 0) {
		/* Those that wait in its queue go elsewhere at the latest
		 * when the last connection is closed. */
		direct_set_open(p->g, false);
		hub_dirty = true;
		return;
	}
	group_free(p->g);
	p->g = NULL;
}

int hub_probe(uint16_t port, int *ret_why)
{
	return open_probe(hub_identity(), port, ret_why);
}

int hub_conn_set(struct hub_port *p, uint32_t cd, struct vconn *vc)
{
	struct vconn **conns;
	uint32_t n;

	if (cd >= p->n_conns) {
		n = (uint32_t)next_pow2((uint64_t)cd + 64);
		conns = realloc(p->conns, n * sizeof(struct vconn *));
		if (!conns)
			return -ENOMEM;
		for (uint32_t i = p->n_conns; i < n; i++)
			conns[i] = NULL;
		p->conns = conns;
		p->n_conns = n;
	}
	p->conns[cd] = vc;
	p->n_open++;
	return 0;
}

void hub_conn_clear(struct hub_port *p, uint32_t cd)
{
	p->conns[cd] = NULL;
	p->n_open--;
}

int hub_descriptor(void)
{
	return hub_fd;
}

/* --- in --- */

/* New connections: to the listeners, or nobody wants them. */
static void hub_tell_listeners(struct hub_port *p)
{
	unsigned int all = DIRECT_IPV4 | DIRECT_IPV6, wanted = 0;
	struct conn *c;

	for (struct vlistener *l = p->listeners; l; l = l->next_of_port) {
		wanted |= l->families;
		if (direct_acceptable(p->g, l->families))
			vobj_changed(&l->obj);
	}
	/* Without listeners they wait for another process. */
	if (wanted == all || wanted == 0)
		return;
	while ((c = direct_acceptable(p->g, all & ~wanted))) {
		direct_refuse(p->g, c);
		hub_dirty = true;
	}
}

static void hub_tell(struct hub_port *p)
{
	struct direct_event ev[HUB_CHANGES];
	int n;

	do {
		n = direct_changes(p->g, ev, HUB_CHANGES);
		for (int i = 0; i < n; i++) {
			struct vconn *vc = ev[i].cd < p->n_conns
						   ? p->conns[ev[i].cd]
						   : NULL;

			if (vc)
				stream_changed(vc, ev[i].events);
		}
	} while (n == HUB_CHANGES);
	if (p->g->accept.head)
		hub_tell_listeners(p);
}

void hub_pump(void)
{
	for (struct hub_port *p = hub_ports; p; p = p->next) {
		if (!p->g)
			continue;
		(void)group_pump(p->g, 0);
		hub_tell(p);
	}
}

/* --- out --- */

void hub_wrote(struct hub_port *p)
{
	(void)p;
	hub_dirty = true;
}

void hub_flush(void)
{
	stream_ack_due();
	if (!hub_dirty)
		return;
	hub_dirty = false;
	for (struct hub_port *p = hub_ports; p; p = p->next) {
		if (p->g)
			p->g->ops->flush(p->g);
	}
}

void hub_flush_soon(void)
{
	if (hub_in_hand < 2)
		hub_flush();
}

void hub_flush_aside(void)
{
	if (hub_in_hand == 0)
		hub_flush();
}

void hub_settle(void)
{
	if (hub_in_hand == 0)
		return;
	run_lock();
	hub_in_hand = 0;
	hub_flush();
	run_unlock();
}

void hub_batch(int n)
{
	hub_in_hand = n;
}

/* --- numbers --- */

/*
 * What a virtual descriptor is for the kernel: a file that can do nothing, so
 * that calls that we don't know of fail with EBADF. Not a directory, which
 * would be a way out of a chroot.
 */
static int hub_place_open(void)
{
	int fd = open("/dev/null", O_PATH | O_CLOEXEC);

	if (fd < 0)
		fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	vobj_hide(fd);
	hub_place_fd = fd;
	return 0;
}

int hub_placeholder(bool cloexec)
{
	int rc = hub_place_fd < 0 ? hub_place_open() : 0, fd;

	if (rc < 0)
		return rc;
	fd = REAL(fcntl)(hub_place_fd, cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
	if (fd < VOBJ_FD_MAX)
		return fd < 0 ? -errno : fd;
	REAL(close)(fd);
	return -EMFILE;
}

void hub_forked(void)
{
	for (struct hub_port *p = hub_ports; p; p = p->next) {
		if (p->g)
			direct_forget(p->g);
		p->g = NULL;
		for (uint32_t cd = 0; cd < p->n_conns; cd++) {
			if (p->conns[cd])
				stream_orphan(p->conns[cd]);
		}
		free(p->conns);
		p->conns = NULL;
		p->n_conns = p->n_open = 0;
	}
	if (hub_fd >= 0) {
		vobj_unhide(hub_fd);
		REAL(close)(hub_fd);
		hub_fd = -1;
	}
	hub_instance = 0;
	hub_dirty = false;
	hub_in_hand = 0;
}
