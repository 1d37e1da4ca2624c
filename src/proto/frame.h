/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * frame - the framed protocol between xtcpd and an application server.
 *
 * Theory of operation
 *
 * A stream is one Unix-domain or localhost connection between one worker of
 * xtcpd and one application process, attached to exactly one group. Either
 * side may have dialled; after that the protocol is the same:
 *
 *	dialler   -> HELLO                      both HELLOs: limits, identity
 *	          <- HELLO
 *	either    -> ATTACH                     the side that dialled names the group
 *	          <- ATTACHED (or ERROR, fatal)
 *
 * When xtcpd dialled it says ATTACH for the group that the backend was
 * configured under; when the application dialled (the attach socket) it asks
 * for a port and may bring a pool of its own. One stream serves one worker:
 * HELLO tells how many workers there are, and an application that dials opens
 * one stream to each (HELLO.worker names the one it wants).
 *
 * All integers are in network byte order. Each frame is a 32-byte header and
 * `length` bytes of payload.
 *
 * Who acknowledges what
 *
 * DATA carries `offset`, the position of its first byte in the client's
 * stream: byte 0 is the first after the SYN. REPLY says in `offset` up to
 * where the backend had acknowledged before, and in `ackd` how many bytes more
 * it has processed now, so a REPLY that is seen twice acknowledges once.
 * The acknowledgement takes effect after the payload, once that is taken
 * whole: of a backend that dies in between, the request comes again, and
 * FIRST says which part of the reply the client gets already.
 * `offset + ackd` beyond what was received is an error: nothing of that frame
 * is taken. So `offset + ackd` is cumulative: a REPLY with ackd 0 and no
 * payload repeats every acknowledgement before it, and binds the connection to
 * the stream that it comes on.
 *
 * Credit
 *
 * Per stream: each HELLO grants `stream_credit` payload bytes (of DATA towards
 * the backend, of REPLY towards xtcpd); CREDIT with conn 0 grants `aux` bytes
 * more. Per connection, towards xtcpd only: with H = HELLO.conn_window / 2, a
 * backend may send reply bytes of a connection up to the position
 *
 *	limit(una) = (una / H + 2) * H
 *
 * where una is the position up to which the client has acknowledged (0 at
 * first, frame_addr.send_offset afterwards). xtcpd sends CREDIT with that
 * connection's id and `offset` = limit(una) when the limit grows, or a higher
 * limit where it chooses. Being a function of the stream position alone, the
 * limit needs no memory in an idle connection. A limit is never taken back.
 *
 * A CREDIT that was on a stream that is lost comes no more, and it may have been
 * the last: so a backend that attaches again and has less than H left of a
 * connection asks by FRAME_F_SHORT, in the empty REPLY (see Resumption); the
 * answer is CREDIT.
 *
 * A frame with FRAME_F_FIRST says where a (new) backend goes on: una is
 * frame_addr.send_offset, and `aux` of its header is how many reply bytes
 * beyond una xtcpd has taken already, so the next reply byte has the position
 * send_offset + aux.
 *
 * Resumption
 *
 * Replies that were on their way to a process that died must be neither lost
 * nor sent twice. An xtcpd that says FRAME_HELLO_RESUME promises three things:
 *
 *	- a REPLY with FRAME_F_AT has in `aux` the low 32 bits of its payload's
 *	  position in the reply stream; what xtcpd has taken already is skipped
 *	  (a gap resets the connection);
 *	- PING from the backend is answered by PONG once all frames before it
 *	  have taken effect, in memory that survives the process; several may
 *	  be unanswered at a time;
 *	- a backend that attaches again may speak of connections it had before:
 *	  a live one of this worker and group that is bound to no other backend,
 *	  and was bound to no other since, is taken as its own; for any other
 *	  the answer is RESET.
 *
 * Who sends FRAME_F_AT says that it knows where the connection stands, and
 * that is true of one backend at a time: a frame with it from a backend that
 * has not the connection does nothing but to be answered with RESET. So what
 * a process says that was taken for dead, and whose connections were given to
 * another, reaches no client.
 *
 * The backend keeps frames until a PONG covers them. After attaching again it
 * sends those that no PONG covered, in their order, then an empty REPLY with
 * FRAME_F_AT for each connection that it holds: so both sides agree on what was
 * acknowledged and on which connections are gone. Where that REPLY is behind
 * what xtcpd knows, another process has served the connection meanwhile: the
 * answer is RESET, and the connection is introduced again with FRAME_F_FIRST.
 * A PING with FRAME_F_RESUMED ends that. A backend whose HELLO has
 * FRAME_HELLO_RESUMES is given no connection before it, and sends nothing about
 * one between it and its PONG: so no frame that speaks of a connection as it
 * was before can meet the connection as it was introduced again.
 *
 * Exactly once
 *
 * The death of a process that keeps a durable record of what it did needs no
 * more than this: (HELLO.epoch, conn) names the connection for ever, `offset`
 * the request, and send_offset + aux of FRAME_F_FIRST says which replies left.
 * The next process skips (and acknowledges) what the record has as done, and
 * sends what the record has of the replies from there on, with FRAME_F_AT.
 *
 * Errors
 *
 * Unknown types, lengths over the limit, frames in the wrong direction and ids
 * that the stream cannot own get a counter, an ERROR frame with
 * FRAME_F_FATAL, and the stream is closed. An id that was this stream's and
 * whose connection is gone is no error: the answer is RESET.
 */
