/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker - a thread with its own TUN queue, connections, timers and streams.
 *
 * Theory of operation
 *
 * Everything is driven by one libevent loop, and whatever the loop reports
 * becomes one turn:
 *
 *	TUN queue readable    read up to 64 packets, parse all (which prefetches),
 *	                      hand those of other workers over, input our own;
 *	                      these three for each large one (of 8) apart
 *	handover ring         up to 64 packets from each other worker
 *	stream readable ...   bstream.c
 *	timer                 stack_tick(), groups_tick()
 *	mail                  a question of the main thread
 *	      |
 *	      v
 *	worker_turn_end(): groups_turn(), then stack_flush(): replies, window
 *	updates and acknowledgements leave together
 *
 * A source gives up after its batch and the loop comes back to it, so that
 * neither a flood of packets nor a busy stream starves the other.
 *
 * Before the loop blocks, handover_sleep() says so and looks at the rings once
 * more; the turn's begin says that we are awake, which saves the others their
 * wake-ups while we work.
 *
 * Invariants
 *  I1  shard, stack and groups are touched by this thread alone while it runs.
 *  I2  a packet is the batch's (or the ring slot's) until stack_input() has
 *      returned; nothing keeps a pointer into it.
 */
#include "daemon/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/clock.h"
#include "daemon/gso_split.h"
#include "daemon/loss.h"
#include "daemon/sandbox.h"

/* What takes a good part of the fastest cache, and how many a turn takes. */
#define WORKER_LARGE_BYTES (16u * 1024u)
#define WORKER_LARGE_MAX 8u

static void worker_count(struct worker *w, enum worker_counter which,
			 uint64_t n)
{
	counter_add(&w->gs.counters[which], n);
}

static uint64_t worker_clock(void *ctx)
{
	struct worker *w = ctx;

	if (w->setup.handover)
		handover_awake(w->setup.handover, w->setup.index);
	return clock_now_us();
}

static void worker_turn_begin(struct worker *w)
{
	w->gs.now_us = worker_clock(w);
}

/*
 * Set the timer when something is due before it. It is ours, not libevent's,
 * which would set it before each wait: a system call per turn.
 */
static void worker_arm_timer(struct worker *w)
{
	uint64_t at = min_u64(stack_next_us(w->st), w->gs.tick_at_us);
	struct itimerspec its = { .it_interval.tv_sec = 0 };

	if (groups_pending(&w->gs))
		at = w->gs.now_us;
	at = max_u64(at, 1); /* 0 would disarm it */
	if (w->timer_at_us && w->timer_at_us <= at)
		return;
	its.it_value.tv_sec = (time_t)(at / USEC_PER_SEC);
	its.it_value.tv_nsec = (long)(at % USEC_PER_SEC * NSEC_PER_USEC);
	if (timerfd_settime(w->timer_fd, TFD_TIMER_ABSTIME, &its, NULL) == 0)
		w->timer_at_us = at;
}

static void worker_turn_end(void *ctx)
{
	struct worker *w = ctx;

	groups_turn(&w->gs);
	tun_io_cork(w->io);
	stack_flush(w->st, w->gs.now_us);
	tun_io_flush(w->io);
	worker_arm_timer(w);
}

static void worker_emit(void *ctx, const struct iovec *iov, int iovcnt)
{
	struct worker *w = ctx;

	if (unlikely(w->tap.on))
		tap_packet(&w->tap, CAPTURE_OUT, iov, iovcnt);
	tun_io_write(w->io, iov, iovcnt);
}

/* The device is gone or down: no use in spinning on it. */
static void worker_tun_failed(struct worker *w, int err)
{
	static _Thread_local struct log_ratelimit limit =
		LOG_RATELIMIT(10 * USEC_PER_SEC, 3);

	worker_count(w, WC_tun_read_errors, 1);
	if (log_ratelimit_ok(&limit, w->gs.now_us))
		log_warn("worker %u: reading from the TUN: %s", w->setup.index,
			 strerror(err));
	event_del(w->ev_tun);
	w->tun_paused = true;
}

