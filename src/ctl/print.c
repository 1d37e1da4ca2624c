/* SPDX-License-Identifier: BSD-2-Clause */
#include "ctl/print.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/units.h"
#include "ctl/json.h"

#define PRINT_CELL_BYTES 160

static void print_bytes(char *cell, double n)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	size_t i = 0;

	while (n >= 1024 && i + 1 < ARRAY_SIZE(units)) {
		n /= 1024;
		i++;
	}
	snprintf(cell, PRINT_CELL_BYTES, i == 0 ? "%.0f %s" : "%.1f %s", n,
		 units[i]);
}

static void print_duration(char *cell, uint64_t ms)
{
	uint64_t s = ms / MSEC_PER_SEC, min = s / 60, h = min / 60,
		 days = h / 24;

	if (days > 0)
		snprintf(cell, PRINT_CELL_BYTES, "%" PRIu64 "d %" PRIu64 "h",
			 days, h % 24);
	else if (h > 0)
		snprintf(cell, PRINT_CELL_BYTES, "%" PRIu64 "h %" PRIu64 "m", h,
			 min % 60);
	else if (min > 0)
		snprintf(cell, PRINT_CELL_BYTES, "%" PRIu64 "m %" PRIu64 "s",
			 min, s % 60);
	else
		snprintf(cell, PRINT_CELL_BYTES, "%" PRIu64 ".%03" PRIu64 " s",
			 s, ms % MSEC_PER_SEC);
}

/* A terminal must not take orders from what a peer sent. */
static void print_text(char *cell, const char *text)
{
	snprintf(cell, PRINT_CELL_BYTES, "%s", text[0] != '\0' ? text : "-");
	for (; *cell != '\0'; cell++)
		if ((unsigned char)*cell < 0x20 || (unsigned char)*cell >= 0x7f)
			*cell = '?';
}

/* A list's texts, as far as they fit. */
static void print_list(char *cell, struct json_object *list)
{
	char text[PRINT_CELL_BYTES] = "";
	size_t used = 0;

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		int n = snprintf(text + used, sizeof(text) - used, "%s%s",
				 i > 0 ? ", " : "",
				 json_object_get_string(
					 json_object_array_get_idx(list, i)));

		used = min_size(used + (size_t)n, sizeof(text) - 1);
	}
	print_text(cell, text);
}

static void print_cell(char *cell, struct json_object *value,
		       enum print_format format)
{
	int64_t n;

	if (!value) {
		snprintf(cell, PRINT_CELL_BYTES, "-");
		return;
	}
	n = json_object_get_int64(value);
	switch ((unsigned int)format & ~(unsigned int)PRINT_OPTIONAL) {
	case PRINT_TEXT:
		if (json_object_is_type(value, json_type_array)) {
			print_list(cell, value);
			break;
		}
		print_text(cell, json_object_get_string(value));
		break;
	case PRINT_NUMBER:
		snprintf(cell, PRINT_CELL_BYTES, "%" PRId64, n);
		break;
	case PRINT_BYTES:
		print_bytes(cell, (double)n);
		break;
	case PRINT_MS:
		print_duration(cell, n < 0 ? 0 : (uint64_t)n);
		break;
	case PRINT_US:
		snprintf(cell, PRINT_CELL_BYTES, "%" PRId64 ".%03" PRId64 " ms",
			 n / 1000, n % 1000);
		break;
	case PRINT_AGO:
		print_duration(cell, n < 0 ? 0 : (uint64_t)n);
		strcat(cell, " ago");
		break;
	case PRINT_FLAG:
		snprintf(cell, PRINT_CELL_BYTES, "%s",
			 json_object_get_boolean(value) ? "yes" : "no");
		break;
	}
}

/* Numbers to the right, the rest to the left; no blanks at the end. */
static void print_aligned(FILE *out, const char *cell, int width, bool left,
			  bool last)
{
	if (left && last)
		fputs(cell, out);
	else
		fprintf(out, "%*s", left ? -width : width, cell);
	fputs(last ? "\n" : "  ", out);
}

static bool print_is_left(const struct print_field *field)
{
	return field->format == PRINT_TEXT || field->format == PRINT_FLAG;
}

void print_table(FILE *out, struct json_object *list,
		 const struct print_field *fields, size_t n)
{
	size_t rows = json_object_is_type(list, json_type_array)
			      ? json_object_array_length(list)
			      : 0;
	int width[32] = { 0 };
	char cell[PRINT_CELL_BYTES];

	assert(n <= ARRAY_SIZE(width));
	for (size_t f = 0; f < n; f++) {
		width[f] = (int)strlen(fields[f].heading);
		for (size_t r = 0; r < rows; r++) {
			print_cell(cell,
				   json_at(json_object_array_get_idx(list, r),
					   fields[f].path),
				   fields[f].format);
			width[f] =
				(int)max_size((size_t)width[f], strlen(cell));
		}
	}
	for (size_t f = 0; f < n; f++)
		print_aligned(out, fields[f].heading, width[f],
			      print_is_left(&fields[f]), f + 1 == n);
	for (size_t r = 0; r < rows; r++) {
		for (size_t f = 0; f < n; f++) {
			print_cell(cell,
				   json_at(json_object_array_get_idx(list, r),
					   fields[f].path),
				   fields[f].format);
			print_aligned(out, cell, width[f],
				      print_is_left(&fields[f]), f + 1 == n);
		}
	}
}

static bool print_is_shown(struct json_object *obj,
			   const struct print_field *field)
{
	return !(field->format & PRINT_OPTIONAL) || json_at(obj, field->path);
}

void print_object(FILE *out, struct json_object *obj,
		  const struct print_field *fields, size_t n)
{
	char cell[PRINT_CELL_BYTES];
	size_t width = 0;

	for (size_t f = 0; f < n; f++)
		if (print_is_shown(obj, &fields[f]))
			width = max_size(width, strlen(fields[f].heading));
	for (size_t f = 0; f < n; f++) {
		if (!print_is_shown(obj, &fields[f]))
			continue;
		print_cell(cell, json_at(obj, fields[f].path),
			   fields[f].format);
		fprintf(out, "%-*s  %s\n", (int)width, fields[f].heading, cell);
	}
}

void print_numbers(FILE *out, struct json_object *obj)
{
	char cell[PRINT_CELL_BYTES];
	size_t width = 0;

	if (!json_object_is_type(obj, json_type_object))
		return;
	{ json_object_object_foreach(obj, key, value){ (void)value;
	width = max_size(width, strlen(key));
}
}
{
	json_object_object_foreach(obj, key, value)
	{
		print_cell(cell, value, PRINT_NUMBER);
		fprintf(out, "%-*s  %s\n", (int)width, key, cell);
	}
}
}
