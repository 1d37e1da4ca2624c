/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>
#include <string.h>

#include "run/run.h"

struct run_options run_options;

int run_options_ports(struct run_options *o, const char *text)
{
	unsigned long port;
	char *end;

	do {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		port = strtoul(text, &end, 10);
		if (port < 1 || port > UINT16_MAX || (*end && *end != ','))
			return -EINVAL;
		if (o->n_ports == RUN_PORTS_MAX)
			return -E2BIG;
		o->ports[o->n_ports++] = (uint16_t)port;
		text = end + 1;
	} while (*end);
	return 0;
}

int run_options_ack(struct run_options *o, const char *text)
{
	if (!strcmp(text, "read"))
		o->ack = RUN_ACK_READ;
	else if (!strcmp(text, "write"))
		o->ack = RUN_ACK_WRITE;
	else
		return -EINVAL;
	return 0;
}

void run_options_load(struct run_options *o)
{
	const char *text = secure_getenv(RUN_ENV_PORTS);
	struct run_options ports = { 0 };

	if (text && *text && run_options_ports(&ports, text) == 0) {
		memcpy(o->ports, ports.ports, sizeof(o->ports));
		o->n_ports = ports.n_ports;
	}
	text = secure_getenv(RUN_ENV_ACK);
	if (text)
		(void)run_options_ack(o, text);
	o->verbose = secure_getenv(RUN_ENV_VERBOSE) != NULL;
}

bool run_options_port(const struct run_options *o, uint16_t port)
{
	if (o->n_ports == 0)
		return port != 0;
	for (unsigned int i = 0; i < o->n_ports; i++) {
		if (o->ports[i] == port)
			return true;
	}
	return false;
}
