/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backend_conn - a model backend and its connections.
 *
 *	frames in --> backend_on_frame --> pconn (one per flow)
 *	                                     '--> pconn_work: replies, CLOSE
 *
 * A request's last byte is acknowledged with the last byte of its reply, so a
 * process that dies leaves the request with xtcpd, and the next one goes on at
 * the position that it is told. Everything that xtcpd says is checked against
 * the flow.
 */
#include "backend.h"

#include <errno.h>
#include <string.h>

#include "sim.h"

/* --- replies ----------------------------------------------------------- */

static void pconn_say(struct world *w, struct proc *p, struct pconn *pc,
		      struct flow *f, uint8_t type)
{
	struct frame out = { .type = type,
			     .group = SIM_GROUP_ID,
			     .conn = f->conn_id };

	if (p->conf.at && type != FRAME_ACCEPT) {
		out.flags = FRAME_F_AT;
		out.aux = (uint32_t)pc->sent;
	}
	pstream_frame(pc->stream, &out, NULL, 0);
	keep_frame(p, &(struct kept){ .conn_id = f->conn_id,
				      .pos = pc->sent,
				      .flow = f->no,
				      .type = type });
	sim_say(w, "backend %u: %s for #%u", p->no, frame_type_name(type),
		f->no);
}

/* REPLY: len bytes from where we are, and the acknowledgement up to seq. */
static void pconn_reply(struct world *w, struct proc *p, struct pconn *pc,
			struct flow *f, uint64_t upto, uint32_t len)
{
	struct frame out = { .type = FRAME_REPLY,
			     .group = SIM_GROUP_ID,
			     .conn = f->conn_id,
			     .offset = pc->acked,
			     .ackd = (uint32_t)(upto - pc->acked) };

	if (p->conf.at) {
		out.flags = FRAME_F_AT;
		out.aux = (uint32_t)pc->sent;
	}
	pstream_reply(pc->stream, &out, f->rep_key, pc->sent, len);
	keep_frame(p, &(struct kept){ .conn_id = f->conn_id,
				      .offset = pc->acked,
				      .pos = pc->sent,
				      .flow = f->no,
				      .ackd = out.ackd,
				      .len = len,
				      .type = FRAME_REPLY });
	sim_say(w, "backend %u: REPLY for #%u, ackd %llu+%u, bytes %llu+%u",
		p->no, f->no, (unsigned long long)pc->acked, out.ackd,
		(unsigned long long)pc->sent, len);
	pc->acked = upto;
	pc->sent += len;
	pc->stream->credit -= len;
	if (f->app_acked < pc->acked)
		f->app_acked = pc->acked;
	if (f->replied < pc->sent)
		f->replied = pc->sent;
}

/* The reply to item i, as far as credit goes. Returns whether all went. */
static bool pconn_serve(struct world *w, struct proc *p, struct pconn *pc,
			struct flow *f)
{
	uint64_t end = f->r_end[pc->item + 1];

	for (;;) {
		uint64_t len = end - pc->sent;
		uint64_t may = pc->limit > pc->sent ? pc->limit - pc->sent : 0;

		if (may > pc->stream->credit)
			may = pc->stream->credit;
		if (len > p->conf.frame_max)
			len = p->conf.frame_max;
		if (len > may)
			len = may;
		if (pc->sent + len == end) {
			pconn_reply(w, p, pc, f, f->q_end[pc->item + 1],
				    (uint32_t)len);
			return true;
		}
		if (!len)
			return false;
		pconn_reply(w, p, pc, f, pc->acked, (uint32_t)len);
	}
}

static void pconn_finish(struct world *w, struct proc *p, struct pconn *pc,
			 struct flow *f, uint8_t type)
{
	pconn_say(w, p, pc, f, type);
	f->fin_said = true;
	f->fin_at = pc->sent;
	pc->closed = type != FRAME_FIN;
	f->close_said |= pc->closed;
}

/* All is served: what the script has for the end. */
static void pconn_end(struct world *w, struct proc *p, struct pconn *pc,
		      struct flow *f)
{
	bool said = f->fin_said;

	if (pc->closed)
		return;
	if (pc->eof || f->ending == END_BACKEND || f->ending == END_BOTH) {
		pconn_finish(w, p, pc, f, FRAME_CLOSE);
	} else if (f->ending == END_BACKEND_FIN && !said) {
		pconn_finish(w, p, pc, f, FRAME_FIN);
	} else if (f->ending == END_ABORT) {
		if (!f->excuse)
			f->excuse = "the backend aborted";
		pconn_say(w, p, pc, f, FRAME_ABORT);
		pc->closed = true;
	}
}

