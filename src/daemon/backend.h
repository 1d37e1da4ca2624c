/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backend - a configured backend that is dialled, or a process that dialled in.
 */
#ifndef XTCP_DAEMON_BACKEND_H
#define XTCP_DAEMON_BACKEND_H

#include <stdbool.h>

#include "daemon/groups.h"

/*
 * The group's backend of this name, made when it is not there, with its
 * settings taken over: an address that changed closes the streams to the
 * old one, and those beyond a smaller number of streams are closed. room: a
 * list of zeroed ones, of which a new one is taken if there are any; or NULL.
 * Plain connections stay until they end by themselves, also to an old address.
 * Returns NULL without memory.
 */
struct backend *backend_set(struct group *g, const struct conf_backend *conf,
			    struct backend **room);

/* The backend of an attached process, made when it is not there; or NULL. */
struct backend *backend_attached(struct group *g, uint64_t instance,
				 uint32_t pid);

/*
 * Lose its streams and be gone, at the latest with the last of them, or of its
 * plain connections, which may go on.
 */
void backend_remove(struct backend *b);

/* Dial what is missing; each stream's tick. */
void backend_tick(struct backend *b);

/* A dialled stream's connect(2) has an outcome. */
void backend_connected(struct bstream *s);

/*
 * s, a stream of its, has ended because of err and is being freed; was_up: it
 * had been attached. b may be freed.
 */
void backend_stream_gone(struct backend *b, const struct bstream *s,
			 bool was_up, int err);

/*
 * Log a warning "group G, backend B: ..." (printf-like); the journal gets the
 * fields XTCP_GROUP and XTCP_BACKEND. The caller limits the rate of what the
 * backend can cause.
 */
__attribute__((format(printf, 2, 3))) void backend_warn(const struct backend *b,
							const char *fmt, ...);

/*
 * A stream was attached. That alone does not end backing off: see
 * backend_is_useful().
 */
void backend_stream_up(struct backend *b);

/*
 * It has processed a request: no need to back off. So who attaches, takes
 * requests and lies about them is dialled more and more seldom.
 */
void backend_is_useful(struct backend *b);

/*
 * An attempt to reach it failed: counted, the first one is said, and it is left
 * alone for a while that grows (retry_at_us).
 */
void backend_dial_failed(struct backend *b, int err);

/* A link of a backend that is to be gone was the last one: then it is. */
void backend_link_gone(struct backend *b);

/* The operator's word. A drain is told to the backend's streams. */
void backend_set_duty(struct backend *b, enum backend_duty duty);

#endif
