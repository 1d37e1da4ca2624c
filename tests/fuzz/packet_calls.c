/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * packet_calls - what the daemon does with a world's connections, from a
 * script's operands.
 */
#include <string.h>

#include "fuzz/packet.h"
#include "stack/cc.h"

/* --- calls ------------------------------------------------------------- */

/* The record when the daemon may still speak of it. */
static struct rec *packet_conn(const struct world_client *cl)
{
	struct rec *r = client_rec(cl);

	return r && r->state != TCP_GONE && !(r->flags & REC_ORPHAN) ? r : NULL;
}

static void packet_check_delivery(const struct world_client *cl,
				  const struct iovec *iov, int n,
				  uint32_t total, uint64_t offset)
{
	uint32_t sum = 0;

	for (int i = 0; i < n; i++) {
		FUZZ_CHECK(iov[i].iov_len > 0);
		FUZZ_CHECK(cl->tainted ||
			   world_client_said((uint32_t)offset + sum,
					     iov[i].iov_base, iov[i].iov_len));
		sum += (uint32_t)iov[i].iov_len;
	}
	FUZZ_CHECK(sum == total);
}

uint32_t packet_deliver(struct world_client *cl, uint32_t max)
{
	struct rec *r = packet_conn(cl);
	struct iovec iov[8];
	uint64_t offset;
	uint32_t got;
	bool again;
	int n = 8;

	if (!r)
		return 0;
	got = stack_peek(world.st, cl->ri, max, iov, &n, &offset, &again);
	FUZZ_CHECK(got <= max);
	packet_check_delivery(cl, iov, n, got, offset);
	if (got) {
		r->flags |= REC_TOLD;
		FUZZ_SAY("%u: delivered %u", cl->port, got);
		stack_delivered(world.st, cl->ri, got, world.now_us);
	}
	return got;
}

static void packet_answer(struct world_client *cl, uint64_t offset,
			  uint32_t ackd, uint32_t len)
{
	const uint8_t *bytes = world_server_bytes((uint32_t)cl->app_taken);
	int64_t rc;

	if (!packet_conn(cl))
		return;
	/* What it takes may leave before it returns. */
	if (offset + ackd > cl->app_acked)
		cl->app_acked = offset + ackd;
	rc = stack_reply(world.st, cl->ri, offset, ackd, bytes, len,
			 world.now_us);
	FUZZ_SAY("%u: reply offset %llu ackd %u len %u: %lld", cl->port,
		 (unsigned long long)offset, ackd, len, (long long)rc);
	FUZZ_CHECK(rc <= (int64_t)len);
	if (rc > 0)
		cl->app_taken += (uint64_t)rc;
}

/* What was delivered and is not acknowledged. */
static uint32_t packet_held(const struct rec *r)
{
	const struct blk *b;

	if (r->block == NIL)
		return 0;
	b = &world.shard.blks[r->block];
	return b->rcv_dlv - b->rcv_app;
}

void packet_reply(struct fuzz_in *in, struct world_client *cl)
{
	const struct rec *r = packet_conn(cl);
	uint8_t how = fuzz_u8(in);
	uint32_t ackd, len = packet_len(in);
	uint64_t offset, before = cl->app_acked;

	if (!r)
		return;
	offset = r->rcv_off;
	ackd = packet_held(r);
	if (how & 1)
		ackd = ackd ? fuzz_u16(in) % ackd : 0;
	if (how & 2)
		len *= 5;
	if ((how & 0x1c) == 0x1c)
		ackd += packet_delta(in, how >> 5);
	if ((how & 0x1c) == 0x18)
		offset += packet_delta(in, how >> 5);
	packet_answer(cl, offset, ackd, len);
	/* Refused: it said more than it was given. */
	r = client_rec(cl);
	if (r && cl->app_acked > r->rcv_off)
		cl->app_acked = before > r->rcv_off ? before : r->rcv_off;
}

