/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * layout - what lies in the arena, byte for byte.
 *
 * The arena is the truth (I2), and how it stays so when its process is killed
 * is told in recover.h. Everything here is plain data without pointers; links
 * are indexes, and index NIL means "none". Whatever can be derived from it
 * (index, free maps, timer lists) is in the process's own memory and is rebuilt
 * by shard_rebuild(), never trusted. Fields that are only such links, kept here
 * because they sit well beside the rest, are marked "derived".
 *
 *	header | shard 0 | shard 1 | ...
 *	shard:  records | IPv6 addresses | blocks | rx descriptors | rx bytes
 *	        | tx descriptors | tx bytes | slot owners
 *	                                              (each page-aligned, sparse)
 *
 * A shard belongs to one worker. A change here changes ARENA_LAYOUT_HASH
 * through the sizes and offsets in it; a change of meaning alone must raise
 * ARENA_VERSION.
 */
#ifndef XTCP_ARENA_LAYOUT_H
#define XTCP_ARENA_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define ARENA_MAGIC UINT64_C(0x3141544350434158)
#define ARENA_VERSION 4u
#define ARENA_VIPS_MAX 64
#define ARENA_WORKERS_MAX 64
/* tuple_worker()'s: one for each word that it hashes, and a constant. */
#define ARENA_WORKER_KEYS 6
/* As the stack's groups and their streams: rec.group, rec.slot. */
#define ARENA_GROUPS_MAX 1024u
#define ARENA_SLOTS 256u
#define ARENA_SLOT_OWNERS (ARENA_GROUPS_MAX * ARENA_SLOTS)
#define ARENA_NAME_MAX 64 /* with the NUL */

#define NIL UINT32_MAX

/* Unit of rec.last_active: milliseconds. 2^32 of them are 8.7 years. */
#define REC_TICK_MS 64u
/* Unit of rec.rcv_adv_units: bytes of window promised while idle. */
#define REC_ADV_UNIT 4096u

enum rec_flag {
	REC_V6 = 1 << 0, /* the remote address is in the IPv6 array */
	REC_TS = 1 << 1, /* timestamps negotiated (RFC 7323) */
	REC_WSCALE = 1 << 2, /* window scaling negotiated */
	REC_SACK = 1 << 3, /* SACK permitted */
	REC_FIN_RCVD =
		1 << 4, /* the client's FIN is in sequence: rcv_nxt counts it */
	REC_FIN_ACKED = 1 << 5, /* our FIN is acknowledged: snd_una counts it */
	REC_TOLD =
		1 << 6, /* a backend knows of the connection (slot says which) */
	REC_ORPHAN =
		1 << 7, /* the application closed: it hears of nothing more */
	REC_HALF_OPEN = 1 << 8, /* counted as half-open */
	REC_ECN = 1 << 9, /* ECN negotiated (RFC 3168) */
	REC_ECE =
		1 << 10, /* a CE mark was seen; echoed until the client's CWR */
	/*
	 * The path's MTU lowered rec.mss: which MSS comes back (0: it is not
	 * lowered), and when that was; see pmtu.c.
	 */
	REC_PMTU_CLASS = 7 << 11,
	REC_PMTU_EPOCH = 3 << 14,
};

enum rec_more {
	REC_CWR_DUE = 1 << 0, /* BLK_CWR_DUE, of a connection at rest */
	REC_ENDED = 1 << 1, /* it is over: its block counts for nothing */
};

/*
 * A connection: one cache line, and all there is of an idle one (I3).
 *
 * rcv_off and snd_off are the settled positions of the two byte streams: what
 * the application has processed, and what the client has acknowledged. Byte 0
 * follows the SYN, so the sequence number of position p is irs + 1 + p (iss
 * for what we send), modulo 2^32. An idle connection has
 * rcv_nxt == irs + 1 + rcv_off and snd_una == snd_nxt == iss + 1 + snd_off.
 */
