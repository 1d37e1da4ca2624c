/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client - the clients of a world: their packets, and what the stack sends.
 *
 * Packets are built here and taken apart here, not by src/stack. A client's
 * stream has at each position the byte that world_client_bytes() says, the
 * server's that of world_server_bytes(), however often a position is sent: so
 * whatever the stack delivers or sends can be checked on its own.
 *
 * What must hold of each packet that the stack sends:
 *  W1  lengths and checksums are right, it fits the MTU and goes to a client;
 *  W2  reply bytes are those of the stream, and were taken from the
 *      application before;
 *  W3  none lies beyond the room the client ever offered, but for one (a
 *      window probe);
 *  W4  an acknowledgement covers only what the client sent, and in deferred
 *      mode (world.i1) only what the application acknowledged;
 *  W5  the right edge of the window never goes back.
 * Nothing but W1 is asked of a garbled record (world.garbled).
 * W3, and W4's first half, are not asked for once a client is tainted: a
 * packet with anything in it was sent in its name. W2 and W4's second half are
 * not where others reply in the target's stead (world.own_replies).
 */
#include <arpa/inet.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "fuzz/world.h"

enum { HDR4 = 20, HDR6 = 40, HDR_TCP = 20 };

/* Server positions are 32 bits here: no execution sends 4 GiB. */
#define CLIENT_FAR (1u << 30)

static const uint8_t client_addr4[4] = { 198, 51, 100, 7 };
static const uint8_t client_addr6[16] = { 0x20, 0x01,	  0x0d,
					  0xb8, [14] = 9, [15] = 7 };

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

/* RFC 1071 (B): in the machine's byte order, four bytes at a time. */
uint32_t client_sum(uint32_t sum, const uint8_t *p, uint32_t len)
{
	uint64_t total = 0;
	uint32_t word;

	for (; len >= 4; p += 4, len -= 4) {
		memcpy(&word, p, 4);
		total += word;
	}
	word = 0;
	memcpy(&word, p, len);
	total += word;
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	total = sum + (uint64_t)ntohs((uint16_t)total);
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint32_t)total;
}

static uint32_t client_transport_sum(const uint8_t *packet, bool v6,
				     uint32_t hdr, uint8_t proto, uint32_t len)
{
	uint32_t sum =
		client_sum(proto + len, packet + (v6 ? 8 : 12), v6 ? 32 : 8);

	return client_sum(sum, packet + hdr, len);
}

/* --- out: building ----------------------------------------------------- */

void client_reset(struct world_client *cl, uint32_t i, uint32_t shape)
{
	*cl = (struct world_client){
		.v6 = i % 3 == 1,
		.ts = !(shape & 1),
		.wscale = !(shape & 2),
		.sack = !(shape & 4),
		.shift = 7,
		.ecn = shape & 8,
		.mss = i % 4 == 3 ? 600 : 1460,
		.port = (uint16_t)(1000 + i),
		.iss = 0xffffff00u + i * 0x40000000u,
		.tsval = 0xfffff000u,
		.ri = NIL,
	};
	cl->snd_nxt = cl->iss + 1;
}

struct world_seg client_seg(const struct world_client *cl)
{
	struct world_seg seg = {
		.flags = TH_ACK,
		.seq = cl->snd_nxt,
		.ack = cl->rcv_nxt,
		.wnd = 512,
	};

	return seg;
}

void client_options(struct world_client *cl, struct world_seg *seg)
{
	uint8_t *p = seg->opts;
	uint32_t n = 0;

	if (seg->flags & TH_SYN) {
		static const uint8_t wscale[] = { 1, 3, 3, 7 };
		static const uint8_t sack[] = { 1, 1, 4, 2 };

		p[0] = 2;
		p[1] = 4;
		put16(p + 2, cl->mss);
		n = 4;
		if (cl->wscale)
			memcpy(p + n, wscale, 4), n += 4;
		if (cl->sack)
			memcpy(p + n, sack, 4), n += 4;
	}
	if (cl->ts) {
		put32(p + n, 0x0101080a);
		put32(p + n + 4, cl->tsval);
		put32(p + n + 8, seg->flags & TH_ACK ? cl->tsecr : 0);
		n += 12;
	}
	seg->opts_len = n;
}

