/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/hello.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/siphash.h"
#include "daemon/bstream.h"

#define HELLO_NAME "xtcpd"

int hello_parse(const void *payload, size_t len, struct hello_peer *ret_peer)
{
	struct frame_hello hello;

	if (len < sizeof(hello))
		return -EPROTO;
	memcpy(&hello, payload, sizeof(hello));
	if (frame_hello_check(&hello, FRAME_SIDE_XTCPD) < 0)
		return -EPROTO;
	*ret_peer = (struct hello_peer){
		.instance = be64_get(hello.instance),
		.pid = be32_get(hello.pid),
		.max_payload =
			min_u32(be32_get(hello.max_payload), FRAME_PAYLOAD_MAX),
		.stream_credit_bytes = be32_get(hello.stream_credit),
		.worker = be16_get(hello.worker),
		.resumes = be16_get(hello.flags) & FRAME_HELLO_RESUMES,
	};
	return 0;
}

uint64_t hello_epoch(const struct arena_header *header)
{
	static const char what[] = "epoch of connection ids";
	/* A keyed hash: it says nothing of the secret that the ISNs have. */
	const struct siphash_key key = { header->secret[0], header->secret[1] };
	uint64_t epoch = siphash(&key, what, sizeof(what));

	return epoch ? epoch : 1;
}

int hello_append(struct frame_queue *q, const struct hello_self *self,
		 uint32_t worker)
{
	const struct frame f = { .type = FRAME_HELLO };
	struct {
		struct frame_hello hello;
		char name[sizeof(HELLO_NAME) - 1];
	} wire = {
		.hello = {
			.magic = be32_put(FRAME_MAGIC),
			.version = be16_put(FRAME_VERSION),
			.flags = be16_put(FRAME_HELLO_RESUME),
			.workers = be16_put((uint16_t)self->n_workers),
			.worker = be16_put((uint16_t)worker),
			.max_payload = be32_put(FRAME_PAYLOAD_MAX),
			.stream_credit = be32_put(STREAM_CREDIT_BYTES),
			.conn_window = be32_put(2 * CONN_HALF_BYTES),
			.instance = be64_put(self->instance),
			.pid = be32_put((uint32_t)getpid()),
			.epoch = be64_put(self->epoch),
		},
	};

	memcpy(wire.name, HELLO_NAME, sizeof(wire.name));
	return frame_queue_append(q, &f, &wire, sizeof(wire));
}

void hello_describe(const struct group *g, struct frame_attach *ret_attach)
{
	uint8_t flags = 0;

	if (g->accept == STACK_ACCEPT_APPLICATION)
		flags |= FRAME_ATTACH_APPLICATION;
	if (g->announce)
		flags |= FRAME_ATTACH_ANNOUNCE;
	*ret_attach = (struct frame_attach){ .port = be16_put(g->port),
					     .flags = flags };
}

void hello_send(struct bstream *s)
{
	const struct groups *gs = s->group->gs;
	const struct hello_self self = { gs->n_workers, gs->instance,
					 gs->epoch };
	int err = hello_append(&s->out, &self, gs->worker);

	if (err < 0)
		bstream_fail(s, err);
	else
		bstream_flush(s);
}

static int hello_refuse(struct bstream *s, const char *what)
{
	groups_count(s->group->gs, WC_frame_bad_hello);
	bstream_refuse(s, -EPROTO, "%s", what);
	return -EPROTO;
}

/* The backend's HELLO: tell it which group it is for. */
static int hello_attach(struct bstream *s, const struct frame *f,
			const uint8_t *payload)
{
	struct frame_attach attach;
	struct frame out = { .type = FRAME_ATTACH, .group = s->group->id };
	struct iovec iov = { &attach, sizeof(attach) };
	struct hello_peer peer;

	if (hello_parse(payload, f->length, &peer) < 0)
		return hello_refuse(s, "HELLO of another protocol or version");
	s->max_payload = peer.max_payload;
	s->tx_credit_bytes = peer.stream_credit_bytes;
	s->resuming = peer.resumes;
	s->state = BSTREAM_ATTACH;
	hello_describe(s->group, &attach);
	bstream_send(s, &out, &iov, 1);
	return 0;
}

static int hello_attached(struct bstream *s, const struct frame *f)
{
	int err;

	if (f->group != s->group->id)
		return hello_refuse(s, "ATTACHED for another group");
	err = group_stream_up(s->group, s);
	if (err < 0)
		bstream_refuse(s, err,
			       "the group has no room for another stream");
	return err;
}

int hello_frame(struct bstream *s, const struct frame *f,
		const uint8_t *payload)
{
	switch (f->type) {
	case FRAME_HELLO:
		if (s->state == BSTREAM_HELLO)
			return hello_attach(s, f, payload);
		break;
	case FRAME_ATTACHED:
		if (s->state == BSTREAM_ATTACH)
			return hello_attached(s, f);
		break;
	case FRAME_ERROR:
		groups_count(s->group->gs, WC_frame_error_in);
		bstream_fail(s, -ECONNREFUSED);
		return -ECONNREFUSED;
	default:
		break;
	}
	return hello_refuse(s, "a frame before the stream is attached");
}
