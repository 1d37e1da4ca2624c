/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/bytes.h"
#include "base/units.h"
#include "daemon/conf.h"
#include "daemon/conf_keys.h"
#include "unit/daemon/scratch.h"
#include "unit/unit.h"

#include <arpa/inet.h>
#include <unistd.h>

/* What conf_load() reported: lines, each with a newline. */
static char reported[65536];
static unsigned int n_reported;

static void collect(void *arg, const char *line)
{
	ck_assert_ptr_eq(arg, &n_reported);
	ck_assert_ptr_null(strchr(line, '\n'));
	ck_assert_uint_lt(strlen(reported) + strlen(line) + 2,
			  sizeof(reported));
	strcat(reported, line);
	strcat(reported, "\n");
	n_reported++;
}

static void ignore(void *arg, const char *line)
{
	(void)arg;
	ck_assert_msg(!strstr(line, "needs a restart"), "not kept: %s", line);
}

static struct conf *load(const char *text)
{
	const char *path = scratch_write("x.conf", text, strlen(text));

	reported[0] = '\0';
	n_reported = 0;
	return conf_load(path, collect, &n_reported);
}

static struct conf *load_good(const char *text)
{
	struct conf *conf = load(text);

	ck_assert_msg(conf != NULL, "refused: %s", reported);
	ck_assert_uint_eq(n_reported, 0);
	return conf;
}

/* Refused, with exactly the lines; each is what stands behind "PATH:". */
static void refuse(const char *text, const char *const *lines)
{
	char expected[4096] = "", *at = expected;
	struct conf *conf = load(text);

	for (; *lines; lines++)
		at += snprintf(at, (size_t)(expected + sizeof(expected) - at),
			       "%s:%s\n", scratch_path("x.conf"), *lines);
	ck_assert_ptr_null(conf);
	ck_assert_str_eq(reported, expected);
}

#define REFUSE(text, ...) \
	refuse(text, (const char *const[]){ __VA_ARGS__, NULL })
#define TUN "tun \"xtcp0\" { vip = {\"192.0.2.10\"} }\n"
/* What follows is line 3, in a backend. */
#define FRAMES                                 \
	"pool \"p\" { group \"g\" { port = 1 " \
	"backend \"a\" { address = \"unix:/a\"\n"
#define PLAIN                                          \
	"pool \"p\" { group \"g\" { port = 1 backend " \
	"\"a\" { address = \"unix:/a\" protocol = stream\n"

START_TEST(test_conf_defaults_are_those_of_the_manual)
{
	struct conf *c =
		load_good(TUN "pool \"p\" { group \"g\" { port = 80 } }");
	const struct conf_group *g = &c->groups[0];

	ck_assert_uint_eq(c->max_connections, 1000000);
	ck_assert_uint_ge(c->workers, 1);
	ck_assert_str_eq(c->state_dir, "/run/xtcpd");
	ck_assert_uint_eq(c->transmit_buffer_bytes, 256 * MIB);
	ck_assert_uint_eq(c->half_open_max, 65536);
	ck_assert_uint_eq(c->half_open_per_source, 1024);
	ck_assert_int_eq(c->syn_cookies, CONF_COOKIES_AUTO);
	ck_assert_uint_eq(c->syn_cookies_above, 50);
	ck_assert_uint_eq(c->tun.mtu, 1500);
	ck_assert(c->tun.offload);
	ck_assert_int_eq(c->tun.steering, CONF_STEERING_AUTO);
	ck_assert_str_eq(c->control.path, "/run/xtcpd/control.sock");
	ck_assert_str_eq(c->attach.path, "/run/xtcpd/attach.sock");
	ck_assert_uint_eq(c->control.mode, 0660);
	ck_assert(!c->has_metrics);
	ck_assert_uint_eq(c->pools[0].receive_buffer_bytes, 64 * MIB);
	ck_assert_uint_eq(c->pools[0].throttle_high, 90);
	ck_assert_uint_eq(c->pools[0].throttle_low, 75);
	ck_assert_uint_eq(g->vip_mask, UINT64_MAX);
	ck_assert_int_eq(g->accept, CONF_ACCEPT_AUTO);
	ck_assert(!g->announce);
	ck_assert_uint_eq(g->accept_timeout_ms, 3000);
	ck_assert_int_eq(g->ack, CONF_ACK_DEFERRED);
	ck_assert_uint_eq(g->ack_deadline_ms, 0);
	ck_assert_uint_eq(g->ack_window_bytes, CONF_ACK_WINDOW_AUTO);
	ck_assert_int_eq(g->priority, 0);
	ck_assert_uint_eq(g->max_connections, 0);
	ck_assert_uint_eq(g->max_per_source, 0);
	ck_assert_int_eq(g->balance, CONF_BALANCE_STICKY);
	ck_assert_uint_eq(g->idle_timeout_ms, 0);
	ck_assert_uint_eq(g->keepalive_ms, 0);
	ck_assert_uint_eq(g->user_timeout_ms, 600000);
	ck_assert_int_eq(g->congestion, CONF_CONGESTION_CUBIC);
	ck_assert(g->ecn);
	ck_assert_int_eq(g->on_backend_loss, CONF_LOSS_REDELIVER);
	ck_assert_uint_eq(g->n_backends, 0);
	conf_free(c);
}
END_TEST

