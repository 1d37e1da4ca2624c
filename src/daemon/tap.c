/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/tap.h"

#include <time.h>

#include "base/units.h"
#include "daemon/pcap.h"

static void tap_update(struct tap *tap)
{
	tap->on = tap->pcap || tap->n_rings > 0;
}

int tap_init(struct tap *tap, const char *pcap_path, uint32_t worker)
{
	int err = 0;

	*tap = (struct tap){ 0 };
	if (pcap_path)
		err = pcap_open(&tap->pcap, pcap_path, worker);
	tap_update(tap);
	return err;
}

void tap_fini(struct tap *tap)
{
	pcap_close(tap->pcap);
	for (uint32_t i = 0; i < tap->n_rings; i++)
		capture_unref(tap->rings[i]->capture);
	*tap = (struct tap){ 0 };
}

void tap_packet(struct tap *tap, enum capture_direction direction,
		const struct iovec *iov, int iovcnt)
{
	struct timespec ts;
	uint64_t now_ns;

	clock_gettime(CLOCK_REALTIME, &ts);
	now_ns = (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
	if (tap->pcap)
		pcap_write(tap->pcap, iov, iovcnt, now_ns);
	for (uint32_t i = 0; i < tap->n_rings; i++)
		capture_put(tap->rings[i], direction, iov, iovcnt, now_ns);
}

static void tap_let_go(struct tap *tap)
{
	for (uint32_t i = tap->n_rings; i-- > 0;) {
		if (!capture_is_stopped(tap->rings[i]->capture))
			continue;
		capture_unref(tap->rings[i]->capture);
		tap->rings[i] = tap->rings[--tap->n_rings];
	}
	tap_update(tap);
}

void tap_attach(struct tap *tap, struct capture_ring *ring)
{
	tap_let_go(tap);
	/* All that are not stopped have a place: captures end before others begin. */
	if (tap->n_rings == CAPTURES_MAX || capture_is_stopped(ring->capture)) {
		capture_unref(ring->capture);
		return;
	}
	tap->rings[tap->n_rings++] = ring;
	tap_update(tap);
}

void tap_tick(struct tap *tap)
{
	if (!tap->on)
		return;
	tap_let_go(tap);
	if (tap->pcap)
		pcap_flush(tap->pcap);
}
