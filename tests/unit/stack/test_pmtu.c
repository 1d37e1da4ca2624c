/* SPDX-License-Identifier: BSD-2-Clause */
/* Path MTU: RFC 1191, 8201, 5927 section 7, 4821. Timestamps take 12 bytes. */
#include <string.h>

#include "../unit.h"
#include "rig.h"

#define MINUTE_US UINT64_C(60000000)

static struct rig_client cl;
static char data[65536];

static void connect_client(bool v6)
{
	struct rec *r;

	memset(&cl, 0, sizeof(cl));
	rig_client(&cl, 1000);
	cl.v6 = v6;
	rig_connect(&cl, 1000);
	/* Sequence numbers wrap within the first flight. */
	r = rig_rec(&cl);
	r->iss = 0u - 700 - 1 - (uint32_t)r->snd_off;
	cl.rcv_nxt = 0u - 700;
}

/* Queue bytes; they go as the window lets them. */
static void push(uint32_t len)
{
	ck_assert_int_eq(stack_reply(rig.st, cl.ri, rig_rec(&cl)->rcv_off, 0,
				     data, len, rig.now_us),
			 len);
	stack_flush(rig.st, rig.now_us);
}

static void connected(bool v6)
{
	connect_client(v6);
	ck_assert_uint_eq(rig_rec(&cl)->mss, v6 ? 1440 : 1460);
}

/* The client acknowledges up to n bytes beyond what it had. */
static void acknowledge(uint32_t n)
{
	cl.rcv_nxt += n;
	rig_ack(&cl);
	rig_events(cl.ri);
}

static void too_big(const struct rig_out *out, uint32_t mtu)
{
	rig_error(out, out->v6 ? 2 : 3, out->v6 ? 0 : 4, mtu,
		  out->v6 ? 48 : 28);
}

/* The largest payload among the segments sent since; they are contiguous. */
static uint32_t resent(uint32_t from, uint32_t bytes)
{
	uint32_t largest = 0, at = from;

	while (rig.seen < rig.n_out) {
		struct rig_out *out = &rig.out[rig.seen++ % RIG_OUT_MAX];

		if (!out->len)
			continue;
		ck_assert_uint_eq(out->seq, at);
		at += out->len;
		if (out->len > largest)
			largest = out->len;
	}
	ck_assert_uint_eq(at - from, bytes);
	return largest;
}

START_TEST(test_too_big_lowers_the_mss_and_sends_again_at_once)
{
	bool v6 = _i;
	uint32_t cwnd;
	struct rig_out *out;

	connected(v6);
	push(6000);
	out = rig_expect(NULL, TH_ACK);
	ck_assert_uint_eq(out->len, v6 ? 1428 : 1448);
	ck_assert_uint_eq(out->packet_len, 1500);
	rig.seen = rig.n_out;
	cwnd = rig_blk(&cl)->cc.cwnd;
	too_big(out, 1400);
	ck_assert_uint_eq(rig_counter(SC_pmtu_lowered), 1);
	ck_assert_uint_eq(rig_rec(&cl)->mss, v6 ? 1340 : 1360);
	/* Four of five: the last one is small enough. */
	ck_assert_uint_eq(resent(cl.rcv_nxt, v6 ? 5712 : 5792),
			  v6 ? 1328 : 1348);
	ck_assert_uint_eq(rig_blk(&cl)->cc.cwnd, cwnd);
	ck_assert_uint_eq(rig_counter(SC_rto_fired), 0);
	acknowledge(6000);
	/* It holds over idleness. */
	rig_pass_us(MINUTE_US);
	ck_assert_ptr_null(rig_blk(&cl));
	push(3000);
	ck_assert_uint_eq(resent(cl.rcv_nxt, 3000), v6 ? 1328 : 1348);
	acknowledge(3000);
}
END_TEST

/*
 * A black hole: the head is cut, and only its first part goes. In the turn in
 * which that is acknowledged another connection takes its memory.
 */
