/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * registry - which pools and groups there are, as the main thread knows it,
 * and telling the workers of them.
 *
 * Configured groups have the ids that conf.h gives them (index + 1), and
 * configured pools their index. What an application brings itself (its own
 * pool and group, ATTACH with FRAME_ATTACH_OWN_POOL) is numbered from the top
 * down.
 */
#ifndef XTCP_DAEMON_REGISTRY_H
#define XTCP_DAEMON_REGISTRY_H

#include <stdatomic.h>
#include <stdint.h>

#include "daemon/conf.h"
#include "daemon/worker.h"

/* A pool that an application brings has at least so much. */
#define REGISTRY_OWN_POOL_MIN (64u * 1024u)

/* One group; never freed while workers run, so that its counts stay valid. */
struct registry_group {
	uint16_t id, port;
	bool used;
	bool own; /* an application's, else configured */
	bool ending; /* own, not used any more: the workers are still to hear */
	int32_t priority;
	uint32_t n_backends;
	uint64_t instance; /* own: whose */
	uint64_t pool_bytes; /* own */
	uint64_t empty_since_us; /* own: without streams since, or 0 */
	_Atomic uint32_t connections; /* for max-connections, over all workers */
	_Atomic uint32_t streams; /* attached ones, over all workers; own only */
};

struct registry {
	struct worker *const *workers; /* borrowed */
	uint32_t n_workers;
	uint64_t own_bytes, own_bytes_max;
	struct registry_group *groups[STACK_GROUPS_MAX];
};

/* Bytes of receive buffer that applications' own pools may have in all. */
uint64_t registry_own_bytes_max(const struct conf *conf);

void registry_init(struct registry *reg, struct worker *const *workers,
		   uint32_t n_workers, const struct conf *conf);
void registry_fini(struct registry *reg);

/*
 * Tell the workers of all pools and groups of conf: at start, and again after
 * a reload (with the same ids). Returns 0, -ENOMEM or -EAGAIN.
 */
int registry_apply(struct registry *reg, const struct conf *conf);

/*
 * The group that an application which asks for the port should serve: among
 * those without a configured backend first, and of equals the one of the
 * highest priority. NULL: none has the port.
 */
struct registry_group *registry_find(const struct registry *reg, uint16_t port);

/*
 * A group on port with a pool of pool_bytes for the process `instance`, or
 * the one that it has already. Returns 0; -EADDRINUSE: the port has another
 * group; -EDQUOT: too many bytes in such pools; -EAGAIN: a worker is too far
 * behind; -EINVAL, -ENOSPC, -ENOMEM.
 */
int registry_own(struct registry *reg, uint16_t port, uint64_t pool_bytes,
		 uint64_t instance, struct registry_group **ret_group);

/* Every few seconds: remove own groups that had no stream for a minute. */
void registry_tick(struct registry *reg, uint64_t now_us);

#endif
