/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link_in - the frames that come from the daemon.
 *
 * A daemon may be broken: nothing in a frame reaches an assert or an index
 * unchecked. Whatever makes no sense ends the stream with -EPROTO; it is
 * dialled again, and what was not acknowledged comes again.
 *
 * What is known of a connection is taken by position in the client's stream:
 *
 *	          acked              conn_rcv_pos()
 *	............|-------- rx --------|
 *	     DATA: [offset ............... offset + n)
 *	            \__/\_______________/\___________/
 *	     acknowledge   held already     new
 *	        again
 *
 * so a redelivery of what this process has seen adds nothing, and a gap is
 * an error. FRAME_F_FIRST introduces a connection; when we know the id
 * already it must be the same connection in a state that follows from ours:
 * if another process has acknowledged or replied in between, our connection
 * is gone (the application sees -ECONNRESET) and a new one begins. Frames of
 * unknown connections are those that the application has just closed.
 */
#include "lib/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

/* Credit that a daemon can have granted in all. */
#define LINK_SEND_CREDIT_MAX (INT64_C(1) << 40)

/* Longest name in a HELLO. */
#define LINK_NAME_BYTES 256

/* --- handshake --- */

/*
 * GROUP_LISTEN: the lost link whose slot, which connections refer to, l will
 * take over: that of the same worker. NULL: none.
 */
static struct link *link_predecessor(const struct link *l)
{
	const struct group *g = l->group;

	for (uint32_t i = 0; i < g->n_links; i++) {
		struct link *o = g->links[i];

		if (o && o != l && o->state == LINK_DOWN && o->was_up &&
		    o->worker == l->worker)
			return o;
	}
	return NULL;
}

int link_hello(struct link *l)
{
	/* Who resumes is given no connection before it is done (frame.h). */
	bool resumes = l->was_up || l->group->probing ||
		       (l->group->mode == GROUP_LISTEN && link_predecessor(l));

	const char *name = program_invocation_short_name;
	struct frame_hello hello = {
		.magic = be32_put(FRAME_MAGIC),
		.version = be16_put(FRAME_VERSION),
		.flags = be16_put(resumes ? FRAME_HELLO_RESUMES : 0),
		.worker = be16_put(l->worker),
		.max_payload = be32_put(FRAME_PAYLOAD_MAX),
		.stream_credit = be32_put(LINK_CREDIT_BYTES),
		.instance = be64_put(l->group->instance),
		.pid = be32_put((uint32_t)getpid()),
	};
	const struct iovec iov[2] = {
		{ .iov_base = &hello, .iov_len = sizeof(hello) },
		{ .iov_base = (void *)(uintptr_t)name,
		  .iov_len = strnlen(name, LINK_NAME_BYTES) },
	};
	const struct frame f = { .type = FRAME_HELLO };

	return frame_queue_appendv(&l->out, &f, iov, 2);
}

/*
 * GROUP_DIAL: the daemon has `workers` workers. More than before: the timer
 * dials the new ones. Fewer: connections of those that are gone are gone.
 */
static int link_set_workers(struct group *g, uint32_t workers)
{
	struct link *l, **links;

	for (uint32_t i = workers; i < g->n_links; i++) {
		if (!g->links[i])
			continue;
		link_reset_conns(g->links[i]);
		link_free(g->links[i]);
	}
	g->workers = workers;
	if (workers <= g->n_links) {
		g->n_links = workers;
		return 0;
	}
	links = realloc(g->links, workers * sizeof(*links));
	if (!links)
		return -ENOMEM;
	g->links = links;
	for (uint32_t i = g->n_links; i < workers; i++) {
		links[i] = NULL;
		g->n_links = i + 1;
		if (link_new(g, i, &l) < 0)
			return -ENOMEM;
		l->worker = (uint16_t)i;
		/* xtcp_open_group() dials the others itself. */
		if (!g->opening)
			link_set_due(l, group_now_ms());
	}
	return 0;
}

/* GROUP_DIAL: puts the link where its worker's number says. */
static int link_take_worker(struct link *l, uint16_t worker, uint16_t workers)
{
	struct group *g = l->group;
	int rc = 0;

	if (workers < 1 || workers > 256 || worker >= workers)
		return -EPROTO;
	if (l->worker != FRAME_WORKER_ANY && l->worker != worker)
		return -EPROTO;
	if (g->workers != workers) {
		/* The asking link must survive: it is worker's from now on. */
		rc = link_set_workers(g, workers);
		if (rc < 0)
			return rc;
	}
	if (l->index != worker) {
		uint32_t vacated = l->index;

		link_free(g->links[worker]);
		link_move(l, worker);
		l->worker = worker;
		rc = link_new(g, vacated, &l);
		if (rc < 0)
			return rc;
		l->worker = (uint16_t)vacated;
		if (!g->opening)
			link_set_due(l, group_now_ms());
		return 0;
	}
	l->worker = worker;
	return 0;
}

