/* SPDX-License-Identifier: BSD-2-Clause */
/* Delivery and balance of the groups layer over a real stack. */
#include <errno.h>
#include <string.h>

#include "../unit.h"
#include "base/units.h"
#include "daemon/bstream.h"
#include "peer.h"

static struct peer a, b;
static struct rig_client c1, c2, c3;

static void up(void)
{
	peer_up();
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memset(&c1, 0, sizeof(c1));
	memset(&c2, 0, sizeof(c2));
	memset(&c3, 0, sizeof(c3));
	a.fd = b.fd = -1;
}

static void down(void)
{
	if (a.fd >= 0)
		peer_die(&a);
	if (b.fd >= 0)
		peer_die(&b);
	peer_down();
}

START_TEST(test_request_and_reply)
{
	struct rig_out *out;
	struct frame_addr addr;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_pump();
	peer_expect_nothing(
		&a); /* a backend hears of it with the first bytes */
	peer_request(&c1, "request");
	rig_expect_nothing();
	peer_expect_data(&a, "request", FRAME_F_FIRST);
	memcpy(&addr, a.payload, sizeof(addr));
	ck_assert_uint_eq(addr.family, 4);
	ck_assert_uint_eq(be16_get(addr.remote_port), 1000);
	ck_assert_uint_eq(be16_get(addr.local_port), RIG_PORT);
	ck_assert_uint_eq(addr.local[3], 10);
	ck_assert_uint_eq(a.f.offset, 0);
	peer_reply(&a, 7, "answer");
	out = rig_expect(&c1, TH_ACK | TH_PSH);
	ck_assert_uint_eq(out->ack, c1.snd_nxt);
	ck_assert_int_eq(memcmp(out->payload, "answer", 6), 0);
	rig_ack(&c1);
	peer_pump();
	ck_assert_ptr_null(rig_blk(&c1));
	peer_expect_nothing(&a); /* no CREDIT: the limit did not grow */
	peer_request(&c1, "more");
	peer_expect_data(&a, "more", 0);
	ck_assert_uint_eq(a.f.offset, 7);
}
END_TEST

START_TEST(test_request_waits_for_the_first_backend)
{
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	peer_request(&c1, "one");
	peer_request(&c2, "two");
	ck_assert_uint_eq(peer_counter(WC_conn_waited), 2);
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->waiting.n, 2);
	peer_attach(&a, 1);
	peer_expect_data(&a, "one", FRAME_F_FIRST);
	peer_expect_data(&a, "two", FRAME_F_FIRST);
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->waiting.n, 0);
}
END_TEST

START_TEST(test_waiting_connection_that_is_reset_is_forgotten)
{
	rig_connect(&c1, 1000);
	peer_request(&c1, "one");
	rig_input(&c1, &(struct rig_seg){ .flags = TH_RST, .seq = c1.snd_nxt });
	peer_pump();
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->waiting.n, 0);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
	ck_assert_uint_eq(peer_counter(WC_conn_not_told), 1);
}
END_TEST

START_TEST(test_reset_is_told_to_who_knows)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "one");
	peer_expect_data(&a, "one", FRAME_F_FIRST);
	rig_input(&c1, &(struct rig_seg){ .flags = TH_RST, .seq = c1.snd_nxt });
	peer_pump();
	peer_expect(&a, FRAME_RESET);
	ck_assert_uint_eq(a.f.aux, ECONNRESET);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->live[0]->inflight, 0);
}
END_TEST

START_TEST(test_eof_comes_after_the_data)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	rig_send(&c1, "bye");
	peer_fin(&c1);
	peer_expect_data(&a, "bye", FRAME_F_FIRST);
	peer_expect(&a, FRAME_EOF);
	ck_assert_uint_eq(a.f.offset, 3);
	ck_assert_uint_eq(a.f.flags, 0);
	peer_send(&a,
		  (struct frame){ .type = FRAME_REPLY,
				  .group = PEER_GROUP,
				  .conn = a.f.conn,
				  .ackd = 3 },
		  NULL, 0);
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK)->ack, c1.snd_nxt);
	peer_send(&a,
		  (struct frame){ .type = FRAME_CLOSE,
				  .group = PEER_GROUP,
				  .conn = a.f.conn },
		  NULL, 0);
	rig_expect(&c1, TH_FIN | TH_ACK);
	rig_ack(&c1);
	peer_pump();
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
	peer_expect_nothing(&a);
}
END_TEST

START_TEST(test_connection_without_data_is_closed_without_a_backend)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_fin(&c1);
	peer_expect_nothing(&a);
	ck_assert_uint_eq(peer_counter(WC_conn_not_told), 1);
	ck_assert_uint_ne(rig_rec(&c1)->flags & REC_ORPHAN, 0);
}
END_TEST

