/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attach - the socket where applications dial in.
 *
 * Theory of operation
 *
 *	accept --> HELLO: which worker?   answered with ours at once
 *	       --> ATTACH: which group?   mailed to the worker with the descriptor
 *	                                  and the bytes that came after it;
 *	                                  the worker answers ATTACHED
 *
 * A client gets ATTACH_TIMEOUT_S for both, and at most ATTACH_PENDING_MAX are
 * served at a time (more wait in the listen queue, as accepting stops): a
 * client that says nothing costs little and not for long.
 *
 * Which group: by port (registry_find()). With FRAME_ATTACH_OWN_POOL the
 * application brings its own pool, and with it a group, which live until its
 * streams have been gone for a minute (registry.h).
 *
 * Which worker: the one that HELLO asks for, or each in turn.
 */
#include "daemon/attach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sockbuf.h"
#include "daemon/clock.h"
#include "daemon/hello.h"
#include "daemon/listener.h"
#include "daemon/socket.h"

#define ATTACH_TIMEOUT_S 5
/* HELLO and ATTACH are smaller. */
#define ATTACH_PAYLOAD_MAX 1024u

struct attach {
	struct event_base *base;
	struct registry *registry;
	struct listener *listener;
	char path[sizeof(((struct conf_socket *)0)->path)];
	uint64_t instance, epoch;
	uint32_t turn; /* round robin over workers */
	struct attach_client *clients;
	uint32_t n_clients;
};

struct attach_client {
	struct attach_client *next;
	struct attach *at;
	int fd;
	struct event *ev, *ev_timer;
	struct frame_reader in;
	struct ucred cred;
	bool greeted; /* HELLO was exchanged */
	struct hello_peer peer;
	uint32_t worker;
};

/* A client on its way to its worker. */
struct attach_mail {
	struct mail mail;
	struct groups_attach what;
	uint8_t extra[];
};

