/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TCP input for an existing connection: RFC 9293 section 3.10.7.4, in its
 * order. Each input_*() step answers whether the segment goes on to the next.
 *
 * Where it departs from the RFC, on purpose:
 *  - The receive window begins at rcv_acked, what the client has seen
 *    acknowledged, not at rcv_nxt: in deferred mode the bytes between are held,
 *    and a retransmission of them is acceptable, so that its ACK field counts
 *    (I6).
 *  - A RST is taken at rcv_nxt and at rcv_acked: the client answers our
 *    challenge with the number that we acknowledged (RFC 5961 3.2).
 *  - Urgent data is ordinary data, as RFC 6093 section 6 asks.
 *  - A segment without the negotiated timestamp is taken: there are clients
 *    that drop it from the handshake's last ACK.
 */
#include "base/bytes.h"
#include "stack/recovery.h"
#include "stack/sack.h"

/* RFC 7323 5.5: after so long an idleness TS.Recent says nothing any more. */
#define PAWS_IDLE_TICKS (UINT32_C(24) * 86400 * 1000 / REC_TICK_MS)

/* RFC 7323 5.3 R1. */
static bool input_paws(struct conn *c, const struct seg *seg)
{
	struct rec *r = c->r;

	if (!(r->flags & REC_TS) || !seg->opts.has_ts || seg->flags & TH_RST)
		return true;
	if (seq_geq(seg->opts.tsval, r->ts_recent) ||
	    conn_tick(c->now_us) - r->last_active > PAWS_IDLE_TICKS)
		return true;
	stack_count(c->st, SC_paws_dropped);
	respond_out_of_window(c);
	return false;
}

static bool input_acceptable(const struct blk *b, const struct seg *seg)
{
	uint32_t len = seg_space(seg), end = seg->seq + len;

	/* Beside the probe of a closed window its sender may count the byte. */
	if (!len)
		return seq_between(b->rcv_acked, seg->seq,
				   b->rcv_adv + (b->rcv_adv == b->rcv_nxt));
	if (seq_lt(seg->seq, b->rcv_adv) && seq_gt(end, b->rcv_acked))
		return true;
	/* A probe of a closed window: its ACK counts, its text will not fit. */
	return seg->seq == b->rcv_nxt && b->rcv_adv == b->rcv_nxt;
}

/*
 * Text from before the window: what the client may have sent again, as far as
 * we can tell? It lies within a window's reach, and so does what it
 * acknowledges. A stranger's guess gets the limited answer, not our reply.
 */
static bool input_is_own(const struct conn *c, const struct seg *seg)
{
	const struct blk *b = c->b;

	return seg->flags & TH_ACK &&
	       b->rcv_acked - seg->seq <= c->st->limits.rcv_window_max &&
	       seq_between(b->snd_una - b->max_wnd, seg->ack, b->snd_nxt);
}

/*
 * RFC 3168 6.1.1: a client that repeats its SYN without ECN has given up on it,
 * as the first one was lost perhaps because of it.
 */
static void input_syn_again(struct conn *c, const struct seg *seg)
{
	if ((seg->flags & (TH_ECE | TH_CWR)) != (TH_ECE | TH_CWR))
		c->r->flags &= (uint16_t)~REC_ECN;
}

/* First: check the sequence number. */
static bool input_sequence(struct conn *c, const struct seg *seg)
{
	struct blk *b = c->b;

	if (!input_paws(c, seg))
		return false;
	/* The SYN again; one with data reaches into the window. */
	if (c->r->state == TCP_SYN_RECEIVED && seg->seq == c->r->irs &&
	    (seg->flags & (TH_SYN | TH_RST)) == TH_SYN) {
		input_syn_again(c, seg);
		b->rtt.timed_at_us = 0; /* Karn */
		conn_mark(c, BLK_SYNACK_NOW);
		return false;
	}
	if (input_acceptable(b, seg))
		return true;
	if (seg->flags & TH_RST)
		return false;
	if (seg_space(seg) && !(seg->flags & TH_SYN) &&
	    seq_leq(seg->seq + seg_space(seg), b->rcv_acked) &&
	    input_is_own(c, seg)) {
		ack_retransmitted(c, seg);
		return false;
	}
	stack_count(c->st, SC_drop_window);
	/*
	 * From before the window: a keepalive probe, to be answered.
	 * From beyond it: a guess, perhaps, and not worth a flood of answers.
	 */
	if (seq_lt(seg->seq, b->rcv_acked))
		respond_out_of_window(c);
	else
		respond_challenge(c);
	return false;
}

