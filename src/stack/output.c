/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sending: what is due on a connection leaves here, once per flush.
 *
 *	output_flush:  SYN-ACK | cached reply again | new data and FIN | pure ACK
 *
 * Every segment carries the current acknowledgement and window, so a pure ACK
 * goes out only when nothing else did. There is no Nagle: an application that
 * hands over a reply wants it sent (RFC 9293 3.7.4 lets it choose).
 */
#include "base/bytes.h"
#include "stack/conn.h"
#include "stack/options.h"

static struct seg_opts output_opts(const struct conn *c)
{
	struct seg_opts opts = { 0 };

	if (c->r->flags & REC_TS) {
		opts.has_ts = true;
		opts.tsval = conn_ts_now(c);
		opts.tsecr = c->r->ts_recent;
	}
	return opts;
}

/* The acknowledgement goes out with whatever is about to be sent. */
static void output_take_ack(struct conn *c, bool with_data)
{
	struct blk *b = c->b;

	if (b->rcv_ack != b->rcv_acked && with_data)
		stack_count(c->st, SC_pure_acks_saved);
	b->rcv_acked = b->rcv_ack;
	b->flags &= ~(uint32_t)BLK_ACK_NOW;
	b->ack_at = 0;
}

/* Send [seq, seq + len) of the queue, with a FIN behind when asked for. */
static uint32_t output_segment(struct conn *c, uint32_t seq, uint32_t len,
			       bool fin)
{
	struct iovec iov[STACK_EMIT_IOV_MAX];
	struct respond what = { .flags = TH_ACK, .seq = seq };
	struct blk *b = c->b;
	struct tuple tuple;
	uint32_t got = 0;
	int n = 0;

	if (len) {
		n = tx_pieces(c, seq, len, iov + 1, STACK_EMIT_IOV_MAX - 1,
			      &got);
		fin = fin && got == len;
		if (seq + got == b->snd_end)
			what.flags |= TH_PSH;
	}
	if (fin)
		what.flags |= TH_FIN;
	output_take_ack(c, got > 0);
	what.wnd = ack_window(c);
	what.ack = b->rcv_acked;
	what.opts = output_opts(c);
	shard_rec_tuple(c->st->sh, c->ri, &tuple);
	respond_emit(c->st, &tuple, &what, iov, n + 1, got);
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

/* How much of the queue may go now, and with a FIN? False: nothing. */
static bool output_allowed(const struct conn *c, uint32_t *ret_len,
			   bool *ret_fin)
{
	const struct blk *b = c->b;
	uint32_t mss = conn_mss(c), flight = b->snd_nxt - b->snd_una;
	bool fin_sent = seq_gt(b->snd_nxt, b->snd_end);
	uint32_t queued = fin_sent ? 0 : b->snd_end - b->snd_nxt;
	uint32_t window = min_u32(b->snd_wnd, b->cc.cwnd);
	uint32_t usable = window > flight ? window - flight : 0;
	uint32_t len = min_u32(min_u32(queued, mss), usable);

	*ret_len = len;
	*ret_fin = b->flags & BLK_FIN_QUEUED && !fin_sent && len == queued &&
		   (usable > len || !flight);
	if (!len)
		return *ret_fin;
	/*
	 * RFC 9293 3.8.6.2.1: a full segment, all there is, half the window;
	 * what is sent again has waited long enough.
	 */
	return len == mss || len == queued || len >= b->max_wnd / 2 ||
	       seq_lt(b->snd_nxt, b->snd_max);
}

static bool output_data(struct conn *c)
{
	struct blk *b = c->b;
	uint32_t len;
	bool fin, sent = false;

	while (output_allowed(c, &len, &fin)) {
		uint32_t seq = b->snd_nxt;

		b->snd_nxt += output_segment(c, seq, len, fin);
		sent = true;
		if (seq_lt(seq, b->snd_max)) {
			stack_count(c->st, SC_segs_retransmitted);
		} else if (!b->rtt.timed_at_us) {
			b->rtt.timed_at_us = c->now_us;
			b->rtt.timed_seq = b->snd_nxt;
		}
		if (seq_gt(b->snd_nxt, b->snd_max)) {
			uint32_t first = seq_max(seq, b->snd_max);

			stack_count_n(c->st, SC_bytes_out,
				      seq_min(b->snd_nxt, b->snd_end) - first);
			if (b->snd_una == b->snd_max)
				b->progress_at = c->now_us;
			b->snd_max = b->snd_nxt;
		}
	}
	return sent;
}

void output_resend_head(struct conn *c)
{
	struct blk *b = c->b;
	uint32_t sent_data_end = seq_min(b->snd_max, b->snd_end);
	uint32_t len = seq_gt(sent_data_end, b->snd_una)
			       ? sent_data_end - b->snd_una
			       : 0;
	bool fin;

	if (b->snd_una == b->snd_max)
		return;
	len = min_u32(len, conn_mss(c));
	fin = seq_gt(b->snd_max, b->snd_end) && b->snd_una + len == b->snd_end;
	output_segment(c, b->snd_una, len, fin);
	stack_count(c->st, SC_segs_retransmitted);
	/* Karn: what was sent twice gives no round-trip time. */
	b->rtt.timed_at_us = 0;
}

void output_flush(struct conn *c)
{
	struct blk *b = c->b;
	bool sent = false;

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
	if (b->flags & BLK_RESEND) {
		stack_count(c->st, SC_reply_resent);
		output_resend_head(c);
	}
	sent = output_data(c);
	if (b->flags & BLK_ACK_NOW && !sent) {
		output_take_ack(c, false);
		respond_ack(c);
	}
	b->flags &= ~(uint32_t)(BLK_RESEND | BLK_ACK_NOW);
	if (c->r->state == TCP_LAST_ACK && c->r->flags & REC_FIN_ACKED &&
	    b->rcv_acked == b->rcv_nxt) {
		conn_end(c, false);
		return;
	}
	recovery_arm(c);
	conn_arm(c);
	conn_rest(c);
}
