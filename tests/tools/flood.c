/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flood - sends packets to a device as fast as it can, over and over.
 *
 *	flood DEVICE SECONDS <PACKETS
 *
 * PACKETS: each with its length before it, two bytes, in network byte order.
 * They go past routing straight to the device's queue. Says "ready" on standard
 * output before it begins, and at the end how many were sent.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define PACKETS_MAX 1024
#define PACKET_BYTES 2048
#define BATCH 64
#define SECONDS_MAX 120

static struct {
	struct iovec iov;
	struct sockaddr_ll to;
	uint8_t bytes[PACKET_BYTES];
} packets[PACKETS_MAX];

/* Returns how many packets there are. */
static uint32_t flood_read(unsigned int device)
{
	uint32_t n = 0;
	uint8_t len[2];

	for (; n < PACKETS_MAX && fread(len, 1, 2, stdin) == 2; n++) {
		size_t bytes = (size_t)len[0] << 8 | len[1];

		if (bytes > PACKET_BYTES ||
		    fread(packets[n].bytes, 1, bytes, stdin) != bytes)
			return 0;
		packets[n].iov = (struct iovec){ packets[n].bytes, bytes };
		packets[n].to = (struct sockaddr_ll){
			.sll_family = AF_PACKET,
			.sll_protocol =
				htons(packets[n].bytes[0] >> 4 == 6 ? ETH_P_IPV6
								    : ETH_P_IP),
			.sll_ifindex = (int)device,
		};
	}
	return n;
}

static uint64_t flood_send(int fd, uint32_t n, time_t seconds)
{
	struct mmsghdr msgs[BATCH] = { 0 };
	struct timespec now, end;
	uint64_t sent = 0;
	uint32_t at = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += seconds;
	do {
		int rc;

		for (uint32_t i = 0; i < BATCH; i++, at = (at + 1) % n) {
			msgs[i].msg_hdr = (struct msghdr){
				.msg_name = &packets[at].to,
				.msg_namelen = sizeof(packets[at].to),
				.msg_iov = &packets[at].iov,
				.msg_iovlen = 1,
			};
		}
		rc = sendmmsg(fd, msgs, BATCH, 0);
		if (rc > 0)
			sent += (uint64_t)rc;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec);
	return sent;
}

int main(int argc, char **argv)
{
	unsigned int device = argc == 3 ? if_nametoindex(argv[1]) : 0;
	time_t seconds = argc == 3 ? atoi(argv[2]) : 0;
	uint32_t n;
	int fd;

	if (!device || seconds < 1 || seconds > SECONDS_MAX) {
		fprintf(stderr, "usage: flood DEVICE SECONDS <PACKETS\n");
		return 2;
	}
	n = flood_read(device);
	fd = socket(AF_PACKET, SOCK_DGRAM, 0);
	if (!n || fd < 0) {
		fprintf(stderr, "flood: %s\n",
			n ? strerror(errno) : "no packets");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	printf("%llu\n", (unsigned long long)flood_send(fd, n, seconds));
	return 0;
}
