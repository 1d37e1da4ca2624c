/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * frames_peer - the backends of the frames target.
 */
#include <errno.h>
#include <string.h>

#include "fuzz/frames.h"
#include "fuzz/os.h"

#define FRAMES_PAYLOAD 8192u

/* A backend's end of a stream. */
struct peer {
	int fd; /* -1: none */
	struct frame_reader in;
	uint64_t granted; /* payload bytes xtcpd may still send */
	uint8_t rest[FRAME_HEADER_BYTES + FRAMES_PAYLOAD]; /* of a cut frame */
	size_t rest_len;
	bool raw; /* what it said may have granted anything */
};

static struct peer peers[FRAMES_PEERS];

/* --- what comes back --------------------------------------------------- */

/* The client whose connection the id names, now. */
static struct world_client *frames_client(uint64_t conn)
{
	uint32_t ri = frame_conn_rec(conn);

	if (ri >= WORLD_RECS ||
	    !stack_lookup(world.st, ri, frame_conn_generation(conn)))
		return NULL;
	return client_of_rec(ri);
}

static void frames_check_data(struct peer *p, const struct frame *f,
			      const uint8_t *payload)
{
	uint32_t skip =
		f->flags & FRAME_F_FIRST ? sizeof(struct frame_addr) : 0;
	const struct world_client *cl = frames_client(f->conn);

	FUZZ_CHECK(f->length > skip);
	FUZZ_CHECK(p->raw || f->length <= p->granted, "%u of %llu", f->length,
		   (unsigned long long)p->granted);
	p->granted -= f->length;
	if (!cl || cl->tainted || f->length - skip > 8192)
		return;
	FUZZ_CHECK(memcmp(payload + skip,
			  world_client_bytes((uint32_t)f->offset),
			  f->length - skip) == 0);
}

static void frames_hear_one(struct peer *p)
{
	const uint8_t *bytes, *payload;
	size_t n = os_written(p->fd, &bytes), part;
	struct frame f;
	void *to;
	int rc;

	while (n) {
		/* A frame that is not whole yet leaves room for its rest alone. */
		to = frame_reader_space(&p->in, &part);
		FUZZ_CHECK(to && part);
		part = n < part ? n : part;
		memcpy(to, bytes, part);
		frame_reader_commit(&p->in, part);
		bytes += part;
		n -= part;
		while ((rc = frame_reader_next(&p->in, &f, &payload)) == 1) {
			FUZZ_SAY("  %s flags %x conn %llx offset %llu len %u "
				 "aux %u",
				 frame_type_name(f.type), f.flags,
				 (unsigned long long)f.conn,
				 (unsigned long long)f.offset, f.length, f.aux);
			if (f.type == FRAME_DATA)
				frames_check_data(p, &f, payload);
		}
		FUZZ_CHECK(rc == 0, "a frame that is not for a backend: %d",
			   rc);
	}
}

static void frames_forget(struct peer *p)
{
	if (p->fd >= 0)
		frame_reader_fini(&p->in);
	p->fd = -1;
	p->rest_len = 0;
}

/* Streams that the daemon dialled become backends, closed ones none. */
static void frames_meet(void)
{
	for (uint32_t i = 0; i < FRAMES_PEERS; i++) {
		struct peer *p = &peers[i];

		if (p->fd >= 0 && !os_is_open(p->fd))
			frames_forget(p);
	}
	for (unsigned n = 0; n < FRAMES_PEERS; n++) {
		int fd = os_nth_socket(n);
		struct peer *free_one = NULL;

		for (uint32_t i = 0; i < FRAMES_PEERS && fd >= 0; i++) {
			if (peers[i].fd == fd)
				fd = -1;
			else if (peers[i].fd < 0)
				free_one = &peers[i];
		}
		if (fd < 0 || !free_one)
			continue;
		*free_one = (struct peer){ .fd = fd, .raw = true };
		frame_reader_init(&free_one->in, FRAME_SIDE_BACKEND,
				  FRAME_PAYLOAD_MAX);
	}
}

void frames_hear(void)
{
	for (uint32_t i = 0; i < FRAMES_PEERS; i++)
		if (peers[i].fd >= 0)
			frames_hear_one(&peers[i]);
	frames_meet();
}

void frames_peers_up(void)
{
	for (uint32_t i = 0; i < FRAMES_PEERS; i++)
		peers[i].fd = -1;
}

