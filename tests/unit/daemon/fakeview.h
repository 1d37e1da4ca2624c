/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TESTS_UNIT_DAEMON_FAKEVIEW_H
#define XTCP_TESTS_UNIT_DAEMON_FAKEVIEW_H

/*
 * A struct workers_view of two workers that exist on paper only.
 *
 * Answers come from the event loop, as the daemon's do: at once, or when the
 * test says so (held), without worker 1 (silent), or never but by
 * fake_answer_now().
 */

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "daemon/snapshot.h"

#define FAKE_WORKERS 2
#define FAKE_CONNS 3 /* per worker */
#define FAKE_PENDING_MAX 64

struct fake_pending {
	struct snapshot_query query;
	void (*snapshots)(void *arg, struct snapshot *const *snaps, uint32_t n);
	void (*outcome)(void *arg, int err);
	int err;
	void *arg;
};

struct fake_view {
	struct workers_view view;
	struct event_base *base;
	struct event *timer;
	struct conf conf;
	struct conf_pool pool;
	struct conf_group group;
	bool silent, held, refuse_config;
	struct fake_pending pending[FAKE_PENDING_MAX];
	uint32_t n_pending;
	uint32_t n_asked;
	uint64_t closed;
	char drained[64];
};

static inline void fake_fill(struct snapshot *s, uint32_t worker,
			     uint64_t *counters, struct snapshot_group *group,
			     struct snapshot_pool *pools,
			     struct snapshot_backend *backend,
			     struct snapshot_conn *conns)
{
	*s = (struct snapshot){
		.worker = worker,
		.established = 100 + worker,
		.active = 10,
		.half_open = 2,
		.time_wait = 1,
		.memory = { 1000, 10, 2000, 3000 },
		.counters = counters,
		.groups = group,
		.n_groups = 1,
		.pools = pools,
		.n_pools = 3,
		.backends = backend,
		.n_backends = 1,
		.conns = conns,
	};
	while (counter_name(s->n_counters))
		s->n_counters++;
	for (uint32_t i = 0; i < s->n_counters; i++)
		counters[i] = i;
	*group = (struct snapshot_group){
		.id = 1, .connections = 50, .waiting = 4, .messages_in = 7
	};
	pools[0] = (struct snapshot_pool){ 512, 4096, worker == 1 };
	/* 1 is not there; 2 is an application's own */
	pools[1] = (struct snapshot_pool){ 0 };
	pools[2] = (struct snapshot_pool){ 1, 2, false };
	*backend = (struct snapshot_backend){ .group = 1,
					      .name = "b\"1",
					      .state = "up",
					      .streams_up = 1,
					      .streams_wanted = 2,
					      .inflight = 3,
					      .requests = 10,
					      .request_us = 5000 };
	if (worker == 0)
		backend->state = "connecting";
	for (uint32_t i = 0; i < FAKE_CONNS; i++) {
		conns[i] = (struct snapshot_conn){
			.id = (uint64_t)worker << 56 | (i + 1),
			.state = "ESTABLISHED",
			.group = 1,
			.remote = { 4,
				    { 198, 51, 100, (uint8_t)(worker + 1) } },
			.local = { 6, { 0x20, 1, 0xd, 0xb8 } },
			.remote_port = 1000,
			.local_port = 5222,
			.mss = 1460,
			.sack = true,
		};
	}
}

static inline void fake_select(struct snapshot *s,
			       const struct snapshot_query *query)
{
	if (!query->conns)
		return;
	for (uint32_t i = 0; i < FAKE_CONNS; i++) {
		if (query->conn_id && query->conn_id != s->conns[i].id)
			continue;
		if (query->state[0] &&
		    strcmp(query->state, s->conns[i].state) != 0)
			continue;
		if (s->n_conns < query->limit)
			s->conns[s->n_conns++] = s->conns[i];
	}
}

/* 100 requests of 1 ms; worker 1 has one of a second, too. */
static inline void fake_latency(struct snapshot *s, struct histogram *h)
{
	*h = (struct histogram){ 0 };
	for (int i = 0; i < 100; i++)
		histogram_add(h, 1000);
	if (s->worker == 1)
		histogram_add(h, 1000000);
	s->latency = h;
	s->groups[0].latency = h;
}

static inline void fake_answer(struct fake_view *f,
			       const struct fake_pending *p)
{
	static uint64_t counters[FAKE_WORKERS][1024];
	struct snapshot_group groups[FAKE_WORKERS];
	struct snapshot_pool pools[FAKE_WORKERS][3];
	struct snapshot_backend backends[FAKE_WORKERS];
	struct snapshot_conn conns[FAKE_WORKERS][FAKE_CONNS];
	struct histogram latency[FAKE_WORKERS];
	struct snapshot snaps[FAKE_WORKERS], *at[FAKE_WORKERS];

	if (p->outcome) {
		p->outcome(p->arg, p->err);
		return;
	}
	for (uint32_t i = 0; i < FAKE_WORKERS; i++) {
		fake_fill(&snaps[i], i, counters[i], &groups[i], pools[i],
			  &backends[i], conns[i]);
		fake_select(&snaps[i], &p->query);
		if (p->query.latency)
			fake_latency(&snaps[i], &latency[i]);
		at[i] = f->silent && i == 1 ? NULL : &snaps[i];
	}
	p->snapshots(p->arg, at, FAKE_WORKERS);
}

