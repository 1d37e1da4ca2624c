/* SPDX-License-Identifier: BSD-2-Clause */
/* Bulk between the stack and a backend: by reference, in large turns, with few
 * frames of credit. */
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../unit.h"
#include "base/seq.h"
#include "daemon/bstream.h"
#include "peer.h"

#define SEGMENT 1024u
#define TEXT_BYTES (60u * SEGMENT)
#define PART_BYTES (TEXT_BYTES / 3)
#define STEP (32u * 1024u)

static struct peer a;
static struct rig_client c1;
static char text[TEXT_BYTES];
static char step[STEP];

/* What rcv_redlv says as a DATA frame leaves; sendmsg() is ours, below. */
static bool watching;
static uint32_t redlv_as_it_left;

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	if (watching && msg->msg_iovlen > 1)
		redlv_as_it_left = rig_blk(&c1)->rcv_redlv;
	return syscall(SYS_sendmsg, fd, msg, flags);
}

static struct bstream *stream(void)
{
	return gs.by_id[PEER_GROUP]->live[0];
}

static void up(void)
{
	peer_up();
	memset(&a, 0, sizeof(a));
	memset(&c1, 0, sizeof(c1));
	a.fd = -1;
	for (uint32_t i = 0; i < TEXT_BYTES; i++)
		text[i] = (char)(i * 7 + i / 251);
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
}

static void down(void)
{
	watching = false;
	if (a.fd >= 0)
		peer_die(&a);
	peer_down();
}

/* Text [from, to), all in one turn. */
static void send_part(uint32_t from, uint32_t to)
{
	for (uint32_t at = from; at < to; at += SEGMENT)
		rig_send_bytes(&c1, text + at, SEGMENT);
	peer_pump();
}

static void send_text(void)
{
	send_part(0, TEXT_BYTES);
}

/* DATA from position pos on, all of the text. */
static void expect_text(uint64_t pos, uint8_t flags)
{
	for (uint32_t got = 0; got < TEXT_BYTES;) {
		uint32_t skip, n;

		peer_pump();
		if (!peer_next(&a))
			continue;
		ck_assert_uint_eq(a.f.type, FRAME_DATA);
		ck_assert_uint_eq(a.f.flags & FRAME_F_REDELIVERED, flags);
		skip = a.f.flags & FRAME_F_FIRST ? sizeof(struct frame_addr)
						 : 0;
		n = a.f.length - skip;
		ck_assert_uint_eq(a.f.offset, pos + got);
		ck_assert_int_eq(memcmp(a.payload + skip, text + got, n), 0);
		got += n;
	}
}

/* --- to the backend */

START_TEST(test_large_request_is_not_copied_into_the_queue)
{
	size_t cap;

	peer_request(&c1, "x");
	peer_expect_data(&a, "x", FRAME_F_FIRST);
	peer_reply(&a, 1, "");
	cap = stream()->out.cap_bytes;
	ck_assert_uint_lt(cap, TEXT_BYTES / 2);
	send_text();
	expect_text(1, 0);
	ck_assert_uint_eq(stream()->out.cap_bytes, cap);
}
END_TEST

START_TEST(test_what_the_socket_does_not_take_is_queued_in_order)
{
	int small = 1;

	ck_assert_int_eq(setsockopt(stream()->fd, SOL_SOCKET, SO_SNDBUF, &small,
				    sizeof(small)),
			 0);
	send_part(0, 2 * PART_BYTES);
	ck_assert_uint_gt(frame_queue_pending(&stream()->out), 0);
	ck_assert_uint_lt(frame_queue_pending(&stream()->out), 2 * PART_BYTES);
	ck_assert(!peer_next(&a));
	/* The socket has room again: as large, and must not overtake. */
	send_part(2 * PART_BYTES, TEXT_BYTES);
	expect_text(0, 0);
}
END_TEST

/* Else the process that is killed as it leaves has never delivered it. */
START_TEST(test_request_counts_as_delivered_before_it_leaves)
{
	uint32_t begin;

	peer_request(&c1, "x");
	peer_expect_data(&a, "x", FRAME_F_FIRST);
	begin = rig_blk(&c1)->rcv_nxt;
	watching = true;
	send_text();
	watching = false;
	ck_assert_uint_eq(redlv_as_it_left, begin + TEXT_BYTES);
}
END_TEST

START_TEST(test_what_waits_for_the_application_comes_again_when_it_is_lost)
{
	send_text();
	expect_text(0, 0);
	peer_die(&a);
	peer_attach(&a, 2);
	expect_text(0, FRAME_F_REDELIVERED);
}
END_TEST

/* --- from the backend */

static uint32_t turns;
static void (*turn_end)(void *ctx);

static void count_turn(void *ctx)
{
	turns++;
	turn_end(ctx);
}

