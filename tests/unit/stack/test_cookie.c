/* SPDX-License-Identifier: BSD-2-Clause */
/* SYN cookies: RFC 4987 section 3.6. */
#include <string.h>

#include "../unit.h"
#include "rig.h"
#include "stack/conn.h"
#include "stack/cookie.h"

#define PERIOD COOKIE_PERIOD_US

static void up(void)
{
	rig_up();
	rig.st->limits.syn_cookies = STACK_COOKIES_ALWAYS;
}

static void down(void)
{
	rig_down();
}

static struct rig_out *syn(struct rig_client *cl)
{
	struct rig_out *out;

	rig_input(cl, &(struct rig_seg){ .flags = TH_SYN,
					 .seq = cl->iss,
					 .syn_options = true });
	out = rig_expect(cl, TH_SYN | TH_ACK);
	ck_assert_uint_eq(out->ack, cl->iss + 1);
	cl->srv_iss = out->seq;
	cl->srv_shift = out->wscale;
	return out;
}

static void find(struct rig_client *cl)
{
	cl->ri = bitmap_next_used(&rig.shard.rec_map, 0);
	ck_assert_uint_ne(cl->ri, BITMAP_NONE);
}

static struct tuple tuple4(void)
{
	return (struct tuple){ .remote = { 198, 51, 100, 7 },
			       .remote_port = 1000,
			       .local_port = RIG_PORT };
}

START_TEST(test_syn_leaves_no_state)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1000);
	cl.v6 = _i;
	syn(&cl);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 0);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.blk_map), 0);
	ck_assert_uint_eq(rig.st->half_open, 0);
	ck_assert_uint_eq(rig_counter(SC_cookies_sent), 1);
}
END_TEST

START_TEST(test_ack_makes_the_connection)
{
	struct rig_client cl = { 0 };
	struct rec *r;

	rig_client(&cl, 1000);
	cl.v6 = _i;
	syn(&cl);
	rig_pass_us(200000);
	rig_ack(&cl);
	rig_expect_nothing();
	find(&cl);
	r = rig_rec(&cl);
	ck_assert_str_eq(tcp_state_name(r->state), "ESTABLISHED");
	ck_assert_uint_eq(r->irs, cl.iss);
	ck_assert_uint_eq(r->iss, cl.srv_iss);
	ck_assert_uint_eq(r->mss, _i ? 1440 : 1460);
	ck_assert(r->flags & REC_TS && r->flags & REC_WSCALE);
	ck_assert_uint_eq(r->wscale & 0xf, 7);
	ck_assert_uint_eq(r->wscale >> 4, cl.srv_shift);
	ck_assert_uint_eq(r->ts_recent, 7000);
	ck_assert_uint_eq(r->snd_wnd, 512);
	ck_assert_uint_eq(rig_counter(SC_cookies_accepted), 1);
	ck_assert_uint_eq(rig_counter(SC_conn_accepted), 1);
	ck_assert_uint_eq(rig.shared_count, 1);
	ck_assert_uint_eq(rig.st->half_open, 0);
	/* Idle, as any other. */
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.blk_map), 0);
}
END_TEST

START_TEST(test_both_ways_carry_text)
{
	struct rig_client cl = { 0 };
	struct rig_out *out;

	rig_client(&cl, 1000);
	syn(&cl);
	rig_ack(&cl);
	find(&cl);
	rig_send(&cl, "request");
	ck_assert(rig_events(cl.ri) & STACK_EV_DATA);
	rig_expect_text(&cl, "request");
	rig_reply(&cl, 7, "reply");
	out = rig_expect(&cl, TH_ACK | TH_PSH);
	ck_assert_uint_eq(out->len, 5);
	ck_assert_uint_eq(out->ack, cl.snd_nxt);
	rig_ack(&cl);
	rig_expect_nothing();
}
END_TEST

/* The pure ACK was lost: the first text is as good. */
START_TEST(test_text_with_the_ack_is_taken)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1000);
	syn(&cl);
	rig_send(&cl, "request");
	find(&cl);
	rig_expect_text(&cl, "request");
}
END_TEST