/* Second: check the RST bit; RFC 5961 section 3. */
static bool input_rst(struct conn *c, const struct seg *seg)
{
	if (!(seg->flags & TH_RST))
		return true;
	if (seg->seq != c->b->rcv_nxt && seg->seq != c->b->rcv_acked) {
		respond_challenge(c);
		return false;
	}
	stack_count(c->st, SC_conn_reset_in);
	conn_end(c, true);
	return false;
}

/* Fourth: check the SYN bit; RFC 5961 section 4. (Third, security, is gone.) */
static bool input_syn(struct conn *c, const struct seg *seg)
{
	if (!(seg->flags & TH_SYN))
		return true;
	stack_count(c->st, SC_syn_in_window);
	respond_challenge(c);
	return false;
}

static void input_established(struct conn *c, const struct seg *seg)
{
	struct blk *b = c->b;

	b->snd_una = seg->ack;
	b->snd_wnd = seg->wnd << conn_snd_shift(c);
	b->max_wnd = b->snd_wnd;
	b->snd_wl1 = seg->seq;
	b->snd_wl2 = seg->ack;
	b->life_at = 0;
	b->rexmit_at = 0;
	b->cc.backoff = 0;
	b->progress_at = c->now_us;
	if (b->rtt.timed_at_us)
		rtt_sample(c, (uint32_t)(c->now_us - b->rtt.timed_at_us));
	b->rtt.timed_at_us = 0;
	if (b->rexmits) {
		/* RFC 5681 3.1, RFC 6298 (5.7). */
		b->cc.cwnd = conn_mss(c);
		b->rtt.rto_us = TCP_RTO_LOST_SYN_US;
	}
	b->rexmits = 0;
	b->loss.fack = b->snd_una;
	conn_set_state(c, TCP_ESTABLISHED);
	if (b->flags & BLK_FIN_QUEUED)
		conn_set_state(c, TCP_FIN_WAIT_1);
	/* Once: the application that accepted it knows. */
	if (c->g->announce && !(c->r->flags & REC_TOLD))
		conn_event(c, STACK_EV_OPEN);
}

static void input_fin_acked(struct conn *c)
{
	struct blk *b = c->b;

	ARENA_COMMIT(c->r->flags, (uint16_t)(c->r->flags | REC_FIN_ACKED));
	switch (c->r->state) {
	case TCP_FIN_WAIT_1:
		conn_set_state(c, TCP_FIN_WAIT_2);
		if (c->r->flags & REC_ORPHAN)
			b->life_at = c->now_us + TCP_FIN_WAIT_2_US;
		break;
	case TCP_CLOSING:
		conn_set_state(c, TCP_TIME_WAIT);
		break;
	default:
		break;
	}
}

/* SND.UNA moves on: RFC 9293 3.10.7.4, "ESTABLISHED STATE" of the ACK check. */
static void input_advance(struct conn *c, const struct seg *seg,
			  struct ack_news *news)
{
	struct blk *b = c->b;
	uint32_t acked = seg->ack - b->snd_una;
	bool fin = b->flags & BLK_FIN_QUEUED && seg->ack == b->snd_end + 1;

	ARENA_COMMIT(c->r->snd_off, c->r->snd_off + (acked - fin));
	b->snd_una = seg->ack;
	tx_acked(c, seg->ack - fin);
	recovery_advanced(c, acked, news);
	conn_event(c, STACK_EV_ACKED);
	if (fin)
		input_fin_acked(c);
}

/*
 * RFC 9293 3.10.7.4. An ACK of something new always brings the newest window,
 * whatever its sequence number (a retransmission carries it, too).
 */
static void input_window(struct conn *c, const struct seg *seg, bool advanced)
{
	struct blk *b = c->b;
	bool closed = !b->snd_wnd;

	if (!advanced && !seq_lt(b->snd_wl1, seg->seq) &&
	    !(b->snd_wl1 == seg->seq && seq_leq(b->snd_wl2, seg->ack)))
		return;
	b->snd_wnd = seg->wnd << conn_snd_shift(c);
	b->max_wnd = max_u32(b->max_wnd, b->snd_wnd);
	b->snd_wl1 = seg->seq;
	b->snd_wl2 = seg->ack;
	/* One that was merely small goes on: the override timer runs for it. */
	if (b->flags & BLK_PERSIST && closed && b->snd_wnd) {
		rexmit_reopened(c);
		/* Time to take what is sent now; once, until it does. */
		if (!(b->flags & BLK_REOPENED))
			b->progress_at = c->now_us;
		b->flags |= BLK_REOPENED;
	}
}

/*
 * RFC 5681 section 2: does it say that something arrived out of order? The
 * answer to a window probe does not.
 */
static bool input_is_dupack(const struct blk *b, const struct seg *seg,
			    uint32_t wnd)
{
	return seg->ack == b->snd_una && b->snd_una != b->snd_nxt &&
	       !seg->len && !(seg->flags & TH_FIN) && wnd == b->snd_wnd &&
	       !(b->flags & BLK_PERSIST);
}

