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
 * their bytes.
 *
 * What lies beyond gaps is sorted, disjoint, and kept as runs of chunks without
 * a gap between them (struct rx_run, under the number of the run's first chunk):
 *
 *	ooo_head --> [chunk chunk chunk] --> [chunk] --> [chunk chunk]
 *	              run                     run         run
 *
 * A segment that comes out of order costs a walk over runs, of which a
 * connection has at most RX_RUNS_MAX, never over chunks; where two runs meet,
 * their chunks are packed. So neither tiny segments nor many gaps make a packet
 * dear or a byte cost a chunk (CVE-2018-5390). What a bound turns away is
 * counted, and the client still has it.
 *
 * Runs and the lists of who holds any are the process's own, not the arena's:
 * text beyond gaps does not outlive the process (RFC 2018 section 8: its sender
 * keeps it). Text in sequence does; the chain of its chunks says how far it
 * goes, whatever rcv_nxt says (arena/recover.h). Only whole chunks are given
 * back, so the first may begin before rcv_app.
 *
 * Text in sequence goes before text beyond a gap: a throttled pool takes no
 * more of the latter, no pool more than half its size, and a full one gives it
 * up to make room (rx_make_room), the oldest holder's first. Otherwise what
 * waits for gaps could fill the pool, and no gap would close.
 *
 * When the pool is at its limit a segment is dropped unseen (its ACK field has
 * been processed by then, I6).
 *
 * Invariants: of two neighbouring chunks of a run, the second would not fit
 * into the first; a block is in its pool's list while it has ooo_chunks.
 */
#include <assert.h>

#include "base/bytes.h"
#include "stack/conn.h"
#include "stack/sack.h"

/* Gaps that honest loss leaves in a window stay well below. */
#define RX_RUNS_MAX 128u
_Static_assert(RX_RUNS_MAX < UINT8_MAX, "rx_holder.runs, and one that joins");

/* In how many round trips a sender uses up a window that is small for it, what
 * a round trip is when none was measured, and the least that makes a turn. */
#define RX_TURN_RTTS 4u
#define RX_TURN_RTT_US (uint32_t)(100 * USEC_PER_MSEC)
#define RX_TURN_MIN_US (uint32_t)(10 * USEC_PER_MSEC)

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

/* n more chunks of the pool are in use, or fewer. */
static void rx_pool_use(struct conn *c, int n)
{
	struct stack_pool *pool = rx_pool(c);

	pool->used_chunks += (uint32_t)n;
	rx_pool_changed(c->st, pool);
}

static uint32_t rx_alloc(struct conn *c, uint32_t seq)
{
	const struct stack_pool *pool = rx_pool(c);
	uint32_t i;

	if (pool->used_chunks >= pool->limit_chunks)
		return NIL;
	i = chunks_alloc(&c->st->sh->rx, c->r->block, seq);
	if (i != NIL)
		rx_pool_use(c, 1);
	return i;
}

static void rx_free(struct conn *c, uint32_t i)
{
	chunks_free(&c->st->sh->rx, i);
	rx_pool_use(c, -1);
}

/* The pool's list of blocks that hold chunks beyond gaps, oldest first. */
static void rx_holder_link(struct rx_holder *holders, struct stack_pool *pool,
			   uint32_t bi)
{
	holders[bi].next = NIL;
	holders[bi].prev = pool->holders_tail;
	if (pool->holders_tail == NIL)
		pool->holders_head = bi;
	else
		holders[pool->holders_tail].next = bi;
	pool->holders_tail = bi;
}

static void rx_holder_unlink(struct rx_holder *holders, struct stack_pool *pool,
			     uint32_t bi)
{
	uint32_t next = holders[bi].next, prev = holders[bi].prev;

	*(prev == NIL ? &pool->holders_head : &holders[prev].next) = next;
	*(next == NIL ? &pool->holders_tail : &holders[next].prev) = prev;
}

/* n more chunks beyond gaps (or fewer); the pool lists those that have any. */
static void rx_ooo_count(struct conn *c, int n)
{
	struct rx_holder *holders = c->st->rx_holders;
	struct stack_pool *pool = rx_pool(c);
	struct blk *b = c->b;
	uint32_t bi = c->r->block;
	bool had = b->ooo_chunks;

	b->ooo_chunks = (uint16_t)(b->ooo_chunks + n);
	pool->ooo_chunks += (uint32_t)n;
	if (!had && b->ooo_chunks) {
		holders[bi].runs = 0;
		rx_holder_link(holders, pool, bi);
	} else if (had && !b->ooo_chunks) {
		rx_holder_unlink(holders, pool, bi);
	}
}

void rx_move(struct stack *st, uint32_t bi, struct stack_pool *from,
	     struct stack_pool *to)
{
	const struct chunk *desc = st->sh->rx.desc;
	const struct blk *b = &st->sh->blks[bi];
	uint32_t n = b->ooo_chunks;

	for (uint32_t i = b->rx_head; i != NIL; i = desc[i].next)
		n++;
	from->used_chunks -= n;
	to->used_chunks += n;
	if (!b->ooo_chunks)
		return;
	from->ooo_chunks -= b->ooo_chunks;
	to->ooo_chunks += b->ooo_chunks;
	rx_holder_unlink(st->rx_holders, from, bi);
	rx_holder_link(st->rx_holders, to, bi);
}

void rx_drop_ooo(struct conn *c)
{
	struct blk *b = c->b;
	uint32_t head = b->ooo_head, n;

	ARENA_COMMIT(b->ooo_head, NIL);
	n = chunks_free_list(&c->st->sh->rx, head);
	if (!n)
		return;
	rx_ooo_count(c, -(int)n);
	rx_pool(c)->used_chunks -= n;
	rx_pool_changed(c->st, rx_pool(c));
}

void rx_prune(struct conn *c)
{
	stack_count_n(c->st, SC_ooo_pruned, c->b->ooo_chunks);
	rx_drop_ooo(c);
	sack_forget(c);
	/* It may have been all that kept the block. */
	conn_mark(c, 0);
}

/* Have n chunks free, if need be at the cost of text beyond gaps. */
static bool rx_make_room(struct conn *c, uint32_t n)
{
	const struct stack_pool *pool = rx_pool(c);
	struct stack *st = c->st;

	if (n <= rx_chunks_free(c))
		return true;
	rx_prune(c);
	while (n > rx_chunks_free(c) && pool->holders_head != NIL) {
		struct conn other;

		conn_view(st, st->sh->blks[pool->holders_head].rec, c->now_us,
			  &other);
		rx_prune(&other);
	}
	return n <= rx_chunks_free(c);
}

/* Data that begins at rcv_nxt: all of it, or nothing. */
static bool rx_append(struct conn *c, const uint8_t *data, uint32_t len)
{
	struct chunks *rx = &c->st->sh->rx;
	struct blk *b = c->b;
	uint32_t room = b->rx_tail == NIL ? 0 : chunk_room(rx, b->rx_tail);
	uint32_t need =
		len > room ? (len - room + CHUNK_BYTES - 1) / CHUNK_BYTES : 0;
	struct chunk_chain chain;
	uint32_t n = 0;

	if (need && !rx_make_room(c, need)) {
		stack_count(c->st, SC_drop_pool_full);
		return false;
	}
	if (room) {
		n = chunks_fill(rx, b->rx_tail, data, len);
		b->rcv_nxt += n;
	}
	if (need) {
		chain = chunks_put(rx, c->r->block, b->rcv_nxt, data + n,
				   len - n);
		assert(chain.bytes == len - n); /* rx_make_room() */
		chunks_link(rx, &b->rx_head, &b->rx_tail, chain);
		b->rcv_nxt += len - n;
	}
	rx_pool_use(c, (int)need);
	return true;
}

/* Drop the first n bytes of chunk i. */
static void rx_trim_front(struct chunk *desc, uint32_t n)
{
	desc->off = (uint16_t)(desc->off + n);
	desc->len = (uint16_t)(desc->len - n);
	desc->seq += n;
}

/* Pack chunk i behind chunk to, when it fits. Returns whether it is gone. */
static bool rx_pack(struct conn *c, uint32_t to, uint32_t i)
{
	struct chunks *rx = &c->st->sh->rx;
	struct chunk *desc = rx->desc;

	if (desc[i].len > chunk_room(rx, to))
		return false;
	chunks_fill(rx, to, chunk_data(rx, i), desc[i].len);
	ARENA_COMMIT(desc[to].next, desc[i].next);
	rx_free(c, i);
	return true;
}

/* The first run follows rcv_nxt without a gap: it becomes part of the queue. */
static void rx_join_run(struct conn *c)
{
	struct chunk *desc = c->st->sh->rx.desc;
	struct blk *b = c->b;
	uint32_t i = b->ooo_head, tail = b->rx_tail;
	struct rx_run run = c->st->rx_runs[i];

	b->ooo_head = run.next;
	c->st->rx_holders[c->r->block].runs--;
	rx_ooo_count(c, -(int)run.n);
	desc[run.last].next = NIL;
	while (i != NIL && seq_leq(rx_end(&c->st->sh->rx, i), b->rcv_nxt)) {
		uint32_t next = desc[i].next;

		rx_free(c, i);
		i = next;
	}
	if (i == NIL)
		return;
	rx_trim_front(&desc[i], b->rcv_nxt - desc[i].seq);
	chunks_link(&c->st->sh->rx, &b->rx_head, &b->rx_tail,
		    (struct chunk_chain){ .first = i, .last = run.last });
	if (tail != NIL && rx_pack(c, tail, i) && i == run.last)
		b->rx_tail = tail;
	b->rcv_nxt = run.end;
}

/* A gap has closed: move over what follows rcv_nxt without one. */
static void rx_join(struct conn *c)
{
	const struct chunk *desc = c->st->sh->rx.desc;

	while (c->b->ooo_head != NIL &&
	       seq_leq(desc[c->b->ooo_head].seq, c->b->rcv_nxt))
		rx_join_run(c);
}

/* A chunk for text beyond a gap, or NIL (counted). */
static uint32_t rx_ooo_alloc(struct conn *c, uint32_t seq)
{
	const struct stack_pool *pool = rx_pool(c);
	uint32_t i = NIL;

	if (c->b->ooo_chunks < c->st->limits.ooo_chunks_max &&
	    !pool->throttled && pool->ooo_chunks < pool->limit_chunks / 2)
		i = rx_alloc(c, seq);
	if (i == NIL)
		stack_count(c->st, SC_drop_ooo_limit);
	else
		rx_ooo_count(c, 1);
	return i;
}

/* Text that follows a run: as much as there is room for. */
static void rx_run_append(struct conn *c, uint32_t first, const uint8_t *data,
			  uint32_t len)
{
	struct rx_run *run = &c->st->rx_runs[first];
	struct chunks *rx = &c->st->sh->rx;

	while (len) {
		uint32_t n = chunks_fill(rx, run->last, data, len), i;

		run->end += n;
		data += n;
		len -= n;
		if (!len)
			break;
		i = rx_ooo_alloc(c, run->end);
		if (i == NIL)
			break;
		rx->desc[i].next = rx->desc[run->last].next;
		rx->desc[run->last].next = i;
		run->last = i;
		run->n++;
	}
}

/*
 * A run of its own for [seq, seq + len), after run prev (NIL: the first). joins:
 * it ends where the next one begins. Returns it, or NIL (counted).
 */
static uint32_t rx_run_new(struct conn *c, uint32_t prev, uint32_t seq,
			   const uint8_t *data, uint32_t len, bool joins)
{
	struct rx_holder *holder = &c->st->rx_holders[c->r->block];
	struct rx_run *runs = c->st->rx_runs;
	struct chunks *rx = &c->st->sh->rx;
	uint32_t *link, i;

	/* One that joins leaves no more than there were, unless it falls short. */
	if (c->b->ooo_chunks && holder->runs >= RX_RUNS_MAX + joins) {
		stack_count(c->st, SC_drop_ooo_runs);
		return NIL;
	}
	i = rx_ooo_alloc(c, seq);
	if (i == NIL)
		return NIL;
	link = prev == NIL ? &c->b->ooo_head : &rx->desc[runs[prev].last].next;
	runs[i] =
		(struct rx_run){ .end = seq, .last = i, .next = *link, .n = 1 };
	rx->desc[i].next = *link;
	*link = i;
	if (prev != NIL)
		runs[prev].next = i;
	holder->runs++;
	rx_run_append(c, i, data, len);
	return i;
}

/* Run first has grown to where the next one begins: they are one. */
static void rx_run_merge(struct conn *c, uint32_t first)
{
	struct rx_run *run = &c->st->rx_runs[first];
	uint32_t i = run->next, last = run->last;
	struct rx_run next = c->st->rx_runs[i];

	c->st->rx_holders[c->r->block].runs--;
	run->end = next.end;
	run->next = next.next;
	run->last = next.last;
	run->n += next.n;
	if (!rx_pack(c, last, i))
		return;
	rx_ooo_count(c, -1);
	run->n--;
	if (run->last == i)
		run->last = last;
}

/* Data beyond a gap: keep those parts of it that are not there yet. */
static void rx_ooo_insert(struct conn *c, uint32_t seq, const uint8_t *data,
			  uint32_t len)
{
	const struct chunk *desc = c->st->sh->rx.desc;
	const struct rx_run *runs = c->st->rx_runs;
	uint32_t end = seq + len, pos = seq, prev = NIL, cur = c->b->ooo_head;
	uint32_t dup_start = seq, dup_end = seq;

	stack_count(c->st, SC_ooo_segs);
	while (cur != NIL && seq_lt(runs[cur].end, pos)) {
		prev = cur;
		cur = runs[cur].next;
	}
	/* Each turn fills one gap, up to the next run or the segment's end. */
	while (seq_lt(pos, end)) {
		bool inside = cur != NIL && seq_leq(desc[cur].seq, pos);
		uint32_t next = inside ? runs[cur].next : cur, stop = end;
		bool joins = next != NIL && seq_leq(desc[next].seq, end);

		/* RFC 2883 4.2.2: of several duplicate parts the first. */
		if (inside && dup_start == dup_end) {
			dup_start = pos;
			dup_end = seq_min(end, seq_max(pos, runs[cur].end));
		}
		if (inside)
			pos = seq_max(pos, runs[cur].end);
		if (seq_geq(pos, end))
			break;
		if (joins)
			stop = desc[next].seq;
		if (inside)
			rx_run_append(c, cur, data + (pos - seq), stop - pos);
		else
			cur = rx_run_new(c, prev, pos, data + (pos - seq),
					 stop - pos, joins);
		if (cur == NIL || runs[cur].end != stop)
			break;
		pos = stop;
		if (joins)
			rx_run_merge(c, cur);
	}
	sack_duplicate(c, dup_start, dup_end);
	/* RFC 2018 section 4: the whole block that the segment is part of. */
	if (cur != NIL)
		sack_arrived(c, desc[cur].seq, runs[cur].end);
}

/*
 * A bulk sender that uses up its window in a few round trips gets twice as
 * much, up to the limit. A turn is the time in which it used up what was
 * promised at the turn's beginning. In a window that holds it back that is one
 * round trip; the factor leaves the sender room to grow, and to fill a queue
 * on the way, before it meets the edge.
 */
static void rx_grow_window(struct conn *c, uint32_t seg_len)
{
	struct blk *b = c->b;
	uint32_t now_ms = (uint32_t)(c->now_us / USEC_PER_MSEC) | 1;
	uint32_t cap = b->rcv_space_units * REC_ADV_UNIT;
	uint32_t rtt_us = b->rtt.srtt_us ? b->rtt.srtt_us : RX_TURN_RTT_US;
	uint32_t turn_us = max_u32(RX_TURN_RTTS * rtt_us, RX_TURN_MIN_US);

	if (b->rcv_turn_ms && seq_lt(b->rcv_nxt, b->rcv_turn))
		return;
	if (!b->rcv_turn_ms && seg_len < conn_mss(c))
		return;
	if (b->rcv_turn_ms && !rx_pool(c)->throttled &&
	    now_ms - b->rcv_turn_ms <= turn_us / USEC_PER_MSEC) {
		cap = min_u32(cap * 2, c->st->limits.rcv_window_max);
		b->rcv_space_units = (uint16_t)(cap / REC_ADV_UNIT);
	}
	b->rcv_turn = b->rcv_nxt + cap;
	b->rcv_turn_ms = now_ms;
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
	rx_grow_window(c, seg->len);
	return true;
}

void rx_consumed(struct conn *c, uint32_t before)
{
	struct chunks *rx = &c->st->sh->rx;
	struct blk *b = c->b;
	uint32_t n;

	c->r->rcv_off += b->rcv_app - before;
	b->rcv_dlv = seq_max(b->rcv_dlv, b->rcv_app);
	n = chunks_free_until(rx, &b->rx_head, &b->rx_tail, b->rcv_app);
	rx_pool_use(c, -(int)n);
}