struct rec {
	uint32_t remote4; /* network byte order; IPv6: 0 */
	uint16_t remote_port; /* host byte order, as all below */
	uint16_t local_port;
	uint8_t vip; /* index into arena_header.vips */
	uint8_t state; /* enum tcp_state; 0: the record is free */
	uint16_t flags; /* enum rec_flag */
	uint8_t wscale; /* low nibble: shift of what we send to; high: our own */
	uint8_t slot; /* backend stream of the group, 0: none yet */
	uint16_t group : 12; /* id, 0: none */
	uint16_t more : 4; /* enum rec_more */
	uint32_t generation : 24; /* 1..2^24-1; survives the record's reuse */
	uint32_t rcv_adv_units : 8; /* window promised when it went idle, rounded up */
	uint32_t last_active; /* units of REC_TICK_MS */
	uint32_t block; /* active block, or NIL */
	uint16_t mss; /* largest payload we may send, bytes */
	uint16_t snd_wnd; /* last window seen, unscaled */
	uint32_t ts_recent; /* RFC 7323 TS.Recent */
	uint16_t srtt; /* compressed microseconds, see rtt_pack() */
	uint16_t rttvar;
	uint32_t irs; /* initial receive sequence number */
	uint32_t iss; /* initial send sequence number */
	uint64_t rcv_off;
	uint64_t snd_off;
};

_Static_assert(sizeof(struct rec) == 64, "a record is one cache line");

struct rec6 {
	uint8_t remote[16];
};

struct wheel_link {
	uint64_t expires_us; /* 0: not on the wheel */
	uint32_t next, prev; /* derived */
	uint32_t slot; /* derived */
	uint32_t pad;
};

/*
 * What a congestion event changes beside ssthresh, and cc_undo() brings back.
 * cwnd_prior is of all algorithms, the rest of cubic (RFC 9438 section 4.1.2).
 */
struct blk_cc_epoch {
	uint64_t began_us; /* of congestion avoidance; 0: it has not begun */
	uint32_t cwnd_prior; /* cwnd when ssthresh was last set, bytes */
	uint32_t w_max; /* bytes; 0: not known */
	uint32_t w_est; /* what Reno's window would be, bytes */
	uint32_t k_ms; /* from the beginning until w_max is reached */
};

/* Congestion control (cc.h) and recovery state (RFC 6582). */
struct blk_cc {
	uint32_t cwnd; /* bytes */
	uint32_t ssthresh; /* bytes */
	uint32_t recover; /* RFC 6582 */
	uint16_t dupacks;
	uint8_t phase; /* enum tcp_cc_phase */
	uint8_t backoff; /* RTO doublings in a row */
	uint8_t algorithm; /* enum cc_algorithm */
	uint8_t flags; /* enum cc_flag */
	uint8_t hy_samples; /* of the RTT in this round, saturating */
	uint8_t hy_css_rounds; /* ended in conservative slow start */

	uint32_t acked_bytes; /* acknowledged, but cwnd did not grow for them yet */
	uint32_t est_acked_bytes; /* the same of w_est */
	uint32_t prior_ssthresh;
	struct blk_cc_epoch epoch, prior;
	uint64_t acked_at_us; /* the ACK before */

	/* HyStart++, RFC 9406; RTTs in microseconds, 0: none. */
	uint32_t hy_window_end; /* the round ends when it is acknowledged */
	uint32_t hy_last_min_us; /* least RTT of the round before */
	uint32_t hy_min_us; /* and of this round */
	uint32_t hy_css_base_us; /* conservative slow start ends below it */
};

_Static_assert(sizeof(struct blk_cc) <= 104, "congestion state is compact");

/* Round-trip estimation (RFC 6298). */
struct blk_rtt {
	uint64_t timed_at_us; /* when the SYN-ACK was sent; 0: more than once */
	uint32_t srtt_us; /* 0: no sample yet */
	uint32_t rttvar_us;
	uint32_t rto_us;
	uint32_t min_us; /* least of late; 0: no sample yet */
	uint32_t min_tick; /* when that was, units of REC_TICK_MS */
};

/*
 * What was sent and is not acknowledged: lists of struct sent (sent.h), which
 * are the process's own. After a crash all of it counts as lost.
 */
