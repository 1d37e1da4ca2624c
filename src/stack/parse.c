/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the bytes of a packet to a struct seg.
 *
 *	stack_parse -> parse_ip4 | parse_ip6 -> parse_tcp
 *	                 |          ^           | parse_icmp -> parse_quoted
 *	                 fragment   | whole
 *	                 v          |
 *	                 parse_fragment (frag.c)
 *
 * An ICMP error belongs to the connection that it quotes, so it gets the tuple
 * and thereby the worker of the quoted segment, seen from our side.
 *
 * Nothing in here trusts a byte: each length is checked against what is
 * there before it is used, and each way to be wrong has a counter. The
 * functions return the counter of the drop, or PARSE_OK.
 */
#include <string.h>

#include "base/bytes.h"
#include "stack/checksum.h"
#include "stack/frag.h"
#include "stack/options.h"
#include "stack/stack.h"
#include "stack/wire.h"

#define PARSE_OK SC_COUNT

/* What the IP layer found out, for the transport layer. */
struct parse_ip {
	const uint8_t *src, *dst;
	size_t addr_len; /* 4 or 16 */
	uint8_t proto;
	uint8_t tos; /* or traffic class */
	const uint8_t *payload;
	uint32_t payload_len;
	/* Fragments; frag_seen: there was a header of it, or it is put together. */
	bool frag_seen, frag, frag_more;
	uint32_t frag_id, frag_off;
	/* struct seg_offload */
	bool checked;
	uint32_t unit;
};

/* Most addresses are IPv4's, and those are a word. */
static bool parse_same(const uint8_t *a, const uint8_t *b, size_t addr_len)
{
	if (addr_len == 4)
		return be32_load(a) == be32_load(b);
	return !memcmp(a, b, 16);
}

static int parse_vip(const struct stack *st, const uint8_t *addr,
		     size_t addr_len)
{
	uint8_t family = addr_len == 4 ? 4 : 6;

	for (uint64_t left = st->vips; left; left &= left - 1) {
		int i = __builtin_ctzll(left);
		const struct arena_vip *vip = &st->header->vips[i];

		if (vip->family == family &&
		    parse_same(vip->bytes, addr, addr_len))
			return i;
	}
	return -1;
}

/* Source addresses that no client can have: RFC 1122 section 3.2.1.3. */
static bool parse_bad_source4(const uint8_t *src)
{
	return src[0] == 0 || src[0] == 127 || src[0] >= 224;
}

static bool parse_bad_source6(const uint8_t *src)
{
	static const uint8_t zeroes[15];

	return src[0] == 0xff || (!memcmp(src, zeroes, 15) && src[15] <= 1);
}

/* RFC 7126: packets with source routes are dropped, other options ignored. */
static bool parse_source_routed(const uint8_t *opts, uint32_t len)
{
	uint32_t i = 0;

	while (i < len && opts[i] != 0) {
		if (opts[i] == 1) {
			i++;
			continue;
		}
		if (opts[i] == 131 || opts[i] == 137)
			return true;
		if (i + 1 >= len || opts[i + 1] < 2)
			return true;
		i += opts[i + 1];
	}
	return false;
}

static enum stack_counter parse_ip4(const uint8_t *packet, size_t len,
				    struct parse_ip *ip)
{
	const struct ip4_hdr *hdr = (const void *)packet;
	uint32_t hdr_len, total, frag;

	if (len < sizeof(*hdr))
		return SC_drop_short;
	hdr_len = (hdr->ver_ihl & 0xfu) * 4u;
	total = be16_get(hdr->total_len);
	if (hdr_len < sizeof(*hdr) || total < hdr_len)
		return SC_drop_ip_header;
	if (total > len)
		return SC_drop_short;
	if (checksum_fold(checksum_ip4(packet, hdr_len)))
		return SC_drop_ip_checksum;
	frag = be16_get(hdr->frag);
	if (parse_source_routed(packet + sizeof(*hdr),
				hdr_len - (uint32_t)sizeof(*hdr)))
		return SC_drop_ip_options;
	if (parse_bad_source4(hdr->src))
		return SC_drop_bad_source;
	*ip = (struct parse_ip){
		.src = hdr->src,
		.dst = hdr->dst,
		.addr_len = 4,
		.proto = hdr->proto,
		.tos = hdr->tos,
		.payload = packet + hdr_len,
		.payload_len = total - hdr_len,
		.frag = frag & (IP4_MF | IP4_OFFSET),
		.frag_more = frag & IP4_MF,
		.frag_off = (frag & IP4_OFFSET) * 8,
		.frag_id = be16_get(hdr->id),
	};
	return PARSE_OK;
}

