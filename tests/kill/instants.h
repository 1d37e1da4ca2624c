/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * instants - a process that is killed after each of its instructions.
 *
 * Theory of operation
 *
 *	child                           parent
 *	-----                           ------
 *	stack over the arena            PTRACE_SINGLESTEP
 *	a script's operations   ----->  has the arena changed?
 *	packets -> the log                copy it, recover on the copy (a new
 *	                                  stack), check, let all come to its end
 *
 * Arena and log are shared memory: what the parent sees after an instruction is
 * what a next process would find if the child were killed there. So each
 * script is tried with a kill at every instant at which that makes a
 * difference, in the code as the compiler made it.
 *
 * The model (struct model) knows from the script alone what client and
 * application have done before the operation under way and may have done in
 * it, and from the log what the client has seen. After recovery it must hold:
 *
 *  K1  nothing is torn, and the arena's own check finds nothing;
 *  K2  the connection is there if the client has seen its SYN-ACK, and until it
 *      is over for both sides;
 *  K3  a reply and what it acknowledges are both there, or neither;
 *  K4  nothing is acknowledged to the client but what the application said, and
 *      no byte that was acknowledged is gone;
 *  K5  what may have been delivered before is flagged;
 *  K6  left to go on (lost packets sent again, the application resuming where
 *      it was, both closing), both sides get exactly their bytes, and nothing
 *      is left in the arena;
 *  K7  the bystander, another connection with bytes held and queued, is as it
 *      was.
 */
#ifndef XTCP_KILL_INSTANTS_H
#define XTCP_KILL_INSTANTS_H

#include <stdbool.h>
#include <stdint.h>

#include "stack/stack.h"

#define INSTANTS_PORT 5222
#define INSTANTS_CLIENT 1000 /* remote port; the bystander's is one more */
#define INSTANTS_OUT_MAX 512u
#define INSTANTS_RECS 8u
#define INSTANTS_START_US UINT64_C(7000000000)

enum instants_op_kind {
	OP_END,
	OP_SYN,
	OP_HANDSHAKE_ACK,
	OP_TEXT, /* a bytes of the client's, from b beyond what is next on */
	OP_DELIVER, /* the application takes up to a bytes; 0: all */
	OP_REPLY, /* it acknowledges a bytes and sends b */
	OP_ACCEPT,
	OP_CLIENT_ACK, /* of all that came, but for the last a bytes */
	OP_CLIENT_FIN,
	OP_CLIENT_AGAIN, /* the last a bytes sent again */
	OP_SHUTDOWN,
	OP_CLOSE,
	OP_ABORT,
	OP_CLIENT_RST,
	OP_PASS, /* a milliseconds pass */
};

struct instants_op {
	enum instants_op_kind kind;
	uint32_t a, b;
};

struct instants_script {
	const char *name;
	bool cookies; /* SYNs are answered with cookies */
	bool held; /* accept = application */
	uint8_t ack; /* enum stack_ack_mode */
	const struct instants_op *ops;
};

/* A segment of ours, as the client saw it. */
struct instants_out {
	uint16_t port;
	uint8_t flags;
	uint32_t seq, ack, len, tsval;
	uint8_t bytes[1460];
};

/* Shared by child and parent, beside the arena. */
struct instants_log {
	uint32_t op; /* the operation under way */
	uint32_t done; /* the script is over */
	uint32_t n_out;
	uint64_t now_us; /* of the operation under way */
	struct instants_out out[INSTANTS_OUT_MAX];
};

/* The two byte streams of the script's connection. */
static inline uint8_t instants_client_byte(uint32_t pos)
{
	return (uint8_t)(pos * 7 + (pos >> 8) + 3);
}

static inline uint8_t instants_server_byte(uint32_t pos)
{
	return (uint8_t)(pos * 5 + (pos >> 8) * 3 + 1);
}

/* A stack over an arena, with its clients' side. */
struct instants_world {
	struct arena *arena;
	struct shard shard;
	struct stack *st;
	struct instants_log *log;
	uint64_t now_us;
};

/* recover: take over what is there. */
void instants_up(struct instants_world *w, struct arena *arena,
		 struct instants_log *log, const struct instants_script *s,
		 uint64_t now_us, bool recover);
void instants_down(struct instants_world *w);

/* The client's position in our stream: the bytes that came without a gap. */
uint32_t instants_received(const struct instants_log *log, uint16_t port,
			   bool *ret_fin);
/* The SYN-ACK that the client goes by, or NULL. */
const struct instants_out *instants_synack(const struct instants_log *log,
					   uint16_t port);
/* Position of the last acknowledgement that it saw; counts SYN and FIN off. */
uint32_t instants_acked(const struct instants_log *log, uint16_t port,
			bool *ret_fin);

/* A segment of the client's: payload from position pos on, ack as received. */
struct instants_seg {
	uint16_t port;
	uint8_t flags;
	uint32_t pos, len;
	uint32_t ack; /* position in our stream; with TH_ACK */
	bool ack_fin;
};
void instants_input(struct instants_world *w, const struct instants_seg *seg);

/* The record of a port, or NIL. */
uint32_t instants_find(const struct instants_world *w, uint16_t port);

extern const struct instants_script instants_scripts[];
extern const uint32_t instants_n_scripts;

/* What client and application have done by the script. */
struct model {
	uint32_t sent; /* by the client, in sequence */
	uint32_t highest; /* by the client, gaps or not */
	uint32_t taken; /* acknowledged by the application */
	uint32_t replied; /* bytes of ours */
	bool syn, client_fin, server_fin, closed, reset, accepted;
};

/* Before operation n, which counts when with is set. */
struct model model_at(const struct instants_script *script, uint32_t n,
		      bool with);

/* The application acknowledges ackd bytes and sends len, from position from. */
void app_reply(struct instants_world *w, uint32_t ri, uint32_t ackd,
	       uint32_t from, uint32_t len);
/* It takes up to max bytes that were not delivered yet; 0: all. */
void app_deliver(struct instants_world *w, uint32_t ri, uint32_t max);

/* Sequence number before the client's first byte. */
#define INSTANTS_IRS 4294960000u

#endif
