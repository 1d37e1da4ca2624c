/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_TUN_H
#define XTCP_TOOLS_SWARM_TUN_H

/*
 * tun - a TUN device: packets in by the batch, packets out one by one, or by
 * the batch past the kernel's routing.
 *
 * A batch is read into one buffer, packet behind packet, so small ones stay
 * close together though each might be 64 KiB: with offload the kernel hands
 * over what TCP segments it would otherwise cut, and checksums not computed.
 * A packet goes out from where its two parts lie (writev(2)). What the device
 * does not take is lost and counted, as on any wire.
 *
 * The direct way out is a packet socket on the device that the kernel would
 * route to, which saves the forwarding, and most system calls: packets wait
 * in a queue until it is full or flushed, and go with one sendmmsg(2).
 */

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>

#define SWARM_TUN_BATCH 128u
/* IP and TCP headers, at their longest. */
#define SWARM_HEADERS_MAX (40 + 60)

/* What stands before a packet's payload, in one piece. */
struct swarm_headers {
	struct virtio_net_hdr vnet; /* means nothing without offload */
	uint8_t bytes[SWARM_HEADERS_MAX];
	uint32_t len; /* of bytes */
};

struct swarm_frame {
	const struct virtio_net_hdr *vnet; /* NULL without offload */
	const uint8_t *bytes;
	uint32_t len;
};

struct swarm_direct; /* the direct way out */

struct swarm_tun {
	int fd;
	struct swarm_direct *direct; /* NULL: through the device */
	bool offload;
	struct swarm_headers headers; /* of the next packet, if not direct */
	uint8_t *buffer;
	uint64_t sent, send_failed;
	uint64_t received;
	struct swarm_frame frames[SWARM_TUN_BATCH];
};

/*
 * Creates the device, which must not exist; offload: IFF_VNET_HDR, with
 * checksums and TSO both ways. Returns 0 or a negative errno: -EBUSY, it
 * exists and somebody has it, -EPERM, no CAP_NET_ADMIN, -ENOENT, -ENODEV: no
 * /dev/net/tun.
 */
int swarm_tun_open(struct swarm_tun *tun, const char *name, bool offload);

/*
 * Any descriptor that keeps packets apart, in place of a device: for tests.
 * Takes fd when it returns 0; -ENOMEM otherwise.
 */
int swarm_tun_attach(struct swarm_tun *tun, int fd, bool offload);

/*
 * From now on packets are put into the queue of the device of this index,
 * which must be one without link-layer addresses, as TUN is. Returns 0 or a
 * negative errno: -EOPNOTSUPP, it is not.
 */
int swarm_tun_go_direct(struct swarm_tun *tun, int ifindex);

/* The device goes. Accepts what was never opened, if fd is -1. */
void swarm_tun_close(struct swarm_tun *tun);

/*
 * Reads what is there, up to a batch, into tun->frames, where it is good until
 * the next call. Returns how many, or a negative errno.
 */
int swarm_tun_read(struct swarm_tun *tun);

/* Where to write the headers of the next packet. */
struct swarm_headers *swarm_tun_headers(struct swarm_tun *tun);

/*
 * Sends the packet whose headers are there, with a payload that is borrowed
 * until return, on the direct way until the flush; NULL and 0: none.
 */
void swarm_tun_send(struct swarm_tun *tun, const uint8_t *payload,
		    uint32_t payload_len);

/* Sends what waits in the queue of the direct way. */
void swarm_tun_flush(struct swarm_tun *tun);

#endif
