/* SPDX-License-Identifier: BSD-2-Clause */
/* A TUN device for reflector and blaster. */
#ifndef XTCP_BENCH_TUNFD_H
#define XTCP_BENCH_TUNFD_H

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench/common.h"

/* The largest packet with its virtio header. */
#define TUNFD_PACKET_MAX (65536u + 64u)
#define TUNFD_VNET_BYTES sizeof(struct virtio_net_hdr)

/* vnet: each packet with a virtio_net_hdr, checksums and TSO both ways. */
static inline int tunfd_open(const char *program, const char *name, bool vnet)
{
	struct ifreq ifr = { .ifr_flags = (short)(IFF_TUN | IFF_NO_PI) };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		bench_fail(program, "/dev/net/tun");
	if (vnet)
		ifr.ifr_flags |= IFF_VNET_HDR;
	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		bench_fail(program, "TUNSETIFF");
	if (vnet &&
	    ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0)
		bench_fail(program, "TUNSETOFFLOAD");
	return fd;
}

#endif
