/* SPDX-License-Identifier: BSD-2-Clause */
#include "proto/control.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Deep nesting costs the parser stack; no message of ours has more than 6. */
#define CONTROL_DEPTH_MAX 32

void control_reader_init(struct control_reader *r, size_t max_bytes)
{
	*r = (struct control_reader){ .max_bytes = max_bytes };
}

void control_reader_fini(struct control_reader *r)
{
	free(r->buf);
	control_reader_init(r, r->max_bytes);
}

static int control_reader_grow(struct control_reader *r, size_t need)
{
	size_t cap = r->cap ? r->cap : 4096;
	char *buf;

	while (cap < need)
		cap *= 2;
	if (cap == r->cap)
		return 0;
	buf = realloc(r->buf, cap);
	if (!buf)
		return -ENOMEM;
	r->buf = buf;
	r->cap = cap;
	return 0;
}

int control_reader_feed(struct control_reader *r, const void *data, size_t n)
{
	int rc;

	if (r->error)
		return r->error;
	if (n == 0)
		return 0;
	if (n > r->max_bytes - r->len) {
		r->error = -EMSGSIZE;
		return r->error;
	}
	rc = control_reader_grow(r, r->len + n);
	if (rc < 0)
		return rc;
	memcpy(r->buf + r->len, data, n);
	r->len += n;
	return 0;
}

/* Parses exactly len bytes as one JSON object; NULL when it is none. */
static struct json_object *control_decode(const char *line, size_t len)
{
	struct json_tokener *tok;
	struct json_object *obj = NULL;
	size_t end = 0;

	if (len > INT_MAX)
		return NULL;
	tok = json_tokener_new_ex(CONTROL_DEPTH_MAX);
	if (!tok)
		return NULL;
	obj = json_tokener_parse_ex(tok, line, (int)len);
	if (obj)
		end = json_tokener_get_parse_end(tok);
	while (end < len && strchr(" \t\r", line[end]) && line[end] != '\0')
		end++;
	if (obj &&
	    (end != len || !json_object_is_type(obj, json_type_object))) {
		json_object_put(obj);
		obj = NULL;
	}
	json_tokener_free(tok);
	return obj;
}

int control_reader_next(struct control_reader *r, struct json_object **ret_obj)
{
	struct json_object *obj;
	size_t line;
	char *nl;

	if (r->len > r->scanned) {
		nl = memchr(r->buf + r->scanned, '\n', r->len - r->scanned);
		if (nl) {
			line = (size_t)(nl - r->buf);
			obj = control_decode(r->buf, line);
			r->len -= line + 1;
			memmove(r->buf, nl + 1, r->len);
			r->scanned = 0;
			if (!obj)
				return -EBADMSG;
			*ret_obj = obj;
			return 1;
		}
		r->scanned = r->len;
	}
	return r->error;
}

/* Adds value, taken, to obj; on failure frees value. */
static int control_add(struct json_object *obj, const char *key,
		       struct json_object *value)
{
	if (json_object_object_add(obj, key, value) == 0)
		return 0;
	json_object_put(value);
	return -ENOMEM;
}

struct json_object *control_request_new(const char *command,
					struct json_object *args)
{
	struct json_object *obj = json_object_new_object();
	struct json_object *name = json_object_new_string(command);

	if (!obj || !name) {
		json_object_put(name);
		json_object_put(args);
		goto fail;
	}
	if (control_add(obj, "command", name) < 0) {
		json_object_put(args);
		goto fail;
	}
	if (args && control_add(obj, "args", args) < 0)
		goto fail;
	return obj;
fail:
	json_object_put(obj);
	return NULL;
}

int control_request_parse(struct json_object *obj, const char **ret_command,
			  struct json_object **ret_args)
{
	struct json_object *command, *args = NULL;

	if (!json_object_object_get_ex(obj, "command", &command) ||
	    !json_object_is_type(command, json_type_string))
		return -EBADMSG;
	if (json_object_object_get_ex(obj, "args", &args) && args &&
	    !json_object_is_type(args, json_type_object))
		return -EBADMSG;
	*ret_command = json_object_get_string(command);
	*ret_args = args;
	return 0;
}

/* {"ok": ok, key: value}; takes value. */
static struct json_object *control_reply(bool ok, const char *key,
					 struct json_object *value)
{
	struct json_object *obj = json_object_new_object();
	struct json_object *flag = json_object_new_boolean(ok);

	if (!obj || !flag || control_add(obj, "ok", flag) < 0) {
		if (!obj)
			json_object_put(flag);
		json_object_put(value);
		goto fail;
	}
	if (control_add(obj, key, value) < 0)
		goto fail;
	return obj;
fail:
	json_object_put(obj);
	return NULL;
}

struct json_object *control_reply_new(struct json_object *result)
{
	return control_reply(true, "result", result);
}

struct json_object *control_reply_error(const char *fmt, ...)
{
	struct json_object *text;
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	text = json_object_new_string(line);
	return text ? control_reply(false, "error", text) : NULL;
}

int control_reply_parse(struct json_object *obj,
			struct json_object **ret_result, const char **ret_error)
{
	struct json_object *ok, *value = NULL;

	if (!json_object_object_get_ex(obj, "ok", &ok) ||
	    !json_object_is_type(ok, json_type_boolean))
		return -EBADMSG;
	if (json_object_get_boolean(ok)) {
		(void)json_object_object_get_ex(obj, "result", &value);
		*ret_result = value;
		return 0;
	}
	if (!json_object_object_get_ex(obj, "error", &value) ||
	    !json_object_is_type(value, json_type_string))
		return -EBADMSG;
	*ret_error = json_object_get_string(value);
	return -EREMOTEIO;
}

char *control_encode(struct json_object *obj, size_t *ret_len)
{
	const char *text;
	size_t len;
	char *line;

	text = json_object_to_json_string_length(obj, JSON_C_TO_STRING_PLAIN,
						 &len);
	if (!text)
		return NULL;
	line = malloc(len + 2);
	if (!line)
		return NULL;
	memcpy(line, text, len);
	line[len] = '\n';
	line[len + 1] = '\0';
	*ret_len = len + 1;
	return line;
}
