/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xtcp-swarm - millions of TCP clients of one server, packet by packet.
 *
 * Theory of operation
 *
 *	 swarm_load   who does what, when: phases, schedules, chance
 *	     |                 \
 *	 swarm_tcp    clients   swarm_flood
 *	 swarm_input     |          |
 *	     |        swarm_packet, swarm_pattern, swarm_tuple
 *	 swarm_tun ──── TUN device ──── kernel ──── the server
 *
 * One thread, one loop: read a batch, let the clients take it, let time pass,
 * let the load begin what is due, and sleep when there was nothing to read.
 * Time is read once per round. It shares no code with the TCP that it tests:
 * nothing of src/stack and src/arena, so that one mistake cannot hide in both.
 *
 * I1  A client is a record of 32 bytes; whatever else there is, is bounded.
 * I2  Nothing that comes from the device reaches an assert.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/units.h"
#include "tools/swarm_conf.h"
#include "tools/swarm_load.h"
#include "tools/swarm_net.h"
#include "tools/swarm_packet.h"
#include "tools/swarm_report.h"
#include "tools/swarm_tcp.h"
#include "tools/swarm_tun.h"

/* Shorter sleeps cost more than they are worth. */
#define SWARM_NAP_NS (50 * NSEC_PER_USEC)
/* How precise sleeps are. */
#define SWARM_SLACK_NS 5000ul
/* Rounds without a look at signals. */
#define SWARM_ROUNDS 256u

struct swarm {
	struct swarm_conf conf;
	struct swarm_tun tun;
	struct swarm_net *net;
	struct swarm_tcp tcp;
	struct swarm_load load;
	struct swarm_report report;
	int signal_fd;
	uint32_t round;
};

/* Large, for its histograms. */
static struct swarm swarm = { .tun.fd = -1, .signal_fd = -1 };

static uint64_t swarm_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* --- start and end ----------------------------------------------------- */

static int swarm_open_signals(struct swarm *s)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signal_fd < 0 ? -errno : 0;
}

static int swarm_open_tun(struct swarm *s)
{
	const char *device = s->conf.device;
	int rc = swarm_tun_open(&s->tun, device, s->conf.offload);

	if (rc == 0)
		return 0;
	if (rc == -EBUSY || rc == -EEXIST)
		log_error("device %s: exists already, is another xtcp-swarm "
			  "running? choose another name with --device",
			  device);
	else if (rc == -EPERM || rc == -EACCES)
		log_error("device %s: %s: run as root, or with CAP_NET_ADMIN",
			  device, strerror(-rc));
	else
		log_error("device %s: %s: is there a /dev/net/tun?", device,
			  strerror(-rc));
	return rc;
}

static int swarm_open_net(struct swarm *s)
{
	const struct swarm_net_conf conf = {
		.device = s->conf.device,
		.mtu = s->conf.mtu,
		.sources = s->conf.sources,
		.flood = s->conf.flood_sources,
		.has_flood = s->conf.flood != 0,
		.set_forwarding = s->conf.set_forwarding,
		.server = s->conf.server,
	};

	return swarm_net_open(&s->net, &conf);
}

static int swarm_open_direct(struct swarm *s)
{
	int ifindex = swarm_net_server_ifindex(s->net), rc = -EOPNOTSUPP;

	if (!s->conf.direct)
		return 0;
	if (ifindex)
		rc = swarm_tun_go_direct(&s->tun, ifindex);
	if (rc == -EOPNOTSUPP)
		log_error("--direct: the server has to be behind a TUN device "
			  "in this network namespace");
	else if (rc < 0)
		log_error("--direct: %s", strerror(-rc));
	return rc;
}

static int swarm_open_tcp(struct swarm *s)
{
	const struct swarm_conf *c = &s->conf;
	uint32_t headers = c->server.family == 4 ? 40 : 60;
	const struct swarm_tcp_conf tcp_conf = {
		.request_bytes = c->request_bytes,
		.reply_bytes = c->reply_bytes,
		.rto_ms = c->rto_ms,
		.tries = c->tries,
		.ack_delay_ms = c->ack_delay_ms,
		.echo = c->reply_bytes == c->request_bytes,
		.verify = c->verify,
	};
	struct swarm_wire wire = {
		.server = c->server,
		.server_port = c->port,
		.mss = (uint16_t)(c->mtu - headers),
		.wscale = SWARM_WSCALE,
		.timestamps = c->timestamps,
		.offload = c->offload,
	};
	struct swarm_tuples tuples;
	int rc = swarm_tuples_init(&tuples, &c->sources, c->connections);

	if (rc < 0)
		return rc;
	wire.client = tuples.first;
	wire.word_at = tuples.word_at;
	swarm_wire_init(&wire);
	rc = swarm_tcp_init(&s->tcp, &tcp_conf, &wire, &tuples, &s->tun,
			    c->active_max, c->seed);
	if (rc < 0)
		log_error("memory for %u clients: %s", c->connections,
			  strerror(-rc));
	return rc;
}

