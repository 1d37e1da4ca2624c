/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xtcp-run - runs a server with its listening ports served by xtcpd.
 *
 * It looks whether that can work (is there an xtcpd, does the preload library
 * reach the program), puts the options into the environment, and becomes the
 * server.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "lib/link.h"
#include "lib/open.h"
#include "proto/addr.h"
#include "run/run.h"
#include "run/target.h"
#include "xtcp/xtcp.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif
#ifndef XTCP_RUN_LIBRARY
#define XTCP_RUN_LIBRARY "/usr/lib/xtcpd/libxtcp-run.so"
#endif

#define MAIN_USAGE 2
#define MAIN_FAILED 1

struct main_args {
	struct run_options options;
	char ports[RUN_PORTS_MAX * 6 + 1]; /* as for the environment */
	const char *ack;
	char **command;
};

static void main_usage(FILE *out)
{
	fputs("Usage: xtcp-run [OPTION]... COMMAND [ARGUMENT]...\n"
	      "Run a server whose listening ports are served by xtcpd.\n\n"
	      "  -p, --port=PORT[,PORT]...  these ports (default: each port that\n"
	      "                       is a group of xtcpd)\n"
	      "  -a, --ack=read       what the server has read is acknowledged to\n"
	      "                       the client (default)\n"
	      "      --ack=write      ... once it writes on that connection\n"
	      "  -A, --attach=PATH    xtcpd's attach socket (default: XTCP_ATTACH,\n"
	      "                       or " XTCP_ATTACH_DEFAULT ")\n"
	      "  -v, --verbose        say on stderr what is done\n"
	      "  -h, --help           show this and exit\n"
	      "  -V, --version        show the version and exit\n",
	      out);
}

/* A line about wrong usage; the exit status. */
static int main_misused(const char *what, const char *value, const char *fix)
{
	fprintf(stderr, "xtcp-run: %s \"%s\": %s\n", what, value, fix);
	return MAIN_USAGE;
}

static int main_add_ports(struct main_args *a, const char *text)
{
	int rc = run_options_ports(&a->options, text);
	size_t used = strlen(a->ports);

	if (rc == -E2BIG)
		return main_misused("--port", text, "at most 64 ports");
	if (rc < 0)
		return main_misused(
			"--port", text,
			"give numbers from 1 to 65535, with commas");
	snprintf(a->ports + used, sizeof(a->ports) - used, "%s%s",
		 used ? "," : "", text);
	return 0;
}

/* 0: go on; -1: all is done; else the exit status. */
static int main_option(struct main_args *a, int opt)
{
	switch (opt) {
	case 'p':
		return main_add_ports(a, optarg);
	case 'a':
		a->ack = optarg;
		if (run_options_ack(&a->options, optarg) < 0)
			return main_misused("--ack", optarg,
					    "give read or write");
		return 0;
	case 'A':
		return setenv("XTCP_ATTACH", optarg, 1) < 0 ? MAIN_FAILED : 0;
	case 'v':
		a->options.verbose = true;
		return 0;
	case 'h':
		main_usage(stdout);
		return -1;
	case 'V':
		printf("xtcp-run %s\n", PACKAGE_VERSION);
		return -1;
	default:
		fputs("Try 'xtcp-run --help'.\n", stderr);
		return MAIN_USAGE;
	}
}

static int main_parse(int argc, char **argv, struct main_args *a)
{
	static const struct option longs[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "ack", required_argument, NULL, 'a' },
		{ "attach", required_argument, NULL, 'A' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "+p:a:A:vhV", longs, NULL)) !=
	       -1) {
		rc = main_option(a, opt);
		if (rc != 0)
			return rc;
	}
	if (optind == argc) {
		fputs("xtcp-run: which command? Try 'xtcp-run --help'.\n",
		      stderr);
		return MAIN_USAGE;
	}
	a->command = argv + optind;
	return 0;
}

/* --- is there an xtcpd? --- */

