/* SPDX-License-Identifier: BSD-2-Clause */
/* What clients do. */
#include "unit/tools/rig.h"

START_TEST(test_tcp_exchange)
{
	uint64_t begin_ns = now_ns;

	establish();
	be_asked();
	pass_ms(3);
	echo(0, MSS);
	ck_assert(!take());
	echo(MSS, 2 * MSS);
	ck_assert(take()); /* every second segment */
	ck_assert_uint_eq(last.ack, server_nxt);
	ck_assert_uint_eq(tcp.count.exchanges, 0);
	echo(2 * MSS, REQUEST);
	ck_assert_uint_eq(tcp.count.exchanges, 1);
	ck_assert_uint_eq(tcp.count.replies_with_ack, 1);
	ck_assert_uint_eq(tcp.count.bytes_received, REQUEST);
	ck_assert_uint_eq(tcp.n_violations, 0);
	ck_assert(swarm_tcp_is_idle(&tcp, CLIENT));
	ck_assert_uint_eq(tcp.exchange_hist.max_ns, now_ns - begin_ns);
}
END_TEST

START_TEST(test_tcp_latency_counts_from_the_scheduled_time)
{
	establish();
	ck_assert(swarm_tcp_request(&tcp, CLIENT, now_ns - NSEC_PER_SEC));
	while (take())
		;
	memcpy(request,
	       swarm_pattern_at(
		       tcp.pattern,
		       swarm_tcp_stream(&tcp.conns.recs[CLIENT], CLIENT), 0),
	       REQUEST);
	echo(0, REQUEST);
	ck_assert_uint_eq(tcp.exchange_hist.max_ns, NSEC_PER_SEC);
}
END_TEST

START_TEST(test_tcp_ack_of_a_single_segment_is_delayed)
{
	establish();
	be_asked();
	echo(0, REQUEST);
	pass_ms(39);
	ck_assert(!take());
	pass_ms(1);
	ck_assert(take());
	ck_assert_uint_eq(last.flags, SWARM_ACK);
	ck_assert_uint_eq(last.ack, server_nxt);
	ck_assert_uint_eq(tcp.count.delayed_acks_sent, 1);
	pass_ms(100);
	ck_assert(!take());
}
END_TEST

START_TEST(test_tcp_request_takes_the_ack_along)
{
	establish();
	be_asked();
	echo(0, REQUEST);
	ck_assert(swarm_tcp_request(&tcp, CLIENT, now_ns));
	ck_assert(take());
	ck_assert_uint_eq(last.ack, server_nxt);
	while (take())
		;
	pass_ms(100);
	ck_assert(!take());
	ck_assert_uint_eq(tcp.count.delayed_acks_sent, 0);
}
END_TEST

START_TEST(test_tcp_stream_goes_on_from_request_to_request)
{
	uint32_t second;

	establish();
	be_asked();
	echo(0, REQUEST);
	second = client_iss + 1 + REQUEST;
	ck_assert(swarm_tcp_request(&tcp, CLIENT, now_ns));
	ck_assert(take());
	ck_assert_uint_eq(last.seq, second);
	ck_assert_mem_ne(last.payload, request, 100);
}
END_TEST

START_TEST(test_tcp_request_goes_again_until_it_is_acknowledged)
{
	struct server_packet p;
	uint32_t n = 0;

	establish();
	be_asked();
	p = segment(SWARM_ACK, client_iss + 1 + MSS);
	feed(&p);
	pass_ms(195);
	ck_assert(!take());
	pass_ms(20);
	ck_assert(take());
	ck_assert_uint_eq(last.seq, client_iss + 1 + MSS);
	ck_assert_mem_eq(last.payload, request + MSS, last.payload_len);
	do
		n += last.payload_len;
	while (take());
	ck_assert_uint_eq(n, REQUEST - MSS);
	ck_assert_uint_eq(tcp.count.retransmissions_sent, 2);
	p = segment(SWARM_ACK, client_iss + 1 + REQUEST);
	feed(&p);
	pass_ms(10000);
	ck_assert(!take());
	echo(0, REQUEST);
	ck_assert_uint_eq(tcp.count.exchanges, 1);
}
END_TEST

/* All the others waited for a second. */
static void be_slow(void)
{
	for (int i = 0; i < 1000; i++)
		swarm_tcp_add_latency(&tcp, &tcp.exchange_hist,
				      &(struct swarm_active){
					      .sched_ns =
						      now_ns - NSEC_PER_SEC });
}

START_TEST(test_tcp_time_out_grows_with_the_latency)
{
	establish();
	be_slow();
	be_asked();
	pass_ms(2900); /* and not after 200 ms */
	ck_assert(!take());
	pass_ms(150);
	ck_assert(take());
}
END_TEST

