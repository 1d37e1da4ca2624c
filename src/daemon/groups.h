/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * groups - one worker's groups, their backends and the streams to them.
 *
 * Everything in here belongs to one worker's thread. struct groups is what
 * the modules of this layer share; each of them works on one part:
 *
 *	groups.c	groups: the turn, the tick
 *	groups_set.c	groups: set, remove; addresses
 *	deliver.c	from the stack's events to frames
 *	loss.c		what becomes of a lost stream's connections
 *	reply.c		from a backend's frames to calls of the stack
 *	latency.c	how long requests take
 *	bstream.c	one stream: socket, queues, credit, liveness
 *	hello.c		its first frames: HELLO, ATTACH, ATTACHED
 *	backend.c	dialling out, draining
 *	plain.c		instead of most of these: backends of protocol "stream"
 *
 * Where a connection stands with its backend is in its record (`slot`,
 * REC_TOLD) and, while it is active, in its block (app_*): nothing here is
 * kept for an idle connection (I3).
 */
#ifndef XTCP_DAEMON_GROUPS_H
#define XTCP_DAEMON_GROUPS_H

#include <event2/event.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/histogram.h"
#include "daemon/conf.h"
#include "daemon/counters.h"
#include "daemon/duty.h"
#include "daemon/latency.h"
#include "proto/frame.h"
#include "proto/stream.h"
#include "stack/stack.h"

/* Stream numbers of a group: 1..255, as in rec.slot. */
#define GROUP_SLOTS ARENA_SLOTS

/* What xtcpd's HELLO grants: payload bytes per stream, and H of frame.h. */
#define STREAM_CREDIT_BYTES (1024u * 1024u)
#define CONN_HALF_BYTES (64u * 1024u)

/* Outgoing frames of a stream: DATA stops here, ... */
#define STREAM_OUT_DATA_BYTES (1024u * 1024u)
/* ... frames about connections here, and answers to frames at the end. */
#define STREAM_OUT_CONTROL_BYTES (STREAM_OUT_DATA_BYTES + 192u * 1024u)
#define STREAM_OUT_MAX_BYTES (STREAM_OUT_CONTROL_BYTES + 64u * 1024u)

/* blk.app_flags: what a backend has yet to hear, and what it has in hand. */
enum app_flag {
	APP_OPEN_DUE = 1 << 0,
	APP_EOF_DUE = 1 << 1,
	APP_RESET_DUE = 1 << 2,
	APP_CREDIT_DUE = 1 << 3,
	APP_INFLIGHT = 1 << 4, /* counted in its stream's inflight */
	APP_EOF_AGAIN = 1 << 5, /* a backend may have heard of the end before */
};

/* blk.app_list */
enum app_list {
	APP_LIST_NONE,
	APP_LIST_GROUP, /* waits for any stream of its group */
	APP_LIST_STREAM, /* waits for the stream that rec.slot names */
	APP_LIST_TURN, /* likewise, for max-inflight alone */
};

/* Connections in order of waiting, linked through their blocks. */
struct conn_list {
	uint32_t head, tail; /* record numbers or NIL */
	uint32_t n;
};

/* What the main thread tells each worker about a group; strings copied. */
struct group_setup {
	struct stack_group stack;
	char name[CONF_NAME_MAX];
	enum conf_balance balance;
	enum conf_loss on_loss;
	uint64_t backend_timeout_us; /* 0: never */
	enum conf_protocol protocol; /* never changes */
	const struct conf_backend *backends; /* borrowed for the call */
	uint32_t n_backends;
	/* Streams of all workers, or NULL; outlives the group. */
	_Atomic uint32_t *stream_count;
};

/*
 * Memory for what groups_set() may have to allocate, made by another thread:
 * with it, it can't fail for want of memory.
 */
struct groups_room {
	struct stack_room stack;
	struct group *group;
	struct backend *backends; /* a list */
};

/* What ends because its group or its address was removed. */
struct groups_ending {
	uint64_t groups[STACK_GROUPS_MAX / 64]; /* bit by number */
	uint64_t vips; /* likewise */
	bool own; /* those at ports of the host's own that are not ours now */
	bool on; /* there is something left to look at: */
	uint32_t at; /* the next record */
};

enum bstream_state {
	BSTREAM_CONNECTING, /* connect(2) is under way */
	BSTREAM_HELLO, /* we dialled and sent HELLO */
	BSTREAM_ATTACH, /* we sent ATTACH */
	BSTREAM_UP,
};

enum bstream_stall {
	BSTREAM_FLOWS,
	BSTREAM_STALLED_TX, /* `held` could not be taken whole by the stack */
	BSTREAM_STALLED_OUT, /* no room for answers */
};

/* One stream, from connect or hand-over to its loss. */
struct bstream {
	struct group *group;
	struct backend *backend;
	struct bstream *next; /* of the backend */
	struct bstream *dirty_next, *stalled_next, *failed_next;
	int fd;
	struct event *ev_read, *ev_write;
	enum bstream_state state;
	uint8_t slot; /* when up; else 0 */
	bool dirty; /* on groups.dirty */
	int failed; /* negative errno: on groups.failed */

