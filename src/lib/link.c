/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link - keeps the streams of a group connected, and moves their bytes.
 *
 *	GROUP_DIAL	one link per worker of the daemon, index = worker. The
 *			first asks for any worker and learns from its HELLO how
 *			many there are; the timer redials what is lost, with a
 *			delay that doubles from 50 ms to 2 s, less a random
 *			part so that many processes don't come at once.
 *	GROUP_LISTEN	a link per stream that the daemon opens. One that is
 *			lost stays as a slot, for its connections, until a
 *			stream of the same worker comes and takes it over.
 *
 * One timer serves all links of a group; it is set to the earliest due_ms. A
 * link whose handshake is overdue is lost as if the peer had closed it.
 *
 * Output goes to `out` and is written by link_flush(): by each call that
 * leaves, unless corked. EPOLLOUT is asked for only while something could not
 * be written.
 *
 * I1	fd >= 0 exactly if state is not DOWN.
 * I2	in GROUP_DIAL, links[i]->index == i, and is the worker's number, but
 *	for the first link before its HELLO.
 */
#include "lib/link.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/sockbuf.h"
#include "lib/listen.h"
#include "proto/addr.h"
#include "xtcp/xtcp.h"

/* Bytes read from one stream before others get their turn. */
#define LINK_READ_BUDGET (1024u * 1024u)

/* Of link_attach_keep(); "": none. */
static char link_attach_kept[ADDR_TEXT_BYTES];

int link_attach_keep(void)
{
	const char *env = secure_getenv("XTCP_ATTACH");

	if (!env || !*env)
		env = XTCP_ATTACH_DEFAULT;
	if (strlen(env) >= sizeof(link_attach_kept))
		return -ENAMETOOLONG;
	strcpy(link_attach_kept, env);
	return 0;
}

int link_attach_address(struct sockaddr_storage *ret_ss, socklen_t *ret_len)
{
	const char *env = secure_getenv("XTCP_ATTACH"), *why;
	char text[ADDR_TEXT_BYTES];

	if (link_attach_kept[0])
		env = link_attach_kept;

	if (!env || !*env)
		env = XTCP_ATTACH_DEFAULT;
	/* Without a scheme it is a path, relative ones too. */
	if (!strncmp(env, "unix:", 5) || !strncmp(env, "tcp:", 4))
		return addr_parse(env, ret_ss, ret_len, &why);
	if (strlen(env) > sizeof(text) - sizeof("unix:"))
		return -EINVAL;
	stpcpy(stpcpy(text, "unix:"), env);
	return addr_parse(text, ret_ss, ret_len, &why);
}

int link_new(struct group *g, uint32_t index, struct link **ret_l)
{
	struct link *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	assert(index < g->n_links && !g->links[index]);
	l->group = g;
	l->index = index;
	l->fd = -1;
	l->worker = FRAME_WORKER_ANY;
	l->delay_ms = LINK_REDIAL_MIN_MS;
	l->blocked.kind = CONN_Q_WRITE;
	l->closed.kind = CONN_Q_READY;
	frame_reader_init(&l->in, FRAME_SIDE_BACKEND, FRAME_PAYLOAD_MAX);
	frame_queue_init(&l->out, LINK_OUT_MAX);
	frame_queue_init(&l->kept, LINK_OUT_MAX);
	g->links[index] = l;
	*ret_l = l;
	return 0;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	if (l->fd >= 0)
		close(l->fd);
	frame_reader_fini(&l->in);
	frame_queue_fini(&l->out);
	frame_queue_fini(&l->kept);
	l->group->links[l->index] = NULL;
	free(l);
}

void link_move(struct link *l, uint32_t index)
{
	struct group *g = l->group;

	if (l->index == index)
		return;
	assert(index < g->n_links && !g->links[index]);
	g->links[l->index] = NULL;
	g->links[index] = l;
	l->index = index;
	if (l->fd >= 0)
		group_rewatch(g, l->fd, EPOLLIN | (l->writing ? EPOLLOUT : 0u),
			      index);
}

/* --- the timer --- */

/* Sets the timer to the earliest that is due. */
static void link_timer_set(struct group *g)
{
	uint64_t due = 0, now = group_now_ms();
	struct itimerspec its = { 0 };

	for (uint32_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];

		if (l && l->due_ms && (!due || l->due_ms < due))
			due = l->due_ms;
	}
	if (due) {
		due = due > now ? due - now : 1;
		its.it_value.tv_sec = (time_t)(due / 1000);
		its.it_value.tv_nsec = (long)(due % 1000) * 1000000;
	}
	(void)timerfd_settime(g->timer_fd, 0, &its, NULL);
}

void link_set_due(struct link *l, uint64_t due_ms)
{
	l->due_ms = due_ms;
	link_timer_set(l->group);
}

