/* SPDX-License-Identifier: BSD-2-Clause */
/* Reassembly: RFC 791, 815, 8200 section 4.5, 6946, 3168 section 5.3. */
#include "cut.h"

START_TEST(test_fragments_in_order_become_the_segment)
{
	start(_i);
	next_segment(1000);
	piece(1, 0, 504);
	ck_assert_uint_eq(rig_counter(SC_frags_kept), 1);
	expect_lost();
	piece(1, 504, payload_len());
	ck_assert_uint_eq(rig_counter(SC_frag_reassembled), 1);
	expect_arrived();
	ck_assert_uint_eq(frag_used(rig.st->frags), 0);
}
END_TEST

START_TEST(test_fragments_in_any_order_become_the_segment)
{
	start(_i);
	for (uint32_t perm = 0; perm < 120; perm++) {
		uint32_t left[5] = { 0, 1, 2, 3, 4 }, code = perm;

		next_segment(100 + perm);
		for (uint32_t n = 5; n; n--) {
			uint32_t k = code % n, part = left[k];

			code /= n;
			memmove(left + k, left + k + 1,
				(4 - k) * sizeof(left[0]));
			piece(perm, part * 32,
			      part == 4 ? payload_len() : part * 32 + 32);
		}
		expect_arrived();
	}
	ck_assert_uint_eq(rig_counter(SC_frag_reassembled), 120);
	ck_assert_uint_eq(frag_used(rig.st->frags), 0);
}
END_TEST

START_TEST(test_a_fragmented_echo_request_is_answered)
{
	uint8_t body[1200] = { 0 };

	start(_i);
	body[0] = v6 ? 128 : 8;
	whole_len = rig_build_icmp(v6, body, sizeof(body), whole);
	piece(7, 600, 1200);
	rig_expect_nothing();
	piece(7, 0, 600);
	ck_assert_uint_eq(rig_counter(SC_icmp_echo), 1);
	ck_assert_uint_eq(rig.out[(rig.n_out - 1) % RIG_OUT_MAX].packet_len,
			  hdr_len + 1200);
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_an_exact_duplicate_is_ignored)
{
	start(_i);
	next_segment(100);
	for (int i = 0; i < 3; i++)
		piece(1, 0, 48);
	for (int i = 0; i < 3; i++)
		piece(1, 80, 132);
	ck_assert_uint_eq(rig_counter(SC_frag_duplicates), 4);
	piece(1, 48, 80);
	expect_arrived();
}
END_TEST

START_TEST(test_an_atomic_fragment_is_a_packet_of_its_own)
{
	uint8_t buf[2048];

	start(1);
	next_segment(100);
	piece(1, 0, 48); /* of the same number, under way */
	rig_packet(buf,
		   build_piece(1, 0, whole + 40, payload_len(), false, buf));
	expect_arrived();
	ck_assert_uint_eq(rig_counter(SC_frag_reassembled), 0);
	ck_assert_uint_eq(frag_used(rig.st->frags), 1);
}
END_TEST

/* Headers before the Fragment header go, those behind it are walked. */
START_TEST(test_extension_headers_around_fragments)
{
	uint8_t chain[2048] = { 6, 0, 1, 4 }, buf[2048], with[2048];
	uint32_t len, n;

	start(1);
	next_segment(100);
	/* Destination options in front of TCP. */
	memcpy(chain + 8, whole + 40, payload_len());
	len = payload_len() + 8;
	whole[6] = 60;
	for (uint32_t at = 0; at < len; at += 48) {
		n = build_piece(1, at, chain + at,
				len - at < 48 ? len - at : 48, at + 48 < len,
				buf);
		/* Hop-by-hop options in front of the Fragment header. */
		memcpy(with, buf, 40);
		memcpy(with + 40, (uint8_t[]){ 44, 0, 1, 4, 0, 0, 0, 0 }, 8);
		memcpy(with + 48, buf + 40, n - 40);
		with[6] = 0;
		with[5] = (uint8_t)(with[5] + 8);
		rig_packet(with, n + 8);
	}
	ck_assert_uint_eq(rig_counter(SC_frag_reassembled), 1);
	expect_arrived();
}
END_TEST

