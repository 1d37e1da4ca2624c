/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit/lib/fake.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../unit.h"

#define FAKE_PATIENCE_MS 5000

void fake_init(struct fake *k)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	memset(k, 0, sizeof(*k));
	strcpy(k->dir, "/tmp/xtcp-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(k->dir));
	snprintf(k->attach, sizeof(k->attach), "%s/attach.sock", k->dir);
	strcpy(un.sun_path, k->attach);
	k->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(k->listen_fd, (struct sockaddr *)&un, sizeof(un)),
			 0);
	ck_assert_int_eq(listen(k->listen_fd, 8), 0);
	setenv("XTCP_ATTACH", k->attach, 1);
	setenv("XTCP_LOCAL_DIR", k->dir, 1);
	k->workers = 1;
	k->hello_flags = FRAME_HELLO_RESUME;
	k->stream_credit = 1u << 20;
	k->gd = -1;
	for (int i = 0; i < FAKE_WORKERS_MAX; i++)
		k->s[i].fd = -1;
	ck_assert_int_eq(xtcp_ctx_new(0, &k->ctx), 0);
}

void fake_fini(struct fake *k)
{
	xtcp_ctx_free(k->ctx);
	for (int i = 0; i < FAKE_WORKERS_MAX; i++)
		fake_drop(&k->s[i]);
	close(k->listen_fd);
	unlink(k->attach);
	ck_assert_int_eq(rmdir(k->dir), 0);
}

static void *fake_opener(void *arg)
{
	struct fake *k = arg;

	k->open_rc =
		xtcp_ctx_open_group(k->ctx, k->domain, SOCK_STREAM, 0, 5222);
	return NULL;
}

void fake_open_begin(struct fake *k, int domain)
{
	k->domain = domain;
	ck_assert_int_eq(pthread_create(&k->opener, NULL, fake_opener, k), 0);
}

int fake_open_end(struct fake *k)
{
	ck_assert_int_eq(pthread_join(k->opener, NULL), 0);
	if (k->open_rc > 0)
		k->gd = k->open_rc;
	return k->open_rc;
}

int fake_open(struct fake *k)
{
	fake_open_begin(k, PF_INET);
	fake_accept(k, &k->s[k->first_worker]);
	fake_handshake(k, &k->s[k->first_worker], k->first_worker);
	for (uint16_t i = 0; i < k->workers; i++) {
		if (i == k->first_worker)
			continue;
		fake_accept(k, &k->s[i]);
		fake_handshake(k, &k->s[i], i);
	}
	ck_assert_int_gt(fake_open_end(k), 0);
	return k->gd;
}

void fake_pump(struct fake *k)
{
	struct timeval now = { 0 };
	xtcp_set set;

	if (k->gd < 0)
		return;
	XTCP_ZERO(&set);
	XTCP_SET(k->gd, &set);
	ck_assert_int_ge(xtcp_ctx_select(k->ctx, k->gd + 1, &set, NULL, &now),
			 0);
}

/* Waits until fd is readable or the library's gd is, which gets its turn. */
static void fake_wait(struct fake *k, int fd)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN },
			       { .fd = k->gd, .events = POLLIN } };

	fake_pump(k);
	do {
		ck_assert_int_gt(poll(p, 2, FAKE_PATIENCE_MS), 0);
		fake_pump(k);
		if (p[1].revents && !p[0].revents)
			usleep(100); /* what it has is the test's to take */
	} while (!p[0].revents);
}

void fake_accept(struct fake *k, struct fake_stream *s)
{
	fake_wait(k, k->listen_fd);
	memset(s, 0, sizeof(*s));
	s->fd = accept4(k->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(s->fd, 0);
	frame_reader_init(&s->in, FRAME_SIDE_XTCPD, FRAME_PAYLOAD_MAX);
}

void fake_drop(struct fake_stream *s)
{
	if (s->fd < 0)
		return;
	close(s->fd);
	frame_reader_fini(&s->in);
	s->fd = -1;
}

void fake_send(struct fake_stream *s, struct frame f, const void *payload,
	       size_t n)
{
	uint8_t wire[FRAME_HEADER_BYTES];

	f.length = (uint32_t)n;
	frame_encode(&f, wire);
	ck_assert_int_eq(send(s->fd, wire, sizeof(wire), MSG_NOSIGNAL),
			 sizeof(wire));
	if (n > 0)
		ck_assert_int_eq(send(s->fd, payload, n, MSG_NOSIGNAL),
				 (ssize_t)n);
}

/* The next frame if there is one; reads once, without waiting, if not. */
static bool fake_next(struct fake_stream *s, struct frame *ret_f,
		      const uint8_t **ret_payload)
{
	size_t room;
	ssize_t n;
	void *to;

	if (frame_reader_next(&s->in, ret_f, ret_payload) == 1)
		return true;
	to = frame_reader_space(&s->in, &room);
	n = recv(s->fd, to, room, MSG_DONTWAIT);
	if (n > 0)
		frame_reader_commit(&s->in, (size_t)n);
	return frame_reader_next(&s->in, ret_f, ret_payload) == 1;
}

struct frame fake_expect(struct fake *k, struct fake_stream *s, uint8_t type,
			 const uint8_t **ret_payload)
{
	const uint8_t *payload;
	struct frame f;

	while (!fake_next(s, &f, &payload)) {
		char byte;

		fake_wait(k, s->fd);
		ck_assert_msg(recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) !=
				      0,
			      "closed, expected %s", frame_type_name(type));
	}
	ck_assert_str_eq(frame_type_name(f.type), frame_type_name(type));
	if (ret_payload)
		*ret_payload = payload;
	return f;
}

