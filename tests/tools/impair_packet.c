/* SPDX-License-Identifier: BSD-2-Clause */
/* What impair does to the bytes of a packet, and how it names one. */
#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <string.h>
#include <time.h>

#include "tools/impair.h"

#define ECN_MASK 3u
#define ECN_CE 3u
/* How much of a packet an error quotes at most, headers included: RFC 1812
 * 4.3.2.3, RFC 4443 2.4 (c). */
#define QUOTE4_BYTES 576u
#define QUOTE6_BYTES 1280u

static unsigned packet_version(const uint8_t *packet, size_t bytes)
{
	unsigned version = bytes ? packet[0] >> 4 : 0;

	if (version == 4 && bytes >= sizeof(struct iphdr))
		return 4;
	return version == 6 && bytes >= sizeof(struct ip6_hdr) ? 6 : 0;
}

bool impair_packet_is_local(const uint8_t *packet, size_t bytes)
{
	struct ip6_hdr ip6;

	switch (packet_version(packet, bytes)) {
	case 4:
		return packet[16] >= 224;
	case 6:
		memcpy(&ip6, packet, sizeof(ip6));
		return IN6_IS_ADDR_MULTICAST(&ip6.ip6_dst) ||
		       IN6_IS_ADDR_LINKLOCAL(&ip6.ip6_dst) ||
		       IN6_IS_ADDR_LINKLOCAL(&ip6.ip6_src) ||
		       IN6_IS_ADDR_UNSPECIFIED(&ip6.ip6_src);
	default:
		return true;
	}
}

/* RFC 1071, over n bytes, on top of sum. */
static uint32_t checksum_add(uint32_t sum, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	return n % 2 ? sum + (uint32_t)(p[n - 1] << 8) : sum;
}