struct blk_sent {
	uint32_t head, tail; /* derived: by sequence number */
	uint32_t oldest, newest; /* derived: by time of transmission */
	uint32_t lost_hint; /* derived: nothing before it waits to be sent again */
	uint32_t sacked_bytes; /* of these: the client has them */
	uint32_t sacked_segs;
	uint32_t lost_bytes; /* presumed lost */
	uint32_t rexmit_bytes; /* sent again, and that is in flight */
	uint32_t n; /* segments */
};

/* Loss detection and the answer to it (RFC 8985, 6937, 5682, 3522). */
struct blk_loss {
	uint64_t rack_xmit_us; /* RACK.xmit_ts; 0: nothing delivered yet */
	uint32_t rack_end; /* RACK.end_seq */
	uint32_t rack_rtt_us; /* RACK.rtt */
	uint32_t fack; /* RACK.fack: after the highest delivered */
	uint32_t dsack_round; /* RACK.dsack_round */
	uint32_t tlp_end; /* TLP.end_seq, with LOSS_TLP */
	uint32_t prr_delivered, prr_out, recover_fs; /* bytes, RFC 9937 */
	uint32_t undo_marker; /* snd_una when the window was reduced */
	uint32_t undo_rexmits; /* segments sent again since, not reported twice */
	uint32_t rexmit_ts; /* our timestamp clock at the first of them */
	uint8_t reo_mult; /* RACK.reo_wnd_mult */
	uint8_t reo_persist; /* RACK.reo_wnd_persist */
	uint8_t flags; /* enum loss_flag */
	uint8_t frto; /* enum loss_frto */
};

/* Received beyond gaps, most recent first (RFC 2018 section 4). */
struct blk_sack {
	uint32_t start[4], end[4];
	uint32_t dup_start,
		dup_end; /* to report as D-SACK (RFC 2883); equal: none */
	uint32_t n;
};

/* Path MTU (RFC 5927 section 7.2, RFC 4821); payload sizes in bytes. */
struct blk_pmtu {
	uint32_t claim_seq; /* what the pending claim quoted */
	uint16_t claim_mss; /* a rec.mss to be, when an RTO confirms it; 0: none */
	uint16_t acked_bytes; /* largest segment known to have passed */
};

/*
 * Active block: what a connection has besides its record while bytes are in
 * flight, in a handshake, or closing. All sequence numbers modulo 2^32.
 */
struct blk {
	uint32_t rec; /* back link; NIL: the block is free */
	uint32_t ts_off; /* our timestamp clock's offset, a function of the tuple */

	/* What a reply commits, in one store: see blk_commit(). */
	union {
		struct {
			/* After the last byte queued; the FIN comes here. */
			uint32_t snd_end;
			/* Acknowledged by the application. */
			uint32_t rcv_app;
		};
		uint64_t ends;
	};

	/* Send side, RFC 9293 3.3.1. */
	uint32_t snd_una; /* cached from the record */
	uint32_t snd_nxt; /* after the highest byte (or FIN) ever sent */
	uint32_t snd_wnd; /* bytes */
	uint32_t snd_wl1, snd_wl2;
	uint32_t max_wnd; /* largest snd_wnd seen, for RFC 9293 3.8.6.2.1 */
	/* Chunks up to snd_end; the first may begin before snd_una. */
	uint32_t tx_head;
	uint32_t tx_tail; /* derived */
	uint32_t tx_cur; /* derived: the chunk last read from, or NIL: look for it */

	/* Receive side. rcv_app <= rcv_ack <= rcv_nxt, and rcv_app <= rcv_dlv <= rcv_nxt. */
	uint32_t rcv_nxt;
	uint32_t rcv_dlv; /* handed to a backend stream up to here */
	uint32_t rcv_redlv; /* up to here it had been handed out before */
	uint32_t rcv_ack; /* what we may acknowledge to the client (I1) */
	uint32_t rcv_acked; /* acknowledgement number last sent */
	uint32_t rcv_adv; /* right edge of the window promised; never goes back */
	/* Chunks up to rcv_nxt; the first may begin before rcv_app. */
	uint32_t rx_head;
	uint32_t rx_tail; /* derived */
	uint32_t ooo_head; /* out-of-order chunks, sorted */
	uint32_t fin_seq; /* sequence number of an out-of-order FIN */
	uint32_t rcv_turn; /* the right edge at rcv_turn_ms: rx_grow_window() */
	uint32_t rcv_turn_ms; /* modulo 2^32; 0: no bulk was seen */
	uint16_t ooo_chunks;
	uint16_t rcv_mss; /* largest payload seen from the client */
	uint16_t rcv_space_units; /* receive window cap, units of REC_ADV_UNIT */
	uint8_t rcv_full_run; /* full-sized segments in a row, saturating */
	uint8_t rcv_rexmits; /* retransmissions of held data absorbed in a row */

