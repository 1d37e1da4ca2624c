/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link_out - the frames that go to the daemon.
 *
 * A reply is taken as far as all of these go: the connection's credit
 * (snd_limit), the stream's (send_credit), and room in `out` below
 * LINK_OUT_SOFT. What falls short waits in `blocked` for room, or for the
 * connection's CREDIT. An acknowledgement is never refused: if it can't be
 * written down now, NEED_ACK remembers it (a position, so one is enough).
 * Control frames of connections may go over the soft bound; there are at most
 * a few per connection.
 *
 * Nothing lost, nothing twice (frame.h, Resumption):
 *
 *	xtcp_send()           sendmsg()             PONG
 *	    |                     |                   |
 *	    v     not written     v  not confirmed    v
 *	   tail ............... sent ............... base	`out`
 *
 * When a stream is lost, what matters of base..tail moves to `kept`: replies
 * with data or an acknowledgement (a CLOSE behind it must not find bytes that
 * nobody processed), ACCEPT (before the replies), CLOSE, FIN, ABORT. Pings and
 * credit die with the stream; then comes the resynchronisation, one empty REPLY
 * for each connection. While `kept` isn't empty nothing overtakes it. The PING
 * that ends the resumption follows, and until its PONG nothing is said of any
 * connection: the daemon's word of which ones are not ours any more comes
 * before that PONG. A connection that the application has closed lives on in
 * `closed` until its CLOSE is confirmed, so that a redelivery of it isn't taken
 * for a new one.
 *
 * With a daemon that doesn't resume, out lets go of what is written.
 *
 * I1	kept is empty while UP, but for the resumption and the moments until
 *	link_fill() has found credit and room for it.
 * I2	closed is in the order of confirmation; UINT64_MAX: it's in kept.
 */
#include "lib/link.h"

#include <errno.h>
#include <limits.h>

#include "base/bytes.h"

/* Resynchronisation writes in steps of about this much. */
#define LINK_RESYNC_BYTES (64u * 1024u)

static struct link *link_of(struct group *g, const struct conn *c)
{
	return g->links[c->link];
}

static bool link_is_open(const struct link *l)
{
	return l->state == LINK_UP && !l->resuming &&
	       frame_queue_held(&l->kept) == 0;
}

/* Payload bytes that a reply may have now, on any connection. */
static size_t link_room(const struct link *l)
{
	size_t held = frame_queue_held(&l->out) + FRAME_HEADER_BYTES;

	if (!link_is_open(l) || held >= LINK_OUT_SOFT || l->send_credit <= 0)
		return 0;
	return (size_t)min_u64((uint64_t)l->send_credit, LINK_OUT_SOFT - held);
}

static size_t conn_room(const struct conn *c)
{
	return c->snd_limit > c->snd_pos
		       ? (size_t)min_u64(c->snd_limit - c->snd_pos, SIZE_MAX)
		       : 0;
}

/* Of a REPLY of len bytes. In the resynchronisation a poor one asks for credit. */
static uint8_t link_reply_flags(const struct link *l, const struct conn *c,
				size_t len)
{
	if (!l->resume)
		return 0;
	if (l->resync_cd && len == 0 && conn_room(c) < l->half)
		return FRAME_F_AT | FRAME_F_SHORT;
	return FRAME_F_AT;
}

/*
 * One REPLY, which acknowledges ackd bytes from offset on: up to c->acked, or
 * not yet so far.
 */
static int link_reply(struct link *l, struct conn *c, uint64_t offset,
		      uint32_t ackd, const void *buf, size_t len)
{
	const struct frame f = {
		.type = FRAME_REPLY,
		.flags = link_reply_flags(l, c, len),
		.group = l->group_id,
		.conn = c->id,
		.offset = offset,
		.ackd = ackd,
		.aux = l->resume ? (uint32_t)c->snd_pos : 0,
	};
	int rc = frame_queue_append(&l->out, &f, buf, len);

	if (rc < 0)
		return rc;
	c->snd_pos += len;
	l->send_credit -= (int64_t)len;
	c->flags &= (uint16_t)~CONN_F_NEED_ACK;
	return 0;
}

static void link_block(struct link *l, struct conn *c)
{
	struct group *g = l->group;

	if (c->flags & CONN_F_BLOCKED)
		return;
	if (conn_is_queued(c, CONN_Q_WRITE))
		conn_queue_remove(&g->conns, &g->writable, c);
	conn_queue_push(&g->conns, &l->blocked, c);
	c->flags |= CONN_F_BLOCKED;
}

