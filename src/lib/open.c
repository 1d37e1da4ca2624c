/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include "lib/link.h"
#include "lib/listen.h"
#include "lib/local.h"
#include "proto/addr.h"

/* A group whose transport is links, with its timer. */
static int open_links(enum group_mode mode, uint64_t instance,
		      struct group **ret_g)
{
	struct group *g;
	int rc = group_new(mode, &link_transport, &g);

	if (rc < 0)
		return rc;
	g->instance = instance;
	g->seed = (uint32_t)instance;
	g->timer_fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	rc = g->timer_fd < 0 ? -errno : 0;
	if (rc == 0)
		rc = group_watch(g, g->timer_fd, EPOLLIN, GROUP_TAG_TIMER);
	if (rc < 0) {
		group_free(g);
		return rc;
	}
	*ret_g = g;
	return 0;
}

/* Dials all links that are DOWN and waits until they are UP. */
static int open_wait(struct group *g, uint64_t deadline_ms)
{
	for (uint32_t i = 0; i < g->n_links;) {
		uint64_t now = group_now_ms();
		struct link *l = g->links[i];

		if (l->state == LINK_UP) {
			i++;
			continue;
		}
		if (l->state == LINK_DOWN) {
			if (l->error)
				return l->error;
			link_dial(l);
			link_flush(l);
			continue;
		}
		if (now >= deadline_ms)
			return -ETIMEDOUT;
		(void)group_pump(g, (int)(deadline_ms - now));
		/* The first HELLO may have moved links: look at all again. */
		i = 0;
	}
	return 0;
}

/* A group with one link, of which nothing is known yet. */
static int open_first(uint64_t instance, uint16_t port, struct group **ret_g,
		      struct link **ret_l)
{
	struct group *g;
	int rc = open_links(GROUP_DIAL, instance, &g);

	if (rc < 0)
		return rc;
	g->port = port;
	g->links = calloc(1, sizeof(*g->links));
	rc = g->links ? 0 : -ENOMEM;
	if (rc == 0) {
		g->n_links = 1;
		rc = link_new(g, 0, ret_l);
	}
	if (rc < 0) {
		group_free(g);
		return rc;
	}
	*ret_g = g;
	return 0;
}

int open_dial(uint64_t instance, size_t pool_bytes, int domain, uint16_t port,
	      struct group **ret_g)
{
	uint64_t deadline_ms = group_now_ms() + LINK_HANDSHAKE_MS;
	struct group *g;
	struct link *l;
	int rc;

	rc = open_first(instance, port, &g, &l);
	if (rc < 0)
		return rc;
	g->family = domain == PF_INET ? 4 : 0;
	g->pool_bytes = pool_bytes;
	g->opening = true;
	rc = open_wait(g, deadline_ms);
	if (rc < 0) {
		group_free(g);
		return rc;
	}
	g->opening = false;
	*ret_g = g;
	return 0;
}

int open_later(uint64_t instance, uint16_t port, struct group **ret_g)
{
	struct group *g;
	struct link *l;
	int rc = open_first(instance, port, &g, &l);

	if (rc < 0)
		return rc;
	link_dial(l);
	g->ops->flush(g);
	*ret_g = g;
	return 0;
}

int open_probe(uint64_t instance, uint16_t port, int *ret_why)
{
	uint64_t deadline_ms = group_now_ms() + LINK_HANDSHAKE_MS, now;
	enum link_state before = LINK_DOWN;
	struct group *g;
	struct link *l;
	int rc = open_first(instance, port, &g, &l);

	if (rc < 0)
		return rc;
	g->opening = g->probing = true;
	link_dial(l);
	/* Its worker's number may move l to another slot; it stays l. */
	while (l->state != LINK_UP && l->state != LINK_DOWN) {
		link_flush(l);
		before = l->state;
		now = group_now_ms();
		if (now >= deadline_ms)
			break;
		(void)group_pump(g, (int)(deadline_ms - now));
	}
	rc = 0;
	if (l->state != LINK_UP)
		rc = l->state == LINK_DOWN ? l->error : -ETIMEDOUT;
	*ret_why = rc;
	/* What was said before ATTACH was not about the group. */
	if (rc < 0 && before != LINK_ATTACH)
		rc = -ENOTCONN;
	group_free(g);
	return rc;
}

int open_listen(uint64_t instance, const char *address, struct group **ret_g)
{
	struct sockaddr_storage ss;
	struct group *g;
	const char *why;
	socklen_t len;
	int rc = addr_parse(address, &ss, &len, &why);

	if (rc < 0)
		return rc;
	rc = open_links(GROUP_LISTEN, instance, &g);
	if (rc < 0)
		return rc;
	rc = listen_open(g, &ss, len);
	if (rc < 0) {
		group_free(g);
		return rc;
	}
	*ret_g = g;
	return 0;
}

/* The address where local clients of a port connect. */
static int open_local_address(uint16_t port, struct sockaddr_un *ret_un,
			      socklen_t *ret_len)
{
	const char *dir = secure_getenv("XTCP_LOCAL_DIR");
	struct sockaddr_storage ss;
	struct sockaddr_un attach;
	int n;

	if (!dir || !*dir) {
		int rc = link_attach_address(&ss, ret_len);
		char *slash;

		if (rc < 0)
			return rc;
		memcpy(&attach, &ss, sizeof(attach));
		slash = attach.sun_family == AF_UNIX
				? strrchr(attach.sun_path, '/')
				: NULL;
		if (!slash)
			return -EINVAL;
		*slash = '\0';
		dir = attach.sun_path;
	}
	*ret_un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(ret_un->sun_path, sizeof(ret_un->sun_path),
		     "%s/xtcp-%u.sock", dir, (unsigned int)port);
	if (n < 0 || (size_t)n >= sizeof(ret_un->sun_path))
		return -ENAMETOOLONG;
	*ret_len = sizeof(*ret_un);
	return 0;
}

int open_local(uint16_t port, struct group **ret_g)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_un un;
	struct group *g;
	socklen_t len;
	int rc = open_local_address(port, &un, &len);

	if (rc < 0)
		return rc;
	rc = group_new(GROUP_LOCAL, &local_transport, &g);
	if (rc < 0)
		return rc;
	memcpy(&ss, &un, sizeof(un));
	rc = listen_open(g, &ss, len);
	if (rc < 0) {
		group_free(g);
		return rc;
	}
	*ret_g = g;
	return 0;
}
