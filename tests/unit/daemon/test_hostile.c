/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames that no sane backend sends: each has its counter and harms nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../unit.h"
#include "base/units.h"
#include "daemon/bstream.h"
#include "daemon/hello.h"
#include "peer.h"

static struct peer a, b;
static struct rig_client c1;

static void up(void)
{
	peer_up();
	memset(&c1, 0, sizeof(c1));
	memset(&b, 0, sizeof(b));
	b.fd = -1;
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "request");
	peer_expect_data(&a, "request", FRAME_F_FIRST);
}

static void down(void)
{
	if (a.fd >= 0)
		peer_die(&a);
	if (b.fd >= 0)
		peer_die(&b);
	peer_down();
}

static struct frame frame(enum frame_type type)
{
	return (struct frame){ .type = (uint8_t)type,
			       .group = PEER_GROUP,
			       .conn = a.f.conn };
}

/* The stream is closed, and the connection goes on with another. */
static void expect_fatal(enum worker_counter which, int err)
{
	peer_expect_error(&a, err, true);
	ck_assert_uint_eq(peer_counter(which), 1);
	peer_attach(&b, 2);
	peer_expect_data(&b, "request", FRAME_F_FIRST | FRAME_F_REDELIVERED);
}

START_TEST(test_unknown_type_is_fatal)
{
	struct frame f = frame(FRAME_REPLY);

	f.type = 200;
	peer_send(&a, f, NULL, 0);
	expect_fatal(WC_frame_unknown_type, -EPROTO);
}
END_TEST

START_TEST(test_frame_in_the_wrong_direction_is_fatal)
{
	peer_send(&a, frame(FRAME_DATA), "x", 1);
	expect_fatal(WC_frame_unknown_type, -EPROTO);
}
END_TEST

START_TEST(test_length_out_of_bounds_is_fatal)
{
	peer_send(&a, frame(FRAME_CLOSE), "x", 1);
	expect_fatal(WC_frame_bad_length, -EMSGSIZE);
}
END_TEST

START_TEST(test_huge_length_is_fatal)
{
	struct frame f = frame(FRAME_REPLY);
	uint8_t wire[FRAME_HEADER_BYTES];

	f.length = 0xfffffff0;
	frame_encode(&f, wire);
	ck_assert_int_eq(write(a.fd, wire, sizeof(wire)), sizeof(wire));
	peer_pump();
	expect_fatal(WC_frame_bad_length, -EMSGSIZE);
}
END_TEST

START_TEST(test_conn_of_another_worker_is_fatal)
{
	struct frame f = frame(FRAME_REPLY);

	f.conn |= UINT64_C(3) << 56;
	peer_send(&a, f, NULL, 0);
	expect_fatal(WC_frame_bad_conn, -EBADF);
}
END_TEST

START_TEST(test_conn_that_is_no_record_is_fatal)
{
	struct frame f = frame(FRAME_CLOSE);

	f.conn = frame_conn_id(0, 1, 0xffffffff);
	peer_send(&a, f, NULL, 0);
	expect_fatal(WC_frame_bad_conn, -EBADF);
}
END_TEST

START_TEST(test_generation_zero_is_fatal)
{
	struct frame f = frame(FRAME_CLOSE);

	f.conn = frame_conn_id(0, 0, c1.ri);
	peer_send(&a, f, NULL, 0);
	expect_fatal(WC_frame_bad_conn, -EBADF);
}
END_TEST

START_TEST(test_frame_for_another_group_is_fatal)
{
	struct frame f = frame(FRAME_REPLY);

	f.group = 9;
	peer_send(&a, f, NULL, 0);
	expect_fatal(WC_frame_bad_group, -EBADF);
}
END_TEST

START_TEST(test_second_hello_is_fatal)
{
	struct frame_hello hello = { .magic = be32_put(FRAME_MAGIC) };

	peer_send(&a, (struct frame){ .type = FRAME_HELLO }, &hello,
		  sizeof(hello));
	expect_fatal(WC_frame_bad_hello, -EPROTO);
}
END_TEST

START_TEST(test_payload_beyond_the_credit_is_fatal)
{
	static char bulk[1024];

	gs.by_id[PEER_GROUP]->live[0]->rx_credit_bytes = 1000;
	peer_send(&a, frame(FRAME_REPLY), bulk, sizeof(bulk));
	expect_fatal(WC_frame_over_credit, -EMSGSIZE);
}
END_TEST

START_TEST(test_credit_for_a_connection_is_fatal)
{
	peer_send(&a, frame(FRAME_CREDIT), NULL, 0);
	expect_fatal(WC_frame_bad_conn, -EBADF);
}
END_TEST