START_TEST(test_sticky_stays_and_spreads)
{
	peer_attach(&a, 1);
	peer_attach(&b, 2);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	peer_request(&c1, "1");
	peer_request(&c2, "2");
	peer_expect_data(&a, "1", FRAME_F_FIRST);
	peer_reply(&a, 1, "");
	peer_expect_data(&b, "2", FRAME_F_FIRST);
	peer_reply(&b, 1, "");
	for (int i = 0; i < 3; i++) {
		peer_request(&c1, "1");
		peer_expect_data(&a, "1", 0);
		peer_reply(&a, 1, "");
		peer_request(&c2, "2");
		peer_expect_data(&b, "2", 0);
		peer_reply(&b, 1, "");
	}
}
END_TEST

START_TEST(test_any_chooses_anew_when_nothing_is_outstanding)
{
	peer_setup.balance = CONF_BALANCE_ANY;
	peer_group();
	peer_attach(&a, 1);
	peer_attach(&b, 2);
	rig_connect(&c1, 1000);
	peer_request(&c1, "1");
	peer_request(&c1, "2"); /* outstanding: it stays */
	peer_expect_data(&a, "1", FRAME_F_FIRST);
	peer_expect_data(&a, "2", 0);
	a.f.offset = 0;
	peer_reply(&a, 2, "");
	peer_request(&c1, "3");
	peer_expect_data(&b, "3", FRAME_F_FIRST);
	ck_assert_uint_eq(b.f.offset, 2);
	peer_expect_nothing(&a);
}
END_TEST

START_TEST(test_least_takes_the_one_with_fewest_inflight)
{
	peer_setup.balance = CONF_BALANCE_LEAST;
	peer_group();
	peer_attach(&a, 1);
	peer_attach(&b, 2);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	rig_connect(&c3, 1002);
	peer_request(&c1, "1");
	peer_request(&c2, "2");
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->live[0]->inflight, 1);
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->live[1]->inflight, 1);
	ck_assert(peer_next(&b));
	peer_reply(&b, 1, "");
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->live[1]->inflight, 0);
	peer_request(&c3, "3");
	peer_expect_data(&b, "3", FRAME_F_FIRST);
}
END_TEST

START_TEST(test_accept_application)
{
	uint64_t conn;

	rig.group.accept = STACK_ACCEPT_APPLICATION;
	peer_group();
	peer_attach(&a, 1);
	rig_client(&c1, 1000);
	rig_input(&c1, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = c1.iss,
					  .syn_options = true });
	peer_pump();
	rig_expect_nothing();
	peer_expect(&a, FRAME_OPEN);
	ck_assert_uint_eq(a.f.flags, FRAME_F_FIRST | FRAME_F_WAITS);
	conn = a.f.conn;
	peer_send(&a,
		  (struct frame){ .type = FRAME_ACCEPT,
				  .group = PEER_GROUP,
				  .conn = conn },
		  NULL, 0);
	rig_expect(&c1, TH_SYN | TH_ACK);
	rig_ack(&c1);
	peer_request(&c1, "hi");
	peer_expect_data(&a, "hi", 0);
}
END_TEST

START_TEST(test_reject_and_accept_timeout)
{
	rig.group.accept = STACK_ACCEPT_APPLICATION;
	peer_group();
	peer_attach(&a, 1);
	rig_client(&c1, 1000);
	rig_input(&c1, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = c1.iss,
					  .syn_options = true });
	peer_pump();
	peer_expect(&a, FRAME_OPEN);
	peer_send(&a,
		  (struct frame){ .type = FRAME_REJECT,
				  .group = PEER_GROUP,
				  .conn = a.f.conn },
		  NULL, 0);
	rig_expect(&c1, TH_RST | TH_ACK);
	rig_client(&c2, 1001);
	rig_input(&c2, &(struct rig_seg){ .flags = TH_SYN,
					  .seq = c2.iss,
					  .syn_options = true });
	peer_pump();
	peer_expect(&a, FRAME_OPEN);
	peer_pass_us(3100 * USEC_PER_MSEC);
	rig_expect(&c2, TH_RST | TH_ACK);
	peer_expect(&a, FRAME_RESET);
	peer_expect_nothing(&a);
}
END_TEST

START_TEST(test_announce)
{
	rig.group.announce = true;
	peer_group();
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_pump();
	peer_expect(&a, FRAME_OPEN);
	ck_assert_uint_eq(a.f.flags, FRAME_F_FIRST);
	peer_reply(&a, 0, "220 ready");
	ck_assert_uint_eq(rig_expect(&c1, TH_ACK | TH_PSH)->len, 9);
}
END_TEST