static uint32_t client_build_ip(const struct world_client *cl, uint8_t ecn,
				uint8_t *buf, uint32_t payload)
{
	if (cl->v6) {
		put32(buf, 0x60000000u | (uint32_t)ecn << 20);
		put16(buf + 4, payload);
		buf[6] = 6;
		buf[7] = 64;
		memcpy(buf + 8, client_addr6, 16);
		memcpy(buf + 24, world.arena.header->vips[1].bytes, 16);
		return HDR6;
	}
	memset(buf, 0, HDR4);
	buf[0] = 0x45;
	buf[1] = ecn;
	put16(buf + 2, HDR4 + payload);
	buf[8] = 64;
	buf[9] = 6;
	memcpy(buf + 12, client_addr4, 4);
	memcpy(buf + 16, world.arena.header->vips[0].bytes, 4);
	put16(buf + 10, ~client_sum(0, buf, HDR4) & 0xffff);
	return HDR4;
}

/* Position of the first byte of a segment. */
static uint32_t client_seg_pos(const struct world_client *cl,
			       const struct world_seg *seg)
{
	return seg->flags & TH_SYN ? 0 : seg->seq - (cl->iss + 1);
}

uint32_t client_build(const struct world_client *cl,
		      const struct world_seg *seg, uint8_t *buf)
{
	uint32_t tcp_len = HDR_TCP + seg->opts_len + seg->len;
	uint32_t hdr = client_build_ip(cl, seg->ecn, buf, tcp_len);
	uint8_t *tcp = buf + hdr;

	put16(tcp, cl->port);
	put16(tcp + 2, WORLD_PORT);
	put32(tcp + 4, seg->seq);
	put32(tcp + 8, seg->ack);
	tcp[12] = (uint8_t)((HDR_TCP + seg->opts_len) / 4 << 4);
	tcp[13] = seg->flags;
	put16(tcp + 14, seg->wnd);
	put16(tcp + 16, 0);
	put16(tcp + 18, seg->urgent);
	memcpy(tcp + HDR_TCP, seg->opts, seg->opts_len);
	memcpy(tcp + HDR_TCP + seg->opts_len,
	       world_client_bytes(client_seg_pos(cl, seg)), seg->len);
	put16(tcp + 16,
	      ~client_transport_sum(buf, cl->v6, hdr, 6, tcp_len) & 0xffff);
	return hdr + tcp_len;
}

static void client_fix_transport(uint8_t *packet, bool v6, uint32_t hdr,
				 uint8_t proto, uint32_t len)
{
	uint32_t at = proto == 6 ? 16 : 2, sum;
	uint8_t *p = packet + hdr;

	if ((proto != 6 && proto != 1 && proto != 58) || len < at + 2)
		return;
	put16(p + at, 0);
	sum = proto == 1 ? client_sum(0, p, len)
			 : client_transport_sum(packet, v6, hdr, proto, len);
	put16(p + at, ~sum & 0xffff);
}

static void client_fix4(uint8_t *packet, uint32_t len)
{
	uint32_t hdr = (packet[0] & 0xfu) * 4u, total = get16(packet + 2);

	if (hdr < HDR4 || hdr > len)
		return;
	if (total >= hdr && total <= len)
		client_fix_transport(packet, false, hdr, packet[9],
				     total - hdr);
	put16(packet + 10, 0);
	put16(packet + 10, ~client_sum(0, packet, hdr) & 0xffff);
}

static void client_fix6(uint8_t *packet, uint32_t len)
{
	uint32_t hdr = HDR6, left = get16(packet + 4);
	uint8_t proto = packet[6];

	if (left > len - HDR6)
		return;
	/* hop-by-hop, routing, destination options */
	while ((proto == 0 || proto == 43 || proto == 60) && left >= 8) {
		uint32_t ext = 8u + packet[hdr + 1] * 8u;

		if (ext > left)
			return;
		proto = packet[hdr];
		hdr += ext;
		left -= ext;
	}
	client_fix_transport(packet, true, hdr, proto, left);
}

void client_fix_checksums(uint8_t *packet, uint32_t len)
{
	if (len >= HDR4 && packet[0] >> 4 == 4)
		client_fix4(packet, len);
	else if (len >= HDR6 && packet[0] >> 4 == 6)
		client_fix6(packet, len);
}

