/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter - classic BPF.
 *
 * Theory of operation
 *
 * Two registers, A and X, and 16 words of scratch memory. An instruction's code
 * is class | size | mode, class | operation | source, or class | result. Each
 * code that there is stands in filter_codes[], with what its operands must
 * satisfy; another one is refused, so the interpreter meets none.
 *
 * Packets are in pieces, of which the first has the headers: reads that it
 * holds take no search.
 *
 * I1: of a checked program, every path ends in a return: jumps go forward and
 *     stay inside, and the last instruction is a return.
 */
#include "daemon/filter.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/bytes.h"
#include "proto/capture.h"

enum filter_code {
	LD = 0x00,
	LDX = 0x01,
	ST = 0x02,
	STX = 0x03,
	ALU = 0x04,
	JMP = 0x05,
	RET = 0x06,
	MISC = 0x07,
	/* sizes */
	W = 0x00,
	H = 0x08,
	B = 0x10,
	/* modes */
	IMM = 0x00,
	ABS = 0x20,
	IND = 0x40,
	MEM = 0x60,
	LEN = 0x80,
	MSH = 0xa0,
	/* operations */
	ADD = 0x00,
	SUB = 0x10,
	MUL = 0x20,
	DIV = 0x30,
	OR = 0x40,
	AND = 0x50,
	LSH = 0x60,
	RSH = 0x70,
	NEG = 0x80,
	MOD = 0x90,
	XOR = 0xa0,
	JA = 0x00,
	JEQ = 0x10,
	JGT = 0x20,
	JGE = 0x30,
	JSET = 0x40,
	/* sources and results */
	K = 0x00,
	X = 0x08,
	A = 0x10,
	TAX = 0x00,
	TXA = 0x80,
};

#define FILTER_MEMORY 16u

enum filter_rule {
	FILTER_NONE, /* there is no such code */
	FILTER_ANY,
	FILTER_MEMORY_K, /* k is a word of the memory */
	FILTER_NONZERO_K, /* k divides */
	FILTER_SHIFT_K, /* k shifts */
	FILTER_JUMP, /* by k */
	FILTER_BRANCH, /* by jt or jf */
	FILTER_RETURN,
};

static const uint8_t filter_codes[256] = {
	[LD | IMM | W] = FILTER_ANY,	   [LD | ABS | W] = FILTER_ANY,
	[LD | ABS | H] = FILTER_ANY,	   [LD | ABS | B] = FILTER_ANY,
	[LD | IND | W] = FILTER_ANY,	   [LD | IND | H] = FILTER_ANY,
	[LD | IND | B] = FILTER_ANY,	   [LD | MEM | W] = FILTER_MEMORY_K,
	[LD | LEN | W] = FILTER_ANY,	   [LDX | IMM | W] = FILTER_ANY,
	[LDX | MEM | W] = FILTER_MEMORY_K, [LDX | LEN | W] = FILTER_ANY,
	[LDX | MSH | B] = FILTER_ANY,	   [ST] = FILTER_MEMORY_K,
	[STX] = FILTER_MEMORY_K,	   [ALU | ADD | K] = FILTER_ANY,
	[ALU | ADD | X] = FILTER_ANY,	   [ALU | SUB | K] = FILTER_ANY,
	[ALU | SUB | X] = FILTER_ANY,	   [ALU | MUL | K] = FILTER_ANY,
	[ALU | MUL | X] = FILTER_ANY,	   [ALU | DIV | K] = FILTER_NONZERO_K,
	[ALU | DIV | X] = FILTER_ANY,	   [ALU | MOD | K] = FILTER_NONZERO_K,
	[ALU | MOD | X] = FILTER_ANY,	   [ALU | OR | K] = FILTER_ANY,
	[ALU | OR | X] = FILTER_ANY,	   [ALU | AND | K] = FILTER_ANY,
	[ALU | AND | X] = FILTER_ANY,	   [ALU | XOR | K] = FILTER_ANY,
	[ALU | XOR | X] = FILTER_ANY,	   [ALU | LSH | K] = FILTER_SHIFT_K,
	[ALU | LSH | X] = FILTER_ANY,	   [ALU | RSH | K] = FILTER_SHIFT_K,
	[ALU | RSH | X] = FILTER_ANY,	   [ALU | NEG] = FILTER_ANY,
	[JMP | JA] = FILTER_JUMP,	   [JMP | JEQ | K] = FILTER_BRANCH,
	[JMP | JEQ | X] = FILTER_BRANCH,   [JMP | JGT | K] = FILTER_BRANCH,
	[JMP | JGT | X] = FILTER_BRANCH,   [JMP | JGE | K] = FILTER_BRANCH,
	[JMP | JGE | X] = FILTER_BRANCH,   [JMP | JSET | K] = FILTER_BRANCH,
	[JMP | JSET | X] = FILTER_BRANCH,  [RET | K] = FILTER_RETURN,
	[RET | A] = FILTER_RETURN,	   [MISC | TAX] = FILTER_ANY,
	[MISC | TXA] = FILTER_ANY,
};

/* left: instructions behind this one. */
static const char *filter_check_one(const struct filter_insn *in, uint32_t left)
{
	enum filter_rule rule = in->code < ARRAY_SIZE(filter_codes)
					? filter_codes[in->code]
					: FILTER_NONE;

	switch (rule) {
	case FILTER_NONE:
		return "there is no such instruction";
	case FILTER_ANY:
	case FILTER_RETURN:
		return NULL;
	case FILTER_MEMORY_K:
		return in->k < FILTER_MEMORY ? NULL
					     : "there are 16 words of memory";
	case FILTER_NONZERO_K:
		return in->k ? NULL : "it divides by zero";
	case FILTER_SHIFT_K:
		return in->k < 32 ? NULL : "it shifts by more than 31";
	case FILTER_JUMP:
		return in->k < left ? NULL
				    : "it jumps back, or out of the program";
	case FILTER_BRANCH:
		return in->jt < left && in->jf < left
			       ? NULL
			       : "it jumps back, or out of the program";
	}
	return "there is no such instruction";
}

