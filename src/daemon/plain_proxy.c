/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/plain_proxy.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* Section 2.2: what no other protocol begins with. */
static const uint8_t proxy_v2_signature[12] = {
	0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a,
};

#define PROXY_V2_PROXY 0x21 /* version 2, command PROXY */
#define PROXY_V2_TCP4 0x11
#define PROXY_V2_TCP6 0x21

static size_t proxy_write_v1(const struct plain_ends *e,
			     uint8_t ret_header[PLAIN_PROXY_MAX])
{
	bool v6 = e->client.family == 6;
	int family = v6 ? AF_INET6 : AF_INET;
	char client[INET6_ADDRSTRLEN], vip[INET6_ADDRSTRLEN];

	inet_ntop(family, e->client.bytes, client, sizeof(client));
	inet_ntop(family, e->vip.bytes, vip, sizeof(vip));
	return (size_t)snprintf((char *)ret_header, PLAIN_PROXY_MAX,
				"PROXY TCP%d %s %s %u %u\r\n", v6 ? 6 : 4,
				client, vip, e->client_port, e->vip_port);
}

static size_t proxy_put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
	return 2;
}

static size_t proxy_write_v2(const struct plain_ends *e,
			     uint8_t ret_header[PLAIN_PROXY_MAX])
{
	bool v6 = e->client.family == 6;
	size_t address = v6 ? 16 : 4, n = sizeof(proxy_v2_signature);
	uint8_t *h = ret_header;

	memcpy(h, proxy_v2_signature, n);
	h[n++] = PROXY_V2_PROXY;
	h[n++] = v6 ? PROXY_V2_TCP6 : PROXY_V2_TCP4;
	n += proxy_put16(h + n, (uint16_t)(2 * address + 4));
	memcpy(h + n, e->client.bytes, address);
	memcpy(h + n + address, e->vip.bytes, address);
	n += 2 * address;
	n += proxy_put16(h + n, e->client_port);
	n += proxy_put16(h + n, e->vip_port);
	return n;
}

size_t plain_proxy_write(enum conf_proxy version, const struct plain_ends *ends,
			 uint8_t ret_header[PLAIN_PROXY_MAX])
{
	switch (version) {
	case CONF_PROXY_V1:
		return proxy_write_v1(ends, ret_header);
	case CONF_PROXY_V2:
		return proxy_write_v2(ends, ret_header);
	case CONF_PROXY_NONE:
		break;
	}
	return 0;
}
