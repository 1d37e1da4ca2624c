/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Records, blocks and what is derived from them.
 *
 * A record is in use when its state is not 0 (TCP_FREE of the stack). The order
 * of the writes here is that of recover.h.
 */
#include "arena/shard.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "arena/huge.h"
#include "arena/trim.h"
#include "base/bytes.h"
#include "base/units.h"

int shard_init(struct shard *sh, const struct arena *arena, uint32_t i,
	       uint64_t now_us)
{
	const struct arena_header *header = arena->header;
	struct shard_layout at = arena_shard_layout(header, i);

	memset(sh, 0, sizeof(*sh));
	sh->header = header;
	sh->worker = i;
	sh->n_recs = header->recs_per_shard;
	sh->recs = (struct rec *)(void *)(arena->base + at.recs);
	sh->recs6 = (struct rec6 *)(void *)(arena->base + at.recs6);
	sh->blks = (struct blk *)(void *)(arena->base + at.blks);
	sh->slot_owners = (uint64_t *)(void *)(arena->base + at.slot_owners);
	sh->state = &arena->header->shards[i];
	if (bitmap_init(&sh->rec_map, sh->n_recs) ||
	    bitmap_init(&sh->blk_map, sh->n_recs) ||
	    index_init(&sh->index, sh->n_recs) ||
	    chunks_init(&sh->rx,
			(struct chunk *)(void *)(arena->base + at.rx_chunks),
			arena->base + at.rx_bytes,
			header->rx_chunks_per_shard) ||
	    chunks_init(&sh->tx,
			(struct chunk *)(void *)(arena->base + at.tx_chunks),
			arena->base + at.tx_bytes,
			header->tx_chunks_per_shard) ||
	    sents_init(&sh->sents, header->tx_chunks_per_shard, sh->n_recs)) {
		shard_fini(sh);
		return -ENOMEM;
	}
	huge_advise(sh->recs, sh->n_recs * sizeof(*sh->recs));
	wheel_init(&sh->wheel, sh->blks, now_us);
	return 0;
}

void shard_fini(struct shard *sh)
{
	bitmap_fini(&sh->rec_map);
	bitmap_fini(&sh->blk_map);
	index_fini(&sh->index);
	chunks_fini(&sh->rx);
	chunks_fini(&sh->tx);
	sents_fini(&sh->sents);
}

uint64_t tuple_hash(const struct arena_header *header,
		    const struct tuple *tuple)
{
	struct siphash_key key = { header->secret[0], header->secret[1] };
	uint64_t ports = (uint64_t)tuple->remote_port << 32 |
			 (uint64_t)tuple->local_port << 16 |
			 (uint64_t)tuple->vip << 8 | tuple->v6;
	uint64_t a, b;

	memcpy(&a, tuple->remote, 8);
	if (!tuple->v6)
		return siphash13_u64x2(&key, a, ports);
	memcpy(&b, tuple->remote + 8, 8);
	return siphash13_u64x5(&key, a, b, ports, 0, 0);
}

/*
 * The finalizer of MurmurHash3 (A. Appleby), a bijection. A sum that is linear
 * puts successive ports of one address at equal distances, and so a few of
 * them into one worker if the key is unlucky; this ends that.
 */
static uint32_t tuple_mix(uint32_t h)
{
	h = (h ^ h >> 16) * TUPLE_MIX_1;
	h = (h ^ h >> 13) * TUPLE_MIX_2;
	return h ^ h >> 16;
}

uint32_t tuple_worker(const struct arena_header *header,
		      const struct tuple *tuple, uint32_t workers)
{
	const uint64_t *k = header->worker_keys;
	uint64_t sum = k[0] + k[5] * tuple->remote_port;

	if (workers == 1)
		return 0;
	for (uint32_t i = 0; i < (tuple->v6 ? 4 : 1); i++)
		sum += k[1 + i] * be32_load(&tuple->remote[4 * i]);
	return (uint32_t)((uint64_t)tuple_mix((uint32_t)(sum >> 32)) *
				  workers >>
			  32);
}

struct shard_key {
	const struct shard *sh;
	const struct tuple *tuple;
};

static bool shard_match(const void *arg, uint32_t ri)
{
	const struct shard_key *key = arg;
	const struct rec *rec = &key->sh->recs[ri];
	const struct tuple *tuple = key->tuple;
	uint32_t remote4;

	if (rec->remote_port != tuple->remote_port ||
	    rec->local_port != tuple->local_port || rec->vip != tuple->vip ||
	    !!(rec->flags & REC_V6) != tuple->v6)
		return false;
	if (tuple->v6)
		return !memcmp(key->sh->recs6[ri].remote, tuple->remote, 16);
	memcpy(&remote4, tuple->remote, 4);
	return rec->remote4 == remote4;
}

