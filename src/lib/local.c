/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * local - a group's clients on this host, over Unix sockets.
 *
 * The library listens itself, and a connection is a kernel socket, but the
 * application sees the same: bytes that were read stay in the connection's rx
 * until they are acknowledged, and at LOCAL_RX_MAX of them the socket is left
 * alone, which holds the client back as an unacknowledged request would.
 * Sends go to the socket directly; what it doesn't take waits in tx.
 *
 *	socket ──read──> conn.rx ──xtcp_recv()──> application
 *	socket <──────── tx <─────xtcp_send()──── application
 *
 * A connection that is closed with bytes in tx lingers, CLOSED and without
 * the application, until they are written or the client is gone. The kernel
 * bounds how many there are: each holds a descriptor.
 *
 * I1	the tag of a socket is its cd; conn.local is set as long as the socket
 *	is open, and NULL afterwards (it shares its place with conn.id).
 */
#include "lib/local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "lib/listen.h"

#define LOCAL_FAMILY 1
/* Connections accepted in one turn. */
#define LOCAL_ACCEPTS 64

struct local_conn {
	int fd;
	uint32_t events; /* what the descriptor is watched for */
	uint8_t *tx; /* LOCAL_TX_MAX bytes, or NULL */
	uint32_t tx_off, tx_len;
	bool shut; /* no more to send after tx */
	bool broken; /* the client reads no more: sends go nowhere */
};

/*
 * Watches the socket for what can be done with it. With nothing to do it is
 * not watched at all: EPOLLHUP can't be masked and would never go away.
 */
static void local_watch(struct group *g, struct conn *c)
{
	struct local_conn *lc = c->local;
	uint32_t events = 0;

	if (!(c->flags & (CONN_F_EOF | CONN_F_CLOSED)) &&
	    c->rx_len < LOCAL_RX_MAX)
		events |= EPOLLIN;
	if (lc->tx_len > 0)
		events |= EPOLLOUT;
	if (events == lc->events)
		return;
	if (events == 0)
		group_unwatch(g, lc->fd);
	else if (lc->events)
		group_rewatch(g, lc->fd, events, c->cd);
	else if (group_watch(g, lc->fd, events, c->cd) < 0)
		return; /* out of memory: the next call tries again */
	lc->events = events;
}

/* Closes the socket; the connection has none any more (I1). */
static void local_drop(struct conn *c)
{
	struct local_conn *lc = c->local;

	if (!lc)
		return;
	close(lc->fd);
	free(lc->tx);
	free(lc);
	c->local = NULL;
}

/* Takes a client's socket. Owns fd in any case. */
static void local_add(struct group *g, int fd)
{
	struct local_conn *lc = calloc(1, sizeof(*lc));
	struct conn *c = lc ? conn_new(&g->conns, 0) : NULL;

	if (!c || group_watch(g, fd, EPOLLIN, c->cd) < 0) {
		if (c)
			conn_free(&g->conns, c);
		free(lc);
		close(fd);
		return;
	}
	lc->fd = fd;
	lc->events = EPOLLIN;
	c->local = lc;
	c->family = LOCAL_FAMILY;
	conn_queue_push(&g->conns, &g->accept, c);
}

static void local_accept(struct group *g)
{
	for (int i = 0; i < LOCAL_ACCEPTS; i++) {
		int fd = listen_accept(g);

		if (fd < 0)
			return;
		local_add(g, fd);
	}
}

/* Reads what there is; false when the connection is lost (and perhaps freed). */
static bool local_read(struct group *g, struct conn *c)
{
	uint8_t buf[32 * 1024];
	size_t room;
	ssize_t n;

	do {
		room = min_size(sizeof(buf), LOCAL_RX_MAX - c->rx_len);
		n = recv(c->local->fd, buf, room, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0 || conn_rx_append(c, buf, (size_t)n) < 0) {
			local_drop(c);
			group_conn_lost(g, c);
			return false;
		}
		c->flags |= n > 0 ? CONN_F_UNREAD : CONN_F_EOF | CONN_F_EOF_DUE;
		(void)conn_rx_skip(c);
	} while ((size_t)n == room && c->rx_len < LOCAL_RX_MAX);
	group_conn_ready(g, c);
	return true;
}

