/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sending: what is due on a connection leaves here, once per flush.
 *
 *	output_flush:  SYN-ACK | cached reply again | what is lost, again
 *	               | new data and FIN | pure ACK
 *
 * Every segment carries the current acknowledgement, window and SACK blocks, so
 * a pure ACK goes out only when nothing else did, or when no segment had room
 * for SACK. There is no Nagle: an application that hands over a reply wants it
 * sent (RFC 9293 3.7.4 lets it choose).
 *
 * cwnd bounds what is in flight (recovery_pipe()), the client's window what is
 * beyond snd_una. What is lost goes before what is new.
 */
#include <assert.h>

#include "base/bytes.h"
#include "stack/cc.h"
#include "stack/options.h"
#include "stack/recovery.h"
#include "stack/sack.h"

/* A segment that is about to be sent. */
struct output_seg {
	uint32_t seq, len; /* payload */
	bool fin;
	bool new; /* for the first time: moves snd_nxt, may carry ECT and CWR */
	uint32_t *chunk; /* tx_pieces() */
};

/* The acknowledgement goes out with whatever is about to be sent. */
static void output_take_ack(struct conn *c, bool with_data)
{
	struct blk *b = c->b;

	if (b->rcv_ack != b->rcv_acked && with_data)
		stack_count(c->st, SC_pure_acks_saved);
	/* RFC 9293 MUST-13: twice the MSL from the ACK of the FIN. */
	if (b->rcv_ack != b->rcv_acked && c->r->state == TCP_TIME_WAIT)
		c->r->last_active = conn_tick(c->now_us);
	b->rcv_acked = b->rcv_ack;
	b->flags &= ~(uint32_t)BLK_ACK_NOW;
	b->ack_at = 0;
}

/* RFC 3168 6.1: ECT on new data alone, CWR on the first after a reduction. */
static void output_ecn(struct conn *c, const struct output_seg *os,
		       struct respond *what)
{
	struct blk *b = c->b;

	if (!(c->r->flags & REC_ECN))
		return;
	if (c->r->flags & REC_ECE)
		what->flags |= TH_ECE;
	/* Neither on what the client's window has no room for: 6.1.6. */
	if (!os->new || !os->len ||
	    seq_gt(os->seq + os->len, b->snd_una + b->snd_wnd))
		return;
	what->ecn = ECN_ECT0;
	if (b->flags & BLK_CWR_DUE) {
		what->flags |= TH_CWR;
		b->flags &= ~(uint32_t)BLK_CWR_DUE;
	}
}

/* Returns the sequence space that was sent: os, or its beginning. */
static uint32_t output_segment(struct conn *c, const struct output_seg *os)
{
	struct iovec iov[STACK_EMIT_IOV_MAX];
	struct respond what = { .flags = TH_ACK, .seq = os->seq };
	struct blk *b = c->b;
	struct tuple tuple;
	bool fin = os->fin;
	uint32_t got = 0;
	int n = 0;

	if (os->len) {
		n = tx_pieces(c, os->seq, os->len, os->chunk, iov + 1,
			      STACK_EMIT_IOV_MAX - 1, &got);
		fin = fin && got == os->len;
		if (os->seq + got == b->snd_end)
			what.flags |= TH_PSH;
	}
	if (fin)
		what.flags |= TH_FIN;
	output_ecn(c, os, &what);
	output_take_ack(c, got > 0);
	what.wnd = ack_window(c);
	what.ack = b->rcv_acked;
	respond_opts(c, conn_mss(c) - min_u32(got, conn_mss(c)), &what.opts);
	/* Before it leaves: who takes over from us must know of it. */
	if (os->new)
		b->snd_nxt = os->seq + got + fin;
	arena_order();
	shard_rec_tuple(c->st->sh, c->ri, &tuple);
	respond_emit(c->st, &tuple, &what, iov, n + 1, got);
	b->sent_at = c->now_us;
	return got + fin;
}

