/* SPDX-License-Identifier: BSD-2-Clause */
/* Classic BPF, with libpcap's as a second opinion. */
#include <pcap/pcap.h>
#include <stdint.h>
#include <string.h>

#include "../unit.h"
#include "base/bytes.h"
#include "daemon/filter.h"
#include "proto/capture.h"

static uint64_t seed = 4711;

static uint32_t chance(uint32_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % n;
}

static struct filter_insn program[CAPTURE_FILTER_MAX + 1];
static uint8_t packet[256];

static const char *check(uint32_t n)
{
	uint32_t at;

	return filter_check(program, n, &at);
}

/* The packet in one piece, or in pieces of any size. */
static uint32_t run(uint32_t len, bool pieces)
{
	struct iovec iov[sizeof(packet) + 1];
	uint32_t at = 0;
	int n = 0;

	while (n == 0 || at < len) {
		uint32_t take =
			pieces ? min_u32(1 + chance(30), len - at) : len;

		iov[n++] = (struct iovec){ packet + at, take };
		at += take;
	}
	return filter_run(program, iov, n, len);
}

/* An IPv4 or IPv6 packet that filters find something in. */
static uint32_t make_packet(void)
{
	static const uint16_t ports[] = { 22, 80, 5222, 5223 };
	uint32_t len = 20 + chance(sizeof(packet) - 19);
	bool v6 = chance(3) == 0;

	for (size_t i = 0; i < sizeof(packet); i++)
		packet[i] = (uint8_t)chance(256);
	packet[0] = v6 ? 0x60 : 0x45;
	packet[v6 ? 6 : 9] = chance(3) ? 6 : 17;
	if (chance(2))
		memset(packet + (v6 ? 4 : 6), 0, 2); /* no fragment */
	if (chance(2))
		memcpy(packet + 12, (uint8_t[]){ 192, 0, 2, 7 }, 4);
	be16_store(packet + (v6 ? 40 : 20) + 2 * chance(2),
		   ports[chance(ARRAY_SIZE(ports))]);
	return len;
}

static void load(const struct bpf_program *prog)
{
	for (uint32_t i = 0; i < prog->bf_len; i++)
		program[i] = (struct filter_insn){
			.code = prog->bf_insns[i].code,
			.jt = prog->bf_insns[i].jt,
			.jf = prog->bf_insns[i].jf,
			.k = prog->bf_insns[i].k,
		};
}

/* clang-format off */
static const char *const expressions[] = {
	"port 5222 and host 192.0.2.7",
	"tcp", "udp", "ip6", "ip", "icmp", "not tcp port 22",
	"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
	"tcp[20:4] = 0x47455420", "ip[0] & 0xf != 5",
	"src net 192.0.0.0/8 and dst portrange 5000-6000",
	"len > 100", "less 60", "greater 100", "ip6 and dst port 80",
	"ip[2:2] - ((ip[0] & 0xf) << 2) > 40",
	"(tcp[0:2] + tcp[2:2]) % 7 = 3", "ip[8] / 3 * 2 | 1 > 20 or port 22",
	"tcp[0] ^ 0xff = 3", "ip[1] >> 2 = 0", "ip multicast",
	"host 2001:db8::1 or net 2001:db8::/32",
};
/* clang-format on */

START_TEST(test_filter_does_as_libpcap_does)
{
	pcap_t *dead = pcap_open_dead(DLT_RAW, CAPTURE_SNAPLEN_MAX);
	struct bpf_program prog;
	uint32_t matches = 0;

	ck_assert_int_eq(pcap_compile(dead, &prog, expressions[_i], 1,
				      PCAP_NETMASK_UNKNOWN),
			 0);
	load(&prog);
	ck_assert_ptr_null(check(prog.bf_len));
	for (int i = 0; i < 20000; i++) {
		uint32_t len = make_packet();
		uint32_t want = bpf_filter(prog.bf_insns, packet, len, len);

		matches += want != 0;
		ck_assert_uint_eq(run(len, false), want);
		ck_assert_uint_eq(run(len, true), want);
	}
	/* it was not all the same; "ip multicast" and IPv6 addresses are rare */
	ck_assert_uint_lt(matches, 20000);
	pcap_freecode(&prog);
	pcap_close(dead);
}
END_TEST

/* Any program at all: what is accepted ends, and reads nothing beyond. */
START_TEST(test_filter_survives_random_programs)
{
	static const uint16_t codes[] = {
		0x00, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x80, 0x01,
		0x61, 0x81, 0xb1, 0x02, 0x03, 0x04, 0x0c, 0x14, 0x1c, 0x24,
		0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c, 0x74,
		0x7c, 0x84, 0x94, 0x9c, 0xa4, 0xac, 0x05, 0x15, 0x1d, 0x25,
		0x2d, 0x35, 0x3d, 0x45, 0x4d, 0x06, 0x16, 0x07, 0x87,
	};
	uint32_t accepted = 0;

	for (int i = 0; i < 200000; i++) {
		uint32_t n = 1 + chance(12), len = 1 + chance(64);

		for (uint32_t k = 0; k < n; k++)
			program[k] = (struct filter_insn){
				.code = chance(20) == 0
						? (uint16_t)chance(65536)
						: codes[chance(
							  ARRAY_SIZE(codes))],
				.jt = (uint8_t)chance(n),
				.jf = (uint8_t)chance(n),
				.k = chance(8) == 0 ? UINT32_MAX - chance(8)
						    : chance(20),
			};
		program[n - 1].code = chance(2) ? 0x06 : 0x16;
		if (check(n))
			continue;
		accepted++;
		run(len, false);
		run(len, true);
	}
	ck_assert_uint_gt(accepted, 10000);
}
END_TEST

