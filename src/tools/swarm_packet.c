/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * packet - see swarm_packet.h.
 *
 * Theory of operation
 *
 * The template of the IP header holds all but the total length and the word
 * of the source that differs from client to client. ip_sum is its checksum without them, pseudo_sum
 * that of the TCP pseudo header (RFC 9293 3.1) and the server's port. A
 * segment's checksums are these and a few words more; the payload's sum comes
 * with the segment, known in advance.
 *
 * With offload the checksum field holds the pseudo header's sum alone, as
 * Linux has it (VIRTIO_NET_HDR_F_NEEDS_CSUM); the kernel adds the rest when
 * somebody needs it, which between two TUN devices may be nobody.
 *
 * Bytes that come are read through fields of alignment 1 (base/bytes.h) after
 * their length was checked. All lengths are 16 bits from the packet against
 * what was read.
 */
#include "tools/swarm_packet.h"

#include <netinet/in.h>
#include <string.h>

#include "base/bytes.h"
#include "tools/swarm_sum.h"

#define IP4_BYTES 20u
#define IP6_BYTES 40u
#define TCP_BYTES 20u
#define TCP_SUM_AT 16u
#define TTL 64

/* RFC 9293 3.2, RFC 7323 2.2 and 3.2. */
#define OPT_END 0
#define OPT_NOP 1
#define OPT_MSS 2
#define OPT_WSCALE 3
#define OPT_TS 8
#define OPT_MSS_LEN 4
#define OPT_WSCALE_LEN 3
#define OPT_TS_LEN 10

struct ip4 {
	uint8_t version_ihl, tos;
	be16 length, id, fragment;
	uint8_t ttl, protocol;
	be16 sum;
	be32 src, dst;
};
ASSERT_SIZE(struct ip4, IP4_BYTES);

struct ip6 {
	be32 version_class_flow;
	be16 length;
	uint8_t next, hops;
	uint8_t src[16], dst[16];
};
ASSERT_SIZE(struct ip6, IP6_BYTES);

struct tcp {
	be16 sport, dport;
	be32 seq, ack;
	uint8_t offset, flags;
	be16 window, sum, urgent;
};
ASSERT_SIZE(struct tcp, TCP_BYTES);

#define IP4_DF 0x4000
#define IP4_FRAGMENT 0x3fff /* more to come, or not the first */

/* --- building ---------------------------------------------------------- */

void swarm_wire_init(struct swarm_wire *w)
{
	uint8_t *src, *dst;
	unsigned int n = swarm_ip_bytes(w->server.family);

	memset(w->ip, 0, sizeof(w->ip));
	if (w->server.family == 4) {
		struct ip4 *h = (struct ip4 *)w->ip;

		h->version_ihl = 0x45;
		h->fragment = be16_put(IP4_DF);
		h->ttl = TTL;
		h->protocol = IPPROTO_TCP;
		src = (uint8_t *)&h->src;
		dst = (uint8_t *)&h->dst;
	} else {
		struct ip6 *h = (struct ip6 *)w->ip;

		h->version_class_flow = be32_put(0x60000000);
		h->next = IPPROTO_TCP;
		h->hops = TTL;
		src = h->src;
		dst = h->dst;
	}
	memcpy(src, w->client.bytes, n);
	memset(src + w->word_at, 0, 4);
	memcpy(dst, w->server.bytes, n);
	w->ip_bytes = w->server.family == 4 ? IP4_BYTES : IP6_BYTES;
	w->ip_sum = swarm_sum_bytes(w->ip, w->ip_bytes);
	w->pseudo_sum = (uint32_t)swarm_sum_bytes(src, n) +
			swarm_sum_bytes(dst, n) + IPPROTO_TCP;
}

static void swarm_packet_ip(const struct swarm_wire *w, uint32_t src_word,
			    uint32_t tcp_bytes, uint8_t *ret_ip)
{
	memcpy(ret_ip, w->ip, w->ip_bytes);
	if (w->server.family == 4) {
		struct ip4 *h = (struct ip4 *)ret_ip;
		uint32_t length = IP4_BYTES + tcp_bytes;

		h->length = be16_put((uint16_t)length);
		h->src = be32_put(src_word);
		h->sum = be16_put(
			(uint16_t)~swarm_sum_fold((uint64_t)w->ip_sum + length +
						  swarm_sum_u32(src_word)));
	} else {
		struct ip6 *h = (struct ip6 *)ret_ip;

		h->length = be16_put((uint16_t)tcp_bytes);
		be32_store(h->src + w->word_at, src_word);
	}
}

