/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hello - the first frames of a stream: HELLO, ATTACH, ATTACHED.
 */
#ifndef XTCP_DAEMON_HELLO_H
#define XTCP_DAEMON_HELLO_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/groups.h"

/* What a peer's HELLO says. */
struct hello_peer {
	uint64_t instance;
	uint32_t pid;
	uint32_t max_payload, stream_credit_bytes;
	uint16_t worker; /* the wanted one, or FRAME_WORKER_ANY */
	bool resumes; /* FRAME_HELLO_RESUMES */
};

/* Read a HELLO's payload. Returns 0, or -EPROTO: not this protocol, or not sane. */
int hello_parse(const void *payload, size_t len, struct hello_peer *ret_peer);

/* Who xtcpd is, in its HELLO. */
struct hello_self {
	uint32_t n_workers;
	uint64_t instance; /* of the process */
	uint64_t epoch; /* of the arena */
};

/*
 * The identity of an arena's connection ids, which outlives processes with it.
 * Never 0. Borrows header.
 */
uint64_t hello_epoch(const struct arena_header *header);

/* Append xtcpd's HELLO for a stream of that worker. As frame_queue_append(). */
int hello_append(struct frame_queue *q, const struct hello_self *self,
		 uint32_t worker);

/* The ATTACH or ATTACHED payload that describes a group. */
void hello_describe(const struct group *g, struct frame_attach *ret_attach);

/* We dialled and are connected: say HELLO. */
void hello_send(struct bstream *s);

/*
 * A frame on a dialled stream that is not up yet. Returns 0, or a negative
 * errno (not -EAGAIN) when the stream has failed.
 */
int hello_frame(struct bstream *s, const struct frame *f,
		const uint8_t *payload);

#endif