/* What was asked so far is answered. */
static inline void fake_answer_now(struct fake_view *f)
{
	struct fake_pending now[FAKE_PENDING_MAX];
	uint32_t n = f->n_pending;

	memcpy(now, f->pending, sizeof(now));
	f->n_pending = 0;
	for (uint32_t i = 0; i < n; i++)
		fake_answer(f, &now[i]);
}

static inline void fake_on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	fake_answer_now(arg);
}

static inline int fake_ask(struct fake_view *f, const struct fake_pending *p)
{
	const struct timeval soon = { 0, 0 };

	assert(f->n_pending < FAKE_PENDING_MAX);
	f->pending[f->n_pending++] = *p;
	f->n_asked++;
	if (!f->held)
		event_add(f->timer, &soon);
	return 0;
}

static inline int
fake_snapshot(void *self, const struct snapshot_query *query,
	      void (*cb)(void *arg, struct snapshot *const *snaps, uint32_t n),
	      void *arg)
{
	return fake_ask(self, &(struct fake_pending){ .query = *query,
						      .snapshots = cb,
						      .arg = arg });
}

static inline int fake_close_conn(void *self, uint64_t id,
				  void (*cb)(void *arg, int err), void *arg)
{
	struct fake_view *f = self;

	f->closed = id;
	return fake_ask(f, &(struct fake_pending){ .outcome = cb,
						   .arg = arg,
						   .err = id < 100 ? 0
								   : -ENOENT });
}

static inline int fake_set_duty(void *self, const char *name,
				enum backend_duty duty,
				void (*cb)(void *arg, int err), void *arg)
{
	struct fake_view *f = self;

	if (strcmp(name, "none") == 0)
		return -ENOENT;
	snprintf(f->drained, sizeof(f->drained), "%s backend %.40s",
		 duty == BACKEND_DRAINS	   ? "drain"
		 : duty == BACKEND_VACATES ? "vacate"
					   : "resume",
		 name);
	return fake_ask(f, &(struct fake_pending){ .outcome = cb, .arg = arg });
}

static inline int fake_drain_group(void *self, const char *name,
				   void (*cb)(void *arg, int err), void *arg)
{
	struct fake_view *f = self;

	if (strcmp(name, "im") != 0)
		return -ENOENT;
	snprintf(f->drained, sizeof(f->drained), "drain group %.40s", name);
	return fake_ask(f, &(struct fake_pending){ .outcome = cb,
						   .arg = arg,
						   .err = -ETIMEDOUT });
}

static inline int fake_reload(void *self, conf_report report, void *arg)
{
	struct fake_view *f = self;

	if (f->refuse_config) {
		report(arg, "x.conf:1: workers: 99 is out of range");
		report(arg, "x.conf:2: foo: unknown key");
		return -EINVAL;
	}
	report(arg, "workers: needs a restart");
	return 0;
}

static inline int fake_settle(void *self, void (*cb)(void *arg, int err),
			      void *arg)
{
	return fake_ask(self,
			&(struct fake_pending){ .outcome = cb, .arg = arg });
}

static inline const struct conf *fake_conf(void *self)
{
	return &((struct fake_view *)self)->conf;
}

static inline uint64_t fake_uptime_ms(void *self)
{
	(void)self;
	return 12345;
}

static inline uint64_t fake_arena_resident_bytes(void *self)
{
	(void)self;
	return 200000;
}

static inline const char *fake_sandbox(void *self)
{
	(void)self;
	return "seccomp";
}

static inline const struct arena_header *fake_arena(void *self)
{
	static const struct arena_header header = {
		.workers = FAKE_WORKERS,
		.recs_per_shard = 1000,
		.rx_chunks_per_shard = 2000,
		.tx_chunks_per_shard = 3000,
	};

	(void)self;
	return &header;
}

static inline uint64_t fake_device_dropped(void *self)
{
	(void)self;
	return 77;
}

static inline const char *fake_steering(void *self)
{
	(void)self;
	return "ebpf";
}

static inline void fake_init(struct fake_view *f, struct event_base *base)
{
	*f = (struct fake_view){
		.base = base,
		.pool = { .name = "chat",
			  .throttle_high = 90,
			  .throttle_low = 75 },
		.group = { .name = "im", .id = 1, .port = 5222, .priority = -1 },
		.view = { f, fake_snapshot, fake_close_conn, fake_set_duty,
			  fake_drain_group, fake_reload, fake_settle, fake_conf,
			  fake_uptime_ms, fake_arena_resident_bytes,
			  fake_sandbox, fake_arena, fake_device_dropped,
			  fake_steering, NULL },
	};
	f->conf.pools = &f->pool;
	f->conf.n_pools = 1;
	f->conf.groups = &f->group;
	f->conf.n_groups = 1;
	f->timer = event_new(base, -1, 0, fake_on_timer, f);
	assert(f->timer);
}

static inline void fake_fini(struct fake_view *f)
{
	event_free(f->timer);
}

#endif
