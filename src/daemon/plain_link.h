/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plain_link - one connection to a backend of protocol "stream", for one
 * client's connection.
 *
 * Functions that may end the link say so; it is freed at once then.
 */
#ifndef XTCP_DAEMON_PLAIN_LINK_H
#define XTCP_DAEMON_PLAIN_LINK_H

#include "daemon/groups.h"
#include "daemon/plain_proxy.h"

/*
 * rec.slot of a connection in a group of this protocol: the number of the
 * backend that it has or had last, and whether bytes have passed over the link
 * that it has (REC_TOLD): then it can't go on without that one.
 */
#define PLAIN_NUMBER_MAX 0x7fu
#define PLAIN_PASSED 0x80u

enum plain_state {
	PLAIN_CONNECTING, /* connect(2) is under way */
	PLAIN_UP,
	/* It broke; the client is reset once it has what came before. */
	PLAIN_ENDING,
};

struct plain_link {
	struct group *group;
	struct backend *backend;
	struct plain_link *hash_next;
	struct plain_link *newer, *older; /* of the backend, by moved_us */
	uint32_t ri, generation;
	enum plain_state state;
	int fd; /* -1: none */
	struct event *ev_read, *ev_write;
	bool busy; /* the last byte was the client's: an answer is due */
	bool eof_in; /* the backend has sent its last byte */
	bool eof_out; /* the client's end was passed on */
	bool stalled; /* not read, as the client doesn't take what is there */
	uint64_t tried[2]; /* backends that could not be reached, by number */
	uint64_t asked_us; /* busy: when that came which is to be answered */
	uint64_t moved_us; /* when the last byte went either way, or it began */
	uint8_t header[PLAIN_PROXY_MAX];
	uint8_t header_bytes, header_sent;
	/* What was read and could not be given to the stack; heap or NULL. */
	uint8_t *held;
	uint32_t held_bytes, held_done;
};

/* --- plain_links.c: which there are ------------------------------------- */

/* The connection's link, or NULL. Frees one that an older connection left. */
struct plain_link *plain_link_find(struct groups *gs, uint32_t ri);

/*
 * Is its connection over without a word? The stack tells of each end of what is
 * REC_TOLD, but for the orderly one: both sides have closed, all is acknowledged,
 * and yet there may be bytes that the backend has not taken (ack = "immediate").
 */
bool plain_link_is_stale(const struct plain_link *l);

/*
 * A link for a connection that has none; not connected yet. NULL without
 * memory.
 */
struct plain_link *plain_link_new(struct group *g, uint32_t ri);

/*
 * Close it, with a RST if reset is set; the connection, if it is there still,
 * has none any more. A backend that is to be gone may go with it.
 */
void plain_link_free(struct plain_link *l, bool reset);

/*
 * Close its socket, if it has one. reset: the backend must not take this for
 * the client's orderly end.
 */
void plain_link_hang_up(struct plain_link *l, bool reset);

/*
 * It is, or is no longer, a link of this backend. A backend that is to be gone
 * may go with its last one.
 */
void plain_link_join(struct plain_link *l, struct backend *b);
void plain_link_leave(struct plain_link *l);

/* A byte went one way or the other; whose turn it is now. */
void plain_link_moved(struct plain_link *l);
void plain_link_set_busy(struct plain_link *l, bool busy);

/* It is not read for now, or again. */
void plain_link_set_stalled(struct plain_link *l, bool stalled);

static inline struct rec *plain_link_rec(const struct plain_link *l)
{
	return &l->group->gs->st->sh->recs[l->ri];
}

/* --- plain_link.c: what it does ----------------------------------------- */

/*
 * Connect to the backend. Returns 0: it is PLAIN_UP, or connecting;
 * -EAGAIN: not now, as this host has no descriptor, no port or no room in the
 * backlog; another negative errno: the backend can't be reached.
 */
int plain_link_connect(struct plain_link *l, struct backend *b);

/* It is connected: accept the client if it waits for that, and go on. May end. */
void plain_link_up(struct plain_link *l);

/* Write what there is of the client's, then its end. May end. */
void plain_link_push(struct plain_link *l);

/* The client has taken something: read on, or end what is ending. May end. */
void plain_link_resume(struct plain_link *l);

/* Nothing is under way in either direction, nor an answer due. */
bool plain_link_is_quiet(const struct plain_link *l);

/* Quiet for stream-idle-close: close it, unless there is something to read. */
void plain_link_close_idle(struct plain_link *l);

/*
 * It broke: the client is reset, after what it was already sent. If no byte has
 * passed, another backend is tried. May end.
 */
void plain_link_break(struct plain_link *l, int err);

/* --- plain.c ------------------------------------------------------------ */

/*
 * Connect the link to a backend that was not tried. Returns 0; or -EAGAIN or
 * -ECONNREFUSED: there is none with room, or none at all.
 */
int plain_dial(struct plain_link *l);

/*
 * The link could not be connected: it is freed, and another backend is tried,
 * waited for, or the client reset.
 */
void plain_redial(struct plain_link *l, int err);

#endif
