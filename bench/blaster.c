/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * blaster - feeds the reflector, in the way in which xtcp-swarm --direct feeds
 * xtcpd: packets go into the queue of the server's device through a packet
 * socket, 64 with a system call, and what comes back is forwarded by the kernel
 * to a TUN device of our own. So many are under way at any time; or, with
 * --rate, they are sent one by one at even distances, and no more than so many
 * are under way.
 *
 * A packet is as large as a request of xtcp-swarm: IPv4, TCP with timestamps,
 * payload. Prints one JSON object.
 */
#include <getopt.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <stddef.h>
#include <sys/uio.h>

#include "bench/common.h"
#include "bench/tunfd.h"

#define USAGE                                                           \
	"blaster --to DEVICE --device NAME [--vnet] [--outstanding N] " \
	"[--payload BYTES] [--rate PER_S] [--ms N]"
#define SEND_BATCH 64u
#define READ_BATCH 128
#define IP_BYTES 20
#define TCP_BYTES 32
#define PAYLOAD_MAX 1448u
#define OUTSTANDING_MAX 256u
/* Nothing came for so long: what is under way is lost. */
#define LOST_MS 200
#define SOURCES 65536u

static struct {
	const char *to, *device;
	bool vnet;
	uint32_t outstanding, payload;
	uint64_t rate; /* packets per second; 0: as fast as may be */
	uint64_t ms;
} opt = { .outstanding = 256, .payload = 1024, .ms = 1000 };

struct packet {
	struct virtio_net_hdr vnet;
	uint8_t bytes[IP_BYTES + TCP_BYTES + PAYLOAD_MAX];
};

