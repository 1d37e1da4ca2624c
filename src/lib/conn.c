/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn - the connections of one group, as the application holds them.
 *
 * Slots come in chunks that are never moved or given back before the group
 * is closed, so a struct conn * is good as long as its connection. cd is the
 * number of the slot, from 1. Freed slots wait at the end of a queue until
 * CONN_REUSE_MIN others are free: a program that uses a cd after closing it
 * gets -EBADF, not a stranger's connection.
 *
 *	cd -> slot	chunks[(cd - 1) / CONN_CHUNK][(cd - 1) % CONN_CHUNK]
 *	id -> cd	index, linear probing; an entry that goes away pulls the
 *			following ones back, so there are no tombstones
 *
 * An idle connection is its slot; the buffer of received bytes exists while
 * something in it is not acknowledged:
 *
 *	rx    rx_off       rx_off + returned    rx_off + rx_len     rx_cap
 *	|.......|---- may be acked ---|--- new to the application --|.....|
 *	      acked                                             conn_rcv_pos()
 *
 * I1	returned <= rx_len; rx is NULL when rx_len is 0.
 * I2	a used slot with an id is in the index; no other is.
 * I3	a slot that is freed stands in no queue.
 */
#include "lib/conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define CONN_CHUNK 256u
#define CONN_REUSE_MIN 4096u
#define CONN_INDEX_MIN 64u
#define CONN_RX_MIN 512u
#define CONN_SLOTS_MAX ((uint32_t)INT32_MAX)

static struct conn *conn_slot(const struct conn_table *t, uint32_t cd)
{
	return &t->chunks[(cd - 1) / CONN_CHUNK][(cd - 1) % CONN_CHUNK];
}

void conn_table_fini(struct conn_table *t)
{
	for (uint32_t cd = 1; cd <= t->n_slots; cd++)
		free(conn_slot(t, cd)->rx);
	for (uint32_t i = 0; i < t->n_chunks; i++)
		free(t->chunks[i]);
	free(t->chunks);
	free(t->index);
	*t = (struct conn_table){ 0 };
}

/* --- index by id --- */

/* The finalizer of MurmurHash3: ids are structured, their hash is not. */
static uint32_t conn_hash(uint64_t id)
{
	id ^= id >> 33;
	id *= UINT64_C(0xff51afd7ed558ccd);
	id ^= id >> 33;
	id *= UINT64_C(0xc4ceb9fe1a85ec53);
	return (uint32_t)(id >> 32);
}

/* The place of id in the index, or the empty one where it would go. */
static uint32_t conn_index_at(const struct conn_table *t, uint64_t id)
{
	uint32_t mask = t->index_size - 1, at = conn_hash(id) & mask;

	while (t->index[at] && conn_slot(t, t->index[at])->id != id)
		at = (at + 1) & mask;
	return at;
}

static int conn_index_grow(struct conn_table *t)
{
	uint32_t old_size = t->index_size, *old = t->index;
	uint32_t size = max_u32(old_size * 2, CONN_INDEX_MIN);
	uint32_t *index;

	/* At most two thirds full. */
	if (t->index_used + 1 <= old_size / 3 * 2)
		return 0;
	index = calloc(size, sizeof(*index));
	if (!index)
		return -ENOMEM;
	t->index = index;
	t->index_size = size;
	for (uint32_t i = 0; i < old_size; i++) {
		if (old[i])
			index[conn_index_at(t, conn_slot(t, old[i])->id)] =
				old[i];
	}
	free(old);
	return 0;
}

void conn_drop_id(struct conn_table *t, struct conn *c)
{
	uint32_t mask = t->index_size - 1, hole, at;

	if (c->id == 0)
		return;
	hole = conn_index_at(t, c->id);
	assert(t->index[hole] == c->cd); /* I2 */
	/* Pull back each follower that the hole would hide. */
	for (at = (hole + 1) & mask; t->index[at]; at = (at + 1) & mask) {
		uint32_t home =
			conn_hash(conn_slot(t, t->index[at])->id) & mask;

		if (((at - home) & mask) >= ((at - hole) & mask)) {
			t->index[hole] = t->index[at];
			hole = at;
		}
	}
	t->index[hole] = 0;
	t->index_used--;
	c->id = 0;
}

struct conn *conn_find(const struct conn_table *t, uint64_t id)
{
	uint32_t cd;

	if (t->index_size == 0 || id == 0)
		return NULL;
	cd = t->index[conn_index_at(t, id)];
	return cd ? conn_slot(t, cd) : NULL;
}

/* --- slots --- */

static int conn_chunk_add(struct conn_table *t)
{
	struct conn **chunks;

	chunks = realloc(t->chunks, (t->n_chunks + 1) * sizeof(*chunks));
	if (!chunks)
		return -ENOMEM;
	t->chunks = chunks;
	chunks[t->n_chunks] = calloc(CONN_CHUNK, sizeof(struct conn));
	if (!chunks[t->n_chunks])
		return -ENOMEM;
	t->n_chunks++;
	return 0;
}

/* A free slot's number, or 0 when memory is short. */
static uint32_t conn_slot_take(struct conn_table *t)
{
	uint32_t cd;

	if (t->n_free > CONN_REUSE_MIN) {
		cd = t->free_head;
		t->free_head = conn_slot(t, cd)->q[CONN_Q_READY].next;
		t->n_free--;
		return cd;
	}
	if (t->n_slots == CONN_SLOTS_MAX)
		return 0;
	if (t->n_slots == t->n_chunks * CONN_CHUNK && conn_chunk_add(t) < 0)
		return 0;
	return ++t->n_slots;
}

