/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tun_adopt - the queues of a TUN device, from one process to the next.
 *
 * The device and what waits in its queues live as long as somebody holds a
 * descriptor of a queue. They are kept under the names "tun-DEVICE-QUEUE".
 */
#ifndef XTCP_DAEMON_TUN_ADOPT_H
#define XTCP_DAEMON_TUN_ADOPT_H

#include <linux/if_tun.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/fdstore.h"

/* What a queue must be like, and is made with. */
#define TUN_QUEUE_FLAGS (IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | IFF_VNET_HDR)

/*
 * Take the queues of the device that the store has for us: the first n into
 * ret_fds, with -1 for each that is missing. Those beyond n, and whatever
 * bears the name of one but isn't (another device or network namespace, other
 * flags), are detached from the device, closed and forgotten, with a log line.
 * Returns how many were taken. ret_dropped: how many more the kernel may count
 * for the device until the store has let go of them, too.
 */
uint32_t tun_adopt_queues(struct fdstore *store, const char *device, uint32_t n,
			  int *ret_fds, uint32_t *ret_dropped);

/*
 * Attach queue i to the device, which is made if need be; exists: it is there.
 * Returns its descriptor, non-blocking, or a negative errno after logging.
 */
int tun_queue_attach(const char *device, uint32_t i, bool exists);

/*
 * Of the device: whether it may hand over packets of several segments and
 * without checksums, and takes them. Returns whether it does now.
 */
bool tun_queue_offload(int fd, bool on);

/* Have queue i of the device kept; as fdstore_put(). */
int tun_keep_queue(const char *device, uint32_t i, int fd);

#endif