static void worker_hand_over_packet(struct worker *w, uint32_t to,
				    const uint8_t *packet, uint32_t len)
{
	if (len <= worker_packet_max(w->setup.limits.mtu) &&
	    handover_put(w->setup.handover, w->setup.index, to, packet, len))
		worker_count(w, WC_handover_out, 1);
	else
		worker_count(w, WC_handover_full, 1);
}

/*
 * The rings' slots are for packets of the MTU, and say nothing of offload: the
 * owner takes what it gets for one segment.
 */
static void worker_hand_over(struct worker *w, const struct seg *seg)
{
	uint8_t buf[WORKER_PACKET_MAX];
	struct gso_split split;
	uint32_t len;

	if (!gso_split_needed(seg)) {
		worker_hand_over_packet(w, seg->worker, seg->packet,
					seg->packet_len);
		return;
	}
	gso_split_init(&split, seg);
	while ((len = gso_split_next(&split, buf, sizeof(buf))))
		worker_hand_over_packet(w, seg->worker, buf, len);
}

/*
 * Read up to max packets, but none after a large one, which is the better dealt
 * with while the cache has it. Returns how many there were, parsed or not;
 * ret_more: a large one ended it.
 */
static uint32_t worker_read(struct worker *w, uint32_t max, uint32_t *ret_segs,
			    bool *ret_more)
{
	uint32_t n = 0, segs = 0;
	struct tun_packet packet;
	bool keep = false, large = false;
	int rc = 0;

	tun_io_rewind(w->io);
	while (n < max && !large &&
	       (rc = tun_io_read(w->io, keep, &packet)) > 0) {
		n++;
		large = packet.len > WORKER_LARGE_BYTES;
		if (unlikely(w->tap.on))
			tap_packet(&w->tap, CAPTURE_IN,
				   &(struct iovec){ packet.bytes, packet.len },
				   1);
		/* A packet that is dropped leaves its place to the next. */
		keep = stack_parse_offload(w->st, packet.bytes, packet.len,
					   &packet.offload, &w->segs[segs]);
		segs += keep;
	}
	if (rc < 0)
		worker_tun_failed(w, -rc);
	*ret_segs = segs;
	*ret_more = large;
	return n;
}

/* Returns the workers that were given something, a bit each. */
static uint64_t worker_input(struct worker *w, uint32_t segs)
{
	uint64_t to_wake = 0;

	for (uint32_t i = 0; i < segs; i++)
		stack_expect(w->st, &w->segs[i]);
	for (uint32_t i = 0; i < segs; i++) {
		const struct seg *seg = &w->segs[i];

		if (seg->worker == w->setup.index) {
			stack_input(w->st, seg, w->gs.now_us);
		} else {
			worker_hand_over(w, seg);
			to_wake |= UINT64_C(1) << seg->worker;
		}
	}
	return to_wake;
}

static void worker_on_tun(evutil_socket_t fd, short what, void *arg)
{
	uint32_t n = 0, large = 0, segs;
	struct worker *w = arg;
	uint64_t to_wake = 0;
	bool more;

	(void)fd;
	(void)what;
	worker_turn_begin(w);
	do {
		n += worker_read(w, WORKER_BATCH - n, &segs, &more);
		large += more;
		to_wake |= worker_input(w, segs);
	} while (more && n < WORKER_BATCH && large < WORKER_LARGE_MAX);
	worker_count(w, WC_tun_packets_in, n);
	for (uint32_t i = 0; to_wake; i++, to_wake >>= 1)
		if (to_wake & 1 && handover_wake(w->setup.handover, i))
			worker_count(w, WC_handover_wakeups, 1);
	worker_turn_end(w);
}

