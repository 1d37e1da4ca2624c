/* SPDX-License-Identifier: BSD-2-Clause */
#include "kill/instants.h"

#include "base/bytes.h"

static void model_op(struct model *m, const struct instants_op *op)
{
	switch (op->kind) {
	case OP_SYN:
		m->syn = true;
		break;
	case OP_TEXT:
		m->highest = max_u32(m->highest, m->sent + op->a + op->b);
		if (!op->b)
			m->sent += op->a;
		break;
	case OP_REPLY:
		m->taken += op->a;
		m->replied += op->b;
		break;
	case OP_CLIENT_FIN:
		m->client_fin = true;
		break;
	case OP_ACCEPT:
		m->accepted = true;
		break;
	case OP_SHUTDOWN:
		m->server_fin = true;
		break;
	case OP_CLOSE:
		m->server_fin = m->closed = true;
		break;
	case OP_ABORT:
	case OP_CLIENT_RST:
		m->reset = true;
		break;
	default:
		break;
	}
}

struct model model_at(const struct instants_script *script, uint32_t n,
		      bool with)
{
	struct model m = { 0 };

	for (uint32_t i = 0; i < n + with; i++)
		if (script->ops[i].kind != OP_END)
			model_op(&m, &script->ops[i]);
		else
			break;
	return m;
}

void app_reply(struct instants_world *w, uint32_t ri, uint32_t ackd,
	       uint32_t from, uint32_t len)
{
	static uint8_t bytes[4096];

	for (uint32_t i = 0; i < len; i++)
		bytes[i] = instants_server_byte(from + i);
	stack_reply(w->st, ri, w->shard.recs[ri].rcv_off, ackd, bytes, len,
		    w->now_us);
}

void app_deliver(struct instants_world *w, uint32_t ri, uint32_t max)
{
	struct iovec iov[16];
	uint64_t offset;
	int n = 16;
	bool again;
	uint32_t got;

	got = stack_peek(w->st, ri, max ? max : UINT32_MAX, iov, &n, &offset,
			 &again);
	if (got)
		stack_delivered(w->st, ri, got, w->now_us);
}