static const char full[] =
	"# every key, none at its default\n"
	"max-connections = 5000 // so many\n"
	"workers = 3\n"
	"state-dir = \"/var/lib/xtcpd\"\n"
	"transmit-buffer = \"1G\"\n"
	"half-open-max = 9 half-open-per-source = 8\n"
	"syn-cookies = never syn-cookies-above = 7\n"
	"/* the\n device */ tun \"tun7\" {\n"
	"  vip = {\"192.0.2.10\",\n\t\"2001:db8::10\"}\n"
	"  mtu = 9000 offload = no steering = kernel\n"
	"}\n"
	"control { socket = \"/c.sock\" mode = 0600 group = \"root\" }\n"
	"attach { socket = /a.sock mode = \"0666\" group = root }\n"
	"metrics { listen = \"[::1]:9464\" }\n"
	"pool \"a\" { receive-buffer = 128K throttle-high = 80 throttle-low = 80 }\n"
	"pool \"b\" {\n"
	"  group \"g-1\" {\n"
	"    port = 5222 vip = \"2001:db8:0::10\"\n"
	"    accept = \"application\" announce = true accept-timeout = 100\n"
	"    ack = \"immediate\" ack-deadline = 200 ack-window = \"64K\"\n"
	"    priority = -7 max-connections = 10 max-per-source = 6 balance = \"least\"\n"
	"    idle-timeout = 1000 keepalive = 2000 user-timeout = 3000\n"
	"    congestion = \"reno\" ecn = false on-backend-loss = \"reset\"\n"
	"    backend \"x\" { address = \"unix:/b.sock\" streams = 2 max-inflight = 9 }\n"
	"    backend \"y\" { address = \"tcp:127.0.0.1:99\" }\n"
	"  }\n"
	"  group \"g.2\" { port = 5222 ack = delivered balance = any ack-window = 0 }\n"
	"  group \"g.3\" { port = 80\n"
	"    backend \"w\" { address = \"tcp:127.0.0.1:8080\" protocol = \"stream\"\n"
	"      streams = 5000 proxy-protocol = v2 stream-idle-close = 70 }\n"
	"    backend \"v\" { address = \"unix:/v.sock\" protocol = stream }\n"
	"  }\n"
	"}\n";

START_TEST(test_conf_every_key_is_taken)
{
	struct conf *c = load_good(full);
	struct sockaddr_in6 in6;

	ck_assert_uint_eq(c->max_connections, 5000);
	ck_assert_uint_eq(c->workers, 3);
	ck_assert_str_eq(c->state_dir, "/var/lib/xtcpd");
	ck_assert_uint_eq(c->transmit_buffer_bytes, GIB);
	ck_assert_uint_eq(c->half_open_max, 9);
	ck_assert_uint_eq(c->half_open_per_source, 8);
	ck_assert_int_eq(c->syn_cookies, CONF_COOKIES_NEVER);
	ck_assert_uint_eq(c->syn_cookies_above, 7);
	ck_assert_str_eq(c->tun.name, "tun7");
	ck_assert_uint_eq(c->tun.n_vips, 2);
	ck_assert_uint_eq(c->tun.vips[0].family, 4);
	ck_assert_mem_eq(c->tun.vips[0].bytes, "\xc0\0\2\x0a", 4);
	ck_assert_uint_eq(c->tun.vips[1].family, 6);
	ck_assert_mem_eq(c->tun.vips[1].bytes, "\x20\1\x0d\xb8", 4);
	ck_assert_uint_eq(c->tun.mtu, 9000);
	ck_assert(!c->tun.offload);
	ck_assert_int_eq(c->tun.steering, CONF_STEERING_KERNEL);
	ck_assert_str_eq(c->control.path, "/c.sock");
	ck_assert_uint_eq(c->control.mode, 0600);
	ck_assert_uint_eq(c->control.gid, 0);
	ck_assert_str_eq(c->attach.path, "/a.sock");
	ck_assert_uint_eq(c->attach.mode, 0666);
	ck_assert(c->has_metrics);
	memcpy(&in6, &c->metrics_addr, sizeof(in6));
	ck_assert_int_eq(in6.sin6_family, AF_INET6);
	ck_assert_uint_eq(ntohs(in6.sin6_port), 9464);
	ck_assert_uint_eq(c->n_pools, 2);
	ck_assert_uint_eq(c->pools[0].receive_buffer_bytes, 128 * KIB);
	ck_assert_uint_eq(c->pools[0].throttle_low, 80);
	conf_free(c);
}
END_TEST

