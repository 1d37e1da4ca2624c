/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tun - the TUN device: its queues, its addresses' routes, its sysctls.
 *
 * The VIPs are routed to the device and never assigned to an interface, with
 * a blackhole route of a worse metric behind each: while nobody reads, the
 * kernel stays silent instead of answering with ICMP errors or RSTs. All
 * set-up goes through rtnetlink (libmnl); tun_close() undoes only what
 * tun_open() did.
 */
#ifndef XTCP_DAEMON_TUN_H
#define XTCP_DAEMON_TUN_H

#include <stdint.h>

#include "daemon/conf.h"

struct tun;

/*
 * Create (or take over) the device with n_queues queues of raw IP packets
 * (IFF_TUN, IFF_NO_PI, IFF_MULTI_QUEUE), set MTU, bring it up, add routes and
 * blackholes for each VIP, turn rp_filter and IPv6 autoconfiguration off on
 * it. Descriptors are non-blocking and close-on-exec.
 * Returns 0, or a negative errno after logging what failed and what to do.
 */
int tun_open(struct tun **ret_tun, const struct conf_tun *conf,
	     uint32_t n_queues);

/* Descriptor of queue i, owned by the tun. */
int tun_queue(const struct tun *tun, uint32_t i);

/*
 * Close the queues and the device, but leave the blackholes behind: packets of
 * clients vanish until the next xtcpd takes the blackholes over. For a daemon
 * that will be started again; accepts NULL.
 */
void tun_leave(struct tun *tun);

/* Undo what tun_open() did; accepts NULL. */
void tun_close(struct tun *tun);

#endif