/* Acknowledge what came so far but for the last byte of the request. */
static void pconn_acknowledge(struct world *w, struct proc *p, struct pconn *pc,
			      struct flow *f)
{
	uint64_t upto = pc->got, last;

	pc->ack_due = !keep_is_open(p);
	if (pc->ack_due)
		return;
	if (pc->item >= f->n_items || p->conf.habit == HABIT_WHOLE)
		return;
	last = f->q_end[pc->item + 1];
	if (last == f->q_end[pc->item])
		return;
	if (p->conf.habit == HABIT_HALF && !p->calm)
		upto = pc->acked + (upto - pc->acked) / 2;
	if (upto > last - 1)
		upto = last - 1;
	if (upto > pc->acked)
		pconn_reply(w, p, pc, f, upto, 0);
}

/* An OPEN that waits for us. */
static void pconn_answer(struct world *w, struct proc *p, struct pconn *pc,
			 struct flow *f)
{
	pc->open_due = !keep_is_open(p);
	if (pc->open_due)
		return;
	f->accept_said = true;
	if (f->ending == END_REJECT) {
		f->excuse = "the backend did not accept";
		pconn_say(w, p, pc, f, FRAME_REJECT);
		pc->closed = true;
	} else {
		pconn_say(w, p, pc, f, FRAME_ACCEPT);
	}
}

void pconn_work(struct world *w, struct proc *p, uint32_t i)
{
	struct pconn *pc = &p->conns[i];
	struct flow *f = &w->flows[i];

	if (!keep_is_open(p))
		return; /* first what was said already */
	if (pc->open_due)
		pconn_answer(w, p, pc, f);
	if (pc->ack_due)
		pconn_acknowledge(w, p, pc, f);
	while (pc->stream && !pc->closed && pc->item < f->n_items &&
	       pc->got >= f->q_end[pc->item + 1]) {
		uint64_t delay = p->calm ? 0 : f->items[pc->item].serve_us;

		if (delay && !pc->serve_at)
			pc->serve_at = w->now_us + delay;
		if (pc->serve_at > w->now_us) {
			proc_arm(w, p, pc->serve_at);
			return;
		}
		if (!pconn_serve(w, p, pc, f))
			return; /* until there is credit */
		pc->serve_at = 0;
		pc->item++;
		pconn_acknowledge(w, p, pc, f);
	}
	if (pc->stream && pc->item == f->n_items)
		pconn_end(w, p, pc, f);
}

/* --- what xtcpd says --------------------------------------------------- */

/* The first item that is not done with. */
static uint32_t flow_item_at(const struct flow *f, uint64_t acked,
			     uint64_t sent)
{
	uint32_t i = 0;

	while (i < f->n_items && f->q_end[i + 1] <= acked &&
	       (f->items[i].q || f->r_end[i + 1] <= sent))
		i++;
	return i;
}

/* One that we had before xtcpd died, and nobody else has had since? */
static bool pconn_is_same(struct world *w, const struct proc *p,
			  const struct pconn *pc, const struct frame *in,
			  uint64_t una)
{
	if (!p->conf.resume || !pc->stream || pc->conn_id != in->conn)
		return false;
	if (in->offset <= pc->got && una + in->aux <= pc->sent)
		return true;
	if (!w->sc.deaths && w->sc.balance == CONF_BALANCE_STICKY)
		sim_fail(w, "another one spoke for a connection");
	return false;
}