START_TEST(test_conf_every_key_of_a_group_is_taken)
{
	struct conf *c = load_good(full);
	const struct conf_group *g = &c->groups[0];

	ck_assert_uint_eq(c->n_groups, 3);
	ck_assert_str_eq(g->name, "g-1");
	ck_assert_uint_eq(g->pool, 1);
	ck_assert_uint_eq(g->port, 5222);
	ck_assert_uint_eq(g->vip_mask, 2);
	ck_assert_int_eq(g->accept, CONF_ACCEPT_APPLICATION);
	ck_assert(g->announce);
	ck_assert_uint_eq(g->accept_timeout_ms, 100);
	ck_assert_int_eq(g->ack, CONF_ACK_IMMEDIATE);
	ck_assert_uint_eq(g->ack_deadline_ms, 200);
	ck_assert_uint_eq(g->ack_window_bytes, 64 * KIB);
	ck_assert_int_eq(g->priority, -7);
	ck_assert_uint_eq(g->max_connections, 10);
	ck_assert_uint_eq(g->max_per_source, 6);
	ck_assert_int_eq(g->balance, CONF_BALANCE_LEAST);
	ck_assert_uint_eq(g->idle_timeout_ms, 1000);
	ck_assert_uint_eq(g->keepalive_ms, 2000);
	ck_assert_uint_eq(g->user_timeout_ms, 3000);
	ck_assert_int_eq(g->congestion, CONF_CONGESTION_RENO);
	ck_assert(!g->ecn);
	ck_assert_int_eq(g->on_backend_loss, CONF_LOSS_RESET);
	ck_assert_uint_eq(g->n_backends, 2);
	ck_assert_str_eq(g->backends[0].name, "x");
	ck_assert_str_eq(g->backends[0].address, "unix:/b.sock");
	ck_assert_uint_eq(g->backends[0].streams, 2);
	ck_assert_uint_eq(g->backends[0].max_inflight, 9);
	ck_assert_str_eq(g->backends[1].address, "tcp:127.0.0.1:99");
	ck_assert_uint_eq(g->backends[1].streams, 1);
	ck_assert_int_eq(c->groups[1].ack, CONF_ACK_DELIVERED);
	ck_assert_int_eq(c->groups[1].balance, CONF_BALANCE_ANY);
	ck_assert_uint_eq(c->groups[1].ack_window_bytes, 0);
	ck_assert_int_eq(g->protocol, CONF_PROTOCOL_FRAMES);
	ck_assert_int_eq(g->backends[0].protocol, CONF_PROTOCOL_FRAMES);
	g = &c->groups[2];
	ck_assert_int_eq(g->protocol, CONF_PROTOCOL_STREAM);
	ck_assert_int_eq(g->backends[0].protocol, CONF_PROTOCOL_STREAM);
	ck_assert_uint_eq(g->backends[0].streams, 5000);
	ck_assert_int_eq(g->backends[0].proxy, CONF_PROXY_V2);
	ck_assert_uint_eq(g->backends[0].stream_idle_close_ms, 70);
	ck_assert_uint_eq(g->backends[1].streams, 0);
	ck_assert_int_eq(g->backends[1].proxy, CONF_PROXY_NONE);
	ck_assert_uint_eq(g->backends[1].stream_idle_close_ms, 0);
	conf_free(c);
}
END_TEST

