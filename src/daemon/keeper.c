/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keeper - the other end of sd_notify(3), and a small descriptor store.
 *
 * Messages are datagrams of lines KEY=VALUE, with descriptors in SCM_RIGHTS.
 * The socket's name is in the abstract namespace: nothing is left of it when
 * the parent is killed. Anybody in the network namespace can send to it, so
 * the kernel's word about the sender (SCM_CREDENTIALS) decides; the messages
 * of a child that has died are still its own, as long as they are taken before
 * it is reaped.
 *
 * Limits: one descriptor per message is kept; more are closed, as are those of
 * messages that don't ask to keep them (sd_notify_barrier(3) waits for that).
 * A name is kept once: a second descriptor of the name takes the first one's
 * place. Descriptors stay until they are forgotten, whatever becomes of them
 * (FDPOLL=0 in systemd's terms).
 */
#include "daemon/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "daemon/clock.h"
#include "daemon/fdstore.h"

/* As many as the kernel lets one message carry (SCM_MAX_FD). */
#define KEEPER_MESSAGE_FDS_MAX 253
/* Messages of others that are taken, and dropped, in one go. */
#define KEEPER_REFUSALS_MAX 64

struct keeper_entry {
	char name[FDSTORE_NAME_MAX + 1];
	int fd;
};

struct keeper {
	int sock;
	char address[64]; /* as NOTIFY_SOCKET wants it: "@name" */
	struct keeper_entry entries[KEEPER_FDS_MAX];
	uint32_t n;
	struct log_ratelimit limit;
};

/* --- the socket -------------------------------------------------------- */

static int keeper_bind(struct keeper *keeper)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	uint64_t chance = clock_now_us();
	int on = 1, n;

	(void)!getrandom(&chance, sizeof(chance), 0);
	n = snprintf(keeper->address, sizeof(keeper->address),
		     "@xtcpd-supervise/%d/%016" PRIx64, (int)getpid(), chance);
	memcpy(un.sun_path + 1, keeper->address + 1, (size_t)n - 1);
	keeper->sock =
		socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (keeper->sock < 0 ||
	    setsockopt(keeper->sock, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) <
		    0 ||
	    bind(keeper->sock, (struct sockaddr *)&un,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			     (size_t)n)) < 0)
		return -errno;
	return 0;
}

int keeper_open(struct keeper **ret_keeper)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	int err;

	if (!keeper)
		return -ENOMEM;
	keeper->limit =
		(struct log_ratelimit)LOG_RATELIMIT(10 * USEC_PER_SEC, 3);
	err = keeper_bind(keeper);
	if (err < 0) {
		keeper_close(keeper);
		return err;
	}
	*ret_keeper = keeper;
	return 0;
}

void keeper_close(struct keeper *keeper)
{
	if (!keeper)
		return;
	for (uint32_t i = 0; i < keeper->n; i++)
		close(keeper->entries[i].fd);
	if (keeper->sock >= 0)
		close(keeper->sock);
	free(keeper);
}

int keeper_socket(const struct keeper *keeper)
{
	return keeper->sock;
}

/* --- what is kept ------------------------------------------------------ */

uint32_t keeper_count(const struct keeper *keeper)
{
	return keeper->n;
}

int keeper_find(const struct keeper *keeper, const char *name)
{
	for (uint32_t i = 0; i < keeper->n; i++)
		if (strcmp(keeper->entries[i].name, name) == 0)
			return keeper->entries[i].fd;
	return -ENOENT;
}

static void keeper_forget(struct keeper *keeper, const char *name)
{
	for (uint32_t i = 0; i < keeper->n; i++) {
		if (strcmp(keeper->entries[i].name, name) != 0)
			continue;
		close(keeper->entries[i].fd);
		keeper->entries[i] = keeper->entries[--keeper->n];
		return;
	}
}

/* Takes fd. */
static void keeper_keep(struct keeper *keeper, const char *name, int fd)
{
	struct keeper_entry *entry;

	keeper_forget(keeper, name);
	if (keeper->n == KEEPER_FDS_MAX) {
		log_error("descriptor \"%s\" cannot be kept: there are %d",
			  name, KEEPER_FDS_MAX);
		close(fd);
		return;
	}
	entry = &keeper->entries[keeper->n++];
	snprintf(entry->name, sizeof(entry->name), "%s", name);
	entry->fd = fd;
}

/* Takes the descriptors. */
static void keeper_obey(struct keeper *keeper, const struct keeper_message *m,
			const int *fds, uint32_t n)
{
	const char *name = m->name ? m->name : "stored";
	bool good = fdstore_name_is_good(name);

	if ((m->store || m->forget) && !good)
		log_warn("a descriptor's name is malformed: \"%s\"", name);
	if (m->forget && good)
		keeper_forget(keeper, name);
	for (uint32_t i = 0; i < n; i++) {
		if (m->store && good && i == 0)
			keeper_keep(keeper, name, fds[i]);
		else
			close(fds[i]);
	}
}

/* --- messages ---------------------------------------------------------- */