/* Fifth: check the ACK field. */
static bool input_ack(struct conn *c, const struct seg *seg)
{
	struct blk *b = c->b;
	bool advanced = seq_gt(seg->ack, b->snd_una);
	struct ack_news news;

	if (!(seg->flags & TH_ACK)) {
		stack_count(c->st, SC_drop_no_ack);
		return false;
	}
	if (c->r->state == TCP_SYN_RECEIVED) {
		if (seg->ack != b->snd_nxt && !listen_adopt(c, seg)) {
			stack_count(c->st, SC_drop_ack_range);
			respond_reset(c->st, seg);
			return false;
		}
		input_established(c, seg);
		return true;
	}
	/* RFC 5961 section 5.2. */
	if (!seq_between(b->snd_una - b->max_wnd, seg->ack, b->snd_nxt)) {
		stack_count(c->st, SC_drop_ack_range);
		respond_challenge(c);
		return false;
	}
	recovery_begin(c, seg,
		       input_is_dupack(b, seg, seg->wnd << conn_snd_shift(c)),
		       &news);
	if (advanced)
		input_advance(c, seg, &news);
	if (seq_geq(seg->ack, b->snd_una))
		input_window(c, seg, advanced);
	recovery_end(c, &news);
	/* Over, unless the client still waits for our acknowledgement (output.c). */
	if (c->r->state == TCP_LAST_ACK && c->r->flags & REC_FIN_ACKED &&
	    b->rcv_acked == b->rcv_nxt) {
		conn_end(c, false);
		return false;
	}
	return true;
}

/* May this state receive text? RFC 9293 3.10.7.4, seventh. */
static bool input_receives(const struct conn *c)
{
	return c->r->state == TCP_ESTABLISHED ||
	       c->r->state == TCP_FIN_WAIT_1 || c->r->state == TCP_FIN_WAIT_2;
}

static void input_text_counts(struct conn *c, uint32_t gained)
{
	struct stack_group_stats *stats = conn_stats(c);

	stack_count(c->st, SC_msgs_in);
	stack_count_n(c->st, SC_bytes_in, gained);
	counter_add(&stats->msgs_in, 1);
	counter_add(&stats->bytes_in, gained);
}

/* Seventh: process the segment text. Answers whether the FIN may count. */
static bool input_text(struct conn *c, const struct seg *seg)
{
	struct blk *b = c->b;
	uint32_t before = b->rcv_nxt, end = seg->seq + seg->len, gained;
	bool old = seq_leq(end, b->rcv_nxt);

	if (!seg->len)
		return true;
	if (!input_receives(c)) {
		if (!old)
			stack_count(c->st, SC_drop_after_fin);
		else
			ack_retransmitted(c, seg);
		return false;
	}
	if (old) {
		if (!(seg->flags & TH_FIN))
			ack_retransmitted(c, seg);
		return true;
	}
	if (c->r->flags & REC_ORPHAN) {
		/* RFC 1122 4.2.2.13: nobody is there to read it. */
		conn_abort(c, SC_drop_after_close, false);
		return false;
	}
	if (b->rcv_adv == b->rcv_nxt) {
		conn_mark(c, BLK_ACK_NOW);
		return false;
	}
	if (seq_lt(seg->seq, before))
		sack_duplicate(c, seg->seq, before);
	if (!rx_text(c, seg))
		return false;
	gained = b->rcv_nxt - before;
	if (gained)
		sack_advanced(c);
	ack_text(c, gained, seg,
		 !gained || b->ooo_head != NIL || gained > seg->len);
	if (gained) {
		input_text_counts(c, gained);
		conn_event(c, STACK_EV_DATA);
	}
	return true;
}

static void input_fin_state(struct conn *c)
{
	switch (c->r->state) {
	case TCP_ESTABLISHED:
		conn_set_state(c, TCP_CLOSE_WAIT);
		break;
	case TCP_FIN_WAIT_1:
		conn_set_state(c, TCP_CLOSING);
		break;
	case TCP_FIN_WAIT_2:
		conn_set_state(c, TCP_TIME_WAIT);
		c->b->life_at = 0;
		break;
	default:
		break;
	}
}

