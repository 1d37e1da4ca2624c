/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keeper - the other end of sd_notify(3): what a child process says, and the
 * descriptors that it has kept for the next one. For xtcpd --supervise.
 */
#ifndef XTCP_DAEMON_KEEPER_H
#define XTCP_DAEMON_KEEPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A queue for each of 64 workers, the arena, and some more. */
#define KEEPER_FDS_MAX 128
/* Bytes of one message; the sd_notify(3) of today sends far less. */
#define KEEPER_TEXT_MAX 4096

/* One message. Texts point into `text`; NULL: not in it. */
struct keeper_message {
	bool ready, reloading, stopping, watchdog;
	bool store, forget; /* FDSTORE=1, FDSTOREREMOVE=1 */
	const char *status, *name;
	char text[KEEPER_TEXT_MAX + 1];
};

/* Parse the lines in m->text, which is changed. Unknown ones say nothing. */
void keeper_parse(struct keeper_message *m);

struct keeper;

/*
 * Listens on a socket in the abstract namespace. Returns 0 or a negative
 * errno; keeper_close() ends it.
 */
int keeper_open(struct keeper **ret_keeper);

/* Closes what is kept as well; accepts NULL. */
void keeper_close(struct keeper *keeper);

/* Readable when there is a message; owned by the keeper. */
int keeper_socket(const struct keeper *keeper);

/*
 * Take the next message, and keep or forget descriptors as it says. What does
 * not come from the process `child` (as the kernel says; 0: there is none) is dropped, and so is
 * what is malformed, too long or too much.
 * Returns 1 with a message, 0 when none is waiting (or only those of others;
 * the socket is still readable then).
 */
int keeper_receive(struct keeper *keeper, pid_t child,
		   struct keeper_message *ret_message);

/* How many descriptors are kept. */
uint32_t keeper_count(const struct keeper *keeper);

/* The descriptor of this name, owned by the keeper; -ENOENT. */
int keeper_find(const struct keeper *keeper, const char *name);

/*
 * In a forked child, right before exec: the descriptors get the numbers from 3
 * on, and the environment says so (NOTIFY_SOCKET, LISTEN_FDS, LISTEN_FDNAMES,
 * LISTEN_PID). Returns 0 or a negative errno.
 */
int keeper_hand_over(const struct keeper *keeper);

#endif