START_TEST(test_options_of_fragments_are_left_behind)
{
	uint8_t buf[2048], with[2048];
	uint32_t n;

	start(0);
	next_segment(100);
	for (int i = 0; i < 2; i++) {
		n = build_piece(1, i ? 64 : 0, whole + 20 + (i ? 64 : 0),
				i ? payload_len() - 64 : 64, !i, buf);
		memcpy(with, buf, 20);
		memcpy(with + 20, (uint8_t[]){ 7, 4, 4, 0 }, 4);
		memcpy(with + 24, buf + 20, n - 20);
		with[0] = 0x46;
		with[3] = (uint8_t)(with[3] + 4);
		rig_fix_ip4(with);
		rig_packet(with, n + 4);
	}
	expect_arrived();
}
END_TEST

START_TEST(test_what_stays_incomplete_is_dropped_in_time)
{
	start(_i);
	next_segment(100);
	piece(1, 0, 48);
	rig_pass_us(FRAG_TIMEOUT_US - 1);
	ck_assert_uint_eq(frag_used(rig.st->frags), 1);
	rig_pass_us(100000);
	ck_assert_uint_eq(rig_counter(SC_frag_timed_out), 1);
	ck_assert_uint_eq(frag_used(rig.st->frags), 0);
	piece(1, 48, 132);
	expect_lost();
	/* The time is the first fragment's: what follows does not extend it. */
	piece(2, 0, 48);
	rig_pass_us(FRAG_TIMEOUT_US - 1);
	piece(2, 48, 80);
	rig_pass_us(100000);
	piece(2, 80, 132);
	expect_lost();
}
END_TEST

/* The worker parses a batch before it inputs any of it. */
START_TEST(test_packets_put_together_live_until_the_end_of_the_turn)
{
	uint32_t n = rig.st->limits.frag_datagrams;
	static struct seg segs[64];
	uint8_t buf[2048];
	struct seg seg;

	start(_i);
	ck_assert_uint_eq(n, 64);
	for (uint32_t round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < n; i++) {
			uint32_t from = round ? 48 : 0, to = round ? 132 : 48;

			text[0] = (char)i;
			next_segment(100);
			source(i, 1);
			/* TCP's checksum is wrong by now, mostly. */
			(void)stack_parse(rig.st, buf,
					  build_piece(i, from,
						      whole + hdr_len + from,
						      to - from, !round, buf),
					  &segs[i]);
		}
	}
	ck_assert_uint_eq(rig_counter(SC_frag_reassembled), n);
	/* All are in use, even if nothing came of them. */
	piece(200, 0, 48);
	stack_flush(rig.st, rig.now_us);
	ck_assert_uint_eq(frag_used(rig.st->frags), 0);
	/* Now with the right checksums: one source's, one after the other. */
	for (uint32_t i = 0; i < n; i++) {
		text[0] = (char)i;
		next_segment(100);
		ck_assert(!stack_parse(rig.st, buf,
				       build_piece(i, 0, whole + hdr_len, 48,
						   true, buf),
				       &segs[i]));
		ck_assert(stack_parse(rig.st, buf,
				      build_piece(i, 48, whole + hdr_len + 48,
						  84, false, buf),
				      &segs[i]));
	}
	ck_assert(!stack_parse(
		rig.st, buf,
		build_piece(200, 0, whole + hdr_len, 48, true, buf), &seg));
	ck_assert_uint_ge(rig_counter(SC_drop_frag_no_room), 1);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_uint_eq(segs[i].len, 100);
		ck_assert_uint_eq(segs[i].payload[0], i);
		ck_assert_int_eq(memcmp(segs[i].payload + 1, text + 1, 99), 0);
		ck_assert_uint_eq(segs[i].packet_len, whole_len);
	}
	stack_flush(rig.st, rig.now_us);
	ck_assert_uint_eq(frag_used(rig.st->frags), 0);
	text[0] = 'a';
}
END_TEST

/* What is handed over is an ordinary packet, for the same worker and record. */
START_TEST(test_what_is_put_together_can_be_handed_over)
{
	uint8_t buf[2048], copy[2048];
	struct seg seg, again;

	start(_i);
	rig.st->workers = 8;
	next_segment(1000);
	ck_assert(!stack_parse(
		rig.st, buf, build_piece(9, 0, whole + hdr_len, 504, true, buf),
		&seg));
	ck_assert(stack_parse(rig.st, buf,
			      build_piece(9, 504, whole + hdr_len + 504,
					  payload_len() - 504, false, buf),
			      &seg));
	ck_assert_uint_eq(seg.packet_len, whole_len);
	ck_assert_uint_le(seg.packet_len, rig.st->limits.packet_max);
	memcpy(copy, seg.packet, seg.packet_len);
	ck_assert(stack_parse(rig.st, copy, seg.packet_len, &again));
	ck_assert_uint_eq(again.worker, seg.worker);
	ck_assert_uint_eq(again.hash, seg.hash);
	ck_assert_uint_eq(again.seq, seg.seq);
	ck_assert_uint_eq(again.len, 1000);
	ck_assert_int_eq(memcmp(again.payload, text, 1000), 0);
	rig.st->workers = 1;
	stack_flush(rig.st, rig.now_us);
}
END_TEST

