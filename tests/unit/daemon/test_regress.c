/* SPDX-License-Identifier: BSD-2-Clause */
/* Rules that were broken once, each found by reading and not by a failure. */
#include <string.h>
#include <unistd.h>

#include "../unit.h"
#include "base/units.h"
#include "daemon/bstream.h"
#include "daemon/deliver.h"
#include "peer.h"

/* Of the hung backend: it knows TOLD clients, the others fill its queue. */
#define HUNG_TOLD 7000
#define HUNG_CLIENTS 9000

static struct peer a, b;
static struct rig_client c1, c2;

static void up(void)
{
	peer_up();
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memset(&c1, 0, sizeof(c1));
	memset(&c2, 0, sizeof(c2));
	a.fd = b.fd = -1;
}

static void up_large(void)
{
	rig_max_connections = 16384;
	up();
}

static void down(void)
{
	if (a.fd >= 0)
		peer_die(&a);
	if (b.fd >= 0)
		peer_die(&b);
	peer_down();
}

static struct frame about(enum frame_type type, uint64_t conn)
{
	return (struct frame){ .type = (uint8_t)type,
			       .group = PEER_GROUP,
			       .conn = conn };
}

static struct bstream *first_stream(void)
{
	return gs.by_id[PEER_GROUP]->live[0];
}

/* The client receives all that was sent. */
static void receive_all(struct rig_client *cl)
{
	while (rig.seen < rig.n_out)
		rig_expect(cl, rig.out[rig.seen % RIG_OUT_MAX].flags);
}

static void reset(const struct rig_client *cl)
{
	rig_input(cl, &(struct rig_seg){ .flags = TH_RST, .seq = cl->snd_nxt });
	peer_pump();
}

/* The last ACK must not free a block that a list still links. */
START_TEST(test_last_ack_leaves_no_freed_connection_on_a_list)
{
	uint64_t conn;

	peer_attach_credit(&a, 1, sizeof(struct frame_addr) + 4);
	rig_connect(&c1, 1000);
	peer_request(&c1, "123456");
	peer_expect_data(&a, "1234", FRAME_F_FIRST);
	conn = a.f.conn;
	peer_fin(&c1);
	peer_send(&a, about(FRAME_FIN, conn), NULL, 0);
	receive_all(&c1);
	rig_ack(&c1);
	peer_pump();
	peer_send(&a, (struct frame){ .type = FRAME_CREDIT, .aux = 1000 }, NULL,
		  0);
	ck_assert_uint_eq(first_stream()->waiting.n, 0);
}
END_TEST

START_TEST(test_request_in_hand_outlives_the_last_ack)
{
	struct frame f;
	uint64_t conn;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "123456");
	peer_expect_data(&a, "123456", FRAME_F_FIRST);
	conn = a.f.conn;
	peer_fin(&c1);
	peer_expect(&a, FRAME_EOF);
	peer_send(&a, about(FRAME_FIN, conn), NULL, 0);
	receive_all(&c1);
	rig_ack(&c1);
	peer_pump();
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_LAST_ACK);
	f = about(FRAME_REPLY, conn);
	f.ackd = 6;
	peer_send(&a, f, NULL, 0);
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK)->ack, c1.snd_nxt);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
	ck_assert_uint_eq(first_stream()->inflight, 0);
	peer_expect_nothing(&a);
}
END_TEST

/* c2 waits for c1's turn to end, and c1's rest must not wait behind c2. */
START_TEST(test_max_inflight_does_not_block_the_rest_of_a_request_in_hand)
{
	const uint32_t credit = 2 * sizeof(struct frame_addr) + 1 + 4;

	peer_attach_credit(&a, 1, credit);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	peer_request(&c2, "x");
	peer_expect_data(&a, "x", FRAME_F_FIRST);
	peer_reply(&a, 1, "");
	receive_all(&c2);
	gs.by_id[PEER_GROUP]->backends->max_inflight = 1;
	peer_request(&c1, "1234");
	peer_expect_data(&a, "1234", FRAME_F_FIRST);
	peer_request(&c2, "y"); /* waits for max-inflight */
	peer_request(&c1, "56"); /* waits for credit */
	peer_expect_nothing(&a);
	peer_send(&a, (struct frame){ .type = FRAME_CREDIT, .aux = 100000 },
		  NULL, 0);
	peer_pass_us(USEC_PER_SEC);
	peer_expect_data(&a, "56", 0);
}
END_TEST

