/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The receive queue: what the client sent and the application has not yet
 * acknowledged, in chunks of the group's pool.
 *
 *	rcv_app                rcv_nxt                         rcv_adv
 *	   | rx_head ... rx_tail  |    gap  | ooo_head ... |      |
 *	   '--- in sequence ------'         '- beyond gaps -'
 *
 * In-sequence chunks are contiguous and packed: a segment fills the last chunk
 * up before it takes a new one, so that many tiny segments cost no more than
 * their bytes. Out-of-order chunks are sorted, disjoint and bounded per
 * connection; what the bound turns away, the client still has.
 *
 * Text in sequence goes before text beyond a gap: a throttled pool takes no
 * more of the latter, and a full one gives it up to make room (rx_make_room).
 * Otherwise what waits for gaps could fill the pool, and no gap would close.
 *
 * When the pool is at its limit a segment is dropped unseen (its ACK field has
 * been processed by then, I6).
 */
#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "stack/conn.h"
#include "stack/sack.h"

static struct stack_pool *rx_pool(const struct conn *c)
{
	return &c->st->pools[c->g->pool];
}

static uint32_t rx_end(const struct chunks *ch, uint32_t i)
{
	return ch->desc[i].seq + ch->desc[i].len;
}

void rx_pool_changed(struct stack *st, struct stack_pool *pool)
{
	if (!pool->throttled && pool->used_chunks > pool->high_chunks) {
		pool->throttled = true;
		stack_count(st, SC_throttle_entered);
	} else if (pool->throttled &&
		   pool->used_chunks < max_u32(pool->low_chunks, 1)) {
		pool->throttled = false;
		pool->released = st->pools_released = true;
		stack_count(st, SC_throttle_left);
	}
}

/* Chunks that can be had now. */
static uint32_t rx_chunks_free(const struct conn *c)
{
	const struct stack_pool *pool = rx_pool(c);
	const struct chunks *rx = &c->st->sh->rx;
	uint32_t in_pool = pool->limit_chunks > pool->used_chunks
				   ? pool->limit_chunks - pool->used_chunks
				   : 0;

	return min_u32(in_pool, rx->n - bitmap_used_count(&rx->map));
}

uint32_t rx_space(const struct conn *c)
{
	uint32_t cap = c->b->rcv_space_units * REC_ADV_UNIT;
	uint32_t held = c->b->rcv_nxt - c->b->rcv_app;
	uint64_t room = (uint64_t)rx_chunks_free(c) * CHUNK_BYTES;

	if (!(c->r->flags & REC_WSCALE))
		cap = min_u32(cap, UINT16_MAX);
	cap = cap > held ? cap - held : 0;
	return (uint32_t)min_u64(cap, room);
}

static uint32_t rx_alloc(struct conn *c, uint32_t seq)
{
	struct stack_pool *pool = rx_pool(c);
	uint32_t i;

	if (pool->used_chunks >= pool->limit_chunks)
		return NIL;
	i = chunks_alloc(&c->st->sh->rx, c->r->block, seq);
	if (i != NIL) {
		pool->used_chunks++;
		rx_pool_changed(c->st, pool);
	}
	return i;
}

static void rx_free(struct conn *c, uint32_t i)
{
	struct stack_pool *pool = rx_pool(c);

	chunks_free(&c->st->sh->rx, i);
	pool->used_chunks--;
	rx_pool_changed(c->st, pool);
}

void rx_prune(struct conn *c)
{
	struct blk *b = c->b;
	uint32_t i = b->ooo_head;

	rx_pool(c)->ooo_chunks -= b->ooo_chunks;
	b->ooo_head = NIL;
	b->ooo_chunks = 0;
	sack_forget(c);
	while (i != NIL) {
		uint32_t next = c->st->sh->rx.desc[i].next;

		rx_free(c, i);
		stack_count(c->st, SC_ooo_pruned);
		i = next;
	}
}

