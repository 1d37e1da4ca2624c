/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tun_io - reading and writing one queue.
 *
 * Theory of operation
 *
 * A packet on the queue is a virtio_net_hdr and the packet itself. Reading puts
 * one behind the other into `area`, so that small packets stay close together
 * and there is room for a large one:
 *
 *	area  |  gap  hdr|packet      |  gap  hdr|packet            |  ...
 *	      ^ 64       ^ 16: the IP header is aligned      ^ at: the next one
 *
 * Of the header three things matter when reading: NEEDS_CSUM and DATA_VALID say
 * that TCP's checksum needs no look, and gso_size how long the segments were
 * of which the packet is made.
 *
 * Writing. A TCP segment has the sum of its pseudo-header where the checksum
 * goes, and NEEDS_CSUM asks the kernel for the rest. While corked, a segment
 * that continues the one before (same flow, same acknowledgement, window and
 * options; the one before was full) joins it:
 *
 *	held  headers of the first | payload of all, by reference
 *
 * On its way out the held packet's lengths and sums are set anew, gso_type and
 * gso_size say how to cut it. PSH and FIN are the last segment's alone, as
 * the kernel cuts it; one with CWR (the first's alone) is never held.
 *
 * Invariants
 *  I1  `held.n` > 0 only while corked.
 *  I2  all segments of the held packet but the last have held.unit bytes.
 */
#include "daemon/tun_io.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "stack/checksum.h"
#include "stack/stack.h"
#include "stack/wire.h"

/* The largest packet with offload: what an IPv4 length can say. */
#define TUN_IO_BIG 65535u
/* Large packets that a batch has room for, beside the small ones. */
#define TUN_IO_BIG_PER_BATCH 8u
#define TUN_IO_ALIGN 64u
/* The virtio_net_hdr ends, and the IP header begins, at a multiple of this. */
#define TUN_IO_HDR_SPACE 16u
/* Pieces of a held packet: each segment has one or two. */
#define TUN_IO_PIECES 128
_Static_assert(TUN_IO_PIECES >= STACK_EMIT_IOV_MAX, "the first is held whole");
#define TUN_IO_HDR_BYTES ((uint32_t)sizeof(struct virtio_net_hdr))

struct tun_io_held {
	int n; /* pieces of payload; 0: nothing is held */
	bool v6;
	bool open; /* another one may follow */
	uint32_t ip_len, hdr_len; /* of the IP header; with TCP's */
	uint32_t payload_len;
	uint32_t unit; /* payload of the first */
	uint32_t segs;
	/* virtio_net_hdr and headers; the IP header is at TUN_IO_HDR_SPACE */
	uint8_t hdr[TUN_IO_HDR_SPACE + PACKET_HDR_MAX];
	struct iovec iov[1 + TUN_IO_PIECES]; /* [0]: headers */
};

struct tun_io {
	struct tun_io_setup setup;
	bool corked;
	uint8_t *area;
	size_t area_bytes, at;
	size_t slot_max; /* what the largest packet takes of it */
	uint32_t last_len; /* of the packet at `at`; 0: none */
	struct tun_io_held held;
};

/* What a packet of at most packet_max bytes takes of the area. */
static size_t tun_io_slot(uint32_t packet_max)
{
	return round_up(TUN_IO_HDR_SPACE + packet_max, TUN_IO_ALIGN);
}

static size_t tun_io_area_bytes(const struct tun_io_setup *setup)
{
	size_t bytes = setup->batch * tun_io_slot(setup->packet_max);

	if (setup->offload)
		bytes += TUN_IO_BIG_PER_BATCH * tun_io_slot(TUN_IO_BIG);
	return bytes;
}

size_t tun_io_bytes(const struct tun_io_setup *setup)
{
	return sizeof(struct tun_io) + tun_io_area_bytes(setup);
}

int tun_io_new(struct tun_io **ret_io, const struct tun_io_setup *setup)
{
	struct tun_io *io = calloc(1, sizeof(*io));

	if (!io)
		return -ENOMEM;
	io->setup = *setup;
	io->slot_max =
		tun_io_slot(setup->offload ? TUN_IO_BIG : setup->packet_max);
	io->area_bytes = tun_io_area_bytes(setup);
	io->area = aligned_alloc(TUN_IO_ALIGN, io->area_bytes);
	if (!io->area) {
		free(io);
		return -ENOMEM;
	}
	*ret_io = io;
	return 0;
}

void tun_io_free(struct tun_io *io)
{
	if (!io)
		return;
	free(io->area);
	free(io);
}

/* --- reading ----------------------------------------------------------- */

void tun_io_rewind(struct tun_io *io)
{
	io->at = 0;
	io->last_len = 0;
}

static struct seg_offload tun_io_offload(const uint8_t *vnet)
{
	struct virtio_net_hdr hdr;
	struct seg_offload offload;

	memcpy(&hdr, vnet, sizeof(hdr));
	offload.checked = hdr.flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM |
				       VIRTIO_NET_HDR_F_DATA_VALID);
	offload.unit =
		hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE ? 0 : hdr.gso_size;
	return offload;
}