START_TEST(test_acknowledgement_after_our_fin_ends_what_is_in_hand)
{
	struct frame f;
	uint64_t conn;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "req");
	peer_expect_data(&a, "req", FRAME_F_FIRST);
	conn = a.f.conn;
	peer_send(&a, about(FRAME_FIN, conn), NULL, 0);
	f = about(FRAME_REPLY, conn);
	f.ackd = 3;
	peer_send(&a, f, "late", 4);
	receive_all(&c1);
	rig_ack(&c1);
	peer_pump();
	ck_assert_uint_eq(first_stream()->inflight, 0);
}
END_TEST

START_TEST(test_reply_before_the_handshake_is_done_is_kept)
{
	struct frame f;

	rig.group.accept = STACK_ACCEPT_APPLICATION;
	peer_group();
	peer_attach(&a, 1);
	rig_client(&c1, 1000);
	rig_input(&c1, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = c1.iss,
					  .syn_options = true });
	peer_pump();
	peer_expect(&a, FRAME_OPEN);
	f = about(FRAME_REPLY, a.f.conn);
	f.flags = FRAME_F_AT;
	peer_send(&a, about(FRAME_ACCEPT, a.f.conn), NULL, 0);
	peer_send(&a, f, "220 ", 4);
	f.aux = 4;
	peer_send(&a, f, "hello", 5);
	peer_expect_nothing(&a);
	rig_expect(&c1, TH_SYN | TH_ACK);
	rig_ack(&c1);
	peer_pump();
	ck_assert_uint_eq(rig.st->established, 1);
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK | TH_PSH)->len, 9);
}
END_TEST

/* Clients that the backend knows, from 0 to HUNG_TOLD - 1. */
static void hung_tell(struct rig_client *cl)
{
	for (unsigned n = 0; n < HUNG_TOLD; n++) {
		rig_connect(&cl[n], (uint16_t)(1000 + n));
		peer_request(&cl[n], "x");
		ck_assert(peer_next(&a));
		peer_reply(&a, 1, "");
		rig.seen = rig.n_out;
	}
}

/* The rest, until the queue takes no more DATA. */
static void hung_fill_with_data(struct rig_client *cl)
{
	static const char big[1101] = { [0 ... 1099] = 'x' };

	for (unsigned n = HUNG_TOLD; n < HUNG_CLIENTS; n++) {
		rig_connect(&cl[n], (uint16_t)(1000 + n));
		peer_request(&cl[n], big);
		rig.seen = rig.n_out;
		if (rig_blk(&cl[n])->app_list)
			return;
		reset(&cl[n]);
	}
	ck_abort_msg("the queue never filled");
}

START_TEST(test_hung_backend_with_a_full_queue_is_found_silent)
{
	static struct rig_client cl[HUNG_CLIENTS];

	peer_attach_credit(&a, 1, 1u << 30);
	hung_tell(cl);
	hung_fill_with_data(cl);
	for (unsigned n = 0; bstream_control_room(first_stream()); n++) {
		ck_assert_uint_lt(n, HUNG_TOLD);
		reset(&cl[n]);
	}
	peer_pass_us(120 * USEC_PER_SEC);
	ck_assert_uint_eq(peer_counter(WC_backend_silent), 1);
}
END_TEST

/* Both clients have a request at a, whose REPLY to c1 is not yet read by us. */
static void reply_and_die(const void *reply, uint32_t len)
{
	static uint8_t wire[FRAME_HEADER_BYTES + 64];
	struct frame f;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	peer_request(&c1, "req");
	peer_request(&c2, "req");
	peer_expect_data(&a, "req", FRAME_F_FIRST);
	f = about(FRAME_REPLY, a.f.conn);
	f.ackd = 3;
	f.length = len;
	frame_encode(&f, wire);
	memcpy(wire + FRAME_HEADER_BYTES, reply, len);
	ck_assert_int_eq(write(a.fd, wire, FRAME_HEADER_BYTES + len),
			 FRAME_HEADER_BYTES + len);
	while (peer_next(&a))
		;
	close(a.fd);
	a.fd = -1;
}

