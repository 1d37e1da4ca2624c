/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tcp - what clients do, and what they do when time passes.
 *
 * Theory of operation
 *
 *	              connect            request
 *	  CLOSED ───────────────> idle <─────────> waiting for the reply
 *	    ^  ^   SYN, SYN-ACK    │ close
 *	    │  └───────────────────┘
 *	    └── churn: closed to be opened again
 *
 * A client that waits for nothing is its record. One that connects, asks or
 * closes has an entry in the active table besides, with what is in flight:
 *
 *	snd_una <= snd_nxt <= request_end       rcv_nxt <= reply_end
 *
 * Time-outs: each entry has a deadline in whole milliseconds, and all are
 * swept every TCP_SWEEP_MS; so one is late by up to that, and setting one is a
 * store. When it is over, all that is in flight goes again, up to
 * TCP_RESEND_BYTES (the peer keeps what it has, so this fills any gap), and
 * the time-out doubles. It begins with rto_ms; but, except for a SYN's, when the
 * server is slow with all of us, with thrice the mean latency of late: else
 * retransmissions would make an overload worse, and last. A reply that doesn't
 * come is not our business once the request is acknowledged: the peer has to
 * retransmit.
 *
 * ACKs, as RFC 1122 4.2.3.2 has them: at once for every second segment, for
 * what the kernel has joined, for FINs, and for what is out of order; after
 * ack_delay_ms for a single segment, unless a request takes it along. These
 * wait in a queue, as the delay is the same for all. An entry there whose ACK
 * was sent in the meantime does nothing.
 *
 * I1  A client is in the queue of delayed ACKs at most once.
 * I2  Without an active entry, snd_nxt is acknowledged.
 */
#include "tools/swarm_tcp.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/seq.h"

#define TCP_SWEEP_MS 10u
#define TCP_RTO_MAX_MS 60000u
/* Latencies that make the recent mean, and how many times that is waited. */
#define TCP_RECENT 64
#define TCP_RTO_RECENT 3
#define TCP_RESEND_BYTES 65536u
/* A connection's next ISN is beyond what the last one sent: RFC 9293 3.4.1. */
#define TCP_ISS_STEP 1000000u
#define TCP_ACKS_AHEAD 8u
#define TCP_VIOLATIONS_SHOWN 10u

int swarm_tcp_init(struct swarm_tcp *t, const struct swarm_tcp_conf *conf,
		   const struct swarm_wire *wire,
		   const struct swarm_tuples *tuples, struct swarm_tun *tun,
		   uint32_t max_active, uint64_t seed)
{
	*t = (struct swarm_tcp){ .conf = *conf,
				 .wire = *wire,
				 .tuples = *tuples,
				 .tun = tun,
				 .rng = { seed } };
	t->pattern = swarm_pattern_new(swarm_rng_next(&t->rng));
	t->ack_queue = calloc(SWARM_ACK_QUEUE, sizeof(t->ack_queue[0]));
	if (t->pattern && t->ack_queue &&
	    swarm_conns_init(&t->conns, tuples->n_clients, max_active) == 0)
		return 0;
	swarm_tcp_fini(t);
	return -ENOMEM;
}

void swarm_tcp_fini(struct swarm_tcp *t)
{
	if (t->conns.recs)
		swarm_conns_fini(&t->conns);
	free(t->pattern);
	free(t->ack_queue);
	t->pattern = NULL;
	t->ack_queue = NULL;
}

/* --- violations -------------------------------------------------------- */

#define TCP_VIOLATION_TEXT(name, text) #name ": " text,
static const char *const swarm_violation_texts[] = { SWARM_VIOLATIONS(
	TCP_VIOLATION_TEXT) };

