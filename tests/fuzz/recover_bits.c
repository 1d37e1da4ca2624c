/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recover_bits - each bit of what a process may leave is flipped.
 *
 * A fuzzer looks for new paths, not for each field. So for some states of a
 * connection this goes through its record, its block and its chunks: every bit
 * flipped, every number replaced by ones that mean something. Each is an input
 * of the recover target (fuzz_recover.c), which says what must hold.
 *
 *	recover_bits [EVERY]
 *
 * Tries all, or each EVERY-th. Prints how many that were, or dies; FUZZ_VERBOSE
 * tells which was the last.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "fuzz/fuzz.h"
#include "fuzz/world.h"

#define BITS_INPUT_MAX 128u

/* Operations of fuzz_recover.c. Those of connection 0 need no CLIENT(). */
#define CLIENT(i) ((i) << 6)
#define SEND(client, len) 1 | CLIENT(client), len
#define TAKE(client) 5 | CLIENT(client)
#define REPLY(client, how, len) 6 | CLIENT(client), how, len
#define ACK 3
#define FIN 2, 0
/* A segment: FIN, and of ours nothing is acknowledged. */
#define FIN_UNACKED 11, 2, 0, 2, 0, 0, 0
#define CALL(which) 8, which
#define GAP 10, 0x20, 4
#define PASS(i) 9, i
#define SYN(client) 12 | CLIENT(client)

/* How a connection that is damaged comes to where it is. */
struct bits_state {
	const char *name;
	uint8_t who;
	uint8_t connected; /* bits */
	uint8_t group[2]; /* settings: packet_group_bits() */
	uint8_t n;
	uint8_t ops[24];
};

static const struct bits_state bits_states[] = {
	{ "idle", 0, 5, { 0, 0 }, 0, { 0 } },
	{ "held", 0, 5, { 0, 0 }, 5, { SEND(0, 13), SEND(0, 4), TAKE(0) } },
	{ "deadline", 0, 5, { 0, 0x10 }, 2, { SEND(0, 13) } },
	{ "flight",
	  0,
	  5,
	  { 0, 0 },
	  9,
	  { SEND(0, 4), TAKE(0), REPLY(0, 2, 13), REPLY(0, 2, 13) } },
	{ "gap", 0, 5, { 0, 0 }, 5, { SEND(0, 4), GAP } },
	{ "bulk",
	  3,
	  13,
	  { 0, 3 },
	  14,
	  { SEND(3, 13), SEND(3, 13), SEND(3, 13), SEND(3, 13), SEND(3, 13),
	    TAKE(3), REPLY(3, 0, 0) } },
	{ "syn-received", 3, 5, { 0, 0 }, 1, { SYN(3) } },
	{ "syn-held", 3, 0, { 0, 0x20 }, 1, { SYN(3) } },
	{ "close-wait", 0, 5, { 0, 0 }, 4, { SEND(0, 4), FIN } },
	{ "fin-wait-1",
	  0,
	  5,
	  { 0, 0 },
	  8,
	  { SEND(0, 4), TAKE(0), REPLY(0, 0, 10), CALL(2) } },
	{ "fin-wait-2", 0, 5, { 0, 0 }, 3, { CALL(2), ACK } },
	{ "orphan", 0, 5, { 0, 0 }, 3, { CALL(0), ACK } },
	{ "closing", 0, 5, { 0, 0 }, 9, { CALL(2), FIN_UNACKED } },
	{ "last-ack", 0, 5, { 0, 0 }, 4, { FIN, CALL(2) } },
	{ "time-wait", 0, 5, { 0, 0 }, 5, { CALL(2), ACK, FIN } },
};

/* A neighbour that must come through unharmed. */
static const uint8_t bits_neighbour[] = { SEND(2, 4), TAKE(2), REPLY(2, 2, 4),
					  SEND(2, 13) };

/* What may come after: the application and the client go on, and end it. */
static const uint8_t bits_after[] = {
	TAKE(0), REPLY(0, 0, 4), SEND(0, 13), TAKE(0),	      REPLY(0, 0, 13),
	ACK,	 PASS(5),	 FIN,	      TAKE(0),	      CALL(0),
	SYN(3),	 SEND(3, 4),	 TAKE(2),     REPLY(2, 0, 4),
};

static uint64_t bits_turn, bits_done;
static unsigned long bits_every = 1;

static void bits_append(uint8_t *input, size_t *n, const void *bytes,
			size_t len)
{
	FUZZ_CHECK(*n + len <= BITS_INPUT_MAX);
	memcpy(input + *n, bytes, len);
	*n += len;
}

/* A kill in that state, with one piece of damage; see recover_garble.c. */
static void bits_try(const struct bits_state *state, bool after, uint8_t part,
		     uint8_t where, uint8_t how, uint8_t operand)
{
	const uint8_t setup[] = {
		0, state->connected, state->group[0], state->group[1], 0, 0, 0,
		0,
	};
	const uint8_t kill[] = { 14,	1,   (uint8_t)(state->who << 4 | part),
				 where, how, operand };
	uint8_t input[BITS_INPUT_MAX];
	size_t n = 0;

	if (bits_turn++ % bits_every)
		return;
	FUZZ_SAY("--- %s: part %u, %u, %u, %u", state->name, part, where, how,
		 operand);
	bits_append(input, &n, setup, sizeof(setup));
	bits_append(input, &n, bits_neighbour, sizeof(bits_neighbour));
	bits_append(input, &n, state->ops, state->n);
	bits_append(input, &n, kill, sizeof(kill));
	if (after)
		bits_append(input, &n, bits_after, sizeof(bits_after));
	LLVMFuzzerTestOneInput(input, n);
	bits_done++;
}

/* Values for each number of 32 bits: what is said by `how` of a garble. */
static void bits_numbers(const struct bits_state *state, uint8_t part,
			 uint8_t where, bool after)
{
	const uint8_t words = 2, numbers = 3 << 2, deltas = 5 << 2,
		      copies = 6 << 2;

	for (uint8_t i = 0; i < 8; i++)
		bits_try(state, after, part, where, words | numbers, i);
	for (uint8_t i = 0; i < 4; i++)
		bits_try(state, after, part, where, words | deltas, i);
	for (uint8_t i = 0; i < 3; i++)
		bits_try(state, after, part, where, words | copies, i);
}

/* A part of so many bytes; unit: of `where`. */
static void bits_part(const struct bits_state *state, uint8_t part,
		      uint32_t bytes, uint32_t unit)
{
	for (uint32_t at = 0; at < bytes; at += unit)
		for (uint8_t bit = 0; bit < 8 * unit; bit++)
			bits_try(state, true, part, (uint8_t)(at / unit),
				 (uint8_t)(unit - 1), bit);
	for (uint32_t at = 0; at < bytes; at += 4) {
		bits_numbers(state, part, (uint8_t)(at / unit), false);
		bits_numbers(state, part, (uint8_t)(at / unit), true);
	}
}

static void bits_state(const struct bits_state *state)
{
	bits_part(state, 0, sizeof(struct rec), 1);
	bits_part(state, 6, sizeof(struct blk), 2);
	/* The first and the last of what was received, what waits, and replies. */
	for (uint8_t part = 11; part <= 15; part++)
		bits_part(state, part, sizeof(struct chunk), 1);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		bits_every = strtoul(argv[1], NULL, 10);
	FUZZ_CHECK(bits_every > 0);
	for (size_t i = 0; i < ARRAY_SIZE(bits_states); i++)
		bits_state(&bits_states[i]);
	printf("%llu pieces of damage\n", (unsigned long long)bits_done);
	return 0;
}