START_TEST(test_max_inflight_holds_new_requests_back)
{
	peer_attach(&a, 1);
	gs.by_id[PEER_GROUP]->backends->max_inflight = 1;
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	peer_request(&c1, "1");
	peer_request(&c2, "2");
	peer_expect_data(&a, "1", FRAME_F_FIRST);
	peer_expect_nothing(&a);
	peer_reply(&a, 1, "");
	peer_expect_data(&a, "2", FRAME_F_FIRST);
}
END_TEST

START_TEST(test_drained_backend_keeps_what_it_has)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "1");
	peer_expect_data(&a, "1", FRAME_F_FIRST);
	peer_reply(&a, 1, "");
	rig_expect(&c1, TH_ACK);
	ck_assert_uint_eq(groups_set_duty(&gs, "pid 1", BACKEND_DRAINS), 1);
	peer_pump();
	peer_expect(&a, FRAME_DRAIN);
	peer_attach(&b, 2);
	rig_connect(&c3, 1002);
	peer_request(&c1, "1");
	peer_request(&c3, "3");
	peer_expect_data(&a, "1", 0);
	peer_expect_nothing(&a);
	peer_expect_data(&b, "3", FRAME_F_FIRST);
}
END_TEST

/* A backend that is about to end says so itself. */
START_TEST(test_backend_that_retires_keeps_what_it_has)
{
	struct frame f = { .type = FRAME_DRAIN };

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "1");
	peer_expect_data(&a, "1", FRAME_F_FIRST);
	peer_reply(&a, 1, "");
	rig_expect(&c1, TH_ACK);
	peer_send(&a, f, NULL, 0);
	rig_connect(&c3, 1002);
	peer_request(&c1, "1");
	peer_request(&c3, "3");
	peer_expect_data(&a, "1", 0);
	peer_expect_nothing(&a); /* nobody else is there */
	f.aux = 1;
	peer_send(&a, f, NULL, 0);
	peer_expect_data(&a, "3", FRAME_F_FIRST);
}
END_TEST

START_TEST(test_slot_is_not_used_again_while_a_record_names_it)
{
	uint8_t slot;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	peer_request(&c1, "1");
	peer_expect_data(&a, "1", FRAME_F_FIRST);
	peer_reply(&a, 1, "");
	slot = rig_rec(&c1)->slot;
	peer_die(&a);
	for (int i = 0; i < 300; i++) {
		peer_attach(&b, 2);
		ck_assert_uint_ne(gs.by_id[PEER_GROUP]->live[0]->slot, slot);
		peer_die(&b);
	}
	/* But when records name all of them. */
	for (uint32_t i = 1; i < GROUP_SLOTS; i++)
		gs.by_id[PEER_GROUP]->slots[i].used = true;
	gs.by_id[PEER_GROUP]->slot_last = slot - 1;
	ck_assert_uint_eq(rig_rec(&c1)->slot, slot);
	peer_attach(&b, 2);
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->live[0]->slot, slot);
	ck_assert_uint_eq(rig_rec(&c1)->slot, 0);
	ck_assert_uint_eq(peer_counter(WC_slot_scans), 1);
	peer_request(&c1, "2");
	peer_expect_data(&b, "2", FRAME_F_FIRST);
}
END_TEST

START_TEST(test_removed_group_closes_its_streams_and_aborts)
{
	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	peer_request(&c1, "1");
	peer_expect_data(&a, "1", FRAME_F_FIRST);
	groups_remove(&gs, PEER_GROUP);
	peer_pump();
	peer_expect_error(&a, -ESHUTDOWN, true);
	rig_expect(&c1, TH_RST | TH_ACK);
	rig_expect(&c2, TH_RST | TH_ACK);
	ck_assert_uint_eq(rig_rec(&c1)->state, TCP_FREE);
}
END_TEST

static void up_many(void)
{
	rig_max_connections = 2048;
	up();
}

/* More than one turn ends; the first turn does not take them all. */
START_TEST(test_removed_group_ends_a_batch_in_each_turn)
{
	enum { MANY = 1500 };
	struct rig_client cl = { 0 };
	uint32_t left;

	for (uint16_t i = 0; i < MANY; i++) {
		memset(&cl, 0, sizeof(cl));
		rig_connect(&cl, (uint16_t)(1000 + i));
	}
	groups_remove(&gs, PEER_GROUP);
	left = bitmap_used_count(&rig.shard.rec_map);
	ck_assert_uint_gt(left, 0);
	ck_assert_uint_lt(left, MANY);
	ck_assert(groups_pending(&gs));
	/* What still comes in finds nobody, and harms nothing. */
	rig_send(&cl, "late");
	for (int i = 0; i < 3; i++)
		peer_pump();
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 0);
	ck_assert(!groups_pending(&gs));
	ck_assert_uint_eq(peer_counter(WC_group_removed), MANY);
}
END_TEST