void packet_call(struct fuzz_in *in, struct world_client *cl)
{
	struct rec *r = packet_conn(cl);
	uint8_t how = fuzz_u8(in);

	if (!r)
		return;
	FUZZ_SAY("%u: call %u", cl->port, how % 8);
	switch (how % 8) {
	case 0:
		stack_close(world.st, cl->ri, world.now_us);
		break;
	case 1:
		stack_abort(world.st, cl->ri, world.now_us);
		break;
	case 2:
	case 3:
		stack_shutdown(world.st, cl->ri, world.now_us);
		break;
	case 4:
		stack_undeliver(world.st, cl->ri);
		break;
	case 5:
		stack_refuse(world.st, cl->ri, world.now_us);
		break;
	case 6:
		r->flags |= REC_TOLD;
		break;
	default:
		stack_accept(world.st, cl->ri, world.now_us);
		break;
	}
	if (how & 0x80)
		return; /* more calls in this turn */
	world_flush();
}

void packet_exchange(struct fuzz_in *in, struct world_client *cl)
{
	uint32_t request = packet_len(in), reply = packet_len(in);
	const struct rec *r;

	client_send(cl, request, TH_PSH);
	packet_deliver(cl, UINT32_MAX);
	r = packet_conn(cl);
	if (!r)
		return;
	packet_answer(cl, r->rcv_off, packet_held(r), reply);
	world_flush();
	client_ack(cl);
}

void packet_events(void)
{
	uint16_t events;
	uint32_t ri;

	while ((ri = stack_next_event(world.st, &events)) != NIL) {
		FUZZ_SAY("%u: events %x", world.shard.recs[ri].remote_port,
			 events);
		FUZZ_CHECK(ri < WORLD_RECS);
		FUZZ_CHECK(world.shard.recs[ri].state != TCP_FREE);
		if (events & STACK_EV_RESET)
			stack_forget(world.st, ri);
		else if (events & (STACK_EV_OPEN | STACK_EV_DATA))
			world.shard.recs[ri].flags |= REC_TOLD;
	}
	world_flush();
}

/* --- settings ---------------------------------------------------------- */

void packet_group_bits(struct stack_group *g, uint32_t how)
{
	static const uint32_t windows[] = { 0, 0, STACK_ACK_WINDOW_AUTO, 2048 };
	static const uint64_t times[] = { 0, 500000, 5000000, 40000000 };
	static const uint8_t acks[] = { STACK_ACK_DEFERRED, STACK_ACK_DEFERRED,
					STACK_ACK_DELIVERED,
					STACK_ACK_IMMEDIATE };

	g->vip_mask = UINT64_MAX;
	g->ack = acks[how & 3];
	g->ack_window_bytes = windows[how >> 2 & 3];
	g->ack_deadline_us = how & 0x10 ? 200000 : 0;
	g->accept = how & 0x20 ? STACK_ACCEPT_APPLICATION : STACK_ACCEPT_AUTO;
	g->announce = how & 0x40;
	g->max_connections = (how & 0x180) == 0x80 ? 2 : 0;
	g->max_per_source = (how & 0x180) == 0x180 ? 2 : 0;
	g->keepalive_us = times[how >> 8 & 3];
	g->idle_timeout_us = times[how >> 10 & 3];
	g->accept_timeout_us = 3000000;
	g->user_timeout_us = how & 0x1000 ? 3000000 : 30000000;
	g->congestion = how & 0x2000 ? CC_RENO : CC_CUBIC;
	g->ecn = how & 0x4000;
	g->draining = (how & 0xe000) == 0xe000;
}

void packet_time(struct fuzz_in *in)
{
	static const uint64_t us[] = {
		1,	  1000,	     10000,	 50000,
		200000,	  500000,    1000000,	 1500000,
		3000000,  6000000,   20000000,	 61000000,
		60000000, 130000000, 3600000000, UINT64_C(2160000000000),
	};

	world_pass_us(us[fuzz_u8(in) & 0xf], 24);
}