bool fake_has_frame(struct fake *k, struct fake_stream *s)
{
	struct frame_reader before;
	const uint8_t *payload;
	struct frame f;
	bool has;

	fake_pump(k);
	has = fake_next(s, &f, &payload);
	before = s->in;
	if (has) {
		before.start -= FRAME_HEADER_BYTES + f.length;
		s->in = before;
	}
	return has;
}

void fake_expect_close(struct fake *k, struct fake_stream *s)
{
	char buf[4096];

	do {
		fake_wait(k, s->fd);
	} while (recv(s->fd, buf, sizeof(buf), 0) > 0);
	fake_drop(s);
}

void fake_handshake(struct fake *k, struct fake_stream *s, uint16_t worker)
{
	const struct frame_hello hello = {
		.magic = be32_put(FRAME_MAGIC),
		.version = be16_put(FRAME_VERSION),
		.flags = be16_put(k->hello_flags),
		.workers = be16_put(k->workers),
		.worker = be16_put(worker),
		.max_payload = be32_put(FRAME_PAYLOAD_MAX),
		.stream_credit = be32_put(k->stream_credit),
		.conn_window = be32_put(FAKE_WINDOW),
		.instance = be64_put(0x1234),
		.epoch = be64_put(k->epoch),
	};
	struct frame attached = { .type = FRAME_ATTACHED, .group = 9 };
	const uint8_t *payload;
	struct frame_hello theirs;

	fake_expect(k, s, FRAME_HELLO, &payload);
	memcpy(&theirs, payload, sizeof(theirs));
	ck_assert_uint_eq(be32_get(theirs.magic), FRAME_MAGIC);
	s->wanted = be16_get(theirs.worker);
	s->instance = be64_get(theirs.instance);
	s->hello_flags = be16_get(theirs.flags);
	fake_send(s, (struct frame){ .type = FRAME_HELLO }, &hello,
		  sizeof(hello));
	fake_expect(k, s, FRAME_ATTACH, &payload);
	memcpy(&s->attach, payload, sizeof(s->attach));
	s->attach.flags = k->attached_flags;
	fake_send(s, attached, &s->attach, sizeof(s->attach));
	memcpy(&s->attach, payload, sizeof(s->attach));
}

void fake_resumed(struct fake *k, struct fake_stream *s)
{
	struct frame f = fake_expect(k, s, FRAME_PING, NULL);

	ck_assert_uint_eq(f.flags, FRAME_F_RESUMED);
	fake_send(s, (struct frame){ .type = FRAME_PONG, .offset = f.offset },
		  NULL, 0);
	fake_pump(k);
}

void fake_reaccept(struct fake *k)
{
	fake_accept(k, &k->s[0]);
	fake_handshake(k, &k->s[0], 0);
}

struct frame_addr fake_addr(uint64_t conn, uint8_t family, uint64_t send_offset)
{
	struct frame_addr addr = {
		.family = family,
		.remote_port = be16_put((uint16_t)(1000 + (conn & 0xfff))),
		.local_port = be16_put(5222),
		.remote = { 192, 0, 2, 1 },
		.send_offset = be64_put(send_offset),
	};

	return addr;
}

void fake_first(struct fake_stream *s, uint64_t conn, uint64_t offset,
		uint8_t flags, const char *text)
{
	const struct frame_addr addr = fake_addr(conn, 4, 0);
	const struct frame f = {
		.type = FRAME_DATA,
		.flags = (uint8_t)(flags | FRAME_F_FIRST),
		.group = 9,
		.conn = conn,
		.offset = offset,
	};
	uint8_t buf[sizeof(addr) + 4096];
	size_t n = strlen(text);

	memcpy(buf, &addr, sizeof(addr));
	memcpy(buf + sizeof(addr), text, n);
	fake_send(s, f, buf, sizeof(addr) + n);
}

void fake_data(struct fake_stream *s, uint64_t conn, uint64_t offset,
	       const char *text)
{
	const struct frame f = {
		.type = FRAME_DATA,
		.group = 9,
		.conn = conn,
		.offset = offset,
	};

	fake_send(s, f, text, strlen(text));
}

int fake_recv_text(struct fake *k, int *ret_cd, char buf[64])
{
	int n = xtcp_ctx_recv(k->ctx, k->gd, ret_cd, buf, 63);

	buf[n > 0 ? n : 0] = '\0';
	return n;
}

int fake_connect_text(struct fake *k, uint64_t conn, const char *text)
{
	char buf[64];
	int cd;

	fake_first(&k->s[0], conn, 0, 0, text);
	ck_assert_int_eq(fake_recv_text(k, &cd, buf), (int)strlen(text));
	return cd;
}

int fake_send_bytes(struct fake *k, int cd, size_t ackd, size_t len)
{
	static const char bytes[FAKE_BYTES];

	return xtcp_ctx_send(k->ctx, k->gd, cd, ackd, bytes, len);
}

void fake_credit(struct fake_stream *s, uint64_t conn, uint64_t offset,
		 uint32_t bytes)
{
	const struct frame f = {
		.type = FRAME_CREDIT,
		.conn = conn,
		.offset = offset,
		.aux = bytes,
	};

	fake_send(s, f, NULL, 0);
}