static int link_attach(struct link *l)
{
	struct group *g = l->group;
	struct frame_attach attach = {
		.port = be16_put(g->port),
		.family = g->family,
		.flags = g->pool_bytes ? FRAME_ATTACH_OWN_POOL : 0,
		.pool_bytes = be64_put(g->pool_bytes),
	};
	const struct frame f = { .type = FRAME_ATTACH };

	return frame_queue_append(&l->out, &f, &attach, sizeof(attach));
}

static int link_on_hello(struct link *l, const struct frame *f,
			 const uint8_t *payload)
{
	struct frame_hello hello;
	uint16_t worker, workers;
	int rc;

	if (l->state != LINK_HELLO || f->length < sizeof(hello))
		return -EPROTO;
	memcpy(&hello, payload, sizeof(hello));
	worker = be16_get(hello.worker);
	workers = be16_get(hello.workers);
	if (frame_hello_check(&hello, FRAME_SIDE_BACKEND) < 0)
		return -EPROTO;
	l->max_payload =
		min_u32(be32_get(hello.max_payload), FRAME_PAYLOAD_MAX);
	l->half = be32_get(hello.conn_window) / 2;
	l->send_credit = be32_get(hello.stream_credit);
	l->resume = (be16_get(hello.flags) & FRAME_HELLO_RESUME) != 0;
	l->state = LINK_ATTACH;
	link_set_epoch(l, be64_get(hello.epoch));
	if (l->group->mode == GROUP_DIAL) {
		rc = link_take_worker(l, worker, workers);
		return rc < 0 ? rc : link_attach(l);
	}
	l->worker = worker;
	return link_hello(l);
}

/* GROUP_LISTEN: takes over from its predecessor, and what waits there. */
static void link_take_over(struct link *l)
{
	struct link *old = link_predecessor(l);
	uint64_t epoch = l->epoch;
	uint32_t index;

	if (!old)
		return;
	l->kept = old->kept;
	frame_queue_init(&old->kept, LINK_OUT_MAX);
	l->blocked = old->blocked;
	l->closed = old->closed;
	l->was_up = true;
	index = old->index;
	l->epoch = old->epoch;
	link_free(old);
	link_move(l, index);
	link_set_epoch(l, epoch);
}

static int link_on_attach(struct link *l, const struct frame *f,
			  const uint8_t *payload)
{
	struct group *g = l->group;
	struct frame answer = { .type = FRAME_ATTACHED, .group = f->group };
	int rc;

	if (l->state != LINK_ATTACH)
		return -EPROTO;
	if ((f->type == FRAME_ATTACH) != (g->mode == GROUP_LISTEN))
		return -EPROTO;
	l->group_id = f->group;
	if (f->type == FRAME_ATTACH) {
		link_take_over(l);
		rc = frame_queue_append(&l->out, &answer, payload, f->length);
		if (rc < 0)
			return rc;
	}
	l->state = LINK_UP;
	l->up_ms = group_now_ms();
	link_set_due(l, 0);
	link_up(l);
	l->was_up = true;
	return 0;
}

static int link_on_error(struct link *l, const struct frame *f)
{
	if (l->state == LINK_UP && !(f->flags & FRAME_F_FATAL))
		return 0;
	l->error = f->aux >= 1 && f->aux <= 4095 ? -(int)f->aux : -EPROTO;
	return l->error;
}

/* --- connections --- */

/* Of the FRAME_F_FIRST payload and its header, in host order. */
struct link_intro {
	uint8_t family;
	uint16_t remote_port;
	uint8_t remote[16];
	struct group_local local;
	uint64_t una; /* reply bytes that the client has acknowledged */
	uint64_t next; /* position of the next reply byte */
};

/* Reads the struct frame_addr at the front of a payload. */
static int link_read_intro(const struct frame *f, const uint8_t *payload,
			   struct link_intro *ret)
{
	struct frame_addr addr;