/* RFC 9293 3.10.7.2, and the options as RFC 7323 and 6691 ask. */
void output_synack(struct conn *c)
{
	struct rec *r = c->r;
	struct respond what = { .flags = TH_SYN | TH_ACK, .seq = r->iss };
	struct stack_limits *limits = &c->st->limits;
	struct tuple tuple;
	uint32_t wnd;

	shard_rec_tuple(c->st->sh, c->ri, &tuple);
	what.opts.has_mss = true;
	what.opts.mss = (uint16_t)(limits->mtu - (tuple.v6 ? 60u : 40u));
	what.opts.has_wscale = r->flags & REC_WSCALE;
	what.opts.wscale = conn_rcv_shift(c);
	what.opts.sack_ok = r->flags & REC_SACK;
	/* RFC 3168 6.1.1. */
	if (r->flags & REC_ECN)
		what.flags |= TH_ECE;
	if (r->flags & REC_TS) {
		what.opts.has_ts = true;
		what.opts.tsval = conn_ts_now(c);
		what.opts.tsecr = r->ts_recent;
	}
	what.ack = r->irs + 1;
	/* RFC 7323 2.2: never scaled. Sent again: no less than promised. */
	wnd = max_u32(rx_space(c), c->b->rcv_adv - what.ack);
	what.wnd = (uint16_t)min_u32(wnd, UINT16_MAX);
	c->b->rcv_adv = seq_max(c->b->rcv_adv, what.ack + what.wnd);
	if (what.wnd < c->b->rcv_mss)
		c->b->flags |= BLK_WINDOW_HELD;
	c->b->flags &= ~(uint32_t)(BLK_SYNACK_NOW | BLK_ACK_NOW);
	respond_emit(c->st, &tuple, &what, (struct iovec[1]){ { 0 } }, 1, 0);
}

/* PRR counts what a reduction lets out. */
static void output_count(struct conn *c, uint32_t len)
{
	struct blk *b = c->b;

	if (b->cc.phase == CC_RECOVERY || b->cc.phase == CC_CWR)
		b->loss.prr_out += len;
}

void output_again(struct conn *c, uint32_t i)
{
	struct sents *ss = &c->st->sh->sents;
	struct blk *b = c->b;
	uint32_t mss = conn_mss(c), sent;
	struct sent *s = &ss->items[i];
	struct output_seg os = { .seq = s->seq, .chunk = &s->chunk };

	if (sent_len(s) > mss)
		sents_split(ss, b, i, s->seq + mss);
	os.len = seq_lt(s->seq, b->snd_end)
			 ? seq_min(s->end, b->snd_end) - s->seq
			 : 0;
	os.fin = seq_gt(s->end, b->snd_end) && os.len <= mss;
	os.len = min_u32(os.len, mss);
	sent = output_segment(c, &os);
	assert(sent); /* the queue has all of the flight */
	if (sent < sent_len(s))
		sents_split(ss, b, i, s->seq + sent);
	sents_again(ss, b, i, c->now_us);
	undo_sent_again(c);
	output_count(c, sent);
	stack_count(c->st, SC_segs_retransmitted);
}

/*
 * The last segment is lost and not full: what was queued since joins it (a
 * window probe's byte, the last of many small replies).
 */
static void output_grow(struct conn *c, uint32_t i)
{
	struct sents *ss = &c->st->sh->sents;
	struct blk *b = c->b;
	uint32_t len = sent_len(&ss->items[i]), mss = conn_mss(c);
	uint32_t flight = b->snd_nxt - b->snd_una, more;

	if (i != b->sent.tail || len >= mss ||
	    seq_geq(b->snd_nxt, b->snd_end) || b->snd_wnd <= flight)
		return;
	more = min_u32(min_u32(mss - len, b->snd_end - b->snd_nxt),
		       b->snd_wnd - flight);
	b->snd_nxt += more;
	sents_grow(ss, b, b->snd_nxt, c->now_us);
	stack_count_n(c->st, SC_bytes_out, more);
}

/*
 * What is lost, as far as cwnd and the client's window reach. Answers whether
 * new data may follow: not before all of it went.
 */
