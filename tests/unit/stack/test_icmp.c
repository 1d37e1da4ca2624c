/* SPDX-License-Identifier: BSD-2-Clause */
/* ICMP errors: RFC 5927, RFC 1122 4.2.3.9, RFC 9293 3.9.2.2, RFC 6633. */
#include <string.h>

#include "../unit.h"
#include "rig.h"

static struct rig_client cl;

/* What it takes to quote: the IP header and 8 bytes (RFC 792). */
static uint32_t least_quote(const struct rig_out *out)
{
	return (out->v6 ? 40 : 20) + 8;
}

/* An idle connection's next byte has this sequence number. */
static void move_to(uint32_t seq)
{
	struct rec *r = rig_rec(&cl);

	ck_assert_ptr_null(rig_blk(&cl));
	r->iss = seq - 1 - (uint32_t)r->snd_off;
	cl.rcv_nxt = seq;
}

/* 100 bytes are in flight, across the wrap of sequence numbers. */
static struct rig_out *up_in_flight(bool v6)
{
	static char data[100];
	struct rig_out *out;

	rig_client(&cl, 1000);
	cl.v6 = v6;
	rig_connect(&cl, 1000);
	move_to(0xffffffce);
	ck_assert_int_eq(
		stack_reply(rig.st, cl.ri, 0, 0, data, 100, rig.now_us), 100);
	stack_flush(rig.st, rig.now_us);
	out = rig_expect(NULL, TH_ACK | TH_PSH);
	ck_assert_uint_eq(out->seq, 0xffffffce);
	rig_expect_nothing();
	return out;
}

static void acknowledge(void)
{
	rig.seen = rig.n_out;
	cl.rcv_nxt += 100;
	rig_ack(&cl);
	rig_events(cl.ri);
	rig_expect_nothing();
	ck_assert_str_eq(tcp_state_name(rig_rec(&cl)->state), "ESTABLISHED");
	ck_assert_ptr_null(rig_blk(&cl));
}

struct error {
	bool v6;
	uint8_t type, code;
	enum stack_counter counter;
};

static const struct error errors[] = {
	{ false, 3, 0, SC_icmp_soft_errors }, /* net unreachable */
	{ false, 3, 1, SC_icmp_soft_errors }, /* host */
	{ false, 3, 2, SC_icmp_hard_errors }, /* protocol */
	{ false, 3, 3, SC_icmp_hard_errors }, /* port */
	{ false, 3, 5, SC_icmp_soft_errors }, /* source route failed */
	{ false, 3, 13, SC_icmp_soft_errors }, /* prohibited */
	{ false, 3, 255, SC_icmp_soft_errors },
	{ false, 11, 0, SC_icmp_soft_errors }, /* time exceeded */
	{ false, 11, 1, SC_icmp_soft_errors },
	{ false, 12, 0, SC_icmp_soft_errors }, /* parameter problem */
	{ true, 1, 0, SC_icmp_soft_errors },
	{ true, 1, 1, SC_icmp_hard_errors }, /* prohibited */
	{ true, 1, 3, SC_icmp_soft_errors },
	{ true, 1, 4, SC_icmp_hard_errors }, /* port */
	{ true, 3, 0, SC_icmp_soft_errors },
	{ true, 4, 0, SC_icmp_soft_errors },
	{ true, 4, 1, SC_icmp_soft_errors },
};
#define N_ERRORS ((int)(sizeof(errors) / sizeof(errors[0])))

START_TEST(test_no_error_ends_an_established_connection)
{
	const struct error *e = &errors[_i];
	struct rig_out *out = up_in_flight(e->v6);

	rig_error(out, e->type, e->code, 0, least_quote(out));
	ck_assert_uint_eq(rig_counter(e->counter), 1);
	rig_error(out, e->type, e->code, 0, sizeof(out->head));
	ck_assert_uint_eq(rig_counter(e->counter), 2);
	rig_expect_nothing();
	acknowledge();
}
END_TEST

/* The quoted segment must be in flight: [snd_una, snd_nxt), here across 0. */
START_TEST(test_only_what_is_in_flight_counts)
{
	static const struct {
		int32_t at; /* from snd_una */
		bool counts;
	} cases[] = {
		{ -1, false },		{ 0, true },	  { 49, true },
		{ 50, true },		{ 99, true },	  { 100, false },
		{ 101, false },		{ -1448, false }, { 0x7fffffff, false },
		{ -0x7fffffff, false },
	};
	bool v6 = _i;
	struct rig_out *out = up_in_flight(v6);
	uint64_t n = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t seq = cl.rcv_nxt + (uint32_t)cases[i].at;
		uint8_t *p = out->head + (v6 ? 40 : 20) + 4;

		for (int k = 0; k < 4; k++)
			p[k] = (uint8_t)(seq >> (24 - 8 * k));
		rig_error(out, v6 ? 1 : 3, 0, 0, least_quote(out));
		n += cases[i].counts;
		ck_assert_uint_eq(rig_counter(SC_icmp_soft_errors), n);
		ck_assert_uint_eq(rig_counter(SC_icmp_no_flight), i + 1 - n);
	}
	acknowledge();
}
END_TEST

