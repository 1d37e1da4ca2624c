/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * packet_segs - the packet target's packets, from a script's operands.
 */
#include <string.h>

#include "fuzz/packet.h"

#define PACKET_POKES_MAX 8
/* Text of a packet that is several segments. */
#define PACKET_LARGE_MAX 8000u

struct poke {
	uint8_t at, value;
};

static struct poke pokes[PACKET_POKES_MAX];
static uint32_t n_pokes;

void packet_segs_reset(void)
{
	n_pokes = 0;
	world.offload = (struct seg_offload){ 0 };
}

/* --- segments ---------------------------------------------------------- */

uint32_t packet_delta(struct fuzz_in *in, uint8_t how)
{
	static const uint32_t deltas[] = {
		1,   -1u,  2,	   -2u,	  100,	      -100u,
		536, 1460, -1460u, 65535, 0x40000000, 0x80000000,
	};

	if (how < sizeof(deltas) / sizeof(deltas[0]))
		return deltas[how];
	return (uint32_t)(int16_t)fuzz_u16(in);
}

static uint32_t packet_seq(struct fuzz_in *in, const struct world_client *cl)
{
	uint8_t how = fuzz_u8(in);
	uint32_t base = cl->snd_nxt;

	switch (how >> 4) {
	case 10:
	case 11:
	case 12:
		base = cl->last_ack;
		break;
	case 13:
		base = cl->iss;
		break;
	case 14:
		base = cl->edge;
		break;
	case 15:
		base = fuzz_u32(in);
		break;
	default:
		break;
	}
	return how & 0xf ? base + packet_delta(in, (how & 0xf) - 1) : base;
}

static uint32_t packet_ack(struct fuzz_in *in, const struct world_client *cl)
{
	uint8_t how = fuzz_u8(in);
	uint32_t base = cl->rcv_nxt;

	switch (how >> 4) {
	case 9:
	case 10:
	case 11:
		base = cl->out_end;
		break;
	case 12:
	case 13:
		base = cl->srv_iss;
		break;
	case 15:
		base = fuzz_u32(in);
		break;
	default:
		break;
	}
	return how & 0xf ? base + packet_delta(in, (how & 0xf) - 1) : base;
}

static uint8_t packet_flags(struct fuzz_in *in)
{
	static const uint8_t flags[] = {
		TH_ACK,		 TH_ACK | TH_PSH, TH_ACK | TH_FIN,
		TH_SYN,		 TH_RST,	  TH_RST | TH_ACK,
		TH_SYN | TH_ACK, TH_FIN,	  TH_ACK | TH_URG,
		TH_ACK | TH_ECE, TH_ACK | TH_CWR, TH_SYN | TH_ECE | TH_CWR,
	};
	uint8_t how = fuzz_u8(in) & 0xf;

	return how < sizeof(flags) ? flags[how] : fuzz_u8(in);
}

/* The window, and the ECN field of the IP header. */
static void packet_window(struct fuzz_in *in, struct world_seg *seg)
{
	static const uint16_t windows[] = { 512, 0, 1, 2, 8, 64, 4096, 65535 };
	uint8_t how = fuzz_u8(in);

	seg->wnd = windows[how & 7];
	seg->ecn = how >> 6;
}

uint32_t packet_len(struct fuzz_in *in)
{
	static const uint16_t lens[] = { 0,   1,   2,	10,   100,  511,  512,
					 513, 536, 600, 1000, 1200, 1400, 1440 };
	uint8_t how = fuzz_u8(in) & 0xf;

	return how < sizeof(lens) / sizeof(lens[0]) ? lens[how]
						    : fuzz_u16(in) % 1441u;
}

static void packet_put32(uint8_t *p, uint32_t v)
{
	for (int i = 3; i >= 0; i--, v >>= 8)
		p[i] = (uint8_t)v;
}

/* SACK blocks of what the stack has sent; as many as there is room for. */
static void packet_sack(struct fuzz_in *in, const struct world_client *cl,
			struct world_seg *seg, uint32_t n)
{
	uint8_t *p = seg->opts + seg->opts_len;

	while (n && seg->opts_len + 4 + 8 * n > sizeof(seg->opts))
		n--;
	if (!n)
		return;
	p[0] = p[1] = 1;
	p[2] = 5;
	p[3] = (uint8_t)(2 + 8 * n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t left = cl->rcv_nxt + fuzz_u16(in) - 0x8000u;

		packet_put32(p + 4 + 8 * i, left);
		packet_put32(p + 8 + 8 * i, left + fuzz_u16(in) % 4096u);
	}
	seg->opts_len += 4 + 8 * n;
}