/* Up to a batch from one other worker. Returns whether there were any. */
static bool worker_take_over(struct worker *w, uint32_t from)
{
	/* By the worker that handed it over. */
	static const struct seg_offload looked_at = { .checked = true };
	struct handover *ho = w->setup.handover;
	struct handover_packet *packet;
	struct seg seg;
	int n;

	for (n = 0; n < WORKER_BATCH; n++) {
		packet = handover_peek(ho, from, w->setup.index);
		if (!packet)
			break;
		worker_count(w, WC_handover_in, 1);
		if (stack_parse_offload(w->st, packet->bytes, packet->len,
					&looked_at, &seg) &&
		    seg.worker == w->setup.index)
			stack_input(w->st, &seg, w->gs.now_us);
		handover_release(ho, from, w->setup.index);
	}
	return n > 0;
}

static void worker_take_over_all(struct worker *w)
{
	bool any = false;

	if (!w->setup.handover)
		return;
	worker_turn_begin(w);
	for (uint32_t from = 0; from < w->setup.n_workers; from++)
		if (from != w->setup.index)
			any |= worker_take_over(w, from);
	if (any)
		worker_turn_end(w);
}

/* We were woken; the loop looks at the rings anyway. */
static void worker_on_handover(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd;
	(void)what;
	handover_clear(w->setup.handover, w->setup.index);
}

/* The turn's end sets it anew, so nobody has to read it. */
static void worker_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd;
	(void)what;
	worker_turn_begin(w);
	w->timer_at_us = 0;
	stack_tick(w->st, w->gs.now_us);
	if (w->gs.now_us >= w->gs.tick_at_us) {
		groups_tick(&w->gs);
		tap_tick(&w->tap);
		if (w->tun_paused && event_add(w->ev_tun, NULL) == 0)
			w->tun_paused = false;
	}
	worker_turn_end(w);
}

static void worker_on_mail(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd;
	(void)what;
	worker_turn_begin(w);
	mailbox_run(&w->box, w);
	worker_turn_end(w);
}

/* Take over what a process before this one left. */
static void worker_recover(struct worker *w)
{
	uint32_t n = stack_recover(w->st, w->gs.now_us);
	uint64_t lost = counter_get(&w->st->counters[SC_lost_in_recovery]);

	loss_recovered(&w->gs);
	if (n || lost)
		log_info("worker %u: %u connections taken over, %llu lost",
			 w->setup.index, n, (unsigned long long)lost);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	char name[16];

	snprintf(name, sizeof(name), "worker-%u", w->setup.index);
	pthread_setname_np(pthread_self(), name);
	if (w->setup.sandbox)
		sandbox_enter_thread();
	worker_turn_begin(w);
	/* Groups and pools first: connections that are there belong to some. */
	mailbox_run(&w->box, w);
	worker_recover(w);
	sem_post(&w->serving);
	worker_turn_end(w);
	while (!w->stopping) {
		bool may_sleep =
			!w->setup.handover ||
			handover_sleep(w->setup.handover, w->setup.index);

		event_base_loop(w->base,
				EVLOOP_ONCE |
					(may_sleep ? 0 : EVLOOP_NONBLOCK));
		worker_take_over_all(w);
	}
	return NULL;
}

static int worker_init_events(struct worker *w)
{
	struct event_config *config = event_config_new();

	if (!config)
		return -ENOMEM;
	/* One thread per base: no locks in it. */
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	w->base = event_base_new_with_config(config);
	event_config_free(config);
	if (!w->base)
		return -ENOMEM;
	w->ev_tun = event_new(w->base, w->setup.tun_fd, EV_READ | EV_PERSIST,
			      worker_on_tun, w);
	w->ev_mail = event_new(w->base, w->box.fd, EV_READ | EV_PERSIST,
			       worker_on_mail, w);
	w->ev_timer = event_new(w->base, w->timer_fd, EV_READ | EV_PERSIST,
				worker_on_timer, w);
	if (!w->ev_tun || !w->ev_mail || !w->ev_timer ||
	    event_add(w->ev_tun, NULL) < 0 || event_add(w->ev_mail, NULL) < 0 ||
	    event_add(w->ev_timer, NULL) < 0)
		return -ENOMEM;
	if (!w->setup.handover)
		return 0;
	w->ev_handover =
		event_new(w->base,
			  handover_fd(w->setup.handover, w->setup.index),
			  EV_READ | EV_PERSIST, worker_on_handover, w);
	return w->ev_handover && event_add(w->ev_handover, NULL) == 0 ? 0
								      : -ENOMEM;
}

