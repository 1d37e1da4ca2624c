/* SPDX-License-Identifier: BSD-2-Clause */
/* Hostile fragments: RFC 5722, 7112, 1858; bounds. */
#include "cut.h"

struct overlap {
	const char *what;
	struct {
		uint32_t from, to;
	} parts[4];
};

/* Of a payload of 132 bytes: 32 of headers, 100 of text. */
static const struct overlap overlaps[] = {
	{ "into the one before", { { 0, 48 }, { 40, 132 } } },
	{ "into the one behind", { { 48, 132 }, { 0, 56 } } },
	{ "within another (teardrop)", { { 0, 80 }, { 24, 48 } } },
	{ "around another", { { 24, 48 }, { 0, 80 } } },
	{ "the same start, shorter", { { 0, 80 }, { 0, 40 } } },
	{ "the same start, longer", { { 0, 40 }, { 0, 80 } } },
	{ "the same end, shorter", { { 0, 80 }, { 40, 80 } } },
	{ "two at once", { { 0, 40 }, { 40, 80 }, { 0, 80 } } },
	{ "the last one again, longer", { { 80, 132 }, { 72, 132 } } },
	{ "over the TCP header (RFC 1858)", { { 8, 48 }, { 0, 32 } } },
};

START_TEST(test_an_overlap_gives_the_datagram_up)
{
	int which = _i / 2;
	const struct overlap *o = &overlaps[which];

	start(_i & 1);
	next_segment(100);
	for (uint32_t i = 0; i < 4 && o->parts[i].to; i++)
		piece(1, o->parts[i].from, o->parts[i].to);
	ck_assert_msg(rig_counter(SC_drop_frag_overlap) == 1, "%s", o->what);
	/* What else comes of it is dropped. */
	piece(1, 0, 48);
	piece(1, 48, 132);
	ck_assert_uint_eq(rig_counter(SC_drop_frag_given_up), 2);
	ck_assert_uint_eq(rig_counter(SC_frag_reassembled), 0);
	expect_lost();
	/* The client's TCP sends it again, in another datagram. */
	piece(2, 0, 48);
	piece(2, 48, 132);
	expect_arrived();
}
END_TEST

START_TEST(test_a_duplicate_with_other_bytes_is_an_overlap)
{
	start(_i);
	next_segment(100);
	piece(1, 0, 48);
	whole[hdr_len + 40] ^= 1;
	piece(1, 0, 48);
	ck_assert_uint_eq(rig_counter(SC_drop_frag_overlap), 1);
	piece(1, 48, 132);
	expect_lost();
}
END_TEST

START_TEST(test_a_datagram_has_one_end)
{
	start(_i);
	next_segment(100);
	last(1, 80, 120); /* two ends */
	last(1, 120, 132);
	last(2, 80, 96); /* something beyond it */
	piece(2, 96, 104);
	last(3, 80, 96); /* something up to it, that is not the last */
	piece(3, 88, 96);
	piece(4, 80, 104); /* an end before what is there */
	last(4, 40, 48);
	ck_assert_uint_eq(rig_counter(SC_drop_frag_overlap), 4);
	expect_lost();
}
END_TEST

START_TEST(test_the_first_fragment_must_hold_the_headers)
{
	start(_i);
	next_segment(100);
	piece(1, 0, 8);
	piece(2, 0, 16);
	ck_assert_uint_eq(rig_counter(SC_drop_frag_tiny), 2);
	/* TCP's options as well, where RFC 7112 says so. */
	piece(3, 0, 24);
	ck_assert_uint_eq(rig_counter(SC_drop_frag_tiny), v6 ? 3 : 2);
	piece(4, 0, 32);
	ck_assert_uint_eq(rig_counter(SC_drop_frag_tiny), v6 ? 3 : 2);
	/* One that comes late gives the rest up. */
	piece(5, 16, 132);
	piece(5, 0, 16);
	piece(5, 0, 16);
	ck_assert_uint_eq(rig_counter(SC_drop_frag_given_up), 1);
	expect_lost();
}
END_TEST

START_TEST(test_empty_and_odd_fragments_are_dropped)
{
	start(_i);
	next_segment(100);
	piece(1, 0, 41);
	piece(1, 8, 8);
	last(1, 8, 8);
	ck_assert_uint_eq(rig_counter(SC_drop_frag_header), 3);
	ck_assert_uint_eq(frag_used(rig.st->frags), 0);
}
END_TEST

START_TEST(test_a_datagram_beyond_the_bound_is_given_up)
{
	uint8_t buf[2048];
	uint32_t max = rig.st->limits.packet_max, room, at;

	start(_i);
	room = max - hdr_len;
	next_segment(1000);
	piece(1, 0, 504);
	/* Ping of death: beyond 65535. */
	rig_packet(buf, build_piece(1, 65528, whole, 1000, false, buf));
	ck_assert_uint_eq(rig_counter(SC_drop_frag_oversize), 1);
	piece(1, 504, payload_len());
	ck_assert_uint_eq(rig_counter(SC_drop_frag_given_up), 1);
	/* The bound itself is fine, and one byte more is not. */
	at = (room - 1) / 8 * 8;
	rig_packet(buf, build_piece(2, at, whole, room - at, false, buf));
	ck_assert_uint_eq(rig_counter(SC_frags_kept), 2);
	rig_packet(buf, build_piece(3, at, whole, room - at + 1, false, buf));
	ck_assert_uint_eq(rig_counter(SC_drop_frag_oversize), 2);
}
END_TEST