/* The first frame about a connection says where it stands. */
static void pconn_first(struct world *w, struct proc *p, struct pstream *s,
			struct flow *f, const struct frame *in,
			const struct frame_addr *addr)
{
	struct pconn *pc = &p->conns[f->no];
	uint64_t limit =
		frame_send_limit(be64_get(addr->send_offset), CONN_HALF_BYTES);

	if (be16_get(addr->remote_port) != f->c.conf.port ||
	    be16_get(addr->local_port) != SIM_PORT ||
	    addr->family != (f->c.conf.v6 ? 6 : 4) ||
	    memcmp(addr->remote, f->c.conf.remote, f->c.conf.v6 ? 16 : 4) != 0)
		sim_fail(w, "flow %u: a frame has another client's address",
			 f->no);
	/* Announced, but we know of it, and may have spoken already. */
	if (in->type == FRAME_OPEN && pc->stream && pc->stream->fd >= 0 &&
	    pc->conn_id == in->conn) {
		pc->stream = s;
		return;
	}
	if (pconn_is_same(w, p, pc, in, be64_get(addr->send_offset))) {
		pc->stream = s;
		if (pc->limit < limit)
			pc->limit = limit;
		return;
	}
	*pc = (struct pconn){
		.stream = s,
		.conn_id = in->conn,
		.got = in->offset,
		.acked = in->offset,
		.sent = be64_get(addr->send_offset) + in->aux,
		.limit = limit,
	};
	pc->item = flow_item_at(f, pc->acked, pc->sent);
	if (p->conf.rogue || f->reborn)
		return;
	if (pc->sent > f->replied || pc->sent < f->r_end[pc->item])
		sim_fail(w,
			 "flow %u: told that %llu reply bytes were taken: "
			 "%llu were sent, request %u begins at %llu",
			 f->no, (unsigned long long)pc->sent,
			 (unsigned long long)f->replied, pc->item,
			 (unsigned long long)f->r_end[pc->item]);
}

/* With "reset-all" it has one process for life. */
static void pconn_check_server(struct world *w, const struct proc *p,
			       struct flow *f)
{
	if (w->sc.on_loss != CONF_LOSS_RESET_ALL ||
	    w->sc.balance != CONF_BALANCE_STICKY || p->conf.rogue || f->reborn)
		return;
	if (f->served_by && f->served_by != p->instance)
		sim_fail(w, "flow %u goes on with another process", f->no);
	f->served_by = p->instance;
}

static void backend_on_data(struct world *w, struct proc *p, struct pstream *s,
			    struct flow *f, const struct frame *in,
			    const uint8_t *data, uint32_t len)
{
	struct pconn *pc = &p->conns[f->no];
	bool lossless = !w->sc.deaths && !f->reborn;
	bool stale = s->epoch != w->kill.epoch;
	int64_t bad = pattern_check(f->req_key, in->offset, data, len);

	if (bad >= 0)
		sim_fail(w, "flow %u: wrong byte at %llu of the request", f->no,
			 (unsigned long long)(in->offset + (uint64_t)bad));
	if (!pc->stream || pc->got < in->offset ||
	    (pc->got > in->offset && !p->conf.resume))
		sim_fail(w, "flow %u: DATA at %llu, expected at %llu", f->no,
			 (unsigned long long)in->offset,
			 (unsigned long long)pc->got);
	/* One whose stream may be closed reads what others got since. */
	if (in->offset < f->delivered && !(in->flags & FRAME_F_REDELIVERED) &&
	    !p->conf.rogue && !p->hung_until_us && !f->reborn && !stale)
		sim_fail(w, "flow %u: redelivered at %llu without the flag",
			 f->no, (unsigned long long)in->offset);
	if (in->offset > f->delivered && lossless)
		sim_fail(w, "flow %u: a gap before %llu", f->no,
			 (unsigned long long)in->offset);
	if (in->flags & FRAME_F_REDELIVERED && lossless && !w->kill.epoch)
		sim_fail(w, "flow %u: redelivered, but no stream was lost",
			 f->no);
	pconn_check_server(w, p, f);
	pc->stream = s; /* streams of one process are as good as one */
	/* What it has seen already adds nothing. */
	if (pc->got > in->offset)
		sim_count(w, SIM_trimmed);
	if (pc->got < in->offset + len)
		pc->got = in->offset + len;
	if (f->delivered < pc->got)
		f->delivered = pc->got;
	if (pc->got > flow_q_total(f))
		sim_fail(w, "flow %u: more bytes than the client has", f->no);
	if (in->length > s->granted && !p->conf.rogue)
		sim_fail(w, "DATA beyond the stream's credit");
	s->granted -= in->length;
	s->ungranted += in->length;
	if (!p->conf.rogue)
		pconn_acknowledge(w, p, pc, f);
}

static void backend_on_eof(struct world *w, struct proc *p,
			   const struct pstream *s, struct flow *f,
			   const struct frame *in)
{
	bool stale = s->epoch != w->kill.epoch;
	struct pconn *pc = &p->conns[f->no];

	if (in->offset != flow_q_total(f) || !f->c.fin_sent)
		sim_fail(w, "flow %u: EOF at %llu", f->no,
			 (unsigned long long)in->offset);
	if (!w->sc.deaths && pc->got != in->offset)
		sim_fail(w, "flow %u: EOF before all data", f->no);
	if (f->eof_told && !(in->flags & FRAME_F_REDELIVERED) &&
	    !p->conf.rogue && !p->hung_until_us && !f->reborn && !stale)
		sim_fail(w, "flow %u: EOF again without the flag", f->no);
	pc->eof = true;
	f->eof_told = true;
}

