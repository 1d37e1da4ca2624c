/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * input - what the server's segments do to clients, and whether they may.
 *
 * Theory of operation
 *
 * A batch goes through twice: first all packets are taken apart and the
 * records that they are for are fetched from memory, then each is processed,
 * in the order of RFC 9293 3.10.7: checksum, sequence number, RST, SYN, ACK,
 * text, FIN. Records are spread at random over as much as 320 MB, so without
 * the first pass each would be waited for.
 *
 * The checksum of an echo needs no look at its bytes beyond comparing them:
 * if they are those of the pattern, their sum is known. Otherwise they are
 * added up, so that a broken checksum and wrong bytes under a right one are
 * told apart.
 *
 * What a peer must not do is a violation and, as far as possible, processed
 * all the same, so that one doesn't cause others. A segment beyond a gap is
 * dropped and answered with the ACK that it lacks; old bytes are counted.
 */
#include "tools/swarm_tcp.h"

#include <string.h>

#include "base/seq.h"
#include "tools/swarm_sum.h"

#define INPUT_CLOSE_MS \
	10000u /* for the peer's FIN after ours was acknowledged */
#define INPUT_DUP_ACKS 3u /* RFC 5681 3.2 */
#define INPUT_WSCALE_MAX 14 /* RFC 7323 2.3 */
#define INPUT_MSS_DEFAULT 536 /* RFC 9293 3.7.1 */
#define INPUT_MSS_MIN 64

/* --- checks ------------------------------------------------------------ */

/* Are the bytes those of the pattern? Only asked for an echo. */
static bool swarm_input_is_echo(const struct swarm_tcp *t, uint32_t index,
				const struct swarm_seg *seg)
{
	const struct swarm_rec *r = &t->conns.recs[index];
	const uint8_t *want =
		swarm_pattern_at(t->pattern, swarm_tcp_stream(r, index),
				 swarm_tcp_pos(seg->seq, r->irs));

	return memcmp(want, seg->payload, seg->len) == 0;
}

static uint16_t swarm_input_sum(const struct swarm_tcp *t, uint32_t index,
				const struct swarm_seg *seg, bool is_echo)
{
	const struct swarm_rec *r = &t->conns.recs[index];

	if (is_echo)
		return swarm_pattern_sum(t->pattern, swarm_tcp_stream(r, index),
					 swarm_tcp_pos(seg->seq, r->irs),
					 seg->len);
	return seg->len ? swarm_sum_bytes(seg->payload, seg->len) : 0;
}

/* Bytes and checksum. False: not to be looked at any further. */
static bool swarm_input_verify(struct swarm_tcp *t, uint32_t index,
			       const struct swarm_seg *seg)
{
	const struct swarm_rec *r = &t->conns.recs[index];
	bool known =
		t->conf.echo && seg->len > 0 && r->state >= SWARM_ESTABLISHED;
	bool is_echo;

	if (!t->conf.verify)
		return true;
	is_echo = known && swarm_input_is_echo(t, index, seg);
	if (!seg->sum_known &&
	    !swarm_seg_sum_ok(seg, swarm_input_sum(t, index, seg, is_echo))) {
		swarm_tcp_violation(t, SWARM_VIOLATION_bad_checksum, index,
				    seg);
		return false;
	}
	if (known && !is_echo)
		swarm_tcp_violation(t, SWARM_VIOLATION_wrong_bytes, index, seg);
	return true;
}

/* --- not synchronized -------------------------------------------------- */

/*
 * For a connection that is no more: a FIN sent again means that our last ACK
 * was lost, so it is said again, as in TIME-WAIT; the rest is late. Nothing
 * has to be remembered for that, and nothing can be checked.
 */
static void swarm_input_closed(struct swarm_tcp *t, const struct swarm_seg *seg)
{
	t->count.strays++;
	if ((seg->flags & (SWARM_FIN | SWARM_ACK | SWARM_RST)) ==
	    (SWARM_FIN | SWARM_ACK))
		swarm_tcp_answer(t, seg);
}

