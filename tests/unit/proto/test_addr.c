/* SPDX-License-Identifier: BSD-2-Clause */
#include "proto/addr.h"

#include <errno.h>
#include <string.h>

#include "unit/unit.h"

START_TEST(test_addr_good_ones_read_back_the_same)
{
	static const char *const good[] = {
		"unix:/run/im/a.sock", "unix:@name",	 "tcp:127.0.0.1:1",
		"tcp:127.1.2.3:65535", "tcp:[::1]:8080",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct sockaddr_storage ss;
		char text[ADDR_TEXT_BYTES];
		const char *why = NULL;
		socklen_t len;

		ck_assert_int_eq(addr_parse(good[i], &ss, &len, &why), 0);
		ck_assert_ptr_null(why);
		ck_assert_str_eq(addr_format(&ss, len, text, sizeof(text)),
				 good[i]);
	}
}
END_TEST

START_TEST(test_addr_bad_ones_say_why)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "", "must be unix:PATH or tcp:HOST:PORT" },
		{ "/run/a.sock", "must be unix:PATH or tcp:HOST:PORT" },
		{ "unix:", "path is missing" },
		{ "unix:a.sock", "path must be absolute (or @NAME)" },
		{ "unix:@", "name after @ is missing" },
		{ "tcp:127.0.0.1", "port is missing" },
		{ "tcp:127.0.0.1:", "port must be 1..65535" },
		{ "tcp:127.0.0.1:0", "port must be 1..65535" },
		{ "tcp:127.0.0.1:65536", "port must be 1..65535" },
		{ "tcp:127.0.0.1:99999999999", "port must be 1..65535" },
		{ "tcp:127.0.0.1:-1", "port must be 1..65535" },
		{ "tcp:127.0.0.1:8x", "port must be 1..65535" },
		{ "tcp:localhost:80",
		  "host must be a numeric address (IPv6 in brackets)" },
		{ "tcp:::1:80",
		  "host must be a numeric address (IPv6 in brackets)" },
		{ "tcp:10.0.0.1:80", "address must be 127.x.y.z or [::1]" },
		{ "tcp:[::2]:80", "address must be 127.x.y.z or [::1]" },
		{ "tcp:[::1", "] is missing after the IPv6 address" },
		{ "tcp:[::1]80", "port is missing" },
		{ "tcp:[1]:80", "not an IPv6 address in the brackets" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct sockaddr_storage ss;
		const char *why = NULL;
		socklen_t len;

		ck_assert_int_eq(addr_parse(bad[i].text, &ss, &len, &why),
				 -EINVAL);
		ck_assert_str_eq(why, bad[i].why);
	}
}
END_TEST

START_TEST(test_addr_longest_path_fits)
{
	char text[200] = "unix:/", back[ADDR_TEXT_BYTES];
	struct sockaddr_storage ss;
	const char *why;
	socklen_t len;

	memset(text + 6, 'x', 106);
	ck_assert_int_eq(addr_parse(text, &ss, &len, &why), 0);
	ck_assert_str_eq(addr_format(&ss, len, back, sizeof(back)), text);
	text[6 + 106] = 'x';
	ck_assert_int_eq(addr_parse(text, &ss, &len, &why), -EINVAL);
	ck_assert_str_eq(why, "path is longer than 107 bytes");
}
END_TEST

UNIT_MAIN("proto/addr",
	  UNIT_TESTS(test_addr_good_ones_read_back_the_same,
		     test_addr_bad_ones_say_why, test_addr_longest_path_fits))
