/* SPDX-License-Identifier: BSD-2-Clause */
#include "stack/detail.h"

#include "base/bytes.h"
#include "stack/cc.h"
#include "stack/conn.h"
#include "stack/recovery.h"

static const char *const detail_timers[] = {
	[STACK_TIMER_RETRANSMIT] = "retransmit",
	[STACK_TIMER_PERSIST] = "persist",
	[STACK_TIMER_LOSS_PROBE] = "loss_probe",
	[STACK_TIMER_REORDERING] = "reordering",
	[STACK_TIMER_DELAYED_ACK] = "delayed_ack",
	[STACK_TIMER_ACK_DEADLINE] = "ack_deadline",
	[STACK_TIMER_ACCEPT] = "accept",
	[STACK_TIMER_HANDSHAKE] = "handshake",
	[STACK_TIMER_KEEPALIVE] = "keepalive",
	[STACK_TIMER_FIN_WAIT_2] = "fin_wait_2",
	[STACK_TIMER_LINGER] = "linger",
	[STACK_TIMER_IDLE] = "idle",
	[STACK_TIMER_TIME_WAIT] = "time_wait",
};

static_assert(ARRAY_SIZE(detail_timers) == STACK_TIMERS, "each has a name");

const char *stack_timer_name(uint32_t i)
{
	return i < STACK_TIMERS ? detail_timers[i] : NULL;
}

static void detail_timer(struct stack_conn_detail *d, enum stack_timer which,
			 uint64_t at_us, uint64_t now_us)
{
	if (at_us)
		d->timer_us[which] = at_us > now_us ? at_us - now_us : 0;
}

static uint64_t detail_ago(uint64_t at_us, uint64_t now_us)
{
	return at_us && at_us <= now_us ? now_us - at_us : STACK_TIMER_OFF;
}

/* What life_at is for depends on the state. */
static enum stack_timer detail_life(const struct conn *c)
{
	switch (c->r->state) {
	case TCP_SYN_HELD:
		return STACK_TIMER_ACCEPT;
	case TCP_SYN_RECEIVED:
		return STACK_TIMER_HANDSHAKE;
	default:
		break;
	}
	if (c->b->flags & BLK_PROBING)
		return STACK_TIMER_KEEPALIVE;
	if (c->b->flags & BLK_LINGER)
		return STACK_TIMER_LINGER;
	return STACK_TIMER_FIN_WAIT_2;
}

static void detail_block_timers(const struct conn *c,
				struct stack_conn_detail *d)
{
	const struct blk *b = c->b;

	detail_timer(d,
		     b->flags & BLK_PERSIST ? STACK_TIMER_PERSIST
					    : STACK_TIMER_RETRANSMIT,
		     b->rexmit_at, c->now_us);
	detail_timer(d,
		     b->loss.flags & LOSS_REO_TIMER ? STACK_TIMER_REORDERING
						    : STACK_TIMER_LOSS_PROBE,
		     b->probe_at, c->now_us);
	detail_timer(d, STACK_TIMER_DELAYED_ACK, b->ack_at, c->now_us);
	detail_timer(d, STACK_TIMER_ACK_DEADLINE, b->hold_at, c->now_us);
	detail_timer(d, detail_life(c), b->life_at, c->now_us);
}

/* When the client was last heard, to a tick of rec.last_active. */
static uint64_t detail_active_us(const struct conn *c)
{
	uint64_t now = c->now_us / (REC_TICK_MS * USEC_PER_MSEC);
	uint32_t idle = (uint32_t)now - c->r->last_active;

	return (now - min_u64(now, idle)) * REC_TICK_MS * USEC_PER_MSEC;
}

/* What the clock hand looks after, by the record alone. */
static void detail_record_timers(const struct conn *c,
				 struct stack_conn_detail *d)
{
	uint64_t active_us = detail_active_us(c);
	bool open = c->r->state == TCP_ESTABLISHED ||
		    c->r->state == TCP_CLOSE_WAIT ||
		    c->r->state == TCP_FIN_WAIT_2 ||
		    c->r->state == TCP_LAST_ACK;

