/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * staticd - a server that nothing can be preloaded into: linked statically.
 *
 *	staticd [-P] [-g TEXT] PORT | unix:PATH
 *
 * A thread per connection, blocking. -P: each begins with a PROXY header,
 * version 1 or 2. -g: greet with a line. Requests are lines:
 *
 *	echo TEXT	TEXT
 *	who		the addresses of the PROXY header, or "nobody"
 *	conn		which connection this is since the start: 1, 2 ...
 *	open		how many are open
 *	send N		N bytes of a pattern, without a line's end
 *	sink N		reads N bytes, then "sunk N SUM"
 *	hang		nothing, and nothing after it until another line comes
 *	end		closes its side, and reads on
 *	close, abort	ends with a FIN, with a RST
 *
 * To a client that closes its side it says "end N", N being all bytes that it
 * has read, and closes. Started, it prints "ready".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024
#define STACK_BYTES (128 * 1024)

struct conn {
	FILE *in, *out;
	int fd;
	uint64_t number, bytes;
	char who[160];
};

static atomic_uint_fast64_t n_conns, n_open;
static bool wants_proxy;
static const char *greeting;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 31 + (at >> 8));
}

/* --- the PROXY header --------------------------------------------------- */

static bool read_proxy_v2(struct conn *c, const uint8_t *first)
{
	static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";
	uint8_t head[16], ends[36];
	char client[INET6_ADDRSTRLEN], vip[INET6_ADDRSTRLEN];
	bool v6;
	size_t n, at;

	head[0] = *first;
	if (fread(head + 1, 1, 15, c->in) != 15 ||
	    memcmp(head, signature, sizeof(signature)) != 0 || head[12] != 0x21)
		return false;
	v6 = head[13] == 0x21;
	n = v6 ? 36 : 12;
	at = v6 ? 16 : 4;
	if ((!v6 && head[13] != 0x11) || head[14] != 0 || head[15] != n ||
	    fread(ends, 1, n, c->in) != n)
		return false;
	inet_ntop(v6 ? AF_INET6 : AF_INET, ends, client, sizeof(client));
	inet_ntop(v6 ? AF_INET6 : AF_INET, ends + at, vip, sizeof(vip));
	snprintf(c->who, sizeof(c->who), "%s %u %s %u", client,
		 ends[2 * at] << 8 | ends[2 * at + 1], vip,
		 ends[2 * at + 2] << 8 | ends[2 * at + 3]);
	return true;
}

static bool read_proxy(struct conn *c)
{
	char line[128], client[64], vip[64], family[8];
	unsigned int client_port, vip_port;
	int first = getc(c->in);
	uint8_t byte = (uint8_t)first;

	if (first == '\r')
		return read_proxy_v2(c, &byte);
	if (first != 'P' || !fgets(line, sizeof(line), c->in) ||
	    sscanf(line, "ROXY %7s %63s %63s %u %u\r\n", family, client, vip,
		   &client_port, &vip_port) != 5)
		return false;
	snprintf(c->who, sizeof(c->who), "%s %u %s %u", client, client_port,
		 vip, vip_port);
	return true;
}

/* --- requests ----------------------------------------------------------- */

static void send_pattern(struct conn *c, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		putc(pattern(i), c->out);
}

static void sink(struct conn *c, uint64_t n)
{
	uint64_t sum = 0, i;
	int byte;

	for (i = 0; i < n && (byte = getc(c->in)) != EOF; i++)
		sum = sum * 31 + (uint8_t)byte;
	c->bytes += i;
	fprintf(c->out, "sunk %llu %llu\n", (unsigned long long)i,
		(unsigned long long)sum);
}

static void abort_conn(struct conn *c)
{
	const struct linger hard = { 1, 0 };

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

/* Returns whether the connection goes on. */
static bool answer(struct conn *c, const char *line)
{
	unsigned long long n;

	if (strncmp(line, "echo ", 5) == 0)
		fprintf(c->out, "%s\n", line + 5);
	else if (strcmp(line, "who") == 0)
		fprintf(c->out, "%s\n", c->who);
	else if (strcmp(line, "conn") == 0)
		fprintf(c->out, "%llu\n", (unsigned long long)c->number);
	else if (strcmp(line, "open") == 0)
		fprintf(c->out, "%llu\n", (unsigned long long)n_open);
	else if (sscanf(line, "send %llu", &n) == 1)
		send_pattern(c, n);
	else if (sscanf(line, "sink %llu", &n) == 1)
		sink(c, n);
	else if (strcmp(line, "end") == 0)
		shutdown(c->fd, SHUT_WR);
	else if (strcmp(line, "abort") == 0)
		abort_conn(c);
	else if (strcmp(line, "hang") != 0 && strcmp(line, "close") != 0)
		fprintf(c->out, "what? %s\n", line);
	return strcmp(line, "abort") != 0 && strcmp(line, "close") != 0;
}

static void serve(struct conn *c)
{
	char line[LINE_MAX_BYTES];

	if (wants_proxy && !read_proxy(c)) {
		abort_conn(c);
		return;
	}
	if (greeting)
		fprintf(c->out, "%s\n", greeting);
	for (;;) {
		fflush(c->out);
		if (!fgets(line, sizeof(line), c->in))
			break;
		c->bytes += strlen(line);
		line[strcspn(line, "\r\n")] = '\0';
		if (!answer(c, line))
			return;
	}
	if (!ferror(c->in))
		fprintf(c->out, "end %llu\n", (unsigned long long)c->bytes);
}

static void *conn_main(void *arg)
{
	struct conn *c = arg;

	serve(c);
	n_open--;
	fclose(c->out);
	fclose(c->in);
	free(c);
	return NULL;
}

static void conn_start(int fd, const pthread_attr_t *attr)
{
	struct conn *c = calloc(1, sizeof(*c));
	pthread_t thread;
	int one = 1;

	if (!c)
		die("calloc");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->fd = fd;
	c->in = fdopen(fd, "r");
	c->out = fdopen(dup(fd), "w");
	if (!c->in || !c->out)
		die("fdopen");
	c->number = ++n_conns;
	n_open++;
	strcpy(c->who, "nobody");
	if (pthread_create(&thread, attr, conn_main, c) != 0)
		die("pthread_create");
}

/* --- listening ---------------------------------------------------------- */

static int listen_on(const char *where)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	bool local = strncmp(where, "unix:", 5) == 0;
	int fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM, 0), one = 1;

	if (local)
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", where + 5);
	in.sin_port = htons((uint16_t)atoi(where));
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, local ? (void *)&un : (void *)&in,
		 local ? sizeof(un) : sizeof(in)) < 0 ||
	    listen(fd, 1024) < 0)
		die(where);
	return fd;
}

int main(int argc, char **argv)
{
	pthread_attr_t attr;
	int opt, listener, fd;

	while ((opt = getopt(argc, argv, "Pg:")) != -1) {
		if (opt == 'P')
			wants_proxy = true;
		else if (opt == 'g')
			greeting = optarg;
		else
			return 2;
	}
	if (optind + 1 != argc) {
		fprintf(stderr,
			"usage: staticd [-P] [-g TEXT] PORT|unix:PATH\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	listener = listen_on(argv[optind]);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	puts("ready");
	fflush(stdout);
	while ((fd = accept(listener, NULL, NULL)) >= 0 || errno == EINTR ||
	       errno == ECONNABORTED)
		if (fd >= 0)
			conn_start(fd, &attr);
	die("accept");
}