static struct packet packets[SEND_BATCH];
static struct iovec parts[SEND_BATCH];
static struct mmsghdr msgs[SEND_BATCH];
static uint32_t next_source;

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint16_t ip_checksum(const uint8_t *p)
{
	uint32_t sum = 0;

	for (int i = 0; i < IP_BYTES; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

/* All of a packet but its source. To 192.0.2.10:7, as in tests/net/harness.py. */
static void packet_init(struct packet *pk)
{
	uint8_t *p = pk->bytes, *tcp = p + IP_BYTES;

	p[0] = 0x45;
	put16(p + 2, IP_BYTES + TCP_BYTES + opt.payload);
	p[8] = 64;
	p[9] = 6;
	memcpy(p + 16, (const uint8_t[]){ 192, 0, 2, 10 }, 4);
	put16(tcp + 2, 7);
	tcp[12] = TCP_BYTES / 4 << 4;
	tcp[13] = 0x18; /* PSH, ACK */
	put16(tcp + 14, 65535);
	memcpy(tcp + 20, (const uint8_t[]){ 1, 1, 8, 10 }, 4);
	pk->vnet = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = IP_BYTES,
		.csum_offset = 16,
	};
}

/* Another source, so that the kernel sees as many flows as from a swarm. */
static void packet_source(struct packet *pk)
{
	uint8_t *p = pk->bytes;
	uint32_t source = next_source++ % SOURCES;

	p[12] = 10;
	p[13] = 64;
	put16(p + 14, source);
	put16(p + IP_BYTES, 1024 + source % 60000);
	put16(p + 10, 0);
	put16(p + 10, ip_checksum(p));
}

static void packets_init(void)
{
	size_t len = IP_BYTES + TCP_BYTES + opt.payload;

	for (uint32_t i = 0; i < SEND_BATCH; i++) {
		packet_init(&packets[i]);
		parts[i] = (struct iovec){ packets[i].bytes, len };
		if (opt.vnet)
			parts[i] =
				(struct iovec){ &packets[i],
						offsetof(struct packet, bytes) +
							len };
		msgs[i].msg_hdr.msg_iov = &parts[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
}

static int direct_open(void)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	to.sll_ifindex = (int)if_nametoindex(opt.to);
	if (fd < 0 || !to.sll_ifindex)
		bench_fail("blaster", opt.to);
	/* as raw IP: the device has no link layer to tell it from */
	to.sll_protocol = 0;
	if (opt.vnet &&
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0)
		bench_fail("blaster", "PACKET_VNET_HDR");
	if (bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		bench_fail("blaster", "bind");
	return fd;
}

/* Sends n, at most; how many the kernel took. */
static uint32_t send_some(int fd, uint32_t n, uint64_t *failed)
{
	uint32_t batch = n < SEND_BATCH ? n : SEND_BATCH;
	int done;

	for (uint32_t i = 0; i < batch; i++)
		packet_source(&packets[i]);
	done = sendmmsg(fd, msgs, batch, 0);
	*failed += done < 0;
	return done < 0 ? 0 : (uint32_t)done;
}

static uint32_t read_some(int fd)
{
	static uint8_t buffer[TUNFD_PACKET_MAX];
	size_t want = IP_BYTES + TCP_BYTES + opt.payload +
		      (opt.vnet ? TUNFD_VNET_BYTES : 0);
	uint32_t n = 0;

	for (int i = 0; i < READ_BATCH; i++) {
		ssize_t len = read(fd, buffer, sizeof(buffer));

		if (len < 0)
			break;
		n += (size_t)len == want; /* the kernel's own are others */
	}
	return n;
}

/* How many of the rate's are due after so long, having sent so many. */
static uint32_t due(uint64_t elapsed_ns, uint64_t sent, uint32_t room)
{
	uint64_t all = elapsed_ns * opt.rate / NSEC_PER_SEC;

	if (!opt.rate || all >= sent + room)
		return room;
	return all > sent ? (uint32_t)(all - sent) : 0;
}

/* Until an answer comes, or with a rate the next packet is due. */
static void wait_some(int in, uint64_t elapsed_ns, uint64_t sent)
{
	struct pollfd pfd = { .fd = in, .events = POLLIN };
	uint64_t next = opt.rate ? (sent + 1) * NSEC_PER_SEC / opt.rate : 0;
	uint64_t ns = LOST_MS * NSEC_PER_MSEC;
	struct timespec ts;

	if (opt.rate)
		ns = next > elapsed_ns ? next - elapsed_ns : 0;
	ts.tv_sec = (time_t)(ns / NSEC_PER_SEC);
	ts.tv_nsec = (long)(ns % NSEC_PER_SEC);
	ppoll(&pfd, 1, &ts, NULL);
}

static void blast(int out, int in)
{
	uint64_t start = bench_clock_ns(), end = start + opt.ms * NSEC_PER_MSEC;
	uint64_t pairs = 0, lost = 0, failed = 0, last = start, now = start;
	uint64_t sent = 0;
	uint32_t under_way = 0, n;

	while (now < end) {
		while ((n = due(now - start, sent,
				opt.outstanding - under_way))) {
			n = send_some(out, n, &failed);
			if (!n)
				break;
			under_way += n;
			sent += n;
		}
		wait_some(in, now - start, sent);
		n = read_some(in);
		now = bench_clock_ns();
		if (n) {
			last = now;
		} else if (now - last > LOST_MS * NSEC_PER_MSEC) {
			lost += under_way;
			under_way = 0;
			last = now;
		}
		pairs += n;
		under_way -= n < under_way ? n : under_way;
	}
	printf("{\"pairs\": %llu, \"lost\": %llu, \"send_failed\": %llu, "
	       "\"seconds\": %.6f}\n",
	       (unsigned long long)pairs, (unsigned long long)lost,
	       (unsigned long long)failed, (double)(now - start) / 1e9);
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "to", required_argument, NULL, 't' },
		{ "device", required_argument, NULL, 'd' },
		{ "vnet", no_argument, NULL, 'v' },
		{ "outstanding", required_argument, NULL, 'n' },
		{ "payload", required_argument, NULL, 'p' },
		{ "rate", required_argument, NULL, 'r' },
		{ "ms", required_argument, NULL, 'm' },
		{ NULL, 0, NULL, 0 },
	};
	int which;

	while ((which = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (which == 't')
			opt.to = optarg;
		else if (which == 'd')
			opt.device = optarg;
		else if (which == 'v')
			opt.vnet = true;
		else if (which == 'n')
			opt.outstanding = (uint32_t)bench_number(optarg, USAGE);
		else if (which == 'p')
			opt.payload = (uint32_t)bench_number(optarg, USAGE);
		else if (which == 'r')
			opt.rate = bench_number(optarg, USAGE);
		else if (which == 'm')
			opt.ms = bench_number(optarg, USAGE);
		else
			bench_usage(USAGE);
	}
	if (!opt.to || !opt.device || optind != argc ||
	    opt.payload > PAYLOAD_MAX || !opt.outstanding ||
	    opt.outstanding > OUTSTANDING_MAX)
		bench_usage(USAGE);
}

int main(int argc, char **argv)
{
	struct pollfd pfd = { .fd = 0, .events = POLLIN };
	int in;

	parse_options(argc, argv);
	packets_init();
	in = tunfd_open("blaster", opt.device, opt.vnet);
	/* whoever started us makes the route, and says so by a line */
	puts("ready");
	fflush(stdout);
	if (poll(&pfd, 1, -1) < 0)
		bench_fail("blaster", "poll");
	blast(direct_open(), in);
	return 0;
}