/* One wrong thing per file, and the one line that says so. */
static const struct {
	const char *text, *line;
} wrong[] = {
	{ TUN "workers = 65\n",
	  "2: workers: 65 is out of range: must be 0 to 64 threads" },
	{ TUN "\n\nworkers = lots\n",
	  "4: workers: \"lots\" is not a whole number (0 to 64 threads)" },
	{ TUN "workers = -1\n",
	  "2: workers: -1 is out of range: must be 0 to 64 threads" },
	{ TUN "# a comment\nworkers = 99999999999999999999\n",
	  "3: workers: 99999999999999999999 is out of range: must be 0 to 64 threads" },
	{ TUN "/* a\ncomment */ max-connections = 0\n",
	  "3: max-connections: 0 is out of range: must be 1 to 100000000 connections" },
	{ TUN "transmit-buffer = 1K\n",
	  "2: transmit-buffer: 1K is out of range: must be 1M to 1024G bytes" },
	{ TUN "transmit-buffer = 10X\n",
	  "2: transmit-buffer: \"10X\" is not a size: a whole number, with K, M or G "
	  "(1M to 1024G bytes)" },
	{ TUN "transmit-buffer = 99999999999999G\n",
	  "2: transmit-buffer: 99999999999999G is out of range: must be 1M to 1024G bytes" },
	{ TUN "transmit-buffer = -1\n",
	  "2: transmit-buffer: \"-1\" is not a size: a whole number, with K, M or G "
	  "(1M to 1024G bytes)" },
	{ TUN "state-dir = run\n",
	  "2: state-dir: \"run\" is not an absolute path" },
	{ TUN "state-dir = \"/run\n/x\"\n",
	  "3: state-dir: the path has a control character" },
	{ TUN "pool \"p\" { group \"g\" { port = 1\n"
	      "backend \"b\" { address = \"unix:/b\ts\" } } }",
	  "3: address: the address has a control character" },
	{ TUN "wrkers = 2\n",
	  "2: wrkers: unknown key outside of all sections, see xtcpd.conf(5)" },
	{ TUN "workers = 2\nworkers = 3\n",
	  "3: workers: given twice, first in line 2" },
	{ TUN "control { mode = 0999 }",
	  "2: mode: \"0999\" is not an octal mode: must be 0000 to 0777" },
	{ TUN "control { mode = 7777 }",
	  "2: mode: \"7777\" is not an octal mode: must be 0000 to 0777" },
	{ TUN "control {\ngroup = no-such-group-here }",
	  "3: group: no group of users \"no-such-group-here\" on this host" },
	{ TUN "control {}\ncontrol {}",
	  "3: control: a second one: there can be only one" },
	{ TUN "control { socket = /s }\nattach { socket = /s }",
	  "3: socket: /s is the control socket, too" },
	{ TUN "metrics { }",
	  "2: listen: missing: each metrics needs it (address and port of "
	  "the metrics)" },
	{ TUN "metrics { listen = \"9464\" }",
	  "2: listen: \"9464\" is not ADDRESS:PORT (IPv6 in brackets)" },
	{ TUN "metrics { listen = \"localhost:1\" }",
	  "2: listen: \"localhost:1\" is not a numeric address and port (IPv6 in brackets)" },
	{ TUN "metrics { listen = \"::1:1\" }",
	  "2: listen: \"::1:1\" is not a numeric address and port (IPv6 in brackets)" },
	{ TUN "metrics { listen = \"127.0.0.1:0\" }",
	  "2: listen: 0 is out of range: must be 1 to 65535" },
	{ "workers = 1\n",
	  " tun: missing: a section like tun \"xtcp0\" { vip = {\"192.0.2.10\"} }" },
	{ "tun \"x\" {\n}\n",
	  "2: vip: missing: the tun needs 1 to 64 addresses" },
	{ "tun \"x\" { vip = {} }\n",
	  "1: vip: missing: the tun needs 1 to 64 addresses" },
	{ "tun \"x\" { vip = {\"192.0.2.1\",\n\"192.0.2.300\"} }",
	  "2: vip: \"192.0.2.300\" is not an IPv4 or IPv6 address" },
	{ "tun \"x\" { vip = {\"192.0.2.1\",\n\n\"192.0.2.1\"} }",
	  "3: vip: 192.0.2.1 is in the list twice" },
	{ "tun \"x\" { vip = {\"127.0.0.1\"} }",
	  "1: vip: 127.0.0.1 is a loopback address: clients could not reach it" },
	{ "tun \"x\" { vip = {\"fe80::1\"} }",
	  "1: vip: fe80::1 is a link-local address: clients could not reach it" },
	{ "tun \"x%d\" { vip = {\"192.0.2.1\"} }",
	  "1: tun \"x%d\": a name is 1 to 15 letters, digits, '-', '_', '.'" },
	{ "tun \"longer-than-that\" { vip = {\"192.0.2.1\"} }",
	  "1: tun \"longer-than-that\": a name is 1 to 15 letters, digits, '-', '_', '.'" },
	{ "tun \"x\" { vip = {\"192.0.2.1\"} mtu = 576 }",
	  "1: mtu: 576 is out of range: must be 1280 to 65535 bytes" },
	{ "tun \"x\" { vip = {\"192.0.2.1\"} offload = maybe }",
	  "1: offload: \"maybe\" is neither true nor false" },
	{ TUN "tun \"y\" { vip = {\"192.0.2.1\"} }",
	  "2: tun: a second one: there can be only one" },
	{ TUN "pool \"p\" {\nthrottle-high = 50\nthrottle-low = 51\n}",
	  "4: throttle-low: 51 is above throttle-high, which is 50" },
	{ TUN "pool \"p\" {\nthrottle-high = 70\n}",
	  "4: throttle-low: 75 is above throttle-high, which is 70" },
	{ TUN "pool \"p\" { }\npool \"p\" { }",
	  "3: 'p': another one here has this name already" },
	{ TUN "pool \"p\" { group \"g\" {\n} }",
	  "3: port: missing: each group needs it (TCP port)" },
	{ TUN "pool \"p\" { group \"g\" {\nport = 65536 } }",
	  "3: port: 65536 is out of range: must be 1 to 65535" },
	{ TUN "pool \"p\" { group \"g\" { port = 1\nack = \"never\" } }",
	  "3: ack: \"never\" is none of \"deferred\", \"delivered\", \"immediate\"" },
	{ TUN "pool \"p\" { group \"g\" { port = 1\ncongestion = \"bbr\" } }",
	  "3: congestion: \"bbr\" is none of \"cubic\", \"reno\"" },
	{ TUN "pool \"p\" { group \"g\" { port = 1\necn = 2 } }",
	  "3: ecn: \"2\" is neither true nor false" },
	{ TUN "pool \"p\" { group \"g\" { port = 1\nack-window = 2G } }",
	  "3: ack-window: 2G is out of range: must be \"auto\" or 0 to 1G bytes" },
	{ TUN "pool \"p\" { group \"g\" { port = 1\nuser-timeout = 999 } }",
	  "3: user-timeout: 999 is out of range: must be 1000 to 2678400000 ms" },
	{ TUN "pool \"p\" { group \"g\" { port = 1\nvip = \"192.0.2.99\" } }",
	  "3: vip: 192.0.2.99 is not a vip of the tun, nor an address of a "
	  "listen section" },
	{ TUN
	  "pool \"p\" { group \"g\" { port = 1 }\ngroup \"g\" { port = 2 } }",
	  "3: 'g': another one here has this name already" },
	{ TUN
	  "pool \"p\" { group \"g\" { port = 1 } }\npool \"q\" { group \"g\" { port = 2 } }",
	  "3: group \"g\": another one has this name, it ends in line 2" },
	{ TUN
	  "pool \"p\" { group \"g\" { port = 1\nbackend \"b\" { address = \"unix:/a\" }\n"
	  "backend \"b\" { address = \"unix:/b\" } } }",
	  "4: 'b': another one here has this name already" },
	{ TUN "pool \"p\" { group \"g\" { port = 1\nbackend \"b\" { } } }",
	  "3: address: missing: each backend needs it (unix:PATH or tcp:HOST:PORT to dial)" },
	{ TUN "pool \"p\" { group \"g\" { port = 1\n"
	      "backend \"b\" { address = \"tcp:192.0.2.1:7\" } } }",
	  "3: address: \"tcp:192.0.2.1:7\": address must be 127.x.y.z or [::1]" },
	{ TUN PLAIN "streams = 0\nmax-inflight = 5 } } }",
	  "4: max-inflight: not with protocol = stream: its bound is streams" },
	{ TUN PLAIN "streams = 0\nstreams = 1 } } }",
	  "4: streams: given twice, first in line 3" },
	{ TUN PLAIN "streams = 1000001 } } }",
	  "3: streams: 1000001 is out of range: must be 0 to 1000000 connections" },
	{ TUN PLAIN "proxy-protocol = v3 } } }",
	  "3: proxy-protocol: \"v3\" is none of \"none\", \"v1\", \"v2\"" },
	{ TUN PLAIN "stream-idle-close = -1 } } }",
	  "3: stream-idle-close: -1 is out of range: must be 0 to 2678400000 ms" },
	{ TUN PLAIN "stream-idle-close = 1000 }\nannounce = true } }",
	  "3: stream-idle-close: not in a group with announce = true: a server that "
	  "speaks first would greet the client again" },
	{ TUN PLAIN "}\nbackend \"b\" { address = \"unix:/b\" } } }",
	  "4: protocol: the backends of a group all have the same, and \"a\" has "
	  "another one" },
	{ TUN FRAMES "protocol = http } } }",
	  "3: protocol: \"http\" is none of \"frames\", \"stream\"" },
	{ TUN FRAMES "streams = 17 } } }",
	  "3: streams: 17 is out of range: must be 1 to 16 per worker with protocol "
	  "= frames" },
	{ TUN FRAMES "proxy-protocol = v2 } } }",
	  "3: proxy-protocol: not with protocol = frames, which tell the address "
	  "anyway" },
	{ TUN FRAMES "stream-idle-close = 9 } } }",
	  "3: stream-idle-close: not with protocol = frames, whose streams are for "
	  "all clients" },
	{ TUN "pool \"p\" { group \"g h\" { port = 1 } }",
	  "2: group \"g h\": a name is 1 to 63 letters, digits, '-', '_', '.'" },
	{ TUN "pool \"p\" { prt = 1 }",
	  "2: prt: unknown key in section pool, see xtcpd.conf(5)" },
	{ TUN "workers = \"\n\n",
	  "2: syntax: the string that begins here has no end" },
	{ TUN "\n/* \n\n",
	  "3: syntax: the comment that begins here has no end" },
	{ TUN "pool \"p\" {\n",
	  "2: syntax: the brace that opens here is not closed" },
	{ TUN "}\n", "2: syntax: a closing brace too many" },
	{ TUN "\"\" workers = 99\n",
	  "2: syntax: a key without a name from here on" },
	{ TUN "workers 3\n",
	  "2: syntax: missing equal sign after option 'workers'" },
};