static void link_unblock_one(struct link *l, struct conn *c)
{
	conn_queue_remove(&l->group->conns, &l->blocked, c);
	c->flags &= (uint16_t)~CONN_F_BLOCKED;
	if (c->flags & CONN_F_NEED_ACK)
		link_ack(l, c);
	if (conn_room(c) > 0 && !(c->flags & CONN_F_BLOCKED))
		group_conn_writable(l->group, c);
}

void link_unblock(struct link *l)
{
	struct conn_table *t = &l->group->conns;
	struct conn *c;

	/* Half empty: so that each one finds room worth while. */
	while ((c = conn_queue_head(t, &l->blocked)) && link_is_open(l) &&
	       l->send_credit > 0 &&
	       frame_queue_held(&l->out) <= LINK_OUT_SOFT / 2)
		link_unblock_one(l, c);
}

/* Acknowledges the last ackd bytes of c->acked, now or when there is room. */
static void link_ack_bytes(struct link *l, struct conn *c, uint32_t ackd)
{
	if (l->state == LINK_UP && !l->resuming &&
	    frame_queue_held(&l->out) < LINK_OUT_SOFT &&
	    link_reply(l, c, c->acked - ackd, ackd, NULL, 0) == 0)
		return;
	c->flags |= CONN_F_NEED_ACK;
	link_block(l, c);
}

void link_ack(struct link *l, struct conn *c)
{
	link_ack_bytes(l, c, 0);
}

int link_control(struct link *l, const struct frame *f)
{
	struct frame grouped = *f;

	grouped.group = l->group_id;
	if (f->conn == 0 || link_is_open(l))
		return l->state == LINK_UP
			       ? frame_queue_append(&l->out, &grouped, NULL, 0)
			       : -ENOTCONN;
	if (!l->resume)
		return -ENOTCONN;
	return frame_queue_append(&l->kept, &grouped, NULL, 0);
}

/* --- loss and resumption --- */

/* Whether a frame in out must reach the daemon, by this stream or the next. */
static bool link_frame_matters(const struct frame *f)
{
	switch (f->type) {
	case FRAME_REPLY:
		return f->length > 0 || f->ackd > 0;
	case FRAME_ACCEPT:
	case FRAME_CLOSE:
	case FRAME_FIN:
	case FRAME_ABORT:
	case FRAME_REJECT:
		return true;
	default:
		return false;
	}
}

void link_keep(struct link *l)
{
	struct frame_queue kept;
	struct conn *c;
	struct frame f;
	uint64_t pos;

	if (!l->resume)
		return;
	frame_queue_init(&kept, LINK_OUT_MAX);
	for (pos = l->out.base; pos < l->out.tail;
	     pos += FRAME_HEADER_BYTES + f.length) {
		frame_queue_peek(&l->out, pos, &f);
		if (link_frame_matters(&f))
			(void)frame_queue_copy(&kept, &f, &l->out, pos);
	}
	for (pos = l->kept.base; pos < l->kept.tail;
	     pos += FRAME_HEADER_BYTES + f.length) {
		frame_queue_peek(&l->kept, pos, &f);
		(void)frame_queue_copy(&kept, &f, &l->kept, pos);
	}
	frame_queue_fini(&l->kept);
	l->kept = kept;
	for (c = conn_queue_head(&l->group->conns, &l->closed); c;
	     c = conn_queue_next(&l->group->conns, &l->closed, c))
		c->acked = UINT64_MAX; /* I2 */
}

/* Frees closed connections whose frame is at or before position pos. */
static void link_release_closed(struct link *l, uint64_t pos)
{
	struct conn_table *t = &l->group->conns;
	struct conn *c;

	while ((c = conn_queue_head(t, &l->closed)) && c->acked <= pos) {
		conn_queue_remove(t, &l->closed, c);
		conn_free(t, c);
	}
}

/* Lost with the stream if memory is short: then clients wait longer. */
static void link_say_retired(struct link *l)
{
	const struct frame f = { .type = FRAME_DRAIN,
				 .aux = l->group->retired ? 0 : 1 };

	(void)link_control(l, &f);
}

void link_retire(struct group *g)
{
	for (uint32_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];

		if (l && l->state == LINK_UP)
			link_say_retired(l);
	}
}

