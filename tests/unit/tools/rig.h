/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TESTS_UNIT_TOOLS_RIG_H
#define XTCP_TESTS_UNIT_TOOLS_RIG_H

/*
 * rig - the clients' TCP against a server by hand, over a pair of sockets that
 * keep packets apart. Client 1 of 10.64.0.0/10 is the one that is looked at.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tools/swarm_tcp.h"
#include "unit/tools/server.h"
#include "unit/unit.h"

#define CLIENT 1u
#define IRS 0xffffff00u /* near the wrap */
#define REQUEST 4000u
#define MSS 1448u /* 1460 less timestamps */
#define TRIES 3u

#define VIOLATIONS(what) tcp.violations[SWARM_VIOLATION_##what]

static struct swarm_tcp tcp;
static struct swarm_tun tun;
static int peer;
static uint64_t now_ns;
static uint8_t in[SERVER_PACKET_MAX];
/* the server's view of client 1 */
static struct server_packet last; /* the packet that came last */
static uint32_t server_nxt, client_iss, tsval;
static uint8_t request[REQUEST + 1000];

static inline void setup_conf(const struct swarm_tcp_conf *conf)
{
	struct swarm_wire wire = { .mss = 1460,
				   .wscale = SWARM_WSCALE,
				   .timestamps = true };
	struct swarm_tuples tuples;
	struct swarm_prefix prefix;
	int fds[2];

	ck_assert_int_eq(swarm_endpoint_parse("192.0.2.10:7", &wire.server,
					      &wire.server_port),
			 0);
	ck_assert_int_eq(swarm_prefix_parse("10.64.0.0/10", &prefix), 0);
	ck_assert_int_eq(swarm_tuples_init(&tuples, &prefix, 1000), 0);
	wire.client = tuples.first;
	wire.word_at = tuples.word_at;
	swarm_wire_init(&wire);
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
	peer = fds[1];
	ck_assert_int_eq(swarm_tun_attach(&tun, fds[0], false), 0);
	ck_assert_int_eq(
		swarm_tcp_init(&tcp, conf, &wire, &tuples, &tun, 100, 4711), 0);
	now_ns = 1000000 * NSEC_PER_SEC;
	swarm_tcp_set_now(&tcp, now_ns);
	server_nxt = IRS;
	tsval = 1;
}

static const struct swarm_tcp_conf plain = {
	.request_bytes = REQUEST,
	.reply_bytes = REQUEST,
	.rto_ms = 200,
	.tries = TRIES,
	.ack_delay_ms = 40,
	.echo = true,
	.verify = true,
};

static inline void setup(void)
{
	setup_conf(&plain);
}

static inline void teardown(void)
{
	swarm_tcp_fini(&tcp);
	swarm_tun_close(&tun);
	close(peer);
}

/* The next packet of the swarm; false: there is none. */
static inline bool take(void)
{
	ssize_t n = read(peer, in, sizeof(in));

	if (n <= 0)
		return false;
	last = server_read(in, (uint32_t)n);
	return true;
}

static inline void pass_ms(uint32_t ms)
{
	for (uint32_t i = 0; i < ms; i++) {
		now_ns += NSEC_PER_MSEC;
		swarm_tcp_set_now(&tcp, now_ns);
		swarm_tcp_tick(&tcp);
	}
}

/* A segment of the server, to whom the last packet came from. */
static inline struct server_packet segment(uint8_t flags, uint32_t ack)
{
	struct server_packet p = { .family = 4,
				   .sport = 7,
				   .dport = last.sport,
				   .seq = server_nxt,
				   .ack = ack,
				   .flags = flags,
				   .window = 65535,
				   .options = { 1, 1, 8, 10 },
				   .options_len = 12 };

	memcpy(p.src, last.dst, 4);
	memcpy(p.dst, last.src, 4);
	server_put32(p.options + 4, tsval);
	return p;
}

static inline void feed_bytes(const uint8_t *bytes, uint32_t n)
{
	ck_assert_int_eq(write(peer, bytes, n), n);
	ck_assert_int_eq(swarm_tun_read(&tun), 1);
	swarm_tcp_input(&tcp, 1);
}

static inline void feed(const struct server_packet *p)
{
	static uint8_t bytes[SERVER_PACKET_MAX];

	feed_bytes(bytes, server_write(p, bytes));
}

static inline struct server_packet syn_ack(uint32_t ack)
{
	static const uint8_t more[] = {
		2, 4, 1460 >> 8, 1460 & 255, 1, 3, 3, 7
	};
	struct server_packet p = segment(SWARM_SYN | SWARM_ACK, ack);

	memcpy(p.options + 12, more, sizeof(more));
	p.options_len = 20;
	return p;
}

/* Client 1 is established when this is over, and has said so. */
static inline void establish(void)
{
	struct server_packet p;

	ck_assert(swarm_tcp_connect(&tcp, CLIENT, now_ns));
	ck_assert(take());
	ck_assert_uint_eq(last.flags, SWARM_SYN);
	client_iss = last.seq;
	server_nxt = IRS;
	p = syn_ack(client_iss + 1);
	feed(&p);
	server_nxt++;
	ck_assert(take());
	ck_assert_uint_eq(last.flags, SWARM_ACK);
	ck_assert_uint_eq(last.seq, client_iss + 1);
	ck_assert_uint_eq(last.ack, server_nxt);
	ck_assert(!take());
	ck_assert(swarm_tcp_is_idle(&tcp, CLIENT));
}

/* Its request comes whole, in order, and is kept. */
static inline void be_asked(void)
{
	uint32_t n = 0;

	ck_assert(swarm_tcp_request(&tcp, CLIENT, now_ns));
	while (take()) {
		ck_assert_uint_eq(last.ack, server_nxt);
		memcpy(request + n, last.payload, last.payload_len);
		n += last.payload_len;
	}
	ck_assert_uint_eq(n, REQUEST);
	ck_assert_uint_eq(last.seq + last.payload_len,
			  client_iss + 1 + REQUEST);
}

/* Bytes [from, to) of the echo, acknowledging the request. */
static inline void echo(uint32_t from, uint32_t to)
{
	struct server_packet p = segment(SWARM_ACK, client_iss + 1 + REQUEST);

	p.seq = IRS + 1 + from;
	p.payload = request + from;
	p.payload_len = to - from;
	feed(&p);
	server_nxt = IRS + 1 + to;
}

#endif