#ifndef XTCP_PROTO_FRAME_H
#define XTCP_PROTO_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define FRAME_MAGIC 0x58544350u /* "XTCP" */
#define FRAME_VERSION 1u
#define FRAME_HEADER_BYTES 32u
/* Largest payload either side may send (HELLO.max_payload may lower it). */
#define FRAME_PAYLOAD_MAX (128u * 1024u)
/* What each side must at least take in one frame, and a backend grant. */
#define FRAME_PAYLOAD_MIN 4096u
#define FRAME_WORKER_ANY 0xffffu

/*
 * The one table of frame types: name, number, direction, smallest and largest
 * payload, what it is. Direction: B to the backend, X to xtcpd, E either.
 */
#define FRAME_TYPES(F)                                                        \
	F(HELLO, 1, E, 48, 304, "version, limits and identity of the sender") \
	F(ATTACH, 2, E, 24, 24, "attach this stream to a group")              \
	F(ATTACHED, 3, E, 24, 24,                                             \
	  "the stream is attached; group in the header")                      \
	F(ERROR, 4, E, 0, 1024,                                               \
	  "aux is a negative errno's magnitude, payload a line of text")      \
	F(CREDIT, 5, E, 0, 0, "grants more payload bytes (see Credit)")       \
	F(OPEN, 16, B, 48, 48,                                                \
	  "a connection, at position offset: it waits, or is announced")      \
	F(DATA, 17, B, 1, FRAME_PAYLOAD_MAX,                                  \
	  "bytes of the client, from position offset")                        \
	F(EOF, 18, B, 0, 48,                                                  \
	  "the client has closed its side, at position offset")               \
	F(RESET, 19, B, 0, 0, "the connection is gone; aux is the errno")     \
	F(DRAIN, 20, E, 0, 0,                                                 \
	  "no new connections on this stream from now on; from a backend"     \
	  " with aux 1: new ones again")                                      \
	F(PING, 21, E, 0, 0, "answer with PONG and the same offset")          \
	F(ACCEPT, 32, X, 0, 0,                                                \
	  "complete the handshake of an OPENed connection")                   \
	F(REJECT, 33, X, 0, 0, "refuse an OPENed connection with a RST")      \
	F(REPLY, 34, X, 0, FRAME_PAYLOAD_MAX,                                 \
	  "acknowledge ackd bytes after offset, send payload")                \
	F(CLOSE, 35, X, 0, 0,                                                 \
	  "FIN after what was sent; done with the connection")                \
	F(FIN, 36, X, 0, 0, "FIN after what was sent; still receiving")       \
	F(ABORT, 37, X, 0, 0, "RST")                                          \
	F(PONG, 38, E, 0, 0, "answer to PING, same offset")

