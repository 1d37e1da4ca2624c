/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server - servers made of sockets, for groups whose backends are plain streams;
 * the clients are the rig's. Each file's fixture calls servers_up() and _down().
 */
#ifndef XTCP_TESTS_SERVER_H
#define XTCP_TESTS_SERVER_H

#include "peer.h"

#define SERVERS 2

/* A listening socket on loopback, and the connection that was accepted last. */
struct server {
	int listener, fd;
	uint16_t port;
};

extern struct server servers[SERVERS];
extern struct conf_backend server_confs[SERVERS]; /* s0, s1 */

/* peer_up(), servers that listen, and the group with the first as backend. */
void servers_up(void);
void servers_down(void);

/* The group has the first n of server_confs, as they are now. */
void servers_use(uint32_t n);

/* Let what is under way arrive: loopback is quick, but not at once. */
void server_settle(void);

/* Connections to it are refused from now on. */
void server_gone(struct server *s);

bool server_try_accept(struct server *s);
void server_accept(struct server *s);
void server_expect_none(struct server *s);
void server_expect(struct server *s, const void *want, size_t n);
void server_expect_text(struct server *s, const char *text);
void server_expect_end(struct server *s);
void server_expect_reset(struct server *s);
void server_send(struct server *s, const char *text);
void server_close(struct server *s);
void server_abort(struct server *s);

/* A receive buffer for what it accepts from now on, so that it is soon full. */
void server_small_buffer(struct server *s);

#endif
