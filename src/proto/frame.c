/* SPDX-License-Identifier: BSD-2-Clause */
#include "proto/frame.h"

#include <errno.h>

/* Directions of the type table, as bits of who may read the frame. */
enum frame_dir {
	FRAME_DIR_B = 1 << 0,
	FRAME_DIR_X = 1 << 1,
	FRAME_DIR_E = FRAME_DIR_B | FRAME_DIR_X,
};

struct frame_rule {
	const char *name; /* NULL: no such type */
	uint8_t dir; /* enum frame_dir */
	uint32_t min_bytes, max_bytes; /* of the payload */
};

#define FRAME_RULES 64

static const struct frame_rule frame_rules[FRAME_RULES] = {
#define F(name_, number_, dir_, min_, max_, help_) \
	[number_] = {                              \
		.name = #name_,                    \
		.dir = FRAME_DIR_##dir_,           \
		.min_bytes = (min_),               \
		.max_bytes = (max_),               \
	},
	FRAME_TYPES(F)
#undef F
};

static const struct frame_rule *frame_rule_get(uint8_t type)
{
	if (type >= FRAME_RULES || !frame_rules[type].name)
		return NULL;
	return &frame_rules[type];
}

void frame_encode(const struct frame *f, void *ret_wire)
{
	struct frame_header *h = ret_wire;

	h->length = be32_put(f->length);
	h->type = f->type;
	h->flags = f->flags;
	h->group = be16_put(f->group);
	h->conn = be64_put(f->conn);
	h->offset = be64_put(f->offset);
	h->ackd = be32_put(f->ackd);
	h->aux = be32_put(f->aux);
}

int frame_decode(const void *wire, enum frame_side side, uint32_t max_payload,
		 struct frame *ret_f)
{
	const struct frame_header *h = wire;
	const struct frame_rule *rule = frame_rule_get(h->type);
	uint8_t reads = side == FRAME_SIDE_BACKEND ? FRAME_DIR_B : FRAME_DIR_X;

	ret_f->length = be32_get(h->length);
	ret_f->type = h->type;
	ret_f->flags = h->flags;
	ret_f->group = be16_get(h->group);
	ret_f->conn = be64_get(h->conn);
	ret_f->offset = be64_get(h->offset);
	ret_f->ackd = be32_get(h->ackd);
	ret_f->aux = be32_get(h->aux);

	if (!rule || !(rule->dir & reads))
		return -EPROTO;
	if (ret_f->length < rule->min_bytes ||
	    ret_f->length > min_u32(rule->max_bytes, max_payload))
		return -EMSGSIZE;
	return 0;
}

int frame_hello_check(const struct frame_hello *hello, enum frame_side side)
{
	if (be32_get(hello->magic) != FRAME_MAGIC ||
	    be16_get(hello->version) != FRAME_VERSION ||
	    be32_get(hello->max_payload) < FRAME_PAYLOAD_MIN)
		return -EPROTO;
	if (side == FRAME_SIDE_XTCPD)
		return be32_get(hello->stream_credit) < FRAME_PAYLOAD_MIN
			       ? -EPROTO
			       : 0;
	return be32_get(hello->conn_window) < 2 ? -EPROTO : 0;
}

int frame_addr_check(const void *payload, size_t n)
{
	const struct frame_addr *addr = payload;

	if (n < sizeof(*addr) || (addr->family != 4 && addr->family != 6))
		return -EPROTO;
	return 0;
}

const char *frame_type_name(uint8_t type)
{
	const struct frame_rule *rule = frame_rule_get(type);

	return rule ? rule->name : "unknown";
}
