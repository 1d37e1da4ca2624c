/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bulkc - a kernel-TCP client of bulkd: one transfer, every byte checked.
 *
 * An upload is counted by the server, which sends its report; a download here.
 * Either way the clock starts with the first byte that was received. Prints one
 * JSON object; exit status 0: the transfer was whole and right, or its time is
 * over and what came was right; 1: it was not; 2: usage.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/bulk.h"
#include "tools/pattern.h"

#define BUFFER_BYTES (64u * 1024u)
#define NSEC_PER_MSEC 1000000ull
#define NSEC_PER_SEC 1000000000ull

static struct options {
	struct sockaddr_storage sa;
	socklen_t sa_len;
	struct bulk_request req;
	uint32_t timeout_s;
	const char *congestion;
} opt;

static uint8_t buffer[BUFFER_BYTES];
static uint64_t deadline_ns;

/* Wait for events, at most until until_ns. Returns revents; 0: too late. */
static int wait_fd(int fd, short events, uint64_t until_ns)
{
	struct pollfd p = { .fd = fd, .events = events };
	uint64_t now = bulk_clock_ns();

	if (now >= until_ns)
		return 0;
	if (poll(&p, 1, (int)((until_ns - now) / NSEC_PER_MSEC) + 1) < 0)
		return -errno;
	return p.revents;
}

static int send_all(int fd, const uint8_t *data, size_t n)
{
	size_t done = 0;
	ssize_t k;

	while (done < n) {
		k = send(fd, data + done, n - done, MSG_NOSIGNAL);
		if (k > 0) {
			done += (size_t)k;
			continue;
		}
		if (k < 0 && errno != EAGAIN)
			return -errno;
		if (wait_fd(fd, POLLOUT, deadline_ns) <= 0)
			return -ETIMEDOUT;
	}
	return 0;
}

static int connect_to(int *ret_fd)
{
	int fd = socket(opt.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(int);
	int err = 0;

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	if (opt.congestion &&
	    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, opt.congestion,
		       (socklen_t)strlen(opt.congestion)) < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&opt.sa, opt.sa_len) < 0 &&
	    errno != EINPROGRESS)
		return -errno;
	if (wait_fd(fd, POLLOUT, deadline_ns) <= 0)
		return -ETIMEDOUT;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
	return -err;
}

/* --- download ---------------------------------------------------------------- */

static uint64_t download_until(const struct bulk_meter *meter)
{
	uint64_t until = meter->first_ns + meter->limit_ns;

	return meter->limit_ns && meter->first_ns && until < deadline_ns
		       ? until
		       : deadline_ns;
}

static int download(int fd, struct bulk_meter *meter)
{
	ssize_t n;
	int rc;

	while (!bulk_meter_late(meter, bulk_clock_ns())) {
		rc = wait_fd(fd, POLLIN, download_until(meter));
		if (rc < 0)
			return rc;
		if (rc == 0 && download_until(meter) == deadline_ns)
			return -ETIMEDOUT;
		if (rc == 0)
			break;
		n = recv(fd, buffer, sizeof(buffer), 0);
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		bulk_meter_take(meter, buffer, (size_t)n, bulk_clock_ns());
	}
	if (meter->limit_ns && bulk_meter_late(meter, bulk_clock_ns()))
		meter->report.us = opt.req.ms * 1000ull;
	return 0;
}

/* --- upload ------------------------------------------------------------------ */

/* Send until there is no room. Returns 0, or a negative errno value. */
static int upload_send(int fd, uint64_t *sent)
{
	size_t n = BUFFER_BYTES;
	ssize_t k;

	if (opt.req.bytes && opt.req.bytes - *sent < n)
		n = (size_t)(opt.req.bytes - *sent);
	pattern_fill(opt.req.seed, *sent, buffer, n);
	k = send(fd, buffer, n, MSG_NOSIGNAL);
	if (k < 0)
		return errno == EAGAIN ? 0 : -errno;
	*sent += (uint64_t)k;
	if (*sent == opt.req.bytes)
		shutdown(fd, SHUT_WR);
	return 0;
}

static int upload(int fd, struct bulk_report *ret_report)
{
	uint8_t report[BULK_HEAD_BYTES];
	size_t got = 0;
	uint64_t sent = 0;
	ssize_t n;
	int rc;

	while (got < sizeof(report)) {
		bool more = !opt.req.bytes || sent < opt.req.bytes;

		rc = wait_fd(fd, more ? POLLIN | POLLOUT : POLLIN, deadline_ns);
		if (rc <= 0)
			return rc ? rc : -ETIMEDOUT;
		if (rc & ~POLLOUT) {
			n = recv(fd, report + got, sizeof(report) - got, 0);
			if (n < 0)
				return -errno;
			if (n == 0)
				return -EPIPE;
			got += (size_t)n;
		} else if ((rc = upload_send(fd, &sent)) < 0) {
			return rc;
		}
	}
	bulk_report_read(ret_report, report);
	return 0;
}

