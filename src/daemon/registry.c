/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * registry - numbers of groups, pools and addresses, and who has them.
 *
 * Theory of operation
 *
 * Workers and records know a group and an address by number; people know them
 * by name. The registry gives the numbers, and the arena's header keeps them:
 *
 *	FREE --a group comes--> USED --it is removed--> ENDING --reap--> FREE
 *
 * A number is FREE again when no record names it and every worker knows that it
 * is gone, so that none can give it to a record. rg->connections, which the
 * stacks count, says the first and rg->telling the second. Addresses have no
 * such count: the workers are asked to look through their records
 * (registry_ask_vips()), which happens after a removal alone.
 *
 * After a restart (registry_init() on an arena with something in it) groups
 * are found again by name and port, own ones wait for their application, which
 * says who it is (HELLO.instance). What the configuration does not have any
 * more is an orphan: workers get the group without backends and closed to new
 * connections, so that recovery has a place for its connections; these end
 * once it is through (registry_recovered()).
 *
 * Pools have numbers, too, but no record names one: they are the process's.
 *
 * What the workers are told is one struct registry_change for each step, which
 * reaches all of them or none.
 *
 * Invariants
 *  I1  what a record may name is in the arena's header before a worker is told
 *      of it, and until the number is free; of an entry, `state` is written last.
 *  I2  of two entries with the same name and port, one is ENDING.
 *  I3  an address has one number, also while it ends.
 */
#include "daemon/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "daemon/registry_change.h"
#include "stack/cc.h"

#define REGISTRY_OWN_BYTES_MIN (256 * MIB)
#define REGISTRY_EMPTY_US (60 * USEC_PER_SEC)
#define REGISTRY_OWN_THROTTLE_HIGH 90u
#define REGISTRY_OWN_THROTTLE_LOW 75u
#define REGISTRY_USER_TIMEOUT_US (15 * USEC_PER_MIN)

static_assert(STACK_GROUPS_MAX == ARENA_GROUPS_MAX, "a number is an entry");
static_assert((int)CONF_NAME_MAX == (int)ARENA_NAME_MAX, "names fit");
static_assert((int)CONF_VIPS_MAX == (int)ARENA_VIPS_MAX, "addresses fit");
static_assert(REGISTRY_OWN_GROUP_FIRST > 3 * CONF_GROUPS_MAX,
	      "room for the configured groups, and for those that end");
static_assert(REGISTRY_NO_POOL > CONF_POOLS_MAX,
	      "room for the configured pools");

uint64_t registry_own_bytes_max(const struct conf *conf)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < conf->n_pools; i++)
		sum += conf->pools[i].receive_buffer_bytes;
	return max_u64(sum, REGISTRY_OWN_BYTES_MIN);
}

/* --- the table ---------------------------------------------------------- */

struct registry_group *registry_group_get(struct registry *reg, uint32_t id)
{
	struct registry_group *rg = reg->groups[id];

	if (rg)
		return rg;
	rg = calloc(1, sizeof(*rg));
	if (rg)
		rg->id = (uint16_t)id;
	reg->groups[id] = rg;
	return rg;
}

void registry_group_store(struct registry *reg, const struct registry_group *rg)
{
	struct arena_group *ag = &reg->header->groups[rg->id];
	uint8_t state = __atomic_load_n(&ag->state, __ATOMIC_RELAXED);

	if (state == ARENA_GROUP_FREE) {
		memset(ag, 0, sizeof(*ag));
		snprintf(ag->name, sizeof(ag->name), "%s", rg->name);
		ag->port = rg->port;
		ag->own = rg->own;
		ag->protocol = rg->protocol;
		ag->instance = rg->instance;
		ag->pool_bytes = rg->pool_bytes;
	}
	__atomic_store_n(&ag->state, rg->state, __ATOMIC_RELEASE);
}

/* Of two groups of the same name and port the first one counts (I2). */
static bool registry_has_twin(const struct registry *reg,
			      const struct registry_group *rg)
{
	for (uint32_t i = 1; i < rg->id; i++) {
		const struct registry_group *other = reg->groups[i];

		if (other && other->state == ARENA_GROUP_USED &&
		    other->own == rg->own && other->port == rg->port &&
		    strcmp(other->name, rg->name) == 0)
			return true;
	}
	return false;
}

