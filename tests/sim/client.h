/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client - a small TCP of its own: the model of what connects to xtcpd.
 *
 * It has what real ones have, each part optional: window scale, timestamps
 * with PAWS, SACK with retransmission by it, D-SACK, delayed ACKs, fast
 * retransmit, ECN, a reader that pauses. And habits that no good one has
 * (enum weird). Positions are 64-bit byte positions of the two streams; the
 * SYN stands at -1.
 */
#ifndef XTCP_SIM_CLIENT_H
#define XTCP_SIM_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "rng.h"
#include "wire.h"

#define CLIENT_SPANS_MAX 32u

struct world;
struct flow;
struct packet;

enum weird {
	WEIRD_DROP_TS = 1 << 0, /* no timestamps after the handshake */
	WEIRD_URGENT = 1 << 1,
	WEIRD_RENEGE = 1 << 2, /* forgets what it SACKed (RFC 2018 section 8) */
	WEIRD_ACK_DIVIDE = 1 << 3, /* many ACKs for one segment */
	WEIRD_OPTIMISTIC = 1 << 4, /* acknowledges what it did not get */
	WEIRD_TWICE = 1 << 5, /* sends each packet twice */
	WEIRD_SACK_JUNK = 1 << 6,
	WEIRD_SHRINK = 1 << 7, /* takes its window back */
	WEIRD_NO_LAST_TS = 1 << 8, /* none in the handshake's last ACK */
	WEIRD_SYN_DATA = 1 << 9, /* data in the SYN */
	WEIRD_ACK_BEYOND = 1 << 10, /* acknowledges what was never sent */
	WEIRD_TINY = 1 << 11, /* sends a few bytes per segment */
	WEIRD_OVERLAP = 1 << 12, /* retransmits with other boundaries */
	WEIRD_FRAGMENT = 1 << 13, /* may be fragmented on the way */
};

enum client_state {
	CLIENT_IDLE, /* not yet, or for good */
	CLIENT_SYN_SENT,
	CLIENT_OPEN,
	CLIENT_DEAD, /* reset, either way */
	CLIENT_SILENT, /* vanished */
};

/* What kind of client it is; drawn once. */
struct client_conf {
	bool v6, sack, dsack, ts, ecn;
	int8_t ws; /* -1: none */
	uint8_t remote[16];
	uint16_t port;
	uint16_t mss; /* announced; 0: not */
	uint32_t send_mss_max;
	uint32_t rcv_cap; /* bytes */
	uint32_t delack_us; /* 0: every segment is acknowledged at once */
	uint32_t pause_ppm; /* per segment: the reader pauses */
	uint32_t pause_us_max;
	uint32_t iw_segs;
	uint32_t ts_off;
	uint32_t weird; /* enum weird */
	uint32_t path;
	bool ack_with_data; /* the handshake's last ACK waits for data */
	uint64_t start_us;
};

struct span {
	int64_t from, to;
};

struct client {
	struct client_conf conf;
	enum client_state state;
	struct rng rng;
	uint32_t iss, irs;
	uint16_t path_mss; /* lowered by ICMP */

	/* Negotiated. */
	bool ws_on, ts_on, sack_on, ecn_on;
	uint8_t peer_ws;
	uint16_t peer_mss;

	/* Sending. */
	int64_t una, nxt, max; /* first unacknowledged; next; ever sent */
	int64_t avail; /* bytes that the application has written */
	bool fin_ready, fin_sent, fin_acked;
	uint64_t wnd; /* peer's window, bytes */
	uint32_t wl1, wl2;
	uint32_t cwnd, ssthresh, dupacks;
	int64_t recover, rtx;
	bool recovering;
	struct span sacked[CLIENT_SPANS_MAX];
	uint32_t n_sacked;
	uint32_t srtt_us, rttvar_us, rto_us, backoff;
	int64_t timed_pos;
	uint64_t timed_at_us;
	bool cwr_due, ece_on;

	/* Receiving. */
	int64_t rcv_nxt, rcv_edge, rcv_read;
	struct span ooo[CLIENT_SPANS_MAX];
	uint32_t n_ooo, ooo_last;
	struct span dup; /* to be reported by D-SACK; empty: none */
	bool fin_rcvd;
	int64_t fin_pos; /* -1: not seen */
	uint32_t ts_recent, last_ack_sent;
	uint32_t sent_edge; /* right edge, as the peer may know it */
	uint32_t acks_due;
	bool ack_now;

	/* The application. */
	uint32_t item; /* next request to write */
	uint64_t kill_at_us; /* END_RST, END_VANISH; 0: not drawn */

	/* Deadlines, 0: none. */
	uint64_t rto_at, persist_at, ack_at, app_at, read_at;
	uint64_t armed_at; /* of the event that is queued */
};

/* Connect. */
void client_start(struct world *w, struct flow *f);

/* A packet has come over the link. */
void client_input(struct world *w, struct flow *f, const struct packet *p);

/* Whatever is due. */
void client_timer(struct world *w, struct flow *f);

/* The link is good now: what delays has an end. */
void client_calm(struct world *w, struct flow *f);

/* End it with a RST that is not lost. */
void client_reset(struct world *w, struct flow *f);

/* Has it got and said all that the script has? */
bool client_done(const struct flow *f);

/* client_send.c */
void client_output(struct world *w, struct flow *f);
void client_got_ack(struct world *w, struct flow *f, const struct wire *s);
/* One segment. Returns the bytes that went: options may take their room. */
uint32_t client_emit(struct world *w, struct flow *f, uint8_t flags,
		     int64_t pos, uint32_t len);
void client_ack(struct world *w, struct flow *f);
void client_syn(struct world *w, struct flow *f);
void client_rto(struct world *w, struct flow *f);
void client_persist(struct world *w, struct flow *f);
void client_arm(struct world *w, struct flow *f);
/* The clock that its timestamps show. */
uint32_t client_now_ms(const struct world *w, const struct client *c);

static inline uint32_t client_seq(const struct client *c, int64_t pos)
{
	return c->iss + 1 + (uint32_t)pos;
}

/* The position near `near` that has this sequence number. */
static inline int64_t client_near(uint32_t base, int64_t near, uint32_t seq)
{
	return near + (int32_t)(seq - (base + 1 + (uint32_t)near));
}

#endif
