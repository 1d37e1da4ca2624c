/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program that chooses queues, run by an interpreter of the instructions
 * that it is made of: it needs no kernel and no privilege. What it says of a
 * packet must be what tuple_worker() says of the tuple.
 */
#include <string.h>

#include "../unit.h"
#include "arena/shard.h"
#include "base/bytes.h"
#include "daemon/tun_steer.h"

#define PACKETS 3000u
#define PACKET_MAX 128u
#define PROTO_TCP 6

/* Check's own assertions write to a file each time. */
#define REQUIRE(what)                        \
	do {                                 \
		if (!(what))                 \
			ck_abort_msg(#what); \
	} while (0)

static const uint32_t counts[] = { 2, 3, 7, 64 };

static struct arena_header header;
static struct bpf_insn insns[TUN_STEER_INSNS_MAX];
static uint32_t n_insns;
static uint64_t state;

/* splitmix64: the same in each run. */
static uint64_t chance(void)
{
	uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)((chance() >> 32) * n >> 32);
}

static void start(uint32_t workers, uint64_t seed)
{
	state = seed;
	header.workers = workers;
	for (uint32_t i = 0; i < ARENA_WORKER_KEYS; i++)
		header.worker_keys[i] = chance();
	n_insns = tun_steer_program(&header, insns);
	ck_assert_uint_le(n_insns, TUN_STEER_INSNS_MAX);
}

/* --- the interpreter --------------------------------------------------- */

struct machine {
	uint64_t r[11];
	const uint8_t *packet;
	uint32_t len, pc;
	bool ended;
};

static uint64_t alu(uint64_t a, int op, uint64_t b)
{
	switch (op) {
	case BPF_MOV:
		return b;
	case BPF_ADD:
		return a + b;
	case BPF_MUL:
		return a * b;
	case BPF_AND:
		return a & b;
	case BPF_XOR:
		return a ^ b;
	case BPF_LSH:
		REQUIRE(b < 64);
		return a << b;
	case BPF_RSH:
		REQUIRE(b < 64);
		return a >> b;
	default:
		ck_abort_msg("operation %#x", (unsigned int)op);
	}
}

static bool jumps(uint64_t a, int op, uint64_t b)
{
	switch (op) {
	case BPF_JA:
		return true;
	case BPF_JEQ:
		return a == b;
	case BPF_JNE:
		return a != b;
	case BPF_JSET:
		return a & b;
	default:
		ck_abort_msg("jump %#x", (unsigned int)op);
	}
}

/* As the kernel: r1 to r5 are lost; beyond the end, the program ends with 0. */
static void load(struct machine *m, const struct bpf_insn *in)
{
	uint32_t size = BPF_SIZE(in->code) == BPF_B   ? 1
			: BPF_SIZE(in->code) == BPF_H ? 2
						      : 4;
	int64_t at = in->imm;

	REQUIRE(m->r[6] == (uintptr_t)m->packet);
	if (BPF_MODE(in->code) == BPF_IND)
		at += (int32_t)m->r[in->src_reg];
	else
		REQUIRE(BPF_MODE(in->code) == BPF_ABS);
	REQUIRE(at >= 0);
	memset(&m->r[1], 0xa5, 5 * sizeof(m->r[0]));
	m->r[0] = 0;
	if (at + size > m->len) {
		m->ended = true;
		return;
	}
	for (uint32_t i = 0; i < size; i++)
		m->r[0] = m->r[0] << 8 | m->packet[at + i];
}

static void step(struct machine *m)
{
	const struct bpf_insn *in = &insns[m->pc++];
	uint64_t imm = (uint64_t)(int64_t)in->imm, *dst = &m->r[in->dst_reg];
	uint64_t src = BPF_SRC(in->code) == BPF_X ? m->r[in->src_reg] : imm;

	REQUIRE(m->pc <= n_insns);
	if (in->code == (BPF_LD | BPF_IMM | BPF_DW)) {
		*dst = (uint32_t)in->imm | (uint64_t)(uint32_t)in[1].imm << 32;
		REQUIRE(insns[m->pc++].code == 0);
	} else if (BPF_CLASS(in->code) == BPF_LD) {
		load(m, in);
	} else if (BPF_CLASS(in->code) == BPF_ALU64) {
		*dst = alu(*dst, BPF_OP(in->code), src);
	} else if (BPF_CLASS(in->code) == BPF_ALU) {
		*dst = (uint32_t)alu((uint32_t)*dst, BPF_OP(in->code),
				     (uint32_t)src);
	} else if (in->code == (BPF_JMP | BPF_EXIT)) {
		m->ended = true;
	} else {
		REQUIRE(BPF_CLASS(in->code) == BPF_JMP);
		REQUIRE(in->off >= 0); /* so it ends */
		if (jumps(*dst, BPF_OP(in->code), src))
			m->pc += (uint16_t)in->off;
	}
}

