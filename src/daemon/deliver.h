/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * deliver - from the stack's events to frames on a stream.
 */
#ifndef XTCP_DAEMON_DELIVER_H
#define XTCP_DAEMON_DELIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/groups.h"

/* Act upon the events that stack_next_event() reported for record ri. */
void deliver_event(struct groups *gs, uint32_t ri, uint16_t events);

/*
 * Tell a backend all that is due of a connection that has a block; what can't
 * be told now leaves it on a list. at_head: it came from that list's head. An
 * orphan (balance.h) is reset instead.
 * The record may be gone afterwards. Returns whether all was told.
 */
bool deliver_conn(struct group *g, uint32_t ri, bool at_head);

/*
 * Reset a connection whose backend was lost: to the client, as no backend knows
 * it. Its list and its dues are left; the record is gone afterwards.
 */
void deliver_abort(struct group *g, uint32_t ri);

/*
 * The connection was on a list and is not any more. The stack may not have
 * given its block back because of that: have it look again with the flush.
 * The record may be gone.
 */
void deliver_release(struct group *g, uint32_t ri);

/* Serve a list in order, until one must wait on. */
void deliver_list(struct group *g, struct conn_list *list);

/* Tell s, which asked for it, how far it may reply (FRAME_F_SHORT). */
void deliver_grant(struct group *g, uint32_t ri, struct bstream *s);

/* Send EOF for a connection in CLOSE-WAIT that may have no block. -EAGAIN. */
int deliver_eof_again(struct group *g, uint32_t ri);

/*
 * The connection, which is in hand (APP_INFLIGHT) or not, has no unacknowledged
 * request any more, or goes away.
 */
void deliver_inflight_end(struct group *g, const struct rec *rec,
			  struct blk *blk);

/* The stream that it has now has not heard what was granted: begin anew. */
void deliver_forget_granted(struct blk *blk);

/*
 * s has spoken of a connection that is bound to no stream of another backend:
 * it is s's from now on, with what is in hand and what waits.
 */
void deliver_rebind(struct group *g, uint32_t ri, struct bstream *s);

/* Take the connection off the list that it is on, if any. */
void deliver_unlist(struct group *g, const struct rec *rec, struct blk *blk);

/* The connection is about to end by the daemon's call: forget its dues. */
void deliver_end(struct group *g, uint32_t ri);

/* RESET to whoever knows the connection, but `except`; lost without room. */
void deliver_tell_reset(struct group *g, uint32_t ri, int err,
			const struct bstream *except);

#endif