static bool output_lost(struct conn *c)
{
	struct sents *ss = &c->st->sh->sents;
	struct blk *b = c->b;
	uint32_t i;

	/* RFC 5682 step 2b: new data decides first. */
	if (b->loss.frto == FRTO_SECOND)
		return true;
	while ((i = sents_next_lost(ss, b)) != NIL) {
		const struct sent *s = &ss->items[i];
		uint32_t len = min_u32(sent_len(s), conn_mss(c));
		uint32_t pipe = recovery_pipe(c);

		if (pipe && pipe + len > b->cc.cwnd)
			return false;
		if (s->seq != b->snd_una &&
		    seq_gt(s->seq + len, b->snd_una + b->snd_wnd))
			return false;
		output_grow(c, i);
		output_again(c, i);
		/*
		 * RFC 6298 (5.3) as of now: the ACK of the first segment is a
		 * round trip away again.
		 */
		if (i == b->sent.head && b->cc.phase == CC_RECOVERY)
			b->rexmit_at = 0;
	}
	return true;
}

/* New data, or the FIN, for the first time. */
static void output_first(struct conn *c, uint32_t len, bool fin)
{
	struct blk *b = c->b;
	struct output_seg os = {
		.seq = b->snd_nxt,
		.len = len,
		.fin = fin,
		.new = true,
		.chunk = &b->tx_cur,
	};
	uint32_t i, n;

	if (b->snd_una == b->snd_nxt)
		b->progress_at = c->now_us;
	n = output_segment(c, &os);
	i = sents_append(&c->st->sh->sents, b, c->r->block, os.seq, b->snd_nxt,
			 c->now_us);
	if (c->st->sh->sents.items[i].seq == os.seq)
		c->st->sh->sents.items[i].chunk = len ? b->tx_cur : NIL;
	output_count(c, n);
	stack_count_n(c->st, SC_bytes_out,
		      seq_min(b->snd_nxt, b->snd_end) - os.seq);
	/* A new tail: the loss probe waits for it anew (RFC 8985 7.2). */
	if (!(b->loss.flags & LOSS_REO_TIMER))
		b->probe_at = 0;
}

void output_probe(struct conn *c, uint32_t len)
{
	struct blk *b = c->b;
	bool fin_sent = seq_gt(b->snd_nxt, b->snd_end);
	uint32_t queued = fin_sent ? 0 : b->snd_end - b->snd_nxt;

	len = min_u32(min_u32(len, queued), conn_mss(c));
	if (!len && (fin_sent || !(b->flags & BLK_FIN_QUEUED)))
		return;
	output_first(c, len, b->flags & BLK_FIN_QUEUED && len == queued);
}

/* Payload of a full segment that leaves room for what SACK has to say. */
static uint32_t output_mss(const struct conn *c)
{
	uint32_t mss = conn_mss(c), sack = sack_option_bytes(c);

	return mss > 2 * sack ? mss - sack : mss;
}

/* What the client's window and cwnd leave for new data. */
static uint32_t output_usable(const struct conn *c, bool *ret_cwnd)
{
	const struct blk *b = c->b;
	uint32_t pipe = recovery_pipe(c), flight = b->snd_nxt - b->snd_una;
	uint32_t wnd = b->snd_wnd > flight ? b->snd_wnd - flight : 0;
	uint32_t cwnd = b->cc.cwnd > pipe ? b->cc.cwnd - pipe : 0;

	*ret_cwnd = cwnd < wnd;
	return min_u32(wnd, cwnd);
}

/* How much of the queue may go now, and with a FIN? False: nothing. */
static bool output_allowed(struct conn *c, uint32_t *ret_len, bool *ret_fin)
{
	struct blk *b = c->b;
	uint32_t mss = output_mss(c), flight = b->snd_nxt - b->snd_una;
	bool fin_sent = seq_gt(b->snd_nxt, b->snd_end), by_cwnd;
	uint32_t queued = fin_sent ? 0 : b->snd_end - b->snd_nxt;
	uint32_t usable = output_usable(c, &by_cwnd);
	uint32_t len = min_u32(min_u32(queued, mss), usable);

	if (len < min_u32(queued, mss) && by_cwnd)
		b->flags |= BLK_CWND_LIMITED;
	*ret_len = len;
	*ret_fin = b->flags & BLK_FIN_QUEUED && !fin_sent && len == queued &&
		   (usable > len || !flight);
	if (!len && !*ret_fin)
		return false;
	if (b->sent.n >= RECOVERY_SEGS_MAX) {
		stack_count(c->st, SC_flight_full);
		return false;
	}
	/* RFC 9293 3.8.6.2.1: a full segment, all there is, half the window. */
	return !len || len == mss || len == queued || len >= b->max_wnd / 2;
}