static uint8_t *swarm_packet_put_ts(uint8_t *p, const struct swarm_out *out)
{
	*p++ = OPT_NOP;
	*p++ = OPT_NOP;
	*p++ = OPT_TS;
	*p++ = OPT_TS_LEN;
	be32_store(p, out->tsval);
	be32_store(p + 4, out->tsecr);
	return p + 8;
}

/* Returns the end; a multiple of four bytes. */
static uint8_t *swarm_packet_options(const struct swarm_wire *w,
				     const struct swarm_out *out, uint8_t *p)
{
	if (out->flags & SWARM_SYN) {
		*p++ = OPT_MSS;
		*p++ = OPT_MSS_LEN;
		be16_store(p, w->mss);
		p += 2;
		*p++ = OPT_NOP;
		*p++ = OPT_WSCALE;
		*p++ = OPT_WSCALE_LEN;
		*p++ = w->wscale;
	}
	return out->has_ts ? swarm_packet_put_ts(p, out) : p;
}

static void swarm_packet_vnet(const struct swarm_wire *w,
			      const struct swarm_out *out,
			      uint32_t header_bytes,
			      struct virtio_net_hdr *ret_vnet)
{
	*ret_vnet = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = w->ip_bytes,
		.csum_offset = TCP_SUM_AT,
	};
	if (out->gso_size == 0 || out->payload_len <= out->gso_size)
		return;
	ret_vnet->gso_type = w->server.family == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
						   : VIRTIO_NET_HDR_GSO_TCPV6;
	ret_vnet->hdr_len = (uint16_t)header_bytes;
	ret_vnet->gso_size = out->gso_size;
}

void swarm_packet_build(const struct swarm_wire *w, const struct swarm_out *out,
			struct swarm_headers *ret_headers)
{
	struct tcp *h = (struct tcp *)(ret_headers->bytes + w->ip_bytes);
	uint8_t *end = swarm_packet_options(w, out, (uint8_t *)(h + 1));
	uint32_t tcp_header = (uint32_t)(end - (uint8_t *)h);
	uint32_t tcp_bytes = tcp_header + out->payload_len;
	uint64_t sum = (uint64_t)w->pseudo_sum + swarm_sum_u32(out->src_word) +
		       tcp_bytes;

	swarm_packet_ip(w, out->src_word, tcp_bytes, ret_headers->bytes);
	ret_headers->len = w->ip_bytes + tcp_header;
	*h = (struct tcp){
		.sport = be16_put(out->src_port),
		.dport = be16_put(w->server_port),
		.seq = be32_put(out->seq),
		.ack = be32_put(out->ack),
		.offset = (uint8_t)(tcp_header << 2),
		.flags = out->flags,
		.window = be16_put(out->window),
	};
	if (w->offload) {
		h->sum = be16_put(swarm_sum_fold(sum));
		swarm_packet_vnet(w, out, ret_headers->len, &ret_headers->vnet);
	} else {
		sum += swarm_sum_bytes((uint8_t *)h, tcp_header);
		h->sum = be16_put(
			(uint16_t)~swarm_sum_fold(sum + out->payload_sum));
	}
}

/* --- taking apart ------------------------------------------------------ */

/* Finds the TCP part of an IPv4 packet; its bytes, or 0 and *ret_why. */
static uint32_t swarm_parse_ip4(const struct swarm_wire *w, const uint8_t *p,
				uint32_t len, struct swarm_seg *seg,
				enum swarm_parse *ret_why)
{
	const struct ip4 *h = (const struct ip4 *)p;

	*ret_why = SWARM_PARSE_MALFORMED;
	if (len < IP4_BYTES || be16_get(h->length) != len)
		return 0;
	*ret_why = SWARM_PARSE_OTHER;
	if (h->version_ihl != 0x45 || h->protocol != IPPROTO_TCP ||
	    be16_get(h->fragment) & IP4_FRAGMENT ||
	    memcmp(&h->src, w->server.bytes, 4) != 0)
		return 0;
	*ret_why = SWARM_PARSE_MALFORMED;
	if (swarm_sum_bytes(p, IP4_BYTES) != UINT16_MAX)
		return 0;
	seg->dst_word = be32_get(h->dst);
	return len - IP4_BYTES;
}

/* Does all of the address agree with the client's but the word? */
static bool swarm_parse_is_client(const struct swarm_wire *w,
				  const uint8_t *addr)
{
	uint8_t end = (uint8_t)(w->word_at + 4);

	return memcmp(addr, w->client.bytes, w->word_at) == 0 &&
	       memcmp(addr + end, w->client.bytes + end, 16u - end) == 0;
}

static uint32_t swarm_parse_ip6(const struct swarm_wire *w, const uint8_t *p,
				uint32_t len, struct swarm_seg *seg,
				enum swarm_parse *ret_why)
{
	const struct ip6 *h = (const struct ip6 *)p;

