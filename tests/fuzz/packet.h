/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * packet - what the files of the packet target share.
 */
#ifndef XTCP_TESTS_FUZZ_PACKET_H
#define XTCP_TESTS_FUZZ_PACKET_H

#include "fuzz/fuzz.h"
#include "fuzz/world.h"

/* A small or an awkward number to add: how 0 to 11, else one of the input's. */
uint32_t packet_delta(struct fuzz_in *in, uint8_t how);

/* A length, at most 1440. */
uint32_t packet_len(struct fuzz_in *in);

/* A new execution: no pokes are due. */
void packet_segs_reset(void);

/* Operations; each takes its operands from the input. */
void packet_segment(struct fuzz_in *in, struct world_client *cl);
void packet_icmp(struct fuzz_in *in, struct world_client *cl);
void packet_fragments(struct fuzz_in *in, struct world_client *cl);
void packet_raw(struct fuzz_in *in);
/* What a device that offloads says of the next packet; text in one that is large. */
void packet_offload(struct fuzz_in *in, struct world_client *cl);
/* A byte to be written over the next packet. */
void packet_take_poke(struct fuzz_in *in);

/* --- packet_calls.c: the daemon's side --------------------------------- */

/*
 * Delivers at most max bytes to the application, and compares them. Returns how
 * many that were.
 */
uint32_t packet_deliver(struct world_client *cl, uint32_t max);

/* A reply of the application's: what it says is right, or nearly. */
void packet_reply(struct fuzz_in *in, struct world_client *cl);

/* Close, abort, shutdown, accept ... */
void packet_call(struct fuzz_in *in, struct world_client *cl);

/* A request and its reply, all of it right. */
void packet_exchange(struct fuzz_in *in, struct world_client *cl);

/* The daemon's answers to what happened. */
void packet_events(void);

/* The group's settings, from two bytes. */
void packet_group_bits(struct stack_group *g, uint32_t how);

/* From a microsecond to weeks. */
void packet_time(struct fuzz_in *in);

#endif
