/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf - reads a configuration file and checks it.
 *
 * Theory of operation
 *
 *	file -> conf_text.c    text without comments
 *	     -> conf_parse.c   libconfuse's tree; a line number for each value
 *	     -> here           each section of the tree, row by row of the table
 *	                       (conf_keys.c), into its structure (conf_value.c),
 *	                       then what several values have to do with each other
 *	     -> conf_report    all problems, in the order of lines
 *
 * Nothing stops at the first problem: a value that is wrong leaves zero bytes
 * in the structure, which nobody sees, as any problem means no configuration.
 * Checks that would only repeat that something is missing are left out when
 * the parser could not read the whole file.
 */
#include "daemon/conf.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "daemon/conf_load.h"

#define CONF_WORKERS_MAX 64u

cfg_opt_t *conf_opt(cfg_t *sec, const char *name)
{
	cfg_opt_t *opt = cfg_getopt(sec, name);

	assert(opt);
	return opt;
}

unsigned int conf_count(cfg_t *sec, enum conf_section section)
{
	return cfg_opt_size(conf_opt(sec, conf_section_name(section)));
}

cfg_t *conf_nth(cfg_t *sec, enum conf_section section, unsigned int i)
{
	return cfg_opt_getnsec(conf_opt(sec, conf_section_name(section)), i);
}

/* The line of a key of the section; that of its end when it is not there. */
static int conf_line_of(const struct conf_loader *l, cfg_t *sec,
			const char *name)
{
	return conf_tree_line(&l->tree, conf_opt(sec, name), 0, sec->line);
}

/* --- values ------------------------------------------------------------ */

/* sec is NULL for a section that the file leaves out. */
static void conf_fill_key(struct conf_loader *l, cfg_t *sec,
			  const struct conf_key *key, void *target)
{
	const cfg_opt_t *opt = sec ? conf_opt(sec, key->name) : NULL;
	bool given = opt && opt->nvalues > 0;
	const char *text = given ? opt->values[0]->string : key->def;
	char why[CONF_LINE_BYTES / 2];
	int line;

	if (!text) {
		if (sec)
			conf_problem(&l->problems, sec->line,
				     "%s: missing: each %s needs it (%s)",
				     key->name, conf_section_name(key->section),
				     key->help);
		return;
	}
	if (conf_value_set(key, text, !given, target, why, sizeof(why)) == 0)
		return;
	line = given ? conf_tree_line(&l->tree, opt, 0, sec->line) : 0;
	conf_problem(&l->problems, line, "%s: %s", key->name, why);
}

static void conf_fill(struct conf_loader *l, cfg_t *sec,
		      enum conf_section section, void *base)
{
	const struct conf_key *key;

	for (size_t i = 0; i < conf_n_keys; i++) {
		key = &conf_keys[i];
		if (key->section == section && !conf_key_is_list(key))
			conf_fill_key(l, sec, key, (char *)base + key->offset);
	}
}

/* The name of a section: it stands in tables, in commands and in metrics. */
static void conf_fill_name(struct conf_loader *l, cfg_t *sec, char *name,
			   size_t size)
{
	const char *title = cfg_title(sec);
	size_t len = strlen(title);

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)title[i]) &&
		    !strchr("-_.", title[i]))
			len = 0;
	if (len == 0 || len >= size || title[0] == '.') {
		conf_problem(
			&l->problems, sec->line,
			"%s \"%s\": a name is 1 to %zu letters, digits, '-', '_', '.'",
			cfg_name(sec), title, size - 1);
		return;
	}
	memcpy(name, title, len + 1);
}

/* --- tun --------------------------------------------------------------- */

int conf_find_vip(const struct conf_tun *tun, const struct conf_ip *ip)
{
	for (uint32_t i = 0; i < tun->n_vips; i++)
		if (memcmp(&tun->vips[i], ip, sizeof(*ip)) == 0)
			return (int)i;
	return -1;
}

int conf_find_vip_as(const struct conf_tun *tun, const struct conf_ip *ip,
		     bool own)
{
	int at = conf_find_vip(tun, ip);

	return at >= 0 && (tun->own_vips >> at & 1) == own ? at : -1;
}

bool conf_has_own(const struct conf_tun *tun, const struct conf_own *own)
{
	for (uint32_t i = 0; i < tun->n_own; i++)
		if (memcmp(&tun->own[i], own, sizeof(*own)) == 0)
			return true;
	return false;
}

static void conf_add_vip(struct conf_tun *tun, const struct conf_ip *ip)
{
	tun->vip_numbers[tun->n_vips] = (uint8_t)tun->n_vips;
	tun->vips[tun->n_vips++] = *ip;
}

