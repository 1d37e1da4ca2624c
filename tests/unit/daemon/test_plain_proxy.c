/* SPDX-License-Identifier: BSD-2-Clause */
/* The PROXY protocol's header, byte by byte as its document has it. */
#include <string.h>

#include "../unit.h"
#include "daemon/plain_proxy.h"

static uint8_t header[PLAIN_PROXY_MAX];

/* The example of section 2.1. */
static struct plain_ends ends4(void)
{
	return (struct plain_ends){
		.client = { 4, { 192, 168, 0, 1 } },
		.vip = { 4, { 192, 168, 0, 11 } },
		.client_port = 56324,
		.vip_port = 443,
	};
}

static struct plain_ends ends6(void)
{
	return (struct plain_ends){
		.client = { 6, { 0x20, 0x01, 0x0d, 0xb8, [15] = 0x01 } },
		.vip = { 6, { 0x20, 0x01, 0x0d, 0xb8, [14] = 0x0a, 0xbc } },
		.client_port = 65535,
		.vip_port = 1,
	};
}

START_TEST(test_proxy_none_is_nothing)
{
	const struct plain_ends e = ends4();

	ck_assert_uint_eq(plain_proxy_write(CONF_PROXY_NONE, &e, header), 0);
}
END_TEST

START_TEST(test_proxy_v1_tcp4)
{
	static const char want[] =
		"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
	const struct plain_ends e = ends4();
	size_t n = plain_proxy_write(CONF_PROXY_V1, &e, header);

	ck_assert_uint_eq(n, strlen(want));
	ck_assert_mem_eq(header, want, n);
}
END_TEST

START_TEST(test_proxy_v1_tcp6)
{
	static const char want[] =
		"PROXY TCP6 2001:db8::1 2001:db8::abc 65535 1\r\n";
	const struct plain_ends e = ends6();
	size_t n = plain_proxy_write(CONF_PROXY_V1, &e, header);

	ck_assert_uint_eq(n, strlen(want));
	ck_assert_mem_eq(header, want, n);
}
END_TEST

/* Section 2.1: the worst case of TCP6 has 104 characters. */
START_TEST(test_proxy_v1_longest_fits)
{
	struct plain_ends e = {
		.client.family = 6,
		.vip.family = 6,
		.client_port = 65535,
		.vip_port = 65535,
	};
	size_t n;

	memset(e.client.bytes, 0xff, 16);
	memset(e.vip.bytes, 0xff, 16);
	n = plain_proxy_write(CONF_PROXY_V1, &e, header);
	ck_assert_uint_eq(n, 104);
	ck_assert_mem_eq(header + n - 2, "\r\n", 2);
}
END_TEST

START_TEST(test_proxy_v2_tcp4)
{
	static const uint8_t want[] = {
		0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a,
		'Q',  'U',  'I',  'T',	0x0a, 0x21, /* version 2, PROXY */
		0x11, 0x00, 12, /* TCP over IPv4, 12 bytes of addresses */
		192,  168,  0,	  1,	192,  168,  0,
		11,   0xdc, 0x04, 0x01, 0xbb,
	};
	const struct plain_ends e = ends4();
	size_t n = plain_proxy_write(CONF_PROXY_V2, &e, header);

	ck_assert_uint_eq(n, sizeof(want));
	ck_assert_mem_eq(header, want, n);
}
END_TEST

START_TEST(test_proxy_v2_tcp6)
{
	static const uint8_t want[] = {
		0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 'Q',	'U',
		'I',  'T',  0x0a, 0x21, 0x21, 0x00, 36, /* TCP over IPv6 */
		0x20, 0x01, 0x0d, 0xb8, 0,    0,    0,	  0,	0,
		0,    0,    0,	  0,	0,    0,    0x01, 0x20, 0x01,
		0x0d, 0xb8, 0,	  0,	0,    0,    0,	  0,	0,
		0,    0,    0,	  0x0a, 0xbc, 0xff, 0xff, 0x00, 0x01,
	};
	const struct plain_ends e = ends6();
	size_t n = plain_proxy_write(CONF_PROXY_V2, &e, header);

	ck_assert_uint_eq(n, sizeof(want));
	ck_assert_mem_eq(header, want, n);
}
END_TEST

UNIT_MAIN("daemon/plain_proxy",
	  UNIT_TESTS(test_proxy_none_is_nothing, test_proxy_v1_tcp4,
		     test_proxy_v1_tcp6, test_proxy_v1_longest_fits,
		     test_proxy_v2_tcp4, test_proxy_v2_tcp6))
