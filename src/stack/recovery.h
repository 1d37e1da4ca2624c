/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recovery - what the client's acknowledgements say of our flight, and what is
 * done about it. Shared by the modules of the sending side:
 *
 *	sack.c		SACK both ways: blocks that came, blocks to report
 *	rack.c		loss detection by time, tail loss probes (RFC 8985)
 *	undo.c		reductions that were for nothing (RFC 5682, 3522)
 *	recovery.c	the state machine, PRR
 *	rexmit.c	time-outs, window probes
 *
 * One acceptable ACK runs through them so:
 *
 *	recovery_begin      sack_take: SACKed segments, D-SACK
 *	input_advance       snd_una moves; recovery_advanced takes segments off
 *	recovery_end        RTT, undo, TLP, RACK; then by phase:
 *
 *	   OPEN --loss--> RECOVERY --snd_una >= recover--> OPEN
 *	   OPEN --ECE---> CWR ------------ same ---------> OPEN
 *	   any  --RTO---> LOSS ------------ same --------> OPEN
 *	   RECOVERY, LOSS --it was spurious--> OPEN, window as before
 */
#ifndef XTCP_STACK_RECOVERY_H
#define XTCP_STACK_RECOVERY_H

#include "arena/sent.h"
#include "base/bytes.h"
#include "stack/conn.h"

/* Segments in flight per connection: bounds the work per ACK (CVE-2019-11478). */
#define RECOVERY_SEGS_MAX 4096u

#define RECOVERY_DUPTHRESH 3u /* RFC 5681, 6675, 8985 */

/* What one ACK told. */
struct ack_news {
	const struct seg *seg;
	uint32_t prior_fack;
	uint32_t acked_bytes; /* snd_una moved on by */
	uint32_t delivered_bytes; /* acknowledged or SACKed for the first time */
	/* Of what was sent once: earliest and latest transmission; 0: none. */
	uint64_t first_us, last_us;
	uint32_t dsack_start, dsack_end; /* equal: none */
	bool dupack; /* RFC 5681 section 2 */
	bool rexmit_acked; /* something sent more than once was acknowledged */
	bool original; /* something from before the RTO, sent once, arrived */
};

/* Before snd_una and snd_wnd change. */
void recovery_begin(struct conn *c, const struct seg *seg, bool dupack,
		    struct ack_news *ret_news);
/* snd_una has moved on by acked_bytes. */
void recovery_advanced(struct conn *c, uint32_t acked_bytes,
		       struct ack_news *news);
void recovery_end(struct conn *c, struct ack_news *news);

/* RACK's reordering window is over: what is still missing is lost. */
void recovery_late(struct conn *c);
/* What is in flight and larger than conn_mss() will not arrive (RFC 1191). */
void recovery_mtu_changed(struct conn *c);

/* Bytes thought to be on their way; without SACK, less one per duplicate ACK. */
static inline uint32_t recovery_pipe(const struct conn *c)
{
	const struct blk *b = c->b;
	uint32_t pipe = sents_pipe(b);

	if (!b->cc.dupacks || c->r->flags & REC_SACK)
		return pipe;
	return pipe -
	       (uint32_t)min_u64(pipe, (uint64_t)b->cc.dupacks * conn_mss(c));
}

/* A segment is delivered: note what that says. s: before its flags change. */
void recovery_delivered(struct conn *c, const struct sent *s,
			struct ack_news *news);

/* rexmit.c */
/* rexmit_at has come: RTO or window probe. May end the connection. */
void rexmit_timer(struct conn *c);
/* probe_at has come: tail loss probe, or RACK's reordering window is over. */
void rexmit_probe_timer(struct conn *c);
/* Something is in flight or waits for a window: keep the timers right. */
void rexmit_arm(struct conn *c);
/* The client opened a window that was closed. */
void rexmit_reopened(struct conn *c);

/* sack.c: what the client reports. */
void sack_take(struct conn *c, struct ack_news *news);

/*
 * rack.c. rack_delivered: RFC 8985 6.2 steps 1 to 3 for one segment;
 * rack_detect: steps 4 and 5: marks what is lost, may set probe_at; answers
 * whether anything was.
 */
void rack_delivered(struct conn *c, const struct sent *s,
		    const struct ack_news *news);
bool rack_detect(struct conn *c);
/* Does RACK's clock say that this one is lost by now? */
bool rack_is_late(const struct conn *c, const struct sent *s);
void rack_dsack(struct conn *c);
void rack_recovered(struct conn *c);
/* RFC 8985 7.2: may there be a probe now? */
bool rack_tlp_allowed(const struct conn *c);
/* When it is due, or 0 when there is to be none. */
uint64_t rack_tlp_at(const struct conn *c);
/* 7.3: send it. */
void rack_tlp_send(struct conn *c);
/* 7.4: does the client report that probe and original arrived? */
bool rack_tlp_twice(const struct conn *c, const struct ack_news *news);
/* 7.4, with LOSS_TLP: answers whether the probe repaired a loss. */
bool rack_tlp_acked(struct conn *c, const struct ack_news *news);

/*
 * undo.c: a reduction begins; was it for nothing? then all is as before. The
 * last needs LOSS_UNDO.
 */
void undo_begin(struct conn *c);
void undo_sent_again(struct conn *c);
bool undo_try(struct conn *c, const struct ack_news *news);

/* output.c: send segment i of the flight again (what of it fits the MSS). */
void output_again(struct conn *c, uint32_t i);
/* Send up to len bytes of new data at once, and the FIN behind them. */
void output_probe(struct conn *c, uint32_t len);

#endif
