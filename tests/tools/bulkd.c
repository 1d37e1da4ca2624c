/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bulkd - a source and sink of bytes, on kernel sockets or on libxtcp.
 *
 *	bulkd --listen PORT CONGESTION	kernel TCP, IPv4 and IPv6, with this
 *					congestion control
 *	bulkd --group PORT		a group of the xtcpd that XTCP_ATTACH
 *					names
 *
 * Both are the same server (bulk.h) and hand over BUFFER_BYTES at a time, so
 * that what differs is the TCP below. On libxtcp all is acknowledged as it
 * comes. Says "ready" when it serves.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <xtcp/xtcp.h>

#include "tools/bulk.h"

#define BUFFER_BYTES (64u * 1024u)
#define CONNS_MAX 4096
#define EVENTS 64

/* --- kernel TCP: a thread for each connection ------------------------------ */

static int kernel_send(int fd, struct bulk_conn *c, uint8_t *buffer)
{
	size_t n;
	ssize_t done;

	while ((n = bulk_conn_give(c, buffer, BUFFER_BYTES)) > 0) {
		done = send(fd, buffer, n, MSG_NOSIGNAL);
		if (done < 0)
			return -errno;
		bulk_conn_gave(c, (size_t)done);
	}
	return 0;
}

static void *kernel_serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	uint8_t *buffer = malloc(BUFFER_BYTES);
	struct bulk_conn c = { .head_n = 0 };
	ssize_t n = 0;

	while (buffer && !bulk_conn_done(&c)) {
		n = recv(fd, buffer, BUFFER_BYTES, 0);
		if (n <= 0)
			break;
		bulk_conn_take(&c, buffer, (size_t)n, bulk_clock_ns());
		if (kernel_send(fd, &c, buffer) < 0)
			break;
	}
	close(fd);
	free(buffer);
	return NULL;
}

static int kernel_listen(uint16_t port, const char *congestion)
{
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6,
				     .sin6_port = htons(port) };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1, off = 0;

	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion,
		       (socklen_t)strlen(congestion)) < 0 ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0 ||
	    bind(fd, (struct sockaddr *)&sin6, sizeof(sin6)) < 0 ||
	    listen(fd, 64) < 0)
		return -errno;
	return fd;
}

static int kernel_run(uint16_t port, const char *congestion)
{
	int fd = kernel_listen(port, congestion);
	pthread_t thread;

	if (fd < 0)
		return fd;
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (conn < 0 && errno != ECONNABORTED && errno != EINTR)
			return -errno;
		if (conn < 0)
			continue;
		if (pthread_create(&thread, NULL, kernel_serve,
				   (void *)(intptr_t)conn) != 0)
			close(conn);
		else
			pthread_detach(thread);
	}
}

/* --- libxtcp ----------------------------------------------------------------- */

static struct bulk_conn *conns[CONNS_MAX];
static uint8_t buffer_xtcp[BUFFER_BYTES];

static struct bulk_conn *xtcp_conn(int cd)
{
	if (cd < 0 || cd >= CONNS_MAX)
		return NULL;
	if (!conns[cd])
		conns[cd] = calloc(1, sizeof(*conns[cd]));
	return conns[cd];
}

static void xtcp_end(int gd, int cd)
{
	if (cd >= 0 && cd < CONNS_MAX) {
		free(conns[cd]);
		conns[cd] = NULL;
	}
	xtcp_close(gd, cd);
}

static void xtcp_pump(int gd, int cd, struct bulk_conn *c)
{
	size_t n;
	int done;

	while ((n = bulk_conn_give(c, buffer_xtcp, BUFFER_BYTES)) > 0) {
		done = xtcp_send(gd, cd, 0, buffer_xtcp, n);
		if (done < 0)
			return;
		bulk_conn_gave(c, (size_t)done);
		if ((size_t)done < n)
			return;
	}
	if (bulk_conn_done(c))
		xtcp_end(gd, cd);
}

static void xtcp_event(const struct xtcp_event *ev)
{
	struct bulk_conn *c = xtcp_conn(ev->cd);
	int n;

	if (!c) {
		xtcp_abort(ev->gd, ev->cd);
		return;
	}
	if (ev->events & XTCP_EV_READ) {
		n = xtcp_recv_from(ev->gd, ev->cd, buffer_xtcp, BUFFER_BYTES);
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			/* the client that is told all has closed already */
			xtcp_end(ev->gd, ev->cd);
			return;
		}
		bulk_conn_take(c, buffer_xtcp, (size_t)n, bulk_clock_ns());
		xtcp_send(ev->gd, ev->cd, (size_t)n, NULL, 0);
	}
	xtcp_pump(ev->gd, ev->cd, c);
}

static int xtcp_run(uint16_t port)
{
	struct xtcp_event events[EVENTS];
	int gd, n;

	xtcp_initialize(0);
	gd = xtcp_open_group(PF_INET6, SOCK_STREAM, 0, port);
	if (gd < 0)
		return gd;
	xtcp_cork(gd, 1);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		n = xtcp_poll(events, EVENTS, -1);
		if (n < 0 && n != -EINTR)
			return n;
		for (int i = 0; i < n; i++)
			if (events[i].cd)
				xtcp_event(&events[i]);
	}
}

/* ------------------------------------------------------------------------------ */

int main(int argc, char **argv)
{
	bool group = argc == 3 && strcmp(argv[1], "--group") == 0;
	bool kernel = argc == 4 && strcmp(argv[1], "--listen") == 0;
	unsigned long port = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	int rc;

	if (!port || port > UINT16_MAX || (!group && !kernel)) {
		fprintf(stderr, "usage: bulkd --listen PORT CONGESTION | "
				"--group PORT\n");
		return 2;
	}
	rc = group ? xtcp_run((uint16_t)port)
		   : kernel_run((uint16_t)port, argv[3]);
	fprintf(stderr, "bulkd: %s\n", strerror(-rc));
	return 1;
}