START_TEST(test_each_part_of_what_was_too_big_stands_for_itself)
{
	uint32_t full = _i ? 1428 : 1448, part = _i ? 1208 : 1012;
	struct rig_client other = { 0 };
	struct rig_out *out;
	uint8_t buf[2048];
	struct seg seg;

	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i / 7);
	rig_client(&other, 2000);
	rig_connect(&other, 2000);
	connected(_i);
	push(full);
	cl.wnd = 10; /* of 128 bytes: room for the first part alone */
	rig_ack(&cl);
	while (!rig_counter(SC_pmtu_black_holes))
		rig_pass_us(10000);
	/* It acknowledges what was sent last: no spurious time-out (RFC 3522). */
	cl.tsecr = rig.out[(rig.n_out - 1) % RIG_OUT_MAX].tsval;
	rig.seen = rig.n_out;
	cl.wnd = 512;
	cl.rcv_nxt += part;
	ck_assert(stack_parse(rig.st, buf,
			      rig_build(&cl,
					&(struct rig_seg){ .flags = TH_ACK,
							   .seq = cl.snd_nxt,
							   .ack = cl.rcv_nxt },
					buf),
			      &seg));
	stack_input(rig.st, &seg, rig.now_us);
	ck_assert_int_eq(stack_reply(rig.st, other.ri, 0, 0, data + 9, 1400,
				     rig.now_us),
			 1400);
	stack_flush(rig.st, rig.now_us);
	do
		out = rig_expect(NULL, TH_ACK | TH_PSH);
	while (out->dst_port != cl.port);
	ck_assert_uint_eq(out->seq, cl.rcv_nxt);
	ck_assert_uint_eq(out->len, full - part);
	ck_assert_int_eq(memcmp(out->payload, data + part, out->len), 0);
	rig.seen = rig.n_out;
	acknowledge(full - part);
}
END_TEST

