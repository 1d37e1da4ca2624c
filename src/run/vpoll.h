/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_VPOLL_H
#define XTCP_RUN_VPOLL_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/select.h>

/* Whether one of the n descriptors is virtual. */
bool vpoll_concerns(const struct pollfd *fds, nfds_t n);

/*
 * ppoll(2) where some are virtual; timeout_ns -1: for ever. Returns the number
 * of ready ones or a negative errno.
 */
int vpoll(struct pollfd *fds, nfds_t n, int64_t timeout_ns,
	  const sigset_t *mask);

/* Whether one of the descriptors in the sets, which may be NULL, is virtual. */
bool vselect_concerns(int n, const fd_set *r, const fd_set *w, const fd_set *e);

/* pselect(2) where some are virtual, by vpoll(). */
int vselect(int n, fd_set *r, fd_set *w, fd_set *e, int64_t timeout_ns,
	    const sigset_t *mask);

#endif
