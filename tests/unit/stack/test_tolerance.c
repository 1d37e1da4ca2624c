/* SPDX-License-Identifier: BSD-2-Clause */
/* What clients do that is legal, old, or merely seen: it has to work. */
#include <string.h>

#include "../unit.h"
#include "rig.h"
#include "stack/conn.h"

#define DAY_US (UINT64_C(24) * 3600 * 1000 * 1000)

static void up(void)
{
	rig_up();
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
	cl->ri = bitmap_next_used(&rig.shard.rec_map, 0);
	return out;
}

/* Send flags at seq, of text. */
static void send_seg(const struct rig_client *cl, uint8_t flags, uint32_t seq,
		     const char *text)
{
	rig_input(cl,
		  &(struct rig_seg){ .flags = flags,
				     .seq = seq,
				     .ack = flags & TH_ACK ? cl->rcv_nxt : 0,
				     .data = text,
				     .len = (uint32_t)strlen(text) });
}

static uint8_t state(const struct rig_client *cl)
{
	return rig_rec(cl)->state;
}

/* A request and its reply, both ways exact. */
static void exchange(struct rig_client *cl)
{
	struct rig_out *out;

	rig_send(cl, "ping");
	rig_expect_text(cl, "ping");
	rig_reply(cl, 4, "pong!");
	out = rig_expect(cl, TH_ACK | TH_PSH);
	ck_assert_uint_eq(out->ack, cl->snd_nxt);
	ck_assert_uint_eq(out->len, 5);
	ck_assert_mem_eq(out->payload, "pong!", 5);
	rig_ack(cl);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_rec(cl)->snd_off % 5, 0);
	rig_events(cl->ri);
}

static void expect_text_after_events(struct rig_client *cl, const char *text)
{
	ck_assert(rig_events(cl->ri) & STACK_EV_DATA);
	rig_expect_text(cl, text);
}

/* --- timestamps */

START_TEST(test_timestamps_dropped_for_good_after_the_handshake)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1000);
	syn(&cl);
	cl.ts = false;
	rig_ack(&cl);
	for (int i = 0; i < 3; i++) {
		exchange(&cl);
		rig_pass_us(1000000);
	}
	/* And then again: what came without has not made PAWS forget. */
	cl.ts = true;
	cl.tsval += 3000;
	exchange(&cl);
	cl.tsval -= 5000;
	rig_send(&cl, "old");
	rig_expect(&cl, TH_ACK);
	ck_assert_uint_eq(rig_counter(SC_paws_dropped), 1);
}
END_TEST

static const uint32_t idle_days[] = { 25, 60 };

START_TEST(test_connection_idle_for_weeks_works)
{
	uint32_t days = idle_days[_i % 2];
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	exchange(&cl);
	rig.now_us += days * DAY_US;
	/* The client's clock: of a millisecond, and 10 ms, and since rebooted. */
	cl.tsval += days * 86400u * (_i / 2 == 0 ? 1000u : 100u);
	if (_i / 2 == 2)
		cl.tsval = rig_rec(&cl)->ts_recent - 1;
	exchange(&cl);
	exchange(&cl);
	ck_assert_uint_eq(rig_counter(SC_paws_dropped), 0);
}
END_TEST

START_TEST(test_push_after_idle_weeks_is_acknowledged)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	exchange(&cl);
	rig.now_us += idle_days[_i % 2] * DAY_US;
	cl.tsval += idle_days[_i % 2] * 86400u * 1000u;
	rig_reply(&cl, 0, "wake");
	rig_expect(&cl, TH_ACK | TH_PSH);
	rig_pass_us(30000);
	cl.tsval += 30;
	rig_ack(&cl);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_rec(&cl)->snd_off, 9);
	rig_events(cl.ri);
}
END_TEST

/* The first segment after weeks is lost, the second one comes. */
START_TEST(test_loss_after_idle_weeks_does_no_harm)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	exchange(&cl);
	rig.now_us += idle_days[_i % 2] * DAY_US;
	cl.tsval += 25u * 86400u * 1000u; /* looks older */
	rig_send_at(&cl, 6, "second");
	rig.seen = rig.n_out;
	rig_send_at(&cl, 4, "1.");
	rig_expect_text(&cl, "1.second");
	ck_assert_uint_eq(rig_counter(SC_paws_dropped), 0);
	rig.seen = rig.n_out;
}
END_TEST

