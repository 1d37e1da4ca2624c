/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The send queue: replies from snd_una to snd_end in chunks of the transmit
 * buffer, kept until the client has acknowledged them (6g, 6i).
 *
 * A reply and what it acknowledges count at once or not at all, however the
 * process ends (arena/recover.h): tx_stage() puts the bytes behind snd_end,
 * where they are not looked at, and the caller commits both. Only whole chunks
 * are given back, so the first may begin before snd_una.
 *
 * Who may have how much of the buffer, which is one for all:
 *
 *  - A connection may queue as much as then is left free for others, so half
 *    of what is left at most: a few that take nothing cannot have all of it,
 *    and a reply to one that has little queued finds room. While there is
 *    plenty, nobody notices. (Choudhury and Hahne, Dynamic queue length
 *    thresholds, 1998.)
 *  - A reply that is not taken whole waits, and with it its backend's stream.
 *    While any does, a connection that has its share and whose client has not
 *    acknowledged in TX_SLOW_US (or user-timeout, when that is less) what was
 *    queued before, is reset by the sweep. It is not enough to acknowledge a
 *    byte now and then: a mark in the queue, `upto`, must be reached.
 *
 * The marks are the process's own; one that is lost is set anew.
 */
#include "base/bytes.h"
#include "stack/conn.h"

/* As long as a reply of 128 KiB takes at 70 kbit/s. */
#define TX_SLOW_US (15 * USEC_PER_SEC)
/* A reply was kept waiting so recently: some still do. */
#define TX_PRESSED_US USEC_PER_SEC
/* What a connection may have whatever the others hold, bytes. */
#define TX_SHARE_MIN 2048u

static uint64_t tx_free_bytes(const struct stack *st)
{
	const struct chunks *tx = &st->sh->tx;

	return (uint64_t)(tx->n - bitmap_used_count(&tx->map)) * CHUNK_BYTES;
}

uint32_t tx_share(const struct stack *st, uint32_t queued)
{
	/* what remains free after it has been taken */
	uint64_t half = (tx_free_bytes(st) + queued) / 2;

	return (uint32_t)min_u64(st->limits.snd_queue_max,
				 max_u64(half, TX_SHARE_MIN));
}

static void tx_mark(struct conn *c, uint32_t upto)
{
	c->st->tx_marks[c->r->block] = (struct tx_mark){
		.upto = upto,
		.since_ms = (uint32_t)(c->now_us / USEC_PER_MSEC) | 1,
	};
}

bool tx_is_stuck(struct conn *c)
{
	const struct tx_mark *mark;
	uint32_t queued, ms, limit_ms;

	if (!c->b || c->b->tx_head == NIL || !c->st->tx_pressed_us ||
	    c->now_us - c->st->tx_pressed_us > TX_PRESSED_US)
		return false;
	mark = &c->st->tx_marks[c->r->block];
	if (!mark->since_ms)
		tx_mark(c, c->b->snd_end);
	queued = c->b->snd_end - c->b->snd_una;
	ms = ((uint32_t)(c->now_us / USEC_PER_MSEC) | 1) - mark->since_ms;
	limit_ms = (uint32_t)(min_u64(TX_SLOW_US, c->g->user_timeout_us) /
			      USEC_PER_MSEC);
	return ms >= limit_ms && queued >= min_u64(tx_free_bytes(c->st),
						   c->st->limits.snd_queue_max);
}

static bool tx_holds(const struct chunk *desc, uint32_t seq)
{
	return seq_leq(desc->seq, seq) && seq_lt(seq, desc->seq + desc->len);
}

uint32_t tx_stage(struct conn *c, const uint8_t *data, uint32_t len)
{
	struct chunks *tx = &c->st->sh->tx;
	struct blk *b = c->b;
	uint32_t queued = b->snd_end - b->snd_una, done = 0;
	uint32_t share = tx_share(c->st, queued), end = b->snd_end;
	bool first = b->tx_head == NIL;
	struct chunk_chain chain;

	if (queued + (uint64_t)len > share) {
		stack_count(c->st, SC_tx_share_full);
		c->st->tx_pressed_us = c->now_us;
		len = share > queued ? share - queued : 0;
	}
	if (len && b->tx_tail != NIL && chunk_room(tx, b->tx_tail))
		done = chunks_fill(tx, b->tx_tail, data, len);
	chain = chunks_put(tx, c->r->block, end + done, data + done,
			   len - done);
	if (chain.bytes)
		chunks_link(tx, &b->tx_head, &b->tx_tail, chain);
	done += chain.bytes;
	if (done < len) {
		stack_count(c->st, SC_tx_full);
		c->st->tx_pressed_us = c->now_us;
	}
	if (first && done)
		tx_mark(c, end + done);
	return done;
}

void tx_acked(struct conn *c, uint32_t seq)
{
	struct chunks *tx = &c->st->sh->tx;
	struct blk *b = c->b;

	if (b->tx_head != NIL &&
	    seq_geq(seq, c->st->tx_marks[c->r->block].upto))
		tx_mark(c, b->snd_end);
	chunks_free_until(tx, &b->tx_head, &b->tx_tail, seq);
	if (b->tx_cur != NIL && tx->desc[b->tx_cur].owner == NIL)
		b->tx_cur = NIL;
}

int tx_pieces(struct conn *c, uint32_t seq, uint32_t len, uint32_t *chunk,
	      struct iovec *iov, int iovcnt_max, uint32_t *ret_len)
{
	struct chunks *tx = &c->st->sh->tx;
	struct blk *b = c->b;
	uint32_t i = *chunk, done = 0;
	int n = 0;

	if (i == NIL || seq_lt(seq, tx->desc[i].seq))
		i = b->tx_head;
	while (i != NIL && !tx_holds(&tx->desc[i], seq))
		i = tx->desc[i].next;
	*chunk = i;
	while (done < len && i != NIL) {
		const struct chunk *desc = &tx->desc[i];
		uint32_t skip = seq + done - desc->seq;
		uint32_t piece = min_u32(len - done, desc->len - skip);
		uint8_t *at = chunk_data(tx, i) + skip;

		/* Neighbours in the queue are often neighbours in memory. */
		if (n &&
		    (uint8_t *)iov[n - 1].iov_base + iov[n - 1].iov_len == at) {
			iov[n - 1].iov_len += piece;
		} else if (n == iovcnt_max) {
			break;
		} else {
			iov[n++] = (struct iovec){ .iov_base = at,
						   .iov_len = piece };
		}
		done += piece;
		i = desc->next;
	}
	*ret_len = done;
	return n;
}
