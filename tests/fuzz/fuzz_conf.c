/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf - a configuration file of any text.
 *
 * Theory of operation
 *
 * conf_load() opens a path; the linker's --wrap gives it the input instead of
 * a file, and getgrnam() one group instead of the host's. Whatever the text
 * is: either it is refused with at least one complete line that names the
 * file, or it gives a configuration within the bounds that the rest of the
 * daemon takes for granted. What was taken is compared with itself and with
 * one of before, as a reload does.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/conf.h"
#include "daemon/conf_load.h"
#include "fuzz/fuzz.h"

#define CONF_PATH "fuzz.conf"
#define CONF_FD 1000000

static const uint8_t *text;
static size_t text_len, text_at;
static unsigned n_lines;
static struct conf *plain;

/* --- the file ---------------------------------------------------------- */

int __real_open(const char *path, int flags, mode_t mode);
ssize_t __real_read(int fd, void *buf, size_t n);
int __real_close(int fd);
int __wrap_open(const char *path, int flags, ...);
ssize_t __wrap_read(int fd, void *buf, size_t n);
int __wrap_close(int fd);
struct group *__wrap_getgrnam(const char *name);

int __wrap_open(const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;

	if (strcmp(path, CONF_PATH) == 0) {
		text_at = 0;
		return CONF_FD;
	}
	va_start(ap, flags);
	mode = flags & O_CREAT ? (mode_t)va_arg(ap, int) : 0;
	va_end(ap);
	return __real_open(path, flags, mode);
}

ssize_t __wrap_read(int fd, void *buf, size_t n)
{
	if (fd != CONF_FD)
		return __real_read(fd, buf, n);
	if (n > text_len - text_at)
		n = text_len - text_at;
	if (n)
		memcpy(buf, text + text_at, n);
	text_at += n;
	return (ssize_t)n;
}

int __wrap_close(int fd)
{
	return fd == CONF_FD ? 0 : __real_close(fd);
}

struct group *__wrap_getgrnam(const char *name)
{
	static struct group root = { .gr_gid = 0 };

	return strcmp(name, "root") == 0 ? &root : NULL;
}

/* --- what must hold ---------------------------------------------------- */

static void conf_on_line(void *arg, const char *line)
{
	(void)arg;
	FUZZ_SAY("%s", line);
	FUZZ_CHECK(!strchr(line, '\n'), "%s", line);
	FUZZ_CHECK(strncmp(line, CONF_PATH ":", strlen(CONF_PATH ":")) == 0,
		   "%s", line);
	n_lines++;
}

static void conf_on_difference(void *arg, const char *line)
{
	(void)arg;
	FUZZ_CHECK(!strchr(line, '\n'), "%s", line);
	n_lines++;
}

static void conf_check_name(const char *name)
{
	size_t n = strnlen(name, CONF_NAME_MAX);

	FUZZ_CHECK(n > 0 && n < CONF_NAME_MAX);
}

static void conf_check_backend(const struct conf_group *g,
			       const struct conf_backend *b)
{
	conf_check_name(b->name);
	FUZZ_CHECK(strncmp(b->address, "unix:", 5) == 0 ||
		   strncmp(b->address, "tcp:", 4) == 0);
	if (b->protocol == CONF_PROTOCOL_FRAMES) {
		FUZZ_CHECK(b->streams >= 1 && b->streams <= CONF_STREAMS_MAX);
		FUZZ_CHECK(b->proxy == CONF_PROXY_NONE);
		FUZZ_CHECK(b->stream_idle_close_ms == 0);
	} else {
		FUZZ_CHECK(b->protocol == CONF_PROTOCOL_STREAM);
		FUZZ_CHECK(b->streams <= 1000000);
		FUZZ_CHECK(b->proxy <= CONF_PROXY_V2);
		FUZZ_CHECK(b->max_inflight == 0);
		FUZZ_CHECK(b->stream_idle_close_ms == 0 || !g->announce);
	}
}

