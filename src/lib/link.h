/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_LIB_LINK_H
#define XTCP_LIB_LINK_H

/*
 * A link: one framed stream to one worker of xtcpd, over all its
 * reconnections. link.c keeps it connected, link_in.c takes the frames that
 * come, link_out.c makes those that go.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/conn.h"
#include "lib/group.h"
#include "proto/frame.h"
#include "proto/stream.h"

/*
 * The states, and what is allowed in each:
 *
 *	DOWN		no descriptor; due_ms is when to dial (0: never)
 *	CONNECTING	connect() under way	\
 *	HELLO		waits for HELLO		 > due_ms is when to give up
 *	ATTACH		waits for ATTACH(ED)	/
 *	UP		all frames; nothing is due
 *
 * Any state goes to DOWN by link_lost(). Connections, `kept`, `blocked` and
 * `closed` outlive that.
 */
enum link_state {
	LINK_DOWN,
	LINK_CONNECTING,
	LINK_HELLO,
	LINK_ATTACH,
	LINK_UP,
};

/* Payload bytes that a daemon may send us before we grant more. */
#define LINK_CREDIT_BYTES (4u * 1024u * 1024u)
/* Bytes in `out` above which no reply is taken; control frames still are. */
#define LINK_OUT_SOFT (512u * 1024u)
/* Hard bound of `out` and `kept`: never reached by a daemon that reads. */
#define LINK_OUT_MAX (256u * 1024u * 1024u)
/* Ask for confirmation (PING) once so much is not confirmed, and again after
 * each LINK_PING_STEP: what is written in one go is confirmed in parts. */
#define LINK_PING_BYTES (16u * 1024u)
#define LINK_PING_STEP (64u * 1024u)
#define LINK_PINGS_MAX 8u /* a power of two */
/* Corked, write once so much is gathered. */
#define LINK_CORK_BYTES (16u * 1024u)
/* A handshake takes at most this; redialling starts and ends at these. */
#define LINK_HANDSHAKE_MS 5000u
#define LINK_REDIAL_MIN_MS 50u
#define LINK_REDIAL_MAX_MS 2000u
/* A stream that lived for so long starts again with the shortest delay. */
#define LINK_STABLE_MS 2000u
/* Streams of one group: xtcpd has at most 256 workers. */
#define LINKS_MAX 1024u

/* PINGs that are not answered yet, oldest first: what in out each confirms. */
struct link_pings {
	uint64_t pos[LINK_PINGS_MAX];
	uint8_t first, n;
};

struct link {
	struct group *group;
	uint32_t index; /* in group->links; the tag of its descriptor */
	int fd; /* -1 when DOWN */
	enum link_state state;
	int error; /* why it went DOWN, negative errno */
	bool writing; /* EPOLLOUT is on */
	bool was_up; /* connections may refer to it */
	bool resume; /* the daemon keeps the promises of frame.h, Resumption */
	bool resuming; /* until the PONG that ends the resumption */
	bool resumed; /* ... its PING was sent */
	uint16_t worker; /* of the daemon, FRAME_WORKER_ANY before HELLO */
	uint16_t group_id; /* of the daemon, 0 before ATTACH(ED) */
	uint32_t max_payload; /* bytes the daemon takes in a frame */
	uint32_t half; /* H of frame.h, Credit */
	int64_t send_credit; /* payload bytes that we may send */
	uint32_t recv_used; /* payload bytes received and not granted again */
	uint64_t epoch; /* of the ids that our connections have; 0: not told */
	struct link_pings pings;
	uint64_t due_ms; /* see enum link_state; 0: never */
	uint64_t up_ms; /* since when it is UP */
	uint32_t delay_ms; /* of the next redialling */
	uint32_t resync_cd; /* next connection to tell of; 0: done */
	struct frame_reader in;
	struct frame_queue out; /* kept until confirmed if resume */
	struct frame_queue kept; /* unconfirmed frames of a lost stream */
	struct conn_queue blocked; /* wait for room in out */
	struct conn_queue closed; /* CLOSE etc. are not confirmed */
};

