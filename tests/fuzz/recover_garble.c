/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recover_garble - damage to an arena, from a script's operands.
 *
 *	what		the part, and of which client: its record, its block,
 *			the first or last chunk of its queues; or any
 *	where		offset, a multiple of the size: one to eight bytes
 *	how		a bit flipped; bytes of the input; a number that means
 *			something (none, the last, one too many); one more or
 *			less; what another record, block or chunk has there
 */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "arena/recover.h"
#include "base/bytes.h"
#include "fuzz/packet.h"
#include "fuzz/recover.h"

/* A record, block or chunk: one of n alike. */
struct part {
	uint8_t *base;
	uint32_t each, n;
	uint32_t *owners; /* by number: the record that needs it, or NIL */
};

enum part_name {
	PART_RECS,
	PART_RECS6,
	PART_BLKS,
	PART_RX,
	PART_TX,
	PARTS,
};

#define GARBLE_CHUNKS_MAX 256u

static uint32_t rec_owners[WORLD_RECS], blk_owners[WORLD_RECS];
static uint32_t rx_owners[GARBLE_CHUNKS_MAX], tx_owners[GARBLE_CHUNKS_MAX];
static struct part parts[PARTS];
static uint32_t recs_used; /* records that ever were */

/* --- whose it is ------------------------------------------------------- */

static void garble_own_chain(const struct chunk *desc, uint32_t *owners,
			     uint32_t head, uint32_t ri)
{
	for (uint32_t i = head; i != NIL; i = desc[i].next)
		owners[i] = ri;
}

/* What lies beyond gaps is nobody's: it is given up in any case. */
static void garble_own(uint32_t ri)
{
	const struct rec *r = &world.shard.recs[ri];
	const struct blk *b;

	rec_owners[ri] = ri;
	if (r->state == TCP_FREE || r->block == NIL)
		return;
	blk_owners[r->block] = ri;
	b = &world.shard.blks[r->block];
	garble_own_chain(world.shard.rx.desc, rx_owners, b->rx_head, ri);
	garble_own_chain(world.shard.tx.desc, tx_owners, b->tx_head, ri);
}

static void garble_begin(void)
{
	struct shard *sh = &world.shard;

	recs_used = 0;
	for (uint32_t ri = 0; ri < WORLD_RECS; ri++)
		if (sh->recs[ri].generation)
			recs_used = ri + 1;
	FUZZ_CHECK(sh->rx.n <= GARBLE_CHUNKS_MAX);
	FUZZ_CHECK(sh->tx.n <= GARBLE_CHUNKS_MAX);
	parts[PART_RECS] = (struct part){ (void *)sh->recs, sizeof(struct rec),
					  WORLD_RECS, rec_owners };
	parts[PART_RECS6] =
		(struct part){ (void *)sh->recs6, sizeof(struct rec6),
			       WORLD_RECS, rec_owners };
	parts[PART_BLKS] = (struct part){ (void *)sh->blks, sizeof(struct blk),
					  WORLD_RECS, blk_owners };
	parts[PART_RX] =
		(struct part){ (void *)sh->rx.desc, sizeof(struct chunk),
			       sh->rx.n, rx_owners };
	parts[PART_TX] =
		(struct part){ (void *)sh->tx.desc, sizeof(struct chunk),
			       sh->tx.n, tx_owners };
	memset(blk_owners, 0xff, sizeof(blk_owners));
	memset(rx_owners, 0xff, sizeof(rx_owners));
	memset(tx_owners, 0xff, sizeof(tx_owners));
	for (uint32_t ri = 0; ri < WORLD_RECS; ri++)
		garble_own(ri);
}

/*
 * What layout.h calls derived, and what recover.h says is begun anew: damage
 * to it must not even be noticed.
 */
static bool garble_is_derived(uint32_t off, uint32_t size)
{
#define FIELDS(from, to)                                         \
	{                                                        \
		offsetof(struct blk, from),                      \
			offsetof(struct blk, to) +               \
				sizeof(((struct blk *)NULL)->to) \
	}
	static const struct {
		size_t from, to;
	} derived[] = {
		FIELDS(snd_una, snd_una),
		FIELDS(tx_tail, tx_cur),
		FIELDS(rcv_nxt, rcv_nxt),
		FIELDS(rx_tail, ooo_head),
		FIELDS(ooo_chunks, ooo_chunks),
		FIELDS(sack, cc),
		FIELDS(sent, pmtu),
		FIELDS(wheel.next, dirty_next),
		FIELDS(app_next, app_granted_lo),
	};
#undef FIELDS

	for (size_t i = 0; i < ARRAY_SIZE(derived); i++)
		if (off >= derived[i].from && off + size <= derived[i].to)
			return true;
	return false;
}

