/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backend - model application processes at the other end of the framed
 * streams: honest ones that follow the flows' scripts, and rogues.
 *
 * A process keeps nothing when it dies; what the next one needs to go on is in
 * the first frame about each connection.
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
	bool named; /* it told a connection's id that it was given */
};

/* What a process knows of a connection. */
struct pconn {
	struct pstream *stream; /* NULL: nothing */
	uint64_t conn_id;
	bool rejected, closed, eof;
	uint64_t got, acked; /* request positions */
	uint64_t sent, limit; /* reply positions */
	uint32_t item;
	uint64_t serve_at;
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

/* For rogue.c: queue a frame on the stream. */
void pstream_frame(struct pstream *s, const struct frame *f,
		   const uint8_t *payload, uint32_t len);

#endif