/* RFC 7323 5.3: PAWS is not for RSTs. */
START_TEST(test_rst_with_a_stale_timestamp_counts)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	cl.tsval -= 1000000;
	rig_input(&cl, &(struct rig_seg){ .flags = TH_RST, .seq = cl.snd_nxt });
	ck_assert_uint_eq(state(&cl), TCP_FREE);
	ck_assert_uint_eq(rig_counter(SC_conn_reset_in), 1);
}
END_TEST

/* --- the handshake */

/* RFC 9293 3.4: text in the SYN may be left; only the SYN is acknowledged. */
START_TEST(test_text_in_the_syn_is_taken_when_sent_again)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true,
					  .data = "early",
					  .len = 5 });
	ck_assert_uint_eq(rig_expect(&cl, TH_SYN | TH_ACK)->ack, cl.iss + 1);
	cl.ri = bitmap_next_used(&rig.shard.rec_map, 0);
	rig_ack(&cl);
	rig_send(&cl, "early");
	expect_text_after_events(&cl, "early");
}
END_TEST

START_TEST(test_text_in_a_syn_that_gets_a_cookie_likewise)
{
	struct rig_client cl = { 0 };

	rig.st->limits.syn_cookies = STACK_COOKIES_ALWAYS;
	rig_client(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true,
					  .data = "early",
					  .len = 5 });
	ck_assert_uint_eq(rig_expect(&cl, TH_SYN | TH_ACK)->ack, cl.iss + 1);
	rig_send(&cl, "early");
	cl.ri = bitmap_next_used(&rig.shard.rec_map, 0);
	expect_text_after_events(&cl, "early");
}
END_TEST

START_TEST(test_text_with_the_last_ack)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1000);
	syn(&cl);
	rig_send(&cl, "hello");
	expect_text_after_events(&cl, "hello");
}
END_TEST

START_TEST(test_fin_with_the_last_ack)
{
	struct rig_client cl = { 0 };
	const char *text = _i ? "bye" : "";

	rig_client(&cl, 1000);
	syn(&cl);
	send_seg(&cl, TH_ACK | TH_FIN, cl.snd_nxt, text);
	ck_assert_uint_eq(state(&cl), TCP_CLOSE_WAIT);
	ck_assert(rig_events(cl.ri) & STACK_EV_EOF);
	rig_expect_text(&cl, text);
	rig_reply(&cl, (uint32_t)strlen(text), "ok");
	ck_assert_uint_eq(rig.out[(rig.n_out - 1) % RIG_OUT_MAX].ack,
			  cl.snd_nxt + strlen(text) + 1);
	rig.seen = rig.n_out;
}
END_TEST

START_TEST(test_fin_with_text_is_acknowledged_with_it)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	send_seg(&cl, TH_ACK | TH_FIN | TH_PSH, cl.snd_nxt, "last");
	rig_expect_nothing();
	expect_text_after_events(&cl, "last");
	rig_reply(&cl, 4, "");
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt + 5);
	ck_assert_uint_eq(state(&cl), TCP_CLOSE_WAIT);
}
END_TEST

START_TEST(test_lost_synack_is_sent_again_upon_the_syn)
{
	struct rig_client cl = { 0 };
	uint32_t iss;

	rig_client(&cl, 1000);
	iss = syn(&cl)->seq;
	rig_pass_us(900000);
	cl.tsval += 900;
	ck_assert_uint_eq(syn(&cl)->seq, iss);
	rig_ack(&cl);
	exchange(&cl);
}
END_TEST

START_TEST(test_repeated_last_ack_and_late_syn_do_no_harm)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_ack(&cl);
	rig_ack(&cl);
	rig_expect_nothing();
	/* The network had kept a copy of the SYN. */
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
	exchange(&cl);
}
END_TEST