START_TEST(test_credit_does_not_overflow)
{
	struct frame f = { .type = FRAME_CREDIT, .aux = UINT32_MAX };

	for (int i = 0; i < 1000; i++)
		peer_send(&a, f, NULL, 0);
	ck_assert_uint_le(gs.by_id[PEER_GROUP]->live[0]->tx_credit_bytes,
			  UINT64_C(1) << 40);
	peer_request(&c1, "more");
	peer_expect_data(&a, "more", 0);
}
END_TEST

START_TEST(test_ackd_beyond_what_was_delivered_is_an_error_that_takes_nothing)
{
	struct frame f = frame(FRAME_REPLY);

	f.ackd = 8;
	peer_send(&a, f, "answer", 6);
	peer_expect_error(&a, -EINVAL, false);
	ck_assert_uint_eq(a.f.conn, f.conn);
	f.ackd = 1;
	f.offset = UINT64_MAX;
	peer_send(&a, f, "answer", 6);
	peer_expect_error(&a, -EINVAL, false);
	f.offset = UINT64_C(1) << 40;
	f.ackd = UINT32_MAX;
	peer_send(&a, f, "answer", 6);
	peer_expect_error(&a, -EINVAL, false);
	ck_assert_uint_eq(peer_counter(WC_frame_ackd_beyond), 3);
	rig_expect_nothing();
	f.offset = 0;
	f.ackd = 7;
	peer_send(&a, f, "answer", 6);
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK | TH_PSH)->ack, c1.snd_nxt);
}
END_TEST

START_TEST(test_stale_generation_is_answered_with_reset)
{
	struct frame f = frame(FRAME_REPLY);

	f.conn = frame_conn_id(0, frame_conn_generation(f.conn) + 1, c1.ri);
	peer_send(&a, f, "answer", 6);
	peer_expect(&a, FRAME_RESET);
	ck_assert_uint_eq(a.f.conn, f.conn);
	ck_assert_uint_eq(peer_counter(WC_frame_stale_conn), 1);
	rig_expect_nothing();
}
END_TEST

START_TEST(test_acknowledging_what_another_backend_has_is_refused)
{
	struct frame f = frame(FRAME_REPLY);

	peer_attach(&b, 2);
	f.ackd = 7;
	peer_send(&b, f, "answer", 6);
	peer_expect(&b, FRAME_RESET);
	ck_assert_uint_eq(peer_counter(WC_frame_not_owner), 1);
	rig_expect_nothing();
	/* To push is allowed. */
	f.ackd = 0;
	peer_send(&b, f, "answer", 6);
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK | TH_PSH)->len, 6);
}
END_TEST

START_TEST(test_frames_in_no_state_for_them_are_ignored)
{
	peer_send(&a, frame(FRAME_ACCEPT), NULL, 0);
	peer_expect_error(&a, -EINVAL, false);
	peer_send(&a, frame(FRAME_REJECT), NULL, 0);
	peer_expect_error(&a, -EINVAL, false);
	peer_send(&a, frame(FRAME_FIN), NULL, 0);
	peer_send(&a, frame(FRAME_FIN), NULL, 0);
	peer_send(&a, frame(FRAME_REPLY), "late", 4);
	peer_expect_error(&a, -EPIPE, false);
	ck_assert_uint_eq(peer_counter(WC_frame_bad_state), 3);
}
END_TEST

START_TEST(test_frames_before_accept_are_ignored)
{
	static const enum frame_type types[] = { FRAME_REPLY, FRAME_FIN };
	struct rig_client c2;
	uint64_t conn;

	rig.group.accept = STACK_ACCEPT_APPLICATION;
	peer_group();
	rig_client(&c2, 1001);
	rig_input(&c2, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = c2.iss,
					  .syn_options = true });
	peer_pump();
	peer_expect(&a, FRAME_OPEN);
	conn = a.f.conn;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		a.f.conn = conn;
		peer_send(&a, frame(types[i]), NULL, 0);
		peer_expect_error(&a, -ENOTCONN, false);
	}
	a.f.conn = conn;
	peer_send(&a, frame(FRAME_CLOSE), NULL, 0);
	rig_expect(NULL, TH_RST | TH_ACK);
}
END_TEST

