/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sender - the stack as a sender of data, for the tests of recovery: its
 * segments and the client's ACKs are named by their place in the stream.
 */
#ifndef XTCP_TESTS_SENDER_H
#define XTCP_TESTS_SENDER_H

#include <string.h>

#include "../unit.h"
#include "base/units.h"
#include "rig.h"
#include "stack/cc.h"

#define MS USEC_PER_MSEC
#define MSS 1460u /* without timestamps */

static struct rig_client cl;

/* Sequence number of byte at of the stream that the stack sends. */
static inline uint32_t at(uint32_t byte)
{
	return cl.srv_iss + 1 + byte;
}

/* A client without timestamps that is rtt_us away; adjust cl before. */
static inline void sender_client(bool sack)
{
	rig_client(&cl, 1000);
	cl.ts = false;
	cl.sack = sack;
}

static inline void sender_connect(uint64_t rtt_us)
{
	cl.rtt_us = rtt_us;
	rig_connect(&cl, cl.port);
	rig_events(cl.ri);
}

/* The application writes so many bytes. */
static inline void sender_write(uint32_t len)
{
	static const char data[1 << 20];

	ck_assert_int_eq(stack_reply(rig.st, cl.ri, rig_rec(&cl)->rcv_off, 0,
				     data, len, rig.now_us),
			 len);
	stack_flush(rig.st, rig.now_us);
}

/* The next segment is this part of the stream. */
static inline struct rig_out *sender_sent(uint32_t byte, uint32_t len)
{
	struct rig_out *out = &rig.out[rig.seen % RIG_OUT_MAX];

	ck_assert_msg(rig.seen < rig.n_out, "nothing sent, not %u..%u", byte,
		      byte + len);
	rig.seen++;
	ck_assert_msg(out->seq == at(byte) && out->len == len,
		      "sent %u..%u, not %u..%u", out->seq - at(0),
		      out->seq - at(0) + out->len, byte, byte + len);
	return out;
}

/* These many full segments, the first at byte; nothing more. */
static inline void sender_sent_full(uint32_t byte, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		sender_sent(byte + i * MSS, MSS);
	rig_expect_nothing();
}

/* An ACK up to byte, with what cl.sacks has. */
static inline void sender_ack_flags(uint32_t byte, uint8_t flags)
{
	rig_input(&cl, &(struct rig_seg){ .flags = TH_ACK | flags,
					  .seq = cl.snd_nxt,
					  .ack = at(byte) });
	ck_assert_msg(!shard_check(&rig.shard), "%s", shard_check(&rig.shard));
}

static inline void sender_ack(uint32_t byte)
{
	cl.n_sacks = 0;
	sender_ack_flags(byte, 0);
}

/* The same with one SACK block, or two. */
static inline void sender_sack(uint32_t byte, uint32_t start, uint32_t end)
{
	cl.n_sacks = 1;
	cl.sacks[0] = (struct seg_sack){ at(start), at(end) };
	sender_ack_flags(byte, 0);
	cl.n_sacks = 0;
}

static inline void sender_sack2(uint32_t byte, uint32_t start0, uint32_t end0,
				uint32_t start1, uint32_t end1)
{
	cl.n_sacks = 2;
	cl.sacks[0] = (struct seg_sack){ at(start0), at(end0) };
	cl.sacks[1] = (struct seg_sack){ at(start1), at(end1) };
	sender_ack_flags(byte, 0);
	cl.n_sacks = 0;
}

/* Let rtt_us pass and acknowledge everything, so that the RTT is known well. */
static inline void sender_round(uint32_t byte, uint64_t rtt_us)
{
	rig_pass_us(rtt_us);
	sender_ack(byte);
	rig_events(cl.ri);
}

/* Timers until us from now; sent is looked at by the caller. */
static inline void sender_skip(void)
{
	rig.seen = rig.n_out;
}

static inline uint32_t sender_count(void)
{
	uint32_t n = rig.n_out - rig.seen;

	rig.seen = rig.n_out;
	return n;
}

static inline struct blk *sender_blk(void)
{
	struct blk *b = rig_blk(&cl);

	ck_assert_ptr_nonnull(b);
	return b;
}

#endif
