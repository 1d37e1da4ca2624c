/* SPDX-License-Identifier: BSD-2-Clause */
/* Broken and hostile daemons. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "unit/lib/fake.h"
#include "unit/unit.h"

static struct fake k;

static void setup(void)
{
	fake_init(&k);
}

static void setup_open(void)
{
	setup();
	fake_open(&k);
}

static void teardown(void)
{
	fake_fini(&k);
}

struct hostile {
	const char *what;
	struct frame f;
	size_t n; /* payload bytes */
};

#define H(t, ...)                                         \
	{                                                 \
		.type = FRAME_##t, .conn = 7, __VA_ARGS__ \
	}
static const struct hostile hostile[] = {
	{ "unknown type", { .type = 200 }, 0 },
	{ "wrong direction", H(REPLY), 0 },
	{ "second HELLO", H(HELLO), 48 },
	{ "second ATTACHED", H(ATTACHED), 24 },
	{ "ATTACH to who dialled", H(ATTACH), 24 },
	{ "short HELLO", H(HELLO), 3 },
	{ "empty DATA", H(DATA), 0 },
	{ "DATA of the stream itself", { .type = FRAME_DATA, .offset = 3 }, 5 },
	{ "DATA with a gap", H(DATA, .offset = 4), 5 },
	{ "DATA past the end of numbers", H(DATA, .offset = UINT64_MAX), 5 },
	{ "FIRST without an address", H(DATA, .flags = FRAME_F_FIRST), 47 },
	{ "FIRST of no family", H(DATA, .flags = FRAME_F_FIRST), 60 },
	{ "OPEN of no family", H(OPEN), 48 },
	{ "EOF beyond the data", H(EOF, .offset = 4), 0 },
	{ "EOF before the data", H(EOF, .offset = 2), 0 },
	{ "EOF FIRST without an address", H(EOF, .flags = FRAME_F_FIRST), 0 },
	{ "PONG to no PING", H(PONG), 0 },
	{ "fatal ERROR", H(ERROR, .flags = FRAME_F_FATAL, .aux = 5), 10 },
	{ "fatal ERROR without reason", H(ERROR, .flags = FRAME_F_FATAL), 0 },
};
#undef H

START_TEST(test_hostile_frame_ends_the_stream_and_nothing_else)
{
	const struct hostile *h = &hostile[_i];
	static const char zero[64];
	char buf[64];
	int cd = fake_connect_text(&k, 7, "abc"), again;

	fake_send(&k.s[0], h->f, zero, h->n);
	fake_expect_close(&k, &k.s[0]);
	if (_i % 4 != 0)
		return; /* coming again takes 50 ms, and is always the same */
	fake_reaccept(&k);
	ck_assert_uint_eq(fake_expect(&k, &k.s[0], FRAME_REPLY, NULL).conn, 7);
	fake_first(&k.s[0], 7, 0, FRAME_F_REDELIVERED, "abcdef");
	ck_assert_int_eq(fake_recv_text(&k, &again, buf), 6);
	ck_assert_int_eq(again, cd);
}
END_TEST

START_TEST(test_data_after_eof_ends_the_stream)
{
	const struct frame eof = { .type = FRAME_EOF, .conn = 7, .offset = 3 };

	fake_connect_text(&k, 7, "abc");
	fake_send(&k.s[0], eof, NULL, 0);
	fake_data(&k.s[0], 7, 3, "more");
	fake_expect_close(&k, &k.s[0]);
}
END_TEST

START_TEST(test_harmless_oddities_are_ignored)
{
	const struct frame odd[] = {
		{ .type = FRAME_ERROR, .aux = 22 },
		{ .type = FRAME_DRAIN },
		{ .type = FRAME_RESET, .conn = 4711 },
		{ .type = FRAME_CREDIT, .conn = 4711, .offset = 1 },
		{ .type = FRAME_EOF, .conn = 4711, .offset = 1 },
	};
	int cd = fake_connect_text(&k, 7, "abc");

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		fake_send(&k.s[0], odd[i], NULL, 0);
	fake_data(&k.s[0], 4711, 5, "of a connection nobody knows");
	fake_pump(&k);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 3, 1), 1);
	fake_expect(&k, &k.s[0], FRAME_REPLY, NULL);
}
END_TEST

/* Frames made at random, most of them well-formed in the header. */
START_TEST(test_random_frames_never_crash)
{
	static const uint8_t types[] = {
		FRAME_OPEN, FRAME_DATA, FRAME_DATA,  FRAME_DATA,   FRAME_EOF,
		FRAME_PONG, FRAME_PING, FRAME_RESET, FRAME_CREDIT,
	};
	unsigned int seed = (unsigned int)_i;
	char buf[256];
	int cd, cuts = 0;
	ssize_t got;

	for (int i = 0; i < 300; i++) {
		struct frame_addr addr =
			fake_addr((uint64_t)rand_r(&seed) % 4, 4,
				  (uint64_t)rand_r(&seed) % 3);
		struct frame f = {
			.type = types[(size_t)rand_r(&seed) % sizeof(types)],
			.flags = (uint8_t)(rand_r(&seed) & 7),
			.conn = (uint64_t)rand_r(&seed) % 4,
			.offset = (uint64_t)rand_r(&seed) % 8,
			.aux = (uint32_t)rand_r(&seed) % 3,
		};
		size_t n = f.type == FRAME_OPEN	  ? 48
			   : f.type == FRAME_DATA ? 49 + f.offset
			   : f.type == FRAME_EOF  ? 48
						  : 0;

		memset(buf, 0, sizeof(buf));
		memcpy(buf, &addr, sizeof(addr));
		fake_send(&k.s[0], f, buf, n);
		fake_pump(&k);
		if (xtcp_ctx_recv(k.ctx, k.gd, &cd, buf, 16) != -EAGAIN)
			xtcp_ctx_send(k.ctx, k.gd, cd,
				      (size_t)rand_r(&seed) % 4, buf,
				      (size_t)rand_r(&seed) % 4);
		if (rand_r(&seed) % 8 == 0)
			xtcp_ctx_close(k.ctx, k.gd,
				       xtcp_ctx_accept(k.ctx, k.gd));
		while ((got = recv(k.s[0].fd, buf, sizeof(buf), MSG_DONTWAIT)) >
		       0)
			;
		/* Cut off; the library comes again after 50 ms: now and then. */
		if (got == 0 && (_i % 8 != 0 || cuts++ == 1))
			break;
		if (got == 0) {
			fake_drop(&k.s[0]);
			fake_reaccept(&k);
		}
	}
}
END_TEST

UNIT_MAIN("lib/hostile",
	  UNIT_LOOP("frames", sizeof(hostile) / sizeof(hostile[0]), setup_open,
		    teardown,
		    test_hostile_frame_ends_the_stream_and_nothing_else),
	  UNIT_LOOP("random", 40, setup_open, teardown,
		    test_random_frames_never_crash),
	  UNIT_CASE("odd", setup_open, teardown,
		    test_data_after_eof_ends_the_stream,
		    test_harmless_oddities_are_ignored))
