/* SPDX-License-Identifier: BSD-2-Clause */
#include "rig.h"

#include <arpa/inet.h>
#include <string.h>

#include "../unit.h"

#define RIG_MAX_CONNECTIONS 64

struct rig rig;
uint32_t rig_max_connections = RIG_MAX_CONNECTIONS;

static const uint8_t rig_vip4[4] = { 192, 0, 2, 10 };
static const uint8_t rig_vip6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 0x10 };
static const uint8_t rig_cli4[4] = { 198, 51, 100, 7 };
static const uint8_t rig_cli6[16] = {
	0x20, 0x01, 0x0d, 0xb8, [14] = 9, [15] = 7
};

static uint16_t rig_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t rig_get32(const uint8_t *p)
{
	return (uint32_t)rig_get16(p) << 16 | rig_get16(p + 2);
}

static void rig_put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void rig_put32(uint8_t *p, uint32_t v)
{
	rig_put16(p, v >> 16);
	rig_put16(p + 2, v & 0xffff);
}

/* RFC 1071, word by word: slow, plain, and not the stack's. */
static uint32_t rig_sum(uint32_t sum, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t rig_transport_sum(const uint8_t *packet, bool v6, uint8_t proto,
				  uint32_t len)
{
	uint32_t addr = v6 ? 32 : 8, hdr = v6 ? 40 : 20, sum;

	sum = rig_sum(0, packet + (v6 ? 8 : 12), addr);
	sum = rig_sum(sum + proto + len, packet + hdr, len);
	return sum;
}

static void rig_take_options(struct rig_out *out, const uint8_t *p,
			     uint32_t len)
{
	for (uint32_t i = 0; i < len; i += p[i] == 1 ? 1 : p[i + 1]) {
		switch (p[i]) {
		case 2:
			out->has_mss = true;
			out->mss = rig_get16(p + i + 2);
			break;
		case 3:
			out->has_wscale = true;
			out->wscale = p[i + 2];
			break;
		case 4:
			out->sack_ok = true;
			break;
		case 5:
			ck_assert_uint_le(p[i + 1], 2 + 8 * SEG_SACKS_MAX);
			out->n_sacks = (p[i + 1] - 2u) / 8;
			for (uint32_t k = 0; k < out->n_sacks; k++) {
				out->sacks[k].start =
					rig_get32(p + i + 2 + 8 * k);
				out->sacks[k].end =
					rig_get32(p + i + 6 + 8 * k);
			}
			break;
		case 8:
			out->has_ts = true;
			out->tsval = rig_get32(p + i + 2);
			out->tsecr = rig_get32(p + i + 6);
			break;
		default:
			break;
		}
	}
}

static void rig_emit(void *ctx, const struct iovec *iov, int iovcnt)
{
	struct rig_out *out = &rig.out[rig.n_out % RIG_OUT_MAX];
	static uint8_t packet[4096];
	uint32_t len = 0, hdr, total, off;
	const uint8_t *tcp;

	(void)ctx;
	for (int i = 0; i < iovcnt; i++) {
		ck_assert_uint_le(len + iov[i].iov_len, sizeof(packet));
		memcpy(packet + len, iov[i].iov_base, iov[i].iov_len);
		len += (uint32_t)iov[i].iov_len;
	}
	memset(out, 0, sizeof(*out));
	rig.n_out++;
	out->v6 = packet[0] >> 4 == 6;
	out->ecn = (out->v6 ? packet[1] >> 4 : packet[1]) & 3;
	hdr = out->v6 ? 40 : 20;
	total = out->v6 ? 40u + rig_get16(packet + 4) : rig_get16(packet + 2);
	ck_assert_uint_eq(total, len);
	out->icmp = packet[out->v6 ? 6 : 9] != 6;
	out->checksums_ok = out->v6 || rig_sum(0, packet, 20) == 0xffff;
	if (out->icmp && !out->v6)
		out->checksums_ok &=
			rig_sum(0, packet + hdr, len - hdr) == 0xffff;
	else
		out->checksums_ok &=
			rig_transport_sum(packet, out->v6, out->icmp ? 58 : 6,
					  len - hdr) == 0xffff;
	ck_assert_msg(out->checksums_ok, "a sent packet has a wrong checksum");
	tcp = packet + hdr;
	out->packet_len = len;
	memcpy(out->head, packet,
	       len < sizeof(out->head) ? len : sizeof(out->head));
	if (out->icmp) {
		out->icmp_type = tcp[0];
		return;
	}
	off = (uint32_t)(tcp[12] >> 4) * 4;
	out->src_port = rig_get16(tcp);
	out->dst_port = rig_get16(tcp + 2);
	out->seq = rig_get32(tcp + 4);
	out->ack = rig_get32(tcp + 8);
	out->flags = tcp[13];
	out->wnd = rig_get16(tcp + 14);
	out->len = len - hdr - off;
	rig_take_options(out, tcp + 20, off - 20);
	memcpy(out->payload, tcp + off, out->len);
}

void rig_group(void)
{
	ck_assert_int_eq(stack_group_set(rig.st, &rig.group), 0);
}

void rig_group_remove(uint16_t id)
{
	const struct bitmap *map = &rig.shard.rec_map;

	stack_group_remove(rig.st, id);
	for (uint32_t ri = bitmap_next_used(map, 0); ri != BITMAP_NONE;
	     ri = bitmap_next_used(map, ri + 1))
		if (rig.shard.recs[ri].group == id)
			stack_abort(rig.st, ri, rig.now_us);
}

/* A process begins on the arena. */
static void rig_start(void)
{
	const struct stack_ops ops = { .emit = rig_emit };
	struct stack_limits limits;

	ck_assert_int_eq(shard_init(&rig.shard, &rig.arena, 0, rig.now_us), 0);
	stack_limits_init(&limits, 1500);
	rig.st = stack_new(&rig.shard, 1, &ops, &limits, rig.now_us);
	stack_pool_set(rig.st, 0, 1 << 20, 90, 75);
	rig_group();
}

void rig_up(void)
{
	struct arena_sizes sizes = {
		.workers = 1,
		.max_connections = rig_max_connections,
		.rx_bytes = 1 << 20,
		.tx_bytes = 1 << 20,
	};

	memset(&rig, 0, sizeof(rig));
	rig.now_us = 1000000;
	ck_assert_int_eq(arena_create(&rig.arena, NULL, &sizes), 0);
	rig.arena.header->vips[0].family = 4;
	memcpy(rig.arena.header->vips[0].bytes, rig_vip4, 4);
	rig.arena.header->vips[1].family = 6;
	memcpy(rig.arena.header->vips[1].bytes, rig_vip6, 16);
	rig.group = (struct stack_group){
		.id = 1,
		.port = RIG_PORT,
		.vip_mask = UINT64_MAX,
		.accept_timeout_us = 3000000,
		.user_timeout_us = 30000000,
		.shared_count = &rig.shared_count,
	};
	rig_start();
}

void rig_kill(void)
{
	stack_free(rig.st);
	shard_fini(&rig.shard);
	atomic_store(&rig.shared_count, 0);
	rig_start();
	stack_recover(rig.st, rig.now_us);
	rig.seen = rig.n_out;
}

void rig_down(void)
{
	const char *wrong = shard_check(&rig.shard);

	ck_assert_msg(!wrong, "%s", wrong);
	stack_free(rig.st);
	shard_fini(&rig.shard);
	arena_close(&rig.arena);
	rig_max_connections = RIG_MAX_CONNECTIONS;
}

static uint32_t rig_build_options(const struct rig_client *cl,
				  const struct rig_seg *seg, uint8_t *p)
{
	uint32_t n = 0;

	if (seg->syn_options) {
		static const uint8_t opts[] = { 2, 4, 0, 0, 1, 3,
						3, 7, 1, 1, 4, 2 };

		memcpy(p, opts, sizeof(opts));
		rig_put16(p + 2, cl->mss ? cl->mss : 1460);
		n = sizeof(opts) - (cl->sack ? 0 : 4);
	}
	if (cl->ts) {
		p[n++] = 1;
		p[n++] = 1;
		p[n++] = 8;
		p[n++] = 10;
		rig_put32(p + n, cl->tsval);
		rig_put32(p + n + 4, cl->tsecr);
		n += 8;
	}
	if (cl->n_sacks) {
		p[n++] = 1;
		p[n++] = 1;
		p[n++] = 5;
		p[n++] = (uint8_t)(2 + 8 * cl->n_sacks);
		for (uint32_t i = 0; i < cl->n_sacks; i++, n += 8) {
			rig_put32(p + n, cl->sacks[i].start);
			rig_put32(p + n + 4, cl->sacks[i].end);
		}
	}
	return n;
}

static uint32_t rig_build_ip(const struct rig_client *cl, uint8_t *buf,
			     uint32_t payload)
{
	if (cl->v6) {
		memset(buf, 0, 40);
		buf[0] = 0x60;
		buf[1] = (uint8_t)(cl->tos << 4);
		rig_put16(buf + 4, payload);
		buf[6] = 6;
		buf[7] = 64;
		memcpy(buf + 8, rig_cli6, 16);
		memcpy(buf + 24, rig_vip6, 16);
		buf[23] = (uint8_t)(buf[23] + cl->host);
		return 40;
	}
	memset(buf, 0, 20);
	buf[0] = 0x45;
	buf[1] = cl->tos;
	rig_put16(buf + 2, 20 + payload);
	buf[8] = 64;
	buf[9] = 6;
	memcpy(buf + 12, rig_cli4, 4);
	memcpy(buf + 16, rig_vip4, 4);
	buf[15] = (uint8_t)(buf[15] + cl->host);
	rig_put16(buf + 10, ~rig_sum(0, buf, 20) & 0xffff);
	return 20;
}

uint32_t rig_build(const struct rig_client *cl, const struct rig_seg *seg,
		   uint8_t *buf)
{
	uint32_t hdr = cl->v6 ? 40 : 20, opts;
	uint8_t *tcp = buf + hdr;

	opts = rig_build_options(cl, seg, tcp + 20);
	rig_build_ip(cl, buf, 20 + opts + seg->len);
	rig_put16(tcp, cl->port);
	rig_put16(tcp + 2, RIG_PORT);
	rig_put32(tcp + 4, seg->seq);
	rig_put32(tcp + 8, seg->ack);
	tcp[12] = (uint8_t)((20 + opts) / 4 << 4);
	tcp[13] = seg->flags;
	rig_put16(tcp + 14, cl->wnd);
	rig_put32(tcp + 16, 0);
	if (seg->len)
		memcpy(tcp + 20 + opts, seg->data, seg->len);
	rig_put16(tcp + 16,
		  ~rig_transport_sum(buf, cl->v6, 6, 20 + opts + seg->len) &
			  0xffff);
	return hdr + 20 + opts + seg->len;
}

void rig_fix_ip4(uint8_t *packet)
{
	rig_put16(packet + 10, 0);
	rig_put16(packet + 10,
		  ~rig_sum(0, packet, (packet[0] & 0xfu) * 4) & 0xffff);
}

uint32_t rig_build_icmp(bool v6, const uint8_t *body, uint32_t len,
			uint8_t *buf)
{
	struct rig_client cl = { .v6 = v6 };
	uint32_t hdr = rig_build_ip(&cl, buf, len), sum;

	buf[v6 ? 6 : 9] = v6 ? 58 : 1;
	if (!v6)
		rig_fix_ip4(buf);
	memcpy(buf + hdr, body, len);
	rig_put16(buf + hdr + 2, 0);
	sum = v6 ? rig_transport_sum(buf, true, 58, len)
		 : rig_sum(0, buf + hdr, len);
	rig_put16(buf + hdr + 2, ~sum & 0xffff);
	return hdr + len;
}

uint32_t rig_build_error(bool v6, uint8_t type, uint8_t code, uint32_t rest,
			 const uint8_t *quote, uint32_t n, uint8_t *buf)
{
	uint8_t body[256] = { type, code };

	ck_assert_uint_le(n, sizeof(body) - 8);
	rig_put32(body + 4, rest);
	memcpy(body + 8, quote, n);
	return rig_build_icmp(v6, body, 8 + n, buf);
}

void rig_error(const struct rig_out *out, uint8_t type, uint8_t code,
	       uint32_t rest, uint32_t n)
{
	uint8_t buf[512];

	rig_packet(buf, rig_build_error(out->v6, type, code, rest, out->head, n,
					buf));
}

void rig_packet(const uint8_t *packet, uint32_t len)
{
	struct seg seg;

	if (stack_parse(rig.st, packet, len, &seg))
		stack_input(rig.st, &seg, rig.now_us);
	stack_flush(rig.st, rig.now_us);
}

void rig_input(const struct rig_client *cl, const struct rig_seg *seg)
{
	uint8_t buf[4096];

	rig_packet(buf, rig_build(cl, seg, buf));
}

void rig_client(struct rig_client *cl, uint16_t port)
{
	*cl = (struct rig_client){
		.rig = &rig,
		.port = port,
		.iss = 0xfffffff0,
		.snd_nxt = 0xfffffff1,
		.wnd = 512,
		.ts = true,
		.tsval = 7000,
		.ri = NIL,
	};
}

struct rig_out *rig_expect(struct rig_client *cl, uint8_t flags)
{
	struct rig_out *out = &rig.out[rig.seen % RIG_OUT_MAX];

	ck_assert_msg(rig.seen < rig.n_out, "the stack sent nothing");
	rig.seen++;
	ck_assert_uint_eq(out->flags, flags);
	if (cl && !(flags & TH_RST)) {
		uint32_t end = out->seq + out->len + !!(flags & TH_SYN) +
			       !!(flags & TH_FIN);

		if (flags & TH_SYN)
			cl->rcv_nxt = end;
		else if (out->seq == cl->rcv_nxt)
			cl->rcv_nxt = end;
		if (out->has_ts)
			cl->tsecr = out->tsval;
	}
	return out;
}

void rig_expect_nothing(void)
{
	ck_assert_msg(rig.seen == rig.n_out,
		      "the stack sent flags 0x%x seq %u ack %u len %u",
		      rig.out[rig.seen % RIG_OUT_MAX].flags,
		      rig.out[rig.seen % RIG_OUT_MAX].seq,
		      rig.out[rig.seen % RIG_OUT_MAX].ack,
		      rig.out[rig.seen % RIG_OUT_MAX].len);
}

void rig_ack(struct rig_client *cl)
{
	rig_input(cl, &(struct rig_seg){ .flags = TH_ACK,
					 .seq = cl->snd_nxt,
					 .ack = cl->rcv_nxt });
}

void rig_connect(struct rig_client *cl, uint16_t port)
{
	struct rig_out *out;
	uint8_t ecn;

	if (!cl->rig)
		rig_client(cl, port);
	ecn = cl->ecn ? TH_ECE | TH_CWR : 0;
	rig_input(cl, &(struct rig_seg){ .flags = TH_SYN | ecn,
					 .seq = cl->iss,
					 .syn_options = true });
	out = rig_expect(cl,
			 TH_SYN | TH_ACK | (rig.group.ecn ? ecn & TH_ECE : 0));
	ck_assert_int_eq(out->sack_ok, cl->sack);
	ck_assert_uint_eq(out->ack, cl->iss + 1);
	ck_assert_uint_eq(out->dst_port, cl->port);
	cl->srv_iss = out->seq;
	cl->srv_shift = out->wscale;
	rig_pass_us(cl->rtt_us);
	rig_ack(cl);
	rig_expect_nothing();
	for (uint32_t ri = 0; ri < rig.shard.n_recs; ri++) {
		if (rig.shard.recs[ri].state &&
		    rig.shard.recs[ri].remote_port == cl->port)
			cl->ri = ri;
	}
	ck_assert_uint_ne(cl->ri, NIL);
	ck_assert_str_eq(tcp_state_name(rig_rec(cl)->state), "ESTABLISHED");
}

void rig_send_bytes(struct rig_client *cl, const void *data, uint32_t len)
{
	rig_input(cl, &(struct rig_seg){ .flags = TH_ACK | TH_PSH,
					 .seq = cl->snd_nxt,
					 .ack = cl->rcv_nxt,
					 .data = data,
					 .len = len });
	cl->snd_nxt += len;
}

void rig_send(struct rig_client *cl, const char *text)
{
	rig_send_bytes(cl, text, (uint32_t)strlen(text));
}

void rig_pass_us(uint64_t us)
{
	uint64_t end = rig.now_us + us;

	for (;;) {
		uint64_t next = stack_next_us(rig.st);

		if (next > end)
			break;
		if (next > rig.now_us)
			rig.now_us = next;
		stack_tick(rig.st, rig.now_us);
		stack_flush(rig.st, rig.now_us);
	}
	rig.now_us = end;
	stack_tick(rig.st, rig.now_us);
	stack_flush(rig.st, rig.now_us);
}

uint16_t rig_events(uint32_t ri)
{
	uint16_t events, all = 0;
	uint32_t i;

	while ((i = stack_next_event(rig.st, &events)) != NIL) {
		if (i == ri)
			all |= events;
	}
	stack_flush(rig.st, rig.now_us);
	return all;
}

uint64_t rig_counter(enum stack_counter which)
{
	return counter_get(&rig.st->counters[which]);
}

uint32_t rig_deliver(struct rig_client *cl, char *buf, uint32_t len)
{
	struct iovec iov[64];
	uint64_t offset;
	bool again;
	int n = 64;
	uint32_t got = stack_peek(rig.st, cl->ri, len, iov, &n, &offset,
				  &again),
		 at = 0;

	for (int i = 0; i < n; i++) {
		memcpy(buf + at, iov[i].iov_base, iov[i].iov_len);
		at += (uint32_t)iov[i].iov_len;
	}
	ck_assert_uint_eq(at, got);
	if (got)
		stack_delivered(rig.st, cl->ri, got, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	return got;
}

void rig_reply(struct rig_client *cl, uint32_t ackd, const char *text)
{
	uint32_t len = (uint32_t)strlen(text);

	ck_assert_int_eq(stack_reply(rig.st, cl->ri, rig_rec(cl)->rcv_off, ackd,
				     text, len, rig.now_us),
			 len);
	stack_flush(rig.st, rig.now_us);
}

void rig_send_at(struct rig_client *cl, uint32_t at, const char *text)
{
	rig_input(cl, &(struct rig_seg){ .flags = TH_ACK,
					 .seq = cl->iss + 1 + at,
					 .ack = cl->rcv_nxt,
					 .data = text,
					 .len = (uint32_t)strlen(text) });
}

void rig_expect_text(struct rig_client *cl, const char *text)
{
	char buf[4096];
	uint32_t n = rig_deliver(cl, buf, sizeof(buf));

	ck_assert_uint_eq(n, strlen(text));
	ck_assert_int_eq(memcmp(buf, text, n), 0);
}

void rig_settle(struct rig_client *cl)
{
	struct blk *b = rig_blk(cl);

	if (b && b->rcv_dlv != b->rcv_app)
		rig_reply(cl, b->rcv_dlv - b->rcv_app, "");
	rig_events(cl->ri);
}

struct rec *rig_rec(const struct rig_client *cl)
{
	return &rig.shard.recs[cl->ri];
}

struct blk *rig_blk(const struct rig_client *cl)
{
	uint32_t bi = rig_rec(cl)->block;

	return bi == NIL ? NULL : &rig.shard.blks[bi];
}
