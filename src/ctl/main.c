/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xtcpctl - options and words become one request; its reply is printed.
 *
 * Functions that may end the program return what to exit with, or -1 to go on.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "proto/control.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif

#define CTL_SOCKET "/run/xtcpd/control.sock"
#define CTL_SOCKET_ENV "XTCP_CONTROL"

enum ctl_exit { CTL_OK, CTL_FAILED, CTL_USAGE };
enum ctl_option {
	CTL_OPT_JSON = 256,
	CTL_OPT_GROUP,
	CTL_OPT_STATE,
	CTL_OPT_LIMIT
};

struct ctl_args {
	const char *socket;
	bool json;
	const char *group, *state, *limit;
	const struct command *command;
	const char *arg;
};

static void ctl_help(void)
{
	printf("usage: xtcpctl [-s SOCKET] [--json] COMMAND\n"
	       "\n"
	       "Asks a running xtcpd, or tells it what to do; see xtcpctl(1).\n"
	       "\n"
	       "  -s, --socket PATH   control socket [$" CTL_SOCKET_ENV
	       " or " CTL_SOCKET "]\n"
	       "      --json          the result as JSON\n"
	       "  -V, --version       print the version and exit\n"
	       "  -h, --help          print this and exit\n"
	       "\n"
	       "commands:\n");
	commands_help(stdout);
	printf("\n"
	       "filters of \"show connections\":\n"
	       "      --group NAME    of this group\n"
	       "      --state STATE   in this state, such as ESTABLISHED\n"
	       "      --limit N       at most N, up to 100000 [10000]\n"
	       "\n"
	       "Exit status: 0 done, 1 not done or no answer, 2 usage.\n");
}

/* Returns -1 to go on, else what to exit with. */
static int ctl_option(struct ctl_args *args, int c)
{
	switch (c) {
	case 's':
		args->socket = optarg;
		return -1;
	case CTL_OPT_JSON:
		args->json = true;
		return -1;
	case CTL_OPT_GROUP:
		args->group = optarg;
		return -1;
	case CTL_OPT_STATE:
		args->state = optarg;
		return -1;
	case CTL_OPT_LIMIT:
		args->limit = optarg;
		return -1;
	case 'V':
		printf("xtcpctl %s\n", PACKAGE_VERSION);
		return CTL_OK;
	case 'h':
		ctl_help();
		return CTL_OK;
	default:
		fputs("try: xtcpctl --help\n", stderr);
		return CTL_USAGE;
	}
}

__attribute__((format(printf, 1, 2))) static int ctl_usage(const char *fmt, ...)
{
	va_list ap;

	fputs("xtcpctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("; try: xtcpctl --help\n", stderr);
	return CTL_USAGE;
}

/* The words after the options. Returns -1 to go on. */
static int ctl_words(struct ctl_args *args, char **words, int n)
{
	int used;

	if (n == 0)
		return ctl_usage("a command is missing");
	args->command = command_find(words, n, &used);
	if (!args->command)
		return ctl_usage("no command \"%s%s%s\"", words[0],
				 n > 1 ? " " : "", n > 1 ? words[1] : "");
	if (args->command->arg) {
		if (used == n)
			return ctl_usage("%s: the %s is missing",
					 args->command->name,
					 args->command->arg);
		args->arg = words[used++];
	}
	if (used < n)
		return ctl_usage("%s: unexpected argument \"%s\"",
				 args->command->name, words[used]);
	if (!args->command->filters &&
	    (args->group || args->state || args->limit))
		return ctl_usage("%s takes no filter", args->command->name);
	return -1;
}

static const struct option *ctl_longs(void)
{
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, CTL_OPT_JSON },
		{ "group", required_argument, NULL, CTL_OPT_GROUP },
		{ "state", required_argument, NULL, CTL_OPT_STATE },
		{ "limit", required_argument, NULL, CTL_OPT_LIMIT },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};

	return longs;
}