bool conf_list_ip(struct conf_loader *l, cfg_t *sec, const cfg_opt_t *opt,
		  unsigned int i, struct conf_ip *ret_ip)
{
	char why[CONF_LINE_BYTES / 2];

	if (conf_value_ip(opt->values[i]->string, ret_ip, why, sizeof(why)) ==
	    0)
		return true;
	conf_problem(&l->problems, conf_tree_line(&l->tree, opt, i, sec->line),
		     "%s: %s", opt->name, why);
	return false;
}

/* With ports of the host's own addresses there need not be others. */
static void conf_fill_vips(struct conf_loader *l, cfg_t *sec, bool needed)
{
	struct conf_tun *tun = &l->conf->tun;
	cfg_opt_t *opt = conf_opt(sec, "vip");
	struct conf_ip ip;

	if (opt->nvalues == 0 && needed)
		conf_problem(&l->problems, conf_line_of(l, sec, "vip"),
			     "vip: missing: the tun needs 1 to %d addresses",
			     CONF_VIPS_MAX);
	for (unsigned int i = 0; i < opt->nvalues; i++) {
		if (!conf_list_ip(l, sec, opt, i, &ip))
			continue;
		if (conf_find_vip(tun, &ip) >= 0)
			conf_problem(&l->problems,
				     conf_tree_line(&l->tree, opt, i,
						    sec->line),
				     "vip: %s is in the list twice",
				     opt->values[i]->string);
		else if (tun->n_vips == CONF_VIPS_MAX)
			conf_problem(&l->problems,
				     conf_tree_line(&l->tree, opt, i,
						    sec->line),
				     "vip: %u addresses: at most %d",
				     opt->nvalues, CONF_VIPS_MAX);
		else
			conf_add_vip(tun, &ip);
	}
}

static void conf_fill_tun(struct conf_loader *l, cfg_t *root)
{
	unsigned int n = conf_count(root, CONF_SEC_TUN);
	cfg_t *sec;

	if (n == 0) {
		if (!l->tree.broken)
			conf_problem(
				&l->problems, 0,
				"tun: missing: a section like tun \"xtcp0\" "
				"{ vip = {\"192.0.2.10\"} }");
		return;
	}
	if (n > 1)
		conf_problem(&l->problems,
			     conf_nth(root, CONF_SEC_TUN, 1)->line,
			     "tun: a second one: there can be only one");
	sec = conf_nth(root, CONF_SEC_TUN, 0);
	conf_fill_name(l, sec, l->conf->tun.name, sizeof(l->conf->tun.name));
	conf_fill(l, sec, CONF_SEC_TUN, &l->conf->tun);
	conf_fill_vips(l, sec, conf_count(root, CONF_SEC_LISTEN) == 0);
	conf_fill_proxies(l, sec);
	conf_fill_listens(l, root);
}

/* --- groups ------------------------------------------------------------ */

/* A key that the backend's protocol has no use for. */
static void conf_backend_not_for(struct conf_loader *l, cfg_t *sec,
				 const char *key, const char *why)
{
	conf_problem(&l->problems, conf_line_of(l, sec, key),
		     "%s: not with protocol = %s", key, why);
}

static void conf_check_frames(struct conf_loader *l, cfg_t *sec,
			      struct conf_backend *b)
{
	if (b->streams > CONF_STREAMS_MAX)
		conf_problem(
			&l->problems, conf_line_of(l, sec, "streams"),
			"streams: %u is out of range: must be 1 to %d per worker "
			"with protocol = frames",
			b->streams, CONF_STREAMS_MAX);
	if (b->streams == 0)
		b->streams = 1;
	if (b->proxy != CONF_PROXY_NONE)
		conf_backend_not_for(l, sec, "proxy-protocol",
				     "frames, which tell the address anyway");
	if (b->stream_idle_close_ms)
		conf_backend_not_for(
			l, sec, "stream-idle-close",
			"frames, whose streams are for all clients");
}

static void conf_check_stream(struct conf_loader *l, cfg_t *sec,
			      const struct conf_group *g,
			      const struct conf_backend *b)
{
	if (b->max_inflight)
		conf_backend_not_for(l, sec, "max-inflight",
				     "stream: its bound is streams");
	if (b->stream_idle_close_ms && g->announce)
		conf_problem(
			&l->problems, conf_line_of(l, sec, "stream-idle-close"),
			"stream-idle-close: not in a group with announce = true: a "
			"server that speaks first would greet the client again");
}

static void conf_fill_backend(struct conf_loader *l, cfg_t *sec,
			      struct conf_group *g)
{
	struct conf_backend *b = &g->backends[g->n_backends++];