/* RFC 9293 figure 9: the SYN of an earlier connection comes first. */
START_TEST(test_old_duplicate_syn_gives_way)
{
	static const int32_t apart[] = { 100000, -100000, 5000, -1 };
	struct rig_client old = { 0 }, cl = { 0 };
	struct rig_out *out;

	rig_client(&old, 1000);
	syn(&old);
	rig_client(&cl, 1000);
	cl.iss = old.iss + (uint32_t)apart[_i];
	cl.snd_nxt = cl.iss + 1;
	/* The new SYN: challenged; the client, in SYN-SENT, answers with a RST. */
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = cl.iss,
					  .syn_options = true });
	out = rig_expect(NULL, TH_ACK);
	ck_assert_uint_eq(out->ack, old.iss + 1);
	cl.ts = false;
	rig_input(&cl, &(struct rig_seg){ .flags = TH_RST, .seq = out->ack });
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 0);
	cl.ts = true;
	syn(&cl);
	rig_ack(&cl);
	exchange(&cl);
}
END_TEST

/* The old duplicate's SYN-ACK makes the client reset it (figure 9, line 4). */
START_TEST(test_reset_of_an_old_duplicate_frees_the_half_open_one)
{
	struct rig_client cl = { 0 };

	rig_client(&cl, 1000);
	syn(&cl);
	cl.ts = false;
	rig_input(&cl,
		  &(struct rig_seg){ .flags = _i ? TH_RST | TH_ACK : TH_RST,
				     .seq = cl.iss + 1,
				     .ack = cl.rcv_nxt });
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 0);
	ck_assert_uint_eq(rig.st->half_open, 0);
	rig_expect_nothing();
}
END_TEST

/* RFC 9293 figure 10, RFC 5961 section 4: the client rebooted. */
START_TEST(test_half_open_connection_is_recovered)
{
	struct rig_client cl = { 0 }, next = { 0 };
	struct rig_out *out;

	rig_connect(&cl, 1000);
	exchange(&cl);
	rig_pass_us(5000000);
	rig_client(&next, 1000);
	next.tsval = _i ? 10 : cl.tsval + 100;
	next.iss = 400;
	next.snd_nxt = 401;
	rig_input(&next, &(struct rig_seg){ .flags = TH_SYN,
					    .seq = next.iss,
					    .syn_options = true });
	out = rig_expect(NULL, TH_ACK);
	ck_assert_uint_eq(out->ack, cl.snd_nxt);
	ck_assert_uint_eq(state(&cl), TCP_ESTABLISHED);
	next.ts = false;
	rig_input(&next, &(struct rig_seg){ .flags = TH_RST, .seq = out->ack });
	rig_events(cl.ri);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 0);
	next.ts = true;
	syn(&next);
	rig_ack(&next);
	exchange(&next);
}
END_TEST

/* The same while a request is held, unacknowledged: RST at rcv_acked. */
START_TEST(test_half_open_connection_with_a_held_request_is_recovered)
{
	struct rig_client cl = { 0 };
	struct rig_out *out;

	rig_connect(&cl, 1000);
	rig_send(&cl, "request");
	rig_expect_text(&cl, "request");
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN, .seq = 400 });
	out = rig_expect(NULL, TH_ACK);
	ck_assert_uint_eq(out->ack, cl.iss + 1);
	cl.ts = false;
	rig_input(&cl, &(struct rig_seg){ .flags = TH_RST, .seq = out->ack });
	rig_events(cl.ri);
	ck_assert_uint_eq(rig_counter(SC_conn_reset_in), 1);
}
END_TEST

/* Figure 11: we are the one that sends first after the reboot. */
START_TEST(test_push_to_a_rebooted_client_is_reset)
{
	struct rig_client cl = { 0 };
	struct rig_out *out;

	rig_connect(&cl, 1000);
	rig_reply(&cl, 0, "push");
	out = rig_expect(&cl, TH_ACK | TH_PSH);
	cl.ts = false;
	rig_input(&cl, &(struct rig_seg){ .flags = TH_RST, .seq = out->ack });
	ck_assert_uint_eq(rig_counter(SC_conn_reset_in), 1);
	rig_events(cl.ri);
}
END_TEST

