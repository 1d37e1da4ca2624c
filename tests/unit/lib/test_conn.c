/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/conn.h"

#include <errno.h>
#include <string.h>

#include "unit/unit.h"

START_TEST(test_conn_is_small)
{
	ck_assert_uint_le(sizeof(struct conn), 128);
}
END_TEST

START_TEST(test_conn_index_finds_all_and_only_those)
{
	struct conn_table t = { 0 };
	const uint64_t n = 5000;

	for (uint64_t i = 1; i <= n; i++)
		ck_assert_ptr_nonnull(conn_new(&t, i << 32 | (i & 7)));
	for (uint64_t i = 1; i <= n; i += 2)
		conn_free(&t, conn_find(&t, i << 32 | (i & 7)));
	for (uint64_t i = 1; i <= n; i++) {
		struct conn *c = conn_find(&t, i << 32 | (i & 7));

		ck_assert((c != NULL) == (i % 2 == 0));
		if (c)
			ck_assert_ptr_eq(conn_get(&t, c->cd), c);
	}
	ck_assert_ptr_null(conn_find(&t, 0));
	ck_assert_uint_eq(t.n_used, n / 2);
	conn_table_fini(&t);
}
END_TEST

START_TEST(test_conn_cd_is_not_used_again_soon)
{
	struct conn_table t = { 0 };
	struct conn *c = conn_new(&t, 1);
	uint32_t first = c->cd;

	conn_free(&t, c);
	ck_assert_ptr_null(conn_get(&t, first));
	for (uint64_t i = 0; i < 4096; i++) {
		c = conn_new(&t, 2 + i);
		ck_assert_uint_ne(c->cd, first);
		conn_free(&t, c);
	}
	/* But it is, in the end: the table doesn't grow without need. */
	for (uint64_t i = 0; i < 10000; i++)
		conn_free(&t, conn_new(&t, 2 + i));
	ck_assert_uint_lt(t.n_slots, 5000);
	conn_table_fini(&t);
}
END_TEST

START_TEST(test_conn_queue_keeps_order_and_stands_once)
{
	struct conn_queue q = { .kind = CONN_Q_READY };
	struct conn_table t = { 0 };
	struct conn *c[3];

	for (int i = 0; i < 3; i++) {
		c[i] = conn_new(&t, (uint64_t)i + 1);
		conn_queue_push(&t, &q, c[i]);
		conn_queue_push(&t, &q, c[i]);
	}
	conn_queue_remove(&t, &q, c[1]);
	ck_assert_ptr_eq(conn_queue_head(&t, &q), c[0]);
	ck_assert_ptr_eq(conn_queue_next(&t, &q, c[0]), c[2]);
	ck_assert_ptr_null(conn_queue_next(&t, &q, c[2]));
	conn_queue_remove(&t, &q, c[0]);
	conn_queue_remove(&t, &q, c[2]);
	ck_assert_ptr_null(conn_queue_head(&t, &q));
	conn_table_fini(&t);
}
END_TEST

START_TEST(test_conn_rx_holds_until_acknowledged)
{
	struct conn c = { 0 };
	char buf[16];

	ck_assert_int_eq(conn_rx_append(&c, "abcdef", 6), 0);
	c.flags |= CONN_F_UNREAD;
	ck_assert_uint_eq(conn_rx_read(&c, buf, 4), 4);
	ck_assert(c.flags & CONN_F_UNREAD);
	ck_assert_uint_eq(c.returned, 4);
	conn_rx_ack(&c, 3);
	ck_assert_uint_eq(c.acked, 3);
	ck_assert_uint_eq(conn_rcv_pos(&c), 6);
	ck_assert_int_eq(conn_rx_append(&c, "gh", 2), 0);
	ck_assert_uint_eq(conn_rx_read(&c, buf, sizeof(buf)), 5);
	ck_assert_mem_eq(buf, "defgh", 5);
	ck_assert(!(c.flags & CONN_F_UNREAD));
	conn_rx_ack(&c, 5);
	ck_assert_ptr_null(c.rx);
	ck_assert_uint_eq(c.acked, 8);
}
END_TEST

START_TEST(test_conn_rx_is_bounded)
{
	struct conn c = { .rx_len = CONN_RX_MAX };

	ck_assert_int_eq(conn_rx_append(&c, "x", 1), -EMSGSIZE);
}
END_TEST

UNIT_MAIN("lib/conn", UNIT_TESTS(test_conn_is_small,
				 test_conn_index_finds_all_and_only_those,
				 test_conn_cd_is_not_used_again_soon,
				 test_conn_queue_keeps_order_and_stands_once,
				 test_conn_rx_holds_until_acknowledged,
				 test_conn_rx_is_bounded))
