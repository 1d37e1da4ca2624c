/* SPDX-License-Identifier: BSD-2-Clause */
/* What is read from a queue, in batches. */
#include <errno.h>
#include <fcntl.h>

#include "../unit.h"
#include "queue.h"

static void up(void)
{
	open_io(true, true);
}

/* Put a packet into the queue: len bytes that tell it from others. */
static void feed(uint8_t tag, uint32_t len, const struct virtio_net_hdr *vnet)
{
	static uint8_t buf[VNET + BIG];
	uint32_t hdr = vnet ? VNET : 0;

	if (vnet)
		memcpy(buf, vnet, VNET);
	for (uint32_t i = 0; i < len; i++)
		buf[hdr + i] = (uint8_t)(tag + i % 251);
	ck_assert_int_eq(write(queue[1], buf, hdr + len), hdr + len);
}

static void check_fed(const struct tun_packet *packet, uint8_t tag,
		      uint32_t len)
{
	ck_assert_uint_eq(packet->len, len);
	ck_assert_uint_eq((uintptr_t)packet->bytes % 16, 0);
	for (uint32_t i = 0; i < len; i++)
		if (packet->bytes[i] != (uint8_t)(tag + i % 251))
			ck_abort_msg("byte %u of packet %u", i, tag);
}

static const struct virtio_net_hdr plain;

START_TEST(test_what_the_header_says_is_handed_on)
{
	static const struct {
		struct virtio_net_hdr hdr;
		bool checked;
		uint16_t unit;
	} says[] = {
		{ { 0 }, false, 0 },
		{ { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM }, true, 0 },
		{ { .flags = VIRTIO_NET_HDR_F_DATA_VALID }, true, 0 },
		{ { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		    .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		    .gso_size = 1448 },
		  true,
		  1448 },
		{ { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		    .gso_type =
			    VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN,
		    .gso_size = 1220 },
		  true,
		  1220 },
		/* Of no use without a type. */
		{ { .gso_size = 1448 }, false, 0 },
	};
	struct tun_packet packet;

	for (uint32_t i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
		feed((uint8_t)i, 3000, &says[i].hdr);
		ck_assert_int_eq(tun_io_read(io, false, &packet), 1);
		check_fed(&packet, (uint8_t)i, 3000);
		ck_assert_int_eq(packet.offload.checked, says[i].checked);
		ck_assert_uint_eq(packet.offload.unit, says[i].unit);
	}
	ck_assert_int_eq(tun_io_read(io, false, &packet), 0);
}
END_TEST

/* Small ones and large ones in one batch, all still there at its end. */
START_TEST(test_packets_that_are_kept_stay_as_they_are)
{
	static const uint32_t lens[] = { 40, 65535, 1, 64, 1500, 65000, 100 };
	const uint32_t n = sizeof(lens) / sizeof(lens[0]);
	struct tun_packet packets[sizeof(lens) / sizeof(lens[0])];

	tun_io_rewind(io);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < n; i++) {
			feed((uint8_t)(i + round), lens[i], &plain);
			ck_assert_int_eq(tun_io_read(io, i > 0, &packets[i]),
					 1);
		}
		for (uint32_t i = 0; i < n; i++)
			check_fed(&packets[i], (uint8_t)(i + round), lens[i]);
		tun_io_rewind(io);
	}
}
END_TEST

