/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keep - what an honest backend process remembers to outlive xtcpd: the
 * Resumption part of proto/frame.h, on the backend's side.
 *
 *	pconn_say, pconn_reply --> keep_frame: [ covered by a PING | since ]
 *	                                              |
 *	PONG --------------------> keep_pong: these are forgotten
 *	another stream ----------> keep_resume: what is left goes again, in
 *	                           order and within the credit, then an empty
 *	                           REPLY for each connection, then a PING
 *
 * Until the PONG to that the process says nothing else of connections, and is
 * told of none.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static void keep_ping(struct proc *p, uint8_t flags)
{
	struct frame f = { .type = FRAME_PING,
			   .flags = flags,
			   .group = SIM_GROUP_ID };
	struct keep *k = &p->keep;

	f.offset = ++k->pings;
	k->pinged = true;
	k->ping_covers = k->n;
	k->since = 0;
	pstream_frame(&p->streams[0], &f, NULL, 0);
}

void keep_frame(struct proc *p, const struct kept *what)
{
	struct keep *k = &p->keep;

	if (!p->conf.resume)
		return;
	if (k->n == k->cap) {
		k->cap = k->cap ? k->cap * 2 : 64;
		k->v = realloc(k->v, k->cap * sizeof(*k->v));
	}
	k->v[k->n++] = *what;
	k->sent = k->n;
	k->since += FRAME_HEADER_BYTES + what->len;
	if (!k->pinged && k->since >= p->conf.ping_bytes)
		keep_ping(p, 0);
}

void keep_pong(struct world *w, struct proc *p, uint64_t offset)
{
	struct keep *k = &p->keep;

	if (!p->conf.resume || !k->pinged || offset != k->pings)
		sim_fail(w, "a PONG that nobody asked for");
	k->n -= k->ping_covers;
	k->sent -= k->ping_covers;
	if (k->ping_covers)
		memmove(k->v, k->v + k->ping_covers, k->n * sizeof(*k->v));
	k->pinged = false;
	if (!k->resumed)
		return;
	k->resumed = false;
	sim_count(w, SIM_resumed);
	sim_say(w, "backend %u goes on", p->no);
	proc_arm(w, p, w->now_us + 1);
}

bool keep_is_open(const struct proc *p)
{
	return !p->conf.resume ||
	       (p->streams[0].fd >= 0 && !p->keep.resume && !p->keep.resumed);
}

void keep_lost(struct proc *p)
{
	struct keep *k = &p->keep;

	k->pinged = false;
	k->sent = 0;
	k->since = 0;
	k->resumed = false;
	k->resume = true;
}

void keep_forget(struct proc *p)
{
	free(p->keep.v);
	p->keep = (struct keep){ .pings = p->keep.pings };
}

static void keep_send(struct world *w, struct proc *p, const struct kept *what)
{
	struct pstream *s = &p->streams[0];
	struct frame f = { .type = what->type,
			   .group = SIM_GROUP_ID,
			   .conn = what->conn_id };

	if (what->type != FRAME_ACCEPT) {
		f.flags = FRAME_F_AT;
		f.offset = what->offset;
		f.ackd = what->ackd;
		f.aux = (uint32_t)what->pos;
	}
	sim_count(w, SIM_frames_again);
	sim_say(w, "backend %u: %s for #%u again, ackd %llu+%u, bytes %llu+%u",
		p->no, frame_type_name(f.type), what->flow,
		(unsigned long long)what->offset, what->ackd,
		(unsigned long long)what->pos, what->len);
	pstream_reply(s, &f, w->flows[what->flow].rep_key, what->pos,
		      what->len);
}

/* Every connection that it holds: what was acknowledged, and whose it is. */
static void keep_resync(struct world *w, struct proc *p)
{
	for (uint32_t i = 0; i < w->sc.n_flows; i++) {
		struct pconn *pc = &p->conns[i];
		struct frame f = { .type = FRAME_REPLY,
				   .flags = FRAME_F_AT,
				   .group = SIM_GROUP_ID,
				   .conn = pc->conn_id,
				   .offset = pc->acked,
				   .aux = (uint32_t)pc->sent };

		if (!pc->stream || pc->closed)
			continue;
		if (pc->limit < pc->sent + CONN_HALF_BYTES)
			f.flags |= FRAME_F_SHORT;
		pstream_frame(&p->streams[0], &f, NULL, 0);
	}
}

void keep_resume(struct world *w, struct proc *p)
{
	struct keep *k = &p->keep;
	struct pstream *s = &p->streams[0];

	if (!k->resume || s->fd < 0)
		return;
	for (; k->sent < k->n && k->v[k->sent].len <= s->credit; k->sent++) {
		const struct kept *what = &k->v[k->sent];

		keep_send(w, p, what);
		s->credit -= what->len;
	}
	if (k->sent < k->n)
		return;
	keep_resync(w, p);
	k->resume = false;
	k->resumed = true;
	keep_ping(p, FRAME_F_RESUMED);
}
