/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tun_io - packets from and to one queue of the TUN device, in batches.
 *
 * With offload the kernel hands over, and takes, up to 64 KiB of one
 * connection's text as one packet, and nobody computes TCP checksums that never
 * go over a wire. What goes over one is cut and completed by the kernel or
 * the network card.
 */
#ifndef XTCP_DAEMON_TUN_IO_H
#define XTCP_DAEMON_TUN_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "daemon/counters.h"
#include "stack/seg.h"

struct tun_io_setup {
	int fd; /* of the queue, non-blocking; borrowed */
	bool vnet; /* IFF_VNET_HDR: each packet has a virtio_net_hdr before it */
	bool offload; /* needs vnet: TCP segments are written with partial sums */
	uint32_t packet_max; /* bytes, of a packet that is one segment */
	uint32_t batch; /* packets to be read one after the other */
	struct counter *counters; /* of the worker (WC_...), borrowed */
};

/* As read; the bytes are there until the next tun_io_rewind(). */
struct tun_packet {
	uint8_t *bytes;
	uint32_t len;
	struct seg_offload offload;
};

struct tun_io;

/* What tun_io_new() allocates; of the setup, all but fd and counters matters. */
size_t tun_io_bytes(const struct tun_io_setup *setup);

/* Returns 0 or -ENOMEM. */
int tun_io_new(struct tun_io **ret_io, const struct tun_io_setup *setup);

/* Accepts NULL. What is held back is lost. */
void tun_io_free(struct tun_io *io);

/* A new batch: the bytes of the one before are over. */
void tun_io_rewind(struct tun_io *io);

/*
 * The next packet. keep: the one before is still in use; else its place is
 * taken. Returns 1; 0: there is none, or the batch's memory is full; or a
 * negative errno: the device is down or gone.
 */
int tun_io_read(struct tun_io *io, bool keep, struct tun_packet *ret);

/*
 * From here to tun_io_flush() segments that continue one another may be held
 * back and written as one packet: what the iov of tun_io_write() pointed to, but
 * for iov[0], must stay as it is. Without offload each is written at once.
 */
void tun_io_cork(struct tun_io *io);
void tun_io_flush(struct tun_io *io);

/*
 * Write a packet; iov[0] has all headers (stack_ops.emit). One that the queue
 * does not take is counted and dropped, as on any link.
 */
void tun_io_write(struct tun_io *io, const struct iovec *iov, int iovcnt);

#endif
