/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peer - a groups layer over the stack's rig, and backends made of frames.
 *
 * No TUN, no thread, no clock: the client's packets come from the rig, a
 * backend is the other end of a socketpair, and time is rig.now_us.
 */
#ifndef XTCP_TESTS_PEER_H
#define XTCP_TESTS_PEER_H

#include "../stack/rig.h"
#include "daemon/groups.h"

#define PEER_GROUP 1
#define PEER_CREDIT (1u << 20)

struct peer {
	int fd;
	struct frame_reader in;
	/* The last frame of peer_next(). */
	struct frame f;
	const uint8_t *payload;
	bool gone; /* xtcpd closed it */
};

extern struct groups gs;
extern struct group_setup
	peer_setup; /* of group PEER_GROUP; peer_group() applies it */

void peer_up(void);
void peer_down(void);
void peer_group(void);

/* xtcpd is killed, and another one goes on with its arena. */
void peer_kill(void);

/* xtcpd ends, and another one goes on with its arena. */
void peer_restart(void);

/* Streams' events, then the end of the turn. */
void peer_pump(void);

/* Time passes: the stack's timers and the groups' ticks. */
void peer_pass_us(uint64_t us);

/* An application dials in: checks ATTACHED. credit: what its HELLO granted. */
void peer_attach_credit(struct peer *p, uint64_t instance, uint32_t credit);
void peer_attach(struct peer *p, uint64_t instance);

/* One that was there before, and resumes; the second ends that. */
void peer_return(struct peer *p, uint64_t instance);
void peer_resumed(struct peer *p);

/* The backend dies. */
void peer_die(struct peer *p);

/* The next frame, if any. Returns whether there is one. */
bool peer_next(struct peer *p);

/* The next frame, which must be there and of this type. */
void peer_expect(struct peer *p, enum frame_type type);
void peer_expect_nothing(struct peer *p);

/* DATA with this text of the client; checks FIRST and REDELIVERED. */
void peer_expect_data(struct peer *p, const char *text, uint8_t flags);

/* An ERROR frame, which is the last when fatal. */
void peer_expect_error(struct peer *p, int err, bool fatal);

/* Send a frame (length from payload) and pump. */
void peer_send(struct peer *p, struct frame f, const void *payload,
	       uint32_t len);

/* REPLY to the frame in p->f: acknowledge ackd bytes from its offset. */
void peer_reply(struct peer *p, uint32_t ackd, const char *text);

/* A request of the client, and the turn. */
void peer_request(struct rig_client *cl, const char *text);

/* The client closes its side. */
void peer_fin(struct rig_client *cl);

uint64_t peer_counter(enum worker_counter which);

#endif
