/* SPDX-License-Identifier: BSD-2-Clause */
/* What the launcher hands to the library, and addresses of connections. */
#include <string.h>

#include "run/names.h"
#include "run/run.h"
#include "unit/unit.h"

START_TEST(test_ports_are_read)
{
	struct run_options o = { 0 };

	ck_assert(run_options_port(&o, 1));
	ck_assert(!run_options_port(&o, 0));
	ck_assert_int_eq(run_options_ports(&o, "80,443"), 0);
	ck_assert_int_eq(run_options_ports(&o, "65535"), 0);
	ck_assert_uint_eq(o.n_ports, 3);
	ck_assert(run_options_port(&o, 80));
	ck_assert(run_options_port(&o, 443));
	ck_assert(run_options_port(&o, 65535));
	ck_assert(!run_options_port(&o, 81));
}
END_TEST

START_TEST(test_bad_ports_are_refused)
{
	static const char *const bad[] = {
		"",	  ",",
		"0",	  "65536",
		"80,",	  ",80",
		"80,,81", "-1",
		"+1",	  " 80",
		"80 ",	  "x",
		"80x",	  "99999999999999999999",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct run_options o = { 0 };

		ck_assert_int_eq(run_options_ports(&o, bad[i]), -EINVAL);
	}
}
END_TEST

START_TEST(test_ports_are_bounded)
{
	struct run_options o = { 0 };

	for (int i = 0; i < RUN_PORTS_MAX; i++)
		ck_assert_int_eq(run_options_ports(&o, "7"), 0);
	ck_assert_int_eq(run_options_ports(&o, "7"), -E2BIG);
}
END_TEST

START_TEST(test_ack_is_read)
{
	struct run_options o = { 0 };

	ck_assert_int_eq(run_options_ack(&o, "write"), 0);
	ck_assert_int_eq(o.ack, RUN_ACK_WRITE);
	ck_assert_int_eq(run_options_ack(&o, "writes"), -EINVAL);
	ck_assert_int_eq(run_options_ack(&o, ""), -EINVAL);
	ck_assert_int_eq(o.ack, RUN_ACK_WRITE);
	ck_assert_int_eq(run_options_ack(&o, "read"), 0);
	ck_assert_int_eq(o.ack, RUN_ACK_READ);
}
END_TEST

START_TEST(test_options_come_from_the_environment)
{
	struct run_options o = { 0 };

	setenv(RUN_ENV_PORTS, "80,81", 1);
	setenv(RUN_ENV_ACK, "write", 1);
	unsetenv(RUN_ENV_VERBOSE);
	run_options_load(&o);
	ck_assert_uint_eq(o.n_ports, 2);
	ck_assert_int_eq(o.ack, RUN_ACK_WRITE);
	ck_assert(!o.verbose);
	setenv(RUN_ENV_PORTS, "80,bad", 1);
	setenv(RUN_ENV_ACK, "bad", 1);
	setenv(RUN_ENV_VERBOSE, "1", 1);
	run_options_load(&o);
	ck_assert_uint_eq(o.n_ports, 2);
	ck_assert_int_eq(o.ack, RUN_ACK_WRITE);
	ck_assert(o.verbose);
}
END_TEST

static const uint8_t v4[16] = { 192, 0, 2, 7 };
static const uint8_t v6[16] = { 0x20, 1, 0xd, 0xb8, [15] = 9 };

START_TEST(test_names_are_of_the_sockets_kind)
{
	static const uint8_t mapped[16] = { [10] = 0xff, 0xff, 192, 0, 2, 7 };
	struct names_addr n;

	names_make(4, v4, 1234, AF_INET, &n);
	ck_assert_int_eq(n.in.sin_family, AF_INET);
	ck_assert_uint_eq(ntohs(n.in.sin_port), 1234);
	ck_assert_mem_eq(&n.in.sin_addr, v4, 4);
	ck_assert_uint_eq(n.len, sizeof(struct sockaddr_in));
	names_make(4, v4, 1234, AF_INET6, &n);
	ck_assert_int_eq(n.in6.sin6_family, AF_INET6);
	ck_assert_mem_eq(&n.in6.sin6_addr, mapped, 16);
	ck_assert_uint_eq(ntohs(n.in6.sin6_port), 1234);
	names_make(6, v6, 1234, AF_INET6, &n);
	ck_assert_mem_eq(&n.in6.sin6_addr, v6, 16);
	ck_assert_uint_eq(n.len, sizeof(struct sockaddr_in6));
}
END_TEST

START_TEST(test_names_are_cut_to_the_callers_room)
{
	uint8_t buf[32];
	struct names_addr n;
	socklen_t len = 6;

	memset(buf, 0xee, sizeof(buf));
	names_make(4, v4, 1234, AF_INET, &n);
	names_copy(&n, (struct sockaddr *)(void *)buf, &len);
	ck_assert_uint_eq(len, sizeof(struct sockaddr_in));
	ck_assert_mem_eq(buf, &n.in, 6);
	ck_assert_uint_eq(buf[6], 0xee);
	len = sizeof(buf);
	names_copy(&n, (struct sockaddr *)(void *)buf, &len);
	ck_assert_uint_eq(len, sizeof(struct sockaddr_in));
	ck_assert_uint_eq(buf[len], 0xee);
}
END_TEST

UNIT_MAIN("run/options",
	  UNIT_TESTS(test_ports_are_read, test_bad_ports_are_refused,
		     test_ports_are_bounded, test_ack_is_read,
		     test_options_come_from_the_environment,
		     test_names_are_of_the_sockets_kind,
		     test_names_are_cut_to_the_callers_room))