static void link_timer_event(struct group *g)
{
	uint64_t now = group_now_ms(), expirations;

	(void)!read(g->timer_fd, &expirations, sizeof(expirations));
	for (uint32_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];

		if (!l || !l->due_ms || l->due_ms > now)
			continue;
		l->due_ms = 0;
		if (l->state == LINK_DOWN)
			link_dial(l);
		else
			link_lost(l, -ETIMEDOUT);
	}
	link_timer_set(g);
}

/* The delay before redialling: three quarters to all of delay_ms. */
static uint32_t link_redial_delay(struct link *l)
{
	uint32_t delay = l->delay_ms;

	l->delay_ms = min_u32(delay * 2, LINK_REDIAL_MAX_MS);
	return delay - (uint32_t)rand_r(&l->group->seed) % (delay / 4 + 1);
}

/* --- connecting --- */

/* Watches fd, a new stream's, in the state given. */
static int link_begin(struct link *l, int fd, enum link_state state)
{
	bool connecting = state == LINK_CONNECTING;
	int rc;

	sockbuf_widen(fd);
	rc = group_watch(l->group, fd, EPOLLIN | (connecting ? EPOLLOUT : 0u),
			 l->index);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	l->fd = fd;
	l->state = state;
	l->error = 0;
	l->writing = connecting;
	l->group_id = 0;
	l->resync_cd = 0;
	l->pings.n = 0;
	l->resuming = false;
	l->resumed = false;
	l->recv_used = 0;
	l->max_payload = FRAME_PAYLOAD_MAX;
	link_set_due(l, group_now_ms() + LINK_HANDSHAKE_MS);
	return 0;
}

static int link_connect(struct link *l)
{
	struct sockaddr_storage ss;
	socklen_t len;
	bool pending;
	int fd, rc;

	rc = link_attach_address(&ss, &len);
	if (rc < 0)
		return rc;
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    0);
	if (fd < 0)
		return -errno;
	rc = connect(fd, (const struct sockaddr *)&ss, len) < 0 ? -errno : 0;
	pending = rc == -EINPROGRESS;
	if (rc < 0 && !pending) {
		close(fd);
		return rc;
	}
	return link_begin(l, fd, pending ? LINK_CONNECTING : LINK_HELLO);
}

/* The connection is there: the dialler speaks first. */
static void link_greet(struct link *l)
{
	int rc = link_hello(l);

	if (rc < 0)
		link_lost(l, rc);
}

void link_dial(struct link *l)
{
	int rc;

	assert(l->state == LINK_DOWN);
	rc = link_connect(l);
	if (rc < 0)
		link_lost(l, rc);
	else if (l->state == LINK_HELLO)
		link_greet(l);
}

void link_adopt(struct link *l, int fd)
{
	int rc = link_begin(l, fd, LINK_HELLO);

	if (rc < 0)
		link_lost(l, rc);
}

void link_lost(struct link *l, int error)
{
	struct group *g = l->group;
	uint64_t now = group_now_ms();

	if (l->state == LINK_UP) {
		link_drop_waiting(l);
		link_keep(l);
		if (now - l->up_ms >= LINK_STABLE_MS)
			l->delay_ms = LINK_REDIAL_MIN_MS;
	}
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	l->state = LINK_DOWN;
	l->error = error;
	frame_reader_fini(&l->in);
	frame_queue_fini(&l->out);
	if (g->mode == GROUP_LISTEN && !l->was_up) {
		link_free(l);
		return;
	}
	if (g->mode == GROUP_DIAL && !g->opening)
		link_set_due(l, now + link_redial_delay(l));
	else
		link_set_due(l, 0);
}

/* The connect() of a CONNECTING link has ended. */
static void link_connected(struct link *l)
{
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error) {
		link_lost(l, -error);
		return;
	}
	l->state = LINK_HELLO;
	link_greet(l);
}

/* --- bytes in --- */