/* Eighth: check the FIN bit. An early one waits for the gap before it to close. */
static void input_fin(struct conn *c, const struct seg *seg)
{
	struct blk *b = c->b;

	if (seg->flags & TH_FIN) {
		if (conn_fin_rcvd(c)) {
			ack_retransmitted(c, seg);
			return;
		}
		b->fin_seq = seg->seq + seg->len;
		b->flags |= BLK_FIN_SEEN;
	}
	/* One that lies within what came already is no FIN of this stream. */
	if (b->flags & BLK_FIN_SEEN && seq_lt(b->fin_seq, b->rcv_nxt))
		b->flags &= ~(uint32_t)BLK_FIN_SEEN;
	if (!(b->flags & BLK_FIN_SEEN) || b->fin_seq != b->rcv_nxt ||
	    conn_fin_rcvd(c)) {
		/* RFC 5681 4.2: at once, as there is a gap before it. */
		if (seg->flags & TH_FIN && b->flags & BLK_FIN_SEEN)
			conn_mark(c, BLK_ACK_NOW);
		return;
	}
	b->flags &= ~(uint32_t)BLK_FIN_SEEN;
	/* Nothing follows a FIN; what claimed to would never leave the queue. */
	rx_prune(c);
	ARENA_COMMIT(c->r->flags, (uint16_t)(c->r->flags | REC_FIN_RCVD));
	b->rcv_nxt++;
	b->rcv_adv = seq_max(b->rcv_adv, b->rcv_nxt);
	input_fin_state(c);
	ack_fin(c);
	conn_event(c, STACK_EV_EOF);
}

/*
 * TIME-WAIT is a bare record. RFC 1337: a RST does not end it. RFC 6191: a new
 * SYN that is provably newer does, and opens a connection. RFC 9293: anything
 * else is acknowledged, and the FIN again starts the wait anew.
 */
static void input_time_wait(struct conn *c, const struct seg *seg)
{
	struct rec *r = c->r;
	bool newer = listen_is_newer(c, seg);

	/* An application that has not closed yet still holds the old one. */
	bool unclaimed = r->flags & REC_ORPHAN || !(r->flags & REC_TOLD);

	if (seg->flags & TH_RST)
		return;
	if ((seg->flags & (TH_SYN | TH_ACK)) == TH_SYN && newer && unclaimed) {
		listen_reuse(c, seg);
		return;
	}
	if (!conn_activate(c))
		return;
	if (seg->flags & TH_FIN && seg->seq + seg_space(seg) == c->b->rcv_nxt)
		r->last_active = conn_tick(c->now_us);
	respond_challenge(c);
	conn_mark(c, 0);
}

/*
 * The client lives: keepalive begins anew. Only once the ACK field was found
 * good, as input_timestamp(): RFC 7323 5.5 counts from here.
 */
static void input_alive(struct conn *c)
{
	c->r->last_active = conn_tick(c->now_us);
	if (!(c->b->flags & BLK_PROBING))
		return;
	c->b->flags &= ~(uint32_t)BLK_PROBING;
	c->b->probes = 0;
	c->b->life_at = 0;
}

/*
 * RFC 7323 4.3 (2), (3): Last.ACK.sent is rcv_acked. Only once the ACK field
 * was found good: a guessed segment must not make PAWS drop the real ones.
 */
static void input_timestamp(struct conn *c, const struct seg *seg)
{
	/* One that PAWS let pass though it is older: 5.5, whatever its place. */
	if (seg->opts.has_ts && c->r->flags & REC_TS &&
	    (seq_leq(seg->seq, c->b->rcv_acked) ||
	     seq_lt(seg->opts.tsval, c->r->ts_recent)))
		c->r->ts_recent = seg->opts.tsval;
}

/* RFC 3168 6.1.3: a mark is echoed until the client says that it heard. */
static void input_ecn(struct conn *c, const struct seg *seg)
{
	if (!(c->r->flags & REC_ECN))
		return;
	if (seg->flags & TH_CWR)
		c->r->flags &= (uint16_t)~REC_ECE;
	if (seg->ecn != ECN_CE || !seg->len)
		return;
	stack_count(c->st, SC_ecn_marked);
	c->r->flags |= REC_ECE;
}

void input_conn(struct conn *c, const struct seg *seg)
{
	if (c->r->state == TCP_GONE) {
		stack_count(c->st, SC_drop_gone);
		return;
	}
	if (c->r->state == TCP_TIME_WAIT && !c->b) {
		input_time_wait(c, seg);
		return;
	}
	if (c->r->state == TCP_SYN_HELD) {
		if (seg->flags & TH_RST && seg->seq == c->r->irs + 1)
			conn_end(c, true);
		else if (seg->flags & TH_SYN && seg->seq == c->r->irs)
			input_syn_again(c, seg);
		return;
	}
	if (!conn_activate(c))
		return;
	conn_mark(c, 0);
	if (!input_sequence(c, seg))
		return;
	if (!input_rst(c, seg) || !input_syn(c, seg))
		return;
	if (!input_ack(c, seg))
		return;
	input_alive(c);
	input_timestamp(c, seg);
	input_ecn(c, seg);
	if (input_text(c, seg))
		input_fin(c, seg);
}