/* Neither SYN nor RST that fit: RFC 9293 3.10.7.3, first. */
static void swarm_input_challenge(struct swarm_tcp *t, uint32_t index,
				  const struct swarm_seg *seg)
{
	t->count.challenges++;
	if (seg->flags & SWARM_SYN)
		swarm_tcp_violation(t, SWARM_VIOLATION_bad_syn_ack, index, seg);
	if (!(seg->flags & SWARM_RST))
		swarm_tcp_send_flags(t, index, SWARM_RST, seg->ack);
}

static void swarm_input_syn_sent(struct swarm_tcp *t, uint32_t index,
				 const struct swarm_seg *seg)
{
	struct swarm_rec *r = &t->conns.recs[index];
	const struct swarm_active *a = swarm_conns_active(&t->conns, r);
	uint16_t mss = seg->mss ? seg->mss : INPUT_MSS_DEFAULT;

	if (!(seg->flags & SWARM_ACK))
		return;
	if (seg->ack != r->snd_nxt) {
		swarm_input_challenge(t, index, seg);
		return;
	}
	if (seg->flags & SWARM_RST) {
		t->count.resets++;
		t->count.refused++;
		swarm_tcp_end(t, index, true);
		return;
	}
	if (!(seg->flags & SWARM_SYN))
		return;
	r->irs = seg->seq;
	r->rcv_nxt = seg->seq + 1;
	r->window = seg->window;
	r->wscale = seg->wscale == SWARM_NO_WSCALE
			    ? 0
			    : (uint8_t)min_u32(seg->wscale, INPUT_WSCALE_MAX);
	/* that a SYN-ACK's window is not scaled matters to nobody: it grows */
	r->window = (uint16_t)(r->window >> r->wscale);
	r->mss = (uint16_t)max_u32(min_u32(mss, t->wire.mss), INPUT_MSS_MIN);
	r->ts_recent = seg->tsval;
	if (!seg->has_ts)
		r->flags &= (uint8_t)~SWARM_REC_TS;
	if (r->flags & SWARM_REC_TS)
		r->mss = (uint16_t)(r->mss - SWARM_TS_BYTES);
	t->count.connected++;
	swarm_tcp_add_latency(t, &t->connect_hist, a);
	swarm_conns_rest(&t->conns, r);
	swarm_conns_set_state(&t->conns, r, SWARM_ESTABLISHED);
	swarm_tcp_send_ack(t, index);
}

/* --- synchronized: the steps ------------------------------------------- */

static uint32_t swarm_input_window(const struct swarm_rec *r)
{
	return (uint32_t)SWARM_WINDOW << (r->wscale ? SWARM_WSCALE : 0);
}

/* RFC 5961 3.2: only an exact one counts, the rest is challenged. */
static void swarm_input_rst(struct swarm_tcp *t, uint32_t index,
			    const struct swarm_seg *seg)
{
	const struct swarm_rec *r = &t->conns.recs[index];

	if (seg->seq == r->rcv_nxt) {
		t->count.resets++;
		swarm_tcp_end(t, index, r->state == SWARM_ESTABLISHED);
	} else if (seq_in_window(seg->seq, r->rcv_nxt, swarm_input_window(r))) {
		swarm_tcp_send_ack(t, index);
	}
}

/* How much of the request a reply's first segment acknowledges. */
static void swarm_input_reply_begins(struct swarm_tcp *t,
				     struct swarm_active *a,
				     uint32_t una_before)
{
	a->reply_begun = true;
	if (a->snd_una != a->request_end)
		t->count.replies_before_ack++;
	else if (una_before == a->request_end)
		t->count.replies_after_ack++;
	else
		t->count.replies_with_ack++;
}

