/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When bytes are acknowledged: the heart of XTCP (DESIGN 5, figures 5a to 5d).
 *
 *	rcv_app <= rcv_ack <= rcv_nxt        what we may acknowledge is rcv_ack
 *
 * Which events raise rcv_ack depends on the group:
 *
 *	deferred    the application's word (ack_application). Early, and
 *	            counted: ack-deadline, ack-window.
 *	delivered   the bytes went into a backend stream (ack_delivered)
 *	immediate   their arrival (ack_text)
 *
 * ack-window = auto gives way where a standard sender would otherwise starve:
 * a run of full-sized segments (its congestion window, its buffer tuning), a
 * gap (it needs duplicate ACKs to repair it), a full-sized segment sent again,
 * or anything sent again three times (Nagle, a window of one segment). A number
 * of bytes gives way at that number, and to gaps and retransmissions likewise:
 * a sender whose first segment is held can repair nothing behind it.
 *
 * A throttled pool withholds: nothing raises rcv_ack but the application.
 *
 * A FIN is acknowledged with the last byte before it.
 */
#include "base/bytes.h"
#include "stack/conn.h"
#include "stack/sack.h"

/* Full-sized segments in a row that "auto" takes for bulk. */
#define ACK_BULK_RUN 4u
/* Retransmissions of held data that "auto" absorbs. */
#define ACK_ABSORB_MAX 3u

/* The end of the client's bytes, its FIN not counted. */
static uint32_t ack_data_end(const struct conn *c)
{
	return c->b->rcv_nxt - conn_fin_rcvd(c);
}

static void ack_raise(struct conn *c, uint32_t seq)
{
	struct blk *b = c->b;

	b->rcv_ack = seq_max(b->rcv_ack, seq);
	if (conn_fin_rcvd(c) && b->rcv_ack == ack_data_end(c))
		b->rcv_ack = b->rcv_nxt;
}

static bool ack_withheld(const struct conn *c)
{
	if (!c->st->pools[c->g->pool].throttled)
		return false;
	stack_count(c->st, SC_throttle_withheld);
	return true;
}

/* Deferred mode gives way: acknowledge all that is held. Returns whether it may. */
static bool ack_early(struct conn *c, enum stack_counter why)
{
	struct blk *b = c->b;
	uint32_t end = ack_data_end(c);

	if (seq_leq(end, b->rcv_ack))
		return true;
	if (ack_withheld(c))
		return false;
	stack_count(c->st, why);
	stack_count_n(c->st, SC_early_ack_bytes, end - b->rcv_ack);
	b->flags |= BLK_ACK_EARLY;
	ack_raise(c, end);
	return true;
}

/* RFC 1122 4.2.3.2, RFC 5681 4.2: at least every second full segment. */
static void ack_schedule(struct conn *c)
{
	struct blk *b = c->b;

	if (b->rcv_ack == b->rcv_acked)
		return;
	if (b->rcv_ack - b->rcv_acked >= 2u * b->rcv_mss)
		conn_mark(c, BLK_ACK_NOW);
	else if (!b->ack_at || b->ack_at > c->now_us + TCP_DELACK_US)
		b->ack_at = c->now_us + TCP_DELACK_US;
}

/* Start or end the time that ack-deadline gives what is held. */
static void ack_hold(struct conn *c)
{
	struct blk *b = c->b;

	if (c->g->ack != STACK_ACK_DEFERRED || !c->g->ack_deadline_us ||
	    seq_geq(b->rcv_ack, ack_data_end(c)))
		b->hold_at = 0;
	else if (!b->hold_at)
		b->hold_at = c->now_us + c->g->ack_deadline_us;
}