void swarm_tcp_violation(struct swarm_tcp *t, enum swarm_violation what,
			 uint32_t index, const struct swarm_seg *seg)
{
	const struct swarm_rec *r = &t->conns.recs[index];
	const struct swarm_active *a = swarm_conns_active(&t->conns, r);
	char client[SWARM_ADDR_TEXT_BYTES];

	t->violations[what]++;
	if (t->n_violations++ >= TCP_VIOLATIONS_SHOWN)
		return;
	if (t->n_violations == TCP_VIOLATIONS_SHOWN)
		log_error("further violations are counted only");
	log_error("violation %s: client %s: segment seq %u len %u ack %u flags "
		  "%#x; sent %u..%u of %u, received %u of %u",
		  swarm_violation_texts[what],
		  swarm_tuple_text(&t->tuples, index, r->turn, client),
		  seg->seq - r->irs, seg->len, seg->ack - r->iss, seg->flags,
		  (a ? a->snd_una : r->snd_nxt) - r->iss, r->snd_nxt - r->iss,
		  (a ? a->request_end : r->snd_nxt) - r->iss,
		  r->rcv_nxt - r->irs,
		  (a ? a->reply_end : r->rcv_nxt) - r->irs);
}

/* --- sending ----------------------------------------------------------- */

/* Sends len bytes of the stream from seq, at most SWARM_GSO_BYTES. */
static void swarm_tcp_emit(struct swarm_tcp *t, uint32_t index, uint8_t flags,
			   uint32_t seq, uint32_t len)
{
	struct swarm_rec *r = &t->conns.recs[index];
	uint32_t stream = len ? swarm_tcp_stream(r, index) : 0;
	uint32_t pos = swarm_tcp_pos(seq, r->iss);
	struct swarm_out out = {
		.flags = flags,
		.has_ts = (r->flags & SWARM_REC_TS) != 0,
		.seq = seq,
		.ack = flags & SWARM_ACK ? r->rcv_nxt : 0,
		.window = SWARM_WINDOW,
		.payload_len = len,
		.gso_size = r->mss,
		.tsval = t->tsval,
		.tsecr = flags & SWARM_ACK ? r->ts_recent : 0,
	};

	swarm_tuple_get(&t->tuples, index, r->turn, &out.src_word,
			&out.src_port);
	if (len && !t->wire.offload)
		out.payload_sum =
			swarm_pattern_sum(t->pattern, stream, pos, len);
	swarm_packet_build(&t->wire, &out, swarm_tun_headers(t->tun));
	r->flags &= (uint8_t)~SWARM_REC_ACK_OWED;
	t->count.segments_sent++;
	swarm_tun_send(t->tun, swarm_pattern_at(t->pattern, stream, pos), len);
}

void swarm_tcp_send_flags(struct swarm_tcp *t, uint32_t index, uint8_t flags,
			  uint32_t seq)
{
	swarm_tcp_emit(t, index, flags, seq, 0);
}

void swarm_tcp_answer(struct swarm_tcp *t, const struct swarm_seg *seg)
{
	const struct swarm_out out = {
		.src_word = seg->dst_word,
		.src_port = seg->dst_port,
		.flags = SWARM_ACK,
		.has_ts = seg->has_ts,
		.seq = seg->ack,
		.ack = seg->seq + seg->len + (seg->flags & SWARM_FIN ? 1 : 0),
		.window = SWARM_WINDOW,
		.tsval = t->tsval,
		.tsecr = seg->tsval,
	};

	swarm_packet_build(&t->wire, &out, swarm_tun_headers(t->tun));
	t->count.segments_sent++;
	t->count.pure_acks_sent++;
	swarm_tun_send(t->tun, NULL, 0);
}

void swarm_tcp_send_ack(struct swarm_tcp *t, uint32_t index)
{
	t->count.pure_acks_sent++;
	swarm_tcp_emit(t, index, SWARM_ACK, t->conns.recs[index].snd_nxt, 0);
}

void swarm_tcp_add_latency(struct swarm_tcp *t, struct swarm_hist *h,
			   const struct swarm_active *a)
{
	uint64_t ns = t->now_ns - a->sched_ns;

	swarm_hist_add(h, ns);
	t->recent_ns =
		t->recent_ns - t->recent_ns / TCP_RECENT + ns / TCP_RECENT;
}