static void conf_check_group(const struct conf *c, const struct conf_group *g)
{
	conf_check_name(g->name);
	FUZZ_CHECK(g->port > 0);
	FUZZ_CHECK(g->pool < c->n_pools);
	FUZZ_CHECK(g->vip_mask != 0);
	FUZZ_CHECK(g->user_timeout_ms > 0);
	FUZZ_CHECK(g->accept <= CONF_ACCEPT_APPLICATION);
	FUZZ_CHECK(g->ack <= CONF_ACK_IMMEDIATE);
	FUZZ_CHECK(g->balance <= CONF_BALANCE_LEAST);
	FUZZ_CHECK(g->on_backend_loss <= CONF_LOSS_RESET_ALL);
	for (uint32_t i = 0; i < g->n_backends; i++)
		conf_check_backend(g, &g->backends[i]);
}

/* A port of the host's own: each once, of an address that groups can have. */
static void conf_check_own(const struct conf_tun *tun, uint32_t i)
{
	const struct conf_own *own = &tun->own[i];
	bool found = false;

	FUZZ_CHECK(own->link[0] && memchr(own->link, 0, sizeof(own->link)));
	FUZZ_CHECK(own->port > 0);
	for (uint32_t v = 0; v < tun->n_vips; v++)
		found |= memcmp(&tun->vips[v], &own->ip, sizeof(own->ip)) == 0;
	FUZZ_CHECK(found);
	for (uint32_t j = 0; j < i; j++)
		FUZZ_CHECK(memcmp(&tun->own[j], own, sizeof(*own)) != 0);
}

static void conf_check(const struct conf *c)
{
	FUZZ_CHECK(c->max_connections > 0);
	FUZZ_CHECK(c->workers >= 1 && c->workers <= 64);
	FUZZ_CHECK(c->tun.n_vips >= 1 && c->tun.n_vips <= CONF_VIPS_MAX);
	FUZZ_CHECK(c->tun.mtu >= 1280 && c->tun.mtu <= 65535);
	FUZZ_CHECK(c->tun.name[0] &&
		   memchr(c->tun.name, 0, sizeof(c->tun.name)));
	FUZZ_CHECK(c->tun.n_own <= CONF_OWN_MAX);
	for (uint32_t i = 0; i < c->tun.n_own; i++)
		conf_check_own(&c->tun, i);
	FUZZ_CHECK(c->control.path[0] && c->attach.path[0]);
	FUZZ_CHECK(strcmp(c->control.path, c->attach.path) != 0);
	FUZZ_CHECK(c->n_pools <= CONF_POOLS_MAX);
	FUZZ_CHECK(c->n_groups <= CONF_GROUPS_MAX);
	for (uint32_t i = 0; i < c->n_pools; i++) {
		conf_check_name(c->pools[i].name);
		FUZZ_CHECK(c->pools[i].receive_buffer_bytes > 0);
		FUZZ_CHECK(c->pools[i].throttle_low <=
				   c->pools[i].throttle_high &&
			   c->pools[i].throttle_high <= 100);
	}
	for (uint32_t i = 0; i < c->n_groups; i++)
		conf_check_group(c, &c->groups[i]);
}

/* --- running ----------------------------------------------------------- */

static struct conf *conf_load_bytes(const void *bytes, size_t n)
{
	struct conf *c;

	text = bytes;
	text_len = n;
	n_lines = 0;
	c = conf_load(CONF_PATH, conf_on_line, NULL);
	FUZZ_CHECK(!c == (n_lines > 0), "%u lines", n_lines);
	return c;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char simple[] =
		"tun \"xtcp0\" { vip = {\"192.0.2.10\"} }\n"
		"pool \"p\" { group \"g\" { port = 80 } }\n";

	(void)argc;
	(void)argv;
	fuzz_no_log();
	plain = conf_load_bytes(simple, strlen(simple));
	FUZZ_CHECK(plain);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf *c = conf_load_bytes(data, size);

	if (!c)
		return 0;
	conf_check(c);
	n_lines = 0;
	FUZZ_CHECK(conf_diff(c, c, conf_on_difference, NULL) == 0);
	FUZZ_CHECK(n_lines == 0);
	FUZZ_CHECK(conf_diff(plain, c, conf_on_difference, NULL) <= n_lines);
	conf_keep(plain, c);
	FUZZ_CHECK(conf_diff(plain, c, conf_on_difference, NULL) == 0);
	conf_free(c);
	return 0;
}