enum frame_type {
#define F(name, number, dir, min, max, help) FRAME_##name = (number),
	FRAME_TYPES(F)
#undef F
};

/* Header flags. */
enum frame_flag {
	/* DATA, EOF: (part of) these bytes was delivered before, perhaps elsewhere. */
	FRAME_F_REDELIVERED = 1 << 0,
	/* DATA, EOF, OPEN: the payload begins with a struct frame_addr. */
	FRAME_F_FIRST = 1 << 1,
	/* OPEN: the handshake waits for ACCEPT or REJECT; else only announced. */
	FRAME_F_WAITS = 1 << 2,
	/* ERROR: the sender closes the stream after this frame. */
	FRAME_F_FATAL = 1 << 3,
	/* REPLY, CLOSE, FIN, ABORT, REJECT: aux is the position of the payload,
	 * or of the end of the reply stream (see Resumption). */
	FRAME_F_AT = 1 << 4,
	/* PING from a backend: its resumption is complete. */
	FRAME_F_RESUMED = 1 << 5,
	/* REPLY: the sender wants to be told its limit (see Credit). */
	FRAME_F_SHORT = 1 << 6,
};

/* On the wire; every frame begins with it. */
struct frame_header {
	be32 length; /* payload bytes that follow */
	uint8_t type; /* enum frame_type */
	uint8_t flags; /* enum frame_flag */
	be16 group; /* group id; 0 before ATTACHED */
	be64 conn; /* connection id; 0: the stream itself */
	be64 offset; /* position in the client's stream (see each type) */
	be32 ackd; /* REPLY: request bytes processed since offset */
	be32 aux; /* ERROR, RESET: errno; CREDIT: bytes; with FIRST: reply
		   * bytes taken beyond send_offset; with AT: position */
};

/* Addresses of a connection, as the client's packets have them. */
struct frame_addr {
	uint8_t family; /* 4 or 6 */
	uint8_t reserved; /* 0 */
	be16 remote_port;
	be16 local_port;
	be16 reserved2; /* 0 */
	uint8_t remote[16]; /* IPv4: the first 4 bytes, rest 0 */
	uint8_t local[16];
	be64 send_offset; /* reply bytes the client has acknowledged so far */
};

enum frame_hello_flag {
	/* From xtcpd: it keeps the promises of Resumption. */
	FRAME_HELLO_RESUME = 1 << 0,
	/* From a backend: it was attached before, and resumes. */
	FRAME_HELLO_RESUMES = 1 << 1,
};

struct frame_hello {
	be32 magic; /* FRAME_MAGIC */
	be16 version; /* FRAME_VERSION */
	be16 flags; /* enum frame_hello_flag */
	be16 workers; /* from xtcpd: worker count; from a backend: 0 */
	be16 worker; /* from xtcpd: this stream's worker; from a backend:
		      * the wanted one or FRAME_WORKER_ANY */
	be32 max_payload; /* largest payload the sender accepts, 4096.. */
	be32 stream_credit; /* payload bytes the sender accepts at first */
	be32 conn_window; /* from xtcpd: 2 * H (see Credit); from a backend: 0 */
	be64 instance; /* random identity of the sending process; a process keeps
			* it over reconnections, a restart takes a new one */
	be32 pid;
	uint8_t reserved[4]; /* 0 */
	be64 epoch; /* from xtcpd: of its connection ids, which name the same
		     * connections as long as this stays the same; 0: not told;
		     * from a backend: 0 */
	/* up to 256 bytes of name follow, not NUL-terminated (for people) */
};

