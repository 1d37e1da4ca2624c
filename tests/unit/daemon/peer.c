/* SPDX-License-Identifier: BSD-2-Clause */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit.h"
#include "base/log.h"
#include "base/units.h"
#include "daemon/loss.h"

struct groups gs;
struct group_setup peer_setup;
static struct event_base *peer_base;

static uint64_t peer_clock(void *ctx)
{
	(void)ctx;
	return rig.now_us;
}

static void peer_turn_end(void *ctx)
{
	(void)ctx;
	groups_turn(&gs);
	stack_flush(rig.st, rig.now_us);
}

static void peer_no_log(void *ctx, enum log_level level, const char *line,
			const struct log_field *fields, size_t n)
{
	(void)ctx;
	(void)level;
	(void)line;
	(void)fields;
	(void)n;
}

void peer_group(void)
{
	peer_setup.stack = rig.group;
	ck_assert_int_eq(groups_set(&gs, &peer_setup, NULL), 0);
}

static void peer_start(void)
{
	const struct groups_ops ops = { .clock = peer_clock,
					.turn_end = peer_turn_end };

	groups_init(&gs, rig.st, peer_base, &ops, 1, 4711);
	peer_group();
}

void peer_up(void)
{
	log_set_sink(peer_no_log, NULL);
	rig_up();
	peer_base = event_base_new();
	ck_assert_ptr_nonnull(peer_base);
	peer_setup = (struct group_setup){ .name = "test",
					   .balance = CONF_BALANCE_STICKY };
	peer_start();
}

static void peer_begin_anew(void)
{
	rig_kill();
	peer_start();
	loss_recovered(&gs);
	peer_pump();
}

void peer_kill(void)
{
	uint8_t *arena = malloc(rig.arena.bytes);

	ck_assert_ptr_nonnull(arena);
	memcpy(arena, rig.arena.base, rig.arena.bytes);
	groups_fini(&gs);
	/* A killed process does not take leave. */
	memcpy(rig.arena.base, arena, rig.arena.bytes);
	free(arena);
	peer_begin_anew();
}

void peer_restart(void)
{
	groups_fini(&gs);
	peer_begin_anew();
}

void peer_down(void)
{
	groups_fini(&gs);
	event_base_free(peer_base);
	rig_down();
	log_set_sink(NULL, NULL);
}

void peer_pump(void)
{
	gs.now_us = rig.now_us;
	peer_turn_end(NULL);
	/* Each pass handles what was ready; an answer may make more ready. */
	for (int i = 0; i < 8; i++)
		event_base_loop(peer_base, EVLOOP_NONBLOCK);
}

void peer_pass_us(uint64_t us)
{
	uint64_t end = rig.now_us + us;

	while (rig.now_us < end) {
		rig_pass_us(min_u64(100 * USEC_PER_MSEC, end - rig.now_us));
		gs.now_us = rig.now_us;
		if (gs.now_us >= gs.tick_at_us)
			groups_tick(&gs);
		peer_pump();
	}
}

static void peer_dial(struct peer *p, uint64_t instance, uint32_t credit,
		      bool resumes)
{
	struct groups_attach attach = {
		.resumes = resumes,
		.group = PEER_GROUP,
		.instance = instance,
		.pid = (uint32_t)instance,
		.max_payload = FRAME_PAYLOAD_MAX,
		.stream_credit_bytes = credit,
	};
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX,
				    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				    0, fds),
			 0);
	*p = (struct peer){ .fd = fds[1] };
	frame_reader_init(&p->in, FRAME_SIDE_BACKEND, FRAME_PAYLOAD_MAX);
	attach.fd = fds[0];
	ck_assert_int_eq(groups_attach(&gs, &attach), 0);
	peer_pump();
	peer_expect(p, FRAME_ATTACHED);
	ck_assert_uint_eq(p->f.group, PEER_GROUP);
}

void peer_attach_credit(struct peer *p, uint64_t instance, uint32_t credit)
{
	peer_dial(p, instance, credit, false);
}

