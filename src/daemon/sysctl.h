/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sysctl - settings of network interfaces, /proc/sys/net/FAMILY/conf/LINK/KEY,
 * whose value is one digit.
 */
#ifndef XTCP_DAEMON_SYSCTL_H
#define XTCP_DAEMON_SYSCTL_H

/* Its first character; -1 when it cannot be read. */
int sysctl_link_get(const char *family, const char *link, const char *key);

/*
 * Set it, if it is not so already. Returns 0, or a negative errno after a
 * warning in the log.
 */
int sysctl_link_set(const char *family, const char *link, const char *key,
		    char value);

#endif
