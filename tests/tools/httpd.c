/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * httpd - a small HTTP/1.1 server on libxtcp, for real HTTP clients.
 *
 *	httpd PORT [FILE]
 *
 * Answers GET with FILE, at most PAGE_MAX_BYTES of it, or with a line of text;
 * the client's address is in the header X-Client. A request is acknowledged
 * with its answer, so what xtcp_recv() gives is always from a request's
 * beginning, and there is no state per connection here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xtcp/xtcp.h>

#define REQUEST_MAX_BYTES 8192
#define PAGE_MAX_BYTES (48 * 1024)
#define HEAD_MAX_BYTES 512

static char page[PAGE_MAX_BYTES] = "Hello from behind xtcpd.\n";
static size_t page_bytes;

static void load_page(const char *path)
{
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		exit(1);
	}
	page_bytes = fread(page, 1, sizeof(page), f);
	fclose(f);
}

static void client_address(int gd, int cd, char *ret_text, socklen_t size)
{
	struct sockaddr_storage ss;
	const void *at = &((struct sockaddr_in *)&ss)->sin_addr;

	snprintf(ret_text, size, "unknown");
	if (xtcp_pars6(gd, cd, &ss) < 0)
		return;
	if (ss.ss_family == AF_INET6)
		at = &((struct sockaddr_in6 *)&ss)->sin6_addr;
	inet_ntop(ss.ss_family, at, ret_text, size);
}

/* The answer to a whole request. Returns its bytes. */
static size_t make_answer(const char *request, const char *client, bool close,
			  char *ret_answer)
{
	bool get = strncmp(request, "GET ", 4) == 0;
	size_t n = get ? page_bytes : 0;
	int head = snprintf(ret_answer, HEAD_MAX_BYTES,
			    "HTTP/1.1 %s\r\nContent-Length: %zu\r\n"
			    "Connection: %s\r\nX-Client: %s\r\n\r\n",
			    get ? "200 OK" : "405 Method Not Allowed", n,
			    close ? "close" : "keep-alive", client);

	memcpy(ret_answer + head, page, n);
	return (size_t)head + n;
}

static void serve(int gd, int cd, const char *request, size_t bytes)
{
	static char answer[HEAD_MAX_BYTES + PAGE_MAX_BYTES];
	bool close = strcasestr(request, "connection: close") != NULL;
	char client[INET6_ADDRSTRLEN];
	size_t n;

	client_address(gd, cd, client, sizeof(client));
	n = make_answer(request, client, close, answer);
	if (xtcp_send(gd, cd, bytes, answer, n) != (int)n)
		xtcp_abort(gd, cd);
	else if (close)
		xtcp_close(gd, cd);
}

static void receive(int gd, int cd, char *request, int n)
{
	char *end;

	if (n <= 0) {
		xtcp_close(gd, cd);
		return;
	}
	request[n] = '\0';
	end = strstr(request, "\r\n\r\n");
	if (end) {
		end[2] = '\0';
		serve(gd, cd, request, (size_t)(end - request) + 4);
	} else if (n == REQUEST_MAX_BYTES) {
		xtcp_abort(gd, cd);
	}
}

int main(int argc, char **argv)
{
	static char request[REQUEST_MAX_BYTES + 1];
	int gd, cd, n;

	if (argc < 2) {
		fprintf(stderr, "usage: httpd PORT [FILE]\n");
		return 2;
	}
	page_bytes = strlen(page);
	if (argc > 2)
		load_page(argv[2]);
	xtcp_initialize(0);
	gd = xtcp_open_group(PF_INET6, SOCK_STREAM, 0,
			     (uint16_t)strtoul(argv[1], NULL, 10));
	if (gd < 0) {
		fprintf(stderr, "httpd: %s\n", strerror(-gd));
		return 1;
	}
	for (;;) {
		xtcp_set ready;

		XTCP_ZERO(&ready);
		XTCP_SET(gd, &ready);
		if (xtcp_select(gd + 1, &ready, NULL, NULL) < 0)
			break;
		while ((n = xtcp_recv(gd, &cd, request, REQUEST_MAX_BYTES)) !=
		       -EAGAIN)
			receive(gd, cd, request, n);
	}
	xtcp_finalize();
	return 0;
}
