/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tun_probe CONF QUEUES - sets up the TUN of a configuration, for test_tun.py.
 *
 * Says "ready" once it is there, then obeys lines on standard input: "close"
 * or "leave" takes it down and ends, the end of input ends without.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/tun.h"

static void print_line(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "%s\n", line);
}

static void obey(struct tun *tun)
{
	char line[64];

	printf("ready\n");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		_Exit(EXIT_SUCCESS);
	if (strcmp(line, "leave\n") == 0)
		tun_leave(tun);
	else
		tun_close(tun);
}

int main(int argc, char **argv)
{
	struct conf *conf;
	struct tun *tun;
	int rc;

	if (argc != 3) {
		fprintf(stderr, "usage: tun_probe CONF QUEUES\n");
		return 2;
	}
	conf = conf_load(argv[1], print_line, NULL);
	if (!conf)
		return 2;
	rc = tun_open(&tun, &conf->tun, (uint32_t)atoi(argv[2]), NULL);
	if (rc == 0)
		obey(tun);
	else
		printf("failed %s\n", strerrorname_np(-rc));
	conf_free(conf);
	return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
