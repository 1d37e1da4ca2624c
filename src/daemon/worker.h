/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker - a thread with its own TUN queue, connections, timers and streams.
 *
 * Until worker_start(), and again after worker_stop(), the calling thread may
 * use the worker's parts; in between only worker_post() reaches it.
 */
#ifndef XTCP_DAEMON_WORKER_H
#define XTCP_DAEMON_WORKER_H

#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena/arena.h"
#include "arena/shard.h"
#include "base/bytes.h"
#include "daemon/groups.h"
#include "daemon/handover.h"
#include "daemon/mailbox.h"
#include "daemon/tap.h"
#include "daemon/tun_io.h"
#include "stack/stack.h"

#define WORKER_BATCH 64 /* packets per turn and source */
/* The largest worker_packet_max(). */
#define WORKER_PACKET_MAX 65536u
/* Messages that may wait for a worker. */
#define WORKER_MAIL_MAX 1024u

struct worker_setup {
	uint32_t index, n_workers;
	const struct arena *arena; /* borrowed */
	int tun_fd; /* borrowed; one packet per read and write */
	bool tun_vnet; /* each with a virtio_net_hdr (tun_io.h) */
	bool tun_offload; /* the device takes part of the work */
	struct stack_limits limits;
	/* Borrowed, for worker_packet_max() bytes; NULL with one worker. */
	struct handover *handover;
	uint64_t instance;
	const char *pcap_path; /* capture file (pcap.h), or NULL */
	bool sandbox; /* the main thread is in the sandbox when it starts us */
};

struct worker {
	struct worker_setup setup;
	pthread_t thread;
	bool running; /* the thread is there */
	sem_t serving; /* posted once: it took over what was there */
	bool stopping; /* the worker's own: leave the loop */
	struct event_base *base;
	struct event *ev_tun, *ev_handover, *ev_mail, *ev_timer;
	struct tap tap;
	bool tun_paused; /* after an error, until the next tick */
	int timer_fd; /* ev_timer's */
	uint64_t timer_at_us; /* what it is set to; 0: not set */
	struct mailbox box;
	struct mail stop_mail;
	struct shard shard;
	struct stack *st;
	struct groups gs;
	struct tun_io *io;
	struct seg segs[WORKER_BATCH];
};

/*
 * The largest packet that a worker reads, puts together from fragments, or
 * hands over; the device's MTU may be changed under us. RFC 8200 section 5:
 * no less than 1500.
 */
static inline uint32_t worker_packet_max(uint16_t mtu)
{
	return (uint32_t)round_up(max_u32(mtu, 1500), 64);
}

/*
 * Returns 0 and a worker that is not running (worker_free() ends it), or a
 * negative errno.
 */
int worker_new(struct worker **ret_w, const struct worker_setup *setup);
void worker_free(struct worker *w);

/* Start the thread. Returns 0 or a negative errno. */
int worker_start(struct worker *w);

/*
 * Wait until it serves: until it has taken the mail that was posted before
 * worker_start(), and what a process before this one left in its shard.
 */
void worker_wait(struct worker *w);

/*
 * Stop the thread and wait for it; mail that it did not take is run here.
 * Further worker_post() fail. Accepts one that was never started.
 */
void worker_stop(struct worker *w);

/* Any thread: run mail->run(mail, w) on the worker. As mailbox_post(). */
int worker_post(struct worker *w, struct mail *mail);

#endif