	struct frame_reader in;
	struct frame_queue out;
	uint32_t max_payload; /* the peer's */
	uint64_t tx_credit_bytes; /* DATA payload we may still send */
	uint64_t rx_credit_bytes; /* REPLY payload the peer may still send */
	uint32_t rx_ungranted_bytes; /* taken and not yet granted anew */

	enum bstream_stall stall;
	struct frame held; /* the REPLY that waits */
	const uint8_t *held_payload;
	uint32_t held_taken_bytes;

	uint64_t deadline_us; /* of the handshake */
	uint64_t heard_us, ping_us; /* last frame in; PING out or 0 */
	uint64_t up_us; /* when it was attached */
	/* Last REPLY, or when the first request was in hand again. */
	uint64_t progress_us;

	struct conn_list waiting; /* for room or credit */
	struct conn_list turn; /* for max-inflight */
	/* It may yet speak of connections as they were before (frame.h,
	 * Resumption): it is given none until that is over, by resume_by_us. */
	bool resuming;
	uint64_t resume_by_us;
	bool retires; /* said DRAIN: no new connections */
	bool deaf; /* takes no more, but what it wrote is still read */
	bool ping_out; /* the PING of ping_us was queued */
	uint64_t out_seen; /* out.tail at the last tick */
	uint32_t inflight; /* connections with unacknowledged requests */
};

struct backend_stats {
	uint64_t messages_in, messages_out, bytes_in, bytes_out, redelivered,
		connects, failures;
	uint64_t requests, request_us; /* timed, and how long in all */
};

/* What a backend has when its group's protocol is "stream" (plain.h). */
struct plain_backend {
	uint8_t number; /* in rec.slot */
	enum conf_proxy proxy;
	uint64_t idle_close_us; /* 0: never */
	uint32_t max_links; /* of this worker; 0: no limit */
	uint32_t n_links;
	uint32_t n_busy; /* of these, whose last byte was the client's */
	bool reached; /* the last attempt went well */
	/* The one that was quiet for longest first. */
	struct plain_link *head, *tail;
};

/* The backend connections of a worker, by record number. */
struct plain_links {
	struct plain_link **buckets; /* heap */
	uint32_t n_buckets; /* a power of two, or 0 */
	uint32_t n, n_stalled;
	int fd_max; /* higher ones are for others */
};

/* A configured backend, or an attached process (for as long as it has streams). */
struct backend {
	struct backend *next; /* of the group */
	struct group *group;
	char name[CONF_NAME_MAX];
	char address[128];
	uint64_t owner; /* identity: a hash of the name, or HELLO.instance */
	bool attached; /* dialled in, or removed: goes with its last stream */
	enum backend_duty duty;
	struct sockaddr_storage sa;
	socklen_t sa_len;
	uint32_t streams_wanted;
	uint32_t max_inflight; /* this worker's share, 0: no limit */
	struct bstream *streams;
	uint32_t n_streams, n_up;
	uint32_t inflight;
	uint64_t retry_at_us, backoff_us;
	struct plain_backend plain;
	struct backend_stats stats;
};

/*
 * An owner that no backend is: the one that had the slot has gone, and with
 * on-backend-loss = "reset-all" its connections go with it (loss.c).
 */
#define BACKEND_GONE UINT64_MAX

struct group_slot {
	struct bstream *stream; /* NULL: dead or never used */
	uint64_t owner; /* backend.owner of the last stream here */
	bool used; /* a record may name it */
};

struct group {
	struct groups *gs;
	uint16_t id, port;
	char name[CONF_NAME_MAX];
	enum conf_protocol protocol;
	enum conf_balance balance;
	enum conf_loss on_loss;
	uint64_t backend_timeout_us; /* 0: never */
	uint8_t accept; /* enum stack_accept_mode */
	bool announce;
	_Atomic uint32_t *stream_count;
	struct group_slot slots[GROUP_SLOTS];
	uint32_t slot_last;
	struct bstream *live[GROUP_SLOTS]; /* those that are up */
	uint32_t n_live;
	uint32_t turn; /* round robin over live */
	struct backend *backends;
	struct conn_list waiting;
	uint64_t grace_until_us; /* after recovery, see loss.c; else 0 */
	bool closing; /* its streams' connections are looked after by nobody */
	bool room; /* a stream came up or has room again: serve who waits */
	bool sweeping,
		sweep_again; /* ends of stream to tell anew, see loss.c */
	uint32_t sweep_at;
	struct histogram latency; /* of requests, microseconds */
};

/* How the layer is tied to its surroundings (a worker, or a test). */
struct groups_ops {
	uint64_t (*clock)(void *ctx); /* monotonic, microseconds */
	void (*turn_end)(void *ctx); /* after a stream's event */
	void *ctx;
};

