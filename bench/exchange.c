/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exchange - a fixed number of exchanges through one worker, for callgrind.
 *
 *	client, here ── SEQPACKET socket ── worker ── socket ── backend, here
 *	               in the TUN's place
 *
 * The worker is the daemon's own, with all that is on the path of a message:
 * tun_io, stack, groups, frames, libevent. It has no thread: its event loop is
 * turned from here. Nor has it a clock or a timer but ours (clock_gettime() and
 * timerfd_settime() are defined here), which goes on by TURN_US with each batch:
 * on no machine, and under no tool, however slow, does a timer fire that doesn't
 * on another one.
 *
 * Requests come in batches of BATCH, each of another connection; the backend
 * echoes. A reply is acknowledged by the next request, or at once ("acks"): then
 * the connection is idle in between, and its block comes and goes. So N and 2N
 * exchanges differ by what N exchanges take, and by what this program does
 * itself, all of it in functions of this file: bench/instructions takes these
 * off. For that it calls nothing that xtcpd calls, too, but system calls.
 *
 * Exits with 1, and a word, when an answer isn't what it has to be.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/clock.h"
#include "daemon/worker.h"

#define PORT 7
#define TURN_US 200u
#define BATCH 32u
#define PAYLOAD 1024u
#define VNET_BYTES 10u
#define IP_BYTES 20u
#define TCP_BYTES 32u
#define HEADERS (VNET_BYTES + IP_BYTES + TCP_BYTES)
#define PACKET_MAX 2048u
/* Frames that a turn makes, at most, with their addresses. */
#define STREAM_BYTES (1u << 20)

struct client {
	uint32_t seq, ack, tsecr;
	uint8_t host[2]; /* end of its address */
	uint8_t port[2];
};

static struct arena arena;
static struct worker *worker;
static struct client *clients;
static uint32_t n_clients;
static int tun = -1, backend = -1;
static uint8_t packet[PACKET_MAX];
static uint8_t stream[STREAM_BYTES];
static uint32_t tsval = 1;
static uint64_t answered;
static bool acks; /* each reply is acknowledged at once */
static uint64_t now_us = 1000000000;

/* In the place of libc's, for the worker and for libevent. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	ts->tv_sec = (time_t)(now_us / 1000000);
	ts->tv_nsec = (long)(now_us % 1000000 * 1000);
	return 0;
}

/*
 * Likewise the worker's timer: an eventfd, which is written when our clock has
 * come so far.
 */
static int timer = -1;
static uint64_t timer_us; /* 0: it is not set */

int timerfd_create(clockid_t id, int flags)
{
	(void)id;
	(void)flags;
	timer = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return timer;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *at,
		    struct itimerspec *old)
{
	uint64_t was;

	(void)flags;
	(void)old;
	timer_us = (uint64_t)at->it_value.tv_sec * 1000000 +
		   (uint64_t)at->it_value.tv_nsec / 1000;
	return read(fd, &was, sizeof(was)) < 0 && errno != EAGAIN ? -1 : 0;
}

_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "exchange: %s\n", what);
	exit(1);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static void copy(uint8_t *to, const uint8_t *from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		to[i] = from[i];
}

/* --- the worker */

static void no_log(void *ctx, enum log_level level, const char *line,
		   const struct log_field *fields, size_t n)
{
	(void)ctx;
	(void)level;
	(void)line;
	(void)fields;
	(void)n;
}

static void worker_up(void)
{
	const struct arena_sizes sizes = {
		.workers = 1,
		.max_connections = n_clients + 1000,
		.rx_bytes = 16 << 20,
		.tx_bytes = 16 << 20,
	};
	const struct group_setup group = {
		.stack = { .id = 1,
			   .port = PORT,
			   .vip_mask = UINT64_MAX,
			   .user_timeout_us = 600000000 },
		.name = "echo",
	};
	struct worker_setup setup = { .n_workers = 1,
				      .arena = &arena,
				      .tun_vnet = true,
				      .tun_offload = true,
				      .instance = 1 };
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds) < 0)
		fail("socketpair");
	tun = fds[1];
	setup.tun_fd = fds[0];
	stack_limits_init(&setup.limits, 1500);
	if (arena_create(&arena, NULL, &sizes) < 0)
		fail("no arena");
	arena.header->vips[0].family = 4;
	copy(arena.header->vips[0].bytes, (const uint8_t[]){ 192, 0, 2, 10 },
	     4);
	if (worker_new(&worker, &setup) < 0)
		fail("no worker");
	stack_pool_set(worker->st, 0, 15 << 20, 90, 75);
	if (groups_set(&worker->gs, &group, NULL) < 0)
		fail("no group");
}