static int worker_init_io(struct worker *w)
{
	const struct tun_io_setup setup = {
		.fd = w->setup.tun_fd,
		.vnet = w->setup.tun_vnet,
		.offload = w->setup.tun_offload,
		.packet_max = worker_packet_max(w->setup.limits.mtu),
		.batch = WORKER_BATCH,
		.counters = w->gs.counters,
	};

	return tun_io_new(&w->io, &setup);
}

static int worker_init(struct worker *w)
{
	const struct stack_ops ops = { .emit = worker_emit, .ctx = w };
	const struct groups_ops gops = {
		.clock = worker_clock,
		.turn_end = worker_turn_end,
		.ctx = w,
	};
	int err = 0;

	err = worker_init_io(w);
	if (err < 0)
		return err;
	err = tap_init(&w->tap, w->setup.pcap_path, w->setup.index);
	if (err < 0) {
		log_error("%s: %s", w->setup.pcap_path, strerror(-err));
		return err;
	}
	err = shard_init(&w->shard, w->setup.arena, w->setup.index,
			 clock_now_us());
	if (err < 0)
		return err;
	/* What is reassembled here may be another worker's. */
	w->setup.limits.packet_max = worker_packet_max(w->setup.limits.mtu);
	w->setup.limits.partial_checksums = w->setup.tun_offload;
	w->st = stack_new(&w->shard, w->setup.n_workers, &ops, &w->setup.limits,
			  clock_now_us());
	if (!w->st)
		return -ENOMEM;
	w->timer_fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (w->timer_fd < 0)
		return -errno;
	err = worker_init_events(w);
	if (err < 0)
		return err;
	groups_init(&w->gs, w->st, w->base, &gops, w->setup.n_workers,
		    w->setup.instance);
	return 0;
}

int worker_new(struct worker **ret_w, const struct worker_setup *setup)
{
	struct worker *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->setup = *setup;
	w->timer_fd = -1;
	sem_init(&w->serving, 0, 0);
	err = mailbox_init(&w->box, WORKER_MAIL_MAX);
	if (err < 0) {
		free(w);
		return err;
	}
	err = worker_init(w);
	if (err < 0) {
		worker_free(w);
		return err;
	}
	*ret_w = w;
	return 0;
}

void worker_free(struct worker *w)
{
	struct event **events[] = { &w->ev_tun, &w->ev_handover, &w->ev_mail,
				    &w->ev_timer };

	groups_fini(&w->gs);
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		if (*events[i])
			event_free(*events[i]);
	if (w->base)
		event_base_free(w->base);
	if (w->timer_fd >= 0)
		close(w->timer_fd);
	stack_free(w->st);
	shard_fini(&w->shard);
	tap_fini(&w->tap);
	tun_io_free(w->io);
	mailbox_fini(&w->box);
	free(w);
}

int worker_start(struct worker *w)
{
	sigset_t all, old;
	int err;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&w->thread, NULL, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	w->running = err == 0;
	return -err;
}

void worker_wait(struct worker *w)
{
	while (sem_wait(&w->serving) < 0 && errno == EINTR)
		;
}

static void worker_on_stop(struct mail *mail, void *receiver)
{
	struct worker *w = receiver;

	(void)mail;
	w->stopping = true;
}

void worker_stop(struct worker *w)
{
	if (w->running) {
		w->stop_mail.run = worker_on_stop;
		/* The box may be full for a moment, the worker empties it. */
		while (mailbox_post(&w->box, &w->stop_mail) == -EAGAIN)
			usleep(1000);
		pthread_join(w->thread, NULL);
		w->running = false;
	}
	mailbox_close(&w->box);
	mailbox_run(&w->box, w);
}

int worker_post(struct worker *w, struct mail *mail)
{
	return mailbox_post(&w->box, mail);
}
