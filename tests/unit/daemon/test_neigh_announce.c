/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "daemon/neigh_announce.h"
#include "stack/checksum.h"
#include "unit/unit.h"

static const uint8_t mac[NEIGH_MAC_BYTES] = { 2, 1, 2, 3, 4, 5 };

START_TEST(test_ipv4_is_a_request_of_itself)
{
	static const uint8_t expected[28] = "\0\1\x08\0\6\4\0\1"
					    "\2\1\2\3\4\5\xc0\0\2\x0a"
					    "\0\0\0\0\0\0\xc0\0\2\x0a";
	const struct conf_ip ip = { 4, { 192, 0, 2, 10 } };
	uint8_t packet[NEIGH_PACKET_MAX];

	ck_assert_uint_eq(neigh_announce_packet(&ip, mac, packet), 28);
	ck_assert_mem_eq(packet, expected, 28);
}
END_TEST

START_TEST(test_ipv6_is_an_advertisement_to_all_nodes)
{
	static const uint8_t head[8] = "\x60\0\0\0\0\x20\x3a\xff";
	static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 };
	const struct conf_ip ip = { 6, { 0x20, 1, 0x0d, 0xb8, [15] = 0x10 } };
	uint8_t packet[NEIGH_PACKET_MAX];
	uint64_t sum;

	ck_assert_uint_eq(neigh_announce_packet(&ip, mac, packet), 72);
	ck_assert_mem_eq(packet, head, 8);
	ck_assert_mem_eq(packet + 8, ip.bytes, 16);
	ck_assert_mem_eq(packet + 24, all_nodes, 16);
	ck_assert_mem_eq(packet + 40, "\x88\0", 2); /* type 136, code 0 */
	ck_assert_mem_eq(packet + 44, "\x20\0\0\0", 4); /* override */
	ck_assert_mem_eq(packet + 48, ip.bytes, 16);
	ck_assert_mem_eq(packet + 64, "\2\1", 2);
	ck_assert_mem_eq(packet + 66, mac, 6);
	/* the sum over all, with its checksum, is nothing */
	sum = checksum_pseudo(ip.bytes, all_nodes, 16, 58, 32);
	ck_assert_uint_eq(checksum_fold(checksum_add(sum, packet + 40, 32)), 0);
}
END_TEST

UNIT_MAIN("daemon/neigh_announce",
	  UNIT_CASE("packets", NULL, NULL, test_ipv4_is_a_request_of_itself,
		    test_ipv6_is_an_advertisement_to_all_nodes))