	*ret_why = SWARM_PARSE_MALFORMED;
	if (len < IP6_BYTES || be16_get(h->length) + IP6_BYTES != len)
		return 0;
	*ret_why = SWARM_PARSE_OTHER;
	if (h->next != IPPROTO_TCP ||
	    memcmp(h->src, w->server.bytes, 16) != 0 ||
	    !swarm_parse_is_client(w, h->dst))
		return 0;
	seg->dst_word = be32_load(h->dst + w->word_at);
	return len - IP6_BYTES;
}

/* One option of len bytes, with the kind. */
static void swarm_parse_option(const uint8_t *o, uint8_t len,
			       struct swarm_seg *seg)
{
	if (o[0] == OPT_TS && len == OPT_TS_LEN) {
		seg->has_ts = true;
		seg->tsval = be32_load(o + 2);
		seg->tsecr = be32_load(o + 6);
	} else if (o[0] == OPT_MSS && len == OPT_MSS_LEN) {
		seg->mss = be16_load(o + 2);
	} else if (o[0] == OPT_WSCALE && len == OPT_WSCALE_LEN) {
		seg->wscale = o[2];
	}
}

/* Options that end early are as if they ended there: RFC 9293 3.1. */
static void swarm_parse_options(const uint8_t *o, uint32_t len,
				struct swarm_seg *seg)
{
	const uint8_t *end = o + len;

	/* the way that nearly all segments have them */
	if (len == SWARM_TS_BYTES && be32_load(o) == 0x0101080a) {
		swarm_parse_option(o + 2, OPT_TS_LEN, seg);
		return;
	}
	while (o < end && *o != OPT_END) {
		if (*o == OPT_NOP) {
			o++;
			continue;
		}
		if (end - o < 2 || o[1] < 2 || o[1] > end - o)
			return;
		swarm_parse_option(o, o[1], seg);
		o += o[1];
	}
}

static void swarm_parse_vnet(const struct virtio_net_hdr *vnet,
			     struct swarm_seg *seg)
{
	seg->sum_known = (vnet->flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM |
					 VIRTIO_NET_HDR_F_DATA_VALID)) != 0;
	if (vnet->gso_type != VIRTIO_NET_HDR_GSO_NONE && vnet->gso_size != 0 &&
	    seg->len > vnet->gso_size)
		seg->n_segs = (uint16_t)((seg->len + vnet->gso_size - 1) /
					 vnet->gso_size);
}

enum swarm_parse swarm_packet_parse(const struct swarm_wire *w,
				    const struct virtio_net_hdr *vnet,
				    const uint8_t *p, uint32_t len,
				    struct swarm_seg *ret_seg)
{
	struct swarm_seg seg = { .wscale = SWARM_NO_WSCALE, .n_segs = 1 };
	enum swarm_parse why = SWARM_PARSE_OTHER;
	const struct tcp *h;
	uint32_t bytes = 0, header;

	if (len > 0 && p[0] >> 4 == w->server.family)
		bytes = p[0] >> 4 == 4 ? swarm_parse_ip4(w, p, len, &seg, &why)
				       : swarm_parse_ip6(w, p, len, &seg, &why);
	if (bytes == 0)
		return why;
	h = (const struct tcp *)(p + w->ip_bytes);
	if (bytes < TCP_BYTES || be16_get(h->sport) != w->server_port)
		return bytes < TCP_BYTES ? SWARM_PARSE_MALFORMED
					 : SWARM_PARSE_OTHER;
	header = (uint32_t)(h->offset >> 4) * 4;
	if (header < TCP_BYTES || header > bytes)
		return SWARM_PARSE_MALFORMED;
	seg.dst_port = be16_get(h->dport);
	seg.flags = h->flags;
	seg.seq = be32_get(h->seq);
	seg.ack = be32_get(h->ack);
	seg.window = be16_get(h->window);
	seg.len = bytes - header;
	seg.payload = (const uint8_t *)h + header;
	swarm_parse_options((const uint8_t *)(h + 1), header - TCP_BYTES, &seg);
	if (vnet)
		swarm_parse_vnet(vnet, &seg);
	if (!seg.sum_known)
		seg.sum = swarm_sum_fold(
			(uint64_t)w->pseudo_sum + swarm_sum_u32(seg.dst_word) +
			bytes + swarm_sum_bytes((const uint8_t *)h, header));
	*ret_seg = seg;
	return SWARM_PARSE_OK;
}

bool swarm_seg_sum_ok(const struct swarm_seg *seg, uint16_t payload_sum)
{
	return seg->sum_known ||
	       swarm_sum_fold((uint32_t)seg->sum + payload_sum) == UINT16_MAX;
}