START_TEST(test_fin_with_the_ack_is_taken)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1000);
	syn(&cl);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK | TH_FIN,
					  .seq = cl.snd_nxt,
					  .ack = cl.rcv_nxt,
					  .data = "bye",
					  .len = 3 });
	find(&cl);
	ck_assert_str_eq(tcp_state_name(rig_rec(&cl)->state), "CLOSE-WAIT");
	rig_expect_text(&cl, "bye");
}
END_TEST

START_TEST(test_announced_group_hears_of_it)
{
	struct rig_client cl = { 0 };

	rig.group.announce = true;
	rig_group();
	rig_client(&cl, 1000);
	syn(&cl);
	rig_ack(&cl);
	find(&cl);
	ck_assert(rig_events(cl.ri) & STACK_EV_OPEN);
}
END_TEST

static const uint64_t ages[] = { 0, 63999999, 64000000, 127999999 };

START_TEST(test_good_in_its_period_and_the_next)
{
	struct rig_client cl = { 0 };

	rig.now_us = 5 * PERIOD;
	rig_client(&cl, 1000);
	syn(&cl);
	rig_pass_us(ages[_i]);
	rig_ack(&cl);
	ck_assert_uint_eq(rig_counter(SC_cookies_accepted), 1);
}
END_TEST

START_TEST(test_too_old_is_reset)
{
	struct rig_client cl = { 0 }, other = { 0 };

	rig.now_us = 5 * PERIOD;
	rig_client(&cl, 1000);
	syn(&cl);
	rig_pass_us(2 * PERIOD - 1);
	/* Another one is sent: cookies are still looked for. */
	rig_client(&other, 1001);
	syn(&other);
	rig_pass_us(1);
	rig_ack(&cl);
	rig_expect(&cl, TH_RST);
	ck_assert_uint_eq(rig_counter(SC_cookies_failed), 1);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 0);
}
END_TEST

/* No cookies sent of late: no ACK is one, not even a good one. */
START_TEST(test_not_looked_for_when_none_was_sent)
{
	struct rig_client cl = { 0 };
	struct tuple tuple = tuple4();

	rig_client(&cl, 1000);
	cl.rcv_nxt = cookie_make(rig.st, &tuple, cl.iss, 1460, rig.now_us) + 1;
	rig_ack(&cl);
	rig_expect(&cl, TH_RST);
	ck_assert_uint_eq(rig_counter(SC_cookies_failed), 0);
	ck_assert_uint_eq(rig_counter(SC_drop_no_conn), 1);
	/* And that it was good shows once cookies are sent. */
	rig.st->cookies_until_us = UINT64_MAX;
	rig_ack(&cl);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_cookies_accepted), 1);
}
END_TEST

/* Each part of what a cookie was made for counts. */
START_TEST(test_of_another_connection_is_reset)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1000);
	syn(&cl);
	switch (_i) {
	case 0:
		cl.port++;
		break;
	case 1:
		cl.snd_nxt++;
		break;
	case 2:
		cl.host++;
		break;
	case 3:
		cl.rcv_nxt += 8; /* beyond the MSS */
		break;
	default:
		cl.rcv_nxt ^= 0x80000000;
		break;
	}
	rig_ack(&cl);
	ck_assert_uint_eq(rig_expect(&cl, TH_RST)->seq, cl.rcv_nxt);
	ck_assert_uint_eq(rig_counter(SC_cookies_failed), 1);
}
END_TEST

START_TEST(test_rst_and_synack_are_no_cookies)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1000);
	syn(&cl);
	rig_input(&cl, &(struct rig_seg){ .flags = _i ? TH_RST | TH_ACK
						      : TH_SYN | TH_ACK,
					  .seq = cl.snd_nxt,
					  .ack = cl.rcv_nxt });
	if (!_i)
		rig_expect(&cl, TH_RST);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_cookies_accepted), 0);
	ck_assert_uint_eq(rig_counter(SC_cookies_failed), 0);
}
END_TEST

START_TEST(test_mss_is_the_largest_of_the_table_not_above)
{
	struct tuple tuple = tuple4();
	uint32_t iss;
	uint16_t got, last = 0;

	tuple.v6 = _i;
	for (uint16_t mss = TCP_MSS_MIN; mss < 9100; mss++) {
		iss = cookie_make(rig.st, &tuple, 0xfffffff0, mss, rig.now_us);
		got = cookie_check(rig.st, &tuple, 0xfffffff0, iss, rig.now_us);
		ck_assert_uint_le(got, mss);
		ck_assert_uint_ge(got, last);
		last = got;
		if (mss == (_i ? 1440 : 1460) || mss == 536)
			ck_assert_uint_eq(got, mss);
	}
	ck_assert_uint_eq(last, _i ? 8940 : 8960);
}
END_TEST

