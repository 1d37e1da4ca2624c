/* SPDX-License-Identifier: BSD-2-Clause */
#include "stack/stack.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "stack/conn.h"
#include "stack/frag.h"
#include "stack/pmtu.h"

void stack_limits_init(struct stack_limits *limits, uint16_t mtu)
{
	*limits = (struct stack_limits){
		.mtu = mtu,
		.mtu_min4 = PMTU_MIN4,
		.packet_max = max_u32(mtu, FRAG_PACKET_MIN),
		.frag_datagrams = 64,
		.frag_per_source = 8,
		.half_open_max = 65536,
		.half_open_cookies = 32768,
		.half_open_per_source = 1024,
		.syn_cookies = STACK_COOKIES_AUTO,
		.rcv_window_max = UINT8_MAX * REC_ADV_UNIT,
		.snd_queue_max = (uint32_t)(4 * MIB),
		.ooo_chunks_max = 2048,
	};
}

static int stack_table_init(struct source_table *t, uint32_t width)
{
	t->cells = calloc((size_t)width * SOURCE_ROWS, sizeof(*t->cells));
	if (!t->cells)
		return -ENOMEM;
	t->width = width;
	return 0;
}

/* Count what is there: half-open connections by source, or all others. */
static void stack_count_sources(struct stack *st, bool open)
{
	struct shard *sh = st->sh;

	for (uint32_t ri = bitmap_next_used(&sh->rec_map, 0); ri != BITMAP_NONE;
	     ri = bitmap_next_used(&sh->rec_map, ri + 1)) {
		const struct rec *r = &sh->recs[ri];
		struct tuple tuple;

		shard_rec_tuple(sh, ri, &tuple);
		if (open && tcp_state_open(r->state))
			source_add(&st->conn_sources,
				   source_hash(st->header, &tuple, r->group));
		else if (!open && r->flags & REC_HALF_OPEN)
			source_add(&st->half_open_sources,
				   source_hash(st->header, &tuple, 0));
	}
}

/* max-per-source needs the count; until then there is none to keep. */
static uint32_t stack_source_width(uint32_t n_recs)
{
	return max_u32(n_recs / SOURCE_ROWS, SOURCE_OPEN_WIDTH_MIN);
}

static int stack_alloc(struct stack *st)
{
	st->frags = calloc(1, frag_table_bytes(&st->limits));
	st->rx_runs = calloc(st->sh->rx.n, sizeof(*st->rx_runs));
	st->rx_holders = calloc(st->sh->n_recs, sizeof(*st->rx_holders));
	st->tx_marks = calloc(st->sh->n_recs, sizeof(*st->tx_marks));
	if (!st->frags || !st->rx_runs || !st->rx_holders || !st->tx_marks)
		return -ENOMEM;
	frag_table_init(st->frags, &st->limits);
	return stack_table_init(&st->half_open_sources, SOURCE_HALF_OPEN_WIDTH);
}

struct stack *stack_new(struct shard *sh, uint32_t workers,
			const struct stack_ops *ops,
			const struct stack_limits *limits, uint64_t now_us)
{
	struct stack *st = calloc(1, sizeof(*st));

	if (!st)
		return NULL;
	st->sh = sh;
	st->header = sh->header;
	st->workers = workers;
	st->ops = *ops;
	st->limits = *limits;
	st->vips = UINT64_MAX;
	st->now_us = now_us;
	st->ready_head = st->ready_tail = NIL;
	st->dirty_head = st->dirty_tail = NIL;
	st->sweep_at_us = now_us;
	for (uint32_t i = 0; i < STACK_POOLS_MAX; i++)
		st->pools[i].holders_head = st->pools[i].holders_tail = NIL;
	if (stack_alloc(st) < 0) {
		stack_free(st);
		return NULL;
	}
	stack_count_sources(st, false);
	return st;
}

void stack_free(struct stack *st)
{
	if (!st)
		return;
	for (uint32_t i = 0; i < STACK_GROUPS_MAX; i++) {
		free(st->groups[i]);
		free(st->group_stats[i]);
	}
	free(st->frags);
	free(st->half_open_sources.cells);
	free(st->conn_sources.cells);
	free(st->rx_runs);
	free(st->rx_holders);
	free(st->tx_marks);
	free(st);
}

/* Out of its port's chain; the group itself stays for its connections' sake. */
static void stack_group_unlink(struct stack *st, const struct stack_group *g)
{
	uint16_t *link = &st->port_group[g->port];

	while (*link && *link != g->id)
		link = &st->group_next[*link];
	if (*link)
		*link = st->group_next[g->id];
	st->group_next[g->id] = 0;
}

