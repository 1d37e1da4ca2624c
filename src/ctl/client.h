/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_CTL_CLIENT_H
#define XTCP_CTL_CLIENT_H

#include <json-c/json.h>

/*
 * Sends one request to the control socket at path and waits for its reply.
 * args is taken, and may be NULL. ret_reply is a new object: the whole reply,
 * as proto/control.h has it.
 * Returns 0, or a negative errno after saying on standard error what failed
 * and what to do.
 */
int client_ask(const char *path, const char *command, struct json_object *args,
	       struct json_object **ret_reply);

#endif
