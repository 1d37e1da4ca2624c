/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loss - what becomes of the connections of a stream that is lost.
 */
#ifndef XTCP_DAEMON_LOSS_H
#define XTCP_DAEMON_LOSS_H

#include "daemon/groups.h"

/*
 * s is lost and has left its slot: its unacknowledged requests become
 * undelivered again and wait for another stream, or their connections are
 * reset. With "reset-all" so are, when its backend has no other stream, all
 * that the backend knew, the idle ones by and by (loss_sweep).
 */
void loss_stream(struct group *g, struct bstream *s);

/*
 * After stack_recover(): all streams of the process before this one are lost.
 * What was in hand is delivered again or, with on-backend-loss = "reset",
 * reset. For a while a connection waits for the backend that it had; with
 * "reset-all" it is reset after that, but at once if something is in hand and
 * the backend is one that we dial, as that may be another process by now.
 */
void loss_recovered(struct groups *gs);

/* The backends that had connections before have had their time to come back. */
void loss_grace_tick(struct group *g);

/*
 * Has s a request in hand to which it could reply now? False when each of
 * them waits for its client to take replies (frame.h, Credit). Walks all blocks.
 */
bool loss_is_backends_turn(const struct group *g, const struct bstream *s);

/*
 * One slice of the search for ends of stream that must be told anew, and for
 * connections that go with their backend.
 */
void loss_sweep(struct group *g);

/*
 * Make a slot number that was used before usable for another stream: no
 * record names it any more.
 */
void loss_clear_slot(struct group *g, uint32_t slot);

#endif
