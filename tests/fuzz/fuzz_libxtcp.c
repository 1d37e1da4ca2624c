/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libxtcp - a daemon that says anything, to an application that does anything.
 *
 * Theory of operation
 *
 *	script --calls--> libxtcp --read, epoll, timers--> os.c
 *	       --bytes------------------------------------'
 *
 * The input is a script:
 *
 *	4 bytes			dial, listen or local clients; workers
 *	operation, operands	the low five bits of the first byte say which,
 *				the high three of which stream
 *
 * When the library dials, a sane daemon may do the handshake (it does, unless
 * the script says otherwise), so that executions get to the connections. The
 * frames that follow have fields near what makes sense: a few ids, offsets
 * that go on where the last one ended, plus or minus a little. Connections
 * carry the bytes of world's client stream, so that what xtcp_recv() gives
 * can be told from what it must not give.
 *
 * The application takes, acknowledges and sends what it likes. No call may
 * block, crash, or say what the header does not allow; when the context is
 * freed nothing may be left open or allocated.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "fuzz/os.h"
#include "proto/frame.h"
#include "xtcp/xtcp.h"

#define LIB_OPS_MAX 128
#define LIB_STREAMS 4u
#define LIB_CONNS 8u
#define LIB_PAYLOAD 4096u
#define LIB_CDS 8

static struct xtcp_ctx *ctx;
static int gd;
static uint8_t workers;
static bool sane; /* the daemon, in the handshake */
/* Of each id: where the next DATA would go on. */
static uint64_t next_offset[LIB_CONNS];
/* Connection descriptors that the application has heard of, the last ones. */
static int cds[LIB_CDS];
static unsigned n_cds;
static uint8_t said[OS_FDS_MAX]; /* handshake frames that each stream had */

static void lib_payload(uint8_t *buf, uint64_t pos, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = (uint8_t)((pos + i) * 31 + ((pos + i) >> 8) * 7);
}

/* --- the daemon -------------------------------------------------------- */

static void lib_say(int fd, struct frame f, const void *payload, size_t n)
{
	uint8_t wire[FRAME_HEADER_BYTES];

	f.length = (uint32_t)n;
	frame_encode(&f, wire);
	os_feed(fd, wire, sizeof(wire));
	os_feed(fd, payload, n);
}

static void lib_say_hello(int fd, uint16_t worker)
{
	const struct frame_hello hello = {
		.magic = be32_put(FRAME_MAGIC),
		.version = be16_put(FRAME_VERSION),
		.flags = be16_put(FRAME_HELLO_RESUME),
		.workers = be16_put(workers),
		.worker = be16_put(worker),
		.max_payload = be32_put(FRAME_PAYLOAD_MAX),
		.stream_credit = be32_put(1u << 20),
		.conn_window = be32_put(65536),
		.instance = be64_put(0x1234),
	};

	lib_say(fd, (struct frame){ .type = FRAME_HELLO }, &hello,
		sizeof(hello));
}

static void lib_say_attach(int fd, uint8_t type)
{
	const struct frame_attach attach = { .port = be16_put(5222) };
	const struct frame f = { .type = type, .group = 9 };

	lib_say(fd, f, &attach, sizeof(attach));
}

/* A sane daemon's part of the handshake, one frame each time. */
static bool lib_handshake(void)
{
	int fd;

	if (!sane)
		return false;
	for (unsigned n = 0; (fd = os_nth_socket(n)) >= 0; n++) {
		uint8_t *step = &said[fd - OS_FD_FIRST];

		if (*step == 0)
			lib_say_hello(fd, (uint16_t)(n % workers));
		else if (*step == 1)
			lib_say_attach(fd, FRAME_ATTACHED);
		else
			continue;
		++*step;
		return true;
	}
	return false;
}

static uint64_t lib_near(struct fuzz_in *in, uint64_t right)
{
	uint8_t how = fuzz_u8(in);

	switch (how >> 4) {
	case 9:
		return right + (how & 0xf);
	case 10:
		return right - (how & 0xf);
	case 11:
		return right + (uint64_t)(int16_t)fuzz_u16(in);
	case 12:
		return UINT64_MAX - (how & 0xf);
	case 13:
		return how & 0xf;
	case 14:
		return (uint64_t)fuzz_u8(in) << (how & 0xf) * 4;
	default:
		return right;
	}
}

