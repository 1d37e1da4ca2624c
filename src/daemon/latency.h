/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * latency - how long requests take, from the client's bytes to the
 * application's acknowledgement, which its reply carries.
 *
 * One request of a connection is timed at a time: from the turn in which bytes
 * of the client came while none was timed, until all that had come by then is
 * acknowledged. So each time is that of a whole request, also of one of many
 * segments; of pipelined requests some are not timed. Waiting for a backend,
 * and being delivered again after one was lost, count. A request in hand when
 * xtcpd died is not timed by the next process.
 *
 * For protocol "stream" a request ends with the first byte of the answer instead.
 *
 * Times are differences of the turns' clock, in microseconds: nothing is asked
 * of the kernel. A mark per block is the process's own memory, so neither
 * record nor block grow.
 */
#ifndef XTCP_DAEMON_LATENCY_H
#define XTCP_DAEMON_LATENCY_H

#include <stdbool.h>
#include <stdint.h>

#include "arena/layout.h"
#include "base/seq.h"

struct backend;
struct group;
struct groups;

/* Of a block whose app_timed is set: the request that is timed. */
struct latency_mark {
	uint32_t since; /* low bits of the time; 0: not known */
	uint32_t upto; /* sequence number after its last byte */
};

/* Bytes of the client came, and are in the block. */
void latency_begin(struct group *g, const struct rec *rec, struct blk *blk);

/* The application acknowledged some, at the backend's word: is it all? */
void latency_end(struct group *g, const struct rec *rec, struct blk *blk,
		 struct backend *b);

/*
 * For protocol "stream", whose bytes are acknowledged as the backend's kernel
 * takes them: when what is timed came, now if nothing was. From then on it is the
 * caller's to time, until the first byte of the answer, by latency_record().
 * blk may be NULL.
 */
uint64_t latency_take_us(struct group *g, const struct rec *rec,
			 struct blk *blk);
void latency_record(struct group *g, struct backend *b, uint64_t since_us);

/* How long what is timed has taken up to now, microseconds; 0: nothing is. */
uint64_t latency_so_far_us(const struct groups *gs, const struct rec *rec,
			   const struct blk *blk);

#endif