void swarm_tcp_arm(struct swarm_tcp *t, struct swarm_active *a)
{
	uint64_t rto_ms = t->conf.rto_ms;

	if (a->kind != SWARM_CONNECT)
		rto_ms = max_u64(rto_ms,
				 t->recent_ns * TCP_RTO_RECENT / NSEC_PER_MSEC);
	rto_ms <<= min_u32(a->tries, 16);
	swarm_conns_set_deadline(&t->conns, a,
				 t->now_ms + (uint32_t)min_u64(rto_ms,
							       TCP_RTO_MAX_MS));
}

/* The most bytes that one packet takes. */
static uint32_t swarm_tcp_packet_max(const struct swarm_tcp *t,
				     const struct swarm_rec *r)
{
	if (!t->wire.offload || r->mss > SWARM_GSO_BYTES)
		return r->mss;
	return SWARM_GSO_BYTES / r->mss * r->mss;
}

/* Sends [from, end) in packets. Returns how many. */
static uint32_t swarm_tcp_send_range(struct swarm_tcp *t, uint32_t index,
				     uint32_t from, uint32_t end)
{
	struct swarm_rec *r = &t->conns.recs[index];
	const struct swarm_active *a = swarm_conns_active(&t->conns, r);
	uint32_t max = swarm_tcp_packet_max(t, r), n = 0;

	while (from != end) {
		uint32_t len = min_u32(end - from, max);
		uint8_t flags = SWARM_ACK;

		if (from + len == a->request_end)
			flags |= SWARM_PSH;
		swarm_tcp_emit(t, index, flags, from, len);
		from += len;
		n++;
	}
	return n;
}

uint32_t swarm_tcp_push(struct swarm_tcp *t, uint32_t index)
{
	struct swarm_rec *r = &t->conns.recs[index];
	struct swarm_active *a = swarm_conns_active(&t->conns, r);
	uint32_t window = (uint32_t)r->window << r->wscale;
	uint32_t flight = r->snd_nxt - a->snd_una, from = r->snd_nxt, n;

	n = a->request_end - from;
	if (n == 0)
		return 0;
	n = min_u32(n, window > flight ? window - flight : 0);
	/* RFC 9293 3.8.6.2.1: no small segment for a small part of a window */
	if (n < r->mss && n < a->request_end - from)
		n = 0;
	if (flight == 0)
		swarm_tcp_arm(t, a); /* with window 0, to probe */
	r->snd_nxt += n;
	t->count.bytes_sent += n;
	return swarm_tcp_send_range(t, index, from, from + n);
}

void swarm_tcp_resend(struct swarm_tcp *t, uint32_t index, uint32_t max)
{
	struct swarm_rec *r = &t->conns.recs[index];
	const struct swarm_active *a = swarm_conns_active(&t->conns, r);
	uint32_t flight = r->snd_nxt - a->snd_una;

	if (flight == 0) {
		/* a window probe: a byte beyond the window, RFC 9293 3.8.6.1 */
		r->snd_nxt++;
		t->count.bytes_sent++;
		flight = 1;
	} else {
		t->count.retransmissions_sent +=
			(min_u32(flight, max) + r->mss - 1) / r->mss;
	}
	(void)swarm_tcp_send_range(t, index, a->snd_una,
				   a->snd_una + min_u32(flight, max));
}

/* --- connecting, asking, closing --------------------------------------- */

/* The SYN of the entry, for the first time or again. */
static void swarm_tcp_send_syn(struct swarm_tcp *t, struct swarm_active *a)
{
	const struct swarm_rec *r = &t->conns.recs[a->index];

	swarm_tcp_emit(t, a->index, SWARM_SYN, r->iss, 0);
	swarm_tcp_arm(t, a);
}