START_TEST(test_an_idle_connection_has_no_flight_and_gets_no_block)
{
	struct rig_out *out = up_in_flight(_i);
	struct rig_out quoted = *out;

	acknowledge();
	rig_error(&quoted, _i ? 1 : 3, _i ? 4 : 3, 0, least_quote(out));
	ck_assert_uint_eq(rig_counter(SC_icmp_no_flight), 1);
	ck_assert_ptr_null(rig_blk(&cl));
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.blk_map), 0);
}
END_TEST

START_TEST(test_an_error_about_no_connection_is_counted)
{
	struct rig_out *out = up_in_flight(_i);

	out->head[(_i ? 40 : 20) + 3] ^= 1; /* the client's port */
	rig_error(out, _i ? 1 : 3, 0, 0, least_quote(out));
	ck_assert_uint_eq(rig_counter(SC_icmp_no_conn), 1);
	acknowledge();
}
END_TEST

static struct rig_out *half_open(bool v6)
{
	rig_client(&cl, 1000);
	cl.v6 = v6;
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	cl.ri = 0;
	ck_assert_str_eq(tcp_state_name(rig_rec(&cl)->state), "SYN-RECEIVED");
	return rig_expect(&cl, TH_SYN | TH_ACK);
}

START_TEST(test_a_hard_error_ends_a_handshake_when_it_quotes_the_syn_ack)
{
	struct rig_out *out = half_open(_i);
	uint8_t *seq = out->head + (_i ? 40 : 20) + 7;

	*seq ^= 1;
	rig_error(out, _i ? 1 : 3, _i ? 4 : 3, 0, least_quote(out));
	ck_assert_uint_eq(rig_counter(SC_icmp_no_flight), 1);
	ck_assert_str_eq(tcp_state_name(rig_rec(&cl)->state), "SYN-RECEIVED");
	*seq ^= 1;
	rig_error(out, _i ? 1 : 3, _i ? 4 : 3, 0, least_quote(out));
	ck_assert_uint_eq(rig_counter(SC_icmp_handshakes_ended), 1);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_FREE);
	ck_assert_uint_eq(rig.st->half_open, 0);
	rig_expect_nothing();
}
END_TEST

START_TEST(test_soft_and_too_big_errors_leave_a_handshake_alone)
{
	struct rig_out *out = half_open(_i);

	rig_error(out, _i ? 1 : 3, 0, 0, least_quote(out));
	rig_error(out, _i ? 3 : 11, 0, 0, least_quote(out));
	ck_assert_uint_eq(rig_counter(SC_icmp_soft_errors), 2);
	/* A forged length makes the claim possible at first sight. */
	out->head[_i ? 4 : 2] = 5;
	rig_error(out, _i ? 2 : 3, _i ? 0 : 4, 1280, least_quote(out));
	ck_assert_uint_eq(rig_counter(SC_pmtu_ignored), 1);
	rig_ack(&cl);
	ck_assert_str_eq(tcp_state_name(rig_rec(&cl)->state), "ESTABLISHED");
	ck_assert_uint_eq(rig_rec(&cl)->mss, _i ? 1440 : 1460);
}
END_TEST

START_TEST(test_a_truncated_quote_is_no_quote)
{
	struct rig_out *out = up_in_flight(_i);
	uint32_t least = least_quote(out);

	for (uint32_t n = 0; n < least; n++)
		rig_error(out, _i ? 1 : 3, 0, 0, n);
	ck_assert_uint_eq(rig_counter(SC_icmp_bad_quote), least);
	ck_assert_uint_eq(rig_counter(SC_icmp_soft_errors), 0);
	acknowledge();
}
END_TEST

struct bend {
	bool v6;
	uint32_t at;
	uint8_t to;
	enum stack_counter counter;
};

static const struct bend bends[] = {
	{ false, 0, 0x65, SC_icmp_bad_quote }, /* version */
	{ false, 0, 0x46, SC_icmp_bad_quote }, /* we send no options */
	{ false, 0, 0x44, SC_icmp_bad_quote },
	{ false, 7, 1, SC_icmp_bad_quote }, /* nor fragments */
	{ false, 15, 99, SC_icmp_bad_quote }, /* from an address not ours */
	{ false, 9, 17, SC_icmp_ignored }, /* UDP */
	{ false, 9, 1, SC_icmp_ignored }, /* an echo reply of ours */
	{ false, 19, 99, SC_icmp_no_conn }, /* to another client */
	{ true, 0, 0x45, SC_icmp_bad_quote },
	{ true, 23, 99, SC_icmp_bad_quote },
	{ true, 6, 58, SC_icmp_ignored },
	{ true, 6, 44, SC_icmp_ignored }, /* we send no extension headers */
	{ true, 39, 99, SC_icmp_no_conn },
};

