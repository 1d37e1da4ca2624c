/* SPDX-License-Identifier: BSD-2-Clause */
/* ICMP: echo requests are answered (RFC 792, RFC 4443 4.2), the rest ignored. */
#include <string.h>

#include "base/bytes.h"
#include "stack/checksum.h"
#include "stack/conn.h"
#include "stack/wire.h"

static uint32_t icmp_ip_header(const struct stack *st, const struct seg *seg,
			       uint8_t *buf)
{
	const uint8_t *vip = st->header->vips[seg->tuple.vip].bytes;

	if (seg->tuple.v6) {
		struct ip6_hdr *ip = (void *)buf;

		*ip = (struct ip6_hdr){
			.ver_class_flow = be32_put(6u << 28),
			.payload_len = be16_put((uint16_t)seg->len),
			.next = IP_PROTO_ICMP6,
			.hop_limit = IP_TTL,
		};
		memcpy(ip->src, vip, 16);
		memcpy(ip->dst, seg->tuple.remote, 16);
		return sizeof(*ip);
	}
	struct ip4_hdr *ip = (void *)buf;

	*ip = (struct ip4_hdr){
		.ver_ihl = 0x45,
		.total_len = be16_put((uint16_t)(sizeof(*ip) + seg->len)),
		.frag = be16_put(IP4_DF),
		.ttl = IP_TTL,
		.proto = IP_PROTO_ICMP,
	};
	memcpy(ip->src, vip, 4);
	memcpy(ip->dst, seg->tuple.remote, 4);
	ip->checksum = checksum_fold(checksum_add(0, ip, sizeof(*ip)));
	return sizeof(*ip);
}

static void icmp_echo(struct stack *st, const struct seg *seg)
{
	const struct icmp_hdr *in = (const void *)seg->payload;
	uint8_t buf[sizeof(struct ip6_hdr) + sizeof(struct icmp_hdr)];
	uint32_t ip_len = icmp_ip_header(st, seg, buf);
	struct icmp_hdr *out = (void *)(buf + ip_len);
	const uint8_t *data = seg->payload + sizeof(*in);
	uint32_t data_len = seg->len - (uint32_t)sizeof(*in);
	uint64_t sum = 0;
	struct iovec iov[2];

	*out = (struct icmp_hdr){
		.type = seg->tuple.v6 ? ICMP6_ECHO_REPLY : ICMP4_ECHO_REPLY,
		.rest = in->rest,
	};
	if (seg->tuple.v6)
		sum = checksum_pseudo(st->header->vips[seg->tuple.vip].bytes,
				      seg->tuple.remote, 16, IP_PROTO_ICMP6,
				      seg->len);
	sum = checksum_add(sum, out, sizeof(*out));
	out->checksum = checksum_fold(checksum_add(sum, data, data_len));
	iov[0] = (struct iovec){ .iov_base = buf,
				 .iov_len = ip_len + sizeof(*out) };
	iov[1] = (struct iovec){ .iov_base = (void *)(uintptr_t)data,
				 .iov_len = data_len };
	stack_count(st, SC_icmp_echo);
	st->ops.emit(st->ops.ctx, iov, data_len ? 2 : 1);
}

void icmp_input(struct stack *st, const struct seg *seg)
{
	uint8_t echo = seg->tuple.v6 ? ICMP6_ECHO : ICMP4_ECHO;

	if (seg->payload[0] == echo && seg->payload[1] == 0)
		icmp_echo(st, seg);
	else
		stack_count(st, SC_icmp_ignored);
}
