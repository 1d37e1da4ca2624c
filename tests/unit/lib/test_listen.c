/* SPDX-License-Identifier: BSD-2-Clause */
/* Daemons that dial: xtcp_listen_group(). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "unit/lib/fake.h"
#include "unit/unit.h"

static struct fake k;

static void setup(void)
{
	fake_init(&k);
}

static void teardown(void)
{
	fake_fini(&k);
}

static char listen_address[128];

static void setup_listen(void)
{
	setup();
	snprintf(listen_address, sizeof(listen_address), "unix:%s/b.sock",
		 k.dir);
	k.gd = xtcp_ctx_listen_group(k.ctx, PF_INET, listen_address);
	ck_assert_int_gt(k.gd, 0);
}

static void dial_stream(struct fake_stream *s, uint16_t worker)
{
	const struct frame_hello hello = {
		.magic = be32_put(FRAME_MAGIC),
		.version = be16_put(FRAME_VERSION),
		.flags = be16_put(FRAME_HELLO_RESUME),
		.workers = be16_put(2),
		.worker = be16_put(worker),
		.max_payload = be32_put(FRAME_PAYLOAD_MAX),
		.stream_credit = be32_put(1u << 20),
		.conn_window = be32_put(FAKE_WINDOW),
	};
	const struct frame_attach attach = { .port = be16_put(5222) };
	struct frame f = { .type = FRAME_HELLO };
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	memset(s, 0, sizeof(*s));
	frame_reader_init(&s->in, FRAME_SIDE_XTCPD, FRAME_PAYLOAD_MAX);
	strcpy(un.sun_path, listen_address + strlen("unix:"));
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(s->fd, (struct sockaddr *)&un, sizeof(un)), 0);
	fake_send(s, f, &hello, sizeof(hello));
	f = fake_expect(&k, s, FRAME_HELLO, NULL);
	f = (struct frame){ .type = FRAME_ATTACH, .group = 9 };
	fake_send(s, f, &attach, sizeof(attach));
	f = fake_expect(&k, s, FRAME_ATTACHED, NULL);
	ck_assert_uint_eq(f.group, 9);
}

START_TEST(test_listen_serves_the_streams_of_a_daemon)
{
	char buf[64];
	int cd;

	for (uint16_t i = 0; i < 3; i++)
		dial_stream(&k.s[i], i);
	for (uint64_t i = 0; i < 3; i++)
		fake_first(&k.s[i], i + 1, 0, 0, "abc");
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 3);
		ck_assert_int_eq(fake_send_bytes(&k, cd, 3, 1), 1);
	}
	for (uint64_t i = 0; i < 3; i++)
		ck_assert_uint_eq(
			fake_expect(&k, &k.s[i], FRAME_REPLY, NULL).conn,
			i + 1);
}
END_TEST

START_TEST(test_listen_takes_a_lost_stream_up_again)
{
	char buf[64];
	struct frame f;
	int cd;

	dial_stream(&k.s[0], 0);
	dial_stream(&k.s[1], 1);
	fake_first(&k.s[1], 7, 0, 0, "abc");
	ck_assert_int_eq(fake_recv_text(&k, &cd, buf), 3);
	ck_assert_int_eq(xtcp_ctx_send(k.ctx, k.gd, cd, 3, "one", 3), 3);
	fake_drop(&k.s[1]);
	fake_drop(&k.s[0]);
	fake_pump(&k);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 3), -EAGAIN);
	dial_stream(&k.s[1], 1);
	f = fake_expect(&k, &k.s[1], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.length, 3);
	f = fake_expect(&k, &k.s[1], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.offset, 3);
	fake_resumed(&k, &k.s[1]);
	ck_assert_int_eq(fake_send_bytes(&k, cd, 0, 3), 3);
	f = fake_expect(&k, &k.s[1], FRAME_REPLY, NULL);
	ck_assert_uint_eq(f.aux, 3);
}
END_TEST

START_TEST(test_listen_survives_callers_that_are_no_daemon)
{
	static const char noise[100] = "bb";
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	strcpy(un.sun_path, listen_address + strlen("unix:"));
	for (int i = 0; i < 20; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		ck_assert_int_eq(
			connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
		if (i % 2)
			ck_assert_int_gt(send(fd, noise, sizeof(noise),
					      MSG_NOSIGNAL),
					 0);
		fake_pump(&k);
		close(fd);
		fake_pump(&k);
	}
	dial_stream(&k.s[0], 0);
}
END_TEST

START_TEST(test_listen_address_is_checked_and_not_shared)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char text[128];
	int fd;

	ck_assert_int_eq(xtcp_ctx_listen_group(k.ctx, PF_INET, "nonsense"),
			 -EINVAL);
	ck_assert_int_eq(xtcp_ctx_listen_group(k.ctx, PF_UNIX, listen_address),
			 -EAFNOSUPPORT);
	ck_assert_int_eq(xtcp_ctx_listen_group(k.ctx, PF_INET, listen_address),
			 -EADDRINUSE);
	/* A socket file that was left behind is replaced. */
	snprintf(text, sizeof(text), "unix:%s/stale.sock", k.dir);
	strcpy(un.sun_path, text + strlen("unix:"));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	fd = xtcp_ctx_listen_group(k.ctx, PF_INET, text);
	ck_assert_int_gt(fd, 0);
	ck_assert_int_eq(xtcp_ctx_close_group(k.ctx, fd), 0);
	ck_assert_int_eq(access(un.sun_path, F_OK), -1);
}
END_TEST

UNIT_MAIN("lib/listen",
	  UNIT_CASE("listen", setup_listen, teardown,
		    test_listen_serves_the_streams_of_a_daemon,
		    test_listen_takes_a_lost_stream_up_again,
		    test_listen_survives_callers_that_are_no_daemon,
		    test_listen_address_is_checked_and_not_shared))
