/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * apicall - libxtcp's calls, one per line of standard input.
 *
 * So that a test written in another language is the application, under every
 * sanitizer. Each call is answered by one line: what it returned, then what
 * it gave out. Data is in hexadecimal.
 *
 *	init BYTES			-> 0
 *	open FAMILY PORT		-> gd		(family 4, 6 or 1: local)
 *	recv GD LEN			-> n cd HEX
 *	send GD CD ACKD [HEX]		-> n
 *	select MS r GD... a GD...	-> n r GD... a GD...
 *	poll MS				-> n GD:CD:EVENTS...
 *	and fini, close_group, accept, reject, pars, close, shutdown, abort
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xtcp/xtcp.h>

#define LINE_MAX_BYTES (1u << 21)
#define DATA_MAX_BYTES (1u << 20)
#define WORDS_MAX 64
#define EVENTS_MAX 64

static char line[LINE_MAX_BYTES];
static uint8_t data[DATA_MAX_BYTES];
static char *words[WORDS_MAX];
static int n_words;

static long number(int i)
{
	return i < n_words ? strtol(words[i], NULL, 10) : 0;
}

static int integer(int i)
{
	return (int)number(i);
}

static size_t from_hex(const char *text)
{
	size_t n = 0;
	unsigned int byte;

	while (n < sizeof(data) && sscanf(text + 2 * n, "%2x", &byte) == 1)
		data[n++] = (uint8_t)byte;
	return n;
}

static void call_init(void)
{
	printf("%d\n", xtcp_initialize((size_t)number(1)));
}

static void call_fini(void)
{
	printf("%d\n", xtcp_finalize());
}

static void call_open(void)
{
	int family = integer(1);
	int domain = family == 4 ? PF_INET : family == 6 ? PF_INET6 : PF_UNIX;

	printf("%d\n",
	       xtcp_open_group(domain, SOCK_STREAM, 0, (uint16_t)number(2)));
}

static void call_listen(void)
{
	printf("%d\n", xtcp_listen_group(PF_INET, words[1]));
}

static void call_close_group(void)
{
	printf("%d\n", xtcp_close_group(integer(1)));
}

static void call_accept(void)
{
	printf("%d\n", xtcp_accept(integer(1)));
}

static void call_reject(void)
{
	printf("%d\n", xtcp_reject(integer(1)));
}

static void call_pars(void)
{
	struct sockaddr_in sa = { 0 };
	char text[INET_ADDRSTRLEN] = "";
	int rc = xtcp_pars(integer(1), integer(2), &sa);

	inet_ntop(AF_INET, &sa.sin_addr, text, sizeof(text));
	printf("%d %s %u %d\n", rc, text, ntohs(sa.sin_port), sa.sin_family);
}

static void call_pars6(void)
{
	struct sockaddr_storage ss = { 0 };
	char text[INET6_ADDRSTRLEN] = "-";
	uint16_t port = 0;
	int rc = xtcp_pars6(integer(1), integer(2), &ss);

	if (ss.ss_family == AF_INET) {
		struct sockaddr_in *in = (void *)&ss;

		inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
		port = in->sin_port;
	} else if (ss.ss_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (void *)&ss;

		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		port = in6->sin6_port;
	}
	printf("%d %s %u\n", rc, text, ntohs(port));
}

static void call_close(void)
{
	printf("%d\n", xtcp_close(integer(1), integer(2)));
}

static void call_shutdown(void)
{
	printf("%d\n", xtcp_shutdown(integer(1), integer(2)));
}

static void call_abort(void)
{
	printf("%d\n", xtcp_abort(integer(1), integer(2)));
}

static void call_recv(void)
{
	size_t len = (size_t)number(2);
	int cd = 0, n;

	n = xtcp_recv(integer(1), &cd, data,
		      len < sizeof(data) ? len : sizeof(data));
	printf("%d %d ", n, cd);
	for (int i = 0; i < n; i++)
		printf("%02x", data[i]);
	printf("\n");
}

static void call_send(void)
{
	size_t len = n_words > 4 ? from_hex(words[4]) : 0;

	printf("%d\n",
	       xtcp_send(integer(1), integer(2), (size_t)number(3), data, len));
}

static void print_set(const char *name, const xtcp_set *set)
{
	printf(" %s", name);
	for (int gd = 0; gd < XTCP_SETSIZE; gd++)
		if (XTCP_ISSET(gd, set))
			printf(" %d", gd);
}

static void call_select(void)
{
	long ms = number(1);
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };
	xtcp_set sets[2];
	xtcp_set *set = &sets[0];
	int n = 0, gd;

	XTCP_ZERO(&sets[0]);
	XTCP_ZERO(&sets[1]);
	for (int i = 2; i < n_words; i++) {
		if (words[i][0] == 'r' || words[i][0] == 'a') {
			set = &sets[words[i][0] == 'a'];
			continue;
		}
		gd = integer(i);
		XTCP_SET(gd, set);
		n = gd + 1 > n ? gd + 1 : n;
	}
	printf("%d", xtcp_select(n, &sets[0], &sets[1], &tv));
	print_set("r", &sets[0]);
	print_set("a", &sets[1]);
	printf("\n");
}

static void call_poll(void)
{
	struct xtcp_event ev[EVENTS_MAX];
	int n = xtcp_poll(ev, EVENTS_MAX, integer(1));

	printf("%d", n);
	for (int i = 0; i < n; i++)
		printf(" %d:%d:%u", ev[i].gd, ev[i].cd, ev[i].events);
	printf("\n");
}

static const struct {
	const char *name;
	int n_args; /* at least */
	void (*call)(void);
} calls[] = {
	{ "init", 1, call_init },
	{ "fini", 0, call_fini },
	{ "open", 2, call_open },
	{ "listen", 1, call_listen },
	{ "close_group", 1, call_close_group },
	{ "accept", 1, call_accept },
	{ "reject", 1, call_reject },
	{ "pars", 2, call_pars },
	{ "pars6", 2, call_pars6 },
	{ "close", 2, call_close },
	{ "shutdown", 2, call_shutdown },
	{ "abort", 2, call_abort },
	{ "recv", 2, call_recv },
	{ "send", 3, call_send },
	{ "select", 1, call_select },
	{ "poll", 1, call_poll },
};

static int call_by_name(void)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (strcmp(words[0], calls[i].name) != 0)
			continue;
		if (n_words <= calls[i].n_args)
			break;
		calls[i].call();
		return 0;
	}
	fprintf(stderr, "apicall: what is \"%s\"?\n", words[0]);
	return -1;
}

int main(void)
{
	while (fgets(line, sizeof(line), stdin)) {
		char *save = NULL, *word = strtok_r(line, " \n", &save);

		for (n_words = 0; word && n_words < WORDS_MAX; n_words++) {
			words[n_words] = word;
			word = strtok_r(NULL, " \n", &save);
		}
		if (n_words == 0)
			continue;
		if (call_by_name() < 0)
			return 2;
		fflush(stdout);
	}
	return 0;
}
