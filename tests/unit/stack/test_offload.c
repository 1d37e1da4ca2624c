/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments to and from a device that offloads: checksums that nobody computed,
 * and packets that are several segments in one.
 */
#include <string.h>

#include "../unit.h"
#include "base/bytes.h"
#include "rig.h"
#include "stack/checksum.h"

#define UNIT 1000u
#define BIG_MAX 65535u

static struct rig_client client;
static uint8_t text[BIG_MAX];

static void up(void)
{
	rig_up();
	memset(&client, 0, sizeof(client));
	for (uint32_t i = 0; i < BIG_MAX; i++)
		text[i] = (uint8_t)(i * 13 + i / 256);
}

static void group_of(uint8_t ack, uint32_t window)
{
	rig.group.ack = ack;
	rig.group.ack_window_bytes = window;
	rig_group();
}

static bool input(const uint8_t *packet, uint32_t len, bool checked,
		  uint16_t unit)
{
	const struct seg_offload offload = { .checked = checked, .unit = unit };
	struct seg seg;
	bool sound = stack_parse_offload(rig.st, packet, len, &offload, &seg);

	if (sound)
		stack_input(rig.st, &seg, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	return sound;
}

/* Data of the client's, from its snd_nxt on; moves that. */
static void send_large(struct rig_client *cl, uint32_t len, uint16_t unit)
{
	static uint8_t packet[BIG_MAX];
	uint32_t n = rig_build(cl,
			       &(struct rig_seg){ .flags = TH_ACK,
						  .seq = cl->snd_nxt,
						  .ack = cl->rcv_nxt,
						  .data = text,
						  .len = len },
			       packet);

	ck_assert(input(packet, n, true, unit));
	cl->snd_nxt += len;
}

/* --- parsing ------------------------------------------------------------ */

static uint32_t build(bool v6, uint32_t len, uint8_t *packet)
{
	struct rig_client cl;

	rig_client(&cl, 1000);
	cl.v6 = v6;
	return rig_build(
		&cl,
		&(struct rig_seg){ .flags = TH_ACK, .data = text, .len = len },
		packet);
}

START_TEST(test_checked_skips_the_checksum_of_tcp)
{
	struct seg_offload offload = { .checked = true };
	uint8_t packet[256];
	uint32_t len = build(_i, 10, packet);
	struct seg seg;

	packet[len - 1] ^= 1;
	ck_assert(!stack_parse(rig.st, packet, len, &seg));
	ck_assert_uint_eq(rig_counter(SC_drop_tcp_checksum), 1);
	ck_assert(stack_parse_offload(rig.st, packet, len, &offload, &seg));
	ck_assert_uint_eq(seg.len, 10);
	offload.checked = false;
	ck_assert(!stack_parse_offload(rig.st, packet, len, &offload, &seg));
	ck_assert_uint_eq(rig_counter(SC_drop_tcp_checksum), 2);
}
END_TEST

START_TEST(test_checked_does_not_skip_the_checksum_of_ip)
{
	const struct seg_offload offload = { .checked = true };
	uint8_t packet[256];
	uint32_t len = build(false, 10, packet);
	struct seg seg;

	packet[10] ^= 1;
	ck_assert(!stack_parse_offload(rig.st, packet, len, &offload, &seg));
	ck_assert_uint_eq(rig_counter(SC_drop_ip_checksum), 1);
}
END_TEST

START_TEST(test_checked_does_not_skip_the_checksum_of_icmp)
{
	static const uint8_t echo[2][8] = { { 8 }, { 128 } };
	const struct seg_offload offload = { .checked = true };
	uint8_t packet[256];
	uint32_t len = rig_build_icmp(_i, echo[_i], 8, packet);
	struct seg seg;

	ck_assert(stack_parse_offload(rig.st, packet, len, &offload, &seg));
	packet[len - 1] ^= 1;
	ck_assert(!stack_parse_offload(rig.st, packet, len, &offload, &seg));
	ck_assert_uint_eq(rig_counter(SC_drop_icmp_checksum), 1);
}
END_TEST

START_TEST(test_unit_is_that_of_the_device_or_all_there_is)
{
	static const uint16_t units[] = { 0, 1, 536, 1999, 2000, 2001, 65535 };
	static const uint32_t want[] = { 2000, 1, 536, 1999, 2000, 2000, 2000 };
	static uint8_t packet[4096];
	uint32_t len = build(_i, 2000, packet);
	struct seg seg;

	for (uint32_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		const struct seg_offload offload = { .unit = units[i] };

		ck_assert(stack_parse_offload(rig.st, packet, len, &offload,
					      &seg));
		ck_assert_uint_eq(seg.unit, want[i]);
		ck_assert_uint_eq(seg.len, 2000);
		ck_assert_uint_eq(seg.tcp_hdr_len, 32);
	}
	len = build(_i, 0, packet);
	ck_assert(stack_parse_offload(
		rig.st, packet, len, &(struct seg_offload){ .unit = 9 }, &seg));
	ck_assert_uint_eq(seg.unit, 0);
}
END_TEST

/* What is put together was on a wire in pieces: its checksum counts. */
START_TEST(test_fragments_are_not_taken_for_checked)
{
	const struct seg_offload offload = { .checked = true, .unit = 4 };
	uint8_t whole[256], piece[256];
	struct seg seg;

	for (uint32_t bad = 0; bad < 2; bad++) {
		uint32_t len = build(false, 40, whole);

		whole[len - 1] ^= (uint8_t)bad;
		whole[5] = (uint8_t)(1 + bad);
		memcpy(piece, whole, 20 + 56);
		piece[3] = 20 + 56;
		piece[6] = 0x20;
		rig_fix_ip4(piece);
		ck_assert(!stack_parse_offload(rig.st, piece, 20 + 56, &offload,
					       &seg));
		memcpy(piece + 20, whole + 20 + 56, len - 20 - 56);
		piece[3] = (uint8_t)(len - 56);
		piece[6] = 0;
		piece[7] = 56 / 8;
		rig_fix_ip4(piece);
		ck_assert_int_eq(stack_parse_offload(rig.st, piece, len - 56,
						     &offload, &seg),
				 !bad);
		ck_assert_uint_eq(rig_counter(SC_drop_tcp_checksum), bad);
		if (!bad)
			ck_assert_uint_eq(seg.unit, 40);
	}
}
END_TEST

/* --- partial checksums -------------------------------------------------- */

static void (*rig_takes)(void *ctx, const struct iovec *iov, int iovcnt);
static uint32_t n_completed;

/*
 * The device: the sum of all from TCP's header on, with what is in the
 * checksum's place, goes there. The rig then looks at the whole.
 */
static void device(void *ctx, const struct iovec *iov, int iovcnt)
{
	static uint8_t packet[4096];
	uint32_t len = 0, at;
	uint16_t sum;

	for (int i = 0; i < iovcnt; i++) {
		memcpy(packet + len, iov[i].iov_base, iov[i].iov_len);
		len += (uint32_t)iov[i].iov_len;
	}
	at = packet[0] >> 4 == 6 ? 40 : 20;
	if (packet[at == 40 ? 6 : 9] == 6) {
		sum = checksum_fold(checksum_add(0, packet + at, len - at));
		memcpy(packet + at + 16, &sum, 2);
		n_completed++;
	}
	rig_takes(ctx, &(struct iovec){ packet, len }, 1);
}

START_TEST(test_checksums_are_left_to_the_device)
{
	static const uint8_t echo[2][8] = { { 8 }, { 128 } };
	struct rig_client nobody;
	uint8_t packet[256];
	char buf[64];

	rig_takes = rig.st->ops.emit;
	rig.st->ops.emit = device;
	rig.st->limits.partial_checksums = true;
	n_completed = 0;
	rig_client(&client, 1000);
	client.v6 = _i;
	rig_connect(&client, 1000); /* SYN-ACK */
	rig_send(&client, "question");
	rig_deliver(&client, buf, sizeof(buf));
	rig_reply(&client, 8, "an answer of odd length"); /* data */
	rig_expect(&client, TH_ACK | TH_PSH);
	rig_ack(&client);
	rig_send_at(&client, 2000, "gap"); /* a pure ACK, with SACK or not */
	rig_expect(&client, TH_ACK);
	ck_assert_uint_eq(n_completed, 3);
	rig_client(&nobody, 2000);
	nobody.v6 = _i;
	rig_ack(&nobody); /* RST */
	rig_expect(NULL, TH_RST);
	ck_assert_uint_eq(n_completed, 4);
	/* ICMP's has no such help. */
	rig_packet(packet, rig_build_icmp(_i, echo[_i], 8, packet));
	ck_assert_uint_eq(rig.n_out, 5);
	ck_assert_uint_eq(n_completed, 4);
}
END_TEST

/* --- large packets ------------------------------------------------------ */

/* At least every second full segment: RFC 1122 4.2.3.2. */
START_TEST(test_immediate_two_segments_in_one_are_acknowledged_at_once)
{
	group_of(STACK_ACK_IMMEDIATE, 0);
	rig_connect(&client, 1000);
	send_large(&client, UNIT, UNIT);
	rig_expect_nothing();
	send_large(&client, UNIT, UNIT);
	ck_assert_uint_eq(rig_expect(&client, TH_ACK)->ack, client.snd_nxt);
	send_large(&client, 2 * UNIT, UNIT);
	ck_assert_uint_eq(rig_expect(&client, TH_ACK)->ack, client.snd_nxt);
	send_large(&client, 40 * UNIT + 1, UNIT);
	ck_assert_uint_eq(rig_expect(&client, TH_ACK)->ack, client.snd_nxt);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_blk(&client)->rcv_mss, UNIT);
}
END_TEST