struct bad {
	uint32_t n;
	struct filter_insn insns[3];
	const char *why;
};

#define RETURN                \
	{                     \
		0x06, 0, 0, 1 \
	}

static const struct bad bads[] = {
	{ 0, { RETURN }, "1 to 2048" },
	{ 1, { { 0x20, 0, 0, 0 } }, "no return" },
	{ 2, { { 0x05, 0, 0, 1 }, RETURN }, "out of" },
	{ 2, { { 0x05, 0, 0, UINT32_MAX }, RETURN }, "out of" },
	{ 2, { { 0x15, 1, 0, 0 }, RETURN }, "out of" },
	{ 2, { { 0x15, 0, 255, 0 }, RETURN }, "out of" },
	{ 2, { { 0x34, 0, 0, 0 }, RETURN }, "by zero" },
	{ 2, { { 0x94, 0, 0, 0 }, RETURN }, "by zero" },
	{ 2, { { 0x64, 0, 0, 32 }, RETURN }, "31" },
	{ 2, { { 0x60, 0, 0, 16 }, RETURN }, "16 words" },
	{ 2, { { 0x61, 0, 0, UINT32_MAX }, RETURN }, "16 words" },
	{ 2, { { 0x02, 0, 0, 16 }, RETURN }, "16 words" },
	{ 2, { { 0x03, 0, 0, 17 }, RETURN }, "16 words" },
	{ 2, { { 0x18, 0, 0, 0 }, RETURN }, "no such" },
	{ 2, { { 0xa0, 0, 0, 0 }, RETURN }, "no such" },
	{ 2, { { 0x100, 0, 0, 0 }, RETURN }, "no such" },
	{ 2, { { 0xffff, 0, 0, 0 }, RETURN }, "no such" },
	{ 2, { RETURN, { 0x0e, 0, 0, 0 } }, "no such" },
};

START_TEST(test_filter_that_could_do_harm_is_refused)
{
	const struct bad *bad = &bads[_i];
	const char *why;

	memcpy(program, bad->insns, sizeof(bad->insns));
	why = check(bad->n);
	ck_assert_ptr_nonnull(why);
	ck_assert_msg(strstr(why, bad->why) != NULL, "%s", why);
}
END_TEST

START_TEST(test_filter_of_too_many_instructions_is_refused)
{
	for (uint32_t i = 0; i <= CAPTURE_FILTER_MAX; i++)
		program[i] = (struct filter_insn)RETURN;
	ck_assert_ptr_null(check(CAPTURE_FILTER_MAX));
	ck_assert_ptr_nonnull(check(CAPTURE_FILTER_MAX + 1));
}
END_TEST

START_TEST(test_filter_reads_nothing_beyond_the_packet)
{
	/* A = packet[k]; return 1 */
	program[1] = (struct filter_insn)RETURN;
	for (uint32_t k = 0; k < 8; k++) {
		program[0] = (struct filter_insn){ 0x20, 0, 0, k };
		ck_assert_uint_eq(run(8, false), k <= 4);
		ck_assert_uint_eq(run(8, true), k <= 4);
	}
	program[0] = (struct filter_insn){ 0x20, 0, 0, UINT32_MAX };
	ck_assert_uint_eq(run(8, false), 0);
	/* by X, whose sum with k is more than 32 bits */
	program[0] = (struct filter_insn){ 0x01, 0, 0, UINT32_MAX };
	program[1] = (struct filter_insn){ 0x50, 0, 0, 2 };
	program[2] = (struct filter_insn)RETURN;
	ck_assert_ptr_null(check(3));
	ck_assert_uint_eq(run(8, false), 0);
}
END_TEST

START_TEST(test_filter_says_which_instruction_is_wrong)
{
	uint32_t at;

	program[0] = (struct filter_insn){ 0x20, 0, 0, 0 };
	program[1] = (struct filter_insn){ 0x34, 0, 0, 0 };
	program[2] = (struct filter_insn)RETURN;
	ck_assert_ptr_nonnull(filter_check(program, 3, &at));
	ck_assert_uint_eq(at, 1);
}
END_TEST

UNIT_MAIN("daemon/filter",
	  UNIT_LOOP("libpcap", ARRAY_SIZE(expressions), NULL, NULL,
		    test_filter_does_as_libpcap_does),
	  UNIT_LOOP("refused", ARRAY_SIZE(bads), NULL, NULL,
		    test_filter_that_could_do_harm_is_refused),
	  UNIT_TESTS(test_filter_survives_random_programs,
		     test_filter_of_too_many_instructions_is_refused,
		     test_filter_reads_nothing_beyond_the_packet,
		     test_filter_says_which_instruction_is_wrong))
