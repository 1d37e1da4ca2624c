/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/backend.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/siphash.h"
#include "base/sockbuf.h"
#include "base/units.h"
#include "daemon/bstream.h"
#include "daemon/hello.h"
#include "daemon/plain.h"
#include "daemon/socket.h"
#include "proto/addr.h"

#define BACKEND_RETRY_MIN_US (100 * USEC_PER_MSEC)
#define BACKEND_RETRY_MAX_US (5 * USEC_PER_SEC)
#define BACKEND_HANDSHAKE_US (5 * USEC_PER_SEC)
/* A stream that lived for so long is no reason to back off further. */
#define BACKEND_STABLE_US (10 * USEC_PER_SEC)

/* room: a list to take it from, or NULL. */
static struct backend *backend_new(struct group *g, uint64_t owner,
				   struct backend **room)
{
	struct backend *b = room ? *room : NULL;

	if (b)
		*room = b->next;
	else
		b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->group = g;
	b->owner = owner;
	b->backoff_us = BACKEND_RETRY_MIN_US;
	b->next = g->backends;
	g->backends = b;
	return b;
}

static struct backend *backend_find(const struct group *g, uint64_t owner,
				    bool attached)
{
	for (struct backend *b = g->backends; b; b = b->next)
		if (b->owner == owner && b->attached == attached)
			return b;
	return NULL;
}

static void backend_free(struct backend *b)
{
	struct backend **at = &b->group->backends;

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	free(b);
}

static void backend_fail_streams(struct backend *b, int err, const char *why)
{
	for (struct bstream *s = b->streams; s; s = s->next)
		if (!s->failed)
			bstream_refuse(s, err, "%s", why);
}

static uint64_t backend_owner(const char *name)
{
	static const struct siphash_key key = { 0, 0 };

	return siphash(&key, name, strlen(name));
}

/* This worker's share of a limit over all workers; 0 stays "no limit". */
static uint32_t backend_share(const struct groups *gs, uint32_t limit)
{
	return (uint32_t)(((uint64_t)limit + gs->n_workers - 1) /
			  gs->n_workers);
}

/* Fewer streams are wanted than there are: the newest ones go. */
static void backend_drop_surplus(struct backend *b)
{
	uint32_t n = 0;

	for (struct bstream *s = b->streams; s; s = s->next)
		n += !s->failed;
	for (struct bstream *s = b->streams; s && n > b->streams_wanted;
	     s = s->next) {
		if (s->failed)
			continue;
		bstream_refuse(s, -ESHUTDOWN,
			       "the backend has fewer streams now");
		n--;
	}
}

static void backend_set_address(struct backend *b, const char *address,
				const struct sockaddr_storage *sa,
				socklen_t sa_len)
{
	if (b->sa_len == sa_len && memcmp(&b->sa, sa, sa_len) == 0)
		return;
	if (b->sa_len)
		backend_fail_streams(b, -ESHUTDOWN,
				     "the backend's address was changed");
	b->sa = *sa;
	b->sa_len = sa_len;
	snprintf(b->address, sizeof(b->address), "%s", address);
	/* What was wrong with the old one says nothing of the new one. */
	b->backoff_us = BACKEND_RETRY_MIN_US;
	b->retry_at_us = 0;
}

struct backend *backend_set(struct group *g, const struct conf_backend *conf,
			    struct backend **room)
{
	uint64_t owner = backend_owner(conf->name);
	struct backend *b = backend_find(g, owner, false);
	struct sockaddr_storage sa;
	const char *why = "";
	socklen_t sa_len;

	if (addr_parse(conf->address, &sa, &sa_len, &why) < 0) {
		log_error("backend %s: %s: %s", conf->name, conf->address, why);
		return NULL;
	}
	if (!b)
		b = backend_new(g, owner, room);
	if (!b)
		return NULL;
	snprintf(b->name, sizeof(b->name), "%s", conf->name);
	backend_set_address(b, conf->address, &sa, sa_len);
	if (g->protocol == CONF_PROTOCOL_STREAM) {
		plain_backend_set(b, conf, backend_share(g->gs, conf->streams));
	} else {
		b->streams_wanted = conf->streams;
		backend_drop_surplus(b);
	}
	b->max_inflight = backend_share(g->gs, conf->max_inflight);
	/* Who waits for a turn may have one by the new limit. */
	group_has_room(g);
	return b;
}

struct backend *backend_attached(struct group *g, uint64_t instance,
				 uint32_t pid)
{
	struct backend *b;

	instance -= instance == BACKEND_GONE; /* which is nobody's */
	b = backend_find(g, instance, true);
	if (b)
		return b;
	b = backend_new(g, instance, NULL);
	if (!b)
		return NULL;
	b->attached = true;
	snprintf(b->name, sizeof(b->name), "pid %u", pid);
	snprintf(b->address, sizeof(b->address), "attached");
	return b;
}

void backend_remove(struct backend *b)
{
	b->streams_wanted = 0;
	/* The last stream's end frees an attached one. */
	b->attached = true;
	backend_fail_streams(b, -ESHUTDOWN, "the backend was removed");
	backend_link_gone(b);
}