static void worker_down(void)
{
	worker_free(worker);
	arena_close(&arena);
}

/* What is ready, and what that makes ready. */
static void worker_turn(void)
{
	static const uint64_t one = 1;

	if (timer_us && now_us >= timer_us &&
	    write(timer, &one, sizeof(one)) < 0)
		fail("the timer");
	event_base_loop(worker->base, EVLOOP_NONBLOCK);
}

/* --- the backend */

static void backend_up(void)
{
	struct groups_attach attach = {
		.group = 1,
		.instance = 1,
		.pid = 1,
		.max_payload = FRAME_PAYLOAD_MAX,
		.stream_credit_bytes = UINT32_MAX,
	};
	int fds[2], room = (int)STREAM_BYTES;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) < 0)
		fail("socketpair");
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	backend = fds[1];
	attach.fd = fds[0];
	if (groups_attach(&worker->gs, &attach) < 0)
		fail("no backend");
	groups_turn(&worker->gs);
	if (read(backend, stream, sizeof(stream)) <= 0 ||
	    stream[4] != FRAME_ATTACHED)
		fail("not attached");
}

/* The DATA frame becomes the REPLY to it, where it is. */
static void frame_turn_round(uint8_t *f, uint32_t skip, uint32_t len)
{
	uint8_t *reply = f + skip; /* addresses of the first one are dropped */

	for (uint32_t i = FRAME_HEADER_BYTES; skip && i-- > 0;)
		reply[i] = f[i];
	put32(reply, len);
	reply[4] = FRAME_REPLY;
	reply[5] = 0;
	put32(reply + 24, len);
	put32(reply + 28, 0);
}

/* Echo all requests that are there, with one call each way. */
static void backend_turn(void)
{
	ssize_t n = read(backend, stream, sizeof(stream));
	struct iovec iov[BATCH];
	int k = 0;

	if (n < 0)
		fail("the backend got nothing");
	for (uint8_t *f = stream; f < stream + n;) {
		uint32_t len = get32(f), skip;

		if (f[4] == FRAME_DATA && k < (int)BATCH) {
			skip = f[5] & FRAME_F_FIRST
				       ? (uint32_t)sizeof(struct frame_addr)
				       : 0;
			frame_turn_round(f, skip, len - skip);
			iov[k++] =
				(struct iovec){ f + skip, FRAME_HEADER_BYTES +
								  len - skip };
		}
		f += FRAME_HEADER_BYTES + len;
	}
	if (k && writev(backend, iov, k) < 0)
		fail("the backend could not write");
}

/* --- the clients */

static uint16_t ip_sum(const uint8_t *p)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < IP_BYTES; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

/* All that is the same in each packet; TCP's sum is left to the "device". */
static void packet_init(void)
{
	uint8_t *ip = packet + VNET_BYTES, *tcp = ip + IP_BYTES;

	packet[0] = 1; /* NEEDS_CSUM */
	ip[0] = 0x45;
	ip[8] = 64;
	ip[9] = 6;
	copy(ip + 12, (const uint8_t[]){ 10, 64, 0, 0, 192, 0, 2, 10 }, 8);
	put16(tcp + 2, PORT);
	put16(tcp + 14, 65535);
}

/* options: bytes after the fixed header, a multiple of 4. */
static void client_send(const struct client *c, uint8_t flags, uint32_t options,
			uint32_t len)
{
	uint8_t *ip = packet + VNET_BYTES, *tcp = ip + IP_BYTES;
	uint32_t total = IP_BYTES + 20 + options + len;

	put16(ip + 2, total);
	copy(ip + 14, c->host, 2);
	put16(ip + 10, 0);
	put16(ip + 10, ip_sum(ip));
	copy(tcp, c->port, 2);
	put32(tcp + 4, c->seq);
	put32(tcp + 8, c->ack);
	tcp[12] = (uint8_t)((20 + options) / 4 << 4);
	tcp[13] = flags;
	if (write(tun, packet, VNET_BYTES + total) < 0)
		fail("the device is full");
}

static void put_timestamps(uint8_t *p, uint32_t tsecr)
{
	p[0] = p[1] = 1;
	p[2] = 8;
	p[3] = 10;
	put32(p + 4, tsval);
	put32(p + 8, tsecr);
}

