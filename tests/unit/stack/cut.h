/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cut - a client whose packets arrive in fragments, for test_frag.c and
 * test_frag_hostile.c. Each test begins with start(family), ends with down().
 */
#ifndef XTCP_TESTS_CUT_H
#define XTCP_TESTS_CUT_H

#include <string.h>

#include "../unit.h"
#include "rig.h"
#include "stack/frag.h"

static struct rig_client cl;
static bool v6;
static uint8_t whole[2048]; /* the packet that is cut up */
static uint32_t whole_len, hdr_len;
static char text[1401];

static inline void up4(void)
{
	rig_up();
	memset(&cl, 0, sizeof(cl));
	rig_client(&cl, 1000);
	cl.v6 = v6;
	hdr_len = v6 ? 40 : 20;
	rig_connect(&cl, 1000);
	for (uint32_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('a' + i * 7 % 26);
}

static inline void start(int i)
{
	rig_down();
	v6 = i;
	up4();
}

/* An unharmed connection, and nothing left behind but what time ends. */
static inline void down(void)
{
	rig_pass_us(FRAG_TIMEOUT_US + 1000000);
	ck_assert_uint_eq(frag_used(rig.st->frags), 0);
	rig_down();
}

/* The client's next segment, of len bytes, is what is going to be cut. */
static inline void next_segment(uint32_t len)
{
	whole_len = rig_build(&cl,
			      &(struct rig_seg){ .flags = TH_ACK,
						 .seq = cl.snd_nxt,
						 .ack = cl.rcv_nxt,
						 .data = text,
						 .len = len },
			      whole);
}

static inline uint32_t payload_len(void)
{
	return whole_len - hdr_len;
}

/* The segment that was cut has arrived. */
static inline void expect_arrived(void)
{
	char buf[2048];
	uint32_t len = payload_len() - 32, n;

	n = rig_deliver(&cl, buf, sizeof(buf));
	ck_assert_uint_eq(n, len);
	ck_assert_int_eq(memcmp(buf, text, n), 0);
	cl.snd_nxt += n;
	rig_settle(&cl);
	rig.seen = rig.n_out;
}

static inline void expect_lost(void)
{
	char buf[2048];

	ck_assert_uint_eq(rig_deliver(&cl, buf, sizeof(buf)), 0);
}

/* An IP packet with these bytes as the fragment of id at off. */
static inline uint32_t build_piece(uint32_t id, uint32_t off,
				   const uint8_t *bytes, uint32_t len,
				   bool more, uint8_t *buf)
{
	uint32_t field =
		off / 8 << (v6 ? 3 : 0) | (more ? v6 ? 1u : 0x2000u : 0u);

	memcpy(buf, whole, hdr_len);
	if (v6) {
		uint8_t *ext = buf + 40;

		buf[4] = (uint8_t)((len + 8) >> 8);
		buf[5] = (uint8_t)(len + 8);
		memset(ext, 0, 8);
		ext[0] = buf[6];
		buf[6] = 44;
		ext[2] = (uint8_t)(field >> 8);
		ext[3] = (uint8_t)field;
		ext[6] = (uint8_t)(id >> 8);
		ext[7] = (uint8_t)id;
		memcpy(ext + 8, bytes, len);
		return 48 + len;
	}
	buf[2] = (uint8_t)((20 + len) >> 8);
	buf[3] = (uint8_t)(20 + len);
	buf[4] = (uint8_t)(id >> 8);
	buf[5] = (uint8_t)id;
	buf[6] = (uint8_t)(field >> 8);
	buf[7] = (uint8_t)field;
	memcpy(buf + 20, bytes, len);
	rig_fix_ip4(buf);
	return 20 + len;
}

/* [from, to) of the payload; the last piece ends where the payload does. */
static inline void piece(uint32_t id, uint32_t from, uint32_t to)
{
	uint8_t buf[2048];

	rig_packet(buf, build_piece(id, from, whole + hdr_len + from, to - from,
				    to != payload_len(), buf));
}

/* A last fragment of some length at some place. */
static inline void last(uint32_t id, uint32_t from, uint32_t to)
{
	uint8_t buf[2048];

	rig_packet(buf, build_piece(id, from, whole + hdr_len + from, to - from,
				    false, buf));
}

/* From another host, of the same /64 or of another one. */
static inline void source(uint32_t net, uint8_t host)
{
	if (v6) {
		whole[14] = (uint8_t)(net >> 8);
		whole[15] = (uint8_t)net;
		whole[23] = host;
	} else {
		whole[14] = (uint8_t)(net >> 8);
		whole[15] = (uint8_t)net;
	}
}

static uint32_t random_state;

static inline uint32_t random_below(uint32_t n)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % n;
}

#endif
