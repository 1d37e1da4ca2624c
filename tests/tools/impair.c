/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * impair - a link that delays, loses, reorders and spoils packets, between
 * two TUN devices in network namespaces of the caller's.
 *
 * Theory of operation
 *
 *	namespace a                                         namespace b
 *	routing -> device ── fd ─> way ab: judge ─┐   ┌─> fd ── device
 *	                                          heap
 *	           device <─ fd ──────────────────┘   └── way ba: judge <─ fd ──
 *
 * One thread. A packet that was read is judged at once (impair_way.c): dropped,
 * or given one or two times at which it arrives. It is kept in a slot, and an
 * entry for each arrival in a heap, by time and then by order of coming. The
 * loop writes out what is due, sleeps in ppoll(2) until the next is or a packet
 * comes, and reads a batch from each side. The devices have no offloads, so the
 * kernel hands over single packets of at most their MTU.
 *
 * What happens to the n-th packet of a direction, but for times and the queue,
 * is a function of the seed, the direction and n. So two runs with one seed
 * lose the same packets by number, whatever is in them.
 *
 * Bounds: SLOTS packets under way; what comes beyond is dropped and counted
 * (no_room). How late packets were handed on against their time is part of the
 * statistics (late_*): a run on a machine that was too busy shows.
 *
 * Limits: IPv4 packets larger than mtu= and without DF are dropped, not
 * fragmented. Nothing is said to the sender of any packet but by mtu=N/icmp.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "tools/impair.h"

#define SLOTS 65536u
#define BATCH 64u
#define TXQLEN 10000
#define LATE_NS IMPAIR_NSEC_PER_MSEC
#define REALTIME_PRIORITY 1

#define COUNTERS(C)                                                    \
	C(packets, "packets that came")                                \
	C(bytes, "bytes of them")                                      \
	C(ignored,                                                     \
	  "link-local and multicast ones, not forwarded nor numbered") \
	C(delivered, "packets handed on")                              \
	C(delivered_bytes, "bytes of them")                            \
	C(lost, "dropped by loss=")                                    \
	C(burst_lost, "dropped by burst=")                             \
	C(listed_lost, "dropped by drop=")                             \
	C(queue_dropped, "dropped as the queue was full")              \
	C(mtu_dropped, "larger than mtu=")                             \
	C(icmp, "senders told of that")                                \
	C(duplicated, "sent twice")                                    \
	C(reordered, "sent late")                                      \
	C(corrupted, "with a bit flipped")                             \
	C(ce_marked, "marked with CE")                                 \
	C(no_room, "dropped as too many were under way")               \
	C(write_failed, "not taken by the device")

struct counters {
#define C(name, text) uint64_t name; /* text */
	COUNTERS(C)
#undef C
};

struct end {
	const char *ns; /* path, or NULL: where we started */
	const char *ifname;
	int fd;
};

struct entry {
	uint64_t due_ns, order;
	uint32_t slot;
	uint8_t to; /* end */
};

/* Slots are shared by the copies of a duplicated packet. */
struct slot {
	uint16_t bytes;
	uint8_t uses;
};

static struct options {
	struct impair_spec spec[2];
	uint64_t seed;
	uint32_t mtu;
	const char *stats, *log;
	bool realtime;
	struct impair_router router;
} opt;

static struct end ends[2];
static struct impair_way ways[2]; /* [i]: from end i to the other */
static struct counters counters[2];
static const char *const way_names[2] = { "ab", "ba" };

static struct slot slots[SLOTS];
static uint8_t (*packets)[IMPAIR_PACKET_BYTES];
static uint32_t free_slots[SLOTS], n_free;
/* a packet may be there twice */
static struct entry heap[2 * SLOTS];
static uint32_t n_heap;
static uint64_t next_order;

static uint64_t late_max_ns, late_sum_ns, late_count, late_packets;
static FILE *log_file;
static volatile sig_atomic_t stop, report;

