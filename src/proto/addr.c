/* SPDX-License-Identifier: BSD-2-Clause */
#include "proto/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static const char *addr_parse_unix(const char *path,
				   struct sockaddr_storage *ret_ss,
				   socklen_t *ret_len)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t n = strlen(path);

	if (n == 0)
		return "path is missing";
	if (path[0] != '/' && path[0] != '@')
		return "path must be absolute (or @NAME)";
	if (path[0] == '@' && n == 1)
		return "name after @ is missing";
	if (n >= sizeof(un.sun_path))
		return "path is longer than 107 bytes";
	memcpy(un.sun_path, path, n);
	if (path[0] == '@')
		un.sun_path[0] = '\0';
	memset(ret_ss, 0, sizeof(*ret_ss));
	memcpy(ret_ss, &un, sizeof(un));
	/* An abstract name ends with the address, a path with its NUL. */
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n +
			       (path[0] == '@' ? 0 : 1));
	return NULL;
}

static int addr_parse_port(const char *text, uint16_t *ret_port)
{
	unsigned int port = 0;

	if (*text == '\0' || strlen(text) > 5)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		port = port * 10 + (unsigned int)(*text - '0');
	}
	if (port < 1 || port > 65535)
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

/* Copies the host between from and to; -EINVAL when it is too long. */
static int addr_copy_host(const char *from, const char *to, char *ret_host,
			  size_t size)
{
	size_t n = (size_t)(to - from);

	if (n >= size)
		return -EINVAL;
	memcpy(ret_host, from, n);
	ret_host[n] = '\0';
	return 0;
}

static const char *addr_parse_tcp6(const char *text,
				   struct sockaddr_storage *ret_ss,
				   socklen_t *ret_len)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	const char *end = strchr(text, ']');
	char host[INET6_ADDRSTRLEN];
	uint16_t port;

	if (!end)
		return "] is missing after the IPv6 address";
	if (addr_copy_host(text + 1, end, host, sizeof(host)) < 0 ||
	    inet_pton(AF_INET6, host, &in6.sin6_addr) != 1)
		return "not an IPv6 address in the brackets";
	if (!IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr))
		return "address must be 127.x.y.z or [::1]";
	if (end[1] != ':')
		return "port is missing";
	if (addr_parse_port(end + 2, &port) < 0)
		return "port must be 1..65535";
	in6.sin6_port = htons(port);
	memset(ret_ss, 0, sizeof(*ret_ss));
	memcpy(ret_ss, &in6, sizeof(in6));
	*ret_len = sizeof(in6);
	return NULL;
}

static const char *addr_parse_tcp(const char *text,
				  struct sockaddr_storage *ret_ss,
				  socklen_t *ret_len)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	const char *colon = strrchr(text, ':');
	char host[INET_ADDRSTRLEN];
	uint16_t port;

	if (text[0] == '[')
		return addr_parse_tcp6(text, ret_ss, ret_len);
	if (!colon)
		return "port is missing";
	if (addr_copy_host(text, colon, host, sizeof(host)) < 0 ||
	    inet_pton(AF_INET, host, &in.sin_addr) != 1)
		return "host must be a numeric address (IPv6 in brackets)";
	if (ntohl(in.sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
		return "address must be 127.x.y.z or [::1]";
	if (addr_parse_port(colon + 1, &port) < 0)
		return "port must be 1..65535";
	in.sin_port = htons(port);
	memset(ret_ss, 0, sizeof(*ret_ss));
	memcpy(ret_ss, &in, sizeof(in));
	*ret_len = sizeof(in);
	return NULL;
}

int addr_parse(const char *text, struct sockaddr_storage *ret_ss,
	       socklen_t *ret_len, const char **ret_why)
{
	const char *why;

	if (strncmp(text, "unix:", 5) == 0)
		why = addr_parse_unix(text + 5, ret_ss, ret_len);
	else if (strncmp(text, "tcp:", 4) == 0)
		why = addr_parse_tcp(text + 4, ret_ss, ret_len);
	else
		why = "must be unix:PATH or tcp:HOST:PORT";
	if (!why)
		return 0;
	*ret_why = why;
	return -EINVAL;
}

static void addr_format_unix(const struct sockaddr_storage *ss, socklen_t len,
			     char *ret_text, size_t size)
{
	size_t n = 0, off = offsetof(struct sockaddr_un, sun_path);
	struct sockaddr_un un;

	memcpy(&un, ss, sizeof(un));
	if (len > off)
		n = len - off;
	if (n > sizeof(un.sun_path))
		n = sizeof(un.sun_path);
	if (n > 0 && un.sun_path[0] == '\0')
		un.sun_path[0] = '@';
	n = strnlen(un.sun_path, n);
	snprintf(ret_text, size, "unix:%.*s", (int)n, un.sun_path);
}

const char *addr_format(const struct sockaddr_storage *ss, socklen_t len,
			char *ret_text, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "";
	struct sockaddr_in6 in6;
	struct sockaddr_in in;

	switch (ss->ss_family) {
	case AF_UNIX:
		addr_format_unix(ss, len, ret_text, size);
		break;
	case AF_INET:
		memcpy(&in, ss, sizeof(in));
		inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
		snprintf(ret_text, size, "tcp:%s:%u", host,
			 (unsigned int)ntohs(in.sin_port));
		break;
	case AF_INET6:
		memcpy(&in6, ss, sizeof(in6));
		inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
		snprintf(ret_text, size, "tcp:[%s]:%u", host,
			 (unsigned int)ntohs(in6.sin6_port));
		break;
	default:
		snprintf(ret_text, size, "unknown");
	}
	return ret_text;
}
