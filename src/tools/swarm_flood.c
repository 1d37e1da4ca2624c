/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/swarm_flood.h"

#include <stddef.h>

void swarm_flood_init(struct swarm_flood *f, const struct swarm_wire *wire,
		      const struct swarm_prefix *sources, uint64_t seed)
{
	*f = (struct swarm_flood){
		.wire = *wire,
		.sources = *sources,
		.rng = { seed },
	};
	f->wire.client = swarm_prefix_first(sources);
	f->wire.word_at = swarm_prefix_word_at(sources);
	swarm_wire_init(&f->wire);
}

void swarm_flood_send(struct swarm_flood *f, struct swarm_tun *tun,
		      uint32_t tsval)
{
	uint32_t usable = swarm_prefix_usable(&f->sources);
	const struct swarm_out out = {
		.flags = SWARM_SYN,
		.has_ts = f->wire.timestamps,
		.src_word = swarm_prefix_word(&f->sources,
					      swarm_rng_below(&f->rng, usable)),
		.src_port = (uint16_t)(SWARM_PORT_FIRST +
				       swarm_rng_below(&f->rng, SWARM_PORTS)),
		.seq = (uint32_t)swarm_rng_next(&f->rng),
		.window = UINT16_MAX,
		.tsval = tsval,
	};

	swarm_packet_build(&f->wire, &out, swarm_tun_headers(tun));
	swarm_tun_send(tun, NULL, 0);
}
