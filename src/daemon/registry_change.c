/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * registry_change - what all workers are to do in one turn each.
 *
 * The change itself is shared by all workers and freed by the last one; what a
 * worker takes for itself (memory for new groups) comes with its own mail.
 */
#include "daemon/registry_change.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

struct registry_mail {
	struct mail mail;
	struct registry_change *change;
	struct groups_room rooms[]; /* one for each setup */
};

struct registry_change *registry_change_new(struct registry *reg,
					    uint32_t pools, uint32_t removed,
					    uint32_t setups)
{
	struct registry_change *change = calloc(1, sizeof(*change));

	if (!change)
		return NULL;
	change->reg = reg;
	/* one more each, so that none is an allocation of nothing */
	change->pools = calloc(pools + 1, sizeof(*change->pools));
	change->removed = calloc(removed + 1, sizeof(struct registry_group *));
	change->setups = calloc(setups + 1, sizeof(*change->setups));
	if (change->pools && change->removed && change->setups)
		return change;
	registry_change_free(change);
	return NULL;
}

int registry_change_add(struct registry_change *change,
			const struct group_setup *setup, bool fresh)
{
	size_t bytes = setup->n_backends * sizeof(*setup->backends);
	struct conf_backend *backends = calloc(1, bytes + 1);

	if (!backends)
		return -ENOMEM;
	if (bytes > 0)
		memcpy(backends, setup->backends, bytes);
	change->setups[change->n_setups] =
		(struct registry_setup){ *setup, fresh };
	change->setups[change->n_setups++].setup.backends = backends;
	return 0;
}

static void registry_change_drop(struct registry_change *change)
{
	for (uint32_t i = 0; i < change->n_setups; i++)
		free((void *)(uintptr_t)change->setups[i].setup.backends);
	free(change->pools);
	free(change->removed);
	free(change->setups);
	free(change);
}

static void registry_mail_free(struct registry_mail *rm)
{
	for (uint32_t i = 0; i < rm->change->n_setups; i++)
		groups_room_free(&rm->rooms[i]);
	free(rm);
}

void registry_change_free(struct registry_change *change)
{
	if (!change)
		return;
	for (uint32_t i = 0; i < change->n_mails; i++) {
		mailbox_unreserve(&change->reg->workers[i]->box);
		registry_mail_free(change->mails[i]);
	}
	registry_change_drop(change);
}

/* --- on the worker ------------------------------------------------------ */

/* The pools that are there, or those that are not any more. */
static void registry_run_pools(const struct registry_change *change,
			       struct worker *w, bool there)
{
	for (uint32_t i = 0; i < change->n_pools; i++) {
		const struct registry_pool *pool = &change->pools[i];

		if ((pool->bytes > 0) == there)
			stack_pool_set(w->st, pool->number,
				       pool->bytes / change->reg->n_workers,
				       pool->high, pool->low);
	}
}

static void registry_run_setups(struct registry_mail *rm, struct worker *w)
{
	const struct registry_change *change = rm->change;

	for (uint32_t i = 0; i < change->n_setups; i++) {
		const struct group_setup *setup = &change->setups[i].setup;
		int err = groups_set(&w->gs, setup, &rm->rooms[i]);

		if (err < 0)
			log_error("worker %u: group %s: %s", w->setup.index,
				  setup->name, strerror(-err));
	}
}

static void registry_on_mail(struct mail *mail, void *receiver)
{
	struct registry_mail *rm =
		container_of(mail, struct registry_mail, mail);
	struct registry_change *change = rm->change;
	struct worker *w = receiver;

	if (change->set_vips)
		groups_vips_set(&w->gs, change->vips, change->vips_gone,
				&change->own, change->own_gone);
	if (change->set_limits)
		stack_limits_set(w->st, &change->limits);
	registry_run_pools(change, w, true);
	for (uint32_t i = 0; i < change->n_removed; i++)
		groups_remove(&w->gs, change->removed[i]->id);
	registry_run_setups(rm, w);
	registry_run_pools(change, w, false);
	/* Only now may main take a number for free. */
	for (uint32_t i = 0; i < change->n_removed; i++)
		atomic_fetch_sub(&change->removed[i]->telling, 1);
	registry_mail_free(rm);
	if (atomic_fetch_sub(&change->refs, 1) == 1)
		registry_change_drop(change);
}

/* --- on the main thread ------------------------------------------------- */

static int registry_mail_fill(struct registry_mail *rm)
{
	const struct registry_change *change = rm->change;
	uint32_t n_recs = change->reg->header->recs_per_shard;
	bool sources = change->reg->sources;

	for (uint32_t i = 0; i < change->n_setups; i++) {
		const struct registry_setup *rs = &change->setups[i];
		bool first = rs->setup.stack.max_per_source && !sources;
		int err = 0;

		if (rs->fresh || first || rs->setup.n_backends > 0)
			err = groups_room_new(&rm->rooms[i],
					      rs->setup.n_backends, n_recs,
					      first);
		if (err < 0)
			return err;
		sources |= first;
	}
	return 0;
}

static int registry_mail_new(struct registry_change *change, uint32_t i)
{
	struct registry_mail *rm = calloc(
		1, sizeof(*rm) + change->n_setups * sizeof(rm->rooms[0]));
	int err;

	if (!rm)
		return -ENOMEM;
	rm->mail.run = registry_on_mail;
	rm->change = change;
	err = registry_mail_fill(rm);
	if (!err)
		err = mailbox_reserve(&change->reg->workers[i]->box);
	if (err < 0) {
		registry_mail_free(rm);
		return err;
	}
	change->mails[change->n_mails++] = rm;
	return 0;
}

int registry_change_prepare(struct registry_change *change)
{
	int err = 0;

	for (uint32_t i = 0; i < change->reg->n_workers && !err; i++)
		err = registry_mail_new(change, i);
	return err;
}

void registry_change_send(struct registry_change *change)
{
	struct registry *reg = change->reg;
	uint32_t n = change->n_mails;

	for (uint32_t i = 0; i < change->n_setups; i++)
		reg->sources |=
			change->setups[i].setup.stack.max_per_source > 0;
	for (uint32_t i = 0; i < change->n_removed; i++)
		atomic_fetch_add(&change->removed[i]->telling, n);
	atomic_store(&change->refs, n);
	for (uint32_t i = 0; i < n; i++) {
		struct registry_mail *rm = change->mails[i];
		int err =
			mailbox_post_reserved(&reg->workers[i]->box, &rm->mail);

		/* Workers are closed only when nothing changes any more. */
		assert(err == 0);
	}
}