/* Have n chunks free, if need be at the cost of text beyond gaps. */
static bool rx_make_room(struct conn *c, uint32_t n)
{
	struct stack *st = c->st;
	uint32_t bi = BITMAP_NONE;

	if (n <= rx_chunks_free(c))
		return true;
	if (c->b->ooo_chunks)
		rx_prune(c);
	if (rx_pool(c)->ooo_chunks)
		bi = bitmap_next_used(&st->sh->blk_map, 0);
	for (; bi != BITMAP_NONE && n > rx_chunks_free(c);
	     bi = bitmap_next_used(&st->sh->blk_map, bi + 1)) {
		struct conn other;

		conn_view(st, st->sh->blks[bi].rec, c->now_us, &other);
		if (other.g->pool == c->g->pool && other.b->ooo_chunks)
			rx_prune(&other);
	}
	return n <= rx_chunks_free(c);
}

/* Copy as much of data as fits to the end of chunk i. Returns the bytes. */
static uint32_t rx_fill(struct chunks *rx, uint32_t i, const uint8_t *data,
			uint32_t len)
{
	uint32_t n = min_u32(len, chunk_room(rx, i));

	memcpy(chunk_data(rx, i) + rx->desc[i].len, data, n);
	rx->desc[i].len = (uint16_t)(rx->desc[i].len + n);
	return n;
}

static void rx_link_tail(struct conn *c, uint32_t i)
{
	struct blk *b = c->b;

	if (b->rx_tail == NIL)
		b->rx_head = i;
	else
		c->st->sh->rx.desc[b->rx_tail].next = i;
	b->rx_tail = i;
}

/* Data that begins at rcv_nxt: all of it, or nothing. */
static bool rx_append(struct conn *c, const uint8_t *data, uint32_t len)
{
	struct chunks *rx = &c->st->sh->rx;
	struct blk *b = c->b;
	uint32_t room = b->rx_tail == NIL ? 0 : chunk_room(rx, b->rx_tail);
	uint32_t need =
		len > room ? (len - room + CHUNK_BYTES - 1) / CHUNK_BYTES : 0;
	uint32_t n;

	if (need && !rx_make_room(c, need)) {
		stack_count(c->st, SC_drop_pool_full);
		return false;
	}
	if (room) {
		n = rx_fill(rx, b->rx_tail, data, len);
		data += n;
		len -= n;
		b->rcv_nxt += n;
	}
	while (len) {
		uint32_t i = rx_alloc(c, b->rcv_nxt);

		assert(i != NIL);
		n = rx_fill(rx, i, data, len);
		rx_link_tail(c, i);
		data += n;
		len -= n;
		b->rcv_nxt += n;
	}
	return true;
}

/* Drop the first n bytes of chunk i. */
static void rx_trim_front(struct chunk *desc, uint32_t n)
{
	desc->off = (uint16_t)(desc->off + n);
	desc->len = (uint16_t)(desc->len - n);
	desc->seq += n;
}

/* A gap has closed: move over what follows rcv_nxt without one. */
static void rx_join(struct conn *c)
{
	struct chunks *rx = &c->st->sh->rx;
	struct blk *b = c->b;

	while (b->ooo_head != NIL &&
	       seq_leq(rx->desc[b->ooo_head].seq, b->rcv_nxt)) {
		uint32_t i = b->ooo_head;

		b->ooo_head = rx->desc[i].next;
		b->ooo_chunks--;
		rx_pool(c)->ooo_chunks--;
		if (seq_leq(rx_end(rx, i), b->rcv_nxt)) {
			rx_free(c, i);
			continue;
		}
		rx_trim_front(&rx->desc[i], b->rcv_nxt - rx->desc[i].seq);
		rx->desc[i].next = NIL;
		rx_link_tail(c, i);
		b->rcv_nxt = rx_end(rx, i);
	}
}

/*
 * Put [seq, seq + len), which overlaps nothing, after chunk prev (NIL: first).
 * Returns the last chunk used, or prev when there was no room at all;
 * *ret_end: to here it was kept.
 */