START_TEST(test_backend_that_does_not_read_is_not_read)
{
	struct frame f = frame(FRAME_REPLY);
	uint8_t wire[FRAME_HEADER_BYTES];
	struct bstream *s = gs.by_id[PEER_GROUP]->live[0];

	f.conn = frame_conn_id(0, frame_conn_generation(f.conn) + 1, c1.ri);
	frame_encode(&f, wire);
	/* Each is answered with RESET until nothing goes in any more. */
	for (int idle = 0; idle < 20;) {
		if (write(a.fd, wire, sizeof(wire)) == sizeof(wire)) {
			idle = 0;
			continue;
		}
		peer_pump();
		idle++;
	}
	ck_assert_uint_le(frame_queue_held(&s->out), STREAM_OUT_MAX_BYTES);
	ck_assert_uint_ge(peer_counter(WC_stream_stalled_out), 1);
	/* It reads again: all is answered, and it goes on. */
	for (int i = 0; i < 10000 && s->stall != BSTREAM_FLOWS; i++) {
		while (peer_next(&a))
			;
		peer_pump();
	}
	ck_assert_int_eq(s->stall, BSTREAM_FLOWS);
}
END_TEST

/* Random frames, some of them nearly right: nothing may break. */
START_TEST(test_random_frames_break_nothing)
{
	static char bulk[2000];
	uint64_t conn = a.f.conn;

	srandom((unsigned)_i + 1);
	for (int n = 0; n < 200; n++) {
		struct frame f = {
			.type = (uint8_t)(random() % 3 ? 32 + random() % 7
						       : random() % 64),
			.flags = (uint8_t)(random() % 32),
			.group = (uint16_t)(random() % 20 ? PEER_GROUP
							  : random()),
			.conn = random() % 8
					? conn
					: (uint64_t)random() << (random() % 40),
			.offset = (uint64_t)(random() % 4 ? random() % 20
							  : random()),
			.ackd = (uint32_t)(random() % 12),
			.aux = (uint32_t)(random() % 40),
		};

		if (a.gone || a.fd < 0) {
			peer_die(&a);
			peer_attach(&a, 1);
		}
		/* Mostly a length that the type can have. */
		peer_send(&a, f, bulk,
			  f.type == FRAME_REPLY
				  ? (uint32_t)random() % sizeof(bulk)
			  : random() % 20 ? 0
					  : 24);
		while (peer_next(&a))
			;
		if (random() % 4 == 0)
			peer_pass_us(50 * USEC_PER_MSEC);
		if (rig_rec(&c1)->state == TCP_ESTABLISHED && random() % 2)
			peer_request(&c1, "data");
		ck_assert_ptr_null(shard_check(&rig.shard));
		rig.seen = rig.n_out;
	}
}
END_TEST

/* --- backends that are dialled */

static int listen_fd;
static struct conf_backend dialled;

static void up_dial(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int n;

	peer_up();
	memset(&a, 0, sizeof(a));
	a.fd = b.fd = -1;
	n = snprintf(sun.sun_path + 1, sizeof(sun.sun_path) - 1, "xtcp-test-%d",
		     getpid());
	listen_fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(
		bind(listen_fd, (struct sockaddr *)&sun,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
				 (size_t)n)),
		0);
	dialled = (struct conf_backend){ .name = "dialled", .streams = 1 };
	snprintf(dialled.address, sizeof(dialled.address), "unix:@%s",
		 sun.sun_path + 1);
	peer_setup.backends = &dialled;
	peer_setup.n_backends = 1;
	peer_group();
}

static void down_dial(void)
{
	close(listen_fd);
	down();
}

static bool dial_accept(void)
{
	a = (struct peer){ .fd = accept4(listen_fd, NULL, NULL,
					 SOCK_NONBLOCK | SOCK_CLOEXEC) };
	frame_reader_init(&a.in, FRAME_SIDE_BACKEND, FRAME_PAYLOAD_MAX);
	return a.fd >= 0;
}

static void dial_hello(void)
{
	struct frame_hello hello = {
		.magic = be32_put(FRAME_MAGIC),
		.version = be16_put(FRAME_VERSION),
		.max_payload = be32_put(FRAME_PAYLOAD_MAX),
		.stream_credit = be32_put(PEER_CREDIT),
	};

	peer_send(&a, (struct frame){ .type = FRAME_HELLO }, &hello,
		  sizeof(hello));
}

START_TEST(test_dialled_backend_is_attached)
{
	struct frame_attach attach;

	ck_assert_int_eq(listen(listen_fd, 4), 0);
	peer_pass_us(100 * USEC_PER_MSEC);
	ck_assert(dial_accept());
	peer_expect(&a, FRAME_HELLO);
	dial_hello();
	peer_expect(&a, FRAME_ATTACH);
	memcpy(&attach, a.payload, sizeof(attach));
	ck_assert_uint_eq(be16_get(attach.port), RIG_PORT);
	ck_assert_uint_eq(a.f.group, PEER_GROUP);
	peer_send(&a,
		  (struct frame){ .type = FRAME_ATTACHED, .group = PEER_GROUP },
		  &attach, sizeof(attach));
	ck_assert_uint_eq(peer_counter(WC_backend_connects), 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "hi");
	peer_expect_data(&a, "hi", FRAME_F_FIRST);
}
END_TEST

