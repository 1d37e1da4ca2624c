/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backend - model application processes at the other end of the framed
 * streams: honest ones that follow the flows' scripts, and rogues.
 *
 * A process keeps nothing when it dies; what the next one needs to go on is in
 * the first frame about each connection. When it is xtcpd that dies, some
 * processes go on where they were (keep.c), others begin anew likewise.
 */
#ifndef XTCP_SIM_BACKEND_H
#define XTCP_SIM_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "flow.h"
#include "proto/stream.h"
#include "rng.h"

#define PROCS_MAX 4u
#define PROC_STREAMS_MAX 2u
#define FLOWS_MAX 40u

struct world;

enum ack_habit {
	HABIT_WHOLE, /* acknowledges a request with its reply */
	HABIT_HALF, /* half of what it got, at once */
	HABIT_CONSUME, /* all but the last byte, at once */
};

struct proc_conf {
	enum ack_habit habit;
	uint32_t frame_max; /* reply bytes per frame */
	uint32_t read_us; /* delay before it reads */
	uint32_t read_max; /* bytes per read; 0: all */
	uint32_t credit; /* DATA bytes granted */
	uint32_t streams;
	bool at; /* says positions (FRAME_F_AT) */
	bool resume; /* goes on after xtcpd died, by keep.c; one stream */
	uint32_t ping_bytes; /* frames between its PINGs */
	uint32_t again_us; /* until it dials again, at most; 0: as ever */
	bool rogue;
};

/* One end of a stream. */
struct pstream {
	int fd; /* -1: none */
	struct frame_reader in;
	uint8_t *out;
	uint32_t out_len, out_cap;
	uint64_t credit; /* REPLY bytes that it may send */
	uint64_t granted; /* DATA bytes that xtcpd may still send */
	uint32_t ungranted;
	bool cursed; /* it said what gets it closed */
	uint32_t epoch; /* kill.epoch of the xtcpd at its other end */
	bool named; /* it told a connection's id that it was given */
};

/* What a process knows of a connection. */
struct pconn {
	struct pstream *stream; /* NULL: nothing */
	uint64_t conn_id;
	bool closed, eof;
	bool open_due, ack_due; /* when all is sent again */
	uint64_t got, acked; /* request positions */
	uint64_t sent, limit; /* reply positions */
	uint32_t item;
	uint64_t serve_at;
};

/* A frame that no PONG covers yet. */
struct kept {
	uint64_t conn_id, offset, pos;
	uint32_t flow, ackd, len;
	uint8_t type;
};

/* All of them, in order. */
struct keep {
	struct kept *v;
	uint32_t n, cap;
	uint32_t sent; /* of these, on the present stream */
	uint64_t pings; /* number of the last one */
	uint32_t ping_covers; /* so many of v */
	uint32_t since; /* bytes after it */
	bool pinged; /* its PONG is awaited */
	bool resume; /* the stream was lost: v goes first */
	bool resumed; /* all of it went, but no PONG came yet */
};

struct proc {
	uint32_t no;
	struct proc_conf conf;
	bool alive, calm;
	uint64_t instance;
	struct pstream streams[PROC_STREAMS_MAX];
	struct pconn conns[FLOWS_MAX];
	struct rng rng;
	uint64_t hung_until_us;
	uint64_t heard_us; /* when it last read */
	uint64_t open_at_us; /* it dials no earlier */
	struct keep keep;
	uint64_t read_at_us, armed_at;
	bool reads_due;
};

/* A new process attaches its streams. */
void backend_start(struct world *w, struct proc *p);
/* It is killed. */
void backend_kill(struct world *w, struct proc *p);
/* It reads and writes nothing for so long. */
void backend_hang(struct world *w, struct proc *p, uint64_t until_us);
/* From here on it is quick and honest. */
void backend_calm(struct world *w, struct proc *p);

/* xtcpd may have written: read soon. */
void backend_poke(struct world *w, struct proc *p);
/* Whatever is due. */
void backend_timer(struct world *w, struct proc *p);

/* At the end of the run: free what a process holds. */
void backend_fini(struct proc *p);

/* rogue.c: something no honest backend would say. */
void rogue_act(struct world *w, struct proc *p);

/* backend_conn.c: a frame of xtcpd; what is due for flow i. */
void backend_on_frame(struct world *w, struct proc *p, struct pstream *s,
		      const struct frame *in, const uint8_t *payload);
void pconn_work(struct world *w, struct proc *p, uint32_t i);
/* Wake the process at at_us. */
void proc_arm(struct world *w, struct proc *p, uint64_t at_us);

/* keep.c: a frame about a connection was queued. */
void keep_frame(struct proc *p, const struct kept *what);
void keep_pong(struct world *w, struct proc *p, uint64_t offset);
/* May it say something new of connections? */
bool keep_is_open(const struct proc *p);
/* The stream is lost; there is another one, or credit for more. */
void keep_lost(struct proc *p);
void keep_resume(struct world *w, struct proc *p);
/* The process dies. */
void keep_forget(struct proc *p);

/* A frame with len bytes of the reply from pos on. */
void pstream_reply(struct pstream *s, const struct frame *f, uint64_t key,
		   uint64_t pos, uint32_t len);

/* For rogue.c: queue a frame on the stream. */
void pstream_frame(struct pstream *s, const struct frame *f,
		   const uint8_t *payload, uint32_t len);

#endif
