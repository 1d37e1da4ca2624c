/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream - the life of a connection's descriptor, and reading.
 *
 * Received bytes stay in libxtcp until they are acknowledged; the server's
 * place in them is `taken`:
 *
 *	struct conn    acked           acked + taken          conn_rcv_pos()
 *	...............|-- read by the --|-- to be read ------|
 *	               |     server      |
 *
 * --ack read: taken is acknowledged with the next write, or by hub_flush();
 * --ack write: with the next write alone. The end of the connection counts as
 * a write.
 *
 * What a kernel's socket does and this one does not: a reset by the client
 * drops the bytes that were not read yet.
 */
#include "run/stream.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "run/run.h"
#include "run/wait.h"

static struct vconn *stream_acks; /* through ack_next */

struct vconn *stream_of(const struct vobj *o)
{
	return (struct vconn *)(uintptr_t)container_of(o, const struct vconn,
						       obj);
}

/* --- acknowledging --- */

static void stream_ack_later(struct vconn *vc)
{
	if (vc->ack_due || run_options.ack != RUN_ACK_READ)
		return;
	vc->ack_due = true;
	vc->ack_next = stream_acks;
	stream_acks = vc;
}

static void stream_ack_cancel(struct vconn *vc)
{
	struct vconn **at = &stream_acks;

	if (!vc->ack_due)
		return;
	while (*at != vc)
		at = &(*at)->ack_next;
	*at = vc->ack_next;
	vc->ack_due = false;
}

static void stream_ack_now(struct vconn *vc)
{
	if (vc->taken == 0 || vc->c->flags & CONN_F_RESET)
		return;
	(void)direct_send(vc->port->g, vc->c, vc->taken, NULL, 0);
	vc->taken = 0;
	hub_wrote(vc->port);
}

void stream_ack_due(void)
{
	while (stream_acks) {
		struct vconn *vc = stream_acks;

		stream_acks = vc->ack_next;
		vc->ack_due = false;
		stream_ack_now(vc);
	}
}

/* --- life --- */

static void stream_on_close(struct vobj *o)
{
	struct vconn *vc = stream_of(o);

	if (!vc->c)
		return; /* an orphan */
	stream_ack_cancel(vc);
	stream_ack_now(vc);
	hub_conn_clear(vc->port, vc->c->cd);
	direct_close(vc->port->g, vc->c, (vc->flags & STREAM_ABORT) != 0);
	vc->c = NULL;
	hub_wrote(vc->port);
	hub_flush_soon();
	hub_detach_if_idle(vc->port);
}

static void stream_free(struct vobj *o)
{
	struct vconn *vc = stream_of(o);

	free(vc->opts);
	free(vc);
}

int stream_new(int fd, struct hub_port *p, struct conn *c, int domain,
	       bool nonblock)
{
	struct vconn *vc = calloc(1, sizeof(*vc));

	if (!vc || hub_conn_set(p, c->cd, vc) < 0) {
		free(vc);
		return -ENOMEM;
	}
	vc->obj.kind = VOBJ_CONN;
	vc->obj.on_close = stream_on_close;
	vc->obj.free = stream_free;
	vc->port = p;
	vc->c = c;
	vc->domain = domain;
	vc->rcv_timeout_ns = vc->snd_timeout_ns = -1;
	vc->flags = nonblock ? STREAM_NONBLOCK : 0;
	direct_accept(p->g, c);
	hub_wrote(p); /* a handshake may have waited for it */
	vobj_set(fd, &vc->obj);
	return 0;
}

void stream_orphan(struct vconn *vc)
{
	vc->c = NULL;
	vc->ack_due = false;
	vc->taken = 0;
	vc->flags |= STREAM_ORPHAN;
	interest_drop_source(&vc->obj.source);
	stream_acks = NULL; /* all of them become orphans at once */
}

void stream_changed(struct vconn *vc, uint32_t events)
{
	if (vc->c->flags & CONN_F_RESET)
		vc->taken = 0; /* all received bytes are gone */
	if (events & DIRECT_WRITE || vc->c->flags & CONN_F_RESET)
		vc->flags &= (uint16_t)~STREAM_FULL;
	vobj_changed(&vc->obj);
}

/* --- what is true --- */

size_t stream_unread(const struct vconn *vc)
{
	return vc->c ? vc->c->rx_len - vc->taken : 0;
}

static uint32_t stream_end_events(const struct vconn *vc)
{
	bool no_more =
		vc->c->flags & CONN_F_EOF || vc->flags & STREAM_SHUT_READ;
	uint32_t events = 0;

	if (no_more)
		events |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	if (no_more && vc->flags & STREAM_SHUT_WRITE)
		events |= EPOLLHUP;
	return events;
}