int tun_io_read(struct tun_io *io, bool keep, struct tun_packet *ret)
{
	uint32_t hdr = io->setup.vnet ? TUN_IO_HDR_BYTES : 0;
	uint8_t *packet;
	ssize_t n;

	if (keep && io->last_len)
		io->at += tun_io_slot(io->last_len);
	io->last_len = 0;
	if (io->at + io->slot_max > io->area_bytes)
		return 0;
	packet = io->area + io->at + TUN_IO_HDR_SPACE;
	do
		n = read(io->setup.fd, packet - hdr,
			 io->slot_max - TUN_IO_HDR_SPACE + hdr);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if ((size_t)n <= hdr)
		return 0;
	*ret = (struct tun_packet){ .bytes = packet, .len = (uint32_t)n - hdr };
	if (hdr)
		ret->offload = tun_io_offload(packet - hdr);
	io->last_len = ret->len;
	return 1;
}

/* --- writing ----------------------------------------------------------- */

static void tun_io_out(struct tun_io *io, const struct iovec *iov, int iovcnt,
		       uint32_t segs)
{
	struct counter *counters = io->setup.counters;
	ssize_t n;

	do
		n = writev(io->setup.fd, iov, iovcnt);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		counter_add(&counters[WC_tun_packets_out], segs);
	else if (errno == EAGAIN || errno == ENOBUFS)
		counter_add(&counters[WC_tun_write_full], segs);
	else
		counter_add(&counters[WC_tun_write_errors], segs);
}

/* Where the TCP header of a packet of the stack's begins; 0: it is none. */
static uint32_t tun_io_tcp_at(const uint8_t *packet)
{
	const struct ip4_hdr *ip4 = (const void *)packet;
	const struct ip6_hdr *ip6 = (const void *)packet;

	if (packet[0] >> 4 == 6)
		return ip6->next == IP_PROTO_TCP ? sizeof(*ip6) : 0;
	return ip4->proto == IP_PROTO_TCP ? sizeof(*ip4) : 0;
}

static struct virtio_net_hdr tun_io_partial(uint32_t tcp_at)
{
	return (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = (uint16_t)tcp_at,
		.csum_offset = offsetof(struct tcp_hdr, checksum),
	};
}

/* One packet as it is. */
static void tun_io_single(struct tun_io *io, const struct iovec *iov,
			  int iovcnt, uint32_t tcp_at)
{
	struct virtio_net_hdr vnet = { 0 };
	struct iovec out[1 + STACK_EMIT_IOV_MAX];

	assert(iovcnt <= STACK_EMIT_IOV_MAX);
	if (!io->setup.vnet) {
		tun_io_out(io, iov, iovcnt, 1);
		return;
	}
	if (io->setup.offload && tcp_at)
		vnet = tun_io_partial(tcp_at);
	out[0] = (struct iovec){ &vnet, sizeof(vnet) };
	memcpy(out + 1, iov, (size_t)iovcnt * sizeof(*iov));
	tun_io_out(io, out, 1 + iovcnt, 1);
}

/* Lengths and sums of what several segments have become. */
static void tun_io_seal(struct tun_io_held *held)
{
	uint8_t *packet = held->hdr + TUN_IO_HDR_SPACE;
	struct ip4_hdr *ip4 = (void *)packet;
	struct ip6_hdr *ip6 = (void *)packet;
	struct tcp_hdr *tcp = (void *)(packet + held->ip_len);
	uint32_t len = held->hdr_len - held->ip_len + held->payload_len;
	uint64_t sum;

	if (held->v6) {
		ip6->payload_len = be16_put((uint16_t)len);
		sum = checksum_pseudo(ip6->src, ip6->dst, 16, IP_PROTO_TCP,
				      len);
	} else {
		ip4->total_len = be16_put((uint16_t)(held->ip_len + len));
		ip4->checksum = 0;
		ip4->checksum = checksum_fold(checksum_ip4(ip4, sizeof(*ip4)));
		sum = checksum_pseudo(ip4->src, ip4->dst, 4, IP_PROTO_TCP, len);
	}
	tcp->checksum = (uint16_t)~checksum_fold(sum);
}

static void tun_io_release(struct tun_io *io)
{
	struct tun_io_held *held = &io->held;
	struct virtio_net_hdr vnet;
	uint8_t *begin;

	if (!held->n)
		return;
	vnet = tun_io_partial(held->ip_len);
	if (held->segs > 1) {
		tun_io_seal(held);
		vnet.gso_type = held->v6 ? VIRTIO_NET_HDR_GSO_TCPV6
					 : VIRTIO_NET_HDR_GSO_TCPV4;
		vnet.gso_size = (uint16_t)held->unit;
		vnet.hdr_len = (uint16_t)held->hdr_len;
	}
	begin = held->hdr + TUN_IO_HDR_SPACE - sizeof(vnet);
	memcpy(begin, &vnet, sizeof(vnet));
	held->iov[0] = (struct iovec){ begin, sizeof(vnet) + held->hdr_len };
	tun_io_out(io, held->iov, 1 + held->n, held->segs);
	held->n = 0;
}

