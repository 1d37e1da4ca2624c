/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration's ports of the host's own addresses. */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "daemon/conf.h"
#include "unit/daemon/scratch.h"
#include "unit/unit.h"

#define TUN "tun \"xtcp0\" { vip = {\"192.0.2.10\"} }\n"

static char reported[4096];
static unsigned int n_reported;

static void collect(void *arg, const char *line)
{
	(void)arg;
	ck_assert_uint_lt(strlen(reported) + strlen(line) + 2,
			  sizeof(reported));
	strcat(reported, line);
	strcat(reported, "\n");
	n_reported++;
}

static struct conf *load(const char *text)
{
	reported[0] = '\0';
	n_reported = 0;
	return conf_load(scratch_write("x.conf", text, strlen(text)), collect,
			 NULL);
}

static struct conf *load_good(const char *text)
{
	struct conf *c = load(text);

	ck_assert_msg(c != NULL, "%s", reported);
	return c;
}

/* One thing that is wrong, and "LINE: KEY: what" of it. */
static const struct {
	const char *text, *expected;
} wrong[] = {
	{ "tun \"x\" { vip = {\"192.0.2.1\"}\nproxy-arp = {eth0, lo} }",
	  "2: proxy-arp: \"lo\" is not the name of an interface to a network" },
	{ TUN "listen \"eth0\" { port = 1 }",
	  "2: address: missing: each listen needs it" },
	{ TUN "listen \"eth0\" { address = \"192.0.2.1\" }",
	  "2: port: missing: each listen needs it" },
	{ TUN
	  "listen \"eth0\" {\naddress = {\"192.0.2.1\",\n\"192.0.2.10\"}\nport = 1 }",
	  "4: address: 192.0.2.10 is in vip as well: an address is either the "
	  "host's own or routed to the tun" },
	{ TUN
	  "listen \"eth0\" { address = {\"192.0.2.1\", \"192.0.2.2\"}\nport = {1,\n0} }",
	  "4: port: \"0\" is not a port: must be 1 to 65535" },
	{ TUN "listen \"eth0\" { address = \"192.0.2.1\"\nport = 65536 }",
	  "3: port: \"65536\" is not a port: must be 1 to 65535" },
	{ TUN "listen \"eth0\" { address = \"fe80::1\" port = 1 }",
	  "2: address: fe80::1 is a link-local address: clients could not reach it" },
	{ TUN "listen \"eth0\" {\naddress = \"192.0.2.1\" port = {1, 2, 1} }",
	  "3: listen \"eth0\": 192.0.2.1:1 is there twice" },
	{ TUN "listen \"eth0:a\" { address = \"192.0.2.1\" port = 1 }\n"
	      "listen \"eth0:b\" { address = \"192.0.2.1\" port = 1 }",
	  "3: listen \"eth0\": 192.0.2.1:1 is there twice" },
	{ TUN "listen \"eth0\" { address = \"192.0.2.1\" port = 1 }\n"
	      "listen \"eth0\" { address = \"192.0.2.2\" port = 1 }",
	  "3: 'eth0': another one here has this name already" },
	{ TUN "listen \"xtcp0\" { address = \"192.0.2.1\" port = 1 }",
	  "2: listen \"xtcp0\": that is the tun itself: name the interface that "
	  "clients' packets come in on" },
	{ TUN "listen \"lo\" { address = \"192.0.2.1\" port = 1 }",
	  "2: listen \"lo\": programs on this host cannot be served so: give them "
	  "a vip" },
	{ TUN "listen \"a/b\" { address = \"192.0.2.1\" port = 1 }",
	  "2: listen \"a/b\": the title is the name of an interface, or "
	  "INTERFACE:LABEL" },
};

START_TEST(test_conf_one_wrong_port_is_named_with_its_line)
{
	char expected[512];

	ck_assert_ptr_null(load(wrong[_i].text));
	snprintf(expected, sizeof(expected), "%s:%s\n", scratch_path("x.conf"),
		 wrong[_i].expected);
	ck_assert_str_eq(reported, expected);
}
END_TEST