void peer_return(struct peer *p, uint64_t instance)
{
	peer_dial(p, instance, PEER_CREDIT, true);
}

void peer_resumed(struct peer *p)
{
	const struct frame ping = { .type = FRAME_PING,
				    .flags = FRAME_F_RESUMED,
				    .offset = 4711 };

	peer_send(p, ping, NULL, 0);
	peer_expect(p, FRAME_PONG);
	ck_assert_uint_eq(p->f.offset, 4711);
}

void peer_attach(struct peer *p, uint64_t instance)
{
	peer_attach_credit(p, instance, PEER_CREDIT);
}

void peer_die(struct peer *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	frame_reader_fini(&p->in);
	peer_pump();
}

bool peer_next(struct peer *p)
{
	int rc = frame_reader_next(&p->in, &p->f, &p->payload);

	while (rc == 0 && !p->gone) {
		size_t room;
		void *space = frame_reader_space(&p->in, &room);
		ssize_t n = read(p->fd, space, room);

		if (n < 0 && errno == EAGAIN)
			return false;
		if (n <= 0) {
			p->gone = true;
			return false;
		}
		frame_reader_commit(&p->in, (size_t)n);
		rc = frame_reader_next(&p->in, &p->f, &p->payload);
	}
	ck_assert_int_ge(rc, 0);
	return rc == 1;
}

void peer_expect(struct peer *p, enum frame_type type)
{
	ck_assert_msg(peer_next(p), "no frame, %s expected",
		      frame_type_name((uint8_t)type));
	ck_assert_str_eq(frame_type_name(p->f.type),
			 frame_type_name((uint8_t)type));
}

void peer_expect_nothing(struct peer *p)
{
	ck_assert_msg(!peer_next(p), "%s frame, none expected",
		      frame_type_name(p->f.type));
	ck_assert(!p->gone);
}

void peer_expect_data(struct peer *p, const char *text, uint8_t flags)
{
	uint32_t skip = flags & FRAME_F_FIRST ? sizeof(struct frame_addr) : 0;

	peer_expect(p, FRAME_DATA);
	ck_assert_uint_eq(p->f.flags, flags);
	ck_assert_uint_eq(p->f.length - skip, strlen(text));
	ck_assert_int_eq(memcmp(p->payload + skip, text, strlen(text)), 0);
}

void peer_expect_error(struct peer *p, int err, bool fatal)
{
	peer_expect(p, FRAME_ERROR);
	ck_assert_int_eq(p->f.aux, -err);
	ck_assert_uint_eq(p->f.flags, fatal ? FRAME_F_FATAL : 0);
	if (fatal) {
		ck_assert(!peer_next(p));
		ck_assert(p->gone);
	}
}

void peer_send(struct peer *p, struct frame f, const void *payload,
	       uint32_t len)
{
	uint8_t wire[FRAME_HEADER_BYTES];
	struct iovec iov[2] = { { wire, sizeof(wire) },
				{ (void *)(uintptr_t)payload, len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	f.length = len;
	frame_encode(&f, wire);
	ck_assert_int_eq(sendmsg(p->fd, &msg, MSG_NOSIGNAL),
			 (ssize_t)(sizeof(wire) + len));
	peer_pump();
}

void peer_reply(struct peer *p, uint32_t ackd, const char *text)
{
	struct frame f = {
		.type = FRAME_REPLY,
		.group = PEER_GROUP,
		.conn = p->f.conn,
		.offset = p->f.offset,
		.ackd = ackd,
	};

	peer_send(p, f, text, (uint32_t)strlen(text));
}

void peer_request(struct rig_client *cl, const char *text)
{
	rig_send(cl, text);
	peer_pump();
}

void peer_fin(struct rig_client *cl)
{
	rig_input(cl, &(struct rig_seg){ .flags = TH_FIN | TH_ACK,
					 .seq = cl->snd_nxt,
					 .ack = cl->rcv_nxt });
	cl->snd_nxt++;
	peer_pump();
}

uint64_t peer_counter(enum worker_counter which)
{
	return counter_get(&gs.counters[which]);
}
