/* SPDX-License-Identifier: BSD-2-Clause */
/* Corners where timers, states and owed acknowledgements meet. */
#include <errno.h>
#include <string.h>

#include "../unit.h"
#include "base/seq.h"
#include "rig.h"

static char big[65536];

static void seg(struct rig_client *cl, uint8_t flags, uint32_t seq,
		uint32_t ack, const void *data, uint32_t len)
{
	rig_input(cl, &(struct rig_seg){ .flags = flags,
					 .seq = seq,
					 .ack = ack,
					 .data = data,
					 .len = len });
}

/* Input without the flush: several segments of one batch. */
static void in(struct rig_client *cl, struct rig_seg s)
{
	struct seg parsed;
	uint8_t buf[4096];
	uint32_t n = rig_build(cl, &s, buf);

	if (stack_parse(rig.st, buf, n, &parsed))
		stack_input(rig.st, &parsed, rig.now_us);
}

static void skip(void)
{
	rig.seen = rig.n_out;
}

static const char *state_of(const struct rig_client *cl)
{
	return tcp_state_name(rig_rec(cl)->state);
}

/* Half-closed by the application. */
static void half_close(struct rig_client *cl)
{
	rig_connect(cl, 1000);
	rig_rec(cl)->flags |= REC_TOLD;
	stack_shutdown(rig.st, cl->ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(cl, TH_ACK | TH_FIN);
	rig_ack(cl);
	rig_events(cl->ri);
}

START_TEST(test_last_ack_keeps_a_held_request)
{
	struct rig_client cl = { 0 };
	char buf[100];
	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	ck_assert_uint_eq(rig_deliver(&cl, buf, 100), 7);
	rig_rec(&cl)->flags |= REC_TOLD; /* as the daemon does */
	seg(&cl, TH_ACK | TH_FIN, cl.snd_nxt++, cl.rcv_nxt, NULL, 0);
	rig_events(cl.ri);
	stack_shutdown(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&cl, TH_ACK | TH_FIN);
	rig_blk(&cl)->app_list = 1; /* e.g. waits in the daemon */
	/* client acknowledges our FIN; its own request and FIN are still unacknowledged */
	rig_ack(&cl);
	ck_assert_str_eq(state_of(&cl), "LAST-ACK");
}
END_TEST

START_TEST(test_a_pool_full_of_gaps_takes_what_fills_them)
{
	struct rig_client a = { 0 }, b = { 0 };
	stack_pool_set(rig.st, 0, 16 * 512, 90, 75);
	rig_connect(&a, 1000);
	rig_connect(&b, 1001);
	for (uint32_t i = 0; i < 16; i++)
		seg(&a, TH_ACK, a.snd_nxt + 10 + i * 2, a.rcv_nxt, "x", 1);
	skip();
	/* all gaps' fill */
	rig_send_bytes(&a, big, 100);
	ck_assert_msg(rig_blk(&a)->rcv_nxt == a.snd_nxt,
		      "own hole can't be filled: pool_full=%u",
		      (unsigned)rig_counter(SC_drop_pool_full));
	rig_send(&b, "hello");
	ck_assert_uint_eq(rig_counter(SC_drop_pool_full), 0);
}
END_TEST

static uint32_t count_runs(const struct rig_client *cl)
{
	uint32_t n = 0;

	for (uint32_t i = rig_blk(cl)->ooo_head; i != NIL;
	     i = rig.st->rx_runs[i].next)
		n++;
	return n;
}

/* What should have closed a gap found room for its first half alone. */
START_TEST(test_runs_are_bounded_when_chunks_run_short)
{
	struct rig_client a = { 0 };

	rig_connect(&a, 1000);
	rig_send(&a, "x");
	rig_blk(&a)->rcv_adv += 200000;
	for (uint32_t i = 1; i <= 128; i++)
		seg(&a, TH_ACK, a.snd_nxt + i * 1000, a.rcv_nxt, "x", 1);
	ck_assert_uint_eq(count_runs(&a), 128);
	for (uint32_t i = 1; i <= 128; i++) {
		rig.st->limits.ooo_chunks_max =
			(uint16_t)(rig_blk(&a)->ooo_chunks + 1);
		seg(&a, TH_ACK, a.snd_nxt + i * 1000 - 998, a.rcv_nxt, big,
		    998);
		ck_assert_uint_le(count_runs(&a), 129);
		ck_assert_uint_eq(rig.st->rx_holders[rig_rec(&a)->block].runs,
				  count_runs(&a));
	}
	skip();
}
END_TEST

START_TEST(test_gaps_of_one_client_do_not_keep_out_another)
{
	struct rig_client a = { 0 }, b = { 0 };
	stack_pool_set(rig.st, 0, 16 * 512, 90, 75);
	rig_connect(&a, 1000);
	rig_connect(&b, 1001);
	for (uint32_t i = 0; i < 16; i++)
		seg(&a, TH_ACK, a.snd_nxt + 10 + i * 2, a.rcv_nxt, "x", 1);
	skip();
	for (int i = 0; i < 3600; i++) {
		rig_pass_us(1000000);
	}
	seg(&b, TH_ACK, b.snd_nxt, b.rcv_nxt, "hello", 5);
	ck_assert_uint_eq(rig_counter(SC_drop_pool_full), 0);
}
END_TEST

START_TEST(test_keepalive_does_not_end_the_orphans_timer)
{
	struct rig_client cl = { 0 };
	rig.group.keepalive_us = 5000000;
	rig_group();
	rig_connect(&cl, 1000);
	rig_pass_us(10000000);
	ck_assert(rig_blk(&cl)->flags & BLK_PROBING);
	skip();
	stack_close(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&cl, TH_ACK | TH_FIN);
	rig_ack(&cl);
	ck_assert_str_eq(state_of(&cl), "FIN-WAIT-2");
	for (int i = 0; i < 600; i++)
		rig_pass_us(1000000);
	ck_assert_str_eq(state_of(&cl), "FREE");
}
END_TEST

START_TEST(test_close_in_time_wait_leaves_a_bare_record)
{
	struct rig_client cl = { 0 }, nx;
	half_close(&cl);
	seg(&cl, TH_ACK | TH_FIN, cl.snd_nxt++, cl.rcv_nxt, NULL, 0);
	rig_events(cl.ri);
	skip();
	ck_assert_str_eq(state_of(&cl), "TIME-WAIT");
	ck_assert_ptr_null(rig_blk(&cl));
	stack_close(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	if (_i == 0)
		ck_assert_ptr_null(rig_blk(&cl));
	else if (_i == 1) {
		rig_client(&nx, 1000);
		nx.tsval = cl.tsval + 1;
		rig_input(&nx, &(struct rig_seg){ .flags = TH_SYN,
						  .seq = nx.iss,
						  .syn_options = true });
		rig_expect(&nx, TH_SYN | TH_ACK);
	} else {
		seg(&cl, TH_RST, cl.snd_nxt, 0, NULL, 0);
		ck_assert_str_eq(state_of(&cl), "TIME-WAIT");
	}
}
END_TEST

START_TEST(test_second_shutdown_leaves_a_bare_record)
{
	struct rig_client cl = { 0 };
	half_close(&cl);
	ck_assert_ptr_null(rig_blk(&cl));
	stack_shutdown(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_pass_us(10000000);
	ck_assert_ptr_null(rig_blk(&cl));
}
END_TEST

START_TEST(test_a_guessed_segment_does_not_set_ts_recent)
{
	struct rig_client cl = { 0 }, bad;
	char buf[10];
	rig_connect(&cl, 1000);
	bad = cl;
	bad.tsval = cl.tsval + 0x70000000;
	/* off-path guess: sequence overlaps, ACK is nonsense */
	seg(&bad, TH_ACK, cl.snd_nxt - 100, cl.rcv_nxt + 0x40000000, big, 200);
	skip();
	ck_assert_uint_eq(rig_counter(SC_drop_ack_range), 1);
	cl.tsval++;
	rig_send(&cl, "hello");
	ck_assert_uint_eq(rig_counter(SC_paws_dropped), 0);
	ck_assert_uint_eq(rig_deliver(&cl, buf, 10), 5);
}
END_TEST

START_TEST(test_a_repeated_synack_acknowledges_no_request)
{
	struct rig_client cl;
	struct rig_out *o;
	rig_client(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	rig_expect(&cl, TH_SYN | TH_ACK);
	/* one batch: a duplicate of the SYN, the ACK, the request */
	in(&cl, (struct rig_seg){
			.flags = TH_SYN, .seq = cl.iss, .syn_options = true });
	in(&cl, (struct rig_seg){ .flags = TH_ACK,
				  .seq = cl.snd_nxt,
				  .ack = cl.rcv_nxt,
				  .data = "request",
				  .len = 7 });
	stack_flush(rig.st, rig.now_us);
	if (rig.seen < rig.n_out) {
		o = &rig.out[rig.seen];
		skip();
		ck_assert_msg(
			seq_leq(o->ack, cl.iss + 1),
			"flags 0x%x acknowledges %u bytes of the request (deferred)",
			o->flags, o->ack - cl.iss - 1);
	}
}
END_TEST

START_TEST(test_ack_deadline_is_not_the_delayed_ack_timer)
{
	struct rig_client cl = { 0 };
	struct blk *b;
	rig.group.ack_window_bytes = STACK_ACK_WINDOW_AUTO;
	rig.group.ack_deadline_us = 2000000;
	rig_group();
	rig_connect(&cl, 1000);
	/* a run of 4 full segments, small ones: 600 */
	for (int i = 0; i < 4; i++)
		rig_send_bytes(&cl, big, 600);
	b = rig_blk(&cl);
	/* bulk acknowledged at once or within 40 ms */
	skip();
	rig_send_bytes(&cl, big, 600); /* bulk: delayed ACK pending */
	skip();
	rig_pass_us(5000);
	rig_send(&cl, "next"); /* not bulk: deferred for 2 s */
	rig_expect_nothing();
	stack_reply(rig.st, cl.ri, 0, 0, "push", 4, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK | TH_PSH)->ack,
			  cl.snd_nxt - 4);
	rig_ack(&cl);
	rig_pass_us(100000); /* far less than 2 s */
	ck_assert_msg(b->rcv_acked == cl.snd_nxt - 4,
		      "acknowledged after 0.1 s, ack-deadline is 2 s");
}
END_TEST

START_TEST(test_ack_window_in_bytes_after_throttling)
{
	struct rig_client a = { 0 }, b = { 0 };
	char buf[8192];
	rig.group.ack_window_bytes = 2000;
	rig_group();
	stack_pool_set(rig.st, 0, 32 * 512, 50, 25); /* high 16 low 8 */
	rig_connect(&a, 1000);
	rig_connect(&b, 1001);
	for (int i = 0; i < 7; i++)
		rig_send_bytes(&b, big, 1400 - 512 * 0); /* 9800: 20 chunks */
	skip();
	ck_assert(rig.st->pools[0].throttled);
	/* a: request of which the first 2800 bytes fit a's congestion window */
	rig_send_bytes(&a, big, 1400);
	rig_send_bytes(&a, big, 1400);
	if (_i == 1) { /* pure duplicate ACKs while withheld */
		ck_assert_msg(rig.n_out == rig.seen,
			      "%u duplicate ACKs sent while throttled",
			      rig.n_out - rig.seen);
		return;
	}
	skip();
	rig_deliver(&b, buf, 8192);
	rig_deliver(&b, buf, 8192);
	stack_reply(rig.st, b.ri, rig_rec(&b)->rcv_off, 9800, NULL, 0,
		    rig.now_us);
	stack_flush(rig.st, rig.now_us);
	ck_assert(!rig.st->pools[0].throttled);
	for (int i = 0; i < 10; i++) {
		rig_pass_us(1000000);
		seg(&a, TH_ACK | TH_PSH, a.snd_nxt - 2800, a.rcv_nxt, big,
		    1400);
	}
	ck_assert_msg(
		rig_blk(&a)->rcv_acked == a.snd_nxt,
		"%u bytes held, ack-window 2000, 10 retransmissions absorbed",
		a.snd_nxt - rig_blk(&a)->rcv_acked);
}
END_TEST

START_TEST(test_ack_window_in_bytes_gives_way_to_a_gap)
{
	struct rig_client a = { 0 };
	rig.group.ack_window_bytes = 16384;
	rig_group();
	rig_connect(&a, 1000);
	rig_send_bytes(&a, big, 1400);
	seg(&a, TH_ACK, a.snd_nxt + 1400, a.rcv_nxt, big, 1400);
	seg(&a, TH_ACK, a.snd_nxt + 2800, a.rcv_nxt, big, 1400);
	for (int i = 0; i < 10; i++) {
		rig_pass_us(1000000);
		seg(&a, TH_ACK | TH_PSH, a.snd_nxt - 1400, a.rcv_nxt, big,
		    1400);
	}
	ck_assert_msg(
		rig_blk(&a)->rcv_acked == a.snd_nxt,
		"client can only send the first segment again, never the lost second");
}
END_TEST

START_TEST(test_a_repeated_synack_gives_no_round_trip_time)
{
	struct rig_client cl;
	rig_client(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	rig_expect(&cl, TH_SYN | TH_ACK); /* lost */
	rig_pass_us(990000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	rig_expect(&cl, TH_SYN | TH_ACK);
	rig_pass_us(5000);
	/* the flush that follows sends data, so that the block stays */
	in(&cl, (struct rig_seg){ .flags = TH_ACK,
				  .seq = cl.snd_nxt,
				  .ack = cl.rcv_nxt,
				  .data = "x",
				  .len = 1 });
	stack_flush(rig.st, rig.now_us);
	for (uint32_t i = 0; i < 64; i++)
		if (rig.shard.recs[i].state)
			cl.ri = i;
	ck_assert_uint_le(rig_blk(&cl)->rtt.srtt_us, 10000);
}
END_TEST

START_TEST(test_half_closed_connection_has_its_idle_timeout)
{
	struct rig_client cl = { 0 };
	rig.group.keepalive_us = 5000000;
	rig.group.idle_timeout_us = 60000000;
	rig_group();
	half_close(&cl);
	ck_assert_str_eq(state_of(&cl), "FIN-WAIT-2");
	for (int i = 0; i < 600; i++)
		rig_pass_us(1000000);
	ck_assert_str_ne(state_of(&cl), "FIN-WAIT-2");
}
END_TEST

START_TEST(test_keepalive_finds_a_vanished_client_with_held_bytes)
{
	struct rig_client cl = { 0 };
	char buf[10];
	rig.group.keepalive_us = 5000000;
	rig_group();
	rig_connect(&cl, 1000);
	if (_i == 0) {
		rig_send(&cl, "half a req");
		rig_deliver(&cl, buf, 10);
	} else
		seg(&cl, TH_ACK, cl.snd_nxt + 10, cl.rcv_nxt, "x", 1);
	rig_events(cl.ri);
	for (int i = 0; i < 600; i++)
		rig_pass_us(1000000);
	ck_assert_uint_gt(rig_counter(SC_keepalive_probes), 0);
}
END_TEST

START_TEST(test_a_group_with_connections_keeps_its_pool)
{
	struct rig_client cl = { 0 };
	char buf[10];
	int rc;
	rig_connect(&cl, 1000);
	rig_send(&cl, "hello");
	rig_deliver(&cl, buf, 10);
	rig.group.pool = 1;
	stack_pool_set(rig.st, 1, 1 << 20, 90, 75);
	rc = stack_group_set(rig.st, &rig.group);
	rig_reply(&cl, 5, "");
	skip();
	ck_assert_msg(rc < 0 || rig.st->pools[1].used_chunks == 0,
		      "pool 1 used_chunks %u, throttled %d",
		      rig.st->pools[1].used_chunks, rig.st->pools[1].throttled);
}
END_TEST

START_TEST(test_time_wait_lasts_until_the_application_has_all)
{
	struct rig_client cl = { 0 };
	char buf[10];
	rig.group.ack = STACK_ACK_IMMEDIATE;
	rig_group();
	half_close(&cl);
	rig_send(&cl, "hello");
	seg(&cl, TH_ACK | TH_FIN, cl.snd_nxt++, cl.rcv_nxt, NULL, 0);
	rig_events(cl.ri);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
	for (int i = 0; i < 70; i++)
		rig_pass_us(1000000);
	ck_assert_uint_eq(rig_deliver(&cl, buf, 10), 5);
}
END_TEST

START_TEST(test_a_window_closed_in_the_handshake_opens_again)
{
	struct rig_client a = { 0 }, b = { 0 };
	char buf[9000];
	stack_pool_set(rig.st, 0, 16 * 512, 90, 75);
	rig_connect(&a, 1000);
	for (int i = 0; i < 8; i++)
		rig_send_bytes(&a, big, 1024);
	skip();
	rig_connect(&b, 1001);
	ck_assert_ptr_nonnull(rig_blk(&a));
	ck_assert_uint_eq(rig.out[rig.n_out - 1].wnd, 0);
	rig_deliver(&a, buf, 9000);
	stack_reply(rig.st, a.ri, rig_rec(&a)->rcv_off, 8192, NULL, 0,
		    rig.now_us);
	stack_flush(rig.st, rig.now_us);
	{
		bool told = false;
		for (uint32_t i = rig.seen; i < rig.n_out; i++)
			told |= rig.out[i].dst_port == 1001 && rig.out[i].wnd;
		skip();
		ck_assert_msg(told, "b never hears of the room");
	}
}
END_TEST

START_TEST(test_removing_a_group_frees_what_is_gone)
{
	struct rig_client a = { 0 };
	uint16_t ev;
	rig_connect(&a, 1000);
	rig_rec(&a)->flags |= REC_TOLD;
	seg(&a, TH_RST, a.snd_nxt, 0, NULL, 0);
	ck_assert_uint_eq(stack_next_event(rig.st, &ev), a.ri);
	ck_assert_uint_eq(ev, STACK_EV_RESET);
	rig_group_remove(1);
	stack_flush(rig.st, rig.now_us);
	ck_assert_str_eq(state_of(&a), "FREE");
}
END_TEST

START_TEST(test_abort_in_time_wait_lets_go_of_what_is_held)
{
	struct rig_client cl = { 0 };
	char buf[10];
	half_close(&cl);
	rig_send(&cl, "hello");
	rig_deliver(&cl, buf, 10);
	seg(&cl, TH_ACK | TH_FIN, cl.snd_nxt++, cl.rcv_nxt, NULL, 0);
	rig_events(cl.ri);
	skip();
	stack_abort(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	for (int i = 0; i < 20; i++) {
		rig_pass_us(30000000);
		seg(&cl, TH_ACK | TH_FIN, cl.snd_nxt - 6, cl.rcv_nxt, "hello",
		    5);
	}
	ck_assert_msg(!strcmp(state_of(&cl), "FREE"),
		      "10 min after the abort: %s, %u chunks of the pool",
		      state_of(&cl), rig.st->pools[0].used_chunks);
}
END_TEST

START_TEST(test_half_closed_connection_is_given_up_by_keepalive)
{
	struct rig_client cl = { 0 };

	rig.group.keepalive_us = 5000000;
	rig_group();
	half_close(&cl);
	ck_assert_str_eq(state_of(&cl), "FIN-WAIT-2");
	rig_pass_us(60000000);
	skip();
	ck_assert_uint_eq(rig_counter(SC_keepalive_probes), 4);
	ck_assert_uint_eq(rig_events(cl.ri), STACK_EV_RESET);
	stack_forget(rig.st, cl.ri);
	ck_assert_str_eq(state_of(&cl), "FREE");
}
END_TEST

START_TEST(test_silly_window_rule_does_not_stop_retransmission)
{
	struct rig_client cl = { 0 };
	uint32_t una, n;
	rig_connect(&cl, 1000); /* max_wnd 65536 */
	una = cl.rcv_nxt;
	stack_reply(rig.st, cl.ri, 0, 0, big, 2000, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	skip();
	cl.wnd = 8;
	seg(&cl, TH_ACK, cl.snd_nxt, una + 1448, NULL,
	    0); /* 552 in flight, lost; window 1024 */
	stack_reply(rig.st, cl.ri, 0, 0, big, 3000, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	n = rig.n_out;
	for (int i = 0; i < 120; i++) {
		rig_pass_us(1000000);
		if (_i == 1)
			seg(&cl, TH_ACK, cl.snd_nxt, una + 1448, NULL, 0);
		if (rig_rec(&cl)->state == TCP_FREE)
			break;
	}
	ck_assert_msg(rig.n_out > n && !(rig.out[n].flags & TH_RST),
		      "%u RTOs, no data sent, then flags 0x%x, timed_out %u",
		      (unsigned)rig_counter(SC_rto_fired), rig.out[n].flags,
		      (unsigned)rig_counter(SC_conn_timed_out));
}
END_TEST

START_TEST(test_the_window_opens_again_after_huge_segments)
{
	/* rcv_mss over half of the cap (MTU > 32K) */
	struct rig_client a = { 0 };
	static char buf[65536];
	uint8_t seen = 0;
	rig.st->limits.mtu = 65535;
	rig.group.ack = STACK_ACK_DELIVERED;
	rig_group();
	rig_connect(&a, 1000);
	{
		struct seg s = { 0 };
		static uint8_t pay[65536];
		uint8_t pk[200];
		uint32_t n = rig_build(&a,
				       &(struct rig_seg){ .flags = TH_ACK,
							  .seq = a.snd_nxt,
							  .ack = a.rcv_nxt },
				       pk);
		stack_parse(rig.st, pk, n, &s);
		s.payload = pay;
		s.len = 40000;
		stack_input(rig.st, &s, rig.now_us);
		stack_flush(rig.st, rig.now_us);
		a.snd_nxt += 40000;
		rig_deliver(&a, buf, 65536);
		rig_pass_us(100000);
		n = rig_build(&a,
			      &(struct rig_seg){ .flags = TH_ACK,
						 .seq = a.snd_nxt,
						 .ack = a.rcv_nxt },
			      pk);
		stack_parse(rig.st, pk, n, &s);
		s.payload = pay;
		s.len = rig_blk(&a)->rcv_adv - rig_blk(&a)->rcv_nxt;
		stack_input(rig.st, &s, rig.now_us);
		stack_flush(rig.st, rig.now_us);
		a.snd_nxt += s.len;
	}
	for (int i = 0; i < 5; i++)
		rig_deliver(&a, buf, 65536);
	rig_pass_us(100000);
	ck_assert_uint_eq(rig.out[rig.n_out - 1].wnd, 0);
	(void)seen;
	skip();
	stack_reply(rig.st, a.ri, rig_rec(&a)->rcv_off,
		    rig_blk(&a)->rcv_dlv - rig_blk(&a)->rcv_app, NULL, 0,
		    rig.now_us);
	stack_flush(rig.st, rig.now_us);
	ck_assert_msg(
		rig.n_out > rig.seen,
		"the whole buffer is free, the window stays closed; mss %u",
		rig_blk(&a) ? rig_blk(&a)->rcv_mss : 0);
}
END_TEST

START_TEST(test_a_window_that_opens_gives_time_to_take_the_data)
{
	struct rig_client cl = { 0 };
	rig_connect(&cl, 1000);
	cl.wnd = 0;
	rig_ack(&cl);
	stack_reply(rig.st, cl.ri, 0, 0, big, 3000, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	for (int i = 0; i < 28; i++) {
		rig_pass_us(1000000);
		rig_ack(&cl);
	}
	ck_assert_uint_eq(rig_counter(SC_conn_timed_out), 0);
	cl.wnd = 512;
	rig_ack(&cl); /* opens; what is sent now is lost for 3 s */
	rig_pass_us(6000000);
	ck_assert_msg(rig_rec(&cl)->state != TCP_FREE, "aborted %u",
		      (unsigned)rig_counter(SC_conn_timed_out));
}
END_TEST

START_TEST(test_a_repeated_synack_offers_no_smaller_window)
{
	struct rig_client a = { 0 }, b;
	uint32_t w1, w2;
	stack_pool_set(rig.st, 0, 16 * 512, 90, 75);
	rig_connect(&a, 1000);
	rig_client(&b, 1001);
	rig_input(&b, &(struct rig_seg){ .flags = TH_SYN,
					 .seq = b.iss,
					 .syn_options = true });
	w1 = rig_expect(&b, TH_SYN | TH_ACK)->wnd;
	rig_send_bytes(&a, big, 4000);
	skip();
	rig_pass_us(1100000);
	w2 = rig_expect(&b, TH_SYN | TH_ACK)->wnd;
	skip();
	ck_assert_msg(w2 >= w1, "SYN-ACK window %u then %u", w1, w2);
}
END_TEST

START_TEST(test_a_fin_within_old_text_is_ignored)
{
	struct rig_client cl = { 0 };
	char buf[200];
	rig_connect(&cl, 1000);
	/* FIN inside what came already: can never become due */
	rig_send_bytes(&cl, big, 100);
	seg(&cl, TH_ACK | TH_FIN, cl.snd_nxt - 100, cl.rcv_nxt, big, 50);
	rig_deliver(&cl, buf, 200);
	rig_reply(&cl, 100, "");
	rig_events(cl.ri);
	skip();
	for (int i = 0; i < 600; i++)
		rig_pass_us(1000000);
	ck_assert_ptr_null(rig_blk(&cl));
}
END_TEST

START_TEST(test_a_repeated_synack_does_not_swallow_an_ack)
{
	struct rig_client cl;
	rig.group.ack = STACK_ACK_IMMEDIATE;
	rig_group();
	rig_client(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	rig_expect(&cl, TH_SYN | TH_ACK);
	in(&cl, (struct rig_seg){
			.flags = TH_SYN, .seq = cl.iss, .syn_options = true });
	in(&cl, (struct rig_seg){ .flags = TH_ACK,
				  .seq = cl.snd_nxt,
				  .ack = cl.rcv_nxt });
	in(&cl, (struct rig_seg){ .flags = TH_ACK | TH_FIN,
				  .seq = cl.snd_nxt,
				  .ack = cl.rcv_nxt });
	stack_flush(rig.st, rig.now_us);
	for (uint32_t i = 0; i < 64; i++)
		if (rig.shard.recs[i].state)
			cl.ri = i;
	rig_events(cl.ri);
	for (int i = 0; i < 10; i++) {
		rig_pass_us(1000000);
		seg(&cl, TH_ACK | TH_FIN, cl.snd_nxt, cl.rcv_nxt, NULL, 0);
	}
	{
		bool ok = false;
		for (uint32_t i = rig.seen; i < rig.n_out; i++)
			ok |= rig.out[i].flags == TH_ACK &&
			      rig.out[i].ack == cl.snd_nxt + 1;
		skip();
		ck_assert_msg(
			ok, "state %s: the FIN is never acknowledged by an ACK",
			state_of(&cl));
	}
}
END_TEST

START_TEST(test_segments_of_a_gone_connection_are_counted)
{
	struct rig_client a = { 0 };
	uint16_t events;

	rig_connect(&a, 1000);
	rig_rec(&a)->flags |= REC_TOLD;
	seg(&a, TH_RST, a.snd_nxt, 0, NULL, 0);
	/* The daemon has yet to find room for the RESET frame. */
	ck_assert_uint_eq(stack_next_event(rig.st, &events), a.ri);
	rig_input(&a, &(struct rig_seg){ .flags = TH_SYN,
					 .seq = a.iss + 100000,
					 .syn_options = true });
	ck_assert_uint_eq(rig_counter(SC_drop_gone), 1);
	stack_forget(rig.st, a.ri);
}
END_TEST

/* A reload between the request and its reply. */
START_TEST(test_what_was_held_when_the_ack_mode_changed_is_acknowledged)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	rig_expect_text(&cl, "request");
	rig.group.ack = STACK_ACK_IMMEDIATE;
	rig_group();
	rig_reply(&cl, 7, "");
	rig_pass_us(50000);
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
	rig_events(cl.ri);
	ck_assert_ptr_null(rig_blk(&cl));
}
END_TEST

UNIT_MAIN(
	"stack/corners",
	UNIT_CASE("once", rig_up, rig_down, test_last_ack_keeps_a_held_request,
		  test_a_pool_full_of_gaps_takes_what_fills_them,
		  test_runs_are_bounded_when_chunks_run_short,
		  test_gaps_of_one_client_do_not_keep_out_another,
		  test_keepalive_does_not_end_the_orphans_timer,
		  test_second_shutdown_leaves_a_bare_record,
		  test_a_guessed_segment_does_not_set_ts_recent,
		  test_a_repeated_synack_acknowledges_no_request,
		  test_ack_deadline_is_not_the_delayed_ack_timer,
		  test_ack_window_in_bytes_gives_way_to_a_gap,
		  test_a_repeated_synack_gives_no_round_trip_time,
		  test_half_closed_connection_has_its_idle_timeout,
		  test_a_group_with_connections_keeps_its_pool,
		  test_time_wait_lasts_until_the_application_has_all,
		  test_a_window_closed_in_the_handshake_opens_again,
		  test_removing_a_group_frees_what_is_gone,
		  test_abort_in_time_wait_lets_go_of_what_is_held,
		  test_half_closed_connection_is_given_up_by_keepalive,
		  test_the_window_opens_again_after_huge_segments,
		  test_a_window_that_opens_gives_time_to_take_the_data,
		  test_a_repeated_synack_offers_no_smaller_window,
		  test_a_fin_within_old_text_is_ignored,
		  test_a_repeated_synack_does_not_swallow_an_ack,
		  test_segments_of_a_gone_connection_are_counted,
		  test_what_was_held_when_the_ack_mode_changed_is_acknowledged),
	UNIT_LOOP("close_in_time_wait_l", 3, rig_up, rig_down,
		  test_close_in_time_wait_leaves_a_bare_record),
	UNIT_LOOP("ack_window_in_bytes_", 2, rig_up, rig_down,
		  test_ack_window_in_bytes_after_throttling),
	UNIT_LOOP("keepalive_finds_a_va", 2, rig_up, rig_down,
		  test_keepalive_finds_a_vanished_client_with_held_bytes),
	UNIT_LOOP("silly_window_rule_do", 2, rig_up, rig_down,
		  test_silly_window_rule_does_not_stop_retransmission))
