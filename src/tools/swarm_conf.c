/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf - the command line, from a table.
 *
 * Theory of operation
 *
 * conf_options[] has a row for each option: its name, where the value goes,
 * what it may be, and its line of --help. After all are read, what was left
 * out gets its default, and what contradicts each other is refused. Each error
 * is one line with the option, the value, and what would be right.
 */
#include "tools/swarm_conf.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/units.h"

#define CONF_CONNECTIONS_MAX 100000000u
#define CONF_RATE_MAX 10000000u
#define CONF_OUTSTANDING_MAX 500000u
#define CONF_BYTES_MAX (16 * MIB)
#define CONF_SECONDS_MAX 86400u
#define CONF_ACTIVE_MIN 65536u
#define CONF_MTU_MIN4 576u
#define CONF_MTU_MIN6 1280u
#define CONF_DEVICE_MAX 15u
#define CONF_GETOPT 256 /* val of the first option in the table */

enum conf_kind {
	CONF_U32,
	CONF_U64,
	CONF_SECONDS,
	CONF_ON, /* a flag that sets a bool */
	CONF_OFF, /* one that clears it */
	CONF_PREFIX,
	CONF_TEXT,
	CONF_DEVICE,
	CONF_ENDPOINT,
	CONF_END,
	CONF_VANISH,
	CONF_PID,
};

struct conf_option {
	const char *name, *arg;
	enum conf_kind kind;
	size_t offset;
	uint64_t min, max;
	const char *help;
};

#define CONF_AT(field) offsetof(struct swarm_conf, field)

static const struct conf_option conf_options[] = {
	{ "connect", "ADDR:PORT", CONF_ENDPOINT, 0, 0, 0,
	  "the server; [ADDR]:PORT for IPv6" },
	{ "connections", "N", CONF_U32, CONF_AT(connections), 1,
	  CONF_CONNECTIONS_MAX, "how many clients" },
	{ "connect-rate", "R", CONF_U32, CONF_AT(connect_rate), 0,
	  CONF_RATE_MAX, "connects per second; 0: as fast as they succeed" },
	{ "hold", "S", CONF_SECONDS, CONF_AT(hold_s), 0, CONF_SECONDS_MAX,
	  "stay idle for so long once all are connected" },
	{ "rate", "R", CONF_U32, CONF_AT(rate), 0, CONF_RATE_MAX,
	  "requests per second, to random clients, open loop" },
	{ "outstanding", "N", CONF_U32, CONF_AT(outstanding), 0,
	  CONF_OUTSTANDING_MAX, "or so many requests under way, at any time" },
	{ "request", "BYTES", CONF_U32, CONF_AT(request_bytes), 1,
	  CONF_BYTES_MAX, "size of a request (default: 1024)" },
	{ "reply", "BYTES", CONF_U32, CONF_AT(reply_bytes), 1, CONF_BYTES_MAX,
	  "size of a reply (default: an echo of the request)" },
	{ "duration", "S", CONF_SECONDS, CONF_AT(duration_s), 0,
	  CONF_SECONDS_MAX, "how long to ask (default: 10)" },
	{ "grace", "S", CONF_SECONDS, CONF_AT(grace_s), 0, CONF_SECONDS_MAX,
	  "wait for the last replies for so long (default: 30)" },
	{ "churn", "R", CONF_U32, CONF_AT(churn), 0, CONF_RATE_MAX,
	  "close and reopen so many connections per second" },
	{ "syn-flood", "PPS", CONF_U32, CONF_AT(flood), 0, CONF_RATE_MAX,
	  "send so many SYNs per second that lead to nothing" },
	{ "end", "HOW", CONF_END, 0, 0, 0, "fin (default), reset or vanish" },
	{ "vanish", NULL, CONF_VANISH, 0, 0, 0, "the same as --end=vanish" },
	{ "sources", "PREFIX", CONF_PREFIX, CONF_AT(sources), 0, 0,
	  "of the clients (default: 10.64.0.0/10, fd64::/32)" },
	{ "flood-sources", "PREFIX", CONF_PREFIX, CONF_AT(flood_sources), 0, 0,
	  "of the flood (default: 10.128.0.0/9, fd65::/32)" },
	{ "device", "NAME", CONF_DEVICE, CONF_AT(device), 0, 0,
	  "the TUN device to create (default: swarm0)" },
	{ "mtu", "BYTES", CONF_U32, CONF_AT(mtu), CONF_MTU_MIN4, UINT16_MAX,
	  "of the device (default: 1500)" },
	{ "rto", "MS", CONF_U32, CONF_AT(rto_ms), 20, 60000,
	  "first retransmission time-out (default: 1000)" },
	{ "tries", "N", CONF_U32, CONF_AT(tries), 1, 30,
	  "transmissions before giving up (default: 8)" },
	{ "ack-delay", "MS", CONF_U32, CONF_AT(ack_delay_ms), 0, 500,
	  "of ACKs for single segments (default: 40)" },
	{ "tick", "US", CONF_U32, CONF_AT(tick_us), 0, 10000,
	  "while requests are under way, wake up only so often" },
	{ "direct", NULL, CONF_ON, CONF_AT(direct), 0, 0,
	  "send straight to the device that the server is behind" },
	{ "no-timestamps", NULL, CONF_OFF, CONF_AT(timestamps), 0, 0,
	  "don't offer RFC 7323 timestamps" },
	{ "no-offload", NULL, CONF_OFF, CONF_AT(offload), 0, 0,
	  "a device without checksum and segmentation offload" },
	{ "verify", NULL, CONF_ON, CONF_AT(verify), 0, 0,
	  "checksums and bytes of replies (the default)" },
	{ "no-verify", NULL, CONF_OFF, CONF_AT(verify), 0, 0,
	  "neither, to save time" },
	{ "set-forwarding", NULL, CONF_ON, CONF_AT(set_forwarding), 0, 0,
	  "turn the host's IP forwarding on if need be" },
	{ "seed", "N", CONF_U64, CONF_AT(seed), 0, INT64_MAX,
	  "of all that is random (default: from the clock)" },
	{ "watch", "PID", CONF_PID, 0, 1, INT32_MAX,
	  "report time and memory of this process, too" },
	{ "json", "FILE", CONF_TEXT, CONF_AT(json), 0, 0,
	  "write the report there (default: standard output)" },
	{ "progress", NULL, CONF_ON, CONF_AT(progress), 0, 0,
	  "a line per second, also if stderr is no terminal" },
};