START_TEST(test_rst_with_and_without_ack_counts)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_input(&cl,
		  &(struct rig_seg){ .flags = _i ? TH_RST | TH_ACK : TH_RST,
				     .seq = cl.snd_nxt,
				     .ack = _i ? cl.rcv_nxt : 0 });
	ck_assert_uint_eq(state(&cl), TCP_FREE);
}
END_TEST

START_TEST(test_tiny_mss_is_taken_for_88_bytes)
{
	static const uint16_t tiny[] = { 0, 1, 40, 87 };
	struct rig_client cl = { 0 };
	static char text[500];
	uint8_t packet[128];
	uint32_t len, sum;

	rig_client(&cl, 1000);
	cl.ts = false;
	len = rig_build(&cl,
			&(struct rig_seg){ .flags = TH_SYN,
					   .seq = cl.iss,
					   .syn_options = true },
			packet);
	/* Put another MSS than 1460 there, and make the checksum right. */
	packet[42] = (uint8_t)(tiny[_i] >> 8);
	packet[43] = (uint8_t)tiny[_i];
	sum = (uint32_t)(packet[36] << 8 | packet[37]);
	sum = (~sum & 0xffff) + (~1460u & 0xffff) + tiny[_i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
	packet[36] = (uint8_t)(sum >> 8);
	packet[37] = (uint8_t)sum;
	rig_packet(packet, len);
	rig_expect(&cl, TH_SYN | TH_ACK);
	rig_ack(&cl);
	cl.ri = 0;
	ck_assert_uint_eq(rig_rec(&cl)->mss, TCP_MSS_MIN);
	ck_assert_int_eq(stack_reply(rig.st, 0, 0, 0, text, sizeof(text),
				     rig.now_us),
			 sizeof(text));
	stack_flush(rig.st, rig.now_us);
	ck_assert_uint_eq(rig.out[rig.seen].len, TCP_MSS_MIN);
	rig.seen = rig.n_out;
}
END_TEST

/* --- odd segments */

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* RFC 6093 section 6: text is text, wherever the urgent pointer points. */
START_TEST(test_urgent_text_is_ordinary_text)
{
	static const uint32_t pointers[] = { 0, 1, 3, 4, 9999, 0xffff };
	struct rig_client cl = { 0 };
	uint8_t packet[256], *tcp = packet + 20;
	uint32_t len, sum;

	rig_connect(&cl, 1000);
	len = rig_build(&cl,
			&(struct rig_seg){ .flags = TH_ACK | TH_PSH | TH_URG,
					   .seq = cl.snd_nxt,
					   .ack = cl.rcv_nxt,
					   .data = "!now",
					   .len = 4 },
			packet);
	put16(tcp + 18, pointers[_i]);
	sum = (uint32_t)(tcp[16] << 8 | tcp[17]);
	sum = (~sum & 0xffff) + pointers[_i];
	sum = (sum & 0xffff) + (sum >> 16);
	put16(tcp + 16, ~sum & 0xffff);
	rig_packet(packet, len);
	cl.snd_nxt += 4;
	expect_text_after_events(&cl, "!now");
	rig_reply(&cl, 4, "ok");
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK | TH_PSH)->ack, cl.snd_nxt);
}
END_TEST

/* RFC 8200 section 4: hop-by-hop, destination options, routing done with. */
START_TEST(test_ipv6_extension_headers_are_skipped)
{
	static const uint8_t chains[][5] = {
		{ 0 }, { 60 }, { 43 }, { 0, 60, 43, 60 }, { 60, 60 },
	};
	static const uint8_t lens[] = { 1, 1, 1, 4, 2 };
	struct rig_client cl = { 0 };
	uint8_t packet[512], ext[64] = { 0 };
	uint32_t len, n = lens[_i] * 8u;

	rig_client(&cl, 1000);
	cl.v6 = true;
	rig_connect(&cl, 1000);
	len = rig_build(&cl,
			&(struct rig_seg){ .flags = TH_ACK | TH_PSH,
					   .seq = cl.snd_nxt,
					   .ack = cl.rcv_nxt,
					   .data = "text",
					   .len = 4 },
			packet);
	for (uint32_t i = 0; i < lens[_i]; i++) {
		ext[8 * i] = i + 1 < lens[_i] ? chains[_i][i + 1] : 6;
		if (chains[_i][i] != 43) {
			ext[8 * i + 2] = 1; /* PadN of four bytes */
			ext[8 * i + 3] = 4;
		}
	}
	memmove(packet + 40 + n, packet + 40, len - 40);
	memcpy(packet + 40, ext, n);
	packet[6] = chains[_i][0];
	put16(packet + 4, len - 40 + n);
	rig_packet(packet, len + n);
	expect_text_after_events(&cl, "text");
}
END_TEST

