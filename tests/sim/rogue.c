/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rogue - a backend that lies. Its stream may be closed for it, and requests
 * that it was given go to another one; nobody else may notice.
 */
#include <string.h>
#include <sys/socket.h>

#include "sim.h"

/* Bytes that are no frame at all. */
static void rogue_garbage(struct world *w, struct proc *p, struct pstream *s)
{
	uint8_t junk[256];

	for (uint32_t i = 0; i < sizeof(junk); i++)
		junk[i] = (uint8_t)rng_next(&p->rng);
	(void)send(s->fd, junk, 1 + rng_below(&p->rng, sizeof(junk)),
		   MSG_NOSIGNAL);
	w->sockets_due = true;
}

static const struct flow *rogue_conn(struct world *w, struct proc *p)
{
	for (uint32_t i = 0; i < w->sc.n_flows; i++)
		if (p->conns[i].stream && rng_one_in(&p->rng, 2))
			return &w->flows[i];
	return NULL;
}

/* About a connection that it has, too much; about others, nonsense. */
static void rogue_fill(struct world *w, struct proc *p, struct frame *f)
{
	const struct flow *own = rogue_conn(w, p);

	f->group = SIM_GROUP_ID;
	switch (rng_below(&p->rng, 7)) {
	case 0: /* more than it was given */
		f->type = FRAME_REPLY;
		f->conn = own ? own->conn_id : UINT64_MAX;
		f->offset = own ? p->conns[own->no].got : 0;
		f->ackd = 1 + rng_below(&p->rng, 100000);
		break;
	case 1: /* from far beyond */
		f->type = FRAME_REPLY;
		f->conn = own ? own->conn_id : UINT64_MAX;
		f->offset = UINT64_MAX - rng_below(&p->rng, 100);
		f->ackd = rng_below(&p->rng, 200);
		break;
	case 2: /* an id that was never given */
		f->type = FRAME_CLOSE;
		f->conn = rng_next(&p->rng) | UINT64_C(1) << 31;
		break;
	case 3: /* for another group */
		f->type = FRAME_REPLY;
		f->group = SIM_GROUP_ID + 1;
		f->conn = own ? own->conn_id : 1;
		break;
	case 4: /* in the wrong direction */
		f->type = FRAME_EOF;
		f->conn = own ? own->conn_id : 1;
		break;
	case 5: /* credit without end */
		f->type = FRAME_CREDIT;
		f->aux = UINT32_MAX;
		break;
	default:
		f->type = FRAME_ATTACH;
		break;
	}
}

void rogue_act(struct world *w, struct proc *p)
{
	struct pstream *s = &p->streams[0];
	struct frame f = { 0 };
	static const uint8_t nothing[32];

	if (!p->alive || s->fd < 0)
		return;
	sim_count(w, SIM_rogue_acts);
	world_expect_loss(w);
	if (rng_one_in(&p->rng, 4)) {
		rogue_garbage(w, p, s);
		return;
	}
	rogue_fill(w, p, &f);
	sim_say(w, "rogue %u: %s, conn %llx", p->no, frame_type_name(f.type),
		(unsigned long long)f.conn);
	pstream_frame(s, &f, nothing, f.type == FRAME_ATTACH ? 24 : 0);
	(void)send(s->fd, s->out, s->out_len, MSG_NOSIGNAL);
	s->out_len = 0;
	w->sockets_due = true;
	backend_poke(w, p);
}
