/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * registry_change - what all workers are to do in one turn each.
 *
 * Made in two steps, so that it reaches all workers or none: what can fail is
 * in registry_change_prepare() (memory, places in the mailboxes), and
 * registry_change_send() can't.
 */
#ifndef XTCP_DAEMON_REGISTRY_CHANGE_H
#define XTCP_DAEMON_REGISTRY_CHANGE_H

#include <stdatomic.h>
#include <stdint.h>

#include "daemon/registry.h"

struct registry_pool {
	uint16_t number;
	uint64_t bytes; /* of all workers; 0: it is not there any more */
	uint32_t high, low; /* per cent */
};

struct registry_setup {
	struct group_setup setup; /* backends: this change's own */
	bool fresh; /* the workers don't have it yet */
};

struct registry_mail;

struct registry_change {
	struct registry *reg;
	_Atomic uint32_t refs; /* workers that still read it */
	struct registry_mail *mails[ARENA_WORKERS_MAX]; /* until they are sent */
	uint32_t n_mails;
	bool set_vips, own_gone, set_limits;
	uint64_t vips, vips_gone; /* as groups_vips_set(), */
	struct stack_own own; /* with this, and own_gone */
	struct stack_limits limits;
	/* Heap, for as many as registry_change_new() was told of. */
	struct registry_pool *pools;
	struct registry_group **removed; /* state: the sender's business */
	struct registry_setup *setups;
	uint32_t n_pools, n_removed, n_setups;
};

/* An empty one with room for so many; NULL without memory. */
struct registry_change *registry_change_new(struct registry *reg,
					    uint32_t pools, uint32_t removed,
					    uint32_t setups);

/* Add a setup, copying it with its backends. Returns 0 or -ENOMEM. */
int registry_change_add(struct registry_change *change,
			const struct group_setup *setup, bool fresh);

/*
 * Everything for sending it. Returns 0, -ENOMEM, or -EAGAIN: a worker is too
 * far behind.
 */
int registry_change_prepare(struct registry_change *change);

/* Have the workers do it. Takes a change that was prepared. */
void registry_change_send(struct registry_change *change);

/* It is not to be. Accepts NULL. */
void registry_change_free(struct registry_change *change);

#endif
