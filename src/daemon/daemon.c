/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daemon - all of xtcpd, put together and taken apart.
 *
 * Theory of operation
 *
 * What there is to set up stands in one table, daemon_steps[], in order; it is
 * undone in reverse, from the last step that succeeded. After that the main
 * thread runs its libevent loop: attach socket, control, metrics, signals, and
 * the mailbox in which the workers answer. It touches nothing of a running
 * worker: settings go there by mail (registry.c), questions as inquiries.
 *
 *	store, lock, arena, tun, own ports, workers       made, nothing runs
 *	attach, control, metrics, inquirer, signals      we can be talked to
 *	sandbox                                          what that took is given up
 *	start                                            the workers run
 *
 * The sandbox (sandbox.h) comes after all that needs privileges, and before
 * the first byte from outside is read, here or in a worker. From there on, and
 * on the way down, only what it lets through can be done.
 *
 * What stays when we end, and what is found at a start: takeover.c.
 *
 * The inquirer comes after those who ask, so that on the way down every
 * question is answered while the asker is still there; the workers' late
 * answers are taken from the mailbox once they have stopped.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/attach.h"
#include "daemon/clock.h"
#include "daemon/control.h"
#include "daemon/hello.h"
#include "daemon/metrics.h"
#include "daemon/notify.h"
#include "daemon/ownport.h"
#include "daemon/registry_plan.h"
#include "daemon/statedir.h"
#include "daemon/takeover.h"
#include "daemon/tun.h"

#define DAEMON_TICK_S 5

static void daemon_on_mail(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;

	(void)fd;
	(void)what;
	mailbox_run(&d->box, d);
}

static void *daemon_heartbeat_work(struct worker *w, const void *args,
				   int *ret_err)
{
	(void)w;
	(void)args;
	*ret_err = 0;
	return NULL;
}

static void daemon_heartbeat_done(void *arg, void *const *answers,
				  const int *errs, uint32_t n)
{
	struct daemon *d = arg;

	(void)answers;
	d->healthy = true;
	for (uint32_t i = 0; i < n; i++) {
		if (errs[i] == 0)
			continue;
		d->healthy = false;
		log_warn("worker %u does not answer", i);
	}
	if (d->healthy)
		registry_recovered(&d->registry); /* what could not be done */
}

static void daemon_ask_heartbeat(struct daemon *d)
{
	static const struct inquiry_kind kind = { daemon_heartbeat_work, NULL };

	(void)inquiry_ask(&d->inquirer, &kind, INQUIRY_ALL, &kind, 0,
			  daemon_heartbeat_done, d);
}

static bool daemon_is_healthy(void *arg)
{
	return ((struct daemon *)arg)->healthy;
}

static void daemon_on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;

	(void)fd;
	(void)what;
	registry_tick(&d->registry, clock_now_us());
	ownport_tick(d->ownport);
	daemon_ask_heartbeat(d);
}

static int daemon_base_init(struct daemon *d)
{
	/* Answers to inquiries always fit: each was asked for. */
	int err = mailbox_init(&d->box, UINT32_MAX);

	if (err < 0)
		return err;
	if (getrandom(&d->instance, sizeof(d->instance), 0) !=
	    sizeof(d->instance))
		d->instance = clock_now_us();
	d->base = event_base_new();
	if (d->base) {
		d->ev_mail = event_new(d->base, d->box.fd, EV_READ | EV_PERSIST,
				       daemon_on_mail, d);
		d->ev_tick =
			event_new(d->base, -1, EV_PERSIST, daemon_on_tick, d);
	}
	if (d->ev_mail && d->ev_tick && event_add(d->ev_mail, NULL) == 0)
		return 0;
	return -ENOMEM;
}

static void daemon_base_fini(struct daemon *d)
{
	mailbox_close(&d->box);
	mailbox_run(&d->box, d);
	if (d->ev_mail)
		event_free(d->ev_mail);
	if (d->ev_tick)
		event_free(d->ev_tick);
	if (d->base)
		event_base_free(d->base);
	mailbox_fini(&d->box);
}