/* What there is to do when all that was sent is acknowledged. */
static void swarm_input_all_acked(struct swarm_tcp *t, struct swarm_rec *r,
				  const struct swarm_active *a, uint32_t index)
{
	swarm_conns_set_deadline(&t->conns, a, 0);
	if (r->state == SWARM_FIN_WAIT_1) {
		swarm_conns_set_state(&t->conns, r, SWARM_FIN_WAIT_2);
		swarm_conns_set_deadline(&t->conns, a,
					 t->now_ms + INPUT_CLOSE_MS);
	} else if (r->state == SWARM_CLOSING || r->state == SWARM_LAST_ACK) {
		t->count.closed += r->state == SWARM_CLOSING;
		swarm_tcp_end(t, index, false);
	}
}

/* An ACK that says nothing new may say that something is missing. */
static void swarm_input_dup_ack(struct swarm_tcp *t, uint32_t index,
				struct swarm_active *a,
				const struct swarm_seg *seg)
{
	const struct swarm_rec *r = &t->conns.recs[index];

	if (seg->len > 0 || seg->window != r->window ||
	    a->snd_una == r->snd_nxt || a->kind != SWARM_REQUEST)
		return;
	t->count.duplicate_acks++;
	if (++a->dup_acks == INPUT_DUP_ACKS)
		swarm_tcp_resend(t, index, r->mss);
}

/* Returns false when there is nothing left to do for the segment. */
static bool swarm_input_ack(struct swarm_tcp *t, uint32_t index,
			    const struct swarm_seg *seg)
{
	struct swarm_rec *r = &t->conns.recs[index];
	struct swarm_active *a = swarm_conns_active(&t->conns, r);
	uint32_t una = a ? a->snd_una : r->snd_nxt;

	if (seq_gt(seg->ack, r->snd_nxt)) {
		swarm_tcp_violation(t, SWARM_VIOLATION_ack_beyond_sent, index,
				    seg);
		return true;
	}
	if (seq_lt(seg->ack, una)) {
		/* an old segment may say what was true then */
		if (seq_geq(seg->seq, r->rcv_nxt))
			swarm_tcp_violation(t, SWARM_VIOLATION_ack_backwards,
					    index, seg);
		return true;
	}
	if (seg->ack == una) {
		if (a)
			swarm_input_dup_ack(t, index, a, seg);
		r->window = seg->window;
		return true;
	}
	r->window = seg->window;
	a->snd_una = seg->ack;
	a->tries = 0;
	a->dup_acks = 0;
	if (a->snd_una != r->snd_nxt) {
		swarm_tcp_arm(t, a);
		return true;
	}
	swarm_input_all_acked(t, r, a, index);
	return r->state >= SWARM_ESTABLISHED;
}

/* A segment is in order: acknowledge it now, or after a while. */
static bool swarm_input_owes(struct swarm_tcp *t, uint32_t index,
			     const struct swarm_seg *seg)
{
	struct swarm_rec *r = &t->conns.recs[index];

	if (t->conf.ack_delay_ms == 0 || r->flags & SWARM_REC_ACK_OWED ||
	    seg->n_segs > 1)
		return true;
	if (!(r->flags & SWARM_REC_ACK_QUEUED)) {
		if (t->ack_tail - t->ack_head == SWARM_ACK_QUEUE) {
			t->count.ack_queue_full++;
			return true;
		}
		t->ack_queue[t->ack_tail++ % SWARM_ACK_QUEUE] =
			(struct swarm_ack_due){
				.index = index,
				.at_ms = t->now_ms + t->conf.ack_delay_ms,
			};
		r->flags |= SWARM_REC_ACK_QUEUED;
	}
	r->flags |= SWARM_REC_ACK_OWED;
	return false;
}

/* The text that is new. Returns whether an ACK is to be sent at once. */
static bool swarm_input_text(struct swarm_tcp *t, uint32_t index,
			     const struct swarm_seg *seg)
{
	struct swarm_rec *r = &t->conns.recs[index];
	const struct swarm_active *a = swarm_conns_active(&t->conns, r);
	uint32_t end = seg->seq + seg->len, n = end - r->rcv_nxt;

	if (n > swarm_input_window(r))
		swarm_tcp_violation(t, SWARM_VIOLATION_beyond_window, index,
				    seg);
	if (!a || seq_gt(end, a->reply_end))
		swarm_tcp_violation(t, SWARM_VIOLATION_unexpected_bytes, index,
				    seg);
	r->rcv_nxt = end;
	t->count.bytes_received += n;
	return swarm_input_owes(t, index, seg);
}