static void backend_on_open(struct world *w, struct proc *p, struct flow *f,
			    const struct frame *in)
{
	struct pconn *pc = &p->conns[f->no];

	if (in->flags & FRAME_F_WAITS && !p->conf.rogue && !pc->closed)
		pconn_answer(w, p, pc, f);
}

/* About a connection. */
static void backend_on_conn(struct world *w, struct proc *p, struct pstream *s,
			    const struct frame *in, const uint8_t *payload)
{
	struct flow *f = world_flow_by_conn(w, in->conn);
	uint32_t len = in->length;
	struct frame_addr addr;

	if (!f && world_has_reborn(w))
		return; /* of one whose flow has another by now */
	if (!f)
		sim_fail(w, "%s for a connection that nobody opened",
			 frame_type_name(in->type));
	sim_say(w, "backend %u: got %s for #%u, offset %llu, %u bytes%s%s",
		p->no, frame_type_name(in->type), f->no,
		(unsigned long long)in->offset, in->length,
		in->flags & FRAME_F_FIRST ? ", first" : "",
		in->flags & FRAME_F_REDELIVERED ? ", again" : "");
	if (in->flags & FRAME_F_FIRST) {
		memcpy(&addr, payload, sizeof(addr));
		payload += sizeof(addr);
		len -= (uint32_t)sizeof(addr);
		pconn_first(w, p, s, f, in, &addr);
	}
	switch (in->type) {
	case FRAME_OPEN:
		backend_on_open(w, p, f, in);
		break;
	case FRAME_DATA:
		/* Of another stream's, which was lost before: as libxtcp. */
		if (!p->conns[f->no].stream && s->epoch != w->kill.epoch)
			break;
		backend_on_data(w, p, s, f, in, payload, len);
		break;
	case FRAME_EOF:
		backend_on_eof(w, p, s, f, in);
		break;
	case FRAME_RESET:
		if (p->conns[f->no].stream == s)
			p->conns[f->no] = (struct pconn){ 0 };
		if (w->kill.epoch && in->aux == ESTALE) {
			sim_count(w, SIM_stale_resets);
			break; /* it is another process's now */
		}
		/* One that was told of it, too, hears that another closed. */
		if (f->c.state != CLIENT_DEAD && !p->conf.rogue &&
		    !f->close_said)
			check_reset(w, f, "RESET for the backend");
		break;
	case FRAME_CREDIT:
		if (p->conns[f->no].limit < in->offset)
			p->conns[f->no].limit = in->offset;
		break;
	default:
		break;
	}
}

static void backend_on_error(struct world *w, struct proc *p, struct pstream *s,
			     const struct frame *in, const uint8_t *payload)
{
	struct flow *f = in->conn ? world_flow_by_conn(w, in->conn) : NULL;

	sim_say(w, "backend %u: ERROR %u: %.*s", p->no, in->aux,
		(int)in->length, (const char *)payload);
	if (p->conf.rogue || w->ending || (f && f->excuse))
		return;
	if (f && (f->c.state == CLIENT_DEAD || f->gone))
		return;
	/* Its ACCEPT may have been heard, or not, before xtcpd died. */
	if (f && w->kill.epoch && f->accept_said)
		return;
	if (!in->conn && in->aux == ETIMEDOUT && p->hung_until_us)
		return; /* it was silent for too long */
	(void)s;
	sim_fail(w, "an honest backend is told: error %u: %.*s", in->aux,
		 (int)in->length, (const char *)payload);
}

void backend_on_frame(struct world *w, struct proc *p, struct pstream *s,
		      const struct frame *in, const uint8_t *payload)
{
	struct frame pong = { .type = FRAME_PONG,
			      .group = SIM_GROUP_ID,
			      .offset = in->offset };

	switch (in->type) {
	case FRAME_ATTACHED:
		break;
	case FRAME_PING:
		pstream_frame(s, &pong, NULL, 0);
		break;
	case FRAME_PONG:
		keep_pong(w, p, in->offset);
		break;
	case FRAME_ERROR:
		backend_on_error(w, p, s, in, payload);
		break;
	case FRAME_CREDIT:
		if (!in->conn) {
			s->credit += in->aux;
			break;
		}
		/* fall through */
	default:
		if (in->conn)
			backend_on_conn(w, p, s, in, payload);
		break;
	}
}
