/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/listener.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/clock.h"

struct listener {
	int fd;
	const char *name;
	struct event *ev, *ev_rest;
	listener_on_accept on_accept;
	void *arg;
	bool paused; /* by the owner */
	bool resting; /* ev_rest is running */
	struct log_ratelimit limit;
};

/* Not what is wrong with one connection, but what the next would meet, too. */
static bool listener_is_exhausted(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOBUFS ||
	       err == ENOMEM;
}

static void listener_rest(struct listener *l, int err)
{
	const struct timeval tv = { LISTENER_REST_S, 0 };

	if (log_ratelimit_ok(&l->limit, clock_now_us()))
		log_warn("%s: accept: %s: nobody gets in for a while", l->name,
			 strerror(err));
	if (evtimer_add(l->ev_rest, &tv) < 0)
		return;
	l->resting = true;
	event_del(l->ev);
}

static void listener_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (client >= 0)
		l->on_accept(l->arg, client);
	else if (listener_is_exhausted(errno))
		listener_rest(l, errno);
}

static void listener_on_rested(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd;
	(void)what;
	l->resting = false;
	if (!l->paused)
		event_add(l->ev, NULL);
}

int listener_new(struct listener **ret_l, struct event_base *base, int fd,
		 const char *name, listener_on_accept on_accept, void *arg)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (!l) {
		close(fd);
		return -ENOMEM;
	}
	*l = (struct listener){
		.fd = fd,
		.name = name,
		.on_accept = on_accept,
		.arg = arg,
		.limit = LOG_RATELIMIT(10 * USEC_PER_SEC, 1),
	};
	l->ev = event_new(base, fd, EV_READ | EV_PERSIST, listener_on_event, l);
	l->ev_rest = evtimer_new(base, listener_on_rested, l);
	if (!l->ev || !l->ev_rest || event_add(l->ev, NULL) < 0) {
		listener_free(l);
		return -ENOMEM;
	}
	*ret_l = l;
	return 0;
}

void listener_free(struct listener *l)
{
	if (!l)
		return;
	if (l->ev)
		event_free(l->ev);
	if (l->ev_rest)
		event_free(l->ev_rest);
	close(l->fd);
	free(l);
}

void listener_pause(struct listener *l)
{
	if (!l)
		return;
	l->paused = true;
	event_del(l->ev);
}

void listener_resume(struct listener *l)
{
	if (!l)
		return;
	l->paused = false;
	if (!l->resting)
		event_add(l->ev, NULL);
}