/* --- all ----------------------------------------------------------------------- */

/* One that is cut off by its time ends with a RST: nothing is to drain. */
static void end_connection(int fd)
{
	struct linger now = { .l_onoff = 1 };

	if (!opt.req.bytes)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

static int transfer(struct bulk_report *ret_report, struct tcp_info *ret_info)
{
	struct bulk_meter meter = {
		.seed = opt.req.seed,
		.limit_ns = opt.req.ms * NSEC_PER_MSEC,
	};
	socklen_t len = sizeof(*ret_info);
	uint8_t head[BULK_HEAD_BYTES];
	int fd = -1, rc = connect_to(&fd);

	bulk_request_write(&opt.req, head);
	if (rc == 0)
		rc = send_all(fd, head, sizeof(head));
	if (rc == 0 && opt.req.upload)
		rc = upload(fd, &meter.report);
	else if (rc == 0)
		rc = download(fd, &meter);
	*ret_report = meter.report;
	if (fd >= 0) {
		getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret_info, &len);
		end_connection(fd);
	}
	return rc;
}

static bool print_result(int rc, const struct bulk_report *r,
			 const struct tcp_info *info)
{
	bool whole = !opt.req.bytes || r->total == opt.req.bytes;
	bool good = rc == 0 && whole && r->total > 0 && !r->mismatches;
	double seconds = (double)r->us / 1e6;

	printf("{\"ok\": %s, \"bytes\": %llu, \"total\": %llu, "
	       "\"mismatches\": %llu, \"seconds\": %.6f, \"mbit_per_s\": %.4f, "
	       "\"retransmits\": %u, \"rtt_us\": %u, \"error\": \"%s\"}\n",
	       good ? "true" : "false", (unsigned long long)r->bytes,
	       (unsigned long long)r->total, (unsigned long long)r->mismatches,
	       seconds,
	       seconds > 0 ? (double)r->bytes * 8 / 1e6 / seconds : 0.0,
	       info->tcpi_total_retrans, info->tcpi_rtt,
	       rc ? strerror(-rc) : "");
	return good;
}

static void usage(FILE *out)
{
	fputs("usage: bulkc --connect IP:PORT --down|--up [OPTION]...\n"
	      "  --bytes N     so many, then the end\n"
	      "  --ms N        for so long from the first byte\n"
	      "  --seed N      of the pattern (1)\n"
	      "  --timeout S   give up (60)\n"
	      "  --congestion NAME  congestion control\n"
	      "One of --bytes and --ms is needed.\n",
	      out);
}

static void usage_error(const char *what)
{
	fprintf(stderr, "bulkc: %s\n", what);
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

/* 192.0.2.1:80 or 2001:db8::1:80 (the port is what follows the last colon) */
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
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = port;
		opt.sa_len = sizeof(*in);
	} else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = port;
		opt.sa_len = sizeof(*in6);
	} else {
		usage_error("--connect wants an address, not a name");
	}
}

static const struct option long_options[] = {
	{ "connect", required_argument, NULL, 'c' },
	{ "down", no_argument, NULL, 'd' },
	{ "up", no_argument, NULL, 'u' },
	{ "bytes", required_argument, NULL, 'b' },
	{ "ms", required_argument, NULL, 'm' },
	{ "seed", required_argument, NULL, 's' },
	{ "timeout", required_argument, NULL, 't' },
	{ "congestion", required_argument, NULL, 'C' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static void parse_option(int which)
{
	switch (which) {
	case 'c':
		parse_address(optarg);
		break;
	case 'd':
	case 'u':
		opt.req.upload = which == 'u';
		break;
	case 'b':
		opt.req.bytes = parse_number(optarg);
		break;
	case 'm':
		opt.req.ms = (uint32_t)parse_number(optarg);
		break;
	case 's':
		opt.req.seed = parse_number(optarg);
		break;
	case 't':
		opt.timeout_s = (uint32_t)parse_number(optarg);
		break;
	case 'C':
		opt.congestion = optarg;
		break;
	case 'h':
		usage(stdout);
		exit(0);
	default:
		usage(stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct bulk_report report = { 0 };
	struct tcp_info info = { 0 };
	int which, rc;

	opt.req.seed = 1;
	opt.timeout_s = 60;
	while ((which = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		parse_option(which);
	if (!opt.sa_len || !opt.req.bytes == !opt.req.ms || optind != argc)
		usage_error("--connect, and --bytes or --ms are needed");
	deadline_ns = bulk_clock_ns() + opt.timeout_s * NSEC_PER_SEC;
	rc = transfer(&report, &info);
	return print_result(rc, &report, &info) ? 0 : 1;
}
