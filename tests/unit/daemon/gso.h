/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gso - what the kernel or the network card does with what is written to a
 * queue, as virtio says. Shares nothing with tun_io.
 */
#ifndef XTCP_TESTS_DAEMON_GSO_H
#define XTCP_TESTS_DAEMON_GSO_H

#include <linux/virtio_net.h>

#include "../unit.h"
#include "packets.h"

typedef void gso_out_fn(const uint8_t *packet, uint32_t len);

/* Complete the checksum: all from csum_start on, with what is in its place. */
static inline void gso_complete(const struct virtio_net_hdr *vnet,
				uint8_t *packet, uint32_t len)
{
	uint32_t start = vnet->csum_start;
	uint32_t at = start + vnet->csum_offset;

	ck_assert_uint_le(at + 2, len);
	packets_put16(packet + at,
		      ~packets_sum(0, packet + start, len - start) & 0xffff);
}

/* Segment i of n: gso_size bytes of payload, lengths and sums adjusted. */
static inline void gso_cut_one(const struct virtio_net_hdr *vnet,
			       const uint8_t *packet, uint32_t len,
			       uint32_t off, gso_out_fn *out)
{
	static uint8_t seg[65536];
	uint32_t hdr = vnet->hdr_len, ip_len = vnet->csum_start;
	uint32_t left = len - hdr - off, n = left;
	uint8_t *tcp = seg + ip_len;
	uint32_t seq, sum;

	if (n > vnet->gso_size)
		n = vnet->gso_size;
	memcpy(seg, packet, hdr);
	memcpy(seg + hdr, packet + hdr + off, n);
	if (seg[0] >> 4 == 6) {
		packets_put16(seg + 4, hdr - ip_len + n);
	} else {
		packets_put16(seg + 2, hdr + n);
		packets_put16(seg + 10, 0);
		packets_put16(seg + 10, ~packets_sum(0, seg, ip_len) & 0xffff);
	}
	seq = packets_get16(tcp + 4) << 16 | packets_get16(tcp + 6);
	packets_put32(tcp + 4, seq + off);
	if (n < left)
		tcp[13] &= (uint8_t) ~(PACKETS_FIN | PACKETS_PSH);
	if (off)
		tcp[13] &= (uint8_t)~PACKETS_CWR;
	/* The sum in place is that of the large one's pseudo-header. */
	sum = packets_get16(tcp + 16) + (~(len - ip_len) & 0xffff) +
	      (hdr - ip_len + n);
	packets_put16(tcp + 16, packets_sum(sum, NULL, 0));
	gso_complete(vnet, seg, hdr + n);
	out(seg, hdr + n);
}

/* Check a large packet, and cut it. Returns how many segments it was. */
static inline uint32_t gso_cut(const struct virtio_net_hdr *vnet,
			       const uint8_t *packet, uint32_t len,
			       gso_out_fn *out)
{
	bool v6 = packet[0] >> 4 == 6;
	uint32_t ip_len = vnet->csum_start, segs = 0;
	const uint8_t *tcp = packet + ip_len;

	ck_assert_uint_eq(vnet->flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	ck_assert_uint_eq(vnet->gso_type, v6 ? VIRTIO_NET_HDR_GSO_TCPV6
					     : VIRTIO_NET_HDR_GSO_TCPV4);
	ck_assert_uint_eq(ip_len, v6 ? 40 : 20);
	ck_assert_uint_eq(vnet->csum_offset, 16);
	ck_assert_uint_eq(vnet->hdr_len, ip_len + (tcp[12] >> 4) * 4u);
	/* What is smaller than one segment is refused by the kernel. */
	ck_assert_uint_gt(vnet->gso_size, 0);
	ck_assert_uint_gt(len - vnet->hdr_len, vnet->gso_size);
	/* VIRTIO_NET_HDR_GSO_ECN would have to be set. */
	ck_assert_uint_eq(tcp[13] & PACKETS_CWR, 0);
	ck_assert_uint_eq(v6 ? packets_get16(packet + 4) + 40
			     : packets_get16(packet + 2),
			  len);
	if (!v6)
		ck_assert_uint_eq(packets_sum(0, packet, 20), 0xffff);
	for (uint32_t off = 0; off < len - vnet->hdr_len;
	     off += vnet->gso_size, segs++)
		gso_cut_one(vnet, packet, len, off, out);
	return segs;
}

#endif