START_TEST(test_a_quote_that_we_did_not_send_is_ignored)
{
	const struct bend *b = &bends[_i];
	struct rig_out *out = up_in_flight(b->v6);

	out->head[b->at] = b->to;
	rig_error(out, b->v6 ? 1 : 3, b->v6 ? 4 : 3, 0, sizeof(out->head));
	ck_assert_uint_eq(rig_counter(b->counter), 1);
	ck_assert_uint_eq(rig_counter(SC_icmp_hard_errors), 0);
	acknowledge();
}
END_TEST

START_TEST(test_a_source_quench_is_ignored)
{
	struct rig_out *out = up_in_flight(false);
	uint32_t cwnd = rig_blk(&cl)->cc.cwnd;

	rig_error(out, 4, 0, 0, least_quote(out));
	ck_assert_uint_eq(rig_counter(SC_icmp_source_quench), 1);
	ck_assert_uint_eq(rig_blk(&cl)->cc.cwnd, cwnd);
	acknowledge();
}
END_TEST

START_TEST(test_other_messages_are_ignored)
{
	struct rig_out *out = up_in_flight(_i);

	/* Redirect; neighbour discovery. */
	rig_error(out, _i ? 135 : 5, 0, 0, least_quote(out));
	ck_assert_uint_eq(rig_counter(SC_icmp_ignored), 1);
	acknowledge();
}
END_TEST

START_TEST(test_bent_errors_do_no_harm)
{
	struct rig_out *out = up_in_flight(_i);
	uint8_t good[512], buf[512];
	uint32_t len = rig_build_error(_i, _i ? 1 : 3, _i ? 4 : 3, 0, out->head,
				       sizeof(out->head), good);

	for (uint32_t cut = 0; cut < len; cut++)
		rig_packet(good, cut);
	for (uint32_t at = 0; at < len * 8; at++) {
		memcpy(buf, good, len);
		buf[at / 8] ^= (uint8_t)(1 << at % 8);
		rig_packet(buf, len);
	}
	/*
	 * The checksums find all, but in what they don't cover of IPv6: class,
	 * flow label, hop limit.
	 */
	ck_assert_uint_eq(rig_counter(SC_icmp_hard_errors), _i ? 36 : 0);
	acknowledge();
}
END_TEST

/* The message reaches the worker that owns the quoted connection. */
START_TEST(test_an_error_goes_to_the_worker_of_the_quoted_connection)
{
	struct rig_out *out = up_in_flight(_i);
	uint8_t *ports = out->head + (_i ? 40 : 20);
	uint32_t seen = 0;

	rig.st->workers = 8;
	for (uint16_t port = 1; port < 200; port++) {
		struct rig_client other = cl;
		struct seg tcp, icmp;
		uint8_t buf[512];

		other.port = port;
		ck_assert(stack_parse(
			rig.st, buf,
			rig_build(&other, &(struct rig_seg){ .flags = TH_ACK },
				  buf),
			&tcp));
		ports[2] = (uint8_t)(port >> 8);
		ports[3] = (uint8_t)port;
		ck_assert(stack_parse(rig.st, buf,
				      rig_build_error(_i, _i ? 1 : 3, 0, 0,
						      out->head,
						      least_quote(out), buf),
				      &icmp));
		ck_assert_uint_eq(icmp.kind, SEG_ICMP_ERROR);
		ck_assert_uint_eq(icmp.hash, tcp.hash);
		ck_assert_uint_eq(icmp.worker, tcp.worker);
		seen |= 1u << icmp.worker;
	}
	ck_assert_uint_eq(seen, 255);
	rig.st->workers = 1;
	acknowledge();
}
END_TEST

UNIT_MAIN(
	"stack/icmp",
	UNIT_LOOP("errors", N_ERRORS, rig_up, rig_down,
		  test_no_error_ends_an_established_connection),
	UNIT_LOOP("bends", (int)(sizeof(bends) / sizeof(bends[0])), rig_up,
		  rig_down, test_a_quote_that_we_did_not_send_is_ignored),
	UNIT_CASE("IPv4", rig_up, rig_down, test_a_source_quench_is_ignored),
	UNIT_LOOP("both", 2, rig_up, rig_down,
		  test_only_what_is_in_flight_counts,
		  test_an_idle_connection_has_no_flight_and_gets_no_block,
		  test_an_error_about_no_connection_is_counted,
		  test_a_hard_error_ends_a_handshake_when_it_quotes_the_syn_ack,
		  test_soft_and_too_big_errors_leave_a_handshake_alone,
		  test_a_truncated_quote_is_no_quote,
		  test_other_messages_are_ignored, test_bent_errors_do_no_harm,
		  test_an_error_goes_to_the_worker_of_the_quoted_connection))
