/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * registry_plan - bring a configuration into force, whole or not at all.
 *
 * Theory of operation
 *
 *	registry_plan_new()     who keeps a number, who gets one, who goes:
 *	                        noted in the plan and in the new configuration;
 *	                        memory, places in the mailboxes
 *	registry_plan_commit()  the arena's header, the registry, the workers
 *
 * Everything in force stays as it is until the second step, which cannot fail.
 * In between the daemon does what may fail elsewhere (reload.c).
 *
 * A group keeps its number if its name, its port and its backends' protocol are
 * the same: with another port or protocol it is another group, as records can't
 * follow it there. Pools and
 * addresses are found by name alone. An address that still ends is taken into
 * force again with its old number (registry.c, I3).
 *
 * The first plan after a restart also tells the workers of what came with the
 * arena: applications' own groups, and orphans.
 */
#include "daemon/registry_plan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "daemon/registry_change.h"
#include "stack/cc.h"

struct registry_plan {
	struct registry *reg;
	struct conf *conf;
	conf_report report;
	void *arg;
	struct registry_change *change;
	bool taken[REGISTRY_OWN_GROUP_FIRST]; /* by a group of conf */
	char pools[REGISTRY_NO_POOL][CONF_NAME_MAX]; /* as will be */
	uint64_t vips;
	struct stack_own own;
	uint64_t pool_bytes, own_bytes_max;
};

__attribute__((format(printf, 3, 4))) static int
plan_fail(const struct registry_plan *p, int err, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	p->report(p->arg, text);
	return err;
}

/* --- pools -------------------------------------------------------------- */

/* The pool's number, or that of a free one; -1. */
static int plan_pool_number(const struct registry_plan *p, const char *name)
{
	int found = -1;

	for (int i = REGISTRY_NO_POOL - 1; i >= 0; i--) {
		if (strcmp(p->reg->pools[i], name) == 0)
			return i;
		if (!p->reg->pools[i][0] && !p->pools[i][0])
			found = i;
	}
	return found;
}

static int plan_pools(struct registry_plan *p)
{
	for (uint32_t i = 0; i < p->conf->n_pools; i++) {
		struct conf_pool *pool = &p->conf->pools[i];
		int number = plan_pool_number(p, pool->name);

		if (number < 0)
			return plan_fail(
				p, -ENOSPC,
				"pool %s: no number is free: remove pools first, then add others",
				pool->name);
		pool->number = (uint16_t)number;
		snprintf(p->pools[number], CONF_NAME_MAX, "%s", pool->name);
	}
	return 0;
}

/*
 * Receive buffer: what the arena has must do for all pools. After a restart it
 * may be an older one that has less than is configured: then pools have to make
 * do with it, but none grows any more.
 */
static int plan_room(struct registry_plan *p)
{
	const struct arena_header *header = p->reg->header;
	uint64_t all = (uint64_t)header->rx_chunks_per_shard * CHUNK_BYTES *
		       header->workers;
	uint64_t own = registry_own_bytes_max(p->conf), sum;
	bool grows;

	for (uint32_t i = 0; i < p->conf->n_pools; i++)
		p->pool_bytes += p->conf->pools[i].receive_buffer_bytes;
	p->own_bytes_max =
		min_u64(own, all > p->pool_bytes ? all - p->pool_bytes : 0);
	sum = p->pool_bytes + p->reg->own_bytes;
	grows = p->reg->applied && p->pool_bytes > p->reg->pool_bytes;
	if (sum <= all || (p->reg->applied && !grows))
		return 0;
	return plan_fail(
		p, grows ? -ENOSPC : 0,
		"receive-buffer: %llu bytes in all pools, with %llu of applications' own: "
		"the arena has room for %llu; for more stop xtcpd, then start it",
		(unsigned long long)sum, (unsigned long long)p->reg->own_bytes,
		(unsigned long long)all);
}

/* --- addresses ---------------------------------------------------------- */