#define CONF_N_OPTIONS ARRAY_SIZE(conf_options)

/* --- values ------------------------------------------------------------ */

static int conf_bad(const struct conf_option *o, const char *value,
		    const char *right)
{
	log_error("--%s: \"%s\": must be %s", o->name, value, right);
	return -EINVAL;
}

static int conf_bad_range(const struct conf_option *o, const char *value)
{
	log_error("--%s: \"%s\": must be a number from %llu to %llu", o->name,
		  value, (unsigned long long)o->min,
		  (unsigned long long)o->max);
	return -EINVAL;
}

static int conf_number(const struct conf_option *o, const char *value,
		       uint64_t *ret_n)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(value, &end, 10);
	if (*value < '0' || *value > '9' || *end || errno || n < o->min ||
	    n > o->max)
		return conf_bad_range(o, value);
	*ret_n = n;
	return 0;
}

static int conf_seconds(const struct conf_option *o, const char *value,
			double *ret_s)
{
	char *end;
	double s = strtod(value, &end);

	/* neither "nan" nor "0x1p3" */
	if (*value < '0' || *value > '9' || *end ||
	    strspn(value, "0123456789.") != strlen(value) || isnan(s) ||
	    s < (double)o->min || s > (double)o->max)
		return conf_bad_range(o, value);
	*ret_s = s;
	return 0;
}

static int conf_prefix(const struct conf_option *o, const char *value,
		       struct swarm_prefix *ret_prefix)
{
	if (swarm_prefix_parse(value, ret_prefix) == 0)
		return 0;
	return conf_bad(o, value,
			"ADDRESS/LENGTH, 1 to 30 for IPv4 and 16 to 126 for "
			"IPv6, without bits behind it");
}

static int conf_device(const struct conf_option *o, const char *value,
		       const char **ret_device)
{
	size_t len = strlen(value);

	if (len == 0 || len > CONF_DEVICE_MAX ||
	    strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			  "0123456789_-") != len)
		return conf_bad(o, value,
				"1 to 15 letters, digits, '_' and '-'");
	*ret_device = value;
	return 0;
}

static int conf_end(const struct conf_option *o, const char *value,
		    enum swarm_end *ret_end)
{
	static const char *const names[] = { "fin", "reset", "vanish" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(value, names[i]) != 0)
			continue;
		*ret_end = (enum swarm_end)i;
		return 0;
	}
	return conf_bad(o, value, "fin, reset or vanish");
}

