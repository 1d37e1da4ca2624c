/* SPDX-License-Identifier: BSD-2-Clause */
#include "arena/recover.h"

#include <errno.h>

#include "arena/trim.h"
#include "base/bytes.h"
#include "base/seq.h"

/* More than a connection ever holds: windows and queues are smaller. */
#define RECOVER_SPAN_MAX (1u << 30)
/* No connection lives long enough for as many bytes. */
#define RECOVER_OFF_END (UINT64_C(1) << 61)
/* The largest window promised: what a record can hold of it. */
#define RECOVER_WINDOW_MAX (UINT8_MAX * REC_ADV_UNIT)
/* So many torn records are chance, and a percent of all. */
#define RECOVER_TORN_MAX 8u

/* Records of a page of memory. */
#define RECOVER_PAGE_RECS (TRIM_PAGE_BYTES / (uint32_t)sizeof(struct rec))

/* What the arena says of an active connection. */
struct recover_conn {
	uint64_t rcv_off;
	uint32_t snd_una; /* our FIN counted */
	uint32_t rcv_end; /* after the last byte received in sequence */
	uint32_t rx_chunks, tx_chunks; /* of the chains, as far as they go */
};

/* The records from `from` to `to`: after the last that was ever in use, or 0. */
static uint32_t recover_used_end(const struct shard *sh, uint32_t from,
				 uint32_t to)
{
	while (to > from && !sh->recs[to - 1].generation)
		to--;
	return to > from ? to : 0;
}

/*
 * No record at or above was ever in use. The count that says so may be damaged
 * itself: as the lowest free record is always taken first, a page of memory in
 * which none was in use is the end.
 */
static uint32_t recover_high(const struct shard *sh)
{
	uint32_t high = min_u32(sh->state->recs_high, sh->n_recs);
	uint32_t from = high, found;

	do {
		uint32_t to =
			from - from % RECOVER_PAGE_RECS + RECOVER_PAGE_RECS;

		to = min_u32(to, sh->n_recs);
		found = recover_used_end(sh, from, to);
		high = max_u32(high, found);
		from = to;
	} while (found && from < sh->n_recs);
	return high;
}

static bool recover_rec(const struct shard *sh, uint32_t ri)
{
	const struct arena_header *header = sh->header;
	const struct rec *r = &sh->recs[ri];
	bool v6 = r->flags & REC_V6;
	struct tuple tuple;

	if (r->vip >= ARENA_VIPS_MAX ||
	    header->vips[r->vip].family != (v6 ? 6 : 4) || !r->generation ||
	    !r->group || r->group >= ARENA_GROUPS_MAX ||
	    r->rcv_off >= RECOVER_OFF_END || r->snd_off >= RECOVER_OFF_END ||
	    (r->wscale & 0xf) > 14 || r->wscale >> 4 > 14 || !r->mss ||
	    (r->block != NIL && r->block >= sh->n_recs))
		return false;
	shard_rec_tuple(sh, ri, &tuple);
	return tuple_worker(header, &tuple, header->workers) == sh->worker;
}

/*
 * Follow a chain from its head, as far as it is the block's and without a gap.
 * Returns the sequence number after its last byte (from: it is empty) and in
 * *ret_n how many chunks these are. *ret_ok is false when it begins after
 * `from` or far before it, is too long, or has an empty chunk that is not the
 * last.
 */
static uint32_t recover_walk(const struct chunks *ch, uint32_t head,
			     uint32_t owner, uint32_t from, uint32_t *ret_n,
			     bool *ret_ok)
{
	uint32_t first = from, end = from, n = 0;

	*ret_ok = true;
	for (uint32_t i = head; i < ch->n && n < ch->n;
	     i = ch->desc[i].next, n++) {
		const struct chunk *desc = &ch->desc[i];

		if (desc->owner != owner ||
		    (uint32_t)desc->off + desc->len > CHUNK_BYTES ||
		    (i != head && desc->seq != end))
			break;
		if (i == head)
			first = desc->seq;
		end = desc->seq + desc->len;
		if (from - first > RECOVER_SPAN_MAX ||
		    end - first > RECOVER_SPAN_MAX ||
		    (!desc->len && desc->next != NIL)) {
			*ret_ok = false;
			break;
		}
	}
	*ret_n = n;
	return end;
}

/* Can the block be made whole? Then *ret_conn says how; see recover.h. */
static bool recover_blk(const struct shard *sh, uint32_t ri,
			struct recover_conn *ret_conn)
{
	const struct rec *r = &sh->recs[ri];
	const struct blk *b = &sh->blks[r->block];
	uint32_t sent = r->iss + 1 + (uint32_t)r->snd_off;
	uint32_t taken = b->rcv_app - (r->irs + 1 + (uint32_t)r->rcv_off);
	bool fin_acked = r->flags & REC_FIN_ACKED, fin_queued, ok;
	uint32_t tx_end, limit;

