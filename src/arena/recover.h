/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recover - what a process finds in the arena of one that was killed.
 *
 * Theory of operation
 *
 * Nothing is logged and nothing is written twice. A change of the arena is
 * made in such an order that one store, which the machine can't tear, commits
 * it; what was written before that store is not looked at without it, and what
 * is written after it can be derived from it. So a kill between any two
 * instructions undoes the change, or the next process completes it:
 *
 *	change		   committed by		      before it, unseen without
 *	------		   ------------		      -------------------------
 *	new record	   rec.state		      record, block, link to it
 *	record given up	   rec.state = 0
 *	becomes active	   rec.block		      the whole block
 *	at rest again	   rec.block = NIL	      what rests in the record
 *	text received	   chunk.len, or the link     the bytes; the chunk
 *			   to the chunk
 *	a reply, with what blk.ends = {snd_end,	      reply bytes in the queue
 *	it acknowledges	   rcv_app}		      beyond snd_end
 *	client's ACK	   rec.snd_off
 *	client's FIN	   rec.flags REC_FIN_RCVD
 *	our FIN		   blk.flags BLK_FIN_QUEUED
 *	its ACK		   rec.flags REC_FIN_ACKED
 *	connection over	   rec.state = GONE	      (then REC_ENDED, and its block
 *						      comes apart)
 *
 * Derived, whatever the block says of it: rec.rcv_off (from rcv_app),
 * snd_una, rcv_nxt (the end of the chain of chunks), the chains' tails, chunks
 * before rcv_app and snd_una, chunks of the reply beyond snd_end, who owns what,
 * how many records there ever were.
 * A state that lags behind FINs is moved on by the stack (stack_recover()).
 *
 * What others see is written first: snd_nxt, rcv_acked and rcv_adv before the
 * packet that tells of them, rcv_redlv before the frame. If the process dies in
 * between, the packet counts as lost on the way. What only makes things quick
 * (congestion state, RTT, the list of what was in flight, text beyond gaps) is
 * not recovered but begun anew.
 *
 * A chunk or block that is given back is taken out of its chain before its
 * owner is cleared; free maps are the process's own, so nothing can have got it
 * in between.
 *
 * What is found otherwise was not left by a kill: the record is torn. It is
 * dropped, never guessed, and takes nothing of another one's with it.
 */
#ifndef XTCP_ARENA_RECOVER_H
#define XTCP_ARENA_RECOVER_H

#include "arena/shard.h"

/* A record that is about to be dropped; its tuple may be anything. */
typedef void (*shard_torn)(void *ctx, uint32_t ri);

/*
 * Complete or undo what was under way, drop what is torn (after telling of it;
 * torn may be NULL), and derive free maps, index and wheel anew (I2).
 * Returns how many records are in use; 0 also without memory.
 */
uint32_t shard_rebuild(struct shard *sh, uint64_t now_us, shard_torn torn,
		       void *ctx);

/* What arena_audit() found. */
struct arena_audit {
	uint32_t records; /* in use */
	uint32_t torn; /* of these */
};

/*
 * Look at every record in use, change nothing. (shard_rebuild() sees more:
 * what is claimed twice.) An arena in which more is torn than chance explains
 * is damaged as a whole: returns -EBADMSG, else 0.
 */
int arena_audit(const struct arena *arena, struct arena_audit *ret_audit);

#endif
