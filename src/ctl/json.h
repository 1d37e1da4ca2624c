/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * json - members of results by their path.
 *
 * What is not there, or is of another type, reads as nothing: xtcpd may be
 * older or newer.
 */
#ifndef XTCP_CTL_JSON_H
#define XTCP_CTL_JSON_H

#include <json-c/json.h>
#include <stdint.h>

/* The value at "a.b" in obj, borrowed; or NULL. */
struct json_object *json_at(struct json_object *obj, const char *path);

/* A number that is not negative; 0 when there is none. */
uint64_t json_number_at(struct json_object *obj, const char *path);

/* A text, borrowed from obj; "" when there is none. */
const char *json_text_at(struct json_object *obj, const char *path);

/* How many elements obj has as a list; 0 when it is none. */
size_t json_length(struct json_object *obj);

#endif