	if (b->rec != ri || taken > RECOVER_SPAN_MAX ||
	    b->snd_end - sent > RECOVER_SPAN_MAX ||
	    (fin_acked && b->snd_end != sent))
		return false;
	ret_conn->rcv_off = r->rcv_off + taken;
	ret_conn->snd_una = sent + fin_acked;
	tx_end = recover_walk(&sh->tx, b->tx_head, r->block, sent,
			      &ret_conn->tx_chunks, &ok);
	if (!ok || seq_lt(tx_end, b->snd_end))
		return false;
	fin_queued = fin_acked || b->flags & BLK_FIN_QUEUED;
	if (!seq_between(ret_conn->snd_una, b->snd_nxt,
			 b->snd_end + fin_queued))
		return false;
	ret_conn->rcv_end = recover_walk(&sh->rx, b->rx_head, r->block,
					 b->rcv_app, &ret_conn->rx_chunks, &ok);
	if (!ok || ret_conn->rcv_end - b->rcv_app > RECOVER_SPAN_MAX)
		return false;
	/* What we may have acknowledged is there. */
	limit = ret_conn->rcv_end + !!(r->flags & REC_FIN_RCVD);
	return seq_leq(b->rcv_ack, limit) && seq_leq(b->rcv_acked, limit) &&
	       seq_leq(b->rcv_adv, limit + RECOVER_WINDOW_MAX);
}

/* Is the record whole, or can it be made so? */
static bool recover_whole(const struct shard *sh, uint32_t ri,
			  struct recover_conn *ret_conn)
{
	const struct rec *r = &sh->recs[ri];

	return recover_rec(sh, ri) && (r->block == NIL || r->more & REC_ENDED ||
				       recover_blk(sh, ri, ret_conn));
}

/* --- making it whole --------------------------------------------------- */

/*
 * Of the chain's first n chunks, mark those in [from, end) as used, and cut
 * what lies before and behind. Returns the last one, or NIL; *head is the first.
 */
static uint32_t recover_chain(struct chunks *ch, uint32_t *head, uint32_t n,
			      uint32_t from, uint32_t end)
{
	uint32_t last = NIL, i = *head;

	while (n && seq_leq(ch->desc[i].seq + ch->desc[i].len, from)) {
		i = ch->desc[i].next;
		n--;
	}
	if (!n || !seq_lt(ch->desc[i].seq, end))
		i = NIL;
	*head = i;
	for (; i != NIL; i = ch->desc[i].next) {
		struct chunk *desc = &ch->desc[i];

		bitmap_set_used(&ch->map, i);
		last = i;
		if (seq_lt(desc->seq + desc->len, end))
			continue;
		desc->len = (uint16_t)(end - desc->seq);
		desc->next = NIL;
	}
	return last;
}

/* Chunks beyond gaps: those that can be reached. */
static void recover_ooo(struct shard *sh, struct blk *b, uint32_t bi)
{
	struct chunks *rx = &sh->rx;
	uint32_t *link = &b->ooo_head;

	b->ooo_chunks = 0;
	while (*link != NIL) {
		uint32_t i = *link;

		if (i >= rx->n || rx->desc[i].owner != bi ||
		    b->ooo_chunks == UINT16_MAX ||
		    !bitmap_set_used(&rx->map, i)) {
			*link = NIL;
			break;
		}
		b->ooo_chunks++;
		link = &rx->desc[i].next;
	}
}

static uint32_t recover_clamp(uint32_t low, uint32_t seq, uint32_t high)
{
	return seq_max(low, seq_min(seq, high));
}

static void recover_complete(struct shard *sh, uint32_t ri,
			     const struct recover_conn *rc, uint64_t now_us)
{
	struct rec *r = &sh->recs[ri];
	uint32_t bi = r->block, end = rc->rcv_end;
	struct blk *b = &sh->blks[bi];
	uint64_t expires_us = b->wheel.expires_us;

	r->rcv_off = rc->rcv_off;
	b->rx_tail = recover_chain(&sh->rx, &b->rx_head, rc->rx_chunks,
				   b->rcv_app, end);
	b->tx_tail =
		recover_chain(&sh->tx, &b->tx_head, rc->tx_chunks,
			      r->iss + 1 + (uint32_t)r->snd_off, b->snd_end);
	b->tx_cur = NIL;
	recover_ooo(sh, b, bi);
	b->rcv_nxt = end + !!(r->flags & REC_FIN_RCVD);
	b->rcv_dlv = recover_clamp(b->rcv_app, b->rcv_dlv, end);
	b->rcv_redlv = recover_clamp(b->rcv_dlv, b->rcv_redlv, end);
	b->rcv_ack = recover_clamp(b->rcv_app, b->rcv_ack, b->rcv_nxt);
	b->rcv_acked = seq_min(b->rcv_acked, b->rcv_ack);
	b->rcv_adv = seq_max(b->rcv_adv, b->rcv_nxt);
	/* Unless it is the SYN that is not acknowledged. */
	if (b->snd_una == r->iss && !r->snd_off) {
		b->sent = SENTS_NONE;
	} else {
		b->snd_una = rc->snd_una;
		sents_restore(&sh->sents, b, bi);
	}
	b->wheel = (struct wheel_link){ 0 };
	if (expires_us)
		wheel_set(&sh->wheel, bi, max_u64(expires_us, now_us));
}