START_TEST(test_mss_below_the_table_is_the_least)
{
	struct tuple tuple = tuple4();
	uint32_t iss = cookie_make(rig.st, &tuple, 7, 1, rig.now_us);

	ck_assert_uint_eq(cookie_check(rig.st, &tuple, 7, iss, rig.now_us),
			  TCP_MSS_MIN);
}
END_TEST

/* RFC 7323 5.3: what the client sees of our timestamps never goes back. */
START_TEST(test_timestamp_is_never_ahead)
{
	static const struct rec recs[] = {
		{ .flags = REC_TS },
		{ .flags = REC_TS | REC_WSCALE, .wscale = 0 },
		{ .flags = REC_TS | REC_WSCALE | REC_SACK, .wscale = 14 },
		{ .flags = REC_TS | REC_SACK | REC_ECN },
	};
	const struct rec *r = &recs[_i];

	for (uint32_t now = 0xffffff00; now != 0x100; now++) {
		uint32_t ts = cookie_ts_pack(r, now);
		struct rec back = { .flags = REC_TS };

		ck_assert_uint_lt(now - ts, 128);
		cookie_ts_unpack(&back, ts, 4);
		ck_assert_uint_eq(back.flags, r->flags);
		if (r->flags & REC_WSCALE)
			ck_assert_uint_eq(back.wscale, r->wscale | 4 << 4);
	}
}
END_TEST

START_TEST(test_later_timestamps_are_not_behind_it)
{
	struct rig_client cl = { 0 };
	uint32_t tsval;

	for (uint16_t i = 0; i < 64; i++) {
		memset(&cl, 0, sizeof(cl));
		rig_client(&cl, (uint16_t)(1000 + i));
		tsval = syn(&cl)->tsval;
		rig_send(&cl, "x");
		cl.ri = bitmap_next_used(&rig.shard.rec_map, 0);
		rig_expect_text(&cl, "x");
		rig_reply(&cl, 1, "y");
		ck_assert_int_ge(
			(int32_t)(rig_expect(&cl, TH_ACK | TH_PSH)->tsval -
				  tsval),
			0);
		stack_abort(rig.st, cl.ri, rig.now_us);
		stack_flush(rig.st, rig.now_us);
		rig_events(cl.ri);
		rig_expect(&cl, TH_RST | TH_ACK);
		rig_pass_us(1000);
	}
}
END_TEST

START_TEST(test_without_timestamps_options_are_lost)
{
	struct rig_client cl = { 0 };
	struct rig_out *out;

	rig_client(&cl, 1000);
	cl.ts = false;
	out = syn(&cl);
	ck_assert(out->has_mss && !out->has_wscale && !out->has_ts);
	rig_ack(&cl);
	find(&cl);
	ck_assert_uint_eq(
		rig_rec(&cl)->flags & (REC_TS | REC_WSCALE | REC_SACK), 0);
	ck_assert_uint_eq(rig_rec(&cl)->wscale, 0);
}
END_TEST

/* ECN is for groups that have it, SACK for who asks; both come back. */
START_TEST(test_sack_and_ecn_are_kept)
{
	uint16_t want = _i & 1 ? REC_ECN : 0;
	struct rig_client cl = { 0 };
	struct rec r = { .flags = REC_TS | REC_SACK | REC_ECN };

	rig.group.ecn = _i & 1;
	rig_group();
	rig_client(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN | TH_ECE | TH_CWR,
					  .seq = cl.iss,
					  .syn_options = true });
	rig_expect(&cl, want ? TH_SYN | TH_ACK | TH_ECE : TH_SYN | TH_ACK);
	if (_i & 2) /* asked for what it was not offered */
		cl.tsecr = cookie_ts_pack(&r, cl.tsecr);
	rig_ack(&cl);
	find(&cl);
	ck_assert_uint_eq(rig_rec(&cl)->flags & REC_ECN, want);
	ck_assert_uint_eq(rig_rec(&cl)->flags & REC_SACK,
			  _i & 2 ? REC_SACK : 0);
}
END_TEST