START_TEST(test_conf_own_ports_are_vips_of_their_own_kind)
{
	struct conf *c = load_good(
		TUN
		"listen \"eth0\" { address = {\"192.0.2.1\", \"2001:db8::1\"}"
		" port = {5222, 443} }\n"
		"listen \"eth0:ssh\" { address = \"192.0.2.1\" port = 22 }\n"
		"listen \"eth1\" { address = \"192.0.2.1\" port = 443 }\n"
		"pool \"p\" { group \"g\" { port = 443 vip = \"2001:db8::1\" } }");
	struct conf_own own = c->tun.own[0];

	ck_assert_uint_eq(c->tun.n_vips, 3);
	ck_assert_uint_eq(c->tun.own_vips, 6);
	ck_assert_uint_eq(c->groups[0].vip_mask, 4);
	ck_assert_uint_eq(c->tun.n_own, 6);
	ck_assert_str_eq(own.link, "eth0");
	ck_assert_uint_eq(own.port, 5222);
	ck_assert(conf_has_own(&c->tun, &own));
	own.port = 22;
	ck_assert(conf_has_own(&c->tun, &own));
	memcpy(own.link, "eth1", 5);
	ck_assert(!conf_has_own(&c->tun, &own));
	ck_assert_int_eq(conf_find_vip_as(&c->tun, &own.ip, true), 1);
	ck_assert_int_eq(conf_find_vip_as(&c->tun, &own.ip, false), -1);
	conf_free(c);
}
END_TEST

START_TEST(test_conf_own_ports_need_no_vip)
{
	struct conf *c = load_good("tun \"x\" { }\nlisten \"eth0\" "
				   "{ address = \"192.0.2.1\" port = 1 }");

	ck_assert_uint_eq(c->tun.n_vips, 1);
	ck_assert_uint_eq(c->tun.own_vips, 1);
	conf_free(c);
}
END_TEST

START_TEST(test_conf_own_ports_are_bounded)
{
	char text[8192];
	size_t n = (size_t)snprintf(text, sizeof(text),
				    TUN "listen \"eth0\" { port = {1");

	for (int i = 2; i <= 257; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, ",%d", i);
	snprintf(text + n, sizeof(text) - n,
		 "}\naddress = {\"192.0.2.1\", \"192.0.2.2\"} }");
	ck_assert_ptr_null(load(text));
	ck_assert_uint_eq(n_reported, 1);
	ck_assert_ptr_nonnull(strstr(
		reported, "listen: more than 512 ports of addresses in all"));
}
END_TEST

static void differ(const char *from, const char *to, const char *expected)
{
	struct conf *a = load_good(from), *b = load_good(to);

	reported[0] = '\0';
	ck_assert_uint_eq(conf_diff(a, b, collect, NULL), 0);
	ck_assert_str_eq(reported, expected);
	conf_free(a);
	conf_free(b);
}

START_TEST(test_conf_reload_names_ports_that_come_and_go)
{
	differ(TUN "listen \"eth0\" { address = \"192.0.2.1\" port = {1, 2} }",
	       TUN
	       "listen \"eth0\" { address = {\"2001:db8::1\", \"192.0.2.1\"}"
	       " port = 2 }",
	       "listen eth0: 192.0.2.1:1: given back\n"
	       "listen eth0: [2001:db8::1]:2: taken over\n");
	differ(TUN "listen \"eth0\" { address = \"192.0.2.1\" port = {1, 2} }",
	       TUN
	       "listen \"eth0:x\" { address = \"192.0.2.1\" port = {2, 1} }",
	       "");
	/* an address that moves is one that goes and one that comes */
	differ(TUN "listen \"eth0\" { address = \"192.0.2.1\" port = 1 }",
	       "tun \"xtcp0\" { vip = {\"192.0.2.10\", \"192.0.2.1\"} }\n",
	       "vip 192.0.2.1: added\n"
	       "listen eth0: 192.0.2.1:1: given back\n");
}
END_TEST

UNIT_MAIN("daemon/conf_listen",
	  UNIT_CASE("good", scratch_setup, scratch_teardown,
		    test_conf_own_ports_are_vips_of_their_own_kind,
		    test_conf_own_ports_need_no_vip,
		    test_conf_own_ports_are_bounded,
		    test_conf_reload_names_ports_that_come_and_go),
	  UNIT_LOOP("wrong", ARRAY_SIZE(wrong), scratch_setup, scratch_teardown,
		    test_conf_one_wrong_port_is_named_with_its_line))