extern const struct transport link_transport;

/* --- link.c --- */

/* A DOWN link in slot index of the group, which has it. 0 or -ENOMEM. */
int link_new(struct group *g, uint32_t index, struct link **ret_l);

/* Closes and frees; its slot is NULL afterwards. Accepts NULL. */
void link_free(struct link *l);

/*
 * Begin to connect to the attach socket: CONNECTING or HELLO afterwards, or
 * DOWN with l->error, as link_lost().
 */
void link_dial(struct link *l);

/* Takes the connected descriptor fd, from accept(), in state HELLO. */
void link_adopt(struct link *l, int fd);

/*
 * The stream is gone, for the reason given. Redialling is scheduled. In a
 * listening group a link that was never UP is freed.
 */
void link_lost(struct link *l, int error);

/*
 * Write what can be written. Returns whether the link is still connected (it
 * may be freed if not).
 */
bool link_flush(struct link *l);

/* Sets l->due_ms (see enum link_state) and the group's timer. */
void link_set_due(struct link *l, uint64_t due_ms);

/* Moves a link to an empty slot. */
void link_move(struct link *l, uint32_t index);

/* The address to dial: XTCP_ATTACH or the default. 0 or -EINVAL. */
int link_attach_address(struct sockaddr_storage *ret_ss, socklen_t *ret_len);

/*
 * Takes what XTCP_ATTACH says now for good, as programs there are that clear
 * their environment. Returns 0, or -ENAMETOOLONG: nothing changes.
 */
int link_attach_keep(void);

/* --- link_in.c --- */

/* Our HELLO into out. 0 or -ENOMEM. */
int link_hello(struct link *l);

/*
 * Takes one frame. Returns 0, or a negative errno with which the stream is to
 * be closed: it's the daemon's reason when l->error says the same.
 */
int link_frame(struct link *l, const struct frame *f, const uint8_t *payload);

/* --- link_out.c --- */

/* The stream is UP: send again what may be lost, then go on. */
void link_up(struct link *l);

/* Tell xtcpd of g->retired, on every stream; new ones tell it themselves. */
void link_retire(struct group *g);

/* The stream is lost: keep what the next one has to bring. */
void link_keep(struct link *l);

/* Fills out: kept frames, resynchronisation, a PING. */
void link_fill(struct link *l);

/* There may be room: serve those who wait for it. */
void link_unblock(struct link *l);

/* PONG: everything before position pos took effect. */
void link_confirm(struct link *l, uint64_t pos);

/*
 * A frame without payload. While the stream is away, one about a connection
 * is kept for the next. Returns 0; -ENOTCONN, -ENOBUFS, -ENOMEM: it's lost.
 */
int link_control(struct link *l, const struct frame *f);

/* Acknowledge (again) all that c has acknowledged; later if out is full. */
void link_ack(struct link *l, struct conn *c);

/* The transport's operations (struct transport). */
size_t link_send(struct group *g, struct conn *c, uint32_t ackd,
		 const void *buf, size_t len);
size_t link_send_room(struct group *g, struct conn *c);
void link_identify(const struct group *g, const struct conn *c,
		   uint64_t *ret_epoch, uint64_t *ret_id);
void link_admit(struct group *g, struct conn *c);
void link_shutdown(struct group *g, struct conn *c);
void link_close(struct group *g, struct conn *c, enum frame_type how);

/* Forget the connections of l that the client's handshake waits for. */
void link_drop_waiting(struct link *l);

/* All connections of l are gone. */
void link_reset_conns(struct link *l);

/*
 * The daemon's ids are those of that epoch (0: it doesn't say). Where ours are
 * of another one they mean nothing any more: the connections are gone, and what
 * was kept for them.
 */
void link_set_epoch(struct link *l, uint64_t epoch);

#endif
