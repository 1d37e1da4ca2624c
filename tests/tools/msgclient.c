/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * msgclient - kernel-TCP clients of an echo server, with every byte compared.
 *
 * Each connection sends a stream of its own, byte i of which is a function of
 * the seed, the connection and i, and expects the same back. In message mode
 * a message is sent when the one before has come back whole; with --bulk all
 * goes out as fast as the socket takes it, while the echo comes in. So one
 * state machine does for both: how far it may send is `allowed`.
 *
 * Prints one JSON object. Exit status 0: all went well; 1: something did not
 * (see the object); 2: usage.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tools/pattern.h"

#define BUFFER_BYTES (256u * 1024u)
#define EVENTS 256
#define NSEC_PER_SEC 1000000000ull

struct options {
	struct sockaddr_storage sa;
	socklen_t sa_len;
	uint32_t connections;
	uint64_t messages; /* of all connections */
	uint64_t size; /* bytes of a message */
	uint64_t bulk; /* bytes per connection instead of messages, or 0 */
	uint64_t seed;
	bool half_close;
	uint32_t timeout_s;
};

struct client {
	int fd; /* -1: over */
	uint32_t number;
	uint64_t total, allowed, sent, received;
	bool writing; /* EPOLLOUT is asked for */
	bool shut; /* our FIN is sent */
};

struct result {
	uint64_t messages, bytes, mismatches;
	uint32_t finished, failed, closed_early;
	int first_error; /* errno of the first failure */
};

static struct options opt;
static struct result result;
static uint8_t buffer[BUFFER_BYTES];
static uint8_t expected[BUFFER_BYTES];
static int epfd;
static uint32_t open_clients;

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Bytes [offset, offset + n) of a connection's stream. */
static void stream_fill(uint32_t number, uint64_t offset, uint8_t *out,
			size_t n)
{
	pattern_fill(pattern_word(opt.seed, number), offset, out, n);
}

static void client_over(struct client *c, bool good, int err)
{
	if (good)
		result.finished++;
	else
		result.failed++;
	if (err && !result.first_error)
		result.first_error = err;
	close(c->fd);
	c->fd = -1;
	open_clients--;
}

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
		client_over(c, false, errno);
}

/* Send what is allowed. */
static void client_send(struct client *c)
{
	while (c->sent < c->allowed) {
		uint64_t left = c->allowed - c->sent;
		size_t n = left < BUFFER_BYTES ? (size_t)left : BUFFER_BYTES;
		ssize_t done;

		stream_fill(c->number, c->sent, buffer, n);
		done = send(c->fd, buffer, n, MSG_NOSIGNAL);
		if (done < 0 && errno == EAGAIN) {
			client_watch(c, true);
			return;
		}
		if (done < 0) {
			client_over(c, false, errno);
			return;
		}
		c->sent += (uint64_t)done;
	}
	if (opt.half_close && !c->shut && c->sent == c->total) {
		c->shut = true;
		shutdown(c->fd, SHUT_WR);
	}
	client_watch(c, false);
}

static void client_compare(struct client *c, size_t n)
{
	stream_fill(c->number, c->received, expected, n);
	if (memcmp(buffer, expected, n) == 0)
		return;
	for (size_t i = 0; i < n; i++)
		result.mismatches += buffer[i] != expected[i];
}

static void client_took(struct client *c, size_t n)
{
	if (n > c->sent - c->received) {
		/* more than an echo */
		result.mismatches += n - (c->sent - c->received);
		client_over(c, false, EBADMSG);
		return;
	}
	client_compare(c, n);
	result.bytes += n;
	result.messages -= c->received / opt.size;
	c->received += n;
	result.messages += c->received / opt.size;
	if (c->received == c->total && !opt.half_close) {
		client_over(c, true, 0);
	} else if (c->received == c->allowed && c->allowed < c->total) {
		c->allowed += opt.size;
		client_send(c);
	}
}

static void client_read(struct client *c)
{
	ssize_t n = recv(c->fd, buffer, sizeof(buffer), 0);

	if (n > 0) {
		client_took(c, (size_t)n);
	} else if (n == 0) {
		bool good = c->received == c->total;

		result.closed_early += !good;
		client_over(c, good, 0);
	} else if (errno != EAGAIN && errno != EINTR) {
		client_over(c, false, errno);
	}
}

