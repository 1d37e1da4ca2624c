/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cc - congestion control: how large the window is.
 *
 * Recovery (recovery.c) says what happened, this module answers with
 * struct blk_cc's cwnd and ssthresh. Sizes are bytes, times microseconds.
 *
 *	cc_acked()       new data acknowledged, outside of fast recovery
 *	cc_congestion()  first loss of a window, CE mark, time-out
 *	cc_undo()        that was spurious
 *	cc_idle()        nothing was sent for an RTO
 *	cc_resumed()     nothing was in flight for a while
 *
 * The algorithm is chosen by cc_init() and stays with the block. Of blk_cc,
 * recover, dupacks, phase and backoff are recovery's; cc_init() zeroes them,
 * and cc_acked() reads phase: slow start is more careful in CC_LOSS.
 * For any input, mss <= cwnd <= CC_CWND_MAX, and 2 * mss <= ssthresh.
 */
#ifndef XTCP_STACK_CC_H
#define XTCP_STACK_CC_H

#include <stdbool.h>
#include <stdint.h>

#include "arena/layout.h"

/* No window is larger: RFC 7323 section 2.3. */
#define CC_CWND_MAX (UINT32_C(1) << 30)

enum tcp_cc_phase {
	CC_OPEN, /* slow start or congestion avoidance */
	CC_CWR, /* a CE mark came back: the window goes down, RFC 3168 */
	CC_RECOVERY, /* something is lost: the same, and it is sent again */
	CC_LOSS, /* after an RTO, until recover is acknowledged */
};

enum cc_algorithm {
	CC_CUBIC, /* RFC 9438 */
	CC_RENO, /* RFC 5681 with byte counting, RFC 3465 */
	CC_ALGORITHMS
};

enum cc_event {
	CC_EV_LOSS, /* the first loss of a window, not by a time-out */
	CC_EV_ECN, /* the client echoed a CE mark, RFC 3168 section 6.1.2 */
	CC_EV_TIMEOUT, /* the retransmission timer fired, RFC 6298 (5.4) */
};

/* One ACK of new data, outside of fast recovery. */
struct cc_ack {
	uint64_t now_us;
	uint32_t mss; /* bytes, at least 1 and at most 65535 */
	uint32_t acked_bytes;
	uint32_t rtt_us; /* sample of this ACK, 0: none */
	uint32_t srtt_us; /* 0: none yet */
	uint32_t snd_una, snd_nxt; /* after this ACK: they delimit rounds */
	bool limited; /* the window, not the application, bounded the flight */
};

/* RFC 6928: the initial window, bytes. */
uint32_t cc_initial_window(uint32_t mss);

/*
 * The state of a new connection, or of one without history: zero but for
 * cwnd, the initial window, and ssthresh, UINT32_MAX. algorithm: enum
 * cc_algorithm.
 */
void cc_init(struct blk_cc *cc, uint8_t algorithm, uint32_t mss);

/*
 * Slow start (RFC 5681 3.1; HyStart++, RFC 9406, while ssthresh is UINT32_MAX)
 * or congestion avoidance. An ACK that is not limited grows nothing, but its
 * RTT counts.
 */
void cc_acked(struct blk_cc *cc, const struct cc_ack *ack);

/*
 * Congestion: keeps what cc_undo() needs and sets ssthresh from flight_bytes,
 * what was outstanding (RFC 5681 (4), RFC 9438 4.6 to 4.8). For CC_EV_TIMEOUT
 * also cwnd = mss; for the others cwnd stays: recovery brings it to ssthresh.
 * again: a further time-out in a series. It neither lowers ssthresh nor
 * touches what cc_undo() needs.
 */
void cc_congestion(struct blk_cc *cc, enum cc_event ev, uint32_t mss,
		   uint32_t flight_bytes, uint64_t now_us, bool again);

/*
 * The last congestion event was spurious: cwnd at least, and ssthresh and
 * cubic's epoch exactly, as they were before (RFC 9438 4.9). Only the last one
 * can be undone, once: otherwise nothing happens.
 */
void cc_undo(struct blk_cc *cc);

/*
 * Nothing was sent for an RTO: cwnd is the restart window at most (RFC 5681
 * 4.1), and cubic's epoch begins anew.
 */
void cc_idle(struct blk_cc *cc, uint32_t mss);

/*
 * Nothing was in flight for idle_us, up to now: cubic's epoch does not count
 * it (RFC 9438 5.8).
 */
void cc_resumed(struct blk_cc *cc, uint64_t idle_us);

/* "cubic", "reno"; NULL for what is no algorithm. */
const char *cc_name(uint8_t algorithm);

#endif
