/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * balance - which stream a connection's bytes go to.
 */
#ifndef XTCP_DAEMON_BALANCE_H
#define XTCP_DAEMON_BALANCE_H

#include <stdbool.h>

#include "daemon/groups.h"

/*
 * The stream for what is due of the connection: by its record when it is
 * bound to one (which may be full), else one with room. NULL: none has room.
 */
struct bstream *balance_route(struct group *g, const struct rec *rec,
			      const struct blk *blk);

/* The stream of this backend with the least in hand; NULL: it has none. */
struct bstream *balance_owner(const struct group *g, uint64_t owner);

/* Has the backend that knew the connection gone (BACKEND_GONE)? */
bool balance_is_orphan(const struct group *g, const struct rec *rec);

/*
 * May the stream be given a request of a connection that has none there, given
 * that its queue has room?
 */
bool balance_takes_more(const struct bstream *s);

#endif