struct groups {
	struct stack *st;
	struct event_base *base;
	struct groups_ops ops;
	uint32_t worker, n_workers;
	uint64_t instance; /* of this xtcpd process */
	uint64_t epoch; /* of the arena, hello_epoch() */
	uint64_t now_us;
	uint64_t tick_at_us;
	uint64_t random;
	struct counter counters[WC_COUNT];
	struct group *by_id[STACK_GROUPS_MAX];
	uint32_t ids_end; /* no group ever had this id, or a higher one */
	struct bstream *dirty, *stalled, *failed;
	struct groups_ending ending;
	struct plain_links links;
	struct latency_mark *marks; /* heap, by block; NULL: no memory */
	bool room; /* some group's */
	bool acked; /* transmit buffer was freed: stalled streams may go on */
};

/* All borrowed. base drives the streams' sockets. */
void groups_init(struct groups *gs, struct stack *st, struct event_base *base,
		 const struct groups_ops *ops, uint32_t n_workers,
		 uint64_t instance);

/* Closes every stream; the stack's groups stay. */
void groups_fini(struct groups *gs);

/*
 * Any thread: memory for a group that is to come to a worker of n_recs records,
 * with so many backends; with_sources: it is the first with max_per_source.
 * Returns 0 or -ENOMEM.
 */
int groups_room_new(struct groups_room *ret_room, uint32_t n_backends,
		    uint32_t n_recs, bool with_sources);
void groups_room_free(struct groups_room *room);

/*
 * Add a group or change one of this id, in the stack as well: backends that
 * are not in the setup any more are closed, new ones dialled; those that did
 * not change keep their streams. A group that is drained stays so. Takes of
 * room what it needs; room may be NULL.
 * Returns 0, -ENOMEM (not with a room), -EBUSY (connections of a number that
 * had another port), or -EINVAL.
 */
int groups_set(struct groups *gs, const struct group_setup *setup,
	       struct groups_room *room);

/*
 * Close the group's streams and abort its connections: a batch of them at
 * once, the others in the turns that follow (GROUPS_END_BATCH).
 */
void groups_remove(struct groups *gs, uint16_t id);

/*
 * Packets to these of header->vips are ours from now on, to some of them at
 * the ports in `own` alone. Connections of those in `gone`, and with own_gone
 * those at other ports, are aborted, as by groups_remove(), and their backends
 * told.
 */
void groups_vips_set(struct groups *gs, uint64_t vips, uint64_t gone,
		     const struct stack_own *own, bool own_gone);

/* groups_turn()'s: abort the next batch of what ends. */
void groups_end_some(struct groups *gs);

/* groups_set.c's: close a group's streams; the stack's group stays. */
void group_free(struct group *g, const char *why);

/*
 * Take over a stream that dialled in and whose HELLO and ATTACH were read
 * (and whose HELLO was answered): answers ATTACHED. Takes fd; extra bytes
 * that were read are copied.
 * Returns 0; on failure fd is closed and a negative errno returned.
 */
struct groups_attach {
	int fd;
	uint16_t group;
	uint64_t instance;
	uint32_t pid;
	uint32_t max_payload, stream_credit_bytes;
	bool resumes; /* see bstream.resuming */
	const void *extra;
	size_t extra_bytes;
};
int groups_attach(struct groups *gs, const struct groups_attach *attach);

/*
 * End of a turn, before stack_flush(): take the stack's events, serve
 * waiting connections, write each stream's frames once.
 */
void groups_turn(struct groups *gs);

/* Is something left for another turn? */
bool groups_pending(const struct groups *gs);

/* Time-outs, redials, PINGs; due at tick_at_us. */
void groups_tick(struct groups *gs);

/* The operator's word to the backends of this name. Returns how many there were. */
uint32_t groups_set_duty(struct groups *gs, const char *name,
			 enum backend_duty duty);

/* Take no new connections for the group any more, until it is removed. */
void groups_drain_group(struct groups *gs, uint16_t id);

/* The operator closes a connection. Returns 0 or -ENOENT. */
int groups_close_conn(struct groups *gs, uint64_t conn_id);

static inline void groups_count(struct groups *gs, enum worker_counter which)
{
	counter_add(&gs->counters[which], 1);
}

static inline struct blk *groups_blk(const struct groups *gs,
				     const struct rec *rec)
{
	return rec->block == NIL ? NULL : &gs->st->sh->blks[rec->block];
}

static inline uint64_t groups_conn_id(const struct groups *gs, uint32_t ri)
{
	return frame_conn_id(gs->worker, gs->st->sh->recs[ri].generation, ri);
}

/* The live stream that knows of the connection, or NULL. */
static inline struct bstream *group_told(const struct group *g,
					 const struct rec *rec)
{
	return rec->flags & REC_TOLD ? g->slots[rec->slot].stream : NULL;
}

/*
 * Give an attached stream a slot and let it serve. Returns 0, or -ENOSPC
 * when the group has 255 live streams.
 */
int group_stream_up(struct group *g, struct bstream *s);

/* Have the group's waiting connections tried again in this turn. */
void group_has_room(struct group *g);

#endif