/* ack-window = auto: four full segments in a row are bulk. */
START_TEST(test_deferred_full_segments_in_one_count_each)
{
	group_of(STACK_ACK_DEFERRED, STACK_ACK_WINDOW_AUTO);
	rig_connect(&client, 1000);
	send_large(&client, 3 * UNIT, UNIT);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_blk(&client)->rcv_full_run, 3);
	send_large(&client, UNIT, UNIT);
	ck_assert_uint_eq(rig_expect(&client, TH_ACK)->ack, client.snd_nxt);
	ck_assert_uint_eq(rig_counter(SC_early_ack_window), 1);
	ck_assert_uint_eq(rig_blk(&client)->rcv_mss, UNIT);
}
END_TEST

START_TEST(test_deferred_large_packet_with_a_short_end_is_a_request)
{
	group_of(STACK_ACK_DEFERRED, STACK_ACK_WINDOW_AUTO);
	rig_connect(&client, 1000);
	send_large(&client, 30 * UNIT + 1, UNIT);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_blk(&client)->rcv_full_run, 0);
	ck_assert_uint_eq(rig_counter(SC_early_ack_window), 0);
}
END_TEST

/* Segments that are smaller than others before are not full, however many. */
START_TEST(test_deferred_small_segments_in_one_are_not_full)
{
	group_of(STACK_ACK_DEFERRED, STACK_ACK_WINDOW_AUTO);
	rig_connect(&client, 1000);
	send_large(&client, UNIT, UNIT);
	send_large(&client, 10 * UNIT, UNIT / 2);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_blk(&client)->rcv_full_run, 0);
	ck_assert_uint_eq(rig_blk(&client)->rcv_mss, UNIT);
}
END_TEST