START_TEST(test_place_of_what_is_not_kept_is_taken)
{
	struct tun_packet first, packet;
	const uint8_t *third;

	feed(1, 500, &plain);
	feed(2, 60000, &plain);
	feed(3, 700, &plain);
	ck_assert_int_eq(tun_io_read(io, false, &first), 1);
	ck_assert_int_eq(tun_io_read(io, false, &packet), 1);
	ck_assert_ptr_eq(packet.bytes, first.bytes);
	check_fed(&packet, 2, 60000);
	ck_assert_int_eq(tun_io_read(io, true, &packet), 1);
	ck_assert_ptr_ne(packet.bytes, first.bytes);
	check_fed(&packet, 3, 700);
	/* Nothing came: the one before keeps its place all the same. */
	ck_assert_int_eq(tun_io_read(io, true, &packet), 0);
	feed(4, 10, &plain);
	third = packet.bytes;
	ck_assert_int_eq(tun_io_read(io, true, &packet), 1);
	ck_assert_int_ge(packet.bytes - third, 700);
	ck_assert_int_le(packet.bytes - third, 800);
	ck_assert_int_eq(first.bytes[699], (uint8_t)(2 + 699 % 251));
	tun_io_rewind(io);
	feed(5, 800, &plain);
	/* After a rewind there is nothing to be kept. */
	ck_assert_int_eq(tun_io_read(io, true, &packet), 1);
	ck_assert_ptr_eq(packet.bytes, first.bytes);
}
END_TEST

/* Of largest packets, the next one stays in the queue. */
START_TEST(test_full_memory_loses_nothing)
{
	struct tun_packet packets[64], packet;
	uint8_t tag = 0, next = 0;

	for (uint32_t batch = 0; batch < 4; batch++) {
		uint32_t n = 0;

		for (;;) {
			if (tag - next < 1)
				feed(tag++, BIG, &plain);
			ck_assert_uint_lt(n, 64);
			if (!tun_io_read(io, n > 0, &packets[n]))
				break;
			n++;
			next++;
		}
		/* There is one that was not read, and room was for several. */
		ck_assert_uint_ge(n, 8);
		ck_assert_int_eq(tag - next, 1);
		ck_assert_int_eq(tun_io_read(io, true, &packet), 0);
		for (uint32_t i = 0; i < n; i++)
			check_fed(&packets[i], (uint8_t)(next - n + i), BIG);
		tun_io_rewind(io);
	}
}
END_TEST

START_TEST(test_without_offload_a_batch_has_room_for_its_packets)
{
	struct tun_packet packets[BATCH], packet;

	for (int vnet = 0; vnet < 2; vnet++) {
		close_io();
		open_io(vnet, false);
		for (uint8_t i = 0; i < 5; i++)
			feed(i, MTU, vnet ? &plain : NULL);
		for (uint32_t i = 0; i < 4; i++)
			ck_assert_int_eq(tun_io_read(io, i > 0, &packets[i]),
					 1);
		for (uint8_t i = 0; i < 4; i++) {
			check_fed(&packets[i], i, MTU);
			ck_assert_int_eq(packets[i].offload.checked, false);
			ck_assert_uint_eq(packets[i].offload.unit, 0);
		}
		ck_assert_int_eq(tun_io_read(io, true, &packet), 0);
		tun_io_rewind(io);
		ck_assert_int_eq(tun_io_read(io, false, &packet), 1);
		check_fed(&packet, 4, MTU);
	}
}
END_TEST

/* No packet in it: nothing is handed out, and what follows is not lost. */
START_TEST(test_header_alone_is_no_packet)
{
	struct tun_packet packet;

	for (uint32_t len = 1; len <= VNET; len++) {
		feed(1, len, NULL);
		feed(2, 100, &plain);
		ck_assert_int_eq(tun_io_read(io, false, &packet), 0);
		ck_assert_int_eq(tun_io_read(io, false, &packet), 1);
		check_fed(&packet, 2, 100);
	}
}
END_TEST

START_TEST(test_failed_read_says_why)
{
	struct tun_packet packet;
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(dup2(fd, queue[0]), queue[0]);
	close(fd);
	ck_assert_int_eq(tun_io_read(io, false, &packet), -EBADF);
}
END_TEST

UNIT_MAIN("daemon/tun_read",
	  UNIT_CASE("reading", up, close_io,
		    test_what_the_header_says_is_handed_on,
		    test_packets_that_are_kept_stay_as_they_are,
		    test_place_of_what_is_not_kept_is_taken,
		    test_full_memory_loses_nothing,
		    test_without_offload_a_batch_has_room_for_its_packets,
		    test_header_alone_is_no_packet, test_failed_read_says_why))