	if (frame_addr_check(payload, f->length) < 0)
		return -EPROTO;
	memcpy(&addr, payload, sizeof(addr));
	ret->family = addr.family;
	ret->remote_port = be16_get(addr.remote_port);
	memcpy(ret->remote, addr.remote, sizeof(ret->remote));
	ret->local.family = addr.family;
	ret->local.port = be16_get(addr.local_port);
	memcpy(ret->local.addr, addr.local, sizeof(ret->local.addr));
	ret->una = be64_get(addr.send_offset);
	ret->next = ret->una + f->aux;
	return ret->next < ret->una ? -EPROTO : 0;
}

/* Whether the connection we know is the one introduced, and up to date. */
static bool link_is_same(const struct link *l, const struct conn *c,
			 const struct frame *f, const struct link_intro *in)
{
	if (c->family != in->family || c->remote_port != in->remote_port ||
	    memcmp(c->remote, in->remote, sizeof(c->remote)) != 0)
		return false;
	if (f->offset > conn_rcv_pos(c))
		return false; /* acknowledged elsewhere */
	return !l->resume || in->next <= c->snd_pos; /* replied elsewhere */
}

/* The connection's credit reaches up to limit, or further. */
static void link_raise_limit(struct group *g, struct conn *c, uint64_t limit)
{
	c->snd_limit = max_u64(c->snd_limit, limit);
	if (c->snd_limit > c->snd_pos && !conn_is_queued(c, CONN_Q_WRITE))
		group_conn_writable(g, c);
}

/*
 * The connection of a frame with FRAME_F_FIRST: the one we have, or a new
 * one. NULL: memory is short.
 */
static struct conn *link_introduce(struct link *l, const struct frame *f,
				   const struct link_intro *in)
{
	struct group *g = l->group;
	struct conn *c = conn_find(&g->conns, f->conn);

	if (c && c->flags & CONN_F_CLOSED)
		return c;
	if (c && !link_is_same(l, c, f, in)) {
		group_conn_lost(g, c);
		c = NULL;
	}
	if (!c) {
		c = conn_new(&g->conns, f->conn);
		if (!c)
			return NULL;
		c->family = in->family;
		c->remote_port = in->remote_port;
		memcpy(c->remote, in->remote, sizeof(c->remote));
		c->local_number = group_local_number(g, &in->local);
		c->acked = f->offset;
		c->snd_pos = in->next;
		conn_queue_push(&g->conns, &g->accept, c);
	}
	if (c->link != l->index && c->flags & CONN_F_BLOCKED) {
		conn_queue_remove(&g->conns, &g->links[c->link]->blocked, c);
		conn_queue_push(&g->conns, &l->blocked, c);
	}
	c->link = (uint16_t)l->index;
	if (!l->resume)
		c->snd_pos = in->next; /* what was under way is lost */
	link_raise_limit(g, c, frame_send_limit(in->una, l->half));
	return c;
}

/*
 * The connection of a DATA, EOF or OPEN frame in *ret_c, or NULL: drop it.
 * ret_skip is how much of the payload is the introduction.
 */
static int link_frame_conn(struct link *l, const struct frame *f,
			   const uint8_t *payload, struct conn **ret_c,
			   uint32_t *ret_skip)
{
	struct link_intro in;
	struct conn *c;

	*ret_skip = 0;
	if (f->conn == 0)
		return -EPROTO;
	if (f->flags & FRAME_F_FIRST || f->type == FRAME_OPEN) {
		if (link_read_intro(f, payload, &in) < 0)
			return -EPROTO;
		*ret_skip = sizeof(struct frame_addr);
		c = link_introduce(l, f, &in);
		if (!c)
			return -ENOMEM;
	} else {
		c = conn_find(&l->group->conns, f->conn);
	}
	*ret_c = c && !(c->flags & CONN_F_CLOSED) ? c : NULL;
	return 0;
}

static int link_on_open(struct link *l, const struct frame *f,
			const uint8_t *payload)
{
	const struct frame accept = { .type = FRAME_ACCEPT, .conn = f->conn };
	struct conn *c;
	uint32_t skip;
	int rc = link_frame_conn(l, f, payload, &c, &skip);

	if (rc < 0 || !c || !(f->flags & FRAME_F_WAITS))
		return rc;
	if (c->flags & CONN_F_KNOWN)
		return link_control(l, &accept); /* ours was lost */
	c->flags |= CONN_F_WAITS;
	return 0;
}

/* The bytes up to position pos were delivered before. */
static void link_redelivered(struct conn *c, uint64_t pos)
{
	c->flags |= CONN_F_REDELIVERED;
	c->redelivered = max_u64(c->redelivered, pos);
}