static void client_start(struct client *c)
{
	struct epoll_event ev = {
		.events = EPOLLIN | EPOLLOUT,
		.data.ptr = c,
	};
	int on = 1;

	open_clients++;
	c->writing = true;
	c->fd = socket(opt.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (c->fd < 0) {
		perror("msgclient: socket");
		exit(1);
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(c->fd, (struct sockaddr *)&opt.sa, opt.sa_len) < 0 &&
	    errno != EINPROGRESS)
		client_over(c, false, errno);
	else if (epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		client_over(c, false, errno);
}

static struct client *clients_new(void)
{
	struct client *c = calloc(opt.connections, sizeof(*c));

	if (!c) {
		perror("msgclient");
		exit(1);
	}
	for (uint32_t i = 0; i < opt.connections; i++) {
		uint64_t share = opt.messages / opt.connections +
				 (i < opt.messages % opt.connections);

		c[i].number = i;
		c[i].total = opt.bulk ? opt.bulk : share * opt.size;
		c[i].allowed = opt.bulk ? opt.bulk : opt.size;
		if (c[i].total < c[i].allowed)
			c[i].allowed = c[i].total;
		client_start(&c[i]);
	}
	return c;
}

static void clients_run(uint64_t until_ns)
{
	struct epoll_event ev[EVENTS];

	while (open_clients > 0 && clock_ns() < until_ns) {
		int n = epoll_wait(epfd, ev, EVENTS, 100);

		for (int i = 0; i < n; i++) {
			struct client *c = ev[i].data.ptr;

			if (c->fd >= 0 && ev[i].events & EPOLLOUT)
				client_send(c);
			if (c->fd >= 0 && ev[i].events & ~(uint32_t)EPOLLOUT)
				client_read(c);
		}
	}
}

static bool result_print(double seconds)
{
	bool good = result.finished == opt.connections && !result.mismatches;

	printf("{\"ok\": %s, \"connections\": %u, \"finished\": %u, "
	       "\"failed\": %u, \"closed_early\": %u, \"unfinished\": %u, "
	       "\"messages\": %llu, \"bytes\": %llu, \"mismatches\": %llu, "
	       "\"error\": \"%s\", \"seconds\": %.3f}\n",
	       good ? "true" : "false", opt.connections, result.finished,
	       result.failed, result.closed_early, open_clients,
	       (unsigned long long)(opt.bulk ? 0 : result.messages),
	       (unsigned long long)result.bytes,
	       (unsigned long long)result.mismatches,
	       result.first_error ? strerror(result.first_error) : "", seconds);
	return good;
}

static void usage(FILE *out)
{
	fputs("usage: msgclient --connect IP:PORT [OPTION]...\n"
	      "  --connections N  clients (1)\n"
	      "  --messages M     messages of all of them (1)\n"
	      "  --size S         bytes of a message (1024)\n"
	      "  --bulk BYTES     both ways at once per client, no messages\n"
	      "  --half-close     FIN after the last byte sent, wait for theirs\n"
	      "  --seed N         of the pattern (1)\n"
	      "  --timeout S      give up (60)\n",
	      out);
}

static void usage_error(const char *what)
{
	fprintf(stderr, "msgclient: %s\n", what);
	usage(stderr);
	exit(2);
}

static uint64_t parse_number(const char *text)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (*end || end == text)
		usage_error("not a number");
	return n;
}

/* 192.0.2.1:80 or [2001:db8::1]:80 */
static void parse_address(char *text)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&opt.sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&opt.sa;
	char *colon = strrchr(text, ':');
	uint16_t port;

	if (!colon)
		usage_error("--connect wants IP:PORT");
	*colon = '\0';
	port = htons((uint16_t)parse_number(colon + 1));
	if (text[0] == '[' && colon > text && colon[-1] == ']') {
		colon[-1] = '\0';
		in6->sin6_family = AF_INET6;
		in6->sin6_port = port;
		opt.sa_len = sizeof(*in6);
		if (inet_pton(AF_INET6, text + 1, &in6->sin6_addr) == 1)
			return;
	} else {
		in->sin_family = AF_INET;
		in->sin_port = port;
		opt.sa_len = sizeof(*in);
		if (inet_pton(AF_INET, text, &in->sin_addr) == 1)
			return;
	}
	usage_error("--connect wants an address, not a name");
}

static const struct option long_options[] = {
	{ "connect", required_argument, NULL, 'c' },
	{ "connections", required_argument, NULL, 'n' },
	{ "messages", required_argument, NULL, 'm' },
	{ "size", required_argument, NULL, 's' },
	{ "bulk", required_argument, NULL, 'b' },
	{ "half-close", no_argument, NULL, 'h' },
	{ "seed", required_argument, NULL, 'r' },
	{ "timeout", required_argument, NULL, 't' },
	{ "help", no_argument, NULL, 'H' },
	{ NULL, 0, NULL, 0 },
};

static void parse_option(int which)
{
	switch (which) {
	case 'c':
		parse_address(optarg);
		break;
	case 'n':
		opt.connections = (uint32_t)parse_number(optarg);
		break;
	case 'm':
		opt.messages = parse_number(optarg);
		break;
	case 's':
		opt.size = parse_number(optarg);
		break;
	case 'b':
		opt.bulk = parse_number(optarg);
		break;
	case 'h':
		opt.half_close = true;
		break;
	case 'r':
		opt.seed = parse_number(optarg);
		break;
	case 't':
		opt.timeout_s = (uint32_t)parse_number(optarg);
		break;
	case 'H':
		usage(stdout);
		exit(0);
	default:
		usage(stderr);
		exit(2);
	}
}

/* As many descriptors as the system lets us have. */
static void raise_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

int main(int argc, char **argv)
{
	uint64_t start_ns;
	struct client *clients;
	int which;

	opt = (struct options){
		.connections = 1,
		.messages = 1,
		.size = 1024,
		.seed = 1,
		.timeout_s = 60,
	};
	while ((which = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		parse_option(which);
	if (!opt.sa_len || !opt.connections || !opt.size || optind != argc)
		usage_error("--connect, --connections and --size are needed");
	if (!opt.bulk && opt.messages < opt.connections)
		usage_error("less messages than connections");
	raise_limit();
	epfd = epoll_create1(EPOLL_CLOEXEC);
	if (epfd < 0) {
		perror("msgclient: epoll_create1");
		return 1;
	}
	start_ns = clock_ns();
	clients = clients_new();
	clients_run(start_ns + opt.timeout_s * NSEC_PER_SEC);
	which = result_print((double)(clock_ns() - start_ns) / 1e9) ? 0 : 1;
	free(clients);
	return which;
}