static void die(const char *what)
{
	fprintf(stderr, "impair: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * IMPAIR_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* --- slots and heap -------------------------------------------------------- */

static void slots_init(void)
{
	packets = mmap(NULL, sizeof(*packets) * SLOTS, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (packets == MAP_FAILED)
		die("mmap");
	for (n_free = 0; n_free < SLOTS; n_free++)
		free_slots[n_free] = SLOTS - 1 - n_free;
}

static void slot_drop(uint32_t slot)
{
	if (--slots[slot].uses == 0)
		free_slots[n_free++] = slot;
}

static bool entry_before(const struct entry *a, const struct entry *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns
				      : a->order < b->order;
}

static void heap_push(struct entry e)
{
	uint32_t i = n_heap++;

	e.order = next_order++;
	while (i > 0 && entry_before(&e, &heap[(i - 1) / 2])) {
		heap[i] = heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	heap[i] = e;
}

static struct entry heap_pop(void)
{
	struct entry top = heap[0], last = heap[--n_heap];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < n_heap) {
		if (child + 1 < n_heap &&
		    entry_before(&heap[child + 1], &heap[child]))
			child++;
		if (!entry_before(&heap[child], &last))
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = last;
	return top;
}

/* --- packets --------------------------------------------------------------- */

static void packet_log(uint32_t from, const char *what, const uint8_t *packet,
		       size_t bytes)
{
	/* judged already: its number is the one before */
	if (log_file)
		impair_packet_log(log_file, way_names[from], ways[from].n - 1,
				  what, packet, bytes);
}

static void packet_refuse(uint32_t from, const uint8_t *packet, size_t bytes)
{
	const struct impair_spec *spec = &ways[from].spec;
	uint8_t error[1280];
	size_t n;

	counters[from].mtu_dropped++;
	packet_log(from, "mtu", packet, bytes);
	if (!spec->mtu_icmp)
		return;
	n = impair_packet_too_big(&opt.router, packet, bytes, spec->mtu, error);
	if (!n)
		return;
	counters[from].icmp++;
	if (write(ends[from].fd, error, n) < 0)
		counters[from].write_failed++;
}

/* Count and log one that is not passed on. */
static void packet_dropped(uint32_t from, enum impair_fate fate,
			   const uint8_t *packet, size_t bytes)
{
	struct counters *c = &counters[from];

	switch (fate) {
	case IMPAIR_LOST:
		c->lost++;
		packet_log(from, "lost", packet, bytes);
		break;
	case IMPAIR_BURST:
		c->burst_lost++;
		packet_log(from, "burst", packet, bytes);
		break;
	case IMPAIR_LISTED:
		c->listed_lost++;
		packet_log(from, "listed", packet, bytes);
		break;
	case IMPAIR_QUEUE:
		c->queue_dropped++;
		packet_log(from, "queue", packet, bytes);
		break;
	case IMPAIR_MTU:
		packet_refuse(from, packet, bytes);
		break;
	case IMPAIR_PASS:
		break;
	}
}

static void packet_change(uint32_t from, const struct impair_verdict *v,
			  uint8_t *packet, size_t bytes)
{
	struct counters *c = &counters[from];

	if (v->copies > 1) {
		c->duplicated++;
		packet_log(from, "dup", packet, bytes);
	}
	if (v->reordered) {
		c->reordered++;
		packet_log(from, "reorder", packet, bytes);
	}
	if (v->mark_ce && impair_packet_mark_ce(packet, bytes)) {
		c->ce_marked++;
		packet_log(from, "ce", packet, bytes);
	}
	if (v->corrupt) {
		/* as it was: a spoiled one may not be readable */
		packet_log(from, "corrupt", packet, bytes);
		impair_packet_flip(packet, bytes, v->corrupt_bit);
		c->corrupted++;
	}
}

static void packet_take(uint32_t from, uint32_t slot, size_t bytes)
{
	uint8_t *packet = packets[slot];
	struct impair_verdict v;

	if (impair_packet_is_local(packet, bytes)) {
		counters[from].ignored++;
		slot_drop(slot);
		return;
	}
	counters[from].packets++;
	counters[from].bytes += bytes;
	impair_way_judge(&ways[from], bytes, clock_ns(), &v);
	if (v.fate != IMPAIR_PASS) {
		packet_dropped(from, v.fate, packet, bytes);
		slot_drop(slot);
		return;
	}
	packet_change(from, &v, packet, bytes);
	slots[slot].bytes = (uint16_t)bytes;
	slots[slot].uses = (uint8_t)v.copies;
	for (uint32_t i = 0; i < v.copies; i++)
		heap_push((struct entry){ .due_ns = v.due_ns[i],
					  .slot = slot,
					  .to = (uint8_t)!from });
}

/* A batch from one side, so that the other one gets its turn. */
static void end_read(uint32_t from)
{
	static uint8_t nowhere[IMPAIR_PACKET_BYTES];
	uint32_t slot;
	ssize_t n;

	for (uint32_t i = 0; i < BATCH; i++) {
		if (!n_free) {
			if (read(ends[from].fd, nowhere, sizeof(nowhere)) <= 0)
				return;
			counters[from].no_room++;
			continue;
		}
		slot = free_slots[n_free - 1];
		n = read(ends[from].fd, packets[slot], IMPAIR_PACKET_BYTES);
		if (n <= 0)
			return;
		n_free--;
		slots[slot].uses = 1;
		packet_take(from, slot, (size_t)n);
	}
}

static void late_count_one(uint64_t late_ns)
{
	late_sum_ns += late_ns;
	late_packets++;
	late_count += late_ns > LATE_NS;
	if (late_ns > late_max_ns)
		late_max_ns = late_ns;
}

static void deliver_due(void)
{
	uint64_t now = clock_ns();

	while (n_heap && heap[0].due_ns <= now) {
		struct entry e = heap_pop();
		struct counters *c = &counters[!e.to];
		uint16_t bytes = slots[e.slot].bytes;

		late_count_one(now - e.due_ns);
		if (write(ends[e.to].fd, packets[e.slot], bytes) < 0) {
			c->write_failed++;
		} else {
			c->delivered++;
			c->delivered_bytes += bytes;
		}
		slot_drop(e.slot);
	}
}

/* --- statistics ------------------------------------------------------------ */

static void stats_way(FILE *out, uint32_t i)
{
	const struct counters *c = &counters[i];

	fprintf(out, "\"%s\": {", way_names[i]);
#define C(name, text) \
	fprintf(out, "\"" #name "\": %llu, ", (unsigned long long)c->name);
	COUNTERS(C)
#undef C
	fprintf(out, "\"queue_max_bytes\": %llu}, ",
		(unsigned long long)ways[i].queue_max_bytes);
}

static void stats_write(void)
{
	FILE *out = opt.stats ? fopen(opt.stats, "we") : stdout;
	struct rusage use;

	if (!out)
		die(opt.stats);
	getrusage(RUSAGE_SELF, &use);
	fprintf(out, "{\"seed\": %llu, ", (unsigned long long)opt.seed);
	stats_way(out, 0);
	stats_way(out, 1);
	fprintf(out,
		"\"late_us_max\": %llu, \"late_us_mean\": %.1f, "
		"\"late_over_1ms\": %llu, \"cpu_ms\": %lld}\n",
		(unsigned long long)(late_max_ns / IMPAIR_NSEC_PER_USEC),
		late_packets ? (double)late_sum_ns / 1e3 / (double)late_packets
			     : 0.0,
		(unsigned long long)late_count,
		(long long)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000 +
			(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1000);
	fflush(out);
	if (opt.stats)
		fclose(out);
	if (log_file)
		fflush(log_file);
}

/* --- devices --------------------------------------------------------------- */

static void device_set_up(struct ifreq *ifr)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0)
		die("socket");
	ifr->ifr_mtu = (int)opt.mtu;
	if (ioctl(s, SIOCSIFMTU, ifr) < 0)
		die("SIOCSIFMTU");
	ifr->ifr_qlen = TXQLEN;
	if (ioctl(s, SIOCSIFTXQLEN, ifr) < 0)
		die("SIOCSIFTXQLEN");
	ifr->ifr_flags = IFF_UP | IFF_RUNNING | IFF_NOARP | IFF_POINTOPOINT;
	if (ioctl(s, SIOCSIFFLAGS, ifr) < 0)
		die("SIOCSIFFLAGS");
	close(s);
}

/* In the namespace in which we are. */
static int device_open(const char *ifname)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		die("/dev/net/tun");
	strncpy(ifr.ifr_name, ifname, IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		die(ifname);
	device_set_up(&ifr);
	return fd;
}

static void end_open(struct end *end, int home)
{
	int ns = end->ns ? open(end->ns, O_RDONLY | O_CLOEXEC) : home;

	if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
		die(end->ns ? end->ns : "setns");
	end->fd = device_open(end->ifname);
	if (end->ns)
		close(ns);
}

static void ends_open(void)
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (home < 0)
		die("/proc/self/ns/net");
	end_open(&ends[0], home);
	end_open(&ends[1], home);
	close(home);
}

/* --- the loop -------------------------------------------------------------- */

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		report = 1;
	else
		stop = 1;
}

/* Signals come in ppoll() alone. */
static void signals_init(sigset_t *ret_while_waiting)
{
	static const int caught[] = { SIGTERM, SIGINT, SIGUSR1 };
	struct sigaction sa = { .sa_handler = on_signal };
	sigset_t blocked;

	sigemptyset(&blocked);
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++) {
		sigaddset(&blocked, caught[i]);
		sigaction(caught[i], &sa, NULL);
	}
	sigprocmask(SIG_BLOCK, &blocked, ret_while_waiting);
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		sigdelset(ret_while_waiting, caught[i]);
}

static void wait_for_work(struct pollfd fds[2], const sigset_t *mask)
{
	struct timespec ts, *until = NULL;
	uint64_t now, wait_ns;

	if (n_heap) {
		now = clock_ns();
		wait_ns = heap[0].due_ns > now ? heap[0].due_ns - now : 0;
		ts.tv_sec = (time_t)(wait_ns / IMPAIR_NSEC_PER_SEC);
		ts.tv_nsec = (long)(wait_ns % IMPAIR_NSEC_PER_SEC);
		until = &ts;
	}
	if (ppoll(fds, 2, until, mask) < 0) {
		if (errno != EINTR)
			die("ppoll");
		fds[0].revents = fds[1].revents = 0;
	}
}

static void loop(void)
{
	struct pollfd fds[2] = { { .fd = ends[0].fd, .events = POLLIN },
				 { .fd = ends[1].fd, .events = POLLIN } };
	sigset_t mask;

	signals_init(&mask);
	printf("ready\n");
	fflush(stdout);
	while (!stop) {
		wait_for_work(fds, &mask);
		for (uint32_t i = 0; i < 2; i++) {
			if (fds[i].revents & POLLIN)
				end_read(i);
			deliver_due();
		}
		if (report)
			stats_write();
		report = 0;
	}
}

/* --- the command line ------------------------------------------------------ */

static void usage(FILE *out)
{
	fputs("usage: impair --a [NETNS:]IFNAME --b [NETNS:]IFNAME [OPTION]...\n"
	      "\n"
	      "Makes the two TUN devices and forwards packets between them, until\n"
	      "SIGTERM. NETNS is a path, as /proc/PID/ns/net or /run/netns/NAME.\n"
	      "Says \"ready\" when the devices are up; they have no addresses.\n"
	      "\n"
	      "  --both SPEC      what happens in both directions\n"
	      "  --ab SPEC        from a to b: over what --both said before\n"
	      "  --ba SPEC        from b to a\n"
	      "  --seed N         of all that is random (1)\n"
	      "  --mtu N          of the devices (1500)\n"
	      "  --stats FILE     statistics, as JSON, at the end and on SIGUSR1\n"
	      "                   (standard output)\n"
	      "  --log FILE       a line for each packet that something happened to\n"
	      "  --router4 ADDR   who sends ICMP errors (203.0.113.254)\n"
	      "  --router6 ADDR   (2001:db8:ffff::1)\n"
	      "  --realtime       run before other programs\n"
	      "  --help           this text\n"
	      "\n"
	      "SPEC is KEY=VALUE,...:\n"
	      "  delay=TIME       one way\n"
	      "  jitter=TIME      up to this much more, in order\n"
	      "  rate=RATE        with queue=BYTES or TIME, its drop-tail queue\n"
	      "  ce=BYTES or TIME mark CE above this much in the queue\n"
	      "  loss=P           each packet by itself\n"
	      "  burst=P/Q[/R]    Gilbert-Elliott: to the bad state with P, back with\n"
	      "                   Q, in it packets are lost with R (1)\n"
	      "  reorder=P/TIME   with P, TIME later than its turn\n"
	      "  dup=P            twice\n"
	      "  corrupt=P        one bit flipped\n"
	      "  mtu=N[/icmp]     larger ones dropped; /icmp: and the sender told\n"
	      "  spare=N          nothing random happens to the first N\n"
	      "  drop=I+J+...     these are dropped, counted from 0\n"
	      "TIME: us, ms, s. RATE: bit, kbit, mbit, gbit. BYTES: k, m. P: 0.01 or 1%.\n"
	      "\n"
	      "The statistics, in each direction:\n",
	      out);
#define C(name, text) fprintf(out, "  %-16s %s\n", #name, text);
	COUNTERS(C)
#undef C
	fputs("\n"
	      "The log: TIME DIRECTION NUMBER WHAT BYTES tcp SOURCE PORT DESTINATION\n"
	      "PORT SEQ ACK FLAGS PAYLOAD, or ... BYTES PROTOCOL SOURCE DESTINATION.\n",
	      out);
}

static void usage_error(const char *what, const char *why)
{
	fprintf(stderr, "impair: %s: %s\n", what, why);
	usage(stderr);
	exit(2);
}

static uint64_t parse_number(const char *text, uint64_t max)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (*end || end == text || n > max)
		usage_error(text, "not a number, or out of range");
	return n;
}

