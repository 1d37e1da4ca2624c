/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "stack/cc.h"

#define REGISTRY_OWN_BYTES_MIN (256 * MIB)
#define REGISTRY_EMPTY_US (60 * USEC_PER_SEC)
/* The last numbers are for applications' own groups, and as many pools. */
#define REGISTRY_OWN_MAX 128u
#define REGISTRY_OWN_GROUP_FIRST (STACK_GROUPS_MAX - REGISTRY_OWN_MAX)
#define REGISTRY_OWN_POOL_FIRST (STACK_POOLS_MAX - REGISTRY_OWN_MAX)
#define REGISTRY_OWN_THROTTLE_HIGH 90u
#define REGISTRY_OWN_THROTTLE_LOW 75u
#define REGISTRY_USER_TIMEOUT_US (15 * USEC_PER_MIN)

/* A pool's size, on its way to a worker. */
struct registry_pool_mail {
	struct mail mail;
	uint16_t index;
	uint64_t bytes;
	uint32_t high, low;
};

/* A group's settings, likewise; id alone: remove it. */
struct registry_group_mail {
	struct mail mail;
	bool remove;
	struct group_setup setup;
	struct conf_backend backends[];
};

uint64_t registry_own_bytes_max(const struct conf *conf)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < conf->n_pools; i++)
		sum += conf->pools[i].receive_buffer_bytes;
	return max_u64(sum, REGISTRY_OWN_BYTES_MIN);
}

void registry_init(struct registry *reg, struct worker *const *workers,
		   uint32_t n_workers, const struct conf *conf)
{
	*reg = (struct registry){
		.workers = workers,
		.n_workers = n_workers,
		.own_bytes_max = registry_own_bytes_max(conf),
	};
}

void registry_fini(struct registry *reg)
{
	for (uint32_t i = 0; i < STACK_GROUPS_MAX; i++)
		free(reg->groups[i]);
}

static void registry_on_pool(struct mail *mail, void *receiver)
{
	struct registry_pool_mail *pm =
		container_of(mail, struct registry_pool_mail, mail);
	struct worker *w = receiver;

	stack_pool_set(w->st, pm->index, pm->bytes, pm->high, pm->low);
	free(pm);
}

static int registry_send_pool(struct registry *reg, uint32_t index,
			      uint64_t bytes, uint32_t high, uint32_t low)
{
	for (uint32_t i = 0; i < reg->n_workers; i++) {
		struct registry_pool_mail *pm = calloc(1, sizeof(*pm));
		int err;

		if (!pm)
			return -ENOMEM;
		pm->mail.run = registry_on_pool;
		pm->index = (uint16_t)index;
		pm->bytes = bytes / reg->n_workers;
		pm->high = high;
		pm->low = low;
		err = worker_post(reg->workers[i], &pm->mail);
		if (err < 0) {
			free(pm);
			return err;
		}
	}
	return 0;
}

static void registry_on_group(struct mail *mail, void *receiver)
{
	struct registry_group_mail *gm =
		container_of(mail, struct registry_group_mail, mail);
	struct worker *w = receiver;
	int err = 0;

	if (gm->remove)
		groups_remove(&w->gs, gm->setup.stack.id);
	else
		err = groups_set(&w->gs, &gm->setup);
	if (err < 0)
		log_error("worker %u: group %s: %s", w->setup.index,
			  gm->setup.name, strerror(-err));
	free(gm);
}

/* setup == NULL: remove the group. */
static int registry_send_group(struct registry *reg, uint16_t id,
			       const struct group_setup *setup)
{
	uint32_t n_backends = setup ? setup->n_backends : 0;

	for (uint32_t i = 0; i < reg->n_workers; i++) {
		struct registry_group_mail *gm = calloc(
			1, sizeof(*gm) + n_backends * sizeof(gm->backends[0]));
		int err;

		if (!gm)
			return -ENOMEM;
		gm->mail.run = registry_on_group;
		gm->remove = !setup;
		if (setup)
			gm->setup = *setup;
		if (n_backends > 0)
			memcpy(gm->backends, setup->backends,
			       n_backends * sizeof(gm->backends[0]));
		gm->setup.stack.id = id;
		gm->setup.backends = gm->backends;
		err = worker_post(reg->workers[i], &gm->mail);
		if (err < 0) {
			free(gm);
			return err;
		}
	}
	return 0;
}