/*
 * RFC 8200 section 4.5. A fragment that is all of its datagram is taken for
 * what it is (RFC 6946); what is put together has no further fragments in it.
 */
static enum stack_counter parse_ip6_frag(struct parse_ip *ip)
{
	const struct ip6_frag *hdr = (const void *)ip->payload;

	if (ip->frag_seen)
		return SC_drop_ip_fragment;
	if (ip->payload_len < sizeof(*hdr))
		return SC_drop_short;
	ip->frag_seen = true;
	ip->frag_off = be16_get(hdr->off) & IP6_OFFSET;
	ip->frag_more = be16_get(hdr->off) & IP6_MF;
	ip->frag = ip->frag_off || ip->frag_more;
	ip->frag_id = be32_get(hdr->id);
	ip->proto = hdr->next;
	ip->payload += sizeof(*hdr);
	ip->payload_len -= (uint32_t)sizeof(*hdr);
	return PARSE_OK;
}

/* RFC 8200 section 4: skip what may be skipped until the transport header. */
static enum stack_counter parse_ip6_ext(struct parse_ip *ip)
{
	for (;;) {
		const struct ip6_ext *ext = (const void *)ip->payload;
		enum stack_counter drop;
		uint32_t ext_len;

		switch (ip->proto) {
		case IP_PROTO_FRAGMENT:
			drop = parse_ip6_frag(ip);
			if (drop != PARSE_OK || ip->frag)
				return drop;
			continue;
		case IP_PROTO_HOPOPTS:
		case IP_PROTO_DSTOPTS:
		case IP_PROTO_ROUTING:
			break;
		default:
			return PARSE_OK;
		}
		if (ip->payload_len < 8)
			return SC_drop_short;
		ext_len = 8u + ext->len8 * 8u;
		if (ext_len > ip->payload_len)
			return SC_drop_short;
		/* We are no waypoint; type 0 is dead (RFC 5095). */
		if (ip->proto == IP_PROTO_ROUTING && ext->segments_left)
			return SC_drop_ip_options;
		ip->proto = ext->next;
		ip->payload += ext_len;
		ip->payload_len -= ext_len;
	}
}

static enum stack_counter parse_ip6(const uint8_t *packet, size_t len,
				    struct parse_ip *ip)
{
	const struct ip6_hdr *hdr = (const void *)packet;

	if (len < sizeof(*hdr))
		return SC_drop_short;
	if (be16_get(hdr->payload_len) > len - sizeof(*hdr))
		return SC_drop_short;
	if (parse_bad_source6(hdr->src))
		return SC_drop_bad_source;
	*ip = (struct parse_ip){
		.src = hdr->src,
		.dst = hdr->dst,
		.addr_len = 16,
		.proto = hdr->next,
		.tos = (uint8_t)(be32_get(hdr->ver_class_flow) >> 20),
		.payload = packet + sizeof(*hdr),
		.payload_len = be16_get(hdr->payload_len),
	};
	return parse_ip6_ext(ip);
}

static bool parse_flags_impossible(uint8_t flags)
{
	uint8_t control = flags & (TH_SYN | TH_FIN | TH_RST);

	return !(flags & (TH_SYN | TH_FIN | TH_RST | TH_ACK)) ||
	       (control & (control - 1));
}

static bool parse_tcp_is_sound(const struct parse_ip *ip)
{
	uint64_t sum = checksum_pseudo(ip->src, ip->dst, ip->addr_len,
				       IP_PROTO_TCP, ip->payload_len);

	return !checksum_fold(checksum_add(sum, ip->payload, ip->payload_len));
}

static enum stack_counter parse_tcp(const struct parse_ip *ip, struct seg *seg)
{
	const struct tcp_hdr *tcp = (const void *)ip->payload;
	uint32_t hdr_len;