void link_up(struct link *l)
{
	if (l->group->retired)
		link_say_retired(l);
	if (!l->resume) {
		frame_queue_fini(&l->kept);
		link_release_closed(l, UINT64_MAX);
	} else if (l->was_up) {
		l->resync_cd = 1;
		l->resuming = true;
	}
	link_unblock(l);
}

/* Moves frames from kept to out, as credit and room allow. */
static void link_fill_kept(struct link *l)
{
	struct conn *c;
	struct frame f;

	while (frame_queue_held(&l->kept) > 0) {
		frame_queue_peek(&l->kept, l->kept.base, &f);
		f.group = l->group_id;
		if (!conn_find(&l->group->conns, f.conn)) {
			/* Meanwhile it is gone, or not ours any more. */
			frame_queue_consume(&l->kept,
					    FRAME_HEADER_BYTES + f.length);
			continue;
		}
		if (f.length > l->send_credit ||
		    frame_queue_held(&l->out) >= LINK_OUT_SOFT ||
		    frame_queue_copy(&l->out, &f, &l->kept, l->kept.base) < 0)
			return;
		l->send_credit -= f.length;
		frame_queue_consume(&l->kept, FRAME_HEADER_BYTES + f.length);
	}
	frame_queue_trim(&l->kept);
	for (c = conn_queue_head(&l->group->conns, &l->closed); c;
	     c = conn_queue_next(&l->group->conns, &l->closed, c)) {
		if (c->acked == UINT64_MAX)
			c->acked = l->out.tail; /* I2 */
	}
}

/* Tells of the connections that we hold; see frame.h, Resumption. */
static void link_fill_resync(struct link *l)
{
	const struct conn_table *t = &l->group->conns;
	const uint16_t out = CONN_F_CLOSED | CONN_F_RESET | CONN_F_WAITS;

	while (l->resync_cd <= t->n_slots) {
		struct conn *c = conn_get(t, l->resync_cd);

		if (frame_queue_pending(&l->out) >= LINK_RESYNC_BYTES ||
		    frame_queue_held(&l->out) >= LINK_OUT_SOFT)
			return;
		if (c && c->link == l->index && !(c->flags & out) &&
		    link_reply(l, c, c->acked, 0, NULL, 0) < 0)
			return;
		l->resync_cd++;
	}
	l->resync_cd = 0;
}

/*
 * One PING would do, were the peer to confirm all of out at once: but then we
 * would stand still while it works, and it while we fill up again.
 */
static bool link_ping_due(const struct link *l)
{
	const struct link_pings *p = &l->pings;
	uint64_t last;

	if (!p->n)
		return frame_queue_held(&l->out) >= LINK_PING_BYTES;
	last = p->pos[(p->first + p->n - 1u) % LINK_PINGS_MAX];
	return p->n < LINK_PINGS_MAX && !l->resumed &&
	       l->out.tail - last >= LINK_PING_STEP;
}

void link_fill(struct link *l)
{
	struct frame ping = { .type = FRAME_PING };
	struct link_pings *p = &l->pings;
	bool resumed;

	if (l->state != LINK_UP)
		return;
	if (frame_queue_held(&l->kept) > 0 && !l->resumed) {
		link_fill_kept(l);
		if (frame_queue_held(&l->kept) == 0)
			link_unblock(l);
	}
	if (l->resync_cd && frame_queue_held(&l->kept) == 0)
		link_fill_resync(l);
	resumed =
		l->resuming && !l->resync_cd && frame_queue_held(&l->kept) == 0;
	/* The one that ends the resumption is alone. */
	if (!l->resume || !(resumed ? !p->n : link_ping_due(l)))
		return;
	ping.flags = resumed ? FRAME_F_RESUMED : 0;
	ping.offset = l->out.tail + FRAME_HEADER_BYTES;
	if (link_control(l, &ping) == 0) {
		p->pos[(p->first + p->n++) % LINK_PINGS_MAX] = ping.offset;
		l->resumed = resumed;
	}
}

void link_confirm(struct link *l, uint64_t pos)
{
	frame_queue_release(&l->out, pos);
	link_release_closed(l, pos);
	link_unblock(l);
}

/* --- connections that end with the stream --- */

