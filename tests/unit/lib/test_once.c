/* SPDX-License-Identifier: BSD-2-Clause */
/* What exactly once is built from: identities, positions, what is done. */
#include <errno.h>
#include <string.h>

#include "unit/lib/fake.h"
#include "unit/unit.h"

static struct fake k;

static void setup_open(void)
{
	fake_init(&k);
	k.epoch = 0xabcd;
	fake_open(&k);
}

static void teardown(void)
{
	fake_fini(&k);
}

static struct xtcp_position position(int cd)
{
	struct xtcp_position pos;

	ck_assert_int_eq(xtcp_ctx_position(k.ctx, k.gd, cd, &pos), 0);
	return pos;
}

/* A connection that another process had: una, taken of the reply, offset. */
static int inherit(uint64_t una, uint32_t taken, uint64_t offset,
		   const char *text)
{
	const struct frame_addr addr = fake_addr(7, 4, una);
	const struct frame f = {
		.type = FRAME_DATA,
		.flags = FRAME_F_FIRST | FRAME_F_REDELIVERED,
		.group = 9,
		.conn = 7,
		.offset = offset,
		.aux = taken,
	};
	uint8_t buf[sizeof(addr) + 64];
	char got[64];
	int cd;

	memcpy(buf, &addr, sizeof(addr));
	memcpy(buf + sizeof(addr), text, strlen(text));
	fake_send(&k.s[0], f, buf, sizeof(addr) + strlen(text));
	ck_assert_int_eq(fake_recv_text(&k, &cd, got), (int)strlen(text));
	return cd;
}

START_TEST(test_position_of_a_new_connection)
{
	int cd = fake_connect_text(&k, 7, "abc");
	struct xtcp_position pos = position(cd);

	ck_assert_uint_eq(pos.epoch, 0xabcd);
	ck_assert_uint_eq(pos.id, 7);
	ck_assert_uint_eq(pos.offset, 0);
	ck_assert_uint_eq(pos.redelivered, 0);
	ck_assert_uint_eq(pos.sent, 0);
}
END_TEST

START_TEST(test_position_moves_with_sends)
{
	int cd = fake_connect_text(&k, 7, "abc");
	struct xtcp_position pos;

	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 2, "reply", 5), 5);
	pos = position(cd);
	ck_assert_uint_eq(pos.offset, 2);
	ck_assert_uint_eq(pos.redelivered, 2);
	ck_assert_uint_eq(pos.sent, 5);
}
END_TEST

START_TEST(test_position_of_an_inherited_connection)
{
	int cd = inherit(1000, 24, 50, "abc");
	struct xtcp_position pos = position(cd);
	struct frame f;

	ck_assert_uint_eq(pos.offset, 50);
	ck_assert_uint_eq(pos.redelivered, 53);
	ck_assert_uint_eq(pos.sent, 1024);
	fake_data(&k.s[0], 7, 53, "new");
	fake_pump(&k);
	ck_assert_uint_eq(position(cd).redelivered, 53);
	/* A recorded reply goes on where the one before was cut off. */
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 0, "rest", 4), 4);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.flags, FRAME_F_AT);
	ck_assert_uint_eq(f.aux, 1024);
	ck_assert_uint_eq(f.offset + f.ackd, 50);
}
END_TEST

START_TEST(test_done_acknowledges_and_skips)
{
	int cd = inherit(0, 0, 50, "abcdef"), again;
	char buf[64];
	struct frame f;

	ck_assert_int_eq(xtcp_ctx_done(k.ctx, k.gd, cd, 54), 0);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.offset + f.ackd, 54);
	ck_assert_uint_eq(position(cd).offset, 54);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), 2);
	ck_assert_str_eq(buf, "ef");
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 3, NULL, 0), -EINVAL);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 2, NULL, 0), 0);
}
END_TEST

START_TEST(test_done_reaches_what_is_still_to_come)
{
	int cd = inherit(0, 0, 50, "abc"), again;
	char buf[64];
	struct frame f;

	ck_assert_int_eq(xtcp_ctx_done(k.ctx, k.gd, cd, 58), 0);
	/* Not beyond what came: that would be an error. */
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.offset + f.ackd, 53);
	fake_data(&k.s[0], 7, 53, "de");
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -EAGAIN);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.offset + f.ackd, 55);
	fake_data(&k.s[0], 7, 55, "fghij");
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), 2);
	ck_assert_int_eq(again, cd);
	ck_assert_str_eq(buf, "ij");
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.offset + f.ackd, 58);
}
END_TEST

START_TEST(test_done_before_what_is_acknowledged_is_nothing)
{
	int cd = inherit(0, 0, 50, "abc"), again;
	char buf[64];

	ck_assert_int_eq(xtcp_ctx_done(k.ctx, k.gd, cd, 50), 0);
	ck_assert_int_eq(xtcp_ctx_done(k.ctx, k.gd, cd, 7), 0);
	fake_pump(&k);
	ck_assert(!fake_has_frame(&k, &k.s[0]));
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -EAGAIN);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 3, NULL, 0), 0);
}
END_TEST