/* A packet of the worker's: its length, 0: there is none. */
static uint32_t client_packet(uint8_t *into)
{
	ssize_t n = read(tun, into, PACKET_MAX);

	if (n < 0 && errno != EAGAIN)
		fail("read");
	return n < 0 ? 0 : (uint32_t)n;
}

static void client_connect(struct client *c, uint32_t number)
{
	static uint8_t in[PACKET_MAX];
	uint8_t *opts = packet + VNET_BYTES + IP_BYTES + 20;
	const uint8_t *tcp = in + VNET_BYTES + IP_BYTES;

	put16(c->host, number & 0xffff);
	put16(c->port, 1024 + number % 60000);
	c->seq = number * 2654435761u;
	/* MSS 1460, window scale 7, timestamps */
	copy(opts, (const uint8_t[]){ 2, 4, 5, 180, 1, 3, 3, 7 }, 8);
	put_timestamps(opts + 8, 0);
	client_send(c, TH_SYN, 20, 0);
	worker_turn();
	if (!client_packet(in) || tcp[13] != (TH_SYN | TH_ACK))
		fail("no SYN-ACK");
	c->seq++;
	c->ack = get32(tcp + 4) + 1;
	/* of the SYN-ACK, wherever its timestamps are */
	for (uint32_t i = 20; i < 56; i++)
		if (tcp[i] == 8 && tcp[i + 1] == 10)
			c->tsecr = get32(tcp + i + 2);
	put_timestamps(opts, c->tsecr);
	client_send(c, TH_ACK, 12, 0);
	worker_turn();
}

static void client_request(struct client *c)
{
	put_timestamps(packet + VNET_BYTES + IP_BYTES + 20, c->tsecr);
	client_send(c, TH_PSH | TH_ACK, 12, PAYLOAD);
	c->seq += PAYLOAD;
}

static void client_ack(struct client *c)
{
	put_timestamps(packet + VNET_BYTES + IP_BYTES + 20, c->tsecr);
	client_send(c, TH_ACK, 12, 0);
}

/* Replies to the clients from `first` on, in whatever order. */
static void clients_receive(uint32_t first)
{
	static uint8_t in[PACKET_MAX];
	const uint8_t *tcp = in + VNET_BYTES + IP_BYTES;
	uint32_t n;

	while ((n = client_packet(in)) > 0) {
		uint32_t at = (uint32_t)(tcp[2] << 8 | tcp[3]) - 1024;
		struct client *c = &clients[at % n_clients];

		if (n != HEADERS + PAYLOAD)
			fail("a packet of another size");
		if (at < first || get32(tcp + 4) != c->ack ||
		    get32(tcp + 8) != c->seq)
			fail("sequence numbers");
		c->ack += PAYLOAD;
		c->tsecr = get32(tcp + 24);
		answered++;
		if (acks)
			client_ack(c);
	}
}

static void exchange_batch(uint32_t first)
{
	uint64_t before = answered;

	tsval++;
	now_us += TURN_US;
	for (uint32_t i = 0; i < BATCH; i++)
		client_request(&clients[first + i]);
	worker_turn();
	backend_turn();
	worker_turn();
	clients_receive(first);
	if (acks)
		worker_turn();
	if (answered - before != BATCH)
		fail("a request was not answered");
}

int main(int argc, char **argv)
{
	uint64_t exchanges = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;

	n_clients = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 64;
	acks = argc > 3 && argv[3][0] == 'a';
	if (!exchanges || exchanges % BATCH || n_clients % BATCH ||
	    !n_clients || n_clients > 32768) {
		fprintf(stderr,
			"usage: exchange EXCHANGES [CLIENTS [acks]]\n"
			"both multiples of %u, at most 32768 clients; acks: each\n"
			"reply is acknowledged at once, by a packet of its own\n",
			BATCH);
		return 2;
	}
	log_set_sink(no_log, NULL);
	clients = calloc(n_clients, sizeof(*clients));
	if (!clients)
		fail("calloc");
	packet_init();
	worker_up();
	backend_up();
	for (uint32_t i = 0; i < n_clients; i++)
		client_connect(&clients[i], i);
	for (uint64_t i = 0; i < exchanges; i += BATCH)
		exchange_batch((uint32_t)(i % n_clients));
	printf("%llu exchanges\n", (unsigned long long)answered);
	worker_down();
	close(tun);
	close(backend);
	free(clients);
	return 0;
}
