/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backend - model application processes: their life, and their streams. What
 * they do about connections is in backend_conn.c.
 */
#include "backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sim.h"

#define BACKEND_READ_BUDGET (256u * 1024u)
#define BACKEND_AGAIN_US 300000u
#define BACKEND_RETRY_US 500u
/* xtcpd.conf(5), on-backend-loss: 3 s after xtcpd's restart. */
#define BACKEND_LATE_US 2900000u

void proc_arm(struct world *w, struct proc *p, uint64_t at_us)
{
	if (p->armed_at && p->armed_at <= at_us)
		return;
	p->armed_at = at_us;
	world_at(w, at_us, EV_PROC, p);
}

/* --- streams ----------------------------------------------------------- */

void pstream_frame(struct pstream *s, const struct frame *f,
		   const uint8_t *payload, uint32_t len)
{
	struct frame header = *f;
	uint32_t need = s->out_len + FRAME_HEADER_BYTES + len;

	header.length = len;
	if (need > s->out_cap) {
		s->out_cap = need * 2;
		s->out = realloc(s->out, s->out_cap);
	}
	frame_encode(&header, s->out + s->out_len);
	if (len)
		memcpy(s->out + s->out_len + FRAME_HEADER_BYTES, payload, len);
	s->out_len = need;
}

void pstream_reply(struct pstream *s, const struct frame *f, uint64_t key,
		   uint64_t pos, uint32_t len)
{
	static uint8_t data[FRAME_PAYLOAD_MAX];

	pattern_fill(key, pos, data, len);
	pstream_frame(s, f, data, len);
}

static void pstream_flush(struct world *w, struct proc *p, struct pstream *s)
{
	uint32_t done = 0;

	while (s->fd >= 0 && done < s->out_len) {
		ssize_t n = send(s->fd, s->out + done, s->out_len - done,
				 MSG_NOSIGNAL);

		if (n <= 0)
			break; /* full, or gone: reading tells which */
		done += (uint32_t)n;
		w->sockets_due = true;
	}
	if (done)
		memmove(s->out, s->out + done, s->out_len - done);
	s->out_len -= done;
	if (s->out_len)
		proc_arm(w, p, w->now_us + BACKEND_RETRY_US);
}

static void pstream_close(struct world *w, struct proc *p, struct pstream *s)
{
	if (s->fd < 0)
		return;
	close(s->fd);
	frame_reader_fini(&s->in);
	free(s->out);
	*s = (struct pstream){ .fd = -1 };
	for (uint32_t i = 0; i < FLOWS_MAX && !p->conf.resume; i++)
		if (p->conns[i].stream == s)
			p->conns[i] = (struct pconn){ 0 };
	if (p->conf.resume)
		keep_lost(p);
	w->sockets_due = true;
}

/* When it dials again; late, it counts as lost where all that it knew is reset. */
static void proc_again(struct world *w, struct proc *p)
{
	p->open_at_us = w->now_us + BACKEND_AGAIN_US;
	if (p->conf.again_us)
		p->open_at_us =
			w->now_us + rng_scale(&p->rng, 1, p->conf.again_us);
	if (w->sc.on_loss == CONF_LOSS_RESET_ALL &&
	    p->open_at_us > w->now_us + BACKEND_LATE_US)
		world_expect_loss(w);
}

static void pstream_open(struct world *w, struct proc *p, struct pstream *s)
{
	struct groups_attach attach = {
		.group = SIM_GROUP_ID,
		.instance = p->instance,
		.pid = p->no + 1,
		.max_payload = FRAME_PAYLOAD_MAX,
		.stream_credit_bytes = p->conf.credit,
		.resumes = p->keep.resume,
	};
	int fds[2], err;

	if (w->kill.dead || p->open_at_us > w->now_us) {
		/* Nobody listens, or it tries later. */
		if (p->open_at_us <= w->now_us)
			proc_again(w, p);
		proc_arm(w, p, p->open_at_us);
		return;
	}

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		       fds) < 0)
		sim_fail(w, "socketpair: %s", strerror(errno));
	*s = (struct pstream){ .fd = fds[1],
			       .credit = STREAM_CREDIT_BYTES,
			       .granted = p->conf.credit,
			       .epoch = w->kill.epoch };
	frame_reader_init(&s->in, FRAME_SIDE_BACKEND, FRAME_PAYLOAD_MAX);
	attach.fd = fds[0];
	w->gs.now_us = w->now_us;
	err = groups_attach(&w->gs, &attach);
	if (err < 0)
		sim_fail(w, "groups_attach: %s", strerror(-err));
	keep_resume(w, p);
	w->sockets_due = true;
}

/* --- reading ----------------------------------------------------------- */

/* The stream was closed by xtcpd. */
static void backend_on_close(struct world *w, struct proc *p, struct pstream *s)
{
	bool killed = s->epoch != w->kill.epoch;

	sim_say(w, "backend %u: the stream is closed", p->no);
	if (!p->conf.rogue && !p->hung_until_us && !w->ending && !killed)
		sim_fail(w, "an honest backend's stream was closed");
	pstream_close(w, p, s);
	if (w->ending)
		return;
	if (killed || p->conf.resume)
		proc_again(w, p);
	proc_arm(w, p, killed ? p->open_at_us : w->now_us + BACKEND_AGAIN_US);
}

