/* SPDX-License-Identifier: BSD-2-Clause */
/* SACK and D-SACK, RFC 2018 and 2883: what we report, what we believe. */
#include "sender.h"

#define RTT (100 * MS)

static void up(void)
{
	rig_up();
	rig.group.ack = STACK_ACK_IMMEDIATE;
	rig_group();
	sender_client(true);
}

/* --- what we report. Places are bytes of the client's stream. */

static uint32_t from(uint32_t byte)
{
	return cl.iss + 1 + byte;
}

static struct rig_out *text(uint32_t byte, uint32_t len)
{
	static char data[2000];

	sender_skip();
	rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK,
					  .seq = from(byte),
					  .ack = cl.rcv_nxt,
					  .data = data,
					  .len = len });
	return rig.seen < rig.n_out ? &rig.out[rig.n_out - 1] : NULL;
}

static void reports(const struct rig_out *out, uint32_t n,
		    const uint32_t (*blocks)[2])
{
	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(out->n_sacks, n);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_uint_eq(out->sacks[i].start, from(blocks[i][0]));
		ck_assert_uint_eq(out->sacks[i].end, from(blocks[i][1]));
	}
}

#define REPORTS(out, ...)                                      \
	reports(out,                                           \
		sizeof((const uint32_t[][2]){ __VA_ARGS__ }) / \
			sizeof(uint32_t[2]),                   \
		(const uint32_t[][2]){ __VA_ARGS__ })

START_TEST(test_sack_reports_the_latest_block_first)
{
	sender_connect(0);
	REPORTS(text(100, 100), { 100, 200 });
	REPORTS(text(300, 100), { 300, 400 }, { 100, 200 });
	REPORTS(text(500, 100), { 500, 600 }, { 300, 400 }, { 100, 200 });
	/* An older block that grows comes to the front. */
	REPORTS(text(200, 50), { 100, 250 }, { 500, 600 }, { 300, 400 });
}
END_TEST

START_TEST(test_sack_joins_blocks_that_touch)
{
	sender_connect(0);
	text(100, 100);
	text(300, 100);
	REPORTS(text(200, 100), { 100, 400 });
}
END_TEST

START_TEST(test_sack_block_that_is_reached_is_reported_no_more)
{
	sender_connect(0);
	text(100, 100);
	text(300, 100);
	REPORTS(text(0, 100), { 300, 400 });
	ck_assert_uint_eq(text(200, 100)->n_sacks, 0);
	ck_assert_uint_eq(rig.out[rig.n_out - 1].ack, from(400));
}
END_TEST

START_TEST(test_sack_at_most_four_blocks_and_three_with_timestamps)
{
	cl.ts = _i;
	sender_connect(0);
	for (uint32_t i = 0; i < 8; i++)
		text(100 + i * 200, 100);
	ck_assert_uint_eq(rig.out[rig.n_out - 1].n_sacks, _i ? 3 : 4);
	ck_assert_uint_eq(rig.out[rig.n_out - 1].sacks[0].start, from(1500));
	ck_assert_uint_eq(rig.out[rig.n_out - 1].sacks[2].start, from(1100));
}
END_TEST

START_TEST(test_sack_is_not_sent_to_who_did_not_ask)
{
	cl.sack = false;
	sender_connect(0);
	ck_assert_uint_eq(text(100, 100)->n_sacks, 0);
}
END_TEST

START_TEST(test_sack_says_nothing_of_text_that_was_not_kept)
{
	rig.st->limits.ooo_chunks_max = 1;
	sender_connect(0);
	text(100, 100);
	/* It fills the chunk: 412 bytes more. */
	REPORTS(text(200, 1000), { 100, 612 });
	REPORTS(text(2000, 100), { 100, 612 });
}
END_TEST

START_TEST(test_sack_is_silent_about_what_is_held_in_sequence)
{
	rig.group.ack = STACK_ACK_DEFERRED;
	rig.group.ack_window_bytes = 0;
	rig_group();
	sender_connect(0);
	ck_assert_ptr_null(text(0, 100));
	REPORTS(text(200, 100), { 200, 300 });
	ck_assert_uint_eq(rig.out[rig.n_out - 1].ack, from(0));
}
END_TEST