static void garble_note(enum part_name name, uint32_t i, uint32_t off,
			uint32_t size)
{
	uint32_t ri = parts[name].owners[i];

	if (ri != NIL && !(name == PART_BLKS && garble_is_derived(off, size)))
		world.garbled[ri] = true;
}

static bool garble_same_tuple(uint32_t a, uint32_t b)
{
	struct tuple ta, tb;

	shard_rec_tuple(&world.shard, a, &ta);
	shard_rec_tuple(&world.shard, b, &tb);
	return ta.remote_port == tb.remote_port &&
	       ta.local_port == tb.local_port && ta.vip == tb.vip &&
	       ta.v6 == tb.v6 && !memcmp(ta.remote, tb.remote, 16);
}

/* After the last record that was ever in use, as far as it can be told. */
static uint32_t garble_high(void)
{
	uint32_t high = min_u32(world.shard.state->recs_high, WORLD_RECS);

	for (uint32_t ri = high; ri < WORLD_RECS; ri++)
		if (world.shard.recs[ri].generation)
			high = ri + 1;
	return high;
}

static void garble_end(void)
{
	bool was[WORLD_RECS];

	/* Not even that they were in use can be told: nobody looks at them. */
	for (uint32_t ri = garble_high(); ri < WORLD_RECS; ri++)
		world.shard.recs[ri].state = TCP_FREE;
	/* Which of two with one tuple is right, nobody can tell. */
	memcpy(was, world.garbled, sizeof(was));
	for (uint32_t a = 0; a < WORLD_RECS; a++) {
		if (!was[a] || world.shard.recs[a].state == TCP_FREE)
			continue;
		for (uint32_t b = 0; b < WORLD_RECS; b++)
			if (b != a && garble_same_tuple(a, b))
				world.garbled[b] = true;
	}
}

/* --- what is written --------------------------------------------------- */

static uint64_t garble_number(struct fuzz_in *in, uint32_t n)
{
	const uint64_t numbers[] = {
		0,
		1,
		UINT64_MAX, /* NIL */
		n - 1,
		n,
		n + 1,
		UINT64_C(0x7fffffff7fffffff),
		UINT64_C(0x8000000080000000),
	};

	return numbers[fuzz_u8(in) % ARRAY_SIZE(numbers)];
}

static uint64_t garble_value(struct fuzz_in *in, uint8_t how,
			     const struct part *part, uint32_t off,
			     uint64_t was, uint32_t size)
{
	uint64_t value = 0;

	switch (how >> 2 & 7) {
	default:
		return was ^ UINT64_C(1) << fuzz_u8(in) % (8 * size);
	case 2:
		return (uint64_t)fuzz_u32(in) << 32 | fuzz_u32(in);
	case 3:
		return garble_number(in, part->n);
	case 4:
		return fuzz_u8(in);
	case 5: /* of 32 bits: all that counts here */
		return was + (uint64_t)(int32_t)packet_delta(in, fuzz_u8(in));
	case 6:
	case 7:
		memcpy(&value,
		       part->base + fuzz_u8(in) % part->n * part->each + off,
		       size);
		return value;
	}
}

static uint32_t garble_last(const struct chunks *ch, uint32_t head)
{
	while (head != NIL && ch->desc[head].next != NIL)
		head = ch->desc[head].next;
	return head % ch->n;
}

/*
 * Which part, and the number in it (of an empty queue, any). Only what was not
 * yet damaged is followed.
 */
static enum part_name garble_pick(uint8_t what, uint32_t *ret_i)
{
	const struct world_client *cl =
		&world.clients[(what >> 4) % WORLD_CLIENTS];
	const struct shard *sh = &world.shard;
	uint32_t bi = NIL, ri = cl->ri;
	const struct blk *b;

	for (uint32_t i = 0; ri != NIL && i < WORLD_RECS; i++)
		if (blk_owners[i] == ri)
			bi = i;
	*ret_i = what >> 4;
	if (ri == NIL)
		return PART_RECS;
	*ret_i = ri;
	if ((what & 15) < 5)
		return PART_RECS;
	if ((what & 15) == 5)
		return PART_RECS6;
	if (bi == NIL)
		return PART_RECS;
	*ret_i = bi;
	b = &sh->blks[bi];
	if ((what & 15) < 11 || world.garbled[ri])
		return PART_BLKS;
	switch (what & 15) {
	case 11:
		*ret_i = b->rx_head % sh->rx.n;
		return PART_RX;
	case 12:
		*ret_i = garble_last(&sh->rx, b->rx_head);
		return PART_RX;
	case 13:
		*ret_i = b->ooo_head % sh->rx.n;
		return PART_RX;
	case 14:
		*ret_i = b->tx_head % sh->tx.n;
		return PART_TX;
	default:
		*ret_i = garble_last(&sh->tx, b->tx_head);
		return PART_TX;
	}
}

