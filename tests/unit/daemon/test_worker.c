/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two workers on threads, with a datagram socket in the place of each TUN
 * queue: what comes in on the wrong queue is handed over and answered.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../stack/rig.h"
#include "../unit.h"
#include "daemon/clock.h"
#include "daemon/inquiry.h"
#include "daemon/snapshot_take.h"
#include "daemon/worker.h"

#define WORKERS 2u
#define CLIENTS 64u
#define LARGE 20000u
#define BULKS 10u
#define TURNS 1000u

/* In the place of libc's, for the worker and for libevent: it counts. */
static _Atomic uint32_t timer_sets;

int timerfd_settime(int fd, int flags, const struct itimerspec *at,
		    struct itimerspec *ret_was)
{
	atomic_fetch_add(&timer_sets, 1);
	return (int)syscall(SYS_timerfd_settime, fd, flags, at, ret_was);
}

static struct arena arena;
static struct handover *handover;
static struct worker *workers[WORKERS];
static int tun[WORKERS][2];
static struct mailbox box;
static struct event_base *base;
static struct inquirer inquirer;
static bool offload; /* what up() makes next */

static void up(void)
{
	const struct arena_sizes sizes = {
		.workers = WORKERS,
		.max_connections = 4096,
		.rx_bytes = 1 << 20,
		.tx_bytes = 1 << 20,
	};
	const struct group_setup group = {
		.stack = { .id = 1,
			   .port = RIG_PORT,
			   .vip_mask = UINT64_MAX,
			   .ack = offload ? STACK_ACK_IMMEDIATE
					  : STACK_ACK_DEFERRED },
		.name = "test",
	};
	static const uint8_t vip[4] = { 192, 0, 2, 10 };

	ck_assert_int_eq(arena_create(&arena, NULL, &sizes), 0);
	arena.header->vips[0].family = 4;
	memcpy(arena.header->vips[0].bytes, vip, 4);
	ck_assert_int_eq(
		handover_new(&handover, WORKERS, worker_packet_max(1500)), 0);
	for (uint32_t i = 0; i < WORKERS; i++) {
		struct worker_setup setup = {
			.index = i,
			.n_workers = WORKERS,
			.arena = &arena,
			.handover = handover,
			.tun_vnet = offload,
			.tun_offload = offload,
		};

		stack_limits_init(&setup.limits, 1500);
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK,
					    0, tun[i]),
				 0);
		setup.tun_fd = tun[i][0];
		ck_assert_int_eq(worker_new(&workers[i], &setup), 0);
		stack_pool_set(workers[i]->st, 0, 1 << 19, 90, 75);
		ck_assert_int_eq(groups_set(&workers[i]->gs, &group, NULL), 0);
		ck_assert_int_eq(worker_start(workers[i]), 0);
	}
	ck_assert_int_eq(mailbox_init(&box, UINT32_MAX), 0);
	base = event_base_new();
	inquirer = (struct inquirer){ .base = base,
				      .box = &box,
				      .workers = workers,
				      .n_workers = WORKERS };
}

static void up_offload(void)
{
	offload = true;
	up();
}

static void down(void)
{
	offload = false;
	for (uint32_t i = 0; i < WORKERS; i++)
		worker_stop(workers[i]);
	mailbox_run(&box, NULL);
	mailbox_fini(&box);
	event_base_free(base);
	for (uint32_t i = 0; i < WORKERS; i++) {
		worker_free(workers[i]);
		close(tun[i][0]);
		close(tun[i][1]);
	}
	handover_free(handover);
	arena_close(&arena);
}

static void put(const uint8_t *packet, uint32_t len)
{
	while (write(tun[0][1], packet, len) < 0)
		sched_yield();
}

/* A packet of many, and whether it goes in two fragments. */
static void put_syn(uint16_t port, bool fragments)
{
	struct rig_client cl;
	uint8_t buf[256], piece[256];
	uint32_t len;

	rig_client(&cl, port);
	len = rig_build(&cl,
			&(struct rig_seg){ .flags = TH_SYN,
					   .seq = cl.iss,
					   .syn_options = true },
			buf);
	if (!fragments) {
		put(buf, len);
		return;
	}
	memcpy(piece, buf, 20 + 24);
	piece[3] = 20 + 24;
	piece[4] = (uint8_t)(port >> 8);
	piece[5] = (uint8_t)port;
	piece[6] = 0x20;
	rig_fix_ip4(piece);
	put(piece, 20 + 24);
	memcpy(piece + 20, buf + 20 + 24, len - 20 - 24);
	piece[3] = (uint8_t)(len - 24);
	piece[6] = 0;
	piece[7] = 24 / 8;
	rig_fix_ip4(piece);
	put(piece, len - 24);
}

