/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reflector - the wall: the least that a process with a TUN device can do.
 *
 * Reads a packet, swaps addresses and ports, writes it back. What a pair costs
 * it is what the kernel takes for getting a packet in and one out, so nothing
 * that answers packets from there can be cheaper. Sums in the packet stay
 * right, as all of them are sums of what is only swapped.
 *
 * Ends at SIGTERM, and prints how many packets it turned round.
 */
#include <poll.h>
#include <signal.h>

#include "bench/common.h"
#include "bench/tunfd.h"

#define USAGE "reflector DEVICE [--vnet]"
/* As xtcpd's: packets between two waits. */
#define BATCH 64
#define IP4_HDR_BYTES 20

static volatile sig_atomic_t over;
static uint8_t packet[TUNFD_PACKET_MAX];

static void on_term(int sig)
{
	(void)sig;
	over = 1;
}

static void swap(uint8_t *a, uint8_t *b, size_t n)
{
	uint8_t held[4];

	memcpy(held, a, n);
	memcpy(a, b, n);
	memcpy(b, held, n);
}

/* Whether it is one to send back: IPv4, TCP or UDP, without options. */
static bool turn_round(uint8_t *p, size_t len)
{
	if (len < IP4_HDR_BYTES + 4 || p[0] != 0x45 ||
	    (p[9] != 6 && p[9] != 17))
		return false;
	swap(p + 12, p + 16, 4);
	swap(p + 20, p + 22, 2);
	return true;
}

/* One batch; how many were reflected. */
static uint64_t reflect(int fd, size_t hdr, uint64_t *failed)
{
	uint64_t done = 0;

	for (int i = 0; i < BATCH; i++) {
		ssize_t n = read(fd, packet, sizeof(packet));

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			bench_fail("reflector", "read");
		if (n < 0)
			break;
		if ((size_t)n <= hdr ||
		    !turn_round(packet + hdr, (size_t)n - hdr))
			continue;
		if (write(fd, packet, (size_t)n) == n)
			done++;
		else
			(*failed)++;
	}
	return done;
}

int main(int argc, char **argv)
{
	bool vnet = argc == 3 && strcmp(argv[2], "--vnet") == 0;
	struct sigaction sa = { .sa_handler = on_term };
	uint64_t pairs = 0, failed = 0;
	struct pollfd pfd = { .events = POLLIN };

	if (argc < 2 || argc > 3 || (argc == 3 && !vnet))
		bench_usage(USAGE);
	/* no SA_RESTART: poll() has to return */
	sigaction(SIGTERM, &sa, NULL);
	pfd.fd = tunfd_open("reflector", argv[1], vnet);
	while (!over) {
		if (poll(&pfd, 1, -1) == 1)
			pairs += reflect(pfd.fd, vnet ? TUNFD_VNET_BYTES : 0,
					 &failed);
	}
	printf("{\"pairs\": %llu, \"failed\": %llu}\n",
	       (unsigned long long)pairs, (unsigned long long)failed);
	return 0;
}
