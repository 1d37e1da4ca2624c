/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * snapshot - what the control socket and the metrics see of the workers.
 *
 * Workers share nothing, and nobody may look into a running worker's memory.
 * So the main thread asks: each worker fills one struct snapshot on its own
 * thread, between two batches, and hands it over. The main thread adds them
 * up. A worker that doesn't answer within a second is left out and named, so
 * the control socket always answers.
 */
#ifndef XTCP_DAEMON_SNAPSHOT_H
#define XTCP_DAEMON_SNAPSHOT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena/layout.h"
#include "base/histogram.h"
#include "daemon/conf.h"
#include "daemon/duty.h"
#include "stack/detail.h"

struct capture;

struct snapshot_conn {
	uint64_t id;
	const char *state; /* static text, the RFC's name: "ESTABLISHED" */
	uint16_t group;
	bool active; /* has an active block */
	struct conf_ip remote, local;
	uint16_t remote_port, local_port;
	uint64_t rcv_acked; /* stream position the application acknowledged */
	uint64_t snd_acked; /* stream position the client acknowledged */
	uint32_t rcv_held_bytes; /* received, not acknowledged by the application */
	uint32_t snd_queued_bytes; /* not yet acknowledged by the client */
	uint32_t snd_wnd, rcv_wnd, cwnd, ssthresh, mss; /* bytes */
	uint32_t srtt_us, rttvar_us, rto_us;
	uint32_t retransmits; /* in a row, of the oldest data */
	uint32_t idle_ms;
	bool wscale, timestamps, sack;
	char backend[CONF_NAME_MAX]; /* "" : none yet */
	const struct snapshot_detail *detail; /* NULL: of a list */
};

/* What there is to say of one connection, when it is asked for alone. */
struct snapshot_detail {
	struct stack_conn_detail stack;
	uint64_t request_ago_us; /* what is timed came; 0: none is */
	bool told; /* its backend knows of it */
	bool inflight; /* requests are with the backend */
	const char *waits; /* static text: what for; NULL: it does not */
	uint32_t credit_bytes; /* how much more the backend may send */
};

struct snapshot_group {
	uint16_t id;
	uint64_t connections, half_open;
	uint64_t accepted, refused, messages_in, messages_out, bytes_in,
		bytes_out;
	uint64_t waiting; /* connections whose data waits for a backend */
	/* from request to reply, microseconds; NULL unless asked for */
	const struct histogram *latency;
};

struct snapshot_pool {
	uint64_t used_bytes, limit_bytes;
	bool throttled;
};

struct snapshot_backend {
	uint16_t group;
	char name[CONF_NAME_MAX]; /* configured name, or "pid N" of an attached one */
	char address[128];
	enum conf_protocol protocol;
	/*
	 * "up", "connecting", "draining", "vacating"; of protocol stream also
	 * "down" (the last attempt failed), "idle" (none was made), "removed"
	 */
	const char *state;
	/* Of protocol stream: connections open, and at most (0: no limit). */
	uint32_t streams_up, streams_wanted;
	/* Connections with unacknowledged, or unanswered, requests. */
	uint64_t inflight;
	uint64_t messages_in, messages_out, bytes_in,
		bytes_out; /* to / from the backend */
	uint64_t redelivered;
	uint64_t reconnects;
	uint64_t opened,
		failures; /* attempts to connect that went well, or not */
	uint64_t requests, request_us; /* timed, and how long in all */
};

struct snapshot_memory {
	uint64_t records, active_blocks, receive_pool_bytes,
		transmit_buffer_bytes;
};

/* One worker's answer; arrays are heap, freed by snapshot_free(). */
struct snapshot {
	uint32_t worker;
	uint64_t cpu_us; /* of its thread since that began; 0: not known */
	uint64_t established, active, half_open, time_wait;
	struct snapshot_memory memory;
	uint64_t *counters; /* values in the order of counter_names() */
	uint32_t n_counters;
	struct snapshot_group *groups;
	uint32_t n_groups;
	struct histogram *latency; /* only when asked for: the groups' */
	struct snapshot_pool *pools; /* by pool index */
	uint32_t n_pools;
	struct snapshot_backend *backends;
	uint32_t n_backends;
	struct snapshot_conn *conns; /* only when asked for */
	uint32_t n_conns;
	struct snapshot_detail *detail; /* of the one that was asked for */
};

void snapshot_free(struct snapshot *snap);

/* What to put in besides the totals. */
struct snapshot_query {
	bool conns; /* list connections */
	uint64_t conn_id; /* 0: all that match */
	uint16_t group; /* 0: every group */
	char state[16]; /* "": every state */
	uint32_t limit; /* at most so many per worker */
	bool latency; /* of the groups */
};

/* name and help of counter i; NULL when i is past the last. */
const char *counter_name(uint32_t i);
const char *counter_help(uint32_t i);
/* index of a counter by name, or -1 */
int counter_find(const char *name);

/*
 * Questions under way: clients may go and leave theirs behind. One more is
 * -EBUSY.
 */
#define VIEW_PENDING_MAX 128u

/*
 * The workers as the main thread's modules (control, metrics) see them. The
 * daemon's main module implements it; tests give their own.
 */
struct workers_view {
	void *self;
	/*
	 * Ask every worker; cb runs once, later, in the main thread, with
	 * n_workers entries, NULL for a worker that did not answer. cb
	 * borrows them until it returns.
	 */
	int (*snapshot)(void *self, const struct snapshot_query *query,
			void (*cb)(void *arg, struct snapshot *const *snaps,
				   uint32_t n_workers),
			void *arg);
	/* Close a connection with a FIN; cb gets 0, or -ENOENT. */
	int (*close_conn)(void *self, uint64_t conn_id,
			  void (*cb)(void *arg, int err), void *arg);
	/* Say what a backend, by name, is to do; -ENOENT. cb as above. */
	int (*set_duty)(void *self, const char *name, enum backend_duty duty,
			void (*cb)(void *arg, int err), void *arg);
	/* Stop taking new connections for a group; -ENOENT. */
	int (*drain_group)(void *self, const char *name,
			   void (*cb)(void *arg, int err), void *arg);
	/*
	 * Read the configuration again and apply what can change at run time.
	 * report gets what changed and what needs a restart, or what is wrong.
	 * Returns 0; -EINVAL when the file is bad, another negative errno when
	 * it can't be done: nothing changed then.
	 */
	int (*reload)(void *self, conf_report report, void *arg);
	/*
	 * cb gets 0 once every worker has done what it was told before (by a
	 * reload, say); -ETIMEDOUT when one is silent.
	 */
	int (*settle)(void *self, void (*cb)(void *arg, int err), void *arg);
	/* The configuration in force (names of groups and pools), borrowed. */
	const struct conf *(*conf)(void *self);
	/* Milliseconds since start; bytes of the arena that are resident. */
	uint64_t (*uptime_ms)(void *self);
	uint64_t (*arena_resident_bytes)(void *self);
	/* What the process gave up, in words (sandbox.h); "off". */
	const char *(*sandbox)(void *self);
	/* Sizes of the arena in use, borrowed. */
	const struct arena_header *(*arena)(void *self);
	/* Packets for us that the device had no room for. */
	uint64_t (*device_dropped)(void *self);
	/* Who chooses the queue of a packet: "ebpf", "kernel", "none" (one queue). */
	const char *(*steering)(void *self);
	/*
	 * Have every worker bring its packets to the capture, until that is
	 * stopped. Returns how many could not be told: they are too far behind.
	 * May be NULL: then there are no captures.
	 */
	uint32_t (*capture)(void *self, struct capture *c);
};

#endif
