/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xtcp-echod - the sample backend: sends back what it receives.
 *
 * Each byte is echoed exactly once, though the library returns a byte again
 * and again until it is acknowledged. Of the bytes of a connection that are
 * not acknowledged, oldest first:
 *
 *	|--- debt ---|------- pend -------|--- new ---|
 *	  echoed, not   received before,    this time's
 *	  acknowledged  not echoed
 *
 * A byte is acknowledged with its echo or after it, never before. So pend is
 * bounded by what the daemon lets be unacknowledged, and if echod dies the
 * daemon has every byte that wasn't echoed. Without --delay and with a client
 * that reads, pend is empty: the echo goes from the receive buffer.
 *
 *	--ack full	acknowledges each byte with its echo
 *	--ack half	acknowledges half of what it echoes with the echo, and
 *			the debt of before; what is left is returned by the
 *			next receive and acknowledged then
 *	--ack none	never
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "xtcp/xtcp.h"

#define ECHOD_PORT 7 /* RFC 862 */
#define ECHOD_EVENTS 256
/* Turns of the inner loop before signals and timers are looked at. */
#define ECHOD_TURNS 64
#define ECHOD_BUF_MIN (256u * 1024u)
#define ECHOD_BUF_MAX (256u * 1024u * 1024u)
#define ECHOD_DELAY_MAX_MS 3600000u

enum echod_ack { ECHOD_ACK_FULL, ECHOD_ACK_HALF, ECHOD_ACK_NONE };

static const char *const echod_ack_names[] = { "full", "half", "none" };

struct echod_conn {
	size_t debt;
	char *pend;
	size_t pend_len, pend_cap;
	uint64_t due_ms; /* 0: no delay is running */
	int next_due; /* cd of the next in the queue of delays */
	bool closed; /* the client has closed */
};

struct echod {
	/* options */
	const char *name, *listen;
	uint16_t port;
	enum echod_ack ack;
	uint32_t delay_ms;
	bool uppercase;

	int gd;
	int signal_fd;
	char *buf;
	size_t buf_bytes;
	struct echod_conn **conns; /* by cd */
	int n_conns;
	int due_head, due_tail; /* cd, all with the same delay; 0: none */
	uint64_t echoed_bytes;
};

static uint64_t echod_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* --- connections --- */

/* The state of cd, made when there is none. NULL: memory is short. */
static struct echod_conn *echod_conn_get(struct echod *e, int cd)
{
	struct echod_conn **conns;
	int n;

	if (cd >= e->n_conns) {
		n = (int)next_pow2((uint64_t)cd + 1);
		conns = realloc(e->conns, (size_t)n * sizeof(e->conns[0]));
		if (!conns)
			return NULL;
		memset(conns + e->n_conns, 0,
		       (size_t)(n - e->n_conns) * sizeof(e->conns[0]));
		e->conns = conns;
		e->n_conns = n;
	}
	if (!e->conns[cd])
		e->conns[cd] = calloc(1, sizeof(struct echod_conn));
	return e->conns[cd];
}

static void echod_conn_free(struct echod *e, int cd)
{
	struct echod_conn *c = cd < e->n_conns ? e->conns[cd] : NULL;

	if (!c)
		return;
	free(c->pend);
	/* One that stands in the queue of delays is freed when it's due. */
	if (c->due_ms) {
		*c = (struct echod_conn){ .due_ms = c->due_ms,
					  .next_due = c->next_due };
		return;
	}
	free(c);
	e->conns[cd] = NULL;
}

static void echod_close(struct echod *e, int cd, bool abort)
{
	echod_conn_free(e, cd);
	if (abort)
		(void)xtcp_abort(e->gd, cd);
	else
		(void)xtcp_close(e->gd, cd);
}

static int echod_conn_keep(struct echod_conn *c, const char *data, size_t n)
{
	size_t need = c->pend_len + n;
	char *pend;

	if (n == 0)
		return 0;
	if (need > c->pend_cap) {
		pend = realloc(c->pend, (size_t)next_pow2(need));
		if (!pend)
			return -ENOMEM;
		c->pend = pend;
		c->pend_cap = (size_t)next_pow2(need);
	}
	memcpy(c->pend + c->pend_len, data, n);
	c->pend_len += n;
	return 0;
}

