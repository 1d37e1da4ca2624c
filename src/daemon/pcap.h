/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pcap - the packets of a worker, as a file that tcpdump and Wireshark read.
 *
 * Workers share nothing, so each writes a file of its own: worker 0 the one
 * that --pcap names, worker i the same name with ".i" added. mergecap(1) puts
 * them together.
 *
 * Classic format with nanoseconds, link type RAW (a packet starts with its IP
 * header). Written through a buffer: an idle worker flushes, so that a file
 * can be watched.
 */
#ifndef XTCP_DAEMON_PCAP_H
#define XTCP_DAEMON_PCAP_H

#include <stdint.h>
#include <sys/uio.h>

#define PCAP_BUFFER_BYTES (256u * 1024u)

struct pcap;

/*
 * Creates (or empties) the file of a worker and writes the header; readable
 * by its owner alone, as it holds what clients say.
 * Returns 0 or a negative errno.
 */
int pcap_open(struct pcap **ret_pcap, const char *path, uint32_t worker);

/*
 * Appends one IP packet. now_ns is the wall clock (CLOCK_REALTIME). An error
 * of the file is logged once, and then nothing more is written.
 */
void pcap_write(struct pcap *p, const struct iovec *iov, int iovcnt,
		uint64_t now_ns);

/* Hands what is buffered to the kernel. */
void pcap_flush(struct pcap *p);

/* Accepts NULL. */
void pcap_close(struct pcap *p);

#endif