void link_drop_waiting(struct link *l)
{
	struct group *g = l->group;
	struct conn *c = conn_queue_head(&g->conns, &g->accept), *next;

	for (; c; c = next) {
		next = conn_queue_next(&g->conns, &g->accept, c);
		if (c->link == l->index && c->flags & CONN_F_WAITS)
			group_conn_lost(g, c);
	}
}

void link_reset_conns(struct link *l)
{
	struct conn_table *t = &l->group->conns;

	link_release_closed(l, UINT64_MAX);
	for (uint32_t cd = 1; cd <= t->n_slots; cd++) {
		struct conn *c = conn_get(t, cd);

		if (c && c->link == l->index && !(c->flags & CONN_F_RESET))
			group_conn_lost(l->group, c);
	}
}

void link_set_epoch(struct link *l, uint64_t epoch)
{
	if (l->was_up && l->epoch && epoch && l->epoch != epoch) {
		frame_queue_fini(&l->kept);
		link_reset_conns(l);
	}
	if (epoch)
		l->epoch = epoch;
}

/* --- the transport's operations --- */

/* Writes at once, unless the application gathers. */
static void link_flush_soon(struct link *l)
{
	if (!l->group->corked ||
	    frame_queue_pending(&l->out) >= LINK_CORK_BYTES)
		link_flush(l);
}

/* c waits for room in the stream, or for its own CREDIT. */
static void link_fall_short(struct link *l, struct conn *c)
{
	c->flags |= CONN_F_SHORT;
	if (conn_room(c) > 0)
		link_block(l, c);
}

size_t link_send(struct group *g, struct conn *c, uint32_t ackd,
		 const void *buf, size_t len)
{
	const uint64_t offset = c->acked - ackd;
	struct link *l = link_of(g, c);
	size_t taken = 0, n;

	/* With the last piece: who acknowledged has sent the reply, whole. */
	while (taken < len) {
		n = min_size(len - taken, l->max_payload);
		n = min_size(n, min_size(link_room(l), conn_room(c)));
		if (n == 0 ||
		    link_reply(l, c, offset, taken + n == len ? ackd : 0,
			       (const char *)buf + taken, n) < 0)
			break;
		taken += n;
	}
	if (ackd > 0 && (len == 0 || taken < len))
		link_ack_bytes(l, c, ackd);
	if (taken < len)
		link_fall_short(l, c);
	link_flush_soon(l);
	return taken;
}

size_t link_send_room(struct group *g, struct conn *c)
{
	struct link *l = link_of(g, c);
	/* One frame's worth: each further one would need room for its header. */
	size_t room =
		min_size(min_size(link_room(l), conn_room(c)), l->max_payload);

	if (room == 0)
		link_fall_short(l, c);
	return room;
}

void link_identify(const struct group *g, const struct conn *c,
		   uint64_t *ret_epoch, uint64_t *ret_id)
{
	*ret_epoch = g->links[c->link]->epoch;
	*ret_id = c->id;
}

void link_admit(struct group *g, struct conn *c)
{
	const struct frame f = { .type = FRAME_ACCEPT, .conn = c->id };
	struct link *l = link_of(g, c);

	c->flags &= (uint16_t)~CONN_F_WAITS;
	(void)link_control(l, &f);
	link_flush_soon(l);
}

/* A frame that ends something, where c stands (frame.h, Resumption). */
static int link_end(struct link *l, const struct conn *c, enum frame_type type)
{
	const struct frame f = {
		.type = (uint8_t)type,
		.flags = l->resume ? FRAME_F_AT : 0,
		.conn = c->id,
		.aux = l->resume ? (uint32_t)c->snd_pos : 0,
	};

	return link_control(l, &f);
}

void link_shutdown(struct group *g, struct conn *c)
{
	struct link *l = link_of(g, c);

	(void)link_end(l, c, FRAME_FIN);
	link_flush_soon(l);
}

void link_close(struct group *g, struct conn *c, enum frame_type how)
{
	struct link *l;
	int rc;

	if (c->flags & CONN_F_RESET) {
		conn_free(&g->conns, c);
		return;
	}
	l = link_of(g, c);
	rc = link_end(l, c, how);
	conn_rx_drop(c);
	if (rc < 0 || !l->resume) {
		conn_free(&g->conns, c);
	} else {
		c->flags = CONN_F_USED | CONN_F_CLOSED;
		c->acked = link_is_open(l) ? l->out.tail : UINT64_MAX;
		conn_queue_push(&g->conns, &l->closed, c);
	}
	link_flush_soon(l);
}