START_TEST(test_end_is_told_after_what_is_done)
{
	const struct frame eof = {
		.type = FRAME_EOF, .group = 9, .conn = 7, .offset = 53
	};
	int cd = inherit(0, 0, 50, "abc"), again;
	char buf[64];

	ck_assert_int_eq(xtcp_ctx_done(k.ctx, k.gd, cd, 53), 0);
	fake_send(&k.s[0], eof, NULL, 0);
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), 0);
	ck_assert_int_eq(again, cd);
}
END_TEST

START_TEST(test_acknowledgement_goes_with_the_last_piece)
{
	int cd = fake_connect_text(&k, 7, "abc");
	struct frame f;

	/* The largest frame that this daemon takes, and one byte. */
	fake_credit(&k.s[0], 7, FAKE_BYTES, 0);
	fake_pump(&k);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 3, FRAME_PAYLOAD_MAX + 1),
			 FRAME_PAYLOAD_MAX + 1);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.length, FRAME_PAYLOAD_MAX);
	ck_assert_uint_eq(f.offset + f.ackd, 0);
	f = fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.length, 1);
	ck_assert_uint_eq(f.offset + f.ackd, 3);
}
END_TEST

START_TEST(test_close_says_where_the_replies_end)
{
	int cd = fake_connect_text(&k, 7, "abc");
	struct frame f;

	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 3, "reply", 5), 5);
	ck_assert_int_eq(xtcp_ctx_shutdown(k.ctx, k.gd, cd), 0);
	ck_assert_int_eq(xtcp_ctx_close(k.ctx, k.gd, cd), 0);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	f = fake_expect(&k, &k.s[0], FRAME_FIN, NULL);
	ck_assert_uint_eq(f.flags, FRAME_F_AT);
	ck_assert_uint_eq(f.aux, 5);
	f = fake_expect(&k, &k.s[0], FRAME_CLOSE, NULL);
	ck_assert_uint_eq(f.flags, FRAME_F_AT);
	ck_assert_uint_eq(f.aux, 5);
}
END_TEST

START_TEST(test_ids_of_another_epoch_are_other_connections)
{
	int cd = fake_connect_text(&k, 7, "abc"), again;
	struct xtcp_position pos;
	char buf[64];

	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 1, "reply", 5), 5);
	fake_drop(&k.s[0]);
	k.epoch++;
	fake_reaccept(&k);
	/* Nothing of the old one is said to the new daemon. */
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), -ECONNRESET);
	ck_assert_int_eq(again, cd);
	ck_assert_int_eq(xtcp_ctx_position(k.ctx, k.gd, cd, &pos), -ECONNRESET);
	ck_assert_int_eq(xtcp_ctx_done(k.ctx, k.gd, cd, 3), -ECONNRESET);
	fake_resumed(&k, &k.s[0]);
	ck_assert(!fake_has_frame(&k, &k.s[0]));
	again = fake_connect_text(&k, 7, "another one");
	ck_assert_int_ne(again, cd);
	ck_assert_uint_eq(position(again).epoch, 0xabce);
}
END_TEST

START_TEST(test_ids_of_the_same_epoch_go_on)
{
	int cd = fake_connect_text(&k, 7, "abc");

	fake_drop(&k.s[0]);
	fake_reaccept(&k);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
	ck_assert_uint_eq(position(cd).epoch, 0xabcd);
}
END_TEST

START_TEST(test_calls_check_their_arguments)
{
	struct xtcp_position pos;
	int cd = fake_connect_text(&k, 7, "abc");

	ck_assert_int_eq(xtcp_ctx_position(k.ctx, k.gd, cd, NULL), -EINVAL);
	ck_assert_int_eq(xtcp_ctx_position(k.ctx, k.gd, cd + 1, &pos), -EBADF);
	ck_assert_int_eq(xtcp_ctx_position(k.ctx, 9999, cd, &pos), -EBADF);
	ck_assert_int_eq(xtcp_ctx_done(k.ctx, k.gd, cd + 1, 1), -EBADF);
	ck_assert_int_eq(xtcp_position(k.gd, cd, &pos), -EINVAL);
	ck_assert_int_eq(xtcp_done(k.gd, cd, 1), -EINVAL);
}
END_TEST

UNIT_MAIN("lib/once",
	  UNIT_CASE("once", setup_open, teardown,
		    test_position_of_a_new_connection,
		    test_position_moves_with_sends,
		    test_position_of_an_inherited_connection,
		    test_done_acknowledges_and_skips,
		    test_done_reaches_what_is_still_to_come,
		    test_done_before_what_is_acknowledged_is_nothing,
		    test_end_is_told_after_what_is_done,
		    test_acknowledgement_goes_with_the_last_piece,
		    test_close_says_where_the_replies_end,
		    test_ids_of_another_epoch_are_other_connections,
		    test_ids_of_the_same_epoch_go_on,
		    test_calls_check_their_arguments))
