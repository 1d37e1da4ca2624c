/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print - JSON results as tables for people.
 *
 * What is shown of a result stands in a table of fields: a heading, where the
 * value is, and how it is written. Members that the table does not have (of a
 * newer daemon) are left out; missing ones (of an older one) are "-".
 */
#ifndef XTCP_CTL_PRINT_H
#define XTCP_CTL_PRINT_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdio.h>

enum print_format {
	PRINT_TEXT,
	PRINT_NUMBER,
	PRINT_BYTES, /* 1.5 MiB */
	PRINT_MS, /* 1d 2h, 3.500 s */
	PRINT_US, /* 1.250 ms */
	PRINT_AGO, /* 3.500 s ago; milliseconds */
	PRINT_FLAG, /* yes, no */
	/* besides, of an object: without a value there is no line, either */
	PRINT_OPTIONAL = 1 << 8,
};

struct print_field {
	const char *heading;
	const char *path; /* "messages.in" */
	enum print_format format;
};

/* A list of objects: a line each under the headings, columns aligned. */
void print_table(FILE *out, struct json_object *list,
		 const struct print_field *fields, size_t n);

/* One object: a line per field. */
void print_object(FILE *out, struct json_object *obj,
		  const struct print_field *fields, size_t n);

/* An object of numbers, whatever their names: a line each. */
void print_numbers(FILE *out, struct json_object *obj);

#endif