	struct blk_sack sack;

	struct blk_cc cc;
	struct blk_rtt rtt;
	struct blk_sent sent;
	struct blk_loss loss;
	struct blk_pmtu pmtu;

	/* Deadlines on the monotonic clock, microseconds; 0: not set. */
	uint64_t rexmit_at; /* RTO, or persist when BLK_PERSIST */
	uint64_t probe_at; /* tail loss probe; RACK's when LOSS_REO_TIMER */
	uint64_t sent_at; /* when data was last sent: RFC 5681 4.1 */
	uint64_t ack_at; /* delayed acknowledgement */
	uint64_t hold_at; /* ack-deadline of what is held */
	uint64_t life_at; /* handshake, user time-out, keepalive, FIN-WAIT-2 */
	uint64_t progress_at; /* when the client last acknowledged something new */
	struct wheel_link wheel; /* derived but for expires_us */

	uint32_t ready_next; /* derived: the list of connections with events */
	uint32_t dirty_next; /* derived: the list of connections with output */
	uint32_t flags; /* enum blk_flag */
	uint16_t events; /* enum stack_event */
	uint8_t probes; /* keepalive probes unanswered */
	uint8_t rexmits; /* retransmissions in a row */

	/* For the daemon's groups. */
	uint32_t app_next, app_prev; /* derived */
	uint8_t app_list; /* derived */
	uint8_t app_flags;
	uint16_t app_timed; /* a request is: part of its time (latency.c); or 0 */
	uint32_t app_granted_hi,
		app_granted_lo; /* send limit granted beyond the formula's */

	/* When a segment that may be forged was last answered; 0: never. */
	uint32_t oow_ms;
};

enum blk_flag {
	BLK_READY = 1 << 0, /* on the ready list */
	BLK_DIRTY = 1 << 1, /* on the dirty list */
	BLK_ACK_NOW = 1 << 2, /* an ACK is due with the next flush */
	BLK_FIN_QUEUED = 1 << 3, /* our FIN follows snd_end */
	BLK_FIN_SEEN =
		1 << 4, /* fin_seq is set: the client's FIN awaits a gap's end */
	BLK_PERSIST = 1 << 5, /* rexmit_at is the persist timer */
	BLK_ACK_EARLY =
		1 << 6, /* rcv_ack went past rcv_app: bulk, or the deadline */
	BLK_PROBING = 1 << 7, /* life_at is the keepalive timer */
	BLK_RESEND =
		1 << 8, /* send the cached reply again with the next flush */
	BLK_CWND_LIMITED = 1 << 9, /* the window kept back what was queued */
	BLK_SACK_DUE =
		1 << 10, /* something to report that no segment did yet */
	BLK_CWR_DUE = 1 << 15, /* RFC 3168 6.1.2: CWR with the next new data */
	BLK_SYNACK_NOW = 1 << 11, /* the SYN-ACK goes out */
	BLK_LINGER =
		1 << 12, /* quiet; kept for its congestion state until life_at */
	BLK_REOPENED =
		1 << 14, /* the window opened, nothing acknowledged since */
	BLK_WINDOW_HELD =
		1 << 13, /* a window update is owed when the pool has room */
};

enum loss_flag {
	LOSS_REORDERING = 1 << 0, /* RACK.reordering_seen */
	LOSS_DSACK_ROUND = 1 << 1, /* dsack_round is set */
	LOSS_TLP = 1 << 2, /* tlp_end is set: a probe is out */
	LOSS_TLP_REXMIT = 1 << 3, /* it was a retransmission */
	LOSS_REO_TIMER = 1 << 4, /* probe_at ends RACK's reordering window */
	LOSS_UNDO =
		1 << 5, /* undo_marker is set: the reduction can be undone */
	LOSS_REXMIT_TS = 1 << 6, /* rexmit_ts is set */
};