/* Options as the client would put them, or other ones. */
static void packet_options(struct fuzz_in *in, struct world_client *cl,
			   struct world_seg *seg)
{
	uint8_t how = fuzz_u8(in);
	const uint8_t *bytes;
	size_t n;

	switch (how & 3) {
	case 1: /* none */
		break;
	case 2: /* any bytes */
		n = fuzz_take(in, how >> 4, &bytes);
		memcpy(seg->opts, bytes, n);
		seg->opts_len = (uint32_t)(n + 3) & ~3u;
		break;
	case 3: /* timestamps of another time */
		cl->tsval += packet_delta(in, how >> 4);
		client_options(cl, seg);
		break;
	default:
		client_options(cl, seg);
		packet_sack(in, cl, seg, how >> 5);
		break;
	}
}

static void packet_poke(uint8_t *packet, uint32_t len)
{
	for (uint32_t i = 0; i < n_pokes; i++)
		packet[pokes[i].at % len] = pokes[i].value;
	client_fix_checksums(packet, len);
	n_pokes = 0;
}

void packet_segment(struct fuzz_in *in, struct world_client *cl)
{
	static uint8_t packet[WORLD_PACKET_MAX];
	struct world_seg seg = { .flags = packet_flags(in) };
	uint32_t len;

	seg.seq = packet_seq(in, cl);
	seg.ack = packet_ack(in, cl);
	packet_window(in, &seg);
	packet_options(in, cl, &seg);
	seg.len = packet_len(in);
	if (seg.flags & TH_URG)
		seg.urgent = fuzz_u16(in);
	if (!n_pokes) {
		if (seg.seq == cl->snd_nxt && !(seg.flags & (TH_SYN | TH_RST)))
			cl->snd_nxt += seg.len + !!(seg.flags & TH_FIN);
		client_input(cl, &seg);
		return;
	}
	cl->tainted = true;
	len = client_build(cl, &seg, packet);
	packet_poke(packet, len);
	client_packet(packet, len);
}

/* --- ICMP, fragments, bytes -------------------------------------------- */

/* An IPv4 or IPv6 header from the client; returns its length. */
static uint32_t packet_ip(const struct world_client *cl, uint8_t proto,
			  uint8_t *packet, uint32_t payload)
{
	const struct world_seg none = { .flags = TH_ACK };
	uint32_t hdr = cl->v6 ? 40 : 20;

	client_build(cl, &none, packet);
	packet[cl->v6 ? 6 : 9] = proto;
	payload += cl->v6 ? 0 : hdr;
	packet[cl->v6 ? 4 : 2] = (uint8_t)(payload >> 8);
	packet[cl->v6 ? 5 : 3] = (uint8_t)payload;
	return hdr;
}

/* What the stack may have sent: the start of a segment to the client. */
static uint32_t packet_quote(struct fuzz_in *in, const struct world_client *cl,
			     uint8_t *to)
{
	static uint8_t packet[WORLD_PACKET_MAX];
	const struct world_seg seg = { .flags = TH_ACK,
				       .seq = packet_ack(in, cl),
				       .ack = cl->snd_nxt };
	uint32_t n = client_build(cl, &seg, packet);
	uint32_t at = cl->v6 ? 8 : 12, addr = cl->v6 ? 16 : 4;
	uint32_t ports = cl->v6 ? 40 : 20, keep;

	memcpy(to, packet, n);
	memcpy(to + at, packet + at + addr, addr);
	memcpy(to + at + addr, packet + at, addr);
	memcpy(to + ports, packet + ports + 2, 2);
	memcpy(to + ports + 2, packet + ports, 2);
	keep = fuzz_u8(in);
	return keep < n ? n - keep % 24u : n;
}