START_TEST(test_sack_data_segments_leave_room_for_it)
{
	struct rig_out *out;

	sender_connect(0);
	text(100, 100);
	sender_skip();
	sender_write(2 * MSS);
	out = sender_sent(0, MSS - 12);
	ck_assert_uint_eq(out->n_sacks, 1);
	sender_sent(MSS - 12, MSS - 12);
}
END_TEST

START_TEST(test_sack_goes_by_itself_when_data_has_no_room_for_it)
{
	sender_connect(RTT);
	sender_write(5 * MSS);
	sender_skip();
	/* Text beyond a gap, and by its SACK a full segment is to be sent again. */
	cl.n_sacks = 1;
	cl.sacks[0] = (struct seg_sack){ at(MSS), at(4 * MSS) };
	rig_pass_us(RTT);
	cl.rcv_nxt = at(0);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK,
					  .seq = from(100),
					  .ack = at(0),
					  .data = "x",
					  .len = 1 });
	ck_assert_uint_eq(sender_sent(0, MSS)->n_sacks, 0);
	ck_assert_uint_eq(rig_expect(NULL, TH_ACK)->n_sacks, 1);
	rig_expect_nothing();
}
END_TEST

START_TEST(test_dsack_reports_old_text_once)
{
	sender_connect(0);
	text(0, 100);
	rig_pass_us(50 * MS);
	REPORTS(text(0, 100), { 0, 100 });
	ck_assert_uint_eq(text(200, 1)->n_sacks, 1);
}
END_TEST

START_TEST(test_dsack_reports_the_old_part_of_a_segment)
{
	sender_connect(0);
	text(0, 100);
	rig_pass_us(50 * MS);
	text(50, 100);
	rig_pass_us(50 * MS);
	REPORTS(&rig.out[rig.n_out - 1], { 50, 100 });
}
END_TEST

START_TEST(test_dsack_beyond_a_gap_stands_before_the_block_it_lies_in)
{
	sender_connect(0);
	text(100, 100);
	text(200, 100);
	REPORTS(text(200, 100), { 200, 300 }, { 100, 300 });
	REPORTS(text(400, 100), { 400, 500 }, { 100, 300 });
}
END_TEST

START_TEST(test_dsack_of_what_is_held_waits_for_its_acknowledgement)
{
	rig.group.ack = STACK_ACK_DEFERRED;
	rig_group();
	sender_connect(0);
	text(0, 100);
	ck_assert_ptr_null(text(0, 100));
	/* An ACK that does not cover it must not name it. */
	REPORTS(text(300, 1), { 300, 301 });
	sender_skip();
	rig_settle(&cl);
	stack_delivered(rig.st, cl.ri, 100, rig.now_us);
	rig_reply(&cl, 100, "");
	REPORTS(rig_expect(NULL, TH_ACK), { 0, 100 }, { 300, 301 });
}
END_TEST

/* --- what we believe */

static void sent(uint32_t n)
{
	sender_connect(RTT);
	sender_write(n * MSS);
	sender_sent_full(0, n);
	rig_pass_us(RTT);
}

START_TEST(test_sack_marks_whole_segments_alone)
{
	sent(6);
	sender_sack(0, MSS + 1, 3 * MSS - 1);
	ck_assert_uint_eq(sender_blk()->sent.sacked_bytes, 0);
	sender_sack(0, MSS + 1, 3 * MSS);
	ck_assert_uint_eq(sender_blk()->sent.sacked_bytes, MSS);
}
END_TEST

START_TEST(test_sack_of_what_was_not_sent_is_ignored)
{
	sent(4);
	sender_sack(0, MSS, 4 * MSS + 1);
	sender_sack(0, 5 * MSS, 6 * MSS);
	sender_sack(0, 3 * MSS, 2 * MSS);
	sender_sack(0, 2 * MSS, 2 * MSS);
	sender_sack(0, 2 * MSS, 2 * MSS + 0x80000000u);
	ck_assert_uint_eq(sender_blk()->sent.sacked_bytes, 0);
	ck_assert_uint_ge(rig_counter(SC_sack_invalid), 2);
}
END_TEST

START_TEST(test_sack_below_snd_una_marks_nothing)
{
	sent(6);
	sender_ack(2 * MSS);
	sender_sack2(2 * MSS, 0, MSS, MSS, 3 * MSS);
	ck_assert_uint_eq(sender_blk()->sent.sacked_bytes, 0);
	ck_assert_uint_eq(rig_counter(SC_dsack_in), 1);
}
END_TEST

