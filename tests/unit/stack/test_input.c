/* SPDX-License-Identifier: BSD-2-Clause */
/* Input for an existing connection: RFC 9293 section 3.10.7.4. */
#include <errno.h>
#include <string.h>

#include "../unit.h"
#include "rig.h"

static void up(void)
{
	rig_up();
}

static void down(void)
{
	rig_down();
}

START_TEST(test_text_out_of_order_is_put_in_order)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_send_at(&cl, 6, "ghi");
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.iss + 1);
	rig_send_at(&cl, 3, "def");
	rig_expect(&cl, TH_ACK);
	rig_expect_text(&cl, "");
	rig_send_at(&cl, 0, "abc");
	rig_expect_text(&cl, "abcdefghi");
	cl.snd_nxt += 9;
	rig_settle(&cl);
}
END_TEST

START_TEST(test_overlapping_text_counts_once)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_send_at(&cl, 2, "cd");
	rig_send_at(&cl, 6, "gh");
	rig_send_at(&cl, 1, "bcdefghij");
	rig_send_at(&cl, 0, "abcdefg");
	rig_expect_text(&cl, "abcdefghij");
	rig_settle(&cl);
}
END_TEST

START_TEST(test_overlap_on_both_sides_of_a_gap)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_send_at(&cl, 0, "12345");
	rig_send_at(&cl, 2, "345678");
	rig_expect_text(&cl, "12345678");
	rig_send_at(&cl, 13, "EFGH");
	rig_send_at(&cl, 11, "CDEF");
	rig_send_at(&cl, 8, "9ABCD");
	rig_expect_text(&cl, "9ABCDEFGH");
	rig_settle(&cl);
}
END_TEST

START_TEST(test_out_of_order_text_is_bounded)
{
	struct rig_client cl = { 0 };

	rig.st->limits.ooo_chunks_max = 8;
	rig_connect(&cl, 1000);
	for (uint32_t i = 0; i < 50; i++)
		rig_send_at(&cl, 2 + 2 * i, "x");
	ck_assert_uint_eq(rig_blk(&cl)->ooo_chunks, 8);
	ck_assert_uint_eq(rig_counter(SC_drop_ooo_limit), 42);
}
END_TEST

START_TEST(test_tiny_segments_share_chunks)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	for (int i = 0; i < 600; i++)
		rig_send(&cl, "x");
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rx.map), 2);
}
END_TEST

START_TEST(test_text_outside_the_window_is_not_taken)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_send_at(&cl, 70000, "beyond");
	ck_assert_uint_eq(rig_counter(SC_drop_window), 1);
	rig_expect(&cl, TH_ACK);
	rig_expect_text(&cl, "");
}
END_TEST

START_TEST(test_window_edge_never_goes_back)
{
	struct rig_client cl = { 0 };
	static const char data[1000];
	uint32_t edge = 0;
	char buf[64];

	rig.group.ack = STACK_ACK_IMMEDIATE;
	rig_group();
	stack_pool_set(rig.st, 0, 64 * CHUNK_BYTES, 90, 75);
	rig_connect(&cl, 1000);
	for (int i = 0; i < 40; i++) {
		rig_send_bytes(&cl, data, 1000);
		rig_pass_us(50000);
		while (rig.seen < rig.n_out) {
			struct rig_out *out = rig_expect(&cl, TH_ACK);
			uint32_t now = out->ack + (out->wnd << cl.srv_shift);

			ck_assert_int_ge((int32_t)(now - edge),
					 edge ? 0 : INT32_MIN);
			edge = now;
		}
	}
	while (rig_deliver(&cl, buf, sizeof(buf)))
		;
	rig_settle(&cl);
}
END_TEST

START_TEST(test_paws_drops_old_timestamps)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	cl.tsval -= 100;
	rig_send(&cl, "old");
	ck_assert_uint_eq(rig_counter(SC_paws_dropped), 1);
	rig_expect(&cl, TH_ACK);
	rig_expect_text(&cl, "");
	cl.tsval += 100;
	cl.snd_nxt -= 3;
	rig_send(&cl, "new");
	rig_expect_text(&cl, "new");
	rig_settle(&cl);
}
END_TEST

START_TEST(test_paws_forgets_after_24_days)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig.now_us += UINT64_C(25) * 86400 * 1000000;
	cl.tsval -= 100;
	rig_send(&cl, "old");
	rig_expect_text(&cl, "old");
	rig_settle(&cl);
}
END_TEST