static void stack_group_link(struct stack *st, const struct stack_group *g)
{
	uint16_t *link = &st->port_group[g->port];

	while (*link && st->groups[*link]->priority >= g->priority)
		link = &st->group_next[*link];
	st->group_next[g->id] = *link;
	*link = g->id;
}

int stack_room_new(struct stack_room *ret_room, uint32_t n_recs,
		   bool with_sources)
{
	struct stack_room room = {
		.group = calloc(1, sizeof(*room.group)),
		.stats = calloc(1, sizeof(*room.stats)),
	};

	if (with_sources)
		room.sources =
			calloc((size_t)stack_source_width(n_recs) * SOURCE_ROWS,
			       sizeof(*room.sources));
	if (!room.group || !room.stats || (with_sources && !room.sources)) {
		stack_room_free(&room);
		return -ENOMEM;
	}
	*ret_room = room;
	return 0;
}

void stack_room_free(struct stack_room *room)
{
	free(room->group);
	free(room->stats);
	free(room->sources);
	*room = (struct stack_room){ .group = NULL };
}

void stack_room_take(struct stack *st, uint16_t id, struct stack_room *room)
{
	if (!st->group_stats[id]) {
		st->group_stats[id] = room->stats;
		room->stats = NULL;
	}
	if (!st->groups[id] && room->group) {
		st->groups[id] = room->group;
		room->group = NULL;
	}
	if (!st->conn_sources.width && room->sources) {
		st->conn_sources.cells = room->sources;
		st->conn_sources.width = stack_source_width(st->sh->n_recs);
		stack_count_sources(st, true);
		room->sources = NULL;
	}
}

/* What its connections hold is counted in their pool. */
static void stack_group_move(struct stack *st, const struct stack_group *g,
			     uint16_t pool)
{
	struct stack_pool *from = &st->pools[g->pool], *to = &st->pools[pool];

	for (uint32_t bi = bitmap_next_used(&st->sh->blk_map, 0);
	     bi != BITMAP_NONE; bi = bitmap_next_used(&st->sh->blk_map, bi + 1))
		if (st->sh->recs[st->sh->blks[bi].rec].group == g->id)
			rx_move(st, bi, from, to);
	rx_pool_changed(st, from);
	rx_pool_changed(st, to);
	/* What the old pool withheld, the new one may have room for. */
	to->released = st->pools_released = true;
}

/* Memory for the group, if it has none. */
static int stack_group_room(struct stack *st, const struct stack_group *group)
{
	struct stack_room room;
	bool sources = group->max_per_source && !st->conn_sources.width;

	if (st->groups[group->id] && st->group_stats[group->id] && !sources)
		return 0;
	if (stack_room_new(&room, st->sh->n_recs, sources) < 0)
		return -ENOMEM;
	stack_room_take(st, group->id, &room);
	stack_room_free(&room);
	return 0;
}

int stack_group_set(struct stack *st, const struct stack_group *group)
{
	uint16_t id = group->id;
	struct stack_group *g;

	if (!id || id >= STACK_GROUPS_MAX || group->pool >= STACK_POOLS_MAX ||
	    !group->port)
		return -EINVAL;
	if (stack_group_room(st, group) < 0)
		return -ENOMEM;
	g = st->groups[id];
	if (g->port && g->port != group->port &&
	    counter_get(&st->group_stats[id]->connections))
		return -EBUSY;
	if (g->port) {
		stack_group_unlink(st, g);
		if (g->pool != group->pool)
			stack_group_move(st, g, group->pool);
	}
	*g = *group;
	stack_group_link(st, g);
	return 0;
}

void stack_group_remove(struct stack *st, uint16_t id)
{
	struct stack_group_stats *stats = st->group_stats[id];
	struct stack_group *g = st->groups[id];

	if (!g || !g->port)
		return;
	stack_group_unlink(st, g);
	g->draining = true;
	/* The number's next group counts from zero; the gauges go on. */
	counter_set(&stats->accepted, 0);
	counter_set(&stats->refused, 0);
	counter_set(&stats->msgs_in, 0);
	counter_set(&stats->msgs_out, 0);
	counter_set(&stats->bytes_in, 0);
	counter_set(&stats->bytes_out, 0);
}

void stack_vips_set(struct stack *st, uint64_t vips)
{
	st->vips = vips;
}

void stack_own_set(struct stack *st, const struct stack_own *own)
{
	assert(own->n <= STACK_OWN_MAX);
	st->own = *own;
}