START_TEST(test_conf_one_wrong_thing_is_named_with_line_value_and_range)
{
	REFUSE(wrong[_i].text, wrong[_i].line);
}
END_TEST

START_TEST(test_conf_all_problems_are_shown_in_one_run_by_line)
{
	REFUSE("workers = 99\nprot = {1,\n2}\n" TUN
	       "pool \"p\" {\n gruop \"a\" {\n"
	       "port = { }\n} throttle-high = 101\n"
	       "group \"g\" { port = x\n ack = no foo = bar port = 0 } }\n",
	       "1: workers: 99 is out of range: must be 0 to 64 threads",
	       "2: prot: unknown key outside of all sections, see xtcpd.conf(5)",
	       "6: gruop: unknown key in section pool, see xtcpd.conf(5)",
	       "8: throttle-high: 101 is out of range: must be 1 to 100 per cent",
	       "10: foo: unknown key in section group, see xtcpd.conf(5)",
	       "10: port: given twice, first in line 9",
	       "10: port: 0 is out of range: must be 1 to 65535",
	       "10: ack: \"no\" is none of \"deferred\", \"delivered\", \"immediate\"");
}
END_TEST

START_TEST(test_conf_missing_file_is_named)
{
	char expected[256];

	ck_assert_ptr_null(
		conf_load("/nonexistent/x.conf", collect, &n_reported));
	ck_assert_str_eq(
		reported,
		"/nonexistent/x.conf: cannot be read: No such file or directory\n");
	reported[0] = '\0';
	ck_assert_ptr_null(conf_load(scratch_dir, collect, &n_reported));
	snprintf(expected, sizeof(expected),
		 "%s: cannot be read: Is a directory\n", scratch_dir);
	ck_assert_str_eq(reported, expected);
}
END_TEST

