/* SPDX-License-Identifier: BSD-2-Clause */
/* What clients make of what the server sends. */
#include "unit/tools/rig.h"

START_TEST(test_tcp_wrong_byte_is_a_violation)
{
	establish();
	be_asked();
	request[17] ^= 4;
	echo(0, REQUEST);
	ck_assert_uint_eq(VIOLATIONS(wrong_bytes), 1);
	ck_assert_uint_eq(tcp.n_violations, 1);
	ck_assert_uint_eq(tcp.count.exchanges, 1);
}
END_TEST

START_TEST(test_tcp_bad_checksum_is_a_violation_and_no_segment)
{
	struct server_packet p;
	uint8_t bytes[2000];
	uint32_t n;

	establish();
	be_asked();
	p = segment(SWARM_ACK, client_iss + 1 + REQUEST);
	p.payload = request;
	p.payload_len = MSS;
	n = server_write(&p, bytes);
	bytes[n - 1] ^= 1;
	feed_bytes(bytes, n);
	ck_assert_uint_eq(VIOLATIONS(bad_checksum), 1);
	ck_assert_uint_eq(tcp.count.bytes_received, 0);
	bytes[n - 1] ^= 1;
	bytes[30] ^= 1; /* of the ACK field */
	feed_bytes(bytes, n);
	ck_assert_uint_eq(VIOLATIONS(bad_checksum), 2);
	ck_assert_uint_eq(tcp.n_violations, 2);
}
END_TEST

START_TEST(test_tcp_ack_of_what_was_never_sent_is_a_violation)
{
	struct server_packet p;

	establish();
	p = segment(SWARM_ACK, client_iss + 2);
	feed(&p);
	ck_assert_uint_eq(VIOLATIONS(ack_beyond_sent), 1);
	ck_assert_uint_eq(tcp.n_violations, 1);
}
END_TEST

START_TEST(test_tcp_ack_that_goes_back_is_a_violation)
{
	struct server_packet p;

	establish();
	be_asked();
	p = segment(SWARM_ACK, client_iss + 1 + 2000);
	feed(&p);
	ck_assert_uint_eq(tcp.n_violations, 0);
	p = segment(SWARM_ACK, client_iss + 1 + 1999);
	feed(&p);
	ck_assert_uint_eq(VIOLATIONS(ack_backwards), 1);
	ck_assert_uint_eq(tcp.n_violations, 1);
}
END_TEST

START_TEST(test_tcp_bytes_that_nobody_asked_for_are_a_violation)
{
	struct server_packet p;

	establish();
	p = segment(SWARM_ACK, client_iss + 1);
	p.payload = swarm_pattern_at(
		tcp.pattern, swarm_tcp_stream(&tcp.conns.recs[CLIENT], CLIENT),
		0);
	p.payload_len = 1;
	feed(&p);
	ck_assert_uint_eq(VIOLATIONS(unexpected_bytes), 1);
	ck_assert_uint_eq(tcp.n_violations, 1);
}
END_TEST

START_TEST(test_tcp_syn_ack_of_another_syn_is_a_violation_and_reset)
{
	struct server_packet p;

	ck_assert(swarm_tcp_connect(&tcp, CLIENT, now_ns));
	ck_assert(take());
	p = syn_ack(last.seq + 2);
	feed(&p);
	ck_assert_uint_eq(VIOLATIONS(bad_syn_ack), 1);
	ck_assert(take());
	ck_assert_uint_eq(last.flags, SWARM_RST);
	ck_assert_uint_eq(last.seq, p.ack);
	ck_assert_uint_eq(tcp.count.connected, 0);
}
END_TEST

START_TEST(test_tcp_pure_acks_are_told_from_those_on_replies)
{
	struct server_packet p;

	establish();
	be_asked();
	p = segment(SWARM_ACK, client_iss + 1 + REQUEST);
	feed(&p);
	ck_assert_uint_eq(tcp.count.pure_acks, 1);
	echo(0, REQUEST);
	ck_assert_uint_eq(tcp.count.pure_acks, 1);
	ck_assert_uint_eq(tcp.count.replies_after_ack, 1);
	ck_assert_uint_eq(tcp.count.replies_with_ack, 0);
	ck_assert_uint_eq(tcp.count.exchanges, 1);
}
END_TEST

START_TEST(test_tcp_reply_that_comes_again_is_counted_and_acknowledged)
{
	establish();
	be_asked();
	echo(0, REQUEST);
	echo(0, REQUEST);
	ck_assert_uint_eq(tcp.count.retransmissions_seen, 1);
	ck_assert_uint_eq(tcp.count.bytes_received, REQUEST);
	ck_assert(take());
	ck_assert_uint_eq(last.ack, server_nxt);
	ck_assert_uint_eq(tcp.n_violations, 0);
}
END_TEST