	conf_fill_name(l, sec, b->name, sizeof(b->name));
	conf_fill(l, sec, CONF_SEC_BACKEND, b);
	if (b->protocol == CONF_PROTOCOL_FRAMES)
		conf_check_frames(l, sec, b);
	else
		conf_check_stream(l, sec, g, b);
	if (g->n_backends == 1)
		g->protocol = b->protocol;
	else if (b->protocol != g->protocol)
		conf_problem(
			&l->problems, conf_line_of(l, sec, "protocol"),
			"protocol: the backends of a group all have the same, and "
			"\"%s\" has another one",
			g->backends[0].name);
}

static int conf_fill_backends(struct conf_loader *l, cfg_t *sec,
			      struct conf_group *g)
{
	unsigned int n = conf_count(sec, CONF_SEC_BACKEND);

	if (n > CONF_BACKENDS_MAX) {
		conf_problem(&l->problems, sec->line,
			     "backend: %u of them: at most %d", n,
			     CONF_BACKENDS_MAX);
		return 0;
	}
	if (n == 0)
		return 0;
	g->backends = calloc(n, sizeof(*g->backends));
	if (!g->backends)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++)
		conf_fill_backend(l, conf_nth(sec, CONF_SEC_BACKEND, i), g);
	return 0;
}

static void conf_fill_vip_mask(struct conf_loader *l, cfg_t *sec,
			       struct conf_group *g)
{
	cfg_opt_t *opt = conf_opt(sec, "vip");
	struct conf_ip ip;
	int at;

	g->vip_mask = opt->nvalues == 0 ? UINT64_MAX : 0;
	for (unsigned int i = 0; i < opt->nvalues; i++) {
		if (!conf_list_ip(l, sec, opt, i, &ip))
			continue;
		at = conf_find_vip(&l->conf->tun, &ip);
		if (at >= 0)
			g->vip_mask |= UINT64_C(1) << at;
		else
			conf_problem(&l->problems,
				     conf_tree_line(&l->tree, opt, i,
						    sec->line),
				     "vip: %s is not a vip of the tun, nor "
				     "an address of a listen section",
				     opt->values[i]->string);
	}
}

static int conf_fill_group(struct conf_loader *l, cfg_t *sec, uint32_t pool)
{
	struct conf *conf = l->conf;
	struct conf_group *g = &conf->groups[conf->n_groups];

	g->pool = pool;
	l->group_lines[conf->n_groups++] = sec->line;
	g->id = (uint16_t)conf->n_groups;
	conf_fill_name(l, sec, g->name, sizeof(g->name));
	for (uint32_t i = 0; i + 1 < conf->n_groups; i++)
		if (g->name[0] != '\0' &&
		    strcmp(conf->groups[i].name, g->name) == 0)
			conf_problem(
				&l->problems, sec->line,
				"group \"%s\": another one has this name, it ends in "
				"line %d",
				g->name, l->group_lines[i]);
	conf_fill(l, sec, CONF_SEC_GROUP, g);
	conf_fill_vip_mask(l, sec, g);
	return conf_fill_backends(l, sec, g);
}

/* --- pools ------------------------------------------------------------- */