/*
 * SYNs of many clients, whole or in fragments, all into queue 0: each is
 * answered, on some queue.
 */
START_TEST(test_packets_of_others_are_handed_over)
{
	uint32_t answers[WORKERS] = { 0 };
	uint64_t handed;

	for (uint32_t i = 0; i < CLIENTS; i++)
		put_syn((uint16_t)(1000 + i), _i);
	while (answers[0] + answers[1] < CLIENTS) {
		struct pollfd pfds[WORKERS] = { { tun[0][1], POLLIN, 0 },
						{ tun[1][1], POLLIN, 0 } };
		uint8_t buf[2048];

		ck_assert_int_gt(poll(pfds, WORKERS, 10000), 0);
		for (uint32_t i = 0; i < WORKERS; i++) {
			ssize_t n = read(tun[i][1], buf, sizeof(buf));

			if (n <= 0)
				continue;
			ck_assert_uint_eq(buf[20 + 13], TH_SYN | TH_ACK);
			answers[i]++;
		}
	}
	ck_assert_uint_gt(answers[0], 0);
	ck_assert_uint_gt(answers[1], 0);
	handed = counter_get(&workers[0]->gs.counters[WC_handover_out]);
	ck_assert_uint_eq(handed, answers[1]);
	ck_assert_uint_eq(counter_get(&workers[1]->gs.counters[WC_handover_in]),
			  handed);
	ck_assert_uint_eq(
		counter_get(&workers[0]->st->counters[SC_frag_reassembled]),
		_i ? CLIENTS : 0);
}
END_TEST

/*
 * A turn needs no timer: it is set when something is due earlier, which the
 * workers' own ticks are, 30 times a second at most.
 */
START_TEST(test_a_turn_does_not_set_the_timer)
{
	uint64_t began = clock_now_us(), ms;
	uint32_t before = atomic_load(&timer_sets);

	for (uint32_t i = 0; i < TURNS; i++) {
		struct pollfd pfds[WORKERS] = { { tun[0][1], POLLIN, 0 },
						{ tun[1][1], POLLIN, 0 } };
		uint8_t buf[2048];

		put_syn((uint16_t)(1000 + i % 32), false);
		ck_assert_int_gt(poll(pfds, WORKERS, 10000), 0);
		for (uint32_t k = 0; k < WORKERS; k++)
			while (read(tun[k][1], buf, sizeof(buf)) > 0)
				;
	}
	ms = (clock_now_us() - began) / USEC_PER_MSEC;
	ck_assert_uint_le(atomic_load(&timer_sets) - before,
			  TURNS / 10 + WORKERS * ms / 10);
}
END_TEST

/* --- several segments in one packet ------------------------------------- */

/* A segment of the client's into queue 0; unit: 0, or it is a large packet. */
static void put_large(const struct rig_client *cl, uint8_t flags, uint32_t len,
		      uint16_t unit)
{
	static const uint8_t text[LARGE];
	const struct virtio_net_hdr vnet = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = unit ? VIRTIO_NET_HDR_GSO_TCPV4
				 : VIRTIO_NET_HDR_GSO_NONE,
		.gso_size = unit,
	};
	uint8_t buf[sizeof(vnet) + LARGE + 256];

	memcpy(buf, &vnet, sizeof(vnet));
	put(buf,
	    sizeof(vnet) + rig_build(cl,
				     &(struct rig_seg){ .flags = flags,
							.seq = cl->snd_nxt,
							.ack = cl->rcv_nxt,
							.data = text,
							.len = len,
							.syn_options = flags &
								       TH_SYN },
				     buf + sizeof(vnet)));
}