/* --- windows */

/* RFC 9293 3.8.6: be robust against a window that shrinks. */
START_TEST(test_window_that_shrinks_under_what_is_sent)
{
	struct rig_client cl = { 0 };
	static char text[4000];
	uint32_t sent = 0, una;

	rig_connect(&cl, 1000);
	ck_assert_int_eq(stack_reply(rig.st, cl.ri, 0, 0, text, sizeof(text),
				     rig.now_us),
			 sizeof(text));
	stack_flush(rig.st, rig.now_us);
	for (; rig.seen < rig.n_out; rig.seen++)
		sent += rig.out[rig.seen].len;
	ck_assert_uint_eq(sent, sizeof(text));
	/* The first segment is acknowledged, with room for nothing more. */
	una = cl.rcv_nxt = cl.srv_iss + 1 + 1448;
	cl.wnd = 0;
	rig_ack(&cl);
	ck_assert_uint_eq(rig_blk(&cl)->snd_una, una);
	rig_pass_us(10000000);
	ck_assert_uint_eq(state(&cl), TCP_ESTABLISHED);
	rig.seen = rig.n_out;
	/* It opens: all the rest comes. */
	cl.wnd = 512;
	rig_ack(&cl);
	rig_pass_us(5000000);
	while (rig.seen < rig.n_out) {
		struct rig_out *out = &rig.out[rig.seen++];

		if (out->seq == cl.rcv_nxt && out->len) {
			cl.rcv_nxt += out->len;
			rig_ack(&cl);
		}
	}
	ck_assert_uint_eq(cl.rcv_nxt, cl.srv_iss + 1 + sizeof(text));
	ck_assert_uint_eq(rig_rec(&cl)->snd_off, sizeof(text));
	rig_events(cl.ri);
}
END_TEST

/* Our pool is full: probes with text are answered, and taken later. */
START_TEST(test_window_probes_with_text_are_answered)
{
	struct rig_client cl = { 0 };
	static char data[1448];
	struct rig_out *out = NULL;
	char buf[4096];

	stack_pool_set(rig.st, 0, 16 * CHUNK_BYTES, 100, 75);
	rig_connect(&cl, 1000);
	for (int i = 0; i < 20; i++) {
		const struct blk *b = rig_blk(&cl);

		if (b && b->rcv_adv - b->rcv_nxt < sizeof(data))
			break;
		rig_send_bytes(&cl, data, sizeof(data));
	}
	if (rig_blk(&cl)->rcv_adv != rig_blk(&cl)->rcv_nxt)
		rig_send_bytes(&cl, data,
			       rig_blk(&cl)->rcv_adv - rig_blk(&cl)->rcv_nxt);
	rig.seen = rig.n_out;
	/* Probes of one byte, further and further apart. */
	for (int i = 0; i < 5; i++) {
		rig_pass_us(600000u << i);
		rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK,
						  .seq = cl.snd_nxt,
						  .ack = cl.rcv_nxt,
						  .data = "p",
						  .len = 1 });
		out = &rig.out[(rig.n_out - 1) % RIG_OUT_MAX];
		ck_assert_uint_gt(rig.n_out, rig.seen);
		rig.seen = rig.n_out;
		ck_assert_uint_eq(out->flags, TH_ACK);
		ck_assert_uint_le(
			out->ack + (out->wnd << cl.srv_shift) - cl.snd_nxt, 0);
	}
	/* The application works it off: the window opens, the byte is taken. */
	while (rig_deliver(&cl, buf, sizeof(buf)))
		;
	rig_reply(&cl, rig_blk(&cl)->rcv_dlv - rig_blk(&cl)->rcv_app, "");
	ck_assert_uint_gt(rig.n_out, rig.seen);
	out = &rig.out[(rig.n_out - 1) % RIG_OUT_MAX];
	ck_assert_uint_gt(out->wnd, 0);
	rig.seen = rig.n_out;
	rig_send(&cl, "p");
	rig_expect_text(&cl, "p");
}
END_TEST

