/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/neigh_announce.h"

#include <assert.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stack/checksum.h"

/* RFC 826: an Ethernet's addresses, and IPv4's. */
struct neigh_arp {
	uint16_t hardware, protocol;
	uint8_t hardware_bytes, protocol_bytes;
	uint16_t operation;
	uint8_t from_mac[NEIGH_MAC_BYTES], from_ip[4];
	uint8_t to_mac[NEIGH_MAC_BYTES], to_ip[4];
} __attribute__((packed));

/* RFC 4861 4.4 and 4.6.1. */
struct neigh_advert {
	struct ip6_hdr ip;
	struct nd_neighbor_advert na;
	struct nd_opt_hdr option;
	uint8_t mac[NEIGH_MAC_BYTES];
} __attribute__((packed));

static_assert(sizeof(struct neigh_arp) == 28, "RFC 826");
static_assert(sizeof(struct neigh_advert) <= NEIGH_PACKET_MAX, "it fits");

/* A request, as more implementations heed those. */
static size_t neigh_arp_packet(const struct conf_ip *ip, const uint8_t *mac,
			       uint8_t *ret_packet)
{
	struct neigh_arp arp = {
		.hardware = htons(ARPHRD_ETHER),
		.protocol = htons(ETH_P_IP),
		.hardware_bytes = NEIGH_MAC_BYTES,
		.protocol_bytes = 4,
		.operation = htons(ARPOP_REQUEST),
	};

	memcpy(arp.from_mac, mac, NEIGH_MAC_BYTES);
	memcpy(arp.from_ip, ip->bytes, 4);
	memcpy(arp.to_ip, ip->bytes, 4);
	memcpy(ret_packet, &arp, sizeof(arp));
	return sizeof(arp);
}

static size_t neigh_na_packet(const struct conf_ip *ip, const uint8_t *mac,
			      uint8_t *ret_packet)
{
	static const uint8_t all_nodes[16] = { 0xff, 0x02, [15] = 1 };
	const uint16_t bytes =
		sizeof(struct neigh_advert) - sizeof(struct ip6_hdr);
	struct neigh_advert adv = {
		.ip.ip6_flow = htonl(UINT32_C(6) << 28),
		.ip.ip6_plen = htons(bytes),
		.ip.ip6_nxt = IPPROTO_ICMPV6,
		.ip.ip6_hlim = 255,
		.na.nd_na_type = ND_NEIGHBOR_ADVERT,
		.na.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE,
		.option.nd_opt_type = ND_OPT_TARGET_LINKADDR,
		.option.nd_opt_len = 1,
	};
	uint64_t sum;

	memcpy(&adv.ip.ip6_src, ip->bytes, 16);
	memcpy(&adv.ip.ip6_dst, all_nodes, 16);
	memcpy(&adv.na.nd_na_target, ip->bytes, 16);
	memcpy(adv.mac, mac, NEIGH_MAC_BYTES);
	memcpy(ret_packet, &adv, sizeof(adv));
	sum = checksum_pseudo(ip->bytes, all_nodes, 16, IPPROTO_ICMPV6, bytes);
	sum = checksum_add(sum, ret_packet + sizeof(struct ip6_hdr), bytes);
	adv.na.nd_na_cksum = checksum_fold(sum);
	memcpy(ret_packet, &adv, sizeof(adv));
	return sizeof(adv);
}

size_t neigh_announce_packet(const struct conf_ip *ip,
			     const uint8_t mac[NEIGH_MAC_BYTES],
			     uint8_t ret_packet[NEIGH_PACKET_MAX])
{
	return ip->family == 4 ? neigh_arp_packet(ip, mac, ret_packet)
			       : neigh_na_packet(ip, mac, ret_packet);
}

/* Its MAC and where to send; a negative errno. */
static int neigh_link(int fd, const char *link, struct ifreq *ret_mac,
		      struct sockaddr_ll *ret_to)
{
	struct ifreq ifr;

	memset(&ifr, 0, sizeof(ifr));
	memcpy(ifr.ifr_name, link, strnlen(link, IFNAMSIZ - 1));
	*ret_mac = ifr;
	if (ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		return -errno;
	if (!(ifr.ifr_flags & IFF_RUNNING))
		return -ENETDOWN; /* or the kernel would drop them silently */
	if (ioctl(fd, SIOCGIFINDEX, &ifr) < 0 ||
	    ioctl(fd, SIOCGIFHWADDR, ret_mac) < 0)
		return -errno;
	if (ret_mac->ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return -ENOTSUP;
	*ret_to = (struct sockaddr_ll){
		.sll_family = AF_PACKET,
		.sll_ifindex = ifr.ifr_ifindex,
		.sll_halen = NEIGH_MAC_BYTES,
	};
	return 0;
}

static int neigh_send(int fd, struct sockaddr_ll *to, const struct conf_ip *ip,
		      const uint8_t *mac)
{
	static const uint8_t everybody[] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff
	};
	static const uint8_t all_nodes[] = { 0x33, 0x33, 0, 0, 0, 1 };
	uint8_t packet[NEIGH_PACKET_MAX];
	size_t bytes = neigh_announce_packet(ip, mac, packet);
	bool v4 = ip->family == 4;

	to->sll_protocol = htons(v4 ? ETH_P_ARP : ETH_P_IPV6);
	memcpy(to->sll_addr, v4 ? everybody : all_nodes, NEIGH_MAC_BYTES);
	if (sendto(fd, packet, bytes, 0, (const struct sockaddr *)to,
		   sizeof(*to)) < 0)
		return -errno;
	return 0;
}

int neigh_announce(const char *link, const struct conf_ip *ips, uint32_t n)
{
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_ll to;
	struct ifreq mac;
	int rc;

	if (fd < 0)
		return -errno;
	rc = neigh_link(fd, link, &mac, &to);
	for (uint32_t i = 0; i < n && rc == 0; i++)
		rc = neigh_send(fd, &to, &ips[i],
				(const uint8_t *)mac.ifr_hwaddr.sa_data);
	close(fd);
	return rc;
}