/* One xtcpd per state directory: the lock goes with the process. */
static int daemon_lock_init(struct daemon *d)
{
	int err = statedir_prepare(d->conf->state_dir);

	if (err < 0)
		return err;
	d->lock_fd = statedir_lock(d->conf->state_dir);
	return d->lock_fd < 0 ? d->lock_fd : 0;
}

static void daemon_lock_fini(struct daemon *d)
{
	close(d->lock_fd);
}

void daemon_limits(const struct daemon *d, const struct conf *conf,
		   struct stack_limits *ret_limits)
{
	uint32_t workers = d->arena.header->workers;
	uint32_t half_open =
		(uint32_t)(((uint64_t)conf->half_open_max + workers - 1) /
			   workers);

	stack_limits_init(ret_limits, (uint16_t)conf->tun.mtu);
	ret_limits->recs_max =
		arena_recs_per_shard(conf->max_connections, workers);
	ret_limits->half_open_max = half_open;
	ret_limits->half_open_per_source = conf->half_open_per_source;
	ret_limits->half_open_cookies =
		(uint32_t)((uint64_t)half_open * conf->syn_cookies_above / 100);
	ret_limits->syn_cookies =
		conf->syn_cookies == CONF_COOKIES_ALWAYS  ? STACK_COOKIES_ALWAYS
		: conf->syn_cookies == CONF_COOKIES_NEVER ? STACK_COOKIES_NEVER
							  : STACK_COOKIES_AUTO;
}

static int daemon_workers_init(struct daemon *d)
{
	struct worker_setup setup = {
		.n_workers = d->conf->workers,
		.arena = &d->arena,
		.instance = d->instance,
		.pcap_path = d->options.pcap_path,
		.sandbox = d->conf->sandbox,
	};
	int err = 0;

	daemon_limits(d, d->conf, &setup.limits);
	if (setup.n_workers > 1)
		err = handover_new(&d->handover, setup.n_workers,
				   worker_packet_max(setup.limits.mtu));
	setup.handover = d->handover;
	while (!err && d->n_workers < setup.n_workers) {
		setup.index = d->n_workers;
		setup.tun_fd = tun_queue(d->tun, setup.index);
		setup.tun_vnet = true;
		setup.tun_offload = tun_offloads(d->tun);
		err = worker_new(&d->workers[d->n_workers], &setup);
		d->n_workers += !err;
	}
	if (err < 0)
		log_error("workers: %s", strerror(-err));
	return err;
}

static void daemon_workers_fini(struct daemon *d)
{
	for (uint32_t i = 0; i < d->n_workers; i++) {
		mailbox_close(&d->workers[i]->box);
		mailbox_run(&d->workers[i]->box, d->workers[i]);
		worker_free(d->workers[i]);
	}
	handover_free(d->handover);
}

static int daemon_registry_init(struct daemon *d)
{
	return registry_init(&d->registry, d->workers, d->conf->workers,
			     d->arena.header);
}

static void daemon_registry_fini(struct daemon *d)
{
	registry_fini(&d->registry);
}

static void daemon_start_fini(struct daemon *d)
{
	for (uint32_t i = 0; i < d->n_workers; i++)
		worker_stop(d->workers[i]);
}

/* Routes to addresses that were removed while no xtcpd was there. */
static void daemon_forget_vips(struct daemon *d)
{
	const struct arena_vip *vips = d->arena.header->vips;

	for (uint32_t i = 0; i < ARENA_VIPS_MAX; i++) {
		struct conf_ip ip = { .family = vips[i].family };

		memcpy(ip.bytes, vips[i].bytes, sizeof(ip.bytes));
		if (d->registry.vips_orphan >> i & 1)
			tun_forget_vip(d->tun, &ip);
	}
}

static int daemon_start_init(struct daemon *d)
{
	int err = registry_apply(&d->registry, d->conf);

	daemon_forget_vips(d);
	for (uint32_t i = 0; !err && i < d->n_workers; i++)
		err = worker_start(d->workers[i]);
	for (uint32_t i = 0; !err && i < d->n_workers; i++)
		worker_wait(d->workers[i]);
	if (!err)
		registry_recovered(&d->registry);
	if (err < 0) {
		log_error("starting the workers: %s", strerror(-err));
		daemon_start_fini(d);
	}
	return err;
}