static uint8_t lib_type(struct fuzz_in *in)
{
	static const uint8_t types[] = {
		FRAME_DATA,  FRAME_DATA,     FRAME_DATA,   FRAME_DATA,
		FRAME_OPEN,  FRAME_EOF,	     FRAME_RESET,  FRAME_CREDIT,
		FRAME_PING,  FRAME_PONG,     FRAME_DRAIN,  FRAME_ERROR,
		FRAME_HELLO, FRAME_ATTACHED, FRAME_ATTACH, FRAME_CREDIT,
	};
	uint8_t how = fuzz_u8(in);

	return how < 0xf0 ? types[how & 0xf] : fuzz_u8(in);
}

/* A struct frame_addr, with a byte or none poked. */
static size_t lib_addr(struct fuzz_in *in, uint64_t conn, uint8_t *payload)
{
	struct frame_addr addr = {
		.family = conn & 1 ? 6 : 4,
		.remote_port = be16_put((uint16_t)(1000 + (conn & 0xfff))),
		.local_port = be16_put(5222),
		.remote = { 192, 0, 2, 1 },
		.send_offset = be64_put(lib_near(in, 0)),
	};
	uint8_t at = fuzz_u8(in);

	memcpy(payload, &addr, sizeof(addr));
	if (at & 0x80)
		payload[(at & 0x3f) % sizeof(addr)] = fuzz_u8(in);
	return sizeof(addr);
}

static size_t lib_hello(struct fuzz_in *in, uint8_t *payload)
{
	const struct frame_hello hello = {
		.magic = be32_put(FRAME_MAGIC),
		.version = be16_put(FRAME_VERSION),
		.flags = be16_put(fuzz_u8(in) & 1),
		.workers = be16_put(workers),
		.worker = be16_put(fuzz_u8(in)),
		.max_payload = be32_put(FRAME_PAYLOAD_MAX),
		.stream_credit = be32_put(60000),
		.conn_window = be32_put(fuzz_u16(in)),
		.instance = be64_put(fuzz_u8(in) & 1),
	};
	uint8_t at = fuzz_u8(in);

	memcpy(payload, &hello, sizeof(hello));
	if (at & 0x80)
		payload[(at & 0x3f) % sizeof(hello)] = fuzz_u8(in);
	return sizeof(hello);
}

static size_t lib_data_len(struct fuzz_in *in)
{
	static const uint16_t lens[] = { 1, 0, 2, 10, 100, 1000, 4096 };
	uint8_t how = fuzz_u8(in) & 7;

	return how < 7 ? lens[how] : fuzz_u16(in) % (LIB_PAYLOAD + 1u);
}

/* What follows the header, by type. */
static size_t lib_fill(struct fuzz_in *in, struct frame *f, uint8_t *payload)
{
	uint8_t how = fuzz_u8(in);
	unsigned i = how % LIB_CONNS;
	size_t n = 0, len;

	f->conn = 1 + i;
	f->offset = next_offset[i];
	if (how & 0x40)
		f->offset = lib_near(in, f->offset);
	if (how & 0x80)
		f->conn = lib_near(in, f->conn);
	if (how & 0x10)
		f->flags |= FRAME_F_FIRST;
	if (how & 0x20)
		f->flags |= fuzz_u8(in);
	switch (f->type) {
	case FRAME_HELLO:
		return lib_hello(in, payload);
	case FRAME_ATTACH:
	case FRAME_ATTACHED:
		memset(payload, 0, 24);
		payload[0] = 5222 >> 8;
		payload[1] = 5222 & 0xff;
		payload[3] = fuzz_u8(in);
		return 24;
	case FRAME_OPEN:
		return lib_addr(in, f->conn, payload);
	case FRAME_EOF:
		return f->flags & FRAME_F_FIRST ? lib_addr(in, f->conn, payload)
						: 0;
	case FRAME_CREDIT:
		f->aux = fuzz_u16(in);
		f->conn = how & 1 ? 0 : f->conn;
		return 0;
	case FRAME_DATA:
		break;
	default:
		f->aux = fuzz_u8(in);
		return fuzz_u8(in) & 0x0f;
	}
	if (f->flags & FRAME_F_FIRST) {
		f->aux = (uint32_t)lib_near(in, 0);
		n = lib_addr(in, f->conn, payload);
	}
	len = lib_data_len(in);
	lib_payload(payload + n, f->offset, len);
	next_offset[i] = f->offset + len;
	return n + len;
}

static void lib_frame(struct fuzz_in *in, int fd)
{
	static uint8_t payload[LIB_PAYLOAD + 256];
	struct frame f = { .type = lib_type(in), .group = 9 };
	size_t n = lib_fill(in, &f, payload);

	FUZZ_SAY("%d: %s flags %x conn %llx offset %llu len %zu aux %u", fd,
		 frame_type_name(f.type), f.flags, (unsigned long long)f.conn,
		 (unsigned long long)f.offset, n, f.aux);
	lib_say(fd, f, payload, n);
}

