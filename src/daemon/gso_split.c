/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/gso_split.h"

#include <string.h>

#include "base/bytes.h"
#include "stack/checksum.h"
#include "stack/wire.h"

bool gso_split_needed(const struct seg *seg)
{
	return seg->kind == SEG_TCP && seg->unit < seg->len;
}

void gso_split_init(struct gso_split *split, const struct seg *seg)
{
	*split = (struct gso_split){
		.seg = seg,
		.hdr_len = (uint32_t)(seg->payload - seg->packet),
	};
}

static void gso_split_lengths(uint8_t *packet, uint32_t packet_len)
{
	struct ip6_hdr *ip6 = (void *)packet;
	struct ip4_hdr *ip4 = (void *)packet;

	if (packet[0] >> 4 == 6) {
		ip6->payload_len =
			be16_put((uint16_t)(packet_len - sizeof(*ip6)));
		return;
	}
	ip4->total_len = be16_put((uint16_t)packet_len);
	ip4->checksum = 0;
	ip4->checksum = checksum_fold(
		checksum_add(0, ip4, (size_t)(ip4->ver_ihl & 0xf) * 4));
}

uint32_t gso_split_next(struct gso_split *split, uint8_t *buf, uint32_t len)
{
	const struct seg *seg = split->seg;
	uint32_t n = min_u32(seg->unit, seg->len - split->done);
	struct tcp_hdr *tcp;

	if (!n || split->hdr_len + n > len)
		return 0;
	memcpy(buf, seg->packet, split->hdr_len);
	memcpy(buf + split->hdr_len, seg->payload + split->done, n);
	/* TCP's header is the last one. */
	tcp = (void *)(buf + split->hdr_len - seg->tcp_hdr_len);
	tcp->seq = be32_put(seg->seq + split->done);
	split->done += n;
	if (split->done < seg->len)
		tcp->flags &= (uint8_t) ~(TH_FIN | TH_PSH);
	if (split->done > n)
		tcp->flags &= (uint8_t)~TH_CWR;
	gso_split_lengths(buf, split->hdr_len + n);
	return split->hdr_len + n;
}