START_TEST(test_sack_ack_in_the_midst_of_a_sacked_segment_delivers_it_once)
{
	sent(6);
	sender_sack(0, 0, MSS);
	sender_sack(0, MSS, 4 * MSS);
	ck_assert_uint_eq(sender_blk()->sent.sacked_bytes, 4 * MSS);
	sender_ack(MSS + 700);
	ck_assert_uint_eq(sender_blk()->sent.sacked_bytes, 3 * MSS - 700);
}
END_TEST

START_TEST(test_sack_chunk_of_a_split_segment_is_found_after_the_first_half_left)
{
	uint32_t bi;

	sender_connect(RTT);
	sender_write(8 * 1024);
	sender_skip();
	/* As after a crash: all of it is one segment, which is cut when sent. */
	bi = rig_rec(&cl)->block;
	sents_free(&rig.shard.sents, sender_blk());
	sents_restore(&rig.shard.sents, sender_blk(), bi);
	for (int i = 0; i < 20 && sender_blk()->snd_una != at(8 * 1024); i++) {
		uint32_t acked = sender_blk()->snd_una - at(0);

		rig_pass_us(1200 * MS);
		while (rig.seen < rig.n_out) {
			struct rig_out *out = &rig.out[rig.seen++];

			if (out->seq == at(acked)) {
				ck_assert_uint_gt(out->len, 0);
				acked += out->len;
			}
		}
		sender_ack(acked);
	}
	ck_assert_uint_eq(sender_blk()->snd_una, at(8 * 1024));
}
END_TEST

/* --- anything a client may claim, then an honest end */

static uint32_t seed;
static uint8_t got[1 << 20];
static uint32_t last; /* that came */

static uint32_t dice(uint32_t sides)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % sides;
}

/* A place near something that matters. */
static uint32_t place(uint32_t sent_bytes)
{
	uint32_t una = sender_blk()->snd_una - at(0);

	switch (dice(6)) {
	case 0:
		return una;
	case 1:
		return sent_bytes + dice(3) - 1;
	case 2:
		return dice(20) ? una + dice(3 * MSS) : dice(UINT32_MAX);
	default:
		return una + dice(16) * (cl.mss ? cl.mss : MSS);
	}
}

static void claim(void)
{
	uint32_t nxt = sender_blk()->snd_nxt - at(0);
	uint32_t una = sender_blk()->snd_una - at(0);

	cl.n_sacks = cl.ts ? dice(4) : dice(5);
	for (uint32_t i = 0; i < cl.n_sacks; i++) {
		uint32_t a = place(nxt), b = place(nxt);

		cl.sacks[i] = (struct seg_sack){ at(a < b || !dice(9) ? a : b),
						 at(a < b ? b : a) };
	}
	if (!dice(10))
		cl.wnd = (uint16_t)(dice(3) ? 512 : dice(40));
	if (cl.ts && dice(2))
		cl.tsecr =
			rig.out[(rig.n_out - 1 - dice(8)) % RIG_OUT_MAX].tsval;
	sender_ack_flags(dice(3) ? una : una + dice(nxt - una + 1),
			 dice(8) ? 0 : TH_ECE);
}

/* The client takes what was sent since, but for some. */
static void take(uint32_t lose_percent)
{
	for (; rig.seen < rig.n_out; rig.seen++) {
		const struct rig_out *out = &rig.out[rig.seen % RIG_OUT_MAX];
		uint32_t byte = out->seq - at(0);

		if (dice(100) < lose_percent || byte > sizeof(got) - 2000)
			continue;
		memset(got + byte, 1, out->len);
		last = byte;
	}
}

/* Extend to all that is there around this byte. */
static struct seg_sack block_around(uint32_t byte, uint32_t acked)
{
	uint32_t start = byte, end = byte;

	while (start > acked && got[start - 1])
		start--;
	while (got[end])
		end++;
	return (struct seg_sack){ at(start), at(end) };
}

/* What an honest client reports: the latest block, and the first two. */
static void report_honestly(uint32_t acked)
{
	uint32_t nxt = sender_blk()->snd_nxt - at(0);

	cl.n_sacks = 0;
	if (!cl.sack)
		return;
	if (last > acked && last < nxt)
		cl.sacks[cl.n_sacks++] = block_around(last, acked);
	for (uint32_t i = acked; i < nxt && cl.n_sacks < 3; i++) {
		struct seg_sack sack;

		if (!got[i])
			continue;
		sack = block_around(i, acked);
		i = sack.end - at(0);
		if (!cl.n_sacks || sack.start != cl.sacks[0].start)
			cl.sacks[cl.n_sacks++] = sack;
	}
}

