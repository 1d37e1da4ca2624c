/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The attach socket, with one worker behind it whose TUN is a datagram socket.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../unit.h"
#include "base/log.h"
#include "daemon/attach.h"
#include "daemon/registry_plan.h"
#include "proto/stream.h"

#define PORT 5222

static struct arena arena;
static struct worker *workers[1];
static struct registry registry;
static struct event_base *base;
static struct attach *attach;
static struct conf_socket where = { .mode = 0600, .gid = (gid_t)-1 };
static int tun[2];
static struct conf_pool pool = { .name = "pool",
				 .receive_buffer_bytes = 1 << 20,
				 .throttle_high = 90,
				 .throttle_low = 75 };
static struct conf_group group = { .name = "test", .port = PORT };
static struct conf conf = {
	.pools = &pool, .n_pools = 1, .groups = &group, .n_groups = 1
};

static void no_log(void *ctx, enum log_level level, const char *line,
		   const struct log_field *fields, size_t n)
{
	(void)ctx;
	(void)level;
	(void)line;
	(void)fields;
	(void)n;
}

static void up(void)
{
	const struct arena_sizes sizes = {
		.workers = 1,
		.max_connections = 64,
		.rx_bytes = 4 << 20,
		.tx_bytes = 1 << 20,
	};
	struct worker_setup setup = { .n_workers = 1, .arena = &arena };

	log_set_sink(no_log, NULL);
	ck_assert_int_eq(arena_create(&arena, NULL, &sizes), 0);
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, tun), 0);
	setup.tun_fd = tun[0];
	stack_limits_init(&setup.limits, 1500);
	ck_assert_int_eq(worker_new(&workers[0], &setup), 0);
	ck_assert_int_eq(registry_init(&registry, workers, 1, arena.header), 0);
	ck_assert_int_eq(registry_apply(&registry, &conf), 0);
	ck_assert_int_eq(worker_start(workers[0]), 0);
	base = event_base_new();
	snprintf(where.path, sizeof(where.path),
		 "/tmp/xtcp-test-attach-%d.sock", getpid());
	ck_assert_int_eq(
		attach_open(&attach, base, &where, &registry, 4711, 4712), 0);
}

static void down(void)
{
	attach_close(attach);
	worker_stop(workers[0]);
	worker_free(workers[0]);
	registry_fini(&registry);
	event_base_free(base);
	close(tun[0]);
	close(tun[1]);
	arena_close(&arena);
	log_set_sink(NULL, NULL);
}

/* --- a client */

struct client {
	int fd;
	struct frame_reader in;
	struct frame f;
	const uint8_t *payload;
};

static void client_open(struct client *c)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	strcpy(sun.sun_path, where.path);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	frame_reader_init(&c->in, FRAME_SIDE_BACKEND, FRAME_PAYLOAD_MAX);
	ck_assert_int_eq(connect(c->fd, (struct sockaddr *)&sun, sizeof(sun)),
			 0);
}

static void client_close(struct client *c)
{
	close(c->fd);
	frame_reader_fini(&c->in);
}

static void client_send(struct client *c, enum frame_type type,
			const void *payload, uint32_t len)
{
	struct frame f = { .type = (uint8_t)type, .length = len };
	uint8_t wire[FRAME_HEADER_BYTES + 512];

	frame_encode(&f, wire);
	memcpy(wire + FRAME_HEADER_BYTES, payload, len);
	ck_assert_int_eq(write(c->fd, wire, FRAME_HEADER_BYTES + len),
			 (ssize_t)(FRAME_HEADER_BYTES + len));
}

static void client_hello(struct client *c, uint64_t instance, uint16_t worker)
{
	struct frame_hello hello = {
		.magic = be32_put(FRAME_MAGIC),
		.version = be16_put(FRAME_VERSION),
		.worker = be16_put(worker),
		.max_payload = be32_put(FRAME_PAYLOAD_MAX),
		.stream_credit = be32_put(1 << 20),
		.instance = be64_put(instance),
	};

	client_send(c, FRAME_HELLO, &hello, sizeof(hello));
}

