/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * show_json - members of a result, for show.c and show_conn.c.
 *
 * An object that could not get memory is null in it.
 */
#ifndef XTCP_DAEMON_SHOW_JSON_H
#define XTCP_DAEMON_SHOW_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

static inline void show_number(struct json_object *obj, const char *key,
			       uint64_t value)
{
	int64_t v = value > INT64_MAX ? INT64_MAX : (int64_t)value;

	json_object_object_add(obj, key, json_object_new_int64(v));
}

static inline void show_text(struct json_object *obj, const char *key,
			     const char *value)
{
	json_object_object_add(obj, key, json_object_new_string(value));
}

static inline void show_bool(struct json_object *obj, const char *key,
			     bool value)
{
	json_object_object_add(obj, key, json_object_new_boolean(value));
}

/* A new object, at key of obj. */
static inline struct json_object *show_inside(struct json_object *obj,
					      const char *key)
{
	struct json_object *inner = json_object_new_object();

	json_object_object_add(obj, key, inner);
	return inner;
}

#endif
