/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * registry_plan - bring a configuration into force, whole or not at all.
 */
#ifndef XTCP_DAEMON_REGISTRY_PLAN_H
#define XTCP_DAEMON_REGISTRY_PLAN_H

#include "daemon/registry.h"

struct registry_plan;

/*
 * Prepare everything for conf to come into force, and note the numbers of its
 * groups, pools and addresses in it (conf is borrowed until the plan's end).
 * Nothing that anybody sees changes. limits: the workers' from then on, or
 * NULL. The first configuration is taken even if its pools have more room
 * than the arena; a later one isn't.
 * Returns 0 and a plan, which ends by one of the functions below; or, after
 * reporting why: -ENOSPC (arena too small, or no number is free), -EAGAIN
 * (a worker is too far behind), -ENOMEM.
 */
int registry_plan_new(struct registry_plan **ret_plan, struct registry *reg,
		      struct conf *conf, const struct stack_limits *limits,
		      conf_report report, void *arg);

/* Do it: cannot fail. */
void registry_plan_commit(struct registry_plan *plan);

/* Don't. Accepts NULL. */
void registry_plan_free(struct registry_plan *plan);

/* Both at once, for the start; what is wrong is logged. */
int registry_apply(struct registry *reg, struct conf *conf);

#endif
