/* SPDX-License-Identifier: BSD-2-Clause */
#include "stack/conn.h"

#include <string.h>

#include "base/bytes.h"
#include "stack/checksum.h"
#include "stack/options.h"
#include "stack/sack.h"
#include "stack/wire.h"

/* RFC 5961 section 7: ACKs in answer to what may be forged; mean per second. */
#define CHALLENGE_PER_SEC 1000u
/* Sets the hash's inputs apart: "challeng". */
#define CHALLENGE_TAG UINT64_C(0x6368616c6c656e00)

static uint32_t respond_ip4(struct stack *st, const struct tuple *tuple,
			    uint8_t ecn, uint8_t *buf, uint32_t tcp_len)
{
	struct ip4_hdr *ip = (void *)buf;

	*ip = (struct ip4_hdr){
		.ver_ihl = 0x45,
		.tos = ecn,
		.total_len = be16_put((uint16_t)(sizeof(*ip) + tcp_len)),
		.frag = be16_put(IP4_DF),
		.ttl = IP_TTL,
		.proto = IP_PROTO_TCP,
	};
	memcpy(ip->src, st->header->vips[tuple->vip].bytes, 4);
	memcpy(ip->dst, tuple->remote, 4);
	ip->checksum = checksum_fold(checksum_ip4(ip, sizeof(*ip)));
	return sizeof(*ip);
}

static uint32_t respond_ip6(struct stack *st, const struct tuple *tuple,
			    uint8_t ecn, uint8_t *buf, uint32_t tcp_len)
{
	struct ip6_hdr *ip = (void *)buf;

	*ip = (struct ip6_hdr){
		.ver_class_flow = be32_put(6u << 28 | (uint32_t)ecn << 20),
		.payload_len = be16_put((uint16_t)tcp_len),
		.next = IP_PROTO_TCP,
		.hop_limit = IP_TTL,
	};
	memcpy(ip->src, st->header->vips[tuple->vip].bytes, 16);
	memcpy(ip->dst, tuple->remote, 16);
	return sizeof(*ip);
}

void respond_emit(struct stack *st, const struct tuple *tuple,
		  const struct respond *what, struct iovec *iov, int iovcnt,
		  uint32_t payload_len)
{
	uint8_t buf[PACKET_HDR_MAX];
	size_t addr_len = tuple->v6 ? 16 : 4;
	uint32_t ip_len =
		tuple->v6 ? sizeof(struct ip6_hdr) : sizeof(struct ip4_hdr);
	struct tcp_hdr *tcp = (void *)(buf + ip_len);
	uint32_t hdr_len = (uint32_t)sizeof(*tcp);
	uint64_t sum;

	hdr_len += options_write(buf + ip_len + sizeof(*tcp), &what->opts);
	*tcp = (struct tcp_hdr){
		.src_port = be16_put(tuple->local_port),
		.dst_port = be16_put(tuple->remote_port),
		.seq = be32_put(what->seq),
		.ack = be32_put(what->flags & TH_ACK ? what->ack : 0),
		.data_off = (uint8_t)(hdr_len / 4 << 4),
		.flags = what->flags,
		.window = be16_put(what->wnd),
	};
	if (tuple->v6)
		respond_ip6(st, tuple, what->ecn, buf, hdr_len + payload_len);
	else
		respond_ip4(st, tuple, what->ecn, buf, hdr_len + payload_len);
	sum = checksum_pseudo(st->header->vips[tuple->vip].bytes, tuple->remote,
			      addr_len, IP_PROTO_TCP, hdr_len + payload_len);
	if (st->limits.partial_checksums) {
		tcp->checksum = (uint16_t)~checksum_fold(sum);
	} else {
		sum = checksum_add(sum, tcp, hdr_len);
		sum = checksum_iov(sum, iov + 1, iovcnt - 1);
		tcp->checksum = checksum_fold(sum);
	}
	iov[0] = (struct iovec){ .iov_base = buf, .iov_len = ip_len + hdr_len };
	stack_count(st, SC_segs_out);
	st->ops.emit(st->ops.ctx, iov, iovcnt);
}

void respond_send(struct stack *st, const struct tuple *tuple,
		  const struct respond *what)
{
	struct iovec iov[1];

	if (what->flags & TH_RST)
		stack_count(st, SC_rst_out);
	else if ((what->flags & ~TH_ECE) == TH_ACK)
		stack_count(st, SC_pure_acks_out);
	respond_emit(st, tuple, what, iov, 1, 0);
}

void respond_reset(struct stack *st, const struct seg *seg)
{
	struct respond what = { .flags = TH_RST };

	if (seg->flags & TH_RST)
		return;
	if (seg->flags & TH_ACK) {
		what.seq = seg->ack;
	} else {
		what.flags = TH_RST | TH_ACK;
		what.ack = seg->seq + seg_space(seg);
	}
	respond_send(st, &seg->tuple, &what);
}

