/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_TOOLS_SWARM_WATCH_H
#define XTCP_TOOLS_SWARM_WATCH_H

/* watch - processor time and memory of processes, from /proc. */

#include <stdint.h>
#include <sys/types.h>

#define SWARM_WATCH_NAME_BYTES 16

struct swarm_usage {
	uint64_t cpu_us; /* user and system, all threads, in steps of 10 ms */
	uint64_t resident_bytes;
};

/* Returns 0 or a negative errno: there is no such process, or no /proc. */
int swarm_watch_read(pid_t pid, struct swarm_usage *ret_usage);

/* Its name, "?" if there is none. */
void swarm_watch_name(pid_t pid, char ret_name[SWARM_WATCH_NAME_BYTES]);

#endif