static int conf_pid(const struct conf_option *o, const char *value,
		    struct swarm_conf *conf)
{
	uint64_t pid;
	int rc = conf_number(o, value, &pid);

	if (rc < 0)
		return rc;
	if (conf->n_watch == SWARM_WATCH_MAX) {
		log_error("--%s: at most %u processes", o->name,
			  SWARM_WATCH_MAX);
		return -EINVAL;
	}
	conf->watch[conf->n_watch++] = (pid_t)pid;
	return 0;
}

static int conf_set(struct swarm_conf *conf, const struct conf_option *o,
		    const char *value)
{
	char *field = (char *)conf + o->offset;
	uint64_t n;
	int rc;

	switch (o->kind) {
	case CONF_U32:
		rc = conf_number(o, value, &n);
		if (rc == 0)
			*(uint32_t *)field = (uint32_t)n;
		return rc;
	case CONF_U64:
		return conf_number(o, value, (uint64_t *)field);
	case CONF_SECONDS:
		return conf_seconds(o, value, (double *)field);
	case CONF_ON:
	case CONF_OFF:
		*(bool *)field = o->kind == CONF_ON;
		return 0;
	case CONF_PREFIX:
		return conf_prefix(o, value, (struct swarm_prefix *)field);
	case CONF_TEXT:
		*(const char **)field = value;
		return 0;
	case CONF_DEVICE:
		return conf_device(o, value, (const char **)field);
	case CONF_ENDPOINT:
		if (swarm_endpoint_parse(value, &conf->server, &conf->port) ==
		    0)
			return 0;
		return conf_bad(o, value,
				"ADDRESS:PORT or [ADDRESS]:PORT, in numbers");
	case CONF_END:
		return conf_end(o, value, &conf->end);
	case CONF_VANISH:
		conf->end = SWARM_END_VANISH;
		return 0;
	case CONF_PID:
		return conf_pid(o, value, conf);
	}
	return -EINVAL;
}

/* --- all together ------------------------------------------------------ */

static void conf_defaults(struct swarm_conf *conf)
{
	bool ip4 = conf->server.family == 4;

	if (conf->reply_bytes == 0)
		conf->reply_bytes = conf->request_bytes;
	if (conf->duration_s < 0)
		conf->duration_s =
			conf->rate || conf->outstanding || conf->churn ? 10 : 0;
	if (conf->sources.ip.family == 0)
		(void)swarm_prefix_parse(ip4 ? "10.64.0.0/10" : "fd64::/32",
					 &conf->sources);
	if (conf->flood_sources.ip.family == 0)
		(void)swarm_prefix_parse(ip4 ? "10.128.0.0/9" : "fd65::/32",
					 &conf->flood_sources);
	conf->active_max = max_u32(CONF_ACTIVE_MIN, 2 * conf->outstanding);
}

/* A prefix has to be of the server's family, and not to hold it. */
static int conf_check_prefix(const struct swarm_conf *conf, const char *name,
			     const struct swarm_prefix *p)
{
	char text[SWARM_ADDR_TEXT_BYTES];

	if (p->ip.family != conf->server.family) {
		log_error("--%s: \"%s\": must be IPv%u, as the server is", name,
			  swarm_prefix_text(p, text),
			  (unsigned int)conf->server.family);
		return -EINVAL;
	}
	if (swarm_prefix_holds(p, &conf->server)) {
		log_error("--%s: \"%s\": must not hold the server's address",
			  name, swarm_prefix_text(p, text));
		return -EINVAL;
	}
	return 0;
}

static int conf_check_sources(const struct swarm_conf *conf)
{
	struct swarm_tuples tuples;
	char text[SWARM_ADDR_TEXT_BYTES];
	int rc = conf_check_prefix(conf, "sources", &conf->sources);

	if (rc == 0 && conf->flood)
		rc = conf_check_prefix(conf, "flood-sources",
				       &conf->flood_sources);
	if (rc < 0)
		return rc;
	if (conf->flood &&
	    swarm_prefix_overlaps(&conf->sources, &conf->flood_sources)) {
		log_error("--flood-sources: \"%s\": must not overlap with "
			  "--sources",
			  swarm_prefix_text(&conf->flood_sources, text));
		return -EINVAL;
	}
	if (swarm_tuples_init(&tuples, &conf->sources, conf->connections) == 0)
		return 0;
	log_error(
		"--sources: \"%s\": must have room for %u connections, %u per "
		"address",
		swarm_prefix_text(&conf->sources, text), conf->connections,
		SWARM_PORTS);
	return -EINVAL;
}