uint32_t stream_events(const struct vobj *o)
{
	const struct vconn *vc = stream_of(o);
	uint32_t events;

	if (!vc->c)
		return EPOLLERR | EPOLLHUP;
	if (vc->c->flags & CONN_F_RESET)
		return EPOLLIN | EPOLLRDNORM | EPOLLRDHUP | EPOLLOUT |
		       EPOLLWRNORM | EPOLLHUP |
		       (vc->flags & STREAM_RESET_TOLD ? 0u : EPOLLERR);
	events = stream_end_events(vc);
	if (stream_unread(vc) > 0)
		events |= EPOLLIN | EPOLLRDNORM;
	if (!(vc->flags & STREAM_FULL) || vc->flags & STREAM_SHUT_WRITE)
		events |= EPOLLOUT | EPOLLWRNORM;
	return events;
}

int stream_error(struct vconn *vc)
{
	if (!vc->c)
		return EBADF;
	if (!(vc->c->flags & CONN_F_RESET) || vc->flags & STREAM_RESET_TOLD)
		return 0;
	vc->flags |= STREAM_RESET_TOLD;
	return ECONNRESET;
}

/* --- reading --- */

/* Moves unread bytes into the buffers, from their byte `at` on. */
static size_t stream_copy(struct vconn *vc, const struct iovec *iov, int n,
			  size_t at, int flags)
{
	size_t from = vc->taken, copied = 0, room, k;

	for (int i = 0; i < n; i++) {
		if (at >= iov[i].iov_len) {
			at -= iov[i].iov_len;
			continue;
		}
		room = iov[i].iov_len - at;
		if (flags & MSG_TRUNC) {
			k = min_size(room, vc->c->rx_len - from);
			(void)conn_rx_peek(vc->c, from + k, NULL, 0);
		} else {
			k = conn_rx_peek(vc->c, from,
					 (char *)iov[i].iov_base + at, room);
		}
		copied += k;
		from += k;
		at = 0;
		if (k < room)
			break;
	}
	if (!(flags & MSG_PEEK)) {
		vc->taken = (uint32_t)from;
		stream_ack_later(vc);
	}
	return copied;
}

/* What a read finds when there are no bytes: 0 (the end) or an errno. */
static ssize_t stream_read_end(struct vconn *vc)
{
	int error;

	if (!vc->c)
		return -EBADF;
	if (vc->c->flags & CONN_F_RESET) {
		error = stream_error(vc);
		return -error;
	}
	if (vc->c->flags & CONN_F_EOF || vc->flags & STREAM_SHUT_READ)
		return 0;
	return -EAGAIN;
}

/* Waits until there may be more. 0 or a negative errno. */
static int stream_wait(struct vconn *vc, int flags, int64_t *deadline_ns,
		       int64_t timeout_ns)
{
	if (vc->flags & STREAM_NONBLOCK || flags & MSG_DONTWAIT) {
		hub_flush_aside();
		return -EAGAIN;
	}
	if (*deadline_ns == 0)
		*deadline_ns = run_deadline(timeout_ns);
	return wait_for_object(&vc->obj, *deadline_ns);
}

static size_t stream_iov_bytes(const struct iovec *iov, int n)
{
	size_t bytes = 0;

	for (int i = 0; i < n; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

/* Waits until there is something to read: 1; 0: the end; a negative errno. */
static ssize_t stream_await(struct vconn *vc, int flags)
{
	int64_t deadline_ns = 0;
	ssize_t rc;

	for (;;) {
		if (stream_unread(vc) > 0)
			return 1;
		rc = stream_read_end(vc);
		if (rc != -EAGAIN)
			return rc;
		hub_pump();
		if (stream_events(&vc->obj) & EPOLLIN)
			continue;
		rc = stream_wait(vc, flags, &deadline_ns, vc->rcv_timeout_ns);
		if (rc < 0)
			return rc;
	}
}

ssize_t stream_read(struct vconn *vc, const struct iovec *iov, int n, int flags)
{
	size_t bytes = stream_iov_bytes(iov, n), done = 0;
	bool all = flags & MSG_WAITALL && !(flags & MSG_PEEK);
	ssize_t rc = 0;

	if (!vc->c)
		return -EBADF;
	vobj_hold(&vc->obj);
	while (done < bytes) {
		rc = stream_await(vc, flags);
		if (rc <= 0)
			break;
		done += stream_copy(vc, iov, n, done, flags);
		if (!all)
			break;
	}
	vobj_release(&vc->obj);
	return done > 0 ? (ssize_t)done : rc;
}