/* Wait for a segment of a connection; it follows what that says. Returns the queue. */
static uint32_t take_answer(struct rig_client *cl, uint32_t *ret_ack)
{
	struct pollfd pfds[WORKERS] = { { tun[0][1], POLLIN, 0 },
					{ tun[1][1], POLLIN, 0 } };
	const uint32_t hdr = sizeof(struct virtio_net_hdr);
	uint8_t buf[2048], *tcp = buf + hdr + 20;
	uint32_t from;

	do { /* others' SYN-ACKs may come again */
		ck_assert_int_gt(poll(pfds, WORKERS, 10000), 0);
		from = pfds[0].revents ? 0 : 1;
		ck_assert_int_ge(read(tun[from][1], buf, sizeof(buf)),
				 hdr + 40);
	} while (be16_load(tcp + 2) != cl->port);
	ck_assert_uint_eq(buf[0], VIRTIO_NET_HDR_F_NEEDS_CSUM);
	if (tcp[13] & TH_SYN)
		cl->rcv_nxt = be32_load(tcp + 4) + 1;
	*ret_ack = be32_load(tcp + 8);
	return from;
}

static uint64_t handed_over(void)
{
	return counter_get(&workers[0]->gs.counters[WC_handover_out]);
}

/* Its segments are, one by one: the size of each is known to the owner. */
START_TEST(test_large_packet_of_another_is_handed_over_in_segments)
{
	/* Larger than the MTU, and not. */
	static const struct {
		uint32_t len, unit, segs;
	} sends[] = { { 3500, 1000, 4 }, { 600, 300, 2 }, { 1001, 1000, 2 } };
	struct rig_client cl;
	uint16_t port = 1000;
	uint64_t before, total = 2; /* SYN, ACK */
	uint32_t ack;

	do {
		rig_client(&cl, port++);
		cl.snd_nxt = cl.iss;
		put_large(&cl, TH_SYN, 0, 0);
	} while (take_answer(&cl, &ack) == 0);
	cl.snd_nxt++;
	put_large(&cl, TH_ACK, 0, 0);
	for (uint32_t i = 0; i < sizeof(sends) / sizeof(sends[0]); i++) {
		while (counter_get(&workers[1]->gs.counters[WC_handover_in]) <
		       total)
			sched_yield();
		total += sends[i].segs;
		before = handed_over();
		put_large(&cl, TH_ACK | TH_PSH, sends[i].len,
			  (uint16_t)sends[i].unit);
		cl.snd_nxt += sends[i].len;
		do
			take_answer(&cl, &ack);
		while (ack != cl.snd_nxt);
		ck_assert_uint_eq(handed_over() - before, sends[i].segs);
	}
}
END_TEST

/* Bytes that both have received; what they answered is thrown away. */
static uint64_t bytes_in(void)
{
	uint64_t sum = 0;
	uint8_t buf[64];

	for (uint32_t i = 0; i < WORKERS; i++) {
		while (read(tun[i][1], buf, sizeof(buf)) > 0)
			;
		sum += counter_get(&workers[i]->st->counters[SC_bytes_in]);
	}
	return sum;
}

/* More of them than a turn takes, of connections of either worker. */
START_TEST(test_large_packets_and_small_ones_in_between_all_count)
{
	static const uint32_t lens[] = { 300, LARGE, 600, LARGE, 900 };
	const uint32_t n = sizeof(lens) / sizeof(lens[0]);
	struct rig_client cl[BULKS];
	uint64_t total = 0;
	uint32_t ack;

	for (uint32_t i = 0; i < BULKS; i++) {
		rig_client(&cl[i], (uint16_t)(1000 + i));
		cl[i].snd_nxt = cl[i].iss;
		put_large(&cl[i], TH_SYN, 0, 0);
		take_answer(&cl[i], &ack);
		cl[i].snd_nxt++;
		put_large(&cl[i], TH_ACK, 0, 0);
	}
	for (uint32_t k = 0; k < n * BULKS; k++) {
		struct rig_client *c = &cl[k % BULKS];
		uint32_t len = lens[k / BULKS];

		put_large(c, TH_ACK | TH_PSH, len, len == LARGE ? 1000 : 0);
		c->snd_nxt += len;
		total += len;
	}
	while (bytes_in() < total)
		sched_yield();
	/* Each hears so when it sends its last segment again. */
	for (uint32_t i = 0; i < BULKS; i++) {
		cl[i].snd_nxt -= lens[n - 1];
		put_large(&cl[i], TH_ACK | TH_PSH, lens[n - 1], 0);
		do
			take_answer(&cl[i], &ack);
		while (ack != cl[i].snd_nxt + lens[n - 1]);
	}
}
END_TEST

