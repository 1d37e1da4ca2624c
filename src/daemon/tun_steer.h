/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tun_steer - have the kernel put a packet on the queue of the worker that
 * owns its connection.
 *
 * An eBPF program, built here, computes tuple_worker() of each packet. Where
 * it cannot be had, the kernel's own choice is as good but for the cost: the
 * reader hands over what is another worker's (handover.h).
 */
#ifndef XTCP_DAEMON_TUN_STEER_H
#define XTCP_DAEMON_TUN_STEER_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena/layout.h"

#define TUN_STEER_INSNS_MAX 80u

/*
 * The program for an arena's keys and number of workers. It returns, for a
 * packet from its IP header on:
 *
 *	plain TCP			its worker
 *	other protocols, fragments,	the worker of its remote address and port
 *	IPv6 extension headers		0; so fragments stay together
 *	cut short, or no IP		0
 *
 * Returns the number of instructions that were written.
 */
uint32_t tun_steer_program(const struct arena_header *header,
			   struct bpf_insn ret_insns[TUN_STEER_INSNS_MAX]);

/*
 * Load the program and attach it to the device of a queue, in place of one
 * that is there. Queue i of the device has to be worker i's, or it is of no
 * use. It stays until the device goes or tun_steer_off(). Needs CAP_BPF where
 * kernel.unprivileged_bpf_disabled is not 0.
 * Returns 0; or a negative errno after a log line: then none is attached.
 */
int tun_steer_on(int queue_fd, const char *device,
		 const struct arena_header *header);

/* Back to the kernel's own choice. */
void tun_steer_off(int queue_fd);

#endif