void frames_peers_down(void)
{
	for (uint32_t i = 0; i < FRAMES_PEERS; i++)
		frames_forget(&peers[i]);
}

/* --- backends ---------------------------------------------------------- */

void frames_attach(uint32_t i, uint8_t how)
{
	struct peer *p = &peers[i];
	static const uint32_t credits[] = { 1 << 20, 4096, 5000, 60 };
	struct groups_attach attach = {
		.fd = os_socket_new(),
		.group = FRAMES_GROUP,
		.instance = 1 + (how & 3),
		.pid = 1 + (how & 3),
		.max_payload = how & 0x10 ? 4096 : FRAME_PAYLOAD_MAX,
		.stream_credit_bytes = credits[how >> 2 & 3],
	};
	int fd = attach.fd;

	if (fd < 0)
		return;
	os_set_chunk(fd, how & 0x20 ? 7 : 0);
	os_set_room(fd, how & 0x40 ? 300 : OS_BYTES_MAX);
	*p = (struct peer){ .fd = fd, .granted = attach.stream_credit_bytes };
	frame_reader_init(&p->in, FRAME_SIDE_BACKEND, FRAME_PAYLOAD_MAX);
	/* A failure has closed it: frames_meet() finds out. */
	groups_attach(&gs, &attach);
}

uint64_t frames_conn(struct fuzz_in *in, uint8_t how)
{
	const struct world_client *cl = &world.clients[how & 3];
	uint64_t conn = frame_conn_id(0, cl->generation,
				      cl->ri == NIL ? how & 7 : cl->ri);

	switch (how >> 4) {
	case 12: /* one of before, or to come */
		return conn + (UINT64_C(1) << 32);
	case 13:
		return conn - (UINT64_C(1) << 32);
	case 14:
		return 0;
	case 15:
		return (uint64_t)fuzz_u16(in) << 48 | fuzz_u16(in);
	default:
		return conn;
	}
}

/* A number that is right, or nearly. */
static uint64_t frames_near(struct fuzz_in *in, uint64_t right)
{
	uint8_t how = fuzz_u8(in);

	switch (how >> 4) {
	case 8:
		return right + (how & 0xf);
	case 9:
		return right - (how & 0xf);
	case 10:
		return right + (uint64_t)(int16_t)fuzz_u16(in);
	case 11:
		return right + ((uint64_t)fuzz_u8(in) << (how & 0xf) * 4);
	case 12:
		return UINT64_MAX - (how & 0xf);
	case 13:
		return how & 0xf;
	default:
		return right;
	}
}

static uint32_t frames_held(const struct world_client *cl)
{
	const struct rec *r = client_rec(cl);
	const struct blk *b;

	if (!r || r->block == NIL)
		return 0;
	b = &world.shard.blks[r->block];
	return b->rcv_dlv - b->rcv_app;
}

/* Fields that go with the type; payload of len bytes follows. */
static void frames_fill(struct fuzz_in *in, struct frame *f)
{
	uint8_t how = fuzz_u8(in);
	const struct world_client *cl = &world.clients[how & 3];
	const struct rec *r = client_rec(cl);

	f->conn = frames_conn(in, how);
	f->offset = r ? r->rcv_off : 0;
	f->ackd = frames_held(cl);
	if (how & 4)
		f->offset = frames_near(in, f->offset);
	if (how & 8)
		f->ackd = (uint32_t)frames_near(in, f->ackd);
}

static uint8_t frames_type(struct fuzz_in *in)
{
	static const uint8_t types[] = {
		FRAME_REPLY,  FRAME_REPLY,  FRAME_REPLY,  FRAME_REPLY,
		FRAME_ACCEPT, FRAME_REJECT, FRAME_CLOSE,  FRAME_FIN,
		FRAME_ABORT,  FRAME_CREDIT, FRAME_PING,	  FRAME_PONG,
		FRAME_ERROR,  FRAME_HELLO,  FRAME_ATTACH, FRAME_ATTACHED,
	};
	uint8_t how = fuzz_u8(in);

	return how < 0xf0 ? types[how & 0xf] : fuzz_u8(in);
}

static uint32_t frames_payload_len(struct fuzz_in *in)
{
	static const uint16_t lens[] = { 0,   0,   1,	 10,   100,  511,
					 512, 513, 1460, 3000, 5000, 8192 };
	uint8_t how = fuzz_u8(in) & 0xf;

	return how < sizeof(lens) / sizeof(lens[0])
		       ? lens[how]
		       : fuzz_u16(in) % (FRAMES_PAYLOAD + 1);
}

