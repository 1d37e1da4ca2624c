/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reply - from a backend's frames to calls of the stack.
 */
#ifndef XTCP_DAEMON_REPLY_H
#define XTCP_DAEMON_REPLY_H

#include <stdint.h>

#include "daemon/groups.h"

/*
 * One frame of a stream that is up. Returns 0; -EAGAIN when the stack could
 * not take all of it: then it is in s->held, to go on with reply_held();
 * another negative errno when the stream has failed.
 */
int reply_frame(struct bstream *s, const struct frame *f,
		const uint8_t *payload);

/* Go on with the held frame. As reply_frame(). */
int reply_held(struct bstream *s);

#endif