static int swarm_open(struct swarm *s)
{
	int rc = swarm_open_tun(s);

	if (rc == 0)
		rc = swarm_open_net(s);
	if (rc == 0)
		rc = swarm_open_direct(s);
	if (rc == 0)
		rc = swarm_open_tcp(s);
	if (rc == 0)
		rc = swarm_open_signals(s);
	if (rc < 0)
		return rc;
	(void)prctl(PR_SET_TIMERSLACK, SWARM_SLACK_NS, 0, 0, 0);
	swarm_tcp_set_now(&s->tcp, swarm_now_ns());
	swarm_load_init(&s->load, &s->conf, &s->tcp);
	swarm_report_mark(&s->report, &s->load);
	return 0;
}

static void swarm_close(struct swarm *s)
{
	swarm_tcp_fini(&s->tcp);
	swarm_net_close(s->net);
	swarm_tun_close(&s->tun);
	if (s->signal_fd >= 0)
		close(s->signal_fd);
}

/* --- the loop ---------------------------------------------------------- */

/* Until there is a packet or a signal, or something is due. */
static void swarm_sleep(struct swarm *s)
{
	struct pollfd fds[] = { { .fd = s->tun.fd, .events = POLLIN },
				{ .fd = s->signal_fd, .events = POLLIN } };
	uint64_t next_ns = min_u64(swarm_load_next_ns(&s->load),
				   swarm_tcp_next_ns(&s->tcp));
	uint64_t now_ns = s->tcp.now_ns, ns = SWARM_NAP_NS;
	struct timespec ts;

	if (next_ns > now_ns)
		ns = max_u64(ns, next_ns - now_ns);
	/* with a tick, what comes waits for its end */
	if (s->conf.tick_us && s->tcp.conns.n_active > 0) {
		ns = s->conf.tick_us * NSEC_PER_USEC;
		fds[0].events = 0;
	}
	ts.tv_sec = (time_t)(ns / NSEC_PER_SEC);
	ts.tv_nsec = (long)(ns % NSEC_PER_SEC);
	(void)ppoll(fds, ARRAY_SIZE(fds), &ts, NULL);
}

static void swarm_enter_phase(struct swarm *s)
{
	swarm_report_mark(&s->report, &s->load);
}

static void swarm_look_for_signals(struct swarm *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		swarm_load_stop(&s->load);
		swarm_enter_phase(s);
	}
}

/* Requests that nobody waits for any longer. */
static void swarm_count_unanswered(struct swarm *s)
{
	s->tcp.count.unanswered += s->tcp.conns.by_kind[SWARM_REQUEST];
}

static int swarm_run(struct swarm *s)
{
	bool progress = s->conf.progress || isatty(STDERR_FILENO);
	int n;

	while (s->load.phase != SWARM_PHASE_DONE) {
		n = swarm_tun_read(&s->tun);
		if (n < 0) {
			log_error("device %s: %s", s->conf.device,
				  strerror(-n));
			return n;
		}
		swarm_tcp_set_now(&s->tcp, swarm_now_ns());
		swarm_tcp_input(&s->tcp, n);
		swarm_tcp_tick(&s->tcp);
		if (swarm_load_step(&s->load))
			swarm_enter_phase(s);
		swarm_tun_flush(&s->tun);
		if (n == 0)
			swarm_sleep(s);
		if (n == 0 || ++s->round % SWARM_ROUNDS == 0)
			swarm_look_for_signals(s);
		if (progress)
			swarm_report_progress(&s->report, &s->load);
	}
	swarm_count_unanswered(s);
	return 0;
}

int main(int argc, char **argv)
{
	struct swarm *s = &swarm;
	int status = swarm_conf_read(&s->conf, argc, argv);
	int rc;

	if (status >= 0)
		return status;
	rc = swarm_open(s);
	if (rc == 0)
		rc = swarm_run(s);
	if (rc == 0)
		rc = swarm_report_write(&s->report, &s->load);
	status = rc < 0 || !swarm_report_ok(&s->load) ? 1 : 0;
	swarm_close(s);
	return status;
}
