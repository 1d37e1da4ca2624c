/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/swarm_watch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"

#define WATCH_PATH_BYTES 64
#define WATCH_LINE_BYTES 1024

static int swarm_watch_line(pid_t pid, const char *file, char *ret_line)
{
	char path[WATCH_PATH_BYTES];
	FILE *fp;
	int rc = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fp = fopen(path, "re");
	if (!fp)
		return -errno;
	if (!fgets(ret_line, WATCH_LINE_BYTES, fp))
		rc = -ESRCH;
	fclose(fp);
	return rc;
}

int swarm_watch_read(pid_t pid, struct swarm_usage *ret_usage)
{
	unsigned long long user, system, pages;
	char line[WATCH_LINE_BYTES];
	uint64_t ticks_per_s = (uint64_t)sysconf(_SC_CLK_TCK);
	const char *at;
	int rc = swarm_watch_line(pid, "stat", line);

	if (rc < 0)
		return rc;
	/* the name, in parentheses, may hold anything */
	at = strrchr(line, ')');
	if (!at || sscanf(at + 1,
			  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u "
			  "%llu %llu",
			  &user, &system) != 2)
		return -EINVAL;
	rc = swarm_watch_line(pid, "statm", line);
	if (rc < 0)
		return rc;
	if (sscanf(line, "%*u %llu", &pages) != 1)
		return -EINVAL;
	*ret_usage = (struct swarm_usage){
		.cpu_us = (user + system) * USEC_PER_SEC / ticks_per_s,
		.resident_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE),
	};
	return 0;
}

void swarm_watch_name(pid_t pid, char ret_name[SWARM_WATCH_NAME_BYTES])
{
	char line[WATCH_LINE_BYTES];

	if (swarm_watch_line(pid, "comm", line) < 0)
		strcpy(line, "?");
	line[strcspn(line, "\n")] = '\0';
	snprintf(ret_name, SWARM_WATCH_NAME_BYTES, "%.15s", line);
}
