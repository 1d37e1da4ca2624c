/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmtu - how large a packet the path to a client takes.
 *
 * rec.mss is the result: the largest payload, timestamps not yet taken off,
 * that a segment may have. It begins as what the client and the device allow
 * (listen.c), is lowered here, and comes back after a while.
 */
#ifndef XTCP_STACK_PMTU_H
#define XTCP_STACK_PMTU_H

#include "stack/recovery.h"

/*
 * IPv4 allows links of 68 bytes (RFC 791), and 68 is what a forger would claim:
 * forty headers for the payload of one segment. Nothing that carries TCP today
 * is below 576; 552 is where other stacks draw the line.
 */
#define PMTU_MIN4 552u
#define PMTU_LEAST4 68u /* RFC 1191 section 3: less is impossible */
#define PMTU_MIN6 1280u /* RFC 8200 section 5, RFC 8201 section 4 */

/*
 * A black hole's way out: RFC 4821 section 7.2 and 7.7, as an MSS. What every
 * IPv6 link passes needs no search.
 */
#define PMTU_BASE_MSS4 1024u
#define PMTU_BASE_MSS6 (PMTU_MIN6 - 60u)

/*
 * A router says that a packet of quoted_len bytes was too big for mtu bytes (0:
 * it doesn't say). The quoted segment, at seq, is in flight: the caller has
 * checked. RFC 1191, 8201, 5927 section 7.2.
 */
void pmtu_too_big(struct conn *c, uint32_t seq, uint32_t mtu,
		  uint32_t quoted_len);

/* A segment was acknowledged, or SACKed, for the first time. */
void pmtu_delivered(struct conn *c, const struct sent *s);

/*
 * A retransmission time-out, before anything is sent: RFC 5927 section 7.2, RFC
 * 4821 section 7.6.
 */
void pmtu_timeout(struct conn *c);

/* The clock hand looks: RFC 1191 section 6.3, RFC 8201 section 5.3. */
void pmtu_raise(struct conn *c);

static inline void pmtu_age(struct conn *c)
{
	if (c->r->flags & REC_PMTU_CLASS)
		pmtu_raise(c);
}

#endif