/* The window that the SYN-ACK promised holds (RFC 9293 3.8.6). */
START_TEST(test_window_is_what_was_promised)
{
	static char text[1460];
	struct rig_client cl = { 0 };
	uint32_t wnd, sent = 0;

	rig_client(&cl, 1000);
	wnd = syn(&cl)->wnd;
	ck_assert_uint_ge(wnd, 32768);
	rig_ack(&cl);
	find(&cl);
	while (sent + sizeof(text) <= wnd) {
		rig_send_bytes(&cl, text, sizeof(text));
		sent += sizeof(text);
	}
	ck_assert_uint_eq(rig_blk(&cl)->rcv_nxt, cl.iss + 1 + sent);
}
END_TEST

START_TEST(test_repeated_ack_is_an_ordinary_segment)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1000);
	syn(&cl);
	rig_ack(&cl);
	rig_ack(&cl);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_cookies_accepted), 1);
}
END_TEST

START_TEST(test_full_group_resets_the_ack)
{
	struct rig_client cl = { 0 }, other = { 0 };

	rig.group.max_connections = 1;
	rig_group();
	rig_client(&cl, 1000);
	rig_client(&other, 1001);
	syn(&cl);
	syn(&other);
	rig_ack(&cl);
	rig_expect_nothing();
	rig_ack(&other);
	rig_expect(&other, TH_RST);
	ck_assert_uint_eq(rig_counter(SC_drop_group_full), 1);
	ck_assert_uint_eq(rig.shared_count, 1);
}
END_TEST

START_TEST(test_application_groups_use_none)
{
	struct rig_client cl = { 0 };

	rig.group.accept = STACK_ACCEPT_APPLICATION;
	rig_group();
	rig_client(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_cookies_sent), 0);
	ck_assert_uint_eq(rig.st->half_open, 1);
}
END_TEST

/* Groups of one port: the ACK goes to one that takes cookies. */
START_TEST(test_ack_goes_to_an_auto_group_of_the_port)
{
	struct stack_group app = rig.group;
	struct rig_client cl = { 0 };

	rig_client(&cl, 1000);
	syn(&cl);
	app.id = 2;
	app.priority = 1;
	app.accept = STACK_ACCEPT_APPLICATION;
	app.shared_count = NULL;
	ck_assert_int_eq(stack_group_set(rig.st, &app), 0);
	rig_ack(&cl);
	rig_expect_nothing();
	find(&cl);
	ck_assert_uint_eq(rig_rec(&cl)->group, 1);
}
END_TEST

/*
 * The first SYN was answered with a cookie that came late; the second one made
 * a record. The client goes by the first answer it sees.
 */
START_TEST(test_cookie_counts_where_a_record_waits)
{
	struct rig_client cl = { 0 }, late;

	rig_client(&cl, 1000);
	syn(&cl);
	late = cl;
	rig.st->limits.syn_cookies = STACK_COOKIES_AUTO;
	rig_pass_us(1000000);
	syn(&cl);
	ck_assert_uint_eq(rig.st->half_open, 1);
	ck_assert_uint_ne(cl.rcv_nxt, late.rcv_nxt);
	rig_send(&late, "hello");
	rig_expect_nothing();
	find(&late);
	ck_assert_str_eq(tcp_state_name(rig_rec(&late)->state), "ESTABLISHED");
	rig_expect_text(&late, "hello");
	rig_reply(&late, 5, "hi");
	ck_assert_uint_eq(rig_expect(&late, TH_ACK | TH_PSH)->seq,
			  late.srv_iss + 1);
}
END_TEST

START_TEST(test_pressure_is_a_share_of_half_open_connections)
{
	struct rig_client cl = { 0 };

	rig.st->limits.syn_cookies = STACK_COOKIES_AUTO;
	rig.st->limits.half_open_cookies = 3;
	for (uint16_t i = 0; i < 5; i++) {
		rig_client(&cl, (uint16_t)(1000 + i));
		syn(&cl);
	}
	ck_assert_uint_eq(rig.st->half_open, 3);
	ck_assert_uint_eq(rig_counter(SC_cookies_sent), 2);
	/* The last of the records are kept for those who complete. */
	rig.st->limits.half_open_cookies = 100;
	while (bitmap_used_count(&rig.shard.rec_map) < 63) {
		rig_client(&cl, ++cl.port);
		syn(&cl);
	}
	ck_assert_uint_eq(rig_counter(SC_cookies_sent), 2);
	rig_client(&cl, ++cl.port);
	syn(&cl);
	ck_assert_uint_eq(rig_counter(SC_cookies_sent), 3);
	rig_ack(&cl);
	rig_expect_nothing();
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 64);
	rig_client(&cl, ++cl.port);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN, .seq = cl.iss });
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_drop_no_record), 1);
}
END_TEST