	if (ip->payload_len < sizeof(*tcp))
		return SC_drop_short;
	hdr_len = (uint32_t)(tcp->data_off >> 4) * 4u;
	if (hdr_len < sizeof(*tcp) || hdr_len > ip->payload_len)
		return SC_drop_tcp_header;
	if (!ip->checked && !parse_tcp_is_sound(ip))
		return SC_drop_tcp_checksum;
	seg->kind = SEG_TCP;
	seg->flags = tcp->flags;
	seg->tuple.remote_port = be16_get(tcp->src_port);
	seg->tuple.local_port = be16_get(tcp->dst_port);
	seg->seq = be32_get(tcp->seq);
	seg->ack = be32_get(tcp->ack);
	seg->wnd = be16_get(tcp->window);
	seg->payload = ip->payload + hdr_len;
	seg->tcp_hdr_len = (uint8_t)hdr_len;
	seg->len = ip->payload_len - hdr_len;
	seg->unit = ip->unit ? min_u32(ip->unit, seg->len) : seg->len;
	if (!seg->tuple.remote_port || !seg->tuple.local_port)
		return SC_drop_tcp_header;
	if (parse_flags_impossible(seg->flags))
		return SC_drop_tcp_flags;
	if (!options_parse(ip->payload + sizeof(*tcp), hdr_len - sizeof(*tcp),
			   &seg->opts))
		return SC_drop_tcp_options;
	return PARSE_OK;
}

/* What an error says to TCP; false: it says nothing. */
static bool parse_icmp4_error(const struct icmp_hdr *icmp, struct seg *seg)
{
	switch (icmp->type) {
	case ICMP4_UNREACHABLE:
		if (icmp->code == ICMP4_CODE_PROTOCOL ||
		    icmp->code == ICMP4_CODE_PORT)
			seg->error = SEG_ERROR_HARD;
		if (icmp->code == ICMP4_CODE_TOO_BIG) {
			seg->error = SEG_ERROR_TOO_BIG;
			seg->mtu = be32_get(icmp->rest) & 0xffff;
		}
		return true;
	case ICMP4_TIME_EXCEEDED:
	case ICMP4_PARAMETER:
		return true;
	default:
		return false;
	}
}

static bool parse_icmp6_error(const struct icmp_hdr *icmp, struct seg *seg)
{
	switch (icmp->type) {
	case ICMP6_UNREACHABLE:
		if (icmp->code == ICMP6_CODE_PROHIBITED ||
		    icmp->code == ICMP6_CODE_PORT)
			seg->error = SEG_ERROR_HARD;
		return true;
	case ICMP6_TOO_BIG:
		seg->error = SEG_ERROR_TOO_BIG;
		seg->mtu = be32_get(icmp->rest);
		return true;
	case ICMP6_TIME_EXCEEDED:
	case ICMP6_PARAMETER:
		return true;
	default:
		return false;
	}
}

/*
 * The IP header of what comes back, as we wrote it: from the address that the
 * error is for, no options, no extension headers, no fragment. Its checksum
 * and lifetime have changed on the way. *ret_tcp: what is there of the segment.
 */
static enum stack_counter parse_quoted_ip(const struct parse_ip *ip,
					  struct seg *seg,
					  const struct tcp_hdr **ret_tcp)
{
	const uint8_t *quote = ip->payload + sizeof(struct icmp_hdr);
	uint32_t len = ip->payload_len - (uint32_t)sizeof(struct icmp_hdr);
	uint32_t hdr_len = ip->addr_len == 4 ? sizeof(struct ip4_hdr)
					     : sizeof(struct ip6_hdr);
	const uint8_t *src, *dst;
	uint8_t proto;

	/* RFC 792: the header and 8 bytes, which end with the sequence number. */
	if (len < hdr_len + 8)
		return SC_icmp_bad_quote;
	if (ip->addr_len == 4) {
		const struct ip4_hdr *hdr = (const void *)quote;

		if (hdr->ver_ihl != 0x45 || be16_get(hdr->frag) & IP4_OFFSET)
			return SC_icmp_bad_quote;
		src = hdr->src;
		dst = hdr->dst;
		proto = hdr->proto;
		seg->quoted_len = be16_get(hdr->total_len);
	} else {
		const struct ip6_hdr *hdr = (const void *)quote;

		if (quote[0] >> 4 != 6)
			return SC_icmp_bad_quote;
		src = hdr->src;
		dst = hdr->dst;
		proto = hdr->next;
		seg->quoted_len = be16_get(hdr->payload_len) + hdr_len;
	}
	if (!parse_same(src, ip->dst, ip->addr_len))
		return SC_icmp_bad_quote;
	memcpy(seg->tuple.remote, dst, ip->addr_len);
	*ret_tcp = (const void *)(quote + hdr_len);
	/* An echo reply of ours, say. */
	return proto == IP_PROTO_TCP ? PARSE_OK : SC_icmp_ignored;
}

