/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tun - the TUN device: its queues, its addresses' routes, its sysctls.
 *
 * The VIPs are routed to the device and never assigned to an interface. With a
 * descriptor store the device outlives the process; without one there is a
 * blackhole route of a worse metric behind each: while nobody reads, the
 * kernel stays silent instead of answering with ICMP errors or RSTs. All
 * set-up goes through rtnetlink (libmnl); tun_close() undoes only what
 * tun_open() did.
 */
#ifndef XTCP_DAEMON_TUN_H
#define XTCP_DAEMON_TUN_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/conf.h"
#include "daemon/fdstore.h"

struct tun;

/*
 * Create (or take over) the device with n_queues queues of raw IP packets
 * (TUN_QUEUE_FLAGS), set MTU, bring it up, add a route for each VIP that is
 * not the host's own, turn rp_filter and IPv6 autoconfiguration off on it.
 * Descriptors are non-blocking and close-on-exec. What is there already and
 * right is not touched.
 *
 * store: the queues that it has for us are adopted, new ones are put there.
 * NULL: nobody keeps descriptors, and each VIP gets a blackhole as well.
 *
 * Returns 0, or a negative errno after logging what failed and what to do;
 * then blackholes and kept queues of before are still there.
 */
int tun_open(struct tun **ret_tun, const struct conf_tun *conf,
	     uint32_t n_queues, struct fdstore *store);

/* We serve: with a store, take away blackholes that were left without one. */
void tun_settle(struct tun *tun);

/* Descriptor of queue i, owned by the tun. */
int tun_queue(const struct tun *tun, uint32_t i);

/* Index of the device. */
int tun_index(const struct tun *tun);

/*
 * At run time: packets of the host's own IPv6 addresses come in from the
 * device from now on. Returns 0, or a negative errno after logging.
 */
int tun_want_ipv6(struct tun *tun);

/* Whether the device completes checksums, and takes and gives large packets. */
bool tun_offloads(const struct tun *tun);

/*
 * At run time: route one more address to the device, or one less. Adding
 * returns 0, or a negative errno after logging; then nothing has changed.
 */
int tun_add_vip(struct tun *tun, const struct conf_ip *ip);
void tun_remove_vip(struct tun *tun, const struct conf_ip *ip);

/* Remove routes of ours that an earlier xtcpd left for an address, if any. */
void tun_forget_vip(struct tun *tun, const struct conf_ip *ip);

/*
 * Let go of the queues and touch nothing: the store keeps the device, and the
 * next xtcpd finds all as it is. Accepts NULL.
 */
void tun_keep(struct tun *tun);

/*
 * Close the queues and the device, but leave blackholes behind: packets of
 * clients vanish until the next xtcpd takes the blackholes over. For a daemon
 * that will be started again but has nobody to keep the device; accepts NULL.
 */
void tun_leave(struct tun *tun);

/* Undo what tun_open() did; accepts NULL. */
void tun_close(struct tun *tun);

/* Packets that the kernel dropped as a queue of the device was full. 0: not known. */
uint64_t tun_dropped(const char *name);

#endif