static void *ask_snapshot(struct worker *w, const void *args, int *ret_err)
{
	*ret_err = 0;
	return snapshot_take(&w->gs, args);
}

static void drop_snapshot(void *answer)
{
	snapshot_free(answer);
}

static uint32_t answered;

static void on_snapshots(void *arg, void *const *answers, const int *errs,
			 uint32_t n)
{
	(void)arg;
	ck_assert_uint_eq(n, WORKERS);
	for (uint32_t i = 0; i < n; i++) {
		const struct snapshot *snap = answers[i];

		ck_assert_int_eq(errs[i], 0);
		ck_assert_uint_eq(snap->worker, i);
		ck_assert_uint_eq(snap->n_groups, 1);
		ck_assert_uint_eq(snap->n_counters, SC_COUNT + WC_COUNT);
	}
	answered++;
}

START_TEST(test_workers_answer_inquiries)
{
	static const struct inquiry_kind kind = { ask_snapshot, drop_snapshot };
	const struct snapshot_query query = { .conns = true, .limit = 10 };

	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(inquiry_ask(&inquirer, &kind, INQUIRY_ALL,
					     &query, sizeof(query),
					     on_snapshots, NULL),
				 0);
	while (answered < 50) {
		struct pollfd pfd = { box.fd, POLLIN, 0 };

		ck_assert_int_eq(poll(&pfd, 1, 10000), 1);
		mailbox_run(&box, NULL);
	}
}
END_TEST

static void *ask_hang(struct worker *w, const void *args, int *ret_err)
{
	int fd;
	char byte;

	(void)w;
	memcpy(&fd, args, sizeof(fd));
	*ret_err = 0;
	ck_assert_int_eq(read(fd, &byte, 1), 1);
	return NULL;
}

static int silent;

static void on_hang(void *arg, void *const *answers, const int *errs,
		    uint32_t n)
{
	(void)arg;
	(void)answers;
	for (uint32_t i = 0; i < n; i++)
		silent += errs[i] == -ETIMEDOUT;
}

START_TEST(test_cancelled_inquiry_is_done_with_what_there_is)
{
	static const struct inquiry_kind kind = { ask_hang, NULL };
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(inquiry_ask(&inquirer, &kind, INQUIRY_ALL, &fds[0],
				     sizeof(fds[0]), on_hang, NULL),
			 0);
	inquirer_cancel(&inquirer);
	ck_assert_int_eq(silent, (int)WORKERS);
	/* The late answers are thrown away (down() runs the mailbox). */
	ck_assert_int_eq(write(fds[1], "xx", 2), 2);
	for (uint32_t i = 0; i < WORKERS; i++)
		worker_stop(workers[i]);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(test_inquiry_that_reached_nobody_is_done_and_freed)
{
	static const struct inquiry_kind kind = { ask_hang, NULL };
	int none = -1;

	for (uint32_t i = 0; i < WORKERS; i++)
		worker_stop(workers[i]);
	ck_assert_int_eq(inquiry_ask(&inquirer, &kind, INQUIRY_ALL, &none,
				     sizeof(none), on_hang, NULL),
			 0);
	ck_assert_ptr_nonnull(inquirer.pending);
	event_base_dispatch(base);
	ck_assert_int_eq(silent, (int)WORKERS);
	ck_assert_ptr_null(inquirer.pending);
}
END_TEST

UNIT_MAIN("daemon/worker",
	  UNIT_LOOP("handover", 2, up, down,
		    test_packets_of_others_are_handed_over),
	  UNIT_CASE("offload", up_offload, down,
		    test_large_packet_of_another_is_handed_over_in_segments,
		    test_large_packets_and_small_ones_in_between_all_count),
	  UNIT_CASE("all", up, down, test_a_turn_does_not_set_the_timer,
		    test_workers_answer_inquiries,
		    test_cancelled_inquiry_is_done_with_what_there_is,
		    test_inquiry_that_reached_nobody_is_done_and_freed))