static void parse_end(struct end *end, char *text)
{
	char *colon = strrchr(text, ':');

	end->ifname = colon ? colon + 1 : text;
	if (colon) {
		*colon = '\0';
		end->ns = text;
	}
	if (!*end->ifname || strlen(end->ifname) >= IFNAMSIZ)
		usage_error(end->ifname, "no name of a device");
}

static void parse_spec(struct impair_spec *spec, const char *text)
{
	char why[160];

	if (impair_spec_parse(spec, text, why, sizeof(why)) < 0)
		usage_error(text, why);
}

static void parse_router(int family, const char *text, void *ret_address)
{
	if (inet_pton(family, text, ret_address) != 1)
		usage_error(text, "no address");
}

static const struct option long_options[] = {
	{ "a", required_argument, NULL, 'a' },
	{ "b", required_argument, NULL, 'b' },
	{ "both", required_argument, NULL, 'B' },
	{ "ab", required_argument, NULL, 'x' },
	{ "ba", required_argument, NULL, 'y' },
	{ "seed", required_argument, NULL, 's' },
	{ "mtu", required_argument, NULL, 'm' },
	{ "stats", required_argument, NULL, 'S' },
	{ "log", required_argument, NULL, 'l' },
	{ "router4", required_argument, NULL, '4' },
	{ "router6", required_argument, NULL, '6' },
	{ "realtime", no_argument, NULL, 'r' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static void parse_option(int which)
{
	switch (which) {
	case 'a':
	case 'b':
		parse_end(&ends[which - 'a'], optarg);
		break;
	case 'B':
		parse_spec(&opt.spec[0], optarg);
		parse_spec(&opt.spec[1], optarg);
		break;
	case 'x':
	case 'y':
		parse_spec(&opt.spec[which - 'x'], optarg);
		break;
	case 's':
		opt.seed = parse_number(optarg, UINT64_MAX);
		break;
	case 'm':
		opt.mtu = (uint32_t)parse_number(optarg, IMPAIR_PACKET_BYTES);
		break;
	case 'S':
		opt.stats = optarg;
		break;
	case 'l':
		opt.log = optarg;
		break;
	case '4':
		parse_router(AF_INET, optarg, &opt.router.v4);
		break;
	case '6':
		parse_router(AF_INET6, optarg, &opt.router.v6);
		break;
	case 'r':
		opt.realtime = true;
		break;
	case 'h':
		usage(stdout);
		exit(0);
	default:
		usage(stderr);
		exit(2);
	}
}

/* Sleep exactly, and before others if that is asked for and allowed. */
static void scheduling_init(void)
{
	struct sched_param param = { .sched_priority = REALTIME_PRIORITY };

	prctl(PR_SET_TIMERSLACK, 1);
	if (opt.realtime && sched_setscheduler(0, SCHED_RR, &param) < 0)
		fprintf(stderr, "impair: --realtime: %s\n", strerror(errno));
}

int main(int argc, char **argv)
{
	int which;

	opt.seed = 1;
	opt.mtu = 1500;
	parse_router(AF_INET, "203.0.113.254", &opt.router.v4);
	parse_router(AF_INET6, "2001:db8:ffff::1", &opt.router.v6);
	while ((which = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		parse_option(which);
	if (!ends[0].ifname || !ends[1].ifname || optind != argc)
		usage_error("usage", "--a and --b are needed");
	if (opt.log) {
		log_file = fopen(opt.log, "we");
		if (!log_file)
			die(opt.log);
	}
	slots_init();
	ends_open();
	for (uint32_t i = 0; i < 2; i++)
		impair_way_init(&ways[i], &opt.spec[i], opt.seed, i);
	scheduling_init();
	loop();
	stats_write();
	return 0;
}