struct conn *conn_new(struct conn_table *t, uint64_t id)
{
	struct conn *c;
	uint32_t cd;

	if (id && conn_index_grow(t) < 0)
		return NULL;
	cd = conn_slot_take(t);
	if (!cd)
		return NULL;
	c = conn_slot(t, cd);
	*c = (struct conn){ .cd = cd, .flags = CONN_F_USED };
	t->n_used++;
	if (id) {
		t->index[conn_index_at(t, id)] = cd;
		t->index_used++;
		c->id = id;
	}
	return c;
}

void conn_free(struct conn_table *t, struct conn *c)
{
	assert(c->flags & CONN_F_USED && c->queued == 0); /* I3 */
	conn_rx_drop(c);
	conn_drop_id(t, c);
	c->flags = 0;
	c->q[CONN_Q_READY].next = 0;
	if (t->n_free++ == 0)
		t->free_head = c->cd;
	else
		conn_slot(t, t->free_tail)->q[CONN_Q_READY].next = c->cd;
	t->free_tail = c->cd;
	t->n_used--;
}

struct conn *conn_get(const struct conn_table *t, uint32_t cd)
{
	struct conn *c;

	if (cd == 0 || cd > t->n_slots)
		return NULL;
	c = conn_slot(t, cd);
	return c->flags & CONN_F_USED ? c : NULL;
}

/* --- queues --- */

void conn_queue_push(struct conn_table *t, struct conn_queue *q, struct conn *c)
{
	if (conn_is_queued(c, q->kind))
		return;
	c->queued = (uint8_t)(c->queued | 1u << q->kind);
	c->q[q->kind].next = 0;
	c->q[q->kind].prev = q->tail;
	if (q->tail)
		conn_slot(t, q->tail)->q[q->kind].next = c->cd;
	else
		q->head = c->cd;
	q->tail = c->cd;
}

void conn_queue_remove(struct conn_table *t, struct conn_queue *q,
		       struct conn *c)
{
	uint32_t next = c->q[q->kind].next, prev = c->q[q->kind].prev;

	assert(conn_is_queued(c, q->kind));
	if (next)
		conn_slot(t, next)->q[q->kind].prev = prev;
	else
		q->tail = prev;
	if (prev)
		conn_slot(t, prev)->q[q->kind].next = next;
	else
		q->head = next;
	c->queued = (uint8_t)(c->queued & ~(1u << q->kind));
}

struct conn *conn_queue_head(const struct conn_table *t,
			     const struct conn_queue *q)
{
	return q->head ? conn_slot(t, q->head) : NULL;
}

struct conn *conn_queue_next(const struct conn_table *t,
			     const struct conn_queue *q, const struct conn *c)
{
	uint32_t next = c->q[q->kind].next;

	return next ? conn_slot(t, next) : NULL;
}

/* --- received bytes --- */

int conn_rx_append(struct conn *c, const void *data, size_t n)
{
	uint8_t *rx;
	size_t cap;

	if (n > CONN_RX_MAX - c->rx_len)
		return -EMSGSIZE;
	if (n == 0)
		return 0;
	if (c->rx_off + c->rx_len + n > c->rx_cap && c->rx_off > 0) {
		memmove(c->rx, c->rx + c->rx_off, c->rx_len);
		c->rx_off = 0;
	}
	if (c->rx_len + n > c->rx_cap) {
		cap = (size_t)next_pow2(max_size(c->rx_len + n, CONN_RX_MIN));
		rx = realloc(c->rx, cap);
		if (!rx)
			return -ENOMEM;
		c->rx = rx;
		c->rx_cap = (uint32_t)cap;
	}
	memcpy(c->rx + c->rx_off + c->rx_len, data, n);
	c->rx_len += (uint32_t)n;
	return 0;
}

size_t conn_rx_read(struct conn *c, void *ret_buf, size_t len)
{
	size_t n = min_size(c->rx_len, len);

	if (n > 0)
		memcpy(ret_buf, c->rx + c->rx_off, n);
	c->returned = (uint32_t)n;
	if (n == c->rx_len)
		c->flags &= (uint16_t)~CONN_F_UNREAD;
	return n;
}

size_t conn_rx_peek(struct conn *c, size_t skip, void *ret_buf, size_t len)
{
	size_t n;

	assert(skip <= c->rx_len);
	n = min_size(c->rx_len - skip, len);
	if (n > 0)
		memcpy(ret_buf, c->rx + c->rx_off + skip, n);
	c->returned = max_u32(c->returned, (uint32_t)(skip + n));
	return n;
}

void conn_rx_ack(struct conn *c, size_t n)
{
	assert(n <= c->returned && c->returned <= c->rx_len); /* I1 */
	if (n == 0)
		return;
	c->acked += n;
	c->rx_off += (uint32_t)n;
	c->rx_len -= (uint32_t)n;
	c->returned -= (uint32_t)n;
	if (c->rx_len == 0)
		conn_rx_drop(c);
	else
		c->flags |= CONN_F_UNREAD;
}

size_t conn_rx_skip(struct conn *c)
{
	uint32_t n;

	if (c->done <= c->acked)
		return 0;
	n = (uint32_t)min_u64(c->done - c->acked, c->rx_len);
	c->returned = max_u32(c->returned, n);
	conn_rx_ack(c, n);
	return n;
}

void conn_rx_drop(struct conn *c)
{
	free(c->rx);
	c->rx = NULL;
	c->rx_cap = 0;
	c->rx_off = 0;
	c->rx_len = 0;
	c->returned = 0;
	c->flags &= (uint16_t) ~(CONN_F_UNREAD | CONN_F_REDELIVERED);
}
