/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fdstore - descriptors that outlive the process.
 *
 * Whoever started us (systemd with FileDescriptorStoreMax=, or xtcpd
 * --supervise) keeps copies of descriptors under names, and hands them to the
 * next process: sd_listen_fds_with_names(3), sd_pid_notify_with_fds(3). What
 * comes in is a descriptor under a name and no more: it is for the taker to
 * see what it is.
 */
#ifndef XTCP_DAEMON_FDSTORE_H
#define XTCP_DAEMON_FDSTORE_H

#include <stdbool.h>

/* Bytes of a name, without the NUL; neither ':' nor control characters. */
#define FDSTORE_NAME_MAX 255

/* The arena. The queues of the TUN device: tun_adopt.h. */
#define FDSTORE_ARENA "arena"

/* Whether a descriptor may have this name. */
bool fdstore_name_is_good(const char *name);

struct fdstore;

/*
 * Does anyone keep descriptors for us? Told by NOTIFY_SOCKET, as systemd 252
 * says nothing of its store.
 */
bool fdstore_offered(void);

/*
 * Take what we were handed at start, and the variables that say so out of the
 * environment. Once per process, before other descriptors are opened. What
 * cannot be used is logged. Returns 0 or -ENOMEM; fdstore_close() ends it.
 */
int fdstore_open(struct fdstore **ret_store);

/*
 * The descriptor of this name: close-on-exec, the caller's from now on.
 * -ENOENT: there is none (left). Accepts a NULL store.
 */
int fdstore_take(struct fdstore *store, const char *name);

/*
 * Close what nobody has taken, with a log line, and have it removed from the
 * store as well. Accepts NULL.
 */
void fdstore_drop_unclaimed(struct fdstore *store);

/* Accepts NULL. What was not taken is closed here, but stays in the store. */
void fdstore_close(struct fdstore *store);

/*
 * Have a copy of fd kept under this name. There must be none of the name:
 * fdstore_remove() comes first. A failure is logged; returns 0 or a negative
 * errno, -EINVAL when the name cannot be one.
 */
int fdstore_put(const char *name, int fd);

/* Have all of this name forgotten. */
void fdstore_remove(const char *name);

#endif
