/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SACK, both ways: RFC 2018, 2883, and of 6675 the scoreboard's update.
 *
 * What we report is kept as at most four blocks, the latest first, in the
 * active block (b->sack): a segment beyond a gap extends or joins those that
 * it touches and comes to the front. They say what is on the out-of-order
 * list, but may leave out what is older than four blocks.
 *
 * What is held back in sequence (deferred acknowledgement) is not reported:
 * the cumulative acknowledgement may later end in its midst, which senders take for
 * a receiver that reneges.
 *
 * What the client reports is believed only within [snd_una, snd_nxt), and only
 * for whole segments. The work is bounded by RECOVERY_SEGS_MAX.
 */
#include "stack/sack.h"

#include "base/bytes.h"
#include "stack/options.h"
#include "stack/recovery.h"

void sack_arrived(struct conn *c, uint32_t start, uint32_t end)
{
	struct blk_sack *k = &c->b->sack;
	uint32_t n = 0;

	if (!(c->r->flags & REC_SACK) || start == end)
		return;
	for (uint32_t i = 0; i < k->n; i++) {
		if (seq_leq(k->start[i], end) && seq_geq(k->end[i], start)) {
			start = seq_min(start, k->start[i]);
			end = seq_max(end, k->end[i]);
			continue;
		}
		k->start[n] = k->start[i];
		k->end[n++] = k->end[i];
	}
	n = min_u32(n, SEG_SACKS_MAX - 1);
	for (uint32_t i = n; i > 0; i--) {
		k->start[i] = k->start[i - 1];
		k->end[i] = k->end[i - 1];
	}
	k->start[0] = start;
	k->end[0] = end;
	k->n = n + 1;
	c->b->flags |= BLK_SACK_DUE;
}

void sack_advanced(struct conn *c)
{
	struct blk_sack *k = &c->b->sack;
	uint32_t n = 0;

	for (uint32_t i = 0; i < k->n; i++) {
		if (seq_leq(k->end[i], c->b->rcv_nxt) ||
		    seq_leq(k->start[i], c->b->rcv_nxt))
			continue;
		k->start[n] = k->start[i];
		k->end[n++] = k->end[i];
	}
	k->n = n;
}

void sack_duplicate(struct conn *c, uint32_t start, uint32_t end)
{
	struct blk_sack *k = &c->b->sack;

	if (!(c->r->flags & REC_SACK) || !seq_lt(start, end))
		return;
	k->dup_start = start;
	k->dup_end = end;
	c->b->flags |= BLK_SACK_DUE;
}

void sack_forget(struct conn *c)
{
	c->b->sack.n = 0;
}

/*
 * May the duplicate be reported beside this acknowledgement number? Not while
 * it is held back: the client could not tell it from a SACK (RFC 2883 4.1, 4.2).
 */
static bool sack_has_dup(const struct blk_sack *k, uint32_t ack)
{
	if (k->dup_start == k->dup_end)
		return false;
	return seq_leq(k->dup_end, ack) ||
	       (k->n && seq_geq(k->dup_start, k->start[0]) &&
		seq_leq(k->dup_end, k->end[0]));
}

uint32_t sack_option_bytes(const struct conn *c)
{
	const struct blk_sack *k = &c->b->sack;
	uint32_t n = k->n + sack_has_dup(k, c->b->rcv_ack);
	uint32_t max = c->r->flags & REC_TS ? SEG_SACKS_MAX - 1 : SEG_SACKS_MAX;

	return n ? TCP_OPT_SACK_BYTES(min_u32(n, max)) : 0;
}

void sack_fill(struct conn *c, uint32_t room, struct seg_opts *opts)
{
	struct blk_sack *k = &c->b->sack;
	uint32_t max = opts->has_ts ? SEG_SACKS_MAX - 1 : SEG_SACKS_MAX;
	uint32_t n = 0;
	bool dup = sack_has_dup(k, c->b->rcv_acked);

	if (!k->n && !dup)
		return;
	if (room < TCP_OPT_SACK_BYTES(1))
		return;
	max = min_u32(max, (room - TCP_OPT_SACK_BYTES(0)) / 8);
	/* RFC 2883 section 4: the duplicate comes first, and once. */
	if (dup) {
		stack_count(c->st, SC_dsack_out);
		opts->sacks[n++] =
			(struct seg_sack){ k->dup_start, k->dup_end };
		k->dup_start = k->dup_end = 0;
	}
	for (uint32_t i = 0; i < k->n && n < max; i++)
		opts->sacks[n++] = (struct seg_sack){ k->start[i], k->end[i] };
	opts->n_sacks = (uint8_t)n;
	c->b->flags &= ~(uint32_t)BLK_SACK_DUE;
}

/*
 * RFC 2883 section 4: the first block is a D-SACK when it is acknowledged
 * already, or lies within the second.
 */
static bool sack_is_dsack(const struct seg *seg)
{
	const struct seg_sack *s = seg->opts.sacks;

	if (seq_leq(s[0].end, seg->ack))
		return true;
	return seg->opts.n_sacks > 1 && seq_geq(s[0].start, s[1].start) &&
	       seq_leq(s[0].end, s[1].end);
}

/*
 * Mark the whole segments within the blocks, sorted by where they start: one
 * walk, as far as the last of them.
 */
static void sack_mark(struct conn *c, const struct seg_sack *sacks, uint32_t n,
		      struct ack_news *news)
{
	struct sents *ss = &c->st->sh->sents;
	uint32_t k = 0;

	for (uint32_t i = c->b->sent.head; i != NIL; i = ss->items[i].next) {
		const struct sent *s = &ss->items[i];

		while (k < n && seq_geq(s->seq, sacks[k].end))
			k++;
		if (k == n)
			return;
		if (seq_lt(s->seq, sacks[k].start) ||
		    seq_gt(s->end, sacks[k].end) || s->flags & SENT_SACKED)
			continue;
		recovery_delivered(c, s, news);
		sents_sacked(ss, c->b, i);
	}
}

static void sack_insert(struct seg_sack *sacks, uint32_t n,
			const struct seg_sack *sack)
{
	for (; n > 0 && seq_gt(sacks[n - 1].start, sack->start); n--)
		sacks[n] = sacks[n - 1];
	sacks[n] = *sack;
}

void sack_take(struct conn *c, struct ack_news *news)
{
	const struct seg *seg = news->seg;
	struct seg_sack sacks[SEG_SACKS_MAX];
	struct blk *b = c->b;
	uint32_t i = 0, n = 0;

	if (!(c->r->flags & REC_SACK) || !seg->opts.n_sacks)
		return;
	if (seq_lt(seg->opts.sacks[0].start, seg->opts.sacks[0].end) &&
	    seq_leq(seg->opts.sacks[0].end, b->snd_nxt) && sack_is_dsack(seg)) {
		stack_count(c->st, SC_dsack_in);
		news->dsack_start = seg->opts.sacks[0].start;
		news->dsack_end = seg->opts.sacks[0].end;
		i = 1;
	}
	for (; i < seg->opts.n_sacks; i++) {
		const struct seg_sack *sack = &seg->opts.sacks[i];

		if (!seq_lt(sack->start, sack->end) ||
		    seq_lt(sack->start, b->snd_una) ||
		    seq_gt(sack->end, b->snd_nxt)) {
			/* What is acknowledged by now may lag behind. */
			if (seq_gt(sack->end, b->snd_nxt))
				stack_count(c->st, SC_sack_invalid);
			continue;
		}
		sack_insert(sacks, n++, sack);
	}
	if (n)
		sack_mark(c, sacks, n, news);
}