static void client_attach(struct client *c, uint16_t port, uint64_t own_bytes)
{
	struct frame_attach wire = {
		.port = be16_put(port),
		.flags = own_bytes ? FRAME_ATTACH_OWN_POOL : 0,
		.pool_bytes = be64_put(own_bytes),
	};

	client_send(c, FRAME_ATTACH, &wire, sizeof(wire));
}

/* The next frame; false when the other side has closed. */
static bool client_next(struct client *c)
{
	for (int i = 0; i < 10000; i++) {
		struct pollfd pfd = { c->fd, POLLIN, 0 };
		size_t room;
		void *space;
		ssize_t n;
		int rc = frame_reader_next(&c->in, &c->f, &c->payload);

		ck_assert_int_ge(rc, 0);
		if (rc == 1)
			return true;
		event_base_loop(base, EVLOOP_NONBLOCK);
		if (poll(&pfd, 1, 1) == 0)
			continue;
		space = frame_reader_space(&c->in, &room);
		n = read(c->fd, space, room);
		if (n <= 0)
			return false;
		frame_reader_commit(&c->in, (size_t)n);
	}
	ck_abort_msg("no answer");
	return false;
}

static void client_expect(struct client *c, enum frame_type type)
{
	ck_assert(client_next(c));
	ck_assert_str_eq(frame_type_name(c->f.type),
			 frame_type_name((uint8_t)type));
}

static void client_expect_refusal(struct client *c, int err)
{
	client_expect(c, FRAME_ERROR);
	ck_assert_uint_eq(c->f.flags, FRAME_F_FATAL);
	ck_assert_int_eq(c->f.aux, err);
	ck_assert(!client_next(c));
}

static void client_attached(struct client *c, uint64_t instance, uint16_t port,
			    uint64_t own_bytes)
{
	client_open(c);
	client_hello(c, instance, FRAME_WORKER_ANY);
	client_expect(c, FRAME_HELLO);
	client_attach(c, port, own_bytes);
	client_expect(c, FRAME_ATTACHED);
}

START_TEST(test_attach_to_a_configured_group)
{
	struct frame_hello hello;
	struct client c;

	client_open(&c);
	client_hello(&c, 1, 0);
	client_expect(&c, FRAME_HELLO);
	memcpy(&hello, c.payload, sizeof(hello));
	ck_assert_uint_eq(be16_get(hello.workers), 1);
	ck_assert_uint_eq(be16_get(hello.worker), 0);
	ck_assert_uint_eq(be64_get(hello.instance), 4711);
	client_attach(&c, PORT, 0);
	client_expect(&c, FRAME_ATTACHED);
	ck_assert_uint_eq(c.f.group, 1);
	client_close(&c);
}
END_TEST

/* All in one go, and a frame behind: it reaches the worker. */
START_TEST(test_bytes_after_attach_are_handed_over)
{
	struct frame ping = { .type = FRAME_PING, .offset = 99 };
	uint8_t wire[FRAME_HEADER_BYTES];
	struct client c;

	client_open(&c);
	client_hello(&c, 1, FRAME_WORKER_ANY);
	client_attach(&c, PORT, 0);
	frame_encode(&ping, wire);
	ck_assert_int_eq(write(c.fd, wire, sizeof(wire)), sizeof(wire));
	client_expect(&c, FRAME_HELLO);
	client_expect(&c, FRAME_ATTACHED);
	client_expect(&c, FRAME_PONG);
	ck_assert_uint_eq(c.f.offset, 99);
	client_close(&c);
}
END_TEST

