/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tap - what a worker shows of its packets: to a file (--pcap), and to captures
 * that come and go. The worker's own.
 */
#ifndef XTCP_DAEMON_TAP_H
#define XTCP_DAEMON_TAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "daemon/capture.h"

struct pcap;

struct tap {
	bool on; /* somebody looks: all that the packet path asks */
	struct pcap *pcap; /* or NULL */
	struct capture_ring *rings[CAPTURES_MAX];
	uint32_t n_rings;
};

/* pcap_path may be NULL. Returns 0 or a negative errno. */
int tap_init(struct tap *tap, const char *pcap_path, uint32_t worker);
/* Accepts one that is all zero bytes. */
void tap_fini(struct tap *tap);

/* A packet passes. Only when tap->on. */
void tap_packet(struct tap *tap, enum capture_direction direction,
		const struct iovec *iov, int iovcnt);

/* Takes a reference to the ring's capture. */
void tap_attach(struct tap *tap, struct capture_ring *ring);

/* Now and then: let go of captures that have ended, write what is buffered. */
void tap_tick(struct tap *tap);

#endif
