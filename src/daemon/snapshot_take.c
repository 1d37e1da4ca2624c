/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/snapshot_take.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/plain.h"

/* Connections that one answer may list at most, whatever the query says. */
#define SNAPSHOT_CONNS_MAX 1000000u

void snapshot_free(struct snapshot *snap)
{
	if (!snap)
		return;
	free(snap->counters);
	free(snap->groups);
	free(snap->latency);
	free(snap->pools);
	free(snap->backends);
	free(snap->conns);
	free(snap->detail);
	free(snap);
}

static bool snapshot_totals(const struct groups *gs, struct snapshot *snap)
{
	const struct stack *st = gs->st;
	const struct shard *sh = st->sh;

	snap->worker = gs->worker;
	snap->established = st->established;
	snap->half_open = st->half_open;
	snap->time_wait = st->time_wait;
	snap->active = bitmap_used_count(&sh->blk_map);
	snap->memory = (struct snapshot_memory){
		.records = bitmap_used_count(&sh->rec_map),
		.active_blocks = snap->active,
		.receive_pool_bytes =
			(uint64_t)bitmap_used_count(&sh->rx.map) * CHUNK_BYTES,
		.transmit_buffer_bytes =
			(uint64_t)bitmap_used_count(&sh->tx.map) * CHUNK_BYTES,
	};
	snap->n_counters = SC_COUNT + WC_COUNT;
	snap->counters = calloc(snap->n_counters, sizeof(*snap->counters));
	if (!snap->counters)
		return false;
	for (uint32_t i = 0; i < SC_COUNT; i++)
		snap->counters[i] = counter_get(&st->counters[i]);
	for (uint32_t i = 0; i < WC_COUNT; i++)
		snap->counters[SC_COUNT + i] = counter_get(&gs->counters[i]);
	return true;
}

static void snapshot_group(const struct group *g,
			   struct snapshot_group *ret_group)
{
	const struct stack_group_stats *stats = g->gs->st->group_stats[g->id];

	*ret_group = (struct snapshot_group){
		.id = g->id,
		.connections = counter_get(&stats->connections),
		.half_open = counter_get(&stats->half_open),
		.accepted = counter_get(&stats->accepted),
		.refused = counter_get(&stats->refused),
		.messages_in = counter_get(&stats->msgs_in),
		.messages_out = counter_get(&stats->msgs_out),
		.bytes_in = counter_get(&stats->bytes_in),
		.bytes_out = counter_get(&stats->bytes_out),
		.waiting = g->waiting.n,
	};
	for (uint32_t i = 0; i < g->n_live; i++)
		ret_group->waiting += g->live[i]->waiting.n;
}

static const char *snapshot_backend_state(const struct backend *b)
{
	bool plain = b->group->protocol == CONF_PROTOCOL_STREAM;

	if (plain && b->attached)
		return "removed";
	if (b->duty != BACKEND_SERVES)
		return b->duty == BACKEND_VACATES ? "vacating" : "draining";
	if (plain)
		return b->plain.reached	       ? "up"
		       : b->stats.failures > 0 ? "down"
					       : "idle";
	return b->n_up > 0 ? "up" : "connecting";
}

/* What differs where each client has a connection of its own. */
static void snapshot_plain(const struct backend *b,
			   struct snapshot_backend *ret_backend)
{
	ret_backend->streams_up = b->plain.n_links;
	ret_backend->streams_wanted = b->plain.max_links;
	ret_backend->inflight = b->plain.n_busy;
	ret_backend->reconnects = 0;
}

static void snapshot_backend(const struct backend *b,
			     struct snapshot_backend *ret_backend)
{
	*ret_backend = (struct snapshot_backend){
		.group = b->group->id,
		.protocol = b->group->protocol,
		.state = snapshot_backend_state(b),
		.streams_up = b->n_up,
		.streams_wanted =
			b->attached ? b->n_streams : b->streams_wanted,
		.inflight = b->inflight,
		.messages_in = b->stats.messages_in,
		.messages_out = b->stats.messages_out,
		.bytes_in = b->stats.bytes_in,
		.bytes_out = b->stats.bytes_out,
		.redelivered = b->stats.redelivered,
		.reconnects = b->stats.connects > 0 ? b->stats.connects - 1 : 0,
		.opened = b->stats.connects,
		.failures = b->stats.failures,
		.requests = b->stats.requests,
		.request_us = b->stats.request_us,
	};
	if (b->group->protocol == CONF_PROTOCOL_STREAM)
		snapshot_plain(b, ret_backend);
	memcpy(ret_backend->name, b->name, sizeof(b->name));
	memcpy(ret_backend->address, b->address, sizeof(b->address));
}