/* The block of a connection that is over: none of it is needed. */
static void recover_ended(struct shard *sh, uint32_t ri)
{
	struct rec *r = &sh->recs[ri];

	if (r->block == NIL)
		return;
	bitmap_free(&sh->blk_map, r->block);
	r->block = NIL;
}

/* Is it the only one that has this tuple, and this block? */
static bool recover_claim(struct shard *sh, uint32_t ri)
{
	const struct rec *r = &sh->recs[ri];
	struct tuple tuple;
	uint64_t hash;

	shard_rec_tuple(sh, ri, &tuple);
	hash = tuple_hash(sh->header, &tuple);
	if (shard_find(sh, &tuple, hash) != NIL ||
	    (r->block != NIL && !bitmap_set_used(&sh->blk_map, r->block)))
		return false;
	bitmap_set_used(&sh->rec_map, ri);
	index_insert(&sh->index, (uint32_t)hash, ri);
	return true;
}

static int recover_derived_init(struct shard *sh, uint64_t now_us)
{
	shard_fini(sh);
	if (bitmap_init(&sh->rec_map, sh->n_recs) ||
	    bitmap_init(&sh->blk_map, sh->n_recs) ||
	    index_init(&sh->index, sh->n_recs) ||
	    bitmap_init(&sh->rx.map, sh->rx.n) ||
	    bitmap_init(&sh->tx.map, sh->tx.n) ||
	    sents_init(&sh->sents, sh->tx.n, sh->n_recs))
		return -1;
	wheel_init(&sh->wheel, sh->blks, now_us);
	/* What the process before had at its peak, nobody knows. */
	sh->rx.touched = sh->rx.n;
	sh->tx.touched = sh->tx.n;
	sh->blks_touched = sh->state->recs_high;
	return 0;
}

uint32_t shard_rebuild(struct shard *sh, uint64_t now_us, shard_torn torn,
		       void *ctx)
{
	uint32_t high = recover_high(sh), found = 0;

	sh->state->recs_high = high;
	if (recover_derived_init(sh, now_us) < 0)
		return 0;
	for (uint32_t ri = 0; ri < high; ri++) {
		struct rec *r = &sh->recs[ri];
		struct recover_conn rc;

		if (!r->state)
			continue;
		if (!recover_whole(sh, ri, &rc) || !recover_claim(sh, ri)) {
			if (torn)
				torn(ctx, ri);
			r->state = 0;
			r->block = NIL;
			continue;
		}
		if (r->more & REC_ENDED)
			recover_ended(sh, ri);
		else if (r->block != NIL)
			recover_complete(sh, ri, &rc, now_us);
		found++;
	}
	return found;
}

/* A shard as it lies in the arena, without what is derived. */
static void recover_view(const struct arena *arena, uint32_t worker,
			 struct shard *ret_sh)
{
	const struct arena_header *header = arena->header;
	struct shard_layout at = arena_shard_layout(header, worker);

	*ret_sh = (struct shard){
		.header = header,
		.worker = worker,
		.n_recs = header->recs_per_shard,
		.recs = (struct rec *)(void *)(arena->base + at.recs),
		.recs6 = (struct rec6 *)(void *)(arena->base + at.recs6),
		.blks = (struct blk *)(void *)(arena->base + at.blks),
		.rx = { .desc = (struct chunk *)(void *)(arena->base +
							 at.rx_chunks),
			.n = header->rx_chunks_per_shard },
		.tx = { .desc = (struct chunk *)(void *)(arena->base +
							 at.tx_chunks),
			.n = header->tx_chunks_per_shard },
		.state = &arena->header->shards[worker],
	};
}

static void recover_audit_shard(const struct shard *sh,
				struct arena_audit *audit)
{
	uint32_t high = recover_high(sh);
	struct recover_conn rc;

	for (uint32_t ri = 0; ri < high; ri++) {
		if (!sh->recs[ri].state)
			continue;
		audit->records++;
		audit->torn += !recover_whole(sh, ri, &rc);
	}
}

int arena_audit(const struct arena *arena, struct arena_audit *ret_audit)
{
	*ret_audit = (struct arena_audit){ 0 };
	for (uint32_t i = 0; i < arena->header->workers; i++) {
		struct shard sh;

		recover_view(arena, i, &sh);
		recover_audit_shard(&sh, ret_audit);
	}
	return ret_audit->torn > RECOVER_TORN_MAX + ret_audit->records / 100
		       ? -EBADMSG
		       : 0;
}