START_TEST(test_backend_is_dialled_again_with_back_off)
{
	uint64_t tries;

	peer_pass_us(10 * USEC_PER_SEC);
	tries = peer_counter(WC_backend_connect_failed);
	ck_assert_uint_ge(tries, 5); /* 100 ms doubling to 5 s */
	ck_assert_uint_le(tries, 12);
	ck_assert_int_eq(listen(listen_fd, 4), 0);
	peer_pass_us(8 * USEC_PER_SEC);
	ck_assert(dial_accept());
	peer_expect(&a, FRAME_HELLO);
}
END_TEST

START_TEST(test_silent_handshake_is_given_up)
{
	ck_assert_int_eq(listen(listen_fd, 4), 0);
	peer_pass_us(100 * USEC_PER_MSEC);
	ck_assert(dial_accept());
	peer_expect(&a, FRAME_HELLO);
	peer_pass_us(6 * USEC_PER_SEC);
	peer_expect_error(&a, -ETIMEDOUT, true);
}
END_TEST

START_TEST(test_hello_of_another_protocol_is_refused)
{
	struct frame_hello hello = { .magic = be32_put(0x48545450) };

	ck_assert_int_eq(listen(listen_fd, 4), 0);
	peer_pass_us(100 * USEC_PER_MSEC);
	ck_assert(dial_accept());
	peer_expect(&a, FRAME_HELLO);
	peer_send(&a, (struct frame){ .type = FRAME_HELLO }, &hello,
		  sizeof(hello));
	peer_expect_error(&a, -EPROTO, true);
	ck_assert_uint_eq(peer_counter(WC_frame_bad_hello), 1);
}
END_TEST

START_TEST(test_data_frame_before_attached_is_refused)
{
	ck_assert_int_eq(listen(listen_fd, 4), 0);
	peer_pass_us(100 * USEC_PER_MSEC);
	ck_assert(dial_accept());
	peer_expect(&a, FRAME_HELLO);
	peer_send(&a,
		  (struct frame){ .type = FRAME_REPLY, .group = 1, .conn = 1 },
		  NULL, 0);
	peer_expect_error(&a, -EPROTO, true);
}
END_TEST

START_TEST(test_removed_backend_is_not_dialled_any_more)
{
	ck_assert_int_eq(listen(listen_fd, 4), 0);
	peer_pass_us(100 * USEC_PER_MSEC);
	ck_assert(dial_accept());
	peer_expect(&a, FRAME_HELLO);
	peer_setup.n_backends = 0;
	peer_group();
	peer_pump();
	peer_expect_error(&a, -ESHUTDOWN, true);
	peer_pass_us(10 * USEC_PER_SEC);
	peer_die(&a);
	ck_assert(!dial_accept());
}
END_TEST

UNIT_MAIN(
	"daemon/hostile",
	UNIT_CASE("fatal", up, down, test_unknown_type_is_fatal,
		  test_frame_in_the_wrong_direction_is_fatal,
		  test_length_out_of_bounds_is_fatal, test_huge_length_is_fatal,
		  test_conn_of_another_worker_is_fatal,
		  test_conn_that_is_no_record_is_fatal,
		  test_generation_zero_is_fatal,
		  test_frame_for_another_group_is_fatal,
		  test_second_hello_is_fatal,
		  test_payload_beyond_the_credit_is_fatal,
		  test_credit_for_a_connection_is_fatal),
	UNIT_CASE(
		"harmless", up, down, test_credit_does_not_overflow,
		test_ackd_beyond_what_was_delivered_is_an_error_that_takes_nothing,
		test_stale_generation_is_answered_with_reset,
		test_acknowledging_what_another_backend_has_is_refused,
		test_frames_in_no_state_for_them_are_ignored,
		test_frames_before_accept_are_ignored,
		test_backend_that_does_not_read_is_not_read),
	UNIT_LOOP("random", 50, up, down, test_random_frames_break_nothing),
	UNIT_CASE("dialling", up_dial, down_dial,
		  test_dialled_backend_is_attached,
		  test_backend_is_dialled_again_with_back_off,
		  test_silent_handshake_is_given_up,
		  test_hello_of_another_protocol_is_refused,
		  test_data_frame_before_attached_is_refused,
		  test_removed_backend_is_not_dialled_any_more))