static void one_claim(uint32_t *written)
{
	switch (dice(4)) {
	case 0:
		rig_pass_us(dice(5) ? dice(50 * MS) : dice(2000 * MS));
		break;
	case 1:
		if (*written < (cl.mss ? 50000 : 400000)) {
			uint32_t n = dice(4) ? dice(200) + 1 : dice(20000) + 1;

			*written +=
				(uint32_t)stack_reply(rig.st, cl.ri,
						      rig_rec(&cl)->rcv_off, 0,
						      got, n, rig.now_us);
			stack_flush(rig.st, rig.now_us);
		}
		break;
	default:
		if (rig_blk(&cl))
			claim();
		break;
	}
	rig_events(cl.ri);
	take(30);
	ck_assert_msg(!shard_check(&rig.shard), "%s", shard_check(&rig.shard));
}

START_TEST(test_sack_whatever_a_client_claims_the_rest_still_arrives)
{
	uint32_t written = 0, acked = 0, i;

	seed = (uint32_t)_i + 1;
	memset(got, 0, sizeof(got));
	rig.group.ecn = _i % 2;
	rig.group.congestion = _i & 2 ? CC_RENO : CC_CUBIC;
	rig.group.user_timeout_us = 3600 * USEC_PER_SEC;
	rig_group();
	cl.ecn = true;
	cl.sack = _i % 4 != 3;
	cl.ts = _i % 3 == 0;
	cl.mss = _i % 5 == 0 ? 100 : 0;
	sender_connect(dice(200 * MS));
	for (i = 0; i < 600; i++)
		one_claim(&written);
	cl.wnd = 512;
	for (i = 0; i < 3000 && acked < written; i++) {
		if (rig_blk(&cl) && sender_blk()->snd_una - at(0) > acked)
			acked = sender_blk()->snd_una - at(0);
		while (acked < written && got[acked])
			acked++;
		if (!rig_blk(&cl)) { /* at rest: all of it is acknowledged */
			acked = (uint32_t)rig_rec(&cl)->snd_off;
			break;
		}
		report_honestly(acked);
		sender_ack_flags(acked, 0);
		rig_events(cl.ri);
		rig_pass_us(i < 2000 ? 20 * MS : 2000 * MS);
		take(cl.sack ? 20 : 5);
	}
	ck_assert_msg(acked == written, "seed %d: stuck at %u of %u", _i, acked,
		      written);
	rig_pass_us(200 * USEC_PER_SEC);
	rig_events(cl.ri);
	ck_assert_ptr_null(rig_blk(&cl));
}
END_TEST

UNIT_MAIN(
	"stack/sack",
	UNIT_LOOP("number", 2, up, rig_down,
		  test_sack_at_most_four_blocks_and_three_with_timestamps),
	UNIT_CASE("report", up, rig_down,
		  test_sack_reports_the_latest_block_first,
		  test_sack_joins_blocks_that_touch,
		  test_sack_block_that_is_reached_is_reported_no_more,
		  test_sack_is_not_sent_to_who_did_not_ask,
		  test_sack_says_nothing_of_text_that_was_not_kept,
		  test_sack_is_silent_about_what_is_held_in_sequence,
		  test_sack_data_segments_leave_room_for_it,
		  test_sack_goes_by_itself_when_data_has_no_room_for_it,
		  test_dsack_reports_old_text_once,
		  test_dsack_reports_the_old_part_of_a_segment,
		  test_dsack_beyond_a_gap_stands_before_the_block_it_lies_in,
		  test_dsack_of_what_is_held_waits_for_its_acknowledgement),
	UNIT_CASE(
		"believe", up, rig_down, test_sack_marks_whole_segments_alone,
		test_sack_of_what_was_not_sent_is_ignored,
		test_sack_below_snd_una_marks_nothing,
		test_sack_ack_in_the_midst_of_a_sacked_segment_delivers_it_once,
		test_sack_chunk_of_a_split_segment_is_found_after_the_first_half_left),
	UNIT_LOOP("claims", 24, up, rig_down,
		  test_sack_whatever_a_client_claims_the_rest_still_arrives))