static int conf_fill_pool(struct conf_loader *l, cfg_t *sec)
{
	struct conf *conf = l->conf;
	uint32_t index = conf->n_pools;
	struct conf_pool *pool = &conf->pools[conf->n_pools++];
	int rc;

	pool->number = (uint16_t)index;
	conf_fill_name(l, sec, pool->name, sizeof(pool->name));
	conf_fill(l, sec, CONF_SEC_POOL, pool);
	if (pool->throttle_high > 0 && pool->throttle_low > pool->throttle_high)
		conf_problem(
			&l->problems, conf_line_of(l, sec, "throttle-low"),
			"throttle-low: %u is above throttle-high, which is %u",
			pool->throttle_low, pool->throttle_high);
	for (unsigned int i = 0; i < conf_count(sec, CONF_SEC_GROUP); i++) {
		if (conf->n_groups == CONF_GROUPS_MAX) {
			conf_problem(&l->problems, sec->line,
				     "group: more than %d groups in all",
				     CONF_GROUPS_MAX);
			return 0;
		}
		rc = conf_fill_group(l, conf_nth(sec, CONF_SEC_GROUP, i),
				     index);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int conf_fill_pools(struct conf_loader *l, cfg_t *root)
{
	unsigned int n = conf_count(root, CONF_SEC_POOL);
	int rc = 0;

	if (n > CONF_POOLS_MAX) {
		conf_problem(
			&l->problems,
			conf_nth(root, CONF_SEC_POOL, CONF_POOLS_MAX)->line,
			"pool: %u of them: at most %d", n, CONF_POOLS_MAX);
		return 0;
	}
	l->conf->pools = calloc(n + 1, sizeof(*l->conf->pools));
	l->conf->groups = calloc(CONF_GROUPS_MAX, sizeof(*l->conf->groups));
	if (!l->conf->pools || !l->conf->groups)
		return -ENOMEM;
	for (unsigned int i = 0; i < n && rc == 0; i++)
		rc = conf_fill_pool(l, conf_nth(root, CONF_SEC_POOL, i));
	return rc;
}

/* --- the whole --------------------------------------------------------- */

/* The section, or NULL when it is left out; a second one is a problem. */
static cfg_t *conf_single(struct conf_loader *l, cfg_t *root,
			  enum conf_section section)
{
	if (conf_count(root, section) > 1)
		conf_problem(&l->problems, conf_nth(root, section, 1)->line,
			     "%s: a second one: there can be only one",
			     conf_section_name(section));
	return conf_nth(root, section, 0);
}

static void conf_check_sockets(struct conf_loader *l, cfg_t *attach)
{
	const struct conf *conf = l->conf;

	if (conf->attach.path[0] != '\0' &&
	    strcmp(conf->attach.path, conf->control.path) == 0)
		conf_problem(&l->problems,
			     attach ? conf_line_of(l, attach, "socket") : 0,
			     "socket: %s is the control socket, too",
			     conf->attach.path);
}

static uint32_t conf_online_cores(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : min_u32((uint32_t)n, CONF_WORKERS_MAX);
}

static int conf_fill_all(struct conf_loader *l)
{
	cfg_t *root = l->tree.root, *attach, *metrics;
	struct conf *conf = l->conf;

	conf_fill(l, root, CONF_SEC_TOP, conf);
	if (conf->workers == 0)
		conf->workers = conf_online_cores();
	conf_fill_tun(l, root);
	conf_fill(l, conf_single(l, root, CONF_SEC_CONTROL), CONF_SEC_CONTROL,
		  &conf->control);
	attach = conf_single(l, root, CONF_SEC_ATTACH);
	conf_fill(l, attach, CONF_SEC_ATTACH, &conf->attach);
	conf_check_sockets(l, attach);
	metrics = conf_single(l, root, CONF_SEC_METRICS);
	conf->has_metrics = metrics != NULL;
	if (metrics)
		conf_fill(l, metrics, CONF_SEC_METRICS, conf);
	return conf_fill_pools(l, root);
}

static int conf_load_text(struct conf_loader *l, char *text)
{
	int rc = conf_tree_parse(&l->tree, text, &l->problems);

	if (rc == 0)
		rc = conf_fill_all(l);
	return rc;
}

struct conf *conf_load(const char *path, conf_report report, void *arg)
{
	struct conf_loader *l = calloc(1, sizeof(*l));
	struct conf *conf = NULL;
	char *text = NULL;

	if (!l)
		goto no_memory;
	l->conf = calloc(1, sizeof(*l->conf));
	if (!l->conf)
		goto no_memory;
	text = conf_text_load(path, &l->problems);
	if (text && conf_load_text(l, text) < 0)
		goto no_memory;
	conf_problems_report(&l->problems, path, report, arg);
	if (text && l->problems.n == 0) {
		conf = l->conf;
		l->conf = NULL;
		conf_warn_of_listens(conf);
	}
	goto out;
no_memory:
	report(arg, "not enough memory to read the configuration");
out:
	free(text);
	if (l) {
		conf_tree_fini(&l->tree);
		conf_free(l->conf);
	}
	free(l);
	return conf;
}

void conf_free(struct conf *conf)
{
	if (!conf)
		return;
	for (uint32_t i = 0; i < conf->n_groups; i++)
		free(conf->groups[i].backends);
	free(conf->groups);
	free(conf->pools);
	free(conf);
}

const struct conf_group *conf_find_group(const struct conf *conf,
					 const char *name)
{
	for (uint32_t i = 0; i < conf->n_groups; i++)
		if (strcmp(conf->groups[i].name, name) == 0)
			return &conf->groups[i];
	return NULL;
}

const struct conf_group *conf_group_of(const struct conf *conf, uint16_t id)
{
	for (uint32_t i = 0; i < conf->n_groups; i++)
		if (conf->groups[i].id == id)
			return &conf->groups[i];
	return NULL;
}

const struct conf_pool *conf_find_pool(const struct conf *conf,
				       const char *name)
{
	for (uint32_t i = 0; i < conf->n_pools; i++)
		if (strcmp(conf->pools[i].name, name) == 0)
			return &conf->pools[i];
	return NULL;
}

const struct conf_pool *conf_pool_of(const struct conf *conf, uint32_t number)
{
	for (uint32_t i = 0; i < conf->n_pools; i++)
		if (conf->pools[i].number == number)
			return &conf->pools[i];
	return NULL;
}
