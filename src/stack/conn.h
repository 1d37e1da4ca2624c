/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn - one connection within the stack: life, lists, and what the other
 * modules share.
 *
 * struct conn is a view on the stack's C stack: record, block and group of one
 * connection, and the time. It is made anew for each packet or call and never
 * kept. `b` is NULL while the connection is idle; conn_activate() gives it a
 * block, conn_rest() takes it back once nothing is left that the record does
 * not hold (I3).
 *
 * Who ends a connection: conn_end() alone. It frees record and block at once,
 * unless the daemon must hear of it first (then the state is GONE until
 * stack_forget()) or the block still stands in one of the stack's own lists
 * (then the record is an orphan in GONE, and conn_reap() frees it when the
 * list comes to it).
 */
#ifndef XTCP_STACK_CONN_H
#define XTCP_STACK_CONN_H

#include "base/seq.h"
#include "base/units.h"
#include "stack/stack.h"

struct conn {
	struct stack *st;
	struct rec *r;
	struct blk *b; /* NULL: idle */
	const struct stack_group *g;
	uint64_t now_us;
	uint32_t ri;
};

/* Times of the protocol, microseconds. */
#define TCP_RTO_INIT_US (1 * USEC_PER_SEC) /* RFC 6298 (2.1) */
#define TCP_RTO_LOST_SYN_US \
	((uint32_t)(3 *     \
		    USEC_PER_SEC)) /* RFC 6298 (5.7), until there is a sample */
#define TCP_RTO_MIN_US \
	(200 *         \
	 USEC_PER_MSEC) /* over SRTT; less than RFC 6298 (2.4), as everywhere */
#define TCP_RTO_MAX_US (60 * USEC_PER_SEC) /* RFC 6298 (2.5) */
#define TCP_HANDSHAKE_US (31 * USEC_PER_SEC) /* RTO_INIT doubled five times */
#define TCP_DELACK_US \
	(40 * USEC_PER_MSEC) /* RFC 1122 4.2.3.2: at most 500 ms */
#define TCP_TIME_WAIT_US (60 * USEC_PER_SEC) /* 2 MSL, as everywhere */
#define TCP_FIN_WAIT_2_US \
	(60 * USEC_PER_SEC) /* an orphan waits no longer for a FIN */
#define TCP_KEEPALIVE_PROBES 4u
#define TCP_MSS_DEFAULT4 536u /* RFC 9293 3.7.1 */
#define TCP_MSS_DEFAULT6 1220u
#define TCP_MSS_MIN \
	88u /* smaller ones would cost us more than they are worth */

static inline void conn_view(struct stack *st, uint32_t ri, uint64_t now_us,
			     struct conn *ret_conn)
{
	struct rec *r = &st->sh->recs[ri];

	*ret_conn = (struct conn){
		.st = st,
		.r = r,
		.b = r->block == NIL ? NULL : &st->sh->blks[r->block],
		.g = st->groups[r->group],
		.now_us = now_us,
		.ri = ri,
	};
	assert(ret_conn->g);
}

/* Give it a block when it has none. Returns false (counted) without one left. */
bool conn_activate(struct conn *c);

/*
 * Take the block back when nothing needs it. If it stays, one of its deadlines
 * may have moved: conn_arm() has to follow.
 */
void conn_rest(struct conn *c);

/* The one place where a state changes; asserts that the step is legal. */
void conn_set_state(struct conn *c, uint8_t to);

/* Put a block that is not ready on the list of those with events. */
void conn_ready_blk(struct stack *st, uint32_t bi);

/* Tell the daemon: put events on the connection. Needs a block. */
static inline void conn_event(struct conn *c, uint16_t events)
{
	if (c->r->flags & REC_ORPHAN)
		return;
	c->b->events |= events;
	if (!(c->b->flags & BLK_READY))
		conn_ready_blk(c->st, c->r->block);
}

/* Put a block that is not dirty on the list for the flush. */
void conn_mark_blk(struct stack *st, uint32_t bi);

/* Have the flush look at it, with these flags set. Needs a block. */
static inline void conn_mark(struct conn *c, uint32_t blk_flags)
{
	c->b->flags |= blk_flags;
	if (!(c->b->flags & BLK_DIRTY))
		conn_mark_blk(c->st, c->r->block);
}

/* Count a connection that is there: its state, group and source. */
void conn_count_found(struct conn *c);

/* Put the earliest of the block's deadlines on the wheel, if it has any. */
void conn_arm(struct conn *c);

