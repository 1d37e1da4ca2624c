/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_CTL_CLIENT_H
#define XTCP_CTL_CLIENT_H

#include <json-c/json.h>
#include <stddef.h>

/* The daemon waits a second for its workers; a large list takes longer. */
#define CLIENT_TIMEOUT_S 30

struct client;

/*
 * A connection to the control socket at path; each wait for xtcpd ends after
 * timeout_s. Returns 0 or a negative errno.
 */
int client_open(struct client **ret_client, const char *path,
		unsigned int timeout_s);

/* Accepts NULL. */
void client_close(struct client *c);

/*
 * Sends one request and waits for its reply, as proto/control.h has it: a new
 * object. args is taken, and may be NULL. Returns 0 or a negative errno, after
 * which the client is good for nothing but client_close().
 */
int client_call(struct client *c, const char *command, struct json_object *args,
		struct json_object **ret_reply);

/*
 * What comes after a reply that is followed by bytes (proto/capture.h). Returns
 * how many, 0 at the end, or a negative errno; -EINTR after a signal.
 */
ssize_t client_read(struct client *c, void *data, size_t size);

/* Say no more: xtcpd ends what is under way. */
void client_finish(struct client *c);

/* What went wrong, and what to do, in words. */
void client_explain(const char *path, int err, char *text, size_t size);

/*
 * client_open(), client_call(), client_close(). Says on standard error what
 * failed and what to do.
 */
int client_ask(const char *path, const char *command, struct json_object *args,
	       struct json_object **ret_reply);

#endif