enum loss_frto {
	FRTO_OFF,
	FRTO_FIRST, /* the RTO's retransmission is out: RFC 5682 step 2 */
	FRTO_SECOND, /* new data is out: step 3 */
};

_Static_assert(sizeof(struct blk) <= 512,
	       "an active block stays within eight cache lines");

/* Descriptor of a chunk of the receive pools or the transmit buffer. */
struct chunk {
	uint32_t next; /* in the connection's queue, or NIL */
	uint32_t seq; /* sequence number of its first byte */
	uint16_t off; /* first byte's place within the chunk */
	uint16_t len; /* bytes */
	uint32_t owner; /* block; NIL: free */
};

_Static_assert(sizeof(struct chunk) == 16, "chunk descriptor");

#define CHUNK_BYTES 512u

struct arena_vip {
	uint8_t family; /* 4, 6; 0: unused */
	uint8_t pad[7];
	uint8_t bytes[16]; /* IPv4: the first four */
};

enum arena_group_state {
	ARENA_GROUP_FREE, /* no record names it */
	ARENA_GROUP_USED,
	ARENA_GROUP_ENDING, /* removed: its connections are being ended */
};

/*
 * Which group a number stands for (rec.group): a restart with another
 * configuration finds it again by its name. Written by the daemon's
 * registry: everything else first, `state` last, and before any record
 * names the number.
 */
struct arena_group {
	char name[ARENA_NAME_MAX];
	uint64_t instance, pool_bytes; /* of an application's own group */
	uint16_t port;
	uint8_t own;
	uint8_t protocol; /* of its backends, enum conf_protocol */
	uint8_t pad[3];
	uint8_t state; /* enum arena_group_state */
};

/*
 * The parts of a shard in their order: PART(name, how many, bytes each), as a
 * header h has it. The only list of them.
 */
#define SHARD_PARTS(PART, h)                                            \
	PART(recs, (h)->recs_per_shard, sizeof(struct rec))             \
	PART(recs6, (h)->recs_per_shard, sizeof(struct rec6))           \
	PART(blks, (h)->recs_per_shard, sizeof(struct blk))             \
	PART(rx_chunks, (h)->rx_chunks_per_shard, sizeof(struct chunk)) \
	PART(rx_bytes, (h)->rx_chunks_per_shard, CHUNK_BYTES)           \
	PART(tx_chunks, (h)->tx_chunks_per_shard, sizeof(struct chunk)) \
	PART(tx_bytes, (h)->tx_chunks_per_shard, CHUNK_BYTES)           \
	PART(slot_owners, ARENA_SLOT_OWNERS, sizeof(uint64_t))

/* Where they lie, bytes from the arena's start. */
struct shard_layout {
#define PART(name, n, each) uint64_t name;
	SHARD_PARTS(PART, )
#undef PART
	uint64_t end;
};

/* What a worker keeps for its shard, on a cache line of its own (I4). */
struct arena_shard {
	uint32_t recs_high; /* no record at or above was ever in use */
	uint32_t began; /* a process has worked on it */
	uint32_t pad[14];
};

struct arena_header {
	/* Never changes once the arena is made; covered by `check`. */
	uint64_t magic;
	uint32_t version;
	uint32_t workers;
	uint64_t layout_hash;
	uint8_t boot_id[16]; /* the monotonic clock's life */
	uint32_t recs_per_shard;
	uint32_t rx_chunks_per_shard;
	uint32_t tx_chunks_per_shard;
	uint32_t pad;
	uint64_t secret[4]; /* keys: [0,1] index hash, [2,3] ISN and timestamps */
	uint64_t worker_keys[ARENA_WORKER_KEYS];
	uint64_t check; /* hash of all before it */
	uint8_t pad2[48];

	struct arena_shard shards[ARENA_WORKERS_MAX];
	struct arena_vip vips[ARENA_VIPS_MAX];
	struct arena_group groups[ARENA_GROUPS_MAX]; /* by number */
};

_Static_assert(offsetof(struct arena_header, shards) % 64 == 0,
	       "each shard's state has its cache lines");

#endif
