/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "base/log.h"
#include "base/units.h"
#include "daemon/clock.h"

/*
 * Pings in the time that the watchdog gives us. sd_watchdog_enabled(3) wants
 * two; one heartbeat that a busy worker missed is to be forgiven.
 */
#define NOTIFY_PINGS 4

struct notify_watchdog {
	struct event *timer;
	bool (*healthy)(void *arg);
	void *arg;
	bool silent; /* held back the last ping */
};

void notify_ready(void)
{
	(void)sd_notify(0, "READY=1");
}

void notify_reloading(void)
{
	/* systemd takes the READY=1 of before this instant for an older one */
	(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
			 clock_now_us());
}

void notify_stopping(void)
{
	(void)sd_notify(0, "STOPPING=1");
}

void notify_status(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *c = text; *c != '\0'; c++)
		if (*c == '\n')
			*c = ' ';
	(void)sd_notifyf(0, "STATUS=%s", text);
}

static void notify_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct notify_watchdog *dog = arg;
	bool healthy = dog->healthy(dog->arg);

	(void)fd;
	(void)what;
	if (healthy)
		(void)sd_notify(0, "WATCHDOG=1");
	else if (!dog->silent)
		log_error("a worker does not answer: the watchdog is not fed");
	dog->silent = !healthy;
}

int notify_watchdog_new(struct notify_watchdog **ret_dog,
			struct event_base *base, bool (*healthy)(void *arg),
			void *arg)
{
	struct notify_watchdog *dog;
	struct timeval every;
	uint64_t us = 0;

	*ret_dog = NULL;
	if (sd_watchdog_enabled(0, &us) <= 0)
		return 0;
	dog = calloc(1, sizeof(*dog));
	if (!dog)
		return -ENOMEM;
	dog->healthy = healthy;
	dog->arg = arg;
	us /= NOTIFY_PINGS;
	every.tv_sec = (time_t)(us / USEC_PER_SEC);
	every.tv_usec = (suseconds_t)(us % USEC_PER_SEC);
	dog->timer = event_new(base, -1, EV_PERSIST, notify_on_timer, dog);
	if (!dog->timer || event_add(dog->timer, &every) < 0) {
		notify_watchdog_free(dog);
		return -ENOMEM;
	}
	*ret_dog = dog;
	return 0;
}

void notify_watchdog_free(struct notify_watchdog *dog)
{
	if (!dog)
		return;
	if (dog->timer)
		event_free(dog->timer);
	free(dog);
}
