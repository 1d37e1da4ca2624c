/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * view - struct workers_view over inquiries: what control and metrics ask.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/clock.h"
#include "daemon/daemon.h"
#include "daemon/snapshot_take.h"
#include "daemon/tun.h"

/* Who waits for an inquiry's outcome. */
struct view_ask {
	void (*snapshots)(void *arg, struct snapshot *const *snaps,
			  uint32_t n_workers);
	void (*outcome)(void *arg, int err);
	void *arg;
};

struct view_drain {
	char name[CONF_NAME_MAX];
	uint16_t group;
	enum backend_duty duty;
};

static struct view_ask *view_ask_new(void (*outcome)(void *arg, int err),
				     void *arg)
{
	struct view_ask *ask = calloc(1, sizeof(*ask));

	if (!ask)
		return NULL;
	ask->outcome = outcome;
	ask->arg = arg;
	return ask;
}

static int view_start(struct daemon *d, const struct inquiry_kind *kind,
		      uint32_t only, const void *args, size_t bytes,
		      inquiry_done done, struct view_ask *ask)
{
	int err = -ENOMEM;

	if (d->inquirer.n_pending >= VIEW_PENDING_MAX)
		err = -EBUSY;
	else if (ask)
		err = inquiry_ask(&d->inquirer, kind, only, args, bytes, done,
				  ask);
	if (err < 0)
		free(ask);
	return err;
}

