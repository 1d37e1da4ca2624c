/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_NAMES_H
#define XTCP_RUN_NAMES_H

/* Addresses of connections, as a socket of the server's kind has them. */

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

struct names_addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
	socklen_t len;
};

/*
 * family is 4 or 6, addr as in struct conn, port in host order. For a socket of
 * domain AF_INET6 an IPv4 address becomes ::ffff:a.b.c.d.
 */
void names_make(uint8_t family, const uint8_t *addr, uint16_t port, int domain,
		struct names_addr *ret);

/* Copies as far as *len goes, and sets it to the true length (accept(2)). */
void names_copy(const struct names_addr *name, struct sockaddr *ret_sa,
		socklen_t *len);

#endif