enum frame_attach_flag {
	/* ATTACHED: the group's accept mode is "application". */
	FRAME_ATTACH_APPLICATION = 1 << 0,
	/* ATTACH from an application: make a pool and a group of our own. */
	FRAME_ATTACH_OWN_POOL = 1 << 1,
	/* ATTACHED: connections are announced with OPEN. */
	FRAME_ATTACH_ANNOUNCE = 1 << 2,
};

/* Payload of ATTACH and ATTACHED. */
struct frame_attach {
	be16 port; /* the group's TCP port, 1..65535 */
	uint8_t family; /* 4, 6, or 0 for both */
	uint8_t flags; /* enum frame_attach_flag */
	be32 priority; /* reserved, 0 */
	be64 pool_bytes; /* with OWN_POOL: receive buffer of that pool */
	uint8_t reserved[8]; /* 0 */
};

_Static_assert(sizeof(struct frame_header) == FRAME_HEADER_BYTES,
	       "frame header");
_Static_assert(sizeof(struct frame_addr) == 48, "frame address");
_Static_assert(sizeof(struct frame_hello) == 48, "frame hello");
_Static_assert(sizeof(struct frame_attach) == 24, "frame attach");

/*
 * A connection id: worker (8 bits), generation (24 bits, never 0), record
 * number (32 bits). Applications treat it as opaque.
 */
static inline uint64_t frame_conn_id(uint32_t worker, uint32_t generation,
				     uint32_t rec)
{
	return (uint64_t)(worker & 0xff) << 56 |
	       (uint64_t)(generation & 0xffffff) << 32 | rec;
}

static inline uint32_t frame_conn_worker(uint64_t conn)
{
	return (uint32_t)(conn >> 56);
}

static inline uint32_t frame_conn_generation(uint64_t conn)
{
	return (uint32_t)(conn >> 32) & 0xffffff;
}

static inline uint32_t frame_conn_rec(uint64_t conn)
{
	return (uint32_t)conn;
}

/* limit(una) of the Credit section; half = conn_window / 2, not 0. */
static inline uint64_t frame_send_limit(uint64_t una, uint32_t half)
{
	return (una / half + 2) * half;
}

/* Host-order view of a header. */
struct frame {
	uint32_t length;
	uint8_t type;
	uint8_t flags;
	uint16_t group;
	uint64_t conn;
	uint64_t offset;
	uint32_t ackd;
	uint32_t aux;
};

/* Which way a receiver expects frames to come. */
enum frame_side {
	FRAME_SIDE_BACKEND, /* the reader is an application */
	FRAME_SIDE_XTCPD, /* the reader is xtcpd */
};

/*
 * Write f as a header to the FRAME_HEADER_BYTES at ret_wire.
 */
void frame_encode(const struct frame *f, void *ret_wire);

/*
 * Decode and check a header: known type, right direction for side, payload
 * length within the type's bounds and max_payload.
 * Returns 0; -EPROTO (unknown type or wrong direction); -EMSGSIZE (length).
 * ret_f is set in every case, so that the error can be reported.
 */
int frame_decode(const void *wire, enum frame_side side, uint32_t max_payload,
		 struct frame *ret_f);

/*
 * Whether side can go on with who sent this HELLO: magic, version, and limits
 * (FRAME_PAYLOAD_MIN; some window). Returns 0, or -EPROTO.
 */
int frame_hello_check(const struct frame_hello *hello, enum frame_side side);

/*
 * Whether a payload of n bytes begins with a struct frame_addr of a family that
 * there is. Returns 0, or -EPROTO.
 */
int frame_addr_check(const void *payload, size_t n);

/* "DATA" for FRAME_DATA, or "unknown"; never NULL. */
const char *frame_type_name(uint8_t type);

#endif