START_TEST(test_rst_at_rcv_nxt_resets)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_send(&cl, "held");
	rig_rec(&cl)->flags |= REC_TOLD;
	rig_input(&cl,
		  &(struct rig_seg){ .flags = TH_RST,
				     .seq = _i ? cl.iss + 1 : cl.snd_nxt });
	ck_assert_uint_eq(rig_events(cl.ri), STACK_EV_RESET);
	stack_forget(rig.st, cl.ri);
	rig_expect_nothing();
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 0);
}
END_TEST

START_TEST(test_rst_elsewhere_in_the_window_is_challenged)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_RST,
					  .seq = cl.snd_nxt + 100 });
	ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
	ck_assert_uint_eq(rig_counter(SC_challenge_acks), 1);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_RST,
					  .seq = cl.snd_nxt + 1000000 });
	rig_expect_nothing();
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_ESTABLISHED);
}
END_TEST

START_TEST(test_syn_in_the_window_is_challenged)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_SYN, .seq = cl.snd_nxt });
	rig_expect(&cl, TH_ACK);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_ESTABLISHED);
}
END_TEST

START_TEST(test_ack_of_what_was_not_sent_is_challenged)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK,
					  .seq = cl.snd_nxt,
					  .ack = cl.rcv_nxt + 1 });
	rig_expect(&cl, TH_ACK);
	ck_assert_uint_eq(rig_counter(SC_drop_ack_range), 1);
}
END_TEST

START_TEST(test_segment_without_ack_is_dropped)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	rig_input(&cl, &(struct rig_seg){ .flags = TH_PSH | TH_FIN,
					  .seq = cl.snd_nxt });
	ck_assert_uint_eq(rig_counter(SC_drop_no_ack), 1);
	ck_assert_uint_eq(rig_rec(&cl)->state, TCP_ESTABLISHED);
}
END_TEST

START_TEST(test_echo_is_answered)
{
	uint8_t p[] = { 0x45, 0,   0,  32,  0, 0,   0,	 0,   64,  1,  0,
			0,    198, 51, 100, 7, 192, 0,	 2,   10,  8,  0,
			0,    0,   0,  1,   0, 2,   'p', 'i', 'n', 'g' };
	uint32_t sum = 0;

	for (int i = 0; i < 20; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
	p[10] = (uint8_t)(sum >> 8);
	p[11] = (uint8_t)sum;
	sum = 0;
	for (int i = 20; i < 32; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
	p[22] = (uint8_t)(sum >> 8);
	p[23] = (uint8_t)sum;
	rig_packet(p, sizeof(p));
	ck_assert_uint_eq(rig.n_out, 1);
	ck_assert(rig.out[0].icmp);
	ck_assert_uint_eq(rig.out[0].icmp_type, 0);
}
END_TEST

START_TEST(test_every_keepalive_probe_of_a_client_is_answered)
{
	struct rig_client cl = { 0 };

	rig_connect(&cl, 1000);
	for (int i = 0; i < 1500; i++) {
		rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK,
						  .seq = cl.snd_nxt - 1,
						  .ack = cl.rcv_nxt });
		ck_assert_uint_eq(rig_expect(&cl, TH_ACK)->ack, cl.snd_nxt);
		/* Nobody probes more often. */
		rig_pass_us(502000);
		ck_assert_ptr_null(rig_blk(&cl));
	}
}
END_TEST

UNIT_MAIN("stack/input",
	  UNIT_LOOP("rst", 2, up, down, test_rst_at_rcv_nxt_resets),
	  UNIT_CASE("text", up, down, test_text_out_of_order_is_put_in_order,
		    test_overlapping_text_counts_once,
		    test_overlap_on_both_sides_of_a_gap,
		    test_out_of_order_text_is_bounded,
		    test_tiny_segments_share_chunks,
		    test_text_outside_the_window_is_not_taken,
		    test_window_edge_never_goes_back,
		    test_paws_drops_old_timestamps,
		    test_paws_forgets_after_24_days),
	  UNIT_CASE("control", up, down,
		    test_rst_elsewhere_in_the_window_is_challenged,
		    test_syn_in_the_window_is_challenged,
		    test_ack_of_what_was_not_sent_is_challenged,
		    test_segment_without_ack_is_dropped,
		    test_every_keepalive_probe_of_a_client_is_answered,
		    test_echo_is_answered))