static int daemon_attach_init(struct daemon *d)
{
	return attach_open(&d->attach, d->base, &d->conf->attach, &d->registry,
			   d->instance, hello_epoch(d->arena.header));
}

static void daemon_attach_fini(struct daemon *d)
{
	attach_close(d->attach);
}

static int daemon_control_init(struct daemon *d)
{
	return control_open(&d->control, d->base, &d->conf->control, &d->view);
}

static void daemon_control_fini(struct daemon *d)
{
	control_close(d->control);
}

static int daemon_metrics_init(struct daemon *d)
{
	if (!d->conf->has_metrics)
		return 0;
	return metrics_open(&d->metrics, d->base, &d->conf->metrics_addr,
			    &d->view);
}

static void daemon_metrics_fini(struct daemon *d)
{
	metrics_close(d->metrics);
}

static int daemon_inquirer_init(struct daemon *d)
{
	const struct timeval tv = { DAEMON_TICK_S, 0 };

	d->inquirer = (struct inquirer){
		.base = d->base,
		.box = &d->box,
		.workers = d->workers,
		.n_workers = d->n_workers,
	};
	d->healthy = true;
	return event_add(d->ev_tick, &tv);
}

static void daemon_inquirer_fini(struct daemon *d)
{
	event_del(d->ev_tick);
	inquirer_cancel(&d->inquirer);
}

static int daemon_watchdog_init(struct daemon *d)
{
	return notify_watchdog_new(&d->watchdog, d->base, daemon_is_healthy, d);
}

static void daemon_watchdog_fini(struct daemon *d)
{
	notify_watchdog_free(d->watchdog);
}

/* For systemctl status. */
static void daemon_tell_status(const struct daemon *d)
{
	notify_status("serving: %u workers, %u groups, device %s", d->n_workers,
		      d->conf->n_groups, d->conf->tun.name);
}

static void daemon_on_stop(evutil_socket_t sig, short what, void *arg)
{
	struct daemon *d = arg;

	(void)what;
	log_info("%s: stopping", sig == SIGINT ? "SIGINT" : "SIGTERM");
	daemon_ending(d, sig);
	notify_stopping();
	event_base_loopbreak(d->base);
}

/* daemon_reload() logs what it has to say. */
static void daemon_report(void *arg, const char *line)
{
	(void)arg;
	(void)line;
}

static void daemon_on_reloaded(void *arg, int err)
{
	struct daemon *d = arg;

	(void)err;
	if (!event_base_got_break(d->base)) /* not on the way down */
		notify_ready();
}

static void daemon_on_reload(evutil_socket_t sig, short what, void *arg)
{
	struct daemon *d = arg;

	(void)sig;
	(void)what;
	notify_reloading();
	(void)daemon_reload(d, daemon_report, NULL);
	daemon_tell_status(d);
	if (d->view.settle(d, daemon_on_reloaded, d) < 0)
		notify_ready();
}

static void daemon_signals_fini(struct daemon *d)
{
	for (int i = 0; i < DAEMON_SIGNALS; i++)
		if (d->ev_signals[i])
			event_free(d->ev_signals[i]);
}

static int daemon_signals_init(struct daemon *d)
{
	static const struct {
		int sig;
		event_callback_fn on;
	} signals[DAEMON_SIGNALS] = {
		{ SIGTERM, daemon_on_stop },
		{ SIGINT, daemon_on_stop },
		{ SIGHUP, daemon_on_reload },
	};

	for (int i = 0; i < DAEMON_SIGNALS; i++) {
		d->ev_signals[i] =
			evsignal_new(d->base, signals[i].sig, signals[i].on, d);
		if (!d->ev_signals[i] ||
		    event_add(d->ev_signals[i], NULL) < 0) {
			daemon_signals_fini(d);
			return -ENOMEM;
		}
	}
	return 0;
}

static int daemon_sandbox_init(struct daemon *d)
{
	const struct sandbox_setup setup = {
		.conf_path = d->options.conf_path,
		.state_dir = d->conf->state_dir,
		.control_path = d->conf->control.path,
		.attach_path = d->conf->attach.path,
		.arena = d->arena.base,
		.arena_bytes = d->arena.bytes,
	};
	int err;

	if (!d->conf->sandbox) {
		log_warn("sandbox = false: privileges are kept");
		return 0;
	}
	err = sandbox_enter(&setup, &d->sandbox);
	if (err == 0)
		log_info("sandbox: %s", d->sandbox.text);
	return err;
}

