/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue - a pair of sockets that keep packets apart, in a TUN queue's place,
 * and a tun_io on one end of it.
 */
#ifndef XTCP_TESTS_DAEMON_QUEUE_H
#define XTCP_TESTS_DAEMON_QUEUE_H

#include <linux/virtio_net.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit.h"
#include "daemon/tun_io.h"

#define MTU 9000u
#define BIG 65535u
#define BATCH 4u
#define VNET ((uint32_t)sizeof(struct virtio_net_hdr))

static int queue[2]; /* ours, the kernel's */
static struct tun_io *io;
static struct counter counters[WC_COUNT];

static inline void open_io(bool vnet, bool offload)
{
	struct tun_io_setup setup = {
		.vnet = vnet,
		.offload = offload,
		.packet_max = MTU,
		.batch = BATCH,
		.counters = counters,
	};
	int bytes = 1 << 20;

	memset(counters, 0, sizeof(counters));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0,
				    queue),
			 0);
	for (int i = 0; i < 2; i++)
		setsockopt(queue[i], SOL_SOCKET, SO_SNDBUF, &bytes,
			   sizeof(bytes));
	setup.fd = queue[0];
	ck_assert_int_eq(tun_io_new(&io, &setup), 0);
}

static inline void close_io(void)
{
	tun_io_free(io);
	close(queue[0]);
	close(queue[1]);
}

#endif