static struct registry_group *registry_group_get(struct registry *reg,
						 uint32_t id)
{
	struct registry_group *rg = reg->groups[id];

	if (!rg) {
		rg = calloc(1, sizeof(*rg));
		reg->groups[id] = rg;
	}
	if (rg)
		rg->id = (uint16_t)id;
	return rg;
}

static void registry_setup(const struct conf_group *cg,
			   struct registry_group *rg,
			   struct group_setup *ret_setup)
{
	*ret_setup = (struct group_setup){
		.stack = {
			.id = rg->id,
			.port = cg->port,
			.pool = (uint16_t)cg->pool,
			.accept = cg->accept == CONF_ACCEPT_APPLICATION ? STACK_ACCEPT_APPLICATION
									: STACK_ACCEPT_AUTO,
			.ack = cg->ack == CONF_ACK_DEFERRED    ? STACK_ACK_DEFERRED
			       : cg->ack == CONF_ACK_DELIVERED ? STACK_ACK_DELIVERED
							       : STACK_ACK_IMMEDIATE,
			.congestion = cg->congestion == CONF_CONGESTION_RENO ? CC_RENO
									     : CC_CUBIC,
			.ecn = cg->ecn,
			.announce = cg->announce,
			.priority = cg->priority,
			.vip_mask = cg->vip_mask,
			.max_connections = cg->max_connections,
			.max_per_source = cg->max_per_source,
			.shared_count = &rg->connections,
			.ack_window_bytes = cg->ack_window_bytes == CONF_ACK_WINDOW_AUTO
						    ? STACK_ACK_WINDOW_AUTO
						    : cg->ack_window_bytes,
			.ack_deadline_us = cg->ack_deadline_ms * USEC_PER_MSEC,
			.accept_timeout_us = cg->accept_timeout_ms * USEC_PER_MSEC,
			.idle_timeout_us = cg->idle_timeout_ms * USEC_PER_MSEC,
			.keepalive_us = cg->keepalive_ms * USEC_PER_MSEC,
			.user_timeout_us = cg->user_timeout_ms * USEC_PER_MSEC,
		},
		.balance = cg->balance,
		.on_loss = cg->on_backend_loss,
		.backends = cg->backends,
		.n_backends = cg->n_backends,
	};
	snprintf(ret_setup->name, sizeof(ret_setup->name), "%s", cg->name);
}

static int registry_apply_group(struct registry *reg,
				const struct conf_group *cg, uint32_t id)
{
	struct registry_group *rg = registry_group_get(reg, id);
	struct group_setup setup;

	if (!rg)
		return -ENOMEM;
	rg->used = true;
	rg->port = cg->port;
	rg->priority = cg->priority;
	rg->n_backends = cg->n_backends;
	registry_setup(cg, rg, &setup);
	return registry_send_group(reg, rg->id, &setup);
}

int registry_apply(struct registry *reg, const struct conf *conf)
{
	int err = 0;

	for (uint32_t i = 0; i < conf->n_pools && !err; i++)
		err = registry_send_pool(reg, i,
					 conf->pools[i].receive_buffer_bytes,
					 conf->pools[i].throttle_high,
					 conf->pools[i].throttle_low);
	for (uint32_t i = 0; i < conf->n_groups && !err; i++)
		err = registry_apply_group(reg, &conf->groups[i], i + 1);
	return err;
}

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

		if (rg && rg->used && rg->port == port &&
		    (!best || registry_better(rg, best)))
			best = rg;
	}
	return best;
}

static_assert(REGISTRY_OWN_GROUP_FIRST > CONF_GROUPS_MAX,
	      "room for the configured groups");
static_assert(REGISTRY_OWN_POOL_FIRST >= CONF_POOLS_MAX,
	      "room for the configured pools");

/*
 * A number for a new own group. One that was used for another port is not free:
 * the stack keeps a number's port for the sake of what is left of its
 * connections.
 */
static struct registry_group *registry_own_new(struct registry *reg,
					       uint16_t port)
{
	uint32_t free_id = 0;

	for (uint32_t i = STACK_GROUPS_MAX - 1; i >= REGISTRY_OWN_GROUP_FIRST;
	     i--) {
		struct registry_group *rg = reg->groups[i];

		if (rg && !rg->used && rg->port == port)
			return rg;
		if (!rg && free_id == 0)
			free_id = i;
	}
	return free_id ? registry_group_get(reg, free_id) : NULL;
}

