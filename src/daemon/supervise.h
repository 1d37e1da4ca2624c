/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * supervise - xtcpd --supervise: a small parent that keeps the descriptors of
 * an xtcpd, starts it again when it dies or hangs, and upgrades it.
 */
#ifndef XTCP_DAEMON_SUPERVISE_H
#define XTCP_DAEMON_SUPERVISE_H

#include <stdbool.h>

/* Tells a child whose child it is: a process id. */
#define SUPERVISE_ENVIRONMENT "XTCPD_SUPERVISOR"

struct supervise_options {
	/* The program, an absolute path: looked up anew for each start. */
	const char *program;
	/* Arguments that serve, and that check what would serve; NULL-ended. */
	char *const *serve;
	char *const *check;
};

/*
 * Run until SIGTERM or SIGINT. Returns the exit status: that of the program
 * when it never served, else 0, or 1 when it could not be ended in order.
 */
int supervise_run(const struct supervise_options *options);

/*
 * The absolute path of the program that was started as argv0: symbolic links
 * in it stay, so that an upgrade may switch one. On the heap; NULL with errno.
 */
char *supervise_program(const char *argv0);

/*
 * In the child: is there a supervisor that started us? ret_lost (set if so):
 * it has died since.
 */
bool supervise_is_parent(bool *ret_lost);

#endif