/* The address' number, or a free one; -1. */
static int plan_vip_number(const struct registry_plan *p,
			   const struct conf_ip *ip)
{
	const struct arena_vip *vips = p->reg->header->vips;
	int found = -1;

	for (int i = ARENA_VIPS_MAX - 1; i >= 0; i--) {
		if (vips[i].family == ip->family &&
		    memcmp(vips[i].bytes, ip->bytes,
			   ip->family == 4 ? 4 : 16) == 0)
			return i;
		if (!vips[i].family && !(p->vips >> i & 1))
			found = i;
	}
	return found;
}

static int plan_vips(struct registry_plan *p)
{
	struct conf_tun *tun = &p->conf->tun;

	for (uint32_t i = 0; i < tun->n_vips; i++) {
		int number = plan_vip_number(p, &tun->vips[i]);

		if (number < 0)
			return plan_fail(
				p, -ENOSPC,
				"vip: no number is free: connections of removed addresses still "
				"end; try again in some seconds");
		tun->vip_numbers[i] = (uint8_t)number;
		p->vips |= UINT64_C(1) << number;
	}
	return 0;
}

static int plan_own_order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* By the numbers of their addresses; one may be there for several interfaces. */
static void plan_own(struct registry_plan *p)
{
	const struct conf_tun *tun = &p->conf->tun;
	struct stack_own *own = &p->own;

	static_assert((int)STACK_OWN_MAX == (int)CONF_OWN_MAX, "all fit");
	for (uint32_t i = 0; i < tun->n_own; i++) {
		int at = conf_find_vip(tun, &tun->own[i].ip);

		assert(at >= 0);
		own->vips |= UINT64_C(1) << tun->vip_numbers[at];
		own->ports[own->n++] =
			stack_own_port(tun->vip_numbers[at], tun->own[i].port);
	}
	qsort(own->ports, own->n, sizeof(own->ports[0]), plan_own_order);
}

/* Does any port go, of an address that stays? */
static bool plan_own_gone(const struct registry_plan *p)
{
	const struct stack_own *was = &p->reg->own;

	for (uint32_t i = 0; i < was->n; i++)
		if (!stack_own_has(&p->own, (uint8_t)(was->ports[i] >> 16),
				   (uint16_t)was->ports[i]))
			return true;
	return false;
}

/* A group's mask by the numbers of its addresses. */
static uint64_t plan_vip_mask(const struct conf *conf, uint64_t mask)
{
	uint64_t by_number = 0;

	if (mask == UINT64_MAX)
		return mask;
	for (uint32_t i = 0; i < conf->tun.n_vips; i++)
		if (mask >> i & 1)
			by_number |= UINT64_C(1) << conf->tun.vip_numbers[i];
	return by_number;
}

/* --- groups ------------------------------------------------------------- */

static bool plan_is_conf(const struct registry_group *rg)
{
	return rg && rg->state == ARENA_GROUP_USED && !rg->own;
}

/* A group that is there keeps its number. */
static bool plan_keep_number(struct registry_plan *p, struct conf_group *cg)
{
	for (uint16_t i = 1; i < REGISTRY_OWN_GROUP_FIRST; i++) {
		const struct registry_group *rg = p->reg->groups[i];

		if (!plan_is_conf(rg) || rg->port != cg->port ||
		    rg->protocol != cg->protocol ||
		    strcmp(rg->name, cg->name) != 0)
			continue;
		cg->id = i;
		p->taken[i] = true;
		return true;
	}
	return false;
}

static int plan_new_number(struct registry_plan *p, struct conf_group *cg)
{
	for (uint16_t i = 1; i < REGISTRY_OWN_GROUP_FIRST; i++) {
		const struct registry_group *rg;

		if (p->taken[i])
			continue;
		rg = registry_group_get(p->reg, i);
		if (!rg)
			return plan_fail(p, -ENOMEM, "not enough memory");
		if (rg->state != ARENA_GROUP_FREE)
			continue;
		cg->id = i;
		p->taken[i] = true;
		return 0;
	}
	return plan_fail(
		p, -ENOSPC,
		"group %s: no number is free: connections of removed groups still "
		"end; try again in some seconds",
		cg->name);
}

static int plan_groups(struct registry_plan *p)
{
	struct conf *conf = p->conf;
	int err = 0;

	for (uint32_t i = 0; i < conf->n_groups; i++)
		if (!plan_keep_number(p, &conf->groups[i]))
			conf->groups[i].id = 0;
	for (uint32_t i = 0; i < conf->n_groups && !err; i++)
		if (conf->groups[i].id == 0)
			err = plan_new_number(p, &conf->groups[i]);
	return err;
}