static uint32_t rx_ooo_put(struct conn *c, uint32_t prev, uint32_t seq,
			   const uint8_t *data, uint32_t len, uint32_t *ret_end)
{
	struct chunks *rx = &c->st->sh->rx;
	struct blk *b = c->b;

	if (prev != NIL && rx_end(rx, prev) == seq) {
		uint32_t n = rx_fill(rx, prev, data, len);

		seq += n;
		data += n;
		len -= n;
	}
	while (len) {
		uint32_t *link =
			prev == NIL ? &b->ooo_head : &rx->desc[prev].next;
		uint32_t i, n;

		i = b->ooo_chunks < c->st->limits.ooo_chunks_max &&
				    !rx_pool(c)->throttled
			    ? rx_alloc(c, seq)
			    : NIL;
		if (i == NIL) {
			stack_count(c->st, SC_drop_ooo_limit);
			break;
		}
		b->ooo_chunks++;
		rx_pool(c)->ooo_chunks++;
		n = rx_fill(rx, i, data, len);
		rx->desc[i].next = *link;
		*link = i;
		prev = i;
		seq += n;
		data += n;
		len -= n;
	}
	*ret_end = seq;
	return prev;
}

/* Data beyond a gap: keep those parts of it that are not there yet. */
static void rx_ooo_insert(struct conn *c, uint32_t seq, const uint8_t *data,
			  uint32_t len)
{
	struct chunks *rx = &c->st->sh->rx;
	uint32_t end = seq + len, pos = seq, prev = NIL, cur = c->b->ooo_head;
	bool fresh = false;

	stack_count(c->st, SC_ooo_segs);
	while (seq_lt(pos, end)) {
		uint32_t stop = end;

		while (cur != NIL && seq_leq(rx_end(rx, cur), pos)) {
			prev = cur;
			cur = rx->desc[cur].next;
		}
		if (cur != NIL && seq_lt(rx->desc[cur].seq, end))
			stop = rx->desc[cur].seq;
		if (seq_lt(pos, stop)) {
			fresh = true;
			prev = rx_ooo_put(c, prev, pos, data + (pos - seq),
					  stop - pos, &pos);
			if (pos != stop) {
				end = pos; /* what did not fit is not kept */
				break;
			}
		}
		if (stop == end)
			break;
		pos = seq_max(pos, rx_end(rx, cur));
	}
	if (!fresh)
		sack_duplicate(c, seq, end);
	sack_arrived(c, seq, end);
}

/* A bulk sender that fills half of its window gets a larger one, up to the cap. */
static void rx_grow_window(struct conn *c)
{
	struct blk *b = c->b;
	uint32_t cap = b->rcv_space_units * REC_ADV_UNIT;

	if (b->rcv_full_run < 4 || rx_pool(c)->throttled ||
	    b->rcv_adv - b->rcv_nxt > cap / 2)
		return;
	b->rcv_space_units =
		(uint16_t)(min_u32(cap * 2, c->st->limits.rcv_window_max) /
			   REC_ADV_UNIT);
}

bool rx_text(struct conn *c, const struct seg *seg)
{
	struct blk *b = c->b;
	const uint8_t *data = seg->payload;
	uint32_t seq = seg->seq, len = seg->len;

	/* RFC 9293 3.10.7.4: trim to what is new and within the window. */
	if (seq_lt(seq, b->rcv_nxt)) {
		uint32_t old = b->rcv_nxt - seq;

		if (old >= len)
			return true;
		seq += old;
		data += old;
		len -= old;
	}
	if (seq_geq(seq, b->rcv_adv))
		return true;
	len = min_u32(len, b->rcv_adv - seq);
	if (seq != b->rcv_nxt) {
		rx_ooo_insert(c, seq, data, len);
		return true;
	}
	if (!rx_append(c, data, len))
		return false;
	rx_join(c);
	rx_grow_window(c);
	return true;
}

void rx_consume(struct conn *c, uint32_t seq)
{
	struct chunks *rx = &c->st->sh->rx;
	struct blk *b = c->b;

	c->r->rcv_off += seq - b->rcv_app;
	b->rcv_app = seq;
	if (seq_lt(b->rcv_dlv, seq))
		b->rcv_dlv = seq;
	while (b->rx_head != NIL && seq_lt(rx->desc[b->rx_head].seq, seq)) {
		uint32_t i = b->rx_head;

		if (seq_gt(rx_end(rx, i), seq)) {
			rx_trim_front(&rx->desc[i], seq - rx->desc[i].seq);
			break;
		}
		b->rx_head = rx->desc[i].next;
		if (b->rx_head == NIL)
			b->rx_tail = NIL;
		rx_free(c, i);
	}
}
