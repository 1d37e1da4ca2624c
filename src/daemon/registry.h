/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * registry - which pools, groups and addresses there are, as the main thread
 * knows it, and telling the workers of them.
 *
 * A configured group is known by its name, and has a number for as long as it
 * lives; records name it by that. Numbers are kept in the arena's header, so
 * that a restart finds the group of a record again (arena_header.groups).
 * What an application brings itself (its own pool and group, ATTACH with
 * FRAME_ATTACH_OWN_POOL) is numbered from the top down.
 */
#ifndef XTCP_DAEMON_REGISTRY_H
#define XTCP_DAEMON_REGISTRY_H

#include <stdatomic.h>
#include <stdint.h>

#include "daemon/conf.h"
#include "daemon/worker.h"

/* A pool that an application brings has at least so much. */
#define REGISTRY_OWN_POOL_MIN (64u * 1024u)
/* The last numbers are for applications' own groups, and as many pools. */
#define REGISTRY_OWN_MAX 128u
#define REGISTRY_OWN_GROUP_FIRST (STACK_GROUPS_MAX - REGISTRY_OWN_MAX)
#define REGISTRY_OWN_POOL_FIRST (STACK_POOLS_MAX - REGISTRY_OWN_MAX)
/* The pool of groups that are only kept until their connections have ended. */
#define REGISTRY_NO_POOL (REGISTRY_OWN_POOL_FIRST - 1)

/* One group; never freed while workers run, so that its counts stay valid. */
struct registry_group {
	uint16_t id, port;
	char name[CONF_NAME_MAX];
	uint8_t state; /* enum arena_group_state */
	bool own; /* an application's, else configured */
	uint8_t protocol; /* of its backends, enum conf_protocol */
	bool adopted; /* from the arena, and the workers were not told of it */
	bool orphan; /* adopted, not in the configuration: to be removed */
	int32_t priority;
	uint32_t n_backends;
	uint64_t instance; /* own: whose */
	uint64_t pool_bytes; /* own */
	uint64_t empty_since_us; /* own: without streams since, or 0 */
	_Atomic uint32_t
		connections; /* records that name it, over all workers */
	_Atomic uint32_t streams; /* attached ones, over all workers; own only */
	_Atomic uint32_t telling; /* workers that have yet to remove it */
};

struct registry {
	struct worker *const *workers; /* borrowed, as is the header */
	uint32_t n_workers;
	struct arena_header *header;
	uint64_t own_bytes, own_bytes_max;
	uint64_t pool_bytes; /* of the configured pools */
	bool applied; /* there is a configuration in force */
	bool sources; /* the workers were told of a max_per_source */
	struct registry_group *groups[STACK_GROUPS_MAX];
	/* Configured pools by number; "": free. */
	char pools[REGISTRY_NO_POOL][CONF_NAME_MAX];
	/* Addresses by number: in force; removed, but records may name them. */
	uint64_t vips, vips_ending;
	struct stack_own own; /* of the addresses in force */
	bool own_adopted; /* connections at ports that went meanwhile may be there */
	uint64_t vips_orphan; /* of the latter, adopted: the workers don't know */
	uint64_t vips_asked; /* the workers are looking for these */
	_Atomic uint64_t vips_named; /* and found records with these */
	_Atomic uint32_t vips_asking; /* workers that have not answered */
};

/* Bytes of receive buffer that applications' own pools may have in all. */
uint64_t registry_own_bytes_max(const struct conf *conf);

/*
 * header: of a new arena, or of one that was adopted: then its groups are
 * known. Returns 0 or -ENOMEM (registry_fini() in any case).
 */
int registry_init(struct registry *reg, struct worker *const *workers,
		  uint32_t n_workers, struct arena_header *header);
void registry_fini(struct registry *reg);

/* registry_plan.h has what brings a configuration into force. */

/*
 * Every worker has recovered its connections: end those whose group or
 * address is not in the configuration any more. Called again it does what could
 * not be done (a worker was too far behind), if anything.
 */
void registry_recovered(struct registry *reg);

/*
 * The group that an application which asks for the port should serve: among
 * those without a configured backend first, and of equals the one of the
 * highest priority. None whose backends are plain streams. NULL: none has the
 * port.
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

/*
 * Every few seconds: remove own groups that had no stream for a minute, and
 * see which numbers are free.
 */
void registry_tick(struct registry *reg, uint64_t now_us);

/* --- for registry_plan.c ------------------------------------------------ */

/* Numbers that no record names any more, and no worker may give to one. */
void registry_reap(struct registry *reg);

/* The entry of a number, made when there is none; NULL without memory. */
struct registry_group *registry_group_get(struct registry *reg, uint32_t id);

/* Note in the arena what rg is (I1). */
void registry_group_store(struct registry *reg,
			  const struct registry_group *rg);

/* What the workers are told of an own group, and the number of its pool. */
void registry_own_setup(struct registry_group *rg,
			struct group_setup *ret_setup);
struct registry_pool;
void registry_own_pool(const struct registry_group *rg, uint64_t bytes,
		       struct registry_pool *ret_pool);

#endif