START_TEST(test_a_fin_of_a_segment_that_is_too_big_goes_again)
{
	uint32_t full = _i ? 1428 : 1448;
	struct rig_out *out;

	connected(_i);
	ck_assert_int_eq(
		stack_reply(rig.st, cl.ri, 0, 0, data, full, rig.now_us), full);
	stack_shutdown(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	out = rig_expect(NULL, TH_ACK | TH_PSH | TH_FIN);
	too_big(out, 1300);
	ck_assert_uint_eq(rig_expect(NULL, TH_ACK)->len, full - 200);
	ck_assert_uint_eq(rig_expect(NULL, TH_ACK | TH_PSH | TH_FIN)->len, 200);
	rig_expect_nothing();
	acknowledge(full + 1);
	ck_assert_str_eq(tcp_state_name(rig_rec(&cl)->state), "FIN-WAIT-2");
}
END_TEST

struct claim {
	bool v6;
	uint32_t mtu;
	uint16_t mss; /* afterwards */
};

static const struct claim claims[] = {
	{ false, 1500, 1460 }, /* as large as the packet: it fits */
	{ false, 1501, 1460 },
	{ false, 65535, 1460 },
	{ false, 1499, 1459 },
	{ false, 576, 536 },
	{ false, 552, 512 },
	{ false, 551, 512 }, /* our bound */
	{ false, 68, 512 },
	{ false, 67, 1460 }, /* RFC 1191: impossible */
	{ false, 1, 1460 },
	{ false, 0, 1452 }, /* an old router: the next plateau, 1492 */
	{ false, 0x12340000 | 1400, 1360 }, /* the upper half is unused */
	{ true, 1500, 1440 },
	{ true, 0xffffffff, 1440 },
	{ true, 1499, 1439 },
	{ true, 1280, 1220 },
	{ true, 1279, 1440 }, /* RFC 8201: to be discarded */
	{ true, 68, 1440 },
	{ true, 0, 1440 },
};

START_TEST(test_claims_within_bounds_count_others_are_ignored)
{
	const struct claim *claim = &claims[_i];
	uint16_t full = claim->v6 ? 1440 : 1460;
	struct rig_out *out;

	connected(claim->v6);
	push(1400 * 3);
	out = rig_expect(NULL, TH_ACK);
	rig.seen = rig.n_out;
	too_big(out, claim->mtu);
	ck_assert_uint_eq(rig_rec(&cl)->mss, claim->mss);
	ck_assert_uint_eq(rig_counter(SC_pmtu_lowered), claim->mss != full);
	ck_assert_uint_eq(rig_counter(SC_pmtu_ignored), claim->mss == full);
	if (claim->mss == full)
		rig_expect_nothing();
	rig.seen = rig.n_out;
	acknowledge(4200);
}
END_TEST

START_TEST(test_a_claim_that_quotes_a_smaller_packet_contradicts_itself)
{
	struct rig_out *out;

	connected(_i);
	push(1000);
	out = rig_expect(NULL, TH_ACK | TH_PSH);
	too_big(out, 1400);
	ck_assert_uint_eq(rig_counter(SC_pmtu_ignored), 1);
	ck_assert_uint_eq(rig_rec(&cl)->mss, _i ? 1440 : 1460);
	acknowledge(1000);
}
END_TEST

START_TEST(test_plateaus_are_taken_once_per_flight)
{
	struct rig_out first, second;

	connected(false);
	push(4000);
	first = *rig_expect(NULL, TH_ACK);
	second = *rig_expect(NULL, TH_ACK);
	too_big(&first, 0);
	ck_assert_uint_eq(rig_rec(&cl)->mss, 1452);
	too_big(&second, 0); /* also 1500 bytes: old news */
	ck_assert_uint_eq(rig_rec(&cl)->mss, 1452);
	ck_assert_uint_eq(rig_counter(SC_pmtu_ignored), 1);
	/* What was sent again is still too big. */
	too_big(&rig.out[(rig.n_out - 2) % RIG_OUT_MAX], 0);
	ck_assert_uint_eq(rig_rec(&cl)->mss, 966);
	rig.seen = rig.n_out;
	acknowledge(4000);
}
END_TEST

/* One full segment was acknowledged, so the path had passed them. */
static struct rig_out *full_ones_passed(bool v6)
{
	struct rig_out *out;
	uint32_t full = v6 ? 1428 : 1448;

	connected(v6);
	push(full + 3000);
	rig_expect(NULL, TH_ACK);
	out = rig_expect(NULL, TH_ACK);
	rig.seen = rig.n_out;
	acknowledge(full);
	return out;
}

START_TEST(test_a_claim_against_what_passed_is_disproved_by_an_ack)
{
	struct rig_out *out = full_ones_passed(_i);
	uint16_t full = _i ? 1440 : 1460;

	rig.seen = rig.n_out;
	too_big(out, 1300);
	ck_assert_uint_eq(rig_counter(SC_pmtu_pending), 1);
	ck_assert_uint_eq(rig_rec(&cl)->mss, full);
	rig_expect_nothing();
	acknowledge(out->len);
	ck_assert_uint_eq(rig_counter(SC_pmtu_disproved), 1);
	/* A time-out of something later proves nothing. */
	rig_pass_us(300000);
	ck_assert_uint_eq(rig_counter(SC_rto_fired), 1);
	ck_assert_uint_eq(rig_rec(&cl)->mss, full);
	rig.seen = rig.n_out;
	acknowledge(3000 - out->len);
}
END_TEST

START_TEST(test_a_claim_against_what_passed_is_confirmed_by_a_time_out)
{
	struct rig_out *out = full_ones_passed(_i);

	rig.seen = rig.n_out;
	too_big(out, 1300);
	too_big(out, 1290); /* one at a time */
	ck_assert_uint_eq(rig_counter(SC_pmtu_pending), 2);
	rig_expect_nothing();
	rig_pass_us(300000);
	ck_assert_uint_eq(rig_counter(SC_pmtu_lowered), 1);
	ck_assert_uint_eq(rig_rec(&cl)->mss, _i ? 1240 : 1260);
	out = rig_expect(NULL, TH_ACK);
	ck_assert_uint_eq(out->len, _i ? 1228 : 1248);
	/* The next router on the new path is believed at once. */
	too_big(out, 1280);
	ck_assert_uint_eq(rig_rec(&cl)->mss, _i ? 1220 : 1240);
	rig.seen = rig.n_out;
	acknowledge(3000);
}
END_TEST

START_TEST(test_forged_sequence_numbers_lower_nothing)
{
	struct rig_out forged;
	uint8_t *p;

	connected(_i);
	push(6000);
	forged = *rig_expect(NULL, TH_ACK);
	rig.seen = rig.n_out;
	p = forged.head + (_i ? 44 : 24);
	for (uint32_t i = 0; i < 10000; i++) {
		uint32_t seq = cl.rcv_nxt + 6000 + i * 429000;

		for (int k = 0; k < 4; k++)
			p[k] = (uint8_t)(seq >> (24 - 8 * k));
		too_big(&forged, 1280);
	}
	ck_assert_uint_eq(rig_counter(SC_icmp_no_flight), 10000);
	ck_assert_uint_eq(rig_rec(&cl)->mss, _i ? 1440 : 1460);
	rig_expect_nothing();
	acknowledge(6000);
}
END_TEST

/* Every value there is, a hundred times: one step down each, and no more. */
START_TEST(test_a_storm_of_claims_costs_a_bounded_number_of_segments)
{
	struct rig_out out;
	uint32_t sent;

	connected(_i);
	push(14000);
	out = *rig_expect(NULL, TH_ACK);
	sent = rig.n_out;
	for (uint32_t i = 0; i < 100000; i++)
		too_big(&out, i % 1500);
	ck_assert_uint_eq(rig_rec(&cl)->mss, _i ? 1220 : 512);
	ck_assert_uint_le(rig_counter(SC_pmtu_lowered), 3);
	ck_assert_uint_le(rig.n_out - sent, 3 * 30);
	ck_assert_uint_eq(rig_counter(SC_pmtu_lowered) +
				  rig_counter(SC_pmtu_ignored),
			  100000);
	rig.seen = rig.n_out;
	acknowledge(14000);
}
END_TEST

/* Whenever it was lowered, idle or not: 10 minutes at least, 15 at most. */
START_TEST(test_a_lowered_mss_comes_back_after_ten_minutes)
{
	bool v6 = _i & 1, busy = _i & 2;
	uint16_t full = v6 ? 1440 : 1460;
	uint64_t lowered;

	connected(v6);
	rig_pass_us((uint64_t)_i * 2 * MINUTE_US);
	push(3000);
	too_big(rig_expect(NULL, TH_ACK), 1300);
	lowered = rig.now_us;
	acknowledge(3000);
	while (rig_rec(&cl)->mss != full) {
		ck_assert_uint_le(rig.now_us - lowered,
				  15 * MINUTE_US + 10000000);
		ck_assert_uint_eq(rig_rec(&cl)->mss, 1300 - (v6 ? 60 : 40));
		rig_pass_us(5000000);
		if (busy) {
			push(10);
			acknowledge(10);
		}
	}
	ck_assert_uint_ge(rig.now_us - lowered, 10 * MINUTE_US);
	ck_assert_uint_eq(rig_counter(SC_pmtu_raised), 1);
	rig.seen = rig.n_out;
	push(3000);
	ck_assert_uint_eq(resent(cl.rcv_nxt, 3000), full - 12u);
	/* And may be lowered again. */
	too_big(&rig.out[(rig.n_out - 2) % RIG_OUT_MAX], 1300);
	ck_assert_uint_eq(rig_rec(&cl)->mss, 1300 - (v6 ? 60 : 40));
	rig.seen = rig.n_out;
	acknowledge(3000);
}
END_TEST

START_TEST(test_what_comes_back_is_never_above_what_the_client_allowed)
{
	uint16_t offered = (uint16_t)(500 + _i * 30), mss;

	connect_client(false);
	rig_rec(&cl)->mss = offered;
	push(4000);
	/* One step down, and another. */
	too_big(rig_expect(NULL, TH_ACK), offered + 40u - 8);
	ck_assert_uint_lt(rig_rec(&cl)->mss,
			  offered > 512 ? offered : offered + 1);
	rig.seen = rig.n_out;
	push(4000);
	too_big(rig_expect(NULL, TH_ACK), offered + 40u - 16);
	mss = rig_rec(&cl)->mss;
	acknowledge(8000);
	rig_pass_us(16 * MINUTE_US);
	ck_assert_uint_le(rig_rec(&cl)->mss, offered);
	ck_assert_uint_ge(rig_rec(&cl)->mss, mss);
	if (offered == 1460)
		ck_assert_uint_eq(rig_rec(&cl)->mss, 1460);
}
END_TEST

/* The wire allows 1500 bytes; a record says that 9000 came back. */
START_TEST(test_what_comes_back_fits_the_device)
{
	connected(_i);
	rig_rec(&cl)->flags |= REC_PMTU_CLASS;
	rig_rec(&cl)->mss = 1220;
	rig_pass_us(16 * MINUTE_US);
	ck_assert_uint_eq(rig_rec(&cl)->mss, _i ? 1440 : 1460);
}
END_TEST

START_TEST(test_time_outs_of_a_large_segment_find_a_black_hole)
{
	bool v6 = _i;

	connected(v6);
	push(6000);
	rig.seen = rig.n_out;
	rig_pass_us(300000); /* 0.2 s; the next at 0.6 */
	ck_assert_uint_eq(rig_counter(SC_rto_fired), 1);
	ck_assert_uint_eq(rig_rec(&cl)->mss, v6 ? 1440 : 1460);
	rig.seen = rig.n_out;
	rig_pass_us(400000);
	ck_assert_uint_eq(rig_counter(SC_rto_fired), 2);
	ck_assert_uint_eq(rig_counter(SC_pmtu_black_holes), 1);
	ck_assert_uint_eq(rig_rec(&cl)->mss, v6 ? 1220 : 1024);
	ck_assert_uint_eq(rig_expect(NULL, TH_ACK)->len, v6 ? 1208 : 1012);
	/* That was all that can be done about it. */
	rig_pass_us(10000000);
	ck_assert_uint_eq(rig_counter(SC_pmtu_black_holes), 1);
	rig.seen = rig.n_out;
	acknowledge(6000);
	rig_pass_us(16 * MINUTE_US);
	ck_assert_uint_eq(rig_rec(&cl)->mss, v6 ? 1440 : 1460);
}
END_TEST

START_TEST(test_time_outs_of_small_segments_are_no_black_hole)
{
	connected(_i);
	push(_i ? 1208 : 1012); /* with timestamps as large as the base */
	rig_pass_us(10000000);
	ck_assert_uint_gt(rig_counter(SC_rto_fired), 4);
	ck_assert_uint_eq(rig_counter(SC_pmtu_black_holes), 0);
	rig.seen = rig.n_out;
	acknowledge(_i ? 1208 : 1012);
}
END_TEST

START_TEST(test_an_ack_between_time_outs_is_no_black_hole)
{
	uint32_t full = _i ? 1428 : 1448;

	connected(_i);
	push(3 * full);
	for (int i = 0; i < 2; i++) {
		uint64_t fired = rig_counter(SC_rto_fired);

		while (rig_counter(SC_rto_fired) == fired)
			rig_pass_us(10000);
		acknowledge(full);
	}
	ck_assert_uint_eq(rig_counter(SC_rto_fired), 2);
	ck_assert_uint_eq(rig_counter(SC_pmtu_black_holes), 0);
	rig.seen = rig.n_out;
	acknowledge(full);
}
END_TEST

UNIT_MAIN(
	"stack/pmtu",
	UNIT_LOOP("claims", (int)(sizeof(claims) / sizeof(claims[0])), rig_up,
		  rig_down, test_claims_within_bounds_count_others_are_ignored),
	UNIT_CASE("IPv4", rig_up, rig_down,
		  test_plateaus_are_taken_once_per_flight),
	UNIT_LOOP("ageing", 8, rig_up, rig_down,
		  test_a_lowered_mss_comes_back_after_ten_minutes),
	UNIT_LOOP("offers", 33, rig_up, rig_down,
		  test_what_comes_back_is_never_above_what_the_client_allowed),
	UNIT_LOOP("both", 2, rig_up, rig_down,
		  test_too_big_lowers_the_mss_and_sends_again_at_once,
		  test_each_part_of_what_was_too_big_stands_for_itself,
		  test_a_fin_of_a_segment_that_is_too_big_goes_again,
		  test_a_claim_that_quotes_a_smaller_packet_contradicts_itself,
		  test_a_claim_against_what_passed_is_disproved_by_an_ack,
		  test_a_claim_against_what_passed_is_confirmed_by_a_time_out,
		  test_forged_sequence_numbers_lower_nothing,
		  test_a_storm_of_claims_costs_a_bounded_number_of_segments,
		  test_what_comes_back_fits_the_device,
		  test_time_outs_of_a_large_segment_find_a_black_hole,
		  test_time_outs_of_small_segments_are_no_black_hole,
		  test_an_ack_between_time_outs_is_no_black_hole))
