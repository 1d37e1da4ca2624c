/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter - programs of the classic Berkeley packet filter, checked and run.
 *
 * A program comes over the control socket, so it is hostile until checked:
 * filter_check() accepts only what filter_run() can't be harmed by. Jumps go
 * forward, so a run takes at most as many steps as there are instructions.
 *
 * Source: McCanne and Jacobson, "The BSD Packet Filter", 1993; the instruction
 * codes are those of every bpf(4).
 */
#ifndef XTCP_DAEMON_FILTER_H
#define XTCP_DAEMON_FILTER_H

#include <stdint.h>
#include <sys/uio.h>

struct filter_insn {
	uint16_t code;
	uint8_t jt, jf; /* how far to go on, from the next instruction */
	uint32_t k;
};

/*
 * Is it a program? Returns NULL, or what is wrong with it, and with which
 * instruction.
 */
const char *filter_check(const struct filter_insn *insns, uint32_t n,
			 uint32_t *ret_at);

/*
 * Run a checked program of n instructions over a packet in pieces of len bytes
 * in all. What it returns: 0, the packet doesn't match. To read beyond the end,
 * or to divide by zero, is no match.
 */
uint32_t filter_run(const struct filter_insn *insns, const struct iovec *iov,
		    int iovcnt, uint32_t len);

#endif