uint32_t shard_find(const struct shard *sh, const struct tuple *tuple,
		    uint64_t hash)
{
	struct shard_key key = { sh, tuple };

	return index_find(&sh->index, (uint32_t)hash, shard_match, &key);
}

void shard_rec_tuple(const struct shard *sh, uint32_t ri,
		     struct tuple *ret_tuple)
{
	const struct rec *rec = &sh->recs[ri];

	*ret_tuple = (struct tuple){
		.remote_port = rec->remote_port,
		.local_port = rec->local_port,
		.vip = rec->vip,
		.v6 = rec->flags & REC_V6,
	};
	if (ret_tuple->v6)
		memcpy(ret_tuple->remote, sh->recs6[ri].remote, 16);
	else
		memcpy(ret_tuple->remote, &rec->remote4, 4);
}

uint32_t shard_rec_new(struct shard *sh, const struct tuple *tuple,
		       uint64_t hash)
{
	uint32_t ri = bitmap_alloc(&sh->rec_map), generation;
	struct rec *rec, fresh;

	if (ri == BITMAP_NONE)
		return NIL;
	rec = &sh->recs[ri];
	/*
	 * A new arena begins somewhere else than the one before: its ids must
	 * not be those that applications still remember.
	 */
	generation = rec->generation ? rec->generation + 1u
				     : (uint32_t)sh->header->secret[3];
	generation &= 0xffffff;
	/* A record that was never in use: the next process must look at it, too. */
	if (ri >= sh->state->recs_high)
		sh->state->recs_high = ri + 1;
	fresh = (struct rec){
		.remote_port = tuple->remote_port,
		.local_port = tuple->local_port,
		.vip = tuple->vip,
		.flags = tuple->v6 ? REC_V6 : 0,
		.generation = (generation ? generation : 1) & 0xffffff,
		.block = NIL,
	};
	/* At once: no instant is without a generation. */
	memcpy(rec, &fresh, sizeof(*rec));
	if (tuple->v6)
		memcpy(sh->recs6[ri].remote, tuple->remote, 16);
	else
		memcpy(&rec->remote4, tuple->remote, 4);
	index_insert(&sh->index, (uint32_t)hash, ri);
	return ri;
}

void shard_rec_free(struct shard *sh, uint32_t ri)
{
	struct tuple tuple;
	bool was_there;

	assert(sh->recs[ri].block == NIL);
	shard_rec_tuple(sh, ri, &tuple);
	ARENA_COMMIT(sh->recs[ri].state, 0);
	was_there = index_remove(&sh->index,
				 (uint32_t)tuple_hash(sh->header, &tuple), ri);
	assert(was_there);
	bitmap_free(&sh->rec_map, ri);
}

uint32_t shard_blk_new(struct shard *sh, uint32_t ri)
{
	uint32_t bi = bitmap_alloc(&sh->blk_map);
	struct blk *blk;

	assert(sh->recs[ri].block == NIL);
	if (bi == BITMAP_NONE)
		return NIL;
	sh->blks_touched = max_u32(sh->blks_touched, bi + 1);
	blk = &sh->blks[bi];
	*blk = (struct blk){
		.rec = ri,
		.tx_head = NIL,
		.tx_tail = NIL,
		.tx_cur = NIL,
		.rx_head = NIL,
		.rx_tail = NIL,
		.ooo_head = NIL,
		.ready_next = NIL,
		.dirty_next = NIL,
		.app_next = NIL,
		.app_prev = NIL,
		.sent = SENTS_NONE,
	};
	return bi;
}

void shard_blk_link(struct shard *sh, uint32_t bi)
{
	ARENA_COMMIT(sh->recs[sh->blks[bi].rec].block, bi);
}

void shard_blk_free(struct shard *sh, uint32_t ri)
{
	uint32_t bi = sh->recs[ri].block;
	struct blk *blk = &sh->blks[bi];

	assert(blk->rec == ri);
	ARENA_COMMIT(sh->recs[ri].block, NIL);
	wheel_clear(&sh->wheel, bi);
	chunks_free_list(&sh->rx, blk->rx_head);
	chunks_free_list(&sh->rx, blk->ooo_head);
	chunks_free_list(&sh->tx, blk->tx_head);
	sents_free(&sh->sents, blk);
	blk->rec = NIL;
	bitmap_free(&sh->blk_map, bi);
}