void backend_link_gone(struct backend *b)
{
	if (b->attached && !b->streams && !b->plain.n_links)
		backend_free(b);
}

/* Half to one and a half of the time, so that workers don't dial in step. */
static uint64_t backend_jitter(struct groups *gs, uint64_t us)
{
	gs->random = gs->random * UINT64_C(6364136223846793005) +
		     UINT64_C(1442695040888963407);
	return us / 2 + (gs->random >> 33) % us;
}

static void backend_retry_later(struct backend *b)
{
	struct groups *gs = b->group->gs;

	b->retry_at_us = gs->now_us + backend_jitter(gs, b->backoff_us);
	b->backoff_us = min_u64(2 * b->backoff_us, BACKEND_RETRY_MAX_US);
}

static int backend_socket(const struct backend *b)
{
	int fd = socket(b->sa.ss_family,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	sockbuf_widen(fd);
	if (b->sa.ss_family != AF_UNIX)
		socket_no_delay(fd);
	return fd;
}

void backend_warn(const struct backend *b, const char *fmt, ...)
{
	const struct log_field fields[] = {
		{ "XTCP_GROUP", b->group->name },
		{ "XTCP_BACKEND", b->name },
	};
	char text[LOG_LINE_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_event(LOG_LEVEL_WARN, fields, ARRAY_SIZE(fields),
		  "group %s, backend %s: %s", b->group->name, b->name, text);
}

void backend_dial_failed(struct backend *b, int err)
{
	b->stats.failures++;
	groups_count(b->group->gs, WC_backend_connect_failed);
	/* One line when it begins; reconnecting goes on silently. */
	if (b->backoff_us == BACKEND_RETRY_MIN_US)
		backend_warn(
			b, "%s: %s%s; trying on", b->address, strerror(-err),
			err == -EACCES
				? ": the user or a group of xtcpd needs write permission"
				: "");
	backend_retry_later(b);
}

/* Returns 0 or a negative errno: then the next ones wait. */
static int backend_dial(struct backend *b)
{
	struct groups *gs = b->group->gs;
	struct bstream *s;
	int fd = backend_socket(b), err;

	if (fd < 0)
		return fd;
	/* A Unix socket connects at once, or says EAGAIN: its backlog is full. */
	if (connect(fd, (const struct sockaddr *)&b->sa, b->sa_len) < 0 &&
	    errno != EINPROGRESS) {
		err = -errno;
		close(fd);
		return err;
	}
	s = bstream_new(b, fd, BSTREAM_CONNECTING);
	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	s->deadline_us = gs->now_us + BACKEND_HANDSHAKE_US;
	return 0;
}

void backend_tick(struct backend *b)
{
	uint32_t failed = 0;

	for (struct bstream *s = b->streams; s; s = s->next) {
		bstream_tick(s);
		failed += s->failed != 0;
	}
	if (b->attached || b->group->gs->now_us < b->retry_at_us)
		return;
	for (uint32_t n = b->n_streams - failed; n < b->streams_wanted; n++) {
		int err = backend_dial(b);

		if (err < 0) {
			backend_dial_failed(b, err);
			return;
		}
	}
}

void backend_connected(struct bstream *s)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err) {
		bstream_fail(s, -err);
		return;
	}
	s->state = BSTREAM_HELLO;
	if (event_add(s->ev_read, NULL) < 0)
		bstream_fail(s, -ENOMEM);
	hello_send(s);
}

void backend_stream_gone(struct backend *b, const struct bstream *s,
			 bool was_up, int err)
{
	uint64_t now_us = b->group->gs->now_us;

	if (was_up && err != -ESHUTDOWN)
		groups_count(b->group->gs, WC_backend_lost);
	if (b->attached) {
		if (!b->streams)
			backend_free(b);
		return;
	}
	if (was_up) {
		backend_warn(b, "stream lost: %s", strerror(-err));
		/* Given up for its silence: it may be so again. */
		if (err != -ETIMEDOUT && now_us - s->up_us >= BACKEND_STABLE_US)
			backend_is_useful(b);
		backend_retry_later(b);
	} else {
		backend_dial_failed(b, err);
	}
}

void backend_stream_up(struct backend *b)
{
	b->n_up++;
	b->stats.connects++;
	groups_count(b->group->gs, WC_backend_connects);
}

void backend_is_useful(struct backend *b)
{
	b->backoff_us = BACKEND_RETRY_MIN_US;
}

void backend_set_duty(struct backend *b, enum backend_duty duty)
{
	bool draining = b->duty != BACKEND_SERVES;

	b->duty = duty;
	group_has_room(b->group);
	if (draining || duty == BACKEND_SERVES)
		return;
	for (struct bstream *s = b->streams; s; s = s->next) {
		struct frame f = { .type = FRAME_DRAIN, .group = b->group->id };

		if (s->state == BSTREAM_UP && bstream_control_room(s))
			bstream_send(s, &f, NULL, 0);
	}
}