/* Does the group's ack-window say that what is held must be acknowledged? */
static bool ack_window_asks(const struct conn *c, bool gap)
{
	uint32_t window = c->g->ack_window_bytes;
	uint32_t held = ack_data_end(c) - c->b->rcv_ack;

	if (!window || !held)
		return false;
	if (gap)
		return true;
	if (window == STACK_ACK_WINDOW_AUTO)
		return c->b->rcv_full_run >= ACK_BULK_RUN;
	return held >= window;
}

static void ack_text_deferred(struct conn *c, bool gap)
{
	bool bulk = c->g->ack_window_bytes == STACK_ACK_WINDOW_AUTO;

	if (ack_window_asks(c, gap) && ack_early(c, SC_early_ack_window) &&
	    !bulk)
		conn_mark(c, BLK_ACK_NOW);
	if (bulk)
		ack_schedule(c);
	ack_hold(c);
}

void ack_text(struct conn *c, uint32_t n, const struct seg *seg, bool gap)
{
	struct blk *b = c->b;

	b->rcv_mss =
		(uint16_t)min_u32(max_u32(b->rcv_mss, seg->unit), UINT16_MAX);
	if (seg->unit < b->rcv_mss || seg->len % b->rcv_mss)
		b->rcv_full_run = 0; /* none of it was full, or the last not */
	else
		b->rcv_full_run = (uint8_t)min_u32(
			b->rcv_full_run + seg->len / b->rcv_mss, UINT8_MAX);
	if (n)
		b->rcv_rexmits = 0;
	switch (c->g->ack) {
	case STACK_ACK_DEFERRED:
		ack_text_deferred(c, gap);
		break;
	case STACK_ACK_IMMEDIATE:
		if (!ack_withheld(c))
			ack_raise(c, ack_data_end(c));
		ack_schedule(c);
		break;
	case STACK_ACK_DELIVERED:
		break;
	}
	/*
	 * RFC 5681 4.2: at once when there is a gap, or one was filled. A client
	 * without SACK has nothing but their number to go by.
	 */
	if (gap && !n && !(c->r->flags & REC_SACK))
		output_ack(c);
	else if (gap)
		conn_mark(c, BLK_ACK_NOW);
}

void ack_retransmitted(struct conn *c, const struct seg *seg)
{
	struct blk *b = c->b;
	uint32_t end = seg->seq + seg_space(seg);
	bool reply_in_flight = b->snd_una != b->snd_nxt;

	/* It was for nothing: the client may take its reduction back. */
	sack_duplicate(c, seg->seq,
		       seq_min(seg->seq + seg->len, ack_data_end(c)));
	if (seq_gt(end, b->rcv_acked)) {
		/* Held, not acknowledged: there is nothing to say yet. */
		stack_count(c->st, SC_dup_absorbed);
		if (b->rcv_rexmits < UINT8_MAX)
			b->rcv_rexmits++;
		if (c->g->ack == STACK_ACK_DEFERRED && c->g->ack_window_bytes &&
		    (seg->len >= b->rcv_mss ||
		     b->rcv_rexmits >= ACK_ABSORB_MAX) &&
		    ack_early(c, SC_early_ack_window))
			conn_mark(c, BLK_ACK_NOW);
		if (!reply_in_flight)
			return;
	}
	/* Figure 5c: our reply was lost, or its ACK: the cached one goes again. */
	conn_mark(c, reply_in_flight ? BLK_RESEND | BLK_ACK_NOW : BLK_ACK_NOW);
}

/* A window that was closed may open again. */
static void ack_window_opened(struct conn *c)
{
	struct blk *b = c->b;
	uint32_t cap = b->rcv_space_units * REC_ADV_UNIT;

	if (b->flags & BLK_WINDOW_HELD &&
	    rx_space(c) >= min_u32(2u * b->rcv_mss, cap / 2))
		conn_mark(c, BLK_ACK_NOW);
}