/* --- the end */

static void client_fin(struct rig_client *cl, uint32_t ack)
{
	rig_input(cl, &(struct rig_seg){ .flags = TH_ACK | TH_FIN,
					 .seq = cl->snd_nxt,
					 .ack = ack });
}

/* Both close; each order in which FINs and their ACKs can arrive. */
START_TEST(test_simultaneous_close_in_each_order)
{
	struct rig_client cl = { 0 };
	uint32_t before;

	rig_connect(&cl, 1000);
	stack_close(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&cl, TH_ACK | TH_FIN);
	before = cl.rcv_nxt - 1;
	switch (_i) {
	case 0: /* its FIN, then its ACK */
		client_fin(&cl, before);
		ck_assert_uint_eq(state(&cl), TCP_CLOSING);
		rig_expect(&cl, TH_ACK);
		cl.snd_nxt++;
		rig_ack(&cl);
		break;
	case 1: /* its ACK, then its FIN */
		rig_ack(&cl);
		ck_assert_uint_eq(state(&cl), TCP_FIN_WAIT_2);
		client_fin(&cl, cl.rcv_nxt);
		rig_expect(&cl, TH_ACK);
		break;
	case 2: /* its ACK overtaken by its FIN */
		cl.snd_nxt++;
		rig_ack(&cl);
		ck_assert_uint_eq(state(&cl), TCP_FIN_WAIT_2);
		cl.snd_nxt--;
		client_fin(&cl, before);
		rig.seen = rig.n_out;
		break;
	case 3: /* its ACK is lost: it answers our FIN when sent again */
		client_fin(&cl, before);
		rig_expect(&cl, TH_ACK);
		cl.snd_nxt++;
		rig_pass_us(3000000);
		ck_assert_uint_eq(rig_expect(NULL, TH_ACK | TH_FIN)->seq,
				  before);
		rig_ack(&cl);
		rig.seen = rig.n_out;
		break;
	default: /* our ACK is lost, and its own: its FIN comes again, then ours */
		client_fin(&cl, before);
		rig_expect(&cl, TH_ACK);
		client_fin(&cl, cl.rcv_nxt);
		ck_assert_uint_gt(rig.n_out, rig.seen);
		cl.snd_nxt++;
		rig_pass_us(3000000);
		rig_ack(&cl);
		rig.seen = rig.n_out;
		break;
	}
	ck_assert_uint_eq(state(&cl), TCP_TIME_WAIT);
}
END_TEST

/* RFC 6191 section 2: what makes a SYN newer. */
static const struct {
	bool old_ts, new_ts;
	int32_t ts, seq; /* after the old connection's last */
	bool opens;
} reuse[] = {
	{ true, true, 1, -1000, true },	   { true, true, 0, 0, true },
	{ true, true, 0, -1, false },	   { true, true, -1, 1000, false },
	{ true, false, 0, 0, true },	   { true, false, 0, -1, false },
	{ false, true, 0, -1000, true },   { false, false, 0, 0, true },
	{ false, false, 0, -1000, false },
};