/* PINGs of bytes in all, and how many turns they take. */
static uint32_t turns_of(uint32_t bytes)
{
	const struct frame ping = { .type = FRAME_PING };
	uint8_t wire[FRAME_HEADER_BYTES];
	int room = 1 << 20;

	frame_encode(&ping, wire);
	/* On both sides, so that nothing has to wait for the test to read. */
	setsockopt(a.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	setsockopt(stream()->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	memset(step, 0, sizeof(step));
	for (uint32_t at = 0; at < sizeof(step); at += sizeof(wire))
		memcpy(step + at, wire, sizeof(wire));
	for (uint32_t sent = 0; sent < bytes; sent += STEP)
		ck_assert_int_eq(send(a.fd, step, STEP, 0), STEP);
	turns = 0;
	turn_end = gs.ops.turn_end;
	gs.ops.turn_end = count_turn;
	for (int i = 0; i < 4; i++)
		peer_pump();
	gs.ops.turn_end = turn_end;
	for (uint32_t got = 0; got < bytes; got += FRAME_HEADER_BYTES) {
		peer_pump();
		peer_expect(&a, FRAME_PONG);
	}
	return turns;
}

START_TEST(test_a_turn_reads_more_than_a_buffer)
{
	ck_assert_uint_eq(turns_of(3 * FRAME_READER_BYTES), 1);
}
END_TEST

START_TEST(test_a_turn_of_one_stream_has_an_end)
{
	ck_assert_uint_ge(turns_of(10 * FRAME_READER_BYTES), 2);
}
END_TEST

/* --- credit */

static struct frame reply;
static uint32_t replied, told_times;
static uint64_t told;

/* The frames that came; told: how far the backend may send. */
static void take_credit(void)
{
	while (peer_next(&a)) {
		ck_assert_uint_eq(a.f.type, FRAME_CREDIT);
		if (!a.f.conn)
			continue;
		ck_assert_uint_eq(a.f.conn, reply.conn);
		ck_assert_uint_gt(a.f.offset, told);
		told = a.f.offset;
		told_times++;
	}
}

/* A piece of the reply, which the client takes and acknowledges. */
static void reply_step(void)
{
	reply.aux = replied;
	peer_send(&a, reply, step, STEP);
	reply.offset += reply.ackd;
	reply.ackd = 0;
	replied += STEP;
	while (rig.seen < rig.n_out)
		rig_expect(&c1, rig.out[rig.seen % RIG_OUT_MAX].flags);
	ck_assert_uint_eq(c1.rcv_nxt - c1.srv_iss - 1, replied);
	rig_ack(&c1);
	peer_pump();
	take_credit();
}

/* A request, and a window of congestion that is large. */
static void bulk_begin(void)
{
	c1.wnd = UINT16_MAX;
	rig_ack(&c1);
	peer_request(&c1, "get");
	peer_expect_data(&a, "get", FRAME_F_FIRST);
	reply = (struct frame){ .type = FRAME_REPLY,
				.flags = FRAME_F_AT,
				.group = PEER_GROUP,
				.conn = a.f.conn,
				.ackd = 3 };
	replied = told_times = 0;
	told = frame_send_limit(0, CONN_HALF_BYTES);
	rig_blk(&c1)->cc.cwnd = 300000;
}

START_TEST(test_bulk_is_told_of_credit_when_half_of_it_is_used)
{
	bulk_begin();
	for (int i = 0; i < 60; i++) {
		reply_step();
		ck_assert_uint_ge(told,
				  frame_send_limit(replied, CONN_HALF_BYTES));
	}
	/* Not at each of the 30 steps of the formula. */
	ck_assert_uint_ge(told_times, 3);
	ck_assert_uint_le(told_times, 10);
}
END_TEST

/* It has half a window left by the formula, so it does not ask. */
START_TEST(test_credit_that_was_lost_with_its_stream_comes_again)
{
	bulk_begin();
	for (int i = 0; i < 10; i++)
		reply_step();
	ck_assert_uint_gt(told, replied + 4 * CONN_HALF_BYTES);
	peer_die(&a);
	peer_return(&a, 1);
	reply.aux = replied;
	peer_send(&a, reply, NULL, 0);
	peer_resumed(&a);
	told_times = 0;
	told = replied + CONN_HALF_BYTES;
	for (int i = 0; i < 20; i++) {
		ck_assert_uint_le(replied + STEP, told);
		reply_step();
	}
	ck_assert_uint_ge(told_times, 1);
}
END_TEST

UNIT_MAIN(
	"daemon/bulk",
	UNIT_CASE(
		"to the backend", up, down,
		test_large_request_is_not_copied_into_the_queue,
		test_what_the_socket_does_not_take_is_queued_in_order,
		test_request_counts_as_delivered_before_it_leaves,
		test_what_waits_for_the_application_comes_again_when_it_is_lost),
	UNIT_CASE("from the backend", up, down,
		  test_a_turn_reads_more_than_a_buffer,
		  test_a_turn_of_one_stream_has_an_end),
	UNIT_CASE("credit", up, down,
		  test_bulk_is_told_of_credit_when_half_of_it_is_used,
		  test_credit_that_was_lost_with_its_stream_comes_again))