START_TEST(test_reply_written_before_the_backend_died_is_taken)
{
	bool got = false;

	reply_and_die("answer", 6);
	/* Something to write to the dead one, before we read what it wrote. */
	peer_request(&c2, "more");
	while (rig.seen < rig.n_out) {
		const struct rig_out *out = &rig.out[rig.seen++ % RIG_OUT_MAX];

		got |= out->dst_port == c1.port && out->len == 6;
	}
	frame_reader_fini(&a.in);
	ck_assert_msg(got, "the reply that was written is lost");
}
END_TEST

/* The client's part of a long reply; returns the bytes since the last call. */
static uint64_t receive_bulk(void)
{
	uint64_t bytes = 0;

	while (rig.seen < rig.n_out) {
		const struct rig_out *out = &rig.out[rig.seen++ % RIG_OUT_MAX];

		if (out->dst_port != c1.port || out->len == 0)
			continue;
		bytes += out->len;
		c1.rcv_nxt = out->seq + out->len;
	}
	rig_ack(&c1);
	peer_pump();
	return bytes;
}

START_TEST(test_held_rest_of_a_reply_outlives_its_backend)
{
	static char bulk[FRAME_PAYLOAD_MAX];
	struct frame f;
	uint64_t total = 0;

	rig.st->limits.snd_queue_max = 100000;
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	peer_request(&c1, "get");
	peer_expect_data(&a, "get", FRAME_F_FIRST);
	f = about(FRAME_REPLY, a.f.conn);
	f.ackd = 3;
	peer_send(&a, f, bulk, sizeof(bulk));
	peer_request(&c2, "x");
	while (peer_next(&a))
		;
	close(a.fd);
	a.fd = -1;
	frame_reader_fini(&a.in);
	peer_request(&c2, "y");
	for (int i = 0; i < 400 && total < sizeof(bulk); i++)
		total += receive_bulk();
	ck_assert_uint_eq(total, sizeof(bulk));
}
END_TEST

/* Another backend's reply would come before the rest of the first one's. */
START_TEST(test_connection_stays_while_a_reply_to_it_is_held)
{
	static char bulk[FRAME_PAYLOAD_MAX];
	struct frame f;

	rig.st->limits.snd_queue_max = 100000;
	peer_setup.balance = CONF_BALANCE_ANY;
	peer_group();
	peer_attach(&a, 1);
	peer_attach(&b, 2);
	rig_connect(&c1, 1000);
	peer_request(&c1, "get");
	peer_expect_data(&a, "get", FRAME_F_FIRST);
	f = about(FRAME_REPLY, a.f.conn);
	f.ackd = 3;
	peer_send(&a, f, bulk, sizeof(bulk));
	peer_request(&c1, "next");
	peer_expect_nothing(&b);
	peer_expect_data(&a, "next", 0);
	rig.seen = rig.n_out;
}
END_TEST

/* A slot's number is used again after 255 streams, and a record may name it. */
START_TEST(test_eof_is_told_again_after_the_slots_went_round)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "bye");
	peer_expect_data(&a, "bye", FRAME_F_FIRST);
	peer_reply(&a, 3, "");
	rig_expect(&c1, TH_ACK);
	peer_fin(&c1);
	rig_expect(&c1, TH_ACK);
	peer_expect(&a, FRAME_EOF);
	peer_die(&a);
	for (uint64_t i = 0; i < 255; i++) {
		peer_attach(&a, 100 + i);
		peer_die(&a);
	}
	peer_attach(&b, 2);
	peer_pass_us(2 * USEC_PER_SEC);
	peer_expect(&b, FRAME_EOF);
	ck_assert_uint_eq(b.f.flags, FRAME_F_FIRST | FRAME_F_REDELIVERED);
}
END_TEST

START_TEST(test_draining_only_backend_still_serves_its_connections)
{
	peer_setup.balance = CONF_BALANCE_ANY;
	peer_group();
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "1");
	peer_expect_data(&a, "1", FRAME_F_FIRST);
	peer_reply(&a, 1, "");
	groups_set_duty(&gs, "pid 1", BACKEND_DRAINS);
	peer_pump();
	peer_expect(&a, FRAME_DRAIN);
	peer_request(&c1, "2");
	peer_expect_data(&a, "2", 0);
}
END_TEST

