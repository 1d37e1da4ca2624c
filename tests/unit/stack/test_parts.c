/* SPDX-License-Identifier: BSD-2-Clause */
/* The small parts: checksum, options, round-trip time, window, states. */
#include <string.h>

#include "../unit.h"
#include "base/seq.h"
#include "rig.h"
#include "stack/checksum.h"
#include "stack/conn.h"
#include "stack/options.h"
#include "stack/state.h"

START_TEST(test_checksum_of_rfc_1071_example)
{
	/* Section 3: 00 01 f2 03 f4 f5 f6 f7 sum to ddf2. */
	static const uint8_t data[] = { 0x00, 0x01, 0xf2, 0x03,
					0xf4, 0xf5, 0xf6, 0xf7 };
	uint16_t sum = checksum_fold(checksum_add(0, data, sizeof(data)));
	uint8_t bytes[2];

	memcpy(bytes, &sum, 2);
	ck_assert_uint_eq(bytes[0], 0xff & ~0xdd);
	ck_assert_uint_eq(bytes[1], 0xff & ~0xf2);
}
END_TEST

/* Any way to cut the bytes gives the same sum. */
START_TEST(test_checksum_of_pieces)
{
	uint8_t data[301];
	uint16_t whole;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 37 + 11);
	whole = checksum_fold(checksum_add(0, data, sizeof(data)));
	for (size_t a = 0; a < sizeof(data); a += 7) {
		for (size_t b = a; b < sizeof(data); b += 13) {
			struct iovec iov[] = { { data, a },
					       { data + a, b - a },
					       { data + b, sizeof(data) - b } };

			ck_assert_uint_eq(
				checksum_fold(checksum_iov(0, iov, 3)), whole);
		}
	}
}
END_TEST

START_TEST(test_options_written_are_read_back)
{
	struct seg_opts in = { .has_mss = true,
			       .mss = 1460,
			       .has_wscale = true,
			       .wscale = 5,
			       .has_ts = true,
			       .tsval = 0xdeadbeef,
			       .tsecr = 7,
			       .sack_ok = true },
			out;
	uint8_t buf[40];
	uint32_t len = options_write(buf, &in);

	ck_assert_uint_le(len, 40);
	ck_assert_uint_eq(len % 4, 0);
	ck_assert(options_parse(buf, len, &out));
	ck_assert(out.has_mss && out.has_wscale && out.has_ts && out.sack_ok);
	ck_assert_uint_eq(out.mss, 1460);
	ck_assert_uint_eq(out.wscale, 5);
	ck_assert_uint_eq(out.tsval, 0xdeadbeef);
	ck_assert_uint_eq(out.tsecr, 7);
}
END_TEST

START_TEST(test_option_window_scale_over_14_counts_as_14)
{
	static const uint8_t opt[] = { 3, 3, 200 };
	struct seg_opts out;

	ck_assert(options_parse(opt, sizeof(opt), &out));
	ck_assert_uint_eq(out.wscale, 14);
}
END_TEST

START_TEST(test_unknown_options_are_skipped_and_end_ends)
{
	static const uint8_t opts[] = {
		253, 6, 1, 2, 3, 4, 2, 4, 5, 0xb4, 0, 1
	};
	struct seg_opts out;

	ck_assert(options_parse(opts, sizeof(opts), &out));
	ck_assert_uint_eq(out.mss, 1460);
}
END_TEST

/* Every string of three bytes: either refused, or harmless. */
START_TEST(test_every_short_option_string_is_safe)
{
	struct seg_opts out;

	for (uint32_t i = 0; i < 1u << 24; i += 251) {
		uint8_t *opts =
			malloc(3); /* a sanitizer sees any step beyond */

		opts[0] = (uint8_t)(i >> 16);
		opts[1] = (uint8_t)(i >> 8);
		opts[2] = (uint8_t)i;
		options_parse(opts, 3, &out);
		free(opts);
	}
}
END_TEST

START_TEST(test_rtt_packs_within_a_thousandth)
{
	for (uint32_t us = 0; us < 100000000; us += us / 50 + 1) {
		uint32_t back = rtt_unpack(rtt_pack(us));

		ck_assert_uint_le(back, us);
		ck_assert_uint_le(us - back, us / 1000);
	}
	ck_assert_uint_gt(rtt_unpack(rtt_pack(UINT32_MAX)),
			  UINT32_MAX / 1001 * 1000);
}
END_TEST

START_TEST(test_states_only_step_as_drawn)
{
	ck_assert(tcp_state_legal(TCP_SYN_RECEIVED, TCP_ESTABLISHED));
	ck_assert(tcp_state_legal(TCP_FIN_WAIT_1, TCP_TIME_WAIT));
	ck_assert(!tcp_state_legal(TCP_TIME_WAIT, TCP_ESTABLISHED));
	ck_assert(!tcp_state_legal(TCP_FREE, TCP_ESTABLISHED));
	ck_assert(!tcp_state_legal(TCP_LAST_ACK, TCP_TIME_WAIT));
	ck_assert(!tcp_state_legal(77, TCP_FREE));
	for (uint8_t s = TCP_SYN_HELD; s < TCP_STATES; s++)
		ck_assert(tcp_state_legal(s, TCP_FREE));
}
END_TEST

/* RFC 6528: same tuple, later clock: larger; another tuple: elsewhere. */
START_TEST(test_isn_follows_the_clock_and_hides_between_tuples)
{
	struct tuple a = { .remote_port = 1, .local_port = 80 }, b = a;
	uint32_t first;

	rig_up();
	first = isn_make(rig.st, &a, 1000000);
	ck_assert_uint_eq(isn_make(rig.st, &a, 1000400) - first, 100);
	b.remote_port = 2;
	ck_assert_uint_ne(isn_make(rig.st, &b, 1000000), first);
	ck_assert_uint_ne(isn_ts_offset(rig.st, &b), isn_ts_offset(rig.st, &a));
	rig_down();
}
END_TEST

UNIT_MAIN("stack/parts",
	  UNIT_TESTS(test_checksum_of_rfc_1071_example, test_checksum_of_pieces,
		     test_options_written_are_read_back,
		     test_option_window_scale_over_14_counts_as_14,
		     test_unknown_options_are_skipped_and_end_ends,
		     test_every_short_option_string_is_safe,
		     test_rtt_packs_within_a_thousandth,
		     test_states_only_step_as_drawn,
		     test_isn_follows_the_clock_and_hides_between_tuples))
