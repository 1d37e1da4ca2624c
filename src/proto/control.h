/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_PROTO_CONTROL_H
#define XTCP_PROTO_CONTROL_H

/*
 * Messages of the control socket: one JSON object per line.
 *
 *	request	{"command": "show connections", "args": {"limit": 10}}
 *	reply	{"ok": true, "result": ...}
 *	reply	{"ok": false, "error": "no such group: chat"}
 *
 * Each request is answered by one reply, in order. "args" may be missing.
 * Unknown members are ignored, so that either side can be the newer one.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

/* Longest request, with its newline; the daemon's bound for a reader. */
#define CONTROL_REQUEST_MAX (64u * 1024u)
/* Longest reply that a client should take. */
#define CONTROL_REPLY_MAX (256u * 1024u * 1024u)

/* Makes messages of bytes. An overlong line is a sticky error. */
struct control_reader {
	char *buf;
	size_t len, cap, max_bytes;
	size_t scanned; /* bytes of buf without a newline */
	int error;
};

/* An empty reader of lines of at most max_bytes, newline included. */
void control_reader_init(struct control_reader *r, size_t max_bytes);

/* Frees the buffer; accepts a reader that is all zero bytes. */
void control_reader_fini(struct control_reader *r);

/*
 * Appends n bytes, copied. Returns 0; -ENOMEM; -EMSGSIZE once more than
 * max_bytes wait without being taken by control_reader_next() (sticky).
 */
int control_reader_feed(struct control_reader *r, const void *data, size_t n);

/*
 * The next message, a JSON object that the caller puts (json_object_put).
 * Returns 1; 0 when no whole line is there; -EBADMSG when the line is not a
 * JSON object (the line is gone, the next one may be good); -EMSGSIZE.
 */
int control_reader_next(struct control_reader *r, struct json_object **ret_obj);

/*
 * A request; takes args, which may be NULL. Returns a new object, or NULL
 * when memory is short (args is freed then, too).
 */
struct json_object *control_request_new(const char *command,
					struct json_object *args);

/*
 * Looks into a request; both results are borrowed from obj, ret_args is NULL
 * when there are none.
 * Returns 0, or -EBADMSG when "command" is no string or "args" no object.
 */
int control_request_parse(struct json_object *obj, const char **ret_command,
			  struct json_object **ret_args);

/* {"ok": true, "result": result}; takes result (NULL: null). NULL: memory. */
struct json_object *control_reply_new(struct json_object *result);

/* {"ok": false, "error": text}. NULL when memory is short. */
__attribute__((format(printf, 1, 2))) struct json_object *
control_reply_error(const char *fmt, ...);

/*
 * Looks into a reply; the results are borrowed from obj.
 * Returns 0 and ret_result (NULL for null) when it is ok; -EREMOTEIO and
 * ret_error when it is not; -EBADMSG when it is no reply.
 */
int control_reply_parse(struct json_object *obj,
			struct json_object **ret_result,
			const char **ret_error);

/*
 * The object as a line with its newline, NUL-terminated; the caller frees it.
 * Returns NULL when memory is short; the length, without NUL, in ret_len.
 */
char *control_encode(struct json_object *obj, size_t *ret_len);

#endif
