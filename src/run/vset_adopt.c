/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vset_adopt - a socket that is in epoll sets before it listens.
 *
 * Some event loops put every socket into their set when it is made, as
 * Boost.Asio does. It is the kernel's until it listens at a port of ours; the
 * kernel's lists of what is in the sets (proc_pid_fdinfo(5), "tfd:") say then
 * where it has to be taken out, and put in as ours.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/real.h"
#include "run/run.h"
#include "run/vset.h"

#define ADOPT_PATH 64
#define ADOPT_LINE 160

static bool adopt_is_epoll(const char *number)
{
	char path[ADOPT_PATH], target[ADOPT_PATH];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%.20s", number);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return strcmp(target, "anon_inode:[eventpoll]") == 0;
}

/* Whether the set has fd in it, and how. */
static bool adopt_find(const char *number, int fd, struct epoll_event *ret_ev)
{
	char path[ADOPT_PATH], line[ADOPT_LINE];
	unsigned long long data;
	unsigned int events;
	bool found = false;
	FILE *f;
	int tfd;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%.20s", number);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "tfd: %d events: %x data: %llx", &tfd, &events,
			   &data) != 3 ||
		    tfd != fd)
			continue;
		*ret_ev = (struct epoll_event){ .events = events,
						.data.u64 = data };
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

static void adopt_from(const char *number, int fd, struct vobj *o)
{
	int epfd = atoi(number), rc;
	const struct vobj *so = vobj_get(epfd);
	struct epoll_event ev;

	if ((so && so->kind != VOBJ_SET) || !adopt_is_epoll(number) ||
	    !adopt_find(number, fd, &ev) ||
	    REAL(epoll_ctl)(epfd, EPOLL_CTL_DEL, fd, NULL) < 0)
		return;
	rc = vset_ctl(epfd, EPOLL_CTL_ADD, fd, o, &ev);
	if (rc < 0)
		run_say("descriptor %d can't stay in epoll set %d: %s", fd,
			epfd, strerror(-rc));
}

void vset_adopt(int fd, struct vobj *o)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;

	if (!dir) {
		run_note("no /proc: a socket that is put into an epoll set "
			 "before it listens is not seen there");
		return;
	}
	while ((entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]))
			adopt_from(entry->d_name, fd, o);
	closedir(dir);
}