	if (c->r->state == TCP_TIME_WAIT)
		detail_timer(d, STACK_TIMER_TIME_WAIT,
			     active_us + TCP_TIME_WAIT_US, c->now_us);
	if (!open || !c->g)
		return;
	if (c->g->idle_timeout_us)
		detail_timer(d, STACK_TIMER_IDLE,
			     active_us + c->g->idle_timeout_us, c->now_us);
	if (c->g->keepalive_us &&
	    d->timer_us[STACK_TIMER_KEEPALIVE] == STACK_TIMER_OFF)
		detail_timer(d, STACK_TIMER_KEEPALIVE,
			     active_us + c->g->keepalive_us, c->now_us);
}

/* Chunks from `head` on; no queue has more than there are. */
static uint32_t detail_chunks(const struct chunks *chunks, uint32_t head)
{
	uint32_t n = 0;

	for (uint32_t i = head; i != NIL; i = chunks->desc[i].next)
		n++;
	return n;
}

static void detail_sending(const struct conn *c, struct stack_conn_detail *d)
{
	static const char *const phases[] = { "open", "cwr", "recovery",
					      "loss" };
	const struct blk *b = c->b;

	d->congestion = cc_name(b->cc.algorithm);
	d->phase = b->cc.phase < ARRAY_SIZE(phases) ? phases[b->cc.phase] : "?";
	d->min_rtt_us = b->rtt.min_us;
	d->reordering = b->loss.flags & LOSS_REORDERING;
	d->unacked_bytes = b->snd_nxt - b->snd_una;
	d->unacked_segs = b->sent.n;
	d->in_flight_bytes = recovery_pipe(c);
	d->sacked_bytes = b->sent.sacked_bytes;
	d->sacked_segs = b->sent.sacked_segs;
	d->lost_bytes = b->sent.lost_bytes;
	d->again_bytes = b->sent.rexmit_bytes;
	if (seq_lt(b->snd_nxt, b->snd_end))
		d->unsent_bytes = b->snd_end - b->snd_nxt;
	d->dupacks = b->cc.dupacks;
	d->backoff = b->cc.backoff;
	d->keepalive_probes = b->probes;
	d->fin_queued = b->flags & BLK_FIN_QUEUED;
	d->tx_buffer_bytes =
		detail_chunks(&c->st->sh->tx, b->tx_head) * CHUNK_BYTES;
	d->sent_ago_us = detail_ago(b->sent_at, c->now_us);
	d->progress_ago_us = detail_ago(b->progress_at, c->now_us);
}

/* In SYN-HELD rcv_nxt and the others may still be those of the SYN. */
static void detail_receiving(const struct conn *c, struct stack_conn_detail *d)
{
	const struct blk *b = c->b;
	uint32_t fin = conn_fin_rcvd(c) ? 1 : 0;

	d->rcv_pos += b->rcv_nxt - fin - b->rcv_app;
	d->rcv_delivered += b->rcv_dlv - b->rcv_app;
	d->rcv_acked_client +=
		seq_min(b->rcv_ack, b->rcv_nxt - fin) - b->rcv_app;
	d->ooo_chunks = b->ooo_chunks;
	d->acked_early = b->flags & BLK_ACK_EARLY;
	d->rcv_pool_bytes = (detail_chunks(&c->st->sh->rx, b->rx_head) +
			     detail_chunks(&c->st->sh->rx, b->ooo_head)) *
			    CHUNK_BYTES;
}

void stack_conn_detail(struct stack *st, uint32_t ri, uint64_t now_us,
		       struct stack_conn_detail *ret_detail)
{
	struct stack_conn_detail *d = ret_detail;
	struct conn c;

	conn_view(st, ri, now_us, &c);
	*d = (struct stack_conn_detail){
		.ecn = c.r->flags & REC_ECN,
		.fin_received = conn_fin_rcvd(&c),
		.rcv_pos = c.r->rcv_off,
		.rcv_delivered = c.r->rcv_off,
		.rcv_acked_client = c.r->rcv_off,
		.sent_ago_us = STACK_TIMER_OFF,
		.progress_ago_us = STACK_TIMER_OFF,
	};
	for (uint32_t i = 0; i < STACK_TIMERS; i++)
		d->timer_us[i] = STACK_TIMER_OFF;
	if (c.r->flags & REC_WSCALE) {
		d->snd_wscale = conn_snd_shift(&c);
		d->rcv_wscale = conn_rcv_shift(&c);
	}
	if (c.b) {
		detail_block_timers(&c, d);
		detail_sending(&c, d);
		detail_receiving(&c, d);
	}
	detail_record_timers(&c, d);
}