/* --- out: sending ------------------------------------------------------ */

void client_packet(const uint8_t *packet, uint32_t len)
{
	struct seg seg;

	FUZZ_SAY("%llu packet of %u bytes", (unsigned long long)world.now_us,
		 len);
	if (stack_parse_offload(world.st, packet, len, &world.offload, &seg))
		stack_input(world.st, &seg, world.now_us);
	world.offload = (struct seg_offload){ 0 };
	world_flush();
}

/* How far the window of a segment lets the stack send. */
static void client_note_window(struct world_client *cl,
			       const struct world_seg *seg)
{
	const struct rec *r = client_rec(cl);
	uint32_t pos = 0, wnd = seg->wnd;

	if (seg->flags & TH_RST)
		return;
	if (!(seg->flags & TH_SYN)) {
		if (!(seg->flags & TH_ACK))
			return;
		pos = seg->ack - (r ? r->iss : cl->srv_iss) - 1;
		/* What acknowledges what never was counts for nothing. */
		if (pos > (uint32_t)cl->app_taken + 1)
			return;
		/* The shift of a client that asked for none is 0; be generous. */
		wnd <<= cl->shift;
	}
	if ((uint64_t)pos + wnd > cl->wnd_edge)
		cl->wnd_edge = (uint64_t)pos + wnd;
}

void client_note(struct world_client *cl, const struct world_seg *seg)
{
	uint32_t end;

	cl->last_flags = seg->flags;
	cl->last_end = seg->seq + seg->len + !!(seg->flags & TH_SYN) +
		       !!(seg->flags & TH_FIN);
	end = cl->last_end - (cl->iss + 1);
	if (seg->flags & TH_FIN)
		cl->fin_sent = true;
	if (end > cl->sent_end && end < CLIENT_FAR)
		cl->sent_end = end;
	client_note_window(cl, seg);
}

void client_input(struct world_client *cl, const struct world_seg *seg)
{
	static uint8_t packet[WORLD_PACKET_MAX];
	uint32_t len;

	FUZZ_SAY("%u> flags %x pos %u len %u ack %u wnd %u", cl->port,
		 seg->flags, seg->seq - (cl->iss + 1), seg->len,
		 seg->ack - (cl->srv_iss + 1), seg->wnd);
	client_note(cl, seg);
	len = client_build(cl, seg, packet);
	/* What need not be looked at is wrong. */
	if (world.offload.checked)
		packet[(cl->v6 ? HDR6 : HDR4) + 16] ^= 0x55;
	client_packet(packet, len);
}

void client_connect(struct world_client *cl)
{
	struct world_seg syn = { .flags = TH_SYN,
				 .seq = cl->iss,
				 .wnd = 65535 };

	cl->answered = false;
	client_options(cl, &syn);
	client_input(cl, &syn);
	if (cl->answered)
		client_ack(cl);
}

void client_send(struct world_client *cl, uint32_t len, uint8_t flags)
{
	struct world_seg seg = client_seg(cl);

	seg.flags |= flags;
	seg.len = len;
	client_options(cl, &seg);
	cl->snd_nxt += len + !!(flags & TH_FIN);
	client_input(cl, &seg);
}

void client_ack(struct world_client *cl)
{
	client_send(cl, 0, 0);
}

/* --- records ----------------------------------------------------------- */

struct rec *client_rec(const struct world_client *cl)
{
	if (cl->ri == NIL)
		return NULL;
	return stack_lookup(world.st, cl->ri, cl->generation);
}

static struct world_client *client_of_port(uint16_t port)
{
	uint32_t i = port - 1000u;

	return i < WORLD_CLIENTS ? &world.clients[i] : NULL;
}

struct world_client *client_of_rec(uint32_t ri)
{
	struct world_client *cl =
		client_of_port(world.shard.recs[ri].remote_port);

	return cl && cl->ri == ri ? cl : NULL;
}

/* The client whose tuple the record has, if it is one's. */
static struct world_client *client_of_tuple(uint32_t ri)
{
	const struct rec *r = &world.shard.recs[ri];
	struct world_client *cl = client_of_port(r->remote_port);
	bool v6 = r->flags & REC_V6;