START_TEST(test_never_means_never)
{
	struct rig_client cl = { 0 };

	rig.st->limits.syn_cookies = STACK_COOKIES_NEVER;
	rig.st->limits.half_open_cookies = 0;
	rig.st->limits.half_open_max = 1;
	rig_client(&cl, 1000);
	syn(&cl);
	rig_client(&cl, 1001);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN, .seq = cl.iss });
	rig_expect_nothing();
	ck_assert_uint_eq(rig_counter(SC_drop_half_open), 1);
	ck_assert_uint_eq(rig_counter(SC_cookies_sent), 0);
}
END_TEST

/* Of all values for one tuple, 16 are good: 8 MSS, 2 periods. */
START_TEST(test_guesses_fail)
{
	struct tuple tuple = tuple4();
	uint32_t hits = 0, iss;

	iss = cookie_make(rig.st, &tuple, 99, 1460, rig.now_us);
	for (uint32_t d = 1; d < 100000; d++) {
		if ((iss ^ (iss + d)) >= 8)
			hits += !!cookie_check(rig.st, &tuple, 99, iss + d,
					       rig.now_us);
	}
	ck_assert_uint_eq(hits, 0);
}
END_TEST

static void up_many(void)
{
	rig_max_connections = 2048;
	rig_up();
}

/* half-open-max may be far more than there are records. */
START_TEST(test_flood_leaves_records_for_those_who_are_there)
{
	struct rig_client flood = { 0 }, cl = { 0 };

	rig.st->limits.half_open_max = rig.st->limits.half_open_cookies = 65536;
	for (uint32_t i = 0; i < 4000; i++) {
		rig_client(&flood, (uint16_t)(2000 + i));
		syn(&flood);
	}
	ck_assert_uint_gt(rig_counter(SC_cookies_sent), 2000);
	ck_assert_uint_le(rig.st->half_open, 2048 / 3 + 1);
	for (uint16_t i = 0; i < 1000; i++) {
		memset(&cl, 0, sizeof(cl));
		rig_connect(&cl, (uint16_t)(10000 + i));
	}
	ck_assert_uint_eq(rig_counter(SC_drop_no_record), 0);
	ck_assert_uint_eq(rig.st->established, 1000);
}
END_TEST

UNIT_MAIN("stack/cookie",
	  UNIT_LOOP("families", 2, up, down, test_syn_leaves_no_state,
		    test_ack_makes_the_connection,
		    test_mss_is_the_largest_of_the_table_not_above,
		    test_rst_and_synack_are_no_cookies),
	  UNIT_LOOP("ages", 4, up, down, test_good_in_its_period_and_the_next),
	  UNIT_LOOP("others", 5, up, down, test_of_another_connection_is_reset),
	  UNIT_LOOP("options", 4, up, down, test_timestamp_is_never_ahead,
		    test_sack_and_ecn_are_kept),
	  UNIT_CASE("one", up, down, test_both_ways_carry_text,
		    test_text_with_the_ack_is_taken,
		    test_fin_with_the_ack_is_taken,
		    test_announced_group_hears_of_it, test_too_old_is_reset,
		    test_not_looked_for_when_none_was_sent,
		    test_mss_below_the_table_is_the_least,
		    test_later_timestamps_are_not_behind_it,
		    test_without_timestamps_options_are_lost,
		    test_window_is_what_was_promised,
		    test_repeated_ack_is_an_ordinary_segment,
		    test_full_group_resets_the_ack,
		    test_application_groups_use_none,
		    test_ack_goes_to_an_auto_group_of_the_port,
		    test_cookie_counts_where_a_record_waits,
		    test_pressure_is_a_share_of_half_open_connections,
		    test_never_means_never, test_guesses_fail),
	  UNIT_CASE("flood", up_many, down,
		    test_flood_leaves_records_for_those_who_are_there))