/* An entry of an arena that was adopted; nonsense is no group. */
static int registry_adopt(struct registry *reg, uint32_t id)
{
	struct arena_group *ag = &reg->header->groups[id];
	bool own = id >= REGISTRY_OWN_GROUP_FIRST;
	struct registry_group *rg;

	if (ag->state == ARENA_GROUP_FREE)
		return 0;
	if (ag->state > ARENA_GROUP_ENDING || ag->port == 0 ||
	    !memchr(ag->name, '\0', sizeof(ag->name)) || ag->own != own ||
	    ag->protocol > CONF_PROTOCOL_STREAM) {
		log_warn("arena: the entry of group %u is no group's: dropped",
			 id);
		ag->state = ARENA_GROUP_FREE;
		return 0;
	}
	rg = registry_group_get(reg, id);
	if (!rg)
		return -ENOMEM;
	memcpy(rg->name, ag->name, sizeof(rg->name));
	rg->port = ag->port;
	rg->own = own;
	rg->protocol = ag->protocol;
	rg->instance = ag->instance;
	rg->pool_bytes = ag->pool_bytes;
	rg->adopted = true;
	rg->state = ag->state;
	if (rg->state == ARENA_GROUP_USED && registry_has_twin(reg, rg))
		rg->state = ARENA_GROUP_ENDING;
	rg->orphan = rg->state == ARENA_GROUP_ENDING;
	if (own && !rg->orphan)
		reg->own_bytes += rg->pool_bytes;
	return 0;
}

int registry_init(struct registry *reg, struct worker *const *workers,
		  uint32_t n_workers, struct arena_header *header)
{
	int err = 0;

	*reg = (struct registry){
		.workers = workers,
		.n_workers = n_workers,
		.header = header,
	};
	for (uint32_t id = 1; id < STACK_GROUPS_MAX && !err; id++)
		err = registry_adopt(reg, id);
	for (uint32_t i = 0; i < ARENA_VIPS_MAX; i++)
		if (header->vips[i].family)
			reg->vips_orphan |= UINT64_C(1) << i;
	reg->vips_ending = reg->vips_orphan;
	reg->own_adopted = reg->vips_orphan != 0;
	return err;
}

void registry_fini(struct registry *reg)
{
	for (uint32_t i = 0; i < STACK_GROUPS_MAX; i++)
		free(reg->groups[i]);
}

/* --- numbers that are free again ---------------------------------------- */

static void registry_reap_vips(struct registry *reg)
{
	uint64_t gone;

	if (!reg->vips_asked || atomic_load(&reg->vips_asking) > 0)
		return;
	gone = reg->vips_asked & reg->vips_ending &
	       ~atomic_load(&reg->vips_named);
	reg->vips_asked = 0;
	reg->vips_ending &= ~gone;
	for (uint32_t i = 0; i < ARENA_VIPS_MAX; i++)
		if (gone >> i & 1)
			__atomic_store_n(&reg->header->vips[i].family, 0,
					 __ATOMIC_RELEASE);
}

void registry_reap(struct registry *reg)
{
	for (uint32_t i = 1; i < STACK_GROUPS_MAX; i++) {
		struct registry_group *rg = reg->groups[i];

		if (!rg || rg->state != ARENA_GROUP_ENDING || rg->orphan ||
		    rg->adopted || atomic_load(&rg->telling) > 0 ||
		    atomic_load(&rg->connections) > 0)
			continue;
		rg->state = ARENA_GROUP_FREE;
		registry_group_store(reg, rg);
	}
	registry_reap_vips(reg);
}

/* The question whether records name an address, on its way to a worker. */
struct registry_vips_mail {
	struct mail mail;
	struct registry *reg;
	uint64_t vips;
};

static void registry_on_vips(struct mail *mail, void *receiver)
{
	struct registry_vips_mail *vm =
		container_of(mail, struct registry_vips_mail, mail);
	const struct shard *sh = ((struct worker *)receiver)->st->sh;
	uint64_t named = 0;

	for (uint32_t ri = bitmap_next_used(&sh->rec_map, 0);
	     ri != BITMAP_NONE && named != vm->vips;
	     ri = bitmap_next_used(&sh->rec_map, ri + 1))
		named |= UINT64_C(1) << sh->recs[ri].vip & vm->vips;
	atomic_fetch_or(&vm->reg->vips_named, named);
	atomic_fetch_sub(&vm->reg->vips_asking, 1);
	free(vm);
}

