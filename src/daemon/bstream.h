/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bstream - one framed stream to a backend: socket, queues, credit, liveness.
 *
 * A stream is never freed under somebody's feet: whatever goes wrong calls
 * bstream_fail(), and the turn's end reaps it.
 */
#ifndef XTCP_DAEMON_BSTREAM_H
#define XTCP_DAEMON_BSTREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/units.h"
#include "daemon/groups.h"

/* Pieces of payload in a frame, but for the address. */
#define BSTREAM_IOV_MAX 128

/* PING comes after 5 s of silence; its answer has to come within this. */
#define BSTREAM_SILENT_US (15 * USEC_PER_SEC)

/*
 * A stream over fd (non-blocking; taken only on success), on the backend's
 * list. Returns NULL without memory.
 */
struct bstream *bstream_new(struct backend *backend, int fd,
			    enum bstream_state state);

/*
 * The end: tells what becomes of its connections (loss.h), leaves its
 * backend, and is freed. For the reaper and for groups_fini() alone.
 */
void bstream_free(struct bstream *s);

/* Mark as lost; the turn's end does the rest. The first error counts. */
void bstream_fail(struct bstream *s, int err);

/* The same with a fatal ERROR frame (errno as a negative number) first. */
__attribute__((format(printf, 3, 4))) void
bstream_refuse(struct bstream *s, int err, const char *fmt, ...);

/* An ERROR frame that is no end; conn 0: about the stream. */
void bstream_error(struct bstream *s, int err, uint64_t conn, const char *text);

/* Payload bytes that a DATA frame may have now; 0: none. */
uint32_t bstream_data_max(const struct bstream *s);

/* Is there room for a frame without credit? Leaves room for answers. */
bool bstream_control_room(const struct bstream *s);

/*
 * Queue a frame of at most 1 + BSTREAM_IOV_MAX pieces; the caller made sure of
 * room and credit. A large one goes out at once, from where it lies, if nothing
 * is before it and as far as the socket takes it. Without memory the stream
 * fails.
 */
void bstream_send(struct bstream *s, const struct frame *f,
		  const struct iovec *iov, int n);

/* Write what is queued, as much as the socket takes. */
void bstream_flush(struct bstream *s);

/* Handle the frames that were read; again after a stall. */
void bstream_process(struct bstream *s);

/* REPLY payload was taken (or thrown away): grant it anew when it is due. */
void bstream_grant(struct bstream *s, uint32_t bytes);

/* PING when it was silent, give up when the answer is missing. */
void bstream_tick(struct bstream *s);

/* Bytes came in by another way (a hand-over): as if read from the socket. */
void bstream_feed(struct bstream *s, const void *bytes, size_t n);

#endif