bool stack_own_has(const struct stack_own *own, uint8_t vip, uint16_t port)
{
	uint32_t wanted = stack_own_port(vip, port), lo = 0, hi = own->n;

	if (!(own->vips >> vip & 1))
		return true;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (own->ports[mid] == wanted)
			return true;
		if (own->ports[mid] < wanted)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

void stack_limits_set(struct stack *st, const struct stack_limits *limits)
{
	st->limits.recs_max = limits->recs_max;
	st->limits.half_open_max = limits->half_open_max;
	st->limits.half_open_cookies = limits->half_open_cookies;
	st->limits.half_open_per_source = limits->half_open_per_source;
	st->limits.syn_cookies = limits->syn_cookies;
}

void stack_pool_set(struct stack *st, uint16_t i, uint64_t bytes,
		    uint32_t high_percent, uint32_t low_percent)
{
	struct stack_pool *pool = &st->pools[i];
	uint64_t chunks = bytes / CHUNK_BYTES;

	pool->limit_chunks =
		bytes ? (uint32_t)min_u64(max_u64(chunks, 16), UINT32_MAX) : 0;
	pool->high_chunks =
		(uint32_t)((uint64_t)pool->limit_chunks * high_percent / 100);
	pool->low_chunks =
		(uint32_t)((uint64_t)pool->limit_chunks * low_percent / 100);
	rx_pool_changed(st, pool);
}

void stack_input(struct stack *st, const struct seg *seg, uint64_t now_us)
{
	struct conn c;
	uint32_t ri;

	st->now_us = now_us;
	if (seg->kind == SEG_ICMP) {
		icmp_input(st, seg);
		return;
	}
	if (seg->kind == SEG_ICMP_ERROR) {
		icmp_error(st, seg, now_us);
		return;
	}
	stack_count(st, SC_segs_in);
	ri = shard_find(st->sh, &seg->tuple, seg->hash);
	if (ri == NIL) {
		listen_input(st, seg, now_us);
		return;
	}
	conn_view(st, ri, now_us, &c);
	input_conn(&c, seg);
}

uint32_t stack_next_event(struct stack *st, uint16_t *ret_events)
{
	while (st->ready_head != NIL) {
		uint32_t bi = st->ready_head;
		struct blk *b = &st->sh->blks[bi];
		const struct rec *r = &st->sh->recs[b->rec];
		uint16_t events = b->events;

		st->ready_head = b->ready_next;
		if (st->ready_head == NIL)
			st->ready_tail = NIL;
		b->ready_next = NIL;
		b->flags &= ~(uint32_t)BLK_READY;
		b->events = 0;
		if (r->flags & REC_ORPHAN || !events) {
			conn_reap(st, b->rec);
			continue;
		}
		/* Once the events are dealt with, the block may not be needed. */
		if (r->state != TCP_GONE && !(b->flags & BLK_DIRTY))
			conn_mark_blk(st, bi);
		*ret_events = events;
		return b->rec;
	}
	return NIL;
}

/* Pools that left throttling: acknowledge and open what they held back. */
static void stack_release_pools(struct stack *st, uint64_t now_us)
{
	if (!st->pools_released)
		return;
	st->pools_released = false;
	for (uint32_t bi = bitmap_next_used(&st->sh->blk_map, 0);
	     bi != BITMAP_NONE;
	     bi = bitmap_next_used(&st->sh->blk_map, bi + 1)) {
		struct conn c;

		conn_view(st, st->sh->blks[bi].rec, now_us, &c);
		if (st->pools[c.g->pool].released &&
		    c.r->state > TCP_SYN_RECEIVED && c.r->state != TCP_GONE)
			ack_released(&c);
	}
	for (uint32_t i = 0; i < STACK_POOLS_MAX; i++)
		st->pools[i].released = false;
}

void stack_flush(struct stack *st, uint64_t now_us)
{
	st->now_us = now_us;
	frag_turn_end(st->frags);
	stack_release_pools(st, now_us);
	while (st->dirty_head != NIL) {
		uint32_t bi = st->dirty_head;
		struct blk *b = &st->sh->blks[bi];
		struct conn c;

		st->dirty_head = b->dirty_next;
		if (st->dirty_head == NIL)
			st->dirty_tail = NIL;
		b->dirty_next = NIL;
		b->flags &= ~(uint32_t)BLK_DIRTY;
		conn_view(st, b->rec, now_us, &c);
		if (c.r->state == TCP_GONE)
			conn_reap(st, c.ri);
		else
			output_flush(&c);
	}
}
