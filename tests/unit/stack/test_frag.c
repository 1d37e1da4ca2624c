/* SPDX-License-Identifier: BSD-2-Clause */
/* Fragments: RFC 791, 815, 8200 4.5, 5722, 6946, 7112, 1858, 3168 5.3. */
#include <string.h>

#include "../unit.h"
#include "rig.h"
#include "stack/frag.h"

static struct rig_client cl;
static bool v6;
static uint8_t whole[2048]; /* the packet that is cut up */
static uint32_t whole_len, hdr_len;
static char text[1401];

static void up4(void)
{
	rig_up();
	memset(&cl, 0, sizeof(cl));
	rig_client(&cl, 1000);
	cl.v6 = v6;
	hdr_len = v6 ? 40 : 20;
	rig_connect(&cl, 1000);
	for (uint32_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('a' + i * 7 % 26);
}

static void up_each(void)
{
	rig_up();
}

static void start(int i)
{
	rig_down();
	v6 = i;
	up4();
}

/* An unharmed connection, and nothing left behind but what time ends. */
static void down(void)
{
	rig_pass_us(FRAG_TIMEOUT_US + 1000000);
	ck_assert_uint_eq(frag_used(rig.st->frags), 0);
	rig_down();
}

/* The client's next segment, of len bytes, is what is going to be cut. */
static void next_segment(uint32_t len)
{
	whole_len = rig_build(&cl,
			      &(struct rig_seg){ .flags = TH_ACK,
						 .seq = cl.snd_nxt,
						 .ack = cl.rcv_nxt,
						 .data = text,
						 .len = len },
			      whole);
}

static uint32_t payload_len(void)
{
	return whole_len - hdr_len;
}

/* The segment that was cut has arrived. */
static void expect_arrived(void)
{
	char buf[2048];
	uint32_t len = payload_len() - 32, n;

	n = rig_deliver(&cl, buf, sizeof(buf));
	ck_assert_uint_eq(n, len);
	ck_assert_int_eq(memcmp(buf, text, n), 0);
	cl.snd_nxt += n;
	rig_settle(&cl);
	rig.seen = rig.n_out;
}

static void expect_lost(void)
{
	char buf[2048];

	ck_assert_uint_eq(rig_deliver(&cl, buf, sizeof(buf)), 0);
}

/* An IP packet with these bytes as the fragment of id at off. */
static uint32_t build_piece(uint32_t id, uint32_t off, const uint8_t *bytes,
			    uint32_t len, bool more, uint8_t *buf)
{
	uint32_t field =
		off / 8 << (v6 ? 3 : 0) | (more ? v6 ? 1u : 0x2000u : 0u);

	memcpy(buf, whole, hdr_len);
	if (v6) {
		uint8_t *ext = buf + 40;

		buf[4] = (uint8_t)((len + 8) >> 8);
		buf[5] = (uint8_t)(len + 8);
		memset(ext, 0, 8);
		ext[0] = buf[6];
		buf[6] = 44;
		ext[2] = (uint8_t)(field >> 8);
		ext[3] = (uint8_t)field;
		ext[6] = (uint8_t)(id >> 8);
		ext[7] = (uint8_t)id;
		memcpy(ext + 8, bytes, len);
		return 48 + len;
	}
	buf[2] = (uint8_t)((20 + len) >> 8);
	buf[3] = (uint8_t)(20 + len);
	buf[4] = (uint8_t)(id >> 8);
	buf[5] = (uint8_t)id;
	buf[6] = (uint8_t)(field >> 8);
	buf[7] = (uint8_t)field;
	memcpy(buf + 20, bytes, len);
	rig_fix_ip4(buf);
	return 20 + len;
}

/* [from, to) of the payload; the last piece ends where the payload does. */
static void piece(uint32_t id, uint32_t from, uint32_t to)
{
	uint8_t buf[2048];

	rig_packet(buf, build_piece(id, from, whole + hdr_len + from, to - from,
				    to != payload_len(), buf));
}

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

/* A last fragment of some length at some place. */
static void last(uint32_t id, uint32_t from, uint32_t to)
{
	uint8_t buf[2048];

	rig_packet(buf, build_piece(id, from, whole + hdr_len + from, to - from,
				    false, buf));
}

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

/* From another host, of the same /64 or of another one. */
static void source(uint32_t net, uint8_t host)
{
	if (v6) {
		whole[14] = (uint8_t)(net >> 8);
		whole[15] = (uint8_t)net;
		whole[23] = host;
	} else {
		whole[14] = (uint8_t)(net >> 8);
		whole[15] = (uint8_t)net;
	}
}

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

static uint32_t random_state;

static uint32_t random_below(uint32_t n)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % n;
}

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

UNIT_MAIN("stack/frag",
	  UNIT_LOOP("overlaps", 2 * N_OVERLAPS, up_each, down,
		    test_an_overlap_gives_the_datagram_up),
	  UNIT_CASE("one family", up_each, down,
		    test_an_atomic_fragment_is_a_packet_of_its_own,
		    test_fragments_of_fragments_are_dropped,
		    test_extension_headers_around_fragments,
		    test_options_of_fragments_are_left_behind),
	  UNIT_LOOP("both", 2, up_each, down,
		    test_fragments_in_order_become_the_segment,
		    test_fragments_in_any_order_become_the_segment,
		    test_a_fragmented_echo_request_is_answered,
		    test_an_exact_duplicate_is_ignored,
		    test_a_duplicate_with_other_bytes_is_an_overlap,
		    test_a_datagram_has_one_end,
		    test_the_first_fragment_must_hold_the_headers,
		    test_empty_and_odd_fragments_are_dropped,
		    test_a_datagram_beyond_the_bound_is_given_up,
		    test_only_tcp_and_icmp_for_us_are_kept,
		    test_what_stays_incomplete_is_dropped_in_time,
		    test_one_source_pushes_out_its_own,
		    test_a_full_table_pushes_out_the_oldest,
		    test_packets_put_together_live_until_the_end_of_the_turn,
		    test_what_is_put_together_can_be_handed_over,
		    test_congestion_met_by_a_fragment_was_met_by_the_datagram,
		    test_random_cuts_arrive_intact,
		    test_random_fragments_do_no_harm))