/* --- echoing --- */

/* How much to acknowledge with an echo of len bytes; counts the debt. */
static size_t echod_ackd(const struct echod *e, struct echod_conn *c,
			 size_t len)
{
	size_t ackd;

	switch (e->ack) {
	case ECHOD_ACK_FULL:
		ackd = c->debt + len;
		break;
	case ECHOD_ACK_HALF:
		ackd = c->debt + (len + 1) / 2;
		break;
	default:
		ackd = 0;
	}
	c->debt = c->debt + len - ackd;
	return ackd;
}

/*
 * Echoes as much of len bytes as there is room for. Returns their number;
 * < 0: the connection is gone.
 */
static ssize_t echod_echo(struct echod *e, int cd, struct echod_conn *c,
			  char *data, size_t len)
{
	size_t done = 0, n;
	int room, rc;

	while (done < len) {
		room = xtcp_room(e->gd, cd);
		if (room <= 0)
			return room < 0 ? room : (ssize_t)done;
		n = min_size(len - done, (size_t)room);
		rc = xtcp_send(e->gd, cd, echod_ackd(e, c, n), data + done, n);
		if (rc < 0)
			return rc;
		if ((size_t)rc < n)
			return -EIO; /* acknowledged, and can't be echoed */
		done += n;
		e->echoed_bytes += n;
	}
	return (ssize_t)done;
}

/* Echoes what is pending; closes after the last byte of a closed one. */
static void echod_go_on(struct echod *e, int cd, struct echod_conn *c)
{
	ssize_t n = echod_echo(e, cd, c, c->pend, c->pend_len);

	if (n < 0) {
		echod_close(e, cd, true);
		return;
	}
	c->pend_len -= (size_t)n;
	memmove(c->pend, c->pend + n, c->pend_len);
	if (c->pend_len > 0)
		return;
	free(c->pend);
	c->pend = NULL;
	c->pend_cap = 0;
	if (c->closed)
		echod_close(e, cd, false);
}

/* Starts the delay of a connection, unless one is running. */
static void echod_delay(struct echod *e, int cd, struct echod_conn *c)
{
	if (c->due_ms)
		return;
	c->due_ms = echod_now_ms() + e->delay_ms;
	c->next_due = 0;
	if (e->due_tail)
		e->conns[e->due_tail]->next_due = cd;
	else
		e->due_head = cd;
	e->due_tail = cd;
}

/* New bytes of a connection, len of them. */
static void echod_take(struct echod *e, int cd, struct echod_conn *c,
		       char *data, size_t len)
{
	ssize_t n = 0;

	for (size_t i = 0; e->uppercase && i < len; i++) {
		if (data[i] >= 'a' && data[i] <= 'z')
			data[i] = (char)(data[i] - 'a' + 'A');
	}
	if (e->delay_ms == 0 && c->pend_len == 0)
		n = echod_echo(e, cd, c, data, len);
	if (n < 0 || echod_conn_keep(c, data + n, len - (size_t)n) < 0) {
		echod_close(e, cd, true);
		return;
	}
	if (e->delay_ms > 0)
		echod_delay(e, cd, c);
}

/*
 * Receives all that is not acknowledged; the buffer grows to hold it.
 * Returns as xtcp_recv_from(); ret_closed: the client has closed after it.
 */
static int echod_recv(struct echod *e, int cd, bool *ret_closed)
{
	int n = xtcp_recv_from(e->gd, cd, e->buf, e->buf_bytes), more;
	char *buf;

	*ret_closed = n == 0;
	while (n > 0 && (size_t)n == e->buf_bytes) {
		if (e->buf_bytes >= ECHOD_BUF_MAX)
			return -ENOBUFS;
		buf = realloc(e->buf, e->buf_bytes * 2);
		if (!buf)
			return -ENOMEM;
		e->buf = buf;
		e->buf_bytes *= 2;
		more = xtcp_recv_from(e->gd, cd, e->buf, e->buf_bytes);
		*ret_closed = more == 0;
		/* It was all: what was returned is still there. */
		if (more == 0 || more == -EAGAIN)
			break;
		n = more;
	}
	return n;
}

