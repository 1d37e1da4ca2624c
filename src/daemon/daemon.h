/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daemon - all of xtcpd, put together.
 */
#ifndef XTCP_DAEMON_DAEMON_H
#define XTCP_DAEMON_DAEMON_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena/arena.h"
#include "daemon/conf.h"
#include "daemon/inquiry.h"
#include "daemon/registry.h"
#include "daemon/sandbox.h"
#include "daemon/snapshot.h"
#include "daemon/worker.h"

struct daemon_options {
	const char *conf_path;
	const char *pcap_path; /* or NULL */
	bool foreground;
	int verbose;
	/* Called once everything serves; may be NULL. */
	void (*ready)(void *arg);
	void *ready_arg;
};

struct attach;
struct control;
struct fdstore;
struct metrics;
struct neigh_proxy;
struct notify_watchdog;
struct ownport;
struct tun;

#define DAEMON_SIGNALS 3

/* What stays when the process ends: takeover.c. */
enum daemon_end { DAEMON_END_KEEP, DAEMON_END_LEAVE, DAEMON_END_FINAL };

/* The main thread's. */
struct daemon {
	struct daemon_options options;
	struct conf *conf; /* the one in force */
	struct event_base *base;
	struct event *ev_signals[DAEMON_SIGNALS], *ev_mail, *ev_tick;
	struct mailbox box;
	uint64_t started_us, instance;
	struct fdstore *store;
	bool kept; /* somebody keeps descriptors for us */
	bool adopted; /* the arena is one of before */
	enum daemon_end end; /* if we ended now */
	int lock_fd;
	struct arena arena;
	struct tun *tun;
	struct ownport *ownport;
	struct neigh_proxy *neigh_proxy;
	bool steered; /* its queues are chosen by our program */
	struct handover *handover;
	struct worker *workers[ARENA_WORKERS_MAX];
	uint32_t n_workers;
	struct registry registry;
	struct inquirer inquirer;
	bool healthy; /* all workers answered the last time */
	struct notify_watchdog *watchdog;
	struct attach *attach;
	struct workers_view view;
	struct control *control;
	struct metrics *metrics;
	struct sandbox sandbox;
};

/*
 * Run until SIGTERM or SIGINT. Takes conf. Returns 0 after a clean stop, or
 * the negative errno with which starting or serving failed (logged).
 */
int daemon_run(const struct daemon_options *options, struct conf *conf);

/*
 * reload.c: as workers_view.reload. What changes, what needs a restart, or
 * what is wrong goes to the log as well.
 */
int daemon_reload(struct daemon *d, conf_report report, void *arg);

/* A worker's share of what conf allows, in d's arena. */
void daemon_limits(const struct daemon *d, const struct conf *conf,
		   struct stack_limits *ret_limits);

/* view.c: fill d->view. */
void daemon_view_init(struct daemon *d);

#endif