	if (!cl || cl->v6 != v6 || r->vip != v6 || r->local_port != WORLD_PORT)
		return NULL;
	if (v6)
		return memcmp(world.shard.recs6[ri].remote, client_addr6, 16)
			       ? NULL
			       : cl;
	return memcmp(&r->remote4, client_addr4, 4) ? NULL : cl;
}

void client_on_trace(void *ctx, uint32_t ri, uint8_t from, uint8_t to)
{
	const struct rec *r = &world.shard.recs[ri];
	struct world_client *cl = client_of_tuple(ri);

	(void)ctx;
	FUZZ_SAY("%u: %s to %s", r->remote_port, tcp_state_name(from),
		 tcp_state_name(to));
	if (!cl)
		return;
	if (to == TCP_FREE && cl->ri == ri)
		cl->ri = NIL;
	if (from != TCP_FREE)
		return;
	world.garbled[ri] = false;
	/*
	 * From a cookie of before, or the cookie beside the right one (they
	 * differ in the MSS): positions are those of another place.
	 */
	if (!(cl->last_flags & TH_SYN) &&
	    (cl->iss != r->irs || cl->srv_iss != r->iss))
		cl->tainted = true;
	cl->ri = ri;
	cl->generation = r->generation;
	cl->iss = r->irs;
	cl->snd_nxt = r->irs + 1;
	cl->sent_end = cl->last_end - cl->snd_nxt; /* with what is under way */
	cl->fin_sent = cl->last_flags & TH_FIN;
	cl->edge_known = false;
	cl->app_taken = cl->app_acked = 0;
}

/* --- in: what the stack sends ------------------------------------------ */

/* A segment of the stack, taken apart. */
struct client_out {
	uint8_t flags;
	uint16_t wnd;
	uint32_t seq, ack, len;
	const uint8_t *payload;
};

static void client_take_options(struct world_client *cl, const uint8_t *p,
				uint32_t len)
{
	for (uint32_t i = 0; i < len; i += p[i] == 1 ? 1 : p[i + 1]) {
		if (p[i] == 0)
			break;
		FUZZ_CHECK(p[i] == 1 || (i + 1 < len && p[i + 1] >= 2 &&
					 i + p[i + 1] <= len));
		if (p[i] == 8)
			cl->tsecr = get32(p + i + 2);
	}
}

/* W2, W3 */
static void client_check_data(struct world_client *cl, const struct rec *r,
			      const struct client_out *out)
{
	uint32_t pos = out->seq - (r->iss + 1);

	if (out->len == 0 || world.own_replies)
		return;
	FUZZ_CHECK(pos + out->len <= cl->app_taken, "%u+%u of %u", pos,
		   out->len, (unsigned)cl->app_taken);
	FUZZ_CHECK(cl->tainted || pos + out->len <= cl->wnd_edge + 1,
		   "%u+%u, room to %u", pos, out->len, (unsigned)cl->wnd_edge);
	FUZZ_CHECK(memcmp(out->payload, world_server_bytes(pos), out->len) == 0,
		   "at %u", pos);
}

/* W4, W5 */
static void client_check_ack(struct world_client *cl, const struct rec *r,
			     const struct client_out *out)
{
	uint32_t pos = out->ack - (r->irs + 1), edge, unit;

	FUZZ_CHECK(!world.i1 || world.own_replies ||
			   pos <= cl->app_acked + cl->fin_sent || cl->tainted,
		   "acknowledges %u of %u", pos, (unsigned)cl->app_acked);
	FUZZ_CHECK(cl->tainted || pos <= cl->sent_end,
		   "acknowledges %u, %u was sent", pos, cl->sent_end);
	if (r->state < TCP_ESTABLISHED || r->state == TCP_GONE)
		return;
	unit = 1u << (r->wscale >> 4);
	edge = out->ack + out->wnd * unit;
	FUZZ_CHECK(!cl->edge_known ||
			   (int32_t)(edge - (cl->edge - unit + 1)) >= 0,
		   "the edge goes from %u to %u", cl->edge, edge);
	if (!cl->edge_known || (int32_t)(edge - cl->edge) > 0)
		cl->edge = edge;
	cl->edge_known = true;
}

