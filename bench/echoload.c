/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * echoload - many idle kernel-TCP clients of an echo server, some of them busy.
 *
 * All connect, and then it does what it is told on standard input:
 *
 *	load MS SEED	for so long keep --active messages under way, each on a
 *			connection that is drawn at random from the idle ones;
 *			then wait for the last answers, and report
 *	(end of file)	close all, and end
 *
 * and prints one line of JSON for the connecting and one for each load. Every
 * byte that comes back is compared. A connection that ends early counts as
 * failed, and its message as lost.
 */
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/common.h"

#define USAGE                                                        \
	"echoload --connect IP:PORT [--connections N] [--active N] " \
	"[--size BYTES]"
#define EVENTS 256
#define SIZE_MAX_BYTES 65536u
#define CONNECT_AT_ONCE 64u
/* How long connects and the last answers may take. */
#define PATIENCE_NS (20 * NSEC_PER_SEC)
/* Latencies: 32 steps per power of two of nanoseconds. */
#define HIST_STEPS 32u
#define HIST_SLOTS (64u * HIST_STEPS)

static struct {
	struct sockaddr_in sa;
	uint32_t connections, active, size;
} opt = { .connections = 1000, .active = 64, .size = 1024 };

struct client {
	int fd; /* -1: over */
	uint32_t sent, received; /* of the message under way */
	bool connected, busy, writing;
	uint64_t begun_ns;
	uint64_t word; /* what its message is made of */
};

static struct {
	uint64_t messages, mismatches, lost, max_ns;
	uint64_t hist[HIST_SLOTS];
} load;

static struct client *clients;
static uint32_t connected, failed, busy;
static uint64_t rng;
static bool loading;
static uint8_t buffer[SIZE_MAX_BYTES], wanted[SIZE_MAX_BYTES];
static int epfd;

static uint64_t random_next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* The bytes of a message from a place on. */
static void message_fill(uint64_t word, uint32_t at, uint8_t *out, uint32_t n)
{
	uint8_t twice[16];
	const uint8_t *from = twice + (at & 7);
	uint32_t i = 0;

	memcpy(twice, &word, sizeof(word));
	memcpy(twice + 8, &word, sizeof(word));
	for (; i + 8 <= n; i += 8)
		memcpy(out + i, from, 8);
	memcpy(out + i, from, n - i);
}

/* --- latencies */

static uint32_t hist_slot(uint64_t ns)
{
	uint32_t power;

	if (ns < HIST_STEPS)
		return (uint32_t)ns;
	power = 63u - (uint32_t)__builtin_clzll(ns);
	return (power - 4) * HIST_STEPS +
	       (uint32_t)(ns >> (power - 5) & (HIST_STEPS - 1));
}

/* The upper end of a slot. */
static uint64_t hist_value(uint32_t slot)
{
	uint32_t power = slot / HIST_STEPS + 4;

	if (slot < HIST_STEPS)
		return slot;
	return (HIST_STEPS + slot % HIST_STEPS + 1ull) << (power - 5);
}

static double hist_percentile_us(double share)
{
	uint64_t n = 0, want = (uint64_t)(share * (double)load.messages);

	for (uint32_t i = 0; i < HIST_SLOTS; i++) {
		n += load.hist[i];
		if (n > want || (n && n == load.messages))
			return (double)hist_value(i) / 1e3;
	}
	return 0;
}

/* --- a client */

static void client_watch(struct client *c, bool writing)
{
	struct epoll_event ev = {
		.events = EPOLLIN | (writing ? (uint32_t)EPOLLOUT : 0u),
		.data.ptr = c,
	};

	if (c->writing == writing)
		return;
	c->writing = writing;
	if (epoll_ctl(epfd, EPOLL_CTL_MOD, c->fd, &ev) < 0)
		bench_fail("echoload", "epoll_ctl");
}

static void client_fail(struct client *c)
{
	close(c->fd);
	c->fd = -1;
	failed++;
	connected -= c->connected;
	busy -= c->busy;
	load.lost += c->busy;
	c->busy = false;
}

static void client_send(struct client *c)
{
	ssize_t n;

	while (c->sent < opt.size) {
		message_fill(c->word, c->sent, wanted, opt.size - c->sent);
		n = send(c->fd, wanted, opt.size - c->sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			client_fail(c);
			return;
		}
		c->sent += (uint32_t)n;
	}
	client_watch(c, c->sent < opt.size);
}

/* A message on an idle connection; none when they are all busy or gone. */
static void message_begin(void)
{
	struct client *c;

	if (busy >= connected)
		return;
	do
		c = &clients[random_next() % opt.connections];
	while (c->fd < 0 || !c->connected || c->busy);
	c->busy = true;
	busy++;
	c->sent = c->received = 0;
	c->word = random_next();
	c->begun_ns = bench_clock_ns();
	client_send(c);
}

