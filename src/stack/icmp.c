/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ICMP: echo requests are answered (RFC 792, RFC 4443 4.2); errors about our
 * segments are weighed as RFC 5927 asks; the rest is ignored.
 *
 * An error counts only when what it quotes is in flight: a forger has to know
 * the tuple and hit a sequence number between snd_una and snd_nxt. An idle
 * connection has nothing in flight, so no message can touch it. And then
 *  - a packet too big goes to pmtu.c;
 *  - no other error ends a connection that is established (RFC 5927 section
 *    5.2): if it is dead indeed, user-timeout finds out;
 *  - a hard one ends a half-open connection, whose SYN-ACK it quotes.
 */
#include <string.h>

#include "base/bytes.h"
#include "stack/checksum.h"
#include "stack/conn.h"
#include "stack/pmtu.h"
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

	/* Put together from fragments; we send none. */
	if (ip_len + seg->len > st->limits.mtu) {
		stack_count(st, SC_icmp_ignored);
		return;
	}
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
	else if (!seg->tuple.v6 && seg->payload[0] == ICMP4_SOURCE_QUENCH)
		stack_count(st, SC_icmp_source_quench); /* RFC 6633 */
	else
		stack_count(st, SC_icmp_ignored);
}

/* RFC 5927 section 4.1. */
static bool icmp_in_flight(const struct conn *c, uint32_t seq)
{
	return c->b && c->r->state != TCP_GONE && seq_leq(c->b->snd_una, seq) &&
	       seq_lt(seq, c->b->snd_nxt);
}

static void icmp_hard(struct conn *c)
{
	if (c->r->state != TCP_SYN_RECEIVED) {
		stack_count(c->st, SC_icmp_hard_errors);
		return;
	}
	stack_count(c->st, SC_icmp_handshakes_ended);
	conn_end(c, true);
}

void icmp_error(struct stack *st, const struct seg *seg, uint64_t now_us)
{
	uint32_t ri = shard_find(st->sh, &seg->tuple, seg->hash);
	struct conn c;

	if (ri == NIL) {
		stack_count(st, SC_icmp_no_conn);
		return;
	}
	conn_view(st, ri, now_us, &c);
	if (!icmp_in_flight(&c, seg->seq)) {
		stack_count(st, SC_icmp_no_flight);
		return;
	}
	switch (seg->error) {
	case SEG_ERROR_TOO_BIG:
		pmtu_too_big(&c, seg->seq, seg->mtu, seg->quoted_len);
		break;
	case SEG_ERROR_HARD:
		icmp_hard(&c);
		break;
	default:
		stack_count(st, SC_icmp_soft_errors);
		break;
	}
}
