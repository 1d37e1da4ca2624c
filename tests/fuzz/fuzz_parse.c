/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * parse - one packet of any bytes, or the bytes of TCP options.
 *
 * Theory of operation
 *
 * The first byte says which:
 *
 *	even	the rest is a packet for a stack that has a group but no
 *		connection: stack_parse(), stack_input(), and what it answers
 *		is checked (client.c). With bit 1 the checksums are made right
 *		first, with bit 2 it comes twice (an echo, a fragment, a SYN).
 *	odd	the rest are options. What options_parse() takes is written by
 *		options_write(); reading and writing that again gives the same
 *		bytes, or what was written was not what was meant.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "fuzz/world.h"
#include "stack/options.h"

#define PARSE_OPTIONS_MAX 40u

static void parse_options(const uint8_t *bytes, size_t len)
{
	uint8_t first[PARSE_OPTIONS_MAX], second[PARSE_OPTIONS_MAX];
	struct seg_opts opts, again;
	uint32_t n;

	if (len > PARSE_OPTIONS_MAX)
		len = PARSE_OPTIONS_MAX;
	if (!options_parse(bytes, len, &opts))
		return;
	/* As the stack puts them together: what was packed without padding
	 * may not fit with it. */
	if (opts.has_mss || opts.has_wscale || opts.sack_ok)
		opts.n_sacks = 0;
	else if (opts.has_ts && opts.n_sacks > 3)
		opts.n_sacks = 3;
	n = options_write(first, &opts);
	FUZZ_CHECK(n <= PARSE_OPTIONS_MAX && n % 4 == 0, "%u bytes", n);
	FUZZ_CHECK(options_parse(first, n, &again));
	FUZZ_CHECK(options_write(second, &again) == n);
	FUZZ_CHECK(!n || memcmp(first, second, n) == 0);
}

static void parse_packet(const uint8_t *packet, uint32_t len)
{
	struct seg seg;

	if (!stack_parse(world.st, packet, len, &seg))
		return;
	FUZZ_CHECK(seg.kind != SEG_TCP ||
		   (seg.payload >= packet && seg.len <= len &&
		    seg.payload + seg.len <= packet + len));
	FUZZ_CHECK(seg.worker == 0);
	stack_input(world.st, &seg, world.now_us);
	world_flush();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct world_setup setup = {
		.mtu = 1500,
		.pool_bytes = 65536,
		.group = { .vip_mask = UINT64_MAX,
			   .user_timeout_us = 30000000 },
	};
	uint8_t how = size ? data[0] : 0;
	uint8_t *packet;
	uint32_t len;

	if (size < 2)
		return 0;
	if (how & 1) {
		parse_options(data + 1, size - 1);
		return 0;
	}
	len = (uint32_t)size - 1;
	packet = malloc(len);
	if (!packet)
		return 0;
	memcpy(packet, data + 1, len);
	if (how & 2)
		client_fix_checksums(packet, len);
	world_up(&setup);
	for (uint32_t i = 0; i < WORLD_CLIENTS; i++)
		world.clients[i].tainted = true;
	parse_packet(packet, len);
	if (how & 4)
		parse_packet(packet, len);
	world_down();
	free(packet);
	return 0;
}
