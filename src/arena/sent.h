/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sent - segments that are sent and not acknowledged: the scoreboard of RFC
 * 6675 and RFC 8985.
 *
 * One struct sent per segment, in two lists of its block: by sequence number,
 * without gaps from snd_una to snd_nxt, and by time of (the latest)
 * transmission. In the second stand those that may still arrive: neither
 * SACKed, nor lost and not yet sent again.
 *
 * All of it is the process's own memory: what stands here can be forgotten
 * at any time, at the price of sending again (RFC 2018 section 8 demands that
 * SACKs are advice). sents_restore() makes one lost segment of a block's
 * whole flight.
 *
 * The slab has room for a segment per transmit chunk and one per block. When
 * the former are used up (very many tiny segments in flight), new segments join
 * their block's last one, until some are acknowledged.
 *
 * Invariants, which sents_check() verifies:
 *  I1  b->sent.sacked_bytes, lost_bytes, rexmit_bytes and n are the sums over
 *      the list; SENT_LOST and SENT_SACKED exclude each other;
 *  I2  SENT_REXMIT stands only with SENT_AGAIN, never with SENT_SACKED;
 *  I3  the list by time is sorted, and complete.
 */
#ifndef XTCP_ARENA_SENT_H
#define XTCP_ARENA_SENT_H

#include <stdbool.h>
#include <stdint.h>

#include "arena/layout.h"
#include "base/bitmap.h"

enum sent_flag {
	SENT_SACKED = 1 << 0, /* the client said that it has it */
	SENT_LOST = 1 << 1, /* presumed lost: to be sent again, or it was */
	SENT_REXMIT = 1 << 2, /* sent again, and that may still arrive */
	SENT_AGAIN = 1 << 3, /* was sent more than once, ever (Karn) */
};

struct sent {
	uint64_t xmit_us; /* latest transmission */
	uint32_t seq, end; /* [seq, end); a FIN counts */
	uint32_t next, prev; /* by sequence number, or NIL */
	uint32_t later, earlier; /* by time; see timed */
	uint32_t owner; /* block */
	uint32_t chunk; /* of the transmit buffer, where seq lies; NIL: look */
	uint8_t flags; /* enum sent_flag */
	uint8_t timed; /* stands in the list by time */
	uint8_t pad[6];
};

_Static_assert(sizeof(struct sent) == 48, "a segment in flight");

struct sents {
	struct sent *items;
	struct bitmap map;
	uint32_t n; /* in all */
	uint32_t reserve; /* of these, only for blocks without any */
	uint32_t touched; /* items below this may hold memory */
};

/* n: segments; reserve: blocks, one each on top. Returns 0 or -ENOMEM. */
int sents_init(struct sents *ss, uint32_t n, uint32_t reserve);
void sents_fini(struct sents *ss);

/* The lists of a block without any. */
#define SENTS_NONE                         \
	((struct blk_sent){ .head = NIL,   \
			    .tail = NIL,   \
			    .oldest = NIL, \
			    .newest = NIL, \
			    .lost_hint = NIL })

static inline uint32_t sent_len(const struct sent *s)
{
	return s->end - s->seq;
}

/*
 * [seq, end) goes out for the first time, at now_us, and follows what is in the
 * list of b (whose number is bi). Returns its number.
 */
uint32_t sents_append(struct sents *ss, struct blk *b, uint32_t bi,
		      uint32_t seq, uint32_t end, uint64_t now_us);

/*
 * The last segment, which must be there, reaches to end now. What it was
 * (lost, sent again), all of it is; it is not SACKed any more.
 */
void sents_grow(struct sents *ss, struct blk *b, uint32_t end, uint64_t now_us);

/* It goes out again. */
void sents_again(struct sents *ss, struct blk *b, uint32_t i, uint64_t now_us);

/*
 * Make two of it, cut at seq, which lies within. Returns false, and changes
 * nothing, when the slab has no room.
 */
bool sents_split(struct sents *ss, struct blk *b, uint32_t i, uint32_t seq);

/* The client has it. */
void sents_sacked(struct sents *ss, struct blk *b, uint32_t i);

/* Presumed lost, whether the first transmission or a later one. */
void sents_lost(struct sents *ss, struct blk *b, uint32_t i);

/* Not lost after all: what waits to be sent again is in flight once more. */
void sents_unlose(struct sents *ss, struct blk *b);

/* RFC 2018 section 8: believe no SACK any more. */
void sents_unsack(struct sents *ss, struct blk *b);

/* The first that is lost and was not sent again since, or NIL. */
uint32_t sents_next_lost(const struct sents *ss, struct blk *b);

/* Take the first out of the list. */
void sents_pop(struct sents *ss, struct blk *b);

/* Drop what the first has before seq, which lies within it. */
void sents_trim(struct sents *ss, struct blk *b, uint32_t seq);

/* Give all of a block's segments back. */
void sents_free(struct sents *ss, struct blk *b);

/*
 * A block from before a crash, its links meaningless: its flight becomes one
 * lost segment.
 */
void sents_restore(struct sents *ss, struct blk *b, uint32_t bi);

/* Bytes that are thought to be on their way: RFC 6675's pipe. */
static inline uint32_t sents_pipe(const struct blk *b)
{
	return b->snd_nxt - b->snd_una - b->sent.sacked_bytes -
	       b->sent.lost_bytes + b->sent.rexmit_bytes;
}

/* NULL, or a text of what is wrong with block bi's lists. */
const char *sents_check(const struct sents *ss, const struct blk *b,
			uint32_t bi);

/* Memory above the highest in use, and the first `keep`, goes to the kernel. */
void sents_trim_memory(struct sents *ss, uint32_t keep);

#endif