/* A fragment in two halves with these ECN codepoints; 4: not put together. */
static uint32_t merged_ecn(uint32_t id, uint8_t a, uint8_t b)
{
	uint8_t tos[2] = { a, b }, buf[2048];
	struct seg seg = { 0 };
	uint32_t ecn = 4, len;

	next_segment(100);
	for (int i = 0; i < 2; i++) {
		if (v6)
			whole[1] = (uint8_t)(tos[i] << 4);
		else
			whole[1] = tos[i];
		len = build_piece(id, i ? 48 : 0,
				  whole + hdr_len + (i ? 48 : 0), i ? 84 : 48,
				  !i, buf);
		if (stack_parse(rig.st, buf, len, &seg))
			ecn = v6 ? seg.packet[1] >> 4 & 3 : seg.packet[1] & 3;
	}
	stack_flush(rig.st, rig.now_us);
	return ecn;
}

START_TEST(test_congestion_met_by_a_fragment_was_met_by_the_datagram)
{
	start(_i);
	ck_assert_uint_eq(merged_ecn(1, 0, 0), 0);
	ck_assert_uint_eq(merged_ecn(2, 2, 2), 2);
	ck_assert_uint_eq(merged_ecn(3, 1, 1), 1);
	ck_assert_uint_eq(merged_ecn(4, 2, 3), 3);
	ck_assert_uint_eq(merged_ecn(5, 3, 2), 3);
	ck_assert_uint_eq(merged_ecn(6, 3, 3), 3);
	ck_assert_uint_eq(merged_ecn(7, 0, 3), 4);
	ck_assert_uint_eq(merged_ecn(8, 3, 0), 4);
	ck_assert_uint_eq(rig_counter(SC_drop_frag_ecn), 2);
}
END_TEST

/* Cut at random places, shuffled, some twice, among the fragments of others. */
START_TEST(test_random_cuts_arrive_intact)
{
	start(_i);
	random_state = 42;
	for (uint32_t id = 0; id < 500; id++) {
		uint32_t cuts[40], n = 0, at = 0, end;

		next_segment(200 + random_below(1000));
		end = payload_len();
		while (at < end && n < 39) {
			cuts[n++] = at;
			at += n == 1 ? 40 : 8 + random_below(20) * 8;
		}
		cuts[n] = at < end ? at : end;
		if (at < end)
			cuts[n++] = at;
		cuts[n < 40 ? n : 39] = end;
		if (n == 40)
			continue;
		for (uint32_t left = (1u << (n & 31)) - 1, k; n < 32 && left;) {
			k = random_below(n);
			if (!(left >> k & 1))
				continue;
			piece(id, cuts[k], cuts[k + 1]);
			if (left != 1u << k && !random_below(4))
				piece(id, cuts[k], cuts[k + 1]);
			left &= ~(1u << k);
		}
		if (n < 32)
			expect_arrived();
	}
	ck_assert_uint_gt(rig_counter(SC_frag_reassembled), 300);
	ck_assert_uint_gt(rig_counter(SC_frag_duplicates), 300);
	ck_assert_uint_eq(rig_counter(SC_drop_frag_overlap), 0);
}
END_TEST

UNIT_MAIN("stack/frag",
	  UNIT_CASE("one family", rig_up, down,
		    test_an_atomic_fragment_is_a_packet_of_its_own,
		    test_extension_headers_around_fragments,
		    test_options_of_fragments_are_left_behind),
	  UNIT_LOOP("both", 2, rig_up, down,
		    test_fragments_in_order_become_the_segment,
		    test_fragments_in_any_order_become_the_segment,
		    test_a_fragmented_echo_request_is_answered,
		    test_an_exact_duplicate_is_ignored,
		    test_what_stays_incomplete_is_dropped_in_time,
		    test_packets_put_together_live_until_the_end_of_the_turn,
		    test_what_is_put_together_can_be_handed_over,
		    test_congestion_met_by_a_fragment_was_met_by_the_datagram,
		    test_random_cuts_arrive_intact))
