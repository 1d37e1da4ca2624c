/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ownport_check - can ports of this host's own addresses be taken over?
 */
#ifndef XTCP_DAEMON_OWNPORT_CHECK_H
#define XTCP_DAEMON_OWNPORT_CHECK_H

#include "daemon/conf.h"
#include "daemon/netlink.h"

/*
 * Interfaces that are not there, addresses that are not the host's, settings
 * of the kernel that drop the replies: each is one line through report, which
 * says what to do. Returns 0, or a negative errno when anything was reported.
 */
int ownport_check(struct netlink *nl, const struct conf_tun *tun,
		  conf_report report, void *arg);

/*
 * What is no mistake, perhaps, goes to the log: programs that listen on a port
 * and get no more of what comes in there (their names only where /proc tells
 * us), and interfaces whose packets have to be smaller than the device's. Of
 * ports that are not in before (or NULL).
 */
void ownport_warn(struct netlink *nl, const struct conf_tun *tun,
		  const struct conf_tun *before);

#endif