/* RFC 5681 4.1, RFC 9438 5.8: nothing was in flight for a while. */
static void output_after_idle(struct conn *c)
{
	struct blk *b = c->b;

	if (!b->sent_at || b->snd_una != b->snd_nxt || b->snd_end == b->snd_nxt)
		return;
	cc_resumed(&b->cc, c->now_us - max_u64(b->sent_at, b->progress_at));
	if (c->now_us - b->sent_at > b->rtt.rto_us)
		cc_idle(&b->cc, conn_mss(c));
	b->sent_at = c->now_us;
}

/* The end of all that is queued, our FIN with it. */
static uint32_t output_end(const struct blk *b)
{
	return b->snd_end + !!(b->flags & BLK_FIN_QUEUED);
}

static void output_data(struct conn *c)
{
	struct blk *b = c->b;
	uint32_t len;
	bool fin;

	if (b->sent.lost_bytes && !output_lost(c))
		return;
	output_after_idle(c);
	b->flags &= ~(uint32_t)BLK_CWND_LIMITED;
	while (b->snd_nxt != output_end(b) && output_allowed(c, &len, &fin))
		output_first(c, len, fin);
	/* RFC 5682 step 2b wants new data, and none may go: no F-RTO then. */
	if (b->loss.frto == FRTO_SECOND && b->snd_nxt == b->cc.recover) {
		b->loss.frto = FRTO_OFF;
		output_lost(c);
	}
}

/* Figure 5c: the client sent its request again; so do we what answers it. */
static void output_resend(struct conn *c)
{
	struct blk *b = c->b;
	uint32_t head = b->sent.head;

	if (head == NIL || c->st->sh->sents.items[head].flags & SENT_SACKED)
		return;
	stack_count(c->st, SC_reply_resent);
	output_again(c, head);
}

/* After a FIN that is acknowledged nothing more is waited for. */
static bool output_is_over(const struct conn *c)
{
	return c->r->state == TCP_LAST_ACK && c->r->flags & REC_FIN_ACKED &&
	       c->b->rcv_acked == c->b->rcv_nxt;
}

void output_ack(struct conn *c)
{
	output_take_ack(c, false);
	respond_ack(c);
}

void output_flush(struct conn *c)
{
	struct blk *b = c->b;
	bool asked;

	if (c->r->state == TCP_SYN_HELD || c->r->state == TCP_GONE)
		return;
	if (c->r->state == TCP_SYN_RECEIVED) {
		if (b->flags & BLK_SYNACK_NOW)
			output_synack(c);
		conn_arm(c);
		return;
	}
	/* The handshake ended in the same turn: the client has its SYN-ACK. */
	b->flags &= ~(uint32_t)BLK_SYNACK_NOW;
	asked = b->flags & BLK_ACK_NOW;
	if (b->flags & BLK_RESEND)
		output_resend(c);
	if (b->snd_una != output_end(b))
		output_data(c);
	else
		b->flags &= ~(uint32_t)BLK_CWND_LIMITED;
	/* Nothing carried it, or not all of what was to be said. */
	if (b->flags & BLK_ACK_NOW ||
	    (asked && b->flags & BLK_SACK_DUE && sack_option_bytes(c))) {
		output_ack(c);
	}
	b->flags &= ~(uint32_t)(BLK_RESEND | BLK_ACK_NOW);
	if (output_is_over(c)) {
		conn_end(c, false);
		return;
	}
	rexmit_arm(c);
	conn_rest(c);
	if (c->b)
		conn_arm(c);
}