/* A worker that can't be asked is as one that found records with all of them. */
static void registry_ask_vips(struct registry *reg)
{
	uint64_t vips = reg->vips_ending & ~reg->vips_orphan;

	if (!vips || reg->vips_asked)
		return;
	reg->vips_asked = vips;
	atomic_store(&reg->vips_named, 0);
	atomic_store(&reg->vips_asking, reg->n_workers);
	for (uint32_t i = 0; i < reg->n_workers; i++) {
		struct registry_vips_mail *vm = calloc(1, sizeof(*vm));

		if (vm) {
			vm->mail.run = registry_on_vips;
			vm->reg = reg;
			vm->vips = vips;
			if (worker_post(reg->workers[i], &vm->mail) == 0)
				continue;
			free(vm);
		}
		atomic_fetch_or(&reg->vips_named, vips);
		atomic_fetch_sub(&reg->vips_asking, 1);
	}
}

/* --- after a restart ---------------------------------------------------- */

void registry_recovered(struct registry *reg)
{
	struct registry_change *change;
	uint32_t n = 0;

	for (uint32_t i = 1; i < STACK_GROUPS_MAX; i++)
		n += reg->groups[i] && reg->groups[i]->orphan;
	if (!reg->applied || (n == 0 && !reg->vips_orphan && !reg->own_adopted))
		return;
	change = registry_change_new(reg, 0, n, 0);
	if (!change)
		return;
	change->set_vips = reg->vips_orphan || reg->own_adopted;
	change->vips = reg->vips;
	change->own = reg->own;
	change->own_gone = reg->own_adopted;
	change->vips_gone = reg->vips_orphan;
	for (uint32_t i = 1; i < STACK_GROUPS_MAX; i++)
		if (reg->groups[i] && reg->groups[i]->orphan)
			change->removed[change->n_removed++] = reg->groups[i];
	if (registry_change_prepare(change) < 0) {
		registry_change_free(change);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		log_info("group %s, port %u, is not in the configuration any "
			 "more: its connections end",
			 change->removed[i]->name, change->removed[i]->port);
		change->removed[i]->orphan = false;
	}
	reg->vips_orphan = 0;
	reg->own_adopted = false;
	registry_change_send(change);
}

/* --- applications ------------------------------------------------------- */

static bool registry_better(const struct registry_group *a,
			    const struct registry_group *b)
{
	if ((a->n_backends == 0) != (b->n_backends == 0))
		return a->n_backends == 0;
	return a->priority > b->priority;
}

struct registry_group *registry_find(const struct registry *reg, uint16_t port)
{
	struct registry_group *best = NULL;

	for (uint32_t i = 1; i < STACK_GROUPS_MAX; i++) {
		struct registry_group *rg = reg->groups[i];

		if (rg && rg->state == ARENA_GROUP_USED && rg->port == port &&
		    rg->protocol == CONF_PROTOCOL_FRAMES &&
		    (!best || registry_better(rg, best)))
			best = rg;
	}
	return best;
}

/* A number for a new own group. */
static struct registry_group *registry_own_new(struct registry *reg)
{
	registry_reap(reg);
	for (uint32_t i = STACK_GROUPS_MAX - 1; i >= REGISTRY_OWN_GROUP_FIRST;
	     i--) {
		struct registry_group *rg = registry_group_get(reg, i);

		if (!rg || rg->state == ARENA_GROUP_FREE)
			return rg;
	}
	return NULL;
}

static uint16_t registry_own_pool_number(const struct registry_group *rg)
{
	return (uint16_t)(REGISTRY_OWN_POOL_FIRST +
			  (rg->id - REGISTRY_OWN_GROUP_FIRST));
}

void registry_own_pool(const struct registry_group *rg, uint64_t bytes,
		       struct registry_pool *ret_pool)
{
	*ret_pool = (struct registry_pool){
		.number = registry_own_pool_number(rg),
		.bytes = bytes,
		.high = REGISTRY_OWN_THROTTLE_HIGH,
		.low = REGISTRY_OWN_THROTTLE_LOW,
	};
}

