/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_PROTO_ADDR_H
#define XTCP_PROTO_ADDR_H

#include <stddef.h>
#include <sys/socket.h>

/* Longest text that addr_format() makes, with the NUL. */
#define ADDR_TEXT_BYTES 128

/*
 * The address of a framed stream:
 *
 *	unix:PATH	a Unix-domain socket, absolute path; "unix:@NAME" is
 *			in the abstract name space
 *	tcp:HOST:PORT	127.x.y.z or [::1], and a port from 1 to 65535
 *
 * Frames are neither authenticated nor encrypted, so TCP addresses other than
 * the host's own loopback are refused. Nothing is looked up.
 *
 * Returns 0 and sets ret_ss and ret_len; -EINVAL with a static text in
 * ret_why that says what is wrong ("port must be 1..65535").
 */
int addr_parse(const char *text, struct sockaddr_storage *ret_ss,
	       socklen_t *ret_len, const char **ret_why);

/*
 * Writes the address as addr_parse() reads it; cut to size, NUL-terminated.
 * Other families than the three give "unknown". Returns ret_text.
 */
const char *addr_format(const struct sockaddr_storage *ss, socklen_t len,
			char *ret_text, size_t size);

#endif