const char *filter_check(const struct filter_insn *insns, uint32_t n,
			 uint32_t *ret_at)
{
	*ret_at = 0;
	if (n == 0 || n > CAPTURE_FILTER_MAX)
		return "a program has 1 to 2048 instructions";
	for (uint32_t i = 0; i < n; i++) {
		const char *bad = filter_check_one(&insns[i], n - 1 - i);

		*ret_at = i;
		if (bad)
			return bad;
	}
	if (filter_codes[insns[n - 1].code] != FILTER_RETURN)
		return "the last instruction is no return";
	return NULL;
}

struct filter_packet {
	const struct iovec *iov;
	int iovcnt;
	uint32_t len;
};

/* Bytes that are in several pieces; they are there. */
static void filter_gather(const struct filter_packet *p, uint32_t at,
			  uint8_t *to, uint32_t n)
{
	for (int i = 0; i < p->iovcnt && n > 0; i++) {
		const uint8_t *from = p->iov[i].iov_base;
		size_t len = p->iov[i].iov_len, take;

		if (at >= len) {
			at -= (uint32_t)len;
			continue;
		}
		take = min_size(len - at, n);
		memcpy(to, from + at, take);
		to += take;
		n -= (uint32_t)take;
		at = 0;
	}
}

/* The n bytes at `at`, in network byte order. Returns false: beyond the end. */
static bool filter_load(const struct filter_packet *p, uint64_t at, uint32_t n,
			uint32_t *ret_value)
{
	uint8_t buf[4] = { 0 };
	const uint8_t *from = buf;

	if (at + n > p->len)
		return false;
	if (at + n <= p->iov[0].iov_len)
		from = (const uint8_t *)p->iov[0].iov_base + at;
	else
		filter_gather(p, (uint32_t)at, buf, n);
	*ret_value = n == 4   ? be32_load(from)
		     : n == 2 ? be16_load(from)
			      : from[0];
	return true;
}

/* The second operand is right. Returns false: it can't be done. */
static bool filter_alu(uint16_t op, uint32_t *a, uint32_t right)
{
	switch (op) {
	case ADD:
		*a += right;
		return true;
	case SUB:
		*a -= right;
		return true;
	case MUL:
		*a *= right;
		return true;
	case DIV:
		if (right)
			*a /= right;
		return right != 0;
	case MOD:
		if (right)
			*a %= right;
		return right != 0;
	case OR:
		*a |= right;
		return true;
	case AND:
		*a &= right;
		return true;
	case XOR:
		*a ^= right;
		return true;
	case LSH:
		*a = right < 32 ? *a << right : 0;
		return true;
	case RSH:
		*a = right < 32 ? *a >> right : 0;
		return true;
	default: /* NEG */
		*a = 0 - *a;
		return true;
	}
}

static bool filter_holds(uint16_t op, uint32_t a, uint32_t right)
{
	switch (op) {
	case JEQ:
		return a == right;
	case JGT:
		return a > right;
	case JGE:
		return a >= right;
	default: /* JSET */
		return (a & right) != 0;
	}
}

struct filter_state {
	uint32_t a, x;
	uint32_t memory[FILTER_MEMORY];
};

/* Loads of A and X. Returns false: beyond the end. */
static bool filter_fetch(struct filter_state *s, const struct filter_packet *p,
			 const struct filter_insn *in)
{
	uint32_t *to = (in->code & 0x07) == LD ? &s->a : &s->x;
	uint32_t size = (in->code & 0x18) == W	 ? 4
			: (in->code & 0x18) == H ? 2
						 : 1;

	switch (in->code & 0xe0) {
	case IMM:
		*to = in->k;
		return true;
	case ABS:
		return filter_load(p, in->k, size, to);
	case IND:
		return filter_load(p, (uint64_t)s->x + in->k, size, to);
	case MEM:
		*to = s->memory[in->k];
		return true;
	case LEN:
		*to = p->len;
		return true;
	default: /* MSH: the length of an IPv4 header */
		if (!filter_load(p, in->k, 1, to))
			return false;
		*to = (*to & 0xf) << 2;
		return true;
	}
}

uint32_t filter_run(const struct filter_insn *insns, const struct iovec *iov,
		    int iovcnt, uint32_t len)
{
	const struct filter_packet p = { iov, iovcnt, len };
	struct filter_state s = { 0 };

	for (const struct filter_insn *in = insns;; in++) {
		uint32_t right = in->code & X ? s.x : in->k;

		switch (in->code & 0x07) {
		case LD:
		case LDX:
			if (!filter_fetch(&s, &p, in))
				return 0;
			break;
		case ST:
			s.memory[in->k] = s.a;
			break;
		case STX:
			s.memory[in->k] = s.x;
			break;
		case ALU:
			if (!filter_alu(in->code & 0xf0, &s.a, right))
				return 0;
			break;
		case JMP:
			if ((in->code & 0xf0) == JA)
				in += in->k;
			else
				in += filter_holds(in->code & 0xf0, s.a, right)
					      ? in->jt
					      : in->jf;
			break;
		case RET:
			return in->code & A ? s.a : in->k;
		default:
			if (in->code & TXA)
				s.a = s.x;
			else
				s.x = s.a;
			break;
		}
	}
}
