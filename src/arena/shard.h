/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shard - one worker's part of the arena, with what is derived from it.
 *
 * The arena's half (records, blocks, chunks) is plain data that survives the
 * process; the derived half (free maps, index, wheel) lives in this struct and
 * comes back through shard_rebuild(). Used by one thread alone (I4).
 */
#ifndef XTCP_ARENA_SHARD_H
#define XTCP_ARENA_SHARD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "arena/arena.h"
#include "arena/chunks.h"
#include "arena/index.h"
#include "arena/order.h"
#include "arena/sent.h"
#include "arena/wheel.h"
#include "base/bitmap.h"
#include "base/siphash.h"

/* Items below these were in use when shard_trim() looked. */
struct shard_peaks {
	uint32_t blks, rx, tx, sents;
};

struct shard {
	const struct arena_header *header;
	uint32_t worker;
	uint32_t n_recs;
	/* In the arena. */
	struct rec *recs;
	struct rec6 *recs6;
	struct blk *blks;
	uint64_t *slot_owners; /* of group g's stream s: [g * ARENA_SLOTS + s] */
	struct arena_shard *state;
	/* Derived. */
	uint32_t blks_touched; /* blocks below this may hold memory */
	struct bitmap rec_map;
	struct bitmap blk_map;
	struct index index;
	struct chunks rx;
	struct chunks tx;
	struct sents sents;
	struct wheel wheel;
	uint32_t hand; /* the clock hand: next record to sweep */
	struct shard_peaks peaks; /* since trim_at_us was set */
	uint64_t trim_at_us; /* shard_trim() */
};

/* The parts of a tuple that a connection is known by. */
struct tuple {
	uint8_t remote[16]; /* IPv4: the first four, rest 0 */
	uint16_t remote_port, local_port;
	uint8_t vip;
	bool v6;
};

/*
 * Attach to shard i of a mapped arena and derive what is derived: with an
 * empty arena that is nothing. Returns 0 or -ENOMEM.
 */
int shard_init(struct shard *sh, const struct arena *arena, uint32_t i,
	       uint64_t now_us);
void shard_fini(struct shard *sh);

/* Of tuple_mix(). */
#define TUPLE_MIX_1 UINT32_C(0x85ebca6b)
#define TUPLE_MIX_2 UINT32_C(0xc2b2ae35)

/* Keyed hash of a tuple; the low half is for the index. */
uint64_t tuple_hash(const struct arena_header *header,
		    const struct tuple *tuple);

/*
 * Which of the workers owns a tuple:
 *
 *	sum = k[0] + sum over i < 4 of k[1 + i] * (word i of remote)
 *	      + k[5] * remote_port, modulo 2^64
 *	worker = tuple_mix(sum >> 32) * workers >> 32
 *
 * Words are 32 bits in network byte order; an IPv4 address is the first, the
 * others are 0. The device's steering program (tun_steer.h) computes the same
 * of what stands at fixed places in a packet: so it is not tuple_hash().
 *
 * With uniform 64-bit keys (even ones, too) the upper 33 bits of such a sum are
 * strongly universal, that is pairwise independent: O. Kaser and D. Lemire,
 * "Strongly universal string hashing is fast" (Computer Journal 57, 2014),
 * MULTILINEAR. A bijection of them is so, too. So whatever tuples somebody
 * chooses without knowing the keys, two of them share a worker with probability
 * 1 / workers. It is no PRF: who learns the workers of many tuples could solve
 * for the keys. With them he can have all his connections in one worker, and
 * so overload that; nothing else depends on them.
 */
uint32_t tuple_worker(const struct arena_header *header,
		      const struct tuple *tuple, uint32_t workers);

/* Have fetched what shard_find() will look at; the index slot should be there. */
static inline void shard_prefetch(const struct shard *sh, uint64_t hash)
{
	uint32_t ri = index_guess(&sh->index, (uint32_t)hash);

	if (ri != NIL)
		__builtin_prefetch(&sh->recs[ri], 1);
}

/* Record number by tuple, or NIL. */
uint32_t shard_find(const struct shard *sh, const struct tuple *tuple,
		    uint64_t hash);

/*
 * A record for tuple, zeroed but for its generation (which moved on), its
 * tuple and block NIL, and entered in the index; NIL when none is left. The
 * caller sets the state: until then the record counts as free in a rebuild.
 */
uint32_t shard_rec_new(struct shard *sh, const struct tuple *tuple,
		       uint64_t hash);

/* Give a record (that has no block) back. */
void shard_rec_free(struct shard *sh, uint32_t ri);

void shard_rec_tuple(const struct shard *sh, uint32_t ri,
		     struct tuple *ret_tuple);

/*
 * A zeroed block for record ri, or NIL when none is left. It is the record's
 * once shard_blk_link() was called, after all of it was written.
 */
uint32_t shard_blk_new(struct shard *sh, uint32_t ri);
void shard_blk_link(struct shard *sh, uint32_t bi);

/* Give back the record's block with all its chunks; off the wheel. */
void shard_blk_free(struct shard *sh, uint32_t ri);

/* Both ends of a reply, in one store: see recover.h. */
static inline void blk_commit(struct blk *b, uint32_t rcv_app, uint32_t snd_end)
{
	const struct {
		uint32_t snd_end, rcv_app;
	} ends = { snd_end, rcv_app };
	uint64_t word;

	memcpy(&word, &ends, sizeof(word));
	ARENA_COMMIT(b->ends, word);
}

/*
 * Hand back what a peak has touched: blocks, chunks, segments in flight; to be
 * called now and then. What was in use at one of the calls of the last second
 * stays, as a load that goes up and down needs it again at once. What records
 * have touched stays for good: generations outlive them.
 */
void shard_trim(struct shard *sh, uint64_t now_us);

/*
 * Check every invariant of layout.h over the whole shard: links both ways, no
 * chunk owned twice, free maps and index equal to what the records say.
 * For tests and the simulation. Returns NULL, or a text of what is wrong.
 */
const char *shard_check(const struct shard *sh);

#endif
