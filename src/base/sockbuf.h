/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_BASE_SOCKBUF_H
#define XTCP_BASE_SOCKBUF_H

#include <sys/socket.h>

#define SOCKBUF_BYTES (512 * 1024)

/*
 * Room in a Unix stream: it holds what its sender's buffer has room for, and
 * tells it of room only when three quarters are empty, so with the default
 * writer and reader wait for one another. SOCKBUF_BYTES, which the kernel
 * doubles for what it takes itself, as far as net.core.wmem_max lets. Best
 * effort; a socket of another family is left alone.
 */
static inline void sockbuf_widen(int fd)
{
	int bytes = SOCKBUF_BYTES, domain = 0;
	socklen_t len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
	    domain == AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes,
				 sizeof(bytes));
}

#endif