void respond_opts(struct conn *c, uint32_t sack_room, struct seg_opts *ret_opts)
{
	*ret_opts = (struct seg_opts){ 0 };
	if (c->r->flags & REC_TS) {
		ret_opts->has_ts = true;
		ret_opts->tsval = conn_ts_now(c);
		ret_opts->tsecr = c->r->ts_recent;
	}
	sack_fill(c, sack_room, ret_opts);
}

/*
 * The sequence number of what has no text: SND.NXT, unless the text that was
 * sent reaches beyond the client's window, as the byte of a probe does: there
 * the client would not look at it (RFC 9293 3.10.7.4, first). A part of the
 * window's unit may be due to the rounding of the field alone.
 */
static uint32_t respond_seq(const struct conn *c)
{
	const struct blk *b = c->b;
	uint32_t sent = seq_min(b->snd_nxt, b->snd_end);
	uint32_t edge = b->snd_una + b->snd_wnd;

	if (c->r->state == TCP_SYN_RECEIVED || seq_leq(sent, edge))
		return b->snd_nxt;
	if (!(b->flags & BLK_PERSIST) && sent - edge < 1u << conn_snd_shift(c))
		return b->snd_nxt;
	return edge;
}

void respond_conn_reset(struct conn *c)
{
	struct rec *r = c->r;
	struct respond what = { .flags = TH_RST | TH_ACK };
	struct tuple tuple;

	what.seq = c->b ? respond_seq(c)
			: r->iss + 1 + (uint32_t)r->snd_off +
				   !!(r->flags & REC_FIN_ACKED);
	what.ack = c->b ? c->b->rcv_acked
			: r->irs + 1 + (uint32_t)r->rcv_off + conn_fin_rcvd(c);
	stack_count(c->st, SC_conn_reset_out);
	shard_rec_tuple(c->st->sh, c->ri, &tuple);
	respond_send(c->st, &tuple, &what);
}

void respond_ack(struct conn *c)
{
	struct respond what = { .flags = TH_ACK };
	struct tuple tuple;

	what.wnd = ack_window(c);
	what.seq = respond_seq(c);
	what.ack = c->b->rcv_acked;
	if (c->r->flags & REC_ECE)
		what.flags |= TH_ECE;
	respond_opts(c, TCP_OPT_SACK_BYTES(SEG_SACKS_MAX), &what.opts);
	shard_rec_tuple(c->st->sh, c->ri, &tuple);
	respond_send(c->st, &tuple, &what);
}

/* The clock of blk.oow_ms, which is never 0. */
static uint32_t respond_now_ms(const struct conn *c)
{
	return max_u32((uint32_t)(c->now_us / USEC_PER_MSEC), 1);
}

uint64_t respond_limit_left_us(const struct conn *c)
{
	uint32_t since_ms = respond_now_ms(c) - c->b->oow_ms;

	if (!c->b->oow_ms || since_ms >= RESPOND_LIMIT_MS)
		return 0;
	return (RESPOND_LIMIT_MS - since_ms) * USEC_PER_MSEC;
}

bool respond_limited(struct conn *c)
{
	if (respond_limit_left_us(c))
		return true;
	c->b->oow_ms = respond_now_ms(c);
	return false;
}

void respond_out_of_window(struct conn *c)
{
	if (respond_limited(c))
		stack_count(c->st, SC_oow_suppressed);
	else if (c->r->state == TCP_SYN_RECEIVED)
		respond_ack(c); /* the flush sends nothing but SYN-ACKs there */
	else
		conn_mark(c, BLK_ACK_NOW);
}

/*
 * RFC 5961 section 7, with the lesson of CVE-2016-5696: who can count the
 * challenge ACKs of a second must not learn how many others provoked. So each
 * second has another budget, from the keyed hash, between half and three halves
 * of the mean; and one connection gets one in 500 ms, so that nobody can use it
 * up through his own.
 */
static uint32_t respond_budget(const struct stack *st, uint64_t now_us)
{
	struct siphash_key key = { st->header->secret[2],
				   st->header->secret[3] };
	uint64_t random =
		siphash13_u64x2(&key, now_us, CHALLENGE_TAG | st->sh->worker);

	return CHALLENGE_PER_SEC / 2 + (uint32_t)(random % CHALLENGE_PER_SEC);
}

/*
 * TIME-WAIT is a bare record, in which no limit per connection can be kept: its
 * answers have a budget of their own, so that none is left for the others' sake.
 */
void respond_challenge(struct conn *c)
{
	struct stack *st = c->st;
	struct stack_budget *budget = c->r->state == TCP_TIME_WAIT
					      ? &st->time_wait_acks
					      : &st->challenges;

	if (c->now_us >= budget->until_us) {
		budget->until_us = c->now_us + USEC_PER_SEC;
		budget->left = respond_budget(st, c->now_us);
	}
	if (respond_limited(c) || !budget->left) {
		stack_count(st, SC_challenge_suppressed);
		return;
	}
	budget->left--;
	stack_count(st, SC_challenge_acks);
	respond_ack(c);
}