static bool snapshot_groups(const struct groups *gs, struct snapshot *snap)
{
	uint32_t n_groups = 0, n_backends = 0;

	for (uint32_t id = 1; id < STACK_GROUPS_MAX; id++) {
		const struct backend *b =
			gs->by_id[id] ? gs->by_id[id]->backends : NULL;

		n_groups += gs->by_id[id] != NULL;
		for (; b; b = b->next)
			n_backends++;
	}
	snap->groups = calloc(n_groups + 1, sizeof(*snap->groups));
	snap->backends = calloc(n_backends + 1, sizeof(*snap->backends));
	if (!snap->groups || !snap->backends)
		return false;
	for (uint32_t id = 1; id < STACK_GROUPS_MAX; id++) {
		const struct backend *b;

		if (!gs->by_id[id])
			continue;
		snapshot_group(gs->by_id[id], &snap->groups[snap->n_groups++]);
		for (b = gs->by_id[id]->backends; b; b = b->next)
			snapshot_backend(b,
					 &snap->backends[snap->n_backends++]);
	}
	return true;
}

static bool snapshot_latency(const struct groups *gs, struct snapshot *snap)
{
	snap->latency = calloc(snap->n_groups + 1, sizeof(*snap->latency));
	if (!snap->latency)
		return false;
	for (uint32_t i = 0; i < snap->n_groups; i++) {
		snap->latency[i] = gs->by_id[snap->groups[i].id]->latency;
		snap->groups[i].latency = &snap->latency[i];
	}
	return true;
}

static bool snapshot_pools(const struct groups *gs, struct snapshot *snap)
{
	const struct stack_pool *pools = gs->st->pools;

	for (uint32_t i = 0; i < STACK_POOLS_MAX; i++)
		if (pools[i].limit_chunks > 0)
			snap->n_pools = i + 1;
	snap->pools = calloc(snap->n_pools + 1, sizeof(*snap->pools));
	if (!snap->pools)
		return false;
	for (uint32_t i = 0; i < snap->n_pools; i++) {
		snap->pools[i] = (struct snapshot_pool){
			.used_bytes =
				(uint64_t)pools[i].used_chunks * CHUNK_BYTES,
			.limit_bytes =
				(uint64_t)pools[i].limit_chunks * CHUNK_BYTES,
			.throttled = pools[i].throttled,
		};
	}
	return true;
}

static bool snapshot_wants(const struct groups *gs,
			   const struct snapshot_query *query, uint32_t ri)
{
	const struct rec *rec = &gs->st->sh->recs[ri];

	if (rec->state == TCP_FREE)
		return false;
	if (query->conn_id && query->conn_id != groups_conn_id(gs, ri))
		return false;
	if (query->group && query->group != rec->group)
		return false;
	return !query->state[0] ||
	       strcmp(query->state, tcp_state_name(rec->state)) == 0;
}

static void snapshot_conn_addresses(const struct groups *gs, uint32_t ri,
				    struct snapshot_conn *ret_conn)
{
	const struct arena_vip *vip;
	struct tuple tuple;

	shard_rec_tuple(gs->st->sh, ri, &tuple);
	vip = &gs->st->header->vips[tuple.vip];
	ret_conn->remote.family = ret_conn->local.family = tuple.v6 ? 6 : 4;
	memcpy(ret_conn->remote.bytes, tuple.remote, 16);
	memcpy(ret_conn->local.bytes, vip->bytes, 16);
	ret_conn->remote_port = tuple.remote_port;
	ret_conn->local_port = tuple.local_port;
}

static void snapshot_conn(const struct groups *gs, uint32_t ri,
			  struct snapshot_conn *ret_conn)
{
	const struct rec *rec = &gs->st->sh->recs[ri];
	const struct group *g = gs->by_id[rec->group];
	const struct bstream *s = g ? group_told(g, rec) : NULL;
	const struct backend *b = s   ? s->backend
				  : g ? plain_backend_of(g, ri)
				      : NULL;
	struct stack_conn_info info;