/* There is no way back. */
static void daemon_sandbox_fini(struct daemon *d)
{
	(void)d;
}

static const struct {
	const char *name;
	int (*init)(struct daemon *d);
	void (*fini)(struct daemon *d);
	bool fini_failed; /* fini() also cleans up after a failed init() */
} daemon_steps[] = {
	{ "event loop", daemon_base_init, daemon_base_fini, true },
	{ "descriptor store", daemon_store_init, daemon_store_fini, false },
	{ "lock", daemon_lock_init, daemon_lock_fini, false },
	{ "arena", daemon_arena_init, daemon_arena_fini, false },
	{ "TUN device", daemon_tun_init, daemon_tun_fini, false },
	{ "own ports", daemon_ownport_init, daemon_ownport_fini, false },
	{ "proxy ARP", daemon_proxy_init, daemon_proxy_fini, true },
	{ "registry", daemon_registry_init, daemon_registry_fini, true },
	{ "workers", daemon_workers_init, daemon_workers_fini, true },
	{ "attach socket", daemon_attach_init, daemon_attach_fini, false },
	{ "control socket", daemon_control_init, daemon_control_fini, false },
	{ "metrics", daemon_metrics_init, daemon_metrics_fini, false },
	{ "inquirer", daemon_inquirer_init, daemon_inquirer_fini, false },
	{ "watchdog", daemon_watchdog_init, daemon_watchdog_fini, false },
	{ "signals", daemon_signals_init, daemon_signals_fini, false },
	{ "sandbox", daemon_sandbox_init, daemon_sandbox_fini, false },
	{ "start", daemon_start_init, daemon_start_fini, false },
};

static void daemon_unwind(struct daemon *d, size_t n)
{
	while (n-- > 0)
		daemon_steps[n].fini(d);
}

static int daemon_up(struct daemon *d)
{
	for (size_t i = 0; i < ARRAY_SIZE(daemon_steps); i++) {
		int err = daemon_steps[i].init(d);

		if (err < 0) {
			log_error("could not start: %s: %s",
				  daemon_steps[i].name, strerror(-err));
			daemon_unwind(d,
				      daemon_steps[i].fini_failed ? i + 1 : i);
			return err;
		}
	}
	return 0;
}

/* What libevent has to say; it says some of it once per turn of its loop. */
static void daemon_on_libevent(int severity, const char *text)
{
	static _Thread_local struct log_ratelimit limit =
		LOG_RATELIMIT(10 * USEC_PER_SEC, 5);

	if (severity == EVENT_LOG_DEBUG)
		return;
	if (log_ratelimit_ok(&limit, clock_now_us()))
		log_warn("libevent: %s", text);
}

/* Each stream and each client is a descriptor, and the soft limit is low. */
static void daemon_raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
	    limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_warn("raising the limit of open files: %s",
			 strerror(errno));
}

static int daemon_serve(struct daemon *d)
{
	log_info("serving: %u workers, %u groups, device %s", d->n_workers,
		 d->conf->n_groups, d->conf->tun.name);
	daemon_settle(d);
	daemon_tell_status(d);
	notify_ready();
	if (d->options.ready)
		d->options.ready(d->options.ready_arg);
	if (event_base_dispatch(d->base) >= 0)
		return 0;
	log_error("the event loop failed: %s", strerror(errno));
	return -EIO;
}

int daemon_run(const struct daemon_options *options, struct conf *conf)
{
	struct daemon *d = calloc(1, sizeof(*d));
	int err;

	if (!d) {
		conf_free(conf);
		return -ENOMEM;
	}
	d->options = *options;
	d->conf = conf;
	d->started_us = clock_now_us();
	signal(SIGPIPE, SIG_IGN);
	event_set_log_callback(daemon_on_libevent);
	daemon_raise_descriptors();
	daemon_view_init(d);
	err = daemon_up(d);
	if (err == 0) {
		err = daemon_serve(d);
		daemon_unwind(d, ARRAY_SIZE(daemon_steps));
	}
	conf_free(d->conf);
	free(d);
	return err;
}