/*
 * The connection is over. With tell, or when the daemon has the block in one
 * of its lists, it gets STACK_EV_RESET (unless the application has closed, or
 * never knew of it). c must not be used after.
 */
void conn_end(struct conn *c, bool tell);

/* conn_end() with a RST to the client and a counter. */
void conn_abort(struct conn *c, enum stack_counter why, bool tell);

/* Free a GONE orphan that stands in no list any more. */
void conn_reap(struct stack *st, uint32_t ri);

/* Largest payload of a segment to the client, bytes. */
static inline uint32_t conn_mss(const struct conn *c)
{
	return c->r->mss - (c->r->flags & REC_TS ? 12u : 0u);
}

static inline uint8_t conn_snd_shift(const struct conn *c)
{
	return c->r->wscale & 0xf;
}

static inline uint8_t conn_rcv_shift(const struct conn *c)
{
	return c->r->wscale >> 4;
}

static inline bool conn_fin_rcvd(const struct conn *c)
{
	return c->r->flags & REC_FIN_RCVD;
}

/* The group's statistics; NULL when the group is gone. */
static inline struct stack_group_stats *conn_stats(const struct conn *c)
{
	return c->st->group_stats[c->r->group];
}

/*
 * isn.c: RFC 6528 initial sequence number, and the timestamp clock's offset.
 * isn_prf: what both are made of; a and b tell other uses apart.
 */
uint64_t isn_prf(const struct stack *st, const struct tuple *tuple, uint64_t a,
		 uint64_t b);
uint32_t isn_make(const struct stack *st, const struct tuple *tuple,
		  uint64_t now_us);
uint32_t isn_ts_offset(const struct stack *st, const struct tuple *tuple);

/* Our timestamp clock: milliseconds, offset per tuple (RFC 7323 5.4). */
static inline uint32_t conn_ts_at(const struct conn *c, uint64_t us)
{
	return (uint32_t)(us / USEC_PER_MSEC) + c->b->ts_off;
}

/* The clock of rec.last_active and blk_rtt.min_tick. */
static inline uint32_t conn_tick(uint64_t now_us)
{
	return (uint32_t)(now_us / (REC_TICK_MS * USEC_PER_MSEC));
}

static inline uint32_t conn_ts_now(const struct conn *c)
{
	return conn_ts_at(c, c->now_us);
}

/* listen.c: a segment for no connection. */
void listen_input(struct stack *st, const struct seg *seg, uint64_t now_us);
/* RFC 6191 section 2: is a SYN newer than the connection in TIME-WAIT? */
bool listen_is_newer(const struct conn *c, const struct seg *seg);
/*
 * RFC 6191: a SYN that is newer than a connection in TIME-WAIT, which ends and
 * makes room for it. c must not be used after.
 */
void listen_reuse(struct conn *c, const struct seg *seg);
/*
 * SYN_RECEIVED, and seg acknowledges something else than our SYN: the client
 * may have gone by a cookie that an earlier SYN was answered with. If so, the
 * connection becomes that one. Returns whether it did.
 */
bool listen_adopt(struct conn *c, const struct seg *seg);
/* SYN_HELD to SYN_RECEIVED. */
void listen_accept(struct conn *c);
/* SYN_HELD: RST, counted; the connection is over. */
void listen_refuse(struct conn *c, enum stack_counter why);

/* input.c: RFC 9293 section 3.10.7.4. */
void input_conn(struct conn *c, const struct seg *seg);

/* icmp.c */
void icmp_input(struct stack *st, const struct seg *seg);
/* SEG_ICMP_ERROR: RFC 5927; what it may do to the connection. */
void icmp_error(struct stack *st, const struct seg *seg, uint64_t now_us);

/*
 * rx.c: the receive queue. rx_text takes a segment's payload (from
 * seg->seq on), in order or not, and moves rcv_nxt. Returns false when it had
 * to be dropped (counted): then its FIN doesn't count either.
 */
bool rx_text(struct conn *c, const struct seg *seg);
/* Give up what is held beyond gaps (its client sends it again). */
void rx_prune(struct conn *c);
/* The application acknowledged from before up to rcv_app, and that is committed. */
void rx_consumed(struct conn *c, uint32_t before);
/* Give up all text beyond gaps. */
void rx_drop_ooo(struct conn *c);
/* The block's chunks are counted in another pool from now on. */
void rx_move(struct stack *st, uint32_t bi, struct stack_pool *from,
	     struct stack_pool *to);