/* Is the request answered? Then the client is idle again. */
static void swarm_input_answered(struct swarm_tcp *t, struct swarm_rec *r)
{
	const struct swarm_active *a = swarm_conns_active(&t->conns, r);

	if (!a || a->kind != SWARM_REQUEST || a->snd_una != a->request_end ||
	    seq_lt(r->rcv_nxt, a->reply_end))
		return;
	t->count.exchanges++;
	swarm_tcp_add_latency(t, &t->exchange_hist, a);
	swarm_conns_rest(&t->conns, r);
}

static void swarm_input_fin(struct swarm_tcp *t, uint32_t index)
{
	struct swarm_rec *r = &t->conns.recs[index];
	struct swarm_active *a = swarm_conns_active(&t->conns, r);

	r->rcv_nxt++;
	if (a)
		a->reply_end = r->rcv_nxt;
	switch (r->state) {
	case SWARM_ESTABLISHED:
		t->count.closed_by_peer++;
		t->count.lost++;
		if (a && a->kind == SWARM_REQUEST)
			t->count.unanswered++;
		if (swarm_tcp_send_fin(t, index, SWARM_LAST_ACK) < 0)
			swarm_tcp_abort(t, index);
		break;
	case SWARM_FIN_WAIT_1:
		swarm_conns_set_state(&t->conns, r, SWARM_CLOSING);
		swarm_tcp_send_ack(t, index);
		break;
	case SWARM_FIN_WAIT_2:
		swarm_tcp_send_ack(t, index);
		t->count.closed++;
		swarm_tcp_end(t, index, false);
		break;
	default:
		swarm_tcp_send_ack(t, index);
		break;
	}
}

/* --- synchronized ------------------------------------------------------ */

/*
 * A segment that doesn't begin where the next byte is due, RFC 9293 3.10.7.4,
 * first. Returns whether part of it is in order all the same.
 */
static bool swarm_input_misplaced(struct swarm_tcp *t, uint32_t index,
				  const struct swarm_seg *seg)
{
	const struct swarm_rec *r = &t->conns.recs[index];
	uint32_t fin = seg->flags & SWARM_FIN ? 1 : 0;

	if (seq_gt(seg->seq, r->rcv_nxt)) {
		t->count.out_of_order += seg->len + fin > 0;
		if (!seq_in_window(seg->seq, r->rcv_nxt, swarm_input_window(r)))
			swarm_tcp_violation(t, SWARM_VIOLATION_beyond_window,
					    index, seg);
		return false;
	}
	if (seg->len + fin > 0)
		t->count.retransmissions_seen++;
	else
		t->count.keepalives++;
	return seq_gt(seg->seq + seg->len + fin, r->rcv_nxt);
}

/* Whether the segment is answered with an ACK for where it lies. */
static bool swarm_input_asks_for_ack(const struct swarm_rec *r,
				     const struct swarm_seg *seg)
{
	if (seq_gt(seg->seq, r->rcv_nxt))
		return seg->len > 0 || seg->flags & SWARM_FIN;
	return seg->seq != r->rcv_nxt;
}

