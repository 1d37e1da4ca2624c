/* SPDX-License-Identifier: BSD-2-Clause */
#include "run/names.h"

#include <string.h>

#include "base/bytes.h"

static void names_make6(uint8_t family, const uint8_t *addr, uint16_t port,
			struct names_addr *ret)
{
	uint8_t *to = ret->in6.sin6_addr.s6_addr;

	ret->len = sizeof(ret->in6);
	ret->in6.sin6_family = AF_INET6;
	ret->in6.sin6_port = htons(port);
	if (family == 6) {
		memcpy(to, addr, 16);
		return;
	}
	memset(to + 10, 0xff, 2);
	memcpy(to + 12, addr, 4);
}

void names_make(uint8_t family, const uint8_t *addr, uint16_t port, int domain,
		struct names_addr *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (family == 6 || domain == AF_INET6) {
		names_make6(family, addr, port, ret);
		return;
	}
	ret->len = sizeof(ret->in);
	ret->in.sin_family = AF_INET;
	ret->in.sin_port = htons(port);
	memcpy(&ret->in.sin_addr, addr, 4);
}

void names_copy(const struct names_addr *name, struct sockaddr *ret_sa,
		socklen_t *len)
{
	memcpy(ret_sa, &name->sa, min_size(*len, name->len));
	*len = name->len;
}