void packet_icmp(struct fuzz_in *in, struct world_client *cl)
{
	static uint8_t packet[WORLD_PACKET_MAX], quote[WORLD_PACKET_MAX];
	static const uint8_t types4[] = { 3, 3, 3, 11, 12, 8, 5, 4 };
	static const uint8_t types6[] = { 2, 2, 1, 3, 4, 128, 137, 129 };
	uint8_t how = fuzz_u8(in);
	uint32_t n = packet_quote(in, cl, quote), hdr;
	uint8_t *icmp;

	hdr = packet_ip(cl, cl->v6 ? 58 : 1, packet, 8 + n);
	icmp = packet + hdr;
	icmp[0] = cl->v6 ? types6[how & 7] : types4[how & 7];
	icmp[1] = how >> 4;
	if (!cl->v6 && (how & 7) < 2)
		icmp[1] = 4; /* fragmentation needed */
	packet_put32(icmp + 4, fuzz_u16(in));
	memcpy(icmp + 8, quote, n);
	packet_poke(packet, hdr + 8 + n);
	client_packet(packet, hdr + 8 + n);
}

/* Bytes from..to of a packet's payload as an IPv4 or IPv6 fragment. */
static void packet_fragment(const struct world_client *cl, uint8_t id,
			    const uint8_t *whole, uint32_t len, uint32_t from,
			    uint32_t to)
{
	static uint8_t packet[WORLD_PACKET_MAX];
	uint32_t hdr = cl->v6 ? 40 : 20, n = to - from;
	uint32_t off = from / 8, more = to < len - hdr;

	if (cl->v6) {
		packet_ip(cl, 44, packet, 8 + n);
		packet_put32(packet + 40, 0x06000000u | off << 3 | more);
		packet_put32(packet + 44, id);
		hdr += 8;
	} else {
		packet_ip(cl, 6, packet, n);
		packet[5] = id;
		packet[6] = (uint8_t)(off >> 8 | more << 5);
		packet[7] = (uint8_t)off;
		packet[10] = packet[11] = 0;
		off = ~client_sum(0, packet, 20) & 0xffff;
		packet[10] = (uint8_t)(off >> 8);
		packet[11] = (uint8_t)off;
	}
	memcpy(packet + hdr, whole + (cl->v6 ? 40 : 20) + from, n);
	client_packet(packet, hdr + n);
}

/* The next data in up to four fragments, in any order, overlapping or not. */
void packet_fragments(struct fuzz_in *in, struct world_client *cl)
{
	static uint8_t whole[WORLD_PACKET_MAX];
	struct world_seg seg = client_seg(cl);
	uint8_t how = fuzz_u8(in), id = fuzz_u8(in) & 3;
	uint32_t len, body;

	seg.len = packet_len(in);
	client_options(cl, &seg);
	client_note(cl, &seg);
	len = client_build(cl, &seg, whole);
	body = len - (cl->v6 ? 40 : 20);
	for (uint32_t n = (how & 3) + 1; n > 0; n--) {
		uint32_t from = fuzz_u8(in) * 8u % body & ~7u;
		uint32_t to = fuzz_u8(in) * 8u;

		packet_fragment(cl, id, whole, len, from,
				from + to < body ? from + to : body);
	}
	if (how & 4)
		cl->snd_nxt += seg.len;
}

void packet_raw(struct fuzz_in *in)
{
	static uint8_t packet[256];
	uint8_t how = fuzz_u8(in);
	const uint8_t *bytes;
	size_t n = fuzz_take(in, how, &bytes);

	for (uint32_t i = 0; i < WORLD_CLIENTS; i++)
		world.clients[i].tainted = true;
	memcpy(packet, bytes, n);
	client_fix_checksums(packet, (uint32_t)n);
	client_packet(packet, (uint32_t)n);
}

void packet_offload(struct fuzz_in *in, struct world_client *cl)
{
	static const uint16_t units[] = { 0, 1, 100, 536, 1000, 1440 };
	uint8_t how = fuzz_u8(in);

	world.offload.checked = how & 1;
	world.offload.unit = (how >> 4) < 6 ? units[how >> 4] : fuzz_u16(in);
	FUZZ_SAY("%u: offload checked %u unit %u", cl->port, how & 1,
		 world.offload.unit);
	if (how & 2)
		return; /* of whatever comes next */
	client_send(cl, fuzz_u16(in) % (PACKET_LARGE_MAX + 1),
		    how & 4 ? TH_PSH : 0);
}

void packet_take_poke(struct fuzz_in *in)
{
	struct poke p = { .at = fuzz_u8(in) };

	p.value = fuzz_u8(in);
	if (n_pokes < PACKET_POKES_MAX)
		pokes[n_pokes++] = p;
}