/* Writes tx; false when the connection has ended (and is freed). */
static bool local_write(struct group *g, struct conn *c)
{
	struct local_conn *lc = c->local;
	ssize_t n = 0;

	if (lc->tx_len > 0)
		n = send(lc->fd, lc->tx + lc->tx_off, lc->tx_len, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		lc->broken = true;
		lc->tx_len = 0;
	} else if (n > 0) {
		lc->tx_off += (uint32_t)n;
		lc->tx_len -= (uint32_t)n;
	}
	if (lc->tx_len > 0)
		return true;
	free(lc->tx);
	lc->tx = NULL;
	lc->tx_off = 0;
	if (lc->shut)
		(void)shutdown(lc->fd, SHUT_WR);
	if (c->flags & CONN_F_CLOSED) {
		local_drop(c);
		conn_free(&g->conns, c);
		return false;
	}
	group_conn_writable(g, c);
	return true;
}

static void local_event(struct group *g, uint32_t tag, uint32_t events)
{
	struct conn *c;

	if (tag == GROUP_TAG_LISTEN) {
		local_accept(g);
		return;
	}
	c = conn_get(&g->conns, tag);
	if (!c || !c->local)
		return; /* gone by an event before this one */
	/* EPOLLHUP and EPOLLERR: whichever we do will find out. */
	events |= events & (EPOLLHUP | EPOLLERR) ? EPOLLIN | EPOLLOUT : 0u;
	events &= c->local->events;
	if (events & EPOLLOUT && !local_write(g, c))
		return;
	if (events & EPOLLIN && !local_read(g, c))
		return;
	local_watch(g, c);
}

/* Puts what the socket didn't take into tx. Returns how much fits. */
static size_t local_keep(struct local_conn *lc, const void *buf, size_t len)
{
	if (!lc->tx)
		lc->tx = malloc(LOCAL_TX_MAX);
	if (!lc->tx)
		return 0;
	if (lc->tx_off > 0) {
		memmove(lc->tx, lc->tx + lc->tx_off, lc->tx_len);
		lc->tx_off = 0;
	}
	len = min_size(len, LOCAL_TX_MAX - lc->tx_len);
	memcpy(lc->tx + lc->tx_len, buf, len);
	lc->tx_len += (uint32_t)len;
	return len;
}

static size_t local_send(struct group *g, struct conn *c, uint32_t ackd,
			 const void *buf, size_t len)
{
	struct local_conn *lc = c->local;
	size_t taken = 0;
	ssize_t n = 0;

	(void)ackd; /* conn_rx_ack() has made the room: local_watch() */
	if (len > 0 && lc->tx_len == 0 && !lc->broken) {
		n = send(lc->fd, buf, len, MSG_NOSIGNAL);
		taken = n > 0 ? (size_t)n : 0;
		lc->broken = n < 0 && errno != EAGAIN && errno != EINTR;
	}
	/* That it's broken is told by reading, after what is still there. */
	if (lc->broken)
		taken = len;
	else if (taken < len)
		taken += local_keep(lc, (const char *)buf + taken, len - taken);
	if (taken < len)
		c->flags |= CONN_F_SHORT;
	c->snd_pos += taken;
	local_watch(g, c);
	return taken;
}

static size_t local_room(struct group *g, struct conn *c)
{
	(void)g;
	if (c->local->tx_len == LOCAL_TX_MAX)
		c->flags |= CONN_F_SHORT;
	return LOCAL_TX_MAX - c->local->tx_len;
}

/* It ends with this process. */
static void local_identify(const struct group *g, const struct conn *c,
			   uint64_t *ret_epoch, uint64_t *ret_id)
{
	(void)g;
	(void)c;
	*ret_epoch = 0;
	*ret_id = 0;
}

static void local_admit(struct group *g, struct conn *c)
{
	(void)g;
	(void)c;
}

static void local_shutdown(struct group *g, struct conn *c)
{
	(void)g;
	c->local->shut = true;
	if (c->local->tx_len == 0)
		(void)shutdown(c->local->fd, SHUT_WR);
}

static void local_close(struct group *g, struct conn *c, enum frame_type how)
{
	conn_rx_drop(c);
	if (how == FRAME_CLOSE && c->local && c->local->tx_len > 0) {
		c->flags = CONN_F_USED | CONN_F_CLOSED;
		local_watch(g, c);
		return;
	}
	local_drop(c);
	conn_free(&g->conns, c);
}

static void local_flush(struct group *g)
{
	(void)g;
}

static void local_fini(struct group *g)
{
	for (uint32_t cd = 1; cd <= g->conns.n_slots; cd++) {
		struct conn *c = conn_get(&g->conns, cd);

		if (c)
			local_drop(c);
	}
}

const struct transport local_transport = {
	.send = local_send,
	.room = local_room,
	.identify = local_identify,
	.admit = local_admit,
	.shutdown = local_shutdown,
	.close = local_close,
	.event = local_event,
	.flush = local_flush,
	.fini = local_fini,
};