START_TEST(test_tcp_segment_beyond_a_gap_is_dropped_and_answered)
{
	establish();
	be_asked();
	echo(MSS, 2 * MSS);
	ck_assert_uint_eq(tcp.count.out_of_order, 1);
	ck_assert(take());
	ck_assert_uint_eq(last.ack, IRS + 1);
	echo(0, REQUEST);
	ck_assert_uint_eq(tcp.count.exchanges, 1);
	ck_assert_uint_eq(tcp.n_violations, 0);
}
END_TEST

START_TEST(test_tcp_rst_in_order_ends_the_connection)
{
	struct server_packet p;

	establish();
	be_asked();
	p = segment(SWARM_RST, 0);
	p.seq++;
	feed(&p);
	ck_assert_uint_eq(tcp.count.resets, 0);
	ck_assert(take()); /* a challenge, RFC 5961 3.2 */
	p.seq--;
	feed(&p);
	ck_assert_uint_eq(tcp.count.resets, 1);
	ck_assert_uint_eq(tcp.count.lost, 1);
	ck_assert_uint_eq(tcp.count.unanswered, 1);
	ck_assert_uint_eq(tcp.conns.n_active, 0);
}
END_TEST

START_TEST(test_tcp_refused_connection_is_counted)
{
	struct server_packet p;

	ck_assert(swarm_tcp_connect(&tcp, CLIENT, now_ns));
	ck_assert(take());
	p = segment(SWARM_RST | SWARM_ACK, last.seq + 1);
	p.seq = 0;
	feed(&p);
	ck_assert_uint_eq(tcp.count.refused, 1);
	ck_assert_uint_eq(tcp.count.failed, 1);
}
END_TEST

START_TEST(test_tcp_peer_that_closes_is_counted_and_answered)
{
	struct server_packet p;

	establish();
	p = segment(SWARM_FIN | SWARM_ACK, client_iss + 1);
	feed(&p);
	ck_assert_uint_eq(tcp.count.closed_by_peer, 1);
	ck_assert_uint_eq(tcp.count.lost, 1);
	ck_assert(take());
	ck_assert_uint_eq(last.flags, SWARM_FIN | SWARM_ACK);
	server_nxt++;
	p = segment(SWARM_ACK, last.seq + 1);
	feed(&p);
	ck_assert_uint_eq(tcp.conns.n_active, 0);
	ck_assert_uint_eq(tcp.n_violations, 0);
}
END_TEST

START_TEST(test_tcp_keepalive_probe_is_answered)
{
	struct server_packet p;

	establish();
	p = segment(SWARM_ACK, client_iss + 1);
	p.seq--;
	feed(&p);
	ck_assert(take());
	ck_assert_uint_eq(last.ack, server_nxt);
	ck_assert_uint_eq(tcp.count.keepalives, 1);
	ck_assert_uint_eq(tcp.n_violations, 0);
}
END_TEST

START_TEST(test_tcp_reply_of_another_size_is_counted_not_compared)
{
	struct swarm_tcp_conf conf = plain;

	teardown();
	conf.reply_bytes = 10;
	conf.echo = false;
	setup_conf(&conf);
	establish();
	be_asked();
	memset(request, 'x', 10);
	echo(0, 10);
	ck_assert_uint_eq(tcp.count.exchanges, 1);
	ck_assert_uint_eq(tcp.n_violations, 0);
}
END_TEST

UNIT_MAIN("tools/swarm_input",
	  UNIT_CASE("all", setup, teardown, test_tcp_wrong_byte_is_a_violation,
		    test_tcp_bad_checksum_is_a_violation_and_no_segment,
		    test_tcp_ack_of_what_was_never_sent_is_a_violation,
		    test_tcp_ack_that_goes_back_is_a_violation,
		    test_tcp_bytes_that_nobody_asked_for_are_a_violation,
		    test_tcp_syn_ack_of_another_syn_is_a_violation_and_reset,
		    test_tcp_pure_acks_are_told_from_those_on_replies,
		    test_tcp_reply_that_comes_again_is_counted_and_acknowledged,
		    test_tcp_segment_beyond_a_gap_is_dropped_and_answered,
		    test_tcp_rst_in_order_ends_the_connection,
		    test_tcp_refused_connection_is_counted,
		    test_tcp_peer_that_closes_is_counted_and_answered,
		    test_tcp_keepalive_probe_is_answered,
		    test_tcp_reply_of_another_size_is_counted_not_compared))
