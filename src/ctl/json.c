/* SPDX-License-Identifier: BSD-2-Clause */
#include "ctl/json.h"

#include <string.h>

struct json_object *json_at(struct json_object *obj, const char *path)
{
	size_t len = strcspn(path, ".");
	struct json_object *value = NULL;
	char key[64];

	if (len >= sizeof(key) || !json_object_is_type(obj, json_type_object))
		return NULL;
	memcpy(key, path, len);
	key[len] = '\0';
	if (!json_object_object_get_ex(obj, key, &value) || !value)
		return NULL;
	return path[len] == '.' ? json_at(value, path + len + 1) : value;
}

uint64_t json_number_at(struct json_object *obj, const char *path)
{
	int64_t n = json_object_get_int64(json_at(obj, path));

	return n > 0 ? (uint64_t)n : 0;
}

const char *json_text_at(struct json_object *obj, const char *path)
{
	struct json_object *value = json_at(obj, path);

	return json_object_is_type(value, json_type_string)
		       ? json_object_get_string(value)
		       : "";
}

size_t json_length(struct json_object *obj)
{
	return json_object_is_type(obj, json_type_array)
		       ? json_object_array_length(obj)
		       : 0;
}
