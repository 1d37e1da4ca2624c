/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ownport - ports of the host's own addresses, taken over: the sections
 * "listen" of the configuration.
 */
#ifndef XTCP_DAEMON_OWNPORT_H
#define XTCP_DAEMON_OWNPORT_H

#include "daemon/conf.h"
#include "daemon/fdstore.h"
#include "daemon/tun.h"

struct ownport;

/*
 * Divert the packets of all ports in conf->tun.own to the device. tun is
 * borrowed until the end; store as for tun_open(): with one, what is needed is
 * kept there. Without ports this only finds out whether an earlier xtcpd left
 * any. Returns 0, or a negative errno after logging; then all is as an earlier
 * xtcpd left it.
 */
int ownport_open(struct ownport **ret_op, const struct conf *conf,
		 struct tun *tun, struct fdstore *store);

/* We serve: what an earlier xtcpd left, and nobody wants, goes. Accepts NULL. */
void ownport_settle(struct ownport *op);

/*
 * At a reload: the ports of conf in place of those before, at one stroke.
 * Returns 0, or a negative errno after a line through report, and nothing has
 * changed. Accepts NULL.
 */
int ownport_change(struct ownport *op, const struct conf *conf,
		   conf_report report, void *arg);

/* Every few seconds: an interface that came back is hooked again. Accepts NULL. */
void ownport_tick(struct ownport *op);

/*
 * The end, as of the device: tun_keep(), tun_leave(), tun_close(). Left behind,
 * the ports stay silent until the next xtcpd. All accept NULL.
 */
void ownport_keep(struct ownport *op);
void ownport_leave(struct ownport *op);
void ownport_close(struct ownport *op);

#endif