static uint32_t steer(const uint8_t *packet, uint32_t len)
{
	struct machine m = { .packet = packet, .len = len };

	m.r[1] = (uintptr_t)packet;
	while (!m.ended)
		step(&m);
	return (uint32_t)m.r[0];
}

/* --- packets ----------------------------------------------------------- */

/* A packet of random bytes, and the tuple that is in it. Returns its length. */
static uint32_t make_ip4(uint8_t *p, struct tuple *ret_tuple)
{
	uint32_t ihl = 5 + below(11);

	for (uint32_t i = 0; i < PACKET_MAX; i++)
		p[i] = (uint8_t)chance();
	p[0] = (uint8_t)(0x40 | ihl);
	p[6] &= 0xc0; /* no fragment; DF and the reserved bit may be there */
	p[7] = 0;
	p[9] = PROTO_TCP;
	memset(ret_tuple, 0, sizeof(*ret_tuple));
	memcpy(ret_tuple->remote, p + 12, 4);
	ret_tuple->remote_port = be16_load(p + 4 * ihl);
	return 4 * ihl + 20;
}

static uint32_t make_ip6(uint8_t *p, struct tuple *ret_tuple)
{
	for (uint32_t i = 0; i < PACKET_MAX; i++)
		p[i] = (uint8_t)chance();
	p[0] = 0x60 | (p[0] & 0xf);
	p[6] = PROTO_TCP;
	memset(ret_tuple, 0, sizeof(*ret_tuple));
	memcpy(ret_tuple->remote, p + 8, 16);
	ret_tuple->v6 = true;
	ret_tuple->remote_port = be16_load(p + 40);
	return 60;
}

static void check(const uint8_t *packet, uint32_t len, const struct tuple *t)
{
	ck_assert_uint_eq(steer(packet, len),
			  tuple_worker(&header, t, header.workers));
}

START_TEST(test_tcp_goes_to_its_worker)
{
	uint8_t p[PACKET_MAX];
	struct tuple t;
	uint32_t len;

	start(counts[_i], (uint64_t)_i + 1);
	for (uint32_t i = 0; i < PACKETS; i++) {
		len = make_ip4(p, &t);
		check(p, len, &t);
		t.local_port = (uint16_t)chance(); /* these do not matter */
		t.vip = (uint8_t)chance();
		check(p, len, &t);
		len = make_ip6(p, &t);
		check(p, len, &t);
	}
}
END_TEST

/* Reassembly needs all fragments of a datagram in one place. */
START_TEST(test_fragments_stay_together)
{
	uint8_t p[PACKET_MAX];
	struct tuple t;

	start(counts[_i], (uint64_t)_i + 1);
	for (uint32_t i = 0; i < PACKETS; i++) {
		uint32_t len = make_ip4(p, &t);
		uint16_t off = (uint16_t)(1 + below(0x1fff));

		t.remote_port = 0;
		be16_store(p + 6, 0x2000); /* the first */
		check(p, len, &t);
		be16_store(p + 6, 0x2000 | off);
		check(p, len, &t);
		be16_store(p + 6, off); /* the last */
		check(p, len, &t);
	}
}
END_TEST

START_TEST(test_what_is_no_plain_tcp_goes_by_its_address)
{
	uint8_t p[PACKET_MAX];
	struct tuple t;
	uint32_t len;

	start(counts[_i], (uint64_t)_i + 1);
	for (uint32_t i = 0; i < PACKETS; i++) {
		len = make_ip4(p, &t);
		t.remote_port = 0;
		p[9] = (uint8_t)(PROTO_TCP + 1 + below(255));
		check(p, len, &t);
		len = make_ip6(p, &t);
		t.remote_port = 0;
		p[6] = (uint8_t)(PROTO_TCP + 1 + below(255));
		check(p, len, &t);
	}
}
END_TEST

