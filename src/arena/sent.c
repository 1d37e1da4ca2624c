/* SPDX-License-Identifier: BSD-2-Clause */
/* The contract and the invariants stand in sent.h. */
#include "arena/sent.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "arena/trim.h"
#include "base/bytes.h"
#include "base/seq.h"

int sents_init(struct sents *ss, uint32_t n, uint32_t reserve)
{
	uint64_t all = (uint64_t)n + reserve;
	void *map;

	if (all >= UINT32_MAX)
		all = UINT32_MAX - 1;
	map = mmap(NULL, all * sizeof(struct sent), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	*ss = (struct sents){
		.items = map,
		.n = (uint32_t)all,
		.reserve = reserve,
	};
	if (bitmap_init(&ss->map, ss->n)) {
		sents_fini(ss);
		return -ENOMEM;
	}
	return 0;
}

void sents_fini(struct sents *ss)
{
	bitmap_fini(&ss->map);
	if (ss->items)
		munmap(ss->items, (uint64_t)ss->n * sizeof(struct sent));
	*ss = (struct sents){ 0 };
}

/* One that is to be filled in; NIL: what is left is for blocks without any. */
static uint32_t sents_take(struct sents *ss, const struct blk *b)
{
	uint32_t i;

	if (b->sent.n && ss->n - bitmap_used_count(&ss->map) <= ss->reserve)
		return NIL;
	i = bitmap_alloc(&ss->map);
	if (i == BITMAP_NONE)
		return NIL;
	ss->touched = max_u32(ss->touched, i + 1);
	return i;
}

/* Into the list by time, after `after` (NIL: first). */
static void sents_time_link(struct sents *ss, struct blk *b, uint32_t i,
			    uint32_t after)
{
	struct sent *s = &ss->items[i];

	s->earlier = after;
	s->later = after == NIL ? b->sent.oldest : ss->items[after].later;
	if (s->earlier == NIL)
		b->sent.oldest = i;
	else
		ss->items[s->earlier].later = i;
	if (s->later == NIL)
		b->sent.newest = i;
	else
		ss->items[s->later].earlier = i;
	s->timed = true;
}

static void sents_time_unlink(struct sents *ss, struct blk *b, uint32_t i)
{
	struct sent *s = &ss->items[i];

	if (!s->timed)
		return;
	if (s->earlier == NIL)
		b->sent.oldest = s->later;
	else
		ss->items[s->earlier].later = s->later;
	if (s->later == NIL)
		b->sent.newest = s->earlier;
	else
		ss->items[s->later].earlier = s->earlier;
	s->later = s->earlier = NIL;
	s->timed = false;
}

/* Into the list by sequence number, after the one that is `after`. */
static void sents_seq_link(struct sents *ss, struct blk *b, uint32_t i,
			   uint32_t after)
{
	struct sent *s = &ss->items[i];

	s->prev = after;
	s->next = after == NIL ? b->sent.head : ss->items[after].next;
	if (s->prev == NIL)
		b->sent.head = i;
	else
		ss->items[s->prev].next = i;
	if (s->next == NIL)
		b->sent.tail = i;
	else
		ss->items[s->next].prev = i;
	b->sent.n++;
}

void sents_grow(struct sents *ss, struct blk *b, uint32_t end, uint64_t now_us)
{
	uint32_t i = b->sent.tail, more;
	struct sent *s;

	assert(i != NIL);
	s = &ss->items[i];
	more = end - s->end;
	if (s->flags & SENT_SACKED) {
		b->sent.sacked_bytes -= sent_len(s);
		b->sent.sacked_segs--;
		s->flags &= (uint8_t)~SENT_SACKED;
		s->xmit_us = now_us;
		sents_time_link(ss, b, i, b->sent.newest);
	}
	if (s->flags & SENT_LOST)
		b->sent.lost_bytes += more;
	if (s->flags & SENT_REXMIT)
		b->sent.rexmit_bytes += more;
	s->end = end;
}

uint32_t sents_append(struct sents *ss, struct blk *b, uint32_t bi,
		      uint32_t seq, uint32_t end, uint64_t now_us)
{
	uint32_t i = sents_take(ss, b);

	if (i == NIL) {
		sents_grow(ss, b, end, now_us);
		return b->sent.tail;
	}
	ss->items[i] = (struct sent){
		.xmit_us = now_us,
		.seq = seq,
		.end = end,
		.owner = bi,
		.chunk = NIL,
	};
	sents_seq_link(ss, b, i, b->sent.tail);
	sents_time_link(ss, b, i, b->sent.newest);
	return i;
}

void sents_again(struct sents *ss, struct blk *b, uint32_t i, uint64_t now_us)
{
	struct sent *s = &ss->items[i];

	sents_time_unlink(ss, b, i);
	s->xmit_us = now_us;
	if (!(s->flags & SENT_REXMIT))
		b->sent.rexmit_bytes += sent_len(s);
	s->flags |= SENT_REXMIT | SENT_AGAIN;
	sents_time_link(ss, b, i, b->sent.newest);
}

bool sents_split(struct sents *ss, struct blk *b, uint32_t i, uint32_t seq)
{
	struct sent *s = &ss->items[i];
	uint32_t j = sents_take(ss, b);

	if (j == NIL)
		return false;
	ss->items[j] = (struct sent){
		.xmit_us = s->xmit_us,
		.seq = seq,
		.end = s->end,
		.later = NIL,
		.earlier = NIL,
		.owner = s->owner,
		/* Once the first half is acknowledged, its chunk is another's. */
		.chunk = NIL,
		.flags = s->flags,
	};
	s->end = seq;
	sents_seq_link(ss, b, j, i);
	if (s->timed)
		sents_time_link(ss, b, j, i);
	if (s->flags & SENT_SACKED)
		b->sent.sacked_segs++;
	return true;
}

void sents_sacked(struct sents *ss, struct blk *b, uint32_t i)
{
	struct sent *s = &ss->items[i];

	if (s->flags & SENT_SACKED)
		return;
	sents_time_unlink(ss, b, i);
	if (s->flags & SENT_LOST)
		b->sent.lost_bytes -= sent_len(s);
	if (s->flags & SENT_REXMIT)
		b->sent.rexmit_bytes -= sent_len(s);
	s->flags &= (uint8_t) ~(SENT_LOST | SENT_REXMIT);
	s->flags |= SENT_SACKED;
	b->sent.sacked_bytes += sent_len(s);
	b->sent.sacked_segs++;
}

void sents_lost(struct sents *ss, struct blk *b, uint32_t i)
{
	struct sent *s = &ss->items[i];

	if (s->flags & SENT_SACKED)
		return;
	sents_time_unlink(ss, b, i);
	if (s->flags & SENT_REXMIT)
		b->sent.rexmit_bytes -= sent_len(s);
	if (!(s->flags & SENT_LOST))
		b->sent.lost_bytes += sent_len(s);
	s->flags &= (uint8_t)~SENT_REXMIT;
	s->flags |= SENT_LOST;
	if (b->sent.lost_hint == NIL ||
	    seq_lt(s->seq, ss->items[b->sent.lost_hint].seq))
		b->sent.lost_hint = i;
}

/* Sorted into the list by time; *at is where the last one went. */
static void sents_time_insert(struct sents *ss, struct blk *b, uint32_t i,
			      uint32_t *at)
{
	uint64_t us = ss->items[i].xmit_us;
	uint32_t after = *at;

	if (after != NIL && ss->items[after].xmit_us > us)
		after = NIL;
	for (;;) {
		uint32_t next =
			after == NIL ? b->sent.oldest : ss->items[after].later;

		if (next == NIL || ss->items[next].xmit_us > us)
			break;
		after = next;
	}
	sents_time_link(ss, b, i, after);
	*at = i;
}

void sents_unlose(struct sents *ss, struct blk *b)
{
	uint32_t at = NIL;

	for (uint32_t i = b->sent.head; i != NIL; i = ss->items[i].next) {
		struct sent *s = &ss->items[i];

		if (!(s->flags & SENT_LOST))
			continue;
		s->flags &= (uint8_t)~SENT_LOST;
		b->sent.lost_bytes -= sent_len(s);
		if (!s->timed)
			sents_time_insert(ss, b, i, &at);
	}
	b->sent.lost_hint = NIL;
}

void sents_unsack(struct sents *ss, struct blk *b)
{
	uint32_t at = NIL;

	for (uint32_t i = b->sent.head; i != NIL; i = ss->items[i].next) {
		struct sent *s = &ss->items[i];

		if (!(s->flags & SENT_SACKED))
			continue;
		s->flags &= (uint8_t)~SENT_SACKED;
		sents_time_insert(ss, b, i, &at);
	}
	b->sent.sacked_bytes = 0;
	b->sent.sacked_segs = 0;
}

uint32_t sents_next_lost(const struct sents *ss, struct blk *b)
{
	uint32_t i = b->sent.lost_hint;

	while (i != NIL &&
	       (ss->items[i].flags & (SENT_LOST | SENT_REXMIT)) != SENT_LOST)
		i = ss->items[i].next;
	b->sent.lost_hint = i;
	return i;
}

void sents_pop(struct sents *ss, struct blk *b)
{
	uint32_t i = b->sent.head;
	struct sent *s = &ss->items[i];

	sents_time_unlink(ss, b, i);
	if (s->flags & SENT_SACKED) {
		b->sent.sacked_bytes -= sent_len(s);
		b->sent.sacked_segs--;
	}
	if (s->flags & SENT_LOST)
		b->sent.lost_bytes -= sent_len(s);
	if (s->flags & SENT_REXMIT)
		b->sent.rexmit_bytes -= sent_len(s);
	if (b->sent.lost_hint == i)
		b->sent.lost_hint = s->next;
	b->sent.head = s->next;
	if (s->next == NIL)
		b->sent.tail = NIL;
	else
		ss->items[s->next].prev = NIL;
	b->sent.n--;
	bitmap_free(&ss->map, i);
}

void sents_trim(struct sents *ss, struct blk *b, uint32_t seq)
{
	struct sent *s = &ss->items[b->sent.head];
	uint32_t gone = seq - s->seq;

	assert(seq_in_window(seq, s->seq, sent_len(s)));
	if (s->flags & SENT_SACKED)
		b->sent.sacked_bytes -= gone;
	if (s->flags & SENT_LOST)
		b->sent.lost_bytes -= gone;
	if (s->flags & SENT_REXMIT)
		b->sent.rexmit_bytes -= gone;
	s->seq = seq;
	s->chunk = NIL;
}

void sents_free(struct sents *ss, struct blk *b)
{
	uint32_t i = b->sent.head;

	while (i != NIL) {
		uint32_t next = ss->items[i].next;

		bitmap_free(&ss->map, i);
		i = next;
	}
	b->sent = SENTS_NONE;
}

void sents_restore(struct sents *ss, struct blk *b, uint32_t bi)
{
	uint32_t i;

	b->sent = SENTS_NONE;
	if (b->snd_una == b->snd_nxt)
		return;
	i = sents_append(ss, b, bi, b->snd_una, b->snd_nxt, 0);
	ss->items[i].flags |= SENT_AGAIN;
	sents_lost(ss, b, i);
}

static const char *sents_check_time(const struct sents *ss, const struct blk *b,
				    uint32_t want)
{
	uint32_t n = 0, earlier = NIL;
	uint64_t us = 0;

	for (uint32_t i = b->sent.oldest; i != NIL; i = ss->items[i].later) {
		const struct sent *s = &ss->items[i];

		if (!s->timed || s->earlier != earlier || s->xmit_us < us)
			return "segments in flight are not sorted by time";
		us = s->xmit_us;
		earlier = i;
		if (++n > want)
			break;
	}
	if (n != want || earlier != b->sent.newest)
		return "the list by time is not complete";
	return NULL;
}

const char *sents_check(const struct sents *ss, const struct blk *b,
			uint32_t bi)
{
	uint32_t sacked = 0, lost = 0, rexmit = 0, segs = 0, n = 0, timed = 0;
	uint32_t seq = b->snd_una, prev = NIL;

	for (uint32_t i = b->sent.head; i != NIL; i = ss->items[i].next) {
		const struct sent *s = &ss->items[i];
		bool due = s->flags & SENT_LOST && !(s->flags & SENT_REXMIT);

		if (i >= ss->n || !bitmap_test(&ss->map, i) || s->owner != bi ||
		    s->prev != prev || n++ > ss->n)
			return "the list of segments in flight is broken";
		if (s->seq != seq || !sent_len(s))
			return "segments in flight have gaps";
		if (s->flags & SENT_SACKED &&
		    s->flags & (SENT_LOST | SENT_REXMIT))
			return "a SACKed segment is lost or sent again";
		if ((s->flags & (SENT_REXMIT | SENT_AGAIN)) == SENT_REXMIT)
			return "a segment sent again was sent once";
		if (s->timed == (due || s->flags & SENT_SACKED))
			return "a segment is timed, or not, against its flags";
		timed += s->timed;
		segs += !!(s->flags & SENT_SACKED);
		sacked += s->flags & SENT_SACKED ? sent_len(s) : 0;
		lost += s->flags & SENT_LOST ? sent_len(s) : 0;
		rexmit += s->flags & SENT_REXMIT ? sent_len(s) : 0;
		seq = s->end;
		prev = i;
	}
	if (prev != b->sent.tail || n != b->sent.n)
		return "the list of segments in flight has no end";
	if (n && seq != b->snd_nxt)
		return "segments in flight end before snd_nxt";
	if (sacked != b->sent.sacked_bytes || lost != b->sent.lost_bytes ||
	    rexmit != b->sent.rexmit_bytes || segs != b->sent.sacked_segs)
		return "bytes in flight are miscounted";
	return sents_check_time(ss, b, timed);
}

void sents_trim_memory(struct sents *ss, uint32_t keep)
{
	keep = max_u32(keep, bitmap_highwater(&ss->map));
	if (trim_is_worth_it(keep, ss->touched, sizeof(struct sent)) &&
	    trim_items(ss->items, sizeof(struct sent), keep, ss->touched,
		       MADV_DONTNEED))
		ss->touched = keep;
}