static void echod_readable(struct echod *e, int cd)
{
	struct echod_conn *c;
	bool closed;
	size_t old;
	int n;

	n = echod_recv(e, cd, &closed);
	if (n == -EAGAIN || n == -EBADF)
		return;
	c = n < 0 ? NULL : echod_conn_get(e, cd);
	if (!c) {
		echod_close(e, cd, true);
		return;
	}
	old = c->debt + c->pend_len;
	c->closed |= closed;
	if ((size_t)n > old)
		echod_take(e, cd, c, e->buf + old, (size_t)n - old);
	else if (n > 0 && c->debt > 0 && e->ack != ECHOD_ACK_NONE)
		(void)xtcp_send(e->gd, cd, echod_ackd(e, c, 0), NULL, 0);
	/* echod_take() may have closed it; if not, the rest is echoed first. */
	c = e->conns[cd];
	if (closed && c && c->pend_len == 0)
		echod_close(e, cd, false);
}

/* --- the loop --- */

static void echod_event(struct echod *e, const struct xtcp_event *ev)
{
	struct echod_conn *c;

	if (ev->events & XTCP_EV_ACCEPT) {
		(void)xtcp_accept(e->gd);
		return;
	}
	if (ev->events & XTCP_EV_READ)
		echod_readable(e, ev->cd);
	if (!(ev->events & XTCP_EV_WRITE) || ev->cd >= e->n_conns)
		return;
	c = e->conns[ev->cd];
	if (c && c->pend_len > 0 && !c->due_ms)
		echod_go_on(e, ev->cd, c);
}

/* Echoes what was delayed long enough. Milliseconds to the next, or -1. */
static int echod_run_delays(struct echod *e)
{
	uint64_t now;

	if (!e->due_head)
		return -1;
	now = echod_now_ms();
	while (e->due_head) {
		int cd = e->due_head;
		struct echod_conn *c = e->conns[cd];

		if (c->due_ms > now)
			return (int)(c->due_ms - now);
		e->due_head = c->next_due;
		if (!e->due_head)
			e->due_tail = 0;
		c->due_ms = 0;
		if (c->pend_len > 0)
			echod_go_on(e, cd, c);
		else
			echod_conn_free(e, cd);
	}
	return -1;
}

static bool echod_signalled(struct echod *e)
{
	struct signalfd_siginfo si;

	if (read(e->signal_fd, &si, sizeof(si)) != sizeof(si))
		return false;
	log_info("%s: signal %u, ending after %llu bytes", e->name,
		 si.ssi_signo, (unsigned long long)e->echoed_bytes);
	return true;
}

static int echod_run(struct echod *e)
{
	struct pollfd fds[2] = { { .fd = e->gd, .events = POLLIN },
				 { .fd = e->signal_fd, .events = POLLIN } };
	struct xtcp_event ev[ECHOD_EVENTS];
	int timeout, n;

	do {
		n = ECHOD_EVENTS;
		for (int i = 0; i < ECHOD_TURNS && n == ECHOD_EVENTS; i++) {
			n = xtcp_poll(ev, ECHOD_EVENTS, 0);
			for (int j = 0; j < n; j++)
				echod_event(e, &ev[j]);
		}
		if (n < 0)
			return n;
		timeout = echod_run_delays(e);
		(void)xtcp_flush(e->gd);
		if (poll(fds, 2, timeout) < 0 && errno != EINTR)
			return -errno;
	} while (!echod_signalled(e));
	return 0;
}

/* --- start and end --- */

static int echod_open(struct echod *e)
{
	sigset_t set;
	int rc;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	e->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	e->buf_bytes = ECHOD_BUF_MIN;
	e->buf = malloc(e->buf_bytes);
	if (e->signal_fd < 0 || !e->buf)
		return -ENOMEM;
	rc = xtcp_initialize(0);
	if (rc < 0)
		return rc;
	e->gd = e->listen ? xtcp_listen_group(PF_INET6, e->listen)
			  : xtcp_open_group(PF_INET6, SOCK_STREAM, 0, e->port);
	return e->gd < 0 ? e->gd : xtcp_cork(e->gd, 1);
}

static void echod_fini(struct echod *e)
{
	(void)xtcp_finalize();
	for (int cd = 0; cd < e->n_conns; cd++) {
		if (e->conns[cd])
			free(e->conns[cd]->pend);
		free(e->conns[cd]);
	}
	free(e->conns);
	free(e->buf);
	if (e->signal_fd >= 0)
		close(e->signal_fd);
}