static int link_on_data(struct link *l, const struct frame *f,
			const uint8_t *payload)
{
	struct conn *c;
	uint32_t skip, n;
	uint64_t have;
	int rc;

	l->recv_used += f->length;
	rc = link_frame_conn(l, f, payload, &c, &skip);
	if (rc < 0 || !c)
		return rc;
	n = f->length - skip;
	if (f->offset > UINT64_MAX - n || f->offset > conn_rcv_pos(c))
		return -EPROTO;
	if (f->offset < c->acked && n > 0)
		link_ack(l, c);
	have = conn_rcv_pos(c) - f->offset;
	if (n <= have)
		return 0;
	if (c->flags & CONN_F_EOF)
		return -EPROTO;
	rc = conn_rx_append(c, payload + skip + have, n - (size_t)have);
	if (rc < 0)
		return rc;
	c->flags |= CONN_F_UNREAD;
	if (f->flags & FRAME_F_REDELIVERED)
		link_redelivered(c, f->offset + n);
	if (conn_rx_skip(c) > 0)
		link_ack(l, c);
	group_conn_ready(l->group, c);
	return 0;
}

static int link_on_eof(struct link *l, const struct frame *f,
		       const uint8_t *payload)
{
	struct conn *c;
	uint32_t skip;
	int rc = link_frame_conn(l, f, payload, &c, &skip);

	if (rc < 0 || !c)
		return rc;
	if (f->offset != conn_rcv_pos(c))
		return -EPROTO;
	if (c->flags & CONN_F_EOF)
		return 0;
	c->flags |= CONN_F_EOF | CONN_F_EOF_DUE;
	group_conn_ready(l->group, c);
	return 0;
}

static int link_on_reset(struct link *l, const struct frame *f)
{
	struct conn *c = conn_find(&l->group->conns, f->conn);

	if (c && c->flags & CONN_F_CLOSED) {
		/* Nothing that is kept for it will be said (link_fill()). */
		conn_queue_remove(&l->group->conns,
				  &l->group->links[c->link]->closed, c);
		conn_free(&l->group->conns, c);
	} else if (c) {
		group_conn_lost(l->group, c);
	}
	return 0;
}

static int link_on_credit(struct link *l, const struct frame *f)
{
	struct group *g = l->group;
	struct conn *c;

	if (f->conn == 0) {
		l->send_credit += f->aux;
		if (l->send_credit > LINK_SEND_CREDIT_MAX)
			return -EPROTO;
		link_unblock(l);
		return 0;
	}
	c = conn_find(&g->conns, f->conn);
	if (!c || c->flags & CONN_F_CLOSED)
		return 0;
	link_raise_limit(g, c, f->offset);
	return 0;
}

static int link_on_ping(struct link *l, const struct frame *f)
{
	const struct frame pong = { .type = FRAME_PONG, .offset = f->offset };

	return link_control(l, &pong);
}

static int link_on_pong(struct link *l, const struct frame *f)
{
	struct link_pings *p = &l->pings;

	/* Not even a daemon that guesses may confirm what wasn't sent. */
	if (!p->n || f->offset != p->pos[p->first] || f->offset > l->out.sent)
		return -EPROTO;
	p->first = (uint8_t)((p->first + 1u) % LINK_PINGS_MAX);
	p->n--;
	if (l->resumed) {
		/* Before connections are introduced that have known ids. */
		l->resuming = l->resumed = false;
		link_fill(l);
	}
	link_confirm(l, f->offset);
	return 0;
}

int link_frame(struct link *l, const struct frame *f, const uint8_t *payload)
{
	switch (f->type) {
	case FRAME_HELLO:
		return link_on_hello(l, f, payload);
	case FRAME_ATTACH:
	case FRAME_ATTACHED:
		return link_on_attach(l, f, payload);
	case FRAME_ERROR:
		return link_on_error(l, f);
	default:
		break;
	}
	if (l->state != LINK_UP)
		return -EPROTO;
	switch (f->type) {
	case FRAME_OPEN:
		return link_on_open(l, f, payload);
	case FRAME_DATA:
		return link_on_data(l, f, payload);
	case FRAME_EOF:
		return link_on_eof(l, f, payload);
	case FRAME_RESET:
		return link_on_reset(l, f);
	case FRAME_CREDIT:
		return link_on_credit(l, f);
	case FRAME_PING:
		return link_on_ping(l, f);
	case FRAME_PONG:
		return link_on_pong(l, f);
	default:
		return 0; /* DRAIN: nothing to do, xtcpd sends no new ones */
	}
}
