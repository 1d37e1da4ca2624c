/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/swarm_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* How many deadlines are looked at together. */
#define CONN_SWEEP 32u

static void *swarm_conns_map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* records are looked up at random: fewer misses of the TLB */
	(void)madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

int swarm_conns_init(struct swarm_conns *c, uint32_t n, uint32_t max_active)
{
	size_t slots = round_up(max_active, CONN_SWEEP);

	*c = (struct swarm_conns){ .n = n, .max_active = max_active };
	c->recs = swarm_conns_map((size_t)n * sizeof(c->recs[0]));
	c->active = calloc(slots, sizeof(c->active[0]));
	c->deadlines_ms = calloc(slots, sizeof(c->deadlines_ms[0]));
	if (c->recs && c->active && c->deadlines_ms)
		return 0;
	swarm_conns_fini(c);
	return -ENOMEM;
}

void swarm_conns_fini(struct swarm_conns *c)
{
	if (c->recs)
		munmap(c->recs, (size_t)c->n * sizeof(c->recs[0]));
	free(c->active);
	free(c->deadlines_ms);
	*c = (struct swarm_conns){ 0 };
}

struct swarm_active *swarm_conns_activate(struct swarm_conns *c, uint32_t index,
					  enum swarm_kind kind,
					  uint64_t sched_ns)
{
	uint32_t entry = c->free;
	struct swarm_active *a;

	assert(index < c->n && c->recs[index].active == 0);
	if (!swarm_conns_has_room(c))
		return NULL;
	if (!entry)
		entry = ++c->high;
	a = &c->active[entry - 1];
	if (c->free)
		c->free = a->index;
	*a = (struct swarm_active){ .sched_ns = sched_ns,
				    .index = index,
				    .kind = (uint8_t)kind };
	c->recs[index].active = entry;
	c->n_active++;
	c->by_kind[kind]++;
	return a;
}

void swarm_conns_rest(struct swarm_conns *c, struct swarm_rec *r)
{
	struct swarm_active *a = swarm_conns_active(c, r);

	if (!a)
		return;
	swarm_conns_set_deadline(c, a, 0);
	c->by_kind[a->kind]--;
	c->n_active--;
	a->kind = SWARM_FREE;
	a->index = c->free;
	c->free = r->active;
	r->active = 0;
}

void swarm_conns_set_kind(struct swarm_conns *c, struct swarm_active *a,
			  enum swarm_kind kind)
{
	c->by_kind[a->kind]--;
	c->by_kind[kind]++;
	a->kind = (uint8_t)kind;
}

void swarm_conns_set_state(struct swarm_conns *c, struct swarm_rec *r,
			   enum swarm_state state)
{
	if (r->state == SWARM_ESTABLISHED)
		c->n_established--;
	if (state == SWARM_ESTABLISHED)
		c->n_established++;
	r->state = (uint8_t)state;
}

/* Whether any of CONN_SWEEP deadlines is over; without branches, for SIMD. */
static bool swarm_conns_any_over(const uint32_t *deadlines_ms, uint32_t now_ms)
{
	uint32_t any = 0;

	for (uint32_t i = 0; i < CONN_SWEEP; i++)
		any |= (uint32_t)(deadlines_ms[i] - 1 < now_ms);
	return any != 0;
}

bool swarm_conns_expired(struct swarm_conns *c, uint32_t now_ms,
			 uint32_t *ret_from, uint32_t *ret_index)
{
	uint32_t i = *ret_from;

	while (i < c->high) {
		if (i % CONN_SWEEP == 0 &&
		    !swarm_conns_any_over(c->deadlines_ms + i, now_ms)) {
			i += CONN_SWEEP;
			continue;
		}
		/* 0, none, is the last to be over */
		if (c->deadlines_ms[i] - 1 < now_ms) {
			c->deadlines_ms[i] = 0;
			*ret_index = c->active[i].index;
			*ret_from = i + 1;
			return true;
		}
		i++;
	}
	return false;
}
