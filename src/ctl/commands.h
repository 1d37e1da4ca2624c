/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * commands - xtcpctl's one table of commands: parsing, help and output.
 */
#ifndef XTCP_CTL_COMMANDS_H
#define XTCP_CTL_COMMANDS_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct print_field;

enum command_shape {
	COMMAND_DONE, /* nothing to print */
	COMMAND_OBJECT,
	COMMAND_TABLE,
	COMMAND_NUMBERS,
	COMMAND_MESSAGES, /* the lines of "messages" */
	COMMAND_OWN, /* run() does all of it, with options of its own */
};

struct command {
	const char *name; /* its words, as at the control socket */
	const char *arg; /* name of the one argument, or NULL */
	bool filters; /* takes --group, --state and --limit */
	const char *help;
	enum command_shape shape;
	const struct print_field *fields;
	size_t n_fields;
	/* COMMAND_OWN: argv[0] is the name; returns what to exit with */
	int (*run)(const char *path, int argc, char **argv);
	const char *options; /* of it, for commands_help() */
};

/*
 * The command that the words begin with; how many of them it has in ret_used.
 * NULL: none.
 */
const struct command *command_find(char *const *words, int n, int *ret_used);

/* "show connections [--group G] ...  help", a line each. */
void commands_help(FILE *out);

/* The result of the command for a person. */
void command_print(FILE *out, const struct command *c,
		   struct json_object *result);

#endif
