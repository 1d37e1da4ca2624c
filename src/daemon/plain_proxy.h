/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plain_proxy - the PROXY protocol's header, versions 1 and 2.
 *
 * It comes before all else on a connection to a server and tells whose it is:
 * haproxy.org, doc/proxy-protocol.txt, sections 2.1 (text) and 2.2 (binary).
 */
#ifndef XTCP_DAEMON_PLAIN_PROXY_H
#define XTCP_DAEMON_PLAIN_PROXY_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"

/* Section 2.1: the longest line, with CR LF, has 107; a NUL of ours. */
#define PLAIN_PROXY_MAX 108u

/* The client's connection as the header tells it; ports in host byte order. */
struct plain_ends {
	struct conf_ip client, vip; /* of one family */
	uint16_t client_port, vip_port;
};

/* Write the header to ret_header. Returns its bytes; 0 for CONF_PROXY_NONE. */
size_t plain_proxy_write(enum conf_proxy version, const struct plain_ends *ends,
			 uint8_t ret_header[PLAIN_PROXY_MAX]);

#endif