START_TEST(test_number_that_is_set_anew_does_not_end)
{
	for (uint16_t i = 0; i < 1200; i++) {
		memset(&c1, 0, sizeof(c1));
		rig_connect(&c1, (uint16_t)(1000 + i));
	}
	groups_remove(&gs, PEER_GROUP);
	ck_assert_uint_gt(bitmap_used_count(&rig.shard.rec_map), 0);
	peer_group();
	rig.seen = rig.n_out;
	rig_connect(&c2, 5000);
	for (int i = 0; i < 3; i++)
		peer_pump();
	ck_assert_uint_eq(rig_rec(&c2)->state, TCP_ESTABLISHED);
	groups_remove(&gs, PEER_GROUP);
	for (int i = 0; i < 3; i++)
		peer_pump();
}
END_TEST

START_TEST(test_connections_at_a_port_that_goes_back_end)
{
	static struct stack_own own = { .vips = 1, .n = 1 };

	own.ports[0] = stack_own_port(0, RIG_PORT);
	rig_connect(&c1, 1000);
	groups_vips_set(&gs, 3, 0, &own, true);
	peer_pump();
	rig_expect_nothing();
	own.ports[0]++;
	groups_vips_set(&gs, 3, 0, &own, false);
	peer_pump();
	rig_expect_nothing();
	groups_vips_set(&gs, 3, 0, &own, true);
	peer_pump();
	rig_expect(&c1, TH_RST | TH_ACK);
	ck_assert_uint_eq(peer_counter(WC_vip_removed), 1);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 0);
}
END_TEST

START_TEST(test_removed_address_is_told_to_the_backend)
{
	static const struct stack_own no_own;

	peer_attach(&a, 1);
	rig_connect(&c1, 1000);
	rig_connect(&c2, 1001);
	peer_request(&c1, "1");
	peer_expect_data(&a, "1", FRAME_F_FIRST);
	groups_vips_set(&gs, 1 << 1, 1 << 0, &no_own, false);
	peer_pump();
	rig_expect(&c1, TH_RST | TH_ACK);
	rig_expect(&c2, TH_RST | TH_ACK);
	peer_expect(&a, FRAME_RESET); /* of the one that it knows */
	peer_expect_nothing(&a);
	ck_assert_uint_eq(peer_counter(WC_vip_removed), 2);
	ck_assert_uint_eq(bitmap_used_count(&rig.shard.rec_map), 0);
	ck_assert_uint_eq(gs.by_id[PEER_GROUP]->n_live, 1);
}
END_TEST

START_TEST(test_room_is_enough_for_a_new_group)
{
	struct conf_backend backends[2] = {
		{ .name = "x", .address = "unix:/nowhere/x", .streams = 1 },
		{ .name = "y", .address = "unix:/nowhere/y", .streams = 1 },
	};
	struct group_setup setup = peer_setup;
	struct groups_room room;

	setup.stack.id = 2;
	setup.stack.max_per_source = 3;
	setup.backends = backends;
	setup.n_backends = 2;
	ck_assert_int_eq(groups_room_new(&room, 2, rig.shard.n_recs, true), 0);
	ck_assert_int_eq(groups_set(&gs, &setup, &room), 0);
	/* All of it was needed. */
	ck_assert_ptr_null(room.group);
	ck_assert_ptr_null(room.backends);
	ck_assert_ptr_null(room.stack.group);
	ck_assert_ptr_null(room.stack.stats);
	ck_assert_ptr_null(room.stack.sources);
	groups_room_free(&room);
}
END_TEST

UNIT_MAIN("daemon/groups",
	  UNIT_CASE("delivery", up, down, test_request_and_reply,
		    test_request_waits_for_the_first_backend,
		    test_waiting_connection_that_is_reset_is_forgotten,
		    test_reset_is_told_to_who_knows,
		    test_eof_comes_after_the_data,
		    test_connection_without_data_is_closed_without_a_backend,
		    test_accept_application, test_reject_and_accept_timeout,
		    test_announce,
		    test_removed_group_closes_its_streams_and_aborts,
		    test_connections_at_a_port_that_goes_back_end,
		    test_removed_address_is_told_to_the_backend,
		    test_room_is_enough_for_a_new_group),
	  UNIT_CASE("many", up_many, down,
		    test_removed_group_ends_a_batch_in_each_turn,
		    test_number_that_is_set_anew_does_not_end),
	  UNIT_CASE("balance", up, down, test_sticky_stays_and_spreads,
		    test_any_chooses_anew_when_nothing_is_outstanding,
		    test_least_takes_the_one_with_fewest_inflight,
		    test_max_inflight_holds_new_requests_back,
		    test_drained_backend_keeps_what_it_has,
		    test_backend_that_retires_keeps_what_it_has,
		    test_slot_is_not_used_again_while_a_record_names_it))