static int conf_check(const struct swarm_conf *conf)
{
	if (!conf->server.family || !conf->connections) {
		log_error("--connect and --connections are needed, see "
			  "xtcp-swarm --help");
		return -EINVAL;
	}
	if (conf->rate && conf->outstanding) {
		log_error("--rate and --outstanding: only one of them");
		return -EINVAL;
	}
	if (conf->outstanding > conf->connections) {
		log_error(
			"--outstanding: \"%u\": must be at most --connections, "
			"as each client has one request at a time",
			conf->outstanding);
		return -EINVAL;
	}
	if (conf->server.family == 6 && conf->mtu < CONF_MTU_MIN6) {
		log_error("--mtu: \"%u\": must be a number from %u to %u for "
			  "IPv6",
			  conf->mtu, CONF_MTU_MIN6, UINT16_MAX);
		return -EINVAL;
	}
	return conf_check_sources(conf);
}

/* --- usage ------------------------------------------------------------- */

static void conf_usage(void)
{
	char name[40];

	puts("Usage: xtcp-swarm --connect ADDR:PORT --connections N [OPTION]...\n"
	     "Be many TCP clients of one server, packet by packet, on a TUN\n"
	     "device of their own, and report how it went as JSON.\n");
	for (size_t i = 0; i < CONF_N_OPTIONS; i++) {
		const struct conf_option *o = &conf_options[i];

		snprintf(name, sizeof(name), "--%s%s%s", o->name,
			 o->arg ? "=" : "", o->arg ? o->arg : "");
		printf("  %-23s %s\n", name, o->help);
	}
	puts("  -h, --help              show this and exit\n"
	     "  -V, --version           show the version and exit");
}

static void conf_getopt_table(struct option *ret_longs)
{
	for (size_t i = 0; i < CONF_N_OPTIONS; i++)
		ret_longs[i] = (struct option){
			.name = conf_options[i].name,
			.has_arg = conf_options[i].arg ? required_argument
						       : no_argument,
			.val = CONF_GETOPT + (int)i,
		};
	ret_longs[CONF_N_OPTIONS] =
		(struct option){ "help", no_argument, NULL, 'h' };
	ret_longs[CONF_N_OPTIONS + 1] =
		(struct option){ "version", no_argument, NULL, 'V' };
	ret_longs[CONF_N_OPTIONS + 2] = (struct option){ 0 };
}

/* Returns -1 to go on, or the exit status. */
static int conf_read_options(struct swarm_conf *conf, int argc, char **argv)
{
	struct option longs[CONF_N_OPTIONS + 3];
	int opt;

	conf_getopt_table(longs);
	while ((opt = getopt_long(argc, argv, "hV", longs, NULL)) != -1) {
		switch (opt) {
		case 'h':
			conf_usage();
			return 0;
		case 'V':
			puts("xtcp-swarm " PACKAGE_VERSION);
			return 0;
		case '?':
			fputs("try: xtcp-swarm --help\n", stderr);
			return 2;
		default:
			if (conf_set(conf, &conf_options[opt - CONF_GETOPT],
				     optarg) < 0)
				return 2;
		}
	}
	if (optind == argc)
		return -1;
	log_error("unexpected argument \"%s\", see xtcp-swarm --help",
		  argv[optind]);
	return 2;
}

int swarm_conf_read(struct swarm_conf *conf, int argc, char **argv)
{
	struct timespec now;
	int rc;

	clock_gettime(CLOCK_REALTIME, &now);
	*conf = (struct swarm_conf){
		.request_bytes = 1024,
		.duration_s = -1,
		.grace_s = 30,
		.device = "swarm0",
		.mtu = 1500,
		.rto_ms = 1000,
		.tries = 8,
		.ack_delay_ms = 40,
		.seed = (uint64_t)now.tv_sec * NSEC_PER_SEC +
			(uint64_t)now.tv_nsec,
		.verify = true,
		.timestamps = true,
		.offload = true,
	};
	rc = conf_read_options(conf, argc, argv);
	if (rc >= 0)
		return rc;
	conf_defaults(conf);
	return conf_check(conf) < 0 ? 2 : -1;
}
