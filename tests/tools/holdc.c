/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * holdc - thousands of kernel-TCP clients of an echo server that must not be
 * let down, whatever is killed meanwhile.
 *
 * Most connections send a request now and then and compare each byte of the
 * reply; some send bulk; some end after a few requests, with a FIN behind the
 * last or with close(), and begin anew. One process, one thread, epoll; a scan
 * of all connections every few milliseconds finds what is due.
 *
 * It is told what to do by lines on standard input, and answers each with a
 * line, a JSON object:
 *
 *	(start)	{"ready": ...}	when all connections were established
 *	stat	{"stat": n, ...}	what was seen since the last mark
 *	mark	{"mark": n, ...}	the same; and a new mark begins
 *	report	{"ok": ...}	what was seen of all, with what went wrong
 *	finish	{"ok": ...}	each connection sends a last request with a FIN
 *				behind it, and waits for reply and FIN; the end
 *
 * The longest pause since a mark is the larger of pause.max_ms, of what was
 * answered, and oldest_ms, of what is waiting still. before_mark counts what
 * waits since before the mark: 0 means that all has recovered. The end of
 * standard input means "finish".
 *
 * Exit status 0: every connection came to its end in order and every byte was
 * right; 1: not so (see the object); 2: usage.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "tools/hold.h"

#define HOLD_EVENTS 512
#define HOLD_TICK_MS 5
#define HOLD_LINE_BYTES 256
#define USEC_PER_SEC 1000000ull
#define USEC_PER_MSEC 1000ull

static struct hold hold = {
	.opt = { .connections = 1,
		 .size = { 1, 32768 },
		 .think_us = { 100 * USEC_PER_MSEC, 10 * USEC_PER_SEC },
		 .bulk_bytes = 512 * 1024,
		 .opening = 64,
		 .seed = 1,
		 .timeout_s = 60 },
	.epfd = -1,
};

struct hold_input {
	char line[HOLD_LINE_BYTES];
	size_t n;
	bool ended;
};

static uint64_t hold_clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC +
	       (uint64_t)ts.tv_nsec / 1000u;
}

/* --- commands */

static void hold_finish(struct hold *h)
{
	h->finishing = true;
	h->stats.ended = true;
}

static void hold_command(struct hold *h, const char *line)
{
	if (strcmp(line, "stat") == 0) {
		hold_stats_print(h, "stat", stdout);
	} else if (strcmp(line, "mark") == 0) {
		hold_stats_print(h, "mark", stdout);
		h->stats.marks++;
		hold_tally_begin(&h->stats.mark, h->now_us);
	} else if (strcmp(line, "report") == 0) {
		(void)hold_result_print(h, stdout);
	} else if (strcmp(line, "finish") == 0) {
		hold_finish(h);
	} else {
		fprintf(stderr, "holdc: unknown command \"%s\"\n", line);
		exit(2);
	}
}

static void hold_read_commands(struct hold *h, struct hold_input *in)
{
	size_t room = sizeof(in->line) - in->n - 1;
	ssize_t n = read(STDIN_FILENO, in->line + in->n, room);
	char *end;

	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			epoll_ctl(h->epfd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
			in->ended = true;
			hold_finish(h);
		}
		return;
	}
	in->n += (size_t)n;
	in->line[in->n] = '\0';
	while ((end = strchr(in->line, '\n'))) {
		*end = '\0';
		hold_command(h, in->line);
		in->n -= (size_t)(end + 1 - in->line);
		memmove(in->line, end + 1, in->n + 1);
	}
}

/* --- the loop */

static void hold_events(struct hold *h, struct hold_input *in)
{
	struct epoll_event ev[HOLD_EVENTS];
	int n = epoll_wait(h->epfd, ev, HOLD_EVENTS, HOLD_TICK_MS);

	for (int i = 0; i < n; i++) {
		h->now_us = hold_clock_us();
		if (ev[i].data.ptr)
			hold_conn_event(h, ev[i].data.ptr, ev[i].events);
		else
			hold_read_commands(h, in);
	}
}

/* Whether there is anything left to do. */
static bool hold_goes_on(const struct hold *h)
{
	return h->by_state[HOLD_DONE] + h->by_state[HOLD_FAILED] <
		       h->opt.connections ||
	       !h->finishing;
}

static void hold_run(struct hold *h)
{
	uint64_t scan_at = 0, expire_at = UINT64_MAX;
	struct hold_input in = { .n = 0 };
	bool ready = false;

	while (hold_goes_on(h)) {
		hold_events(h, &in);
		h->now_us = hold_clock_us();
		if (!ready && h->first_opened == h->opt.connections) {
			ready = true;
			hold_stats_print(h, "ready", stdout);
		}
		if (h->now_us < scan_at)
			continue;
		scan_at = h->now_us + HOLD_TICK_MS * USEC_PER_MSEC;
		if (h->finishing && expire_at == UINT64_MAX)
			expire_at = h->now_us + h->opt.timeout_s * USEC_PER_SEC;
		for (uint32_t i = 0; i < h->opt.connections; i++) {
			hold_conn_tick(h, &h->conns[i]);
			if (h->now_us >= expire_at)
				hold_conn_expire(h, &h->conns[i]);
		}
	}
}