/* What a probe of a port said; the exit status. */
static int main_explain(uint16_t port, int rc, int why)
{
	const char *env = getenv("XTCP_ATTACH");
	const char *path = env && *env ? env : XTCP_ATTACH_DEFAULT;

	if (rc == -ENOTCONN && (why == -EACCES || why == -EPERM)) {
		fprintf(stderr,
			"xtcp-run: no permission for %s: run as root, or as a "
			"member of the socket's group\n",
			path);
		return MAIN_FAILED;
	}
	if (rc == -ENOTCONN) {
		fprintf(stderr,
			"xtcp-run: no xtcpd answers at %s: %s; is it running? "
			"--attach names another socket\n",
			path, strerror(-why));
		return MAIN_FAILED;
	}
	if (rc == -ENOENT)
		fprintf(stderr,
			"xtcp-run: xtcpd has no group for port %u that servers "
			"can attach to: add one to its configuration, without "
			"backends of protocol \"stream\"\n",
			port);
	else
		fprintf(stderr, "xtcp-run: port %u: %s\n", port, strerror(-rc));
	return MAIN_FAILED;
}

/* Each port that was named; without any, whether somebody answers. */
static int main_probe(const struct run_options *o)
{
	uint64_t instance = (uint64_t)getpid();
	struct sockaddr_storage ss;
	unsigned int i = 0;
	socklen_t len;
	uint16_t port;
	int rc, why;

	if (link_attach_address(&ss, &len) < 0) {
		fputs("xtcp-run: the attach socket's name can't be read: give "
		      "a path, unix:PATH or tcp:HOST:PORT\n",
		      stderr);
		return MAIN_USAGE;
	}
	(void)!getrandom(&instance, sizeof(instance), 0);
	do {
		port = o->n_ports > 0 ? o->ports[i] : 1;
		rc = open_probe(instance, port, &why);
		if (rc < 0 && (o->n_ports > 0 || rc != -ENOENT))
			return main_explain(port, rc, why);
	} while (++i < o->n_ports);
	return 0;
}

/* --- the environment --- */

static const char *main_library(void)
{
	const char *path = secure_getenv("XTCP_RUN_LIBRARY");

	return path && *path ? path : XTCP_RUN_LIBRARY;
}

static int main_set_preload(void)
{
	const char *library = main_library(), *before = getenv("LD_PRELOAD");
	char *value;
	int rc;

	if (access(library, R_OK) < 0) {
		fprintf(stderr,
			"xtcp-run: %s: %s; is xtcpd installed completely?\n",
			library, strerror(errno));
		return MAIN_FAILED;
	}
	if (asprintf(&value, "%s%s%s", library, before && *before ? ":" : "",
		     before ? before : "") < 0)
		return MAIN_FAILED;
	rc = setenv("LD_PRELOAD", value, 1);
	free(value);
	return rc < 0 ? MAIN_FAILED : 0;
}

static int main_set_environment(const struct main_args *a)
{
	int rc = 0;

	if (a->ports[0])
		rc |= setenv(RUN_ENV_PORTS, a->ports, 1);
	else
		rc |= unsetenv(RUN_ENV_PORTS);
	rc |= setenv(RUN_ENV_ACK, a->ack, 1);
	if (a->options.verbose)
		rc |= setenv(RUN_ENV_VERBOSE, "1", 1);
	return rc < 0 ? MAIN_FAILED : main_set_preload();
}

int main(int argc, char **argv)
{
	struct main_args a = { .ack = "read" };
	int rc = main_parse(argc, argv, &a);

	if (rc != 0)
		return rc < 0 ? 0 : rc;
	rc = target_check(a.command[0]);
	if (rc == -EINVAL)
		return MAIN_USAGE;
	if (rc < 0)
		return main_misused("command", a.command[0], strerror(-rc));
	rc = main_probe(&a.options);
	if (rc == 0)
		rc = main_set_environment(&a);
	if (rc != 0)
		return rc;
	execvp(a.command[0], a.command);
	fprintf(stderr, "xtcp-run: %s: %s\n", a.command[0], strerror(errno));
	return MAIN_FAILED;
}