START_TEST(test_drained_group_stays_drained_when_its_settings_change)
{
	peer_attach(&a, 1);
	groups_drain_group(&gs, PEER_GROUP);
	peer_group();
	rig_client(&c1, 1000);
	rig_input(&c1, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = c1.iss,
					  .syn_options = true });
	peer_pump();
	ck_assert_uint_eq(rig.st->half_open, 0);
	ck_assert_uint_eq(rig.st->established, 0);
	/* Another of this number and port begins anew. */
	groups_remove(&gs, PEER_GROUP);
	while (peer_next(&a))
		;
	peer_group();
	rig.seen = rig.n_out;
	rig_connect(&c2, 1001);
}
END_TEST

/* It was listed for a CREDIT frame alone: nothing brings it back after that. */
START_TEST(test_loss_gives_back_the_block_of_one_that_waited_for_credit)
{
	struct bstream *s;
	struct blk *blk;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "x");
	peer_expect_data(&a, "x", FRAME_F_FIRST);
	peer_reply(&a, 1, "0123456789");
	rig_expect(&c1, TH_ACK | TH_PSH);
	s = first_stream();
	blk = rig_blk(&c1);
	ck_assert_ptr_nonnull(blk);
	/* Its credit came due when there was no room. */
	blk->app_flags |= APP_CREDIT_DUE;
	blk->app_list = APP_LIST_STREAM;
	blk->app_prev = blk->app_next = NIL;
	s->waiting = (struct conn_list){ c1.ri, c1.ri, 1 };
	rig_ack(&c1);
	rig_pass_us(10 * USEC_PER_SEC);
	ck_assert_ptr_nonnull(rig_blk(&c1));
	peer_die(&a);
	rig_pass_us(10 * USEC_PER_SEC);
	ck_assert_ptr_null(rig_blk(&c1));
}
END_TEST

/* Both ends said their FIN, and nobody is there to hear of the client's. */
static void time_wait_with_its_eof_untold(void)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "x");
	peer_expect_data(&a, "x", FRAME_F_FIRST);
	peer_reply(&a, 1, "");
	rig_expect(&c1, TH_ACK);
	peer_send(&a, about(FRAME_FIN, a.f.conn), NULL, 0);
	receive_all(&c1);
	rig_ack(&c1);
	peer_die(&a);
	peer_fin(&c1);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_TIME_WAIT);
	ck_assert_ptr_nonnull(rig_blk(&c1));
}

static void expect_time_wait_ends(void)
{
	rig_pass_us(10 * USEC_PER_SEC);
	ck_assert_ptr_null(rig_blk(&c1));
	rig_pass_us(120 * USEC_PER_SEC);
	ck_assert_uint_eq(rig.st->sh->recs[c1.ri].state, TCP_FREE);
}

START_TEST(test_removed_group_lets_a_time_wait_end)
{
	time_wait_with_its_eof_untold();
	groups_remove(&gs, PEER_GROUP);
	expect_time_wait_ends();
}
END_TEST

START_TEST(test_close_lets_a_time_wait_end)
{
	time_wait_with_its_eof_untold();
	deliver_end(gs.by_id[PEER_GROUP], c1.ri);
	stack_close(rig.st, c1.ri, rig.now_us);
	expect_time_wait_ends();
}
END_TEST

UNIT_MAIN(
	"daemon/regress",
	UNIT_CASE("all", up, down,
		  test_last_ack_leaves_no_freed_connection_on_a_list,
		  test_request_in_hand_outlives_the_last_ack,
		  test_max_inflight_does_not_block_the_rest_of_a_request_in_hand,
		  test_acknowledgement_after_our_fin_ends_what_is_in_hand,
		  test_reply_before_the_handshake_is_done_is_kept,
		  test_reply_written_before_the_backend_died_is_taken,
		  test_held_rest_of_a_reply_outlives_its_backend,
		  test_connection_stays_while_a_reply_to_it_is_held,
		  test_eof_is_told_again_after_the_slots_went_round,
		  test_draining_only_backend_still_serves_its_connections,
		  test_drained_group_stays_drained_when_its_settings_change,
		  test_loss_gives_back_the_block_of_one_that_waited_for_credit,
		  test_removed_group_lets_a_time_wait_end,
		  test_close_lets_a_time_wait_end),
	UNIT_CASE("large", up_large, down,
		  test_hung_backend_with_a_full_queue_is_found_silent))