static void hold_start(struct hold *h)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	h->now_us = hold_clock_us();
	hold_tally_begin(&h->stats.all, h->now_us);
	hold_tally_begin(&h->stats.mark, h->now_us);
	h->conns = calloc(h->opt.connections, sizeof(h->conns[0]));
	h->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (!h->conns || h->epfd < 0) {
		perror("holdc");
		exit(1);
	}
	for (uint32_t i = 0; i < h->opt.connections; i++)
		hold_conn_init(h, i);
	fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
	if (epoll_ctl(h->epfd, EPOLL_CTL_ADD, STDIN_FILENO, &ev) < 0) {
		perror("holdc: standard input has to be a pipe");
		exit(2);
	}
}

/* --- options */

static void usage(FILE *out)
{
	fputs("usage: holdc --connect IP:PORT [OPTION]...\n"
	      "  --connect IP:PORT  where to; several: in turn\n"
	      "  --connections N    clients (1)\n"
	      "  --bulk N           of these: bulk, one large request after "
	      "another (0)\n"
	      "  --churn N          of these: end after some requests, and "
	      "begin anew (0)\n"
	      "  --size MIN:MAX     bytes of a request (1:32768)\n"
	      "  --think MIN:MAX    ms between reply and next request "
	      "(100:10000)\n"
	      "  --bulk-bytes N     of a bulk request (524288)\n"
	      "  --opening N        handshakes at a time (64)\n"
	      "  --seed N           of bytes, sizes and times (1)\n"
	      "  --timeout S        after finish, give up (60)\n",
	      out);
}

static void usage_error(const char *what)
{
	fprintf(stderr, "holdc: %s\n", what);
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

static struct hold_range parse_range(char *text, uint64_t unit)
{
	char *colon = strchr(text, ':');
	struct hold_range range;

	if (!colon)
		usage_error("a range is MIN:MAX");
	*colon = '\0';
	range.min = parse_number(text) * unit;
	range.max = parse_number(colon + 1) * unit;
	if (range.min > range.max || range.max == 0)
		usage_error("a range is MIN:MAX");
	return range;
}

/* 192.0.2.1:80 or [2001:db8::1]:80 */
static void parse_address(char *text)
{
	struct sockaddr_storage *sa = &hold.opt.sa[hold.opt.n_sa];
	struct sockaddr_in *in = (struct sockaddr_in *)sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)sa;
	char *colon = strrchr(text, ':');
	uint16_t port;

	if (!colon || hold.opt.n_sa == HOLD_ADDRESSES_MAX)
		usage_error("--connect wants IP:PORT, at most four times");
	*colon = '\0';
	port = htons((uint16_t)parse_number(colon + 1));
	hold.opt.n_sa++;
	if (text[0] == '[' && colon > text && colon[-1] == ']') {
		colon[-1] = '\0';
		in6->sin6_family = AF_INET6;
		in6->sin6_port = port;
		if (inet_pton(AF_INET6, text + 1, &in6->sin6_addr) == 1)
			return;
	} else {
		in->sin_family = AF_INET;
		in->sin_port = port;
		if (inet_pton(AF_INET, text, &in->sin_addr) == 1)
			return;
	}
	usage_error("--connect wants an address, not a name");
}

static const struct option long_options[] = {
	{ "connect", required_argument, NULL, 'c' },
	{ "connections", required_argument, NULL, 'n' },
	{ "bulk", required_argument, NULL, 'b' },
	{ "churn", required_argument, NULL, 'u' },
	{ "size", required_argument, NULL, 's' },
	{ "think", required_argument, NULL, 't' },
	{ "bulk-bytes", required_argument, NULL, 'B' },
	{ "opening", required_argument, NULL, 'o' },
	{ "seed", required_argument, NULL, 'r' },
	{ "timeout", required_argument, NULL, 'T' },
	{ "help", no_argument, NULL, 'H' },
	{ NULL, 0, NULL, 0 },
};

static void parse_option(struct hold_options *opt, int which)
{
	switch (which) {
	case 'c':
		parse_address(optarg);
		break;
	case 'n':
		opt->connections = (uint32_t)parse_number(optarg);
		break;
	case 'b':
		opt->bulk = (uint32_t)parse_number(optarg);
		break;
	case 'u':
		opt->churn = (uint32_t)parse_number(optarg);
		break;
	case 's':
		opt->size = parse_range(optarg, 1);
		break;
	case 't':
		opt->think_us = parse_range(optarg, USEC_PER_MSEC);
		break;
	case 'B':
		opt->bulk_bytes = parse_number(optarg);
		break;
	case 'o':
		opt->opening = (uint32_t)parse_number(optarg);
		break;
	case 'r':
		opt->seed = parse_number(optarg);
		break;
	case 'T':
		opt->timeout_s = (uint32_t)parse_number(optarg);
		break;
	case 'H':
		usage(stdout);
		exit(0);
	default:
		usage(stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct hold_options *opt = &hold.opt;
	bool good;
	int which;

	while ((which = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		parse_option(opt, which);
	if (!opt->n_sa || !opt->connections || !opt->bulk_bytes ||
	    !opt->opening || optind != argc)
		usage_error("--connect and --connections are needed");
	if ((uint64_t)opt->bulk + opt->churn > opt->connections)
		usage_error("more bulk and churn than connections");
	hold_start(&hold);
	hold_run(&hold);
	good = hold_result_print(&hold, stdout);
	close(hold.epfd);
	free(hold.conns);
	return good ? 0 : 1;
}