static uint32_t tun_io_payload(const struct iovec *iov, int iovcnt)
{
	uint32_t len = 0;

	for (int i = 1; i < iovcnt; i++)
		len += (uint32_t)iov[i].iov_len;
	return len;
}

/* Begin with this one, if others may follow it. */
static bool tun_io_hold(struct tun_io *io, const struct iovec *iov, int iovcnt,
			uint32_t tcp_at)
{
	struct tun_io_held *held = &io->held;
	const uint8_t *packet = iov[0].iov_base;
	const struct tcp_hdr *tcp = (const void *)(packet + tcp_at);
	uint32_t payload;

	if (iov[0].iov_len > PACKET_HDR_MAX || tcp->flags & ~(TH_ACK | TH_ECE))
		return false;
	payload = tun_io_payload(iov, iovcnt);
	if (!payload)
		return false;
	held->v6 = packet[0] >> 4 == 6;
	held->ip_len = tcp_at;
	held->hdr_len = (uint32_t)iov[0].iov_len;
	held->payload_len = held->unit = payload;
	held->segs = 1;
	held->n = iovcnt - 1;
	held->open = true;
	memcpy(held->hdr + TUN_IO_HDR_SPACE, packet, held->hdr_len);
	memcpy(held->iov + 1, iov + 1, (size_t)held->n * sizeof(*iov));
	return true;
}

/* Does the header continue the held one, but for lengths, sums, PSH and FIN? */
static bool tun_io_continues(const struct tun_io_held *held,
			     const uint8_t *packet, uint32_t hdr_len)
{
	const uint8_t *mine = held->hdr + TUN_IO_HDR_SPACE;
	const struct tcp_hdr *tcp = (const void *)(packet + held->ip_len);
	const struct tcp_hdr *first = (const void *)(mine + held->ip_len);
	uint32_t opts = held->ip_len + (uint32_t)sizeof(*tcp);

	if (hdr_len != held->hdr_len || packet[0] != mine[0] ||
	    packet[1] != mine[1])
		return false;
	if (held->v6 ? memcmp(packet + 8, mine + 8, 32) != 0
		     : memcmp(packet + 12, mine + 12, 8) != 0)
		return false;
	return memcmp(tcp, first, offsetof(struct tcp_hdr, seq)) == 0 &&
	       be32_get(tcp->seq) == be32_get(first->seq) + held->payload_len &&
	       memcmp(&tcp->ack, &first->ack, sizeof(tcp->ack)) == 0 &&
	       memcmp(&tcp->window, &first->window, sizeof(tcp->window)) == 0 &&
	       (tcp->flags & ~(TH_PSH | TH_FIN)) == first->flags &&
	       memcmp(packet + opts, mine + opts, hdr_len - opts) == 0;
}

static bool tun_io_join(struct tun_io *io, const struct iovec *iov, int iovcnt,
			uint32_t tcp_at)
{
	struct tun_io_held *held = &io->held;
	const uint8_t *packet = iov[0].iov_base;
	struct tcp_hdr *first =
		(void *)(held->hdr + TUN_IO_HDR_SPACE + held->ip_len);
	const struct tcp_hdr *tcp = (const void *)(packet + tcp_at);
	uint32_t payload = tun_io_payload(iov, iovcnt);

	if (!held->open || !payload || payload > held->unit ||
	    tcp_at != held->ip_len || held->n + iovcnt - 1 > TUN_IO_PIECES ||
	    held->hdr_len + held->payload_len + payload > TUN_IO_BIG ||
	    !tun_io_continues(held, packet, (uint32_t)iov[0].iov_len))
		return false;
	held->open = payload == held->unit && !(tcp->flags & (TH_PSH | TH_FIN));
	first->flags |= tcp->flags & (TH_PSH | TH_FIN);
	memcpy(held->iov + 1 + held->n, iov + 1,
	       (size_t)(iovcnt - 1) * sizeof(*iov));
	held->n += iovcnt - 1;
	held->payload_len += payload;
	held->segs++;
	return true;
}

void tun_io_cork(struct tun_io *io)
{
	io->corked = io->setup.offload;
}

void tun_io_flush(struct tun_io *io)
{
	tun_io_release(io);
	io->corked = false;
}

void tun_io_write(struct tun_io *io, const struct iovec *iov, int iovcnt)
{
	uint32_t tcp_at = tun_io_tcp_at(iov[0].iov_base);

	if (io->held.n) {
		if (tcp_at && tun_io_join(io, iov, iovcnt, tcp_at))
			return;
		tun_io_release(io);
	}
	if (io->corked && tcp_at && tun_io_hold(io, iov, iovcnt, tcp_at))
		return;
	tun_io_single(io, iov, iovcnt, tcp_at);
}
