/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plain - backends of protocol "stream": servers that know nothing of xtcpd.
 *
 * Each client connection that is active has a connection of its own to a
 * backend, a link (plain_link.h). This is what the other modules of the groups
 * layer call where a group has such backends instead of framed streams.
 */
#ifndef XTCP_DAEMON_PLAIN_H
#define XTCP_DAEMON_PLAIN_H

#include "daemon/groups.h"

/*
 * All that is due of a connection that has a block (deliver.c): opens its link,
 * writes to it, passes on the client's end. Returns 0, and the record may be gone;
 * or -EAGAIN: no backend has room for another link.
 */
int plain_dues(struct group *g, uint32_t ri);

/* The client acknowledged something: its backend may be read on. */
void plain_acked(struct group *g, uint32_t ri);

/* The connection is about to end by the daemon's call: its link is reset. */
void plain_end(struct group *g, uint32_t ri);

/* The group goes: all its links are reset; its connections are not touched. */
void plain_end_all(struct group *g);

/*
 * After stack_recover(): the links of the process before this one are gone. A
 * connection of which bytes had passed over its link is reset.
 */
void plain_recovered(struct group *g, uint32_t ri);

/* Time-outs, quiet links, and those who wait for something that nobody tells. */
void plain_tick(struct group *g);

/* Take over the settings; max_links: of this worker, 0: no limit. */
void plain_backend_set(struct backend *b, const struct conf_backend *conf,
		       uint32_t max_links);

/* The backend that the connection has a link to, or NULL. */
const struct backend *plain_backend_of(const struct group *g, uint32_t ri);

/* There are no links any more. */
void plain_links_fini(struct plain_links *links);

#endif