/* Makes the entry, which the client has, one that connects. */
static void swarm_tcp_open(struct swarm_tcp *t, struct swarm_active *a)
{
	struct swarm_rec *r = &t->conns.recs[a->index];
	uint32_t random = (uint32_t)swarm_rng_next(&t->rng);

	/* for when all turns are over, and for a prefix that has only one */
	r->iss = r->flags & SWARM_REC_USED
			 ? r->snd_nxt + TCP_ISS_STEP + (random >> 12)
			 : random;
	if (r->flags & SWARM_REC_USED)
		r->turn = swarm_tuple_next(&t->tuples, r->turn);
	r->snd_nxt = r->iss + 1;
	r->irs = r->rcv_nxt = r->ts_recent = 0;
	r->mss = t->wire.mss;
	/* what says that it waits for a delayed ACK stays: I1 */
	r->flags =
		(uint8_t)(SWARM_REC_USED | (r->flags & SWARM_REC_ACK_QUEUED) |
			  (t->wire.timestamps ? SWARM_REC_TS : 0));
	a->snd_una = r->iss;
	a->tries = 0;
	swarm_conns_set_state(&t->conns, r, SWARM_SYN_SENT);
	t->count.connects++;
	swarm_tcp_send_syn(t, a);
}

bool swarm_tcp_connect(struct swarm_tcp *t, uint32_t index, uint64_t sched_ns)
{
	struct swarm_active *a = NULL;

	if (t->conns.recs[index].state == SWARM_CLOSED)
		a = swarm_conns_activate(&t->conns, index, SWARM_CONNECT,
					 sched_ns);
	if (!a)
		return false;
	swarm_tcp_open(t, a);
	return true;
}

bool swarm_tcp_request(struct swarm_tcp *t, uint32_t index, uint64_t sched_ns)
{
	struct swarm_rec *r = &t->conns.recs[index];
	struct swarm_active *a;

	if (!swarm_tcp_is_idle(t, index))
		return false;
	a = swarm_conns_activate(&t->conns, index, SWARM_REQUEST, sched_ns);
	if (!a)
		return false;
	a->snd_una = r->snd_nxt;
	a->request_end = r->snd_nxt + t->conf.request_bytes;
	a->reply_end = r->rcv_nxt + t->conf.reply_bytes;
	t->count.requests++;
	(void)swarm_tcp_push(t, index);
	return true;
}

int swarm_tcp_send_fin(struct swarm_tcp *t, uint32_t index,
		       enum swarm_state state)
{
	struct swarm_rec *r = &t->conns.recs[index];
	struct swarm_active *a = swarm_conns_active(&t->conns, r);

	if (a)
		swarm_conns_set_kind(&t->conns, a, SWARM_CLOSE);
	else
		a = swarm_conns_activate(&t->conns, index, SWARM_CLOSE,
					 t->now_ns);
	if (!a)
		return -EAGAIN;
	a->snd_una = r->snd_nxt++;
	a->request_end = r->snd_nxt;
	a->reply_end = r->rcv_nxt;
	swarm_conns_set_state(&t->conns, r, state);
	swarm_tcp_emit(t, index, SWARM_FIN | SWARM_ACK, a->snd_una, 0);
	swarm_tcp_arm(t, a);
	return 0;
}

bool swarm_tcp_close(struct swarm_tcp *t, uint32_t index, bool reopen)
{
	struct swarm_active *a;

	if (!swarm_tcp_is_idle(t, index) ||
	    swarm_tcp_send_fin(t, index, SWARM_FIN_WAIT_1) < 0)
		return false;
	a = swarm_conns_active(&t->conns, &t->conns.recs[index]);
	a->reopen = reopen;
	return true;
}

void swarm_tcp_abort(struct swarm_tcp *t, uint32_t index)
{
	struct swarm_rec *r = &t->conns.recs[index];

	if (r->state == SWARM_CLOSED)
		return;
	if (r->state != SWARM_SYN_SENT)
		swarm_tcp_emit(t, index, SWARM_RST | SWARM_ACK, r->snd_nxt, 0);
	swarm_tcp_end(t, index, false);
}

void swarm_tcp_end(struct swarm_tcp *t, uint32_t index, bool lost)
{
	struct swarm_rec *r = &t->conns.recs[index];
	struct swarm_active *a = swarm_conns_active(&t->conns, r);

	if (r->state == SWARM_SYN_SENT)
		t->count.failed++;
	else if (lost)
		t->count.lost++;
	if (a && a->kind == SWARM_REQUEST)
		t->count.unanswered++;
	r->flags &= (uint8_t)~SWARM_REC_ACK_OWED;
	swarm_conns_set_state(&t->conns, r, SWARM_CLOSED);
	if (!a || a->kind != SWARM_CLOSE || !a->reopen) {
		swarm_conns_rest(&t->conns, r);
		return;
	}
	t->count.churned++;
	swarm_conns_set_kind(&t->conns, a, SWARM_CONNECT);
	a->sched_ns = t->now_ns;
	swarm_tcp_open(t, a);
}