START_TEST(test_refusals)
{
	struct client c;

	client_open(&c);
	client_hello(&c, 1, 7); /* no such worker */
	client_expect_refusal(&c, EINVAL);
	client_close(&c);

	client_open(&c);
	client_attach(&c, PORT, 0); /* before HELLO */
	client_expect_refusal(&c, EPROTO);
	client_close(&c);

	client_open(&c);
	client_hello(&c, 1, 0);
	client_expect(&c, FRAME_HELLO);
	client_attach(&c, PORT + 1, 0); /* no such group */
	client_expect_refusal(&c, ENOENT);
	client_close(&c);

	client_open(&c);
	client_send(&c, FRAME_DATA, "x", 1); /* not for xtcpd */
	client_expect_refusal(&c, EPROTO);
	client_close(&c);
}
END_TEST

START_TEST(test_own_pool_makes_a_group)
{
	struct client c, again, other;

	client_attached(&c, 1, PORT + 1, 1 << 20);
	ck_assert_uint_ne(c.f.group, 1);
	client_attached(&again, 1, PORT + 1, 1 << 20);
	ck_assert_uint_eq(again.f.group, c.f.group);
	ck_assert_uint_eq(registry.own_bytes, 1 << 20);

	client_open(&other);
	client_hello(&other, 2, 0);
	client_expect(&other, FRAME_HELLO);
	client_attach(&other, PORT + 1, 1 << 20);
	client_expect_refusal(&other, EADDRINUSE);
	client_close(&other);

	client_close(&c);
	client_close(&again);
}
END_TEST

START_TEST(test_own_pool_within_limits)
{
	static const struct {
		uint16_t port;
		uint64_t bytes;
		int err;
	} tries[] = {
		{ PORT, 1 << 20, EADDRINUSE },
		{ PORT + 1, 1, EINVAL },
		{ 0, 1 << 20, EINVAL },
		{ PORT + 1, UINT64_C(1) << 40, EDQUOT },
		{ PORT + 1, UINT64_MAX, EDQUOT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
		struct client c;

		client_open(&c);
		client_hello(&c, 1, 0);
		client_expect(&c, FRAME_HELLO);
		client_attach(&c, tries[i].port, tries[i].bytes);
		client_expect_refusal(&c, tries[i].err);
		client_close(&c);
	}
	ck_assert_uint_eq(registry.own_bytes, 0);
}
END_TEST

START_TEST(test_own_group_goes_a_minute_after_its_last_stream)
{
	struct registry_group *rg;
	struct client c;

	client_attached(&c, 1, PORT + 1, 1 << 20);
	rg = registry_find(&registry, PORT + 1);
	ck_assert_uint_eq(atomic_load(&rg->streams), 1);
	registry_tick(&registry, 1000000);
	client_close(&c);
	for (int i = 0; i < 10000 && atomic_load(&rg->streams) > 0; i++)
		poll(NULL, 0, 1);
	ck_assert_uint_eq(atomic_load(&rg->streams), 0);
	registry_tick(&registry, 2000000);
	registry_tick(&registry, 61000000);
	ck_assert_ptr_eq(registry_find(&registry, PORT + 1), rg);
	registry_tick(&registry, 62000000);
	ck_assert_ptr_null(registry_find(&registry, PORT + 1));
	ck_assert_uint_eq(registry.own_bytes, 0);
	/* The port is free again, for another process as well. */
	client_attached(&c, 2, PORT + 1, 1 << 20);
	client_close(&c);
}
END_TEST

START_TEST(test_second_listener_is_refused)
{
	struct attach *second;

	ck_assert_int_eq(attach_open(&second, base, &where, &registry, 1, 1),
			 -EADDRINUSE);
}
END_TEST

UNIT_MAIN("daemon/attach",
	  UNIT_CASE("all", up, down, test_attach_to_a_configured_group,
		    test_bytes_after_attach_are_handed_over, test_refusals,
		    test_own_pool_makes_a_group, test_own_pool_within_limits,
		    test_own_group_goes_a_minute_after_its_last_stream,
		    test_second_listener_is_refused))