/* Take in what is there. Returns whether there may be more. */
static bool pstream_read(struct world *w, struct proc *p, struct pstream *s)
{
	bool slow = p->conf.read_max && !p->calm && s->epoch == w->kill.epoch;
	uint32_t budget = slow ? p->conf.read_max : BACKEND_READ_BUDGET;
	const uint8_t *payload;
	struct frame in;

	while (s->fd >= 0 && budget) {
		size_t room;
		void *space;
		ssize_t n;
		int rc = frame_reader_next(&s->in, &in, &payload);

		if (rc < 0)
			sim_fail(w, "a bad frame from xtcpd: type %u", in.type);
		if (rc > 0) {
			backend_on_frame(w, p, s, &in, payload);
			continue;
		}
		space = frame_reader_space(&s->in, &room);
		n = read(s->fd, space, room < budget ? room : budget);
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n <= 0) {
			backend_on_close(w, p, s);
			return false;
		}
		frame_reader_commit(&s->in, (size_t)n);
		budget -= (uint32_t)n;
		w->sockets_due = true;
	}
	return true;
}

static void pstream_grant(struct proc *p, struct pstream *s)
{
	struct frame out = { .type = FRAME_CREDIT, .group = SIM_GROUP_ID };

	if (s->ungranted < p->conf.credit / 4)
		return;
	out.aux = s->ungranted;
	s->granted += s->ungranted;
	s->ungranted = 0;
	pstream_frame(s, &out, NULL, 0);
}

/* --- the process ------------------------------------------------------- */

static void backend_read(struct world *w, struct proc *p)
{
	bool more = false;

	p->reads_due = false;
	p->read_at_us = 0;
	p->heard_us = w->now_us;
	for (uint32_t i = 0; i < p->conf.streams; i++) {
		if (p->streams[i].fd < 0)
			continue;
		more |= pstream_read(w, p, &p->streams[i]);
		if (p->streams[i].fd >= 0)
			pstream_grant(p, &p->streams[i]);
	}
	if (more)
		backend_poke(w, p);
}

void backend_timer(struct world *w, struct proc *p)
{
	if (p->armed_at && p->armed_at <= w->now_us)
		p->armed_at = 0;
	if (!p->alive)
		return;
	if (p->hung_until_us > w->now_us) {
		proc_arm(w, p, p->hung_until_us);
		return;
	}
	for (uint32_t i = 0; i < p->conf.streams && !w->ending; i++)
		if (p->streams[i].fd < 0)
			pstream_open(w, p, &p->streams[i]);
	if (p->reads_due && p->read_at_us <= w->now_us)
		backend_read(w, p);
	else if (p->reads_due)
		proc_arm(w, p, p->read_at_us);
	keep_resume(w, p);
	for (uint32_t i = 0; i < w->sc.n_flows && !p->conf.rogue; i++)
		if (p->conns[i].stream)
			pconn_work(w, p, i);
	for (uint32_t i = 0; i < p->conf.streams; i++)
		if (p->streams[i].fd >= 0)
			pstream_flush(w, p, &p->streams[i]);
}

void backend_poke(struct world *w, struct proc *p)
{
	uint32_t delay = p->calm ? 20 : p->conf.read_us;

	if (!p->alive || p->reads_due)
		return;
	p->reads_due = true;
	p->read_at_us = w->now_us + 1 + rng_below(&p->rng, delay);
	proc_arm(w, p, p->read_at_us);
}

void backend_start(struct world *w, struct proc *p)
{
	if (p->alive || w->ending)
		return;
	sim_say(w, "backend %u starts", p->no);
	p->alive = true;
	p->instance = rng_next(&p->rng) | 1;
	p->hung_until_us = 0;
	p->open_at_us = 0;
	for (uint32_t i = 0; i < p->conf.streams; i++)
		pstream_open(w, p, &p->streams[i]);
}

void backend_kill(struct world *w, struct proc *p)
{
	if (!p->alive)
		return;
	sim_say(w, "backend %u dies", p->no);
	sim_count(w, SIM_backend_deaths);
	for (uint32_t i = 0; i < p->conf.streams; i++)
		pstream_close(w, p, &p->streams[i]);
	memset(p->conns, 0, sizeof(p->conns));
	keep_forget(p);
	p->alive = false;
	p->reads_due = false;
}

void backend_hang(struct world *w, struct proc *p, uint64_t until_us)
{
	sim_say(w, "backend %u hangs", p->no);
	sim_count(w, SIM_backend_hangs);
	p->hung_until_us = until_us;
	proc_arm(w, p, until_us);
}

void backend_calm(struct world *w, struct proc *p)
{
	p->calm = true;
	if (p->hung_until_us > w->now_us)
		p->hung_until_us = w->now_us;
	if (p->conf.rogue && p->alive) {
		world_expect_loss(w);
		backend_kill(w, p);
	} else if (!p->conf.rogue) {
		backend_start(w, p);
	}
	if (p->conf.read_max && p->conf.read_max < 4096)
		p->conf.read_max = 4096;
	for (uint32_t i = 0; i < w->sc.n_flows; i++)
		p->conns[i].serve_at = 0;
	proc_arm(w, p, w->now_us + 1);
	backend_poke(w, p);
}

void backend_fini(struct proc *p)
{
	keep_forget(p);
	for (uint32_t i = 0; i < PROC_STREAMS_MAX; i++) {
		if (p->streams[i].fd < 0)
			continue;
		close(p->streams[i].fd);
		frame_reader_fini(&p->streams[i].in);
		free(p->streams[i].out);
		p->streams[i] = (struct pstream){ .fd = -1 };
	}
}