/* Bytes that the receive window could be now, given cap and pool. */
uint32_t rx_space(const struct conn *c);
void rx_pool_changed(struct stack *st, struct stack_pool *pool);

/*
 * ack.c: when and what to acknowledge (deferred, delivered, immediate).
 * ack_text: a segment with text brought n bytes in sequence; gap: it, or what
 * came before, lies beyond a hole.
 */
void ack_text(struct conn *c, uint32_t n, const struct seg *seg, bool gap);
void ack_retransmitted(struct conn *c, const struct seg *seg);
void ack_application(struct conn *c);
void ack_delivered(struct conn *c);
void ack_timer(struct conn *c);
void ack_deadline(struct conn *c);
void ack_fin(struct conn *c);
/* A process before this one may have died between two steps of the above. */
void ack_recover(struct conn *c);
/* The pool left throttling: what was withheld may go now. */
void ack_released(struct conn *c);
/* Window field and right edge of the segment that is about to be sent. */
uint16_t ack_window(struct conn *c);

/* tx.c: the send queue. */

/* Bytes that a connection which has so many queued may have queued in all. */
uint32_t tx_share(const struct stack *st, uint32_t queued);

/*
 * Does it hold its share, its client not taking it, while replies have to
 * wait? Then it has to go. SC_conn_slow_reset.
 */
bool tx_is_stuck(struct conn *c);

/*
 * Put bytes behind snd_end; they are queued once blk_commit() has moved that on
 * by what it returns (transmit buffer full, or the connection has its share of
 * it: fewer than len).
 */
uint32_t tx_stage(struct conn *c, const uint8_t *data, uint32_t len);
void tx_acked(struct conn *c, uint32_t seq);
/*
 * The queue's bytes [seq, seq + len), or what of them fits iovcnt_max pieces
 * (*ret_len). *chunk: where to look first, or NIL; set to the chunk that holds
 * seq. Returns the pieces.
 */
int tx_pieces(struct conn *c, uint32_t seq, uint32_t len, uint32_t *chunk,
	      struct iovec *iov, int iovcnt_max, uint32_t *ret_len);

/* output.c */
void output_flush(struct conn *c);
void output_synack(struct conn *c);
/* A pure ACK of all that may be acknowledged, at once. */
void output_ack(struct conn *c);

/* respond.c: segments that carry no data, for connections or for none. */
struct respond {
	uint8_t flags;
	uint32_t seq, ack;
	uint16_t wnd; /* as on the wire */
	uint8_t ecn; /* enum seg_ecn */
	struct seg_opts opts;
};
void respond_send(struct stack *st, const struct tuple *tuple,
		  const struct respond *what);
/* RFC 9293 3.10.7.1: the RST that a segment for no connection gets. */
void respond_reset(struct stack *st, const struct seg *seg);
/* A RST within a connection. */
void respond_conn_reset(struct conn *c);
/* An ACK at once, outside of the flush. */
void respond_ack(struct conn *c);
/*
 * One connection answers segments out of place at most once in so long: a
 * forger gets nothing out of it, and two stacks that disagree about what was
 * sent don't acknowledge each other for ever.
 */
#define RESPOND_LIMIT_MS 500u
/* Did it do so just now? If not, it counts as doing so. Needs a block. */
bool respond_limited(struct conn *c);
/* How long it will not do so again, microseconds. */
uint64_t respond_limit_left_us(const struct conn *c);
/* RFC 9293 3.10.7.4, first: the ACK for an unacceptable segment, limited. */
void respond_out_of_window(struct conn *c);
/* RFC 5961: an ACK at once, limited likewise and for all connections. */
void respond_challenge(struct conn *c);
/*
 * Write IP and TCP headers of a segment of the tuple. payload: iov[1..] of
 * total payload_len; the header goes to buf (PACKET_HDR_MAX). Emits it.
 */
void respond_emit(struct stack *st, const struct tuple *tuple,
		  const struct respond *what, struct iovec *iov, int iovcnt,
		  uint32_t payload_len);

/* Timestamps of a segment of this connection, and SACK blocks within room bytes. */
void respond_opts(struct conn *c, uint32_t sack_room,
		  struct seg_opts *ret_opts);

/* rtt.c: RFC 6298. */
void rtt_init(struct conn *c);
void rtt_sample(struct conn *c, uint32_t rtt_us);
uint16_t rtt_pack(uint32_t us);
uint32_t rtt_unpack(uint16_t packed);

/* timer.c */
void timer_fire(struct conn *c);

#endif