/*
 * A command with options of its own: ours stand before it. Returns where it is
 * in argv, or 0: there is none.
 */
static int ctl_find_own(int argc, char **argv, const struct command **ret_own)
{
	const struct command *c;
	int used;

	opterr = 0;
	while (getopt_long(argc, argv, "+s:Vh", ctl_longs(), NULL) != -1)
		;
	opterr = 1;
	c = command_find(argv + optind, argc - optind, &used);
	if (!c || c->shape != COMMAND_OWN)
		return 0;
	*ret_own = c;
	return optind;
}

/* Returns -1 to go on, else what to exit with. */
static int ctl_parse(struct ctl_args *args, int argc, char **argv)
{
	int c, rc, own = ctl_find_own(argc, argv, &args->command);

	optind = 0;
	while ((c = getopt_long(own ? own : argc, argv, "s:Vh", ctl_longs(),
				NULL)) != -1) {
		rc = ctl_option(args, c);
		if (rc >= 0)
			return rc;
	}
	if (!own)
		return ctl_words(args, argv + optind, argc - optind);
	if (args->json)
		return ctl_usage("%s has no JSON: see the \"show\" commands",
				 args->command->name);
	return args->command->run(args->socket, argc - own, argv + own);
}

static void ctl_add_text(struct json_object *obj, const char *key,
			 const char *value)
{
	if (value)
		json_object_object_add(obj, key, json_object_new_string(value));
}

/* The arguments as JSON; NULL for a limit that is no number. */
static struct json_object *ctl_request_args(const struct ctl_args *args)
{
	struct json_object *obj = json_object_new_object();
	char *end;
	long n;

	if (args->command->arg)
		ctl_add_text(obj, args->command->arg, args->arg);
	ctl_add_text(obj, "group", args->group);
	ctl_add_text(obj, "state", args->state);
	if (!args->limit)
		return obj;
	errno = 0;
	n = strtol(args->limit, &end, 10);
	if (end == args->limit || *end != '\0' || errno == ERANGE) {
		json_object_put(obj);
		return NULL;
	}
	json_object_object_add(obj, "limit", json_object_new_int64(n));
	return obj;
}

static int ctl_show_reply(const struct ctl_args *args,
			  struct json_object *reply)
{
	struct json_object *result = NULL, *warning;
	const char *error = NULL;

	switch (control_reply_parse(reply, &result, &error)) {
	case 0:
		break;
	case -EREMOTEIO:
		fprintf(stderr, "xtcpctl: %s\n", error);
		return CTL_FAILED;
	default:
		fprintf(stderr,
			"xtcpctl: what listens at %s does not answer as xtcpd does\n",
			args->socket);
		return CTL_FAILED;
	}
	if (json_object_object_get_ex(reply, "warning", &warning))
		fprintf(stderr, "xtcpctl: warning: %s\n",
			json_object_get_string(warning));
	if (args->json)
		printf("%s\n", json_object_to_json_string_ext(
				       result, JSON_C_TO_STRING_PLAIN));
	else
		command_print(stdout, args->command, result);
	if (fflush(stdout) != 0) {
		fprintf(stderr, "xtcpctl: standard output: %s\n",
			strerror(errno));
		return CTL_FAILED;
	}
	return CTL_OK;
}

int main(int argc, char **argv)
{
	struct json_object *request_args, *reply;
	struct ctl_args args = { .socket = getenv(CTL_SOCKET_ENV) };
	int rc;

	if (!args.socket || args.socket[0] == '\0')
		args.socket = CTL_SOCKET;
	rc = ctl_parse(&args, argc, argv);
	if (rc >= 0)
		return rc;
	request_args = ctl_request_args(&args);
	if (!request_args)
		return ctl_usage("--limit %s is not a number", args.limit);
	if (client_ask(args.socket, args.command->name, request_args, &reply) <
	    0)
		return CTL_FAILED;
	rc = ctl_show_reply(&args, reply);
	json_object_put(reply);
	return rc;
}