static void message_end(struct client *c)
{
	uint64_t ns = bench_clock_ns() - c->begun_ns;

	c->busy = false;
	busy--;
	load.messages++;
	load.hist[hist_slot(ns)]++;
	if (ns > load.max_ns)
		load.max_ns = ns;
	if (loading)
		message_begin();
}

static void client_read(struct client *c)
{
	ssize_t n = recv(c->fd, buffer, sizeof(buffer), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || !c->busy || (uint32_t)n > c->sent - c->received) {
		load.mismatches += n > 0;
		client_fail(c);
		return;
	}
	message_fill(c->word, c->received, wanted, (uint32_t)n);
	load.mismatches += memcmp(buffer, wanted, (size_t)n) != 0;
	c->received += (uint32_t)n;
	if (c->received == opt.size)
		message_end(c);
}

static void client_connect(struct client *c)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT, .data.ptr = c };
	int on = 1;

	c->writing = true;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		bench_fail("echoload", "socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(c->fd, (struct sockaddr *)&opt.sa, sizeof(opt.sa)) < 0 &&
	    errno != EINPROGRESS)
		client_fail(c);
	else if (epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		bench_fail("echoload", "epoll_ctl");
}

static void client_event(struct client *c, uint32_t events)
{
	if (c->fd >= 0 && !c->connected) {
		if (events & (EPOLLERR | EPOLLHUP)) {
			client_fail(c);
			return;
		}
		c->connected = true;
		connected++;
		client_watch(c, false);
		return;
	}
	if (c->fd >= 0 && events & EPOLLOUT)
		client_send(c);
	if (c->fd >= 0 && events & ~(uint32_t)EPOLLOUT)
		client_read(c);
}

static void turn(void)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(epfd, ev, EVENTS, 100);

	for (int i = 0; i < n; i++)
		client_event(ev[i].data.ptr, ev[i].events);
}

/* --- phases */

static void connect_all(void)
{
	uint64_t start = bench_clock_ns();
	uint32_t begun = 0;

	clients = calloc(opt.connections, sizeof(*clients));
	if (!clients)
		bench_fail("echoload", "calloc");
	while (connected + failed < opt.connections &&
	       bench_clock_ns() - start < PATIENCE_NS) {
		while (begun < opt.connections &&
		       begun - connected - failed < CONNECT_AT_ONCE)
			client_connect(&clients[begun++]);
		turn();
	}
	printf("{\"connected\": %u, \"failed\": %u, \"seconds\": %.6f}\n",
	       connected, failed, (double)(bench_clock_ns() - start) / 1e9);
	fflush(stdout);
}

static void load_run(uint64_t ms)
{
	uint64_t start = bench_clock_ns(), end = start + ms * NSEC_PER_MSEC;
	uint64_t done;

	memset(&load, 0, sizeof(load));
	loading = true;
	for (uint32_t i = 0; i < opt.active; i++)
		message_begin();
	while (bench_clock_ns() < end)
		turn();
	loading = false;
	end = bench_clock_ns();
	done = load.messages;
	while (busy && bench_clock_ns() - end < PATIENCE_NS)
		turn();
	load.lost += busy;
	printf("{\"messages\": %llu, \"in_time\": %llu, \"seconds\": %.6f, "
	       "\"lost\": %llu, \"mismatches\": %llu, \"failed\": %u, "
	       "\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
	       (unsigned long long)load.messages, (unsigned long long)done,
	       (double)(end - start) / 1e9, (unsigned long long)load.lost,
	       (unsigned long long)load.mismatches, failed,
	       hist_percentile_us(0.5), hist_percentile_us(0.99),
	       (double)load.max_ns / 1e3);
	fflush(stdout);
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "connect", required_argument, NULL, 'c' },
		{ "connections", required_argument, NULL, 'n' },
		{ "active", required_argument, NULL, 'a' },
		{ "size", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	int which;

	while ((which = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (which == 'c')
			opt.sa = bench_address(optarg, USAGE);
		else if (which == 'n')
			opt.connections = (uint32_t)bench_number(optarg, USAGE);
		else if (which == 'a')
			opt.active = (uint32_t)bench_number(optarg, USAGE);
		else if (which == 's')
			opt.size = (uint32_t)bench_number(optarg, USAGE);
		else
			bench_usage(USAGE);
	}
	if (!opt.sa.sin_port || optind != argc || !opt.connections ||
	    opt.connections > BENCH_FDS_MAX - 100 || !opt.active || !opt.size ||
	    opt.size > SIZE_MAX_BYTES)
		bench_usage(USAGE);
}

int main(int argc, char **argv)
{
	unsigned long long ms, seed;
	char line[100];

	parse_options(argc, argv);
	bench_raise_limit();
	epfd = epoll_create1(EPOLL_CLOEXEC);
	if (epfd < 0)
		bench_fail("echoload", "epoll_create1");
	connect_all();
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "load %llu %llu", &ms, &seed) != 2)
			bench_usage("load MS SEED");
		rng = seed * 2654435761u + 88172645463325252ull;
		load_run(ms);
	}
	return 0;
}
