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
};

/* Read a HELLO's payload. Returns 0, or -EPROTO: not this protocol, or not sane. */
int hello_parse(const void *payload, size_t len, struct hello_peer *ret_peer);

/* Append xtcpd's HELLO for a stream of that worker. As frame_queue_append(). */
int hello_append(struct frame_queue *q, uint32_t n_workers, uint32_t worker,
		 uint64_t instance);

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