START_TEST(test_tcp_three_duplicate_acks_send_the_first_segment_again)
{
	struct server_packet p;

	establish();
	be_asked();
	p = segment(SWARM_ACK, client_iss + 1);
	p.window = tcp.conns.recs[CLIENT].window;
	feed(&p);
	feed(&p);
	ck_assert(!take());
	feed(&p);
	ck_assert(take());
	ck_assert_uint_eq(last.seq, client_iss + 1);
	ck_assert_uint_eq(last.payload_len, MSS);
	ck_assert(!take());
}
END_TEST

START_TEST(test_tcp_syn_goes_again_and_then_fails)
{
	uint32_t iss;

	be_slow(); /* which makes no difference */
	ck_assert(swarm_tcp_connect(&tcp, CLIENT, now_ns));
	ck_assert(take());
	iss = last.seq;
	for (uint32_t i = 1; i < TRIES; i++) {
		pass_ms(210u << (i - 1));
		ck_assert(take());
		ck_assert_uint_eq(last.flags, SWARM_SYN);
		ck_assert_uint_eq(last.seq, iss);
	}
	pass_ms(2000);
	ck_assert(!take());
	ck_assert_uint_eq(tcp.count.failed, 1);
	ck_assert_uint_eq(tcp.conns.n_active, 0);
}
END_TEST

START_TEST(test_tcp_window_of_the_peer_is_kept_to)
{
	struct server_packet p;

	establish();
	/* scaled by 7: 2048 bytes */
	p = segment(SWARM_ACK, client_iss + 1);
	p.window = 16;
	feed(&p);
	ck_assert(swarm_tcp_request(&tcp, CLIENT, now_ns));
	ck_assert(take());
	ck_assert_uint_eq(last.payload_len, MSS);
	while (take())
		ck_assert_uint_le(last.seq + last.payload_len,
				  client_iss + 1 + 2048);
	/* closed: a probe of one byte, when the time-out is over */
	p = segment(SWARM_ACK, last.seq + last.payload_len);
	p.window = 0;
	feed(&p);
	ck_assert(!take());
	pass_ms(220);
	ck_assert(take());
	ck_assert_uint_eq(last.payload_len, 1);
	/* open again */
	p = segment(SWARM_ACK, last.seq + 1);
	feed(&p);
	ck_assert(take());
	ck_assert_uint_gt(last.payload_len, 1);
}
END_TEST

START_TEST(test_tcp_close_and_a_fin_that_comes_again)
{
	struct server_packet p;

	establish();
	ck_assert(swarm_tcp_close(&tcp, CLIENT, false));
	ck_assert(take());
	ck_assert_uint_eq(last.flags, SWARM_FIN | SWARM_ACK);
	p = segment(SWARM_FIN | SWARM_ACK, client_iss + 2);
	feed(&p);
	ck_assert(take());
	ck_assert_uint_eq(last.ack, server_nxt + 1);
	ck_assert_uint_eq(tcp.count.closed, 1);
	ck_assert_uint_eq(tcp.conns.n_active, 0);
	feed(&p);
	ck_assert(take());
	ck_assert_uint_eq(last.flags, SWARM_ACK);
	ck_assert_uint_eq(last.ack, server_nxt + 1);
	ck_assert_uint_eq(last.seq, client_iss + 2);
	ck_assert_uint_eq(tcp.n_violations, 0);
}
END_TEST

START_TEST(test_tcp_churn_connects_again_from_another_port)
{
	struct server_packet p;
	uint16_t port;

	establish();
	port = last.sport;
	ck_assert(swarm_tcp_close(&tcp, CLIENT, true));
	ck_assert(take());
	p = segment(SWARM_FIN | SWARM_ACK, client_iss + 2);
	feed(&p);
	ck_assert(take());
	ck_assert(take());
	ck_assert_uint_eq(last.flags, SWARM_SYN);
	ck_assert_uint_eq(last.sport, port + 1);
	ck_assert_uint_eq(tcp.count.churned, 1);
	/* late packets of the old one don't disturb */
	p.flags = SWARM_RST;
	feed(&p);
	ck_assert_uint_eq(tcp.count.strays, 1);
	ck_assert_uint_eq(tcp.conns.recs[CLIENT].state, SWARM_SYN_SENT);
}
END_TEST

UNIT_MAIN("tools/swarm_tcp",
	  UNIT_CASE("all", setup, teardown, test_tcp_exchange,
		    test_tcp_latency_counts_from_the_scheduled_time,
		    test_tcp_ack_of_a_single_segment_is_delayed,
		    test_tcp_request_takes_the_ack_along,
		    test_tcp_stream_goes_on_from_request_to_request,
		    test_tcp_request_goes_again_until_it_is_acknowledged,
		    test_tcp_time_out_grows_with_the_latency,
		    test_tcp_three_duplicate_acks_send_the_first_segment_again,
		    test_tcp_syn_goes_again_and_then_fails,
		    test_tcp_window_of_the_peer_is_kept_to,
		    test_tcp_close_and_a_fin_that_comes_again,
		    test_tcp_churn_connects_again_from_another_port))
