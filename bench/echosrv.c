/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * echosrv - a plain echo server on kernel TCP: one thread, epoll, read, write.
 *
 * The baseline: an application without any proxy, and the backend behind
 * HAProxy and nginx. What the socket does not take at once waits in the
 * connection, which is not read meanwhile.
 */
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/common.h"

#define USAGE "echosrv IP:PORT"
#define EVENTS 256
#define BUFFER_BYTES (64u * 1024u)
#define BACKLOG 4096

/* By descriptor: what could not be sent. */
static struct held {
	uint8_t *bytes;
	size_t len, at;
} held[BENCH_FDS_MAX];

static uint8_t buffer[BUFFER_BYTES];
static int epfd;

static void watch(int fd, int op, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.fd = fd };

	if (epoll_ctl(epfd, op, fd, &ev) < 0)
		bench_fail("echosrv", "epoll_ctl");
}

static void conn_end(int fd)
{
	free(held[fd].bytes);
	held[fd] = (struct held){ 0 };
	close(fd);
}

static void conn_keep(int fd, const uint8_t *bytes, size_t len)
{
	struct held *h = &held[fd];

	h->bytes = malloc(len);
	if (!h->bytes)
		bench_fail("echosrv", "malloc");
	memcpy(h->bytes, bytes, len);
	h->len = len;
	h->at = 0;
	watch(fd, EPOLL_CTL_MOD, EPOLLOUT);
}

static void conn_read(int fd)
{
	ssize_t n = read(fd, buffer, sizeof(buffer)), sent;

	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			conn_end(fd);
		return;
	}
	sent = send(fd, buffer, (size_t)n, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN)
		conn_end(fd);
	else if (sent < n)
		conn_keep(fd, buffer + (sent > 0 ? sent : 0),
			  (size_t)(n - (sent > 0 ? sent : 0)));
}

static void conn_write(int fd)
{
	struct held *h = &held[fd];
	ssize_t n = send(fd, h->bytes + h->at, h->len - h->at, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN) {
		conn_end(fd);
		return;
	}
	h->at += n > 0 ? (size_t)n : 0;
	if (h->at < h->len)
		return;
	free(h->bytes);
	*h = (struct held){ 0 };
	watch(fd, EPOLL_CTL_MOD, EPOLLIN);
}

static void conn_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int on = 1;

	if (fd < 0)
		return;
	if ((size_t)fd >= BENCH_FDS_MAX) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	watch(fd, EPOLL_CTL_ADD, EPOLLIN);
}

static void serve(int listener)
{
	struct epoll_event ev[EVENTS];

	for (;;) {
		int n = epoll_wait(epfd, ev, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			if (ev[i].data.fd == listener)
				conn_accept(listener);
			else if (held[ev[i].data.fd].bytes)
				conn_write(ev[i].data.fd);
			else
				conn_read(ev[i].data.fd);
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa;
	int listener, on = 1;

	if (argc != 2)
		bench_usage(USAGE);
	sa = bench_address(argv[1], USAGE);
	bench_raise_limit();
	epfd = epoll_create1(EPOLL_CLOEXEC);
	listener =
		socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (epfd < 0 || listener < 0)
		bench_fail("echosrv", "socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    listen(listener, BACKLOG) < 0)
		bench_fail("echosrv", argv[1]);
	watch(listener, EPOLL_CTL_ADD, EPOLLIN);
	puts("ready");
	fflush(stdout);
	serve(listener);
}