static void plan_setup(const struct conf *conf, const struct conf_group *cg,
		       struct registry_group *rg, struct group_setup *ret_setup)
{
	*ret_setup = (struct group_setup){
		.stack = {
			.id = cg->id,
			.port = cg->port,
			.pool = conf->pools[cg->pool].number,
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
			.vip_mask = plan_vip_mask(conf, cg->vip_mask),
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
		.backend_timeout_us = cg->backend_timeout_ms * USEC_PER_MSEC,
		.protocol = cg->protocol,
		.backends = cg->backends,
		.n_backends = cg->n_backends,
	};
	snprintf(ret_setup->name, sizeof(ret_setup->name), "%s", cg->name);
}

/* A place for the connections of a group that is not there any more. */
static void plan_setup_orphan(struct registry_group *rg,
			      struct group_setup *ret_setup)
{
	registry_own_setup(rg, ret_setup);
	ret_setup->stack.pool = REGISTRY_NO_POOL;
	ret_setup->stack.draining = true;
}

/* --- the change --------------------------------------------------------- */

/* Is it there, and not in the configuration any more? */
static bool plan_goes(const struct registry_plan *p, uint32_t id)
{
	return id < REGISTRY_OWN_GROUP_FIRST && !p->taken[id] &&
	       plan_is_conf(p->reg->groups[id]);
}

static int plan_change_groups(struct registry_plan *p)
{
	const struct conf *conf = p->conf;
	struct group_setup setup;
	int err = 0;

	for (uint32_t i = 0; i < conf->n_groups && !err; i++) {
		struct registry_group *rg = p->reg->groups[conf->groups[i].id];

		plan_setup(conf, &conf->groups[i], rg, &setup);
		err = registry_change_add(
			p->change, &setup,
			rg->adopted || rg->state == ARENA_GROUP_FREE);
	}
	for (uint32_t i = 1; i < STACK_GROUPS_MAX && !err; i++) {
		struct registry_group *rg = p->reg->groups[i];

		if (rg && rg->adopted && (rg->orphan || plan_goes(p, i))) {
			plan_setup_orphan(rg, &setup);
			err = registry_change_add(p->change, &setup, true);
		} else if (rg && rg->adopted && rg->own) {
			registry_own_setup(rg, &setup);
			err = registry_change_add(p->change, &setup, true);
			registry_own_pool(
				rg, rg->pool_bytes,
				&p->change->pools[p->change->n_pools++]);
		} else if (plan_goes(p, i)) {
			p->change->removed[p->change->n_removed++] = rg;
		}
	}
	return err;
}

static void plan_change_pools(struct registry_plan *p)
{
	struct registry_change *change = p->change;

	for (uint32_t i = 0; i < p->conf->n_pools; i++) {
		const struct conf_pool *pool = &p->conf->pools[i];

		change->pools[change->n_pools++] = (struct registry_pool){
			.number = pool->number,
			.bytes = pool->receive_buffer_bytes,
			.high = pool->throttle_high,
			.low = pool->throttle_low,
		};
	}
	for (uint16_t i = 0; i < REGISTRY_NO_POOL; i++)
		if (p->reg->pools[i][0] && !p->pools[i][0])
			change->pools[change->n_pools++] =
				(struct registry_pool){ .number = i };
}

static int plan_change(struct registry_plan *p,
		       const struct stack_limits *limits)
{
	struct registry_change *change = registry_change_new(
		p->reg, STACK_POOLS_MAX, STACK_GROUPS_MAX, STACK_GROUPS_MAX);
	int err;

	if (!change)
		return plan_fail(p, -ENOMEM, "not enough memory");
	p->change = change;
	change->set_vips = true;
	change->vips = p->vips;
	change->vips_gone = p->reg->vips & ~p->vips;
	change->own = p->own;
	change->own_gone = plan_own_gone(p);
	change->set_limits = limits != NULL;
	if (limits)
		change->limits = *limits;
	plan_change_pools(p);
	err = plan_change_groups(p);
	if (!err)
		err = registry_change_prepare(change);
	if (err == -EAGAIN)
		return plan_fail(p, err,
				 "a worker is too far behind: try again");
	return err < 0 ? plan_fail(p, err, "not enough memory") : 0;
}

int registry_plan_new(struct registry_plan **ret_plan, struct registry *reg,
		      struct conf *conf, const struct stack_limits *limits,
		      conf_report report, void *arg)
{
	struct registry_plan *p = calloc(1, sizeof(*p));
	int err;

	if (!p) {
		report(arg, "not enough memory");
		return -ENOMEM;
	}
	p->reg = reg;
	p->conf = conf;
	p->report = report;
	p->arg = arg;
	registry_reap(reg);
	err = plan_room(p);
	if (!err)
		err = plan_pools(p);
	if (!err)
		err = plan_vips(p);
	if (!err)
		plan_own(p);
	if (!err)
		err = plan_groups(p);
	if (!err)
		err = plan_change(p, limits);
	if (err < 0) {
		registry_plan_free(p);
		return err;
	}
	*ret_plan = p;
	return 0;
}

void registry_plan_free(struct registry_plan *p)
{
	if (!p)
		return;
	registry_change_free(p->change);
	free(p);
}

/* --- doing it ----------------------------------------------------------- */

/* The bytes first: a family says that they are there. */
static void plan_commit_vips(struct registry_plan *p)
{
	const struct conf_tun *tun = &p->conf->tun;
	struct registry *reg = p->reg;

	for (uint32_t i = 0; i < tun->n_vips; i++) {
		struct arena_vip *vip = &reg->header->vips[tun->vip_numbers[i]];

		if (vip->family)
			continue;
		memcpy(vip->bytes, tun->vips[i].bytes, sizeof(vip->bytes));
		__atomic_store_n(&vip->family, tun->vips[i].family,
				 __ATOMIC_RELEASE);
	}
	reg->vips_ending = (reg->vips_ending | reg->vips) & ~p->vips;
	reg->vips_orphan &= ~p->vips;
	reg->vips_asked &= ~p->vips;
	reg->vips = p->vips;
	reg->own = p->own;
}

static void plan_commit_group(struct registry *reg, const struct conf_group *cg)
{
	struct registry_group *rg = reg->groups[cg->id];

	if (rg->state == ARENA_GROUP_FREE) {
		snprintf(rg->name, sizeof(rg->name), "%s", cg->name);
		rg->port = cg->port;
		rg->own = false;
		rg->protocol = (uint8_t)cg->protocol;
		rg->state = ARENA_GROUP_USED;
		registry_group_store(reg, rg);
	}
	rg->priority = cg->priority;
	rg->n_backends = cg->n_backends;
}

static void plan_commit_groups(struct registry_plan *p)
{
	struct registry *reg = p->reg;

	for (uint32_t i = 1; i < STACK_GROUPS_MAX; i++) {
		struct registry_group *rg = reg->groups[i];

		if (!rg)
			continue;
		if (plan_goes(p, i)) {
			rg->orphan = rg->adopted;
			rg->state = ARENA_GROUP_ENDING;
		}
		if (rg->state == ARENA_GROUP_ENDING)
			registry_group_store(reg, rg);
		rg->adopted = false;
	}
	for (uint32_t i = 0; i < p->conf->n_groups; i++)
		plan_commit_group(reg, &p->conf->groups[i]);
}

void registry_plan_commit(struct registry_plan *p)
{
	plan_commit_vips(p);
	plan_commit_groups(p);
	memcpy(p->reg->pools, p->pools, sizeof(p->pools));
	p->reg->pool_bytes = p->pool_bytes;
	p->reg->own_bytes_max = p->own_bytes_max;
	p->reg->applied = true;
	registry_change_send(p->change);
	free(p);
}

static void plan_log(void *arg, const char *line)
{
	(void)arg;
	log_warn("%s", line);
}

int registry_apply(struct registry *reg, struct conf *conf)
{
	struct registry_plan *plan;
	int err = registry_plan_new(&plan, reg, conf, NULL, plan_log, NULL);

	if (!err)
		registry_plan_commit(plan);
	return err;
}
