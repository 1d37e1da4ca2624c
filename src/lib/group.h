/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_LIB_GROUP_H
#define XTCP_LIB_GROUP_H

/*
 * A group: its descriptor, its connections and their queues, and the
 * transport that brings them: streams of xtcpd (link.h) or local sockets
 * (local.h). All calls are made with the context's lock held.
 */

#include <stdbool.h>
#include <stdint.h>

#include "lib/conn.h"
#include "proto/frame.h"

struct group;
struct link;

/*
 * What a transport does for a group. None of these blocks, and none fails for
 * reasons of the peer: a lost peer shows as events later.
 */
struct transport {
	/*
	 * Send up to len bytes and acknowledge ackd, which conn_rx_ack() has
	 * seen already. Returns bytes taken, 0..len.
	 */
	size_t (*send)(struct group *g, struct conn *c, uint32_t ackd,
		       const void *buf, size_t len);
	/*
	 * How many bytes send() would take now. With 0 the connection waits
	 * for room, as after a send that fell short.
	 */
	size_t (*room)(struct group *g, struct conn *c);
	/* The identity that outlives this process; 0 and 0: it has none. */
	void (*identify)(const struct group *g, const struct conn *c,
			 uint64_t *ret_epoch, uint64_t *ret_id);
	/* Tell the client's side that the connection is accepted. */
	void (*admit)(struct group *g, struct conn *c);
	/* FIN after what was sent. */
	void (*shutdown)(struct group *g, struct conn *c);
	/*
	 * Let go: FRAME_CLOSE, FRAME_ABORT or FRAME_REJECT. The connection
	 * stands in no queue of the group; the transport frees it, perhaps
	 * later.
	 */
	void (*close)(struct group *g, struct conn *c, enum frame_type how);
	/* Epoll events of what was watched with group_watch(). */
	void (*event)(struct group *g, uint32_t tag, uint32_t events);
	/* Write what is gathered. */
	void (*flush)(struct group *g);
	/* Close all of the transport's own; connections are freed by group. */
	void (*fini)(struct group *g);
};

/* Tags of watched descriptors; below GROUP_TAG_WAKE they are the transport's. */
enum group_tag {
	GROUP_TAG_WAKE = UINT32_MAX,
	GROUP_TAG_TIMER = UINT32_MAX - 1,
	GROUP_TAG_LISTEN = UINT32_MAX - 2,
};

/* How a group came to be. */
enum group_mode {
	GROUP_DIAL, /* we dial the attach socket; link index = worker */
	GROUP_LISTEN, /* xtcpd dials us */
	GROUP_LOCAL, /* PF_UNIX */
};

/* An address of the daemon's, which clients have connected to. */
struct group_local {
	uint8_t addr[16]; /* network order */
	uint16_t port; /* host order */
	uint8_t family; /* 4 or 6 */
};

/* Addresses that a group remembers; the daemon's VIPs and ports are few. */
#define GROUP_LOCALS_MAX 256u

struct group {
	int gd; /* an epoll descriptor over all that follows */
	int wake_fd; /* eventfd: readable while queues below aren't empty */
	bool waking; /* wake_fd is readable */
	bool nudge; /* a connection got room: wake once */
	bool corked;
	bool opening; /* a failing stream is an error, not to be redialled */
	bool retired; /* xtcpd is to give it no new connections */
	bool probing; /* it is only asked whether there is such a group */
	enum group_mode mode;
	const struct transport *ops;
	struct conn_table conns;
	struct conn_queue ready, accept, writable;

	/* of the transports */
	int timer_fd; /* GROUP_DIAL, GROUP_LISTEN; -1 otherwise */
	int listen_fd; /* GROUP_LISTEN, GROUP_LOCAL; -1 otherwise */
	int spare_fd; /* given up for a moment to refuse clients on EMFILE */
	char listen_path[108]; /* to be unlinked; "" if none */
	struct link **links; /* by index; NULL: none */
	uint32_t n_links;
	uint32_t workers; /* of the daemon; 0 before the first HELLO */
	uint16_t port; /* host order; 0: any */
	uint8_t family; /* 4 or 0, as in struct frame_attach */
	uint64_t pool_bytes; /* 0: the configured pool */
	uint64_t instance; /* random identity of the context */
	uint32_t seed; /* of the jitter */
	struct group_local
		*locals; /* struct conn.local_number - 1 is the index */
	uint32_t n_locals;
};

/* A group without transport. Returns 0 or what epoll_create1(2) etc. say. */
int group_new(enum group_mode mode, const struct transport *ops,
	      struct group **ret_g);

/* Closes transport and descriptors, frees all; accepts NULL. */
void group_free(struct group *g);

/* Watch fd for events with tag, which comes back in transport.event(). */
int group_watch(struct group *g, int fd, uint32_t events, uint32_t tag);

/* Change what a watched fd is watched for. Can't fail for a watched one. */
void group_rewatch(struct group *g, int fd, uint32_t events, uint32_t tag);

/* Stop watching fd, which may be watched again. */
void group_unwatch(struct group *g, int fd);

/*
 * Take in what has arrived, waiting for it at most timeout_ms (0: don't),
 * and write what is gathered. Returns whether there was any event.
 */
bool group_pump(struct group *g, int timeout_ms);

/* Makes gd readable exactly if the queues have something: before unlocking. */
void group_signal(struct group *g);

/* Makes gd quiet about the queues: before waiting, having looked at them. */
void group_hush(struct group *g);

/* The connection cd as the application may name it; NULL: -EBADF. */
struct conn *group_conn(const struct group *g, int cd);

/* The application knows c from now on (it leaves the accept queue). */
void group_conn_known(struct group *g, struct conn *c);

/* c is in ready from now on exactly if its flags have something to tell. */
void group_conn_ready(struct group *g, struct conn *c);

/* c has room for a send that fell short. */
void group_conn_writable(struct group *g, struct conn *c);

/*
 * The connection is gone at the other side. The application is told, if it
 * knows it; else c is freed, and must not be used any more.
 */
void group_conn_lost(struct group *g, struct conn *c);

/* Takes c out of every queue. */
void group_conn_unqueue(struct group *g, struct conn *c);

/*
 * The number, for struct conn.local_number, of an address that clients connect to; 0
 * when memory is short or there are GROUP_LOCALS_MAX others.
 */
uint16_t group_local_number(struct group *g, const struct group_local *local);

/* The address with that number; NULL for 0. */
const struct group_local *group_local(const struct group *g, uint16_t number);

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t group_now_ms(void);

#endif