START_TEST(test_fragments_of_fragments_are_dropped)
{
	uint8_t inner[2048], buf[2048];
	uint32_t len;

	start(1);
	next_segment(100);
	/* An atomic one in an atomic one. */
	len = build_piece(1, 0, whole + 40, payload_len(), false, inner);
	memcpy(whole, inner, 40);
	rig_packet(buf, build_piece(2, 0, inner + 40, len - 40, false, buf));
	ck_assert_uint_eq(rig_counter(SC_drop_ip_fragment), 1);
	/* One in two. */
	rig_packet(buf, build_piece(3, 0, inner + 40, 80, true, buf));
	rig_packet(buf, build_piece(3, 80, inner + 120, len - 120, false, buf));
	ck_assert_uint_eq(rig_counter(SC_drop_ip_fragment), 2);
	expect_lost();
}
END_TEST

START_TEST(test_only_tcp_and_icmp_for_us_are_kept)
{
	start(_i);
	next_segment(100);
	whole[v6 ? 6 : 9] = 17;
	piece(1, 0, 48);
	ck_assert_uint_eq(rig_counter(SC_drop_ip_protocol), 1);
	next_segment(100);
	whole[v6 ? 39 : 19] = 99;
	piece(1, 0, 48);
	ck_assert_uint_eq(rig_counter(SC_drop_not_vip), 1);
	ck_assert_uint_eq(frag_used(rig.st->frags), 0);
}
END_TEST

START_TEST(test_one_source_pushes_out_its_own)
{
	uint32_t per_source = rig.st->limits.frag_per_source;

	start(_i);
	next_segment(100);
	piece(1, 0, 48);
	for (uint32_t i = 0; i < 1000; i++) {
		source(77, (uint8_t)(i | 1)); /* one /64 is one source */
		piece(100 + i, 0, 48);
		rig.now_us += 1000;
	}
	ck_assert_uint_eq(rig_counter(SC_frag_source_limit), 1000 - per_source);
	ck_assert_uint_eq(frag_used(rig.st->frags), per_source + 1);
	/* The other one's is unharmed; of this one's, the youngest are there. */
	next_segment(100);
	piece(1, 48, 132);
	expect_arrived();
	source(77, (uint8_t)(999 | 1));
	piece(1099, 48, 132);
	ck_assert_uint_eq(rig_counter(SC_frag_reassembled), 2);
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_a_full_table_pushes_out_the_oldest)
{
	uint32_t n = rig.st->limits.frag_datagrams;

	start(_i);
	next_segment(100);
	piece(1, 0, 48);
	for (uint32_t i = 0; i < 5000; i++) {
		rig.now_us += 10;
		source(i, 1);
		piece(i, 0, 48);
		ck_assert_uint_le(frag_used(rig.st->frags), n);
	}
	ck_assert_uint_eq(rig_counter(SC_frag_evicted), 5001 - n);
	next_segment(100);
	piece(1, 48, 132);
	expect_lost();
}
END_TEST

/* Anything at all: nothing breaks, nothing grows, nothing is let through. */
START_TEST(test_random_fragments_do_no_harm)
{
	static uint8_t junk[1600];
	uint8_t buf[2048];
	uint64_t kept, used = 0;

	start(_i);
	random_state = 4711;
	next_segment(1000);
	for (uint32_t i = 0; i < sizeof(junk); i++)
		junk[i] = (uint8_t)random_below(256);
	memcpy(junk, whole + hdr_len, 40);
	for (uint32_t i = 0; i < 50000; i++) {
		uint32_t off = random_below(8) ? random_below(20) * 8
					       : random_below(8192) * 8;
		uint32_t len = random_below(2) ? random_below(8) * 8
					       : random_below(1400),
			 n;

		source(random_below(12), (uint8_t)random_below(2));
		n = build_piece(random_below(12), off, junk, len,
				random_below(3), buf);
		if (!random_below(20))
			n = random_below(n);
		rig_packet(buf, n);
		used = frag_used(rig.st->frags);
		ck_assert_uint_le(used, rig.st->limits.frag_datagrams);
		rig.now_us += random_below(20000);
		if (!random_below(100))
			rig_pass_us(random_below(1000000));
		if (i % 10000 == 0)
			ck_assert_ptr_null(shard_check(&rig.shard));
	}
	kept = rig_counter(SC_frags_kept);
	ck_assert_uint_gt(kept, 1000);
	ck_assert_uint_gt(rig_counter(SC_drop_frag_overlap), 100);
	ck_assert_uint_gt(rig_counter(SC_drop_frag_given_up), 100);
	ck_assert_uint_gt(rig_counter(SC_drop_frag_oversize), 100);
	rig.seen = rig.n_out;
	next_segment(100);
	piece(999, 0, 48);
	piece(999, 48, 132);
	expect_arrived();
}
END_TEST

#define N_OVERLAPS ((int)(sizeof(overlaps) / sizeof(overlaps[0])))

UNIT_MAIN("stack/frag hostile",
	  UNIT_LOOP("overlaps", 2 * N_OVERLAPS, rig_up, down,
		    test_an_overlap_gives_the_datagram_up),
	  UNIT_CASE("one family", rig_up, down,
		    test_fragments_of_fragments_are_dropped),
	  UNIT_LOOP("both", 2, rig_up, down,
		    test_a_duplicate_with_other_bytes_is_an_overlap,
		    test_a_datagram_has_one_end,
		    test_the_first_fragment_must_hold_the_headers,
		    test_empty_and_odd_fragments_are_dropped,
		    test_a_datagram_beyond_the_bound_is_given_up,
		    test_only_tcp_and_icmp_for_us_are_kept,
		    test_one_source_pushes_out_its_own,
		    test_a_full_table_pushes_out_the_oldest,
		    test_random_fragments_do_no_harm))
