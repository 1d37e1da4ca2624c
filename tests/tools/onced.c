/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * onced - a server that keeps no offsets, and tells what it executed.
 *
 * Each line of a client is a request. It is executed by one line in LOG,
 *
 *	EPOCH ID FROM TO REDELIVERED
 *
 * in hexadecimal, with 1 for a request that came with XTCP_EV_REDELIVERED's
 * mark, and answered with the same line back, a burst at a time. What it was
 * killed over is executed again: at least once, and marked.
 *
 *	onced PORT LOG [HANG]
 *
 * With HANG the requests are read, and neither executed nor answered.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xtcp/xtcp.h>

/* So that it is killed between doing and saying so, too. */
#define WORK_US 300

static char buf[64 * 1024];
static int gd, log_fd;

static void die(const char *what, int err)
{
	fprintf(stderr, "onced: %s: %s\n", what, strerror(err));
	exit(1);
}

static void execute(const struct xtcp_position *pos, size_t len)
{
	char text[128];
	int n = snprintf(text, sizeof(text),
			 "%" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %d\n",
			 pos->epoch, pos->id, pos->offset, pos->offset + len,
			 pos->redelivered > pos->offset);

	if (write(log_fd, text, (size_t)n) != n)
		die("log", errno);
	usleep(WORK_US);
}

static void serve(int cd, size_t n)
{
	struct xtcp_position pos;
	char *line = buf, *end;

	while ((end = memchr(line, '\n', n))) {
		size_t len = (size_t)(end - line) + 1;

		if (xtcp_position(gd, cd, &pos) < 0)
			return;
		/* The test's clients leave room for all of their answers. */
		if (xtcp_room(gd, cd) < (int)len)
			return;
		execute(&pos, len);
		if (xtcp_send(gd, cd, len, line, len) != (int)len)
			return;
		line += len;
		n -= len;
	}
}

int main(int argc, char **argv)
{
	xtcp_set set;
	int cd, n;

	if (argc < 3)
		die("usage: onced PORT LOG [HANG]", EINVAL);
	log_fd = open(argv[2], O_WRONLY | O_APPEND | O_CREAT, 0600);
	if (log_fd < 0)
		die(argv[2], errno);
	xtcp_initialize(0);
	gd = xtcp_open_group(PF_INET6, SOCK_STREAM, 0,
			     (u_int16_t)atoi(argv[1]));
	if (gd < 0)
		die("group", -gd);
	xtcp_cork(gd, 1);
	XTCP_ZERO(&set);
	for (;;) {
		XTCP_SET(gd, &set);
		xtcp_select(gd + 1, &set, NULL, NULL);
		while ((n = xtcp_recv(gd, &cd, buf, sizeof(buf))) != -EAGAIN) {
			if (n > 0 && argc == 3)
				serve(cd, (size_t)n);
			else if (n <= 0)
				xtcp_close(gd, cd);
		}
	}
}