static int registry_own_send(struct registry *reg, struct registry_group *rg)
{
	uint32_t pool =
		REGISTRY_OWN_POOL_FIRST + (rg->id - REGISTRY_OWN_GROUP_FIRST);
	struct group_setup setup = {
		.stack = {
			.id = rg->id,
			.port = rg->port,
			.pool = (uint16_t)pool,
			.accept = STACK_ACCEPT_AUTO,
			.ack = STACK_ACK_DEFERRED,
			.congestion = CC_CUBIC,
			.ecn = true,
			.vip_mask = UINT64_MAX,
			.ack_window_bytes = STACK_ACK_WINDOW_AUTO,
			.user_timeout_us = REGISTRY_USER_TIMEOUT_US,
		},
		.balance = CONF_BALANCE_STICKY,
		.on_loss = CONF_LOSS_REDELIVER,
		.stream_count = &rg->streams,
	};
	int err;

	snprintf(setup.name, sizeof(setup.name), "own-%u", rg->port);
	err = registry_send_pool(reg, pool, rg->pool_bytes,
				 REGISTRY_OWN_THROTTLE_HIGH,
				 REGISTRY_OWN_THROTTLE_LOW);
	return err ? err : registry_send_group(reg, rg->id, &setup);
}

/*
 * Have the workers remove a group that nobody finds any more. Both mails may
 * come twice to a worker; when one can't be posted, all is for the next tick.
 */
static void registry_own_end(struct registry *reg, struct registry_group *rg)
{
	uint32_t pool =
		REGISTRY_OWN_POOL_FIRST + (rg->id - REGISTRY_OWN_GROUP_FIRST);

	rg->used = false;
	rg->ending = true;
	if (registry_send_group(reg, rg->id, NULL) < 0 ||
	    registry_send_pool(reg, pool, 0, REGISTRY_OWN_THROTTLE_HIGH,
			       REGISTRY_OWN_THROTTLE_LOW) < 0)
		return;
	rg->ending = false;
	reg->own_bytes -= rg->pool_bytes;
	log_info("port %u: the application's own group is removed", rg->port);
}

int registry_own(struct registry *reg, uint16_t port, uint64_t pool_bytes,
		 uint64_t instance, struct registry_group **ret_group)
{
	struct registry_group *rg = registry_find(reg, port);
	int err;

	if (rg && rg->own && rg->instance == instance) {
		*ret_group = rg;
		return 0;
	}
	if (rg)
		return -EADDRINUSE;
	if (port == 0 || pool_bytes < REGISTRY_OWN_POOL_MIN)
		return -EINVAL;
	if (pool_bytes > reg->own_bytes_max - reg->own_bytes)
		return -EDQUOT;
	rg = registry_own_new(reg, port);
	if (!rg)
		return -ENOSPC;
	if (rg->ending)
		registry_own_end(reg, rg);
	if (rg->ending)
		return -EAGAIN;
	rg->port = port;
	rg->own = true;
	rg->instance = instance;
	rg->pool_bytes = pool_bytes;
	rg->empty_since_us = 0;
	reg->own_bytes += pool_bytes;
	err = registry_own_send(reg, rg);
	if (err < 0) {
		/* Some workers may have it already. */
		rg->ending = true;
		return err;
	}
	rg->used = true;
	*ret_group = rg;
	log_info(
		"port %u: a group of its own for an application, %llu bytes of receive buffer",
		port, (unsigned long long)pool_bytes);
	return 0;
}

void registry_tick(struct registry *reg, uint64_t now_us)
{
	for (uint32_t i = REGISTRY_OWN_GROUP_FIRST; i < STACK_GROUPS_MAX; i++) {
		struct registry_group *rg = reg->groups[i];

		if (rg && rg->ending)
			registry_own_end(reg, rg);
		if (!rg || !rg->used || !rg->own)
			continue;
		if (atomic_load(&rg->streams) > 0)
			rg->empty_since_us = 0;
		else if (rg->empty_since_us == 0)
			rg->empty_since_us = now_us;
		else if (now_us - rg->empty_since_us >= REGISTRY_EMPTY_US)
			registry_own_end(reg, rg);
	}
}