START_TEST(test_the_run_of_full_segments_saturates)
{
	static char buf[BIG_MAX];
	uint32_t len = 24 * 600;

	group_of(STACK_ACK_DEFERRED, 0);
	rig_connect(&client, 1000);
	for (uint32_t i = 0; i < 12; i++) {
		send_large(&client, len, 600);
		ck_assert_uint_eq(rig_blk(&client)->rcv_full_run,
				  min_u32((i + 1) * 24, UINT8_MAX));
		ck_assert_uint_eq(rig_deliver(&client, buf, len), len);
		/* A byte is always left: all would end the run. */
		rig_reply(&client, len - !i, "");
	}
	ck_assert_uint_eq(rig_blk(&client)->rcv_mss, 600);
}
END_TEST

/* Cut or whole: the same is known of the client, and the same is delivered. */
START_TEST(test_large_packets_are_as_good_as_their_segments)
{
	static const uint32_t units[] = { 300, 536, 900, 1200, 1448 };
	static char got[2][BIG_MAX];
	struct rig_client twin;
	uint64_t state = 12345 + (uint64_t)_i;

	group_of(STACK_ACK_IMMEDIATE, 0);
	rig_connect(&client, 1000);
	memset(&twin, 0, sizeof(twin));
	rig_connect(&twin, 2000);
	for (uint32_t round = 0; round < 300; round++) {
		uint32_t unit, len, n;

		state = state * 6364136223846793005u + 1442695040888963407u;
		unit = units[(state >> 33) % 5];
		len = 1 + (uint32_t)(state >> 40) % (20 * unit);
		if (state >> 62)
			len = (1 + len / unit) * unit;
		send_large(&client, len, (uint16_t)unit);
		for (uint32_t off = 0; off < len; off += n) {
			n = min_u32(unit, len - off);
			rig_input(&twin, &(struct rig_seg){ .flags = TH_ACK,
							    .seq = twin.snd_nxt,
							    .ack = twin.rcv_nxt,
							    .data = text + off,
							    .len = n });
			twin.snd_nxt += n;
		}
		ck_assert_uint_eq(rig_blk(&client)->rcv_mss,
				  rig_blk(&twin)->rcv_mss);
		ck_assert_uint_eq(rig_blk(&client)->rcv_full_run,
				  rig_blk(&twin)->rcv_full_run);
		ck_assert_uint_eq(rig_blk(&client)->rcv_nxt, client.snd_nxt);
		ck_assert_uint_eq(rig_blk(&twin)->rcv_nxt, twin.snd_nxt);
		ck_assert_uint_eq(rig_deliver(&client, got[0], BIG_MAX), len);
		ck_assert_uint_eq(rig_deliver(&twin, got[1], BIG_MAX), len);
		ck_assert_mem_eq(got[0], text, len);
		ck_assert_mem_eq(got[1], text, len);
		rig_reply(&client, len, "");
		rig_reply(&twin, len, "");
		rig.seen = rig.n_out;
	}
}
END_TEST

UNIT_MAIN("stack/offload",
	  UNIT_LOOP("parsing", 2, up, rig_down,
		    test_checked_skips_the_checksum_of_tcp,
		    test_checked_does_not_skip_the_checksum_of_icmp,
		    test_unit_is_that_of_the_device_or_all_there_is),
	  UNIT_CASE("parsing, IPv4", up, rig_down,
		    test_checked_does_not_skip_the_checksum_of_ip,
		    test_fragments_are_not_taken_for_checked),
	  UNIT_LOOP("checksums", 2, up, rig_down,
		    test_checksums_are_left_to_the_device),
	  UNIT_CASE("large packets", up, rig_down,
		    test_immediate_two_segments_in_one_are_acknowledged_at_once,
		    test_deferred_full_segments_in_one_count_each,
		    test_deferred_large_packet_with_a_short_end_is_a_request,
		    test_deferred_small_segments_in_one_are_not_full,
		    test_the_run_of_full_segments_saturates),
	  UNIT_LOOP("as its segments", 4, up, rig_down,
		    test_large_packets_are_as_good_as_their_segments))