static void attach_client_free(struct attach_client *c)
{
	struct attach *at = c->at;
	struct attach_client **link = &at->clients;

	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	if (at->n_clients-- == ATTACH_PENDING_MAX)
		listener_resume(at->listener);
	event_free(c->ev);
	event_free(c->ev_timer);
	frame_reader_fini(&c->in);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

/* Tell the client why not; it is gone afterwards. */
static void attach_refuse(struct attach_client *c, int err, const char *why)
{
	static struct log_ratelimit limit = LOG_RATELIMIT(USEC_PER_SEC, 10);
	struct frame f = {
		.type = FRAME_ERROR,
		.flags = FRAME_F_FATAL,
		.aux = (uint32_t)-err,
		.length = (uint32_t)strlen(why),
	};
	uint8_t wire[FRAME_HEADER_BYTES];
	struct iovec iov[2] = { { wire, sizeof(wire) },
				{ (void *)(uintptr_t)why, f.length } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	if (log_ratelimit_ok(&limit, clock_now_us()))
		log_warn("attach socket: pid %d, uid %u: %s", c->cred.pid,
			 c->cred.uid, why);
	frame_encode(&f, wire);
	(void)!sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	attach_client_free(c);
}

static bool attach_greet(struct attach_client *c)
{
	const struct attach *at = c->at;
	const struct hello_self self = { at->registry->n_workers, at->instance,
					 at->epoch };
	struct frame_queue q;
	struct iovec iov[2];
	struct msghdr msg = { .msg_iov = iov };
	size_t bytes;
	ssize_t n = -1;

	frame_queue_init(&q, 4096);
	if (hello_append(&q, &self, c->worker) == 0) {
		msg.msg_iovlen = (size_t)frame_queue_iov(&q, iov);
		n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	bytes = frame_queue_pending(&q);
	frame_queue_fini(&q);
	/* A new socket's buffer has room for it. */
	return n >= 0 && (size_t)n == bytes;
}

static bool attach_on_hello(struct attach_client *c, const struct frame *f,
			    const uint8_t *payload)
{
	struct attach *at = c->at;

	if (c->greeted || f->type != FRAME_HELLO ||
	    hello_parse(payload, f->length, &c->peer) < 0) {
		attach_refuse(c, -EPROTO,
			      "HELLO of another protocol or version");
		return false;
	}
	if (c->peer.worker == FRAME_WORKER_ANY) {
		c->worker = at->turn++ % at->registry->n_workers;
	} else if (c->peer.worker < at->registry->n_workers) {
		c->worker = c->peer.worker;
	} else {
		attach_refuse(c, -EINVAL,
			      "HELLO asks for a worker that is not there");
		return false;
	}
	if (!attach_greet(c)) {
		attach_client_free(c);
		return false;
	}
	c->greeted = true;
	return true;
}

/* On the worker. */
static void attach_on_worker(struct mail *mail, void *receiver)
{
	struct attach_mail *am = container_of(mail, struct attach_mail, mail);
	struct worker *w = receiver;
	int err = groups_attach(&w->gs, &am->what);

	if (err < 0)
		log_warn("worker %u: pid %u could not be attached: %s",
			 w->setup.index, am->what.pid, strerror(-err));
	free(am);
}

/* Mail the client to its worker. On failure it is still ours. */
static int attach_hand_over(struct attach_client *c, struct registry_group *rg)
{
	size_t extra = c->in.end - c->in.start;
	struct attach_mail *am = calloc(1, sizeof(*am) + extra);
	int err;

	if (!am)
		return -ENOMEM;
	am->mail.run = attach_on_worker;
	am->what = (struct groups_attach){
		.fd = c->fd,
		.group = rg->id,
		.instance = c->peer.instance,
		.pid = (uint32_t)c->cred.pid,
		.max_payload = c->peer.max_payload,
		.stream_credit_bytes = c->peer.stream_credit_bytes,
		.resumes = c->peer.resumes,
		.extra = am->extra,
		.extra_bytes = extra,
	};
	if (extra > 0)
		memcpy(am->extra, c->in.buf + c->in.start, extra);
	if (rg->own)
		atomic_fetch_add(&rg->streams, 1);
	event_del(c->ev);
	err = worker_post(c->at->registry->workers[c->worker], &am->mail);
	if (err < 0) {
		if (rg->own)
			atomic_fetch_sub(&rg->streams, 1);
		free(am);
		return err;
	}
	c->fd = -1;
	return 0;
}

static const char *attach_why(int err)
{
	switch (err) {
	case -EADDRINUSE:
		return "that port has a group already: attach to it without a pool of your own";
	case -EDQUOT:
		return "receive buffer for applications' own pools is used up";
	case -EINVAL:
		return "port 0, or a pool of less than 64K";
	case -ENOENT:
		return "no group has that port, or it has backends of protocol \"stream\"";
	default:
		return strerror(-err);
	}
}

static void attach_on_attach(struct attach_client *c, const struct frame *f,
			     const uint8_t *payload)
{
	struct registry *registry = c->at->registry;
	struct registry_group *rg;
	struct frame_attach attach;
	uint16_t port;
	int err = 0;

	if (f->type != FRAME_ATTACH) {
		attach_refuse(c, -EPROTO, "ATTACH must follow HELLO");
		return;
	}
	memcpy(&attach, payload,
	       sizeof(attach)); /* the frame's type fixes its length */
	port = be16_get(attach.port);
	rg = registry_find(registry, port);
	if (attach.flags & FRAME_ATTACH_OWN_POOL)
		err = registry_own(registry, port, be64_get(attach.pool_bytes),
				   c->peer.instance, &rg);
	else if (!rg || (rg->own && rg->instance != c->peer.instance))
		err = -ENOENT;
	if (!err)
		err = attach_hand_over(c, rg);
	if (err < 0) {
		attach_refuse(c, err, attach_why(err));
		return;
	}
	log_info("pid %d, uid %u attached to port %u, worker %u", c->cred.pid,
		 c->cred.uid, port, c->worker);
	attach_client_free(c);
}

static void attach_read(struct attach_client *c)
{
	const uint8_t *payload;
	struct frame f;
	size_t room;
	void *space = frame_reader_space(&c->in, &room);
	ssize_t n = space ? read(c->fd, space, room) : 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		attach_client_free(c);
		return;
	}
	frame_reader_commit(&c->in, (size_t)n);
	for (;;) {
		int rc = frame_reader_next(&c->in, &f, &payload);

		if (rc == 0)
			return;
		if (rc < 0) {
			attach_refuse(c, rc, "a frame that is not for xtcpd");
			return;
		}
		if (c->greeted) {
			attach_on_attach(c, &f, payload);
			return;
		}
		if (!attach_on_hello(c, &f, payload))
			return;
	}
}

static void attach_on_read(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	attach_read(arg);
}

static void attach_on_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	attach_refuse(arg, -ETIMEDOUT, "no HELLO and ATTACH in time");
}

static int attach_client_new(struct attach *at, int fd)
{
	const struct timeval tv = { ATTACH_TIMEOUT_S, 0 };
	struct attach_client *c = calloc(1, sizeof(*c));
	socklen_t len = sizeof(c->cred);

	if (!c)
		return -ENOMEM;
	c->at = at;
	c->fd = fd;
	sockbuf_widen(fd);
	frame_reader_init(&c->in, FRAME_SIDE_XTCPD, ATTACH_PAYLOAD_MAX);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->cred, &len) < 0)
		c->cred = (struct ucred){ .uid = (uid_t)-1 };
	c->ev = event_new(at->base, fd, EV_READ | EV_PERSIST, attach_on_read,
			  c);
	c->ev_timer = evtimer_new(at->base, attach_on_timeout, c);
	if (!c->ev || !c->ev_timer || event_add(c->ev, NULL) < 0 ||
	    evtimer_add(c->ev_timer, &tv) < 0) {
		if (c->ev)
			event_free(c->ev);
		if (c->ev_timer)
			event_free(c->ev_timer);
		free(c);
		return -ENOMEM;
	}
	c->next = at->clients;
	at->clients = c;
	if (++at->n_clients == ATTACH_PENDING_MAX)
		listener_pause(at->listener);
	return 0;
}

static void attach_on_accept(void *arg, int fd)
{
	if (attach_client_new(arg, fd) < 0)
		close(fd);
}

int attach_open(struct attach **ret_at, struct event_base *base,
		const struct conf_socket *conf, struct registry *registry,
		uint64_t instance, uint64_t epoch)
{
	struct attach *at = calloc(1, sizeof(*at));
	int fd, err;

	if (!at)
		return -ENOMEM;
	at->base = base;
	at->registry = registry;
	at->instance = instance;
	at->epoch = epoch;
	fd = socket_listen(conf);
	if (fd < 0) {
		log_error("attach socket %s: %s%s", conf->path, strerror(-fd),
			  fd == -EADDRINUSE ? " (is another xtcpd running?)"
					    : "");
		free(at);
		return fd;
	}
	memcpy(at->path, conf->path, sizeof(at->path));
	err = listener_new(&at->listener, base, fd, "attach socket",
			   attach_on_accept, at);
	if (err < 0) {
		attach_close(at);
		return err;
	}
	*ret_at = at;
	return 0;
}

void attach_close(struct attach *at)
{
	if (!at)
		return;
	listener_free(at->listener);
	at->listener = NULL;
	while (at->clients)
		attach_client_free(at->clients);
	unlink(at->path);
	free(at);
}