static void lib_stream(struct fuzz_in *in, uint8_t op)
{
	int fd = os_nth_socket(op >> 5);
	const uint8_t *bytes;
	uint8_t how;
	size_t n;

	if (fd < 0)
		return;
	switch (op & 0x1f) {
	default:
		lib_frame(in, fd);
		break;
	case 8:
		n = fuzz_take(in, fuzz_u8(in), &bytes);
		os_feed(fd, bytes, n);
		break;
	case 9:
		os_hang_up(fd, fuzz_u8(in) & 1 ? ECONNRESET : 0);
		break;
	case 10:
		how = fuzz_u8(in);
		os_set_room(fd, how * 64u);
		os_break(fd, how == 0xff ? EPIPE : 0);
		os_set_chunk(fd, how & 0x10 ? 5 : 0);
		break;
	case 11:
		os_written(fd, &bytes);
		break;
	}
}

/* --- the application --------------------------------------------------- */

static void lib_note_cd(int cd)
{
	FUZZ_CHECK(cd > 0);
	cds[n_cds++ % LIB_CDS] = cd;
}

static int lib_cd(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);

	if (!n_cds || how >= 0xf0)
		return (int8_t)how;
	return cds[how % (n_cds < LIB_CDS ? n_cds : LIB_CDS)];
}

static void lib_recv(struct fuzz_in *in, bool from)
{
	static uint8_t buf[8192];
	size_t len = 1 + fuzz_u8(in) * 32u;
	int cd = from ? lib_cd(in) : 0, rc;

	rc = from ? xtcp_ctx_recv_from(ctx, gd, cd, buf, len)
		  : xtcp_ctx_recv(ctx, gd, &cd, buf, len);
	FUZZ_SAY("recv %d: %d", cd, rc);
	FUZZ_CHECK(rc <= (int)len);
	FUZZ_CHECK(rc >= 0 || rc == -EAGAIN || rc == -ECONNRESET ||
			   (from && rc == -EBADF),
		   "%d", rc);
	if (rc != -EAGAIN && !from)
		lib_note_cd(cd);
}

static void lib_send(struct fuzz_in *in)
{
	static uint8_t bytes[65536];
	int cd = lib_cd(in), rc;
	size_t ackd = fuzz_u8(in), len = fuzz_u8(in);

	ackd = ackd >= 0x80 ? (ackd & 0x7f) * 64 : ackd;
	len = len >= 0x80 ? (len & 0x7f) * 512 : len;
	rc = xtcp_ctx_send(ctx, gd, cd, ackd, bytes, len);
	FUZZ_SAY("send %d ackd %zu len %zu: %d", cd, ackd, len, rc);
	FUZZ_CHECK(rc <= (int)len);
	FUZZ_CHECK(rc >= 0 || rc == -EAGAIN || rc == -EBADF || rc == -EINVAL ||
			   rc == -ECONNRESET || rc == -EPIPE,
		   "%d", rc);
}

static void lib_wait(struct fuzz_in *in)
{
	const struct timeval none = { 0 };
	struct xtcp_event ev[4];
	xtcp_set r, a;
	int rc;

	if (fuzz_u8(in) & 1) {
		XTCP_ZERO(&r);
		XTCP_ZERO(&a);
		XTCP_SET(gd, &r);
		XTCP_SET(gd, &a);
		rc = xtcp_ctx_select(ctx, gd + 1, &r, &a, &none);
		FUZZ_CHECK(rc >= 0 && rc <= 2, "%d", rc);
		return;
	}
	rc = xtcp_ctx_poll(ctx, ev, 4, 0);
	FUZZ_CHECK(rc >= 0 && rc <= 4, "%d", rc);
	for (int i = 0; i < rc; i++)
		FUZZ_CHECK(ev[i].gd == gd && ev[i].events);
}

static void lib_names(struct fuzz_in *in)
{
	struct sockaddr_storage ss;
	struct sockaddr_in sa;
	int cd = lib_cd(in);

	xtcp_ctx_pars(ctx, gd, cd, &sa);
	if (xtcp_ctx_pars6(ctx, gd, cd, &ss) == 0)
		FUZZ_CHECK(ss.ss_family == AF_INET ||
			   ss.ss_family == AF_INET6 || ss.ss_family == AF_UNIX);
}