/* The payload of a frame with a struct in it. */
static uint32_t frames_struct(struct fuzz_in *in, const struct frame *f,
			      uint8_t *payload)
{
	const struct frame_hello hello = {
		.magic = be32_put(FRAME_MAGIC),
		.version = be16_put(FRAME_VERSION),
		.max_payload = be32_put(FRAME_PAYLOAD_MAX),
		.stream_credit = be32_put(60000),
		.instance = be64_put(77),
	};
	const struct frame_attach attach = { .port = be16_put(WORLD_PORT) };
	uint32_t n = 0;
	uint8_t pokes;

	if (f->type == FRAME_HELLO) {
		memcpy(payload, &hello, n = sizeof(hello));
	} else if (f->type == FRAME_ATTACHED || f->type == FRAME_ATTACH) {
		memcpy(payload, &attach, n = sizeof(attach));
	}
	if (!n)
		return 0;
	for (pokes = fuzz_u8(in) & 3; pokes > 0; pokes--) {
		uint8_t at = fuzz_u8(in);

		payload[at % n] = fuzz_u8(in);
	}
	return n;
}

static void frames_feed(struct peer *p, const uint8_t *bytes, size_t n)
{
	if (p->rest_len) {
		os_feed(p->fd, p->rest, p->rest_len);
		p->rest_len = 0;
	}
	os_feed(p->fd, bytes, n);
}

static void frames_frame(struct fuzz_in *in, struct peer *p)
{
	static uint8_t wire[FRAME_HEADER_BYTES + FRAMES_PAYLOAD];
	uint8_t how = fuzz_u8(in);
	struct frame f = { .type = frames_type(in),
			   .group = how & 0x80 ? how & 3 : FRAMES_GROUP };
	size_t len, cut;

	frames_fill(in, &f);
	f.flags = how & 8 ? (uint8_t)(1 << (how & 7)) : 0;
	if (f.type == FRAME_CREDIT || f.type == FRAME_PING || how & 0x10)
		f.aux = fuzz_u16(in);
	f.length = frames_struct(in, &f, wire + FRAME_HEADER_BYTES);
	if (!f.length) {
		f.length = frames_payload_len(in);
		memcpy(wire + FRAME_HEADER_BYTES, world_server_bytes(0),
		       f.length);
	}
	if (f.type == FRAME_CREDIT)
		p->granted += f.aux;
	FUZZ_SAY("%s flags %x conn %llx offset %llu ackd %u len %u aux %u",
		 frame_type_name(f.type), f.flags, (unsigned long long)f.conn,
		 (unsigned long long)f.offset, f.ackd, f.length, f.aux);
	frame_encode(&f, wire);
	len = FRAME_HEADER_BYTES + f.length;
	if (!(how & 0x20)) {
		frames_feed(p, wire, len);
		return;
	}
	cut = fuzz_u16(in) % len;
	frames_feed(p, wire, cut);
	p->rest_len = len - cut;
	memcpy(p->rest, wire + cut, p->rest_len);
}

static void frames_raw(struct fuzz_in *in, struct peer *p)
{
	const uint8_t *bytes;
	size_t n = fuzz_take(in, fuzz_u8(in), &bytes);

	p->raw = true;
	p->rest_len = 0;
	os_feed(p->fd, bytes, n);
}

void frames_peer(struct fuzz_in *in, uint8_t op)
{
	struct peer *p = &peers[op >> 5 & 3];
	uint8_t how;

	if (p->fd < 0) {
		how = fuzz_u8(in);
		if (how & 0x80)
			frames_attach(op >> 5 & 3, how);
		return;
	}
	switch (op & 0x1f) {
	default:
		frames_frame(in, p);
		break;
	case 12:
		frames_raw(in, p);
		break;
	case 13:
		os_hang_up(p->fd, op & 0x80 ? ECONNRESET : 0);
		break;
	case 14:
		how = fuzz_u8(in);
		os_set_room(p->fd, how * 256u);
		os_break(p->fd, how == 0xff ? EPIPE : 0);
		break;
	case 15:
		os_set_chunk(p->fd, fuzz_u8(in));
		break;
	}
}
