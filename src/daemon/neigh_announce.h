/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * neigh_announce - an address is at an interface: gratuitous ARP (RFC 5227
 * section 3) and unsolicited neighbour advertisements (RFC 4861 7.2.6).
 */
#ifndef XTCP_DAEMON_NEIGH_ANNOUNCE_H
#define XTCP_DAEMON_NEIGH_ANNOUNCE_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"

#define NEIGH_MAC_BYTES 6
#define NEIGH_PACKET_MAX 80

/* What is behind the Ethernet header. Returns its bytes. */
size_t neigh_announce_packet(const struct conf_ip *ip,
			     const uint8_t mac[NEIGH_MAC_BYTES],
			     uint8_t ret_packet[NEIGH_PACKET_MAX]);

/*
 * Tell all neighbours on the interface that the n addresses are there. Returns
 * 0, or a negative errno: -EPERM, -EAFNOSUPPORT: no CAP_NET_RAW, or packet
 * sockets are forbidden; -ENETDOWN; -ENOTSUP: it is no Ethernet.
 */
int neigh_announce(const char *link, const struct conf_ip *ips, uint32_t n);

#endif
