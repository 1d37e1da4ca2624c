/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * frames - what the files of the frames target share.
 */
#ifndef XTCP_TESTS_FUZZ_FRAMES_H
#define XTCP_TESTS_FUZZ_FRAMES_H

#include "daemon/groups.h"
#include "fuzz/fuzz.h"
#include "fuzz/world.h"

#define FRAMES_PEERS 4u
#define FRAMES_GROUP WORLD_GROUP

extern struct groups gs;

/* No backend is there; all are gone (after groups_fini()). */
void frames_peers_up(void);
void frames_peers_down(void);

/* Backend i dials in; how: its limits, and how its socket behaves. */
void frames_attach(uint32_t i, uint8_t how);

/* Reads and checks what was written to the backends; learns who came and went. */
void frames_hear(void);

/* An operation of a backend, 0 to 15 in its low five bits. */
void frames_peer(struct fuzz_in *in, uint8_t op);

/* A connection id that is right, or nearly. */
uint64_t frames_conn(struct fuzz_in *in, uint8_t how);

#endif
