/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * totals - adds up snapshots.
 *
 * Two passes: the first counts what the arrays must hold at most, the second
 * adds each worker's part. Groups and backends are few (hundreds), so finding
 * the one of a name is a walk.
 */
#include "daemon/totals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

static int totals_alloc(struct totals *t, struct snapshot *const *snaps,
			uint32_t n_workers)
{
	uint32_t counters = 0, groups = 0, pools = 0, backends = 0;
	bool latency = false;

	for (uint32_t i = 0; i < n_workers; i++) {
		if (!snaps[i])
			continue;
		counters = max_u32(counters, snaps[i]->n_counters);
		pools = max_u32(pools, snaps[i]->n_pools);
		groups += snaps[i]->n_groups;
		latency |= snaps[i]->latency != NULL;
		backends += snaps[i]->n_backends;
	}
	/* one more each, so that none is an allocation of nothing */
	t->counters = calloc(counters + 1, sizeof(*t->counters));
	t->groups = calloc(groups + 1, sizeof(*t->groups));
	t->pools = calloc(pools + 1, sizeof(*t->pools));
	t->backends = calloc(backends + 1, sizeof(*t->backends));
	t->latency = latency ? calloc(groups + 1, sizeof(*t->latency)) : NULL;
	t->n_counters = counters;
	t->n_pools = pools;
	return t->counters && t->groups && t->pools && t->backends &&
			       (t->latency || !latency)
		       ? 0
		       : -ENOMEM;
}

static void totals_add_group(struct totals *t, const struct snapshot_group *one)
{
	struct snapshot_group *g = NULL;

	for (uint32_t i = 0; i < t->n_groups && !g; i++)
		if (t->groups[i].id == one->id)
			g = &t->groups[i];
	if (!g) {
		g = &t->groups[t->n_groups];
		*g = *one;
		if (one->latency) {
			t->latency[t->n_groups] = *one->latency;
			g->latency = &t->latency[t->n_groups];
		}
		t->n_groups++;
		return;
	}
	if (g->latency && one->latency)
		histogram_merge(&t->latency[g->latency - t->latency],
				one->latency);
	g->connections += one->connections;
	g->half_open += one->half_open;
	g->accepted += one->accepted;
	g->refused += one->refused;
	g->messages_in += one->messages_in;
	g->messages_out += one->messages_out;
	g->bytes_in += one->bytes_in;
	g->bytes_out += one->bytes_out;
	g->waiting += one->waiting;
}

/* Of the workers' views of a backend: the operator's word before up before the rest. */
static int totals_state_rank(const char *state)
{
	if (strcmp(state, "draining") == 0 || strcmp(state, "vacating") == 0)
		return 2;
	/* one that could be reached by some worker is there */
	return strcmp(state, "up") == 0;
}

static void totals_add_backend(struct totals *t,
			       const struct snapshot_backend *one)
{
	struct snapshot_backend *b = NULL;

	for (uint32_t i = 0; i < t->n_backends && !b; i++)
		if (t->backends[i].group == one->group &&
		    strcmp(t->backends[i].name, one->name) == 0)
			b = &t->backends[i];
	if (!b) {
		t->backends[t->n_backends++] = *one;
		return;
	}
	if (totals_state_rank(one->state) > totals_state_rank(b->state))
		b->state = one->state;
	b->streams_up += one->streams_up;
	b->streams_wanted += one->streams_wanted;
	b->inflight += one->inflight;
	b->messages_in += one->messages_in;
	b->messages_out += one->messages_out;
	b->bytes_in += one->bytes_in;
	b->bytes_out += one->bytes_out;
	b->redelivered += one->redelivered;
	b->reconnects += one->reconnects;
	b->opened += one->opened;
	b->failures += one->failures;
	b->requests += one->requests;
	b->request_us += one->request_us;
}

static void totals_add(struct totals *t, const struct snapshot *s)
{
	t->established += s->established;
	t->active += s->active;
	t->half_open += s->half_open;
	t->time_wait += s->time_wait;
	t->memory.records += s->memory.records;
	t->memory.active_blocks += s->memory.active_blocks;
	t->memory.receive_pool_bytes += s->memory.receive_pool_bytes;
	t->memory.transmit_buffer_bytes += s->memory.transmit_buffer_bytes;
	for (uint32_t i = 0; i < s->n_counters; i++)
		t->counters[i] += s->counters[i];
	for (uint32_t i = 0; i < s->n_pools; i++) {
		t->pools[i].used_bytes += s->pools[i].used_bytes;
		t->pools[i].limit_bytes += s->pools[i].limit_bytes;
		t->pools[i].throttled += s->pools[i].throttled;
	}
	for (uint32_t i = 0; i < s->n_groups; i++)
		totals_add_group(t, &s->groups[i]);
	for (uint32_t i = 0; i < s->n_backends; i++)
		totals_add_backend(t, &s->backends[i]);
}

static int totals_group_order(const void *a, const void *b)
{
	const struct snapshot_group *x = a, *y = b;

	return (int)x->id - (int)y->id;
}

static int totals_backend_order(const void *a, const void *b)
{
	const struct snapshot_backend *x = a, *y = b;

	return x->group != y->group ? (int)x->group - (int)y->group
				    : strcmp(x->name, y->name);
}

int totals_init(struct totals *t, struct snapshot *const *snaps,
		uint32_t n_workers)
{
	*t = (struct totals){ 0 };
	if (totals_alloc(t, snaps, n_workers) < 0) {
		totals_fini(t);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n_workers; i++) {
		if (!snaps[i]) {
			t->silent++;
			continue;
		}
		t->answered++;
		totals_add(t, snaps[i]);
	}
	qsort(t->groups, t->n_groups, sizeof(t->groups[0]), totals_group_order);
	qsort(t->backends, t->n_backends, sizeof(t->backends[0]),
	      totals_backend_order);
	return 0;
}

void totals_fini(struct totals *t)
{
	free(t->counters);
	free(t->groups);
	free(t->latency);
	free(t->pools);
	free(t->backends);
	*t = (struct totals){ 0 };
}

static uint64_t totals_pick(const uint64_t *counters, uint32_t n,
			    const char *name)
{
	int i = counter_find(name);

	return i >= 0 && (uint32_t)i < n ? counters[i] : 0;
}

uint64_t totals_counter(const struct totals *t, const char *name)
{
	return totals_pick(t->counters, t->n_counters, name);
}

uint64_t totals_counter_of(const struct snapshot *snap, const char *name)
{
	return totals_pick(snap->counters, snap->n_counters, name);
}

const char *totals_group_name(const struct conf *conf, uint16_t id,
			      char text[TOTALS_NAME_BYTES])
{
	const struct conf_group *g = conf_group_of(conf, id);

	if (g)
		return g->name;
	snprintf(text, TOTALS_NAME_BYTES, "#%u", id);
	return text;
}

const char *totals_pool_name(const struct conf *conf, uint32_t index,
			     char text[TOTALS_NAME_BYTES])
{
	const struct conf_pool *pool = conf_pool_of(conf, index);

	if (pool)
		return pool->name;
	snprintf(text, TOTALS_NAME_BYTES, "#%u", index);
	return text;
}

uint64_t totals_process_resident_bytes(void)
{
	unsigned long long total, resident = 0;
	FILE *fp = fopen("/proc/self/statm", "re");
	long page = sysconf(_SC_PAGESIZE);

	if (!fp)
		return 0;
	if (fscanf(fp, "%llu %llu", &total, &resident) != 2)
		resident = 0;
	fclose(fp);
	return resident * (uint64_t)(page > 0 ? page : 0);
}