static uint16_t checksum_end(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void packet_sum_header4(uint8_t *packet)
{
	struct iphdr ip;

	memcpy(&ip, packet, sizeof(ip));
	ip.check = 0;
	memcpy(packet, &ip, sizeof(ip));
	ip.check = checksum_end(checksum_add(0, packet, ip.ihl * 4u));
	memcpy(packet, &ip, sizeof(ip));
}

bool impair_packet_mark_ce(uint8_t *packet, size_t bytes)
{
	unsigned version = packet_version(packet, bytes);

	if (version == 4 && packet[1] & ECN_MASK) {
		packet[1] |= ECN_CE;
		packet_sum_header4(packet);
		return true;
	}
	if (version == 6 && packet[1] >> 4 & ECN_MASK) {
		packet[1] |= ECN_CE << 4;
		return true;
	}
	return false;
}

void impair_packet_flip(uint8_t *packet, size_t bytes, uint64_t bit)
{
	bit %= bytes * 8;
	packet[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/* --- errors ---------------------------------------------------------------- */

static size_t too_big4(const struct impair_router *router,
		       const uint8_t *packet, size_t bytes, uint32_t mtu,
		       uint8_t *ret_error)
{
	struct iphdr ip, from;
	struct icmphdr icmp = { .type = ICMP_DEST_UNREACH,
				.code = ICMP_FRAG_NEEDED };
	size_t head = sizeof(ip) + sizeof(icmp);
	size_t quote =
		QUOTE4_BYTES - head < bytes ? QUOTE4_BYTES - head : bytes;

	memcpy(&from, packet, sizeof(from));
	if (!(ntohs(from.frag_off) & IP_DF))
		return 0;
	icmp.un.frag.mtu = htons((uint16_t)mtu);
	icmp.checksum = checksum_end(checksum_add(
		checksum_add(0, &icmp, sizeof(icmp)), packet, quote));
	ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.ttl = 64,
		.protocol = IPPROTO_ICMP,
		.tot_len = htons((uint16_t)(head + quote)),
		.saddr = router->v4.s_addr,
		.daddr = from.saddr,
	};
	memcpy(ret_error, &ip, sizeof(ip));
	packet_sum_header4(ret_error);
	memcpy(ret_error + sizeof(ip), &icmp, sizeof(icmp));
	memcpy(ret_error + head, packet, quote);
	return head + quote;
}

static size_t too_big6(const struct impair_router *router,
		       const uint8_t *packet, size_t bytes, uint32_t mtu,
		       uint8_t *ret_error)
{
	struct ip6_hdr ip, from;
	struct icmp6_hdr icmp = { .icmp6_type = ICMP6_PACKET_TOO_BIG };
	size_t head = sizeof(ip) + sizeof(icmp);
	size_t quote =
		QUOTE6_BYTES - head < bytes ? QUOTE6_BYTES - head : bytes;
	uint32_t sum;

	memcpy(&from, packet, sizeof(from));
	ip = (struct ip6_hdr){
		.ip6_flow = htonl(6u << 28),
		.ip6_plen = htons((uint16_t)(sizeof(icmp) + quote)),
		.ip6_nxt = IPPROTO_ICMPV6,
		.ip6_hlim = 64,
		.ip6_src = router->v6,
		.ip6_dst = from.ip6_src,
	};
	icmp.icmp6_mtu = htonl(mtu);
	/* the pseudo header: addresses, length, protocol */
	sum = checksum_add(0, &ip.ip6_src, 32);
	sum += (uint32_t)(sizeof(icmp) + quote) + IPPROTO_ICMPV6;
	sum = checksum_add(sum, &icmp, sizeof(icmp));
	icmp.icmp6_cksum = checksum_end(checksum_add(sum, packet, quote));
	memcpy(ret_error, &ip, sizeof(ip));
	memcpy(ret_error + sizeof(ip), &icmp, sizeof(icmp));
	memcpy(ret_error + head, packet, quote);
	return head + quote;
}

size_t impair_packet_too_big(const struct impair_router *router,
			     const uint8_t *packet, size_t bytes, uint32_t mtu,
			     uint8_t *ret_error)
{
	switch (packet_version(packet, bytes)) {
	case 4:
		return too_big4(router, packet, bytes, mtu, ret_error);
	case 6:
		return too_big6(router, packet, bytes, mtu, ret_error);
	default:
		return 0;
	}
}

/* --- the log --------------------------------------------------------------- */

static void log_tcp(FILE *log, const uint8_t *tcp, size_t bytes,
		    const char *src, const char *dst)
{
	struct tcphdr h;

	memcpy(&h, tcp, sizeof(h));
	fprintf(log, " tcp %s %u %s %u %u %u 0x%02x %zu\n", src,
		ntohs(h.source), dst, ntohs(h.dest), ntohl(h.seq),
		ntohl(h.ack_seq), tcp[13],
		bytes > h.doff * 4u ? bytes - h.doff * 4u : 0);
}

void impair_packet_log(FILE *log, const char *way, uint64_t n, const char *what,
		       const uint8_t *packet, size_t bytes)
{
	unsigned version = packet_version(packet, bytes);
	size_t head =
		version == 4 ? (packet[0] & 15u) * 4u : sizeof(struct ip6_hdr);
	unsigned protocol = version == 4 ? packet[9] : packet[6];
	char src[INET6_ADDRSTRLEN] = "-", dst[INET6_ADDRSTRLEN] = "-";
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	fprintf(log, "%lld.%09ld %s %llu %s %zu", (long long)ts.tv_sec,
		ts.tv_nsec, way, (unsigned long long)n, what, bytes);
	if (version == 4) {
		inet_ntop(AF_INET, packet + 12, src, sizeof(src));
		inet_ntop(AF_INET, packet + 16, dst, sizeof(dst));
	} else if (version == 6) {
		inet_ntop(AF_INET6, packet + 8, src, sizeof(src));
		inet_ntop(AF_INET6, packet + 24, dst, sizeof(dst));
	}
	if (version && protocol == IPPROTO_TCP &&
	    bytes >= head + sizeof(struct tcphdr))
		log_tcp(log, packet + head, bytes - head, src, dst);
	else
		fprintf(log, " %u %s %s\n", version ? protocol : 0, src, dst);
}
