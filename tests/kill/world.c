/* SPDX-License-Identifier: BSD-2-Clause */
#include "kill/instants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/seq.h"
#include "base/units.h"
#include "stack/cc.h"

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static uint32_t out_tsval(const uint8_t *opts, uint32_t len)
{
	for (uint32_t i = 0; i + 1 < len;) {
		if (opts[i] == 8)
			return get32(opts + i + 2);
		i += opts[i] <= 1 ? 1u : opts[i + 1];
	}
	return 0;
}

static void world_emit(void *ctx, const struct iovec *iov, int iovcnt)
{
	struct instants_log *log = ((struct instants_world *)ctx)->log;
	struct instants_out *out = &log->out[log->n_out];
	uint8_t packet[1600];
	uint32_t len = 0, hdr;
	const uint8_t *tcp = packet + 20;

	if (log->n_out == INSTANTS_OUT_MAX)
		return;
	for (int i = 0; i < iovcnt; i++) {
		memcpy(packet + len, iov[i].iov_base, iov[i].iov_len);
		len += (uint32_t)iov[i].iov_len;
	}
	hdr = (uint32_t)(tcp[12] >> 4) * 4;
	out->port = (uint16_t)(tcp[2] << 8 | tcp[3]);
	out->flags = tcp[13];
	out->seq = get32(tcp + 4);
	out->ack = get32(tcp + 8);
	out->tsval = out_tsval(tcp + 20, hdr - 20);
	out->len = len - 20 - hdr;
	memcpy(out->bytes, tcp + hdr, out->len);
	/* It has left. */
	ARENA_COMMIT(log->n_out, log->n_out + 1);
}

void instants_up(struct instants_world *w, struct arena *arena,
		 struct instants_log *log, const struct instants_script *s,
		 uint64_t now_us, bool recover)
{
	const struct stack_group group = {
		.id = 1,
		.port = INSTANTS_PORT,
		.accept =
			s->held ? STACK_ACCEPT_APPLICATION : STACK_ACCEPT_AUTO,
		.ack = s->ack,
		.congestion = CC_CUBIC,
		.vip_mask = UINT64_MAX,
		.accept_timeout_us = 3 * USEC_PER_SEC,
		.user_timeout_us = 600 * USEC_PER_SEC,
	};
	const struct stack_ops ops = { .emit = world_emit, .ctx = w };
	struct stack_limits limits;

	*w = (struct instants_world){ .arena = arena,
				      .log = log,
				      .now_us = now_us };
	stack_limits_init(&limits, 1500);
	limits.syn_cookies =
		s->cookies ? STACK_COOKIES_ALWAYS : STACK_COOKIES_NEVER;
	if (shard_init(&w->shard, arena, 0, now_us) < 0)
		abort();
	w->st = stack_new(&w->shard, 1, &ops, &limits, now_us);
	if (!w->st || stack_group_set(w->st, &group) < 0)
		abort();
	stack_pool_set(w->st, 0, 60 * CHUNK_BYTES, 90, 75);
	if (recover)
		stack_recover(w->st, now_us);
}

void instants_down(struct instants_world *w)
{
	stack_free(w->st);
	shard_fini(&w->shard);
}

const struct instants_out *instants_synack(const struct instants_log *log,
					   uint16_t port)
{
	for (uint32_t i = 0; i < log->n_out; i++) {
		if (log->out[i].port == port && log->out[i].flags & TH_SYN)
			return &log->out[i];
	}
	return NULL;
}

uint32_t instants_received(const struct instants_log *log, uint16_t port,
			   bool *ret_fin)
{
	const struct instants_out *syn = instants_synack(log, port);
	uint32_t end = 0, before;

	*ret_fin = false;
	if (!syn)
		return 0;
	do {
		before = end;
		for (uint32_t i = 0; i < log->n_out; i++) {
			const struct instants_out *out = &log->out[i];
			uint32_t pos = out->seq - (syn->seq + 1);

			if (out->port != port || out->flags & TH_SYN ||
			    seq_gt(pos, end))
				continue;
			if (seq_gt(pos + out->len, end))
				end = pos + out->len;
			if (out->flags & TH_FIN && pos + out->len == end)
				*ret_fin = true;
		}
	} while (end != before);
	return end;
}

uint32_t instants_acked(const struct instants_log *log, uint16_t port,
			bool *ret_fin)
{
	uint32_t acked = 0;

	*ret_fin = false;
	for (uint32_t i = 0; i < log->n_out; i++) {
		const struct instants_out *out = &log->out[i];
		uint32_t pos = out->ack - (INSTANTS_IRS + 1);

		if (out->port == port && !(out->flags & TH_RST) &&
		    seq_gt(pos, acked))
			acked = pos;
	}
	return acked;
}

static struct tuple world_tuple(uint16_t port)
{
	return (struct tuple){ .remote = { 198, 51, 100, 7 },
			       .remote_port = port,
			       .local_port = INSTANTS_PORT };
}

uint32_t instants_find(const struct instants_world *w, uint16_t port)
{
	struct tuple tuple = world_tuple(port);

	return shard_find(&w->shard, &tuple,
			  tuple_hash(w->arena->header, &tuple));
}

void instants_input(struct instants_world *w, const struct instants_seg *is)
{
	const struct instants_out *syn = instants_synack(w->log, is->port);
	static uint8_t payload[4096];
	uint32_t tsecr = 0;
	struct seg seg = {
		.kind = SEG_TCP,
		.flags = is->flags,
		.tuple = world_tuple(is->port),
		.seq = INSTANTS_IRS + 1 + is->pos,
		.wnd = is->flags & TH_SYN ? 65535 : 512,
		.len = is->len,
		.unit = is->len,
		.payload = payload,
		.opts = { .has_ts = true },
	};

	for (uint32_t i = 0; i < is->len; i++)
		payload[i] = instants_client_byte(is->pos + i);
	for (uint32_t i = 0; i < w->log->n_out; i++)
		if (w->log->out[i].port == is->port)
			tsecr = w->log->out[i].tsval;
	seg.hash = tuple_hash(w->arena->header, &seg.tuple);
	seg.opts.tsval = (uint32_t)(w->now_us / 1000);
	seg.opts.tsecr = tsecr;
	if (is->flags & TH_SYN) {
		seg.seq--;
		seg.opts.has_mss = seg.opts.has_wscale = seg.opts.sack_ok =
			true;
		seg.opts.mss = 1460;
		seg.opts.wscale = 7;
	}
	if (is->flags & TH_ACK && syn)
		seg.ack = syn->seq + 1 + is->ack + is->ack_fin;
	stack_input(w->st, &seg, w->now_us);
}