static void garble_one(struct fuzz_in *in, uint8_t what)
{
	static const char *const names[] = { "rec", "rec6", "blk", "rx", "tx" };
	uint8_t where = fuzz_u8(in), how = fuzz_u8(in);
	uint32_t size = 1u << (how & 3), i, off;
	enum part_name name = garble_pick(what, &i);
	const struct part *part = &parts[name];
	uint64_t was = 0, value;
	uint8_t *at;

	if (how & 0x20) { /* any */
		name = (enum part_name)(what % PARTS);
		part = &parts[name];
		i = fuzz_u8(in) % part->n;
	}
	/* Records that were never in use are not looked at. */
	if (name == PART_RECS && i >= recs_used)
		return;
	off = where * (part->each > 256 ? 2u : 1u) % part->each & ~(size - 1);
	at = part->base + i * part->each + off;
	memcpy(&was, at, size);
	value = garble_value(in, how, part, off, was, size);
	memcpy(at, &value, size);
	garble_note(name, i, off, size);
	FUZZ_SAY("%s %u, %u bytes at %u: %llx, was %llx", names[name], i, size,
		 off, (unsigned long long)value, (unsigned long long)was);
}

/* What is not under the header's checksum. */
static void garble_rest(struct fuzz_in *in)
{
	struct arena_header *h = world.arena.header;
	uint8_t how = fuzz_u8(in), value = fuzz_u8(in);

	switch (how & 3) {
	case 0:
		h->shards[0].recs_high = value % (WORLD_RECS + 2);
		FUZZ_SAY("recs_high is %u", h->shards[0].recs_high);
		return; /* which must not be noticed */
	case 1:
		h->shards[0].recs_high ^= UINT32_C(1) << value % 32;
		FUZZ_SAY("recs_high is %u", h->shards[0].recs_high);
		return;
	case 2:
		h->vips[how >> 2 & 3].family = value;
		break;
	default:
		h->vips[how >> 2 & 3].bytes[how >> 4] ^= value;
		break;
	}
	memset(world.garbled, true, sizeof(world.garbled));
}

/* Whose a stream's number was: the stack knows nothing of it. */
static void garble_owner(struct fuzz_in *in)
{
	uint64_t *owners = world.shard.slot_owners + WORLD_GROUP * ARENA_SLOTS;
	uint8_t slot = fuzz_u8(in);

	owners[slot] = fuzz_u8(in);
	FUZZ_SAY("owner of %u: %u", slot, (unsigned)owners[slot]);
}

void garble(struct fuzz_in *in, uint32_t n)
{
	garble_begin();
	for (uint32_t i = 0; i < n; i++) {
		uint8_t what = fuzz_u8(in);

		if (what == 0xff)
			garble_rest(in);
		else if (what == 0xfe)
			garble_owner(in);
		else
			garble_one(in, what);
	}
	garble_end();
	for (uint32_t i = 0; i < WORLD_CLIENTS; i++) {
		struct world_client *cl = &world.clients[i];

		if (cl->ri != NIL && world.garbled[cl->ri])
			cl->tainted = true;
	}
}

void garble_header(struct fuzz_in *in)
{
	const size_t n = offsetof(struct arena_header, check) + 8;
	struct arena_header *h = world.arena.header, was = *h;
	uint8_t where = fuzz_u8(in), flip = fuzz_u8(in);
	struct arena again;
	const char *why;
	int fd, rc;

	((uint8_t *)h)[where] ^= flip;
	fd = dup(world.arena.fd);
	FUZZ_CHECK(fd >= 0);
	rc = arena_adopt(&again, fd, &why);
	FUZZ_CHECK((rc == 0) == (flip == 0 || where >= n), "byte %u", where);
	FUZZ_CHECK((rc == 0) == !why);
	if (rc == 0) {
		struct arena_audit audit;

		(void)arena_audit(&again, &audit);
		arena_close(&again);
	} else {
		close(fd);
	}
	memcpy(h, &was, n);
}