/* How long what is not in use is kept: shard_trim(). */
#define SHARD_TRIM_US USEC_PER_SEC

static void shard_peaks_raise(struct shard_peaks *p, const struct shard *sh)
{
	p->blks = max_u32(p->blks, bitmap_highwater(&sh->blk_map));
	p->rx = max_u32(p->rx, bitmap_highwater(&sh->rx.map));
	p->tx = max_u32(p->tx, bitmap_highwater(&sh->tx.map));
	p->sents = max_u32(p->sents, bitmap_highwater(&sh->sents.map));
}

void shard_trim(struct shard *sh, uint64_t now_us)
{
	struct shard_peaks *keep = &sh->peaks;

	shard_peaks_raise(keep, sh);
	if (now_us < sh->trim_at_us)
		return;
	sh->trim_at_us = now_us + SHARD_TRIM_US;
	if (trim_is_worth_it(keep->blks, sh->blks_touched,
			     sizeof(struct blk)) &&
	    trim_items(sh->blks, sizeof(struct blk), keep->blks,
		       sh->blks_touched, MADV_REMOVE))
		sh->blks_touched = keep->blks;
	chunks_trim(&sh->rx, keep->rx);
	chunks_trim(&sh->tx, keep->tx);
	sents_trim_memory(&sh->sents, keep->sents);
	*keep = (struct shard_peaks){ 0 };
}

/* Count the chunks of a list; UINT32_MAX when one is not the block's. */
static uint32_t shard_check_list(const struct chunks *ch, uint32_t head,
				 uint32_t owner)
{
	uint32_t n = 0;

	for (uint32_t i = head; i != NIL; i = ch->desc[i].next) {
		if (i >= ch->n || ch->desc[i].owner != owner ||
		    !bitmap_test(&ch->map, i) ||
		    ch->desc[i].off + ch->desc[i].len > CHUNK_BYTES ||
		    n++ > ch->n)
			return UINT32_MAX;
	}
	return n;
}

/* What a shard's blocks hold, added up. */
struct shard_used {
	uint32_t rx, tx, sents;
};

static const char *shard_check_blk(const struct shard *sh, uint32_t ri,
				   struct shard_used *used)
{
	uint32_t bi = sh->recs[ri].block, rx, ooo, tx;
	const struct blk *blk;

	if (bi >= sh->n_recs || !bitmap_test(&sh->blk_map, bi))
		return "a record's block is free";
	blk = &sh->blks[bi];
	if (blk->rec != ri)
		return "a block does not link back";
	rx = shard_check_list(&sh->rx, blk->rx_head, bi);
	ooo = shard_check_list(&sh->rx, blk->ooo_head, bi);
	tx = shard_check_list(&sh->tx, blk->tx_head, bi);
	if (rx == UINT32_MAX || ooo == UINT32_MAX || tx == UINT32_MAX)
		return "a chunk list is broken";
	if (ooo != blk->ooo_chunks)
		return "out-of-order chunks miscounted";
	used->rx += rx + ooo;
	used->tx += tx;
	used->sents += blk->sent.n;
	return sents_check(&sh->sents, blk, bi);
}

const char *shard_check(const struct shard *sh)
{
	struct shard_used used = { 0 };
	uint32_t recs = 0, blks = 0;

	for (uint32_t ri = 0; ri < sh->n_recs; ri++) {
		const char *wrong;
		struct tuple tuple;

		if (!sh->recs[ri].state)
			continue;
		recs++;
		if (!bitmap_test(&sh->rec_map, ri))
			return "a record in use is marked free";
		shard_rec_tuple(sh, ri, &tuple);
		if (shard_find(sh, &tuple, tuple_hash(sh->header, &tuple)) !=
		    ri)
			return "a record is not in the index";
		if (sh->recs[ri].block == NIL)
			continue;
		blks++;
		wrong = shard_check_blk(sh, ri, &used);
		if (wrong)
			return wrong;
	}
	if (recs != bitmap_used_count(&sh->rec_map) ||
	    recs != sh->index.entries)
		return "records, free map and index disagree";
	if (blks != bitmap_used_count(&sh->blk_map))
		return "blocks leaked";
	if (used.rx != bitmap_used_count(&sh->rx.map) ||
	    used.tx != bitmap_used_count(&sh->tx.map))
		return "chunks leaked";
	if (used.sents != bitmap_used_count(&sh->sents.map))
		return "segments in flight leaked";
	return NULL;
}