void ack_application(struct conn *c)
{
	struct blk *b = c->b;

	ack_raise(c, b->rcv_app);
	if (b->rcv_ack == b->rcv_acked)
		b->ack_at = 0;
	else if (c->g->ack == STACK_ACK_DEFERRED)
		conn_mark(c, BLK_ACK_NOW);
	else
		ack_schedule(c); /* what came before the mode was changed */
	/* The application is at work: what is left gets its time anew. */
	b->hold_at = 0;
	ack_hold(c);
	b->rcv_rexmits = 0;
	/* What comes next is another request: no longer the same bulk. */
	if (b->rcv_app == ack_data_end(c))
		b->rcv_full_run = 0;
	ack_window_opened(c);
}

void ack_delivered(struct conn *c)
{
	if (c->g->ack != STACK_ACK_DELIVERED || ack_withheld(c))
		return;
	ack_raise(c, c->b->rcv_dlv);
	ack_schedule(c);
}

void ack_timer(struct conn *c)
{
	c->b->ack_at = 0;
	if (c->b->rcv_ack != c->b->rcv_acked)
		conn_mark(c, BLK_ACK_NOW);
}

void ack_deadline(struct conn *c)
{
	c->b->hold_at = 0;
	if (ack_early(c, SC_early_ack_deadline))
		conn_mark(c, BLK_ACK_NOW);
	ack_hold(c);
}

void ack_fin(struct conn *c)
{
	struct blk *b = c->b;

	if (c->g->ack == STACK_ACK_IMMEDIATE && !ack_withheld(c))
		ack_raise(c, ack_data_end(c));
	ack_raise(c, b->rcv_ack);
	if (b->rcv_ack != b->rcv_acked)
		conn_mark(c, BLK_ACK_NOW);
}

void ack_recover(struct conn *c)
{
	struct blk *b = c->b;

	ack_raise(c, b->rcv_app);
	if (c->g->ack == STACK_ACK_IMMEDIATE && !ack_withheld(c))
		ack_raise(c, ack_data_end(c));
	b->ack_at = 0;
	ack_hold(c);
	/* The last one's state was written before it left, or did not. */
	conn_mark(c, BLK_ACK_NOW);
}

void ack_released(struct conn *c)
{
	struct blk *b = c->b;

	if (c->g->ack == STACK_ACK_IMMEDIATE)
		ack_raise(c, ack_data_end(c));
	else if (c->g->ack == STACK_ACK_DELIVERED)
		ack_raise(c, b->rcv_dlv);
	else
		ack_text_deferred(c, b->ooo_head != NIL);
	if (b->rcv_ack != b->rcv_acked || b->flags & BLK_WINDOW_HELD)
		conn_mark(c, BLK_ACK_NOW);
}

/*
 * RFC 9293 3.8.6: the right edge never goes back, and moves on only by a
 * segment or half the buffer (3.8.6.2.2). A throttled pool leaves it where it
 * is. The field is rounded up to the scale, and we keep that promise too. Who
 * has sent his FIN is owed nothing more.
 */
uint16_t ack_window(struct conn *c)
{
	struct blk *b = c->b;
	uint8_t shift = conn_rcv_shift(c);
	uint32_t space = rx_space(c), edge = b->rcv_nxt + space, field;
	uint32_t cap = b->rcv_space_units * REC_ADV_UNIT;
	uint32_t step = min_u32(b->rcv_mss, cap / 2);

	if (!c->st->pools[c->g->pool].throttled && space >= step &&
	    seq_geq(edge, b->rcv_adv + step))
		b->rcv_adv = edge;
	if (b->rcv_adv - b->rcv_nxt < step && !conn_fin_rcvd(c))
		b->flags |= BLK_WINDOW_HELD;
	else
		b->flags &= ~(uint32_t)BLK_WINDOW_HELD;
	field = (b->rcv_adv - b->rcv_acked + (1u << shift) - 1) >> shift;
	if (field > UINT16_MAX)
		return UINT16_MAX;
	b->rcv_adv = b->rcv_acked + (field << shift);
	return (uint16_t)field;
}