/* --- time -------------------------------------------------------------- */

/* Our patience with the entry is at an end. */
static void swarm_tcp_give_up(struct swarm_tcp *t, uint32_t index)
{
	struct swarm_rec *r = &t->conns.recs[index];
	const struct swarm_active *a = swarm_conns_active(&t->conns, r);

	if (a->kind == SWARM_CLOSE) {
		t->count.close_timeouts++;
		swarm_tcp_abort(t, index);
		return;
	}
	if (r->state != SWARM_SYN_SENT)
		swarm_tcp_emit(t, index, SWARM_RST | SWARM_ACK, r->snd_nxt, 0);
	swarm_tcp_end(t, index, true);
}

static void swarm_tcp_expire(struct swarm_tcp *t, uint32_t index)
{
	struct swarm_rec *r = &t->conns.recs[index];
	struct swarm_active *a = swarm_conns_active(&t->conns, r);

	if (r->state == SWARM_FIN_WAIT_2 || ++a->tries >= t->conf.tries) {
		swarm_tcp_give_up(t, index);
		return;
	}
	if (a->kind == SWARM_REQUEST) {
		swarm_tcp_resend(t, index, TCP_RESEND_BYTES);
		swarm_tcp_arm(t, a);
		return;
	}
	t->count.retransmissions_sent++;
	if (a->kind == SWARM_CONNECT) {
		swarm_tcp_send_syn(t, a);
		return;
	}
	swarm_tcp_emit(t, index, SWARM_FIN | SWARM_ACK, a->snd_una, 0);
	swarm_tcp_arm(t, a);
}

static void swarm_tcp_tick_acks(struct swarm_tcp *t)
{
	while (t->ack_head != t->ack_tail) {
		const struct swarm_ack_due *due =
			&t->ack_queue[t->ack_head % SWARM_ACK_QUEUE];
		uint32_t ahead = t->ack_head + TCP_ACKS_AHEAD;
		struct swarm_rec *r = &t->conns.recs[due->index];

		if (seq_gt(due->at_ms, t->now_ms))
			return;
		if (seq_lt(ahead, t->ack_tail))
			__builtin_prefetch(
				&t->conns.recs[t->ack_queue[ahead %
							    SWARM_ACK_QUEUE]
						       .index]);
		t->ack_head++;
		r->flags &= (uint8_t)~SWARM_REC_ACK_QUEUED;
		if (!(r->flags & SWARM_REC_ACK_OWED))
			continue;
		t->count.delayed_acks_sent++;
		swarm_tcp_send_ack(t, due->index);
	}
}

void swarm_tcp_tick(struct swarm_tcp *t)
{
	uint32_t from = 0, index;

	swarm_tcp_tick_acks(t);
	if (t->now_ms - t->swept_ms < TCP_SWEEP_MS)
		return;
	t->swept_ms = t->now_ms;
	while (swarm_conns_expired(&t->conns, t->now_ms, &from, &index))
		swarm_tcp_expire(t, index);
}

uint64_t swarm_tcp_next_ns(const struct swarm_tcp *t)
{
	uint64_t at_ms = UINT64_MAX;

	if (t->conns.n_active > 0)
		at_ms = TCP_SWEEP_MS;
	if (t->ack_head != t->ack_tail) {
		int32_t left_ms = seq_diff(
			t->ack_queue[t->ack_head % SWARM_ACK_QUEUE].at_ms,
			t->now_ms);

		at_ms = min_u64(at_ms, left_ms > 0 ? (uint32_t)left_ms : 0);
	}
	return at_ms == UINT64_MAX ? at_ms : t->now_ns + at_ms * NSEC_PER_MSEC;
}