/* Whatever it is, it goes to a worker that there is, and nothing is misread. */
START_TEST(test_packets_that_are_none_go_somewhere)
{
	uint8_t p[PACKET_MAX];
	struct tuple t;

	start(counts[_i], (uint64_t)_i + 1);
	for (uint32_t len = 0; len < PACKET_MAX; len++) {
		for (uint32_t i = 0; i < 100; i++) {
			uint32_t ip4 = make_ip4(p, &t);

			if (len < ip4 - 20 + 2)
				ck_assert_uint_eq(steer(p, len), 0);
			else
				check(p, len, &t);
			p[0] = (uint8_t)chance(); /* any version, any length */
			ck_assert_uint_lt(steer(p, len), header.workers);
			p[0] &= 0x3f;
			ck_assert_uint_eq(steer(p, len), 0);
			(void)make_ip6(p, &t);
			if (len < 42)
				ck_assert_uint_eq(steer(p, len), 0);
			else
				check(p, len, &t);
		}
	}
}
END_TEST

/* --- how tuples spread ------------------------------------------------- */

enum spread { PORTS, EVEN_PORTS, ADDRESSES, LATTICE, ADDRESSES6, SPREADS };

static struct tuple spread_tuple(enum spread how, uint32_t i)
{
	struct tuple t = { .remote_port = 40000, .v6 = how == ADDRESSES6 };
	uint32_t address = 0x0a000001;

	if (how == PORTS)
		t.remote_port = (uint16_t)(1024 + i);
	else if (how == EVEN_PORTS)
		t.remote_port = (uint16_t)(1024 + 2 * i);
	else if (how == LATTICE)
		t.remote_port = (uint16_t)(40000 + i % 16);
	if (how == ADDRESSES)
		address += i;
	else if (how == LATTICE)
		address += i / 16;
	be32_store(t.remote, address);
	if (how == ADDRESSES6) /* a /64 each */
		be32_store(t.remote + 4, i);
	return t;
}

/* Pearson's chi-square of n tuples over the workers. */
static double chi_square(enum spread how, uint32_t n)
{
	double expected = (double)n / header.workers, sum = 0;
	uint32_t got[64] = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		struct tuple t = spread_tuple(how, i);
		uint32_t worker = tuple_worker(&header, &t, header.workers);

		REQUIRE(worker < header.workers);
		got[worker]++;
	}
	for (uint32_t w = 0; w < header.workers; w++)
		sum += (got[w] - expected) * (got[w] - expected) / expected;
	return sum;
}

/*
 * For df degrees of freedom the mean is df and the variance 2 df. With these
 * 64 keys it is below twice the mean plus 20, for few tuples and for many; a
 * sum without tuple_mix() is above for some of them.
 */
START_TEST(test_tuples_that_follow_each_other_spread_evenly)
{
	for (uint64_t seed = 0; seed < 64; seed++) {
		start(counts[_i], seed);
		for (enum spread how = 0; how < SPREADS; how++) {
			double bound = 2.0 * (header.workers - 1) + 20;

			ck_assert_double_lt(
				chi_square(how, 20 * header.workers), bound);
			ck_assert_double_lt(
				chi_square(how, 400 * header.workers), bound);
		}
	}
}
END_TEST

START_TEST(test_one_worker_has_all)
{
	struct tuple t = { .remote_port = 1 };

	start(1, 1);
	for (uint32_t i = 0; i < 100; i++) {
		be32_store(t.remote, (uint32_t)chance());
		ck_assert_uint_eq(tuple_worker(&header, &t, 1), 0);
	}
}
END_TEST

#define N_COUNTS ((int)ARRAY_SIZE(counts))

UNIT_MAIN("daemon/tun_steer", UNIT_TESTS(test_one_worker_has_all),
	  UNIT_LOOP("workers", N_COUNTS, NULL, NULL,
		    test_tcp_goes_to_its_worker, test_fragments_stay_together,
		    test_what_is_no_plain_tcp_goes_by_its_address,
		    test_packets_that_are_none_go_somewhere,
		    test_tuples_that_follow_each_other_spread_evenly))