START_TEST(test_conf_garbage_is_refused)
{
	static const char nul[] = "workers = 1\n\0x = 2\n";
	unsigned int seed = (unsigned int)_i;
	char text[400];

	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		static const char some[] = "{}=,\"'#/*\n\n ab+()|$\\\x80";

		seed = seed * 1103515245u + 12345u;
		text[i] = some[(seed >> 16) % (sizeof(some) - 1)];
	}
	text[sizeof(text) - 1] = '\0';
	ck_assert_ptr_null(load(text));
	ck_assert_uint_gt(n_reported, 0);
	reported[0] = '\0';
	scratch_write("x.conf", nul, sizeof(nul) - 1);
	ck_assert_ptr_null(
		conf_load(scratch_path("x.conf"), collect, &n_reported));
	ck_assert_ptr_nonnull(strstr(reported, ":2: syntax: a NUL byte"));
	/* and the next one is not harmed */
	conf_free(load_good(full));
}
END_TEST

START_TEST(test_conf_groups_may_share_a_port_and_pools_may_be_empty)
{
	conf_free(load_good(TUN "pool \"p\" { group \"a\" { port = 1 } "
				"group \"b\" { port = 1 } }\npool \"q\" { }"));
}
END_TEST

/* What is reported of a change; returns how many lines need a restart. */
static unsigned int differ(const char *from, const char *to)
{
	struct conf *a = load_good(from), *b = load_good(to);
	unsigned int n;

	reported[0] = '\0';
	n_reported = 0;
	n = conf_diff(a, b, collect, &n_reported);
	ck_assert_uint_le(n, n_reported);
	conf_keep(a, b);
	n_reported = 0;
	ck_assert_uint_eq(conf_diff(a, b, ignore, NULL), 0);
	conf_free(a);
	conf_free(b);
	return n;
}

