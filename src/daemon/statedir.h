/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * statedir - the directory that holds the arena and the lock.
 */
#ifndef XTCP_DAEMON_STATEDIR_H
#define XTCP_DAEMON_STATEDIR_H

/* Everybody may reach the sockets in it, nobody else may look or write. */
#define STATEDIR_MODE 0711

/*
 * Make the directory if it is not there (its parents have to be), and check
 * that nobody but root and the user we run as could put files into it, or
 * another directory in its place.
 * Returns 0, or a negative errno that was logged: -EPERM: somebody could.
 */
int statedir_prepare(const char *path);

/*
 * Take the lock of the directory, which goes with the descriptor.
 * Returns the descriptor, or a negative errno that was logged: -EBUSY: another
 * process has it.
 */
int statedir_lock(const char *path);

#endif
