/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chat - an instant messaging room on libxtcp, to be copied from.
 *
 *	/nick NAME	change your name
 *	/who		who is here
 *	/quit		leave
 *	anything else	goes to all others as "<name> text"
 *
 * What is special about it is what it does not do: it keeps no half lines.
 * It acknowledges exactly the bytes of the lines that it has processed, and
 * the answer to a line carries the acknowledgement. The rest of a line that
 * is still on its way stays unacknowledged, and xtcp_recv() returns it again
 * when more has come. If this server dies, no line was lost: xtcpd has every
 * byte that wasn't processed, and gives it to the next instance.
 *
 * Try it:	pool "chat" { group "im" { port = 5222 } }	in xtcpd.conf
 *		chat -p 5222
 *		nc VIP 5222						twice
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xtcp/xtcp.h>

#define CHAT_PORT 5222
#define CHAT_LINE_MAX \
	1024 /* bytes of a line; who sends longer ones is cut off */
#define CHAT_NICK_MAX 32

struct member {
	bool here;
	char nick[CHAT_NICK_MAX];
};

static int gd; /* the one descriptor for all members */
static struct member *members; /* by cd */
static int n_members;

/* The member cd; whoever is heard for the first time becomes one. */
static struct member *member_get(int cd)
{
	if (cd >= n_members) {
		int n = cd * 2;

		members = realloc(members, (size_t)n * sizeof(*members));
		if (!members)
			abort();
		memset(members + n_members, 0,
		       (size_t)(n - n_members) * sizeof(*members));
		n_members = n;
	}
	if (!members[cd].here) {
		members[cd].here = true;
		snprintf(members[cd].nick, CHAT_NICK_MAX, "guest%d", cd);
	}
	return &members[cd];
}

static void member_gone(int cd)
{
	members[cd].here = false;
	xtcp_close(gd, cd);
}

/* Sends text to all but one. Whoever doesn't keep up is cut off. */
static void say_to_others(int but_cd, const char *fmt, ...)
{
	char text[CHAT_LINE_MAX + CHAT_NICK_MAX + 32];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (int cd = 1; cd < n_members; cd++) {
		if (cd == but_cd || !members[cd].here)
			continue;
		if (xtcp_send(gd, cd, 0, text, (size_t)len) != len) {
			members[cd].here = false;
			xtcp_abort(gd, cd);
		}
	}
}

/*
 * One line of a member. What the member is to be told goes to answer, of
 * size bytes. Returns false when the member wants to leave.
 */
static bool chat_line(int cd, const char *line, char *answer, size_t size)
{
	struct member *m = member_get(cd);
	size_t n = 0;

	if (strncmp(line, "/nick ", 6) == 0 && line[6]) {
		say_to_others(cd, "* %s is now %.31s\n", m->nick, line + 6);
		snprintf(m->nick, sizeof(m->nick), "%.31s", line + 6);
		snprintf(answer, size, "* you are %s\n", m->nick);
	} else if (strcmp(line, "/who") == 0) {
		for (int i = 1; i < n_members; i++) {
			if (members[i].here && n + CHAT_NICK_MAX + 4 < size)
				n += (size_t)snprintf(answer + n, size - n,
						      "* %s\n",
						      members[i].nick);
		}
	} else if (strcmp(line, "/quit") == 0) {
		snprintf(answer, size, "* bye\n");
		return false;
	} else {
		say_to_others(cd, "<%s> %s\n", m->nick, line);
	}
	return true;
}

/*
 * The len bytes at data are all of the member's that are not acknowledged.
 * Processes the whole lines among them and acknowledges these.
 */
static void chat_data(int cd, char *data, size_t len)
{
	size_t done = 0;
	bool stays = true;
	char *end;

	member_get(cd);
	while (stays && (end = memchr(data + done, '\n', len - done))) {
		char answer[4096];
		size_t line = (size_t)(end - data) + 1 - done, answer_len;

		*end = '\0';
		if (line > 1 && end[-1] == '\r')
			end[-1] = '\0';
		if (line > CHAT_LINE_MAX)
			break;
		answer[0] = '\0';
		stays = chat_line(cd, data + done, answer, sizeof(answer));
		done += line;
		/* This line is processed: its bytes go with the answer. */
		answer_len = strlen(answer);
		if (xtcp_send(gd, cd, line, answer, answer_len) !=
		    (int)answer_len)
			stays = false;
	}
	if (stays && len - done <= CHAT_LINE_MAX)
		return;
	say_to_others(cd, "* %s has left\n", members[cd].nick);
	member_gone(cd);
}

static void chat_serve(void)
{
	static char data[65536];
	int cd, n;

	/* Who joins is announced (if xtcpd.conf says announce = true, at once). */
	while ((cd = xtcp_accept(gd)) > 0)
		say_to_others(cd, "* %s has joined\n", member_get(cd)->nick);
	while ((n = xtcp_recv(gd, &cd, data, sizeof(data))) != -EAGAIN) {
		if (n > 0) {
			chat_data(cd, data, (size_t)n);
		} else if (n == 0 || n == -ECONNRESET) {
			say_to_others(cd, "* %s has left\n",
				      member_get(cd)->nick);
			member_gone(cd);
		} else {
			break;
		}
	}
}

int main(int argc, char **argv)
{
	int port = CHAT_PORT, opt, rc;

	while ((opt = getopt(argc, argv, "p:")) == 'p')
		port = atoi(optarg);
	if (opt != -1 || optind < argc || port < 1 || port > 65535) {
		fputs("usage: chat [-p PORT]\n", stderr);
		return 2;
	}
	rc = xtcp_initialize(0);
	if (rc == 0)
		rc = gd = xtcp_open_group(PF_INET6, SOCK_STREAM, 0,
					  (u_int16_t)port);
	while (rc >= 0 || rc == -EINTR) {
		xtcp_set read_set, accept_set;

		XTCP_ZERO(&read_set);
		XTCP_SET(gd, &read_set);
		accept_set = read_set;
		rc = xtcp_select(gd + 1, &read_set, &accept_set, NULL);
		if (rc > 0)
			chat_serve();
	}
	fprintf(stderr, "chat: port %d: %s\n", port, strerror(-rc));
	xtcp_finalize();
	return 1;
}
