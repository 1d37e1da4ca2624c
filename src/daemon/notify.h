/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notify - what systemd is told (sd_notify(3)); without it all do nothing.
 */
#ifndef XTCP_DAEMON_NOTIFY_H
#define XTCP_DAEMON_NOTIFY_H

#include <event2/event.h>
#include <stdbool.h>

/* The device, the routes and the recovered connections are there. */
void notify_ready(void);

/* A reload begins; notify_ready() ends it. */
void notify_reloading(void);

/* An orderly end begins. */
void notify_stopping(void);

/* One line for systemctl status (printf-like). */
__attribute__((format(printf, 1, 2))) void notify_status(const char *fmt, ...);

struct notify_watchdog;

/*
 * When the unit has WatchdogSec=: pings at a quarter of it from base's loop, as
 * long as healthy(arg) says that the workers are. One that is not is logged,
 * and left to systemd.
 * Returns 0 and sets ret_dog, to NULL when no watchdog was asked for; -ENOMEM.
 */
int notify_watchdog_new(struct notify_watchdog **ret_dog,
			struct event_base *base, bool (*healthy)(void *arg),
			void *arg);

/* Accepts NULL. */
void notify_watchdog_free(struct notify_watchdog *dog);

#endif
