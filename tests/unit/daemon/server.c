/* SPDX-License-Identifier: BSD-2-Clause */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit.h"
#include "base/units.h"

struct server servers[SERVERS];
struct conf_backend server_confs[SERVERS];

void server_settle(void)
{
	for (int i = 0; i < 5; i++) {
		usleep(200);
		peer_pump();
	}
}

static void server_listen(struct server *s)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t len = sizeof(in);
	int one = 1;

	s->fd = -1;
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in.sin_port = htons(s->port);
	ck_assert_int_eq(setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one,
				    sizeof(one)),
			 0);
	ck_assert_int_eq(bind(s->listener, (struct sockaddr *)&in, sizeof(in)),
			 0);
	ck_assert_int_eq(listen(s->listener, 8), 0);
	ck_assert_int_eq(getsockname(s->listener, (struct sockaddr *)&in, &len),
			 0);
	s->port = ntohs(in.sin_port);
}

void server_gone(struct server *s)
{
	close(s->listener);
	s->listener = -1;
}

bool server_try_accept(struct server *s)
{
	int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK);

	if (fd < 0)
		return false;
	s->fd = fd;
	return true;
}

void server_accept(struct server *s)
{
	server_settle();
	ck_assert_msg(server_try_accept(s), "no connection to the server");
}

void server_expect_none(struct server *s)
{
	server_settle();
	ck_assert_msg(!server_try_accept(s), "a connection to the server");
}

void server_expect(struct server *s, const void *want, size_t n)
{
	uint8_t got[512];

	server_settle();
	ck_assert_int_eq(recv(s->fd, got, sizeof(got), 0), (ssize_t)n);
	ck_assert_mem_eq(got, want, n);
}

void server_expect_text(struct server *s, const char *text)
{
	server_expect(s, text, strlen(text));
}

void server_expect_end(struct server *s)
{
	uint8_t got[1];

	server_settle();
	ck_assert_int_eq(recv(s->fd, got, sizeof(got), 0), 0);
}

void server_expect_reset(struct server *s)
{
	uint8_t got[1];

	server_settle();
	ck_assert_int_eq(recv(s->fd, got, sizeof(got), 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
}

void server_send(struct server *s, const char *text)
{
	ck_assert_int_eq(send(s->fd, text, strlen(text), MSG_NOSIGNAL),
			 (ssize_t)strlen(text));
	server_settle();
}

void server_close(struct server *s)
{
	close(s->fd);
	s->fd = -1;
	server_settle();
}

void server_abort(struct server *s)
{
	const struct linger hard = { 1, 0 };

	setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	server_close(s);
}

void server_small_buffer(struct server *s)
{
	int small = 4096;

	ck_assert_int_eq(setsockopt(s->listener, SOL_SOCKET, SO_RCVBUF, &small,
				    sizeof(small)),
			 0);
}

void servers_use(uint32_t n)
{
	peer_setup.protocol = CONF_PROTOCOL_STREAM;
	peer_setup.backends = server_confs;
	peer_setup.n_backends = n;
	peer_group();
}

void servers_up(void)
{
	peer_up();
	/* Another protocol is another group. */
	groups_remove(&gs, PEER_GROUP);
	for (int i = 0; i < SERVERS; i++) {
		struct conf_backend *b = &server_confs[i];

		servers[i].port = 0;
		server_listen(&servers[i]);
		*b = (struct conf_backend){ .protocol = CONF_PROTOCOL_STREAM };
		snprintf(b->name, sizeof(b->name), "s%d", i);
		snprintf(b->address, sizeof(b->address), "tcp:127.0.0.1:%u",
			 servers[i].port);
	}
	servers_use(1);
}

void servers_down(void)
{
	for (int i = 0; i < SERVERS; i++) {
		if (servers[i].fd >= 0)
			close(servers[i].fd);
		if (servers[i].listener >= 0)
			close(servers[i].listener);
	}
	peer_down();
}