START_TEST(test_conf_reload_of_the_same_changes_nothing)
{
	ck_assert_uint_eq(differ(full, full), 0);
	ck_assert_str_eq(reported, "");
}
END_TEST

#define POOL(settings, groups) TUN "pool \"p\" { " settings " " groups " }"
#define G(settings) "group \"g\" { port = 1 " settings " }"
#define H(settings) "group \"h\" { port = 2 " settings " }"

START_TEST(test_conf_reload_names_what_changes)
{
	static const char from[] =
		POOL("", G("ack-deadline = 5"
			   " backend \"a\" { address = \"unix:/a\" }"
			   " backend \"c\" { address = \"unix:/c\" }") H(""));
	static const char groups[] =
		G("ack = immediate ack-window = 64K vip = \"192.0.2.10\""
		  " backend \"a\" { address = \"unix:/x\" }"
		  " backend \"b\" { address = \"unix:/b\" }");
	char to[1024];

	snprintf(to, sizeof(to),
		 TUN "half-open-max = 7 syn-cookies = never pool \"p\" { "
		     "throttle-high = 95 receive-buffer = 1M %s "
		     "group \"i\" { port = 9 } }",
		 groups);
	ck_assert_uint_eq(differ(from, to), 0);
	ck_assert_str_eq(reported,
			 "half-open-max 65536 -> 7\n"
			 "syn-cookies auto -> never\n"
			 "pool p: receive-buffer 64M -> 1M\n"
			 "pool p: throttle-high 90 -> 95\n"
			 "group h: removed, its connections end\n"
			 "group g: vip (all) -> 192.0.2.10\n"
			 "group g: ack deferred -> immediate\n"
			 "group g: ack-deadline 5 -> 0\n"
			 "group g: ack-window auto -> 64K\n"
			 "group g: backend c: removed\n"
			 "group g: backend a: address unix:/a -> unix:/x\n"
			 "group g: backend b: added (unix:/b)\n"
			 "group i: added (port 9)\n");
}
END_TEST

START_TEST(test_conf_reload_names_what_needs_a_restart)
{
	ck_assert_uint_eq(
		differ(POOL("", G("")),
		       "workers = 7 transmit-buffer = 1M"
		       " control { mode = 0666 }"
		       " metrics { listen = \"127.0.0.1:1\" }"
		       " tun \"y\" { mtu = 1400 vip = {\"192.0.2.10\"} }"
		       " pool \"p\" { " G("") " }"),
		6);
	ck_assert_ptr_nonnull(strstr(reported, "-> 7: needs a restart with a "
					       "new arena: stop xtcpd, then "
					       "start it\n"));
	ck_assert_ptr_nonnull(strstr(
		reported, "tun xtcp0 -> y: needs a restart\n"
			  "tun xtcp0: mtu 1500 -> 1400: needs a restart\n"
			  "control: mode 0660 -> 0666: needs a restart\n"));
}
END_TEST