/* RFC 5927 section 4.1: whose it is, and the sequence number to be checked. */
static enum stack_counter parse_quoted(const struct parse_ip *ip,
				       struct seg *seg)
{
	const struct tcp_hdr *tcp = NULL;
	enum stack_counter drop = parse_quoted_ip(ip, seg, &tcp);

	if (drop != PARSE_OK)
		return drop;
	seg->kind = SEG_ICMP_ERROR;
	seg->tuple.local_port = be16_get(tcp->src_port);
	seg->tuple.remote_port = be16_get(tcp->dst_port);
	seg->seq = be32_get(tcp->seq);
	return PARSE_OK;
}

static enum stack_counter parse_icmp(const struct parse_ip *ip, struct seg *seg)
{
	const struct icmp_hdr *icmp = (const void *)ip->payload;
	uint64_t sum = 0;

	if (ip->payload_len < sizeof(*icmp))
		return SC_drop_short;
	if (ip->addr_len == 16)
		sum = checksum_pseudo(ip->src, ip->dst, 16, IP_PROTO_ICMP6,
				      ip->payload_len);
	if (checksum_fold(checksum_add(sum, ip->payload, ip->payload_len)))
		return SC_drop_icmp_checksum;
	seg->kind = SEG_ICMP;
	seg->error = SEG_ERROR_SOFT;
	seg->mtu = 0;
	seg->payload = ip->payload;
	seg->len = ip->payload_len;
	if (ip->addr_len == 4 ? parse_icmp4_error(icmp, seg)
			      : parse_icmp6_error(icmp, seg))
		return parse_quoted(ip, seg);
	return PARSE_OK;
}

static bool parse_is_icmp(const struct parse_ip *ip)
{
	return ip->proto ==
	       (ip->addr_len == 4 ? IP_PROTO_ICMP : IP_PROTO_ICMP6);
}

static enum stack_counter parse_transport(const struct parse_ip *ip,
					  struct seg *seg)
{
	if (ip->proto == IP_PROTO_TCP)
		return parse_tcp(ip, seg);
	if (parse_is_icmp(ip))
		return parse_icmp(ip, seg);
	return SC_drop_ip_protocol;
}

static enum stack_counter parse_ip(const uint8_t *packet, size_t len,
				   struct parse_ip *ip)
{
	if (!len)
		return SC_drop_short;
	if (packet[0] >> 4 == 4)
		return parse_ip4(packet, len, ip);
	if (packet[0] >> 4 == 6)
		return parse_ip6(packet, len, ip);
	return SC_drop_version;
}

/*
 * RFC 7112, RFC 1858: the first fragment holds all headers; for IPv4, where
 * links of 68 bytes are legal, TCP's without its options. Takes a copy: the
 * headers are walked again once the datagram is whole.
 */
static enum stack_counter parse_first_fragment(struct parse_ip ip)
{
	enum stack_counter drop = PARSE_OK;
	uint32_t need = sizeof(struct icmp_hdr);

	if (ip.addr_len == 16)
		drop = parse_ip6_ext(&ip);
	if (drop == SC_drop_short)
		return SC_drop_frag_tiny;
	if (drop != PARSE_OK)
		return drop;
	if (ip.proto == IP_PROTO_TCP)
		need = sizeof(struct tcp_hdr);
	else if (!parse_is_icmp(&ip))
		return SC_drop_ip_protocol;
	if (need > ip.payload_len)
		return SC_drop_frag_tiny;
	if (ip.addr_len == 16 && ip.proto == IP_PROTO_TCP)
		need = ((const struct tcp_hdr *)ip.payload)->data_off / 16 * 4u;
	return need > ip.payload_len ? SC_drop_frag_tiny : PARSE_OK;
}