static void client_take_segment(struct world_client *cl,
				const struct client_out *out)
{
	const struct rec *r = client_rec(cl);
	uint32_t end = out->seq + out->len + !!(out->flags & TH_FIN) +
		       !!(out->flags & TH_SYN);

	if (out->flags & TH_RST)
		return;
	if (out->flags & TH_SYN) {
		if (!cl->answered || cl->srv_iss != out->seq)
			cl->out_end = cl->rcv_nxt = end;
		cl->answered = true;
		cl->srv_iss = out->seq;
		cl->last_ack = out->ack;
		if (!r) { /* with a cookie: the stack knows nothing more */
			cl->iss = out->ack - 1;
			cl->snd_nxt = out->ack;
		}
		return;
	}
	if (r && !world.garbled[cl->ri]) {
		client_check_data(cl, r, out);
		client_check_ack(cl, r, out);
	}
	if ((int32_t)(out->seq - cl->rcv_nxt) <= 0 &&
	    (int32_t)(end - cl->rcv_nxt) > 0)
		cl->rcv_nxt = end;
	if ((int32_t)(end - cl->out_end) > 0)
		cl->out_end = end;
	cl->last_ack = out->ack;
}

/* Does a packet go to the client's own address? */
static bool client_is_dst(const struct world_client *cl, const uint8_t *packet)
{
	if (cl->v6 != (packet[0] >> 4 == 6))
		return false;
	return cl->v6 ? !memcmp(packet + 24, client_addr6, 16)
		      : !memcmp(packet + 16, client_addr4, 4);
}

static void client_take_tcp(const uint8_t *packet, const uint8_t *tcp,
			    uint32_t len)
{
	struct client_out out;
	uint32_t off;
	struct world_client *cl;

	FUZZ_CHECK(len >= HDR_TCP);
	off = (uint32_t)(tcp[12] >> 4) * 4;
	FUZZ_CHECK(off >= HDR_TCP && off <= len);
	cl = client_of_port(get16(tcp + 2));
	if (!cl || !client_is_dst(cl, packet) || get16(tcp) != WORLD_PORT)
		return;
	out = (struct client_out){
		.flags = tcp[13],
		.wnd = get16(tcp + 14),
		.seq = get32(tcp + 4),
		.ack = get32(tcp + 8),
		.len = len - off,
		.payload = tcp + off,
	};
	FUZZ_SAY("%u< flags %x pos %u len %u ack %u wnd %u", cl->port,
		 out.flags, out.seq - (cl->srv_iss + 1), out.len,
		 out.ack - (cl->iss + 1), out.wnd);
	client_take_options(cl, tcp + HDR_TCP, off - HDR_TCP);
	client_take_segment(cl, &out);
}

/* W1 */
void client_on_emit(void *ctx, const struct iovec *iov, int iovcnt)
{
	static uint8_t packet[WORLD_PACKET_MAX];
	uint32_t len = 0, hdr, sum;
	bool v6, tcp;

	(void)ctx;
	world.emitted++;
	FUZZ_CHECK(iovcnt > 0 && iovcnt <= STACK_EMIT_IOV_MAX);
	for (int i = 0; i < iovcnt; i++) {
		FUZZ_CHECK(len + iov[i].iov_len <= world.st->limits.mtu);
		memcpy(packet + len, iov[i].iov_base, iov[i].iov_len);
		len += (uint32_t)iov[i].iov_len;
	}
	v6 = packet[0] >> 4 == 6;
	hdr = v6 ? HDR6 : HDR4;
	FUZZ_CHECK(len > hdr && (v6 || packet[0] == 0x45));
	FUZZ_CHECK(len == (v6 ? 40u + get16(packet + 4) : get16(packet + 2)));
	FUZZ_CHECK(v6 || client_sum(0, packet, HDR4) == 0xffff);
	tcp = packet[v6 ? 6 : 9] == 6;
	FUZZ_CHECK(tcp || packet[v6 ? 6 : 9] == (v6 ? 58 : 1));
	sum = !v6 && !tcp ? client_sum(0, packet + hdr, len - hdr)
			  : client_transport_sum(packet, v6, hdr,
						 packet[v6 ? 6 : 9], len - hdr);
	FUZZ_CHECK(sum == 0xffff);
	if (tcp)
		client_take_tcp(packet, packet + hdr, len - hdr);
}
