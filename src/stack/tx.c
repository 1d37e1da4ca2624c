/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The send queue: replies from snd_una to snd_end in chunks of the transmit
 * buffer, kept until the client has acknowledged them (6g, 6i).
 *
 * A reply and what it acknowledges count at once or not at all, however the
 * process ends (arena/recover.h): tx_stage() puts the bytes behind snd_end,
 * where they are not looked at, and the caller commits both. Only whole chunks
 * are given back, so the first may begin before snd_una.
 */
#include <string.h>

#include "base/bytes.h"
#include "stack/conn.h"

static bool tx_holds(const struct chunk *desc, uint32_t seq)
{
	return seq_leq(desc->seq, seq) && seq_lt(seq, desc->seq + desc->len);
}

uint32_t tx_stage(struct conn *c, const uint8_t *data, uint32_t len)
{
	struct chunks *tx = &c->st->sh->tx;
	struct blk *b = c->b;
	uint32_t queued = b->snd_end - b->snd_una, done = 0;
	uint32_t max = c->st->limits.snd_queue_max, end = b->snd_end;

	len = min_u32(len, max > queued ? max - queued : 0);
	while (done < len) {
		uint32_t i = b->tx_tail, n;

		if (i == NIL || !chunk_room(tx, i)) {
			i = chunks_alloc(tx, c->r->block, end + done);
			if (i == NIL) {
				stack_count(c->st, SC_tx_full);
				break;
			}
			if (b->tx_tail == NIL)
				ARENA_COMMIT(b->tx_head, i);
			else
				ARENA_COMMIT(tx->desc[b->tx_tail].next, i);
			b->tx_tail = i;
		}
		n = min_u32(len - done, chunk_room(tx, i));
		memcpy(chunk_data(tx, i) + tx->desc[i].len, data + done, n);
		ARENA_COMMIT(tx->desc[i].len, (uint16_t)(tx->desc[i].len + n));
		done += n;
	}
	return done;
}

void tx_acked(struct conn *c, uint32_t seq)
{
	struct chunks *tx = &c->st->sh->tx;
	struct blk *b = c->b;

	while (b->tx_head != NIL) {
		uint32_t i = b->tx_head;

		if (seq - tx->desc[i].seq < tx->desc[i].len)
			return;
		ARENA_COMMIT(b->tx_head, tx->desc[i].next);
		if (b->tx_head == NIL)
			b->tx_tail = NIL;
		if (b->tx_cur == i)
			b->tx_cur = NIL;
		chunks_free(tx, i);
	}
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