static void keeper_parse_line(struct keeper_message *m, const char *line)
{
	static const struct {
		const char *line;
		size_t flag;
	} flags[] = {
		{ "READY=1", offsetof(struct keeper_message, ready) },
		{ "RELOADING=1", offsetof(struct keeper_message, reloading) },
		{ "STOPPING=1", offsetof(struct keeper_message, stopping) },
		{ "WATCHDOG=1", offsetof(struct keeper_message, watchdog) },
		{ "FDSTORE=1", offsetof(struct keeper_message, store) },
		{ "FDSTOREREMOVE=1", offsetof(struct keeper_message, forget) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (strcmp(line, flags[i].line) == 0)
			*(bool *)((char *)m + flags[i].flag) = true;
	if (strncmp(line, "STATUS=", 7) == 0)
		m->status = line + 7;
	else if (strncmp(line, "FDNAME=", 7) == 0)
		m->name = line + 7;
}

void keeper_parse(struct keeper_message *m)
{
	char *rest = m->text, *line;

	m->ready = m->reloading = m->stopping = m->watchdog = false;
	m->store = m->forget = false;
	m->status = m->name = NULL;
	while ((line = strsep(&rest, "\n")))
		keeper_parse_line(m, line);
}

struct keeper_control {
	pid_t pid; /* 0: unknown */
	int fds[KEEPER_MESSAGE_FDS_MAX];
	uint32_t n;
};

static void keeper_read_control(struct msghdr *msg, struct keeper_control *ret)
{
	ret->pid = 0;
	ret->n = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c;
	     c = CMSG_NXTHDR(msg, c)) {
		size_t bytes = c->cmsg_len - CMSG_LEN(0);
		struct ucred cred;

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS && bytes == sizeof(cred)) {
			memcpy(&cred, CMSG_DATA(c), sizeof(cred));
			ret->pid = cred.pid;
		} else if (c->cmsg_type == SCM_RIGHTS) {
			ret->n = (uint32_t)(bytes / sizeof(int));
			memcpy(ret->fds, CMSG_DATA(c), ret->n * sizeof(int));
		}
	}
}

static void keeper_refuse(struct keeper *keeper, const struct keeper_control *c,
			  const char *why)
{
	for (uint32_t i = 0; i < c->n; i++)
		close(c->fds[i]);
	if (log_ratelimit_ok(&keeper->limit, clock_now_us()))
		log_warn("a message of process %d is not heard: %s",
			 (int)c->pid, why);
}

/* One datagram. Returns 1: heard, 0: none is waiting, -EBADMSG: refused. */
static int keeper_receive_one(struct keeper *keeper, pid_t child,
			      struct keeper_message *ret)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(struct ucred)) +
			   CMSG_SPACE(KEEPER_MESSAGE_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { ret->text, KEEPER_TEXT_MAX };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct keeper_control c;
	ssize_t n;

	do
		n = recvmsg(keeper->sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return 0;
	keeper_read_control(&msg, &c);
	ret->text[n] = '\0';
	if (child <= 0 || c.pid != child)
		keeper_refuse(keeper, &c, "it is not ours");
	else if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		keeper_refuse(keeper, &c, "it is too long");
	else if (strlen(ret->text) != (size_t)n)
		keeper_refuse(keeper, &c, "it has a NUL");
	else {
		keeper_parse(ret);
		keeper_obey(keeper, ret, c.fds, c.n);
		return 1;
	}
	return -EBADMSG;
}

int keeper_receive(struct keeper *keeper, pid_t child,
		   struct keeper_message *ret_message)
{
	int rc = -EBADMSG;

	for (int i = 0; rc < 0 && i < KEEPER_REFUSALS_MAX; i++)
		rc = keeper_receive_one(keeper, child, ret_message);
	return rc > 0;
}

/* --- handing over ------------------------------------------------------ */

static int keeper_set_environment(const struct keeper *keeper)
{
	char names[KEEPER_FDS_MAX * (FDSTORE_NAME_MAX + 1) + 1] = "";
	char number[16];
	char *end = names;

	for (uint32_t i = 0; i < keeper->n; i++)
		end += sprintf(end, "%s%s", i ? ":" : "",
			       keeper->entries[i].name);
	if (setenv("NOTIFY_SOCKET", keeper->address, 1) < 0)
		return -errno;
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	unsetenv("LISTEN_PID");
	if (keeper->n == 0)
		return 0;
	if (setenv("LISTEN_FDNAMES", names, 1) < 0)
		return -errno;
	snprintf(number, sizeof(number), "%u", keeper->n);
	if (setenv("LISTEN_FDS", number, 1) < 0)
		return -errno;
	snprintf(number, sizeof(number), "%d", (int)getpid());
	return setenv("LISTEN_PID", number, 1) < 0 ? -errno : 0;
}

int keeper_hand_over(const struct keeper *keeper)
{
	int first = SD_LISTEN_FDS_START + (int)keeper->n;
	int high[KEEPER_FDS_MAX];

	/* out of the way first: one may have the number of another's place */
	for (uint32_t i = 0; i < keeper->n; i++) {
		high[i] = fcntl(keeper->entries[i].fd, F_DUPFD_CLOEXEC, first);
		if (high[i] < 0)
			return -errno;
	}
	for (uint32_t i = 0; i < keeper->n; i++)
		if (dup2(high[i], SD_LISTEN_FDS_START + (int)i) < 0)
			return -errno;
	return keeper_set_environment(keeper);
}
