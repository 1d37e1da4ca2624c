/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pcapng - writes a capture file (draft-ietf-opsawg-pcapng).
 *
 * One section, one interface, times in nanoseconds, in the host's byte order.
 * Each call makes whole blocks, so what was written is a file at any time.
 */
#ifndef XTCP_CTL_PCAPNG_H
#define XTCP_CTL_PCAPNG_H

#include <stdint.h>
#include <stdio.h>

#include "proto/capture.h"

struct pcapng_interface {
	const char *name;
	const char *filter; /* as it was given; "": none */
	uint16_t linktype;
	uint32_t snaplen;
};

/*
 * All write to `out`, buffered. Return 0 or a negative errno.
 * begin: the section and its interface. application: who writes.
 */
int pcapng_begin(FILE *out, const char *application,
		 const struct pcapng_interface *interface);

/* bytes of data: what was kept of the packet. */
int pcapng_packet(FILE *out, const struct capture_packet *packet,
		  const void *data, uint32_t bytes);

/* The interface's counts, as of at_ns. */
int pcapng_end(FILE *out, const struct capture_end *end, uint64_t at_ns);

#endif
