/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reductions of the window that were for nothing. Three ways to find out:
 *
 *	Eifel (RFC 3522)	the ACK echoes a timestamp from before the first
 *				retransmission: the original had arrived
 *	D-SACK (RFC 2883, 3708)	all that was sent again arrived twice
 *	F-RTO (RFC 5682)	after a time-out, something from before it that
 *				was sent once is acknowledged
 *
 * Then the window is what it was (cc_undo()), and nothing counts as lost.
 */
#include "base/bytes.h"
#include "stack/cc.h"
#include "stack/recovery.h"

void undo_begin(struct conn *c)
{
	struct blk_loss *l = &c->b->loss;

	l->flags |= LOSS_UNDO;
	l->flags &= (uint8_t)~LOSS_REXMIT_TS;
	l->undo_marker = c->b->snd_una;
	l->undo_rexmits = 0;
}

void undo_sent_again(struct conn *c)
{
	struct blk_loss *l = &c->b->loss;

	if (!(l->flags & LOSS_UNDO))
		return;
	l->undo_rexmits++;
	if (l->flags & LOSS_REXMIT_TS)
		return;
	l->flags |= LOSS_REXMIT_TS;
	l->rexmit_ts = conn_ts_now(c);
}

/* One D-SACK accounts for the segments it covers. */
static void undo_count_dsack(struct conn *c, const struct ack_news *news)
{
	struct blk_loss *l = &c->b->loss;
	uint32_t len = news->dsack_end - news->dsack_start, segs;

	if (!len || seq_lt(news->dsack_start, l->undo_marker))
		return;
	segs = max_u32(len / conn_mss(c), 1);
	l->undo_rexmits -= min_u32(segs, l->undo_rexmits);
}

static bool undo_eifel(const struct conn *c, const struct ack_news *news)
{
	const struct seg_opts *opts = &news->seg->opts;

	return news->acked_bytes && c->r->flags & REC_TS && opts->has_ts &&
	       opts->tsecr && seq_lt(opts->tsecr, c->b->loss.rexmit_ts);
}

static bool undo_is_due(const struct conn *c, const struct ack_news *news)
{
	const struct blk *b = c->b;

	if (b->cc.phase == CC_LOSS && b->loss.frto != FRTO_OFF &&
	    news->original)
		return true;
	if (!(b->loss.flags & LOSS_REXMIT_TS))
		return false;
	if (b->cc.phase != CC_OPEN && undo_eifel(c, news))
		return true;
	return news->dsack_start != news->dsack_end && !b->loss.undo_rexmits;
}

bool undo_try(struct conn *c, const struct ack_news *news)
{
	struct blk *b = c->b;

	undo_count_dsack(c, news);
	if (!undo_is_due(c, news))
		return false;
	stack_count(c->st, b->cc.phase == CC_LOSS ? SC_undone_timeouts
						  : SC_undone_recoveries);
	/* What seemed lost was late: RACK gives it time from now on. */
	if (b->cc.phase != CC_LOSS)
		b->loss.flags |= LOSS_REORDERING;
	cc_undo(&b->cc);
	sents_unlose(&c->st->sh->sents, b);
	b->cc.phase = CC_OPEN;
	b->cc.dupacks = 0;
	b->loss.frto = FRTO_OFF;
	b->loss.flags &= (uint8_t) ~(LOSS_UNDO | LOSS_REXMIT_TS);
	return true;
}