/* Of the calling thread. */
static uint64_t view_cpu_us(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * USEC_PER_SEC +
	       (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

static void *view_snapshot_work(struct worker *w, const void *args,
				int *ret_err)
{
	struct snapshot *snap = snapshot_take(&w->gs, args);

	if (snap)
		snap->cpu_us = view_cpu_us();
	*ret_err = snap ? 0 : -ENOMEM;
	return snap;
}

static void view_snapshot_drop(void *answer)
{
	snapshot_free(answer);
}

static void view_snapshot_done(void *arg, void *const *answers, const int *errs,
			       uint32_t n)
{
	struct snapshot *snaps[ARENA_WORKERS_MAX];
	struct view_ask *ask = arg;

	(void)errs;
	for (uint32_t i = 0; i < n; i++)
		snaps[i] = answers[i];
	ask->snapshots(ask->arg, snaps, n);
	free(ask);
}

static int view_snapshot(void *self, const struct snapshot_query *query,
			 void (*cb)(void *arg, struct snapshot *const *snaps,
				    uint32_t n_workers),
			 void *arg)
{
	static const struct inquiry_kind kind = { view_snapshot_work,
						  view_snapshot_drop };
	struct view_ask *ask = view_ask_new(NULL, arg);

	if (ask)
		ask->snapshots = cb;
	return view_start(self, &kind, INQUIRY_ALL, query, sizeof(*query),
			  view_snapshot_done, ask);
}

/* One worker was asked: its word is the outcome. */
static void view_one_done(void *arg, void *const *answers, const int *errs,
			  uint32_t n)
{
	struct view_ask *ask = arg;
	int err = -ENOENT;

	(void)answers;
	for (uint32_t i = 0; i < n; i++)
		if (errs[i] != -EAGAIN)
			err = errs[i];
	ask->outcome(ask->arg, err);
	free(ask);
}

/* All were asked: done when one did it, and none was silent. */
static void view_all_done(void *arg, void *const *answers, const int *errs,
			  uint32_t n)
{
	struct view_ask *ask = arg;
	int err = -ENOENT;

	(void)answers;
	for (uint32_t i = 0; i < n && err != -ETIMEDOUT; i++)
		if (errs[i] == 0 || errs[i] == -ETIMEDOUT)
			err = errs[i];
	ask->outcome(ask->arg, err);
	free(ask);
}

static void *view_close_work(struct worker *w, const void *args, int *ret_err)
{
	uint64_t id;

	memcpy(&id, args, sizeof(id));
	*ret_err = groups_close_conn(&w->gs, id);
	return NULL;
}

static int view_close_conn(void *self, uint64_t conn_id,
			   void (*cb)(void *arg, int err), void *arg)
{
	static const struct inquiry_kind kind = { view_close_work, NULL };
	struct daemon *d = self;

	if (frame_conn_worker(conn_id) >= d->n_workers)
		return -ENOENT;
	return view_start(d, &kind, frame_conn_worker(conn_id), &conn_id,
			  sizeof(conn_id), view_one_done,
			  view_ask_new(cb, arg));
}

static void *view_set_duty_work(struct worker *w, const void *args,
				int *ret_err)
{
	const struct view_drain *drain = args;

	*ret_err = groups_set_duty(&w->gs, drain->name, drain->duty) > 0
			   ? 0
			   : -ENOENT;
	return NULL;
}

static int view_set_duty(void *self, const char *name, enum backend_duty duty,
			 void (*cb)(void *arg, int err), void *arg)
{
	static const struct inquiry_kind kind = { view_set_duty_work, NULL };
	struct view_drain drain = { .duty = duty };

	if (strlen(name) >= sizeof(drain.name))
		return -ENOENT;
	snprintf(drain.name, sizeof(drain.name), "%s", name);
	return view_start(self, &kind, INQUIRY_ALL, &drain, sizeof(drain),
			  view_all_done, view_ask_new(cb, arg));
}

static void *view_drain_group_work(struct worker *w, const void *args,
				   int *ret_err)
{
	const struct view_drain *drain = args;

	groups_drain_group(&w->gs, drain->group);
	*ret_err = 0;
	return NULL;
}

static int view_drain_group(void *self, const char *name,
			    void (*cb)(void *arg, int err), void *arg)
{
	static const struct inquiry_kind kind = { view_drain_group_work, NULL };
	struct view_drain drain = { .group = 0 };
	struct daemon *d = self;
	const struct conf_group *g = conf_find_group(d->conf, name);

	if (!g)
		return -ENOENT;
	drain.group = g->id;
	return view_start(d, &kind, INQUIRY_ALL, &drain, sizeof(drain),
			  view_all_done, view_ask_new(cb, arg));
}

static int view_reload(void *self, conf_report report, void *arg)
{
	return daemon_reload(self, report, arg);
}

static void *view_settle_work(struct worker *w, const void *args, int *ret_err)
{
	(void)w;
	(void)args;
	*ret_err = 0;
	return NULL;
}

static int view_settle(void *self, void (*cb)(void *arg, int err), void *arg)
{
	static const struct inquiry_kind kind = { view_settle_work, NULL };

	return view_start(self, &kind, INQUIRY_ALL, &kind, 0, view_all_done,
			  view_ask_new(cb, arg));
}

static const struct conf *view_conf(void *self)
{
	return ((struct daemon *)self)->conf;
}

static uint64_t view_uptime_ms(void *self)
{
	return (clock_now_us() - ((struct daemon *)self)->started_us) /
	       USEC_PER_MSEC;
}

static uint64_t view_arena_resident_bytes(void *self)
{
	return arena_resident_bytes(&((struct daemon *)self)->arena);
}

static const char *view_sandbox(void *self)
{
	const struct daemon *d = self;

	return d->conf->sandbox ? d->sandbox.text : "off";
}

static const struct arena_header *view_arena(void *self)
{
	return ((struct daemon *)self)->arena.header;
}

static uint64_t view_device_dropped(void *self)
{
	struct daemon *d = self;

	return tun_dropped(d->conf->tun.name);
}

static const char *view_steering(void *self)
{
	const struct daemon *d = self;

	if (d->arena.header->workers == 1)
		return "none";
	return d->steered ? "ebpf" : "kernel";
}

static void view_on_capture(struct mail *mail, void *receiver)
{
	struct worker *w = receiver;

	tap_attach(&w->tap, container_of(mail, struct capture_ring, mail));
}

static uint32_t view_capture(void *self, struct capture *c)
{
	struct daemon *d = self;
	uint32_t silent = 0;

	assert(c->n_rings == d->n_workers);
	for (uint32_t i = 0; i < d->n_workers; i++) {
		c->rings[i].mail.run = view_on_capture;
		capture_ref(c);
		if (worker_post(d->workers[i], &c->rings[i].mail) == 0)
			continue;
		capture_unref(c);
		silent++;
	}
	return silent;
}

void daemon_view_init(struct daemon *d)
{
	d->view = (struct workers_view){
		.self = d,
		.snapshot = view_snapshot,
		.close_conn = view_close_conn,
		.set_duty = view_set_duty,
		.drain_group = view_drain_group,
		.reload = view_reload,
		.settle = view_settle,
		.conf = view_conf,
		.uptime_ms = view_uptime_ms,
		.arena_resident_bytes = view_arena_resident_bytes,
		.sandbox = view_sandbox,
		.arena = view_arena,
		.device_dropped = view_device_dropped,
		.steering = view_steering,
		.capture = view_capture,
	};
}
