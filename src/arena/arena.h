/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * arena - the shared memory in which all connection state lives (DESIGN 4).
 */
#ifndef XTCP_ARENA_ARENA_H
#define XTCP_ARENA_ARENA_H

#include <stdint.h>

#include "arena/layout.h"

struct arena {
	struct arena_header *header;
	uint8_t *base; /* == header */
	uint64_t bytes; /* mapped */
	int fd;
};

struct arena_sizes {
	uint32_t workers; /* 1..ARENA_WORKERS_MAX */
	uint32_t max_connections; /* of the whole arena */
	uint64_t rx_bytes; /* receive pools, all */
	uint64_t tx_bytes; /* transmit buffer */
};

/*
 * Make a new, empty arena: a sparse file at path (which must not exist), or a
 * memfd when path is NULL. Keys are drawn from getrandom(2).
 * Returns 0 or a negative errno; on success arena_close() ends it.
 */
int arena_create(struct arena *ret_arena, const char *path,
		 const struct arena_sizes *sizes);

/*
 * Map an arena that a process before us made; fd is taken over on success.
 * Nothing in it is trusted: size, magic, version, layout, boot and the
 * checksum of the header's constants must be right. Returns 0, or a negative
 * errno with *ret_why set to a static text that says what is wrong:
 * -EBADMSG (damaged, truncated, or no arena at all), -EPROTO (another version
 * or layout), -ESTALE (of another boot), or mmap(2)'s.
 * arena_audit() (recover.h) tells of its records.
 */
int arena_adopt(struct arena *ret_arena, int fd, const char **ret_why);

/* In what an arena differs from one that would be made for other sizes. */
enum arena_difference {
	ARENA_DIFFERS_WORKERS = 1 << 0,
	ARENA_DIFFERS_CONNECTIONS = 1 << 1,
	ARENA_DIFFERS_RX = 1 << 2,
	ARENA_DIFFERS_TX = 1 << 3,
};

/*
 * Returns a set of enum arena_difference; with other workers, the rest is
 * compared as if sizes had as many as the arena.
 */
unsigned int arena_compare(const struct arena *arena,
			   const struct arena_sizes *sizes);
/* Records of each worker in an arena for so many connections. */
uint32_t arena_recs_per_shard(uint32_t max_connections, uint32_t workers);

/* Unmap and close; the file stays. Accepts a zeroed arena. */
void arena_close(struct arena *arena);

/* Bytes of the arena that take up memory now. */
uint64_t arena_resident_bytes(const struct arena *arena);

/* Where shard i lies. */
struct shard_layout arena_shard_layout(const struct arena_header *header,
				       uint32_t i);

/* What header->check should be: a hash over all that never changes. */
uint64_t arena_header_check(const struct arena_header *header);

/* A hash over all sizes and offsets of layout.h. */
uint64_t arena_layout_hash(void);

#endif
