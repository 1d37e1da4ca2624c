/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/budget.h"

#include "arena/sent.h"
#include "base/units.h"
#include "daemon/attach.h"
#include "daemon/capture.h"
#include "daemon/control.h"
#include "daemon/control_capture.h"
#include "daemon/groups.h"
#include "daemon/metrics.h"
#include "daemon/pcap.h"
#include "daemon/snapshot.h"
#include "daemon/worker.h"
#include "proto/control.h"
#include "stack/frag.h"

/* An element of a list as text, and a page of metrics per group or backend. */
#define BUDGET_LIST_TEXT_BYTES 512u
#define BUDGET_METRICS_BYTES (32u * KIB)
#define BUDGET_METRICS_GROUP_BYTES 6144u
/* A stream's queue doubles, old and new side by side while it does. */
#define BUDGET_STREAM_BYTES \
	(STREAM_OUT_MAX_BYTES * 2 + MIB + FRAME_PAYLOAD_MAX + 16 * KIB)
/* A link, its events, and what it may hold: of the stack's least share. */
#define BUDGET_LINK_BYTES (4 * KIB)
#define BUDGET_PROGRAM_BYTES (16 * MIB)
#define BUDGET_THREAD_BYTES MIB

/* A bitmap's bits, with its levels: two of each, a 64th of the one below. */
static uint64_t budget_map(uint64_t n)
{
	return n / 8 + n / 8 / 16 + 4096;
}

/* Of one shard. */
static uint64_t budget_tables(const struct arena_header *h,
			      const struct conf *conf, uint64_t rx_chunks)
{
	uint64_t recs = h->recs_per_shard, tx = h->tx_chunks_per_shard;
	uint64_t bytes = (recs + recs / 2 + 16) * sizeof(struct index_slot);

	bytes += 2 * budget_map(recs) + budget_map(h->rx_chunks_per_shard) +
		 budget_map(tx) + budget_map(tx + recs);
	bytes += (tx + recs) * sizeof(struct sent);
	bytes += recs * (sizeof(struct rx_holder) + sizeof(struct tx_mark) +
			 sizeof(struct latency_mark));
	bytes += rx_chunks * sizeof(struct rx_run);
	bytes += SOURCE_ROWS * SOURCE_HALF_OPEN_WIDTH * sizeof(uint32_t);
	for (uint32_t i = 0; i < conf->n_groups; i++) {
		if (conf->groups[i].max_per_source) {
			bytes += max_u64(recs,
					 SOURCE_ROWS * SOURCE_OPEN_WIDTH_MIN) *
				 sizeof(uint32_t);
			break;
		}
	}
	return bytes;
}

/* Of one worker. */
static uint64_t budget_worker(const struct conf *conf, uint32_t workers,
			      uint32_t groups)
{
	uint64_t packet = worker_packet_max((uint16_t)conf->tun.mtu);
	const struct tun_io_setup io = {
		.packet_max = (uint32_t)packet,
		.offload = conf->tun.offload,
		.batch = WORKER_BATCH,
	};
	struct stack_limits limits;

	stack_limits_init(&limits, (uint16_t)conf->tun.mtu);
	limits.packet_max = (uint32_t)packet;
	return sizeof(struct worker) + sizeof(struct stack) +
	       frag_table_bytes(&limits) + tun_io_bytes(&io) +
	       (workers - 1) * HANDOVER_SLOTS *
		       (packet + sizeof(struct handover_packet)) +
	       PCAP_BUFFER_BYTES + BUDGET_THREAD_BYTES +
	       groups * (sizeof(struct group) + ARENA_SLOTS * sizeof(uint64_t) +
			 sizeof(struct stack_group) +
			 sizeof(struct stack_group_stats));
}

static uint64_t budget_control(const struct conf *conf, uint64_t recs,
			       uint32_t workers, uint32_t groups)
{
	uint64_t snapshot = sizeof(struct snapshot) +
			    (SC_COUNT + WC_COUNT) * sizeof(uint64_t) +
			    groups * (sizeof(struct snapshot_group) +
				      sizeof(struct histogram) +
				      sizeof(struct snapshot_backend)) +
			    conf->n_pools * sizeof(struct snapshot_pool);

	return CONTROL_CLIENTS_MAX * (4u * CONTROL_REQUEST_MAX) +
	       min_u64(recs, CONTROL_LISTED_MAX) *
		       (BUDGET_LIST_TEXT_BYTES +
			workers * (uint64_t)sizeof(struct snapshot_conn)) +
	       VIEW_PENDING_MAX * workers * snapshot +
	       CAPTURES_MAX * (workers * (uint64_t)capture_ring_bytes(workers) +
			       CONTROL_CAPTURE_OUTPUT_BYTES) +
	       METRICS_CLIENTS_MAX *
		       (BUDGET_METRICS_BYTES +
			groups * (uint64_t)BUDGET_METRICS_GROUP_BYTES) +
	       ATTACH_PENDING_MAX * (FRAME_READER_BYTES + 4096u);
}

void budget_make(struct budget *ret_budget, const struct arena_header *header,
		 const struct conf *conf, const struct budget_scale *scale)
{
	uint32_t w = header->workers;
	uint64_t recs = (uint64_t)w * header->recs_per_shard;
	uint64_t tx = (uint64_t)w * header->tx_chunks_per_shard;
	uint64_t rx = scale->pool_bytes / CHUNK_BYTES;
	const uint64_t chunk = CHUNK_BYTES + sizeof(struct chunk);

	*ret_budget = (struct budget){
		.records = recs * (sizeof(struct rec) + sizeof(struct rec6)),
		.blocks = recs * sizeof(struct blk),
		.receive_pools = rx * chunk,
		.transmit_buffer = tx * chunk,
		.tables = w * budget_tables(header, conf, rx / w + 1),
		.workers = w * budget_worker(conf, w, scale->groups),
		.streams = scale->streams * (uint64_t)BUDGET_STREAM_BYTES +
			   scale->links * (uint64_t)BUDGET_LINK_BYTES,
		.control = budget_control(conf, recs, w, scale->groups),
		.program = BUDGET_PROGRAM_BYTES,
	};
}

uint64_t budget_total(const struct budget *b)
{
	return b->records + b->blocks + b->receive_pools + b->transmit_buffer +
	       b->tables + b->workers + b->streams + b->control + b->program;
}