void registry_own_setup(struct registry_group *rg,
			struct group_setup *ret_setup)
{
	*ret_setup = (struct group_setup){
		.stack = {
			.id = rg->id,
			.port = rg->port,
			.pool = registry_own_pool_number(rg),
			.accept = STACK_ACCEPT_AUTO,
			.ack = STACK_ACK_DEFERRED,
			.congestion = CC_CUBIC,
			.ecn = true,
			.vip_mask = UINT64_MAX,
			.shared_count = &rg->connections,
			.ack_window_bytes = STACK_ACK_WINDOW_AUTO,
			.user_timeout_us = REGISTRY_USER_TIMEOUT_US,
		},
		.balance = CONF_BALANCE_STICKY,
		.on_loss = CONF_LOSS_REDELIVER,
		.stream_count = &rg->streams,
	};
	snprintf(ret_setup->name, sizeof(ret_setup->name), "%s", rg->name);
}

/* A group that comes (with its pool), or that goes. */
static int registry_own_change(struct registry *reg, struct registry_group *rg,
			       bool comes, struct registry_change **ret_change)
{
	struct registry_change *change = registry_change_new(reg, 1, 1, 1);
	struct group_setup setup;
	int err = change ? 0 : -ENOMEM;

	if (!err) {
		registry_own_pool(rg, comes ? rg->pool_bytes : 0,
				  &change->pools[change->n_pools++]);
		registry_own_setup(rg, &setup);
		if (comes)
			err = registry_change_add(change, &setup, true);
		else
			change->removed[change->n_removed++] = rg;
	}
	if (!err)
		err = registry_change_prepare(change);
	if (err < 0) {
		registry_change_free(change);
		return err;
	}
	*ret_change = change;
	return 0;
}

/* When the workers can't be told it is for the next tick. */
static void registry_own_end(struct registry *reg, struct registry_group *rg)
{
	struct registry_change *change;

	if (registry_own_change(reg, rg, false, &change) < 0)
		return;
	rg->state = ARENA_GROUP_ENDING;
	registry_group_store(reg, rg);
	reg->own_bytes -= rg->pool_bytes;
	registry_change_send(change);
	log_info("port %u: the application's own group is removed", rg->port);
}

static int registry_own_add(struct registry *reg, uint16_t port,
			    uint64_t pool_bytes, uint64_t instance,
			    struct registry_group **ret_group)
{
	struct registry_group *rg = registry_own_new(reg);
	struct registry_change *change;
	int err;

	if (!rg)
		return -ENOSPC;
	rg->port = port;
	rg->own = true;
	rg->instance = instance;
	rg->pool_bytes = pool_bytes;
	rg->empty_since_us = 0;
	snprintf(rg->name, sizeof(rg->name), "own-%u", port);
	err = registry_own_change(reg, rg, true, &change);
	if (err < 0)
		return err;
	rg->state = ARENA_GROUP_USED;
	registry_group_store(reg, rg);
	reg->own_bytes += pool_bytes;
	registry_change_send(change);
	*ret_group = rg;
	log_info(
		"port %u: a group of its own for an application, %llu bytes of receive buffer",
		port, (unsigned long long)pool_bytes);
	return 0;
}

int registry_own(struct registry *reg, uint16_t port, uint64_t pool_bytes,
		 uint64_t instance, struct registry_group **ret_group)
{
	struct registry_group *rg = registry_find(reg, port);

	if (rg && rg->own && rg->instance == instance) {
		*ret_group = rg;
		return 0;
	}
	if (rg)
		return -EADDRINUSE;
	if (port == 0 || pool_bytes < REGISTRY_OWN_POOL_MIN)
		return -EINVAL;
	if (reg->own_bytes > reg->own_bytes_max ||
	    pool_bytes > reg->own_bytes_max - reg->own_bytes)
		return -EDQUOT;
	return registry_own_add(reg, port, pool_bytes, instance, ret_group);
}

static void registry_tick_own(struct registry *reg, struct registry_group *rg,
			      uint64_t now_us)
{
	if (atomic_load(&rg->streams) > 0)
		rg->empty_since_us = 0;
	else if (rg->empty_since_us == 0)
		rg->empty_since_us = now_us;
	else if (now_us - rg->empty_since_us >= REGISTRY_EMPTY_US)
		registry_own_end(reg, rg);
}

void registry_tick(struct registry *reg, uint64_t now_us)
{
	for (uint32_t i = REGISTRY_OWN_GROUP_FIRST; i < STACK_GROUPS_MAX; i++) {
		struct registry_group *rg = reg->groups[i];

		if (rg && rg->own && rg->state == ARENA_GROUP_USED)
			registry_tick_own(reg, rg, now_us);
	}
	registry_reap(reg);
	registry_ask_vips(reg);
}