	stack_conn_info(gs->st, ri, gs->now_us, &info);
	*ret_conn = (struct snapshot_conn){
		.id = groups_conn_id(gs, ri),
		.state = tcp_state_name(rec->state),
		.group = rec->group,
		.active = info.active,
		.rcv_acked = info.rcv_acked,
		.snd_acked = info.snd_acked,
		.rcv_held_bytes = info.rcv_held,
		.snd_queued_bytes = info.snd_queued,
		.snd_wnd = info.snd_wnd,
		.rcv_wnd = info.rcv_wnd,
		.cwnd = info.cwnd,
		.ssthresh = info.ssthresh,
		.mss = info.mss,
		.srtt_us = info.srtt_us,
		.rttvar_us = info.rttvar_us,
		.rto_us = info.rto_us,
		.retransmits = info.retransmits,
		.idle_ms = info.idle_ms,
		.wscale = rec->flags & REC_WSCALE,
		.timestamps = rec->flags & REC_TS,
		.sack = rec->flags & REC_SACK,
	};
	snapshot_conn_addresses(gs, ri, ret_conn);
	if (b)
		memcpy(ret_conn->backend, b->name, sizeof(ret_conn->backend));
}

static void snapshot_detail(const struct groups *gs, uint32_t ri,
			    struct snapshot_detail *ret_detail)
{
	static const char *const lists[] = {
		[APP_LIST_GROUP] = "any backend",
		[APP_LIST_STREAM] = "its backend",
		[APP_LIST_TURN] = "its turn (max-inflight)",
	};
	const struct rec *rec = &gs->st->sh->recs[ri];
	const struct blk *blk = groups_blk(gs, rec);
	uint64_t granted;

	*ret_detail = (struct snapshot_detail){ .told = rec->flags & REC_TOLD };
	stack_conn_detail(gs->st, ri, gs->now_us, &ret_detail->stack);
	if (!blk)
		return;
	ret_detail->inflight = blk->app_flags & APP_INFLIGHT;
	if (blk->app_list < ARRAY_SIZE(lists))
		ret_detail->waits = lists[blk->app_list];
	ret_detail->request_ago_us = latency_so_far_us(gs, rec, blk);
	granted = (uint64_t)blk->app_granted_hi << 32 | blk->app_granted_lo;
	if (granted == 0)
		granted = frame_send_limit(rec->snd_off, CONN_HALF_BYTES);
	if (granted > rec->snd_off)
		ret_detail->credit_bytes =
			(uint32_t)min_u64(granted - rec->snd_off, UINT32_MAX);
}

static bool snapshot_conns(const struct groups *gs,
			   const struct snapshot_query *query,
			   struct snapshot *snap)
{
	const struct bitmap *map = &gs->st->sh->rec_map;
	uint32_t limit = min_u32(query->limit, SNAPSHOT_CONNS_MAX);

	if (!query->conns)
		return true;
	limit = min_u32(limit, bitmap_used_count(map));
	snap->conns = calloc((size_t)limit + 1, sizeof(*snap->conns));
	if (!snap->conns)
		return false;
	if (query->conn_id) {
		snap->detail = calloc(1, sizeof(*snap->detail));
		if (!snap->detail)
			return false;
	}
	for (uint32_t ri = bitmap_next_used(map, 0);
	     ri != BITMAP_NONE && snap->n_conns < limit;
	     ri = bitmap_next_used(map, ri + 1))
		if (snapshot_wants(gs, query, ri)) {
			snapshot_conn(gs, ri, &snap->conns[snap->n_conns]);
			snap->conns[snap->n_conns].detail = snap->detail;
			if (snap->detail)
				snapshot_detail(gs, ri, snap->detail);
			snap->n_conns++;
		}
	return true;
}

struct snapshot *snapshot_take(const struct groups *gs,
			       const struct snapshot_query *query)
{
	struct snapshot *snap = calloc(1, sizeof(*snap));

	if (!snap)
		return NULL;
	if (snapshot_totals(gs, snap) && snapshot_groups(gs, snap) &&
	    (!query->latency || snapshot_latency(gs, snap)) &&
	    snapshot_pools(gs, snap) && snapshot_conns(gs, query, snap))
		return snap;
	snapshot_free(snap);
	return NULL;
}
