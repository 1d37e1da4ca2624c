/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attach - the socket where applications dial in.
 *
 * In the main thread: reads HELLO and ATTACH of each client, decides on group
 * and worker, and hands the descriptor over; from then on it is a stream like
 * any other.
 */
#ifndef XTCP_DAEMON_ATTACH_H
#define XTCP_DAEMON_ATTACH_H

#include <event2/event.h>
#include <stdint.h>

#include "daemon/conf.h"
#include "daemon/registry.h"

/* Applications between connect and ATTACH at once; more wait in the queue. */
#define ATTACH_PENDING_MAX 64u

struct attach;

/*
 * Listen as conf says. registry and base are borrowed; epoch is the arena's
 * (hello.h). Returns 0, or a negative errno after logging what failed.
 */
int attach_open(struct attach **ret_at, struct event_base *base,
		const struct conf_socket *conf, struct registry *registry,
		uint64_t instance, uint64_t epoch);

/* Clients that are not handed over are dropped. Accepts NULL. */
void attach_close(struct attach *at);

#endif