START_TEST(test_conf_reload_compares_by_name)
{
	const char *two = "tun \"x\" { vip = {\"192.0.2.1\", \"192.0.2.2\"} }"
			  "pool \"p\" { " G("vip = \"192.0.2.2\"")
				  H("") "} pool \"q\" { }";

	/* The same in another order. */
	ck_assert_uint_eq(
		differ(two, "tun \"x\" { vip = {\"192.0.2.2\", \"192.0.2.1\"} }"
			    "pool \"q\" { } pool \"p\" { " H("")
				    G("vip = \"192.0.2.2\"") "}"),
		0);
	ck_assert_str_eq(reported, "");
	ck_assert_uint_eq(
		differ(two,
		       "tun \"x\" { vip = {\"192.0.2.2\", \"2001:db8::1\"} }"
		       "pool \"q\" {"
		       "group \"g\" { port = 1 vip = \"2001:db8::1\" }"
		       "group \"h\" { port = 3 } }"),
		0);
	ck_assert_str_eq(
		reported,
		"vip 192.0.2.1: removed\n"
		"vip 2001:db8::1: added\n"
		"pool p: removed\n"
		"group g: pool p -> q\n"
		"group g: vip 192.0.2.2 -> 2001:db8::1\n"
		"group h: port 2 -> 3: another group, the connections of the "
		"old one end\n");
}
END_TEST

/* The path of a file of the source tree, from where `make check` runs. */
static FILE *open_source(const char *name)
{
	const char *srcdir = getenv("srcdir");
	char path[1024];

	snprintf(path, sizeof(path), "%s/%s", srcdir ? srcdir : ".", name);
	return fopen(path, "r");
}

START_TEST(test_conf_every_key_is_in_the_manual_page)
{
	FILE *fp = open_source("man/xtcpd.conf.5");
	char page[128 * 1024], item[64];
	size_t n;

	ck_assert_msg(fp != NULL, "set srcdir to the top of the source tree");
	n = fread(page, 1, sizeof(page) - 1, fp);
	page[n] = '\0';
	fclose(fp);
	for (size_t i = 0; i < conf_n_keys; i++) {
		snprintf(item, sizeof(item), ".It Cm %s", conf_keys[i].name);
		ck_assert_msg(strstr(page, item) != NULL,
			      "no \"%s\" in the page", item);
		if (conf_keys[i].def && conf_keys[i].def[0] != '\0')
			ck_assert_msg(strstr(page, conf_keys[i].def) != NULL,
				      "%s: no default %s in the page",
				      conf_keys[i].name, conf_keys[i].def);
	}
}
END_TEST

START_TEST(test_conf_sample_is_good)
{
	FILE *fp = open_source("etc/xtcpd.conf");
	char text[32 * 1024];
	size_t n;

	ck_assert_msg(fp != NULL, "set srcdir to the top of the source tree");
	n = fread(text, 1, sizeof(text) - 1, fp);
	text[n] = '\0';
	fclose(fp);
	conf_free(load_good(text));
}
END_TEST

UNIT_MAIN(
	"daemon/conf",
	UNIT_CASE("good", scratch_setup, scratch_teardown,
		  test_conf_defaults_are_those_of_the_manual,
		  test_conf_every_key_is_taken,
		  test_conf_every_key_of_a_group_is_taken,
		  test_conf_groups_may_share_a_port_and_pools_may_be_empty,
		  test_conf_every_key_is_in_the_manual_page,
		  test_conf_sample_is_good),
	UNIT_LOOP("wrong", ARRAY_SIZE(wrong), scratch_setup, scratch_teardown,
		  test_conf_one_wrong_thing_is_named_with_line_value_and_range),
	UNIT_LOOP("garbage", 50, scratch_setup, scratch_teardown,
		  test_conf_garbage_is_refused),
	UNIT_CASE("more", scratch_setup, scratch_teardown,
		  test_conf_all_problems_are_shown_in_one_run_by_line,
		  test_conf_missing_file_is_named,
		  test_conf_reload_of_the_same_changes_nothing,
		  test_conf_reload_names_what_changes,
		  test_conf_reload_names_what_needs_a_restart,
		  test_conf_reload_compares_by_name))