static void echod_usage(FILE *out)
{
	fputs("Usage: xtcp-echod [OPTION]...\n"
	      "Send back what the clients of an xtcpd group send.\n\n"
	      "  -g, --group=GROUP    name in log lines (default: echo)\n"
	      "  -p, --port=PORT      serve the group of this port (default: 7)\n"
	      "  -l, --listen=ADDR    let xtcpd connect to us at unix:PATH or\n"
	      "                       tcp:HOST:PORT, instead of the other way\n"
	      "  -a, --ack=HOW        acknowledge full, half or none of the bytes\n"
	      "                       (default: full)\n"
	      "  -d, --delay=MS       wait before each reply (default: 0)\n"
	      "  -u, --uppercase      make letters capital\n"
	      "  -h, --help           show this and exit\n"
	      "  -V, --version        show the version and exit\n\n"
	      "XTCP_ATTACH names the daemon's attach socket (default: " XTCP_ATTACH_DEFAULT
	      ").\n",
	      out);
}

static bool echod_number(const char *text, unsigned long min, unsigned long max,
			 unsigned long *ret)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || v < min || v > max)
		return false;
	*ret = v;
	return true;
}

/* One option that takes a value. Returns whether the value is good. */
static bool echod_option(struct echod *e, int opt, const char *value)
{
	unsigned long v;

	switch (opt) {
	case 'g':
		e->name = value;
		return true;
	case 'l':
		e->listen = value;
		return true;
	case 'p':
		if (!echod_number(value, 1, 65535, &v))
			break;
		e->port = (uint16_t)v;
		return true;
	case 'd':
		if (!echod_number(value, 0, ECHOD_DELAY_MAX_MS, &v))
			break;
		e->delay_ms = (uint32_t)v;
		return true;
	case 'a':
		for (size_t i = 0; i < ARRAY_SIZE(echod_ack_names); i++) {
			if (strcmp(value, echod_ack_names[i]) != 0)
				continue;
			e->ack = (enum echod_ack)i;
			return true;
		}
		break;
	default:
		break;
	}
	log_error("-%c: \"%s\" is not valid, see xtcp-echod --help", opt,
		  value);
	return false;
}

/* Returns -1 to go on, or the exit status. */
static int echod_options(struct echod *e, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "group", required_argument, NULL, 'g' },
		{ "port", required_argument, NULL, 'p' },
		{ "listen", required_argument, NULL, 'l' },
		{ "ack", required_argument, NULL, 'a' },
		{ "delay", required_argument, NULL, 'd' },
		{ "uppercase", no_argument, NULL, 'u' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "g:p:l:a:d:uhV", longs, NULL)) !=
	       -1) {
		switch (opt) {
		case 'u':
			e->uppercase = true;
			break;
		case 'h':
			echod_usage(stdout);
			return 0;
		case 'V':
			puts("xtcp-echod " PACKAGE_VERSION);
			return 0;
		case '?':
			fputs("try: xtcp-echod --help\n", stderr);
			return 2;
		default:
			if (!echod_option(e, opt, optarg))
				return 2;
		}
	}
	if (optind == argc)
		return -1;
	log_error("unexpected argument \"%s\", see xtcp-echod --help",
		  argv[optind]);
	return 2;
}

int main(int argc, char **argv)
{
	struct echod e = { .name = "echo",
			   .port = ECHOD_PORT,
			   .signal_fd = -1 };
	int rc = echod_options(&e, argc, argv);

	if (rc >= 0)
		return rc;
	rc = echod_open(&e);
	if (rc < 0) {
		if (e.listen)
			log_error("%s: cannot listen at %s: %s", e.name,
				  e.listen, strerror(-rc));
		else
			log_error("%s: cannot serve port %u: %s; is xtcpd "
				  "running, with a group of that port?",
				  e.name, (unsigned int)e.port, strerror(-rc));
	} else {
		log_info("%s: ready, acknowledging %s", e.name,
			 echod_ack_names[e.ack]);
		rc = echod_run(&e);
		if (rc < 0)
			log_error("%s: %s", e.name, strerror(-rc));
	}
	echod_fini(&e);
	return rc < 0 ? 1 : 0;
}