/*
 * Keep a fragment, or put the datagram together: then *ip and the segment's
 * packet are the whole one's.
 */
static enum stack_counter parse_fragment(struct stack *st, struct parse_ip *ip,
					 struct seg *seg)
{
	const struct frag_piece piece = {
		.src = ip->src,
		.dst = ip->dst,
		.addr_len = (uint8_t)ip->addr_len,
		.proto = ip->proto,
		.tos = ip->tos,
		.more = ip->frag_more,
		.id = ip->frag_id,
		.off = ip->frag_off,
		.bytes = ip->payload,
		.len = ip->payload_len,
		.verdict = ip->frag_off ? PARSE_OK : parse_first_fragment(*ip),
	};
	enum stack_counter drop;

	if (ip->addr_len == 4 && ip->proto != IP_PROTO_TCP &&
	    ip->proto != IP_PROTO_ICMP)
		return SC_drop_ip_protocol;
	drop = frag_input(st, &piece, &seg->packet, &seg->packet_len);
	if (drop != PARSE_OK)
		return drop;
	drop = parse_ip(seg->packet, seg->packet_len, ip);
	return drop == PARSE_OK && ip->frag_seen ? SC_drop_ip_fragment : drop;
}

/* The ports are the transport layer's. */
static void parse_tuple(const struct parse_ip *ip, uint8_t vip,
			struct tuple *tuple)
{
	*tuple = (struct tuple){ .vip = vip, .v6 = ip->addr_len == 16 };
	if (tuple->v6)
		memcpy(tuple->remote, ip->src, 16);
	else
		memcpy(tuple->remote, ip->src, 4);
}

/* The host answers for its own address, but for the ports that we took over. */
static bool parse_is_hosts(const struct stack *st, const struct seg *seg)
{
	if (!(st->own.vips >> seg->tuple.vip & 1))
		return false;
	return seg->kind == SEG_ICMP ||
	       !stack_own_has(&st->own, seg->tuple.vip, seg->tuple.local_port);
}

static enum stack_counter parse_packet(struct stack *st, const uint8_t *packet,
				       size_t len,
				       const struct seg_offload *offload,
				       struct seg *seg)
{
	struct parse_ip ip;
	enum stack_counter drop = parse_ip(packet, len, &ip);
	int vip;

	if (drop != PARSE_OK)
		return drop;
	vip = parse_vip(st, ip.dst, ip.addr_len);
	if (vip < 0)
		return SC_drop_not_vip;
	if (parse_same(ip.src, ip.dst, ip.addr_len))
		return SC_drop_bad_source;
	ip.checked = offload->checked;
	ip.unit = offload->unit;
	if (ip.frag)
		drop = parse_fragment(st, &ip, seg); /* sets ip anew */
	if (drop != PARSE_OK)
		return drop;
	parse_tuple(&ip, (uint8_t)vip, &seg->tuple);
	seg->ecn = ip.tos & ECN_CE;
	drop = parse_transport(&ip, seg);
	return drop == PARSE_OK && parse_is_hosts(st, seg)
		       ? SC_drop_not_own_port
		       : drop;
}

bool stack_parse(struct stack *st, const uint8_t *packet, size_t len,
		 struct seg *ret_seg)
{
	static const struct seg_offload none;

	return stack_parse_offload(st, packet, len, &none, ret_seg);
}

bool stack_parse_offload(struct stack *st, const uint8_t *packet, size_t len,
			 const struct seg_offload *offload, struct seg *ret_seg)
{
	enum stack_counter drop;

	ret_seg->packet = packet;
	ret_seg->packet_len = (uint32_t)len;
	drop = parse_packet(st, packet, len, offload, ret_seg);
	if (drop != PARSE_OK) {
		stack_count(st, drop);
		return false;
	}
	ret_seg->worker = st->sh->worker;
	if (ret_seg->kind == SEG_ICMP)
		return true;
	ret_seg->hash = tuple_hash(st->header, &ret_seg->tuple);
	ret_seg->worker =
		tuple_worker(st->header, &ret_seg->tuple, st->workers);
	if (ret_seg->worker == st->sh->worker)
		index_prefetch(&st->sh->index, (uint32_t)ret_seg->hash);
	return true;
}