static void swarm_input_open(struct swarm_tcp *t, uint32_t index,
			     const struct swarm_seg *seg)
{
	struct swarm_rec *r = &t->conns.recs[index];
	struct swarm_active *a = swarm_conns_active(&t->conns, r);
	uint32_t una = a ? a->snd_una : r->snd_nxt;
	uint32_t end = seg->seq + seg->len;
	bool ack_now, in_order;

	if (seg->flags & SWARM_RST) {
		swarm_input_rst(t, index, seg);
		return;
	}
	if (seg->flags & SWARM_SYN) { /* our ACK of the SYN-ACK was lost */
		t->count.retransmissions_seen++;
		swarm_tcp_send_ack(t, index);
		return;
	}
	in_order =
		seg->seq == r->rcv_nxt || swarm_input_misplaced(t, index, seg);
	ack_now = swarm_input_asks_for_ack(r, seg);
	if (!(seg->flags & SWARM_ACK) || !swarm_input_ack(t, index, seg))
		return;
	if (in_order && seg->has_ts && seq_gt(seg->tsval, r->ts_recent))
		r->ts_recent = seg->tsval;
	a = swarm_conns_active(&t->conns, r);
	if (in_order && seq_gt(end, r->rcv_nxt)) {
		if (a && a->kind == SWARM_REQUEST && !a->reply_begun)
			swarm_input_reply_begins(t, a, una);
		ack_now |= swarm_input_text(t, index, seg);
	}
	swarm_input_answered(t, r);
	if (in_order && seg->flags & SWARM_FIN && end == r->rcv_nxt) {
		swarm_input_fin(t, index);
		return;
	}
	a = swarm_conns_active(&t->conns, r);
	if (a && a->kind == SWARM_REQUEST && swarm_tcp_push(t, index) > 0)
		return;
	if (ack_now)
		swarm_tcp_send_ack(t, index);
}

/* --- the batch --------------------------------------------------------- */

static void swarm_input_count(struct swarm_tcp *t, const struct swarm_rec *r,
			      const struct swarm_seg *seg)
{
	t->count.segments_received++;
	if (seg->len > 0)
		t->count.data_segments_received++;
	else if (r->state == SWARM_ESTABLISHED && seg->flags == SWARM_ACK)
		t->count.pure_acks++;
}

static void swarm_input_seg(struct swarm_tcp *t, uint32_t index, uint8_t turn,
			    const struct swarm_seg *seg)
{
	const struct swarm_rec *r = &t->conns.recs[index];

	swarm_input_count(t, r, seg);
	if (turn != r->turn) {
		swarm_input_closed(t, seg);
		return;
	}
	if (!swarm_input_verify(t, index, seg))
		return;
	switch (r->state) {
	case SWARM_CLOSED:
		swarm_input_closed(t, seg);
		break;
	case SWARM_SYN_SENT:
		swarm_input_syn_sent(t, index, seg);
		break;
	default:
		swarm_input_open(t, index, seg);
		break;
	}
}

/* Takes a packet apart, and finds its client. */
static bool swarm_input_parse(struct swarm_tcp *t, const struct swarm_frame *f,
			      struct swarm_seg *ret_seg, uint32_t *ret_index,
			      uint8_t *ret_turn)
{
	switch (swarm_packet_parse(&t->wire, f->vnet, f->bytes, f->len,
				   ret_seg)) {
	case SWARM_PARSE_OK:
		break;
	case SWARM_PARSE_OTHER:
		t->count.other_packets++;
		return false;
	case SWARM_PARSE_MALFORMED:
		t->violations[SWARM_VIOLATION_malformed]++;
		t->n_violations++;
		return false;
	}
	if (swarm_tuple_find(&t->tuples, ret_seg->dst_word, ret_seg->dst_port,
			     ret_index, ret_turn))
		return true;
	t->count.strays++;
	return false;
}

void swarm_tcp_input(struct swarm_tcp *t, int n_frames)
{
	static struct swarm_seg segs[SWARM_TUN_BATCH];
	static uint32_t indexes[SWARM_TUN_BATCH];
	static uint8_t turns[SWARM_TUN_BATCH];
	uint32_t n = 0;

	for (int i = 0; i < n_frames; i++) {
		if (!swarm_input_parse(t, &t->tun->frames[i], &segs[n],
				       &indexes[n], &turns[n]))
			continue;
		__builtin_prefetch(&t->conns.recs[indexes[n]]);
		n++;
	}
	for (uint32_t i = 0; i < n; i++)
		swarm_input_seg(t, indexes[i], turns[i], &segs[i]);
}