/* Tells the peer, if it can be told at once, why the stream ends. */
static void link_complain(struct link *l, int error)
{
	const struct frame f = {
		.type = FRAME_ERROR,
		.flags = FRAME_F_FATAL,
		.aux = (uint32_t)-error,
	};
	uint8_t wire[FRAME_HEADER_BYTES];

	/* Not into the middle of a frame. */
	if (frame_queue_pending(&l->out) > 0)
		return;
	frame_encode(&f, wire);
	(void)!send(l->fd, wire, sizeof(wire), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Grants anew what was taken, in large steps. */
static void link_grant(struct link *l)
{
	struct frame f = { .type = FRAME_CREDIT, .aux = l->recv_used };

	if (l->state != LINK_UP || l->recv_used < LINK_CREDIT_BYTES / 2)
		return;
	if (link_control(l, &f) < 0)
		return;
	l->recv_used = 0;
}

/*
 * Takes all whole frames of the reader. Returns whether the link is as it
 * was: not lost, not freed.
 */
static bool link_frames(struct link *l)
{
	const uint8_t *payload;
	struct frame f;
	int rc;

	while ((rc = frame_reader_next(&l->in, &f, &payload)) == 1) {
		rc = link_frame(l, &f, payload);
		if (rc < 0)
			break;
	}
	if (rc < 0) {
		if (l->error != rc)
			link_complain(l, rc);
		link_lost(l, rc);
		return false;
	}
	link_grant(l);
	return true;
}

static void link_read(struct link *l)
{
	size_t budget = LINK_READ_BUDGET, room;
	ssize_t n;
	void *to;

	do {
		to = frame_reader_space(&l->in, &room);
		if (!to) {
			link_lost(l, -ENOMEM);
			return;
		}
		n = recv(l->fd, to, room, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			link_lost(l, n < 0 ? -errno : -ECONNRESET);
			return;
		}
		frame_reader_commit(&l->in, (size_t)n);
		if (!link_frames(l))
			return;
		budget -= min_size(budget, (size_t)n);
		/* A short read has emptied the socket. */
	} while ((size_t)n == room && budget > 0);
}

/* --- bytes out --- */

/* Writes once. Returns 1 when all is written, 0 when not, or an error. */
static int link_write(struct link *l)
{
	struct iovec iov[2];
	struct msghdr msg = { .msg_iov = iov };
	ssize_t n;

	msg.msg_iovlen = (size_t)frame_queue_iov(&l->out, iov);
	if (msg.msg_iovlen == 0)
		return 1;
	n = sendmsg(l->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (l->resume)
		frame_queue_advance(&l->out, (size_t)n);
	else
		frame_queue_consume(&l->out, (size_t)n);
	return frame_queue_pending(&l->out) == 0;
}

bool link_flush(struct link *l)
{
	bool writing;
	int rc;

	if (l->state == LINK_DOWN || l->state == LINK_CONNECTING)
		return true;
	do {
		link_fill(l);
		if (frame_queue_pending(&l->out) == 0)
			break;
		rc = link_write(l);
		if (rc < 0) {
			link_lost(l, rc);
			return false;
		}
		if (rc > 0)
			link_unblock(l);
	} while (rc > 0);
	writing = frame_queue_pending(&l->out) > 0;
	if (writing != l->writing) {
		l->writing = writing;
		group_rewatch(l->group, l->fd,
			      EPOLLIN | (writing ? EPOLLOUT : 0u), l->index);
	}
	return true;
}

/* --- the transport's side --- */

/* A daemon dials us: GROUP_LISTEN. */
static void link_accept(struct group *g)
{
	struct link *l, **links;
	int fd = listen_accept(g);
	uint32_t i = 0;

	if (fd < 0)
		return;
	while (i < g->n_links && g->links[i])
		i++;
	if (i == g->n_links) {
		links = i < LINKS_MAX
				? realloc(g->links, (i + 1) * sizeof(*links))
				: NULL;
		if (!links) {
			close(fd);
			return;
		}
		links[i] = NULL;
		g->links = links;
		g->n_links = i + 1;
	}
	if (link_new(g, i, &l) < 0)
		close(fd);
	else
		link_adopt(l, fd);
}

static void link_event(struct group *g, uint32_t tag, uint32_t events)
{
	struct link *l;

	if (tag == GROUP_TAG_TIMER) {
		link_timer_event(g);
		return;
	}
	if (tag == GROUP_TAG_LISTEN) {
		link_accept(g);
		return;
	}
	l = tag < g->n_links ? g->links[tag] : NULL;
	if (!l || l->state == LINK_DOWN)
		return; /* lost by an event before this one */
	if (l->state == LINK_CONNECTING)
		link_connected(l);
	else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		link_read(l);
	/* EPOLLOUT: transport.flush() follows each turn. */
}

static void link_flush_all(struct group *g)
{
	for (uint32_t i = 0; i < g->n_links; i++) {
		if (g->links[i])
			link_flush(g->links[i]);
	}
}

static void link_fini_all(struct group *g)
{
	for (uint32_t i = 0; i < g->n_links; i++) {
		if (g->links[i] && g->links[i]->state == LINK_UP)
			link_flush(g->links[i]);
		link_free(g->links[i]);
	}
	free(g->links);
	g->links = NULL;
	g->n_links = 0;
}

const struct transport link_transport = {
	.send = link_send,
	.room = link_send_room,
	.identify = link_identify,
	.admit = link_admit,
	.shutdown = link_shutdown,
	.close = link_close,
	.event = link_event,
	.flush = link_flush_all,
	.fini = link_fini_all,
};