START_TEST(test_time_wait_gives_way_as_rfc_6191_says)
{
	struct rig_client cl = { 0 }, next = { 0 };
	uint32_t snd_nxt;

	rig_client(&cl, 1000);
	cl.ts = reuse[_i].old_ts;
	rig_connect(&cl, 1000);
	stack_close(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&cl, TH_ACK | TH_FIN);
	client_fin(&cl, cl.rcv_nxt);
	rig_expect(&cl, TH_ACK);
	cl.snd_nxt++;
	ck_assert_uint_eq(state(&cl), TCP_TIME_WAIT);
	/* As if much had been sent: more than the clock of ISNs allows for. */
	rig_rec(&cl)->snd_off += 50000000;
	snd_nxt = cl.rcv_nxt + 50000000;
	rig_client(&next, 1000);
	next.ts = reuse[_i].new_ts;
	next.tsval = cl.tsval + (uint32_t)reuse[_i].ts;
	next.iss = cl.snd_nxt + (uint32_t)reuse[_i].seq;
	rig_input(&next, &(struct rig_seg){ .flags = TH_SYN,
					    .seq = next.iss,
					    .syn_options = true });
	if (!reuse[_i].opens) {
		rig_expect(NULL, TH_ACK);
		ck_assert_uint_eq(state(&cl), TCP_TIME_WAIT);
		return;
	}
	/* The new ISN lies above the old connection's numbers. */
	ck_assert(seq_gt(rig_expect(NULL, TH_SYN | TH_ACK)->seq, snd_nxt));
}
END_TEST

/* A flood of SYNs doesn't take its place in TIME-WAIT from a client. */
START_TEST(test_time_wait_gives_way_without_a_cookie)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	stack_close(rig.st, cl.ri, rig.now_us);
	stack_flush(rig.st, rig.now_us);
	rig_expect(&cl, TH_ACK | TH_FIN);
	client_fin(&cl, cl.rcv_nxt);
	rig_expect(&cl, TH_ACK);
	rig.st->limits.syn_cookies = STACK_COOKIES_ALWAYS;
	cl.tsval++;
	cl.iss += 5000;
	syn(&cl);
	ck_assert_uint_eq(rig_counter(SC_cookies_sent), 0);
	ck_assert_uint_eq(rig.st->half_open, 1);
}
END_TEST

UNIT_MAIN("stack/tolerance",
	  UNIT_CASE("timestamps", up, down,
		    test_timestamps_dropped_for_good_after_the_handshake,
		    test_rst_with_a_stale_timestamp_counts),
	  UNIT_LOOP("idle", 6, up, down, test_connection_idle_for_weeks_works),
	  UNIT_LOOP("idle push", 2, up, down,
		    test_push_after_idle_weeks_is_acknowledged,
		    test_loss_after_idle_weeks_does_no_harm),
	  UNIT_CASE("handshake", up, down,
		    test_text_in_the_syn_is_taken_when_sent_again,
		    test_text_in_a_syn_that_gets_a_cookie_likewise,
		    test_text_with_the_last_ack,
		    test_fin_with_text_is_acknowledged_with_it,
		    test_lost_synack_is_sent_again_upon_the_syn,
		    test_repeated_last_ack_and_late_syn_do_no_harm,
		    test_half_open_connection_with_a_held_request_is_recovered,
		    test_push_to_a_rebooted_client_is_reset),
	  UNIT_LOOP("two ways", 2, up, down, test_fin_with_the_last_ack,
		    test_reset_of_an_old_duplicate_frees_the_half_open_one,
		    test_half_open_connection_is_recovered,
		    test_rst_with_and_without_ack_counts),
	  UNIT_LOOP("four ways", 4, up, down, test_old_duplicate_syn_gives_way,
		    test_tiny_mss_is_taken_for_88_bytes),
	  UNIT_LOOP("urgent", 6, up, down, test_urgent_text_is_ordinary_text),
	  UNIT_LOOP("extension headers", 5, up, down,
		    test_ipv6_extension_headers_are_skipped),
	  UNIT_CASE("windows", up, down,
		    test_window_that_shrinks_under_what_is_sent,
		    test_window_probes_with_text_are_answered),
	  UNIT_LOOP("close", 5, up, down,
		    test_simultaneous_close_in_each_order),
	  UNIT_LOOP("reuse", 9, up, down,
		    test_time_wait_gives_way_as_rfc_6191_says),
	  UNIT_CASE("reuse under pressure", up, down,
		    test_time_wait_gives_way_without_a_cookie))