static void lib_call(struct fuzz_in *in, uint8_t op)
{
	int rc;

	switch (op & 0x1f) {
	case 12:
		rc = xtcp_ctx_accept(ctx, gd);
		FUZZ_CHECK(rc > 0 || rc == -EAGAIN, "%d", rc);
		if (rc > 0)
			lib_note_cd(rc);
		break;
	case 13:
		xtcp_ctx_reject(ctx, gd);
		break;
	case 14:
	case 15:
	case 16:
		lib_recv(in, op & 0x20);
		break;
	case 17:
	case 18:
	case 19:
		lib_send(in);
		break;
	case 20:
		xtcp_ctx_close(ctx, gd, lib_cd(in));
		break;
	case 21:
		xtcp_ctx_abort(ctx, gd, lib_cd(in));
		break;
	case 22:
		xtcp_ctx_shutdown(ctx, gd, lib_cd(in));
		break;
	case 23:
		xtcp_ctx_cork(ctx, gd, op >> 7);
		break;
	case 24:
		xtcp_ctx_flush(ctx, gd);
		break;
	case 25:
		xtcp_ctx_room(ctx, gd, lib_cd(in));
		break;
	case 26:
		lib_names(in);
		break;
	default:
		lib_wait(in);
		break;
	}
}

/* Time passes: dialling anew, time-outs of handshakes. */
static void lib_time(struct fuzz_in *in, uint8_t op)
{
	static const uint16_t ms[] = { 1, 50, 200, 2000, 5001, 60000 };

	switch (op & 0x1f) {
	case 28:
		os_set_connect(op & 0x20 ? ECONNREFUSED : EINPROGRESS);
		break;
	case 29:
		os_dial();
		break;
	default:
		os_now_ms += ms[fuzz_u8(in) % 6];
		break;
	}
	lib_wait(in);
	if (op & 0x80)
		lib_handshake();
}

/* --- the script -------------------------------------------------------- */

static void lib_op(struct fuzz_in *in)
{
	uint8_t op = fuzz_u8(in);

	if ((op & 0x1f) < 12)
		lib_stream(in, op);
	else if ((op & 0x1f) < 28)
		lib_call(in, op);
	else
		lib_time(in, op);
}

static struct fuzz_in *script;

/* The library waits, in xtcp_open_group(). */
static bool lib_on_idle(void)
{
	if (lib_handshake())
		return true;
	if (!fuzz_left(script))
		return false;
	lib_stream(script, fuzz_u8(script));
	return true;
}

static int lib_open(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);
	int fd;

	workers = (uint8_t)(1 + (fuzz_u8(in) & 3) % 3);
	sane = !(how & 0x80);
	/* Nobody listens where we are about to. */
	if ((how & 7) >= 1 && (how & 7) <= 3)
		os_set_connect(ECONNREFUSED);
	switch (how & 7) {
	case 1:
	case 2:
		gd = xtcp_ctx_listen_group(ctx, PF_INET6, "unix:/fuzz");
		fd = os_dial();
		FUZZ_CHECK(gd > 0 && fd > 0);
		lib_wait(in);
		if (sane) {
			lib_say_hello(fd, 0);
			lib_say_attach(fd, FRAME_ATTACH);
		}
		return gd;
	case 3:
		sane = false;
		gd = xtcp_ctx_open_group(ctx, PF_UNIX, SOCK_STREAM, 0, 5222);
		FUZZ_CHECK(gd > 0);
		os_dial();
		return gd;
	default:
		return xtcp_ctx_open_group(ctx, how & 8 ? PF_INET6 : PF_INET,
					   SOCK_STREAM, 0, 5222);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	setenv("XTCP_ATTACH", "/fuzz/attach.sock", 1);
	setenv("XTCP_LOCAL_DIR", "/fuzz", 1);
	os_on_idle = lib_on_idle;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = fuzz_in(data, size);

	os_reset(1000);
	memset(next_offset, 0, sizeof(next_offset));
	memset(said, 0, sizeof(said));
	n_cds = 0;
	script = &in;
	FUZZ_CHECK(xtcp_ctx_new(fuzz_u8(&in) & 1 ? 65536 : 0, &ctx) == 0);
	gd = lib_open(&in);
	FUZZ_SAY("opened: %d", gd);
	for (uint32_t n = 0; gd > 0 && fuzz_left(&in) && n < LIB_OPS_MAX; n++)
		lib_op(&in);
	xtcp_ctx_free(ctx);
	os_undial();
	os_check_closed();
	return 0;
}
